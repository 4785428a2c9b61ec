"""Which form the tables of a database have: a number that stands in it, beside the release that made them so."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import delete, insert, inspect, select
from sqlmodel import Field, SQLModel

from daemon import __version__
from daemon.databases import Connection

SCHEMA_VERSION = 1
"""Raise it with every change of a table, a column, an index or a trigger, and wherever the projections of the same log
come to hold other things. A log of an earlier version is brought up to it when the next command writes (`migrations`);
tests/test_migrations.py holds the fingerprint that goes with it."""


class SchemaVersionRow(SQLModel, table=True):
    """The one row that says by which version of the tables a database was made, and by which release."""

    __tablename__ = "schema_version"
    version: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    release: str


class Made(NamedTuple):
    """What made the tables of a database: version 0 kept no record of itself."""

    version: int
    release: str = "0.1.0 or earlier"


_ROW: Any = SQLModel.metadata.tables["schema_version"]


def made_by(connection: Connection) -> Made | None:
    """What made the tables; None where no log was ever begun."""
    schema = inspect(connection)
    if not schema.has_table("event"):
        return None
    if not schema.has_table(_ROW.name):
        return Made(0)
    row = connection.execute(select(_ROW.c.version, _ROW.c.release)).first()
    return Made(row.version, row.release) if row else Made(0)


def put_version(connection: Connection) -> None:
    """Notes that the tables are those of this program."""
    connection.execute(delete(_ROW))
    connection.execute(insert(_ROW), {"version": SCHEMA_VERSION, "release": __version__})
