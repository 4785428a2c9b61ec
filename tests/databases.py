"""An empty database for one test, of each kind that a log can stand in, and what each kind does in its own way.

Those of PostgreSQL are made in the cluster that `CLAIMWATCH_TEST_POSTGRES` names (see `tests.cluster`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import Connection, NullPool, Table, create_engine, make_url, text

from daemon.databases import Sqlite
from daemon.eventlog import EventLog
from tests.cluster import VARIABLE

Statement = tuple[str, dict[str, Any]]
Dump = dict[str, list[tuple[str, ...]]]


class AnyDatabase(Protocol):
    """What tests need of a database besides its URL."""

    url: str

    def meddle(self, *statements: Statement) -> None:
        """Runs statements in one transaction behind the program's back, as in any SQL tool; each must hit a row."""

    def break_in(self, *statements: Statement) -> None:
        """The same past the triggers, as somebody with the password or the file can."""

    def triggers(self) -> int:
        """How many triggers guard the log."""

    def copied(self, folder: Path) -> AbstractContextManager[AnyDatabase]:
        """Another database with the same in it, for as long as it is needed; a file goes into the folder."""

    def dump(self, tables: Iterable[Table]) -> Dump:
        """Every row of these tables as the database itself would write it in SQL: values, and types where they vary."""


class SqliteDatabase:
    def __init__(self, file: Path) -> None:
        self.file = file
        self.url = f"sqlite:///{self.file}"

    def meddle(self, *statements: Statement) -> None:
        with closing(sqlite3.connect(self.file)) as raw, raw:
            for statement, values in statements:
                assert raw.execute(statement, values).rowcount != 0

    def break_in(self, *statements: Statement) -> None:
        with closing(sqlite3.connect(self.file)) as raw, raw:
            for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
                raw.execute(f"DROP TRIGGER {name}")
        self.meddle(*statements)

    def triggers(self) -> int:
        with closing(sqlite3.connect(self.file)) as raw:
            count: int = raw.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger'").fetchone()[0]
        return count

    @contextmanager
    def copied(self, folder: Path) -> Iterator[SqliteDatabase]:
        copy = folder / self.file.name
        shutil.copy(self.file, copy)
        yield SqliteDatabase(copy)

    def dump(self, tables: Iterable[Table]) -> Dump:
        with closing(sqlite3.connect(self.file)) as raw:
            return {table.name: sorted(raw.execute(_quoting(table, "quote"))) for table in tables}


class PostgresqlDatabase:
    def __init__(self, url: str) -> None:
        self.url = url

    def meddle(self, *statements: Statement) -> None:
        with _connected(self.url) as raw, raw.begin():
            for statement, values in statements:
                assert raw.execute(text(statement), values).rowcount != 0

    def break_in(self, *statements: Statement) -> None:
        with _connected(self.url) as raw, raw.begin():
            raw.exec_driver_sql("ALTER TABLE event DISABLE TRIGGER USER")
        self.meddle(*statements)

    def triggers(self) -> int:
        with _connected(self.url) as raw:
            count: int = raw.exec_driver_sql("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal").scalar_one()
        return count

    def copied(self, folder: Path) -> AbstractContextManager[PostgresqlDatabase]:
        return postgresql(f"TEMPLATE {make_url(self.url).database}")

    def dump(self, tables: Iterable[Table]) -> Dump:
        with _connected(self.url) as raw:
            found = {table.name: raw.exec_driver_sql(_quoting(table, "quote_nullable")).all() for table in tables}
        return {name: sorted(map(tuple, rows)) for name, rows in found.items()}


def _quoting(table: Table, function: str) -> str:
    columns = ", ".join(f'{function}("{column.name}")' for column in table.columns)
    return f'SELECT {columns} FROM "{table.name}"'


@contextmanager
def _connected(url: str) -> Iterator[Connection]:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


@contextmanager
def postgresql(options: str = "") -> Iterator[PostgresqlDatabase]:
    """A new database in the cluster, dropped in the end. `options` are more of CREATE DATABASE."""
    address = os.environ.get(VARIABLE)
    if not address:
        pytest.skip("there is no PostgreSQL here: `make test-pg` brings one")
    name = f"claimwatch_{uuid.uuid4().hex}"
    with _connected(address) as administrator:
        administrator.execution_options(isolation_level="AUTOCOMMIT")
        administrator.exec_driver_sql(f"CREATE DATABASE {name} {options}")
    try:
        yield PostgresqlDatabase(make_url(address).set(database=name).render_as_string(hide_password=False))
    finally:
        with _connected(address) as administrator:
            administrator.execution_options(isolation_level="AUTOCOMMIT")
            administrator.exec_driver_sql(f"DROP DATABASE {name} WITH (FORCE)")


ON_BOTH = ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)]
"""The values of a fixture's or a test's parameter: `make test-pg` runs those that are marked."""


@contextmanager
def database_of(kind: str, folder: Path) -> Iterator[AnyDatabase]:
    """An empty database of a kind."""
    if kind == "sqlite":
        yield SqliteDatabase(folder / "claimwatch.sqlite3")
    else:
        with postgresql() as database:
            yield database


def behind(log: EventLog) -> AnyDatabase:
    """The database that a log stands in."""
    if isinstance(log.database, Sqlite):
        return SqliteDatabase(log.database.path)
    return PostgresqlDatabase(log.database.url.render_as_string(hide_password=False))
