"""The log: the only place where an event becomes true, and the only way to read events back.

    event(position, stream, version, kind, at, payload, payload_sha256, chain)

Writers take turns (see `databases`), so that positions run 1, 2, 3 … without holes in the order of commits and a
reader that tails the log misses nothing. Each row's `chain` is the hash of the row before and of its own columns:
altering, removing or reordering any event shows. Triggers refuse what the code would never do.

Everything that must stand or fall with an event (projections, the poll cache) is written in the same `Transaction`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlmodel import Field, LargeBinary, SQLModel, UniqueConstraint

from daemon.databases import Connection, Database, database_at, database_errors
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.events import (
    Event,
    ItemRedacted,
    NewEvent,
    Recorded,
    Redaction,
    from_payload,
    to_payload,
)
from daemon.moments import parse_timestamp, timestamp
from daemon.rules import canonical_json
from daemon.schemaversion import SCHEMA_VERSION, made_by, put_version

GENESIS = "0" * 64
"""What the first event's chain builds on."""

REDACTABLE_KINDS = ("item_seen", "item_revised")
BATCH_EVENTS = 2_000


class EventRow(SQLModel, table=True):
    """One event as it is stored. `payload` is canonical JSON in UTF-8; `at` is when it was recorded."""

    __tablename__ = "event"
    __table_args__ = (UniqueConstraint("stream", "version"),)

    # autoincrement=False: the position is ours; SQLite would fill a hole.
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    stream: str
    version: int
    kind: str = Field(index=True)
    at: str
    payload: bytes = Field(sa_type=LargeBinary)
    payload_sha256: str
    chain: str


EVENT: Any = SQLModel.metadata.tables["event"]
"""The log as a Core table: for this module, and for the one that checks its chain."""


@dataclass(frozen=True)
class Head:
    """The last position of the log and the chain up to it: (0, GENESIS) for an empty log."""

    position: int
    chain: str


class Transaction:
    """One write to the log and to all that follows from it: everything in it becomes true together, or nothing."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self.connection = connection
        self.now = now

    def append(self, new_events: Sequence[NewEvent]) -> list[Recorded]:
        """Appends the events in order, each to its stream.

        Raises StreamConflict when a stream is not at the version that the event was decided upon.
        """
        head = head_of(self.connection)
        versions: dict[str, int] = {}
        recorded: list[Recorded] = []
        rows: list[dict[str, Any]] = []
        position, chain = head.position, head.chain
        for new in new_events:
            if new.stream not in versions:
                versions[new.stream] = version_of(self.connection, new.stream)
            if new.after_version is not None and new.after_version != versions[new.stream]:
                raise StreamConflict(f"{new.stream} is at version {versions[new.stream]}, not {new.after_version}")
            position += 1
            versions[new.stream] += 1
            event, payload = _as_stored(new.event)
            row = _row(position, new.stream, versions[new.stream], event.kind, self.now, payload, chain)
            chain = row["chain"]
            rows.append(row)
            recorded.append(Recorded(position, new.stream, row["version"], self.now, event))
        if rows:
            try:
                self.connection.execute(insert(EVENT), rows)
            except IntegrityError as error:
                raise StreamConflict() from error
        return recorded

    def redact(self, stream: str, reason: str, blank: dict[str, Any]) -> list[Recorded]:
        """Takes the text out of every item event of `stream`: each field named in `blank` is set to its value there.

        The row keeps the hash of what stood there, so the chain still verifies; the recorded `item_redacted` holds the
        hash of what is left, so that nothing can be slipped in afterwards.
        """
        rows = self.connection.execute(
            select(EVENT).where(EVENT.c.stream == stream, EVENT.c.kind.in_(REDACTABLE_KINDS)).order_by(EVENT.c.position)
        ).all()
        if not rows:
            raise ClaimwatchError(
                f"{stream} has no text to take out", hint="Name the item as `claimwatch events` does."
            )
        payloads = {row.position: _blanked(row.payload, blank) for row in rows}
        for row in rows:
            # A field that the event does not have would make it unreadable for good.
            from_payload(row.kind, payloads[row.position], position=row.position)
        redactions = tuple(Redaction(position, sha256_of(payload)) for position, payload in payloads.items())
        recorded = self.append([NewEvent(stream, ItemRedacted(reason, redactions))])
        for position, payload in payloads.items():
            self.connection.execute(update(EVENT).where(EVENT.c.position == position).values(payload=payload))
        return recorded


class EventLog:
    """The log in one database, which may be named by its URL.

    `keep` is called before each write: a lock that can be lost is taken again there (see `locks`).
    """

    def __init__(self, database: Database | str, keep: Callable[[], None] = lambda: None) -> None:
        self.database = database_at(database) if isinstance(database, str) else database
        self._keep = keep
        self._engines = self.database.engines()

    def create(self) -> None:
        """Makes the tables and triggers where they are missing, in one transaction.

        Those that another release made stay as they are: `migrations` brings them up.
        """
        with self._begun(self._engines.writing) as connection:
            made = made_by(connection)
            if made:
                head_of(connection)  # fails where `event` is somebody else's table: it gets none of our triggers
            if made and made.version != SCHEMA_VERSION:
                return
            SQLModel.metadata.create_all(connection)
            for guard in self.database.guards:
                connection.exec_driver_sql(guard)
            put_version(connection)

    @contextmanager
    def transaction(self, now: datetime) -> Iterator[Transaction]:
        """The writer's turn: all that happens inside is committed together, or not at all."""
        self._keep()
        with self._begun(self._engines.writing) as connection:
            yield Transaction(connection, now)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the log, whatever is appended meanwhile."""
        with self._begun(self._engines.reading) as connection:
            yield connection

    def close(self) -> None:
        self._engines.reading.dispose()

    @contextmanager
    def _begun(self, engine: Engine) -> Iterator[Connection]:
        with database_errors(self.database), engine.begin() as connection:
            yield connection


def read(
    connection: Connection,
    *,
    after: int = 0,
    upto: int | None = None,
    kinds: Sequence[str] = (),
    stream: str | None = None,
    since: datetime | None = None,
) -> Iterator[Recorded]:
    """The events after a position, in order. `stream` is one stream, or with a `/` at the end all of that type."""
    query = select(EVENT).order_by(EVENT.c.position).limit(BATCH_EVENTS)
    if kinds:
        query = query.where(EVENT.c.kind.in_(kinds))
    if stream is not None and stream.endswith("/"):
        query = query.where(EVENT.c.stream >= stream, EVENT.c.stream < stream[:-1] + "0")  # "0" comes after "/"
    elif stream is not None:
        query = query.where(EVENT.c.stream == stream)
    if since is not None:
        query = query.where(EVENT.c.at >= timestamp(since))
    if upto is not None:
        query = query.where(EVENT.c.position <= upto)
    while rows := connection.execute(query.where(EVENT.c.position > after)).all():
        yield from map(_recorded, rows)
        after = rows[-1].position


def read_streams(connection: Connection, streams: Sequence[str]) -> list[Recorded]:
    """All events of these streams (a few hundred at most), in order."""
    rows = connection.execute(select(EVENT).where(EVENT.c.stream.in_(streams))).all()
    # Sorted here: asked for the order, SQLite reads the whole log by position instead of the streams by their index.
    return sorted(map(_recorded, rows), key=lambda recorded: recorded.position)


def last_position_of(connection: Connection, kind: str) -> int:
    """The position of the newest event of a kind; 0 when there is none."""
    return connection.scalar(select(func.max(EVENT.c.position)).where(EVENT.c.kind == kind)) or 0


def any_after(connection: Connection, position: int, kinds: Sequence[str]) -> bool:
    """Whether an event of one of these kinds stands after a position."""
    query = select(EVENT.c.position).where(EVENT.c.position > position, EVENT.c.kind.in_(kinds)).limit(1)
    return connection.execute(query).first() is not None


def streams_after(connection: Connection, position: int, kinds: Sequence[str]) -> set[str]:
    """The streams that got an event of one of these kinds after a position."""
    query = select(EVENT.c.stream).where(EVENT.c.position > position, EVENT.c.kind.in_(kinds)).distinct()
    return set(connection.scalars(query))


def last_of_kind(connection: Connection, kind: str, *, upto: int | None = None) -> Recorded | None:
    """The newest event of a kind; up to a position, where one is given."""
    query = select(EVENT).where(EVENT.c.kind == kind).order_by(EVENT.c.position.desc()).limit(1)
    row = connection.execute(query if upto is None else query.where(EVENT.c.position <= upto)).first()
    return _recorded(row) if row else None


def event_at(connection: Connection, stream: str | None = None, version: int | None = None) -> Recorded | None:
    """The event of a stream at a version; without a version its last one, without a stream the log's last one."""
    query = select(EVENT).order_by(EVENT.c.position.desc()).limit(1)
    if stream is not None:
        query = query.where(EVENT.c.stream == stream)
    if version is not None:
        query = query.where(EVENT.c.version == version)
    row = connection.execute(query).first()
    return _recorded(row) if row else None


def version_of(connection: Connection, stream: str) -> int:
    """The last version of a stream; 0 when nothing was ever appended to it."""
    return connection.scalar(select(func.max(EVENT.c.version)).where(EVENT.c.stream == stream)) or 0


def head_of(connection: Connection) -> Head:
    """The end of the log."""
    row = connection.execute(select(EVENT.c.position, EVENT.c.chain).order_by(EVENT.c.position.desc()).limit(1)).first()
    return Head(row.position, row.chain) if row else Head(0, GENESIS)


def copy_events(source: Connection, target: Connection) -> None:
    """Copies the log as it is into an empty one."""
    query = select(EVENT).order_by(EVENT.c.position).execution_options(yield_per=BATCH_EVENTS)
    with source.execute(query) as found:
        for rows in found.partitions():
            target.execute(insert(EVENT), [dict(row._mapping) for row in rows])


def _as_stored(event: Event) -> tuple[Event, bytes]:
    """The event as the log gives it back, and its payload.

    What a table can't hold as text (a NUL on PostgreSQL, half a character anywhere) is written out: `\\x00`, `\\udc80`.
    So projections are the same everywhere, and a failure whose detail holds such a thing is recorded like any other.
    """
    try:
        payload = to_payload(event)
    except UnicodeEncodeError:
        payload = b""
    if payload and rb"\u0000" not in payload:
        return event, payload
    plain = from_payload(event.kind, canonical_json(_written_out(asdict(event))))
    return plain, to_payload(plain)


def _written_out(value: Any) -> Any:
    match value:
        case str():
            return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
        case dict():
            return {key: _written_out(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_written_out(inner) for inner in value]
    return value


def _row(
    position: int, stream: str, version: int, kind: str, now: datetime, payload: bytes, chain: str
) -> dict[str, Any]:
    digest, at = sha256_of(payload), timestamp(now)
    return {
        "position": position,
        "stream": stream,
        "version": version,
        "kind": kind,
        "at": at,
        "payload": payload,
        "payload_sha256": digest,
        "chain": chained(chain, position, stream, version, kind, at, digest),
    }


def _recorded(row: Row[Any]) -> Recorded:
    event = from_payload(row.kind, row.payload, position=row.position)
    return Recorded(row.position, row.stream, row.version, parse_timestamp(row.at), event)


def chained(before: str, *columns: str | int) -> str:
    """The link of an event: the hash of the link before it and of its own columns."""
    return sha256_of(canonical_json([before, *columns]))


def sha256_of(payload: bytes) -> str:
    """The hash of a payload as it is stored."""
    return hashlib.sha256(payload).hexdigest()


def _blanked(payload: bytes, blank: dict[str, Any]) -> bytes:
    return canonical_json(json.loads(payload) | blank)
