"""What is wrong with the watch, as its tables tell: feeds, deliveries, templates, gaps; and what was told of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, func, select

from daemon.coverage import told_reason
from daemon.eventlog import event_at, read, version_of
from daemon.events import GapSuspected, Recorded
from daemon.moments import moment_or_none, parse_timestamp, timestamp
from daemon.notices import Key, Look, Mentioned, Trouble, online_since, with_offline
from daemon.recipients import resting_recipients
from daemon.tables import (
    DeliveryRow,
    DigestRow,
    FeedRow,
    NoticeRow,
    PollRow,
    SubscriptionRow,
    ToldTroubleRow,
    table_of,
)

_feed, _poll, _notice, _told = map(table_of, (FeedRow, PollRow, NoticeRow, ToldTroubleRow))
_digest, _delivery, _subscription = map(table_of, (DigestRow, DeliveryRow, SubscriptionRow))

WAITS_TOO_LONG = timedelta(days=1)
"""A message that is not taken for so long is told, also when others were taken meanwhile."""
GAPS_LOOKED_BACK = timedelta(days=7)
GAPS_TOO_MANY = 5
WHOSE = "`claimwatch status` says whose id that is."


def look(connection: Connection, intervals: Mapping[str, int], now: datetime) -> Look:
    """The troubles that there are, and since when those are over that somebody was told of.

    `intervals` are how many seconds lie between two polls of each feed, at least.
    """
    found = _feeds(connection, now).joined(_deliveries(connection, now))
    return found.joined(_templates(connection)).joined(_gaps(connection, intervals, now))


def _feeds(connection: Connection, now: datetime) -> Look:
    polled = _feed.c.enabled
    rows = connection.execute(select(_feed).where(polled, _feed.c.state.in_(("failing", "gone"))).order_by(_feed.c.id))
    failing: list[Trouble] = []
    others: list[Trouble] = []
    for row in rows.all():
        why = told_reason(row.reason, row.detail)
        gone = row.state == "gone"
        # One that failed before it was gone is not well again, nor is one that was gone and fails now.
        failed = Trouble("feed failing", row.id, parse_timestamp(row.since), why, row.hint, covered=gone)
        others.append(Trouble("feed gone", row.id, failed.since, why, row.hint, covered=not gone))
        (others if gone else failing).append(failed)
    feeds = connection.scalar(select(func.count()).select_from(_feed).where(polled)) or 0
    over: dict[Key, datetime] = {}
    if connection.scalar(_told_keys("offline")) is not None:
        recoveries = connection.scalars(select(_feed.c.since).where(polled, _feed.c.state == "ok"))
        if moment := online_since(len(failing), feeds, map(parse_timestamp, recoveries)):
            over["offline", ""] = moment
    for kind in _FEED_KINDS:
        others += _told_feeds(connection, kind, now, over)
    return Look((*with_offline(failing, feeds), *others), over)


_FEED_KINDS: tuple[Literal["feed failing", "feed gone"], ...] = ("feed failing", "feed gone")


def _told_feeds(
    connection: Connection, kind: Literal["feed failing", "feed gone"], now: datetime, over: dict[Key, datetime]
) -> Iterator[Trouble]:
    """Of the feeds that somebody was told of, those that have another address by now and were not read there yet.

    Notes since when the others are well in `over`.
    """
    poll = (_poll.c.feed == _feed.c.id) & (_poll.c.url == _feed.c.asked_url)
    query = select(_feed, _poll.c.succeeded_at).outerjoin(_poll, poll)
    for row in connection.execute(query.where(_feed.c.enabled, _feed.c.id.in_(_told_keys(kind)))).all():
        if row.state == "ok" or (row.state == "new" and row.succeeded_at):
            over[kind, row.id] = parse_timestamp(row.since or row.succeeded_at)
        elif row.state == "new":
            yield Trouble(kind, row.id, now, "", "", covered=True)


def _told_keys(kind: str) -> Select[Any]:
    return select(_told.c.about).where(_told.c.kind == kind, _told.c.state != "over")


# ── deliveries ───────────────────────────────────────────────────────────────────────────────────────────────────


def _deliveries(connection: Connection, now: datetime) -> Look:
    """By recipient: what was tried since they last got anything, and those who rest."""
    reached = _reached(connection)
    troubles: dict[Key, Trouble] = {}
    for row in _unreached(connection):
        first_try = parse_timestamp(row.first_attempt)
        since_then = row.recipient not in reached or row.position > reached[row.recipient][0]
        waits_long = row.state != "refused" and now - first_try >= WAITS_TOO_LONG
        if not (since_then or waits_long):
            continue
        key = ("delivery failing", row.recipient)
        since = min(first_try, troubles[key].since) if key in troubles else first_try
        hint = f"Tries go on for five days; what is refused comes with the next digest. {WHOSE}"
        troubles[key] = Trouble("delivery failing", row.recipient, since, row.answer, hint)
    for one in resting_recipients(connection):
        recipient, since, reason = one.recipient, one.since, one.answer
        hint = f"Mend the address in feeds.yaml, or take it out there. {WHOSE}"
        says = f"refused {one.refusals} times in a row, at last with: {reason}"
        troubles["recipient rests", recipient] = Trouble("recipient rests", recipient, since, says, hint)
        if failing := troubles.pop(("delivery failing", recipient), None):
            troubles[failing.key] = Trouble("delivery failing", recipient, failing.since, reason, hint, covered=True)
    over: dict[Key, datetime] = {}
    for recipient, (_, at) in reached.items():
        over["delivery failing", recipient] = over["recipient rests", recipient] = at
    return Look(tuple(troubles.values()), over)


def _reached(connection: Connection) -> dict[str, tuple[int, datetime]]:
    """The last digest that each recipient got: its position, and when."""
    query = (
        select(_digest.c.recipient, func.max(_digest.c.position), func.max(_delivery.c.finished_at))
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_delivery.c.state == "accepted")
        .group_by(_digest.c.recipient)
    )
    return {recipient: (position, parse_timestamp(at)) for recipient, position, at in connection.execute(query).all()}


def _unreached(connection: Connection) -> Sequence[Row[Any]]:
    """Every delivery that was tried and did not succeed, to whoever still stands in feeds.yaml; the oldest first."""
    query = (
        select(_digest.c.recipient, _digest.c.position, _delivery)
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_delivery.c.state.in_(("started", "uncertain", "deferred", "refused")))
        .where(_delivery.c.first_attempt.is_not(None))
        .where(_digest.c.recipient.in_(select(_subscription.c.recipient).where(_subscription.c.enabled)))
        .order_by(_digest.c.position)
    )
    return connection.execute(query).all()


def digests_of_recipients(connection: Connection) -> dict[str, list[str]]:
    """Which digests each recipient gets."""
    names: dict[str, list[str]] = {}
    for row in connection.execute(select(_subscription).order_by(_subscription.c.digest)):
        names.setdefault(row.recipient, []).append(row.digest)
    return names


# ── templates and gaps ───────────────────────────────────────────────────────────────────────────────────────────


def _templates(connection: Connection) -> Look:
    """The digests whose last message had to be made by the shipped templates."""
    live = _digest.c.name.in_(select(_subscription.c.digest).where(_subscription.c.enabled))
    sound = select(_digest.c.name, func.max(_digest.c.position), func.max(_digest.c.at)).where(
        live, ~_digest.c.skipped, _digest.c.template_error == ""
    )
    last_sound = {name: (position, at) for name, position, at in connection.execute(sound.group_by(_digest.c.name))}
    troubles: dict[str, Trouble] = {}
    failed = select(_digest).where(live, _digest.c.template_error != "").order_by(_digest.c.position)
    for row in connection.execute(failed).all():
        if row.name in last_sound and last_sound[row.name][0] > row.position:
            continue
        since = troubles[row.name].since if row.name in troubles else parse_timestamp(row.at)
        hint = "Nothing is lost: the shipped template stands in. Mend yours in alerts/, or take it away there."
        troubles[row.name] = Trouble("template failed", row.name, since, row.template_error, hint)
    over: dict[Key, datetime] = {("template failed", name): parse_timestamp(at) for name, (_, at) in last_sound.items()}
    return Look(tuple(troubles.values()), over)


def _gaps(connection: Connection, intervals: Mapping[str, int], now: datetime) -> Look:
    """The feeds that bring and drop items between two polls, though they were asked as often as they may be."""
    found: dict[str, list[datetime]] = {}
    for recorded in read(connection, kinds=(GapSuspected.kind,), since=now - GAPS_LOOKED_BACK):
        event, interval = recorded.event, intervals.get(recorded.id)
        # After a downtime or a failure a gap is nobody's fault, and no interval helps against it.
        if interval and event.after and event.before - event.after <= timedelta(seconds=2 * interval):
            found.setdefault(recorded.id, []).append(recorded.at)
    return Look(
        tuple(
            Trouble(
                "gaps",
                feed,
                times[0],
                f"between {GAPS_TOO_MANY} or more pairs of polls in a week, items may have come and gone unseen",
                "Ask it more often: a shorter min: (or every:) in feeds.yaml.",
            )
            for feed, times in found.items()
            if len(times) >= GAPS_TOO_MANY
        )
    )


# ── what was told ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Before:
    """What went to one recipient of notices before; `sent` is when, within the last day.

    `open` is a `notice_prepared` without an outcome; `deferred` counts the tries since a notice was last taken, and
    `retry_at` is when the next one may be, None for now; `last_sent` is the position of the last one that was taken;
    `version` is that of the recipient's stream.
    """

    mentioned: tuple[Mentioned, ...]
    sent: tuple[datetime, ...]
    open: Recorded | None
    deferred: int
    retry_at: datetime | None
    answer: str
    last_sent: int
    version: int


def told_before(connection: Connection, recipient: str, now: datetime) -> Before:
    """What a recipient was told, and how that went."""
    stream = f"notice/{recipient}"
    theirs = _notice.c.recipient == recipient
    last_sent = connection.scalar(select(func.max(_notice.c.position)).where(theirs, _notice.c.state == "sent")) or 0
    since = (_notice.c.finished_at >= timestamp(now - timedelta(days=1))) & (_notice.c.state == "sent")
    sent = connection.scalars(select(_notice.c.finished_at).where(theirs, since))
    tries = connection.execute(
        select(_notice).where(theirs, _notice.c.position > last_sent).order_by(_notice.c.position)
    ).all()
    last = tries[-1] if tries else None
    deferred = last is not None and last.state == "deferred"
    # What was taken from somebody else since then tells sooner than any pause that the server is back.
    taken = select(func.max(_delivery.c.finished_at)).where(_delivery.c.state == "accepted")
    back = last and last.finished_at and (connection.scalar(taken) or "") > last.finished_at
    return Before(
        mentioned=_mentioned(connection, recipient),
        sent=tuple(map(parse_timestamp, sent)),
        open=event_at(connection, stream, last.version) if last and last.state == "prepared" else None,
        deferred=sum(one.state == "deferred" for one in tries),
        retry_at=moment_or_none(last.retry_at) if last and deferred and not back else None,
        answer=last.answer if last and deferred else "",
        last_sent=last_sent,
        version=version_of(connection, stream),
    )


def _mentioned(connection: Connection, recipient: str) -> tuple[Mentioned, ...]:
    query = select(_told).where(_told.c.recipient == recipient, _told.c.state != "over")
    return tuple(
        Mentioned(
            kind=row.kind,
            about=row.about,
            state=row.state,
            since=parse_timestamp(row.since),
            told_at=moment_or_none(row.told_at),
            incidents=row.incidents,
        )
        for row in connection.execute(query.order_by(_told.c.kind, _told.c.about))
    )


def told_times(connection: Connection) -> dict[Key, datetime]:
    """When an operator last heard of each trouble that they know to stand."""
    query = select(_told.c.kind, _told.c.about, func.max(_told.c.told_at)).where(_told.c.state == "standing")
    rows = connection.execute(query.group_by(_told.c.kind, _told.c.about)).all()
    return {(kind, about): parse_timestamp(at) for kind, about, at in rows}
