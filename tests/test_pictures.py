"""Thirty days of a claim as bars, in blocks, in cells and in words."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from daemon.pictures import BLOCKS, DAYS, HIGHEST_PIXELS, LOWEST_PIXELS, STANCES, DayCount, picture
from daemon.rules import Stance

TODAY = date(2025, 3, 20)


def count(back: int, count: int = 1, stance: Stance = "mentions", claim: str = "a-claim") -> DayCount:
    return DayCount(claim, TODAY - timedelta(days=back), stance, count)


def says(*counts: DayCount) -> str:
    return picture("a-claim", counts, TODAY).says


def test_a_picture_says_in_words_what_it_shows() -> None:
    assert says() == "nothing in the last 30 days"
    assert says(count(0)) == "1 item in the last 30 days (1 mentions), on 20 Mar"
    assert says(count(2, 3)) == "3 items in the last 30 days (3 mention), all on 18 Mar"
    assert says(count(9), count(1)) == "2 items in the last 30 days (2 mention), the last on 19 Mar"
    several = (count(9, 4, "supports"), count(9, 1, "contradicts"), count(1, 2))
    assert says(*several) == (
        "7 items in the last 30 days (4 support, 1 contradicts, 2 mention), most on 11 Mar (5), the last on 19 Mar"
    )


def test_only_the_claim_s_own_last_thirty_days_are_shown() -> None:
    shown = picture("a-claim", [count(29), count(30), count(0, claim="another")], TODAY)
    assert (shown.total, shown.first, shown.last) == (1, date(2025, 2, 19), TODAY)


def test_what_is_dated_ahead_stands_at_the_end() -> None:
    assert picture("a-claim", [count(-2)], TODAY).mentions[-1] == 1


def test_the_rows_of_a_text_are_on_one_scale_and_a_day_wide_each() -> None:
    shown = picture("a-claim", [count(29, 8, "supports"), count(0, 1, "contradicts"), count(1, 4)], TODAY)
    assert shown.rows == (
        ("supports", "█" + "·" * 29),
        ("contradicts", "·" * 29 + "▁"),
        ("mentions", "·" * 28 + "▄" + "·"),
    )


def test_days_without_a_bar_are_one_cell() -> None:
    columns = picture("a-claim", [count(20, 2, "supports"), count(20, 2)], TODAY).columns
    assert [(column.days, [part.pixels for part in column.parts]) for column in columns] == [
        (9, []),
        (1, [HIGHEST_PIXELS // 2, HIGHEST_PIXELS // 2]),
        (20, []),
    ]


@given(st.lists(st.tuples(st.integers(0, 29), st.integers(1, 500), st.sampled_from(STANCES))))
def test_every_item_is_somewhere_to_be_seen(found: list[tuple[int, int, Stance]]) -> None:
    shown = picture("a-claim", [count(*one) for one in found], TODAY)
    assert shown.total == sum(one[1] for one in found)
    assert sum(column.days for column in shown.columns) == DAYS if found else True
    for column in shown.columns:
        assert all(LOWEST_PIXELS <= part.pixels <= HIGHEST_PIXELS for part in column.parts)
    seen = {(back, stance) for back, _, stance in found}
    for stance, blocks in shown.rows:
        assert len(blocks) == DAYS
        assert {DAYS - 1 - at for at, block in enumerate(blocks) if block in BLOCKS} == {
            b for b, s in seen if s == stance
        }
