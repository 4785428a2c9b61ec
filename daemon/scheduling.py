"""The daemon: APScheduler ticks, signals stop it, systemd hears how it does.

APScheduler owns no calendar. Five one-shot `date` jobs re-arm themselves: poll what is due, mail what is due, tell the
operator of troubles, look at feeds.yaml, match what is stored against new terms. What is due is data, in the poll cache
and in the log; a clock that jumps re-arms them all. The poll tick feeds systemd's watchdog: with each feed that it took
in, and when it ends, be it with an error that is told. What hangs starves it.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.asyncio import AsyncIOScheduler

from daemon import __version__, queries
from daemon.assembly import fetcher_of
from daemon.backfill import Backfill
from daemon.backfill import waiting as backfill_waiting
from daemon.counting import counted
from daemon.delivery import deliver
from daemon.errors import ClaimwatchError, ConfigError
from daemon.events import NewEvent, Recorded, WatchStarted, WatchStopped
from daemon.memory import give_back
from daemon.moments import doubled
from daemon.notices import Look, Trouble
from daemon.parsing import Parser
from daemon.preparing import Post, next_due_time, prepare_due
from daemon.projections import record
from daemon.reloading import SETTLING, FilesSeen, Stamp, Standing, stamp_of
from daemon.rules import FeedRule
from daemon.sdnotify import Watchdog, notify
from daemon.service import Clock, Polled, SystemClock, Watch, beside_the_loop, due_feeds, poll, record_rules
from daemon.settings import Settings
from daemon.telling import tell_operator

logger = logging.getLogger(__name__)

POLL_TICK = timedelta(seconds=5)
ROUND = timedelta(seconds=60)
"""In which a round of polls asks; what is left then is due beside what came due meanwhile, and comes first."""
MAIL_TICK_AT_LEAST = timedelta(seconds=1)
MAIL_TICK_AT_MOST = timedelta(seconds=60)
RULES_TICK = timedelta(seconds=5)
NOTICES_TICK = timedelta(seconds=30)
PAUSE_AFTER_FAULT = timedelta(seconds=1)
LONGEST_PAUSE_AFTER_FAULT = timedelta(seconds=64)
BACKFILL_TICK = timedelta(seconds=5)
BACKFILL_BREATH = timedelta(milliseconds=50)
"""Between two chunks: twice as long as one takes, so that whoever waits for the writer's turn gets it."""
BACKFILL_TOLD_SECONDS = 10.0
STOP_GRACE = timedelta(seconds=4)
"""In which what is under way at a stop may end by itself."""
MOST_REASON_CHARACTERS = 600
STEP_CHECK_SECONDS = 5.0
MEMORY_GIVEN_BACK_EVERY_SECONDS = 60.0
CLOCK_STEP_SECONDS = 30.0
LONGEST_SILENCE_TIMEOUTS = 2
"""Of a sound round: feeds that all answer at the last moment, and are then read and matched."""


Tick = Callable[[], Awaitable[timedelta]]
"""Does what is due and says how long it can wait until it is called again."""


@dataclass
class Daemon:
    """A watch that runs until it is told to stop.

    `reload` is given the watch so far, reads feeds.yaml again and returns what to go on with; it raises ConfigError
    where it can't be used. Where it raises anything else, the edit is not to blame, and it is read again.
    `stamp` is what the files that `settings` come from looked like before they were read; None: they are read again.
    `ready` is called once, when a signal would be heard.
    `after_round` hears of each round of polls that asked at least one feed.
    `progressed` hears each time that the polls got something done, or found that nothing was due; a tick that failed is
    no progress of this kind, though it feeds the watchdog.
    `after_reload` hears of the settings that came into force; where it raises ClaimwatchError, that is told.
    """

    watch: Watch
    post: Post
    settings: Settings
    reload: Callable[[Watch], tuple[Settings, Watch, Post]]
    stamp: Stamp | None = None
    ready: Callable[[], None] = lambda: None
    told: Callable[[Polled], None] = lambda _polled: None
    before_round: Callable[[int], None] = lambda _count: None
    after_round: Callable[[list[Polled]], None] = lambda _polled: None
    after_mail: Callable[[list[Recorded]], None] = lambda _outcomes: None
    progressed: Callable[[], None] = lambda: None
    after_reload: Callable[[Settings], None] = lambda _settings: None
    clock: Clock = field(default_factory=SystemClock)
    notices_pause: timedelta = NOTICES_TICK
    rules_pause: timedelta = RULES_TICK
    round: timedelta = ROUND
    settling: timedelta = SETTLING
    stop_grace: timedelta = STOP_GRACE
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _reason: str = ""
    _files: FilesSeen = field(default_factory=FilesSeen)
    _faults: Counter[str] = field(default_factory=Counter)
    _under_way: set[asyncio.Task[object]] = field(default_factory=set)
    _backfill: Backfill | None = None
    _backfill_told: float = 0
    _mail_changed: bool = False
    _mail_mended: datetime | None = None
    _at_once: Callable[[str], None] = lambda _tick: None
    _round_of: Watch | None = None
    _polled_once: bool = False
    _not_yet_polled: set[str] | None = None
    _about_rules: Look = field(default_factory=Look)
    _about_work: Look = field(default_factory=Look)
    _parser: Parser = field(default_factory=Parser)
    _watchdog: Watchdog = field(default_factory=Watchdog.from_environment)

    async def run(self) -> None:
        """Watches until SIGTERM or SIGINT; the transaction in hand is finished, and the stop is recorded."""
        self._begin()
        # Two, though a tick never runs twice at once: one that has just armed itself counts as running for a moment
        # more, and a job that comes due in that moment would be skipped, and never armed again.
        scheduler = AsyncIOScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 2}
        )
        ticks: dict[str, Tick] = {
            "poll": self._poll_tick,
            "mail": self._mail_tick,
            "notices": self._notices_tick,
            "rules": self._rules_tick,
            "backfill": self._backfill_tick,
        }
        for name, tick in ticks.items():
            self._arm(scheduler, name, tick, timedelta(0))
        self._at_once = lambda name: self._rearm(scheduler, {name: ticks[name]})
        self._listen(asyncio.get_running_loop(), lambda: self._look_at_rules(scheduler, ticks["rules"]))
        self.ready()
        scheduler.start()
        notify(f"READY=1\n{self._status_line()}")
        self._watchdog.allow(LONGEST_SILENCE_TIMEOUTS * self.settings.polling.timeout_seconds)
        try:
            await self._until_stopped(lambda: self._rearm(scheduler, ticks))
        finally:
            notify("STOPPING=1")
            # Not shutdown() yet: it would cancel what is under way.
            scheduler.remove_all_jobs()
            await self._finish()
            await self._parser.close()
            scheduler.shutdown(wait=False)
            self._record(WatchStopped(self._reason or "stopped"))

    def stop(self, reason: str) -> None:
        """Asks the daemon to stop."""
        self._reason = reason
        self._stop.set()

    def _begin(self) -> None:
        with self.watch.log.reading() as connection:
            last_awake = queries.last_awake(connection)
        self._record(WatchStarted(__version__, last_awake))
        record_rules(self.watch)
        self._backfill = backfill_waiting(self.watch)
        # Not what they look like now: a start may take minutes, and an edit may have been saved in them.
        self._files = FilesSeen(self.stamp, self.stamp)
        self._rules_are_sound()

    def _record(self, event: WatchStarted | WatchStopped) -> None:
        with self.watch.log.transaction(self.clock.now()) as transaction:
            record(transaction, [NewEvent("watch", event)])

    def _listen(self, loop: asyncio.AbstractEventLoop, look_at_rules: Callable[[], None]) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number.name)
        loop.add_signal_handler(signal.SIGHUP, look_at_rules)

    async def _until_stopped(self, rearm: Callable[[], None]) -> None:
        """Waits, and looks whether the wall clock jumped: set back two hours, it would silence every job as long.

        Now and then what rounds, digests and backfills left free goes back to the machine.
        """
        ahead = time.time() - time.monotonic()
        given_back = time.monotonic()
        while not self._stop.is_set():
            try:
                await asyncio.wait_for(self._stop.wait(), STEP_CHECK_SECONDS)
            except TimeoutError:
                step = time.time() - time.monotonic() - ahead
                if abs(step) > CLOCK_STEP_SECONDS:
                    logger.warning("action=clock_step seconds=%+.0f", step)
                    ahead += step
                    rearm()
                if time.monotonic() - given_back >= MEMORY_GIVEN_BACK_EVERY_SECONDS:
                    given_back = time.monotonic()
                    give_back()

    async def _poll_tick(self) -> timedelta:
        watch = self.watch
        feeds = due_feeds(watch)
        if feeds:
            self.before_round(len(feeds))
            self._round_of = watch
            try:
                async with fetcher_of(self.settings) as fetcher:
                    at_once = self.settings.polling.at_once
                    polled = await poll(
                        watch,
                        fetcher,
                        self._parser,
                        feeds,
                        at_once=at_once,
                        begin_within_seconds=self.round.total_seconds(),
                        told=self._told_of,
                    )
            finally:
                self._round_of = None
            self.after_round(polled)
            self._look_whether_polled_once(feeds, polled)
        else:
            self._polled_once = True
        self._progressed()
        if watch is not self.watch:
            # An edit came in the middle: its feeds are asked now, and its terms need not wait for this round any more.
            self._at_once("backfill")
            return timedelta(0)
        return min(POLL_TICK, self._watchdog.longest_pause)

    def _look_whether_polled_once(self, due: Sequence[FeedRule], polled: Sequence[Polled]) -> None:
        """Whether all that was due in the first round was asked, in however many rounds that took."""
        still_due = {feed.id for feed in due}
        left = still_due if self._not_yet_polled is None else self._not_yet_polled & still_due
        self._not_yet_polled = left - {one.feed for one in polled}
        self._polled_once = self._polled_once or not self._not_yet_polled

    def _progressed(self) -> None:
        self._watchdog.progressed()
        self.progressed()

    def _told_of(self, polled: Polled) -> None:
        # Each of the feeds ends within its time, and so does a round.
        self._progressed()
        self.told(polled)

    def _status_line(self) -> str:
        return f"STATUS=watching {counted(len(self.watch.rules.polled_feeds), 'feed')}"

    async def _mail_tick(self) -> timedelta:
        try:
            await beside_the_loop(prepare_due, self.watch, self.post)
        finally:
            # A digest that can't be prepared holds up no message that already is.
            if self._mail_changed:
                # Only here: whatever was still under way by the settings before was put off by now.
                self._mail_changed, self._mail_mended = False, self.clock.now()
            outcomes = await deliver(self.watch, self.post, mended=self._mail_mended)
            if outcomes:
                self.after_mail(outcomes)
        due = await beside_the_loop(next_due_time, self.watch)
        return min(max(due - self.clock.now(), MAIL_TICK_AT_LEAST), MAIL_TICK_AT_MOST) if due else MAIL_TICK_AT_MOST

    async def _notices_tick(self) -> timedelta:
        """Not before the first round of polls: a feed that failed before a downtime may be well by now."""
        if self._polled_once:
            own = self._about_rules.joined(self._about_work)
            if outcomes := await tell_operator(self.watch, self.post, own):
                self.after_mail(outcomes)
        return self.notices_pause

    async def _rules_tick(self) -> timedelta:
        stamp = stamp_of(self.settings)
        standing = self._files.look(stamp)
        if standing in (Standing.EDITED, Standing.REFUSED):
            return await self._reload(stamp, again=standing is Standing.REFUSED)
        if self._files.never_still:
            logger.warning("action=rules_unsettled; feeds.yaml, or a file beside it, changes all the time")
        return self.settling if standing is Standing.MOVING else self.rules_pause

    async def _backfill_tick(self) -> timedelta:
        """One chunk of the backfill that the rules ask for, if any."""
        backfill = self._backfill
        if backfill is None or self._round_of not in (None, backfill.watch):
            # A round that began under older rules still brings items that were matched by those.
            return BACKFILL_TICK
        progress = await beside_the_loop(backfill.advance)
        if progress is None or progress.finished:
            # A reload may have put the next one in its place.
            self._backfill = None if self._backfill is backfill else self._backfill
            if progress and (done := progress.finished):
                found = f"matched={done.matched} changed={done.changed} dropped={done.dropped}"
                logger.info("action=backfill_finished claims=%d items=%d %s", len(done.claims), done.items, found)
        elif time.monotonic() - self._backfill_told >= BACKFILL_TOLD_SECONDS:
            self._backfill_told = time.monotonic()
            logger.info("action=backfill done=%d items=%d", progress.done, progress.items)
        return BACKFILL_BREATH

    async def _reload(self, stamp: Stamp, *, again: bool) -> timedelta:
        """Takes up an edited feeds.yaml whole, or keeps the rules in force and says what is wrong with the new ones.

        `stamp` is what the files looked like before; `again`: so they did when they were refused, which is told only
        where it is for another reason now. Says how long the next look at them can wait.
        """
        # Only what was read to its end was seen: a fault of ours must not lose an edit.
        self._files.read = None
        refused: ConfigError | None = None
        try:
            settings, watch, post = await beside_the_loop(self.reload, self.watch)
        except ConfigError as error:
            refused = error
        if stamp_of(self.settings) != stamp:
            # Changed while it was read: that may have been a part of the one and a part of the other.
            return self.settling
        self._files.read, self._files.refused = stamp, refused is not None
        if refused:
            if self._rules_are_refused(refused) or not again:
                logger.error("action=rules_refused; the old ones stay in force:\n%s", refused)
            notify(f"{self._status_line()}; feeds.yaml was refused, the rules before it stay in force")
            return self.rules_pause
        try:
            # In the log first: rules that are not there are not in force.
            changed = await beside_the_loop(record_rules, watch)
            backfill = await beside_the_loop(backfill_waiting, watch)
        except ClaimwatchError as error:
            # Nothing is wrong with them: the next look at feeds.yaml takes them up, when the log is there again.
            self._files.read = None
            logger.error("action=rules_wait; they can't be recorded yet:\n%s", error)
            return self.rules_pause
        mended = post.carrier != self.post.carrier
        self.settings, self.watch, self.post, self._backfill = settings, watch, post, backfill
        self._rules_are_sound()
        notify(self._status_line())
        self._watchdog.allow(LONGEST_SILENCE_TIMEOUTS * self.settings.polling.timeout_seconds)
        try:
            self.after_reload(settings)
        except ClaimwatchError as error:
            logger.error("action=reload: %s", error)
        if mended:
            # Whoever mends a password does not want to wait four hours to see whether it is right.
            self._mail_changed = True
            self._at_once("mail")
        if changed:
            rules = settings.rules
            counts = len(rules.polled_feeds), len(rules.watched_claims)
            says = "action=rules_changed position=%d feeds=%d claims=%d; the edited feeds.yaml is in force"
            logger.info(says, changed.position, *counts)
            # New feeds are asked now, new terms looked for, and a digest may be due before the old rules' next one.
            for tick in ("poll", "backfill", "mail"):
                self._at_once(tick)
        else:
            # Whoever has mended the file, asked for a reload or named another mail server waits for an answer, too.
            logger.info("action=rules_unchanged; feeds.yaml was read and is fine")
        return self.rules_pause

    def _rules_are_refused(self, error: ConfigError) -> bool:
        """For the operator. It need not outlive this process: with these rules no other one would start.

        Whether the reason is another than before.
        """
        standing = self._about_rules.troubles
        since = standing[0].since if standing else self.clock.now()
        reason = " ".join(error.message.split())[:MOST_REASON_CHARACTERS]
        trouble = Trouble("rules refused", "", since, reason, error.hint)
        self._about_rules = Look((trouble,))
        return standing != (trouble,)

    def _rules_are_sound(self) -> None:
        if self._about_rules.troubles or not self._about_rules.over:
            self._about_rules = Look(over={("rules refused", ""): self.clock.now()})

    def _look_at_rules(self, scheduler: AsyncIOScheduler, tick: Tick) -> None:
        """Now, and also where nothing seems to have changed: somebody asked for it."""
        self._files.read = None
        if scheduler.get_job("rules"):
            self._arm(scheduler, "rules", tick, timedelta(0))

    def _arm(self, scheduler: AsyncIOScheduler, name: str, tick: Tick, pause: timedelta) -> None:
        async def run_and_rearm() -> None:
            task = asyncio.current_task()
            assert task is not None
            self._under_way.add(task)
            try:
                following = await tick()
            except asyncio.CancelledError:
                if self._stop.is_set():
                    # Cut off by the stop: nothing that anybody has to hear of.
                    return
                raise
            except ClaimwatchError as error:
                logger.error("action=tick_failed tick=%s: %s", name, error)
                following = self._pause_after_fault(name, error)
            except Exception as error:
                # The one broad except: a tick that fails is told, and tried again.
                logger.exception("action=tick_failed tick=%s", name)
                following = self._pause_after_fault(name, error)
            else:
                self._works(name)
            finally:
                self._under_way.discard(task)
            if not self._stop.is_set():
                self._arm(scheduler, name, tick, following)

        scheduler.add_job(run_and_rearm, "date", run_date=datetime.now(UTC) + pause, id=name, replace_existing=True)

    def _works(self, tick: str) -> None:
        if self._faults.pop(tick, 0):
            self._about_work = self._about_work.ended(("work failing", tick), self.clock.now())

    def _pause_after_fault(self, tick: str, error: Exception) -> timedelta:
        """Twice as long each time: a server that is away for ten minutes is asked a dozen times, not ten thousand."""
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:MOST_REASON_CHARACTERS]
        hint = "It is tried again every minute; the daemon's own log says more."
        trouble = Trouble("work failing", tick, self.clock.now(), reason, hint)
        self._about_work = self._about_work.begun(trouble)
        self._faults[tick] += 1
        pause = doubled(PAUSE_AFTER_FAULT, self._faults[tick] - 1, LONGEST_PAUSE_AFTER_FAULT)
        if tick != "poll":
            return pause
        # Who waits for the first round waits for no more than this.
        self._polled_once = True
        # A loop that turns, tries and tells what it failed on is alive. Started anew every two minutes it would mend no
        # database, and never get as far as to tell the operator.
        self._watchdog.failed()
        return min(pause, self._watchdog.longest_pause)

    def _rearm(self, scheduler: AsyncIOScheduler, ticks: dict[str, Tick]) -> None:
        for name, tick in ticks.items():
            # A tick that is running has no job; it arms itself when it is done.
            if scheduler.get_job(name):
                self._arm(scheduler, name, tick, timedelta(0))

    async def _finish(self) -> None:
        """Lets what is under way end by itself (a message half sent would be repeated), then ends the rest."""
        running = set(self._under_way)
        if running:
            _, running = await asyncio.wait(running, timeout=self.stop_grace.total_seconds())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
