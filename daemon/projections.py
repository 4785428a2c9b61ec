"""How the log becomes tables: `project` is the one way into them.

It is called for each event in the transaction that appends it, and for all of them by `rebuild`; so the tables can be
thrown away at any time and come back the same, row for row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache, singledispatch
from typing import Any

from sqlalchemy import Connection, Table, Update, bindparam, delete, insert, select, update

from daemon import events
from daemon.eventlog import Transaction, read
from daemon.events import Event, NewEvent, Recorded
from daemon.moments import timestamp, timestamp_or_none
from daemon.noticerows import NOTICE_TABLES, PUT
from daemon.tables import (
    ClaimRow,
    DeliveryRow,
    DigestMatchRow,
    DigestRow,
    FeedRow,
    ItemRow,
    MatchRow,
    RevisionRow,
    SubscriptionRow,
    table_of,
)

_item, _revision, _match, _feed, _claim = map(table_of, (ItemRow, RevisionRow, MatchRow, FeedRow, ClaimRow))
_subscription, _digest, _digest_match, _delivery = map(
    table_of, (SubscriptionRow, DigestRow, DigestMatchRow, DeliveryRow)
)
PROJECTIONS: tuple[Table, ...] = (
    *(_item, _revision, _match, _feed, _claim, _subscription, _digest, _digest_match, _delivery),
    *NOTICE_TABLES,
)

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


def make_tables_anew(connection: Connection) -> None:
    """Drops the projections and makes them again, empty: for those that an older version made with other columns."""
    metadata = PROJECTIONS[0].metadata
    metadata.drop_all(connection, tables=PROJECTIONS)
    metadata.create_all(connection, tables=PROJECTIONS)


def rebuild(connection: Connection) -> int:
    """Empties the projections and makes them anew from the log; returns the number of events read."""
    for table in PROJECTIONS:
        connection.execute(delete(table))
    count = 0
    for recorded in read(connection):
        _project(recorded.event, recorded, connection)
        count += 1
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
    connection.execute(update(_feed).values(enabled=False))
    for feed in event.rules.feeds:
        _put_feed(connection, feed.id, feed.url, feed.title, feed.enabled)
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
        if not _update(connection, _claim, {"id": claim.id}, **values):
            _insert(connection, _claim, id=claim.id, matches=0, last_match=None, **values)
    # What a claim that is watched again bears on is for its backfill to say: items may have come in between.
    connection.execute(_NO_LONGER_WATCHED)
    connection.execute(update(_claim).where(~_claim.c.enabled).values(matches=0))
    _put_subscriptions(event, recorded, connection)


def _put_feed(connection: Connection, feed: str, url: str, title: str, enabled: bool) -> None:
    row = connection.execute(select(_feed.c.url, _feed.c.state).where(_feed.c.id == feed)).first()
    values: dict[str, Any] = {"url": url, "title": title, "enabled": enabled}
    fresh = {"state": "new", "since": None, "reason": "", "detail": "", "hint": "", **_READABLE}
    if row is None:
        nothing_yet = {"unfit_keys": "[]", "item_count": 0, "last_item": None, "last_gap": None}
        _insert(connection, _feed, id=feed, **values, **fresh, **nothing_yet)
        return
    if row.url != url:
        values |= fresh
    _update(connection, _feed, {"id": feed}, **values)


def _put_subscriptions(event: events.RulesChanged, recorded: Recorded, connection: Connection) -> None:
    wanted = {
        (digest.name, recipient): digest.enabled for digest in event.rules.digests for recipient in digest.recipients
    }
    standing = {(row.digest, row.recipient): row.enabled for row in connection.execute(select(_subscription))}
    for name, recipient in sorted(standing.keys() - wanted.keys()):
        _cancel(name, recipient, recorded, connection)
    for (name, recipient), enabled in sorted(wanted.items()):
        key = {"digest": name, "recipient": recipient}
        at = timestamp(recorded.at)
        if (name, recipient) not in standing:
            since = {"since_position": recorded.position, "since": at, "last_due": None}
            _insert(connection, _subscription, **key, enabled=enabled, **since)
        elif enabled and not standing[name, recipient]:
            # What fell due while it rested was not missed; what was found meanwhile is still to be told.
            _update(connection, _subscription, key, enabled=True, last_due=at)
        else:
            _update(connection, _subscription, key, enabled=enabled)


def _cancel(name: str, recipient: str, recorded: Recorded, connection: Connection) -> None:
    """What is not yet on its way to somebody who no longer stands in feeds.yaml stays here."""
    key = (_subscription.c.digest == name) & (_subscription.c.recipient == recipient)
    connection.execute(delete(_subscription).where(key))
    theirs = select(_digest.c.id).where(_digest.c.name == name, _digest.c.recipient == recipient)
    waiting = _delivery.c.digest.in_(theirs) & _delivery.c.state.not_in(("accepted", "refused", "cancelled"))
    unsent = list(connection.scalars(select(_delivery.c.digest).where(waiting)))
    for digest in unsent:
        gone = {"state": "cancelled", "finished_at": timestamp(recorded.at), "answer": "no longer in feeds.yaml"}
        _update(connection, _delivery, {"digest": digest}, **gone)
        connection.execute(delete(_digest_match).where(_digest_match.c.digest == digest))


@_project.register
def _(event: events.ItemSeen, recorded: Recorded, connection: Connection) -> None:
    at = timestamp(recorded.at)
    _insert(
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
    _update(connection, _item, {"id": recorded.id}, **_item_text(event, recorded))
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
    _insert(
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
    _update(connection, _item, {"id": recorded.id}, **gone)
    _update(connection, _revision, {"item": recorded.id}, title="")


@_project.register
def _(event: events.ClaimMatched, recorded: Recorded, connection: Connection) -> None:
    at = timestamp(recorded.at)
    _insert(
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
    if _update(connection, _match, changed, **values):
        connection.execute(_COUNT_MATCHES, {"of_claim": event.claim, "more": 1 if event.evidence else -1})
    _update(connection, _match, {"position": event.match}, reviewed=recorded.position, **values)


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
    _update(connection, _feed, {"id": recorded.id}, **values)


@_project.register
def _(event: events.DigestPrepared, recorded: Recorded, connection: Connection) -> None:
    _put_digest(event, recorded, connection, matches=len(event.matches), message_id=event.message_id)
    held = {"digest": recorded.id, "name": event.name, "recipient": event.recipient}
    if event.matches:
        connection.execute(insert(_digest_match), [held | {"match": match} for match in event.matches])
    _insert(
        connection,
        _delivery,
        digest=recorded.id,
        state="prepared",
        version=recorded.version,
        attempts=0,
        prepared_at=timestamp(recorded.at),
        first_attempt=None,
        retry_at=None,
        finished_at=None,
        answer="",
    )


@_project.register
def _(event: events.DigestSkipped, recorded: Recorded, connection: Connection) -> None:
    _put_digest(event, recorded, connection, matches=0, message_id=None)


def _put_digest(
    event: events.DigestPrepared | events.DigestSkipped,
    recorded: Recorded,
    connection: Connection,
    *,
    matches: int,
    message_id: str | None,
) -> None:
    prepared = event if isinstance(event, events.DigestPrepared) else None
    due = timestamp(event.due)
    _insert(
        connection,
        _digest,
        id=recorded.id,
        name=event.name,
        recipient=event.recipient,
        due=due,
        at=timestamp(recorded.at),
        position=recorded.position,
        skipped=prepared is None,
        resent=bool(prepared and prepared.resent),
        missed=json.dumps([timestamp(missed) for missed in event.missed]),
        matches=matches,
        message_id=message_id,
        subject=prepared.subject if prepared else "",
        template_error=prepared.template_error if prepared else "",
    )
    if prepared is None or not prepared.resent:
        _update(connection, _subscription, {"digest": event.name, "recipient": event.recipient}, last_due=due)


@_project.register
def _(event: events.DeliveryStarted, recorded: Recorded, connection: Connection) -> None:
    _set_delivery(connection, recorded, state="started", attempts=event.attempt, retry_at=None)
    untried = {"digest": recorded.id, "first_attempt": None}
    _update(connection, _delivery, untried, first_attempt=timestamp(recorded.at))


@_project.register
def _(event: events.DeliveryAccepted, recorded: Recorded, connection: Connection) -> None:
    _set_delivery(connection, recorded, state="accepted", finished_at=timestamp(recorded.at), answer=event.answer)


@_project.register
def _(event: events.DeliveryDeferred, recorded: Recorded, connection: Connection) -> None:
    _set_delivery(connection, recorded, state="deferred", retry_at=timestamp(event.retry_at), answer=event.reason)


@_project.register
def _(event: events.DeliveryRefused, recorded: Recorded, connection: Connection) -> None:
    _set_delivery(connection, recorded, state="refused", finished_at=timestamp(recorded.at), answer=event.reason)
    connection.execute(delete(_digest_match).where(_digest_match.c.digest == recorded.id))


@_project.register
def _(event: events.DeliveryUncertain, recorded: Recorded, connection: Connection) -> None:
    _set_delivery(connection, recorded, state="uncertain", answer="a crash came before the outcome was known")


for _kind, _put_notice in PUT.items():
    _project.register(_kind, _put_notice)


def _set_delivery(connection: Connection, recorded: Recorded, **values: Any) -> None:
    _update(connection, _delivery, {"digest": recorded.id}, version=recorded.version, **values)


def _insert(connection: Connection, table: Table, **values: Any) -> None:
    connection.execute(insert(table), values)


def _update(connection: Connection, table: Table, where: Mapping[str, Any], **values: Any) -> int:
    """Sets columns in the rows that equal `where` (None is NULL); returns how many there were."""
    keys = tuple((key, value is None) for key, value in where.items())
    parameters = {f"where_{key}": value for key, value in where.items() if value is not None}
    statement = _update_statement(table, keys, tuple(values))
    return connection.execute(statement, parameters | {f"set_{key}": value for key, value in values.items()}).rowcount


@lru_cache
def _update_statement(table: Table, where: tuple[tuple[str, bool], ...], columns: tuple[str, ...]) -> Update:
    # Made once for each shape: building it anew for each event took 49 of 69 seconds of a rebuild of 31,495 events.
    conditions = [table.c[key].is_(None) if null else table.c[key] == bindparam(f"where_{key}") for key, null in where]
    return update(table).where(*conditions).values({column: bindparam(f"set_{column}") for column in columns})
