"""The contract of the log, the same on every kind of database it can stand in.

What SQL alone can't say the same everywhere (settings, files, `INSERT OR REPLACE`) is at the end, for SQLite, and in
`test_postgresql.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError, IntegrityError

from daemon.chain import verify_chain
from daemon.databases import Sqlite, database_at
from daemon.errors import ClaimwatchError, LogDamaged, StreamConflict, UnknownKind
from daemon.eventlog import (
    GENESIS,
    EventLog,
    Head,
    Transaction,
    copy_events,
    event_at,
    head_of,
    last_of_kind,
    read,
    version_of,
)
from daemon.events import (
    ClaimMatched,
    FeedFailed,
    FeedRecovered,
    ItemRedacted,
    ItemRevised,
    ItemSeen,
    NewEvent,
    Recorded,
    Redaction,
    RulesChanged,
    WatchStarted,
    WatchStopped,
    to_payload,
)
from daemon.moments import timestamp
from daemon.rules import canonical_json
from tests import support
from tests.databases import AnyDatabase, SqliteDatabase

NOON = datetime(2025, 3, 19, 12, 0, tzinfo=UTC)
BLANK = {"title": "", "summary": "", "content": "", "author": None}
COLUMNS = ("position", "stream", "version", "kind", "at", "payload", "payload_sha256", "chain")
ROOT = Path(__file__).parent.parent


@pytest.fixture
def log(database: AnyDatabase) -> Iterator[EventLog]:
    """An empty log in each kind of database."""
    with support.log_in(database) as opened:
        yield opened


def seen(title: str, feed: str = "gazette") -> ItemSeen:
    return ItemSeen(
        feed=feed,
        key="guid",
        guid=title,
        link=f"https://gazette.example/{title}",
        title=title,
        summary=f"The summary of {title}",
        content="",
        author="A. Writer",
        published=NOON,
        lang="en",
        fingerprint="f" * 64,
    )


def revised(title: str) -> ItemRevised:
    values = {name: getattr(seen(title), name) for name in ItemRevised.__dataclass_fields__ if name != "kind"}
    return ItemRevised(**values)


def append(log: EventLog, *new: NewEvent, now: datetime = NOON) -> list[Recorded]:
    with log.transaction(now) as transaction:
        return transaction.append(new)


class _RolledBackError(Exception):
    pass


@contextmanager
def rolled_back(log: EventLog) -> Iterator[Transaction]:
    """A transaction in which something goes wrong at the end."""
    with suppress(_RolledBackError), log.transaction(NOON) as transaction:
        yield transaction
        raise _RolledBackError


def told(log: EventLog) -> list[Recorded]:
    """A log of eight events in five streams, appended in three transactions."""
    matched = ClaimMatched("energy-strike-pause", "1", "gazette", 1, "sha", ())
    first = [NewEvent("watch", WatchStarted("1.0", None)), NewEvent("feed/gazette", FeedFailed("timeout", "", ""))]
    second = [NewEvent("item/1", seen("one")), NewEvent("item/2", seen("two")), NewEvent("claim/energy", matched)]
    third = [NewEvent("item/1", revised("One")), NewEvent("feed/gazette", FeedRecovered(NOON))]
    third.append(NewEvent("watch", WatchStopped("SIGTERM")))
    return [
        recorded
        for hours, batch in enumerate((first, second, third))
        for recorded in append(log, *batch, now=NOON + timedelta(hours=hours))
    ]


def rows(log: EventLog) -> list[dict[str, Any]]:
    """The table as any SQL tool sees it."""
    with log.reading() as connection:
        found = connection.execute(text("SELECT * FROM event ORDER BY position")).all()
    return [dict(row._mapping) for row in found]


def everything(log: EventLog) -> list[Recorded]:
    with log.reading() as connection:
        return list(read(connection))


def positions(found: Sequence[Recorded]) -> list[int]:
    return [one.position for one in found]


def verify(log: EventLog) -> Head:
    with log.reading() as connection:
        return verify_chain(connection)


# ── an event as it is stored ─────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_log_is_whole_and_its_head_is_the_beginning(log: EventLog) -> None:
    assert verify(log) == Head(0, "0" * 64)
    assert everything(log) == []


def test_what_is_appended_comes_back_equal_and_in_order(log: EventLog) -> None:
    recorded = told(log)
    assert everything(log) == recorded


def test_an_append_returns_what_the_log_then_holds(log: EventLog) -> None:
    recorded = append(log, NewEvent("watch", WatchStopped("a")), NewEvent("watch", WatchStopped("b")))
    assert recorded == [
        Recorded(1, "watch", 1, NOON, WatchStopped("a")),
        Recorded(2, "watch", 2, NOON, WatchStopped("b")),
    ]


def test_appending_nothing_changes_nothing(log: EventLog) -> None:
    assert append(log) == []
    assert verify(log) == Head(0, GENESIS)


def test_the_table_has_the_columns_that_are_documented(log: EventLog) -> None:
    told(log)
    assert tuple(rows(log)[0]) == COLUMNS


def test_positions_run_from_one_without_holes_and_versions_by_stream(log: EventLog) -> None:
    told(log)
    assert [(row["position"], row["stream"], row["version"]) for row in rows(log)] == [
        (1, "watch", 1),
        (2, "feed/gazette", 1),
        (3, "item/1", 1),
        (4, "item/2", 1),
        (5, "claim/energy", 1),
        (6, "item/1", 2),
        (7, "feed/gazette", 2),
        (8, "watch", 2),
    ]


def test_a_payload_is_stored_as_canonical_utf8_bytes(log: EventLog) -> None:
    append(log, NewEvent("feed/gazette", FeedFailed("тайм-аут", "no “answer”\n", "Wait.")))
    stored = bytes(rows(log)[0]["payload"])
    assert stored == '{"detail":"no “answer”\\n","document_sha256":null,"hint":"Wait.","reason":"тайм-аут"}'.encode()


def test_a_payload_is_hashed_as_it_is_stored(log: EventLog) -> None:
    told(log)
    for row in rows(log):
        assert row["payload_sha256"] == hashlib.sha256(bytes(row["payload"])).hexdigest()


def test_at_is_iso_8601_in_utc_with_six_decimals(log: EventLog) -> None:
    kyiv = timezone(timedelta(hours=2))
    append(log, NewEvent("watch", WatchStopped("x")), now=datetime(2025, 3, 19, 1, 2, 3, 40, tzinfo=kyiv))
    assert rows(log)[0]["at"] == "2025-03-18T23:02:03.000040Z"
    assert everything(log)[0].at == datetime(2025, 3, 18, 23, 2, 3, 40, tzinfo=UTC)


def test_a_time_without_a_zone_is_not_recorded(log: EventLog) -> None:
    with pytest.raises(ValueError, match="without a zone"):
        append(log, NewEvent("watch", WatchStopped("x")), now=datetime(2025, 3, 19))  # noqa: DTZ001
    assert everything(log) == []


def test_the_chain_can_be_followed_by_hand(log: EventLog) -> None:
    append(log, NewEvent("feed/газета", FeedFailed("тайм-аут", "", "")))
    told(log)
    chain = "0" * 64
    for row in rows(log):
        linked = [chain, *(row[name] for name in ("position", "stream", "version", "kind", "at", "payload_sha256"))]
        text_ = json.dumps(linked, separators=(",", ":"), ensure_ascii=False)
        chain = hashlib.sha256(text_.encode("utf-8")).hexdigest()
        assert row["chain"] == chain
    assert verify(log) == Head(9, chain)


def test_the_head_is_the_last_position_and_its_chain(log: EventLog) -> None:
    told(log)
    last = rows(log)[-1]
    with log.reading() as connection:
        assert head_of(connection) == Head(8, last["chain"]) == verify_chain(connection)


def test_a_log_made_twice_keeps_what_it_holds(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    guards = database.triggers()
    assert guards > 0
    log.create()
    with closing(EventLog(database.url)) as again:
        again.create()
        assert len(everything(again)) == 8
    assert database.triggers() == guards


@pytest.mark.parametrize(
    ("said", "stored"),
    [
        ("a\0b", "a\\x00b"),
        ("half of an emoji: \ud83d", "half of an emoji: \\ud83d"),
        ("\udcff\0", "\\udcff\\x00"),
        ("as it is: \\u0000 \x07 \ufffe \U0001f600", "as it is: \\u0000 \x07 \ufffe \U0001f600"),
    ],
)
def test_what_a_database_cannot_hold_as_text_is_written_out_and_loses_nothing(
    log: EventLog, said: str, stored: str
) -> None:
    recorded = append(
        log,
        NewEvent("feed/gazette", FeedFailed("broken answer", said, said)),
        NewEvent("item/1", replace(seen("one"), title=said, guid=said)),
        NewEvent("watch", RulesChanged("sha", support.rules(support.feed(title=said)))),
    )
    assert everything(log) == recorded
    failed, found, changed = (one.event for one in recorded)
    assert (failed.detail, failed.hint, found.title, found.guid) == (stored,) * 4
    assert (found.published, changed.rules.feeds[0].title) == (NOON, stored)
    assert verify(log).position == 3


def test_somebody_elses_table_of_that_name_is_left_alone(database: AnyDatabase) -> None:
    database.meddle(("CREATE TABLE event (name TEXT)", {}), ("INSERT INTO event VALUES ('a concert')", {}))
    with closing(EventLog(database.url)) as log, pytest.raises(ClaimwatchError, match=r"can't be used: .*position"):
        log.create()
    assert database.triggers() == 0
    database.meddle(("UPDATE event SET name = 'another concert'", {}))


# ── one transaction ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_transaction_that_fails_leaves_nothing_and_uses_up_no_position(log: EventLog) -> None:
    append(log, NewEvent("watch", WatchStopped("before")))
    with rolled_back(log) as transaction:
        transaction.append([NewEvent("watch", WatchStopped("lost")), NewEvent("item/1", seen("lost"))])
    assert positions(append(log, NewEvent("watch", WatchStopped("after")))) == [2]
    assert [one.event.reason for one in everything(log)] == ["before", "after"]


def test_appends_of_one_transaction_follow_each_other(log: EventLog) -> None:
    with log.transaction(NOON) as transaction:
        first = transaction.append([NewEvent("watch", WatchStopped("a"))])
        second = transaction.append([NewEvent("watch", WatchStopped("b"), after_version=1)])
    assert [(one.position, one.version) for one in first + second] == [(1, 1), (2, 2)]
    assert verify(log).position == 2


def test_an_event_that_was_decided_on_another_version_is_a_conflict(log: EventLog) -> None:
    told(log)
    with pytest.raises(StreamConflict, match=r"item/1 is at version 2, not 1"):
        append(log, NewEvent("watch", WatchStopped("x")), NewEvent("item/1", revised("late"), after_version=1))
    assert len(everything(log)) == 8


def test_two_writers_that_both_saw_the_same_item_cannot_both_record_it(log: EventLog, database: AnyDatabase) -> None:
    with closing(EventLog(database.url)) as other:
        append(log, NewEvent("item/1", seen("one"), after_version=0))
        with pytest.raises(StreamConflict, match=r"item/1 is at version 1, not 0"):
            append(other, NewEvent("item/1", seen("one"), after_version=0))
    assert len(everything(log)) == 1


@pytest.mark.parametrize("after_version", [1, None])
def test_the_right_version_or_any_is_no_conflict(log: EventLog, after_version: int | None) -> None:
    append(log, NewEvent("item/1", seen("one"), after_version=0))
    assert append(log, NewEvent("item/1", revised("One"), after_version))[0].version == 2


def test_versions_are_counted_within_one_batch(log: EventLog) -> None:
    recorded = append(log, *(NewEvent("item/1", seen("one"), after_version=at) for at in range(3)))
    assert [one.version for one in recorded] == [1, 2, 3]


def test_a_conflict_within_one_batch_is_found_too(log: EventLog) -> None:
    with pytest.raises(StreamConflict, match=r"item/1 is at version 1, not 0"):
        append(log, NewEvent("item/1", seen("one"), 0), NewEvent("item/1", seen("one"), 0))
    assert everything(log) == []


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [1, 2, 3, 4, 5, 6, 7, 8]),
        ({"after": 3}, [4, 5, 6, 7, 8]),
        ({"after": 8}, []),
        ({"upto": 3}, [1, 2, 3]),
        ({"after": 2, "upto": 4}, [3, 4]),
        ({"kinds": ("item_seen",)}, [3, 4]),
        ({"kinds": ("watch_started", "watch_stopped")}, [1, 8]),
        ({"kinds": ("match_lapsed",)}, []),
        ({"stream": "item/1"}, [3, 6]),
        ({"stream": "item/"}, [3, 4, 6]),
        ({"stream": "watch"}, [1, 8]),
        ({"stream": "item"}, []),
        ({"stream": "feed/"}, [2, 7]),
        ({"since": NOON + timedelta(hours=1)}, [3, 4, 5, 6, 7, 8]),
        ({"since": NOON + timedelta(hours=1, microseconds=1)}, [6, 7, 8]),
        ({"since": datetime(2025, 3, 19, 16, 0, tzinfo=timezone(timedelta(hours=2)))}, [6, 7, 8]),
        ({"stream": "item/", "kinds": ("item_revised",), "after": 3}, [6]),
    ],
    ids=str,
)
def test_what_is_asked_for_is_read_in_order(log: EventLog, query: dict[str, Any], expected: list[int]) -> None:
    told(log)
    with log.reading() as connection:
        assert positions(list(read(connection, **query))) == expected


def test_the_streams_of_a_type_are_those_behind_its_slash(log: EventLog) -> None:
    streams = ["item/", "item/a", "item/z~", "item/я", "item", "item.x", "item-x", "item0", "items/a", "ITEM/a"]
    append(log, *(NewEvent(stream, WatchStopped(stream)) for stream in streams))
    with log.reading() as connection:
        assert [one.stream for one in read(connection, stream="item/")] == ["item/", "item/a", "item/z~", "item/я"]


def test_a_log_longer_than_a_batch_is_read_and_verified_whole(log: EventLog) -> None:
    append(log, *(NewEvent("watch", WatchStopped(str(at))) for at in range(2_001)))
    append(log, NewEvent("watch", WatchStarted("1.0", None)), *[NewEvent("watch", WatchStopped("x"))] * 2_001)
    assert positions(everything(log)) == list(range(1, 4_004))
    with log.reading() as connection:
        assert len(list(read(connection, kinds=("watch_stopped",)))) == 4_002
    assert verify(log).position == 4_003


def test_a_reader_sees_one_state_whatever_is_appended_meanwhile(log: EventLog) -> None:
    append(log, NewEvent("watch", WatchStopped("a")))
    with log.reading() as connection:
        assert head_of(connection).position == 1
        append(log, NewEvent("watch", WatchStopped("b")))
        assert head_of(connection).position == 1
        assert positions(list(read(connection))) == [1]
    with log.reading() as connection:
        assert head_of(connection).position == 2


def test_a_reader_sees_nothing_of_a_transaction_before_it_is_committed(log: EventLog) -> None:
    with log.transaction(NOON) as transaction:
        transaction.append([NewEvent("watch", WatchStopped("x"))])
        assert everything(log) == []
    assert positions(everything(log)) == [1]


def test_the_last_event_of_a_kind_of_a_stream_and_of_the_log_is_found(log: EventLog) -> None:
    recorded = told(log)
    with log.reading() as connection:
        assert last_of_kind(connection, "item_seen") == recorded[3]
        assert last_of_kind(connection, "feed_gone") is None
        assert event_at(connection) == recorded[7]
        assert event_at(connection, "item/1") == recorded[5]
        assert event_at(connection, "item/1", 1) == recorded[2]
        assert event_at(connection, "item/1", 3) is None
        assert event_at(connection, "item/none") is None


def test_a_streams_version_is_that_of_its_last_event(log: EventLog) -> None:
    told(log)
    with log.reading() as connection:
        assert [version_of(connection, one) for one in ("item/1", "item/2", "item/3")] == [2, 1, 0]


def test_an_event_of_an_unknown_kind_is_not_passed_over(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    database.break_in(("UPDATE event SET kind = 'item_dreamt' WHERE position = 4", {}))
    with pytest.raises(UnknownKind, match="event 4 is of the kind 'item_dreamt'"):
        everything(log)


def test_a_copied_log_is_the_same_byte_for_byte(log: EventLog, tmp_path: Path) -> None:
    told(log)
    with closing(EventLog(f"sqlite:///{tmp_path}/copy.sqlite3")) as copy:
        copy.create()
        with log.reading() as source, copy.transaction(NOON) as target:
            copy_events(source, target.connection)
        assert rows(copy) == rows(log)
        assert verify(copy) == verify(log)


# ── what the database itself refuses ─────────────────────────────────────────────────────────────────────────────

INSERT = (
    "INSERT INTO event (position, stream, version, kind, at, payload, payload_sha256, chain) "
    "SELECT :position, :stream, :version, kind, at, payload, payload_sha256, chain FROM event WHERE position = 1"
)


def refuses(log: EventLog, statement: str, values: dict[str, Any] | None = None) -> bool:
    """Whether the database refuses a statement in words of its own, and is then as it was before."""
    before = rows(log)
    with (
        pytest.raises((ClaimwatchError, DatabaseError), match="append-only"),
        log.transaction(NOON) as transaction,
    ):
        transaction.connection.execute(text(statement), values or {})
    return rows(log) == before


@pytest.mark.parametrize("position", [1, 4, 8])
@pytest.mark.parametrize("column", COLUMNS)
def test_no_column_of_any_event_can_be_updated(log: EventLog, column: str, position: int) -> None:
    told(log)
    value: object = {"position": 99, "version": 99, "payload": b'{"reason":"another"}'}.get(column, "another")
    values = {"value": value, "position": position}
    assert refuses(log, f"UPDATE event SET {column} = :value WHERE position = :position", values)


def test_not_even_all_rows_at_once_can_be_updated(log: EventLog) -> None:
    told(log)
    assert refuses(log, "UPDATE event SET at = '2020-01-01T00:00:00.000000Z'")


@pytest.mark.parametrize("where", ["position = 1", "position = 4", "position = 8", "stream = 'item/1'", "1 = 1"])
def test_no_event_can_be_deleted(log: EventLog, where: str) -> None:
    told(log)
    assert refuses(log, f"DELETE FROM event WHERE {where}")


@pytest.mark.parametrize("position", [-1, 0, 1, 8, 10, 99])
def test_an_event_goes_nowhere_but_to_the_end(log: EventLog, position: int) -> None:
    told(log)
    assert refuses(log, INSERT, {"position": position, "stream": "watch", "version": 3})


def test_the_first_event_goes_to_position_one(log: EventLog) -> None:
    values = {"position": 2, "payload": b"{}"}
    insert = "INSERT INTO event VALUES (:position, 'watch', 1, 'watch_stopped', '', :payload, '', '')"
    assert refuses(log, insert, values)


def test_an_event_at_the_end_is_taken(log: EventLog) -> None:
    told(log)
    with log.transaction(NOON) as transaction:
        transaction.connection.execute(text(INSERT), {"position": 9, "stream": "watch", "version": 3})
    assert len(rows(log)) == 9


def test_an_insert_that_turns_into_an_update_is_refused(log: EventLog) -> None:
    told(log)
    upsert = INSERT.replace("SELECT", "SELECT * FROM (SELECT", 1) + ") AS one WHERE true "
    upsert += "ON CONFLICT (position) DO UPDATE SET payload = excluded.payload"
    assert refuses(log, upsert, {"position": 4, "stream": "watch", "version": 3})


def test_a_version_that_a_stream_has_is_refused(log: EventLog) -> None:
    told(log)
    with pytest.raises(IntegrityError), log.transaction(NOON) as transaction:
        transaction.connection.execute(text(INSERT), {"position": 9, "stream": "item/1", "version": 2})
    assert len(rows(log)) == 8


# ── redaction ────────────────────────────────────────────────────────────────────────────────────────────────────


def redact(log: EventLog, stream: str, reason: str = "a court's order") -> list[Recorded]:
    with log.transaction(NOON + timedelta(days=1)) as transaction:
        return transaction.redact(stream, reason, BLANK)


def test_a_redaction_takes_the_text_out_of_every_event_of_an_item(log: EventLog) -> None:
    told(log)
    redact(log, "item/1")
    first, second = [one.event for one in everything(log) if one.stream == "item/1"][:2]
    for event in (first, second):
        assert (event.title, event.summary, event.author) == ("", "", None)
    assert first.guid == "one"
    assert not any(
        word in bytes(row["payload"]).lower() for row in rows(log)[2:6:3] for word in (b"writer", b"summary of")
    )


def test_a_redaction_is_recorded_with_the_hashes_of_what_is_left(log: EventLog) -> None:
    told(log)
    recorded = redact(log, "item/1")
    left = {row["position"]: hashlib.sha256(bytes(row["payload"])).hexdigest() for row in rows(log)}
    redactions = (Redaction(3, left[3]), Redaction(6, left[6]))
    event = ItemRedacted("a court's order", redactions)
    assert recorded == [Recorded(9, "item/1", 3, NOON + timedelta(days=1), event)]
    assert everything(log)[-1] == recorded[0]


def test_a_redaction_touches_nothing_but_those_payloads(log: EventLog) -> None:
    told(log)
    before = rows(log)
    redact(log, "item/1")
    for old, new in zip(before, rows(log)[:8], strict=True):
        changed = {name for name in COLUMNS if old[name] != new[name]}
        assert changed == ({"payload"} if old["position"] in (3, 6) else set())


def test_the_chain_still_verifies_after_a_redaction(log: EventLog) -> None:
    told(log)
    redact(log, "item/1")
    assert verify(log) == Head(9, rows(log)[8]["chain"])


def test_an_item_can_be_redacted_again_when_it_was_revised_since(log: EventLog) -> None:
    told(log)
    redact(log, "item/1")
    append(log, NewEvent("item/1", revised("Back")))
    second = redact(log, "item/1", "again")
    assert [one.position for one in second[0].event.redactions] == [3, 6, 10]
    assert verify(log).position == 11
    assert not any(b"summary of Back" in bytes(row["payload"]) for row in rows(log))


@pytest.mark.parametrize("position", [3, 6])
def test_what_is_slipped_in_after_a_redaction_shows(log: EventLog, database: AnyDatabase, position: int) -> None:
    told(log)
    redact(log, "item/1")
    forged = to_payload(seen("forged") if position == 3 else revised("forged"))
    database.break_in(
        ("UPDATE event SET payload = :payload WHERE position = :position", {"payload": forged, "position": position})
    )
    with pytest.raises(LogDamaged, match=rf"event {position} \(item/1 .*: its payload was altered"):
        verify(log)


def test_the_text_put_back_after_a_redaction_shows(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    original = bytes(rows(log)[2]["payload"])
    redact(log, "item/1")
    database.break_in(("UPDATE event SET payload = :payload WHERE position = 3", {"payload": original}))
    with pytest.raises(LogDamaged, match=r"event 3 \(item/1 version 1, item_seen\): its payload was altered"):
        verify(log)


def test_an_item_that_was_not_redacted_stays_closed_when_another_was(log: EventLog) -> None:
    told(log)
    redact(log, "item/1")
    assert refuses(log, "UPDATE event SET payload = :payload WHERE position = 4", {"payload": b"{}"})


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "payload"])
def test_a_redacted_event_opens_no_other_column(log: EventLog, column: str) -> None:
    told(log)
    redact(log, "item/1")
    value: object = 99 if column in ("position", "version") else "another"
    assert refuses(log, f"UPDATE event SET {column} = :value WHERE position = 3", {"value": value})


def test_the_redaction_itself_can_not_be_altered(log: EventLog) -> None:
    told(log)
    redact(log, "item/1")
    assert refuses(log, "UPDATE event SET payload = :payload WHERE position = 9", {"payload": b"{}"})


def test_a_redaction_reaches_no_event_of_another_stream(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    forged = canonical_json({"reason": "forged"})
    sha256 = hashlib.sha256(forged).hexdigest()
    append(log, NewEvent("item/1", ItemRedacted("x", (Redaction(8, sha256), Redaction(4, sha256)))))
    assert refuses(log, "UPDATE event SET payload = :payload WHERE position = 8", {"payload": forged})
    database.break_in(("UPDATE event SET payload = :payload WHERE position = 8", {"payload": forged}))
    with pytest.raises(LogDamaged, match=r"event 8 \(watch version 2, watch_stopped\): its payload was altered"):
        verify(log)


def test_a_redaction_that_would_make_an_event_unreadable_is_refused(log: EventLog) -> None:
    told(log)
    with (
        pytest.raises((ClaimwatchError, ValueError, KeyError)),
        log.transaction(NOON) as transaction,
    ):
        transaction.redact("item/1", "a slip of the pen", {"titel": ""})
    assert len(everything(log)) == 8


def test_a_redaction_that_rolls_back_leaves_the_text(log: EventLog) -> None:
    told(log)
    before = rows(log)
    with rolled_back(log) as transaction:
        transaction.redact("item/1", "a mistake", BLANK)
    assert rows(log) == before


# ── tampering, past the triggers ─────────────────────────────────────────────────────────────────────────────────

OTHER: dict[str, Any] = {
    "stream": "item/other",
    "version": 7,
    "kind": "feed_gone",
    "at": "2025-03-19T12:00:00.000001Z",
    "payload": b'{"reason":"another"}',
    "payload_sha256": "0" * 64,
    "chain": "0" * 64,
}
UPDATE = "UPDATE event SET {} = :value WHERE position = :position"


@pytest.mark.parametrize("position", [1, 4, 8])
@pytest.mark.parametrize("column", OTHER)
def test_an_altered_column_is_found_at_its_event(
    log: EventLog, database: AnyDatabase, column: str, position: int
) -> None:
    told(log)
    database.break_in((UPDATE.format(column), {"value": OTHER[column], "position": position}))
    with pytest.raises(LogDamaged, match=rf"^event {position} \(") as caught:
        verify(log)
    assert "Restore the log from a backup" in caught.value.hint


@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("version", 7, "its stream should be at version 1"),
        ("payload", b"", "its payload was altered"),
        ("payload", b'{"reason": "SIGTERM"}', "its payload was altered"),
        ("payload_sha256", "0" * 64, "its payload was altered"),
        ("chain", "0" * 64, "its chain does not follow from the event before it"),
        ("at", "2025-03-19T12:00:00.000001Z", "its chain does not follow from the event before it"),
        ("kind", "feed_gone", "its chain does not follow from the event before it"),
        ("kind", "item_dreamt", "its chain does not follow from the event before it"),
    ],
)
def test_what_is_wrong_with_an_altered_event_is_said(
    log: EventLog, database: AnyDatabase, column: str, value: object, fault: str
) -> None:
    told(log)
    database.break_in((UPDATE.format(column), {"value": value, "position": 4}))
    with pytest.raises(LogDamaged, match=rf"^event 4 \(item/2 .*: {fault}"):
        verify(log)


def test_a_payload_altered_together_with_its_hash_breaks_the_chain(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    forged = to_payload(seen("forged"))
    values = {"payload": forged, "sha256": hashlib.sha256(forged).hexdigest()}
    database.break_in(("UPDATE event SET payload = :payload, payload_sha256 = :sha256 WHERE position = 4", values))
    with pytest.raises(LogDamaged, match=r"^event 4 \(item/2 .*: its chain does not follow"):
        verify(log)


def test_the_first_of_several_bad_events_is_named(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    database.break_in(*((UPDATE.format("chain"), {"value": "0" * 64, "position": one}) for one in (7, 4, 6)))
    with pytest.raises(LogDamaged, match=r"^event 4 "):
        verify(log)


@pytest.mark.parametrize(
    ("removed", "named"),
    [((1,), 2), ((4,), 5), ((4, 5, 6), 7), ((1, 2, 3), 4), ((7,), 8)],
    ids=str,
)
def test_the_event_behind_a_removed_one_is_named(
    log: EventLog, database: AnyDatabase, removed: tuple[int, ...], named: int
) -> None:
    told(log)
    database.break_in(*(("DELETE FROM event WHERE position = :one", {"one": one}) for one in removed))
    expected = rf"^event {named} .*: it should stand at position {removed[0]}: events are missing before it"
    with pytest.raises(LogDamaged, match=expected):
        verify(log)


def test_a_hole_that_was_closed_up_shows(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    close_up = [("UPDATE event SET position = position - 1 WHERE position = :one", {"one": one}) for one in range(5, 9)]
    database.break_in(("DELETE FROM event WHERE position = 4", {}), *close_up)
    with pytest.raises(LogDamaged, match=r"^event 4 \(claim/energy version 1, claim_matched\): its chain"):
        verify(log)


@pytest.mark.parametrize(("one", "other"), [(1, 2), (3, 4), (2, 8), (5, 6)])
def test_two_swapped_events_show_at_the_first_of_them(
    log: EventLog, database: AnyDatabase, one: int, other: int
) -> None:
    told(log)
    move = "UPDATE event SET position = :to WHERE position = :from"
    steps = ((one, 99), (other, one), (99, other))
    database.break_in(*((move, {"from": start, "to": end}) for start, end in steps))
    with pytest.raises(LogDamaged, match=rf"^event {one} \("):
        verify(log)


def test_an_event_moved_to_the_end_shows(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    database.break_in(("UPDATE event SET position = 9 WHERE position = 3", {}))
    with pytest.raises(LogDamaged, match=r"^event 4 .*: it should stand at position 3"):
        verify(log)


def test_what_was_cut_off_at_the_end_shows_against_a_head_kept_elsewhere(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    kept = verify(log)
    database.break_in(("DELETE FROM event WHERE position > 6", {}))
    assert verify(log) == Head(6, rows(log)[5]["chain"])
    assert verify(log) != kept


def test_a_log_rewritten_from_some_event_on_shows_against_a_head_kept_elsewhere(
    log: EventLog, database: AnyDatabase
) -> None:
    told(log)
    kept = verify(log)
    database.break_in(("DELETE FROM event WHERE position = 8", {}))
    append(log, NewEvent("watch", WatchStopped("forged")), now=NOON + timedelta(hours=2))
    assert verify(log).position == kept.position
    assert verify(log).chain != kept.chain


@pytest.mark.parametrize(
    ("column", "value"),
    [("payload", b"{}"), ("payload", b"not json"), ("at", "yesterday"), ("at", "2025-03-19T12:00:00")],
)
def test_an_altered_redaction_is_found_as_any_other_event(
    log: EventLog, database: AnyDatabase, column: str, value: object
) -> None:
    told(log)
    redact(log, "item/1")
    database.break_in((UPDATE.format(column), {"value": value, "position": 9}))
    with pytest.raises(LogDamaged, match=r"^event 9 \("):
        verify(log)


def test_a_bad_event_before_a_bad_redaction_is_named_first(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    redact(log, "item/1")
    database.break_in(
        (UPDATE.format("chain"), {"value": "0" * 64, "position": 2}),
        (UPDATE.format("payload"), {"value": b"{}", "position": 9}),
    )
    with pytest.raises(LogDamaged, match=r"^event 2 \("):
        verify(log)


def test_a_removed_redaction_leaves_a_payload_that_does_not_fit(log: EventLog, database: AnyDatabase) -> None:
    told(log)
    redact(log, "item/1")
    database.break_in(("DELETE FROM event WHERE position = 9", {}))
    with pytest.raises(LogDamaged, match=r"^event 3 \(item/1 .*: its payload was altered"):
        verify(log)


# ── many writers ─────────────────────────────────────────────────────────────────────────────────────────────────

WRITERS = 10
TURNS = 6
TURNS_ON_A_SERVER = 60


def write(url: str, name: int, turns: int, a_third_rolls_back: bool) -> None:
    """One writer: in each turn an event of the stream that all share, and one of its own."""
    lost = random.Random(name).sample(range(turns), turns // 3 if a_third_rolls_back else 0)
    with closing(EventLog(url)) as log:
        for turn in range(turns):
            rolls_back = turn in lost
            with rolled_back(log) if rolls_back else log.transaction(NOON) as transaction:
                shared = NewEvent("watch", WatchStopped(f"{name}/{turn}"))
                own = NewEvent(f"feed/{name}", FeedFailed(str(turn), "lost" if rolls_back else "", ""))
                transaction.append([shared, own])


def race_processes(url: str, turns: int, a_third_rolls_back: bool) -> int:
    """Ten writers as processes of their own, forked before any of them opens the log; returns how many failed."""
    children = []
    for name in range(WRITERS):
        if child := os.fork():
            children.append(child)
            continue
        try:
            write(url, name, turns, a_third_rolls_back)
        except BaseException as error:  # noqa: BLE001  a child must end here, whatever happens
            print(repr(error), file=sys.stderr, flush=True)  # noqa: T201
            os._exit(1)
        os._exit(0)
    return sum(os.waitpid(child, 0)[1] != 0 for child in children)


class Tail:
    """A reader that asks again and again for what comes after the last position it saw."""

    def __init__(self, log: EventLog) -> None:
        self.log = log
        self.seen: list[Recorded] = []

    def catch_up(self) -> None:
        with self.log.reading() as connection:
            self.seen += read(connection, after=self.seen[-1].position if self.seen else 0)


def assert_complete(tail: Tail, log: EventLog, events: int, by_writer: int) -> None:
    assert positions(tail.seen) == list(range(1, events + 1))
    assert tail.seen == everything(log)
    assert [one.version for one in tail.seen if one.stream == "watch"] == list(range(1, events // 2 + 1))
    for name in range(WRITERS):
        own = [one for one in tail.seen if one.stream == f"feed/{name}"]
        assert [one.version for one in own] == list(range(1, by_writer + 1))
        assert not any(one.event.detail for one in own)
    assert verify(log).position == events


@pytest.mark.parametrize("a_third_rolls_back", [False, True])
def test_ten_racing_processes_leave_no_hole_and_a_tailing_reader_misses_nothing(
    log: EventLog, database: AnyDatabase, a_third_rolls_back: bool
) -> None:
    turns = TURNS if isinstance(database, SqliteDatabase) else TURNS_ON_A_SERVER
    code = (
        "import sys; from tests.test_eventlog import race_processes; "
        f"sys.exit(race_processes({database.url!r}, {turns}, {a_third_rolls_back}))"
    )
    tail = Tail(log)
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as writers:
        while writers.poll() is None:
            tail.catch_up()
    tail.catch_up()
    assert writers.returncode == 0
    by_writer = turns * 2 // 3 if a_third_rolls_back else turns
    assert_complete(tail, log, 2 * WRITERS * by_writer, by_writer)


@pytest.mark.parametrize("a_third_rolls_back", [False, True])
def test_ten_racing_threads_leave_no_hole_and_a_tailing_reader_misses_nothing(
    log: EventLog, database: AnyDatabase, a_third_rolls_back: bool
) -> None:
    tail = Tail(log)
    threads = [
        threading.Thread(target=write, args=(database.url, name, TURNS, a_third_rolls_back)) for name in range(WRITERS)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tail.catch_up()
    tail.catch_up()
    by_writer = TURNS * 2 // 3 if a_third_rolls_back else TURNS
    assert_complete(tail, log, 2 * WRITERS * by_writer, by_writer)


def test_of_ten_that_saw_the_same_item_one_records_it(log: EventLog) -> None:
    outcomes: list[str] = []
    together = threading.Barrier(WRITERS)

    def see(name: int) -> None:
        together.wait()
        try:
            append(log, NewEvent("item/1", seen(str(name)), after_version=0))
            outcomes.append("recorded")
        except StreamConflict:
            outcomes.append("conflict")

    threads = [threading.Thread(target=see, args=(name,)) for name in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["conflict"] * (WRITERS - 1) + ["recorded"]
    assert len(everything(log)) == 1


# ── SQLite alone ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[tuple[EventLog, SqliteDatabase]]:
    """A told log in an SQLite file."""
    database = SqliteDatabase(tmp_path / "claimwatch.sqlite3")
    with closing(EventLog(database.url)) as log:
        log.create()
        told(log)
        yield log, database


@pytest.mark.parametrize("writing", [False, True])
@pytest.mark.parametrize(("setting", "value"), [("journal_mode", "wal"), ("synchronous", 2), ("foreign_keys", 1)])
def test_every_connection_has_the_settings_that_keep_what_was_committed(
    sqlite: tuple[EventLog, SqliteDatabase], setting: str, value: object, writing: bool
) -> None:
    log, _ = sqlite
    # Two at a time, so that the second is not the one that made the tables.
    with log.reading(), log.transaction(NOON) if writing else log.reading() as second:
        connection = second.connection if isinstance(second, Transaction) else second
        assert connection.execute(text(f"PRAGMA {setting}")).scalar() == value


@pytest.mark.parametrize("position", [1, 4, 8, 10])
def test_insert_or_replace_at_a_position_that_is_taken_or_too_far_is_refused(
    sqlite: tuple[EventLog, SqliteDatabase], position: int
) -> None:
    log, _ = sqlite
    replace = INSERT.replace("INSERT", "INSERT OR REPLACE", 1)
    assert refuses(log, replace, {"position": position, "stream": "watch", "version": 3})


def test_insert_or_replace_at_the_end_cannot_take_away_the_event_with_that_version(
    sqlite: tuple[EventLog, SqliteDatabase],
) -> None:
    log, _ = sqlite
    replace = INSERT.replace("INSERT", "INSERT OR REPLACE", 1)
    with pytest.raises(IntegrityError), log.transaction(NOON) as transaction:
        transaction.connection.execute(text(replace), {"position": 9, "stream": "item/1", "version": 1})
    assert [row["position"] for row in rows(log)] == list(range(1, 9))


@pytest.mark.parametrize("verb", ["UPDATE OR REPLACE", "UPDATE OR IGNORE"])
def test_an_update_with_a_conflict_clause_is_refused_as_any_other(
    sqlite: tuple[EventLog, SqliteDatabase], verb: str
) -> None:
    log, _ = sqlite
    assert refuses(log, f"{verb} event SET position = 4 WHERE position = 5")


def test_the_triggers_hold_in_any_sql_tool(sqlite: tuple[EventLog, SqliteDatabase]) -> None:
    _, database = sqlite
    with closing(sqlite3.connect(database.file)) as raw:
        for statement in ("DELETE FROM event", "UPDATE event SET kind = 'x'", "REPLACE INTO event SELECT * FROM event"):
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                raw.execute(statement)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", '{"reason":"text where bytes should be"}'),
        ("payload", 5),
        ("kind", b"item_seen"),
        ("stream", b"item/2"),
        ("at", b"\xff"),
        ("version", "first"),
        ("chain", b"0"),
    ],
)
def test_a_value_of_another_type_is_found_at_its_event(
    sqlite: tuple[EventLog, SqliteDatabase], column: str, value: object
) -> None:
    log, database = sqlite
    database.break_in((UPDATE.format(column), {"value": value, "position": 4}))
    with pytest.raises(LogDamaged, match=r"^event 4 \("):
        verify(log)


def test_a_payload_edited_in_place_by_sqls_replace_is_found(sqlite: tuple[EventLog, SqliteDatabase]) -> None:
    log, database = sqlite
    database.break_in(("UPDATE event SET payload = replace(payload, 'two', 'three') WHERE position = 4", {}))
    with pytest.raises(LogDamaged, match=r"^event 4 \(item/2 .*: its payload was altered"):
        verify(log)


def test_a_file_that_is_no_database_is_told_with_its_name_and_a_hint(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("This is a letter and no database. " * 100, encoding="utf-8")
    with closing(EventLog(f"sqlite:///{file}")) as log, pytest.raises(ClaimwatchError) as caught:
        log.create()
    assert caught.value.message == f"the database sqlite:///{file} can't be used: file is not a database"
    assert "this user may write it" in caught.value.hint
    assert file.read_text(encoding="utf-8").startswith("This is a letter")


def test_a_database_without_a_log_is_told_so(tmp_path: Path) -> None:
    with (
        closing(EventLog(f"sqlite:///{tmp_path}/empty.sqlite3")) as log,
        pytest.raises(ClaimwatchError, match="no such table: event"),
        log.reading() as connection,
    ):
        head_of(connection)


def test_a_folder_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    with (
        closing(EventLog(f"sqlite:///{tmp_path}/nowhere/log.sqlite3")) as log,
        pytest.raises(ClaimwatchError, match="unable to open database file"),
    ):
        log.create()


def test_the_file_of_a_log_is_the_path_in_its_url(tmp_path: Path) -> None:
    assert database_at(f"sqlite:///{tmp_path}/a b.sqlite3") == Sqlite(tmp_path / "a b.sqlite3")
    assert database_at("sqlite:///here.sqlite3") == Sqlite(Path("here.sqlite3"))


def test_a_committed_event_is_there_for_whoever_opens_the_file_next(
    sqlite: tuple[EventLog, SqliteDatabase],
) -> None:
    log, database = sqlite
    with closing(EventLog(database.url)) as other:
        assert everything(other) == everything(log)
    assert timestamp(everything(log)[0].at) == rows(log)[0]["at"]
