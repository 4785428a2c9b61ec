"""The items of the log with their texts: all of them one after another, or one by its name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select

from daemon.eventlog import BATCH_EVENTS, EVENT, event_at
from daemon.events import ItemRevised, ItemSeen, from_payload
from daemon.moments import parse_timestamp, timestamp
from daemon.tables import ItemRow, table_of
from daemon.trials import StoredItem

_item = table_of(ItemRow)
_when = func.coalesce(_item.c.published, _item.c.first_seen)
MOST_NAMESAKES = 6
"""Of the items that a name may mean, how many are read: more than one is told as too many."""
_COLUMNS = (_item.c.id, _item.c.first_seen, EVENT.c.kind, EVENT.c.payload, EVENT.c.position)


def stored_items(
    connection: Connection, *, since: datetime | None = None, first_seen_since: datetime | None = None
) -> Iterator[StoredItem]:
    """Every item with its present text, in no order that anything may rest on.

    `since` goes by when it was published, else first seen; `first_seen_since` by the latter alone, the newest first.
    """
    query = select(*_COLUMNS).join(EVENT, EVENT.c.position == _item.c.text_position)
    if first_seen_since:
        query = query.order_by(_item.c.first_seen.desc(), _item.c.id)
    query = _within(query, since, first_seen_since).execution_options(yield_per=BATCH_EVENTS)
    with connection.execute(query) as rows:
        yield from map(_stored, rows)


def newest_texts(connection: Connection, count: int) -> list[str]:
    """Title and summary of so many items, those that were seen last."""
    query = select(*_COLUMNS).join(EVENT, EVENT.c.position == _item.c.text_position)
    rows = connection.execute(query.order_by(_item.c.position.desc()).limit(count))
    return [f"{item.title}\n{item.summary}" for item in map(_stored, rows)]


def count_items(
    connection: Connection, *, since: datetime | None = None, first_seen_since: datetime | None = None
) -> int:
    """How many items `stored_items` will give."""
    query = _within(select(func.count()).select_from(_item), since, first_seen_since)
    return connection.scalar(query) or 0


def _within(query: Any, since: datetime | None, first_seen_since: datetime | None) -> Any:
    if since:
        query = query.where(_when >= timestamp(since))
    if first_seen_since:
        query = query.where(_item.c.first_seen >= timestamp(first_seen_since))
    return query


def item_text(connection: Connection, item: str, version: int | None = None) -> StoredItem | None:
    """One item with the text that it had at a version of its stream; without one, with its present text."""
    row = connection.execute(select(_item).where(_item.c.id == item)).first()
    if row is None:
        return None
    if version is None:
        query = select(*_COLUMNS).join(EVENT, EVENT.c.position == _item.c.text_position).where(_item.c.id == item)
        return _stored(connection.execute(query).one())
    recorded = event_at(connection, f"item/{item}", version)
    if recorded is None or not isinstance(recorded.event, ItemSeen | ItemRevised):
        return None
    return _with_text(row.id, recorded.event, row.first_seen)


def items_named(connection: Connection, name: str) -> list[StoredItem]:
    """The items that may be meant: the one of this id, else those with this link, else those with this in the title."""
    if found := item_text(connection, name):
        return [found]
    linked = connection.scalars(select(_item.c.id).where(_item.c.link == name).order_by(_item.c.position)).all()
    # In Python, because SQLite's LIKE folds ASCII letters only.
    wanted = " ".join(name.casefold().split())
    titles = connection.execute(select(_item.c.id, _item.c.title).order_by(_item.c.position))
    ids = linked or [row.id for row in titles if wanted and wanted in " ".join(row.title.casefold().split())]
    return [found for id in ids[:MOST_NAMESAKES] if (found := item_text(connection, id))]


def _stored(row: Any) -> StoredItem:
    event = from_payload(row.kind, row.payload, position=row.position)
    assert isinstance(event, ItemSeen | ItemRevised)
    return _with_text(row.id, event, row.first_seen)


def _with_text(id: str, event: ItemSeen | ItemRevised, first_seen: str) -> StoredItem:
    return StoredItem(
        id=id,
        feed=event.feed,
        title=event.title,
        summary=event.summary,
        content=event.content,
        link=event.link,
        published=event.published,
        first_seen=parse_timestamp(first_seen),
    )
