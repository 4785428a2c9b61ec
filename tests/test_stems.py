"""Words of languages without a dictionary meet by their stems."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from daemon.stems import script_of, stems
from daemon.terms import Word
from daemon.vocabulary import Vocabulary
from daemon.words import Forms, fold


@pytest.mark.parametrize(
    ("word", "other", "language"),
    [
        ("Waffenruhe", "Waffenruhen", "german"),
        ("Krieg", "Krieges", "german"),
        ("Gefangener", "Gefangenen", "german"),
        ("Angriff", "Angriffe", "german"),
        ("tregua", "treguas", "spanish"),
        ("prisionero", "prisioneros", "spanish"),
        ("ataque", "ataques", "spanish"),
        ("accord", "accords", "french"),
        ("prisonnier", "prisonniers", "french"),
        ("négociation", "négociations", "french"),
        ("prigioniero", "prigionieri", "italian"),
        ("intercâmbio", "intercâmbios", "portuguese"),
        ("rozejm", "rozejmu", "polish"),
        ("válka", "války", "czech"),
        ("gevangene", "gevangenen", "dutch"),
        ("fånge", "fångar", "swedish"),
        ("savaş", "savaşlar", "turkish"),
        ("aselepo", "aselepoa", "finnish"),
        ("támadás", "támadások", "hungarian"),
        ("هدنة", "الهدنة", "arabic"),
        ("हमला", "हमले", "hindi"),
        ("զինադադար", "զինադադարի", "armenian"),
        ("πόλεμος", "πόλεμο", "greek"),
        ("போர்", "போரில்", "tamil"),
    ],
)
def test_a_word_and_its_inflected_form_have_a_stem_in_common(word: str, other: str, language: str) -> None:
    assert language in {stem.partition(":")[0] for stem in stems(fold(word)) & stems(fold(other))}


@pytest.mark.parametrize(
    ("word", "other"),
    [
        ("gaza", "gaze"),
        ("gaza", "gazette"),
        ("mars", "mare"),
        ("tregua", "tregar"),
        ("hamas", "bahamas"),
        ("presente", "prestige"),
        ("krieg", "kriechen"),
        ("kharkiv", "khartoum"),
    ],
)
def test_words_that_look_alike_have_none(word: str, other: str) -> None:
    assert not stems(fold(word)) & stems(fold(other))


@pytest.mark.parametrize("word", ["", "1", "f16", "удар", "停火", "abc", "a" * 3, "aб"])
def test_what_no_stemmer_serves_has_no_stem(word: str) -> None:
    assert stems(word) == frozenset()


@pytest.mark.parametrize(
    ("word", "script"),
    [("tregua", "latin"), ("straße", "latin"), ("πόλεμος", "greek"), ("удар", None), ("f16", None), ("", None)],
)
def test_a_word_is_of_one_script_or_of_none(word: str, script: str | None) -> None:
    assert script_of(word) == script


def test_threads_do_not_disturb_each_other() -> None:
    words = [
        f"{beginning}{middle}{end}" for beginning in "bcdfg" for middle in ("arre", "onti") for end in ("ado", "en")
    ]
    alone = [stems(word) for word in words]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(stems, words * 50)) == alone * 50


def test_a_word_that_is_learnt_after_texts_were_read_is_met_by_stem_too() -> None:
    vocabulary = Vocabulary()
    vocabulary.learn(
        ("waffenruhe", "waffengang"),
        lambda words: {word: Forms((word,), by_stem=True) for word in words},
    )
    first = vocabulary.number(Word("Waffenruhe"))
    before = vocabulary.cells()
    assert before.of("Waffenruhen Waffengangs") == [(first,), ()]
    second = vocabulary.number(Word("Waffengang"))
    assert vocabulary.cells().of("Waffenruhen Waffengangs") == [(first,), (second,)]
    assert before.of("Waffenruhe Waffengang") == [(first,), ()]
