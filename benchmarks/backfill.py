"""How fast stored items are matched against new terms, and what polls notice of it: `make bench-backfill`.

The items are those of the shared corpus of news where it is there, made up elsewhere; the rules are the shipped
feeds.yaml, of which the log knew one claim before.
"""

from __future__ import annotations

import asyncio
import gzip
import itertools
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from daemon.backfill import Backfill, waiting
from daemon.backtest import VirtualClock
from daemon.eventlog import EventLog
from daemon.intake import take_in
from daemon.items import Feed, Item
from daemon.outcomes import Changed
from daemon.rules import Rules
from daemon.scheduling import BACKFILL_BREATH
from daemon.service import Watch, beside_the_loop, record_rules
from daemon.settings import load, shipped
from tests.support import NOW, SHARED, feed

ITEMS = 20_000
IN_A_DOCUMENT = 500
POLLS_ALONE_SECONDS, AT_MOST_SECONDS = 10, 30
PAUSE_BETWEEN_POLLS_SECONDS = 0.2


def items() -> Iterator[Item]:
    corpus = SHARED / "corpus" / "items" / "news.jsonl.gz"
    if not corpus.is_file():
        for number in range(ITEMS):
            text = f"Officials in Moscow said on day {number} that a prisoner exchange was being prepared. " * 4
            yield Item(str(number), None, f"Report {number} on talks about a pause in strikes", text)
        return
    with gzip.open(corpus, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(itertools.islice(lines, ITEMS)):
            found = json.loads(line)
            yield Item(str(number), None, found["title"], found["summary"])


def brings(watch: Watch, name: str, number: int, found: tuple[Item, ...]) -> None:
    take_in(watch, feed(name), Changed(b"", str(number), None, None, None), Feed("", found))


def fill(log: EventLog, before: Rules) -> None:
    watch = Watch.over(log, before, VirtualClock(NOW))
    record_rules(watch)
    every = list(items())
    for number in range(0, len(every), IN_A_DOCUMENT):
        brings(watch, f"feed-{number % 20}", number, tuple(every[number : number + IN_A_DOCUMENT]))


def told(what: str, seconds: list[float]) -> None:
    ordered = sorted(1000 * one for one in seconds)
    at = [ordered[min(int(share * len(ordered)), len(ordered) - 1)] for share in (0.5, 0.95, 1)]
    print(f"{what}: median {at[0]:.1f} ms, 95 of 100 within {at[1]:.1f} ms, longest {at[2]:.1f} ms ({len(ordered)})")


def at_once(backfill: Backfill) -> None:
    """As a command does it: one chunk after another."""
    holds, begun = [], time.perf_counter()
    while True:
        before = time.perf_counter()
        progress = backfill.advance()
        holds.append(time.perf_counter() - before)
        assert progress is not None
        if progress.finished:
            break
    seconds = time.perf_counter() - begun
    print(f"at once: {progress.done / seconds:,.0f} items/s, {progress.done} items in {seconds:.1f} s")
    told("the writer's turn held for", holds)


async def beside_polls(backfill: Backfill) -> None:
    """As the daemon does it: a breath between two chunks, while polls bring three new items each."""
    polls: dict[str, list[float]] = {"alone": [], "in a backfill": []}
    when = "alone"

    async def poll() -> None:
        for number in itertools.count():
            found = tuple(Item(f"new-{number}-{at}", None, f"New item {number} {at}", "") for at in range(3))
            heard, before = polls[when], time.perf_counter()
            await beside_the_loop(brings, backfill.watch, "polled", number, found)
            heard.append(time.perf_counter() - before)
            await asyncio.sleep(PAUSE_BETWEEN_POLLS_SECONDS)

    polling = asyncio.create_task(poll())
    await asyncio.sleep(POLLS_ALONE_SECONDS)
    when, begun, done = "in a backfill", time.perf_counter(), 0
    while time.perf_counter() - begun < AT_MOST_SECONDS:
        progress = await beside_the_loop(backfill.advance)
        assert progress is not None
        done = progress.done
        if progress.finished:
            break
        await asyncio.sleep(BACKFILL_BREATH.total_seconds())
    print(f"beside polls: {done / (time.perf_counter() - begun):,.0f} items/s")
    polling.cancel()
    await asyncio.gather(polling, return_exceptions=True)
    for name, seconds in polls.items():
        told(f"what a poll brought taken in, {name}", seconds)


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        after = load(shipped("feeds.yaml"), Path(folder)).rules
        before = replace(after, claims=after.claims[:1])
        with closing(EventLog(f"sqlite:///{folder}/filled.sqlite3")) as log:
            log.create()
            fill(log, before)
        for way in ("at once", "beside polls"):
            shutil.copy(Path(folder) / "filled.sqlite3", Path(folder) / f"{way}.sqlite3")
            with closing(EventLog(f"sqlite:///{folder}/{way}.sqlite3")) as log:
                watch = Watch.over(log, after)
                record_rules(watch)
                backfill = waiting(watch)
                assert backfill is not None
                if way == "at once":
                    at_once(backfill)
                else:
                    asyncio.run(beside_polls(backfill))


if __name__ == "__main__":
    main()
