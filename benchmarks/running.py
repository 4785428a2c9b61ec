"""What a running watch costs: `make bench-running` (half an hour), or `-m benchmarks.running idle|start`.

`idle`: the real `claimwatch run` over a hundred feeds, each on a loopback address of its own; ten minutes of its
processor time (with what its children took), and what it holds at the end. `start`: from the command to READY=1,
which systemd waits for, with a million events in the log. Both read /proc, so this is for Linux.
"""

from __future__ import annotations

import argparse
import compileall
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import daemon
from daemon.decisions import after_change
from daemon.eventlog import EventLog, head_of
from daemon.knowledge import PollState, keep_poll_state, known_feed, known_items
from daemon.projections import record
from daemon.settings import load
from daemon.watch import Watch
from tests.support import NOW, item, rss

FEEDS = 100
IDLE_MINUTES = 10
EVENTS = 1_000_000
STARTS = 5
ITEMS_AT_ONCE = 1_000
LONGEST_START_SECONDS = 120
TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
CLAIMS = """
claims:
  energy-strike-pause: {terms: "energy strike pause"}
  prisoner-exchange: {terms: "prisoner exchange"}
digests:
  daily: {at: "07:30", timezone: UTC}
"""
NEWS = rss(*(item(f"Report {number} on talks", summary="Officials said more. " * 20) for number in range(30)))


class _Feeds(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        known = self.headers.get("If-None-Match") == '"1"'
        self.send_response(304 if known else 200)
        self.send_header("ETag", '"1"')
        self.end_headers()
        if not known:
            self.wfile.write(NEWS)

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def running(folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], float]]:
    """`claimwatch run` on the feeds.yaml of a folder, once it is ready, and the seconds that took."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(str(folder / "notify"))
        heard.settimeout(LONGEST_START_SECONDS)
        command = [sys.executable, "-m", "daemon", "run", "--config", str(folder / "feeds.yaml")]
        environment = os.environ | {"NOTIFY_SOCKET": str(folder / "notify")}
        with (folder / "journal").open("ab") as journal:
            began = time.monotonic()
            process = subprocess.Popen(
                [*command, "--state", str(folder / "state")], env=environment, stderr=journal, stdout=journal
            )
            try:
                while b"READY=1" not in heard.recv(4096):
                    pass
                yield process, time.monotonic() - began
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
                (folder / "notify").unlink()


def idle(minutes: float) -> None:
    """Prints what a watch over feeds that bring nothing new costs."""
    hosts = [f"127.0.1.{number}" for number in range(1, FEEDS + 1)]
    servers = [ThreadingHTTPServer((host, 0), _Feeds) for host in hosts]
    for server in servers:
        Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory(prefix="claimwatch-") as name:
        folder = Path(name)
        urls = (f"http://{host}:{server.server_port}/" for host, server in zip(hosts, servers, strict=True))
        feeds = "".join(f"  feed-{number}: {url}\n" for number, url in enumerate(urls))
        polling = f"polling: {{allow_private: [{', '.join(hosts)}]}}\n"
        (folder / "feeds.yaml").write_text(f"feeds:\n{feeds}{polling}{CLAIMS}", encoding="utf-8")
        with running(folder) as (process, _):
            # The first round, and the parsing child's last twenty seconds, are no idling.
            time.sleep(60)
            before, began = processor_seconds(process.pid), time.monotonic()
            time.sleep(minutes * 60)
            used, passed = processor_seconds(process.pid) - before, time.monotonic() - began
            share = used / passed * 100
            print(f"idle with {FEEDS} feeds, {passed / 60:.0f} minutes: {share:.3f} % of a core ({used:.2f} s)")
            print(
                f"resident memory: {resident_bytes(process.pid) / 1e6:.1f} MB; children left: {children(process.pid)}"
            )
    for server in servers:
        server.shutdown()


def start(events: int) -> None:
    """Prints how long a watch over a large log takes until it is ready."""
    with tempfile.TemporaryDirectory(prefix="claimwatch-") as name:
        folder = Path(name)
        (folder / "feeds.yaml").write_text(f"feeds: {{gazette: http://127.0.0.1:9/}}\n{CLAIMS}", encoding="utf-8")
        began = time.monotonic()
        count, size = _filled(folder, events)
        print(f"a log of {count:,} events, {size / 1e6:,.0f} MB, written in {time.monotonic() - began:.0f} s")
        seconds = []
        for _ in range(STARTS):
            with running(folder) as (_, took):
                seconds.append(took)
        spread = f"{min(seconds):.2f} to {max(seconds):.2f}"
        print(f"from the command to READY=1: {statistics.median(seconds):.2f} s ({spread}; {STARTS} starts)")


def _filled(folder: Path, events: int) -> tuple[int, int]:
    """A log of items, of which one in five bears on a claim, as polls write them: its events, and bytes on disk."""
    settings = load(folder / "feeds.yaml", folder / "state")
    settings.state.mkdir()
    log = EventLog(settings.database)
    log.create()
    watch = Watch.over(log, settings.rules)
    state = PollState("gazette", "http://127.0.0.1:9/")
    position = number = 0
    while position < events:
        titles = ("A prisoner exchange is near" if at % 5 == 0 else "Talks went on" for at in range(ITEMS_AT_ONCE))
        items = tuple(
            item(f"{title}, says report {number + at}", guid=f"{number + at}", summary="More of it. " * 20)
            for at, title in enumerate(titles)
        )
        number += len(items)
        now = NOW + timedelta(minutes=number // ITEMS_AT_ONCE)
        with log.reading() as connection:
            known = known_feed(connection, "gazette", state)
            standing = known_items(connection, "gazette", items)
        decision = after_change(known, items, standing, watch.matcher, now)
        with log.transaction(now) as transaction:
            recorded = record(transaction, decision.events)
            keep_poll_state(transaction.connection, state, state.url)
            position = recorded[-1].position
    with log.reading() as connection:
        count = head_of(connection).position
    log.close()
    return count, sum(file.stat().st_size for file in settings.state.iterdir())


def processor_seconds(process: int) -> float:
    """What a process took of the processor, with those of its children that have ended."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / TICKS_A_SECOND


def resident_bytes(process: int) -> int:
    """What a process holds in memory."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def children(process: int) -> int:
    """How many children it has."""
    tasks = Path(f"/proc/{process}/task").glob("*/children")
    return sum(len(one.read_text(encoding="ascii").split()) for one in tasks)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures a running watch.")
    parser.add_argument("what", nargs="?", choices=("idle", "start"), help="only this")
    parser.add_argument("--minutes", type=float, default=IDLE_MINUTES, help="of idling")
    parser.add_argument("--events", type=int, default=EVENTS, help="in the log of the start")
    given = parser.parse_args()
    # As pip leaves it: where Python may not keep its byte code, each process would compile all that it imports.
    compileall.compile_dir(Path(daemon.__file__).parent, quiet=1)
    if given.what != "start":
        idle(given.minutes)
    if given.what != "idle":
        start(given.events)


if __name__ == "__main__":
    main()
