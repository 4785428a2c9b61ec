"""How long a log of an earlier release takes to open: `python -m benchmarks.migration [EVENTS]`, else 100,000.

The log holds made-up items of a hundred feeds, every tenth of them with a match. Its tables are those of this release;
that no version is noted makes it one of the first.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

from daemon.eventlog import EventLog
from daemon.events import ClaimMatched, Evidence, ItemSeen, NewEvent
from daemon.migrations import bring_up
from daemon.projections import record
from daemon.service import Watch, record_rules
from tests.cluster import VARIABLE
from tests.databases import database_of
from tests.support import NOW, feed, rules

BATCH = 2_000
FEEDS = 100


def story() -> Iterator[NewEvent]:
    """Items without end."""
    number = 0
    while True:
        number += 1
        name = f"feed-{number % FEEDS}"
        summary = f"Officials said on day {number} that a prisoner exchange was being prepared. " * 3
        yield NewEvent(
            f"item/{number}",
            ItemSeen(
                feed=name,
                key="guid",
                guid=f"report-{number}",
                link=f"https://news.example/report-{number}",
                title=f"Report {number} on the talks about a pause in strikes on energy sites",
                summary=summary,
                content="",
                author=None,
                published=NOW,
                lang="en",
                fingerprint=f"{number:064x}",
            ),
        )
        if number % 10 == 0:
            evidence = Evidence("prisoner exchange", "mentions", "summary", ((28, 45),), ("prisoner", "exchange"))
            matched = ClaimMatched("prisoner-exchange", f"{number}", name, 1, "", (evidence,))
            yield NewEvent("claim/prisoner-exchange", matched)


def fill(log: EventLog, events: int) -> None:
    record_rules(Watch.over(log, rules(*(feed(f"feed-{number}") for number in range(FEEDS)))))
    told = islice(story(), events - 1)
    while batch := list(islice(told, BATCH)):
        with log.transaction(NOW) as transaction:
            record(transaction, batch)


def migration(kind: str, events: int) -> str:
    with (
        tempfile.TemporaryDirectory() as folder,
        database_of(kind, Path(folder)) as database,
        closing(EventLog(database.url)) as log,
    ):
        log.create()
        fill(log, events)
        with log.transaction(NOW) as transaction:
            transaction.connection.exec_driver_sql("DROP TABLE schema_version")
        began, worked = time.perf_counter(), time.process_time()
        count = bring_up(log, NOW)
        seconds, processor = time.perf_counter() - began, time.process_time() - worked
        return f"{kind}: {count:,} events in {seconds:.1f} s, {processor:.1f} s of them on a processor"


def main(events: int) -> None:
    for kind in ("sqlite", *(["postgresql"] if VARIABLE in os.environ else [])):
        print(migration(kind, events), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 100_000)
