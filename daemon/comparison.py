"""Whether the tables besides the log are what the program expects: their columns, and their rows against others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, Table, inspect, select

from daemon.projections import PROJECTIONS


def outdated_table(connection: Connection) -> str | None:
    """Where a table is not as this version writes it: which one, and what it lacks. None when none is."""
    schema = inspect(connection)
    present = set(schema.get_table_names())
    for table in PROJECTIONS[0].metadata.sorted_tables:
        if table.name not in present:
            return f"there is no table {table.name}"
        columns = {column["name"] for column in schema.get_columns(table.name)}
        if missing := [column.name for column in table.columns if column.name not in columns]:
            return f"the table {table.name} has no column {', '.join(missing)}"
    return None


def first_difference(standing: Connection, rebuilt: Connection) -> str | None:
    """Where two sets of projections differ first: the table, the row's key, the columns. None when they are equal."""
    for table in PROJECTIONS:
        for key, ours, theirs in _paired(_rows(standing, table), _rows(rebuilt, table)):
            if ours != theirs:
                return f"table {table.name}, row {' / '.join(map(str, key))}: {_difference(ours, theirs)}"
    return None


Keyed = tuple[tuple[Any, ...], Mapping[str, Any]]


def _rows(connection: Connection, table: Table) -> list[Keyed]:
    """A table's rows under their keys, in an order that no database's collation decides."""
    keys = [column.name for column in table.primary_key.columns]
    rows = [dict(row._mapping) for row in connection.execute(select(table))]
    return sorted(((tuple(row[key] for key in keys), row) for row in rows), key=lambda pair: pair[0])


def _paired(
    left: list[Keyed], right: list[Keyed]
) -> Iterator[tuple[tuple[Any, ...], Mapping[str, Any] | None, Mapping[str, Any] | None]]:
    ours, theirs = dict(left), dict(right)
    for key in sorted(ours.keys() | theirs.keys()):
        yield key, ours.get(key), theirs.get(key)


def _difference(ours: Mapping[str, Any] | None, theirs: Mapping[str, Any] | None) -> str:
    if ours is None:
        return "it is missing, the log has it"
    if theirs is None:
        return "it is there, the log does not have it"
    columns = [column for column in ours if ours[column] != theirs[column]]
    return ", ".join(f"{column} is {ours[column]!r}, the log says {theirs[column]!r}" for column in columns)
