"""What is shown of a text: its sentences, the one that matters, and what is taken out of it."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.excerpts import SENTENCE_CHARACTERS, excerpt, sentences, shown


def cut(text: str) -> list[str]:
    return [text[start:end] for start, end in sentences(text)]


def told(text: str, word: str) -> str:
    """The excerpt of a text around a word of it, which is marked by angles."""
    at = text.index(word)
    return "".join(f"<{one.text}>" if one.marked else one.text for one in excerpt(text, [(at, at + len(word))]))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("“It ends.” He left.", ["“It ends.”", "He left."]),
        ("The U.S. navy sailed. Gen. Orlo stayed.", ["The U.S. navy sailed.", "Gen. Orlo stayed."]),
        ("It cost 3.5 crowns. Cheap.", ["It cost 3.5 crowns.", "Cheap."]),
        ("It came in at approx. nine. Then it left.", ["It came in at approx. nine.", "Then it left."]),
        ("A headline\nand a paragraph", ["A headline", "and a paragraph"]),
        ("双方会面。船已到港！", ["双方会面。", "船已到港！"]),
        ("У м. Халвік домовились. Кінець.", ["У м. Халвік домовились.", "Кінець."]),
        ("", []),
        ("No end", ["No end"]),
    ],
)
def test_a_text_is_cut_into_sentences(text: str, parts: list[str]) -> None:
    assert cut(text) == parts


@given(st.text(alphabet="ab .!\n。", max_size=80))
def test_sentences_leave_out_nothing_but_space(text: str) -> None:
    assert "".join("".join(cut(text)).split()) == "".join(text.split())
    ends = [place for pair in sentences(text) for place in pair]
    assert ends == sorted(ends)


def test_what_never_ends_is_cut_between_words() -> None:
    parts = cut("word " * 1_000)
    assert max(map(len, parts)) <= SENTENCE_CHARACTERS
    assert all(part.strip().startswith("word") for part in parts if part.strip())


def test_the_sentence_that_matched_is_shown() -> None:
    text = "The fog lifted at noon. The ferry sails on Friday. Tickets cost nine crowns."
    assert told(text, "ferry") == "… The <ferry> sails on Friday. …"
    assert told(text, "fog") == "The <fog> lifted at noon. …"
    assert told(text, "Tickets") == "… <Tickets> cost nine crowns."


def test_the_next_sentence_is_shown_too_where_it_holds_a_mark() -> None:
    text = "The ferry is ready. It sails on Friday. Nobody waits."
    spans = [(4, 9), (text.index("sails"), text.index("sails") + 5)]
    assert "".join(one.text for one in excerpt(text, spans)) == "The ferry is ready. It sails on Friday. …"


def test_a_text_of_nothing_but_dots_is_cut_in_no_time() -> None:
    begun = time.perf_counter()
    assert len(list(sentences("a. " * 60_000))) > 100
    assert time.perf_counter() - begun < 2


def test_what_turns_the_direction_of_writing_is_not_shown() -> None:
    assert shown("a\u202eb\u2066c\u2069\u202cd\ne\u200ff") == "abcd e\u200ff"
