"""One writer per log: who holds the lock is told, and whoever dies lets go of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.databases import Database, Sqlite, database_at
from daemon.errors import ClaimwatchError, ConfigError, LogBusy, LogDamaged, Problem, StreamConflict, UnknownKind
from daemon.locks import holder_of, writer_lock
from tests.databases import AnyDatabase

ROOT = Path(__file__).parent.parent
HOLD = """
import sys
from daemon.databases import database_at
from daemon.locks import writer_lock
with writer_lock(database_at(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""
HOLD_WITH_CHILD = """
import subprocess, sys
from daemon.databases import database_at
from daemon.locks import writer_lock
with writer_lock(database_at(sys.argv[1]), "run"):
    subprocess.Popen([sys.executable, "-c", "import sys; print('held', flush=True); sys.stdin.read()"])
    sys.stdin.read()
"""
ASK = """
import sys
from daemon.databases import database_at
from daemon.locks import holder_of
print("asking", flush=True)
while True:
    holder_of(database_at(sys.argv[1]))
"""


@pytest.fixture
def database(database: AnyDatabase) -> Database:
    """Where a log could be, in each kind of database."""
    return database_at(database.url)


@pytest.fixture
def file(tmp_path: Path) -> Sqlite:
    """Where a log could be in an SQLite file."""
    return Sqlite(tmp_path / "claimwatch.sqlite3")


def url_of(database: Database) -> str:
    return str(database) if isinstance(database, Sqlite) else database.url.render_as_string(hide_password=False)


def called(database: Database, command: str, process: int | None = None) -> str:
    """A holder as it is named: on a server with its host, which need not be ours."""
    where = "" if isinstance(database, Sqlite) else f" on {socket.gethostname()}"
    return f"claimwatch {command} (process {process or os.getpid()}{where})"


@contextmanager
def process(code: str, database: Database) -> Iterator[subprocess.Popen[str]]:
    """A process that has said its first word; it has ended when the block is left."""
    running = subprocess.Popen(
        [sys.executable, "-c", code, url_of(database)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert running.stdin
    assert running.stdout
    try:
        assert running.stdout.readline().strip() in ("held", "asking")
        yield running
    finally:
        running.kill()
        running.stdin.close()
        running.stdout.read()  # its end comes when the last child that shares it has gone too
        running.stdout.close()
        running.wait()


def test_nobody_writes_a_log_that_was_never_written(file: Sqlite) -> None:
    assert holder_of(file) is None
    assert not list(file.path.parent.iterdir())


def test_the_holder_is_named_while_it_holds(database: Database) -> None:
    with writer_lock(database, "poll"):
        assert holder_of(database) == called(database, "poll")
    assert holder_of(database) is None


def test_a_second_writer_is_refused_and_told_who_holds_the_lock(database: Database) -> None:
    with (
        writer_lock(database, "run"),
        pytest.raises(LogBusy) as caught,
        writer_lock(database, "deliver"),
    ):
        raise AssertionError("two writers")
    assert caught.value.message == f"{called(database, 'run')} is writing this log ({database})"
    assert caught.value.hint.startswith("Wait for it or stop it; commands that only read work beside it. ")


def test_a_refused_writer_takes_nothing_from_the_holder(database: Database) -> None:
    with writer_lock(database, "run"):
        with pytest.raises(LogBusy), writer_lock(database, "deliver"):
            pass
        assert holder_of(database) == called(database, "run")
        with pytest.raises(LogBusy), writer_lock(database, "poll"):
            pass


def test_asking_who_holds_the_lock_takes_it_from_nobody(database: Database) -> None:
    with writer_lock(database, "run"):
        holder_of(database)
        with pytest.raises(LogBusy), writer_lock(database, "poll"):
            pass
    holder_of(database)
    with writer_lock(database, "poll"):
        assert holder_of(database) == called(database, "poll")


def test_the_next_writer_is_let_in_and_named_by_its_own_name(database: Database) -> None:
    with writer_lock(database, "a-command-with-a-long-name"):
        pass
    with writer_lock(database, "poll"):
        assert holder_of(database) == called(database, "poll")


def test_an_error_lets_go_of_the_lock(database: Database) -> None:
    with pytest.raises(RuntimeError), writer_lock(database, "poll"):
        raise RuntimeError
    assert holder_of(database) is None
    with writer_lock(database, "run"):
        assert holder_of(database) == called(database, "run")


def test_two_logs_in_one_folder_have_a_lock_each(tmp_path: Path) -> None:
    one, two = Sqlite(tmp_path / "one.sqlite3"), Sqlite(tmp_path / "two.sqlite3")
    with writer_lock(one, "run"), writer_lock(two, "poll"):
        assert holder_of(one) == called(one, "run")
        assert holder_of(two) == called(two, "poll")


def test_the_folder_of_the_log_is_made(tmp_path: Path) -> None:
    with writer_lock(Sqlite(tmp_path / "new" / "folder" / "log.sqlite3"), "run"):
        assert (tmp_path / "new" / "folder" / "log.sqlite3.lock").is_file()


def test_the_lock_leaves_the_database_file_alone(file: Sqlite) -> None:
    with writer_lock(file, "run"):
        assert not file.path.exists()


# ── other processes ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_writer_in_another_process_is_named_by_its_number(database: Database) -> None:
    with process(HOLD, database) as holder:
        expected = called(database, "run", holder.pid)
        assert holder_of(database) == expected
        with pytest.raises(LogBusy) as caught, writer_lock(database, "poll"):
            pass
        assert caught.value.message == f"{expected} is writing this log ({database})"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_holder_frees_the_lock_and_is_not_named_any_more(database: Database, number: signal.Signals) -> None:
    with process(HOLD, database) as holder:
        holder.send_signal(number)
        assert holder.wait() == -number
        assert holder_of(database) is None
        with writer_lock(database, "poll"):
            assert holder_of(database) == called(database, "poll")


def test_a_child_that_outlives_a_killed_holder_does_not_keep_the_lock(database: Database) -> None:
    with process(HOLD_WITH_CHILD, database) as holder:
        holder.kill()
        holder.wait()
        with writer_lock(database, "poll"):
            assert holder_of(database) == called(database, "poll")


def test_a_holder_that_stops_by_itself_frees_the_lock(database: Database) -> None:
    with process(HOLD, database) as holder:
        assert holder.stdin
        holder.stdin.close()
        assert holder.wait() == 0
        assert holder_of(database) is None


def test_a_holder_that_has_not_yet_said_its_name_is_another_command(file: Sqlite) -> None:
    with writer_lock(file, "run"):
        file.path.with_name(file.path.name + ".lock").write_text("", encoding="utf-8")
        assert holder_of(file) == "another command"
        with pytest.raises(LogBusy, match=r"^another command is writing"), writer_lock(file, "poll"):
            pass


@pytest.mark.long
def test_a_writer_is_never_refused_because_somebody_asks_who_writes(database: Database) -> None:
    with writer_lock(database, "run"):
        pass
    refused = 0
    with process(ASK, database), process(ASK, database):
        for _ in range(1_000 if isinstance(database, Sqlite) else 50):
            try:
                with writer_lock(database, "run"):
                    pass
            except LogBusy:
                refused += 1
    assert refused == 0


# ── what an error says ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ClaimwatchError(), "Something went wrong."),
        (LogBusy(), "Another command is writing this log."),
        (LogDamaged(), "The log does not add up."),
        (StreamConflict(), "Somebody else appended to this stream first; read it again and decide again."),
        (UnknownKind(), "An event of a kind that this version does not know."),
    ],
)
def test_an_error_without_a_message_says_what_its_class_means(error: ClaimwatchError, message: str) -> None:
    assert error.message == str(error) == message


def test_a_hint_stands_below_the_message() -> None:
    error = LogBusy("claimwatch run is writing", hint="Wait for it.")
    assert str(error) == "claimwatch run is writing\n  Wait for it."
    assert error.args == ("claimwatch run is writing",)


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem("feeds.yaml", 3, 7, "unknown key"), "feeds.yaml:3:7: unknown key"),
        (Problem("feeds.yaml", 0, 0, "not there"), "feeds.yaml: not there"),
        (Problem("a.yaml", 1, 1, "unknown key", "Did you mean url?"), "a.yaml:1:1: unknown key\n    Did you mean url?"),
    ],
)
def test_a_problem_is_told_with_its_place(problem: Problem, text: str) -> None:
    assert str(problem) == text


def test_a_config_error_tells_every_problem_once_in_the_order_of_the_files() -> None:
    late, early = Problem("feeds.yaml", 9, 1, "late"), Problem("feeds.yaml", 2, 5, "early")
    error = ConfigError([late, early, late])
    assert error.problems == [early, late]
    assert error.message == "feeds.yaml:2:5: early\nfeeds.yaml:9:1: late"
    assert error.hint == "2 problems; mend, then try `claimwatch check`."


def test_one_problem_is_counted_as_one() -> None:
    assert ConfigError([Problem("f", 1, 1, "x")]).hint == "1 problem; mend, then try `claimwatch check`."


@pytest.mark.parametrize("kind", [ConfigError, LogBusy, LogDamaged, StreamConflict, UnknownKind])
def test_every_error_can_be_caught_as_one(kind: type[Exception]) -> None:
    assert issubclass(kind, ClaimwatchError)
