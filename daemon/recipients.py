"""What each recipient was told under a digest's name, and who rests: questions to the log's tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, func, literal, select

from daemon.eventlog import EVENT
from daemon.moments import moment_or_none, parse_timestamp, timestamp
from daemon.tables import (
    DeliveryRow,
    DigestRow,
    RecipientRow,
    table_of,
)

_recipient, _digest, _delivery = map(table_of, (RecipientRow, DigestRow, DeliveryRow))
_TAKEN_BACK = ("refused", "cancelled")


@dataclass(frozen=True)
class Told:
    """A digest that went out, or waits to: when it was due, and until when and where in the log it knew all."""

    due: datetime
    at: datetime
    position: int


@dataclass(frozen=True)
class Stretch:
    """A part of the log that a recipient was not told of yet: behind what a digest told (None: from the beginning), up
    to what a later one told that did not arrive; without that one, to the end."""

    after: Told | None
    upto: Told | None = None


def last_told(connection: Connection, name: str, recipient: str, after_position: int) -> Told | None:
    """The last digest of that name for that recipient that was neither refused nor cancelled, nor sent again."""
    query = _digests_of(name, recipient, after_position).where(_delivery.c.state.not_in(_TAKEN_BACK)).limit(1)
    row = connection.execute(query).first()
    return _told(row) if row else None


def untold_stretches(connection: Connection, name: str, recipient: str, after_position: int) -> list[Stretch]:
    """What of the log that recipient is still to be told of by that digest, in order.

    It is all behind the last one that was told; and before that, what one told that was taken back only when the last
    one was prepared already: a refusal may take five days to come.
    """
    last = last_told(connection, name, recipient, after_position)
    digests = _digests_of(name, recipient, after_position)
    if last is None:
        return [Stretch(None)]
    taken_back = _delivery.c.state.in_(_TAKEN_BACK) & (_digest.c.log_position < last.position)
    if connection.execute(digests.where(taken_back, _taken_back_at > last.position).limit(1)).first() is None:
        return [Stretch(last)]
    return _stretches(connection.execute(digests.where(_digest.c.log_position <= last.position)).all(), None)


def _stretches(digests: Sequence[Row[Any]], upto: Told | None) -> list[Stretch]:
    """What was untold when `upto` was prepared (None: what is untold now), by all digests before it, the newest first.

    What one held that came to nothing is untold again, with all that it had made up for itself.
    """

    def lost(digest: Row[Any]) -> bool:
        back = digest.taken_back_at if digest.state in _TAKEN_BACK else None
        return back is not None and (upto is None or back <= upto.position)

    last = next((one for one in digests if not lost(one)), None)
    if last is None:
        return [Stretch(None, upto)]
    earlier = digests[digests.index(last) + 1 :]
    found = [
        stretch
        for at, one in enumerate(earlier)
        if lost(one) and one.taken_back_at > last.log_position
        for stretch in _stretches(earlier[at + 1 :], _told(one))
    ]
    return [*found, Stretch(_told(last), upto)]


_taken_back_at = (
    select(EVENT.c.position)
    .where(EVENT.c.stream == literal("digest/") + _delivery.c.digest, EVENT.c.version == _delivery.c.version)
    .scalar_subquery()
)
"""Where in the log a delivery came to the state that it is in."""


def _digests_of(name: str, recipient: str, after_position: int) -> Select[Any]:
    """The digests of that name for that recipient since a position, the newest first, without those sent again."""
    query = (
        select(_digest.c.due, _digest.c.at, _digest.c.log_position, _delivery.c.state)
        .add_columns(_taken_back_at.label("taken_back_at"))
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.position > after_position)
    )
    return query.where(~_digest.c.resent).order_by(_digest.c.position.desc())


def _told(row: Row[Any]) -> Told:
    return Told(parse_timestamp(row.due), parse_timestamp(row.at), row.log_position)


def told_since(connection: Connection, name: str, recipient: str, since: datetime) -> list[datetime]:
    """The due times since a moment that digests of that name told that recipient of, save for those sent again."""
    query = (
        select(_digest.c.due)
        .join(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.due >= timestamp(since))
        .where(_delivery.c.state.not_in(_TAKEN_BACK), ~_digest.c.resent)
    )
    return [parse_timestamp(due) for due in connection.scalars(query)]


def answered_by(connection: Connection, name: str, recipient: str, now: datetime) -> datetime | None:
    """The last due time up to now that a digest of that name answered; None where none did.

    This is for a clock that was set back: then the due time that was answered last still lies ahead.
    """
    query = (
        select(func.max(_digest.c.due))
        .outerjoin(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.due <= timestamp(now))
        .where(~_digest.c.resent, _delivery.c.state.is_distinct_from("cancelled"))
    )
    return moment_or_none(connection.scalar(query))


def prepared_for(
    connection: Connection, name: str, recipient: str, due: datetime, *, resent: bool, answered: bool
) -> int:
    """How many digests of that due time there are already: those that were cancelled, or those sent again.

    Where it is not the one that was `answered` last, all others count too: a clock that stood ahead made them.
    """
    query = (
        select(func.count())
        .select_from(_digest)
        .outerjoin(_delivery, _delivery.c.digest == _digest.c.id)
        .where(_digest.c.name == name, _digest.c.recipient == recipient, _digest.c.due == timestamp(due))
        .where(_digest.c.resent if resent else ~_digest.c.resent)
    )
    if answered and not resent:
        query = query.where(_delivery.c.state == "cancelled")
    return connection.scalar(query) or 0


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
