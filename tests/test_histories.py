"""Feeds' histories played by a server that fails in every way, under a clock that jumps: nothing served is lost, each
gap is told, and no host is asked more often than it allowed, by the server's own log.
"""

from __future__ import annotations

import asyncio
import gzip
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest

from daemon.assembly import verify
from daemon.eventlog import EventLog, read
from daemon.events import Recorded
from daemon.outcomes import HELD_BACK
from tests.histories import HOST_PAUSE_SECONDS, QUICK_FAULTS, Asked, History, Jump, Played, play
from tests.support import SHARED, event_log, item, needs_shared, rss
from tests.test_corpus import logged, titles_and_links

BEGIN = datetime(2025, 3, 1, 6, 0, tzinfo=UTC)
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
HOSTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
ROUND = timedelta(seconds=5)
"""Virtual time stands still in a round while a host's pause goes on: one that ends then may be over for the watch."""
SNAPSHOTS = SHARED / "corpus" / "timeline" / "snapshots"


def made(
    days: float, minutes_between: int, size: int, *, burst_after: timedelta = 99 * DAY
) -> list[tuple[datetime, bytes]]:
    """The documents of a feed with a new item every so many minutes, each revised once; in a burst, three windows come
    at once, so that two thirds of them are never served."""
    documents = []
    number = size
    for step in range(int(days * DAY / (minutes_between * MINUTE))):
        at = BEGIN + step * minutes_between * MINUTE
        number += 3 * size if burst_after <= at - BEGIN < burst_after + minutes_between * MINUTE else 1
        rows = []
        for one in range(number - size, number):
            title = f"Story {one}, corrected" if one < number - 2 else f"Story {one}"
            rows.append(item(title, guid=f"guid {one}", link=f"https://x.example/{one}"))
        documents.append((at, rss(*reversed(rows))))
    return documents


# ── what must hold ───────────────────────────────────────────────────────────────────────────────────────────────


def events_of(log: EventLog, *kinds: str) -> list[Recorded]:
    with log.reading() as connection:
        return list(read(connection, kinds=kinds))


def pairs(body: bytes) -> set[tuple[str, str]]:
    return set(titles_and_links(body))


def nothing_served_is_missing(log: EventLog, played: Played) -> None:
    has = logged(log)
    for feed, answers in played.server.served.items():
        served = {pair for one in answers if one.body for pair in pairs(one.body)}
        assert served, f"{feed} was never read"
        assert not served - has[feed], f"{feed}: {sorted(served - has[feed])[:5]}"


@dataclass(frozen=True)
class Gap:
    """A gap by the server's log: when it was found by the watch's clock, and between which true moments it lies."""

    feed: str
    found: datetime
    last_good: datetime
    true: tuple[datetime, datetime]


def gaps_by_the_server(played: Played) -> Iterator[Gap]:
    """Two documents in a row of a feed that have no item in common: by its link, or where links stand for many titles
    by both."""
    for feed, answers in played.server.served.items():
        documents = [pairs(one.body) for one in answers if one.body]
        by_link = all(len({link for _, link in rows}) == len(rows) for rows in documents)
        window: set[tuple[str, str]] = set()
        for before, one in pairwise([answers[0], *answers]):
            rows = pairs(one.body) if one.body else set()
            rows = {("", link) for _, link in rows} if by_link else rows
            if rows:
                if window and not window & rows:
                    yield Gap(feed, one.now, before.now, (before.true, one.true))
                window = rows


def each_gap_is_told(log: EventLog, played: Played) -> int:
    expected = list(gaps_by_the_server(played))
    told = {(one.id, one.event.before): one.event.after for one in events_of(log, "gap_suspected")}
    assert told.keys() == {(gap.feed, gap.found) for gap in expected}
    for gap in expected:
        if not any(gap.true[0] <= jump.at <= gap.true[1] for jump in played.jumps):
            assert told[gap.feed, gap.found] == gap.last_good
    return len(expected)


def set_forward(played: Played, begin: datetime, end: datetime) -> bool:
    """Whether the clock was set forward in between: that can't be told from time that passed."""
    return any(begin <= jump.at <= end and jump.by > timedelta(0) and not jump.asleep for jump in played.jumps)


def no_host_is_asked_more_often_than_it_allowed(played: Played) -> int:
    """How often a pause was asked for."""
    for host in sorted({one.host for one in played.server.asked}):
        requests = [one for one in played.server.asked if one.host == host]
        for before, after in pairwise(requests):
            if before.said != "loris":
                assert after.began - before.ended >= HOST_PAUSE_SECONDS * 0.9, (before, after)
        for at, one in enumerate(requests):
            for other in requests[at + 1 :]:
                if one.pause is None or other.true >= one.true + one.pause - ROUND:
                    break
                assert set_forward(played, one.true, other.true), (one, other)
    return sum(one.pause is not None for one in played.server.asked)


def no_feed_is_asked_more_often_than_its_pace_allows(played: Played, shortest: timedelta, longest: timedelta) -> None:
    for feed, history in played.server.histories.items():
        polls: dict[datetime, list[Asked]] = {}
        for one in played.server.asked:
            if one.path.rpartition("/")[2] == feed:
                polls.setdefault(one.true, []).append(one)
        for before, after in pairwise(polls):
            good = polls[before][-1].said in ("document", "304 Not Modified")
            fresh = min(timedelta(seconds=history.max_age_seconds), longest) if good else timedelta(0)
            if not set_forward(played, before, after):
                assert after - before >= max(shortest, fresh), (feed, before, after)


def hold(log: EventLog, played: Played, pauses: tuple[timedelta, timedelta]) -> tuple[int, int]:
    """All of it; returns how many gaps there were, and how often a host asked for a pause."""
    nothing_served_is_missing(log, played)
    gaps = each_gap_is_told(log, played)
    paused = no_host_is_asked_more_often_than_it_allowed(played)
    no_feed_is_asked_more_often_than_its_pace_allows(played, *pauses)
    assert played.held_back
    assert HELD_BACK not in {one.event.reason for one in events_of(log, "feed_failed")}
    verify(log)
    return gaps, paused


# ── self-made histories ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.long
@pytest.mark.no_cover
def test_through_every_fault_nothing_served_is_lost_each_gap_is_told_and_no_host_is_pressed(tmp_path: Path) -> None:
    histories = [
        History("quick", HOSTS[0], made(6, 12, 25)),
        History("seldom", HOSTS[0], made(6, 420, 8), max_age_seconds=5400),
        History("bursts", HOSTS[0], made(6, 45, 12, burst_after=2 * DAY)),
        History("moving", HOSTS[1], made(6, 60, 20), moves_at=BEGIN + 12 * HOUR),
        History("ending", HOSTS[2], made(6, 60, 20), gone_at=BEGIN + 4 * DAY),
    ]
    jumps = [
        Jump(BEGIN + DAY, -2 * HOUR),
        Jump(BEGIN + 1.5 * DAY, 2 * HOUR),
        Jump(BEGIN + 3 * DAY, 20 * HOUR, asleep=True),
        Jump(BEGIN + 4.5 * DAY, -300 * DAY),
        Jump(BEGIN + 4.6 * DAY, 300 * DAY),
    ]
    restarts = [BEGIN + 0.7 * DAY, BEGIN + 4.55 * DAY]
    pauses = (10 * MINUTE, 3 * HOUR)
    with event_log(tmp_path) as log:
        played = asyncio.run(play(log, histories, until=BEGIN + 6 * DAY, pauses=pauses, jumps=jumps, restarts=restarts))
        gaps, paused = hold(log, played, pauses)
        assert {*QUICK_FAULTS, "loris", "document", "304 Not Modified", "301 Moved Permanently", "410 Gone"} == {
            one.said for one in played.server.asked
        }
        assert gaps >= 3
        assert paused >= 5
        (moved,) = events_of(log, "feed_moved")
        assert moved.event.to_url == played.server.url("moving", moved=True)
        late = [one for one in played.server.asked if one.path == "/feeds/moving"][-1].true
        assert late < BEGIN + 3 * DAY
        (gone,) = events_of(log, "feed_gone")
        ends = [one for one in played.server.asked if one.path == "/feeds/ending"]
        assert [one.said for one in ends].count("410 Gone") == 1
        assert (gone.id, ends[-1].said) == ("ending", "410 Gone")


# ── real ones ────────────────────────────────────────────────────────────────────────────────────────────────────


def real(feeds: Sequence[str], most: int) -> list[History]:
    """The first snapshots of these feeds, so many at most, as if all had begun at one moment."""
    histories = []
    for at, feed in enumerate(feeds):
        paths = sorted((SNAPSHOTS / feed).iterdir())[:most]
        moments = [datetime.strptime(path.name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) for path in paths]
        documents = [
            (BEGIN + (moment - moments[0]), gzip.decompress(path.read_bytes()))
            for moment, path in zip(moments, paths, strict=True)
        ]
        # What the archive broke off in the middle of an item has the links of no feed.
        documents = [(moment, body) for moment, body in documents if not body.strip() or pairs(body)]
        histories.append(History(feed, HOSTS[at % len(HOSTS)], documents, moves_at=BEGIN + DAY if at == 3 else None))
    return histories


def play_real(tmp_path: Path, feeds: Sequence[str], days: int, most: int, lorises: int) -> tuple[int, int]:
    pauses = (30 * MINUTE, 6 * HOUR)
    jumps = [Jump(BEGIN + days / 4 * DAY, -3 * HOUR), Jump(BEGIN + days / 2 * DAY, 36 * HOUR, asleep=True)]
    restarts = [BEGIN + days / 3 * DAY]
    with event_log(tmp_path) as log:
        played = asyncio.run(
            play(
                log,
                real(feeds, most),
                until=BEGIN + days * DAY,
                pauses=pauses,
                jumps=jumps,
                restarts=restarts,
                lorises=lorises,
            )
        )
        return hold(log, played, pauses)


@pytest.mark.long
@needs_shared
@pytest.mark.no_cover
def test_real_histories_come_whole_through_every_fault(tmp_path: Path) -> None:
    feeds = ("2025-ru-thebell", "2025-ru-verstka", "2025-ru-meduza", "2020-raw-nzherald")
    gaps, paused = play_real(tmp_path, feeds, days=6, most=40, lorises=0)
    assert gaps
    assert paused


@needs_shared
@pytest.mark.slow
def test_all_real_histories_come_whole_through_every_fault(tmp_path: Path) -> None:
    days = int(os.environ.get("CLAIMWATCH_DAYS", "60"))
    gaps, paused = play_real(tmp_path, sorted(os.listdir(SNAPSHOTS)), days=days, most=10_000, lorises=5)
    assert gaps >= 10
    assert paused >= 50
