"""What events about notices make of the tables `notice` and `told_trouble`; `projections` calls it for each of them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Table, select

from daemon.events import NoticeDeferred, NoticePrepared, NoticeSent, Recorded
from daemon.moments import parse_timestamp, timestamp
from daemon.notices import Told
from daemon.rows import insert_row, update_rows
from daemon.tables import NoticeRow, ToldTroubleRow, table_of

_notice, _told = table_of(NoticeRow), table_of(ToldTroubleRow)
NOTICE_TABLES: tuple[Table, ...] = (_notice, _told)

BACK_WITHIN = timedelta(days=7)
"""A trouble that comes back this soon after it was over is one that comes and goes."""


def prepared(event: NoticePrepared, recorded: Recorded, connection: Connection) -> None:
    """It waits for its outcome, and what it tells first is not forgotten meanwhile."""
    insert_row(
        connection,
        _notice,
        position=recorded.position,
        recipient=recorded.id,
        state="prepared",
        version=recorded.version,
        prepared_at=timestamp(recorded.at),
        finished_at=None,
        retry_at=None,
        answer="",
        message_id=event.message_id,
        subject=event.subject,
    )
    for told in event.told:
        standing = _standing(recorded.id, told, connection)
        # A trouble that could not be told is not forgotten when it is over before anybody was told.
        if told.stage == "first" and (standing is None or standing.state == "over"):
            _put(recorded.id, told, connection, standing, state="untold", told_at=None)


def sent(event: NoticeSent, recorded: Recorded, connection: Connection) -> None:
    """Its recipient knows what it told."""
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


def deferred(event: NoticeDeferred, recorded: Recorded, connection: Connection) -> None:
    """It is dropped; the next one is made anew."""
    retry = {"answer": event.reason, "retry_at": timestamp(event.retry_at)}
    _finish(recorded, connection, state="deferred", **retry)


def _finish(recorded: Recorded, connection: Connection, **values: Any) -> None:
    # There is one at a time: the next one is not prepared before this one has an outcome.
    which = {"state": "prepared", "recipient": recorded.id}
    update_rows(connection, _notice, which, version=recorded.version, finished_at=timestamp(recorded.at), **values)


def _standing(recipient: str, told: Told, connection: Connection) -> Any:
    theirs = _told.c.recipient == recipient, _told.c.kind == told.kind, _told.c.about == told.about
    return connection.execute(select(_told).where(*theirs)).first()


def _put(recipient: str, told: Told, connection: Connection, standing: Any, **values: Any) -> None:
    key = {"recipient": recipient, "kind": told.kind, "about": told.about}
    if standing is None:
        fresh = {"state": "standing", "told_at": None, "over_at": None, "incidents": 1}
        insert_row(connection, _told, **key, since=timestamp(told.since), **(fresh | values))
        return
    if told.stage == "first":
        values["since"] = timestamp(told.since)
    update_rows(connection, _told, key, **values)
