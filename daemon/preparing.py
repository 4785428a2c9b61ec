"""Digests prepared: what is due is fixed, message and all, before anything is sent.

due ─untold matches→ compose ─render→ message ─append→ digest_prepared
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from daemon import queries
from daemon.cancelling import cancel_outdated
from daemon.covering import coverage, longest_silence
from daemon.databases import Connection
from daemon.digests import MatchToTell, compose, digest_id, message_id
from daemon.duetimes import (
    STILL_WATCHING_DAYS,
    alert_due,
    due_times,
    is_last_of_day,
    next_alert,
    next_due,
    quiet_until,
    says_still_watching,
)
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.eventlog import any_after, head_of
from daemon.events import (
    ClaimMatched,
    DeliveryCancelled,
    DeliveryRefused,
    DigestPrepared,
    DigestSkipped,
    Event,
    MatchLapsed,
    MatchReviewed,
    NewEvent,
    Recorded,
    RulesChanged,
)
from daemon.headers import SENDER_NAME
from daemon.hindsight import found_by_day, revised_since
from daemon.mailing import Carrier
from daemon.notices import Operator
from daemon.projections import record
from daemon.queries import Subscription
from daemon.recipients import cancelled_for, last_told, told_since
from daemon.rendering import Rendered, pack, render, to_message
from daemon.rules import DigestRule
from daemon.service import Watch
from daemon.views import DigestView

logger = logging.getLogger(__name__)

_MAKES_UNTOLD = tuple(
    event.kind for event in (ClaimMatched, MatchReviewed, MatchLapsed, RulesChanged, DeliveryRefused, DeliveryCancelled)
)
"""After events of other kinds, what is untold is what was untold before."""


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


def next_due_time(watch: Watch) -> datetime | None:
    """When the next digest is due for anybody, as far as is known now; None when none is."""
    now = watch.clock.now()
    moments = []
    with watch.log.reading() as connection:
        for rule, one in _live_subscriptions(connection, watch):
            if not rule.every_seconds:
                due = next_due(rule, one.answered)
            elif came := _untold_since(connection, watch, rule, one):
                due = next_alert(rule, one.answered, came, _told_lately(connection, rule, one, now))
            else:
                continue
            moments.append(quiet_until(rule, max(due, now)) or due)
    return min(moments, default=None)


def prepare_due(watch: Watch, post: Post) -> list[Recorded]:
    """Prepares (or skips) every digest whose time has come; after downtime one digest answers all missed due times.

    What waits and is not to be sent any more is cancelled first: so what is left of it is prepared anew. Where one
    can't be prepared, its error is raised once all others are.
    """
    now = watch.clock.now()
    cancel_outdated(watch)
    with watch.log.reading() as connection:
        due = [
            (rule, one, dues)
            for rule, one in _live_subscriptions(connection, watch)
            if (dues := _due(connection, watch, rule, one, now))
        ]
    prepared: list[Recorded] = []
    failed: Exception | None = None
    for rule, one, dues in due:
        try:
            prepared += _prepare(watch, post, rule, one, dues[-1], dues[:-1])
        except Exception as error:  # noqa: BLE001 - a shipped template, a damaged event: whatever it is
            # What one digest fails on holds up no other; it is told at the end, and tried again.
            logger.error("action=digest_failed digest=%s recipient=%s: %s", rule.name, one.recipient, error)
            failed = failed or error
    if failed:
        raise failed
    return prepared


def prepare_now(watch: Watch, post: Post, name: str) -> list[Recorded]:
    """Prepares one digest for all its recipients now, whatever its calendar says; those who rest get none."""
    rule = digest_rule(watch, name)
    now = watch.clock.now().replace(microsecond=0)
    with watch.log.reading() as connection:
        subscriptions = [one for one in queries.subscriptions(connection) if one.digest == name and not one.resting]
    return [recorded for one in subscriptions for recorded in _prepare(watch, post, rule, one, now, ())]


def preview(watch: Watch, post: Post, name: str) -> tuple[DigestView, Rendered]:
    """What a digest would say to its first recipient if it were due now. Stores nothing."""
    rule = digest_rule(watch, name)
    now = watch.clock.now().replace(microsecond=0)
    with watch.log.reading() as connection:
        standing = (one for one in queries.subscriptions(connection) if one.digest == name)
        one = next(standing, Subscription(name, rule.recipients[0], 0, now, None))
        view = _compose(connection, watch, rule, one, now, (), _untold(connection, watch, rule, one), now)
    return view, _render(view, post)


def resend(watch: Watch, post: Post, name: str, recipient: str, since: datetime | None) -> list[Recorded]:
    """Prepares a digest of all matches since a moment for one recipient, told before or not; it says so itself."""
    rule = digest_rule(watch, name)
    now = watch.clock.now()
    with watch.log.transaction(now) as transaction:
        matches = queries.matches_since(transaction.connection, watch.rules.claims_of(rule), since)
        begin = since or min((match.first_seen for match in matches), default=now)
        one = Subscription(name, recipient, 0, begin, None)
        view = _compose(transaction.connection, watch, rule, one, now, (), matches, now, resent=True)
        event = _prepared(view, post, recipient, now)
        return record(transaction, [NewEvent(f"digest/{view.id}", event, 0)])


def digest_rule(watch: Watch, name: str) -> DigestRule:
    """The digest of that name. Raises ClaimwatchError when there is none."""
    for digest in watch.rules.digests:
        if digest.name == name:
            return digest
    names = ", ".join(digest.name for digest in watch.rules.digests) or "none"
    raise ClaimwatchError(f"there is no digest {name!r}", hint=f"feeds.yaml has: {names}")


def _live_subscriptions(connection: Connection, watch: Watch) -> Iterator[tuple[DigestRule, Subscription]]:
    """Who is to get which digest: neither of the two rests."""
    rules = {digest.name: digest for digest in watch.rules.live_digests}
    for one in queries.subscriptions(connection):
        if one.digest in rules and not one.resting:
            yield rules[one.digest], one


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
    due = alert_due(rule, one.answered, came, _told_lately(connection, rule, one, now), now)
    return (due,) if due else ()


def _told_lately(connection: Connection, rule: DigestRule, one: Subscription, now: datetime) -> list[datetime]:
    """The due times of the alerts that count for the limit of a day, in whatever zone."""
    return told_since(connection, rule.name, one.recipient, now - timedelta(days=2)) if rule.at_most else []


def _prepare(
    watch: Watch, post: Post, rule: DigestRule, one: Subscription, due: datetime, missed: Sequence[datetime]
) -> list[Recorded]:
    now = watch.clock.now()
    # Read and decided inside the writer's turn: what the digest holds is exactly what the log held before it.
    with watch.log.transaction(now) as transaction:
        connection = transaction.connection
        matches = _untold(connection, watch, rule, one)
        if not matches and rule.every_seconds:
            return []
        view = _compose(connection, watch, rule, one, due, missed, matches, now)
        event: Event
        if view.empty and rule.when_empty == "skip" and not view.still_watching:
            covered = coverage(connection, one.answered, now, longest_silence(watch.rules))
            event = DigestSkipped(rule.name, one.recipient, due, tuple(missed), covered)
        else:
            event = _prepared(view, post, one.recipient, now)
        try:
            return record(transaction, [NewEvent(f"digest/{view.id}", event, 0)])
        except StreamConflict:
            logger.info("action=digest_exists digest=%s", view.id)
            return []


def _untold(connection: Connection, watch: Watch, rule: DigestRule, one: Subscription) -> list[MatchToTell]:
    claims, only_news = watch.rules.claims_of(rule), rule.every_seconds is not None
    return queries.untold_matches(connection, rule.name, one.recipient, claims, one.since_position, only_news=only_news)


def _untold_since(connection: Connection, watch: Watch, rule: DigestRule, one: Subscription) -> datetime | None:
    told = last_told(connection, rule.name, one.recipient, one.since_position)
    if told and not any_after(connection, told.position, _MAKES_UNTOLD):
        # That one left nothing untold. It is asked at every tick, and looking at 100,000 told matches takes 0.4 s.
        return None
    claims, only_news = watch.rules.claims_of(rule), rule.every_seconds is not None
    return queries.untold_since(connection, rule.name, one.recipient, claims, one.since_position, only_news=only_news)


def _compose(
    connection: Connection,
    watch: Watch,
    rule: DigestRule,
    one: Subscription,
    due: datetime,
    missed: Sequence[datetime],
    matches: Sequence[MatchToTell],
    now: datetime,
    *,
    resent: bool = False,
) -> DigestView:
    head = head_of(connection)
    claims, zone = watch.rules.claims_of(rule), ZoneInfo(rule.timezone)
    # Since they were last told: what befell the watch on days that were skipped is told as well.
    told = None if resent else last_told(connection, rule.name, one.recipient, one.since_position)
    cancelled = cancelled_for(connection, rule.name, one.recipient, due)
    view = compose(
        watch.rules,
        rule,
        id=digest_id(rule.name, one.recipient, due, resent=resent, cancelled=cancelled),
        due=due,
        missed=missed,
        matches=matches,
        coverage=coverage(connection, told.at if told else one.since, now, longest_silence(watch.rules)),
        log_position=head.position,
        head=head.chain,
        resent=resent,
        revisions=() if resent else revised_since(connection, rule.name, one.recipient, claims, matches),
        counts=found_by_day(connection, claims, due.astimezone(zone).date(), zone),
        last_due=told.due if told else None,
    )
    if resent:
        return view
    still_watching = (
        view.empty and rule.when_empty == "skip" and says_still_watching(rule, told.due if told else one.since, due)
    )
    notes = tuple(_notes(rule, due, _told_lately(connection, rule, one, now), still_watching))
    return replace(view, still_watching=still_watching, notes=notes)


def _notes(rule: DigestRule, due: datetime, told: Sequence[datetime], still_watching: bool) -> Iterator[str]:
    if still_watching:
        days = STILL_WATCHING_DAYS
        yield f"Nothing was new for {days} days; this only says that the watch goes on, and what it covered."
    if is_last_of_day(rule, due, told):
        yield f"No further alert comes today (at_most: {rule.at_most}/day); what comes in waits for tomorrow's first."


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
