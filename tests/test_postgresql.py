"""What is PostgreSQL's alone: its locks and statements, a server that is away for a while, and the command line on it.

The contract of the log, the projections, the locks and the kill test run on it in their own files.
"""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from daemon.assembly import rebuild_projections, replaying, verify
from daemon.backtest import backtest, snapshots_in
from daemon.chain import verify_chain
from daemon.databases import Postgresql, database_at
from daemon.errors import ClaimwatchError, LogBusy, LogDamaged
from daemon.eventlog import EventLog, head_of, read
from daemon.events import NewEvent, WatchStopped
from daemon.locks import holder_of, writer_lock
from tests import cluster
from tests.databases import PostgresqlDatabase, postgresql
from tests.support import Answer, WebServer, feed, item, post, rss, rules, wait_until
from tests.test_eventlog import COLUMNS, INSERT, append, everything, refuses, rows, told

pytestmark = pytest.mark.postgresql
CONFIG = """
database: {{url: {url}, password_file: secret}}
feeds: {{ gazette: {feed} }}
claims: {{ prisoner-exchange: {{terms: "prisoner exchange"}} }}
digests: {{ daily: {{at: "07:30"}} }}
polling: {{allow_private: 127.0.0.1}}
"""
SWAP = rss(item("Prisoner exchange agreed"))

OURS = "SELECT oid FROM pg_database WHERE datname = current_database()"
"""The server's tables of sessions and locks tell of all databases, also of those of tests that run at the same time."""


@pytest.fixture
def database() -> Iterator[PostgresqlDatabase]:
    """An empty database."""
    with postgresql() as one:
        yield one


@pytest.fixture
def log(database: PostgresqlDatabase) -> Iterator[EventLog]:
    """A log with eight events."""
    with closing(EventLog(database.url)) as opened:
        opened.create()
        told(opened)
        yield opened


@pytest.fixture
def own_cluster(database: PostgresqlDatabase) -> Iterator[cluster.Cluster]:
    """A server for this test alone, which may stop it. (`database` is asked for only to skip where there is none.)"""
    with cluster.running() as one:
        yield one


def password_of(url: str) -> str:
    password = database_at(url).url.password  # type: ignore[union-attr]
    assert isinstance(password, str)
    return password


# ── what the database refuses ────────────────────────────────────────────────────────────────────────────────────


def test_the_log_can_not_be_truncated(log: EventLog) -> None:
    assert refuses(log, "TRUNCATE event")


@pytest.mark.parametrize("key", ["position", "stream, version"])
@pytest.mark.parametrize("action", ["DO NOTHING", "DO UPDATE SET payload = excluded.payload"])
def test_no_conflict_clause_gets_around_the_end_of_the_log(log: EventLog, key: str, action: str) -> None:
    for position, stream, version in ((4, "watch", 3), (9, "item/1", 1), (11, "watch", 3)):
        statement = f"{INSERT} ON CONFLICT ({key}) {action}"
        assert refuses(log, statement, {"position": position, "stream": stream, "version": version})


def test_many_rows_of_one_statement_go_to_the_end_one_after_another(log: EventLog) -> None:
    many = "INSERT INTO event SELECT position + {}, 'x/' || position, 1, kind, at, payload, '', '' FROM event"
    assert refuses(log, many.format(9))
    with log.transaction(datetime.now(UTC)) as transaction:
        transaction.connection.execute(text(many.format(8)))
    assert len(rows(log)) == 16


def test_the_triggers_hold_in_any_sql_tool(log: EventLog, database: PostgresqlDatabase) -> None:
    with psycopg.connect(database.url, autocommit=True) as raw:
        for statement in ("DELETE FROM event", "UPDATE event SET kind = 'x'", "TRUNCATE event CASCADE"):
            with pytest.raises(psycopg.errors.IntegrityError, match="append-only"):
                raw.execute(statement)
        raw.execute("SET search_path TO pg_temp")
        with pytest.raises(psycopg.errors.IntegrityError, match="append-only"):
            raw.execute("INSERT INTO public.event SELECT 99, stream, 99, kind, at, payload, '', '' FROM public.event")


@pytest.mark.parametrize(
    ("statement", "named"),
    [
        ("UPDATE event SET payload = '{}' WHERE position = 4", r"event 4 \(item/2 .*: its payload was altered"),
        ("DELETE FROM event WHERE position = 4", "event 5 .*: events are missing before it"),
        ("UPDATE event SET at = '' WHERE position = 1", "event 1 .*: its chain does not follow"),
    ],
)
def test_what_an_administrator_alters_past_the_triggers_is_named(
    log: EventLog, database: PostgresqlDatabase, statement: str, named: str
) -> None:
    database.break_in((statement, {}))
    with pytest.raises(LogDamaged, match=named):
        verify(log)


def test_a_writer_who_takes_no_turn_makes_no_hole_either(log: EventLog, database: PostgresqlDatabase) -> None:
    with psycopg.connect(database.url) as first, psycopg.connect(database.url) as second:
        values = {"stream": "watch", "version": 3, "position": 9}
        statement = text(INSERT).compile(log._engines.writing).string
        first.execute(statement, values)
        waiting = threading.Thread(target=first.commit)
        timer = threading.Timer(0.3, waiting.start)
        timer.start()
        with pytest.raises(psycopg.errors.UniqueViolation):
            second.execute(statement, values | {"stream": "watch/2"})
        timer.join()
        waiting.join()
    assert [row["position"] for row in rows(log)] == list(range(1, 10))


# ── what every connection begins with ────────────────────────────────────────────────────────────────────────────


def test_a_transaction_takes_its_turn_before_anything_else(log: EventLog, database: PostgresqlDatabase) -> None:
    turn = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted AND database = ({OURS})"
    with psycopg.connect(database.url, autocommit=True) as raw, log.transaction(datetime.now(UTC)) as transaction:
        assert transaction.connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        assert raw.execute(turn).fetchone() == (1,)
        with log.reading() as connection:
            assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "repeatable read"
            assert connection.exec_driver_sql("SHOW transaction_read_only").scalar() == "on"
            assert head_of(connection).position == 8


def test_what_was_acknowledged_is_on_disk_whatever_the_database_says(
    log: EventLog, database: PostgresqlDatabase
) -> None:
    name = database_at(database.url).url.database  # type: ignore[union-attr]
    with psycopg.connect(database.url, autocommit=True) as raw:
        raw.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    with closing(EventLog(database.url)) as again, again.reading() as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"


def test_every_text_column_is_in_the_order_of_its_bytes(log: EventLog, database: PostgresqlDatabase) -> None:
    query = (
        "SELECT table_name || '.' || column_name, collation_name FROM information_schema.columns "
        "WHERE table_schema = 'public' AND data_type IN ('text', 'character varying')"
    )
    with psycopg.connect(database.url) as raw:
        found: dict[str, str] = dict(raw.execute(query).fetchall())
    assert {f"event.{column}" for column in COLUMNS} & set(found) == {
        f"event.{column}" for column in ("stream", "kind", "at", "payload_sha256", "chain")
    }
    assert set(found.values()) == {"C"}


def test_a_database_that_can_not_hold_every_text_is_refused() -> None:
    latin = "ENCODING 'LATIN1' LOCALE_PROVIDER libc LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    with (
        postgresql(latin) as database,
        closing(EventLog(database.url)) as log,
        pytest.raises(ClaimwatchError, match="is encoded in LATIN1") as caught,
    ):
        log.create()
    assert "ENCODING 'UTF8'" in caught.value.hint


def test_a_missing_driver_is_told_with_the_extra_that_brings_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ClaimwatchError) as caught:
        EventLog("postgresql://127.0.0.1/claimwatch")
    assert caught.value.hint == f"{sys.executable} -m pip install 'psycopg[binary]'"


def test_a_wrong_password_is_told_and_not_shown(database: PostgresqlDatabase) -> None:
    url = database.url.replace(password_of(database.url), "not-the-password")
    with closing(EventLog(url)) as log, pytest.raises(ClaimwatchError) as caught:
        log.create()
    assert "password authentication failed" in caught.value.message
    assert "\n" not in caught.value.message
    assert "not-the-password" not in str(caught.value) + repr(log.database)


# ── the one writer ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_writer_whose_session_was_ended_takes_the_lock_again(log: EventLog, database: PostgresqlDatabase) -> None:
    with writer_lock(log.database, "run") as keep, closing(EventLog(log.database, keep)) as held:
        end_sessions(database, "claimwatch run")
        assert holder_of(log.database) is None
        append(held, NewEvent("watch", WatchStopped("on")))
        assert str(holder_of(log.database)).startswith("claimwatch run ")


def test_a_writer_who_lost_the_lock_to_another_writes_no_more(log: EventLog, database: PostgresqlDatabase) -> None:
    with writer_lock(log.database, "run") as keep, closing(EventLog(log.database, keep)) as held:
        end_sessions(database, "claimwatch run")
        with writer_lock(log.database, "rebuild"):
            with pytest.raises(LogBusy, match=r"^claimwatch rebuild \(process \d+ on "):
                append(held, NewEvent("watch", WatchStopped("too late")))
            assert len(everything(log)) == 8
        append(held, NewEvent("watch", WatchStopped("again")))
        assert len(everything(log)) == 9


def test_the_lock_of_one_database_is_not_that_of_another(database: PostgresqlDatabase) -> None:
    with postgresql() as other, writer_lock(database_at(database.url), "run"):
        assert holder_of(database_at(other.url)) is None
        with writer_lock(database_at(other.url), "poll"):
            pass


def test_the_lock_holds_back_no_cleaning_of_the_database(database: PostgresqlDatabase) -> None:
    ours = f"datid = ({OURS}) AND application_name LIKE 'claimwatch run%'"
    state = f"SELECT state, xact_start FROM pg_stat_activity WHERE {ours}"
    with writer_lock(database_at(database.url), "run"), psycopg.connect(database.url) as raw:
        assert raw.execute(state).fetchall() == [("idle", None)]


def end_sessions(database: PostgresqlDatabase, name: str) -> None:
    """Ends sessions as an administrator does, or a server that is restarted."""
    ours = f"datid = ({OURS}) AND application_name LIKE %s"
    end = f"SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE {ours}"
    with psycopg.connect(database.url) as raw:
        assert raw.execute(end, [f"{name}%"]).fetchall() == [(True,)]


# ── the program on it ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backtest_makes_the_same_log_as_on_sqlite_byte_for_byte(tmp_path: Path) -> None:
    archive = tmp_path / "archive" / "gazette"
    archive.mkdir(parents=True)
    for hour, titles in ((15, ["Rain"]), (16, ["Rain", "Prisoner exchange agreed"]), (17, ["Energy strike pause"])):
        (archive / f"20250318T{hour}0000Z.xml").write_bytes(rss(*map(item, titles)))
    summaries, logs = [], []
    with postgresql() as database:
        # Into one Maildir: the same digest is the same file, and its name stands in the log.
        for url in (database.url, f"sqlite:///{tmp_path}/claimwatch.sqlite3"):
            with closing(EventLog(url)) as replayed:
                replayed.create()
                until = datetime(2025, 3, 20, tzinfo=UTC)
                mail, snapshots = post(tmp_path), snapshots_in(tmp_path / "archive")
                replay = backtest(replayed, rules(feed("gazette")), mail, snapshots, until=until, most_bytes=100_000)
                done = asyncio.run(replay)
                summaries.append(done.as_json())
                logs.append(rows(replayed))
                assert rebuild_projections(replayed) == verify(replayed).position
                verify(replayed)
    assert summaries[0] == summaries[1]
    assert summaries[0]["digests"] == 1
    assert logs[0] == logs[1]


@contextmanager
def claimwatch(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "daemon", "--config", str(folder / "feeds.yaml"), "--state", str(folder / "state")]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen([*command, *arguments], cwd=folder, text=True, **streams) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def told_by(folder: Path, *arguments: str) -> tuple[int, str, str]:
    with claimwatch(folder, *arguments) as process:
        out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def configure(folder: Path, url: str, feed_url: str) -> None:
    (folder / "secret").write_text(password_of(url) + "\n", encoding="utf-8")
    bare = url.replace(f":{password_of(url)}@", "@")
    (folder / "feeds.yaml").write_text(CONFIG.format(url=bare, feed=feed_url), encoding="utf-8")


def test_the_command_line_works_on_it_and_never_shows_the_password(
    database: PostgresqlDatabase, tmp_path: Path, web: WebServer
) -> None:
    configure(tmp_path, database.url, web.serve("/feed.xml", SWAP))
    told = [told_by(tmp_path, "status")]
    assert told[0][0] == 1
    assert "there is no log yet at postgresql://claimwatch:***@127.0.0.1:" in told[0][2]
    with writer_lock(database_at(database.url), "run"):
        told.append(told_by(tmp_path, "poll"))
        assert told[-1][0] == 1
        assert "claimwatch run (process" in told[-1][2]
    for command in ("poll", "digest prepare daily", "deliver", "verify", "rebuild", "verify", "status --json"):
        told.append(told_by(tmp_path, *command.split()))
        assert told[-1][0] == 0, told[-1]
    status = json.loads(told[-1][1])
    assert status["log"]["matches"] == 1
    assert status["log"]["database"].startswith("postgresql://claimwatch:***@127.0.0.1:")
    assert status["watch"].startswith("is not running; last awake ")
    assert not [text for _, *texts in told for text in texts if password_of(database.url) in text]


def test_a_replay_never_writes_into_the_log_that_feeds_yaml_names(database: PostgresqlDatabase, tmp_path: Path) -> None:
    configure(tmp_path, database.url, "https://gazette.example/rss")
    with (
        pytest.raises(ClaimwatchError, match=r"feeds\.yaml names a database of its own"),
        replaying(tmp_path / "feeds.yaml", tmp_path / "state"),
    ):
        pass
    assert not database_at(database.url).has_log()


# ── a server that is away ────────────────────────────────────────────────────────────────────────────────────────


def test_a_log_goes_on_after_its_server_was_restarted(own_cluster: cluster.Cluster) -> None:
    database = database_at(own_cluster.address)
    assert isinstance(database, Postgresql)
    with writer_lock(database, "run") as keep, closing(EventLog(database, keep)) as log:
        log.create()
        append(log, NewEvent("watch", WatchStopped("before")))
        own_cluster.stop()
        for _ in range(3):
            with pytest.raises(ClaimwatchError, match=r"can't be used: .*Connection refused"):
                append(log, NewEvent("watch", WatchStopped("lost")))
        own_cluster.start()
        append(log, NewEvent("watch", WatchStopped("after")))
        assert str(holder_of(database)).startswith("claimwatch run ")
        with log.reading() as connection:
            assert [one.event.reason for one in read(connection)] == ["before", "after"]
            assert verify_chain(connection).position == 2


def test_the_daemon_lives_through_a_restart_of_its_server_and_loses_no_item_and_no_edit(
    own_cluster: cluster.Cluster, tmp_path: Path, web: WebServer
) -> None:
    configure(tmp_path, own_cluster.address, web.serve("/feed.xml", Answer(SWAP, delay_seconds=2), SWAP))
    with claimwatch(tmp_path, "run") as process, closing(EventLog(own_cluster.address)) as log:
        said: list[str] = []
        listener = threading.Thread(target=lambda: said.extend(process.stderr or ()))
        listener.start()
        wait_until(lambda: bool(web.asked))
        own_cluster.stop()
        with (tmp_path / "feeds.yaml").open("a", encoding="utf-8") as config:
            config.write("words: {swap: [exchange]}\n")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: {"action=tick_failed tick=poll:", "action=rules_wait;"} <= set(told_actions(said)))
        own_cluster.start()
        wait_until(lambda: "claim_matched" in kinds(log) and kinds(log).count("rules_changed") == 2)
        process.terminate()
        assert process.wait(20) == 0
        listener.join()
        verify(log)
        told = ["claim_matched", "item_seen", "rules_changed", "rules_changed", "watch_started", "watch_stopped"]
        assert sorted(kinds(log)) == told
    assert len(web.asked) == 2, "nothing is fetched while there is nowhere to write it down"
    assert not [line for line in said if "Traceback" in line or own_cluster.password in line]


def told_actions(lines: list[str]) -> Iterator[str]:
    for line in lines:
        yield from re.findall(r"action=tick_failed tick=\w+:|action=\w+;", line)


def kinds(log: EventLog) -> list[str]:
    with log.reading() as connection:
        return [one.event.kind for one in read(connection)]
