"""What ten thousand feeds cost that are not due: `make bench-feeds`, or `python -m benchmarks.idle_feeds [FEEDS]`.

A feeds.yaml of that many feeds is read, its rules recorded and its feeds enrolled, as a first and as a second start do;
then each feed gets a poll cache as after a good poll, with a window of thirty items, and the tick asks what is due.
Feeds are never asked: that costs what it costs, and only when they are due.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from daemon import knowledge
from daemon.backtest import VirtualClock
from daemon.eventlog import EventLog
from daemon.knowledge import PollState
from daemon.service import Watch, due_feeds, record_rules
from daemon.settings import load
from daemon.troubles import look
from tests.support import NOW

FEEDS = 10_000
TICKS = 500
TICK_SECONDS = 5


def timed(what: str, function: Callable[[], object]) -> None:
    began = time.perf_counter()
    function()
    print(f"{what}: {time.perf_counter() - began:.2f} s")


def main() -> None:
    feeds = int(sys.argv[1]) if len(sys.argv) > 1 else FEEDS
    with tempfile.TemporaryDirectory(prefix="claimwatch-") as folder:
        file = Path(folder) / "feeds.yaml"
        lines = "".join(f"  feed-{at}: https://site-{at}.example/feed.xml\n" for at in range(feeds))
        file.write_text(f"feeds:\n{lines}", encoding="utf-8")
        began = time.perf_counter()
        settings = load(file, Path(folder))
        print(f"feeds.yaml of {feeds:,} feeds read and checked: {time.perf_counter() - began:.2f} s")
        log = EventLog(settings.database)
        log.create()
        watch = Watch.over(log, settings.rules, VirtualClock(NOW))
        timed("first start: rules recorded, feeds enrolled", lambda: record_rules(watch))
        timed("what is due, with all of them", lambda: due_feeds(watch))
        timed("a poll cache for each, as after a good poll", lambda: _as_after_a_poll(watch))
        timed("second start", lambda: record_rules(watch))
        print(f"a tick with nothing due: {_tick_ms(watch):.3f} ms of processor time, every {TICK_SECONDS} s")
        print(f"the look for the operator's troubles: {_median_ms(lambda: _look(watch), 20):.1f} ms, every 30 s")
        watch = replace(watch, clock=VirtualClock(NOW + timedelta(minutes=1)))
        print(f"a tick with {len(due_feeds(watch))} due: {_tick_ms(watch):.3f} ms")
        log.close()


def _as_after_a_poll(watch: Watch) -> None:
    with watch.log.transaction(NOW) as transaction:
        for at, feed in enumerate(watch.rules.feeds):
            window = frozenset(f"{at:08x}{number:08x}" for number in range(30))
            due = NOW + timedelta(seconds=1 + 1800 * at / len(watch.rules.feeds))
            state = PollState(feed.id, feed.url, etag='"1"', window=window, polled_at=NOW, next_due=due)
            knowledge.keep_poll_state(transaction.connection, state, feed.url)


def _look(watch: Watch) -> None:
    with watch.log.reading() as connection:
        look(connection, watch.rules.intervals, NOW)


def _tick_ms(watch: Watch) -> float:
    return _median_ms(lambda: due_feeds(watch), TICKS)


def _median_ms(function: Callable[[], object], times: int) -> float:
    """The processor time of one call."""
    took = []
    for _ in range(times):
        began = time.process_time()
        function()
        took.append((time.process_time() - began) * 1000)
    return statistics.median(took)


if __name__ == "__main__":
    main()
