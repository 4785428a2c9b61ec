"""docs/operations.md explains every notice and state that an operator can meet, and its copies of the log are whole."""

from __future__ import annotations

import ast
import re
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from daemon.assembly import verify
from daemon.decisions import KnownFeed
from daemon.eventlog import EventLog
from daemon.events import NewEvent, WatchStopped
from daemon.migrations import bring_up
from daemon.notices import TroubleKind
from daemon.outcomes import HELD_BACK
from daemon.projections import record
from daemon.service import Watch, record_rules
from tests.cluster import programs
from tests.databases import SqliteDatabase, postgresql
from tests.support import NOW, rules

CHECKOUT = Path(__file__).parents[1]
TEXT = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")


def string_arguments(module: str, function: str, at: int | str) -> set[str]:
    """What a function is given as one of its arguments, wherever a module calls it with a plain string."""
    found = set()
    for node in ast.walk(ast.parse((CHECKOUT / "daemon" / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            given = (
                [word.value for word in node.keywords if word.arg == at]
                if isinstance(at, str)
                else node.args[at : at + 1]
            )
            found |= {one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


@pytest.mark.parametrize("kind", get_args(TroubleKind))
def test_every_notice_is_explained(kind: str) -> None:
    assert re.search(rf"^\| \*{kind}\*", TEXT, re.MULTILINE)


@pytest.mark.parametrize("state", get_args(get_type_hints(KnownFeed)["state"]))
def test_every_state_of_a_feed_is_explained(state: str) -> None:
    assert re.search(rf"^\| \*{state}\* \|", TEXT, re.MULTILINE)


def test_every_reason_of_a_failure_is_explained() -> None:
    reasons = string_arguments("fetching", "Failed", 0) | string_arguments("service", "Failed", 0)
    reasons.add(HELD_BACK)
    assert {"tls", "too large"} <= reasons
    assert not [reason for reason in sorted(reasons) if f"*{reason}*" not in TEXT]


def test_every_state_of_a_delivery_is_explained() -> None:
    states = string_arguments("mailprojections", "_set_delivery", "state") | {"prepared"}
    assert {"accepted", "deferred"} <= states
    assert not [state for state in sorted(states) if f"*{state}*" not in TEXT]


# ── copies, made and put back as the page says ───────────────────────────────────────────────────────────────────


def told(log: EventLog) -> None:
    """A log with something in it, and a daemon at work that has not let go of it."""
    log.create()
    record_rules(Watch.over(log, rules()))
    with log.transaction(NOW) as transaction:
        record(transaction, [NewEvent("watch", WatchStopped("SIGTERM"))])


def test_a_copy_of_an_sqlite_log_in_use_is_whole(tmp_path: Path) -> None:
    file, copy = tmp_path / "claimwatch.sqlite3", tmp_path / "copy.sqlite3"
    with closing(EventLog(f"sqlite:///{file}")) as log:
        told(log)
        with log.reading(), closing(sqlite3.connect(file)) as beside:
            beside.execute(f"VACUUM INTO '{copy}'")
        with closing(EventLog(f"sqlite:///{copy}")) as copied:
            assert verify(copied) == verify(log)
            assert SqliteDatabase(copy).triggers() == SqliteDatabase(file).triggers() > 0
            assert bring_up(copied, NOW) is None


@pytest.mark.postgresql
def test_a_dump_of_a_postgresql_log_is_whole(tmp_path: Path) -> None:
    dump = tmp_path / "claimwatch.dump"
    with postgresql() as database, postgresql() as restored, closing(EventLog(database.url)) as log:
        told(log)
        dumped = [str(programs() / "pg_dump"), "--format=custom", f"--file={dump}", database.url]
        subprocess.run(dumped, check=True)
        put_back = [str(programs() / "pg_restore"), "--no-owner", f"--dbname={restored.url}", str(dump)]
        subprocess.run(put_back, check=True)
        with closing(EventLog(restored.url)) as copied:
            assert verify(copied) == verify(log)
            assert restored.triggers() == database.triggers() > 0
            assert bring_up(copied, NOW) is None
