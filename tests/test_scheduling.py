"""The daemon as it runs: real signals, a real notification socket, a real web server; the calendar in shifted time."""

from __future__ import annotations

import asyncio
import email
import email.policy
import math
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from daemon.assembly import Installation, verify, writing
from daemon.databases import Connection
from daemon.errors import ClaimwatchError
from daemon.eventlog import EventLog, read
from daemon.events import Recorded
from daemon.handovers import Accepted, Deferred
from daemon.preparing import Post
from daemon.scheduling import Daemon
from daemon.sdnotify import notify
from daemon.service import Clock, Polled, Watch
from daemon.settings import Settings
from tests.support import Answer, WebServer, item, rss

CONFIG = """
feeds: {{ gazette: {url} }}
claims:
  prisoner-exchange: {{terms: "prisoner exchange"}}
digests:
  daily: {{at: "07:30", timezone: UTC}}
polling: {{allow_private: 127.0.0.1}}
"""
NEWS = rss(item("Prisoner exchange agreed"))
LONGEST_SECONDS = 30.0


@dataclass(frozen=True)
class ShiftedClock:
    """The machine's clock, moved by a fixed span: the day begins when the test wants it to."""

    by: timedelta

    @classmethod
    def starting_at(cls, moment: datetime) -> ShiftedClock:
        return cls(moment - datetime.now(UTC))

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


def write_config(folder: Path, text: str) -> Path:
    path = folder / "feeds.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@dataclass
class MovableClock:
    """The machine's clock, set on by the test while the daemon runs."""

    by: timedelta = timedelta(0)

    def now(self) -> datetime:
        return datetime.now(UTC) + self.by


def in_haste(settings: Settings) -> Settings:
    return replace(settings, polling=replace(settings.polling, host_pause_seconds=0))


def daemon_of(installation: Installation, clock: Clock, **callbacks: Callable[..., object]) -> Daemon:
    """A daemon by another clock, that waits neither between two questions to a host nor long for still files."""
    watch = replace(installation.watch, clock=clock)

    def reload(before: Watch) -> tuple[Settings, Watch, Post]:
        settings, fresh, post = installation.reloaded(before)
        return in_haste(settings), replace(fresh, clock=clock), post

    parts = (watch, installation.post, in_haste(installation.settings), reload, installation.stamp)
    daemon = Daemon(*parts, clock=clock, **callbacks)  # type: ignore[arg-type]
    daemon.settling = timedelta(seconds=0.05)
    return daemon


def run_until_stopped(daemon: Daemon) -> None:
    async def bounded() -> None:
        await asyncio.wait_for(daemon.run(), LONGEST_SECONDS)

    asyncio.run(bounded())


def kinds(log: EventLog) -> list[str]:
    with log.reading() as connection:
        return [one.event.kind for one in read(connection)]


async def until_recorded(log: EventLog, kind: str, count: int = 1) -> None:
    """Waits until so many events of a kind stand in the log."""
    while kinds(log).count(kind) < count:
        await asyncio.sleep(0.05)


@contextmanager
def notifications(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(str(folder / "notify"))
        server.settimeout(LONGEST_SECONDS)
        monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
        yield server


def test_a_digest_goes_out_when_its_time_comes(tmp_path: Path, web: WebServer) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    delivered: list[Recorded] = []
    with writing(config, tmp_path / "state", "run") as installation:
        clock = ShiftedClock.starting_at(datetime(2025, 3, 20, 7, 29, 57, tzinfo=UTC))

        def stop(outcomes: list[Recorded]) -> None:
            delivered.extend(outcomes)
            daemon.stop("seen enough")

        daemon = daemon_of(installation, clock, after_mail=stop)
        run_until_stopped(daemon)
        verify(installation.log)
        log_kinds = kinds(installation.log)
    assert [one.event.kind for one in delivered] == ["delivery_accepted"]
    assert delivered[0].id.endswith("/2025-03-20T07:30:00Z")
    assert len(list((tmp_path / "state" / "Maildir" / "new").iterdir())) == 1
    assert log_kinds[:4] == ["watch_started", "rules_changed", "item_seen", "claim_matched"]
    assert log_kinds[-1] == "watch_stopped"


def test_an_edited_file_is_taken_up_and_a_broken_one_refused(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = web.serve("/feed.xml", NEWS)
    config = write_config(tmp_path, CONFIG.format(url=url))
    with writing(config, tmp_path / "state", "run") as installation:
        polled: list[str] = []

        def after_round(results: list[object]) -> None:
            polled.extend(one.feed for one in results)  # type: ignore[attr-defined]
            if polled == ["gazette"]:
                write_config(tmp_path, "feeds: [this is no feed]\n")
                os.kill(os.getpid(), signal.SIGHUP)
                second = web.serve("/second.xml", rss(item("Another prisoner exchange")))
                write_config(tmp_path, CONFIG.format(url=url).replace("feeds: {", f"feeds: {{ second: {second},"))
            else:
                daemon.stop("seen enough")

        daemon = daemon_of(installation, ShiftedClock(timedelta(0)), after_round=after_round)
        run_until_stopped(daemon)
        log_kinds = kinds(installation.log)
    assert polled == ["gazette", "second"]
    assert log_kinds.count("rules_changed") == 2
    assert log_kinds.count("item_seen") == 2


def test_a_new_term_is_matched_against_what_is_stored_while_the_watch_goes_on(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    text = CONFIG.format(url=web.serve("/feed.xml", NEWS))
    config = write_config(tmp_path, text)
    with writing(config, tmp_path / "state", "run") as installation:
        waits: list[asyncio.Task[None]] = []

        def after_round(_results: list[object]) -> None:
            write_config(tmp_path, text.replace('"prisoner exchange"', '"agreed"'))
            os.kill(os.getpid(), signal.SIGHUP)
            waits.append(asyncio.get_running_loop().create_task(until_told()))

        async def until_told() -> None:
            while "action=backfill_finished" not in caplog.text:
                await asyncio.sleep(0.05)
            daemon.stop("seen enough")

        daemon = daemon_of(installation, ShiftedClock(timedelta(0)), after_round=after_round)
        run_until_stopped(daemon)
        verify(installation.log)
        log_kinds = kinds(installation.log)
    assert log_kinds[-4:] == ["rules_changed", "match_reviewed", "backfill_finished", "watch_stopped"]
    assert "action=backfill_finished claims=1 items=1 matched=0 changed=1 dropped=0" in caplog.text


def test_a_refused_file_leaves_the_rules_in_force(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    with writing(config, tmp_path / "state", "run") as installation:

        def after_round(_results: list[object]) -> None:
            write_config(tmp_path, "feeds: [this is no feed]\n")
            os.kill(os.getpid(), signal.SIGHUP)
            asyncio.get_running_loop().call_later(0.5, daemon.stop, "seen enough")

        daemon = daemon_of(installation, ShiftedClock(timedelta(0)), after_round=after_round)
        run_until_stopped(daemon)
        assert kinds(installation.log).count("rules_changed") == 1
        assert daemon.watch.rules == installation.settings.rules
    assert "action=rules_refused" in caplog.text
    assert "feeds.yaml:1:8" in caplog.text


def test_the_operator_hears_of_a_refused_file_and_after_a_restart_that_it_is_mended(
    tmp_path: Path, web: WebServer
) -> None:
    text = CONFIG.format(url=web.serve("/feed.xml", NEWS)) + "operator: ops@example.org\n"
    config = write_config(tmp_path, text)
    clock = MovableClock()

    async def refused(installation: Installation) -> None:
        daemon = daemon_of(installation, clock)
        daemon.notices_pause = timedelta(seconds=0.05)
        running = asyncio.create_task(daemon.run())
        await until_recorded(installation.log, "item_seen")
        write_config(tmp_path, "feeds: [this is no feed]\n")
        os.kill(os.getpid(), signal.SIGHUP)
        while not daemon._about_rules.troubles:
            await asyncio.sleep(0.05)
        # A second look at it begins no second trouble, and ten minutes have to go by.
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.3)
        assert "notice_prepared" not in kinds(installation.log)
        clock.by += timedelta(minutes=11)
        await asyncio.wait_for(until_recorded(installation.log, "notice_sent"), LONGEST_SECONDS)
        daemon.stop("seen enough")
        await running

    said: list[str] = []

    async def mended(installation: Installation) -> None:
        daemon = daemon_of(installation, clock)
        daemon.notices_pause = timedelta(seconds=0.05)
        daemon.after_mail = lambda outcomes: said.extend(one.event.kind for one in outcomes)
        running = asyncio.create_task(daemon.run())
        await until_recorded(installation.log, "watch_started", 2)
        clock.by += timedelta(minutes=61)
        await asyncio.wait_for(until_recorded(installation.log, "notice_sent", 2), LONGEST_SECONDS)
        daemon.stop("seen enough")
        await running

    with writing(config, tmp_path / "state", "run") as installation:
        asyncio.run(refused(installation))
    write_config(tmp_path, text)
    with writing(config, tmp_path / "state", "run") as installation:
        asyncio.run(mended(installation))
        with installation.log.reading() as connection:
            told = [one.event.told[0] for one in read(connection, kinds=("notice_sent",))]
    assert [(one.kind, one.stage) for one in told] == [("rules refused", "first"), ("rules refused", "over")]
    assert said == ["notice_sent"]
    files = sorted((tmp_path / "state" / "Maildir" / "new").iterdir())
    first = email.message_from_bytes(files[0].read_bytes(), policy=email.policy.default)
    assert "feeds: holds no keys Write `key: …` lines indented under it." in " ".join(str(first.get_content()).split())


def test_the_operator_hears_of_mail_that_keeps_failing_and_that_it_works_again(tmp_path: Path, web: WebServer) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)) + "operator: ops@example.org\n")
    clock = MovableClock()

    async def through(installation: Installation) -> None:
        daemon = daemon_of(installation, clock)
        daemon.notices_pause = timedelta(seconds=0.05)
        running = asyncio.create_task(daemon.run())
        await until_recorded(installation.log, "claim_matched")
        sound = daemon.post
        slip = dict(sound.templates) | {"digest.txt": "{{ nothing.here }}"}
        daemon.post = replace(sound, templates=slip, shipped_templates=slip)
        clock.by += timedelta(days=1)
        while not daemon._about_work.troubles:
            daemon._at_once("mail")
            await asyncio.sleep(0.05)
        clock.by += timedelta(minutes=11)
        await until_recorded(installation.log, "notice_sent")
        daemon.post = sound
        while daemon._about_work.troubles:
            daemon._at_once("mail")
            await asyncio.sleep(0.05)
        clock.by += timedelta(minutes=61)
        await until_recorded(installation.log, "notice_sent", 2)
        daemon.stop("seen enough")
        await running

    with writing(config, tmp_path / "state", "run") as installation:
        asyncio.run(asyncio.wait_for(through(installation), LONGEST_SECONDS))
        with installation.log.reading() as connection:
            told = [one.event.told[0] for one in read(connection, kinds=("notice_sent",))]
    assert [(one.kind, one.about, one.stage) for one in told] == [
        ("work failing", "mail", "first"),
        ("work failing", "mail", "over"),
    ]


def test_the_operator_hears_of_polls_that_fail_from_the_start_on(tmp_path: Path, web: WebServer) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)) + "operator: ops@example.org\n")
    clock = MovableClock()

    def fail(_count: int) -> None:
        # Long enough ago for the next look at the troubles to tell of it.
        clock.by += timedelta(minutes=11)
        raise RuntimeError("a fault of ours")

    with writing(config, tmp_path / "state", "run") as installation:
        daemon = daemon_of(installation, clock, before_round=fail, after_mail=lambda _sent: daemon.stop("told"))
        daemon.notices_pause = timedelta(seconds=0.05)
        run_until_stopped(daemon)
        with installation.log.reading() as connection:
            (notice,) = [one.event.told[0] for one in read(connection, kinds=("notice_sent",))]
    assert (notice.kind, notice.about) == ("work failing", "poll")


def test_the_operator_hears_nothing_before_the_first_round_is_over(tmp_path: Path, web: WebServer) -> None:
    """A feed that failed for long before the watch went down may be well by now."""
    url = web.serve("/feed.xml", Answer(status=503))
    config = write_config(tmp_path, CONFIG.format(url=url) + "operator: ops@example.org\n")
    clock = MovableClock()
    with writing(config, tmp_path / "state", "run") as installation:
        daemon = daemon_of(installation, clock, after_round=lambda _results: daemon.stop("enough"))
        run_until_stopped(daemon)
        web.serve("/feed.xml", Answer(NEWS, delay_seconds=0.5))
        clock.by += timedelta(days=3)
        looked = daemon_of(
            installation,
            clock,
            after_round=lambda _results: asyncio.get_running_loop().call_later(0.3, looked.stop, "enough"),
        )
        looked.notices_pause = timedelta(seconds=0.05)
        run_until_stopped(looked)
        log_kinds = kinds(installation.log)
    assert "feed_recovered" in log_kinds
    assert "notice_prepared" not in log_kinds


def test_a_tick_that_fails_is_told_and_the_others_go_on(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    with writing(config, tmp_path / "state", "run") as installation:

        def fail(_results: list[object]) -> None:
            raise RuntimeError("this round's report is broken")

        clock = ShiftedClock.starting_at(datetime(2025, 3, 20, 7, 29, 57, tzinfo=UTC))
        daemon = daemon_of(installation, clock, after_round=fail, after_mail=lambda _outcomes: daemon.stop("enough"))
        run_until_stopped(daemon)
        assert "delivery_accepted" in kinds(installation.log)
    assert "action=tick_failed tick=poll" in caplog.text


def test_what_is_under_way_at_a_stop_is_cut_off_after_a_few_seconds_without_a_word(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = web.serve("/feed.xml", Answer(NEWS, delay_seconds=LONGEST_SECONDS))
    config = write_config(tmp_path, CONFIG.format(url=url))
    with writing(config, tmp_path / "state", "run") as installation:
        daemon = daemon_of(
            installation,
            ShiftedClock(timedelta(0)),
            before_round=lambda _count: asyncio.get_running_loop().call_later(0.2, daemon.stop, "enough"),
        )
        # A stop by systemd may take 30 s, a person waits for a few.
        assert daemon.stop_grace < timedelta(seconds=10)
        daemon.stop_grace = timedelta(seconds=0.3)
        began = time.monotonic()
        run_until_stopped(daemon)
        assert 0.3 < time.monotonic() - began < 10
        assert kinds(installation.log) == ["watch_started", "rules_changed", "watch_stopped"]
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@dataclass
class SlowCarrier:
    """A mail server that takes its time, and counts what it took."""

    via: str = "smtp"
    taken: int = 0

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Accepted:
        await asyncio.sleep(1)
        self.taken += 1
        return Accepted("250 taken")


def test_a_message_that_is_half_sent_at_a_stop_is_sent_to_its_end(tmp_path: Path, web: WebServer) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    with writing(config, tmp_path / "state", "run") as installation:
        carrier = SlowCarrier()
        clock = ShiftedClock.starting_at(datetime(2025, 3, 20, 7, 29, 58, tzinfo=UTC))
        daemon = daemon_of(installation, clock)
        daemon.post = replace(daemon.post, carrier=carrier)  # type: ignore[arg-type]

        async def stop_while_sending() -> None:
            running = asyncio.create_task(daemon.run())
            await until_recorded(installation.log, "delivery_started")
            daemon.stop("enough")
            await asyncio.wait_for(running, LONGEST_SECONDS)

        asyncio.run(stop_while_sending())
        log_kinds = kinds(installation.log)
    assert carrier.taken == 1
    assert log_kinds[-3:] == ["delivery_started", "delivery_accepted", "watch_stopped"]


@dataclass(frozen=True)
class Refusing:
    """A mail server that refuses the login."""

    via: str = "smtp"

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Deferred:
        return Deferred("535 Wrong password")


def test_what_waits_is_tried_at_once_when_the_mail_server_is_another(tmp_path: Path, web: WebServer) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    with writing(config, tmp_path / "state", "run") as installation:
        clock = ShiftedClock.starting_at(datetime(2025, 3, 20, 7, 29, 58, tzinfo=UTC))
        daemon = daemon_of(installation, clock)
        daemon.post = replace(daemon.post, carrier=Refusing())  # type: ignore[arg-type]

        async def mend() -> None:
            running = asyncio.create_task(daemon.run())
            await until_recorded(installation.log, "delivery_deferred")
            config.write_text(config.read_text(encoding="utf-8") + "# mended\n", encoding="utf-8")
            os.kill(os.getpid(), signal.SIGHUP)
            await until_recorded(installation.log, "delivery_accepted")
            daemon.stop("enough")
            await asyncio.wait_for(running, LONGEST_SECONDS)

        asyncio.run(asyncio.wait_for(mend(), LONGEST_SECONDS))
        told = [kind for kind in kinds(installation.log) if kind.startswith("delivery_")]
    assert told == ["delivery_started", "delivery_deferred", "delivery_started", "delivery_accepted"]


class Away(EventLog):
    """A log whose database is away now and then."""

    until: float = 0

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        if time.monotonic() < self.until:
            raise ClaimwatchError("the database is away")
        with super().reading() as connection:
            yield connection


def test_what_waits_is_tried_when_the_mail_server_is_another_though_the_log_is_away_at_first(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    with writing(config, tmp_path / "state", "run") as opened, closing(Away(opened.settings.database)) as log:

        def go_away(_settings: object) -> None:
            log.until = time.monotonic() + 0.3

        clock = ShiftedClock.starting_at(datetime(2025, 3, 20, 7, 29, 58, tzinfo=UTC))
        daemon = daemon_of(replace(opened, log=log), clock, after_reload=go_away)
        daemon.post = replace(daemon.post, carrier=Refusing())  # type: ignore[arg-type]

        async def mend() -> None:
            running = asyncio.create_task(daemon.run())
            await until_recorded(opened.log, "delivery_deferred")
            os.kill(os.getpid(), signal.SIGHUP)
            await until_recorded(opened.log, "delivery_accepted")
            daemon.stop("enough")
            await asyncio.wait_for(running, LONGEST_SECONDS)

        asyncio.run(asyncio.wait_for(mend(), LONGEST_SECONDS))
    assert "action=tick_failed tick=mail: the database is away" in caplog.text


def test_the_next_start_knows_when_the_watch_was_last_awake(tmp_path: Path, web: WebServer) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    with writing(config, tmp_path / "state", "run") as installation:
        for _ in range(2):
            daemon = daemon_of(installation, ShiftedClock(timedelta(0)))
            daemon.stop("at once")
            run_until_stopped(daemon)
        with installation.log.reading() as connection:
            first, second = read(connection, kinds=("watch_started",))
            stops = list(read(connection, kinds=("watch_stopped",)))
    assert first.event.last_awake is None
    assert second.event.last_awake == stops[0].at


def _read_until_stopping(server: socket.socket, told: list[str]) -> None:
    while told[-1:] != ["STOPPING=1"]:
        told.append(server.recv(1024).decode())


def heard_by_systemd(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    config: Path,
    seconds: float,
    *,
    away_once_it_runs: bool = False,
    **callbacks: Callable[..., object],
) -> list[str]:
    """What a daemon tells systemd within so many seconds, under a watchdog of 200 ms."""
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    with (
        notifications(folder, monkeypatch) as server,
        writing(config, folder / "state", "run") as installation,
        closing(Away(installation.settings.database)) as log,
    ):
        if away_once_it_runs:
            callbacks["ready"] = lambda: setattr(log, "until", math.inf)
        daemon = daemon_of(replace(installation, log=log), ShiftedClock(timedelta(0)), **callbacks)
        daemon.stop_grace = timedelta(seconds=0.1)
        # Read meanwhile, as systemd does: the kernel queues ten messages, and then the sender waits.
        told: list[str] = []
        reader = threading.Thread(target=lambda: _read_until_stopping(server, told))
        reader.start()

        async def stopped_after_a_while() -> None:
            asyncio.get_running_loop().call_later(seconds, daemon.stop, "enough")
            await asyncio.wait_for(daemon.run(), LONGEST_SECONDS)

        asyncio.run(stopped_after_a_while())
        reader.join()
    return told


def test_systemd_is_told_when_the_watch_is_ready_alive_and_stopping(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    told = heard_by_systemd(tmp_path, monkeypatch, config, 1.5)
    # Feeds may take 30 s each: twice that is asked for, where less was set.
    assert told[:2] == ["READY=1\nSTATUS=watching 1 feed", "WATCHDOG_USEC=60000000"]
    assert told[-1] == "STOPPING=1"
    assert told[2:-1].count("WATCHDOG=1") >= 3
    assert set(told[2:-1]) == {"WATCHDOG=1"}


def test_a_poll_that_does_not_end_starves_the_watchdog_though_all_else_is_alive(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", Answer(NEWS, delay_seconds=60))))
    polled: list[object] = []
    assert "WATCHDOG=1" not in heard_by_systemd(tmp_path, monkeypatch, config, 1, told=polled.append)
    assert polled == []


def test_a_poll_that_fails_each_time_and_tells_so_is_alive(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    begun: list[int] = []
    progressed: list[None] = []

    def fail(count: int) -> None:
        begun.append(count)
        raise RuntimeError("a fault of ours")

    told = heard_by_systemd(
        tmp_path, monkeypatch, config, 1.5, before_round=fail, progressed=lambda: progressed.append(None)
    )
    assert told.count("WATCHDOG=1") >= 3
    # Under a watchdog of 200 ms no pause is a second, and what asks whether the polls get anywhere hears of none.
    assert len(begun) >= 3
    assert progressed == []
    assert "action=tick_failed tick=poll" in caplog.text


def test_a_database_that_stays_away_is_told_and_starves_no_watchdog(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    told = heard_by_systemd(tmp_path, monkeypatch, config, 1.5, away_once_it_runs=True)
    assert told.count("WATCHDOG=1") >= 3
    assert "action=tick_failed tick=poll: the database is away" in caplog.text
    assert web.asked == []


def test_a_long_round_feeds_the_watchdog_with_each_feed_that_it_took_in(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, stuck = web.serve("/first.xml", NEWS), web.serve("/stuck.xml", Answer(NEWS, delay_seconds=60))
    text = CONFIG.replace("{{ gazette: {url} }}", "{{ first: {first}, stuck: {stuck} }}")
    config = write_config(tmp_path, text.format(first=first, stuck=stuck))
    polled: list[str] = []
    told = heard_by_systemd(tmp_path, monkeypatch, config, 3, told=lambda one: polled.append(one.feed))
    assert polled == ["first"]
    assert told.count("WATCHDOG=1") == 1


def test_the_status_says_that_an_edit_was_refused(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = CONFIG.format(url=web.serve("/feed.xml", NEWS))
    config = write_config(tmp_path, text)

    def edit(_polled: object) -> None:
        write_config(tmp_path, "feeds: [this is no feed]\n")
        os.kill(os.getpid(), signal.SIGHUP)

    told = heard_by_systemd(tmp_path, monkeypatch, config, 2, told=edit)
    assert "STATUS=watching 1 feed; feeds.yaml was refused, the rules before it stay in force" in told


def test_without_systemd_nobody_is_told() -> None:
    notify("READY=1")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_command_stops_cleanly_on_a_signal(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    write_config(tmp_path, CONFIG.format(url=web.serve("/feed.xml", NEWS)))
    state = tmp_path / "state"
    with notifications(tmp_path, monkeypatch) as server:
        command = [sys.executable, "-m", "daemon", "run", "--state", str(state)]
        process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert server.recv(1024).startswith(b"READY=1")
            process.send_signal(number)
            out, err = process.communicate(timeout=LONGEST_SECONDS)
        finally:
            process.kill()
            process.wait()
    assert process.returncode == 0
    assert out == ""
    assert str(state / "Maildir") in err
    log = EventLog(f"sqlite:///{state / 'claimwatch.sqlite3'}")
    try:
        with log.reading() as connection:
            last = list(read(connection))[-1]
    finally:
        log.close()
    assert last.event.kind == "watch_stopped"
    assert last.event.reason == number.name


SLOW_FEEDS = """
feeds:
  quick: {quick}
{slow}
claims:
  prisoner-exchange: {{terms: "prisoner exchange"}}
digests:
  daily: {{at: "07:30", timezone: UTC}}
polling: {{allow_private: [127.0.0.1, localhost]}}
"""


def test_a_slow_host_holds_up_the_feeds_of_another_for_no_longer_than_a_round(tmp_path: Path, web: WebServer) -> None:
    quick = web.serve("/quick", NEWS).replace("127.0.0.1", "localhost")
    urls = {f"slow{at}": web.serve(f"/slow{at}", Answer(NEWS, delay_seconds=0.5)) for at in range(3)}
    slow = "\n".join(f"  {id}: {url}" for id, url in urls.items())
    config = write_config(tmp_path, SLOW_FEEDS.format(quick=quick, slow=slow))
    rounds: list[set[str]] = []
    with writing(config, tmp_path / "state", "run") as installation:
        clock = MovableClock()

        def after_round(results: list[Polled]) -> None:
            rounds.append({one.feed for one in results})
            if len(rounds) == 2:
                daemon.stop("seen enough")
            # All are due again, and asked at once instead of in five seconds.
            clock.by += timedelta(hours=2)
            asyncio.get_running_loop().call_later(0.1, daemon._at_once, "poll")

        daemon = daemon_of(installation, clock, after_round=after_round)
        daemon.round = timedelta(seconds=0.3)
        run_until_stopped(daemon)
    first, second = rounds
    assert len(first) == 2
    assert first & second == {"quick"}
    assert len(second) == 2
    # One was not asked yet: what failed before this start may be well by now.
    assert not daemon._polled_once
