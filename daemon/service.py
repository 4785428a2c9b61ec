"""Where the parts meet: the straight path of a poll.

    feed ─fetch→ Outcome ─split→ Document ─parse→ Feed ─decide→ events ─append+project→ log
         (many at once)  (in a child process)     (one after another, beside the event loop)

`Watch` is what every command works with: the settings, the log, the compiled rules and a clock.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from typing import Literal, ParamSpec, Protocol, TypeVar

from daemon import knowledge, queries
from daemon.decisions import (
    LONGEST_PAUSE,
    LONGEST_PAUSE_OFFLINE,
    AfterChange,
    KnownFeed,
    after_change,
    after_failure,
    after_gone,
    after_unchanged,
    next_poll,
)
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.eventlog import EventLog
from daemon.events import ClaimMatched, FeedFailed, ItemRevised, ItemSeen, NewEvent, Recorded, RulesChanged
from daemon.fetching import Changed, Failed, Fetcher, Gone, Outcome, Request, Unchanged
from daemon.items import Feed, NotAFeed
from daemon.knowledge import PollState, UnreadableDocument
from daemon.lexicon import forms_coming
from daemon.matching import Matcher, compile_rules
from daemon.parsing import Parser, Reading, Unreadable
from daemon.projections import record
from daemon.rematching import claims_to_rematch
from daemon.rules import FeedRule, Rules
from daemon.storeditems import newest_texts

logger = logging.getLogger(__name__)

P = ParamSpec("P")
R = TypeVar("R")

_BESIDE = ThreadPoolExecutor(max_workers=2, thread_name_prefix="claimwatch")
"""Not the loop's own threads: a resolver that does not answer holds each of those for many seconds."""

MOST_ITEMS = 5_000
"""In one document: the largest real one seen has 794. A megabyte can name 50,000, which take minutes to record."""
MOST_DETAIL_CHARACTERS = 400
MANY_TERMS = 1_000
"""Terms from which on it pays to learn, from what is stored, which of their words are rare."""
TEXTS_TO_LEARN_FROM = 500
MOST_TRIES = 10
"""How often a decision is made again when somebody else was first; more than that is no race."""


class Clock(Protocol):
    """Tells the present, as an aware UTC time."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Watch:
    """A rule set at work on a log."""

    log: EventLog
    rules: Rules
    clock: Clock
    before: Matcher | None = field(default=None, repr=False)
    """What terms that have not changed are taken over from."""

    @classmethod
    def over(cls, log: EventLog, rules: Rules, clock: Clock | None = None, before: Matcher | None = None) -> Watch:
        """The watch of `rules` over `log`."""
        return cls(log, rules, clock or SystemClock(), before)

    @cached_property
    def matcher(self) -> Matcher:
        """The compiled terms. Made when they are first asked for: what only sends or tells needs no dictionaries."""
        return compile_rules(self.rules, forms_coming, self.before, self._news())

    def _news(self) -> list[str]:
        if sum(len(claim.terms) for claim in self.rules.watched_claims) < MANY_TERMS:
            return []
        with self.log.reading() as connection:
            return newest_texts(connection, TEXTS_TO_LEARN_FROM)


@dataclass(frozen=True)
class Polled:
    """What one poll of one feed came to: its outcome, and how much was recorded.

    `recorded` are the events themselves. Whoever is told of a poll sees them; a round that is over holds them no more,
    because they hold the text of every item.
    """

    feed: str
    outcome: Outcome
    next_due: datetime
    events: int = 0
    new_items: int = 0
    revised_items: int = 0
    matched_claims: tuple[str, ...] = ()
    recorded: Sequence[Recorded] = ()

    @classmethod
    def of(cls, feed: str, outcome: Outcome, next_due: datetime, recorded: Sequence[Recorded]) -> Polled:
        """What was recorded, counted."""
        kinds = Counter(one.event.kind for one in recorded)
        claims = tuple(one.event.claim for one in recorded if one.event.kind == ClaimMatched.kind)
        counts = (len(recorded), kinds[ItemSeen.kind], kinds[ItemRevised.kind])
        return cls(feed, outcome, next_due, *counts, claims, recorded)


def record_rules(watch: Watch) -> Recorded | None:
    """Appends `rules_changed` if the log does not know these rules yet, with the claims that a backfill is to match."""
    with watch.log.transaction(watch.clock.now()) as transaction:
        known = queries.recorded_rules(transaction.connection)
        if known and known.sha256 == watch.rules.sha256:
            return None
        waiting = queries.waiting_backfill(transaction.connection)
        left = waiting.event.rematch if waiting else ()
        rematch = claims_to_rematch(known.rules if known else None, left, watch.rules)
        changed = RulesChanged(watch.rules.sha256, watch.rules, rematch)
        return record(transaction, [NewEvent("watch", changed)])[0]


def due_feeds(watch: Watch) -> list[FeedRule]:
    """The feeds whose time has come, the longest due first; one that was never polled is due at once."""
    now = watch.clock.now()
    with watch.log.reading() as connection:
        polls = knowledge.poll_states(connection)
        gone = {health.id for health in queries.feed_health(connection) if health.state == "gone"}
    feeds = [feed for feed in watch.rules.polled_feeds if feed.id not in gone]
    due = [(_due_time(feed, polls.get(feed.id), now), feed) for feed in feeds]
    return [feed for moment, feed in sorted(due, key=lambda pair: pair[0]) if moment <= now]


def _due_time(feed: FeedRule, poll: PollState | None, now: datetime) -> datetime:
    if poll is None or poll.url != feed.url or poll.next_due is None:
        return datetime.min.replace(tzinfo=UTC)
    # A poll in the future means that the clock was set back: its due time means nothing now.
    return now if poll.polled_at and poll.polled_at > now else poll.next_due


async def poll(
    watch: Watch,
    fetcher: Fetcher,
    parser: Parser,
    feeds: Iterable[FeedRule],
    *,
    at_once: int = 20,
    told: Callable[[Polled], None] = lambda _polled: None,
) -> list[Polled]:
    """Polls these feeds: fetches and reads them many at once, takes in what they brought one after another.

    `told` hears of each feed as soon as what it brought is committed, with its events; the list has the counts alone.
    """
    results: list[Polled] = []
    with watch.log.reading() as connection:
        polls = knowledge.poll_states(connection)
        unreadable = knowledge.unreadable_documents(connection)
    waiting = iter(feeds)
    fetches: set[asyncio.Task[tuple[FeedRule, Outcome, Feed | None]]] = set()
    try:
        while True:
            # Topped up from an iterator: gathering thousands of requests at once never ends.
            for feed in itertools.islice(waiting, at_once - len(fetches)):
                read = _fetch_and_read(watch, fetcher, parser, feed, polls.get(feed.id), unreadable.get(feed.id))
                fetches.add(asyncio.create_task(read))
            if not fetches:
                return results
            done, fetches = await asyncio.wait(fetches, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                polled = await beside_the_loop(_take_in_safely, watch, *task.result())
                told(polled)
                results.append(replace(polled, recorded=()))
    finally:
        for task in fetches:
            task.cancel()
        await asyncio.gather(*fetches, return_exceptions=True)


async def _fetch_and_read(
    watch: Watch,
    fetcher: Fetcher,
    parser: Parser,
    feed: FeedRule,
    state: PollState | None,
    unreadable: UnreadableDocument | None,
) -> tuple[FeedRule, Outcome, Feed | None]:
    outcome = await fetcher.fetch(_request(feed, state), watch.clock.now())
    if not isinstance(outcome, Changed):
        return feed, outcome, None
    if unreadable and outcome.body_sha256 == unreadable.sha256:
        return feed, _given_up(outcome, unreadable.detail), None
    try:
        reading = await parser.parse(outcome.body, outcome.charset)
    except ClaimwatchError as error:
        # This machine's fault and not the feed's; but a round that broke off here would ask again within seconds.
        return feed, Failed("no parser", error.message, error.hint), None
    return feed, *after_reading(outcome, reading)


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


def _request(feed: FeedRule, poll: PollState | None) -> Request:
    if poll is None or poll.url != feed.url:
        return Request(feed.id, feed.url, most_bytes=feed.most_bytes)
    return Request(feed.id, feed.url, poll.etag, poll.last_modified, poll.body_sha256, feed.most_bytes)


def _take_in_safely(watch: Watch, feed: FeedRule, outcome: Outcome, document: Feed | None) -> Polled:
    """`take_in`, where a document that breaks our own code is a failure of its feed and of no other."""
    try:
        return take_in(watch, feed, outcome, document)
    except ClaimwatchError:
        raise
    except Exception as error:
        logger.exception("action=unreadable feed=%s", feed.id)
        hint = "This is a fault of claimwatch: please report it with the feed's document."
        return take_in(watch, feed, Failed("unreadable", f"{type(error).__name__}: {error}", hint))


def take_in(watch: Watch, feed: FeedRule, outcome: Outcome, document: Feed | None = None) -> Polled:
    """Decides what an outcome means and makes it true: events, projections and poll cache in one transaction.

    `document` is what a changed document says. Somebody else who saw the same item first wins; what was decided is
    then decided again on what they wrote.
    """
    now = watch.clock.now()
    items = document.items if document else ()
    for _ in range(MOST_TRIES):
        with watch.log.reading() as connection:
            before = knowledge.poll_states(connection, feed.id).get(feed.id)
            if before is None or before.url != feed.url:
                before = PollState(feed.id, feed.url)
            known = knowledge.known_feed(connection, feed.id, before)
            known_items = knowledge.known_items(connection, feed.id, items)
        if isinstance(outcome, Changed):
            decision = after_change(known, items, known_items, watch.matcher, now)
        else:
            decision = AfterChange(_events_without_document(known, outcome), known.window)
        state = _next_state(before, feed, outcome, decision.window, now)
        try:
            with watch.log.transaction(now) as transaction:
                recorded = record(transaction, decision.events)
                knowledge.keep_poll_state(transaction.connection, state)
        except StreamConflict as conflict:
            logger.info("action=decide_again feed=%s: %s", feed.id, conflict)
            continue
        assert state.next_due is not None
        return Polled.of(feed.id, outcome, state.next_due, recorded)
    raise ClaimwatchError(
        f"what the log holds of the feed {feed.id} does not fit its tables",
        hint="Run `claimwatch rebuild`, then `claimwatch verify`.",
    )


def _events_without_document(known: KnownFeed, outcome: Unchanged | Gone | Failed) -> tuple[NewEvent, ...]:
    match outcome:
        case Unchanged():
            stream = f"feed/{known.id}"
            return tuple(NewEvent(stream, event, known.version) for event in after_unchanged(known))
        case Gone(url):
            return after_gone(known, url)
        case Failed(reason, detail, hint):
            # Part of it may be a server's own words, which are as long as it likes.
            detail = " ".join(detail.split())[:MOST_DETAIL_CHARACTERS]
            return after_failure(known, FeedFailed(reason, detail, hint, outcome.document_sha256))


def _next_state(
    before: PollState, feed: FeedRule, outcome: Outcome, window: frozenset[str], now: datetime
) -> PollState:
    """The poll cache after an outcome. A failure keeps all that a next conditional request needs."""
    failures = before.failures + 1 if isinstance(outcome, Failed | Gone) else 0
    not_before = outcome.not_before if isinstance(outcome, Failed) else None
    offline = isinstance(outcome, Failed) and outcome.offline
    longest = LONGEST_PAUSE_OFFLINE if offline else LONGEST_PAUSE
    due = next_poll(feed.id, timedelta(seconds=feed.interval_seconds), failures, now, not_before, longest)
    state = replace(before, url=feed.url, polled_at=now, next_due=due, failures=failures)
    match outcome:
        case Changed():
            return replace(
                state,
                etag=outcome.etag,
                last_modified=outcome.last_modified,
                body_sha256=outcome.body_sha256,
                window=window,
                succeeded_at=now,
            )
        case Unchanged():
            return replace(state, etag=outcome.etag, last_modified=outcome.last_modified, succeeded_at=now)
        case _:
            return state
