"""How a text is cut into words, which spellings are one word, and which forms a word takes."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.words import Token, fold, tokenise


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
        ("cafe\u0301", "cafe"),
        ("Zoé", "zoe"),
        ("Müller", "muller"),
        ("Wałęsa", "walesa"),
        ("œuvre", "oeuvre"),
        ("ёлка", "елка"),
        ("за\u0301мок", "замок"),
        ("Киї\u0301в", "київ"),
        ("мой", "мой"),
        ("мои\u0306", "мой"),
        ("l’accord", "accord"),
        ("dell'intesa", "intesa"),
        ("O’Brien", "o'brien"),
        ("don’t", "don't"),
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
