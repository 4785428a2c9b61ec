"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.main
import typer.testing
from hypothesis import settings
from sqlalchemy import Connection, Engine
from sqlalchemy.event import listens_for

from daemon.eventlog import EventLog
from daemon.service import Watch
from tests.databases import ON_BOTH, AnyDatabase, database_of
from tests.mailservers import Authority, authority_for
from tests.support import WebServer, event_log, watching

# How long one example takes by the clock says more of what else the machine does than of the program.
settings.register_profile("unhurried", settings(), deadline=None)
settings.load_profile("unhurried")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` means: some more than processors, because tests wait for a third of their time."""
    return max(1, len(os.sched_getaffinity(0)) * 3 // 2)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with those that take long, after they were shuffled."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    """An empty log."""
    with event_log(tmp_path) as opened:
        yield opened


@pytest.fixture(params=ON_BOTH)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[AnyDatabase]:
    """An empty database of each kind that a log can stand in."""
    with database_of(request.param, tmp_path) as one:
        yield one


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    """A watch with one feed, one claim and one digest over an empty log, at noon of 19 March 2025."""
    with watching(tmp_path) as one:
        yield one


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server on loopback."""
    with WebServer() as server:
        yield server


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that has issued a certificate for 127.0.0.1."""
    return authority_for(tmp_path_factory.mktemp("authority"), "127.0.0.1")


@pytest.fixture(autouse=True, scope="session")
def _commands_put_together_once() -> None:
    """`CliRunner` puts all commands together for each call of one, which costs as much as most of them do."""
    typer.testing._get_command = cache(typer.main.get_command)  # type: ignore[attr-defined]


class _Compiled(dict[tuple[Any, ...], Any]):
    """Statements compiled for SQLite, whichever engine asks. Each log has engines of its own, which compile each
    statement anew, and that was a third of what tests with a log cost."""

    def get(self, key: tuple[Any, ...], default: Any = None) -> Any:
        return super().get((type(key[0]), *key[1:]), default)

    def __setitem__(self, key: tuple[Any, ...], compiled: Any) -> None:
        super().__setitem__((type(key[0]), *key[1:]), compiled)


_compiled = _Compiled()


@listens_for(Engine, "engine_connect")
def _share_what_is_compiled(connection: Connection) -> None:
    if connection.dialect.name == "sqlite":
        connection.execution_options(compiled_cache=_compiled)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What stands in the developer's environment decides no test."""
    for name in ("CLAIMWATCH_CONFIG", "STATE_DIRECTORY", "CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "WATCHDOG_USEC"):
        monkeypatch.delenv(name, raising=False)
