"""What events about notices make of the tables `notice` and `told_trouble`; `projections` calls it for each of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Table, insert, select, update

from daemon.events import Event, NoticeDeferred, NoticePrepared, NoticeSent, Recorded
from daemon.moments import parse_timestamp, timestamp
from daemon.notices import Told
from daemon.tables import NoticeRow, ToldTroubleRow, table_of

_notice, _told = table_of(NoticeRow), table_of(ToldTroubleRow)
NOTICE_TABLES: tuple[Table, ...] = (_notice, _told)

BACK_WITHIN = timedelta(days=7)
"""A trouble that comes back this soon after it was over is one that comes and goes."""


def _prepared(event: NoticePrepared, recorded: Recorded, connection: Connection) -> None:
    values = {
        "position": recorded.position,
        "recipient": recorded.id,
        "state": "prepared",
        "version": recorded.version,
        "prepared_at": timestamp(recorded.at),
        "finished_at": None,
        "retry_at": None,
        "answer": "",
        "message_id": event.message_id,
        "subject": event.subject,
    }
    connection.execute(insert(_notice), values)
    for told in event.told:
        standing = _standing(recorded.id, told, connection)
        # A trouble that could not be told is not forgotten when it is over before anybody was told.
        if told.stage == "first" and (standing is None or standing.state == "over"):
            _put(recorded.id, told, connection, standing, state="untold", told_at=None)


def _sent(event: NoticeSent, recorded: Recorded, connection: Connection) -> None:
    _finish(recorded, connection, state="sent", answer=event.answer)
    at = timestamp(recorded.at)
    for told in event.told:
        standing = _standing(recorded.id, told, connection)
        if told.stage in ("first", "passed"):
            came_back = standing and standing.over_at and recorded.at - parse_timestamp(standing.over_at) < BACK_WITHIN
            incidents = standing.incidents + 1 if standing and came_back else 1
            over = told.stage == "passed"
            changed = {"state": "over" if over else "standing", "over_at": at if over else None, "told_at": at}
            _put(recorded.id, told, connection, standing, incidents=incidents, **changed)
        elif told.stage == "again":
            _put(recorded.id, told, connection, standing, told_at=at)
        else:
            _put(recorded.id, told, connection, standing, state="over", told_at=at, over_at=at)


def _deferred(event: NoticeDeferred, recorded: Recorded, connection: Connection) -> None:
    retry = {"answer": event.reason, "retry_at": timestamp(event.retry_at)}
    _finish(recorded, connection, state="deferred", **retry)


PUT: dict[type[Event], Callable[[Any, Recorded, Connection], None]] = {
    NoticePrepared: _prepared,
    NoticeSent: _sent,
    NoticeDeferred: _deferred,
}
"""What to do with each kind of event."""


def _finish(recorded: Recorded, connection: Connection, **values: Any) -> None:
    # There is one at a time: the next one is not prepared before this one has an outcome.
    which = (_notice.c.state == "prepared") & (_notice.c.recipient == recorded.id)
    finished = {"version": recorded.version, "finished_at": timestamp(recorded.at)}
    connection.execute(update(_notice).where(which).values(**finished, **values))


def _standing(recipient: str, told: Told, connection: Connection) -> Any:
    return connection.execute(select(_told).where(*_key(recipient, told))).first()


def _put(recipient: str, told: Told, connection: Connection, standing: Any, **values: Any) -> None:
    if standing is not None:
        if told.stage == "first":
            values["since"] = timestamp(told.since)
        connection.execute(update(_told).where(*_key(recipient, told)).values(**values))
        return
    row = {"recipient": recipient, "kind": told.kind, "about": told.about, "since": timestamp(told.since)}
    fresh = {"state": "standing", "told_at": None, "over_at": None, "incidents": 1}
    connection.execute(insert(_told), row | fresh | values)


def _key(recipient: str, told: Told) -> tuple[Any, ...]:
    return _told.c.recipient == recipient, _told.c.kind == told.kind, _told.c.about == told.about
