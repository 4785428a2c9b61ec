"""What differs between the databases that a log can stand in. Everything above speaks to all of them alike.

A database is a value: where it is, how it is shown (never with its password), whether a log is there, how a reader and
a writer begin, and the triggers that refuse what the code would never do.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import sqlalchemy
from sqlalchemy import URL, Engine, create_engine
from sqlalchemy import event as sqlalchemy_events
from sqlalchemy.exc import DBAPIError, IntegrityError

from daemon.errors import ClaimwatchError


class Engines(NamedTuple):
    """The two ways into one database: readers see one state of it, writers take turns."""

    reading: Engine
    writing: Engine


@dataclass(frozen=True)
class Sqlite:
    """A log in an SQLite file: WAL, so that readers and the writer don't wait for each other."""

    path: Path
    hint: ClassVar[str] = (
        "Check that the file is a claimwatch log, that this user may write it, and that the disk has room."
    )
    guards: ClassVar[tuple[str, ...]] = (
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
        BEGIN
          SELECT RAISE(ABORT, 'the log is append-only: events are never changed, save for a recorded redaction');
        END
        """,
    )

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"

    def has_log(self) -> bool:
        """Whether a log was ever begun here."""
        return self.path.is_file()

    def is_inside(self, folder: Path) -> bool:
        """Whether all of it lies in this folder."""
        return self.path.resolve().is_relative_to(folder.resolve())

    def engines(self) -> Engines:
        """The ways into it; nothing is opened yet."""
        engine = create_engine(URL.create("sqlite", database=str(self.path)), connect_args={"timeout": 60})
        engines = Engines(engine.execution_options(), engine.execution_options())

        @sqlalchemy_events.listens_for(engine, "connect")
        def configure(connection: Any, _record: object) -> None:
            # pysqlite must not open transactions by itself; "begin" below does.
            connection.isolation_level = None
            # With NORMAL, WAL lost 212 acknowledged commits in one of seven power cuts; with FULL none.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

        _begin_with(engines.reading, "BEGIN")
        _begin_with(engines.writing, "BEGIN IMMEDIATE")
        return engines


Database: TypeAlias = Sqlite


def database_at(address: str) -> Database:
    """The database that an SQLAlchemy URL names."""
    return Sqlite(Path(address.removeprefix("sqlite:///")))


@contextmanager
def database_errors(database: Database) -> Iterator[None]:
    """What the database can't do is told as our own error, with what to do about it."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise ClaimwatchError(f"the database {database} can't be used: {reason}", hint=database.hint) from error


def _begin_with(engine: Engine, statement: str) -> None:
    """Every transaction of this engine begins with a statement."""

    @sqlalchemy_events.listens_for(engine, "begin")
    def begin(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql(statement)
