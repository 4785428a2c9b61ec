"""Digests prepared: what is due is fixed, message and all, before anything is sent.

due ─untold matches→ compose ─render→ message ─append→ digest_prepared
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from daemon import queries
from daemon.coverage import Coverage, FeedTrouble
from daemon.databases import Connection
from daemon.digests import MatchToTell, compose, digest_id, message_id
from daemon.duetimes import due_times, next_due
from daemon.errors import ClaimwatchError, StreamConflict
from daemon.eventlog import head_of
from daemon.events import (
    DigestPrepared,
    DigestSkipped,
    Event,
    NewEvent,
    Recorded,
)
from daemon.hindsight import found_by_day, revised_since
from daemon.mailing import Carrier
from daemon.projections import record
from daemon.queries import FeedHealth, Subscription
from daemon.rendering import Rendered, pack, render, to_message
from daemon.rules import DigestRule
from daemon.service import Watch
from daemon.views import DigestView

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Post:
    """How digests look and leave: templates, the sender's address, and whose each recipient id is."""

    templates: Mapping[str, str]
    shipped_templates: Mapping[str, str]
    sender: str
    domain: str
    addresses: Mapping[str, str]
    carrier: Carrier


def next_due_time(watch: Watch) -> datetime | None:
    """When the next digest is due for anybody; None when there is no digest."""
    rules = {digest.name: digest for digest in watch.rules.live_digests}
    with watch.log.reading() as connection:
        subscriptions = queries.subscriptions(connection)
    return min(
        (next_due(rules[one.digest], one.last_due or one.since) for one in subscriptions if one.digest in rules),
        default=None,
    )


def prepare_due(watch: Watch, post: Post) -> list[Recorded]:
    """Prepares (or skips) every digest whose time has come; after downtime one digest answers all missed due times."""
    now = watch.clock.now()
    rules = {digest.name: digest for digest in watch.rules.live_digests}
    with watch.log.reading() as connection:
        subscriptions = queries.subscriptions(connection)
    recorded: list[Recorded] = []
    for one in subscriptions:
        if one.digest not in rules:
            continue
        if dues := due_times(rules[one.digest], one.last_due or one.since, now):
            recorded += _prepare(watch, post, rules[one.digest], one, dues[-1], dues[:-1])
    return recorded


def prepare_now(watch: Watch, post: Post, name: str) -> list[Recorded]:
    """Prepares one digest for all its recipients now, whatever its calendar says."""
    rule = digest_rule(watch, name)
    now = watch.clock.now().replace(microsecond=0)
    with watch.log.reading() as connection:
        subscriptions = [one for one in queries.subscriptions(connection) if one.digest == name]
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
        matches = queries.matches_since(transaction.connection, _claims(watch, rule), since)
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


def _prepare(
    watch: Watch, post: Post, rule: DigestRule, one: Subscription, due: datetime, missed: Sequence[datetime]
) -> list[Recorded]:
    now = watch.clock.now()
    # Read and decided inside the writer's turn: what the digest holds is exactly what the log held before it.
    with watch.log.transaction(now) as transaction:
        matches = _untold(transaction.connection, watch, rule, one)
        view = _compose(transaction.connection, watch, rule, one, due, missed, matches, now)
        event: Event
        if view.empty and rule.when_empty == "skip":
            event = DigestSkipped(rule.name, one.recipient, due, tuple(missed), view.coverage)
        else:
            event = _prepared(view, post, one.recipient, now)
        try:
            return record(transaction, [NewEvent(f"digest/{view.id}", event, 0)])
        except StreamConflict:
            logger.info("action=digest_exists digest=%s", view.id)
            return []


def _untold(connection: Connection, watch: Watch, rule: DigestRule, one: Subscription) -> list[MatchToTell]:
    claims = _claims(watch, rule)
    return queries.untold_matches(connection, rule.name, one.recipient, claims, one.since_position)


def _claims(watch: Watch, rule: DigestRule) -> list[str]:
    return [claim.id for claim in watch.rules.watched_claims if not rule.claims or claim.id in rule.claims]


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
    claims, zone = _claims(watch, rule), ZoneInfo(rule.timezone)
    return compose(
        watch.rules,
        rule,
        id=digest_id(rule.name, one.recipient, due, resent=resent),
        due=due,
        missed=missed,
        matches=matches,
        coverage=coverage(connection, one.last_due or one.since, now, _longest_silence(watch)),
        log_position=head.position,
        head=head.chain,
        resent=resent,
        revisions=() if resent else revised_since(connection, rule.name, one.recipient, claims, matches),
        counts=found_by_day(connection, claims, due.astimezone(zone).date(), zone),
    )


def _prepared(view: DigestView, post: Post, recipient: str, now: datetime) -> DigestPrepared:
    identity = message_id(view.id, view.head, post.domain)
    rendered = _render(view, post)
    message = to_message(rendered, sender=post.sender, name=view.name, message_id=identity, now=now)
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


def _longest_silence(watch: Watch) -> timedelta:
    """How long a watch that is awake may go without a poll."""
    longest = max((feed.interval_seconds for feed in watch.rules.polled_feeds), default=0)
    return max(timedelta(hours=1), 2 * timedelta(seconds=longest))


def coverage(connection: Connection, since: datetime, until: datetime, silence: timedelta) -> Coverage:
    """What was really watched between two moments, as far as the log and the poll cache tell.

    A watch without a poll for longer than `silence` was not awake, whether or not it said so.
    """
    feeds = queries.feed_health(connection)
    troubles = [trouble for feed in feeds if (trouble := _trouble(feed)) is not None]
    return Coverage(
        since=since,
        until=until,
        feeds=len(feeds),
        feeds_read=len(feeds) - len(troubles),
        troubles=tuple(troubles),
        recovered=queries.recovered_since(connection, since),
        asleep=queries.asleep_since(connection, since, until, silence),
        gaps=queries.gaps_since(connection, since),
    )


def _trouble(feed: FeedHealth) -> FeedTrouble | None:
    if feed.state == "failing":
        return FeedTrouble(
            feed.id,
            "failing",
            feed.since,
            feed.detail if feed.reason in feed.detail else f"{feed.reason}: {feed.detail}",
            feed.hint,
        )
    if feed.state == "gone":
        return FeedTrouble(feed.id, "gone", feed.since, feed.detail, feed.hint)
    if feed.state == "new":
        return FeedTrouble(feed.id, "never polled", None, "not read yet", "It is polled when the watch runs.")
    return None
