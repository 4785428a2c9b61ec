"""Questions that the program asks of the log's tables: rules, matches, digests, deliveries, coverage.

All of them read one consistent state: the connection they are given. Answers are the core's own values, never rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, and_, exists, func, select

from daemon.coverage import FeedOutage, Span
from daemon.errors import ClaimwatchError
from daemon.eventlog import event_at, last_of_kind, read, read_streams
from daemon.events import (
    BackfillFinished,
    FeedRecovered,
    GapSuspected,
    ItemRevised,
    ItemSeen,
    Recorded,
    RulesChanged,
    WatchStarted,
    WatchStopped,
    evidence_from,
)
from daemon.moments import moment_or_none, parse_timestamp, timestamp
from daemon.tables import (
    ClaimRow,
    DeliveryRow,
    DigestMatchRow,
    DigestRow,
    FeedRow,
    ItemRow,
    MatchRow,
    PollRow,
    RecipientRow,
    SubscriptionRow,
    table_of,
)
from daemon.tellable import MatchToTell

_item, _match, _feed, _claim, _recipient = map(table_of, (ItemRow, MatchRow, FeedRow, ClaimRow, RecipientRow))
_subscription, _digest, _digest_match, _delivery, _poll = map(
    table_of, (SubscriptionRow, DigestRow, DigestMatchRow, DeliveryRow, PollRow)
)

_AT_ONCE = 400
"""How many streams or positions are asked for in one query."""


# ── rules and the watch ──────────────────────────────────────────────────────────────────────────────────────────


def recorded_rules(connection: Connection, *, upto: int | None = None) -> RulesChanged | None:
    """The rule set that the log knows last; that it knew last at a position."""
    last = last_of_kind(connection, RulesChanged.kind, upto=upto)
    return last.event if last else None


def waiting_backfill(connection: Connection) -> Recorded | None:
    """The `rules_changed` whose `rematch` claims are still to be matched against what is stored; None when none is."""
    changed = last_of_kind(connection, RulesChanged.kind)
    if changed is None or not changed.event.rematch:
        return None
    finished = last_of_kind(connection, BackfillFinished.kind)
    return None if finished and finished.position > changed.position else changed


def last_awake(connection: Connection) -> datetime | None:
    """The last moment at which this watch is known to have been awake: its last event, or its last poll."""
    return max(
        (
            moment
            for moment in (
                _last_event_at(connection),
                moment_or_none(connection.scalar(select(func.max(_poll.c.polled_at)))),
            )
            if moment
        ),
        default=None,
    )


def _last_event_at(connection: Connection) -> datetime | None:
    head = event_at(connection)
    return head.at if head else None


# ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Subscription:
    """A digest that a recipient gets: since when, the last due time that was answered, and whether they rest."""

    digest: str
    recipient: str
    since_position: int
    since: datetime
    last_due: datetime | None
    resting: bool = False

    @property
    def answered(self) -> datetime:
        """The moment after which due times are open."""
        return self.last_due or self.since


def subscriptions(connection: Connection) -> list[Subscription]:
    """Who gets what, as the log has it."""
    query = (
        select(_subscription, _recipient.c.resting_since)
        .outerjoin(_recipient, _recipient.c.id == _subscription.c.recipient)
        .order_by(_subscription.c.digest, _subscription.c.recipient)
    )
    return [
        Subscription(
            digest=row.digest,
            recipient=row.recipient,
            since_position=row.since_position,
            since=parse_timestamp(row.since),
            last_due=moment_or_none(row.last_due),
            resting=row.resting_since is not None,
        )
        for row in connection.execute(query)
    ]


@dataclass(frozen=True)
class Untold:
    """What a recipient is still to be told under a digest's name: the matches on these claims after a position of the
    log that no digest of that name holds for them.

    `only_news`: without what was already there at a feed's first poll, and what was found in history.
    """

    digest: str
    recipient: str
    claims: tuple[str, ...]
    after_position: int
    only_news: bool = False


def untold_positions(connection: Connection, untold: Untold) -> list[int]:
    """The positions of these matches, oldest first."""
    query = select(_match.c.position).where(_is_untold(untold)).order_by(_match.c.position)
    return list(connection.scalars(query))


def untold_since(connection: Connection, untold: Untold) -> datetime | None:
    """When the first of these matches was recorded; None when there is none."""
    return moment_or_none(connection.scalar(select(func.min(_match.c.at)).where(_is_untold(untold))))


def _is_untold(untold: Untold) -> Any:
    held = exists().where(
        _digest_match.c.name == untold.digest,
        _digest_match.c.recipient == untold.recipient,
        _digest_match.c.match == _match.c.position,
    )
    again = _match.alias("again")
    # One that lapsed and came again with a later text is told as the later one.
    superseded = _match.c.lapsed_at.is_not(None) & exists().where(
        again.c.claim == _match.c.claim, again.c.item == _match.c.item, again.c.lapsed_at.is_(None), again.c.current
    )
    wanted = _match.c.claim.in_(untold.claims) & (_match.c.position > untold.after_position) & _match.c.current
    if untold.only_news:
        wanted &= ~_match.c.already_there & ~_match.c.retroactive
    return wanted & ~held & ~superseded


def matches_at(connection: Connection, positions: Sequence[int]) -> list[MatchToTell]:
    """The matches at these positions, oldest first."""
    ordered = sorted(positions)
    return [
        match
        for at in range(0, len(ordered), _AT_ONCE)
        for match in to_tell(connection, _match.c.position.in_(ordered[at : at + _AT_ONCE]))
    ]


def matches_since(
    connection: Connection, claims: Sequence[str] | None, since: datetime | None, *, dropped: bool = False
) -> list[MatchToTell]:
    """The matches on these claims recorded since a moment, oldest first; on all claims for None.

    With `dropped` also those that today's rules no longer make.
    """
    condition = _match.c.position > 0 if dropped else _match.c.current
    if claims is not None:
        condition &= _match.c.claim.in_(claims)
    if since:
        condition &= _match.c.at >= timestamp(since)
    return to_tell(connection, condition)


def match_state(connection: Connection, match: int) -> tuple[datetime | None, bool]:
    """When a match lapsed, if it did, and whether today's rules make it."""
    row = connection.execute(select(_match.c.lapsed_at, _match.c.current).where(_match.c.position == match)).one()
    return moment_or_none(row.lapsed_at), row.current


def match_of(connection: Connection, claim: str, item: str) -> int | None:
    """The newest match of an item with a claim, by its position."""
    return connection.scalar(select(func.max(_match.c.position)).where(_match.c.claim == claim, _match.c.item == item))


def to_tell(connection: Connection, condition: Any) -> list[MatchToTell]:
    """The matches for which a condition on `match` and `item` holds, oldest first."""
    query = (
        select(_match, _item.c.first_seen, _item.c.redacted, _feed.c.asked_url)
        .join(_item, _item.c.id == _match.c.item)
        .outerjoin(_feed, _feed.c.id == _match.c.feed)
        .where(condition)
        .order_by(_match.c.position)
    )
    rows = connection.execute(query).all()
    return [
        _match_to_tell(row, text)
        for at in range(0, len(rows), _AT_ONCE)
        for row, text in _with_texts(connection, rows[at : at + _AT_ONCE])
    ]


def _with_texts(connection: Connection, rows: Sequence[Row[Any]]) -> Iterator[tuple[Row[Any], ItemSeen | ItemRevised]]:
    """Rows of matches, each with the text that it was made on."""
    streams = sorted({f"item/{row.item}" for row in rows})
    texts = {(one.id, one.version): one.event for one in read_streams(connection, streams)}
    for row in rows:
        text = texts.get((row.item, row.item_version))
        if not isinstance(text, ItemSeen | ItemRevised):
            raise ClaimwatchError(
                f"the log holds no text of item {row.item} at version {row.item_version}",
                hint="Run `claimwatch verify`.",
            )
        yield row, text


def _match_to_tell(row: Row[Any], text: ItemSeen | ItemRevised) -> MatchToTell:
    return MatchToTell(
        position=row.position,
        claim=row.claim,
        feed=row.feed,
        title=text.title,
        summary=text.summary,
        content=text.content,
        link=text.link,
        published=text.published,
        first_seen=parse_timestamp(row.first_seen),
        evidence=evidence_from(row.evidence),
        already_there=row.already_there,
        retroactive=row.retroactive,
        current=row.current,
        lapsed_at=moment_or_none(row.lapsed_at),
        redacted=row.redacted,
        lang=text.lang,
        asked_url=row.asked_url or "",
    )


@dataclass(frozen=True)
class Waiting:
    """A prepared digest that has not reached its recipient yet."""

    digest: str
    name: str
    recipient: str
    state: str
    version: int
    attempts: int
    prepared_at: datetime
    first_attempt: datetime | None
    retry_at: datetime | None
    answer: str
    resent: bool
    log_position: int


def waiting_deliveries(connection: Connection) -> list[Waiting]:
    """What is to be delivered, the longest waiting first."""
    query = (
        select(_delivery, _digest.c.name, _digest.c.recipient, _digest.c.resent, _digest.c.log_position)
        .join(_digest, _digest.c.id == _delivery.c.digest)
        .where(_delivery.c.state.in_(("prepared", "started", "deferred", "uncertain")))
        .order_by(_digest.c.position)
    )
    return [
        Waiting(
            digest=row.digest,
            name=row.name,
            recipient=row.recipient,
            state=row.state,
            version=row.version,
            attempts=row.attempts,
            prepared_at=parse_timestamp(row.prepared_at),
            first_attempt=moment_or_none(row.first_attempt),
            retry_at=moment_or_none(row.retry_at),
            answer=row.answer,
            resent=row.resent,
            log_position=row.log_position,
        )
        for row in connection.execute(query)
    ]


def prepared_digest(connection: Connection, digest: str) -> Recorded | None:
    """The `digest_prepared` (or `digest_skipped`) of a digest id."""
    return next(read(connection, stream=f"digest/{digest}"), None)


def digest_rows(connection: Connection, last: int = 20) -> list[dict[str, Any]]:
    """The last digests, the newest first, each with the state of its delivery."""
    query = (
        select(_digest, _delivery.c.state, _delivery.c.attempts, _delivery.c.answer)
        .outerjoin(_delivery, _delivery.c.digest == _digest.c.id)
        .order_by(_digest.c.position.desc())
        .limit(last)
    )
    return [dict(row._mapping) for row in connection.execute(query)]


# ── coverage ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class FeedHealth:
    """How a feed does, from its projection and the poll cache."""

    id: str
    url: str
    asked_url: str
    moved: datetime | None
    title: str
    state: str
    since: datetime | None
    reason: str
    detail: str
    hint: str
    items: int
    last_item: datetime | None
    last_gap: datetime | None
    polled_at: datetime | None
    succeeded_at: datetime | None
    next_due: datetime | None
    interval_seconds: int | None
    failures: int


def feed_health(connection: Connection) -> list[FeedHealth]:
    """Every feed that is to be polled, by id. A feed that was read once is `ok` until it fails."""
    cached = (_poll.c.polled_at, _poll.c.succeeded_at, _poll.c.next_due, _poll.c.failures, _poll.c.interval_seconds)
    query = (
        select(_feed, *cached)
        .outerjoin(_poll, and_(_poll.c.feed == _feed.c.id, _poll.c.url == _feed.c.asked_url))
        .where(_feed.c.enabled)
        .order_by(_feed.c.id)
    )
    return [
        FeedHealth(
            id=row.id,
            url=row.url,
            asked_url=row.asked_url,
            moved=moment_or_none(row.moved),
            title=row.title,
            state="ok" if row.state == "new" and row.succeeded_at else row.state,
            since=moment_or_none(row.since),
            reason=row.reason,
            detail=row.detail,
            hint=row.hint,
            items=row.item_count,
            last_item=moment_or_none(row.last_item),
            last_gap=moment_or_none(row.last_gap),
            polled_at=moment_or_none(row.polled_at),
            succeeded_at=moment_or_none(row.succeeded_at),
            # One that was never polled is due at once, whenever that is.
            next_due=moment_or_none(row.next_due) if row.polled_at else None,
            interval_seconds=row.interval_seconds,
            failures=row.failures or 0,
        )
        for row in connection.execute(query)
    ]


def gaps_since(connection: Connection, since: datetime | None) -> tuple[str, ...]:
    """The feeds with a suspected gap since a moment."""
    gaps = read(connection, kinds=(GapSuspected.kind,), since=since)
    return tuple(sorted({recorded.id for recorded in gaps}))


def recovered_since(connection: Connection, since: datetime) -> tuple[FeedOutage, ...]:
    """The stretches of failing that ended since a moment, in order of their end."""
    recoveries = read(connection, kinds=(FeedRecovered.kind,), since=since)
    return tuple(FeedOutage(one.id, one.event.failing_since, one.at) for one in recoveries)


def asleep_since(connection: Connection, since: datetime, until: datetime, silence: timedelta) -> tuple[Span, ...]:
    """The stretches of [since, until] in which the watch was down: from its stop, or its last sign of life, to its
    next start; and up to the end, when nothing was polled for longer than `silence`."""
    spans: list[tuple[datetime, datetime]] = []
    down_from: datetime | None = None
    for recorded in read(connection, kinds=(WatchStarted.kind, WatchStopped.kind)):
        if isinstance(recorded.event, WatchStopped):
            down_from = recorded.at
            continue
        if awake := down_from or recorded.event.last_awake:
            spans.append((awake, recorded.at))
        down_from = None
    polled = moment_or_none(connection.scalar(select(func.max(_poll.c.polled_at))))
    if down_from and (polled is None or polled <= down_from):
        spans.append((down_from, until))
    else:
        # Polled from cron, or by a daemon that is at work, or by one that died: only the silence tells.
        started = last_of_kind(connection, WatchStarted.kind)
        awake = max(filter(None, (polled, started.at if started else None)), default=None)
        if awake and until - awake > silence:
            spans.append((awake, until))
    inside = ((max(start, since), min(end, until)) for start, end in spans)
    return tuple(Span(start, end) for start, end in inside if start < end)


def counts(connection: Connection) -> dict[str, int]:
    """How much there is: items, matches that today's rules make, and digests."""
    tables = {"items": _item, "matches": _match, "digests": _digest}
    queries = {name: select(func.count()).select_from(table) for name, table in tables.items()}
    queries["matches"] = queries["matches"].where(_match.c.current)
    return {name: connection.scalar(query) or 0 for name, query in queries.items()}


def claim_ids(connection: Connection) -> set[str]:
    """Every claim that the log has heard of, those that are watched no more as well."""
    return set(connection.scalars(select(_claim.c.id)))


def claim_rows(connection: Connection) -> list[dict[str, Any]]:
    """Every watched claim with its count of matches, the busiest first."""
    query = select(_claim).where(_claim.c.enabled).order_by(_claim.c.matches.desc(), _claim.c.id)
    return [dict(row._mapping) for row in connection.execute(query)]
