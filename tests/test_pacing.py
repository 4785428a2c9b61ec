"""How often a feed is asked: within its bounds, so that windows meet, and no oftener than its site wants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.items import Feed, parse, split
from daemon.pacing import (
    NOTHING_ASKED,
    SPREAD,
    Asks,
    Bounds,
    Seen,
    asks_of,
    interval,
    not_skipped,
    rate_after,
    spread,
)

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
BOUNDS = Bounds(5 * MINUTE, 6 * HOUR)
NONE = timedelta(0)
SUNDAY = datetime(2025, 3, 23, 22, 30, tzinfo=UTC)


def windows_of(minutes_between_items: float, size: int, bounds: Bounds, feed: str, polls: int) -> list[tuple[int, int]]:
    """The windows, from item to item, of a feed with a new item every so many minutes, polled at the decided pauses."""
    minute, rate, last = 1000 * minutes_between_items, None, None
    windows: list[tuple[int, int]] = []
    for _ in range(polls):
        newest = int(minute / minutes_between_items)
        windows.append((newest - size + 1, newest))
        new = min(newest - windows[-2][1], size) if last is not None else size
        seen = Seen(new, size, None if last is None else (minute - last) * MINUTE)
        rate = rate_after(rate, seen)
        last = minute
        minute += spread(feed, interval(bounds, rate, seen, NOTHING_ASKED, NONE)) / MINUTE
    return windows


def lefts(windows: list[tuple[int, int]]) -> list[int]:
    """How many items of each window are in the next one."""
    return [before[1] - after[0] + 1 for before, after in pairwise(windows)]


@settings(max_examples=300, deadline=None)
@given(
    minutes=st.floats(0.2, 3000),
    size=st.integers(3, 300),
    shortest=st.integers(1, 120),
    longest=st.integers(0, 2000),
    feed=st.text(max_size=8),
)
def test_windows_of_a_feed_of_any_steady_pace_meet(
    minutes: float, size: int, shortest: int, longest: int, feed: str
) -> None:
    bounds = Bounds(shortest * MINUTE, (shortest + longest) * MINUTE)
    # A feed that turns over more than half in the shortest pause is too fast for it: that is for `gap_suspected`.
    if shortest * (1 + SPREAD) / minutes <= size / 2:
        assert min(lefts(windows_of(minutes, size, bounds, feed, 30))) >= 1


def test_about_half_of_a_window_is_left_in_the_next_once_the_pace_is_known() -> None:
    windows = windows_of(10, 40, BOUNDS, "gazette", 60)
    assert 18 <= min(lefts(windows)[5:]) <= max(lefts(windows)[5:]) <= 30


@settings(max_examples=300, deadline=None)
@given(
    shortest=st.integers(60, 86_400),
    more=st.integers(0, 86_400 * 30),
    rate=st.none() | st.floats(0, 1e9),
    new=st.integers(0, 5000),
    size=st.integers(0, 5000),
    since=st.none() | st.integers(1, 10**9),
    asked=st.integers(0, 10**8),
    fresh=st.integers(0, 10**8),
)
def test_whatever_is_known_and_asked_for_a_pause_is_within_its_bounds(
    shortest: int, more: int, rate: float | None, new: int, size: int, since: int | None, asked: int, fresh: int
) -> None:
    bounds = Bounds(timedelta(seconds=shortest), timedelta(seconds=shortest + more))
    seen = Seen(min(new, size), size, None if since is None else timedelta(seconds=since))
    known = rate_after(rate, seen)
    pause = interval(bounds, known, seen, Asks(asked), timedelta(seconds=fresh))
    assert bounds.shortest <= pause <= bounds.longest
    assert pause <= spread("gazette", pause) <= pause * 1.1


def pause_for(
    new: int, size: int = 30, since: timedelta = HOUR, before: float | None = None, **more: object
) -> timedelta:
    seen = Seen(new, size, since)
    rate = rate_after(before, seen)
    return interval(BOUNDS, rate, seen, more.get("asks", NOTHING_ASKED), more.get("fresh", NONE))  # type: ignore[arg-type]


def test_the_faster_a_window_turns_over_the_sooner_it_is_asked_for() -> None:
    pauses = [pause_for(new) for new in (0, 3, 6, 12, 24)]
    assert pauses == sorted(pauses, reverse=True)
    assert len(set(pauses)) == 5


def test_a_feed_of_which_nothing_is_known_is_asked_soon() -> None:
    seen = Seen(30, 30, None)
    assert rate_after(None, seen) is None
    assert interval(BOUNDS, None, seen, Asks(86_400), NONE) == BOUNDS.shortest


def test_where_nothing_of_the_last_window_is_left_the_pause_is_the_shortest_until_more_is_known() -> None:
    gap = Seen(30, 30, 3 * HOUR)
    rate = rate_after(0.5, gap)
    assert interval(BOUNDS, rate, gap, NOTHING_ASKED, NONE) == BOUNDS.shortest
    assert interval(BOUNDS, rate, gap, Asks(86_400), NONE) == BOUNDS.shortest
    next_look = Seen(1, 30, BOUNDS.shortest)
    rate = rate_after(rate, next_look)
    assert HOUR / 4 < interval(BOUNDS, rate, next_look, NOTHING_ASKED, NONE) < HOUR


def test_a_busy_hour_of_yesterday_is_still_known_and_one_of_last_month_is_not() -> None:
    assert pause_for(0, since=DAY, before=20.0) < 90 * MINUTE
    assert pause_for(0, since=30 * DAY, before=20.0) == BOUNDS.longest


@pytest.mark.parametrize("size", [0, 1, 2])
def test_a_feed_of_next_to_no_items_that_rests_is_asked_less_and_less_often(size: int) -> None:
    assert pause_for(0, size) == 90 * MINUTE
    assert pause_for(size, size) == (BOUNDS.shortest if size else 90 * MINUTE)


def test_equal_bounds_leave_nothing_to_decide() -> None:
    fixed = Bounds(HOUR, HOUR)
    assert interval(fixed, 100.0, Seen(30, 30, HOUR), Asks(86_400), DAY) == HOUR


# ── what a site asks for ─────────────────────────────────────────────────────────────────────────────────────────


def test_until_an_answer_is_stale_there_can_be_nothing_new() -> None:
    assert pause_for(12, fresh=4 * HOUR) == 4 * HOUR
    assert pause_for(12, fresh=DAY) == BOUNDS.longest
    assert pause_for(12, fresh=MINUTE) == pause_for(12)


def test_what_a_document_asks_for_is_heeded_while_a_quarter_of_its_window_is_left() -> None:
    usual = pause_for(9)
    longer = int(usual.total_seconds() * 1.3)
    assert pause_for(9, asks=Asks(longer)) == timedelta(seconds=longer)
    assert abs(pause_for(9, asks=Asks(86_400)) - usual * 1.5) < timedelta(seconds=1)
    assert pause_for(9, asks=Asks(60)) == usual


def test_hours_and_days_that_a_document_wants_skipped_are() -> None:
    far = SUNDAY + 3 * DAY
    assert not_skipped(SUNDAY, Asks(skip_hours=(22, 23)), far) == datetime(2025, 3, 24, 0, 0, tzinfo=UTC)
    assert not_skipped(SUNDAY, Asks(skip_days=(6,), skip_hours=(0,)), far) == datetime(2025, 3, 24, 1, 0, tzinfo=UTC)
    assert not_skipped(SUNDAY, Asks(skip_hours=(0,)), far) == SUNDAY
    assert not_skipped(SUNDAY, Asks(skip_hours=(22, 23)), SUNDAY + HOUR) == SUNDAY + HOUR
    assert not_skipped(SUNDAY, Asks(skip_hours=(22,)), SUNDAY - HOUR) == SUNDAY


@settings(max_examples=200, deadline=None)
@given(st.sets(st.integers(0, 23)), st.sets(st.integers(0, 6)), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_due_time_is_never_moved_back_nor_beyond_the_longest_pause(
    hours: set[int], days: set[int], seconds: int, more: int
) -> None:
    due = SUNDAY + timedelta(seconds=seconds)
    asks = Asks(skip_hours=tuple(hours), skip_days=tuple(days))
    assert due <= not_skipped(due, asks, due + timedelta(seconds=more)) <= due + timedelta(seconds=more)


def head_of(*lines: str) -> Asks:
    """What the head of an RSS document with these lines asks for."""
    sy = 'xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"'
    channel = f"<channel><title>x</title>{''.join(lines)}<item><title>a</title></item></channel>"
    read = parse(split(f'<rss version="2.0" {sy}>{channel}</rss>'.encode()))
    assert isinstance(read, Feed)
    return read.asks


@pytest.mark.parametrize(
    ("lines", "asks"),
    [
        ([], NOTHING_ASKED),
        (["<ttl>60</ttl>"], Asks(3600)),
        (["<ttl> 15 </ttl>"], Asks(900)),
        (["<ttl>soon</ttl>"], NOTHING_ASKED),
        (["<ttl>-5</ttl>"], NOTHING_ASKED),
        (["<ttl>999999999</ttl>"], Asks(365 * 86_400)),
        (["<sy:updatePeriod>hourly</sy:updatePeriod>"], Asks(3600)),
        (["<sy:updatePeriod>daily</sy:updatePeriod>", "<sy:updateFrequency>4</sy:updateFrequency>"], Asks(21_600)),
        (["<sy:updatePeriod> Hourly </sy:updatePeriod>", "<sy:updateFrequency>0</sy:updateFrequency>"], Asks(3600)),
        (["<sy:updatePeriod>often</sy:updatePeriod>"], NOTHING_ASKED),
        (["<ttl>30</ttl>", "<sy:updatePeriod>hourly</sy:updatePeriod>"], Asks(3600)),
        (["<skipHours><hour>0</hour>\n <hour> 5 </hour><hour>24</hour></skipHours>"], Asks(skip_hours=(0, 5))),
        (["<skipHours><hour>99</hour><hour>x</hour></skipHours>"], NOTHING_ASKED),
        (["<skipDays><day>Sunday</day><day>monday</day><day>Someday</day></skipDays>"], Asks(skip_days=(0, 6))),
    ],
)
def test_what_a_document_asks_for_is_read(lines: list[str], asks: Asks) -> None:
    assert head_of(*lines) == asks


def test_whoever_skips_all_hours_or_days_does_not_mean_it() -> None:
    days = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    assert asks_of(skip_hours=map(str, range(24)), skip_days=days) == NOTHING_ASKED
