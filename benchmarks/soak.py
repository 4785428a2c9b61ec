"""Days of a watch's life in minutes, to see whether anything grows: `make soak` (`MINUTES=60` for longer).

The functions that the daemon's ticks call are called here, in virtual time: the clock moves only when no fetch is in
flight. A server in a process of its own, on several loopback addresses, plays twenty feeds, of which one answer in ten
is a failure; digests, alerts and notices go into a Maildir; the terms are edited every day. Memory, Python's
blocks, file handles, threads and tasks are read all along. Exit code 1 where one grew (`growth` says what that is).

The feeds have a vocabulary of some hundred spellings, so that what remembers spellings is full within hours: in a real
watch that takes weeks, and ends at a most that stands in the code.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import multiprocessing
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from random import Random

from pydantic import TypeAdapter

from daemon import knowledge
from daemon.assembly import verify
from daemon.backfill import catch_up
from daemon.backtest import VirtualClock
from daemon.delivery import deliver
from daemon.eventlog import EventLog
from daemon.fetching import open_fetcher
from daemon.guard import GuardedTransport
from daemon.memory import give_back, share_one_arena
from daemon.notices import Operator
from daemon.parsing import open_parser
from daemon.preparing import next_due_time, prepare_due
from daemon.rules import Rules
from daemon.service import Watch, due_feeds, poll, record_rules
from daemon.telling import tell_operator
from tests.support import NOW, claim, digest, feed, item, post, rss, rules

FEEDS = 20
HOSTS = tuple(f"127.0.0.{number}" for number in range(1, 6))
WINDOW = 30
EDITED_EVERY = timedelta(days=1)
LONGEST_STEP = timedelta(minutes=30)
SAMPLES = 40
MOST_ADDED = {"resident_bytes": 2_500_000, "blocks": 2_500}
"""To the middle of a quarter: the pages of what was freed can be given back or not, and caches fill."""
NUMBERS = 40
"""In titles: a number of its own for each would be a new word for each."""
PEOPLE = ("analyst@example.org", "editor@example.org", "desk@example.org")
NAMES = ("strike", "pause", "exchange", "ship", "talks", "envoy", "grid", "prisoner", "port", "pipeline", "summit")


# ── the server ───────────────────────────────────────────────────────────────────────────────────────────────────


class _Player(BaseHTTPRequestHandler):
    """Feeds that turn over at paces of their own; the present is what the soak says it is."""

    protocol_version = "HTTP/1.1"
    present: Synchronized[float]

    def do_GET(self) -> None:
        number = int(self.path.rpartition("/")[2])
        newest = int(self.present.value / (600 * (1 + number)))
        chance = Random(f"{number} {int(self.present.value)}").random()
        etag = f'"{newest}"'
        if chance < 0.1:
            self._say(*((503, b"", {"Retry-After": "900"}) if chance < 0.05 else (200, b"<html>Wait</html>", {})))
        elif self.headers.get("If-None-Match") == etag:
            self._say(304, b"", {"ETag": etag})
        else:
            self._say(200, _document(number, newest), {"ETag": etag})

    def _say(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


def _document(number: int, newest: int) -> bytes:
    rows = []
    for one in range(newest, max(newest - WINDOW, 0), -1):
        draw = Random(f"{number} {one}")
        words = " ".join(draw.sample(NAMES, 4))
        # The newest one is corrected when the next one comes.
        title = f"{words} {one % NUMBERS}" + ("" if one == newest else ", corrected")
        rows.append(item(title, guid=f"{number}-{one}", link=f"https://x.example/{number}/{one}", summary=words))
    return rss(*rows)


def _serve(present: Synchronized[float], ports: Connection) -> None:
    player = type("_PlayerAt", (_Player,), {"present": present})
    servers = [ThreadingHTTPServer((host, 0), player) for host in HOSTS]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    ports.send([server.server_port for server in servers])
    ports.poll(None)  # until the other end is closed


@contextmanager
def _played() -> Iterator[tuple[Synchronized[float], list[str]]]:
    """The present as the server takes it, in seconds, and the addresses of the feeds."""
    context = multiprocessing.get_context("spawn")
    present: Synchronized[float] = context.Value("d", 0.0)
    ours, its = context.Pipe()
    server = context.Process(target=_serve, args=(present, its), daemon=True)
    server.start()
    its.close()
    try:
        ports: list[int] = ours.recv()
        places = list(zip(HOSTS, ports, strict=True))
        urls = (places[number % len(places)] for number in range(FEEDS))
        yield present, [f"http://{host}:{port}/{number}" for number, (host, port) in enumerate(urls)]
    finally:
        ours.close()
        server.join(5)
        server.kill()


# ── the watch ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Sample:
    """What the process holds at a moment of virtual time."""

    day: float
    resident_bytes: int
    handles: int
    threads: int
    tasks: int
    blocks: int
    """What Python holds, in pieces: unlike pages, they tell what is in use to the last one."""

    @classmethod
    def of(cls, clock: VirtualClock) -> Sample:
        """The present, once what is garbage is gone, and what is free given back as the daemon does each minute."""
        gc.collect()
        give_back()
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return cls(
            day=(clock.now() - NOW) / timedelta(days=1),
            resident_bytes=pages * os.sysconf("SC_PAGE_SIZE"),
            handles=len(os.listdir("/proc/self/fd")),
            threads=threading.active_count(),
            tasks=len(asyncio.all_tasks()),
            blocks=sys.getallocatedblocks(),
        )


def growth(samples: Sequence[Sample]) -> list[str]:
    """What the last quarter has more of than the second one, in the middle of each; the first quarter warms up."""
    quarter = len(samples) // 4
    parts = samples[quarter : 2 * quarter], samples[-quarter:]
    found = []
    for name in ("resident_bytes", "blocks", "handles", "threads", "tasks"):
        second, last = (statistics.median(getattr(one, name) for one in part) for part in parts)
        if last > second + MOST_ADDED.get(name, 0):
            found.append(f"{name} grew from {second:,.0f} to {last:,.0f}")
    return found


def _rules(urls: Sequence[str], edition: int) -> Rules:
    feeds = (feed(f"feed-{number}", url) for number, url in enumerate(urls))
    terms = [" ".join(Random(number).sample(NAMES, 2)) for number in range(6)]
    # The new terms of an edition meet one item in a hundred: met by most, what is stored would make a digest that is
    # larger each time, and so would be what it takes to write it.
    terms += [f"{Random(edition).choice(NAMES)} {(2 * edition + one) % NUMBERS}" for one in range(2)]
    claims = (claim(f"claim-{number}", *terms[2 * number : 2 * number + 2]) for number in range(4))
    digests = (digest("daily"), digest("alerts", every_seconds=900, cron=""))
    return rules(*feeds, *claims, *digests)


def _remember_strings() -> None:
    """pydantic keeps 16,384 short strings of those that it read: all at once here, as a watch has them in two weeks."""
    TypeAdapter(list[str]).validate_json(json.dumps([f"a string, number {number}" for number in range(100_000)]))


async def soak(folder: Path, seconds: float, samples: int = SAMPLES) -> list[Sample]:
    """Watches for so many real seconds; what was held, at even distances. The log is verified at the end."""
    _remember_strings()
    with _played() as (present, urls):
        log = EventLog(f"sqlite:///{folder}/log.sqlite3")
        log.create()
        try:
            taken = await _watched(log, folder, urls, present, seconds, samples)
            verify(log)
        finally:
            log.close()
    return taken


async def _watched(
    log: EventLog, folder: Path, urls: Sequence[str], present: Synchronized[float], seconds: float, samples: int
) -> list[Sample]:
    clock = VirtualClock(NOW)
    watch = Watch.over(log, _rules(urls, 0), clock)
    mail = replace(post(folder, addresses=PEOPLE), operator=Operator(("ops@example.org",)))
    transport = GuardedTransport(allowed=HOSTS)
    taken: list[Sample] = []
    began = time.monotonic()
    edited = NOW
    async with (
        open_fetcher(timeout_seconds=10, most_bytes=1_000_000, host_pause_seconds=0, transport=transport) as fetcher,
        open_parser() as parser,
    ):
        record_rules(watch)
        while (passed := time.monotonic() - began) < seconds:
            present.value = clock.now().timestamp()
            if due := due_feeds(watch):
                await poll(watch, fetcher, parser, due)
            prepare_due(watch, mail)
            await deliver(watch, mail)
            await tell_operator(watch, mail)
            if clock.now() - edited >= EDITED_EVERY:
                edited = clock.now()
                edition = int((edited - NOW) / EDITED_EVERY)
                watch = Watch.over(log, _rules(urls, edition), clock, before=watch.matcher)
                record_rules(watch)
                catch_up(watch)
            clock.move_to(_next_moment(watch))
            if passed >= len(taken) * seconds / samples:
                taken.append(Sample.of(clock))
    return taken


def _next_moment(watch: Watch) -> datetime:
    now = watch.clock.now()
    with watch.log.reading() as connection:
        dues = [state.next_due for state in knowledge.poll_states(connection).values() if state.next_due]
    moments = (*dues, next_due_time(watch) or now + LONGEST_STEP, now + LONGEST_STEP)
    return max(min(moments), now + timedelta(seconds=1))


def main() -> int:
    """Soaks and tells; returns the exit code."""
    parser = argparse.ArgumentParser(description="Looks whether a watch grows.")
    parser.add_argument("--minutes", type=float, default=20.0, help="how long, by the clock on the wall")
    minutes: float = parser.parse_args().minutes
    share_one_arena()
    with tempfile.TemporaryDirectory(prefix="claimwatch-soak-") as folder:
        taken = asyncio.run(soak(Path(folder), minutes * 60))
        size = (Path(folder) / "log.sqlite3").stat().st_size
    print("| virtual day | resident MB | Python's blocks | file handles | threads | tasks |\n|---|---|---|---|---|---|")
    for one in (*taken[:: max(1, len(taken) // 10)], taken[-1]):
        memory = f"{one.resident_bytes / 1e6:.1f} | {one.blocks:,}"
        print(f"| {one.day:.1f} | {memory} | {one.handles} | {one.threads} | {one.tasks} |")
    found = growth(taken)
    print(f"\n{taken[-1].day:.1f} virtual days in {minutes:g} minutes; the log has {size / 1e6:,.0f} MB at the end")
    print("\n".join(found) or f"Nothing grew (of {len(fields(Sample)) - 1} measures).")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
