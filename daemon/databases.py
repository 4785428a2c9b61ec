"""What differs between the databases that a log can stand in. Everything above speaks to all of them alike.

A database is a value: where it is, how it is shown (never with its password), whether a log is there, how a reader and
a writer begin, and the triggers that refuse what the code would never do.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TypeAlias

import sqlalchemy
from sqlalchemy import URL, Engine, NullPool, create_engine, make_url
from sqlalchemy import event as sqlalchemy_events
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateColumn

from daemon.errors import ClaimwatchError

Connection: TypeAlias = sqlalchemy.Connection
"""What every read and write is given: most layers above ask through it and know no SQLAlchemy."""


GUARDS = ("event_appends_at_the_end", "event_is_never_deleted", "event_is_never_changed")
"""The triggers of a log, whatever the database."""
ROOMY_KIB = 64_000


class Engines(NamedTuple):
    """The two ways into one database: readers see one state of it, writers take turns."""

    reading: Engine
    writing: Engine


@dataclass(frozen=True)
class Sqlite:
    """A log in an SQLite file: WAL, so that readers and the writer don't wait for each other."""

    path: Path
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
    unguards: ClassVar[tuple[str, ...]] = tuple(f"DROP TRIGGER IF EXISTS {name}" for name in GUARDS)

    def __str__(self) -> str:
        return f"sqlite:///{self.path}"

    def mend(self, _fault: str) -> str:
        """What to do about what the driver says."""
        return "Check that the file is a claimwatch log, that this user may write it, and that the disk has room."

    def has_log(self) -> bool:
        """Whether a log was ever begun here."""
        return self.path.is_file()

    def is_inside(self, folder: Path) -> bool:
        """Whether all of it lies in this folder."""
        return self.path.resolve().is_relative_to(folder.resolve())

    def engines(self) -> Engines:
        """The ways into it; nothing is opened yet."""
        engine = create_engine(
            URL.create("sqlite", database=str(self.path)), connect_args={"timeout": 60}, hide_parameters=True
        )
        engines = Engines(engine.execution_options(), engine.execution_options())

        @sqlalchemy_events.listens_for(engine, "connect")
        def configure(connection: Any, _record: object) -> None:
            # pysqlite must not open transactions by itself; "begin" below does.
            connection.isolation_level = None
            # With NORMAL, WAL lost 212 acknowledged commits in one of seven power cuts; with FULL none.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

        @sqlalchemy_events.listens_for(engine, "checkin")
        def rest(connection: Any, _record: object) -> None:
            # Two to four connections kept 3 MB of pages in an idle watch, and would keep 8; the system has them, too.
            # It takes 3 µs.
            if connection is not None:
                connection.execute("PRAGMA shrink_memory")

        _begin_with(engines.reading, "BEGIN")
        _begin_with(engines.writing, "BEGIN IMMEDIATE")
        return engines

    @contextmanager
    def with_room(self, connection: Connection) -> Iterator[None]:
        """For a transaction that makes all tables anew: with the usual 2 MB, its pages are written and read many times.

        It took three times as long. Afterwards the memory is given back.
        """
        connection.exec_driver_sql(f"PRAGMA cache_size=-{ROOMY_KIB}")
        try:
            yield
        finally:
            connection.exec_driver_sql("PRAGMA cache_size=-2000")
            connection.exec_driver_sql("PRAGMA shrink_memory")


def _guard(name: str, occasion: str, wrong: str, message: str) -> tuple[str, str]:
    """A trigger of PostgreSQL with its function. Whoever fires it, it looks at the log that it was made for."""
    refuse = f"RAISE EXCEPTION USING ERRCODE = 'integrity_constraint_violation', MESSAGE = '{message}';"
    function = f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT"
    return (
        f"{function} AS $$ BEGIN IF {wrong} THEN {refuse} END IF; RETURN NEW; END $$",
        f"CREATE OR REPLACE TRIGGER {name} BEFORE {occasion} EXECUTE FUNCTION {name}()",
    )


@dataclass(frozen=True)
class Postgresql:
    """A log in a PostgreSQL database (14 or newer). The password is part of `url`, whose repr hides it."""

    url: URL
    guards: ClassVar[tuple[str, ...]] = (
        *_guard(
            "event_appends_at_the_end",
            "INSERT ON event FOR EACH ROW",
            """
            NEW.position IS DISTINCT FROM (SELECT coalesce(max(position), 0) + 1 FROM event)
              -- Before ON CONFLICT looks, which would change the row that is in its way.
              OR EXISTS (SELECT FROM event WHERE stream = NEW.stream AND version = NEW.version)
            """,
            "the log is append-only: an event goes to the last position + 1",
        ),
        *_guard(
            "event_is_never_deleted",
            "DELETE OR TRUNCATE ON event FOR EACH STATEMENT",
            "true",
            "the log is append-only: events are never deleted",
        ),
        *_guard(
            "event_is_never_changed",
            "UPDATE ON event FOR EACH ROW",
            """
            (NEW.position, NEW.stream, NEW.version, NEW.kind, NEW.at, NEW.payload_sha256, NEW.chain)
              IS DISTINCT FROM (OLD.position, OLD.stream, OLD.version, OLD.kind, OLD.at, OLD.payload_sha256, OLD.chain)
              OR OLD.kind NOT IN ('item_seen', 'item_revised')
              OR NOT EXISTS (
                SELECT FROM event AS redacted,
                  json_array_elements(convert_from(redacted.payload, 'UTF8')::json -> 'redactions') AS redaction
                WHERE redacted.kind = 'item_redacted' AND redacted.stream = OLD.stream
                  AND (redaction ->> 'position')::integer = OLD.position)
            """,
            "the log is append-only: events are never changed, save for a recorded redaction",
        ),
    )
    unguards: ClassVar[tuple[str, ...]] = tuple(f"DROP TRIGGER IF EXISTS {name} ON event" for name in GUARDS)

    def __str__(self) -> str:
        return self.url.set(drivername="postgresql").render_as_string(hide_password=True)

    def mend(self, fault: str) -> str:
        """What to do about what the driver says."""
        if "password" in fault:
            return "Check the password: database: password_file:, the credential database-password, or ~/.pgpass."
        if "does not exist" in fault and "database" in fault:
            return "Make the database first: createdb --encoding=UTF8 --template=template0 NAME"
        if "permission denied" in fault:
            return "Let this user make tables there: GRANT CREATE ON SCHEMA public TO USER"
        return "Check that the server is up and reachable, and that host and port are right."

    def has_log(self) -> bool:
        """Whether a log was ever begun here."""
        with self.session("claimwatch") as connection:
            return connection.exec_driver_sql("SELECT to_regclass('event')").scalar() is not None

    def is_inside(self, folder: Path) -> bool:
        """A server's database lies in no folder of ours."""
        return False

    @property
    def wants_password(self) -> bool:
        """Whether a user is named without a password."""
        return self.url.username is not None and self.url.password is None

    def with_password(self, password: str | None) -> Postgresql:
        """The same database, opened with a password."""
        return Postgresql(self.url.set(password=password))

    def engines(self) -> Engines:
        """The ways into it; nothing is opened yet."""
        # Asked before it is used, because a server that was restarted leaves dead connections in the pool.
        engine = self._engine("claimwatch", pool_pre_ping=True)
        reading = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        # The last position is read after the turn came, and by statements that see what was committed until then.
        writing = engine.execution_options(isolation_level="READ COMMITTED")
        _begin_with(writing, f"SELECT pg_advisory_xact_lock({LOCKS}, {TURN})")
        return Engines(reading, writing)

    def with_room(self, connection: Connection) -> AbstractContextManager[None]:
        """Nothing: the server has its own memory."""
        return nullcontext()

    @contextmanager
    def session(self, name: str) -> Iterator[Connection]:
        """A connection of its own under a name that others can see, outside of transactions."""
        engine = self._engine(name, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with database_errors(self), engine.connect() as connection:
            yield connection

    def _engine(self, name: str, **options: Any) -> Engine:
        settings = {key: value for key, value in _CONNECTION.items() if key not in self.url.query}
        try:
            engine = create_engine(
                self.url, connect_args={**settings, "application_name": name}, hide_parameters=True, **options
            )
        except ImportError as error:
            raise ClaimwatchError(
                "a log in PostgreSQL needs the driver psycopg",
                hint=f"{sys.executable} -m pip install 'psycopg[binary]'",
            ) from error

        @sqlalchemy_events.listens_for(engine, "connect")
        def configure(connection: Any, _record: object) -> None:
            encoding = connection.info.parameter_status("server_encoding")
            if encoding != "UTF8":
                raise ClaimwatchError(
                    f"the database {self} is encoded in {encoding}, which can't hold every text",
                    hint="Make another: CREATE DATABASE claimwatch ENCODING 'UTF8' TEMPLATE template0",
                )
            with connection.cursor() as cursor:
                cursor.execute(_SESSION)
            connection.commit()

        return engine


LOCKS, TURN, WRITER = 0x636C6D77, 1, 2
"""The advisory locks of a log: all of ours, the turn of a transaction, the one writer (see `locks`)."""

# A server that vanished without a word is given up after half a minute, here as there.
_CONNECTION = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 4,
    "tcp_user_timeout": 30_000,
}
_SESSION = """
SELECT set_config('lock_timeout', '60s', false),
  set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false),
  set_config('tcp_keepalives_count', '4', false), set_config('idle_session_timeout', '0', false),
  -- What was acknowledged must be there after a crash, whatever this database's default says.
  CASE current_setting('synchronous_commit') WHEN 'off' THEN set_config('synchronous_commit', 'on', false) END
"""

Database: TypeAlias = Sqlite | Postgresql


def database_at(address: str) -> Database:
    """The database that an SQLAlchemy URL names. Raises ValueError, with what to write instead on a second line.

    Nothing of the address is repeated there: it may hold a password.
    """
    if address.startswith("postgres://"):
        address = address.replace("postgres://", "postgresql://", 1)
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        hint = _SPECIAL_CHARACTERS if "@" in address else _FORMS
        raise ValueError(f"no address of a database\n{hint}") from None
    if url.drivername in ("sqlite", "sqlite+pysqlite"):
        return _sqlite_at(url)
    if url.drivername in ("postgresql", "postgresql+psycopg"):
        return _postgresql_at(url)
    raise ValueError(f"there is no log in {url.drivername}\n{_FORMS}")


def _sqlite_at(url: URL) -> Sqlite:
    if not url.database or url.database == ":memory:" or url.host or url.query:
        raise ValueError(f"no SQLite file\n{_FORMS}")
    return Sqlite(Path(url.database))


def _postgresql_at(url: URL) -> Postgresql:
    if not url.database:
        raise ValueError(f"no PostgreSQL database\n{_FORMS}")
    if "@" in (url.host or "") or "@" in url.database:
        raise ValueError(f"no address of a database\n{_SPECIAL_CHARACTERS}")
    if secret := {"password", "sslpassword"} & set(url.query):
        raise ValueError(f"{secret.pop()} stands behind the ?\nPut the password into a file: password_file: FILE")
    return Postgresql(url.set(drivername="postgresql+psycopg"))


_FORMS = "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE, or leave it out for a file in the state directory."
_SPECIAL_CHARACTERS = "In a user's name and a password, write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25."


@contextmanager
def database_errors(database: Database) -> Iterator[None]:
    """What the database can't do is told as our own error, with what to do about it."""
    try:
        yield
    except IntegrityError:
        raise
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        raise ClaimwatchError(f"the database {database} can't be used: {reason}", hint=database.mend(reason)) from error


def _begin_with(engine: Engine, statement: str) -> None:
    """Every transaction of this engine begins with a statement."""

    @sqlalchemy_events.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(statement)


@compiles(CreateColumn, "postgresql")
def _ordered_by_bytes(created: CreateColumn, compiler: Any, **options: Any) -> Any:
    """A column as PostgreSQL makes it: text in the order of its bytes, as on SQLite, not in that of some language."""
    return compiler.visit_create_column(created, **options).replace(" VARCHAR", ' VARCHAR COLLATE "C"', 1)
