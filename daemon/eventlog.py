"""The log: the only place where an event becomes true, and the only way to read events back.

    event(position, stream, version, kind, at, payload, payload_sha256, chain)

Writers take turns (`BEGIN IMMEDIATE`), so that positions run 1, 2, 3 … without holes in the order of commits and a
reader that tails the log misses nothing. Each row's `chain` is the hash of the row before and of its own columns:
altering, removing or reordering any event shows. Triggers refuse what the code would never do.

Everything that must stand or fall with an event (projections, the poll cache) is written in the same `Transaction`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import sqlalchemy
from sqlalchemy import Engine, Row, create_engine, func, insert, select, text, update
from sqlalchemy import event as sqlalchemy_events
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError
from sqlmodel import Field, LargeBinary, SQLModel, UniqueConstraint

from daemon.errors import ClaimwatchError, LogDamaged, StreamConflict
from daemon.events import (
    ItemRedacted,
    NewEvent,
    Recorded,
    Redaction,
    from_payload,
    parse_timestamp,
    timestamp,
    to_payload,
)
from daemon.rules import canonical_json

Connection: TypeAlias = sqlalchemy.Connection
"""What every read and write is given: the layers above ask through it and know no SQLAlchemy."""

GENESIS = "0" * 64
"""What the first event's chain builds on."""

REDACTABLE_KINDS = ("item_seen", "item_revised")
_BATCH_EVENTS = 2_000
_COLUMN_TYPES = {
    **dict.fromkeys(("position", "version"), int),
    **dict.fromkeys(("stream", "kind", "at", "payload_sha256", "chain"), str),
    "payload": bytes,
}


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


_event: Any = SQLModel.metadata.tables["event"]

_SQLITE_TRIGGERS = (
    """
    CREATE TRIGGER IF NOT EXISTS event_appends_at_the_end BEFORE INSERT ON event
    WHEN NEW.position IS NOT (SELECT coalesce(max(position), 0) + 1 FROM event)
      -- INSERT OR REPLACE would take the row that is in its way, and no DELETE trigger would hear of it.
      OR EXISTS (SELECT 1 FROM event WHERE stream = NEW.stream AND version = NEW.version)
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: an event goes to the last position + 1'); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS event_is_never_deleted BEFORE DELETE ON event
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: events are never deleted'); END
    """,
    """
    CREATE TRIGGER IF NOT EXISTS event_is_never_changed BEFORE UPDATE ON event
    WHEN NEW.position IS NOT OLD.position OR NEW.stream IS NOT OLD.stream OR NEW.version IS NOT OLD.version
      OR NEW.kind IS NOT OLD.kind OR NEW.at IS NOT OLD.at OR NEW.chain IS NOT OLD.chain
      OR NEW.payload_sha256 IS NOT OLD.payload_sha256
      OR NOT EXISTS (
        SELECT 1 FROM event AS redacted, json_each(CAST(redacted.payload AS TEXT), '$.redactions') AS redaction
        WHERE OLD.kind IN ('item_seen', 'item_revised')
          AND redacted.kind = 'item_redacted' AND redacted.stream = OLD.stream
          AND json_extract(redaction.value, '$.position') = OLD.position)
    BEGIN SELECT RAISE(ABORT, 'the log is append-only: events are never changed, save for a recorded redaction'); END
    """,
)


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
            row = _row(position, new, versions[new.stream], self.now, chain)
            chain = row["chain"]
            rows.append(row)
            recorded.append(Recorded(position, new.stream, row["version"], self.now, new.event))
        if rows:
            try:
                self.connection.execute(insert(_event), rows)
            except IntegrityError as error:
                raise StreamConflict() from error
        return recorded

    def redact(self, stream: str, reason: str, blank: dict[str, Any]) -> list[Recorded]:
        """Takes the text out of every item event of `stream`: each field named in `blank` is set to its value there.

        The row keeps the hash of what stood there, so the chain still verifies; the recorded `item_redacted` holds the
        hash of what is left, so that nothing can be slipped in afterwards.
        """
        rows = self.connection.execute(
            select(_event)
            .where(_event.c.stream == stream, _event.c.kind.in_(REDACTABLE_KINDS))
            .order_by(_event.c.position)
        ).all()
        if not rows:
            raise ClaimwatchError(
                f"{stream} has no text to take out", hint="Name the item as `claimwatch events` does."
            )
        payloads = {row.position: _blanked(row.payload, blank) for row in rows}
        for row in rows:
            # A field that the event does not have would make it unreadable for good.
            from_payload(row.kind, payloads[row.position], position=row.position)
        redactions = tuple(Redaction(position, _sha256(payload)) for position, payload in payloads.items())
        recorded = self.append([NewEvent(stream, ItemRedacted(reason, redactions))])
        for position, payload in payloads.items():
            self.connection.execute(update(_event).where(_event.c.position == position).values(payload=payload))
        return recorded


class EventLog:
    """The log in one database. `url` is an SQLAlchemy URL of SQLite."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = _sqlite_engine(url)

    def create(self) -> None:
        """Makes the tables and triggers where they are missing, in one transaction."""
        with self._connect(writing=True) as connection:
            SQLModel.metadata.create_all(connection)
            for trigger in _SQLITE_TRIGGERS:
                connection.execute(text(trigger))

    @contextmanager
    def transaction(self, now: datetime) -> Iterator[Transaction]:
        """The writer's turn: all that happens inside is committed together, or not at all."""
        with self._connect(writing=True) as connection:
            yield Transaction(connection, now)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the log, whatever is appended meanwhile."""
        with self._connect(writing=False) as connection:
            yield connection

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def _connect(self, *, writing: bool) -> Iterator[Connection]:
        with (
            _database_errors(self.url),
            self.engine.connect().execution_options(claimwatch_writes=writing) as connection,
            connection.begin(),
        ):
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
    query = select(_event).order_by(_event.c.position).limit(_BATCH_EVENTS)
    if kinds:
        query = query.where(_event.c.kind.in_(kinds))
    if stream is not None and stream.endswith("/"):
        query = query.where(_event.c.stream >= stream, _event.c.stream < stream[:-1] + "0")  # "0" comes after "/"
    elif stream is not None:
        query = query.where(_event.c.stream == stream)
    if since is not None:
        query = query.where(_event.c.at >= timestamp(since))
    if upto is not None:
        query = query.where(_event.c.position <= upto)
    while rows := connection.execute(query.where(_event.c.position > after)).all():
        yield from map(_recorded, rows)
        after = rows[-1].position


def last_of_kind(connection: Connection, kind: str) -> Recorded | None:
    """The newest event of a kind."""
    row = connection.execute(
        select(_event).where(_event.c.kind == kind).order_by(_event.c.position.desc()).limit(1)
    ).first()
    return _recorded(row) if row else None


def event_at(connection: Connection, stream: str | None = None, version: int | None = None) -> Recorded | None:
    """The event of a stream at a version; without a version its last one, without a stream the log's last one."""
    query = select(_event).order_by(_event.c.position.desc()).limit(1)
    if stream is not None:
        query = query.where(_event.c.stream == stream)
    if version is not None:
        query = query.where(_event.c.version == version)
    row = connection.execute(query).first()
    return _recorded(row) if row else None


def version_of(connection: Connection, stream: str) -> int:
    """The last version of a stream; 0 when nothing was ever appended to it."""
    return connection.scalar(select(func.max(_event.c.version)).where(_event.c.stream == stream)) or 0


def head_of(connection: Connection) -> Head:
    """The end of the log."""
    row = connection.execute(
        select(_event.c.position, _event.c.chain).order_by(_event.c.position.desc()).limit(1)
    ).first()
    return Head(row.position, row.chain) if row else Head(0, GENESIS)


def verify_chain(connection: Connection) -> Head:
    """Reads the whole log and checks positions, versions, hashes and chain.

    Raises LogDamaged naming the first event that does not add up. What was cut off at the end shows only against a
    head kept elsewhere: every digest names one.
    """
    redacted = _redacted_hashes(connection)
    head, versions = Head(0, GENESIS), dict[str, int]()
    query = select(_event).order_by(_event.c.position).execution_options(yield_per=_BATCH_EVENTS)
    for row in connection.execute(query):
        expected = versions.get(row.stream, 0) + 1
        if fault := _fault(row, head, expected, redacted):
            raise LogDamaged(
                f"event {row.position} ({row.stream} version {row.version}, {row.kind}): {fault}",
                hint="Restore the log from a backup, and keep this file: it shows what was changed.",
            )
        versions[row.stream] = row.version
        head = Head(row.position, row.chain)
    return head


def _fault(row: Row[Any], head: Head, version: int, redacted: Mapping[tuple[str, int], str | None]) -> str | None:
    if strange := [column for column, kind in _COLUMN_TYPES.items() if not isinstance(getattr(row, column), kind)]:
        return f"its {strange[0]} was altered: it is of another type"
    if row.position != head.position + 1:
        return f"it should stand at position {head.position + 1}: events are missing before it"
    if row.version != version:
        return f"its stream should be at version {version}"
    expected: str | None = row.payload_sha256
    if row.kind in REDACTABLE_KINDS:
        expected = redacted.get((row.stream, row.position), expected)
    if expected is not None and expected != _sha256(row.payload):
        return "its payload was altered"
    if row.chain != _chain(head.chain, row.position, row.stream, row.version, row.kind, row.at, row.payload_sha256):
        return "its chain does not follow from the event before it: it was altered, or events were reordered"
    return None


def _redacted_hashes(connection: Connection) -> dict[tuple[str, int], str | None]:
    """What redacted payloads hash to now; None where the redaction itself is damaged: that is named in its turn."""
    hashes: dict[tuple[str, int], str | None] = {}
    columns = (_event.c.stream, _event.c.position, _event.c.payload, _event.c.payload_sha256)
    query = select(*columns).where(_event.c.kind == ItemRedacted.kind).order_by(_event.c.position)
    for row in connection.execute(query):
        if not isinstance(row.payload, bytes) or _sha256(row.payload) != row.payload_sha256:
            before = select(_event.c.position).where(_event.c.stream == row.stream, _event.c.position < row.position)
            hashes |= dict.fromkeys(((row.stream, position) for position in connection.scalars(before)), None)
            continue
        event = from_payload(ItemRedacted.kind, row.payload, position=row.position)
        assert isinstance(event, ItemRedacted)
        hashes |= {(row.stream, redaction.position): redaction.payload_sha256 for redaction in event.redactions}
    return hashes


def copy_events(source: Connection, target: Connection) -> None:
    """Copies the log as it is into an empty one."""
    query = select(_event).order_by(_event.c.position).execution_options(yield_per=_BATCH_EVENTS)
    for rows in source.execute(query).partitions():
        target.execute(insert(_event), [dict(row._mapping) for row in rows])


def _row(position: int, new: NewEvent, version: int, now: datetime, chain: str) -> dict[str, Any]:
    payload = to_payload(new.event)
    digest, at = _sha256(payload), timestamp(now)
    return {
        "position": position,
        "stream": new.stream,
        "version": version,
        "kind": new.event.kind,
        "at": at,
        "payload": payload,
        "payload_sha256": digest,
        "chain": _chain(chain, position, new.stream, version, new.event.kind, at, digest),
    }


def _recorded(row: Row[Any]) -> Recorded:
    event = from_payload(row.kind, row.payload, position=row.position)
    return Recorded(row.position, row.stream, row.version, parse_timestamp(row.at), event)


def _chain(before: str, *columns: str | int) -> str:
    return _sha256(canonical_json([before, *columns]))


def _sha256(payload: bytes) -> str:
    return hashlib.sha256(payload).hexdigest()


def _blanked(payload: bytes, blank: dict[str, Any]) -> bytes:
    return canonical_json(json.loads(payload) | blank)


def _sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": 60})

    @sqlalchemy_events.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:
        # pysqlite must not open transactions by itself; "begin" below does.
        connection.isolation_level = None
        # With NORMAL, WAL lost 212 acknowledged commits in one of seven power cuts; with FULL none.
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")

    @sqlalchemy_events.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("claimwatch_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


@contextmanager
def _database_errors(url: str) -> Iterator[None]:
    try:
        yield
    except (OperationalError, DatabaseError) as error:
        if isinstance(error, IntegrityError):
            raise
        raise ClaimwatchError(
            f"the database {url} can't be used: {error.orig}",
            hint="Check that the file is a claimwatch log, that this user may write it, and that the disk has room.",
        ) from error


def sqlite_path(url: str) -> Path:
    """The file behind an SQLite URL."""
    return Path(url.removeprefix("sqlite:///"))
