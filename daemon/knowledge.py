"""What is known when a feed's answer comes in: the poll cache, the feed, and those of its items that may be meant."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select

from daemon.decisions import KnownFeed, KnownItem
from daemon.eventlog import version_of
from daemon.items import Item
from daemon.moments import moment_or_none, timestamp_or_none
from daemon.tables import FeedRow, ItemRow, MatchRow, PollRow, RevisionRow, table_of

_item, _revision, _match, _feed, _poll = map(table_of, (ItemRow, RevisionRow, MatchRow, FeedRow, PollRow))
_CHUNK = 400
"""Values in one IN (…): SQLite takes 32,766 parameters, and older ones 999."""


@dataclass(frozen=True)
class PollState:
    """What the poll cache holds of a feed: see `tables.PollRow`."""

    feed: str
    url: str
    etag: str | None = None
    last_modified: str | None = None
    body_sha256: str | None = None
    window: frozenset[str] = frozenset()
    polled_at: datetime | None = None
    succeeded_at: datetime | None = None
    next_due: datetime | None = None
    failures: int = 0


# ── the poll cache ───────────────────────────────────────────────────────────────────────────────────────────────


def poll_states(connection: Connection, feed: str | None = None) -> dict[str, PollState]:
    """The poll cache by feed id: the whole, or one feed's line."""
    query = select(_poll) if feed is None else select(_poll).where(_poll.c.feed == feed)
    return {row.feed: _poll_state(row) for row in connection.execute(query)}


def keep_poll_state(connection: Connection, state: PollState) -> None:
    """Writes one feed's line of the poll cache."""
    values = {
        "url": state.url,
        "etag": state.etag,
        "last_modified": state.last_modified,
        "body_sha256": state.body_sha256,
        "window": json.dumps(sorted(state.window)),
        "polled_at": timestamp_or_none(state.polled_at),
        "succeeded_at": timestamp_or_none(state.succeeded_at),
        "next_due": timestamp_or_none(state.next_due),
        "failures": state.failures,
    }
    connection.execute(delete(_poll).where(_poll.c.feed == state.feed))
    connection.execute(insert(_poll).values(feed=state.feed, **values))


def _poll_state(row: Row[Any]) -> PollState:
    return PollState(
        feed=row.feed,
        url=row.url,
        etag=row.etag,
        last_modified=row.last_modified,
        body_sha256=row.body_sha256,
        window=frozenset(json.loads(row.window)),
        polled_at=moment_or_none(row.polled_at),
        succeeded_at=moment_or_none(row.succeeded_at),
        next_due=moment_or_none(row.next_due),
        failures=row.failures,
    )


# ── feeds and items ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class UnreadableDocument:
    """A document that is skipped until it changes, and why."""

    sha256: str
    detail: str


def unreadable_documents(connection: Connection) -> dict[str, UnreadableDocument]:
    """By feed id, the documents that are skipped until they change."""
    columns = (_feed.c.id, _feed.c.unreadable_sha256, _feed.c.unreadable_detail)
    query = select(*columns).where(_feed.c.unreadable_sha256.is_not(None))
    return {
        row.id: UnreadableDocument(row.unreadable_sha256, row.unreadable_detail) for row in connection.execute(query)
    }


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
    revisions, claims = defaultdict(list), defaultdict(set)
    rows: list[Row[Any]] = []
    for chunk in _chunks(ids):
        rows += connection.execute(select(_item).where(_item.c.id.in_(chunk))).all()
        for revision in connection.execute(select(_revision).where(_revision.c.item.in_(chunk))):
            revisions[revision.item].append(revision)
        current = _match.c.item.in_(chunk) & _match.c.lapsed_at.is_(None)
        for match in connection.execute(select(_match.c.item, _match.c.claim).where(current)):
            claims[match.item].add(match.claim)
    # The oldest first: where two items share a link, it is the older one's.
    rows.sort(key=lambda row: row.position)
    return [_known_item(row, revisions[row.id], claims[row.id]) for row in rows]


def _known_item(row: Row[Any], revisions: Sequence[Row[Any]], claims: Iterable[str]) -> KnownItem:
    return KnownItem(
        id=row.id,
        version=row.version,
        guids=frozenset(revision.guid for revision in revisions if revision.guid),
        links=frozenset(revision.link for revision in revisions if revision.link),
        titles=frozenset((revision.link, revision.title) for revision in revisions if revision.link and revision.title),
        fingerprints=frozenset(revision.fingerprint for revision in revisions),
        claims=frozenset(claims),
        already_there=row.already_there,
    )


def _chunks(values: Iterable[str]) -> Iterator[list[str]]:
    ordered = sorted(values)
    for at in range(0, len(ordered), _CHUNK):
        yield ordered[at : at + _CHUNK]
