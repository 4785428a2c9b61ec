"""What systemd hears: real datagrams on a socket of the test."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.migrations import _Progress
from daemon.sdnotify import Watchdog, starting


@pytest.fixture
def systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(tmp_path / "notify"))
        server.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield server


def heard(server: socket.socket) -> list[str]:
    messages = []
    while True:
        try:
            messages.append(server.recv(1024).decode())
        except BlockingIOError:
            return messages


def test_a_long_start_asks_for_more_time_and_says_what_keeps_it(systemd: socket.socket) -> None:
    starting("bringing the log up to date", 60)
    assert heard(systemd) == ["STATUS=bringing the log up to date\nEXTEND_TIMEOUT_USEC=60000000"]


def test_a_migration_asks_for_more_time_once_a_second_as_long_as_it_gets_on(systemd: socket.socket) -> None:
    progress = _Progress(20_000)
    for done in (500, 1_000):
        progress.told(done)
    assert heard(systemd) == []
    time.sleep(1)
    for done in (11_500, 12_000):
        progress.told(done)
    status = "STATUS=bringing the log up to date: 11,500 of 20,000 events"
    assert heard(systemd) == [f"{status}\nEXTEND_TIMEOUT_USEC=60000000"]


def test_much_progress_at_once_is_one_message(systemd: socket.socket) -> None:
    watchdog = Watchdog(120)
    for _ in range(1_000):
        watchdog.progressed()
    assert heard(systemd) == ["WATCHDOG=1"]


def test_a_watchdog_of_a_second_is_fed_oftener_than_it_bites(systemd: socket.socket) -> None:
    watchdog = Watchdog(0.2)
    assert watchdog.longest_pause.total_seconds() < 0.1
    for _ in range(3):
        watchdog.progressed()
        time.sleep(0.06)
    assert heard(systemd) == ["WATCHDOG=1"] * 3


def test_failures_feed_the_watchdog_for_a_while_and_progress_begins_that_anew(systemd: socket.socket) -> None:
    watchdog = Watchdog(0.04, fed_by_failures_seconds=0.2)
    for _ in range(2):
        watchdog.failed()
        assert heard(systemd) == ["WATCHDOG=1"]
        time.sleep(0.25)
        watchdog.failed()
        assert heard(systemd) == []
        watchdog.progressed()
        assert heard(systemd) == ["WATCHDOG=1"]
        time.sleep(0.05)


def test_a_systemd_that_is_gone_is_told_and_stops_nothing(
    systemd: socket.socket, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "notify").unlink()
    Watchdog(120).progressed()
    assert "action=notify_failed; systemd did not hear 'WATCHDOG=1'" in caplog.text


def test_only_more_time_than_was_set_is_asked_for(systemd: socket.socket) -> None:
    watchdog = Watchdog(120)
    for seconds in (60, 120, 1200, 600, 1200):
        watchdog.allow(seconds)
    assert heard(systemd) == ["WATCHDOG_USEC=1200000000"]


@pytest.mark.parametrize(
    ("microseconds", "pid", "there_is_one"),
    [
        ("120000000", None, True),
        ("120000000", "ours", True),
        ("120000000", "1", False),
        ("", None, False),
        ("x", None, False),
    ],
)
def test_the_watchdog_is_ours_where_systemd_says_so(
    systemd: socket.socket, monkeypatch: pytest.MonkeyPatch, microseconds: str, pid: str | None, there_is_one: bool
) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    if pid:
        monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()) if pid == "ours" else pid)
    watchdog = Watchdog.from_environment()
    watchdog.progressed()
    watchdog.allow(1200)
    assert bool(heard(systemd)) is there_is_one
