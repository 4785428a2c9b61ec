"""The command line: what each command prints where, what it changes, and the code it ends with."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from daemon import __version__, console
from daemon.assembly import FEEDS_FILE_NOTE, reading, status, writing
from daemon.cli import app
from daemon.cli_options import moment
from daemon.databases import Sqlite
from daemon.errors import ClaimwatchError, ConfigError, LogBusy
from daemon.eventlog import EventLog
from daemon.events import (
    DeliveryAccepted,
    DeliveryDeferred,
    DeliveryRefused,
    DigestPrepared,
    FeedMoved,
    NewEvent,
    Recorded,
    WatchStarted,
    WatchStopped,
)
from daemon.locks import writer_lock
from daemon.outcomes import Failed, Gone
from daemon.projections import record
from daemon.rules import recipient_id
from daemon.service import Polled
from daemon.settings import load, shipped
from tests.support import NOW, Answer, WebServer, item, rss
from tests.test_events import EXAMPLES

FEEDS = """\
feeds: {{gazette: "{url}"}}
claims: {{prisoner-exchange: {{terms: prisoner exchange}}}}
digests: {{daily: {{at: 7:30, to: analyst@example.org}}}}
polling: {{allow_private: 127.0.0.1}}
"""
SEED = """\
title: A Made-Up Article
author: An Author
publisher: A Publisher
date: 2025-03-20
claims: {harbour-opens: {statement: The harbour opens again., made: 2025-03-19, kind: prediction}}
"""
NEWS = (item("Prisoner exchange agreed", summary="Both sides say so."), item("Rain expected"))
COMMANDS = (
    *("run", "poll", "deliver", "status", "check", "matches", "match", "backtest", "events", "verify", "rebuild"),
    *("init", "schema", "try", "diff", "explain", "send-test", "health"),
    *("digest preview", "digest prepare", "digest show", "digest resend"),
    *("feeds list", "feeds discover", "feeds add", "feeds import", "feeds export"),
)


@dataclass(frozen=True)
class Desk:
    """A folder with feeds.yaml and a state directory, and claimwatch at work on them."""

    folder: Path
    url: str

    @property
    def config(self) -> Path:
        return self.folder / "feeds.yaml"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def database(self) -> Path:
        return self.state / "claimwatch.sqlite3"

    @property
    def options(self) -> list[str]:
        return ["--config", str(self.config), "--state", str(self.state)]

    def run(self, command: str, *arguments: str) -> Result:
        """The command, whatever it ends with."""
        return CliRunner().invoke(app, [*command.split(), *arguments, *self.options])

    def ok(self, command: str, *arguments: str) -> Result:
        """The command, which must end well."""
        done = self.run(command, *arguments)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done

    def objects(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        """What the command prints with --json: one object a line and nothing else."""
        return lines_of(self.ok(command, *arguments, "--json"))

    def process(self, command: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """The command as a process of its own."""
        words = [sys.executable, "-m", "daemon", *command.split(), *arguments, *self.options]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(words, text=True, **(pipes | options))

    def at_a_terminal(self, command: str, *, until: str) -> str:
        """What the command says to a terminal, where Ctrl-C ends it once it has said `until`."""
        ours, its = pty.openpty()
        with open(ours, "rb", buffering=0) as screen:
            environment = os.environ | {"TERM": "dumb", "NO_COLOR": "1"}
            process = self.process(command, stdout=its, stderr=its, env=environment)
            os.close(its)
            told, interrupted = "", False
            # A terminal whose other end is closed says that it can't be read.
            with process, suppress(OSError):
                while more := screen.read(4096):
                    told += more.decode()
                    if until in told and not interrupted:
                        interrupted = True
                        process.send_signal(signal.SIGINT)
        return told


def lines_of(done: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    with WebServer() as one:
        yield one


@pytest.fixture
def web(server: WebServer) -> WebServer:
    """The server of all these tests, which knows of none of them yet."""
    server.script.clear()
    server.asked.clear()
    return server


@pytest.fixture
def desk(tmp_path: Path, web: WebServer) -> Desk:
    """A desk with one feed of two items, one claim and one digest; nothing is polled yet."""
    return laid_out(tmp_path, web)


def laid_out(folder: Path, web: WebServer) -> Desk:
    url = web.serve("/feed.xml", rss(*NEWS))
    (folder / "feeds.yaml").write_text(FEEDS.format(url=url), encoding="utf-8")
    return Desk(folder, url)


class FirstPoll:
    """What a first poll leaves in a state folder: made now and then, and copied. A poll takes as long as most tests."""

    LONGEST_SECONDS = 60

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._made = -math.inf
        self._state = Path()

    def copied_to(self, desk: Desk, web: WebServer) -> None:
        """Gives a desk the state that its own first poll would have left."""
        if time.monotonic() - self._made > self.LONGEST_SECONDS:
            made = laid_out(self._factory.mktemp("first-poll"), web)
            made.ok("poll")
            self._state, self._made = made.state, time.monotonic()
        shutil.copytree(self._state, desk.state)
        (desk.state / FEEDS_FILE_NOTE).write_text(f"{desk.config}\n", encoding="utf-8")


@pytest.fixture(scope="module")
def first_poll(tmp_path_factory: pytest.TempPathFactory) -> FirstPoll:
    return FirstPoll(tmp_path_factory)


@pytest.fixture
def polled(desk: Desk, web: WebServer, first_poll: FirstPoll) -> Desk:
    """The desk after its first poll."""
    first_poll.copied_to(desk, web)
    return desk


@contextmanager
def held(desk: Desk, command: str = "run") -> Iterator[str]:
    """Somebody else writes this log; gives what they are called."""
    with writer_lock(Sqlite(desk.database), command):
        yield f"claimwatch {command} (process {os.getpid()})"


def snapshot_of(desk: Desk) -> list[tuple[Any, ...]]:
    """Every event in the log."""
    with sqlite3.connect(desk.database) as connection:
        rows = connection.execute("SELECT * FROM event ORDER BY position").fetchall()
    connection.close()
    return rows


def unboxed(error: str) -> str:
    """A usage error without the frame and the line breaks that it is drawn with."""
    return " ".join(error.replace("│", " ").split())


def the_digest(desk: Desk) -> str:
    return str(desk.objects("digest show")[0]["id"])


# ── help and options ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert done.exit_code == 0
    assert f"claimwatch {command}" in done.stdout.partition("Example")[2]


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_no_help_shows_a_type_of_the_code(command: str) -> None:
    done = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "80", "NO_COLOR": "1"})
    assert set(re.findall(r"<[^>]*>|\{[^}]*\}|\[\[.*", done.stdout)) <= {"<feeds|seed>"}


def test_the_help_lists_every_command() -> None:
    done = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert [name for name in ("digest", "feeds", *COMMANDS[:18]) if f" {name} " not in done.stdout] == []
    assert "Exit codes: 0 fine, 1 something is wrong, 2 wrong usage or configuration." in done.stdout


def test_the_version_is_told() -> None:
    assert CliRunner().invoke(app, ["--version"]).stdout == f"claimwatch {__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["--config", "{config}", "--state", "{state}", "status", "--json"],
        ["--state", "{state}", "status", "--json", "--config", "{config}"],
        ["status", "--json", "--config", "{config}", "--state", "{state}"],
        [
            "--config",
            "nowhere.yaml",
            "--state",
            "nowhere",
            "status",
            "--json",
            "--config",
            "{config}",
            "--state",
            "{state}",
        ],
    ],
)
def test_global_options_stand_before_or_after_the_command(polled: Desk, words: list[str]) -> None:
    done = CliRunner().invoke(app, [word.format(config=polled.config, state=polled.state) for word in words])
    assert lines_of(done)[0]["log"]["items"] == 2


def test_options_before_a_command_are_forgotten_by_the_next(polled: Desk, tmp_path: Path) -> None:
    CliRunner().invoke(app, ["--config", str(tmp_path / "none.yaml"), "status"])
    assert polled.run("status").exit_code == 0


def test_verbose_shows_more(desk: Desk) -> None:
    done = CliRunner().invoke(app, ["--verbose", "check", *desk.options])
    assert done.exit_code == 0


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("2025-03-18", datetime(2025, 3, 18, tzinfo=UTC)),
        ("2025-03-18T15:00", datetime(2025, 3, 18, 15, tzinfo=UTC)),
        ("2025-03-18T15:00Z", datetime(2025, 3, 18, 15, tzinfo=UTC)),
        ("2025-03-18T15:00+02:00", datetime(2025, 3, 18, 13, tzinfo=UTC)),
        ("20250318T150000Z", datetime(2025, 3, 18, 15, tzinfo=UTC)),
    ],
)
def test_a_time_is_a_day_or_an_instant(written: str, meant: datetime) -> None:
    assert moment(written) == meant


@pytest.mark.parametrize(
    ("written", "back"), [("90m", timedelta(minutes=90)), ("6h", timedelta(hours=6)), ("30d", timedelta(days=30))]
)
def test_a_time_is_a_span_back_from_now(written: str, back: timedelta) -> None:
    before = datetime.now(UTC) - back
    assert before <= moment(written) <= datetime.now(UTC) - back


@pytest.mark.parametrize(
    "written", ["yesterday", "2025-02-30", "20250230T000000Z", "6w", "99999999d", "9999999999999999d"]
)
def test_a_time_that_is_none_is_wrong_usage(written: str) -> None:
    with pytest.raises(typer.BadParameter):
        moment(written)


# ── the process: exit codes and streams ──────────────────────────────────────────────────────────────────────────


def test_what_is_well_ends_with_0_and_speaks_on_stdout(desk: Desk) -> None:
    with desk.process("check") as process:
        out, err = process.communicate(timeout=30)
    assert process.returncode == 0
    assert out == f"{desk.config} is fine: 1 feed, 1 claim with 1 term, 1 digest\n"
    assert err.startswith("note: no term watches energy-strike-pause, black-sea-group, ")
    assert err.count("\n") == 1


def test_what_is_wrong_ends_with_1_and_speaks_on_stderr(desk: Desk) -> None:
    with desk.process("status") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err == (
        f"claimwatch: there is no log yet at {desk.database}\n"
        "  `claimwatch run` or `claimwatch poll` begins one; --state names another place.\n"
    )


def test_a_wrong_configuration_ends_with_2_and_speaks_on_stderr(desk: Desk) -> None:
    desk.config.write_text("feds: {}\n", encoding="utf-8")
    with desk.process("poll") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (2, "")
    assert err == (
        f"claimwatch: {desk.config}:1:1: unknown key 'feds'\n    Did you mean 'feeds'?\n"
        "  1 problem; mend, then try `claimwatch check`.\n"
    )


def test_a_reader_that_has_read_enough_is_no_failure(polled: Desk) -> None:
    process = polled.process("events", "--json")
    assert process.stdout
    process.stdout.close()
    assert process.stderr
    err = process.stderr.read()
    process.stderr.close()
    assert (process.wait(timeout=30), err) == (0, "")


@pytest.mark.parametrize(
    "words", [["nonsense"], ["status", "--nonsense"], ["events", "--kind", "nonsense"], ["poll", "nonsense"], ["match"]]
)
def test_wrong_usage_ends_with_2(desk: Desk, words: list[str]) -> None:
    done = desk.run(words[0], *words[1:])
    assert (done.exit_code, done.stdout) == (2, "")


def test_a_feed_that_is_not_in_feeds_yaml_is_named(desk: Desk) -> None:
    assert "feeds.yaml has no feed nonsense" in desk.run("poll", "nonsense").stderr


def test_a_kind_that_there_is_not_is_answered_with_those_there_are(polled: Desk) -> None:
    error = unboxed(polled.run("events", "--kind", "nonsense").stderr)
    assert "no kind nonsense; there is: watch_started, watch_stopped," in error


# ── no log, no place, somebody else ──────────────────────────────────────────────────────────────────────────────


READERS = (
    "status",
    "events",
    "verify",
    "matches",
    "digest show",
    "digest preview daily",
    "try rain",
    "diff",
    "explain 4",
)
WRITERS = ("poll", "deliver", "rebuild", "digest prepare", "digest resend daily --to analyst@example.org", "run")


@pytest.mark.parametrize("command", READERS)
def test_a_command_that_reads_says_that_there_is_no_log_yet(desk: Desk, command: str) -> None:
    done = desk.run(command)
    assert isinstance(done.exception, ClaimwatchError)
    assert done.exception.message == f"there is no log yet at {desk.database}"
    assert not desk.state.exists()


@pytest.mark.parametrize("command", READERS)
def test_a_command_that_reads_works_beside_a_writer(polled: Desk, command: str) -> None:
    with held(polled):
        polled.ok(command)


@pytest.mark.parametrize("command", WRITERS)
def test_a_command_that_writes_names_the_writer_it_finds(polled: Desk, command: str) -> None:
    before = snapshot_of(polled)
    with held(polled) as holder:
        done = polled.run(command)
    assert isinstance(done.exception, LogBusy)
    assert done.exception.message == f"{holder} is writing this log (sqlite:///{polled.database})"
    assert snapshot_of(polled) == before


def test_a_command_that_writes_beside_a_writer_ends_with_1(polled: Desk) -> None:
    with held(polled) as holder, polled.process("poll", "--json") as process:
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (1, "")
    assert err.startswith(f"claimwatch: {holder} is writing this log (sqlite:///{polled.database})\n")


@pytest.mark.parametrize("content", [b"", b"not a database at all, but long enough to be looked at" * 20])
def test_a_file_that_is_no_log_is_told(desk: Desk, content: bytes) -> None:
    desk.state.mkdir()
    desk.database.write_bytes(content)
    assert isinstance(desk.run("status").exception, ClaimwatchError)


def test_a_state_that_is_a_file_is_told(desk: Desk) -> None:
    desk.state.write_text("a file", encoding="utf-8")
    assert isinstance(desk.run("poll").exception, ClaimwatchError)


# ── poll ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_poll_tells_each_feed_as_an_object(desk: Desk) -> None:
    (told,) = desk.objects("poll")
    due = datetime.fromisoformat(told.pop("next_due"))
    assert told == {"feed": "gazette", "outcome": "changed", "items": 2, "revised": 0, "matches": ["prisoner-exchange"]}
    assert timedelta(minutes=4) < due - datetime.now(UTC) < timedelta(minutes=6)


def test_a_poll_speaks_to_a_person_on_stderr(desk: Desk) -> None:
    done = desk.ok("poll")
    assert done.stdout == ""
    assert done.stderr == "  gazette: 2 new → prisoner-exchange\n1 of 1 feed reached; 2 new items, 1 match\n"


def test_a_poll_tells_revisions(polled: Desk, web: WebServer) -> None:
    web.serve("/feed.xml", rss(item("Prisoner exchange agreed", summary="Both sides deny it."), NEWS[1]))
    assert polled.ok("poll").stderr.splitlines()[0].startswith("  gazette: 0 new, 1 revised")


def test_a_poll_of_the_same_document_is_unchanged(polled: Desk) -> None:
    (told,) = polled.objects("poll")
    assert (told["outcome"], told["items"], told["matches"]) == ("unchanged", 0, [])


def test_a_poll_that_reached_nothing_ends_with_1_and_says_why(desk: Desk, web: WebServer) -> None:
    web.serve("/feed.xml", Answer(status=404))
    done = desk.run("poll", "--json")
    (told,) = lines_of(done)
    assert done.exit_code == 1
    assert (told["outcome"], told["reason"], told["detail"]) == ("failed", "http 404", "404 Not Found")
    assert told["hint"] == "The feed may have moved: look for its new address on the site."
    assert done.stderr.startswith("0 of 1 feed reached; 0 new items, 0 matches\n  http 404 Not Found\n    gazette\n")
    assert "Next try from" in done.stderr


def test_a_feed_that_is_gone_is_told_as_gone(desk: Desk, web: WebServer) -> None:
    web.serve("/feed.xml", Answer(status=410))
    done = desk.run("poll", "--json")
    assert (done.exit_code, lines_of(done)[0]["outcome"]) == (1, "gone")
    assert "gone for good (410)\n    gazette\n" in done.stderr


def test_some_feeds_reached_is_no_failure(desk: Desk, web: WebServer) -> None:
    feeds = f"feeds: {{a: '{desk.url}', b: 'http://127.0.0.2:9/feed'}}\n"
    desk.config.write_text(feeds + "polling: {allow_private: [127.0.0.1, 127.0.0.2]}\n", encoding="utf-8")
    done = desk.ok("poll")
    assert "1 of 2 feeds reached; 2 new items, 0 matches" in done.stderr


def test_a_log_belongs_to_one_feeds_yaml(desk: Desk, tmp_path: Path) -> None:
    desk.ok("poll")
    other = tmp_path / "other.yaml"
    other.write_text(desk.config.read_text(encoding="utf-8"), encoding="utf-8")
    both = ["--config", str(other), "--state", str(desk.state)]
    refused = CliRunner().invoke(app, ["poll", *both])
    assert refused.exit_code == 1
    assert isinstance(refused.exception, ClaimwatchError)
    assert str(refused.exception).startswith(f"this log belongs to {desk.config}, not to {other}\n")
    assert "--state DIR" in str(refused.exception)
    looked_at = CliRunner().invoke(app, ["status", "--json", *both])
    assert f"this log belongs to {desk.config}" in looked_at.stderr
    # One that was moved is the same watch.
    desk.config.unlink()
    assert CliRunner().invoke(app, ["poll", *both]).exit_code == 0


def test_a_feed_on_a_private_address_is_refused_until_feeds_yaml_names_its_host(desk: Desk, web: WebServer) -> None:
    named = desk.config.read_text(encoding="utf-8")
    desk.config.write_text(named.replace("allow_private: 127.0.0.1", ""), encoding="utf-8")
    done = desk.run("poll")
    assert done.exit_code == 1
    assert "private address (127.0.0.1 is no address of the public internet)\n    gazette\n" in done.stderr
    assert "name the host under polling: allow_private:" in done.stderr
    assert web.asked == []
    desk.config.write_text(named, encoding="utf-8")
    assert "1 of 1 feed reached" in desk.ok("poll").stderr


def test_the_secrets_of_a_feed_reach_its_host_and_nothing_else(desk: Desk, web: WebServer) -> None:
    feeds = f"feeds: {{paid: {{url: '{desk.url}', auth_file: login, headers_file: headers}}}}\n"
    desk.config.write_text(feeds + "polling: {allow_private: 127.0.0.1}\n", encoding="utf-8")
    (desk.folder / "login").write_text("reader:p4ssw0rd\n", encoding="utf-8")
    (desk.folder / "headers").write_text("# for the archive\nX-Api-Key: k3y-of-ours\n", encoding="utf-8")
    told = [desk.ok("--verbose", "poll"), desk.ok("status", "--json"), desk.ok("events", "--json")]
    assert web.asked[0].headers["authorization"] == "Basic cmVhZGVyOnA0c3N3MHJk"
    assert web.asked[0].headers["x-api-key"] == "k3y-of-ours"
    kept = [path.read_bytes() for path in (desk.folder / "state").rglob("*") if path.is_file()]
    shown = [text.encode() for done in told for text in (done.stdout, done.stderr)]
    for secret in (b"p4ssw0rd", b"cmVhZGVyOnA0c3N3MHJk", b"k3y-of-ours"):
        assert not [text for text in (*kept, *shown) if secret in text]


def test_a_feed_may_have_a_limit_of_its_own(desk: Desk, web: WebServer) -> None:
    web.serve("/feed.xml", rss(item("Long", summary="word " * 3_000)))
    feeds = f"feeds: {{a: {{url: '{desk.url}', most_bytes: 20000}}, b: '{desk.url}'}}\n"
    desk.config.write_text(feeds + "polling: {allow_private: 127.0.0.1, most_bytes: 10000}\n", encoding="utf-8")
    assert {told["feed"]: told["outcome"] for told in desk.objects("poll")} == {"a": "changed", "b": "failed"}


def test_a_poll_of_named_feeds_asks_them_alone(desk: Desk, web: WebServer) -> None:
    feeds = f"feeds: {{a: '{desk.url}', b: '{web.url('/other.xml')}'}}\n"
    desk.config.write_text(feeds + "polling: {allow_private: 127.0.0.1}\n", encoding="utf-8")
    assert [told["feed"] for told in desk.objects("poll", "a")] == ["a"]
    assert {asked.path for asked in web.asked} == {"/feed.xml"}


def test_a_resting_feed_is_polled_when_it_is_named_only(desk: Desk) -> None:
    feeds = f"feeds: {{a: {{url: '{desk.url}', enabled: false}}}}\n"
    desk.config.write_text(feeds + "polling: {allow_private: 127.0.0.1}\n", encoding="utf-8")
    assert desk.objects("poll") == []
    assert [told["items"] for told in desk.objects("poll", "a")] == [2]


def test_a_poll_of_what_is_due_asks_nobody_too_early(polled: Desk, web: WebServer) -> None:
    asked = len(web.asked)
    assert polled.objects("poll", "--due") == []
    assert len(web.asked) == asked


def test_a_poll_of_a_named_feed_that_is_not_due_asks_nobody(polled: Desk, web: WebServer) -> None:
    asked = len(web.asked)
    assert polled.objects("poll", "gazette", "--due") == []
    assert len(web.asked) == asked


def test_a_poll_of_a_feed_that_there_is_not_begins_no_log(desk: Desk) -> None:
    desk.run("poll", "nonsense")
    assert not desk.database.exists() or snapshot_of(desk) == []


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_events_are_objects_in_order(polled: Desk) -> None:
    events = polled.objects("events")
    assert [event["position"] for event in events] == [1, 2, 3, 4]
    assert [event["kind"] for event in events] == ["rules_changed", "item_seen", "item_seen", "claim_matched"]
    assert {tuple(event) for event in events} == {("position", "stream", "version", "kind", "at", "payload")}
    assert events[3]["payload"]["claim"] == "prisoner-exchange"


def test_events_are_lines_for_a_person(polled: Desk) -> None:
    lines = polled.ok("events").stdout.splitlines()
    assert len(lines) == 4
    assert lines[0].startswith("      1  ")
    assert "  rules_changed      watch  {" in lines[0]
    assert lines[0].endswith("…")


def test_events_may_be_of_some_kinds_only(polled: Desk) -> None:
    found = polled.objects("events", "--kind", "claim_matched", "--kind", "rules_changed")
    assert [event["kind"] for event in found] == ["rules_changed", "claim_matched"]


def test_events_may_be_of_one_stream_or_of_a_type_of_streams(polled: Desk) -> None:
    streams = {event["stream"] for event in polled.objects("events", "--stream", "item/")}
    assert len(streams) == 2
    stream = min(streams)
    assert [event["stream"] for event in polled.objects("events", "--stream", stream)] == [stream]


def test_a_stream_that_there_is_not_has_no_events(polled: Desk) -> None:
    assert polled.objects("events", "--stream", "item") == []


def test_events_may_begin_at_a_time(polled: Desk) -> None:
    assert len(polled.objects("events", "--since", "1h")) == 4
    assert polled.objects("events", "--since", "2999-01-01") == []


def test_following_goes_on_with_what_is_appended(polled: Desk) -> None:
    with polled.process(
        "events", "--json", "--follow", "--kind", "watch_stopped", "--kind", "claim_matched"
    ) as process:
        assert process.stdout
        assert json.loads(process.stdout.readline())["position"] == 4
        with reading(polled.config, polled.state) as installation, installation.log.transaction(NOW) as transaction:
            record(transaction, [NewEvent("watch", WatchStopped("a test"))])
        assert json.loads(process.stdout.readline())["position"] == 5
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err


# ── status ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_status_is_one_object(polled: Desk) -> None:
    (told,) = polled.objects("status")
    expected = {"watch", "digests", "waiting", "resting", "claims", "feeds", "troubles", "operator", "log"}
    assert set(told) == expected
    assert told["watch"].startswith("is not running; last awake ")
    assert [(digest["name"], digest["recipients"]) for digest in told["digests"]] == [("daily", 1)]
    assert [(claim["id"], claim["terms"], claim["matches"]) for claim in told["claims"]] == [
        ("prisoner-exchange", 1, 1)
    ]
    assert [(feed["id"], feed["state"], feed["items"]) for feed in told["feeds"]] == [("gazette", "ok", 2)]
    assert (told["log"]["events"], told["log"]["items"], told["log"]["matches"]) == (4, 2, 1)


def test_status_is_a_screen_for_a_person(polled: Desk) -> None:
    shown = polled.ok("status").stdout
    assert "claimwatch is not running; last awake " in shown
    assert re.search(r"^next digest: daily, \w{3} \d+ \w{3} 07:30 UTC, to the Maildir$", shown, re.MULTILINE)
    assert "log: 4 events, 2 items, 1 match; head " in shown
    assert f"     {polled.database}\n" in shown


def test_status_tells_a_digest_s_time_as_feeds_yaml_has_it_and_to_how_many_it_goes(desk: Desk) -> None:
    text = desk.config.read_text(encoding="utf-8").replace("at: 7:30", "at: 7:30, timezone: Europe/Kyiv")
    desk.config.write_text(text + "mail: {smtp: {host: mail.example}}\n", encoding="utf-8")
    desk.ok("poll")
    (line,) = [one for one in desk.ok("status").stdout.splitlines() if one.startswith("next digest: ")]
    assert line.endswith(" 07:30 Europe/Kyiv, to 1 recipient")
    (told,) = desk.objects("status")[0]["digests"]
    assert (told["timezone"], told["via"]) == ("Europe/Kyiv", "smtp")


def test_every_time_on_the_status_screen_has_its_zone(polled: Desk, web: WebServer) -> None:
    """Seen in a process of its own, whose machine stands elsewhere."""
    web.serve("/feed.xml", Answer(status=503))
    polled.run("poll")
    with polled.process("status", env=os.environ | {"TZ": "Asia/Kolkata"}) as process:
        out, _ = process.communicate(timeout=30)
    assert "last match (IST)" in out
    assert "last read (IST)" in out
    assert re.search(r"^failing since [-\d]{10} \d\d:\d\d IST: ", out, re.MULTILINE)
    (told,) = polled.objects("status")
    read = datetime.fromisoformat(told["feeds"][0]["succeeded_at"]) + timedelta(hours=5, minutes=30)
    assert f"{read:%Y-%m-%d %H:%M}" in out


def test_status_tells_a_feed_in_trouble(polled: Desk, web: WebServer) -> None:
    web.serve("/feed.xml", Answer(status=503))
    polled.run("poll")
    shown = polled.ok("status").stdout
    assert ": http 503 Service Unavailable\n  gazette\n" in shown
    assert "  The site is in trouble; it is tried again by itself.\n" in shown


def test_status_tells_how_often_a_feed_is_asked_and_where_it_moved(polled: Desk) -> None:
    log = EventLog(f"sqlite:///{polled.database}")
    with log.transaction(datetime.now(UTC)) as transaction:
        record(transaction, [NewEvent("feed/gazette", FeedMoved(polled.url, "https://new.example/rss"))])
    log.close()
    shown = polled.ok("status").stdout
    assert re.search(
        r"^moved: gazette is asked at another address since [-\d]{10} \d\d:\d\d \w+, as its site says$",
        shown,
        re.MULTILINE,
    )
    assert "  Write it into feeds.yaml: https://new.example/rss\n" in shown
    (told,) = polled.objects("status")[0]["feeds"]
    assert (told["url"], told["asked_url"]) == (polled.url, "https://new.example/rss")


def with_operator(desk: Desk, operator: str, more: str = "") -> None:
    """Names an operator in feeds.yaml."""
    text = desk.config.read_text(encoding="utf-8")
    desk.config.write_text(f"{text}operator: {operator}\n{more}", encoding="utf-8")


def test_deliver_tells_the_operator_and_status_says_when(desk: Desk, web: WebServer) -> None:
    with_operator(desk, "ops@example.org")
    web.serve("/feed.xml", Answer(status=410))
    desk.run("poll")
    (told,) = desk.objects("deliver")
    assert (told["kind"], told["stream"]) == ("notice_sent", f"notice/{recipient_id('ops@example.org')}")
    assert "Nothing is waiting" in desk.ok("deliver").stderr
    (gone,) = desk.objects("status")[0]["troubles"]
    assert (gone["kind"], gone["about"], gone["operator_told_at"]) == ("feed gone", "gazette", told["at"])
    shown = desk.ok("status").stdout
    assert re.search(r"^operator told at [-\d]{10} \d\d:\d\d \w+: gazette \(feed gone\)$", shown, re.MULTILINE)
    (notice,) = (desk.state / "Maildir" / "new").iterdir()
    assert b"To: ops@example.org" in notice.read_bytes()


def test_status_says_whom_no_mail_reaches_and_that_the_operator_was_not_told(desk: Desk, web: WebServer) -> None:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        server = f"{{host: 127.0.0.1, port: {free.getsockname()[1]}, security: none}}"
    with_operator(desk, "ops@example.org", f"mail: {{smtp: {server}}}\n")
    desk.ok("poll")
    desk.ok("digest prepare daily")
    web.serve("/feed.xml", Answer(status=410))
    desk.run("poll")
    delivered = desk.run("deliver")
    assert delivered.exit_code == 1
    assert "operator not told: Error connecting to 127.0.0.1" in delivered.stderr
    shown = " ".join(desk.ok("status").stdout.split())
    assert "delivery failing (analyst@example.org) since " in shown
    assert "operator not told (ops@example.org): Error connecting" in shown
    (operator,) = desk.objects("status")[0]["operator"]
    assert operator["to"] == "ops@example.org"
    assert operator["retry_at"]


def test_status_tells_one_trouble_of_many_feeds_once(desk: Desk) -> None:
    names = [f"feed-{letter}" for letter in "abcdefghij"]
    feeds = ", ".join(f'{name}: "http://{name}.invalid/rss"' for name in names)
    desk.config.write_text(f"feeds: {{{feeds}}}\n", encoding="utf-8")
    desk.run("poll")
    shown = desk.ok("status").stdout
    assert shown.count("name not found") == 1
    assert "Errno" not in shown
    assert " ".join(shown.partition("name not found\n")[2].split()).startswith(f"{', '.join(names)} Check the address")
    assert max(map(len, shown.splitlines()[:-1])) <= 80


def test_status_tells_what_waits(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    (told,) = polled.objects("status")
    assert [(one["state"], one["attempts"], one["retry_at"]) for one in told["waiting"]] == [("prepared", 0, None)]
    assert f"waiting: {the_digest(polled)} (prepared, 0 attempts)" in polled.ok("status").stdout


def test_status_tells_alerts_by_their_pace(desk: Desk) -> None:
    text = desk.config.read_text(encoding="utf-8").replace("at: 7:30", "every: 15m, at_most: 6/day")
    desk.config.write_text(text, encoding="utf-8")
    desk.ok("poll")
    shown = desk.ok("status").stdout
    assert "\nalerts: daily, when something is new, 15 minutes apart, to the Maildir\n" in shown
    (told,) = desk.objects("status")[0]["digests"]
    assert (told["next_due"], told["every_seconds"]) == (None, 900)


def refuse_three(desk: Desk) -> None:
    """The analyst's mail server refuses three digests in a row."""
    recipient = recipient_id("analyst@example.org")
    example = next(one for one in EXAMPLES if isinstance(one, DigestPrepared))
    with writing(desk.config, desk.state, "a test") as installation:
        for number in range(3):
            stream = f"digest/daily/{recipient}/{number}"
            prepared = replace(example, name="daily", recipient=recipient, matches=(), resent=False)
            with installation.log.transaction(NOW) as transaction:
                record(transaction, [NewEvent(stream, prepared), NewEvent(stream, DeliveryRefused("550 No such user"))])


def test_status_tells_who_rests_and_what_wakes_them(polled: Desk) -> None:
    refuse_three(polled)
    (told,) = polled.objects("status")[0]["resting"]
    assert told["recipient"] == "analyst@example.org"
    assert (told["refusals"], told["answer"]) == (3, "550 No such user")
    assert [digest["recipients"] for digest in polled.objects("status")[0]["digests"]] == [0]
    shown = polled.ok("status").stdout
    assert re.search(
        r"^rests: analyst@example.org gets nothing since .+, after 3 refusals in a row: 550 No such user$", shown, re.M
    )
    (command,) = re.findall(r"claimwatch (digest resend NAME --since \S+ --to \S+) && claimwatch deliver", shown)
    polled.ok(command.replace("NAME", "daily"))
    polled.ok("deliver")
    assert polled.objects("status")[0]["resting"] == []


def test_a_digest_prepared_by_hand_leaves_out_who_rests_and_says_so(polled: Desk) -> None:
    refuse_three(polled)
    done = polled.ok("digest prepare daily")
    assert done.stdout == ""
    told = "analyst@example.org rests after 3 refusals; `claimwatch status` says what wakes them."
    assert done.stderr.splitlines()[0] == told


def watch_words(desk: Desk) -> str:
    return str(desk.objects("status")[0]["watch"])


def test_status_names_a_command_at_work(polled: Desk) -> None:
    with held(polled, "poll") as holder:
        assert watch_words(polled) == f"is at work: {holder}"


def test_status_tells_since_when_the_watch_runs(polled: Desk) -> None:
    with held(polled) as holder:
        with reading(polled.config, polled.state) as installation, installation.log.transaction(NOW) as transaction:
            record(transaction, [NewEvent("watch", WatchStarted(__version__, None))])
        process = holder.removeprefix("claimwatch run ")
        assert watch_words(polled) == f"has been watching since 2025-03-19 12:00 UTC {process}"


def test_status_of_a_log_without_events_is_that_it_has_not_run(desk: Desk) -> None:
    desk.ok("rebuild")
    assert watch_words(desk) == "has not run yet"


# ── init and schema ──────────────────────────────────────────────────────────────────────────────────────────────


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def files_in(folder: Path) -> dict[str, str]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text(encoding="utf-8") for path in paths}


def test_a_starter_is_written_with_what_to_do_next(tmp_path: Path) -> None:
    folder = tmp_path / "my watch"
    done = run("init", str(folder))
    assert done.exit_code == 0
    starter = {"feeds.yaml", "seeds/my-article.yaml", "schemas/feeds.schema.json", "schemas/seed.schema.json"}
    assert set(files_in(folder)) == starter
    assert {line.removeprefix(f"wrote {folder}/") for line in done.stdout.splitlines()} == starter
    assert f"cd '{folder}' && claimwatch check" in done.stderr


def test_a_starter_can_be_run_as_it_is_and_check_has_nothing_to_note(tmp_path: Path) -> None:
    run("init", str(tmp_path))
    done = run("check", "--config", str(tmp_path / "feeds.yaml"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout == f"{tmp_path / 'feeds.yaml'} is fine: 4 feeds, 3 claims with 6 terms, 1 digest\n"


def test_a_starter_with_everything_watches_all_that_is_shipped(tmp_path: Path) -> None:
    run("init", "--all", str(tmp_path))
    done = run("check", "--config", str(tmp_path / "feeds.yaml"))
    assert (done.exit_code, done.stderr) == (0, "")
    assert load(tmp_path / "feeds.yaml").rules == load(shipped("feeds.yaml")).rules
    assert list((tmp_path / "seeds").iterdir()) == []


@pytest.mark.parametrize("option", [(), ("--all",)])
def test_the_first_line_of_a_starters_files_names_their_schema(tmp_path: Path, option: tuple[str, ...]) -> None:
    run("init", *option, str(tmp_path))
    for path in (path for path in tmp_path.rglob("*.yaml")):
        named = path.read_text(encoding="utf-8").splitlines()[0].partition("# yaml-language-server: $schema=")[2]
        assert (path.parent / named).is_file()


@pytest.mark.parametrize("there", ["feeds.yaml", "seeds/my-article.yaml", "schemas/seed.schema.json"])
def test_a_starter_overwrites_nothing(tmp_path: Path, there: str) -> None:
    (tmp_path / there).parent.mkdir(exist_ok=True)
    (tmp_path / there).write_text("mine", encoding="utf-8")
    error = run("init", str(tmp_path)).exception
    assert isinstance(error, ClaimwatchError)
    assert error.message == f"{tmp_path / there} is there already"
    assert files_in(tmp_path) == {there: "mine"}


def test_a_starter_does_not_write_through_a_link_that_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").symlink_to(tmp_path / "elsewhere.yaml")
    assert isinstance(run("init", str(tmp_path)).exception, ClaimwatchError)
    assert files_in(tmp_path) == {}


def test_a_starter_that_cannot_be_written_whole_is_taken_back(tmp_path: Path) -> None:
    """A file stands where a folder of the starter has to be; feeds.yaml is written before it is met."""
    (tmp_path / "seeds").write_text("mine", encoding="utf-8")
    error = run("init", str(tmp_path)).exception
    assert isinstance(error, ClaimwatchError)
    assert error.message.startswith(f"{tmp_path / 'seeds'} can't be written: ")
    assert files_in(tmp_path) == {"seeds": "mine"}


@pytest.mark.parametrize("of", ["feeds", "seed"])
def test_a_schema_is_printed_as_it_is_shipped(tmp_path: Path, of: str) -> None:
    run("init", str(tmp_path))
    assert run("schema", of).stdout == (tmp_path / "schemas" / f"{of}.schema.json").read_text(encoding="utf-8")


# ── check, verify, rebuild ───────────────────────────────────────────────────────────────────────────────────────


def test_a_check_of_a_bad_file_tells_all_of_it(desk: Desk) -> None:
    desk.config.write_text("feds: {}\nwrds: {}\n", encoding="utf-8")
    error = desk.run("check").exception
    assert isinstance(error, ConfigError)
    assert [problem.line for problem in error.problems] == [1, 2]


def test_a_check_notes_that_there_is_nothing_to_poll(desk: Desk) -> None:
    desk.config.write_text("feeds: {}", encoding="utf-8")
    done = desk.ok("check")
    assert done.stdout == f"{desk.config} is fine: 0 feeds, 0 claims with 0 terms, 0 digests\n"
    assert "note: there is no feed to poll\n" in done.stderr


def test_a_check_notes_what_stands_there_without_use(desk: Desk) -> None:
    desk.config.write_text(FEEDS.format(url=desk.url) + "words: {exchange: swap, ship: vessel}\n", encoding="utf-8")
    (desk.folder / "seeds").mkdir()
    (desk.folder / "seeds" / "made-up.yaml").write_text(SEED, encoding="utf-8")
    notes = desk.ok("check").stderr.splitlines()
    assert notes[0].startswith("note: no term watches ")
    assert notes[0].endswith(", harbour-opens")
    assert notes[1:] == ["note: no term uses the word list ship"]
    noted = desk.objects("check")[0]
    assert (noted["unwatched"][-1], noted["unused_words"]) == ("harbour-opens", ["ship"])


def test_a_check_notes_an_operator_in_small_letters_at_its_place(desk: Desk) -> None:
    desk.config.write_text("feeds: {}\nclaims: {black-sea-group: {terms: sea or ships}}\n", encoding="utf-8")
    said = "'or' is looked for as a word here; write OR (or =or to mean the word)"
    assert f"note: {desk.config}:2:39: {said}\n" in desk.ok("check").stderr
    assert desk.objects("check")[0]["term_notes"] == [{"line": 2, "column": 39, "message": said}]


def test_a_second_seed_is_a_matter_of_dropping_it_in(desk: Desk) -> None:
    (desk.folder / "seeds").mkdir()
    (desk.folder / "seeds" / "made-up.yaml").write_text(SEED, encoding="utf-8")
    watched = desk.config.read_text(encoding="utf-8").replace("claims: {", "claims: {harbour-opens: {terms: harbour}, ")
    desk.config.write_text(watched, encoding="utf-8")
    assert "2 claims with 2 terms" in desk.ok("check").stdout


def test_a_check_touches_no_state(desk: Desk) -> None:
    desk.ok("check")
    assert not desk.state.exists()


def test_a_log_that_holds_is_told_with_its_head(polled: Desk) -> None:
    head = snapshot_of(polled)[-1][-1]
    assert polled.ok("verify").stdout == f"the log and its tables hold: 4 events, head {head}\n"


def test_a_row_that_differs_from_the_log_is_named_and_mended_by_a_rebuild(polled: Desk) -> None:
    with sqlite3.connect(polled.database) as connection:
        connection.execute("UPDATE claim SET matches = 7")
    connection.close()
    error = polled.run("verify").exception
    assert isinstance(error, ClaimwatchError)
    assert error.message.startswith("a projection differs from the log: ")
    assert "prisoner-exchange" in error.message
    assert polled.ok("rebuild").stdout == "rebuilt from 4 events\n"
    polled.ok("verify")


def test_a_rebuild_appends_nothing(polled: Desk) -> None:
    before = snapshot_of(polled)
    polled.ok("rebuild")
    assert snapshot_of(polled) == before


def test_tables_that_an_older_version_made_are_told_and_made_anew_by_whoever_writes(polled: Desk) -> None:
    before = snapshot_of(polled)
    for writer, said in (("rebuild", "rebuilt from 4 events\n"), ("digest prepare", "")):
        with closing(sqlite3.connect(polled.database)) as connection:
            connection.execute("ALTER TABLE match DROP COLUMN current")
            connection.execute("DROP TABLE backfill")
        for command in ("status", "matches"):
            error = polled.run(command).exception
            assert isinstance(error, ClaimwatchError)
            assert error.message.startswith("the tables of this log were made by an older claimwatch: ")
            assert error.hint.startswith("Run `claimwatch rebuild`")
        assert polled.ok(*writer.split()).stdout.startswith(said)
        if writer == "rebuild":
            assert snapshot_of(polled) == before
        polled.ok("verify")


# ── terms that change ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_poll_matches_what_is_stored_against_new_terms(polled: Desk) -> None:
    polled.config.write_text(polled.config.read_text().replace("terms: prisoner exchange", "terms: rain"))
    assert "matched against 2 stored items: matches 1 found, 0 changed, 1 no longer made" in polled.ok("poll").stderr
    assert [found["title"] for found in polled.objects("matches")] == ["Rain expected"]
    both = polled.objects("matches", "--all")
    assert [(found["retroactive"], found["current"]) for found in both] == [(False, False), (True, True)]
    assert "not by today's terms" in polled.ok("matches", "--all").stdout
    assert "stored" not in polled.ok("poll").stderr
    polled.ok("verify")


def test_a_digest_that_is_prepared_by_hand_holds_what_new_terms_found(polled: Desk) -> None:
    polled.config.write_text(polled.config.read_text().replace("terms: prisoner exchange", "terms: rain"))
    assert "1 claim moved: prisoner exchange (1 earlier)" in polled.ok("digest prepare daily").stdout


def test_the_status_says_how_far_the_matching_of_new_terms_is(polled: Desk) -> None:
    assert polled.objects("status")[0]["log"]["backfill"] is None
    polled.config.write_text(polled.config.read_text().replace("terms: prisoner exchange", "terms: rain"))
    polled.run("deliver")
    assert polled.objects("status")[0]["log"]["backfill"] == {"claims": ["prisoner-exchange"], "done": 0, "items": 2}
    assert "matching new terms against what is stored: 0 of 2 items (prisoner-exchange)" in polled.ok("status").stdout


# ── matches ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_matches_are_objects_with_their_evidence(polled: Desk) -> None:
    (found,) = polled.objects("matches")
    assert (found["match"], found["claim"], found["feed"]) == (4, "prisoner-exchange", "gazette")
    assert (found["title"], found["link"]) == (
        "Prisoner exchange agreed",
        "https://news.example/prisoner-exchange-agreed",
    )
    assert (found["already_there"], found["lapsed_at"], found["published"]) == (False, None, None)
    assert found["evidence"] == [
        {
            "term": "prisoner exchange",
            "stance": "mentions",
            "field": "title",
            "spans": [[0, 8], [9, 17]],
            "surface": ["Prisoner", "exchange"],
        }
    ]


def test_matches_are_lines_for_a_person(polled: Desk) -> None:
    done = polled.ok("matches")
    lines = done.stdout.splitlines()
    assert lines[0].startswith("prisoner-exchange ")
    assert lines[0].endswith(" gazette  match 4")
    assert lines[1] == "  Prisoner exchange agreed"
    assert lines[2] == "  prisoner exchange  https://news.example/prisoner-exchange-agreed"
    assert done.stderr == "1 match\n"


def test_matches_may_be_of_some_claims_only(desk: Desk) -> None:
    two = desk.config.read_text(encoding="utf-8").replace("claims: {", "claims: {black-sea-group: {terms: rain}, ")
    desk.config.write_text(two, encoding="utf-8")
    desk.ok("poll")
    assert {one["claim"] for one in desk.objects("matches")} == {"prisoner-exchange", "black-sea-group"}
    assert [one["claim"] for one in desk.objects("matches", "--claim", "black-sea-group")] == ["black-sea-group"]


def test_matches_of_a_claim_that_there_is_not_are_refused(polled: Desk) -> None:
    done = polled.run("matches", "--claim", "prisoner-exchange", "--claim", "prisoner-exchang")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "there is no claim prisoner-exchang. Did you mean 'prisoner-exchange'?" in unboxed(done.stderr)


def test_matches_of_a_claim_that_is_in_the_log_alone_are_told(desk: Desk) -> None:
    (desk.folder / "seeds").mkdir()
    seed = desk.folder / "seeds" / "made-up.yaml"
    seed.write_text(SEED, encoding="utf-8")
    without = desk.config.read_text(encoding="utf-8")
    desk.config.write_text(without.replace("claims: {", "claims: {harbour-opens: {terms: rain}, "), encoding="utf-8")
    desk.ok("poll")
    desk.config.write_text(without, encoding="utf-8")
    seed.unlink()
    assert [one["title"] for one in desk.objects("matches", "--claim", "harbour-opens")] == ["Rain expected"]


def test_matches_may_begin_at_a_time(polled: Desk) -> None:
    assert len(polled.objects("matches", "--since", "1h")) == 1
    assert polled.objects("matches", "--since", "2999-01-01") == []


def sheet(desk: Desk) -> list[list[str]]:
    return list(csv.reader(io.StringIO(desk.ok("matches", "--csv").stdout)))


def test_matches_are_a_table_for_a_spreadsheet(polled: Desk) -> None:
    head, row = sheet(polled)
    assert head == ["match", "claim", "first_seen", "published", "feed", "title", "link", "terms"]
    assert (row[0], row[1], row[3:6]) == ("4", "prisoner-exchange", ["", "gazette", "Prisoner exchange agreed"])
    assert row[7] == "prisoner exchange"


@pytest.mark.parametrize("formula", ["=1+1", "+1", "-1", "@SUM(A1)", '=HYPERLINK("http://bad.example";"x")'])
def test_no_cell_is_a_formula(desk: Desk, web: WebServer, formula: str) -> None:
    title = f"{formula} prisoner exchange"
    web.serve("/feed.xml", rss(item(title, link="https://news.example/1")))
    desk.ok("poll")
    assert sheet(desk)[1][5] == f"'{title}"


def test_a_title_with_brackets_and_colons_is_shown_as_it_is(desk: Desk, web: WebServer) -> None:
    web.serve("/feed.xml", rss(item("Prisoner exchange [red]now[/] on :fire: today\\")))
    desk.ok("poll")
    assert desk.ok("matches").stdout.splitlines()[1] == "  Prisoner exchange [red]now[/] on :fire: today\\"


def test_no_control_character_of_a_feed_reaches_the_terminal(desk: Desk, web: WebServer) -> None:
    document = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Gazette",
        "items": [{"id": "1", "title": "Prisoner \x1b[2Jexchange \x07\x9b1m", "content_text": "\x1b]0;x"}],
    }
    web.serve("/feed.xml", json.dumps(document).encode())
    desk.ok("poll")
    shown = desk.ok("matches").stdout + desk.ok("digest preview daily").stdout
    assert "exchange" in shown
    assert not [one for one in shown if not one.isprintable() and one != "\n"]


# ── match ────────────────────────────────────────────────────────────────────────────────────────────────────────


def match(desk: Desk, *lines: str | bytes) -> Result:
    file = desk.folder / "items.jsonl"
    file.write_bytes(b"".join((line.encode() if isinstance(line, str) else line) + b"\n" for line in lines))
    return desk.run("match", str(file))


def test_match_says_of_each_item_what_its_terms_find(desk: Desk) -> None:
    found = {
        "claim": "prisoner-exchange",
        "term": "prisoner exchange",
        "field": "summary",
        "spans": [[4, 12], [17, 26]],
        "surface": ["prisoner", "exchanged"],
    }
    done = match(
        desk,
        '{"id": "a", "title": "Rain", "summary": "One prisoner was exchanged", "link": null, "lang": "en"}',
        "",
        '{"id": 7, "title": "Sun"}',
    )
    assert done.exit_code == 0
    first, second = lines_of(done)
    assert (first["id"], first["claims"]) == ("a", ["prisoner-exchange"])
    assert first["matches"] == [found]
    assert second == {"id": 7, "claims": [], "matches": []}


def test_match_stores_nothing(desk: Desk) -> None:
    match(desk, '{"id": "a", "title": "Prisoner exchange"}')
    assert not desk.state.exists()


@pytest.mark.parametrize(
    "bad",
    ["{", "[1]", "null", "7", '"text"', b'{"id": "\xff"}', "[" * 100_000],
    ids=["cut", "list", "null", "number", "text", "not-utf-8", "deep"],
)
def test_match_names_a_line_it_cannot_read_and_goes_on(desk: Desk, bad: str | bytes) -> None:
    done = match(desk, '{"id": 1, "title": "a"}', bad, '{"id": 3, "title": "c"}')
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    assert f"{desk.folder / 'items.jsonl'}:2: no JSON object" in done.stderr
    assert [told["id"] for told in lines_of(done)] == [1, 3]


def test_match_answers_an_item_with_half_a_character(desk: Desk) -> None:
    """JSON can hold one half of a surrogate pair, as from a text that was cut; UTF-8 cannot."""
    done = match(desk, '{"id": "\\ud83d", "title": "Prisoner exchange"}')
    assert (done.exit_code, lines_of(done)[0]["claims"]) == (0, ["prisoner-exchange"])


def test_match_reads_stdin(desk: Desk) -> None:
    words = ["match", "-", *desk.options]
    done = CliRunner().invoke(app, words, input='{"id": "обмін", "title": "Prisoner exchange"}\n')
    assert lines_of(done)[0]["id"] == "обмін"
    assert "обмін" in done.stdout


# ── digests and their delivery ───────────────────────────────────────────────────────────────────────────────────


def mails(desk: Desk) -> list[Path]:
    return sorted((desk.state / "Maildir" / "new").glob("*"))


def test_a_preview_shows_what_a_digest_would_say_and_stores_nothing(polled: Desk) -> None:
    before = snapshot_of(polled)
    done = polled.ok("digest preview daily", "--html", str(polled.folder / "daily.html"))
    assert done.stdout.startswith("Subject: 1 claim moved: prisoner exchange (1)\n\ndaily digest, ")
    assert "*Prisoner exchange* agreed\n" in done.stdout
    assert done.stderr == f"HTML: {polled.folder / 'daily.html'}\n"
    assert "<html" in (polled.folder / "daily.html").read_text(encoding="utf-8")
    assert snapshot_of(polled) == before


@pytest.mark.parametrize("command", ["digest preview", "digest prepare", "digest resend --to analyst@example.org"])
def test_a_digest_that_there_is_not_is_answered_with_those_there_are(polled: Desk, command: str) -> None:
    done = polled.run(command, "weekly")
    assert done.exit_code == 2
    assert "no digest 'weekly'" in done.stderr
    assert "it has: daily" in done.stderr


def test_a_broken_template_of_the_users_costs_no_preview(polled: Desk) -> None:
    (polled.folder / "alerts").mkdir()
    (polled.folder / "alerts" / "digest.txt").write_text("{{ digest.name(", encoding="utf-8")
    assert "daily digest, " in polled.ok("digest preview daily").stdout


def test_a_file_that_cannot_be_written_is_told(polled: Desk) -> None:
    done = polled.run("digest preview daily", "--html", str(polled.folder / "none" / "daily.html"))
    assert done.exit_code != 0
    assert isinstance(done.exception, ClaimwatchError | SystemExit)


def test_no_digest_is_prepared_before_its_time(polled: Desk) -> None:
    done = polled.ok("digest prepare")
    assert (done.stdout, done.stderr) == ("", "No digest is due.\n")
    assert polled.objects("digest prepare") == []


def test_alerts_that_are_asked_for_by_name_and_have_nothing_to_tell_say_so(desk: Desk) -> None:
    text = desk.config.read_text(encoding="utf-8").replace("at: 7:30", "every: 15m, at_most: 6/day")
    desk.config.write_text(text, encoding="utf-8")
    done = desk.ok("digest prepare daily")
    assert (done.stdout, done.stderr) == ("", "daily: nothing to prepare.\n")


def test_a_digest_named_is_prepared_at_once(polled: Desk) -> None:
    done = polled.ok("digest prepare daily")
    assert done.stdout == f"prepared {the_digest(polled)}: 1 claim moved: prisoner exchange (1)\n"


def test_a_digest_prepared_is_an_event(polled: Desk) -> None:
    (event,) = polled.objects("digest prepare daily")
    assert (event["kind"], event["payload"]["name"], event["payload"]["matches"]) == ("digest_prepared", "daily", [4])
    assert event["payload"]["recipient"] == recipient_id("analyst@example.org")


def test_a_digest_with_nothing_to_tell_is_skipped(polled: Desk, web: WebServer) -> None:
    polled.config.write_text(FEEDS.format(url=polled.url).replace("prisoner exchange", "hockey"), encoding="utf-8")
    polled.ok("poll")
    state = Desk(polled.folder / "quiet", polled.url)
    state.folder.mkdir()
    state.config.write_text(polled.config.read_text(encoding="utf-8"), encoding="utf-8")
    state.ok("poll")
    done = state.ok("digest prepare daily")
    (row,) = state.objects("digest show")
    assert done.stdout == f"skipped {row['id']}: nothing to tell\n"
    assert state.ok("digest show").stdout.startswith(f"{row['id']}  skipped, nothing to tell  ")
    assert state.ok("digest show", row["id"]).stdout == f"{row['id']} was due and had nothing to tell.\n"


def test_what_is_prepared_is_delivered_into_the_maildir(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    done = polled.ok("deliver")
    (mail,) = mails(polled)
    message = message_from_bytes(mail.read_bytes(), policy=SMTP)
    assert (message["To"], message["Subject"]) == ("analyst@example.org", "1 claim moved: prisoner exchange (1)")
    assert f"digest sent: {the_digest(polled)}\n" in done.stderr
    assert f"Digests go to the Maildir {polled.state / 'Maildir'}; read them with any mail program" in done.stderr


def test_a_delivery_is_an_event_on_stdout_alone(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    done = polled.ok("deliver", "--json")
    assert [event["kind"] for event in lines_of(done)] == ["delivery_accepted"]
    assert done.stderr == ""


def test_nothing_to_deliver_is_said(polled: Desk) -> None:
    done = polled.ok("deliver")
    assert (done.stdout, done.stderr) == ("", "Nothing is waiting to be delivered.\n")


def test_a_delivery_that_must_wait_ends_with_1(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    polled.state.joinpath("Maildir").write_text("a file where a folder should be", encoding="utf-8")
    done = polled.run("deliver")
    assert done.exit_code == 1
    assert "digest waits: " in done.stderr
    assert "Next try " in done.stderr


def test_a_digest_for_somebody_taken_out_of_feeds_yaml_is_cancelled(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    text = polled.config.read_text(encoding="utf-8")
    polled.config.write_text(text.replace("analyst@", "another@"), encoding="utf-8")
    (told,) = polled.objects("deliver")
    assert told["kind"] == "delivery_cancelled"
    assert polled.objects("digest show")[0]["state"] == "cancelled"
    assert mails(polled) == []


def test_the_last_digests_are_listed(polled: Desk) -> None:
    assert polled.ok("digest show").stderr == "No digest was prepared yet.\n"
    polled.ok("digest prepare daily")
    polled.ok("deliver")
    done = polled.ok("digest show")
    assert done.stdout == f"{the_digest(polled)}  accepted  1 claim moved: prisoner exchange (1)\n"


def test_a_digest_is_shown_as_it_was_prepared(polled: Desk) -> None:
    preview = polled.ok("digest preview daily").stdout
    polled.ok("digest prepare daily")
    page = polled.folder / "page.html"
    done = polled.ok("digest show", the_digest(polled), "--html", str(page))
    assert done.stdout.splitlines()[4:12] == preview.splitlines()[4:12]
    assert done.stdout.startswith("Subject: 1 claim moved: prisoner exchange (1)\n\ndaily digest, ")
    assert page.read_text(encoding="utf-8").count("<html") == 1
    assert done.stderr == f"HTML: {page}\n"


def test_a_digest_is_shown_raw_without_its_recipient(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    message = polled.ok("digest show", the_digest(polled), "--raw").stdout_bytes
    parsed = message_from_bytes(message, policy=SMTP)
    assert (parsed["Subject"], parsed["To"]) == ("1 claim moved: prisoner exchange (1)", None)


def test_a_digest_is_shown_as_an_object(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    (event,) = polled.objects("digest show", the_digest(polled))
    assert (event["kind"], event["stream"]) == ("digest_prepared", f"digest/{the_digest(polled)}")


def test_a_digest_id_that_there_is_not_is_told(polled: Desk) -> None:
    error = polled.run("digest show", "daily/nobody/never").exception
    assert isinstance(error, ClaimwatchError)
    assert error.message == "there is no digest 'daily/nobody/never'"


def test_a_digest_is_sent_again_to_one_recipient(polled: Desk) -> None:
    polled.ok("digest prepare daily")
    polled.ok("deliver")
    time.sleep(1 - datetime.now(UTC).microsecond / 1e6)  # a digest's id is its second
    (event,) = polled.objects("digest resend daily", "--to", "analyst@example.org", "--since", "7d")
    assert (event["payload"]["resent"], event["payload"]["matches"]) == (True, [4])
    polled.ok("deliver")
    assert len(mails(polled)) == 2


@pytest.mark.parametrize("to", ["", ", to: analyst@example.org"])
def test_a_digest_whose_one_reader_need_not_be_named_is_sent_again(desk: Desk, to: str) -> None:
    text = desk.config.read_text(encoding="utf-8")
    desk.config.write_text(text.replace(", to: analyst@example.org", to), encoding="utf-8")
    desk.ok("poll")
    desk.ok("digest prepare daily")
    desk.ok("deliver")
    time.sleep(1 - datetime.now(UTC).microsecond / 1e6)  # a digest's id is its second
    (event,) = desk.objects("digest resend daily", "--since", "7d")
    assert (event["payload"]["resent"], event["payload"]["matches"]) == (True, [4])
    desk.ok("deliver")
    assert len(mails(desk)) == 2


def test_a_digest_without_readers_is_not_sent_again_to_a_mail_server(polled: Desk) -> None:
    text = polled.config.read_text(encoding="utf-8").replace(", to: analyst@example.org", ", enabled: false")
    polled.config.write_text(text + "mail: {smtp: {host: mail.example}}\n", encoding="utf-8")
    before = snapshot_of(polled)
    done = polled.run("digest resend daily", "--since", "7d")
    assert done.exit_code == 2
    assert "daily has no to: in feeds.yaml, and mail goes to a server; name somebody with --to" in unboxed(done.stderr)
    assert snapshot_of(polled) == before


def test_a_digest_of_several_is_sent_again_to_none_of_them_unnamed(polled: Desk) -> None:
    text = polled.config.read_text(encoding="utf-8")
    polled.config.write_text(text.replace("to: analyst", "to: [editor@example.org, analyst").replace("org}", "org]}"))
    before = snapshot_of(polled)
    done = polled.run("digest resend daily", "--since", "7d")
    assert done.exit_code == 2
    told = "several get daily; name one of them with --to: editor@example.org, analyst@example.org"
    assert told in unboxed(done.stderr)
    assert snapshot_of(polled) == before


def test_a_digest_is_sent_again_to_nobody_who_is_not_in_feeds_yaml(polled: Desk) -> None:
    done = polled.run("digest resend daily", "--to", "stranger@example.org")
    assert done.exit_code == 2
    assert "stranger@example.org is no recipient of a digest in feeds.yaml" in unboxed(done.stderr)


# ── what a person sees ───────────────────────────────────────────────────────────────────────────────────────────


def told_on_stderr(capsys: pytest.CaptureFixture[str], say: Callable[[], None]) -> str:
    say()
    return capsys.readouterr().err


def test_each_fate_of_a_delivery_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    fates = [DeliveryAccepted("250 OK"), DeliveryDeferred("451 later", NOW), DeliveryRefused("550 nobody [here]")]
    recorded = [Recorded(at + 1, "digest/daily/r/x", at + 1, NOW, event) for at, event in enumerate(fates)]
    lines = told_on_stderr(capsys, lambda: console.say_deliveries(recorded, None)).splitlines()
    assert lines[0] == "digest sent: daily/r/x (250 OK)"
    assert lines[1].startswith("digest waits: daily/r/x: 451 later. Next try 2025-03-19 ")
    assert lines[2] == "digest refused: daily/r/x: 550 nobody [here]. The next one takes its matches."


def test_feeds_that_failed_alike_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    failed = Failed("timeout", "no complete answer within 30 s", "It is slow.")
    results = [Polled("b", failed, NOW + timedelta(hours=1)), Polled("a", failed, NOW), Polled("c", Gone("u"), NOW)]
    lines = told_on_stderr(capsys, lambda: console.say_round(results)).splitlines()
    assert lines[0] == "0 of 3 feeds reached; 0 new items, 0 matches"
    assert lines[1:3] == ["  timeout (no complete answer within 30 s)", "    b, a"]
    assert re.fullmatch(r"    It is slow. Next try from 2025-03-19 \d\d:\d\d \S+\.", lines[3])
    assert lines[4:6] == ["  gone for good (410)", "    c"]


def on_a_terminal(process_of: Callable[[int], subprocess.Popen[str]]) -> str:
    """What a process shows on a terminal that is its stderr."""
    ours, theirs = pty.openpty()
    try:
        with process_of(theirs) as process:
            os.close(theirs)
            shown = b""
            while select.select([ours], [], [], 30)[0]:
                try:
                    shown += os.read(ours, 65_536)
                except OSError:  # the other end is closed
                    break
            process.communicate(timeout=30)
    finally:
        os.close(ours)
    return shown.decode()


def test_a_poll_shows_a_bar_on_a_terminal(desk: Desk) -> None:
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    shown = on_a_terminal(lambda terminal: desk.process("poll", stderr=terminal, env=environment))
    assert "polling" in shown
    assert "0/1" in shown
    assert "1 of 1 feed reached" in shown


# ── run ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def said_until(word: str, process: subprocess.Popen[str]) -> list[str]:
    """The lines on a process's stderr, up to the first with this word in it."""
    assert process.stderr
    told = []
    for line in process.stderr:
        told.append(line)
        if word in line:
            break
    return told


def test_run_polls_at_once_and_records_its_start_and_stop(desk: Desk) -> None:
    with desk.process("run") as process:
        told = said_until("action=round", process)
        process.send_signal(signal.SIGTERM)
        out, rest = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, "")
    assert told[0].startswith(
        f"INFO action=start version={__version__} config={desk.config} log=sqlite:///{desk.database} "
    )
    assert told[0].endswith(f" maildir={desk.state}/Maildir feeds=1 due=1 claims=1\n")
    assert told[1] == "INFO action=ready\n"
    assert all(re.match(r"[A-Z]+ action=[a-z_]+( |$)", one) for one in told)
    assert rest == "INFO action=stopped\n"
    assert told[-1] == "INFO action=round feeds=1 failed=0 new=2 matches=1\n"
    kinds = [event["kind"] for event in desk.objects("events")]
    assert kinds[0] == "watch_started"
    assert kinds[-1] == "watch_stopped"
    assert kinds.count("item_seen") == 2


def test_run_says_how_many_feeds_are_due(polled: Desk) -> None:
    with polled.process("run") as process:
        told = said_until("action=ready", process)
        process.send_signal(signal.SIGINT)
        _, rest = process.communicate(timeout=30)
    assert told[0].endswith(" feeds=1 due=0 claims=1\n")
    assert (process.returncode, rest) == (0, "INFO action=stopped\n")


def test_run_tells_a_person_at_a_terminal_in_sentences(desk: Desk) -> None:
    told = desk.at_a_terminal("run", until="reached")
    assert f"claimwatch {__version__}: 1 feed, 1 claim, from {desk.config}\r\n" in told
    assert re.search(r"watching; next digest: daily, \w+ \d+ \w+ 07:30 UTC; Ctrl-C stops\r\n", told)
    assert "1 of 1 feed reached; 2 new items, 1 match" in told
    assert told.endswith("stopped\r\n")


def test_a_reload_takes_up_what_feeds_yaml_says_now(polled: Desk) -> None:
    with reading(polled.config, polled.state) as installation:
        polled.config.write_text("feeds: {}\n", encoding="utf-8")
        settings, watch, _ = installation.reloaded(installation.watch)
    assert (settings.rules.feeds, watch.rules.feeds) == ((), ())
    assert len(installation.settings.rules.feeds) == 1


def test_a_reload_moves_to_no_other_database(polled: Desk) -> None:
    with reading(polled.config, polled.state) as installation:
        polled.config.write_text("database: sqlite:///other.db\n", encoding="utf-8")
        with pytest.raises(ClaimwatchError, match="database: was changed"):
            installation.reloaded(installation.watch)


def test_mail_goes_to_a_server_where_one_is_named(polled: Desk) -> None:
    text = polled.config.read_text(encoding="utf-8") + "mail: {smtp: {host: mail.example}}\n"
    polled.config.write_text(text, encoding="utf-8")
    with reading(polled.config, polled.state) as installation:
        assert (installation.post.carrier.via, installation.maildir) == ("smtp", None)
        assert installation.maildir_post.carrier.via == "maildir"


def test_status_has_the_time_it_is_told(polled: Desk) -> None:
    class Noon:
        def now(self) -> datetime:
            return NOW

    with reading(polled.config, polled.state) as installation:
        assert status(installation, Noon())["digests"][0]["next_due"] == "2025-03-20T07:30:00.000000Z"
