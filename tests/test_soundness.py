"""Terms that can be read but can't do their work are refused, with the column and the mend."""

from __future__ import annotations

import pytest

from daemon.soundness import everywhere_in, read_term
from daemon.terms import TermError

LISTS = {"strike": ["attack", "удар"], "filler": ["well", "the"]}


@pytest.mark.parametrize(
    ("written", "column", "said"),
    [
        ("the", 1, "'the' is in nearly every text"),
        ("strike OR the", 11, "'the' is in nearly every text"),
        ("the of", 1, "nearly every"),
        ("title:(и OR удар)", 8, "'и' is in nearly every text"),
        ("the -Gaza", 1, "nearly every"),
        ("=the", 2, "nearly every"),
        ("re*", 1, "re* would match nearly everything"),
        ("по*", 1, "nearly everything"),
        ("的", 1, "nearly every"),
        ("filler", 1, "the list 'filler' would match nearly everything"),
        ("Gaza -Gaza", 7, "can never match"),
        ("prisoner exchange NOT exchange", 23, "can never match"),
        ('"Black Sea" -Sea', 14, "can never match"),
        ("pause -(halt OR pause)", 9, "can never match"),
        ("pause AND title:halt AND NOT halt", 30, "can never match"),
        ("(a1 -a1) OR (b1 -b1)", 6, "can never match"),
        ("one two three four", 1, "4 words never stand within 3"),
        ('"Black Sea" "grain deal"', 1, "4 words never stand within 3"),
    ],
)
def test_a_term_that_can_not_do_its_work_is_refused_where_it_fails(written: str, column: int, said: str) -> None:
    with pytest.raises(TermError) as caught:
        read_term(written, 3, LISTS)
    assert said in caught.value.message
    assert caught.value.column == column
    assert caught.value.hint


@pytest.mark.parametrize(
    "written",
    [
        "strike",
        "strike the",
        "x",
        "the AND strike",
        '"the who"',
        '="US"',
        "=strike",
        "hal*",
        "俄*",
        "停火",
        "停火 俄罗",
        "filler strike",
        "title:pause -summary:pause",
        "pause -title:pause",
        "content:pause -pause",
        "(Gaza -Gaza) OR strike",
        "strike -(strike pause)",
        '"prisoner exchange of today"~5',
        "one two three AND four",
    ],
)
def test_a_term_that_can_do_its_work_is_not_refused(written: str) -> None:
    read_term(written, 3, LISTS)


def test_a_term_may_have_room_of_its_own() -> None:
    read_term("one two three four", 4, {})


@pytest.mark.parametrize(("line", "found"), [("the", "the"), ("power plant", None), ("re*", "re"), ("=the", "the")])
def test_a_line_of_a_word_list_may_be_too_common_too(line: str, found: str | None) -> None:
    word = everywhere_in(line)
    assert (word.text if word else None) == found
