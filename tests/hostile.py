"""Hostile documents through the real command: each from a server of its own on loopback, and what became of it.

python -m tests.hostile          prints the verdicts of the shared corpus and of the bombs below, and what it cost
"""

from __future__ import annotations

import asyncio
import csv
import gzip
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tests.support import SHARED, item, rss

HOSTILE = SHARED / "corpus" / "hostile"
Verdict = tuple[str, str, str]
"""Outcome, number of new items, and the reason of a failure."""


@dataclass(frozen=True)
class Served:
    """What a server answers: headers of its own, and a body; an endless one is sent again and again."""

    body: bytes
    headers: str = ""
    endless: bool = False


@dataclass(frozen=True)
class Round:
    """What came of a round over hostile feeds."""

    verdicts: Mapping[str, Verdict]
    details: Mapping[str, str]
    peak_megabytes: float
    seconds: float


def corpus() -> dict[str, Served]:
    """The hostile documents of the shared corpus, by their path in it."""
    with (HOSTILE / "manifest.tsv").open(encoding="utf-8", newline="") as file:
        paths = [row["path"].removeprefix("hostile/") for row in csv.DictReader(file, delimiter="\t")]
    return {path: Served((HOSTILE / path).read_bytes()) for path in paths}


@cache
def bombs() -> dict[str, Served]:
    """Documents of our own making that cost more than they weigh."""
    channel = "<rss version='2.0'><channel>{}</channel></rss>"

    def one(inner: str) -> bytes:
        return channel.format(f"<item><title>A title</title>{inner}</item>").encode()

    laughs = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 10))
    gzipped = "Content-Encoding: gzip\r\n"
    large = gzip.compress(bytes(300_000_000), 1)
    return {
        "gzip-bomb": Served(large, gzipped),
        "gzip-stacked": Served(gzip.compress(large), "Content-Encoding: gzip, gzip\r\n"),
        "brotli-unasked": Served(b"\x8b\x03\x80abc\x03", "Content-Encoding: br\r\n"),
        "endless": Served(b"<rss>" + bytes(65_000), endless=True),
        "headers-without-end": Served(b"", "".join(f"X-{n}: {'x' * 1_000}\r\n" for n in range(300))),
        "nested-tags": Served(one("<description>" + "<a>" * 1_600_000 + "</description>")),
        "nested-markup": Served(one("<description>" + "&lt;b&gt;" * 500_000 + "</description>")),
        "long-author": Served(one("<author>" + "a" * 150_000 + "</author>")),
        "long-text": Served(one("<description>" + "word " * 1_900_000 + "</description>")),
        "many-items": Served(rss(*(item(f"Story {number}") for number in range(4_000)))),
        "many-attributes": Served(one("<b " + " ".join(f"a{n}='x'" for n in range(200_000)) + "/>")),
        "laughs": Served(f"<!DOCTYPE r [<!ENTITY l0 'ha'>{laughs}]>".encode() + one("<description>&l9;</description>")),
        "quadratic": Served(
            f"<!DOCTYPE r [<!ENTITY x '{'x' * 60_000}'>]>".encode()
            + one(f"<description>{'&x;' * 60_000}</description>")
        ),
        "nothing-but-nul": Served(bytes(5_000_000)),
        "half-characters": Served(one("<title>&#xD800;&#xDFFF;</title>")),
        "json-deep": Served(b'{"version": "https://jsonfeed.org/version/1.1", "items": ' + b"[" * 200_000),
        "json-number": Served(b'{"version": "https://jsonfeed.org/version/1.1", "items": [' + b"9" * 5_000_000 + b"]}"),
    }


def poll(served: Mapping[str, Served], folder: Path) -> Round:
    """One `claimwatch poll` over all of these, in a process of its own; its memory is watched from outside."""
    with serving(list(served.values())) as urls:
        ids = {f"feed-{number}": name for number, name in enumerate(served)}
        config = folder / "feeds.yaml"
        config.write_text(config_of(urls), encoding="utf-8")
        command = [sys.executable, "-m", "daemon", "poll", "--json", "--config", str(config), "--state", str(folder)]
        began = time.monotonic()
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder)
            peak = 0.0
            try:
                while process.poll() is None:
                    peak = max(peak, _megabytes_of(process.pid))
                    time.sleep(0.02)
            finally:
                process.kill()
                process.wait()
        seconds = time.monotonic() - began
    told = [json.loads(line) for line in (folder / "stdout").read_text(encoding="utf-8").splitlines()]
    assert process.returncode in (0, 1), (folder / "stderr").read_text(encoding="utf-8")
    verdicts = {ids[one["feed"]]: (one["outcome"], str(one["items"]), one.get("reason", "")) for one in told}
    return Round(verdicts, {ids[one["feed"]]: one.get("detail", "") for one in told}, peak, seconds)


def config_of(urls: Sequence[str]) -> str:
    """A feeds.yaml with the feeds `feed-0`, `feed-1` … at these addresses."""
    feeds = "".join(f"  feed-{number}: {url}\n" for number, url in enumerate(urls))
    hosts = ", ".join(url.split("/")[2].split(":")[0] for url in urls)
    return f"feeds:\n{feeds}polling: {{timeout: 20s, allow_private: [{hosts}]}}\n"


def _megabytes_of(pid: int) -> float:
    """What a process and its children hold now."""
    total = 0
    for one in (pid, *_children_of(pid)):
        try:
            status = Path(f"/proc/{one}/status").read_text(encoding="ascii")
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0)
    return total / 1024


def _children_of(pid: int) -> Iterator[int]:
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text(encoding="ascii").split())
    except OSError:
        return


@contextmanager
def serving(served: list[Served]) -> Iterator[list[str]]:
    """A server for each, all in one thread, each on a loopback address of its own, so that none waits for another."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    servers: list[asyncio.Server] = []
    try:
        for number, one in enumerate(served):
            host = f"127.1.{number // 250}.{number % 250 + 1}"
            servers.append(asyncio.run_coroutine_threadsafe(_server(one, host), loop).result())
        addresses = [server.sockets[0].getsockname() for server in servers]
        yield [f"http://{host}:{port}/feed" for host, port in addresses]
    finally:
        for server in servers:
            loop.call_soon_threadsafe(server.close)
        asyncio.run_coroutine_threadsafe(_end_others(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _server(served: Served, host: str) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            length = "" if served.endless else f"Content-Length: {len(served.body)}\r\n"
            writer.write(f"HTTP/1.1 200 OK\r\n{length}{served.headers}Connection: close\r\n\r\n".encode())
            writer.write(served.body)
            await writer.drain()
            while served.endless:
                writer.write(served.body)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has hung up, as it may
        finally:
            writer.close()

    return await asyncio.start_server(answer, host, 0)


async def _end_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def as_lines(verdicts: Mapping[str, Verdict]) -> str:
    """The verdicts as a table with tabs, sorted by name."""
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(("document", "outcome", "items", "reason"))
    table.writerows((name, *verdict) for name, verdict in sorted(verdicts.items()))
    return text.getvalue()


def main() -> None:
    """Prints what becomes of all of them."""
    for served in (corpus() if HOSTILE.is_dir() else {}, bombs()):
        with tempfile.TemporaryDirectory() as folder:
            done = poll(served, Path(folder))
        sys.stdout.write(as_lines(done.verdicts))
        sys.stderr.write(f"{len(served)} documents in {done.seconds:.1f} s, at most {done.peak_megabytes:.0f} MB\n")
        for name, detail in sorted(done.details.items()):
            if detail:
                sys.stderr.write(f"  {name}: {detail}\n")


if __name__ == "__main__":
    main()
