"""How the log becomes tables: `project` is the one way into them.

It is called for each event in the transaction that appends it, and for all of them by `rebuild`; so the tables can be
thrown away at any time and come back the same, row for row.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import singledispatch
from typing import Any

from sqlalchemy import Connection, Table, bindparam, delete, insert, select, update

from daemon import events, mailprojections, noticerows
from daemon.eventlog import Transaction, read
from daemon.events import Event, NewEvent, Recorded
from daemon.moments import timestamp, timestamp_or_none
from daemon.rows import insert_row, update_rows
from daemon.rules import FeedRule
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
    RevisionRow,
    SubscriptionRow,
    table_of,
)

_item, _revision, _match, _feed, _claim = map(table_of, (ItemRow, RevisionRow, MatchRow, FeedRow, ClaimRow))
_poll = table_of(PollRow)
_subscription, _recipient, _digest, _digest_match, _delivery = map(
    table_of, (SubscriptionRow, RecipientRow, DigestRow, DigestMatchRow, DeliveryRow)
)
PROJECTIONS: tuple[Table, ...] = (
    *(_item, _revision, _match, _feed, _claim, _subscription, _recipient, _digest, _digest_match, _delivery),
    *noticerows.NOTICE_TABLES,
)

_TOLD_EVENTS = 500

_READABLE: dict[str, Any] = {"unreadable_sha256": None, "unreadable_detail": ""}
_ONE_MORE_ITEM = (
    update(_feed)
    .where(_feed.c.id == bindparam("of_feed"))
    .values(item_count=_feed.c.item_count + 1, last_item=bindparam("at"))
)
_ONE_MORE_MATCH = (
    update(_claim)
    .where(_claim.c.id == bindparam("of_claim"))
    .values(matches=_claim.c.matches + 1, last_match=bindparam("at"))
)
_COUNT_MATCHES = (
    update(_claim).where(_claim.c.id == bindparam("of_claim")).values(matches=_claim.c.matches + bindparam("more"))
)
_NO_LONGER_WATCHED = (
    update(_match)
    .where(_match.c.current, _match.c.claim.in_(select(_claim.c.id).where(~_claim.c.enabled)))
    .values(current=False)
)
_LAPSE = (
    update(_match)
    .where(
        _match.c.claim == bindparam("of_claim"),
        _match.c.item == bindparam("of_item"),
        _match.c.item_version < bindparam("before"),
        _match.c.current,
        _match.c.lapsed_at.is_(None),
    )
    .values(lapsed_at=bindparam("lapsed"))
)


def record(transaction: Transaction, new_events: Sequence[NewEvent]) -> list[Recorded]:
    """Appends events and projects them: the log and its tables move together."""
    recorded = transaction.append(new_events)
    project(transaction.connection, recorded)
    return recorded


def project(connection: Connection, recorded: Iterable[Recorded]) -> None:
    """Brings the tables up to these events, which follow directly on those projected before."""
    for one in recorded:
        _project(one.event, one, connection)


def rebuild(connection: Connection, told: Callable[[int], None] = lambda _done: None) -> int:
    """Empties the projections and makes them anew from the log; returns the number of events read.

    `told` hears now and then how many that are.
    """
    for table in PROJECTIONS:
        connection.execute(delete(table))
    count = 0
    for recorded in read(connection):
        _project(recorded.event, recorded, connection)
        count += 1
        if count % _TOLD_EVENTS == 0:
            told(count)
    return count


# ── one event at a time ──────────────────────────────────────────────────────────────────────────────────────────


@singledispatch
def _project(event: Event, recorded: Recorded, connection: Connection) -> None:
    raise NotImplementedError(f"{type(event).__name__} has no projection; say so below even where it needs none")


@_project.register(events.WatchStarted)
@_project.register(events.WatchStopped)
def _(event: Event, recorded: Recorded, connection: Connection) -> None:
    """Read from the log itself where coverage is told."""


@_project.register
def _(event: events.RulesChanged, recorded: Recorded, connection: Connection) -> None:
    _put_feeds(connection, event.rules.feeds)
    connection.execute(update(_claim).values(enabled=False))
    for claim in event.rules.claims:
        values = {
            "statement": claim.statement,
            "article": claim.article,
            "made": claim.made.isoformat(),
            "due": claim.due.isoformat() if claim.due else None,
            "kind": claim.kind,
            "enabled": claim.enabled,
            "terms": len(claim.terms),
        }
        if not update_rows(connection, _claim, {"id": claim.id}, **values):
            insert_row(connection, _claim, id=claim.id, matches=0, last_match=None, **values)
    # What a claim that is watched again bears on is for its backfill to say: items may have come in between.
    connection.execute(_NO_LONGER_WATCHED)
    connection.execute(update(_claim).where(~_claim.c.enabled).values(matches=0))
    mailprojections.put_subscriptions(event, recorded, connection)


def _put_feeds(connection: Connection, feeds: Iterable[FeedRule]) -> None:
    """Only what is new or other than before is written: of ten thousand feeds, an edit mostly means one."""
    columns = (_feed.c.id, _feed.c.url, _feed.c.title, _feed.c.enabled)
    before = {row.id: row for row in connection.execute(select(*columns))}
    new: list[dict[str, Any]] = []
    for feed in feeds:
        row = before.pop(feed.id, None)
        values: dict[str, Any] = {"url": feed.url, "title": feed.title, "enabled": feed.enabled}
        fresh = {"state": "new", "since": None, "reason": "", "detail": "", "hint": "", **_READABLE}
        fresh |= {"asked_url": feed.url, "moved": None}
        if row is None:
            nothing_yet = {"unfit_keys": "[]", "item_count": 0, "last_item": None, "last_gap": None}
            new.append({"id": feed.id, **values, **fresh, **nothing_yet})
        elif (row.url, row.title, row.enabled) != (feed.url, feed.title, feed.enabled):
            update_rows(connection, _feed, {"id": feed.id}, **values, **(fresh if row.url != feed.url else {}))
    if new:
        connection.execute(insert(_feed), new)
    for id, row in before.items():
        if row.enabled:
            update_rows(connection, _feed, {"id": id}, enabled=False)


@_project.register
def _(event: events.ItemSeen, recorded: Recorded, connection: Connection) -> None:
    at = timestamp(recorded.at)
    insert_row(
        connection,
        _item,
        id=recorded.id,
        feed=event.feed,
        first_seen=at,
        position=recorded.position,
        already_there=event.already_there,
        **_item_text(event, recorded),
    )
    _put_revision(event, recorded, connection)
    connection.execute(_ONE_MORE_ITEM, {"of_feed": event.feed, "at": at})


@_project.register
def _(event: events.ItemRevised, recorded: Recorded, connection: Connection) -> None:
    update_rows(connection, _item, {"id": recorded.id}, **_item_text(event, recorded))
    _put_revision(event, recorded, connection)


def _item_text(event: events.ItemSeen | events.ItemRevised, recorded: Recorded) -> dict[str, Any]:
    return {
        "guid": event.guid,
        "link": event.link,
        "title": event.title,
        "summary": event.summary,
        "author": event.author,
        "published": timestamp_or_none(event.published),
        "changed": timestamp(recorded.at),
        "version": recorded.version,
        "text_position": recorded.position,
        "redacted": False,
    }


def _put_revision(event: events.ItemSeen | events.ItemRevised, recorded: Recorded, connection: Connection) -> None:
    insert_row(
        connection,
        _revision,
        position=recorded.position,
        item=recorded.id,
        feed=event.feed,
        guid=event.guid,
        link=event.link,
        title=event.title,
        fingerprint=event.fingerprint,
    )


@_project.register
def _(event: events.ItemRedacted, recorded: Recorded, connection: Connection) -> None:
    gone = {"title": "", "summary": "", "author": None, "redacted": True, "version": recorded.version}
    update_rows(connection, _item, {"id": recorded.id}, **gone)
    update_rows(connection, _revision, {"item": recorded.id}, title="")


@_project.register
def _(event: events.ClaimMatched, recorded: Recorded, connection: Connection) -> None:
    at = timestamp(recorded.at)
    insert_row(
        connection,
        _match,
        position=recorded.position,
        claim=event.claim,
        item=event.item,
        feed=event.feed,
        at=at,
        item_version=event.item_version,
        rules=event.rules,
        already_there=event.already_there,
        retroactive=event.retroactive,
        evidence=_evidence_column(event),
        lapsed_at=None,
        current=True,
        reviewed=None,
    )
    connection.execute(_ONE_MORE_MATCH, {"of_claim": event.claim, "at": at})


@_project.register
def _(event: events.MatchReviewed, recorded: Recorded, connection: Connection) -> None:
    values: dict[str, Any] = {"current": bool(event.evidence)}
    if event.evidence:
        made = {"item_version": event.item_version, "rules": event.rules, "evidence": _evidence_column(event)}
        values |= made | {"lapsed_at": None}
    changed = {"position": event.match, "current": not event.evidence}
    if update_rows(connection, _match, changed, **values):
        connection.execute(_COUNT_MATCHES, {"of_claim": event.claim, "more": 1 if event.evidence else -1})
    update_rows(connection, _match, {"position": event.match}, reviewed=recorded.position, **values)


def _evidence_column(event: events.ClaimMatched | events.MatchReviewed) -> str:
    return json.dumps(json.loads(events.to_payload(event))["evidence"], ensure_ascii=False)


@_project.register
def _(event: events.MatchLapsed, recorded: Recorded, connection: Connection) -> None:
    of = {"of_claim": event.claim, "of_item": event.item, "before": event.item_version}
    connection.execute(_LAPSE, of | {"lapsed": timestamp(event.changed_at or recorded.at)})


@_project.register
def _(event: events.BackfillFinished, recorded: Recorded, connection: Connection) -> None:
    """Read from the log itself where it is asked what is left to match."""


@_project.register
def _(event: events.FeedFailed, recorded: Recorded, connection: Connection) -> None:
    failing = connection.scalar(select(_feed.c.since).where(_feed.c.id == recorded.id, _feed.c.state == "failing"))
    since = failing or timestamp(recorded.at)
    values: dict[str, Any] = {"reason": event.reason, "detail": event.detail, "hint": event.hint}
    if event.document_sha256:
        # Another failure in between does not make the document readable.
        values |= {"unreadable_sha256": event.document_sha256, "unreadable_detail": event.detail}
    _set_feed(connection, recorded, state="failing", since=since, **values)


@_project.register
def _(event: events.FeedRecovered, recorded: Recorded, connection: Connection) -> None:
    since = timestamp(recorded.at)
    _set_feed(connection, recorded, state="ok", since=since, reason="", detail="", hint="", **_READABLE)


@_project.register
def _(event: events.FeedMoved, recorded: Recorded, connection: Connection) -> None:
    # Where feeds.yaml got another address meanwhile, that one rules.
    there = {"id": recorded.id, "asked_url": event.from_url}
    update_rows(connection, _feed, there, asked_url=event.to_url, moved=timestamp(recorded.at))
    # It may move back.
    update_rows(connection, _feed, {"id": recorded.id, "url": event.to_url}, moved=None)


@_project.register
def _(event: events.FeedGone, recorded: Recorded, connection: Connection) -> None:
    hint = "Take it out of feeds.yaml, or give it its new address there."
    detail = f"{event.url} answers 410"
    _set_feed(connection, recorded, state="gone", since=timestamp(recorded.at), reason="gone", detail=detail, hint=hint)


@_project.register
def _(event: events.FeedRekeyed, recorded: Recorded, connection: Connection) -> None:
    standing = connection.scalar(select(_feed.c.unfit_keys).where(_feed.c.id == recorded.id))
    unfit = sorted({*json.loads(standing or "[]"), event.unfit})
    _set_feed(connection, recorded, unfit_keys=json.dumps(unfit))


@_project.register
def _(event: events.GapSuspected, recorded: Recorded, connection: Connection) -> None:
    _set_feed(connection, recorded, last_gap=timestamp(recorded.at))


def _set_feed(connection: Connection, recorded: Recorded, **values: Any) -> None:
    update_rows(connection, _feed, {"id": recorded.id}, **values)


for _put in (
    mailprojections.prepared,
    mailprojections.skipped,
    mailprojections.started,
    mailprojections.accepted,
    mailprojections.deferred,
    mailprojections.refused,
    mailprojections.cancelled,
    mailprojections.uncertain,
    noticerows.prepared,
    noticerows.sent,
    noticerows.deferred,
):
    _project.register(_put)
