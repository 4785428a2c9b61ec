"""What the straight path costs beside the least that could do: `make bench`. Each pair is measured in one run.

Documents are made up; every run begins on an empty log in a temporary folder.
"""

from __future__ import annotations

import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import feedparser

from daemon.assembly import rebuild_projections
from daemon.chain import verify_chain
from daemon.eventlog import EventLog
from daemon.events import NewEvent, WatchStopped
from daemon.fetching import Changed
from daemon.service import Watch, record_rules
from tests.support import NOW, event_log, feed, item, move_on, rss, rules, take_in, watching

RUNS = 5
DOCUMENTS = 60
ITEMS_IN_A_WINDOW = 30
NEW_IN_A_WINDOW = 3
EVENTS = 5_000
FEED = feed()


def windows() -> list[bytes]:
    """A feed's successive documents: thirty items, three of them new each time."""
    items = [
        item(
            f"Report {number} on the talks about a pause in strikes on energy sites",
            summary=f"Officials said on day {number} that a prisoner exchange was being prepared. " * 3,
            published=NOW - timedelta(minutes=number),
        )
        for number in range(ITEMS_IN_A_WINDOW + DOCUMENTS * NEW_IN_A_WINDOW)
    ]
    starts = range(DOCUMENTS * NEW_IN_A_WINDOW, 0, -NEW_IN_A_WINDOW)
    return [rss(*items[start : start + ITEMS_IN_A_WINDOW]) for start in starts]


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def taking_in(documents: list[bytes]) -> float:
    def poll_all(watch: Watch) -> None:
        for number, body in enumerate(documents):
            move_on(watch, timedelta(minutes=15))
            take_in(watch, FEED, Changed(body, str(number), None, None, None))

    with folder() as place, watching(place, rules(FEED)) as watch:
        record_rules(watch)
        return timed(lambda: poll_all(watch))


def feedparser_alone(documents: list[bytes]) -> float:
    return timed(lambda: [feedparser.parse(BytesIO(body)) for body in documents])


def appending(log: EventLog) -> float:
    def append() -> None:
        with log.transaction(NOW) as transaction:
            transaction.append([NewEvent("watch", WatchStopped(f"reason {number}")) for number in range(EVENTS)])

    return timed(append)


def plain_inserts(place: Path) -> float:
    rows = [(number, "watch", number, "watch_stopped", "at", b"{}", "0" * 64, "0" * 64) for number in range(EVENTS)]
    with closing(sqlite3.connect(place / "plain.sqlite3")) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE event (position INTEGER PRIMARY KEY, a, b, c, d, e, f, g, UNIQUE (a, b))")

        def insert() -> None:
            with connection:
                connection.executemany("INSERT INTO event VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)

        return timed(insert)


def rebuilding(documents: list[bytes]) -> tuple[float, float, int]:
    """Seconds of a rebuild and of a check of the chain, and the number of events."""
    with folder() as place, watching(place, rules(FEED)) as watch:
        record_rules(watch)
        for number, body in enumerate(documents):
            take_in(watch, FEED, Changed(body, str(number), None, None, None))
        counted: list[int] = []
        rebuilt = timed(lambda: counted.append(rebuild_projections(watch.log)))
        with watch.log.reading() as connection:
            verified = timed(lambda: verify_chain(connection))
        return rebuilt, verified, counted[0]


def rates(count: int, seconds: list[float]) -> str:
    """Median and range of so many things a second."""
    per_second = sorted(count / one for one in seconds)
    return f"{statistics.median(per_second):>9,.0f} /s ({per_second[0]:,.0f} to {per_second[-1]:,.0f})"


def ratio(ours: list[float], theirs: list[float]) -> str:
    return f"{statistics.median(ours) / statistics.median(theirs):.2f}"


def main() -> None:
    documents = windows()
    ours, parser_alone, appended, plain, rebuilt, verified = [], [], [], [], [], []
    events = 0
    for _ in range(RUNS):
        ours.append(taking_in(documents))
        parser_alone.append(feedparser_alone(documents))
        with folder() as place, event_log(place) as log:
            appended.append(appending(log))
            plain.append(plain_inserts(place))
        again, checked, events = rebuilding(documents)
        rebuilt.append(again)
        verified.append(checked)
    print(f"{RUNS} runs; {DOCUMENTS} documents of {ITEMS_IN_A_WINDOW} items, {NEW_IN_A_WINDOW} of them new")
    print(f"documents parsed, decided, appended, projected  {rates(DOCUMENTS, ours)}")
    print(f"documents through feedparser alone              {rates(DOCUMENTS, parser_alone)}")
    print(f"  ratio of medians                              {ratio(ours, parser_alone)}")
    print(f"events appended in one transaction              {rates(EVENTS, appended)}")
    print(f"plain rows by sqlite3 alone                     {rates(EVENTS, plain)}")
    print(
        f"  ratio of medians                              {statistics.median(appended) / statistics.median(plain):.2f}"
    )
    print(f"events rebuilt into projections                 {rates(events, rebuilt)}")
    print(f"events whose chain was checked                  {rates(events, verified)}")


if __name__ == "__main__":
    main()
