"""What tests are made of: feeds and rules in a line, a real web server, a real mail server, and a log in a folder.

No mocks: servers listen on loopback, logs are SQLite files, time is a `VirtualClock` that is told where to stand.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.sax.saxutils import escape

import pytest

from daemon.backtest import VirtualClock
from daemon.databases import Database
from daemon.eventlog import EventLog, Transaction
from daemon.fetching import Changed, Fetcher, Outcome, open_fetcher
from daemon.guard import GuardedTransport
from daemon.inflection import inflect
from daemon.intake import take_in as take_in_document
from daemon.items import Item, parse, split
from daemon.mailing import Carrier, MaildirCarrier
from daemon.matching import Matcher, compile_rules
from daemon.parsing import Parser, Reading
from daemon.preparing import Post
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules, TermRule, recipient_id
from daemon.service import Polled, Watch, after_reading
from daemon.settings import load_templates, shipped
from daemon.words import Forms
from tests.databases import AnyDatabase, SqliteDatabase

NOW = datetime(2025, 3, 19, 12, 0, tzinfo=UTC)
ADDRESS = "analyst@example.org"
RECIPIENT = recipient_id(ADDRESS)
SHARED = Path(__file__).resolve().parents[2] / "shared"

needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the shared corpus is not here")


def item(title: str = "A title", **fields: Any) -> Item:
    """An item with a guid and a link made from its title, unless told otherwise."""
    slug = "-".join(title.lower().split())
    defaults: dict[str, Any] = {"guid": slug, "link": f"https://news.example/{slug}", "summary": ""}
    return Item(title=title, **(defaults | fields))


def claim(id: str = "energy-strike-pause", *terms: str, **fields: Any) -> ClaimRule:
    """A claim watched by these terms (by its own words, without any)."""
    return ClaimRule(
        id=id,
        statement=fields.pop("statement", f"The statement of {id}."),
        seed="seed",
        article="An Author, “An Article”, A Publisher, 2025-03-19",
        made=fields.pop("made", date(2025, 3, 18)),
        kind="commitment",
        terms=tuple(map(TermRule, terms or (id.replace("-", " "),))),
        **fields,
    )


def feed(id: str = "gazette", url: str = "", **fields: Any) -> FeedRule:
    """A feed polled every quarter of an hour."""
    return FeedRule(id, url or f"https://{id}.example/rss", fields.pop("interval_seconds", 900), **fields)


def digest(name: str = "daily", cron: str = "30 7 * * *", **fields: Any) -> DigestRule:
    """A digest for the analyst, at 07:30 UTC unless told otherwise."""
    defaults: dict[str, Any] = {"timezone": "UTC", "recipients": (RECIPIENT,)}
    return DigestRule(name, cron, **(defaults | fields))


def rules(*parts: FeedRule | ClaimRule | DigestRule, **fields: Any) -> Rules:
    """A rule set of these parts; one of each kind that is not given."""

    def of(kind: type, default: Any) -> tuple[Any, ...]:
        return tuple(part for part in parts if isinstance(part, kind)) or (default,)

    return Rules(feeds=of(FeedRule, feed()), claims=of(ClaimRule, claim()), digests=of(DigestRule, digest()), **fields)


def compiled(rule_set: Rules, before: Matcher | None = None, news: Iterable[str] = ()) -> Matcher:
    """The matcher of these rules; the dictionaries are asked here, without a process of their own."""
    return compile_rules(rule_set, _forms_of, before, news)


def _forms_of(words: Iterable[str]) -> Mapping[str, Forms]:
    return {word: _forms_of_one(word) for word in words}


@cache
def _forms_of_one(word: str) -> Forms:
    return inflect([word])[word]


def rss(*items: Item, title: str = "The Gazette") -> bytes:
    """An RSS 2.0 document of these items, in this order."""
    rows = "".join(f"<item>{_fields(one)}</item>" for one in items)
    channel = f"<channel><title>{escape(title)}</title>{rows}</channel>"
    return f'<?xml version="1.0"?><rss version="2.0">{channel}</rss>'.encode()


def _fields(one: Item) -> str:
    fields = {"title": one.title, "guid": one.guid, "link": one.link, "description": one.summary}
    if one.published:
        fields["pubDate"] = format_datetime(one.published)
    return "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items() if value)


@cache
def empty_database() -> bytes:
    """The file of an empty log. Hundreds of tests begin with one, and to make its tables takes ten times as long."""
    with TemporaryDirectory() as folder:
        log = EventLog(f"sqlite:///{folder}/empty.sqlite3")
        log.create()
        log.close()
        assert os.listdir(folder) == ["empty.sqlite3"]
        return Path(folder, "empty.sqlite3").read_bytes()


@contextmanager
def event_log(folder: Path) -> Iterator[EventLog]:
    """An empty log in a folder, or the one that is there."""
    with log_in(SqliteDatabase(folder / "claimwatch.sqlite3")) as log:
        yield log


@contextmanager
def log_in(database: AnyDatabase) -> Iterator[EventLog]:
    """An empty log in an empty database."""
    if isinstance(database, SqliteDatabase) and not database.file.exists():
        database.file.write_bytes(empty_database())
    log = EventLog(database.url)
    try:
        if not isinstance(database, SqliteDatabase):
            log.create()
        yield log
    finally:
        log.close()


@contextmanager
def watching(folder: Path, rule_set: Rules | None = None, now: datetime = NOW) -> Iterator[Watch]:
    """A watch over an empty log, at a moment of virtual time: move `watch.clock` on."""
    with event_log(folder) as log:
        yield Watch.over(log, rule_set or rules(), VirtualClock(now))


class Meddled(EventLog):
    """A log in which somebody else does something just before each of the next writes."""

    def __init__(self, database: Database, *meddlings: Callable[[], object]) -> None:
        super().__init__(database)
        self.meddlings = list(meddlings)

    @contextmanager
    def transaction(self, now: datetime) -> Iterator[Transaction]:
        if self.meddlings:
            self.meddlings.pop(0)()
        with super().transaction(now) as transaction:
            yield transaction


@contextmanager
def meanwhile(watch: Watch, *meddlings: Callable[[], object]) -> Iterator[Watch]:
    """The watch, in whose log something is written when a decision is made and is not recorded yet: before each of
    the next writes, one of these."""
    log = Meddled(watch.log.database, *meddlings)
    try:
        yield replace(watch, log=log)
    finally:
        log.close()


def move_on(watch: Watch, by: timedelta) -> None:
    """Moves the virtual clock of a watch."""
    assert isinstance(watch.clock, VirtualClock)
    watch.clock.move_to(watch.clock.now() + by)


class ParserHere(Parser):
    """Reads documents in this process: for tests that are not about the child, its limits and its end."""

    async def parse(self, body: bytes, charset: str | None = None) -> Reading:
        return parse(split(body, charset))


def take_in(watch: Watch, rule: FeedRule, outcome: Outcome) -> Polled:
    """What a poll does with an outcome; a document is read here, without a process of its own."""
    document = None
    if isinstance(outcome, Changed):
        outcome, document = after_reading(outcome, parse(split(outcome.body, outcome.charset)))
    return take_in_document(watch, rule, outcome, document)


def post(folder: Path, carrier: Carrier | None = None, addresses: Sequence[str] = (ADDRESS,)) -> Post:
    """Mail into a Maildir of this folder, by the shipped templates."""
    return Post(
        templates=load_templates(shipped("alerts"))[0],
        shipped_templates=load_templates(shipped("alerts"))[0],
        sender="claimwatch@example.org",
        domain="example.org",
        addresses={recipient_id(address): address for address in addresses},
        carrier=carrier or MaildirCarrier(folder / "Maildir"),
    )


# ── a web server ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Answer:
    """What the server says once. `raw` is sent as it is, and the connection closed; `delay` comes first."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    delay_seconds: float = 0


@dataclass
class Asked:
    """A request as the server saw it."""

    path: str
    headers: dict[str, str]


class WebServer:
    """A real HTTP server on loopback. `script[path]` are its answers in turn; the last one stays."""

    def __init__(self) -> None:
        self.script: dict[str, list[Answer]] = defaultdict(lambda: [Answer(status=404)])
        self.asked: list[Asked] = []
        self._lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                server._answer(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._stopping = threading.Event()

    def url(self, path: str = "/feed.xml") -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{path}"

    def serve(self, path: str, *answers: Answer | bytes) -> str:
        """Sets the answers of a path; returns its address."""
        self.script[path] = [one if isinstance(one, Answer) else Answer(one) for one in answers]
        return self.url(path)

    def _answer(self, handler: BaseHTTPRequestHandler) -> None:
        with self._lock:
            self.asked.append(Asked(handler.path, {key.lower(): value for key, value in handler.headers.items()}))
            answers = self.script[handler.path]
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
        handler.close_connection = True
        if self._stopping.wait(answer.delay_seconds):
            return
        try:
            if answer.raw is not None:
                handler.wfile.write(answer.raw)
                return
            handler.send_response(answer.status)
            for name, value in (
                {"Content-Length": str(len(answer.body)), "Connection": "close"} | answer.headers
            ).items():
                handler.send_header(name, value)
            handler.end_headers()
            if answer.status not in (204, 304):
                handler.wfile.write(answer.body)
        except OSError:
            pass  # the client has hung up, as it may

    def __enter__(self) -> WebServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


def fetcher(
    timeout_seconds: float = 5, most_bytes: int = 1_000_000, host_pause_seconds: float = 0
) -> AbstractAsyncContextManager[Fetcher]:
    """A Fetcher with limits fit for tests, as an async context."""
    return open_fetcher(
        timeout_seconds=timeout_seconds,
        most_bytes=most_bytes,
        host_pause_seconds=host_pause_seconds,
        transport=GuardedTransport(allowed=["127.0.0.1", "localhost"]),
    )


def wait_until(true: Callable[[], bool], seconds: float = 30) -> None:
    """Waits for what another process or thread is to do."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)
