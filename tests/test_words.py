"""How a text is cut into words, which spellings are one word, and which forms a word takes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.words import Token, fold, forms, tokenise


def words(text: str) -> list[str]:
    return [text[token.start : token.end] for token in tokenise(text)]


# ── cutting ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_word_brings_its_span_and_its_folded_form() -> None:
    assert tokenise("Kyiv, under Fire") == [Token(0, 4, "kyiv"), Token(6, 11, "under"), Token(12, 16, "fire")]


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("", []),
        (" \n—…!", []),
        ("drones, 12 tanks", ["drones", "12", "tanks"]),
        ("cease-fire", ["cease", "fire"]),
        ("U.S.-made", ["U.S.", "made"]),
        ("Russia's fleet", ["Russia's", "fleet"]),
        ("Russia’s fleet", ["Russia’s", "fleet"]),
        ("the drones' route", ["the", "drones", "route"]),
        ("'quoted'", ["quoted"]),
        ("_underlined_ word", ["underlined_", "word"]),
        ("п'ять і м’яч, об’єкт", ["п'ять", "і", "м’яч", "об’єкт"]),
        ("soft\u00adhyphen", ["soft\u00adhyphen"]),
        ("cafe\u0301 bar", ["cafe\u0301", "bar"]),
        ("a/b|c\u2028d", ["a", "b", "c", "d"]),
    ],
)
def test_words_are_cut_where_a_reader_would_cut_them(text: str, cut: list[str]) -> None:
    assert words(text) == cut


@given(st.text())
def test_spans_reproduce_the_text_in_order_and_leave_no_letter_out(text: str) -> None:
    end = 0
    for token in tokenise(text):
        assert end <= token.start < token.end <= len(text)
        assert token.form == fold(text[token.start : token.end])
        assert not any(letter.isalnum() for letter in text[end : token.start])
        end = token.end
    assert not any(letter.isalnum() for letter in text[end:])


# ── folding ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "folded"),
    [
        ("KYIV", "kyiv"),
        ("Straße", "strasse"),
        ("ＫＹＩＶ", "kyiv"),  # full-width letters
        ("oﬃcer", "officer"),  # a ligature
        ("energy\u00ad", "energy"),
        ("ener\u00adgy", "energy"),
        ("cafe\u0301", "café"),
        ("Russia's", "russia"),
        ("RUSSIA’S", "russia"),
        ("п’ять", "п'ять"),
        ("пʼять", "п'ять"),
        ("ОБМІНУ", "обміну"),
        ("drones", "drones"),
        ("s", "s"),
    ],
)
def test_spelling_does_not_part_words(written: str, folded: str) -> None:
    assert fold(written) == folded


@given(st.text(st.characters(max_codepoint=0x24F, categories=["L", "N"]), min_size=1))
def test_composed_and_decomposed_spellings_are_one_word(word: str) -> None:
    assert fold(unicodedata.normalize("NFD", word)) == fold(unicodedata.normalize("NFC", word))


@given(st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1))
def test_case_never_parts_words(word: str) -> None:
    assert fold(word.upper()) == fold(word.lower()) == word.lower()


def test_a_modifier_apostrophe_around_a_word_is_a_quote_and_no_letter_of_it() -> None:
    assert [token.form for token in tokenise("ʼpauseʼ")] == ["pause"]


# ── inflection ───────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("word", "met"),
    [
        ("strike", "strike strikes striking struck Strike STRUCK"),
        ("struck", "strike strikes striking struck"),
        ("strikes", "strike strikes striking struck"),
        ("prisoner", "prisoner prisoners Prisoner’s"),
        ("prisoners", "prisoner prisoners"),
        ("exchange", "exchange exchanges exchanged exchanging"),
        ("halt", "halt halts halted halting"),
        ("pausing", "pause pauses paused pausing"),
        ("build", "build builds built building"),
        ("building", "building buildings"),
        ("agreed", "agree agrees agreed agreeing"),
        ("organise", "organise organised organises organising"),
        ("child", "child children"),
        ("women", "woman women"),
        ("criteria", "criterion criteria"),
        ("ceasefire", "ceasefire ceasefires"),
        ("said", "say says said saying"),
        ("Zelensky", "Zelensky Zelensky's"),
        ("Kyiv", "Kyiv KYIV Kyiv’s"),
        ("oblast", "oblast oblasts"),
        ("US", "US us"),
        ("обмін", "обмін Обмін"),
        ("F16", "F16 f16"),
    ],
)
def test_a_word_meets_its_inflections(word: str, met: str) -> None:
    missed = {form for form in met.split() if fold(form) not in forms(word)}
    assert not missed, f"{word} should meet {sorted(missed)}"


@pytest.mark.parametrize(
    ("word", "unmet"),
    [
        ("prisoner", "prison prisons imprison imprisoned"),
        ("prison", "prisoner prisoners imprisoned"),
        ("Black", "blackout blackouts blackmail"),
        ("building", "build builds built builder"),
        ("builder", "build building"),
        ("strike", "striker strikers stride string"),
        ("exchange", "exchanger change changed"),
        ("energy", "energetic energise"),
        ("negotiate", "negotiation negotiator"),
        ("agreement", "agree agreed"),
        ("meeting", "meet met"),
        ("Sea", "see season seat"),
        ("group", "groupie grope"),
        ("nuclear", "nucleus"),
        ("обмін", "обміну обмен"),
        ("US", "use uses used"),
        ("Gaza", "gaze gazette"),
    ],
)
def test_a_word_does_not_meet_its_derivations_nor_its_lookalikes(word: str, unmet: str) -> None:
    met = {form for form in unmet.split() if fold(form) in forms(word)}
    assert not met, f"{word} should not meet {sorted(met)}"


@given(st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=8))
def test_a_word_is_always_one_of_its_own_forms(word: str) -> None:
    assert fold(word) in forms(word)


@pytest.mark.parametrize("word", ["struck", "Prisoners", "zzyzx", "ceasefires", "обмін", "F16", "don’t"])
def test_every_form_is_folded(word: str) -> None:
    assert {fold(form) for form in forms(word)} == set(forms(word))


@pytest.mark.parametrize(
    ("text", "forms_in_it"),
    [
        ("U.S. and Russia", ["us", "and", "russia"]),
        ("U.S.-Russia talks", ["us", "russia", "talks"]),
        ("the U.S.S.R.", ["the", "ussr"]),
        ("J. Smith", ["j", "smith"]),
        ("It ends. So", ["it", "ends", "so"]),
    ],
)
def test_initials_are_one_word_with_or_without_their_dots(text: str, forms_in_it: list[str]) -> None:
    assert [token.form for token in tokenise(text)] == forms_in_it
