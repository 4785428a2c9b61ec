"""One writer per log: a lock on a file beside the database, which says who holds it.

The lock belongs to the open file, so the kernel lets go of it however its holder dies.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from daemon.databases import Database
from daemon.errors import ClaimwatchError, LogBusy


@contextmanager
def writer_lock(database: Database, command: str) -> Iterator[None]:
    """Holds the log's lock for `command`. Raises LogBusy, naming the holder, when somebody else has it."""
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
            holder = file.read().strip() or "another command"
            raise LogBusy(
                f"{holder} is writing this log ({database})",
                hint="Wait for it or stop it; commands that only read work beside it.",
            )
        file.truncate(0)
        file.write(f"claimwatch {command} (process {os.getpid()})\n")
        file.flush()
        yield
        file.truncate(0)


def _taken(file: IO[str]) -> bool:
    """Takes the lock; tries for a second, because `holder_of` holds it for an instant to find out."""
    for wait in (0, *[0.05] * 20):
        time.sleep(wait)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            continue
        return True
    return False


def holder_of(database: Database) -> str | None:
    """Who writes this log now, as `claimwatch COMMAND (process N)`; None when nobody does."""
    path = _lock_file(database)
    if not path.is_file():
        return None
    with path.open("r", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return file.read().strip() or "another command"
    return None


def _lock_file(database: Database) -> Path:
    return database.path.with_name(database.path.name + ".lock")
