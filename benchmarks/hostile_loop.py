"""How long hostile documents hold up the event loop, and what reading in a child costs a sound one.

    make bench-hostile

The peer is what a plain reader does: feedparser.parse in the loop itself.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from multiprocessing.connection import Connection
from pathlib import Path

import feedparser

from daemon.assembly import fetcher_of, writing
from daemon.parsing import open_parser
from daemon.service import poll, record_rules
from tests.hostile import bombs, config_of, serving
from tests.support import item, rss

RUNS = 5
AUTHOR = b"<rss version='2.0'><channel><item><author>" + b"a" * 32_000 + b"</author></item></channel></rss>"
SOUND = rss(*(item(f"Story {number}", summary="<p>Some words of a story.</p>" * 5) for number in range(30)))


async def longest_lag(work: Callable[[], Awaitable[object]]) -> float:
    """Seconds by which the loop was late, at most, while `work` was done."""
    longest = 0.0

    async def watch() -> None:
        nonlocal longest
        while True:
            began = time.perf_counter()
            await asyncio.sleep(0.005)
            longest = max(longest, time.perf_counter() - began - 0.005)

    watching = asyncio.create_task(watch())
    await asyncio.sleep(0.05)
    await work()
    await asyncio.sleep(0.05)
    watching.cancel()
    return longest


async def in_the_loop() -> None:
    feedparser.parse(BytesIO(AUTHOR))


async def in_the_child() -> None:
    async with open_parser() as parser:
        await parser.parse(AUTHOR)


def _serve(connection: Connection) -> None:
    with serving(list(bombs().values())) as urls:
        connection.send(urls)
        connection.recv()


@contextmanager
def served_by_another_process() -> Iterator[list[str]]:
    """The bombs, whose servers must not hold the interpreter that is measured."""
    processes = multiprocessing.get_context("spawn")
    ours, theirs = processes.Pipe()
    process = processes.Process(target=_serve, args=(theirs,))
    process.start()
    yield ours.recv()
    ours.send("enough")
    process.join()


def polled_bombs() -> float:
    """The longest lag of a round over the bombs, from the first request to the last commit."""
    with tempfile.TemporaryDirectory() as folder, served_by_another_process() as urls:
        config = Path(folder) / "feeds.yaml"
        config.write_text(config_of(urls), encoding="utf-8")
        with writing(config, Path(folder), "bench") as installation:
            record_rules(installation.watch)

            async def work() -> None:
                async with fetcher_of(installation.settings) as fetcher, open_parser() as parser:
                    await poll(installation.watch, fetcher, parser, installation.settings.rules.polled_feeds)

            return asyncio.run(longest_lag(work))


async def child_overhead() -> tuple[list[float], list[float]]:
    """Seconds for a sound document: in the loop, and in the child."""
    here, there = [], []
    async with open_parser() as parser:
        await parser.parse(SOUND)
        for _ in range(50):
            began = time.perf_counter()
            feedparser.parse(BytesIO(SOUND))
            here.append(time.perf_counter() - began)
            began = time.perf_counter()
            await parser.parse(SOUND)
            there.append(time.perf_counter() - began)
    return here, there


def _range(seconds: list[float]) -> str:
    milliseconds = [one * 1_000 for one in seconds]
    return f"{statistics.median(milliseconds):,.1f} ms ({min(milliseconds):,.1f} to {max(milliseconds):,.1f})"


def main() -> None:
    print(f"{RUNS} runs each: median (range)")
    for name, work in (("feedparser in the loop", in_the_loop), ("in the child", in_the_child)):
        lags = [asyncio.run(longest_lag(work)) for _ in range(RUNS)]
        print(f"longest lag, one author of 32,000 letters, {name}: {_range(lags)}")
    print(f"longest lag, a round over {len(bombs())} bombs: {_range([polled_bombs() for _ in range(RUNS)])}")
    here, there = asyncio.run(child_overhead())
    print(f"one sound document of 30 items, feedparser in the loop: {_range(here)}")
    print(f"one sound document of 30 items, all of ours in the child: {_range(there)}")


if __name__ == "__main__":
    main()
