"""One writer per log: a lock that says who holds it, and that ends with its holder, however that dies.

For SQLite it is a lock on a file beside the database, which the kernel takes back. For PostgreSQL it is an advisory
lock of a session that does nothing else and bears its holder's name; the server takes it back when the connection ends.
"""

from __future__ import annotations

import fcntl
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import IO, TypeAlias

from daemon.databases import LOCKS, WRITER, Connection, Database, Postgresql, Sqlite, database_errors
from daemon.errors import ClaimwatchError, LogBusy

Keep: TypeAlias = Callable[[], None]
"""To be called before each write: makes sure that the lock is still held. Raises LogBusy where it went to another."""

_WAITS = (0, *[0.05] * 20)
"""A second in all: `holder_of` holds a file's lock for an instant, and a server sees a writer's end a little late."""
_LONGEST_NAME_BYTES = 63
"""What PostgreSQL keeps of an application's name."""


@contextmanager
def writer_lock(database: Database, command: str) -> Iterator[Keep]:
    """Holds the log's lock for `command`. Raises LogBusy, naming the holder, when somebody else has it."""
    held = _file_lock(database, command) if isinstance(database, Sqlite) else _session_lock(database, command)
    with held as keep:
        yield keep


def holder_of(database: Database) -> str | None:
    """Who writes this log now, as `claimwatch COMMAND (process N)`; None when nobody does."""
    return _file_holder(database) if isinstance(database, Sqlite) else _session_holder(database)


def _busy(holder: str | None, database: Database) -> LogBusy:
    return LogBusy(
        f"{holder or 'another command'} is writing this log ({database})",
        hint="Wait for it or stop it; commands that only read work beside it. "
        "Another watch takes a folder of its own: --state DIR.",
    )


# ── a file beside an SQLite database ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def _file_lock(database: Sqlite, command: str) -> Iterator[Keep]:
    path = _lock_file(database)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        message = f"the log's lock {path} can't be made: {error.strerror}"
        raise ClaimwatchError(message, hint="Name a folder that this user may write.") from error
    with file:
        if not _taken(file):
            file.seek(0)
            raise _busy(file.read().strip(), database)
        file.truncate(0)
        file.write(f"claimwatch {command} (process {os.getpid()})\n")
        file.flush()
        yield lambda: None  # an open file's lock is never lost
        file.truncate(0)


def _taken(file: IO[str]) -> bool:
    for wait in _WAITS:
        time.sleep(wait)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def _file_holder(database: Sqlite) -> str | None:
    path = _lock_file(database)
    if not path.is_file():
        return None
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another command"
    return None


def _lock_file(database: Sqlite) -> Path:
    return database.path.with_name(database.path.name + ".lock")


# ── a session of a PostgreSQL server ─────────────────────────────────────────────────────────────────────────────


@contextmanager
def _session_lock(database: Postgresql, command: str) -> Iterator[Keep]:
    host = socket.gethostname().encode("ascii", "replace").decode()
    name = f"claimwatch {command} (process {os.getpid()} on {host}"[: _LONGEST_NAME_BYTES - 1] + ")"
    with closing(_SessionLock(database, name)) as lock:
        lock.keep()
        yield lock.keep


class _SessionLock:
    """The lock as long as its session lasts. A server that was restarted knows nothing of it: then it is taken anew."""

    def __init__(self, database: Postgresql, name: str) -> None:
        self._database = database
        self._name = name
        self._session = ExitStack()
        self._connection: Connection | None = None
        # Polls are taken in beside the event loop, which writes too.
        self._turn = threading.Lock()

    def keep(self) -> None:
        with self._turn:
            if not (self._connection and _answers(self._connection, self._database)):
                self._take()

    def _take(self) -> None:
        self.close()
        self._connection = self._session.enter_context(self._database.session(self._name))
        with database_errors(self._database):
            for wait in _WAITS:
                time.sleep(wait)
                if self._connection.exec_driver_sql(f"SELECT pg_try_advisory_lock({LOCKS}, {WRITER})").scalar():
                    return
        self.close()
        raise _busy(_session_holder(self._database), self._database)

    def close(self) -> None:
        if self._connection and not self._connection.invalidated:
            # A server that ends the session does so a little late; on a busy machine more than the second we wait.
            _answers(self._connection, self._database, f"SELECT pg_advisory_unlock({LOCKS}, {WRITER})")
        self._connection = None
        self._session.close()


def _answers(connection: Connection, database: Postgresql, question: str = "SELECT 1") -> bool:
    try:
        with database_errors(database):
            connection.exec_driver_sql(question)
    except ClaimwatchError:
        return False
    return True


def _session_holder(database: Postgresql) -> str | None:
    with database.session("claimwatch") as connection:
        holder: str | None = connection.exec_driver_sql(_HOLDER, {"locks": LOCKS, "writer": WRITER}).scalar()
    return holder


_HOLDER = """
SELECT coalesce(nullif(application_name, ''), 'another command')
FROM pg_locks JOIN pg_stat_activity USING (pid) JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND classid = %(locks)s AND objid = %(writer)s AND objsubid = 2 AND granted
  AND pg_database.datname = current_database()
"""
