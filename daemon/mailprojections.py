"""How the log becomes the tables of mail: who gets what, which digests were prepared, and how they got there."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from daemon import events
from daemon.duetimes import calendar_of
from daemon.events import Recorded
from daemon.moments import parse_timestamp, timestamp
from daemon.rows import insert_row, update_rows
from daemon.tables import DeliveryRow, DigestMatchRow, DigestRow, RecipientRow, SubscriptionRow, table_of

_subscription, _recipient, _digest, _digest_match, _delivery = map(
    table_of, (SubscriptionRow, RecipientRow, DigestRow, DigestMatchRow, DeliveryRow)
)
REFUSALS_BEFORE_REST = 3
"""After as many refusals in a row, nothing more is prepared for a recipient."""
_ONE_MORE_REFUSAL = (
    update(_recipient)
    .where(_recipient.c.id == bindparam("of"))
    .values(refusals=_recipient.c.refusals + 1, answer=bindparam("said"))
)


def put_subscriptions(event: events.RulesChanged, recorded: Recorded, connection: Connection) -> None:
    """Who gets which digest from here on. Whoever is named anew subscribes anew, and rests no more."""
    wanted = {(digest.name, recipient): digest for digest in event.rules.digests for recipient in digest.recipients}
    standing = {(row.digest, row.recipient): row for row in connection.execute(select(_subscription))}
    for name, recipient in sorted(standing.keys() - wanted.keys()):
        key = (_subscription.c.digest == name) & (_subscription.c.recipient == recipient)
        connection.execute(delete(_subscription).where(key))
    at = timestamp(recorded.at)
    for (name, recipient), digest in sorted(wanted.items(), key=lambda pair: pair[0]):
        key = {"digest": name, "recipient": recipient}
        values: dict[str, Any] = {"enabled": digest.enabled, "calendar": calendar_of(digest)}
        before = standing.get((name, recipient))
        if before is None:
            since = {"since_position": recorded.position, "since": at, "last_due": None}
            insert_row(connection, _subscription, **key, **values, **since)
            _wake(connection, recipient)
            continue
        if (digest.enabled and not before.enabled) or before.calendar != values["calendar"]:
            # What fell due while it rested, or would have by another calendar, was not missed; what was found meanwhile
            # is still to be told.
            values["last_due"] = at
        update_rows(connection, _subscription, key, **values)
    connection.execute(delete(_recipient).where(_recipient.c.id.not_in(sorted({one for _, one in wanted}))))


def _wake(connection: Connection, recipient: str) -> None:
    if not update_rows(connection, _recipient, {"id": recipient}, refusals=0, resting_since=None, answer=""):
        insert_row(connection, _recipient, id=recipient, refusals=0, resting_since=None, answer="")


def prepared(event: events.DigestPrepared, recorded: Recorded, connection: Connection) -> None:
    """It holds its matches and waits to be handed over."""
    _put_digest(event, recorded, connection, matches=len(event.matches), message_id=event.message_id)
    held = {"digest": recorded.id, "name": event.name, "recipient": event.recipient}
    if event.matches:
        connection.execute(insert(_digest_match), [held | {"match": match} for match in event.matches])
    insert_row(
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


def skipped(event: events.DigestSkipped, recorded: Recorded, connection: Connection) -> None:
    """Its due time is answered."""
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
    insert_row(
        connection,
        _digest,
        id=recorded.id,
        name=event.name,
        recipient=event.recipient,
        due=due,
        at=timestamp(recorded.at),
        position=recorded.position,
        # One that is skipped holds nothing that the next one would have to begin after.
        log_position=prepared.log_position if prepared else recorded.position,
        skipped=prepared is None,
        resent=bool(prepared and prepared.resent),
        missed=json.dumps([timestamp(missed) for missed in event.missed]),
        matches=matches,
        message_id=message_id,
        subject=prepared.subject if prepared else "",
        template_error="; ".join(prepared.template_faults) if prepared else "",
    )
    if prepared is None or not prepared.resent:
        update_rows(connection, _subscription, {"digest": event.name, "recipient": event.recipient}, last_due=due)


def started(event: events.DeliveryStarted, recorded: Recorded, connection: Connection) -> None:
    """An attempt is under way."""
    _set_delivery(connection, recorded, state="started", attempts=event.attempt, retry_at=None)
    untried = {"digest": recorded.id, "first_attempt": None}
    update_rows(connection, _delivery, untried, first_attempt=timestamp(recorded.at))


def accepted(event: events.DeliveryAccepted, recorded: Recorded, connection: Connection) -> None:
    """It is told, and its recipient is reached."""
    at = timestamp(recorded.at)
    _set_delivery(connection, recorded, state="accepted", finished_at=at, answer=event.answer)
    recipient = _recipient_of(connection, recorded.id)
    if connection.scalar(select(_recipient.c.resting_since).where(_recipient.c.id == recipient)):
        # It is reached again; what fell due while it rested was not missed.
        update_rows(connection, _subscription, {"recipient": recipient}, last_due=at)
    update_rows(connection, _recipient, {"id": recipient}, refusals=0, resting_since=None, answer="")


def deferred(event: events.DeliveryDeferred, recorded: Recorded, connection: Connection) -> None:
    """It waits for the next attempt."""
    _set_delivery(connection, recorded, state="deferred", retry_at=timestamp(event.retry_at), answer=event.reason)


def refused(event: events.DeliveryRefused, recorded: Recorded, connection: Connection) -> None:
    """Its matches are free for the next one; after three in a row its recipient rests.

    One that we gave up ourselves does not count: while our own server was away for eight days, everybody came to rest.
    """
    at = timestamp(recorded.at)
    _set_delivery(connection, recorded, state="refused", finished_at=at, answer=event.reason)
    _give_back(connection, recorded.id)
    if event.gave_up:
        return
    recipient = _recipient_of(connection, recorded.id)
    connection.execute(_ONE_MORE_REFUSAL, {"of": recipient, "said": event.reason})
    key = {"id": recipient, "resting_since": None, "refusals": REFUSALS_BEFORE_REST}
    update_rows(connection, _recipient, key, resting_since=at)


def cancelled(event: events.DeliveryCancelled, recorded: Recorded, connection: Connection) -> None:
    """It is not sent; what it held and was due for is open again, unless it may have left."""
    _set_delivery(
        connection, recorded, state="cancelled", finished_at=timestamp(recorded.at), answer=event.reason, retry_at=None
    )
    if event.may_have_left:
        return
    _give_back(connection, recorded.id)
    row = connection.execute(select(_digest).where(_digest.c.id == recorded.id)).one()
    if not row.resent:
        # It answers nothing: what it was due for is due again.
        first = min(map(parse_timestamp, (row.due, *json.loads(row.missed))))
        key = {"digest": row.name, "recipient": row.recipient, "last_due": row.due}
        update_rows(connection, _subscription, key, last_due=timestamp(first - timedelta(seconds=1)))


def _give_back(connection: Connection, digest: str) -> None:
    connection.execute(delete(_digest_match).where(_digest_match.c.digest == digest))


def _recipient_of(connection: Connection, digest: str) -> str | None:
    return connection.scalar(select(_digest.c.recipient).where(_digest.c.id == digest))


def uncertain(event: events.DeliveryUncertain, recorded: Recorded, connection: Connection) -> None:
    """Nobody knows whether it left."""
    _set_delivery(connection, recorded, state="uncertain", answer="a crash came before the outcome was known")


def _set_delivery(connection: Connection, recorded: Recorded, **values: Any) -> None:
    update_rows(connection, _delivery, {"digest": recorded.id}, version=recorded.version, **values)
