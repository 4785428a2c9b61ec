"""Where the parts meet: the straight path of a poll.

feed ─fetch→ Outcome ─split→ Document ─parse→ Feed ─decide→ events ─append+project→ log
     (many at once)  (in a child process)     (one after another, beside the event loop: `intake`)
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime
from functools import partial
from math import inf
from typing import Literal, ParamSpec, TypeAlias, TypeVar

from daemon import knowledge, queries
from daemon.databases import Connection
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.events import NewEvent, Recorded, RulesChanged
from daemon.fetching import Changed, Fetcher, Request, host_of
from daemon.intake import Polled as Polled
from daemon.intake import address_to_ask, take_in_safely
from daemon.items import Feed, NotAFeed
from daemon.knowledge import PollState
from daemon.outcomes import Failed, Gone, Outcome
from daemon.parsing import Parser, Reading, Unreadable
from daemon.projections import record
from daemon.rematching import claims_to_rematch
from daemon.rules import FeedRule
from daemon.watch import Clock as Clock
from daemon.watch import SystemClock as SystemClock
from daemon.watch import Watch as Watch

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_BESIDE = ThreadPoolExecutor(max_workers=2, thread_name_prefix="claimwatch")
"""Not the loop's own threads: a resolver that does not answer holds each of those for many seconds."""

MOST_ITEMS = 5_000
"""In one document: the largest real one seen has 794. A megabyte can name 50,000, which take minutes to record."""


def record_rules(watch: Watch) -> Recorded | None:
    """Appends `rules_changed` if the log does not know these rules yet, with the claims that a backfill is to match.

    Each feed that is to be polled has its line of the poll cache from then on.
    """
    with watch.log.transaction(watch.clock.now()) as transaction:
        changed = _rules_changed(watch, transaction.connection)
        recorded = record(transaction, [NewEvent("watch", changed)])[0] if changed else None
        knowledge.enrol(transaction.connection, watch.rules.polled_feeds)
        return recorded


def enrol_feeds(watch: Watch) -> None:
    """Makes what is due ready to be asked for, where the rules are not to be recorded yet."""
    with watch.log.transaction(watch.clock.now()) as transaction:
        knowledge.enrol(transaction.connection, watch.rules.polled_feeds)


def _rules_changed(watch: Watch, connection: Connection) -> RulesChanged | None:
    known = queries.recorded_rules(connection)
    if known and known.sha256 == watch.rules.sha256:
        return None
    waiting = queries.waiting_backfill(connection)
    left = waiting.event.rematch if waiting else ()
    rematch = claims_to_rematch(known.rules if known else None, left, watch.rules)
    return RulesChanged(watch.rules.sha256, watch.rules, rematch)


def due_feeds(watch: Watch) -> list[FeedRule]:
    """The feeds whose time has come, the longest due first; of the rules that were recorded last."""
    now = watch.clock.now()
    _turn_back(watch, now)
    with watch.log.reading() as connection:
        due = knowledge.due_feeds(connection, now)
    return [watch.polled_feeds[id] for id in due if id in watch.polled_feeds]


def _turn_back(watch: Watch, now: datetime) -> None:
    """After the clock was set back, what the poll cache holds of times is meant from now on."""
    with watch.log.reading() as connection:
        turned = knowledge.polled_ahead(connection, now)
    if turned:
        logger.warning("action=clock_set_back; feeds are asked within a pause from now on")
        with watch.log.transaction(now) as transaction:
            knowledge.turn_back(transaction.connection, now)


async def poll(
    watch: Watch,
    fetcher: Fetcher,
    parser: Parser,
    feeds: Iterable[FeedRule],
    *,
    at_once: int = 20,
    begin_within_seconds: float = inf,
    told: Callable[[Polled], None] = lambda _polled: None,
) -> list[Polled]:
    """Polls these feeds: fetches and reads them many at once, takes in what they brought one after another.

    What has not begun after `begin_within_seconds` is left, and stays due: many feeds of a host that hangs would make a
    round of hours. `told` hears of each feed as soon as what it brought is committed, with its events; the list has the
    counts alone.
    """
    results: list[Polled] = []
    with watch.log.reading() as connection:
        fetcher.pause_hosts(knowledge.paused_hosts(connection, watch.clock.now()))
    waiting = _ByHost(feeds)
    asking: dict[_Step, FeedRule] = {}
    reading: dict[_Step, FeedRule] = {}
    clock = asyncio.get_running_loop().time
    last_begin = clock() + begin_within_seconds
    try:
        while True:
            # Topped up: gathering thousands of requests at once never ends.
            while len(asking) + len(reading) < at_once and clock() < last_begin and (feed := waiting.next()):
                asking[asyncio.create_task(_ask(watch, fetcher, feed))] = feed
            if not asking and not reading:
                return results
            done, _ = await asyncio.wait([*asking, *reading], return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if feed := asking.pop(task, None):
                    # While its document is read, its host can be asked for the next one.
                    waiting.done(feed)
                    outcome, _ = task.result()
                    if isinstance(outcome, Changed):
                        reading[asyncio.create_task(_read(parser, outcome))] = feed
                        continue
                polled = await beside_the_loop(take_in_safely, watch, feed or reading.pop(task), *task.result())
                told(polled)
                results.append(replace(polled, recorded=()))
    finally:
        under_way = [*asking, *reading]
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


class _ByHost:
    """Feeds in their order, one of each host at a time: those that wait for their host hold up no others."""

    def __init__(self, feeds: Iterable[FeedRule]) -> None:
        self._waiting: dict[str, deque[FeedRule]] = {}
        for feed in feeds:
            self._waiting.setdefault(host_of(feed.url), deque()).append(feed)
        self._free = deque(self._waiting)

    def next(self) -> FeedRule | None:
        return self._waiting[self._free.popleft()].popleft() if self._free else None

    def done(self, feed: FeedRule) -> None:
        if self._waiting[host := host_of(feed.url)]:
            self._free.append(host)


_Step: TypeAlias = asyncio.Task[tuple[Outcome, Feed | None]]


async def _ask(watch: Watch, fetcher: Fetcher, feed: FeedRule) -> tuple[Outcome, None]:
    with watch.log.reading() as connection:
        state = knowledge.poll_state(connection, feed)
        unreadable = knowledge.unreadable_document(connection, feed.id)
    outcome = await fetcher.fetch(_request(feed, state), watch.clock.now())
    if isinstance(outcome, Gone) and address_to_ask(state, feed) != feed.url:
        # Only what feeds.yaml names can be gone for good: a move may have been a mistake.
        hint = "The address in feeds.yaml is asked again soon; write there where the feed is now."
        return Failed("http 410", f"410 Gone at {outcome.url[:200]}, where it had moved to", hint), None
    if isinstance(outcome, Changed) and unreadable and outcome.body_sha256 == unreadable.sha256:
        return _given_up(outcome, unreadable.detail), None
    return outcome, None


async def _read(parser: Parser, outcome: Changed) -> tuple[Outcome, Feed | None]:
    try:
        reading = await parser.parse(outcome.body, outcome.charset)
    except ClaimwatchError as error:
        # This machine's fault and not the feed's; but a round that broke off here would ask again within seconds.
        return Failed("no parser", error.message, error.hint), None
    return after_reading(outcome, reading)


def after_reading(outcome: Changed, reading: Reading) -> tuple[Outcome, Feed | None]:
    """What a changed document turned out to be: itself with its items, or a failure."""
    match reading:
        case Feed(items=items) if len(items) > MOST_ITEMS:
            hint = "That is an archive and no feed of news: look for another address on the site."
            return Failed("too large", f"it holds {len(items):,} items, more than {MOST_ITEMS:,}", hint), None
        case Feed():
            # The bytes have been read, and a round may hold thousands of outcomes.
            return replace(outcome, body=b""), reading
        case NotAFeed(reason, hint):
            return Failed("not a feed", reason, hint), None
        case Unreadable(detail, lasting=True):
            return _given_up(outcome, f"{detail} (document {outcome.body_sha256[:16]})"), None
        case Unreadable(detail):
            return Failed("unreadable", detail, "It is tried again by itself."), None


def _given_up(outcome: Changed, detail: str) -> Failed:
    hint = "It is skipped until it changes. Tell the site, or let the feed rest (enabled: false)."
    return Failed("unreadable", detail, hint, document_sha256=outcome.body_sha256)


def record_first(watch: Watch, events: Sequence[NewEvent], what: Literal["delivery", "notice"]) -> list[Recorded]:
    """Appends events to a stream; an empty list when somebody else took it in hand first."""
    try:
        with watch.log.transaction(watch.clock.now()) as transaction:
            return record(transaction, events)
    except StreamConflict as conflict:
        logger.info("action=%s_taken: %s", what, conflict)
        return []


async def beside_the_loop(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a function that reads or writes the log in a thread, while the event loop goes on.

    It is always waited for, also when the caller is cancelled: what was begun is finished.
    """
    running = asyncio.get_running_loop().run_in_executor(_BESIDE, partial(function, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        if error := running.exception():
            logger.error("action=failed_while_stopping: %s", error)
        raise


def _request(feed: FeedRule, state: PollState) -> Request:
    return Request(
        feed=feed.id,
        url=address_to_ask(state, feed),
        etag=state.etag,
        last_modified=state.last_modified,
        body_sha256=state.body_sha256,
        most_bytes=feed.most_bytes,
        validated_url=state.validated_url or state.url,
        home=feed.url,
    )
