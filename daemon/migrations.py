"""A log that another release wrote: brought up to the tables of this one, in one transaction, or refused.

Only the log itself can't be made anew, so only for `event` a version may need a step. All other tables are dropped and
made again as this release has them: the projections from the log, the caches from what stood in them. Whoever is killed
meanwhile leaves the database as it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Table, insert, inspect, select

from daemon import sdnotify
from daemon.comparison import outdated_table
from daemon.errors import ClaimwatchError
from daemon.eventlog import EVENT, EventLog, head_of
from daemon.projections import rebuild
from daemon.schemaversion import SCHEMA_VERSION, Made, made_by, put_version
from daemon.tables import BackfillRow, PollRow, table_of

logger = logging.getLogger(__name__)

Step = Callable[[Connection], None]

STEPS: Mapping[int, Step] = {}
"""What a version asks of the table `event`, by the version that it leads to. The log's triggers are off meanwhile; an
index that is new is made by itself."""
RETIRED: tuple[str, ...] = ()
"""Tables that an earlier version made and this one does not have."""

CACHES: tuple[Any, ...] = (PollRow, BackfillRow)
"""What the log can't give back. Losing it costs a full fetch of each feed, so it is carried over."""
TOLD_SECONDS = 10.0
START_SECONDS = 60
"""How much longer systemd is asked to wait for the start, each time that there is progress."""


def refuse_unfit(log: EventLog) -> None:
    """Raises ClaimwatchError where this program can't work on the tables as they stand, with what to do."""
    with log.reading() as connection:
        made = _not_newer(log, connection)
        outdated = outdated_table(connection)
    if outdated is None and made.version < SCHEMA_VERSION:
        outdated = f"they are of version {made.version}, and this is {SCHEMA_VERSION}"
    if outdated:
        raise ClaimwatchError(
            f"the tables of this log were made by an older claimwatch: {outdated}",
            hint="Run `claimwatch rebuild`, or start the watch: it makes them anew from the log, which stays as it is.",
        )


def bring_up(log: EventLog, now: datetime, *, steps: Mapping[int, Step] = STEPS) -> int | None:
    """Makes the log's tables those of this release, as its one writer; returns the number of events they were made of.

    None where nothing had to be done. Raises ClaimwatchError where a newer release made them.
    """
    log.create()
    with log.transaction(now) as transaction:
        connection = transaction.connection
        made = _not_newer(log, connection)
        if made.version == SCHEMA_VERSION and outdated_table(connection) is None:
            return None
        with log.database.with_room(connection):
            return _migrate(log, connection, made, steps)


def _not_newer(log: EventLog, connection: Connection) -> Made:
    made = made_by(connection) or Made(SCHEMA_VERSION)
    if made.version > SCHEMA_VERSION:
        versions = f"tables of version {made.version}; this one knows {SCHEMA_VERSION}"
        raise ClaimwatchError(
            f"the log {log.database} was written by a newer claimwatch ({made.release}, {versions})",
            hint=f"Install claimwatch {made.release} or newer, or put back a copy of the log from before the upgrade.",
        )
    return made


def _migrate(log: EventLog, connection: Connection, made: Made, steps: Mapping[int, Step]) -> int:
    events = head_of(connection).position
    progress = _Progress(events)
    logger.info("action=migrating from=%d to=%d events=%d", made.version, SCHEMA_VERSION, events)
    for statement in log.database.unguards:
        connection.exec_driver_sql(statement)
    for version in range(made.version + 1, SCHEMA_VERSION + 1):
        if step := steps.get(version):
            step(connection)
    kept = {row: _rows(connection, row) for row in CACHES}
    for name in RETIRED:
        connection.exec_driver_sql(f'DROP TABLE IF EXISTS "{name}"')
    besides = _besides_the_log()
    EVENT.metadata.drop_all(connection, tables=besides)
    EVENT.metadata.create_all(connection, tables=besides)
    for index in EVENT.indexes:
        index.create(connection, checkfirst=True)
    for guard in log.database.guards:
        connection.exec_driver_sql(guard)
    for row, rows in kept.items():
        if rows:
            connection.execute(insert(table_of(row)), rows)
    count = rebuild(connection, progress.told)
    put_version(connection)
    logger.info("action=migrated events=%d seconds=%.1f", count, progress.seconds)
    return count


def _besides_the_log() -> list[Table]:
    return [table for table in EVENT.metadata.sorted_tables if table is not EVENT]


def _rows(connection: Connection, row: Any) -> list[dict[str, Any]]:
    """A cache's rows as this release writes them: what is new in it has its default, else the cache is empty."""
    table = table_of(row)
    schema = inspect(connection)
    if not schema.has_table(table.name):
        return []
    standing = {column["name"] for column in schema.get_columns(table.name)}
    shared = [column for column in table.columns if column.name in standing]
    fresh = [name for name, field in row.model_fields.items() if field.is_required() and name not in standing]
    if fresh:
        logger.info("action=cache_dropped table=%s: %s is new in it", table.name, ", ".join(fresh))
        return []
    return [row(**found._mapping).model_dump() for found in connection.execute(select(*shared))]


class _Progress:
    """Tells of a long migration: a line now and then, and systemd that the start still goes on."""

    def __init__(self, events: int) -> None:
        self._events = events
        self._begun = self._told = self._extended = time.monotonic()

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def told(self, done: int) -> None:
        now = time.monotonic()
        if now - self._extended >= 1:
            self._extended = now
            sdnotify.starting(f"bringing the log up to date: {done:,} of {self._events:,} events", START_SECONDS)
        if now - self._told >= TOLD_SECONDS:
            self._told = now
            logger.info("action=migrating done=%d events=%d", done, self._events)
