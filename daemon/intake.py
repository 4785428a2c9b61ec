"""What came in made true: events, projections and the feed's line of the poll cache, in one transaction."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from daemon import knowledge
from daemon.databases import Connection
from daemon.decisions import (
    LONGEST_PAUSE,
    LONGEST_PAUSE_OFFLINE,
    MOVED_BACK_AFTER,
    AfterChange,
    KnownFeed,
    KnownItem,
    after_change,
    after_failure,
    after_gone,
    after_moved,
    after_too_many,
    after_unchanged,
    moved,
    next_move,
    next_poll,
    next_turn,
)
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.events import ClaimMatched, FeedFailed, ItemRevised, ItemSeen, NewEvent, Recorded
from daemon.items import Feed
from daemon.knowledge import PollState
from daemon.outcomes import HELD_BACK, LONGEST_HOST_PAUSE, Changed, Failed, Gone, Outcome, Unchanged
from daemon.pacing import Bounds, Seen, interval, not_skipped, rate_after
from daemon.projections import record
from daemon.rules import FeedRule
from daemon.watch import Watch

logger = logging.getLogger(__name__)

MOST_DETAIL_CHARACTERS = 400
MOST_TRIES = 10
"""How often a decision is made again when somebody else was first; more than that is no race."""


@dataclass(frozen=True)
class Polled:
    """What one poll of one feed came to: its outcome, and how much was recorded.

    A feed that is gone is due no more. `recorded` are the events themselves. Whoever is told of a poll sees them; a
    round that is over holds them no more, because they hold the text of every item.
    """

    feed: str
    outcome: Outcome
    next_due: datetime | None
    events: int = 0
    new_items: int = 0
    revised_items: int = 0
    matched_claims: tuple[str, ...] = ()
    recorded: Sequence[Recorded] = ()

    @classmethod
    def of(cls, feed: str, outcome: Outcome, next_due: datetime | None, recorded: Sequence[Recorded]) -> Polled:
        """What was recorded, counted."""
        kinds = Counter(one.event.kind for one in recorded)
        claims = tuple(one.event.claim for one in recorded if one.event.kind == ClaimMatched.kind)
        counts = (len(recorded), kinds[ItemSeen.kind], kinds[ItemRevised.kind])
        return cls(feed, outcome, next_due, *counts, claims, recorded)


def take_in_safely(watch: Watch, feed: FeedRule, outcome: Outcome, document: Feed | None) -> Polled:
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
            before = knowledge.poll_state(connection, feed)
            known = knowledge.known_feed(connection, feed.id, before)
            known_items = knowledge.known_items(connection, feed.id, items)
        if isinstance(outcome, Changed):
            decision = after_change(known, items, known_items, watch.matcher, now)
        else:
            decision = AfterChange(_events_without_document(known, outcome), known.window)
        state = _next_state(before, feed, outcome, document, decision.window, now)
        url, moves = _moves(known, decision.events, before, state, outcome, address_to_ask(before, feed))
        state = replace(state, url=url, move=None if moves else state.move)
        try:
            with watch.log.transaction(now) as transaction:
                _bear_on_the_same(transaction.connection, decision.events, known_items)
                events = [*decision.events, *moves]
                if knowledge.replaced(transaction.connection, feed.id, feed.url):
                    # How an old address does says nothing of the new one; its items are the feed's all the same.
                    events = [one for one in events if one.stream != f"feed/{feed.id}"]
                recorded = record(transaction, events)
                knowledge.keep_poll_state(transaction.connection, state, feed.url)
        except StreamConflict as conflict:
            logger.info("action=decide_again feed=%s: %s", feed.id, conflict)
            continue
        return Polled.of(feed.id, outcome, state.next_due, recorded)
    raise ClaimwatchError(
        f"what the log holds of the feed {feed.id} does not fit its tables",
        hint="Run `claimwatch rebuild`, then `claimwatch verify`.",
    )


def _bear_on_the_same(connection: Connection, decided: Iterable[NewEvent], known: Iterable[KnownItem]) -> None:
    """Raises StreamConflict where a backfill has matched an item meanwhile whose new text was decided on.

    It writes to claims alone, so that the item's version does not tell.
    """
    streams = {one.stream for one in decided}
    before = {item.id: item.claims for item in known if f"item/{item.id}" in streams}
    now = knowledge.standing_claims(connection, before)
    if others := sorted(item for item, claims in before.items() if now[item] != claims):
        raise StreamConflict(f"what the item {others[0]} bears on was written anew meanwhile")


def address_to_ask(state: PollState, feed: FeedRule) -> str:
    """Where a feed is asked: where it moved to; but where that fails on and on, where feeds.yaml has it, and so by
    turns: after a move the old address may well be no more when the new one comes back."""
    return feed.url if state.failures // MOVED_BACK_AFTER % 2 else state.url


def _moves(
    known: KnownFeed,
    decided: Sequence[NewEvent],
    before: PollState,
    state: PollState,
    outcome: Outcome,
    asked_url: str,
) -> tuple[str, list[NewEvent]]:
    """The address that a feed is asked at from here on, and the event where that is another one."""
    assert state.polled_at is not None
    if not isinstance(outcome, Changed | Unchanged):
        return before.url, []
    if asked_url != before.url:
        # The old address still sends everybody on, or it has the feed again.
        back = outcome.answered.moved_to != before.url
        return (asked_url, [moved(known, decided, before.url, asked_url)]) if back else (before.url, [])
    event = after_moved(known, decided, before.url, state.move, state.polled_at)
    return (state.move.to_url, [event]) if event and state.move else (before.url, [])


def _events_without_document(known: KnownFeed, outcome: Unchanged | Gone | Failed) -> tuple[NewEvent, ...]:
    match outcome:
        case Unchanged():
            stream = f"feed/{known.id}"
            return tuple(NewEvent(stream, event, known.version) for event in after_unchanged(known))
        case Gone(url):
            return after_gone(known, url)
        case Failed(reason) if reason == HELD_BACK:
            # Of the feed itself, it says nothing.
            return ()
        case Failed(reason, detail, hint):
            # Part of it may be a server's own words, which are as long as it likes.
            detail = " ".join(detail.split())[:MOST_DETAIL_CHARACTERS]
            return after_failure(known, FeedFailed(reason, detail, hint, outcome.document_sha256))


def _next_state(
    before: PollState, feed: FeedRule, outcome: Outcome, document: Feed | None, window: frozenset[str], now: datetime
) -> PollState:
    """The poll cache after an outcome."""
    bounds = Bounds(timedelta(seconds=feed.interval_seconds), timedelta(seconds=feed.longest_seconds))
    if isinstance(outcome, Failed) and not outcome.asked:
        usual = bounds.within(before.interval or bounds.shortest)
        due = next_turn(usual, outcome.pause or timedelta(0), before.next_due, before.succeeded_at, now)
        return replace(before, polled_at=now, next_due=due)
    before = replace(before, polled_at=now, paused_host=None, paused_until=None)
    if not isinstance(outcome, Changed | Unchanged):
        return _after_trouble(before, bounds, outcome, now, moved=before.url != feed.url)
    state = replace(
        before,
        etag=outcome.etag,
        last_modified=outcome.last_modified,
        validated_url=outcome.answered.url or before.url,
        body_sha256=outcome.body_sha256 if isinstance(outcome, Changed) else before.body_sha256,
        window=window,
        succeeded_at=now,
        failures=0,
        move=next_move(before.move, outcome.answered.moved_to, now),
        asks=document.asks if document else before.asks,
    )
    seen = Seen.between(before.window, window, now - before.succeeded_at if before.succeeded_at else None)
    rate = rate_after(before.items_an_hour, seen)
    pause = interval(bounds, rate, seen, state.asks, outcome.answered.fresh)
    due = not_skipped(next_poll(feed.id, pause, 0, now), state.asks, now + bounds.longest)
    return replace(state, items_an_hour=rate, interval=pause, next_due=due)


def _after_trouble(
    before: PollState, bounds: Bounds, failure: Failed | Gone, now: datetime, *, moved: bool
) -> PollState:
    """It keeps all that a next conditional request needs, and how fast the feed was."""
    failures = before.failures + 1
    if isinstance(failure, Gone):
        return replace(before, next_due=None, failures=failures)
    # From now on, and not from when the question was put: it may have waited long for its host's turn.
    not_before = now + failure.pause if failure.pause else None
    longest = LONGEST_PAUSE_OFFLINE if failure.offline else LONGEST_PAUSE
    pause = bounds.within(before.interval or bounds.shortest)
    if failure.pause and failure.of_pace_alone and not moved:
        # How long is for the host to say. Where the feed has moved, its old address may be asked more often.
        due, failures = after_too_many(before.feed, bounds.shortest, failure.pause, now), before.failures
    else:
        due = next_poll(before.feed, pause, failures, now, not_before, longest)
    state = replace(before, next_due=due, failures=failures)
    if failure.pausing_host and failure.pause:
        until = now + min(failure.pause, LONGEST_HOST_PAUSE)
        return replace(state, paused_host=failure.pausing_host, paused_until=until)
    return state
