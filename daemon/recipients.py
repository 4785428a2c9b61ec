"""What each recipient was told under a digest's name, and who rests: questions to the log's tables."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, select

from daemon.moments import parse_timestamp, timestamp
from daemon.tables import (
    DeliveryRow,
    DigestMatchRow,
    DigestRow,
    MatchRow,
    RecipientRow,
    table_of,
)

_recipient, _digest, _delivery = map(table_of, (RecipientRow, DigestRow, DeliveryRow))
_digest_match, _match = map(table_of, (DigestMatchRow, MatchRow))
_TAKEN_BACK = ("refused", "cancelled")


@dataclass(frozen=True)
class Told:
    """A digest that went out, or waits to: when it was due, and until when and where in the log it knew all."""

    due: datetime
    at: datetime
    position: int


def last_told(connection: Connection, name: str, recipient: str, after_position: int) -> Told | None:
    """The last digest of that name for that recipient that was neither refused nor cancelled, nor sent again."""
    query = (
        select(_digest.c.due, _digest.c.at, _digest.c.position)
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.position > after_position)
        .where(_delivery.c.state.not_in(_TAKEN_BACK), ~_digest.c.resent)
        .order_by(_digest.c.position.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return Told(parse_timestamp(row.due), parse_timestamp(row.at), row.position) if row else None


def told_since(connection: Connection, name: str, recipient: str, since: datetime) -> list[datetime]:
    """The due times since a moment that digests of that name told that recipient of, save for those sent again."""
    query = (
        select(_digest.c.due)
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.due >= timestamp(since))
        .where(_delivery.c.state.not_in(_TAKEN_BACK), ~_digest.c.resent)
    )
    return [parse_timestamp(due) for due in connection.scalars(query)]


def cancelled_for(connection: Connection, name: str, recipient: str, due: datetime) -> int:
    """How many digests of that due time were cancelled."""
    query = (
        select(func.count())
        .select_from(_digest)
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.due == timestamp(due))
        .where(_delivery.c.state == "cancelled", ~_digest.c.resent)
    )
    return connection.scalar(query) or 0


def claims_told(connection: Connection, digest: str) -> set[str]:
    """The claims whose matches a digest holds."""
    query = (
        select(_match.c.claim)
        .distinct()
        .join(_digest_match, _digest_match.c.match == _match.c.position)
        .where(_digest_match.c.digest == digest)
    )
    return set(connection.scalars(query))


def is_named(connection: Connection, recipient: str) -> bool:
    """Whether the rules that the log knows name a recipient for any digest."""
    return connection.execute(select(_recipient.c.id).where(_recipient.c.id == recipient)).first() is not None


@dataclass(frozen=True)
class Resting:
    """A recipient who refused three digests in a row: nothing more is prepared for them.

    They are woken by a message that they take (`claimwatch digest resend`), or by feeds.yaml naming them anew.
    """

    recipient: str
    since: datetime
    refusals: int
    answer: str


def resting_recipients(connection: Connection) -> list[Resting]:
    """Who rests, the longest resting first."""
    query = select(_recipient).where(_recipient.c.resting_since.is_not(None)).order_by(_recipient.c.resting_since)
    return [
        Resting(row.id, parse_timestamp(row.resting_since), row.refusals, row.answer)
        for row in connection.execute(query.order_by(_recipient.c.id))
    ]
