"""A loopback server that plays the histories of feeds, with all that goes wrong on the way, and a watch over it.

There are two times: what really passes (`World.true`), by which the server goes, and what the watch's clock says, which
jumps. Both move only between rounds of polls, when no request is under way. The server writes down every request.
"""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Literal, TypeAlias

from daemon import knowledge
from daemon.eventlog import EventLog
from daemon.fetching import open_fetcher
from daemon.guard import GuardedTransport
from daemon.outcomes import Failed
from daemon.parsing import Limits, open_parser
from daemon.rules import FeedRule, Rules
from daemon.service import Watch, due_feeds, poll, record_rules
from tests.support import claim, digest

Fault: TypeAlias = Literal[
    "429", "429 date", "503", "403 wall", "404", "page", "login", "empty", "302", "reset", "short", "torn gzip", "loris"
]
QUICK_FAULTS: tuple[Fault, ...] = (
    *("429", "429 date", "503", "403 wall", "404", "page"),
    *("login", "empty", "302", "302", "reset", "short", "torn gzip"),
)
PAGE = b"<!doctype html><html><body>Just a moment</body></html>"
LOGIN = b"<html><form><input type='password' name='p'></form></html>"
HOST_PAUSE_SECONDS = 0.02
TIMEOUT_SECONDS = 3.0
PATIENT = Limits(cpu_seconds=60, wall_seconds=60)


@dataclass(frozen=True)
class History:
    """The documents of a feed, each from a moment on. `host` is whom it is asked of.

    From `moves_at` on its address redirects for good, to another host; from `gone_at` on it is gone. `max_age_seconds`
    is what its answers say of how long they hold.
    """

    feed: str
    host: str
    documents: Sequence[tuple[datetime, bytes]]
    moves_at: datetime | None = None
    gone_at: datetime | None = None
    max_age_seconds: int = 0

    def at(self, moment: datetime) -> bytes:
        return max((one for one in self.documents if one[0] <= moment), default=self.documents[0])[1]


@dataclass(frozen=True)
class Jump:
    """At a true moment the watch's clock is set by so much; with `asleep`, the machine slept: time passed for all."""

    at: datetime
    by: timedelta
    asleep: bool = False


@dataclass
class Asked:
    """A request as the server saw it: when by true time, and from when to when in real seconds."""

    true: datetime
    host: str
    path: str
    said: str
    began: float
    ended: float = 0
    pause: timedelta | None = None


@dataclass
class World:
    """The true time, and how far the watch's clock is from it."""

    true: datetime
    ahead: timedelta = timedelta(0)

    def now(self) -> datetime:
        return self.true + self.ahead


@dataclass(frozen=True)
class Served:
    """A good answer: by true time and by the watch's clock; without a body where it said that nothing changed."""

    true: datetime
    now: datetime
    body: bytes | None


class PlayingServer:
    """Plays histories on several loopback addresses. `asked` is its log, `served` each good answer."""

    def __init__(self, world: World, histories: Sequence[History], seed: int, fault_share: float, lorises: int) -> None:
        self.world = world
        self.histories = {history.feed: history for history in histories}
        self.asked: list[Asked] = []
        self.served: dict[str, list[Served]] = {history.feed: [] for history in histories}
        self.ports: dict[str, int] = {}
        self._seed, self._share, self._lorises = seed, fault_share, lorises
        self._counts: Counter[str] = Counter()

    def url(self, feed: str, *, moved: bool = False) -> str:
        history = self.histories[feed]
        host = self._moved_host(history) if moved else history.host
        return f"http://{host}:{self.ports[host]}/{'moved' if moved else 'feeds'}/{feed}"

    def _moved_host(self, history: History) -> str:
        hosts = sorted(self.ports)
        return hosts[(hosts.index(history.host) + 1) % len(hosts)]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        servers = []
        tasks: set[asyncio.Task[None]] = set()
        for host in sorted({history.host for history in self.histories.values()}):
            servers.append(await asyncio.start_server(self._serving(host, tasks), host, 0))
            self.ports[host] = servers[-1].sockets[0].getsockname()[1]
        try:
            yield
        finally:
            for server in servers:
                server.close()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _serving(
        self, host: str, tasks: set[asyncio.Task[None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.add(task)
            try:
                await self._answer(host, reader, writer)
            except OSError:
                pass  # the client has hung up, as it may
            finally:
                tasks.discard(task)
                writer.close()

        return serve

    async def _answer(self, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began = time.monotonic()
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = lines[0].split()[1]
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        asked = Asked(self.world.true, host, path, "", began)
        self.asked.append(asked)
        _, kind, feed = path.split("/")
        try:
            await self._play(asked, self.histories[feed], kind, headers, writer)
        finally:
            asked.ended = time.monotonic()

    async def _play(
        self, asked: Asked, history: History, kind: str, headers: Mapping[str, str], writer: asyncio.StreamWriter
    ) -> None:
        feed, now = history.feed, self.world.true
        if history.gone_at and now >= history.gone_at:
            await self._say(asked, writer, "410 Gone")
        elif kind == "feeds" and history.moves_at and now >= history.moves_at:
            await self._say(asked, writer, "301 Moved Permanently", {"Location": self.url(feed, moved=True)})
        elif kind != "passing" and (fault := self._fault(feed)):
            await self._go_wrong(asked, history, fault, writer)
        else:
            await self._serve(asked, history, headers, writer)

    def _fault(self, feed: str) -> Fault | None:
        """What goes wrong with this request: the same whichever request of another feed came before it."""
        self._counts[feed] += 1
        chance = random.Random(f"{self._seed} {feed} {self._counts[feed]}")
        if self._lorises and self._counts[feed] > 2 and self._counts[feed] % 4 == 0:
            self._lorises -= 1
            return "loris"
        return chance.choice(QUICK_FAULTS) if chance.random() < self._share else None

    async def _go_wrong(self, asked: Asked, history: History, fault: Fault, writer: asyncio.StreamWriter) -> None:
        asked.said = fault
        if fault in ("reset", "short", "loris"):
            await self._break_off(fault, history.at(self.world.true), writer)
            return
        minutes = random.Random(f"{history.feed} {self._counts[history.feed]}").choice((10, 45, 200))
        asked.pause = timedelta(minutes=minutes) if fault in ("429", "429 date", "503") else None
        back = _http(self.world.true + timedelta(minutes=minutes))
        packed = gzip.compress(history.at(self.world.true))
        status, headers, body = {
            "429": ("429 Too Many Requests", {"Retry-After": str(minutes * 60)}, b""),
            "429 date": ("429 Too Many Requests", {"Date": _http(self.world.true), "Retry-After": back}, b""),
            "503": ("503 Service Unavailable", {"Retry-After": str(minutes * 60)}, b""),
            "403 wall": ("403 Forbidden", {"cf-mitigated": "challenge"}, b""),
            "404": ("404 Not Found", {}, b""),
            "302": ("302 Found", {"Location": f"/passing/{history.feed}"}, b""),
            "page": ("200 OK", {"ETag": '"page"'}, PAGE),
            "login": ("200 OK", {"ETag": '"login"'}, LOGIN),
            "empty": ("200 OK", {"ETag": '"empty"'}, b""),
            "torn gzip": ("200 OK", {"Content-Encoding": "gzip"}, packed[:-20]),
        }[fault]
        await self._say(asked, writer, status, headers, body)

    async def _break_off(self, fault: Fault, body: bytes, writer: asyncio.StreamWriter) -> None:
        if fault == "reset":
            writer.transport.abort()
            return
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + (body[: len(body) // 2] if fault == "short" else b""))
        await writer.drain()
        while fault == "loris":
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.05)

    async def _serve(
        self, asked: Asked, history: History, headers: Mapping[str, str], writer: asyncio.StreamWriter
    ) -> None:
        body = history.at(self.world.true)
        chance = random.Random(f"{history.feed} {self._counts[history.feed]}")
        sha256 = hashlib.sha256(body).hexdigest()[:12]
        # Half of the feeds have ETags, weak ones among them; some answers bring another one for the same bytes.
        weak = "W/" if len(history.feed) % 3 == 0 else ""
        etag = f'{weak}"{sha256}-{chance.choice("aab")}"' if len(history.feed) % 2 else ""
        modified = max((at for at, one in history.documents if at <= self.world.true), default=history.documents[0][0])
        said = {"Cache-Control": f"max-age={history.max_age_seconds}"} if history.max_age_seconds else {}
        said |= {"ETag": etag} if etag else {"Last-Modified": _http(modified)}
        known = headers.get("if-none-match", "")
        unchanged = sha256 in known if etag else headers.get("if-modified-since") == _http(modified)
        if unchanged and chance.random() < 0.8:
            await self._say(asked, writer, "304 Not Modified", said)
            self.served[history.feed].append(Served(self.world.true, self.world.now(), None))
            return
        packed = chance.random() < 0.5
        sent = gzip.compress(body) if packed else body
        await self._say(asked, writer, "200 OK", said | ({"Content-Encoding": "gzip"} if packed else {}), sent)
        asked.said = "document"
        self.served[history.feed].append(Served(self.world.true, self.world.now(), body))

    async def _say(
        self,
        asked: Asked,
        writer: asyncio.StreamWriter,
        status: str,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> None:
        asked.said = asked.said or status
        lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in (headers or {}).items())]
        if not status.startswith("304"):
            lines.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await writer.drain()


def _http(moment: datetime) -> str:
    return format_datetime(moment.replace(microsecond=0), usegmt=True)


@dataclass
class Played:
    """What a watch over histories came to: the server with its log, and the watch."""

    server: PlayingServer
    watch: Watch
    jumps: Sequence[Jump]
    feeds: tuple[FeedRule, ...] = field(default_factory=tuple)
    held_back: int = 0
    """How many polls put no question, because of a host's pause."""


async def play(
    log: EventLog,
    histories: Sequence[History],
    *,
    until: datetime,
    pauses: tuple[timedelta, timedelta],
    jumps: Sequence[Jump] = (),
    restarts: Sequence[datetime] = (),
    seed: int = 1,
    fault_share: float = 0.25,
    lorises: int = 1,
) -> Played:
    """Watches the histories from their first moment on, by the functions that the daemon's tick calls."""
    begin = min(history.documents[0][0] for history in histories)
    world = World(begin)
    server = PlayingServer(world, histories, seed, fault_share, lorises)
    async with server.listening():
        rule_set = Rules(
            feeds=tuple(_rule(server, history, pauses) for history in histories), claims=(claim(),), digests=(digest(),)
        )
        watch = Watch.over(log, rule_set, world)
        to_come, starts = sorted(jumps, key=lambda jump: jump.at), sorted(restarts)
        transport = GuardedTransport(allowed=sorted(server.ports))
        async with (
            open_fetcher(
                timeout_seconds=TIMEOUT_SECONDS,
                most_bytes=10_000_000,
                host_pause_seconds=HOST_PAUSE_SECONDS,
                transport=transport,
            ) as fetcher,
            open_parser(PATIENT) as parser,
        ):
            record_rules(watch)
            held_back = 0
            while world.true < until:
                if due := due_feeds(watch):
                    polled = [one.outcome for one in await poll(watch, fetcher, parser, due)]
                    held_back += sum(isinstance(one, Failed) and not one.asked for one in polled)
                following = _next_moment(watch, world)
                if starts and starts[0] <= following:
                    world.true = max(world.true, starts.pop(0))
                    watch = Watch.over(log, rule_set, world)
                    record_rules(watch)
                elif to_come and to_come[0].at <= following:
                    jump = to_come.pop(0)
                    world.true = max(world.true, jump.at) + (jump.by if jump.asleep else timedelta(0))
                    world.ahead += timedelta(0) if jump.asleep else jump.by
                else:
                    world.true = following
    return Played(server, watch, jumps, rule_set.feeds, held_back)


def _rule(server: PlayingServer, history: History, pauses: tuple[timedelta, timedelta]) -> FeedRule:
    shortest, longest = (int(pause.total_seconds()) for pause in pauses)
    return FeedRule(history.feed, server.url(history.feed), shortest, longest_interval_seconds=longest)


def _next_moment(watch: Watch, world: World) -> datetime:
    """By true time, when the next feed is due; a second on, at least."""
    with watch.log.reading() as connection:
        due = [state.next_due for state in knowledge.poll_states(connection).values() if state.next_due]
    return max(min(due, default=world.now() + timedelta(days=1)) - world.ahead, world.true + timedelta(seconds=1))
