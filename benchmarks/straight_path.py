"""What the straight path costs beside the least that could do: `make bench`. Each pair is measured in one run.

Documents are made up; every run begins on an empty log: an SQLite file in a temporary folder, and beside it a database
of the PostgreSQL that `CLAIMWATCH_TEST_POSTGRES` names, where it does.
"""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from io import BytesIO
from pathlib import Path

import feedparser

from daemon.assembly import rebuild_projections
from daemon.backtest import VirtualClock
from daemon.chain import verify_chain
from daemon.eventlog import EventLog
from daemon.events import NewEvent, WatchStopped
from daemon.outcomes import Changed
from daemon.service import Watch, record_rules
from tests.cluster import VARIABLE
from tests.databases import database_of
from tests.support import NOW, feed, item, move_on, rss, rules, take_in

RUNS = 5
DOCUMENTS = 60
ITEMS_IN_A_WINDOW = 30
NEW_IN_A_WINDOW = 3
EVENTS = 5_000
COMMITS = 300
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


@contextmanager
def empty(kind: str) -> Iterator[Watch]:
    """A watch of one feed over an empty log in a database of this kind."""
    with folder() as place, database_of(kind, place) as database, closing(EventLog(database.url)) as log:
        log.create()
        watch = Watch.over(log, rules(FEED), VirtualClock(NOW))
        record_rules(watch)
        yield watch


def taking_in(kind: str, documents: list[bytes]) -> float:
    def poll_all(watch: Watch) -> None:
        for number, body in enumerate(documents):
            move_on(watch, timedelta(minutes=15))
            take_in(watch, FEED, Changed(body, str(number), None, None, None))

    with empty(kind) as watch:
        return timed(lambda: poll_all(watch))


def feedparser_alone(documents: list[bytes]) -> float:
    return timed(lambda: [feedparser.parse(BytesIO(body)) for body in documents])


def appending(kind: str) -> float:
    def append(log: EventLog) -> None:
        with log.transaction(NOW) as transaction:
            transaction.append([NewEvent("watch", WatchStopped(f"reason {number}")) for number in range(EVENTS)])

    with empty(kind) as watch:
        return timed(lambda: append(watch.log))


def committing(kind: str) -> float:
    def append(log: EventLog) -> None:
        for number in range(COMMITS):
            with log.transaction(NOW) as transaction:
                transaction.append([NewEvent("watch", WatchStopped(f"reason {number}"))])

    with empty(kind) as watch:
        return timed(lambda: append(watch.log))


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


def rebuilding(kind: str, documents: list[bytes]) -> tuple[float, float, int]:
    """Seconds of a rebuild and of a check of the chain, and the number of events."""
    with empty(kind) as watch:
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
    kinds = ["sqlite", "postgresql"] if VARIABLE in os.environ else ["sqlite"]
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    parser_alone, plain = [], []
    events = 0
    for _ in range(RUNS):
        parser_alone.append(feedparser_alone(documents))
        with folder() as place:
            plain.append(plain_inserts(place))
        for kind in kinds:
            seconds[kind, "taken in"].append(taking_in(kind, documents))
            seconds[kind, "appended"].append(appending(kind))
            seconds[kind, "committed"].append(committing(kind))
            rebuilt, verified, events = rebuilding(kind, documents)
            seconds[kind, "rebuilt"].append(rebuilt)
            seconds[kind, "verified"].append(verified)
    print(f"{RUNS} runs; {DOCUMENTS} documents of {ITEMS_IN_A_WINDOW} items, {NEW_IN_A_WINDOW} of them new")
    print(f"documents through feedparser alone              {rates(DOCUMENTS, parser_alone)}")
    print(f"plain rows by sqlite3 alone                     {rates(EVENTS, plain)}")
    for kind in kinds:
        print(f"{kind}:")
        print(f"documents parsed, decided, appended, projected  {rates(DOCUMENTS, seconds[kind, 'taken in'])}")
        print(f"  ratio to feedparser alone                     {ratio(seconds[kind, 'taken in'], parser_alone)}")
        print(f"events appended in one transaction              {rates(EVENTS, seconds[kind, 'appended'])}")
        print(f"  ratio to plain rows                           {ratio(seconds[kind, 'appended'], plain)}")
        print(f"events appended in a transaction each           {rates(COMMITS, seconds[kind, 'committed'])}")
        print(f"events rebuilt into projections                 {rates(events, seconds[kind, 'rebuilt'])}")
        print(f"events whose chain was checked                  {rates(events, seconds[kind, 'verified'])}")


if __name__ == "__main__":
    main()
