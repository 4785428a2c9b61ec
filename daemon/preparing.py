"""Digests prepared: what is due is fixed, message and all, before anything is sent.

due ─compose+render→ message ─nothing overtook it→ digest_prepared

A digest is made of one state of the log while others go on writing: of ten thousand matches that takes seconds. In the
writer's turn it is only asked whether it still holds; where it does not, it is made anew.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, TypeAlias

from daemon import queries
from daemon.cancelling import cancel_outdated
from daemon.databases import Connection
from daemon.drafting import Desk, Due, told_lately, untold_of
from daemon.duetimes import alert_due, due_times, next_alert, next_due, quiet_until
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.eventlog import any_after, streams_after
from daemon.events import (
    ClaimMatched,
    DeliveryCancelled,
    DeliveryRefused,
    DigestPrepared,
    DigestSkipped,
    Event,
    ItemRedacted,
    MatchLapsed,
    MatchReviewed,
    NewEvent,
    Recorded,
    RulesChanged,
)
from daemon.headers import SENDER_NAME
from daemon.intake import MOST_TRIES
from daemon.mailing import Carrier
from daemon.notices import Operator
from daemon.projections import record
from daemon.queries import Subscription
from daemon.recipients import answered_by, last_told
from daemon.rendering import Rendered, pack, render, to_message
from daemon.rules import DigestRule
from daemon.service import Watch
from daemon.tellable import message_id

if TYPE_CHECKING:
    from daemon.views import DigestView

logger = logging.getLogger(__name__)

_MAKES_UNTOLD = tuple(
    event.kind for event in (ClaimMatched, MatchReviewed, MatchLapsed, RulesChanged, DeliveryRefused, DeliveryCancelled)
)
"""After events of other kinds, what is untold is what was untold before."""
_OVERTAKES = tuple(
    event.kind
    for event in (RulesChanged, ItemRedacted, DigestPrepared, DigestSkipped, DeliveryRefused, DeliveryCancelled)
)
"""After these a digest may be wrong: for whoever is not to get it, with a text that was taken out, or told twice. What
else is appended meanwhile it does not know of, and the next one tells it."""


@dataclass(frozen=True)
class Post:
    """How digests look and leave: templates, the sender's address, and whose each recipient id is."""

    templates: Mapping[str, str]
    shipped_templates: Mapping[str, str]
    sender: str
    domain: str
    addresses: Mapping[str, str]
    carrier: Carrier
    operator: Operator | None = None
    sender_name: str = SENDER_NAME
    unsubscribe: str = ""

    def message(self, rendered: Rendered, *, name: str, message_id: str, now: datetime) -> bytes:
        """The message that goes out under the name of a digest, or of notices."""
        return to_message(
            rendered,
            sender=self.sender,
            name=name,
            message_id=message_id,
            now=now,
            sender_name=self.sender_name,
            unsubscribe=self.unsubscribe,
        )


Find: TypeAlias = Callable[[Connection, Watch, datetime], Iterable[Due]]
"""Which digests are wanted at a moment."""


def next_due_time(watch: Watch) -> datetime | None:
    """When the next digest is due for anybody, as far as is known now; None when none is."""
    now = watch.clock.now()
    moments = []
    with watch.log.reading() as connection:
        for rule, one in _live_subscriptions(connection, watch, now):
            if not rule.every_seconds:
                due = next_due(rule, one.answered)
            elif came := _untold_since(connection, watch, rule, one):
                due = next_alert(rule, one.answered, came, told_lately(connection, rule, one, now))
            else:
                continue
            moments.append(quiet_until(rule, max(due, now)) or due)
    return min(moments, default=None)


def prepare_due(watch: Watch, post: Post) -> list[Recorded]:
    """Prepares (or skips) every digest whose time has come; after downtime one digest answers all missed due times.

    What waits and is not to be sent any more is cancelled first: so what is left of it is prepared anew. Where one
    can't be prepared, its error is raised once all others are.
    """
    cancel_outdated(watch)
    return _prepare(watch, post, _now_due)


def prepare_now(watch: Watch, post: Post, name: str) -> list[Recorded]:
    """Prepares one digest for all its recipients now, whatever its calendar says; those who rest get none.

    Raises ClaimwatchError for one that is switched off.
    """
    if not digest_rule(watch, name).enabled:
        raise ClaimwatchError(
            f"the digest {name} is switched off",
            hint="Take `enabled: false` out of feeds.yaml; `claimwatch digest preview` shows what it would say.",
        )

    def now_wanted(connection: Connection, watch: Watch, now: datetime) -> Iterator[Due]:
        rule = digest_rule(watch, name)
        for one in _subscriptions(connection, now):
            if one.digest == name and not one.resting:
                yield Due(rule, one, now.replace(microsecond=0))

    return _prepare(watch, post, now_wanted)


def preview(watch: Watch, post: Post, name: str) -> tuple[DigestView, Rendered]:
    """What a digest would say to its first recipient if it were due now. Stores nothing."""
    rule = digest_rule(watch, name)
    now = watch.clock.now()
    with watch.log.reading() as connection:
        standing = (one for one in _subscriptions(connection, now) if one.digest == name)
        one = next(standing, Subscription(name, rule.recipients[0], 0, now.replace(microsecond=0), None))
        desk, due = Desk(connection, watch.rules, now), Due(rule, one, now.replace(microsecond=0))
        view = desk.compose(due, desk.matches(due))
    return view, _render(view, post)


def resend(watch: Watch, post: Post, name: str, recipient: str, since: datetime | None) -> list[Recorded]:
    """Prepares a digest of all matches since a moment for one recipient, told before or not; it says so itself."""
    rule = digest_rule(watch, name)

    def again(_connection: Connection, _watch: Watch, now: datetime) -> Iterator[Due]:
        one = Subscription(name, recipient, 0, since or now, None)
        yield Due(rule, one, now.replace(microsecond=0), again=True, since=since)

    return _prepare(watch, post, again)


def digest_rule(watch: Watch, name: str) -> DigestRule:
    """The digest of that name. Raises ClaimwatchError when there is none."""
    for digest in watch.rules.digests:
        if digest.name == name:
            return digest
    names = ", ".join(digest.name for digest in watch.rules.digests) or "none"
    raise ClaimwatchError(f"there is no digest {name!r}", hint=f"feeds.yaml has: {names}")


def _live_subscriptions(
    connection: Connection, watch: Watch, now: datetime
) -> Iterator[tuple[DigestRule, Subscription]]:
    """Who is to get which digest: neither of the two rests."""
    rules = {digest.name: digest for digest in watch.rules.live_digests}
    for one in _subscriptions(connection, now):
        if one.digest in rules and not one.resting:
            yield rules[one.digest], one


def _subscriptions(connection: Connection, now: datetime) -> Iterator[Subscription]:
    """Who gets what. Where a clock that stood ahead answered due times that are still to come, those are open again."""
    for one in queries.subscriptions(connection):
        if one.answered <= now:
            yield one
            continue
        # Without any moment that is over, the due times of the last day are open: the first of them sets it right.
        begin = one.since if one.since <= now else now - timedelta(days=1)
        last = answered_by(connection, one.digest, one.recipient, now) or begin
        yield replace(one, last_due=max(last, begin))


def _now_due(connection: Connection, watch: Watch, now: datetime) -> Iterator[Due]:
    for rule, one in _live_subscriptions(connection, watch, now):
        if dues := _due(connection, watch, rule, one, now):
            yield Due(rule, one, dues[-1], dues[:-1])


def _due(
    connection: Connection, watch: Watch, rule: DigestRule, one: Subscription, now: datetime
) -> tuple[datetime, ...]:
    """The due times that a digest prepared now would answer; none in quiet hours."""
    if quiet_until(rule, now):
        return ()
    if not rule.every_seconds:
        return due_times(rule, one.answered, now)
    # Not before the next step: until then there is no need to ask what is untold.
    if next_due(rule, one.answered) > now or not (came := _untold_since(connection, watch, rule, one)):
        return ()
    due = alert_due(rule, one.answered, came, told_lately(connection, rule, one, now), now)
    return (due,) if due else ()


def _untold_since(connection: Connection, watch: Watch, rule: DigestRule, one: Subscription) -> datetime | None:
    told = last_told(connection, rule.name, one.recipient, one.since_position)
    if told and not any_after(connection, told.position, _MAKES_UNTOLD):
        # That one left nothing untold. It is asked at every tick, and looking at 100,000 told matches takes 0.4 s.
        return None
    return queries.untold_since(connection, untold_of(rule, one, watch.rules))


def _prepare(watch: Watch, post: Post, find: Find) -> list[Recorded]:
    """Prepares what is wanted, and what was overtaken once more."""
    prepared: list[Recorded] = []
    failed: Exception | None = None
    settled: set[tuple[str, str]] = set()
    for _ in range(MOST_TRIES):
        overtaken = False
        now = watch.clock.now()
        with watch.log.reading() as connection:
            wanted = [due for due in find(connection, watch, now) if (due.rule.name, due.to.recipient) not in settled]
            for _name, dues in groupby(wanted, key=lambda due: due.rule.name):
                desk = Desk(connection, watch.rules, now)
                for due in dues:
                    try:
                        recorded = _prepare_one(watch, post, desk, due)
                    except Exception as error:  # noqa: BLE001 - a shipped template, a damaged event: whatever it is
                        # What one digest fails on holds up no other; it is told at the end, and tried again.
                        logger.error(
                            "action=digest_failed digest=%s recipient=%s: %s", due.rule.name, due.to.recipient, error
                        )
                        failed, recorded = failed or error, []
                    if recorded is None:
                        overtaken = True
                        continue
                    prepared += recorded
                    settled.add((due.rule.name, due.to.recipient))
        if not overtaken:
            break
    if failed:
        raise failed
    return prepared


def _prepare_one(watch: Watch, post: Post, desk: Desk, due: Due) -> list[Recorded] | None:
    """What was recorded of one digest; None where it was overtaken."""
    matches = desk.matches(due)
    if not matches and due.rule.every_seconds and not due.again:
        return []
    view = desk.compose(due, matches)
    event: Event
    if view.empty and due.rule.when_empty == "skip" and not view.still_watching and not due.again:
        covered = desk.coverage(due.to.answered)
        event = DigestSkipped(view.name, due.to.recipient, due.due, due.missed, covered)
    else:
        event = _prepared(view, post, due.to.recipient, desk.now)
    with watch.log.transaction(desk.now) as transaction:
        if _is_overtaken(transaction.connection, desk.head.position, f"digest/{view.name}/{due.to.recipient}/"):
            return None
        try:
            return record(transaction, [NewEvent(f"digest/{view.id}", event, 0)])
        except StreamConflict:
            logger.info("action=digest_exists digest=%s", view.id)
            return []


def _is_overtaken(connection: Connection, position: int, theirs: str) -> bool:
    """Whether anything after a position speaks against a digest that knew the log up to there."""
    streams = streams_after(connection, position, _OVERTAKES)
    return any(not stream.startswith("digest/") or stream.startswith(theirs) for stream in streams)


def _prepared(view: DigestView, post: Post, recipient: str, now: datetime) -> DigestPrepared:
    identity = message_id(view.id, view.head, post.domain)
    rendered = _render(view, post)
    message = post.message(rendered, name=view.name, message_id=identity, now=now)
    return DigestPrepared(
        name=view.name,
        recipient=recipient,
        due=view.due,
        missed=view.missed,
        matches=view.matches,
        coverage=view.coverage,
        log_position=view.log_position,
        head=view.head,
        message_id=identity,
        subject=rendered.subject,
        message=pack(message),
        resent=view.resent,
        template_faults=tuple(map(str, rendered.faults)),
    )


def _render(view: DigestView, post: Post) -> Rendered:
    """By the user's templates, or by the shipped one where one fails: a slip in a template must not cost a digest."""
    rendered = render(view, post.templates, post.shipped_templates)
    for fault in rendered.faults:
        logger.error("action=template_failed %s; the shipped template is used instead", fault)
    return rendered
