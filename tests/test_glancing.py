"""What is read at a glance is what the parser reads, and all words that it asks the forms of are told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.glancing import TermReader
from daemon.terms import Near, Phrase, Term, TermError, parse_term, words_in
from daemon.words import fold

_PIECES = (
    *("energy", "strikes", "АТАКА", "AND", "OR", "not", "NOT", "-gaza", "-OR", '"', '"Black', 'Sea"', '"Black Sea"'),
    *(
        "(",
        ")",
        "(oil OR",
        "gas)",
        '("power cut")',
        "halt*",
        "=x",
        "a:b",
        "title:",
        "~3",
        "-",
        "cease-fire",
        "停火",
        " ",
    ),
)
_LINES = st.lists(st.sampled_from(_PIECES), max_size=9).map(" ".join)
_DENSE = st.text('ab "()-*xOR:=', max_size=14)


def read(line: str) -> Term | TermError:
    try:
        return TermReader().read(line)
    except TermError as error:
        return error


def parsed(line: str) -> Term | TermError:
    try:
        return parse_term(line)
    except TermError as error:
        return error


@given(_LINES | _DENSE)
def test_what_is_read_at_a_glance_is_what_the_parser_reads(line: str) -> None:
    one, other = read(line), parsed(line)
    if isinstance(one, TermError) and isinstance(other, TermError):
        assert (one.column, one.message) == (other.column, other.message)
    else:
        assert one == other


@pytest.mark.parametrize(
    "line",
    [
        "energy",
        "energy strike pause",
        '"Black Sea"',
        '"Black Sea" grain',
        "prisoner exchange -Gaza",
        '"Black Sea" -oil',
        "strike OR attack",
        "energy (strike OR attack) (pause OR halt)",
        'energy (strike OR "power cut" OR (attack grid))',
        "energy (strike OR attack) -Gaza",
    ],
)
def test_usual_lines_need_no_parser(line: str) -> None:
    assert TermReader()._at_a_glance(line) == parse_term(line)


@given(st.lists(_LINES | _DENSE, max_size=4))
def test_every_word_that_is_inflected_is_told_of(lines: list[str]) -> None:
    reader = TermReader()
    told: set[str] = set()
    for line in lines:
        try:
            term = reader.read(line)
        except TermError:
            continue
        told |= set(reader.new_words())
        assert {fold(word.text) for word in words_in(term) if not (word.exact or word.prefix)} <= told


def test_a_word_is_one_object_wherever_it_stands_and_is_told_once() -> None:
    reader = TermReader()
    one, other = reader.read("energy strike"), reader.read('"energy pause"')
    assert isinstance(one, Near)
    assert isinstance(other, Phrase)
    assert one.parts[0] is other.words[0]
    assert reader.new_words() == ["energy", "strike", "pause"]
    assert reader.new_words() == []


def test_brackets_without_end_are_a_term_error_here_too() -> None:
    with pytest.raises(TermError):
        TermReader().read("(" * 2_000 + "a" + ")" * 2_000)


def test_a_word_right_behind_a_phrase_with_room_is_told_as_it_is_read() -> None:
    reader = TermReader()
    reader.read('"oil price"~3attacks')
    assert set(reader.new_words()) >= {"oil", "price", "attacks"}
