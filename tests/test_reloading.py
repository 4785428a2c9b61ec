"""feeds.yaml edited while the watch runs, in all the ways in which files are saved: taken up whole, or not at all."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.assembly import Installation, verify, writing
from daemon.errors import ClaimwatchError
from daemon.eventlog import read
from daemon.reloading import LOOKS_AT_REFUSED_FILES, MOST_LOOKS_AT_MOVING_FILES, FilesSeen, Standing
from daemon.scheduling import Daemon
from daemon.service import Clock
from tests.support import Answer, WebServer, item, rss
from tests.test_scheduling import LONGEST_SECONDS, MovableClock, daemon_of

LOOK = timedelta(seconds=0.02)
SETTLING = timedelta(seconds=0.15)
REST = """\
claims: {{prisoner-exchange: {{terms: "{terms}"}}}}
digests: {{daily: {{at: "{at}"}}}}
polling: {{allow_private: 127.0.0.1}}
"""


@dataclass
class Desk:
    """Somebody who edits while the watch runs."""

    daemon: Daemon
    installation: Installation
    web: WebServer
    config: Path

    def text(self, *feeds: str, terms: str = "prisoner exchange", at: str = "07:30") -> str:
        lines = "".join(f"  {feed}: {self.web.url(f'/{feed}')}\n" for feed in feeds)
        return f"feeds:\n{lines}" + REST.format(terms=terms, at=at)

    async def until(self, true: Callable[[], object]) -> None:
        async with asyncio.timeout(LONGEST_SECONDS):
            while not true():
                await asyncio.sleep(0.01)

    async def settle(self) -> None:
        """Longer than an edit needs to be taken up."""
        await asyncio.sleep(4 * SETTLING.total_seconds())

    def counted_loads(self) -> list[object]:
        """The watches from which the files are read anew, from now on."""
        loads: list[object] = []
        reload = self.daemon.reload

        def counted(watch: Any) -> Any:
            loads.append(watch)
            return reload(watch)

        self.daemon.reload = counted
        return loads

    def events(self, kind: str) -> list[Any]:
        with self.installation.log.reading() as connection:
            return [one.event for one in read(connection, kinds=(kind,))]

    @property
    def recorded(self) -> list[list[str]]:
        """The feeds of each rule set that was ever in force."""
        return [[feed.id for feed in event.rules.feeds] for event in self.events("rules_changed")]

    @property
    def in_force(self) -> list[str]:
        return [feed.id for feed in self.daemon.watch.rules.feeds]

    def asked(self, feed: str) -> int:
        return [one.path for one in self.web.asked].count(f"/{feed}")


Story = Callable[[Desk], Awaitable[None]]


def lived(
    tmp_path: Path,
    web: WebServer,
    story: Story,
    clock: Clock | None = None,
    config: Path | None = None,
    before_it_runs: Callable[[Desk], None] = lambda _desk: None,
) -> None:
    """Runs a watch on two feeds, after whose first round the story begins."""
    config = config or tmp_path / "feeds.yaml"
    for feed in ("gazette", "globe", "herald"):
        web.serve(f"/{feed}", rss(item(f"Prisoner exchange, says the {feed}")))

    async def live(installation: Installation) -> None:
        daemon = daemon_of(installation, clock or MovableClock())
        daemon.rules_pause, daemon.settling = LOOK, SETTLING
        desk = Desk(daemon, installation, web, config)
        before_it_runs(desk)
        running = asyncio.create_task(daemon.run())
        try:
            await desk.until(lambda: daemon._polled_once)
            await story(desk)
        finally:
            daemon.stop("the story is over")
            await running

    if not config.exists():
        desk = Desk(None, None, web, config)  # type: ignore[arg-type]
        config.write_text(desk.text("gazette", "globe"))
    with writing(config, tmp_path / "state", "run") as installation:
        asyncio.run(asyncio.wait_for(live(installation), LONGEST_SECONDS))
        verify(installation.log)


def rename_over(path: Path, text: str) -> None:
    beside = path.with_name(".feeds.yaml.swp")
    beside.write_text(text)
    beside.replace(path)


def move_away_and_write_anew(path: Path, text: str) -> None:
    path.replace(path.with_name("feeds.yaml~"))
    path.write_text(text)


def write_in_place(path: Path, text: str) -> None:
    path.write_text(text)


def test_an_edit_that_is_saved_while_the_watch_starts_is_taken_up(tmp_path: Path, web: WebServer) -> None:
    def edit(desk: Desk) -> None:
        desk.config.write_text(desk.text("gazette", "herald"))

    async def story(desk: Desk) -> None:
        await desk.until(lambda: desk.asked("herald"))
        assert desk.recorded == [["gazette", "globe"], ["gazette", "herald"]]

    lived(tmp_path, web, story, before_it_runs=edit)


def test_without_an_edit_nothing_is_read_again_after_the_start(tmp_path: Path, web: WebServer) -> None:
    loads: list[object] = []

    def count(desk: Desk) -> None:
        desk.daemon.reload = lambda watch: loads.append(watch)  # type: ignore[return-value,assignment]

    async def story(desk: Desk) -> None:
        await desk.settle()
        assert loads == []

    lived(tmp_path, web, story, before_it_runs=count)


@pytest.mark.parametrize("save", [rename_over, move_away_and_write_anew, write_in_place])
def test_an_edit_is_taken_up_however_an_editor_saves(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture, save: Callable[[Path, str], None]
) -> None:
    async def story(desk: Desk) -> None:
        save(desk.config, desk.text("gazette", "herald"))
        await desk.until(lambda: desk.asked("herald"))
        assert desk.in_force == ["gazette", "herald"]
        assert desk.recorded == [["gazette", "globe"], ["gazette", "herald"]]

    lived(tmp_path, web, story)
    assert "action=rules_refused" not in caplog.text
    assert "action=tick_failed" not in caplog.text


def test_a_file_that_is_written_in_pieces_is_never_half_taken(tmp_path: Path, web: WebServer) -> None:
    async def story(desk: Desk) -> None:
        lines = desk.text("gazette", "globe", "herald").splitlines(keepends=True)
        with desk.config.open("w") as file:
            for line in lines:
                # What is there so far is sound YAML, save that most of it is missing.
                file.write(line)
                file.flush()
                await asyncio.sleep(SETTLING.total_seconds() / 3)
        await desk.until(lambda: desk.asked("herald"))
        assert desk.recorded == [["gazette", "globe"], ["gazette", "globe", "herald"]]

    lived(tmp_path, web, story)


@pytest.mark.parametrize("cut", ["in the middle of a word", "before anything was written"])
def test_a_file_that_is_cut_off_is_refused_until_it_is_whole(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture, cut: str
) -> None:
    async def story(desk: Desk) -> None:
        whole = desk.text("gazette", "herald")
        desk.config.write_text(whole[: whole.index("exchange")] if cut == "in the middle of a word" else "")
        await desk.until(lambda: "action=rules_refused" in caplog.text)
        assert desk.daemon._about_rules.troubles
        assert desk.in_force == ["gazette", "globe"]
        desk.config.write_text(whole)
        await desk.until(lambda: desk.asked("herald"))
        assert not desk.daemon._about_rules.troubles
        assert len(desk.recorded) == 2

    lived(tmp_path, web, story)
    assert caplog.text.count("action=rules_refused") == 1


def switch_at_once(link: Path, target: str) -> None:
    link.with_name("next").symlink_to(target)
    link.with_name("next").replace(link)


def switch_in_two_steps(link: Path, target: str) -> None:
    """As `ln -sfn` does it."""
    link.unlink()
    link.symlink_to(target)


@pytest.mark.parametrize("switch", [switch_at_once, switch_in_two_steps])
@pytest.mark.parametrize("of", ["folder", "file"])
def test_a_link_that_a_deploy_tool_switches_is_followed(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture, switch: Callable[[Path, str], None], of: str
) -> None:
    desk = Desk(None, None, web, tmp_path)  # type: ignore[arg-type]
    for release, feeds in (("1", ("gazette", "globe")), ("2", ("gazette", "herald"))):
        (tmp_path / release).mkdir()
        (tmp_path / release / "feeds.yaml").write_text(desk.text(*feeds))
        # A deploy tool gives all files of a release one time.
        os.utime(tmp_path / release / "feeds.yaml", (1, 1))
    link = tmp_path / ("current" if of == "folder" else "feeds.yaml")
    link.symlink_to("1" if of == "folder" else "1/feeds.yaml")

    async def story(desk: Desk) -> None:
        switch(link, "2" if of == "folder" else "2/feeds.yaml")
        await desk.until(lambda: desk.asked("herald"))
        assert desk.in_force == ["gazette", "herald"]

    lived(tmp_path, web, story, config=link / "feeds.yaml" if of == "folder" else link)
    assert "action=rules_refused" not in caplog.text


def test_a_secret_that_comes_after_the_edit_that_names_it_is_noticed(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        loads = desk.counted_loads()
        herald = f"herald: {{url: {web.url('/herald')}, auth_file: herald-login}}"
        desk.config.write_text(desk.text("gazette").replace("feeds:", f"feeds:\n  {herald}"))
        await desk.until(lambda: len(loads) > 2)
        assert desk.in_force == ["gazette", "globe"]
        # It was told once, though it was read time and again.
        assert caplog.text.count("action=rules_refused") == 1
        secret = tmp_path / "herald-login"
        secret.write_text("no colon in it")
        await desk.until(lambda: caplog.text.count("action=rules_refused") == 2)
        assert (
            "user:password" in desk.daemon._about_rules.troubles[0].hint + desk.daemon._about_rules.troubles[0].reason
        )
        secret.write_text("me:secret")
        secret.chmod(0o600)
        await desk.until(lambda: desk.asked("herald"))
        assert not desk.daemon._about_rules.troubles
        # Once more, because the secret is looked at from now on.
        await desk.settle()
        in_all = len(loads)
        await desk.settle()
        assert len(loads) == in_all, "what is in force is not read again"

    lived(tmp_path, web, story)


def test_an_edit_that_is_refused_for_the_same_reason_as_the_one_before_is_told_as_well(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        for times in (1, 2):
            desk.config.write_text("feeds: [this is no feed]\n" + times * "# tried\n")
            await desk.until(lambda times=times: caplog.text.count("action=rules_refused") == times)  # type: ignore[misc]

    lived(tmp_path, web, story)


def test_a_file_that_is_gone_for_a_moment_is_waited_for(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        text = desk.config.read_text()
        desk.config.unlink()
        await asyncio.sleep(SETTLING.total_seconds() / 2)
        desk.config.write_text(text)
        await desk.settle()
        assert (desk.in_force, len(desk.recorded)) == (["gazette", "globe"], 1)

    lived(tmp_path, web, story)
    assert "action=rules_refused" not in caplog.text


def test_a_file_that_is_gone_for_long_is_told_and_the_watch_goes_on(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "daemon.scheduling")

    async def story(desk: Desk) -> None:
        text = desk.config.read_text()
        desk.config.unlink()
        await desk.until(lambda: desk.daemon._about_rules.troubles)
        assert "is not there" in desk.daemon._about_rules.troubles[0].reason
        assert desk.in_force == ["gazette", "globe"]
        desk.config.write_text(text)
        await desk.until(lambda: not desk.daemon._about_rules.troubles)
        assert len(desk.recorded) == 1
        await desk.until(lambda: "action=rules_unchanged" in caplog.text)

    lived(tmp_path, web, story)
    assert caplog.text.count("action=rules_refused") == 1


def test_a_touch_changes_nothing(tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    async def story(desk: Desk) -> None:
        loads = desk.counted_loads()
        os.utime(desk.config)
        await desk.until(lambda: loads)
        await desk.settle()
        assert (len(loads), len(desk.recorded)) == (1, 1)
        assert (desk.asked("gazette"), desk.asked("globe")) == (1, 1)

    lived(tmp_path, web, story)


def test_an_edit_and_a_hangup_during_a_round_of_polls_lose_nothing(tmp_path: Path, web: WebServer) -> None:
    clock = MovableClock()

    async def story(desk: Desk) -> None:
        slow = rss(item("Prisoner exchange, says the gazette"), item("An exchange in the harbour"))
        web.serve("/gazette", Answer(slow, delay_seconds=0.7))
        clock.by += timedelta(hours=1)
        desk.daemon._at_once("poll")
        await desk.until(lambda: desk.asked("gazette") == 2)
        # A word that is known already: to ask the dictionaries for another might take longer than the round.
        desk.config.write_text(desk.text("gazette", "herald", terms="exchange"))
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGHUP)
        await desk.until(lambda: desk.in_force == ["gazette", "herald"])
        assert desk.daemon._round_of is not None, "the edit was to come in the middle of the round"
        await desk.until(lambda: desk.daemon._round_of is None)
        await desk.until(lambda: desk.asked("herald") and desk.events("backfill_finished"))
        titles = [event.title for event in desk.events("item_seen")]
        assert titles.count("An exchange in the harbour") == 1
        assert len(desk.recorded) == 2
        # Taken in under the old terms, and matched by the new ones afterwards.
        assert [event.feed for event in desk.events("claim_matched") if event.retroactive] == ["gazette"]

    lived(tmp_path, web, story, clock)


def test_a_feed_that_was_taken_out_rests_and_its_history_stays(tmp_path: Path, web: WebServer) -> None:
    clock = MovableClock()

    async def story(desk: Desk) -> None:
        desk.config.write_text(desk.text("gazette"))
        await desk.until(lambda: desk.in_force == ["gazette"])
        clock.by += timedelta(hours=1)
        desk.daemon._at_once("poll")
        await desk.until(lambda: desk.asked("gazette") == 2)
        await desk.settle()
        assert desk.asked("globe") == 1
        assert sorted(event.title for event in desk.events("item_seen")) == [
            "Prisoner exchange, says the gazette",
            "Prisoner exchange, says the globe",
        ]
        desk.config.write_text(desk.text("gazette", "globe"))
        await desk.until(lambda: desk.asked("globe") == 2)
        await desk.settle()
        # It is the same feed again: what it had before is not new.
        assert len(desk.events("item_seen")) == 2

    lived(tmp_path, web, story, clock)


@pytest.mark.parametrize("begin", ["07:25:00", "07:30:20"])
def test_a_digest_that_is_set_to_another_time_comes_once_and_at_that_time(
    tmp_path: Path, web: WebServer, begin: str
) -> None:
    clock = MovableClock(datetime.fromisoformat(f"2025-03-20T{begin}Z") - datetime.now(UTC))

    async def story(desk: Desk) -> None:
        desk.config.write_text(desk.text("gazette", "globe", at="07:40"))
        await desk.until(lambda: desk.daemon.watch.rules.digests[0].cron.startswith("40 7"))
        clock.by += datetime.fromisoformat("2025-03-20T07:31Z") - clock.now()
        desk.daemon._at_once("mail")
        await desk.settle()
        assert desk.events("digest_prepared") == []
        clock.by += datetime.fromisoformat("2025-03-20T07:39:59Z") - clock.now()
        desk.daemon._at_once("mail")
        # From here on nobody wakes it: it comes by itself when its time comes.
        await desk.until(lambda: desk.events("delivery_accepted"))
        clock.by += timedelta(minutes=5)
        desk.daemon._at_once("mail")
        await desk.settle()
        assert [event.due.isoformat() for event in desk.events("digest_prepared")] == ["2025-03-20T07:40:00+00:00"]

    lived(tmp_path, web, story, clock)


def test_a_tick_that_is_due_again_at_once_is_not_lost(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        # Due before the scheduler has noticed that the last one is over.
        desk.daemon.rules_pause = timedelta(0)
        await desk.settle()
        desk.config.write_text(desk.text("gazette", "herald"))
        await desk.until(lambda: desk.asked("herald"))

    lived(tmp_path, web, story)
    assert "maximum number of running instances" not in caplog.text


def test_new_terms_are_looked_for_in_what_is_stored(tmp_path: Path, web: WebServer) -> None:
    async def story(desk: Desk) -> None:
        rename_over(desk.config, desk.text("gazette", "globe", terms="says gazette"))
        await desk.until(lambda: desk.events("backfill_finished"))
        assert len(desk.recorded) == 2

    lived(tmp_path, web, story)


def test_what_changes_while_it_is_read_is_read_again(tmp_path: Path, web: WebServer) -> None:
    async def story(desk: Desk) -> None:
        reload, first = desk.daemon.reload, [True]

        def saved_meanwhile(watch: Any) -> Any:
            read = reload(watch)
            if first.pop() if first else False:
                desk.config.write_text(desk.text("gazette", "globe", "herald"))
            return read

        desk.daemon.reload = saved_meanwhile
        desk.config.write_text(desk.text("gazette"))
        await desk.until(lambda: desk.asked("herald"))
        assert desk.recorded == [["gazette", "globe"], ["gazette", "globe", "herald"]]

    lived(tmp_path, web, story)


@pytest.mark.parametrize(
    "fault", [OSError("the disk has a moment"), ClaimwatchError("the dictionaries of word forms give no answer")]
)
def test_a_fault_while_an_edit_is_read_does_not_lose_it(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture, fault: Exception
) -> None:
    async def story(desk: Desk) -> None:
        reload, faults = desk.daemon.reload, [fault]

        def faulty(watch: Any) -> Any:
            if faults:
                raise faults.pop()
            return reload(watch)

        desk.daemon.reload = faulty
        desk.config.write_text(desk.text("gazette", "herald"))
        await desk.until(lambda: desk.asked("herald"))

    lived(tmp_path, web, story)
    assert "action=tick_failed tick=rules" in caplog.text
    assert "action=rules_refused" not in caplog.text


def test_an_edit_that_names_another_log_is_refused(
    tmp_path: Path, web: WebServer, caplog: pytest.LogCaptureFixture
) -> None:
    async def story(desk: Desk) -> None:
        desk.config.write_text(desk.text("gazette", "herald") + "database: sqlite:///another.sqlite3\n")
        await desk.until(lambda: desk.daemon._about_rules.troubles)
        assert "database: was changed" in desk.daemon._about_rules.troubles[0].reason
        assert desk.in_force == ["gazette", "globe"]

    lived(tmp_path, web, story)
    assert caplog.text.count("action=rules_refused") == 1


def test_files_that_move_are_looked_at_until_they_stand_still() -> None:
    a, b, c = ((("a", 1),), (("b", 2),), ())
    files = FilesSeen(a, a)
    looks = [files.look(one) for one in (a, b, b)]
    assert looks == [Standing.READ, Standing.MOVING, Standing.EDITED]
    files.read = b
    assert [files.look(one) for one in (b, c, a, a)] == [
        Standing.READ,
        Standing.MOVING,
        Standing.MOVING,
        Standing.EDITED,
    ]
    files.read = a
    assert [files.look(one) for one in (c, a)] == [Standing.MOVING, Standing.READ]


def test_files_that_were_refused_are_read_again_now_and_then() -> None:
    a = (("a", 1),)
    files = FilesSeen(a, a, refused=True)
    looks = [files.look(a) for _ in range(2 * LOOKS_AT_REFUSED_FILES)]
    assert [at + 1 for at, one in enumerate(looks) if one is Standing.REFUSED] == [
        LOOKS_AT_REFUSED_FILES,
        2 * LOOKS_AT_REFUSED_FILES,
    ]
    files.refused = False
    assert {files.look(a) for _ in looks} == {Standing.READ}


def test_somebody_hears_of_files_that_never_stand_still() -> None:
    files = FilesSeen()
    told = []
    for number in range(2 * MOST_LOOKS_AT_MOVING_FILES):
        assert files.look(((str(number),),)) is Standing.MOVING
        told += [number + 1] if files.never_still else []
    assert told == [MOST_LOOKS_AT_MOVING_FILES, 2 * MOST_LOOKS_AT_MOVING_FILES]
