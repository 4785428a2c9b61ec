"""What decisions start from.

When a feed's answer comes in: the poll cache, the feed, and those of its items that may be meant. In a backfill: stored
items with all their texts and matches, and how far it is.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import TypeAdapter
from sqlalchemy import Connection, Row, delete, func, insert, select, update

from daemon.decisions import KnownFeed, KnownItem, Move
from daemon.eventlog import read_streams, version_of
from daemon.events import ItemRedacted, evidence_from
from daemon.items import Item
from daemon.moments import moment_or_none, parse_timestamp, timestamp, timestamp_or_none
from daemon.outcomes import LONGEST_HOST_PAUSE
from daemon.pacing import NOTHING_ASKED, Asks
from daemon.rematching import MatchMade, StoredItem
from daemon.rules import FeedRule
from daemon.tables import BackfillRow, FeedRow, ItemRow, MatchRow, PollRow, RevisionRow, table_of

_item, _revision, _match, _feed = map(table_of, (ItemRow, RevisionRow, MatchRow, FeedRow))
_poll, _backfill = map(table_of, (PollRow, BackfillRow))
_CHUNK = 400
"""Values in one IN (…): SQLite takes 32,766 parameters, and older ones 999."""
_ASKS = TypeAdapter(Asks)
AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""The due time of a feed that was never asked where it is now: past, whatever the clock says."""


@dataclass(frozen=True)
class PollState:
    """What the poll cache holds of a feed: see `tables.PollRow`."""

    feed: str
    url: str
    etag: str | None = None
    last_modified: str | None = None
    validated_url: str | None = None
    body_sha256: str | None = None
    window: frozenset[str] = frozenset()
    polled_at: datetime | None = None
    succeeded_at: datetime | None = None
    next_due: datetime | None = None
    failures: int = 0
    move: Move | None = None
    paused_host: str | None = None
    paused_until: datetime | None = None
    interval: timedelta | None = None
    items_an_hour: float | None = None
    asks: Asks = NOTHING_ASKED


# ── the poll cache ───────────────────────────────────────────────────────────────────────────────────────────────


def poll_states(connection: Connection) -> dict[str, PollState]:
    """The poll cache by feed id."""
    return {row.feed: _poll_state(row) for row in connection.execute(select(_poll))}


def poll_state(connection: Connection, feed: FeedRule) -> PollState:
    """What the poll cache holds of a feed at the address where it is asked; a state of nothing where that is new."""
    row = connection.execute(select(_feed.c.url, _feed.c.asked_url).where(_feed.c.id == feed.id)).first()
    url = row.asked_url if row and row.url == feed.url else feed.url
    known = connection.execute(select(_poll).where(_poll.c.feed == feed.id, _poll.c.url == url)).first()
    return _poll_state(known) if known else PollState(feed.id, url)


def enrol(connection: Connection, feeds: Iterable[FeedRule]) -> None:
    """Gives each of these feeds, which are to be polled, its line of the poll cache: one that is new, is back, or is at
    another address is due at once. All others rest, and who is gone does."""
    columns = (_feed.c.id, _feed.c.url, _feed.c.asked_url, _feed.c.state)
    standing = {row.id: row for row in connection.execute(select(*columns))}
    lines = {row.feed: row for row in connection.execute(select(_poll.c.feed, _poll.c.url, _poll.c.next_due))}
    fresh: list[PollState] = []
    back: list[str] = []
    for feed in feeds:
        known = standing.get(feed.id)
        here = known if known and known.url == feed.url else None
        if here and here.state == "gone":
            continue
        line, url = lines.pop(feed.id, None), here.asked_url if here else feed.url
        if line is None or line.url != url:
            fresh.append(PollState(feed.id, url, next_due=AT_ONCE))
        elif line.next_due is None:
            back.append(feed.id)
    for chunk in _chunks(state.feed for state in fresh):
        connection.execute(delete(_poll).where(_poll.c.feed.in_(chunk)))
    if fresh:
        connection.execute(insert(_poll), list(map(_poll_row, fresh)))
    resting = [id for id, line in lines.items() if line.next_due]
    for ids, due in ((back, timestamp(AT_ONCE)), (resting, None)):
        for chunk in _chunks(ids):
            connection.execute(update(_poll).where(_poll.c.feed.in_(chunk)).values(next_due=due))


def due_feeds(connection: Connection, now: datetime) -> list[str]:
    """The feeds whose time has come, the longest due first. Asked every few seconds, of an index alone."""
    due = select(_poll.c.feed).where(_poll.c.next_due <= timestamp(now)).order_by(_poll.c.next_due)
    return list(connection.scalars(due))


def polled_ahead(connection: Connection, now: datetime) -> bool:
    """Whether a poll is known that lies in the future: the clock was set back."""
    return connection.scalar(select(_poll.c.feed).where(_poll.c.polled_at > timestamp(now)).limit(1)) is not None


def turn_back(connection: Connection, now: datetime) -> None:
    """Puts polls that lie in the future at the present, and all that was to follow as long after it as before.

    So a feed is asked within one pause from now on, however far the clock was turned, and never sooner than its host
    allowed.
    """
    for row in connection.execute(select(_poll).where(_poll.c.polled_at > timestamp(now))).all():
        back = parse_timestamp(row.polled_at) - now
        moments = {name: moment_or_none(getattr(row, name)) for name in _TURNED}
        values = {name: timestamp(moment - back) for name, moment in moments.items() if moment and moment != AT_ONCE}
        connection.execute(update(_poll).where(_poll.c.feed == row.feed).values(**values))


_TURNED = ("polled_at", "succeeded_at", "next_due", "paused_until", "move_since")


def paused_hosts(connection: Connection, now: datetime) -> dict[str, timedelta]:
    """The hosts that asked to be left alone, and for how long still."""
    paused = select(_poll.c.paused_host, func.max(_poll.c.paused_until)).where(_poll.c.paused_until > timestamp(now))
    rows = connection.execute(paused.group_by(_poll.c.paused_host)).all()
    # What is longer was said before the clock was set back.
    return {host: min(parse_timestamp(until) - now, LONGEST_HOST_PAUSE) for host, until in rows}


def replaced(connection: Connection, feed: str, url: str) -> bool:
    """Whether a feed's address in feeds.yaml was changed while an answer from this one was under way."""
    return connection.scalar(select(_feed.c.url).where(_feed.c.id == feed)) not in (None, url)


def keep_poll_state(connection: Connection, state: PollState, url: str) -> None:
    """Writes one feed's line of the poll cache. `url` is the address that feeds.yaml has, as far as the asker knows."""
    if replaced(connection, state.feed, url):
        # The new address is to be asked at once.
        return
    connection.execute(delete(_poll).where(_poll.c.feed == state.feed))
    connection.execute(insert(_poll), [_poll_row(state)])


def _poll_row(state: PollState) -> dict[str, Any]:
    return {
        "feed": state.feed,
        "url": state.url,
        "etag": state.etag,
        "last_modified": state.last_modified,
        "validated_url": state.validated_url,
        "body_sha256": state.body_sha256,
        "window": json.dumps(sorted(state.window)),
        "polled_at": timestamp_or_none(state.polled_at),
        "succeeded_at": timestamp_or_none(state.succeeded_at),
        "next_due": timestamp_or_none(state.next_due),
        "failures": state.failures,
        "move_to_url": state.move.to_url if state.move else None,
        "move_since": timestamp(state.move.since) if state.move else None,
        "move_seen": state.move.seen if state.move else 0,
        "paused_host": state.paused_host,
        "paused_until": timestamp_or_none(state.paused_until),
        "interval_seconds": int(state.interval.total_seconds()) if state.interval else None,
        "items_an_hour": state.items_an_hour,
        "asks": _ASKS.dump_json(state.asks).decode(),
    }


def _poll_state(row: Row[Any]) -> PollState:
    return PollState(
        feed=row.feed,
        url=row.url,
        etag=row.etag,
        last_modified=row.last_modified,
        validated_url=row.validated_url,
        body_sha256=row.body_sha256,
        window=frozenset(json.loads(row.window)),
        polled_at=moment_or_none(row.polled_at),
        succeeded_at=moment_or_none(row.succeeded_at),
        next_due=moment_or_none(row.next_due),
        failures=row.failures,
        move=Move(row.move_to_url, parse_timestamp(row.move_since), row.move_seen) if row.move_to_url else None,
        paused_host=row.paused_host,
        paused_until=moment_or_none(row.paused_until),
        interval=timedelta(seconds=row.interval_seconds) if row.interval_seconds else None,
        items_an_hour=row.items_an_hour,
        asks=_ASKS.validate_json(row.asks),
    )


# ── feeds and items ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class UnreadableDocument:
    """A document that is skipped until it changes, and why."""

    sha256: str
    detail: str


def unreadable_document(connection: Connection, feed: str) -> UnreadableDocument | None:
    """The document of a feed that is skipped until it changes."""
    columns = (_feed.c.unreadable_sha256, _feed.c.unreadable_detail)
    query = select(*columns).where(_feed.c.id == feed, _feed.c.unreadable_sha256.is_not(None))
    row = connection.execute(query).first()
    return UnreadableDocument(row.unreadable_sha256, row.unreadable_detail) if row else None


def known_feed(connection: Connection, feed: str, poll: PollState | None) -> KnownFeed:
    """What is known of a feed. An unknown one is new."""
    row = connection.execute(select(_feed).where(_feed.c.id == feed)).first()
    version = version_of(connection, f"feed/{feed}")
    if row is None:
        return KnownFeed(feed, version)
    return KnownFeed(
        id=feed,
        version=version,
        state=row.state,
        since=moment_or_none(row.since),
        reason=row.reason,
        unreadable_sha256=row.unreadable_sha256,
        unfit_keys=frozenset(json.loads(row.unfit_keys)),
        has_items=row.item_count > 0,
        window=poll.window if poll else frozenset(),
        last_success=poll.succeeded_at if poll else None,
    )


def known_items(connection: Connection, feed: str, items: Sequence[Item]) -> list[KnownItem]:
    """The feed's known items that share a guid, a link or a text with one of `items`, each with its whole history."""
    ids: set[str] = set()
    wanted = (
        (_revision.c.guid, {item.guid for item in items if item.guid}),
        (_revision.c.link, {item.link for item in items if item.link}),
        (_revision.c.fingerprint, {item.fingerprint for item in items}),
    )
    for column, values in wanted:
        for chunk in _chunks(values):
            ids |= set(connection.scalars(select(_revision.c.item).where(_revision.c.feed == feed, column.in_(chunk))))
    revisions: dict[str, list[Row[Any]]] = defaultdict(list)
    rows: list[Row[Any]] = []
    for chunk in _chunks(ids):
        rows += connection.execute(select(_item).where(_item.c.id.in_(chunk))).all()
        for revision in connection.execute(select(_revision).where(_revision.c.item.in_(chunk))):
            revisions[revision.item].append(revision)
    claims = standing_claims(connection, ids)
    # The oldest first: where two items share a link, it is the older one's.
    rows.sort(key=lambda row: row.position)
    return [_known_item(row, revisions[row.id], claims[row.id]) for row in rows]


def standing_claims(connection: Connection, items: Iterable[str]) -> dict[str, frozenset[str]]:
    """The claims that each of these items bears on now."""
    claims: dict[str, set[str]] = {item: set() for item in items}
    for chunk in _chunks(claims):
        standing = _match.c.item.in_(chunk) & _match.c.lapsed_at.is_(None) & _match.c.current
        for match in connection.execute(select(_match.c.item, _match.c.claim).where(standing)):
            claims[match.item].add(match.claim)
    return {item: frozenset(some) for item, some in claims.items()}


def _known_item(row: Row[Any], revisions: Sequence[Row[Any]], claims: frozenset[str]) -> KnownItem:
    return KnownItem(
        id=row.id,
        version=row.version,
        guids=frozenset(revision.guid for revision in revisions if revision.guid),
        links=frozenset(revision.link for revision in revisions if revision.link),
        titles=frozenset((revision.link, revision.title) for revision in revisions if revision.link and revision.title),
        fingerprints=frozenset(revision.fingerprint for revision in revisions),
        claims=claims,
        already_there=row.already_there,
    )


def _chunks(values: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(values)
    for at in range(0, len(ordered), _CHUNK):
        yield ordered[at : at + _CHUNK]


# ── what a backfill looks at ─────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class BackfillState:
    """How far a backfill is: see `tables.BackfillRow`."""

    item_position: int = 0
    items: int = 0


def backfill_state(connection: Connection, rules_position: int) -> BackfillState:
    """How far the backfill is that the `rules_changed` at this position asks for."""
    row = connection.execute(select(_backfill).where(_backfill.c.rules_position == rules_position)).first()
    return BackfillState(row.item_position, row.items) if row else BackfillState()


def keep_backfill_state(connection: Connection, rules_position: int, state: BackfillState | None) -> None:
    """Writes how far a backfill is, in place of all that was known of any; None for one that is done."""
    connection.execute(delete(_backfill))
    if state:
        values = {"item_position": state.item_position, "items": state.items}
        connection.execute(insert(_backfill).values(rules_position=rules_position, **values))


@dataclass(frozen=True)
class StoredItems:
    """Some items in order, and the position of the last one, wherever it comes from; None when there is no more."""

    items: Sequence[StoredItem]
    count: int
    last_position: int | None


def stored_items(connection: Connection, after: int, most: int) -> StoredItems:
    """The items first seen after a position, in order, at most so many, with all their texts and matches.

    One whose text was ever taken out of the log is counted and left out: nobody can say what it matched.
    """
    query = select(_item.c.id, _item.c.position).where(_item.c.position > after).order_by(_item.c.position).limit(most)
    rows = connection.execute(query).all()
    texts, matches = defaultdict(list), defaultdict(list)
    redacted: set[str] = set()
    for chunk in _chunks(row.id for row in rows):
        for recorded in read_streams(connection, [f"item/{id}" for id in chunk]):
            if isinstance(recorded.event, ItemRedacted):
                redacted.add(recorded.id)
            texts[recorded.id].append(recorded)
        for match in connection.execute(select(_match).where(_match.c.item.in_(chunk))):
            matches[match.item].append(_match_made(match))
    items = [StoredItem(row.id, texts[row.id], matches[row.id]) for row in rows if row.id not in redacted]
    return StoredItems(items, len(rows), rows[-1].position if rows else None)


def _match_made(row: Row[Any]) -> MatchMade:
    return MatchMade(
        position=row.position,
        claim=row.claim,
        item_version=row.item_version,
        evidence=evidence_from(row.evidence),
        current=row.current,
        lapsed_at=moment_or_none(row.lapsed_at),
    )


@dataclass(frozen=True)
class Rematched:
    """What a backfill came to, in matches: new ones, those that stand otherwise than before, those no longer made."""

    matched: int
    changed: int
    dropped: int


def rematched_since(connection: Connection, rules_position: int) -> Rematched:
    """What was found since the rules changed at this position, however often it was interrupted."""
    new = _match.c.retroactive & (_match.c.position > rules_position)
    reviewed = _match.c.reviewed > rules_position

    def count(condition: Any) -> int:
        return connection.scalar(select(func.count()).select_from(_match).where(condition)) or 0

    return Rematched(count(new), count(reviewed & _match.c.current), count(reviewed & ~_match.c.current))
