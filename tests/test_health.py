"""`claimwatch health`: what monitors are told, and by which exit code."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.assembly import reading
from daemon.cli import app
from daemon.databases import Sqlite
from daemon.health import Health, health_of, judged, standing_long_enough
from daemon.locks import writer_lock
from daemon.notices import Operator, Trouble
from tests.support import NOW, Answer, WebServer, item, rss

RUNS = "claimwatch run (process 17)"
SOON = NOW + timedelta(minutes=3)
A_WHILE_AGO = NOW - timedelta(minutes=3)


@pytest.fixture
def desk(tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a feeds.yaml, whose one feed was polled once."""
    url = web.serve("/rss", rss(item("News")))
    text = f"feeds: {{gazette: '{url}'}}\npolling: {{allow_private: 127.0.0.1}}\n"
    (tmp_path / "feeds.yaml").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    poll()
    return tmp_path


def poll() -> None:
    CliRunner().invoke(app, ["poll"])


@contextmanager
def held(desk: Path, command: str = "run") -> Iterator[None]:
    """Somebody writes this log."""
    with writer_lock(Sqlite(desk / "state" / "claimwatch.sqlite3"), command):
        yield


def health(code: int) -> str:
    done = CliRunner().invoke(app, ["health"])
    assert done.exit_code == code, done.output
    assert done.stdout.count("\n") == 1
    return done.stdout


def test_a_watch_that_runs_is_well(desk: Path) -> None:
    with held(desk):
        assert health(0).startswith("well: claimwatch run (process ")


def test_a_watch_that_does_not_run_is_told_with_its_last_moment(desk: Path) -> None:
    assert health(2).startswith("not running: last awake ")
    with held(desk, "rebuild"):
        assert "claimwatch rebuild (process " in health(2)


def test_a_trouble_that_an_operator_would_be_told_of_is_one(desk: Path, web: WebServer) -> None:
    web.serve("/rss", Answer(status=410))
    poll()
    with held(desk):
        assert health(1) == "in trouble: feed gone: gazette\n"
        done = CliRunner().invoke(app, ["health", "--json"])
    said = json.loads(done.stdout)
    assert (done.exit_code, said["state"], said["why"]) == (1, "in trouble", "feed gone: gazette")
    assert said["last_awake"].endswith("Z")
    assert [(one["kind"], one["about"]) for one in said["troubles"]] == [("feed gone", "gazette")]


def test_a_feed_that_failed_once_is_no_trouble_yet(desk: Path, web: WebServer) -> None:
    web.serve("/rss", Answer(status=503))
    poll()
    with held(desk):
        health(0)


def test_a_watch_that_holds_the_log_and_does_nothing_hangs(desk: Path) -> None:
    with held(desk), reading(None, None) as installation:
        now = datetime.now(UTC)
        assert health_of(installation, now + timedelta(minutes=20)).state == "well"
        found = health_of(installation, now + timedelta(hours=3))
    assert (found.state, found.exit_code) == ("in trouble", 1)
    assert "hangs: feeds are due for 2 h, and it was last awake 3 h ago" in found.why


@pytest.mark.parametrize("fault", ["mistake", "no feeds.yaml", "no log", "no database"])
def test_what_can_not_be_read_is_told(desk: Path, fault: str) -> None:
    config, database = desk / "feeds.yaml", desk / "state" / "claimwatch.sqlite3"
    if fault == "mistake":
        config.write_text("feds: {}\n")
    elif fault == "no feeds.yaml":
        config.unlink()
    elif fault == "no log":
        database.unlink()
    else:
        for path in database.parent.glob("claimwatch.sqlite3-*"):
            path.unlink()
        database.write_bytes(b"This is no database, whatever its name says. " * 100)
    assert health(2).startswith("unreadable: ")


GONE = Trouble("feed gone", "gazette", A_WHILE_AGO, "410", "Take it out.")


@pytest.mark.parametrize(
    ("holder", "awake", "due", "standing", "found"),
    [
        (RUNS, A_WHILE_AGO, SOON, (), Health("well", f"{RUNS} watches; last awake 3 min ago", A_WHILE_AGO)),
        (RUNS, None, None, (), Health("well", f"{RUNS} watches; it has done nothing yet")),
        # Nothing is due: there is nothing to do.
        (RUNS, NOW - timedelta(days=3), None, (), Health("well", f"{RUNS} watches; last awake 3 days ago")),
        (RUNS, NOW - timedelta(hours=3), SOON, (), Health("well", f"{RUNS} watches; last awake 3 h ago")),
        # It works at what is due for long: there is much of it.
        (RUNS, NOW, NOW - timedelta(hours=3), (), Health("well", f"{RUNS} watches; last awake 0 s ago")),
        (RUNS, A_WHILE_AGO, SOON, (GONE,), Health("in trouble", "feed gone: gazette")),
        (None, A_WHILE_AGO, SOON, (GONE,), Health("not running", "last awake 3 min ago")),
        (None, None, None, (), Health("not running", "it has done nothing yet")),
    ],
)
def test_the_state_follows_from_what_is_known(
    holder: str | None, awake: datetime | None, due: datetime | None, standing: tuple[Trouble, ...], found: Health
) -> None:
    said = judged(holder, awake, due, standing, NOW)
    assert (said.state, said.why) == (found.state, found.why)


def test_many_troubles_make_one_line() -> None:
    many = tuple(Trouble("feed failing", f"f{n}", A_WHILE_AGO, "503", "") for n in range(9))
    rests = Trouble("recipient rests", "analyst@example.org", A_WHILE_AGO, "550", "")
    offline = Trouble("offline", "", A_WHILE_AGO, "", "")
    said = judged(RUNS, NOW, SOON, (*many, rests, offline), NOW)
    assert said.why == "feed failing: f0, f1, f2, f3, f4, …; recipient rests: analyst@example.org; offline"


def test_a_trouble_counts_when_it_has_stood_for_as_long_as_an_operator_waits() -> None:
    failing = Trouble("feed failing", "gazette", NOW - timedelta(hours=5), "503", "")
    covered = Trouble("feed gone", "globe", NOW - timedelta(days=9), "410", "", covered=True)
    found = (failing, GONE, covered)
    assert standing_long_enough(found, Operator(()), NOW) == (GONE,)
    assert standing_long_enough(found, Operator((), timedelta(hours=4)), NOW) == (failing, GONE)
