"""A log that another release wrote opens in this one, whole or not at all; one of a newer release is refused."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, inspect
from sqlalchemy.dialects import postgresql as postgresql_dialect
from sqlalchemy.dialects import sqlite as sqlite_dialect
from sqlalchemy.schema import CreateIndex, CreateTable

from daemon.assembly import reading, verify, writing
from daemon.databases import Postgresql, Sqlite
from daemon.errors import ClaimwatchError
from daemon.eventlog import EVENT, EventLog, head_of, read
from daemon.migrations import CACHES, bring_up, refuse_unfit
from daemon.schemaversion import SCHEMA_VERSION, made_by
from daemon.tables import PollRow, table_of
from tests.databases import ON_BOTH, AnyDatabase, SqliteDatabase, behind, database_of
from tests.oldlogs import names, put_into_postgresql, put_into_sqlite

NOW = datetime(2025, 3, 19, 12, tzinfo=UTC)

FINGERPRINT = (1, "c5096e875cbb10b7")
"""The version of the tables, and what they are then."""

CONFIG = """
feeds: {gazette: http://127.0.0.1:9/gazette.xml}
claims:
  prisoner-exchange: {terms: prisoner exchange}
digests:
  daily: {at: "07:30", timezone: UTC}
"""


def fingerprint() -> str:
    """A hash of every table, column, index and trigger, as both databases make them."""
    made: list[str] = [*Sqlite.guards, *Postgresql.guards]
    for dialect in (sqlite_dialect.dialect(), postgresql_dialect.dialect()):  # type: ignore[no-untyped-call]
        for table in EVENT.metadata.sorted_tables:
            indexes = sorted(str(CreateIndex(index).compile(dialect=dialect)) for index in table.indexes)
            made += [str(CreateTable(table).compile(dialect=dialect)), *indexes]
    return hashlib.sha256("\n".join(" ".join(one.split()) for one in made).encode()).hexdigest()[:16]


def test_whoever_changes_the_tables_raises_their_version() -> None:
    now = (SCHEMA_VERSION, fingerprint())
    assert now == FINGERPRINT, (
        "The tables differ from those of the version that is noted here. Raise SCHEMA_VERSION in "
        f"daemon/schemaversion.py, then note FINGERPRINT = {now} here."
    )


# ── logs that earlier releases wrote ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture(params=names())
def old(request: pytest.FixtureRequest, database: AnyDatabase) -> AnyDatabase:
    """A database with the log of an earlier release in it, in each kind."""
    if isinstance(database, SqliteDatabase):
        put_into_sqlite(request.param, database.file)
    else:
        put_into_postgresql(request.param, database.url)
    return database


@pytest.fixture
def old_log(old: AnyDatabase) -> Iterator[EventLog]:
    with closing(EventLog(old.url)) as log:
        yield log


def shape(connection: Connection) -> dict[str, Any]:
    """All tables with their columns and indexes, as the database tells them."""
    schema = inspect(connection)
    return {
        table: (
            [(column["name"], str(column["type"]), column["nullable"]) for column in schema.get_columns(table)],
            sorted((index["name"] or "", tuple(index["column_names"])) for index in schema.get_indexes(table)),
        )
        for table in schema.get_table_names()
    }


def caches(log: EventLog) -> dict[str, list[tuple[str, ...]]]:
    return behind(log).dump([table_of(row) for row in CACHES])


def test_there_is_a_log_of_the_first_release() -> None:
    assert "schema-0" in names()


def test_an_old_log_opens_and_holds(old_log: EventLog) -> None:
    with old_log.reading() as connection:
        head = head_of(connection)
    assert bring_up(old_log, NOW) == head.position
    assert verify(old_log) == head
    refuse_unfit(old_log)
    assert bring_up(old_log, NOW) is None
    with old_log.reading() as connection:
        kinds = {one.event.kind for one in read(connection)}
    assert {"item_revised", "claim_matched", "feed_failed", "digest_prepared", "backfill_finished"} <= kinds


def test_an_old_log_gets_the_tables_and_triggers_of_a_new_one(
    old_log: EventLog, old: AnyDatabase, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    bring_up(old_log, NOW)
    kind = "sqlite" if isinstance(old, SqliteDatabase) else "postgresql"
    (tmp_path / "new").mkdir()
    with database_of(kind, tmp_path / "new") as database, closing(EventLog(database.url)) as fresh:
        fresh.create()
        with old_log.reading() as ours, fresh.reading() as theirs:
            assert shape(ours) == shape(theirs)
        assert old.triggers() == database.triggers()


def test_what_was_known_of_the_feeds_is_carried_over(old_log: EventLog) -> None:
    with old_log.reading() as connection:
        before = connection.exec_driver_sql("SELECT feed, url, body_sha256, next_due FROM poll ORDER BY feed").all()
    bring_up(old_log, NOW)
    with old_log.reading() as connection:
        after = connection.exec_driver_sql("SELECT feed, url, body_sha256, next_due FROM poll ORDER BY feed").all()
    assert after == before
    assert [row.feed for row in before] == ["gazette", "herald"]


def test_a_column_that_is_new_in_a_cache_gets_its_default(old_log: EventLog, old: AnyDatabase) -> None:
    alter(old, "ALTER TABLE poll DROP COLUMN failures")
    bring_up(old_log, NOW)
    with old_log.reading() as connection:
        assert connection.exec_driver_sql("SELECT feed, failures FROM poll ORDER BY feed").all() == [
            ("gazette", PollRow.model_fields["failures"].default),
            ("herald", 0),
        ]


def test_a_cache_that_lacks_what_has_no_default_is_begun_anew(
    old_log: EventLog, old: AnyDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    alter(old, "ALTER TABLE poll DROP COLUMN url")
    with caplog.at_level(logging.INFO):
        bring_up(old_log, NOW)
    assert "action=cache_dropped table=poll: url is new in it" in caplog.text
    assert caches(old_log)["poll"] == []
    verify(old_log)


def alter(database: AnyDatabase, statement: str) -> None:
    """Changes the tables behind the program's back; unlike `meddle`, no row is hit."""
    with closing(EventLog(database.url)) as log, log.transaction(NOW) as transaction:
        transaction.connection.exec_driver_sql(statement)


# ── steps that the log itself needs ──────────────────────────────────────────────────────────────────────────────


def test_a_step_changes_the_log_past_its_triggers_which_then_stand_again(old_log: EventLog, old: AnyDatabase) -> None:
    with old_log.reading() as connection:
        kinds = [one.event.kind for one in read(connection)]

    def step(connection: Connection) -> None:
        connection.exec_driver_sql("ALTER TABLE event ADD COLUMN origin TEXT")
        connection.exec_driver_sql("UPDATE event SET origin = 'here'")

    bring_up(old_log, NOW, steps={1: step, SCHEMA_VERSION + 1: not_yet})
    with old_log.reading() as connection:
        assert connection.exec_driver_sql("SELECT DISTINCT origin FROM event").scalar() == "here"
        assert [one.event.kind for one in read(connection)] == kinds
    with pytest.raises(Exception, match="append-only"):
        alter(old, "DELETE FROM event")


def not_yet(connection: Connection) -> None:
    raise AssertionError("a step of a version that is not ours")


def test_a_migration_that_fails_leaves_the_database_as_it_was(old_log: EventLog, old: AnyDatabase) -> None:
    def step(connection: Connection) -> None:
        connection.exec_driver_sql("DROP TABLE item")
        raise ClaimwatchError("the disk is full")

    with old_log.reading() as connection:
        before = shape(connection)
    guards = old.triggers()
    with pytest.raises(ClaimwatchError, match="the disk is full"):
        bring_up(old_log, NOW, steps={1: step})
    with old_log.reading() as connection:
        assert shape(connection) == before
        assert made_by(connection) == (0, "0.1.0 or earlier")
    assert old.triggers() == guards


KILLED_AT_THE_END = """
import logging, os, signal, sys
from datetime import UTC, datetime
from daemon.eventlog import EventLog
from daemon.migrations import bring_up

class Killer(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("action=migrated"):
            os.kill(os.getpid(), signal.SIGKILL)

logging.getLogger().addHandler(Killer())
logging.getLogger().setLevel(logging.INFO)
bring_up(EventLog(sys.argv[1]), datetime.now(UTC))
"""


def test_a_migration_that_is_killed_before_it_is_done_is_done_again(old_log: EventLog, old: AnyDatabase) -> None:
    with old_log.reading() as connection:
        before = shape(connection)
    killed = subprocess.run([sys.executable, "-c", KILLED_AT_THE_END, old.url], check=False, timeout=60)
    assert killed.returncode == -9
    with old_log.reading() as connection:
        assert shape(connection) == before
    assert bring_up(old_log, NOW)
    verify(old_log)


# ── by the commands ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    """A folder with feeds.yaml, and a state folder with the log of the first release."""
    (tmp_path / "feeds.yaml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "state").mkdir()
    put_into_sqlite("schema-0", tmp_path / "state" / "claimwatch.sqlite3")
    return tmp_path


def test_readers_of_an_old_log_say_what_to_do_and_the_next_writer_does_it(
    desk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config, state = desk / "feeds.yaml", desk / "state"
    with pytest.raises(ClaimwatchError, match="made by an older claimwatch") as told, reading(config, state):
        pass
    assert "claimwatch rebuild" in told.value.hint
    with caplog.at_level(logging.INFO), writing(config, state, "poll") as installation:
        assert installation.rebuilt
    assert f"action=migrating from=0 to={SCHEMA_VERSION} events={installation.rebuilt}" in caplog.text
    with reading(config, state) as installation:
        verify(installation.log)


@pytest.mark.parametrize("kind", ON_BOTH)
def test_a_log_of_a_newer_release_is_refused_by_all(kind: str, tmp_path: Path) -> None:
    config = tmp_path / "feeds.yaml"
    with database_of(kind, tmp_path) as database:
        config.write_text(f"{CONFIG}database: {{url: '{database.url}'}}\n", encoding="utf-8")
        with writing(config, tmp_path, "poll"):
            pass
        database.meddle(("UPDATE schema_version SET version = version + 1, release = '9.8.7'", {}))
        for opened in (reading(config, tmp_path), writing(config, tmp_path, "poll")):
            with (
                pytest.raises(ClaimwatchError, match=r"written by a newer claimwatch \(9\.8\.7, tables of") as told,
                opened,
            ):
                pass
            assert told.value.hint.startswith("Install claimwatch 9.8.7 or newer")
        with closing(EventLog(database.url)) as log, log.reading() as connection:
            assert made_by(connection) == (SCHEMA_VERSION + 1, "9.8.7")
