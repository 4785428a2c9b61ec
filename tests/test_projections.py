"""The tables besides the log: what each event makes of them, and that the log alone makes them again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
from sqlalchemy import insert, select, text
from sqlalchemy.exc import IntegrityError

from daemon.assembly import rebuild_projections, verify
from daemon.chain import verify_chain
from daemon.coverage import Coverage
from daemon.errors import LogDamaged, StreamConflict, UnknownKind
from daemon.eventlog import EventLog, head_of, read
from daemon.events import (
    EVENT_TYPES,
    BackfillFinished,
    ClaimMatched,
    DeliveryAccepted,
    DeliveryCancelled,
    DeliveryDeferred,
    DeliveryRefused,
    DeliveryStarted,
    DeliveryUncertain,
    DigestPrepared,
    DigestSkipped,
    Event,
    Evidence,
    FeedFailed,
    FeedGone,
    FeedMoved,
    FeedRecovered,
    FeedRekeyed,
    GapSuspected,
    ItemRevised,
    ItemSeen,
    MatchLapsed,
    MatchReviewed,
    NewEvent,
    NoticeDeferred,
    NoticePrepared,
    NoticeSent,
    Recorded,
    RulesChanged,
    WatchStarted,
    WatchStopped,
)
from daemon.moments import timestamp
from daemon.notices import Stage, Told, TroubleKind
from daemon.projections import PROJECTIONS, project, record
from daemon.rules import Rules
from daemon.tables import PollRow, table_of
from tests import support
from tests.databases import ON_BOTH, AnyDatabase, behind, database_of
from tests.test_events import EXAMPLES

NOON = datetime(2025, 3, 19, 12, 0, tzinfo=UTC)
DUE = datetime(2025, 3, 20, 7, 30, tzinfo=UTC)
OTHER_RECIPIENT = "r-000000000002"
DAILY = f"daily/{support.RECIPIENT}"
OPERATOR = "notice/r-000000000009"
TABLES = {table.name: table for table in PROJECTIONS}

RULES = support.rules(
    support.feed("gazette", title="The Gazette"),
    support.feed("courier"),
    support.feed("resting", enabled=False),
    support.claim("energy-strike-pause", due=date(2025, 4, 17)),
    support.claim("black-sea-group", "Black Sea", "shipping safety"),
    support.digest(recipients=(support.RECIPIENT, OTHER_RECIPIENT)),
    support.digest("weekly", "0 8 * * 1"),
)
# The courier is gone from feeds.yaml, the gazette has moved, one claim rests, and one recipient has left the daily.
LATER_RULES = support.rules(
    support.feed("gazette", "https://new.example/rss", title="The New Gazette"),
    support.claim("energy-strike-pause", "energy pause"),
    replace(support.claim("black-sea-group"), enabled=False),
    support.digest(recipients=(support.RECIPIENT,)),
)


def at(hours: float) -> datetime:
    return NOON + timedelta(hours=hours)


def tell(log: EventLog, hours: float, *events: tuple[str, Event]) -> list[Recorded]:
    """Records events so many hours after noon, in one transaction."""
    with log.transaction(at(hours)) as transaction:
        return record(transaction, [NewEvent(stream, event) for stream, event in events])


def rules_changed(rules: Rules = RULES) -> tuple[str, Event]:
    return "watch", RulesChanged(rules.sha256, rules)


def text_of(title: str, feed: str = "gazette", **fields: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "feed": feed,
        "guid": title.lower(),
        "link": f"https://{feed}.example/{title.lower()}",
        "title": title,
        "summary": f"About {title}: обстріл",
        "content": "",
        "author": "A. Writer",
        "published": NOON - timedelta(days=1),
        "lang": "en",
        "fingerprint": f"1{title}",
    }
    return defaults | fields


def seen(
    id: str, title: str, feed: str = "gazette", *, already_there: bool = False, **fields: Any
) -> tuple[str, Event]:
    return f"item/{id}", ItemSeen(key="guid", already_there=already_there, **text_of(title, feed, **fields))


def revised(id: str, title: str, **fields: Any) -> tuple[str, Event]:
    return f"item/{id}", ItemRevised(**text_of(title, **fields))


def matched(claim: str, item: str, version: int = 1, feed: str = "gazette") -> tuple[str, Event]:
    evidence = Evidence("energy pause", "mentions", "summary", ((6, 12),), ("обстріл",))
    return f"claim/{claim}", ClaimMatched(claim, item, feed, version, RULES.sha256, (evidence,))


def lapsed(claim: str, item: str, version: int = 2) -> tuple[str, Event]:
    return f"claim/{claim}", MatchLapsed(claim, item, version)


def reviewed(match: int, item: str, version: int, *terms: str) -> tuple[str, Event]:
    """What later rules make of a match on the first claim: by these terms, or not at all."""
    evidence = tuple(Evidence(term, "mentions", "title", ((0, 3),), ("One",)) for term in terms)
    event = MatchReviewed(match, "energy-strike-pause", item, version, LATER_RULES.sha256, evidence)
    return "claim/energy-strike-pause", event


def backfilled() -> tuple[str, Event]:
    return "watch", BackfillFinished(RULES.sha256, ("energy-strike-pause",), 3, 1, 1, 1)


def prepared(id: str, *matches: int, due: datetime = DUE, **fields: Any) -> tuple[str, Event]:
    name, recipient, *_ = id.split("/")
    coverage = Coverage(NOON, due, 2, 2, (), (), ())
    defaults: dict[str, Any] = {
        "missed": (),
        "log_position": 9,
        "head": "h",
        "message": "",
        "subject": f"Subject of {id}",
    }
    event = DigestPrepared(
        name=name,
        recipient=recipient,
        due=due,
        matches=matches,
        coverage=coverage,
        message_id=f"<{id}@example.org>",
        **(defaults | fields),
    )
    return f"digest/{id}", event


def skipped(id: str, due: datetime = DUE, missed: tuple[datetime, ...] = ()) -> tuple[str, Event]:
    name, recipient, *_ = id.split("/")
    return f"digest/{id}", DigestSkipped(name, recipient, due, missed, Coverage(NOON, due, 2, 2, (), (), ()))


def trouble(kind: TroubleKind, about: str, stage: Stage, until: datetime | None = None) -> Told:
    return Told(kind, about, stage, at(23), until)


def notice(number: int, *told: Told) -> tuple[str, Event]:
    return OPERATOR, NoticePrepared(told, f"<notice-{number}@example.org>", f"Notice {number}", "")


def sent(number: int, *told: Told) -> tuple[str, Event]:
    return OPERATOR, NoticeSent(told, f"<notice-{number}@example.org>", "250 OK")


def deferred(number: int, retry_at: datetime) -> tuple[str, Event]:
    return OPERATOR, NoticeDeferred(f"<notice-{number}@example.org>", "451 later", retry_at)


def rows(log: EventLog, table: str) -> list[dict[str, Any]]:
    """All rows of a projection, by key."""
    query = select(TABLES[table]).order_by(*TABLES[table].primary_key.columns)
    with log.reading() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def only(log: EventLog, table: str) -> dict[str, Any]:
    (row,) = rows(log, table)
    return row


def some(row: dict[str, Any], *columns: str) -> tuple[Any, ...]:
    return tuple(row[column] for column in columns)


def snapshot(log: EventLog) -> dict[str, list[tuple[str, ...]]]:
    """Every row of every projection as the database itself would write it in SQL: values and their types."""
    return behind(log).dump(PROJECTIONS)


def meddle(log: EventLog, statement: str, **values: object) -> None:
    """Changes a table behind the program's back, as anybody with the file or the password can."""
    behind(log).meddle((statement, values))


def break_in(log: EventLog, statement: str) -> None:
    """Changes the log itself, past its triggers."""
    behind(log).break_in((statement, {}))


def history(log: EventLog) -> None:
    """A long story: everything that can happen to feeds, items, matches, digests and deliveries, happens."""
    tell(log, 0, ("watch", WatchStarted("1.0", None)), rules_changed())
    tell(
        log,
        1,
        ("feed/courier", FeedFailed("timeout", "20 s", "Wait.")),
        ("feed/resting", FeedGone("https://x.example")),
    )
    tell(log, 2, ("feed/courier", FeedFailed("http 503", "busy", "Wait.")))
    tell(
        log,
        3,
        ("feed/gazette", FeedRekeyed("link", "https://gazette.example/", ("One", "Two"))),
        seen("1", "One"),
        matched("energy-strike-pause", "1"),
        matched("black-sea-group", "1"),
        seen("2", "Two", already_there=True, published=None, author=None),
        matched("energy-strike-pause", "2"),
    )
    tell(log, 4, ("feed/courier", FeedRecovered(at(1))), seen("3", "Третя", "courier", lang="uk", guid=None))
    tell(log, 5, revised("1", "One, revised", guid="one"), lapsed("black-sea-group", "1"))
    tell(log, 6, revised("1", "One, again", guid="one"), matched("black-sea-group", "1", 3))
    tell(log, 7, ("feed/gazette", GapSuspected(at(6), at(7))), ("feed/gazette", FeedRekeyed("guid", "x", ("A", "B"))))
    tell(log, 8, ("watch", WatchStopped("SIGTERM")))
    tell(log, 9, ("watch", WatchStarted("1.0", at(8))))
    first, second, third, fourth, fifth = (f"{DAILY}/{number}" for number in range(1, 6))
    others, weekly = f"daily/{OTHER_RECIPIENT}/1", f"weekly/{support.RECIPIENT}/1"
    tell(
        log,
        10,
        prepared(first, 8, 9, missed=(NOON, at(5))),
        prepared(others, 8, 9, 11),
        skipped(weekly, missed=(NOON,)),
    )
    tell(log, 11, (f"digest/{first}", DeliveryStarted(1, "smtp")), (f"digest/{others}", DeliveryStarted(1, "smtp")))
    tell(log, 12, (f"digest/{first}", DeliveryDeferred("451 later", at(13))))
    tell(log, 13, (f"digest/{first}", DeliveryStarted(2, "smtp")))
    tell(log, 14, (f"digest/{first}", DeliveryUncertain(2)), (f"digest/{first}", DeliveryStarted(3, "smtp")))
    tell(log, 15, (f"digest/{first}", DeliveryAccepted("250 OK")))
    tell(log, 16, prepared(second, 11, due=DUE + timedelta(days=1)))
    tell(log, 17, (f"digest/{second}", DeliveryStarted(1, "smtp")), (f"digest/{second}", DeliveryRefused("550 no")))
    tell(log, 18, prepared(third, 8, 11, due=DUE + timedelta(days=2), resent=True))
    tell(log, 19, prepared(fourth, due=DUE + timedelta(days=3)), (f"digest/{fourth}", DeliveryStarted(1, "maildir")))
    tell(
        log,
        19.5,
        prepared(fifth, 9, due=DUE + timedelta(days=4)),
        (f"digest/{fifth}", DeliveryCancelled("gone", False)),
    )
    tell(log, 20, rules_changed(LATER_RULES))
    tell(log, 20.5, (f"digest/{others}", DeliveryCancelled("gone", True)))
    tell(log, 21, seen("4", "Four"), matched("energy-strike-pause", "4"), rules_changed())
    with log.transaction(at(22)) as transaction:
        blank = {"title": "", "summary": "", "content": "", "author": None}
        project(transaction.connection, transaction.redact("item/1", "a court's order", blank))
    tell(log, 22.5, reviewed(8, "1", 2, "energy pause"), reviewed(11, "2", 1), backfilled())
    news = [trouble("feed failing", "gazette", "first"), trouble("rules refused", "", "first")]
    tell(log, 22.6, notice(1, *news), deferred(1, at(22.7)))
    tell(log, 22.7, notice(2, *news), sent(2, *news))
    ended = trouble("rules refused", "", "over", at(22.7))
    tell(log, 22.8, notice(3, ended), sent(3, ended))
    tell(log, 22.9, notice(4, trouble("feed failing", "gazette", "again")))
    tell(log, 22.95, ("feed/gazette", FeedMoved("https://gazette.example/rss", "https://gazette.example/feed")))
    tell(log, 23, revised("2", "Two, after all"), ("feed/gazette", FeedFailed("tls", "expired", "")))


@pytest.fixture
def log(database: AnyDatabase) -> Iterator[EventLog]:
    """An empty log in each kind of database."""
    with support.log_in(database) as opened:
        yield opened


@pytest.fixture(scope="module", params=ON_BOTH)
def told_once(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyDatabase]:
    """A database of each kind with the long story, to be copied."""
    with database_of(request.param, tmp_path_factory.mktemp("told")) as database:
        with closing(EventLog(database.url)) as log:
            log.create()
            history(log)
        yield database


@pytest.fixture
def told(told_once: AnyDatabase, tmp_path: Path) -> Iterator[EventLog]:
    """A log that holds the long story."""
    with told_once.copied(tmp_path) as database, closing(EventLog(database.url)) as log:
        yield log


@pytest.fixture
def ruled(log: EventLog) -> EventLog:
    """A log that knows only rules: three feeds, two claims, two digests."""
    tell(log, 0, rules_changed())
    return log


# ── rebuilding ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_history_fills_every_table(told: EventLog) -> None:
    assert all(snapshot(told).values())
    with told.reading() as connection:
        assert {one.event.kind for one in read(connection)} == set(EVENT_TYPES)


def test_a_rebuild_makes_the_same_rows_byte_for_byte(told: EventLog) -> None:
    before = snapshot(told)
    assert rebuild_projections(told) == verify(told).position
    assert snapshot(told) == before


def test_a_rebuild_after_each_single_event_changes_nothing(log: EventLog, tmp_path: Path) -> None:
    (tmp_path / "told").mkdir()
    with support.event_log(tmp_path / "told") as told:
        history(told)
        with told.reading() as connection:
            events = list(read(connection))
    for one in events:
        with log.transaction(one.at) as transaction:
            record(transaction, [NewEvent(one.stream, one.event)])
        before = snapshot(log)
        rebuild_projections(log)
        assert snapshot(log) == before


def test_a_rebuild_in_an_emptied_database_brings_everything_back(told: EventLog) -> None:
    before = snapshot(told)
    for table in TABLES:
        meddle(told, f'DELETE FROM "{table}"')
    rebuild_projections(told)
    assert snapshot(told) == before


def test_a_rebuild_of_an_empty_log_leaves_empty_tables(log: EventLog) -> None:
    meddle(log, "INSERT INTO subscription VALUES ('daily', 'r-1', TRUE, 'y', 1, 'x', NULL)")
    assert rebuild_projections(log) == 0
    assert not any(snapshot(log).values())


def test_a_rebuild_appends_nothing_and_leaves_the_poll_cache(told: EventLog) -> None:
    with told.transaction(NOON) as transaction:
        transaction.connection.execute(
            insert(table_of(PollRow)).values(feed="gazette", url="u", window="[]", failures=0)
        )
    head = verify(told)
    rebuild_projections(told)
    assert verify(told) == head
    with told.reading() as connection:
        assert connection.scalar(text("SELECT feed FROM poll")) == "gazette"


def test_a_rebuild_that_meets_an_unknown_kind_leaves_the_tables_as_they_were(told: EventLog) -> None:
    before = snapshot(told)
    break_in(told, "UPDATE event SET kind = 'item_dreamt' WHERE position = 20")
    with pytest.raises(UnknownKind):
        rebuild_projections(told)
    assert snapshot(told) == before


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_every_kind_of_event_can_be_projected(log: EventLog, event: Event) -> None:
    tell(log, 0, ("item/x", event))
    before = snapshot(log)
    assert rebuild_projections(log) == 1
    assert snapshot(log) == before


def test_a_kind_without_a_projection_is_an_error(log: EventLog) -> None:
    @dataclass(frozen=True)
    class Dreamt:
        kind: ClassVar[str] = "item_dreamt"

    with (
        pytest.raises(NotImplementedError, match="Dreamt has no projection"),
        log.transaction(NOON) as transaction,
    ):
        project(transaction.connection, [Recorded(1, "item/1", 1, NOON, Dreamt())])


def test_events_and_tables_move_together_or_not_at_all(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"))
    before = snapshot(ruled)
    with pytest.raises(IntegrityError):
        tell(ruled, 2, seen("2", "Two"), seen("1", "One"))
    assert snapshot(ruled) == before
    assert verify(ruled).position == 2


def test_a_conflict_leaves_log_and_tables_as_they_were(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"))
    before = snapshot(ruled)
    stream, event = revised("1", "One, revised")
    with pytest.raises(StreamConflict), ruled.transaction(at(2)) as transaction:
        record(transaction, [NewEvent(*seen("2", "Two")), NewEvent(stream, event, after_version=7)])
    assert snapshot(ruled) == before


# ── verify ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_sound_log_is_verified_and_its_head_returned(told: EventLog) -> None:
    with told.reading() as connection:
        assert verify(told) == head_of(connection)


def test_an_empty_log_is_sound(log: EventLog) -> None:
    assert verify(log).position == 0


def test_verifying_changes_nothing(told: EventLog) -> None:
    before = snapshot(told)
    verify(told)
    assert snapshot(told) == before


def test_the_poll_cache_is_no_projection(told: EventLog) -> None:
    with told.transaction(NOON) as transaction:
        transaction.connection.execute(
            insert(table_of(PollRow)).values(feed="gazette", url="u", window="[]", failures=0)
        )
    assert verify(told).position > 0


@pytest.mark.parametrize(
    ("statement", "difference"),
    [
        ("UPDATE item SET title = 'x' WHERE id = '3'", "table item, row 3: title is 'x', the log says 'Третя'"),
        ("UPDATE item SET redacted = FALSE WHERE id = '1'", "table item, row 1: redacted is False, the log says True"),
        ("UPDATE item SET published = '' WHERE id = '2'", None),
        ("UPDATE revision SET title = 'x' WHERE position = 7", "table revision, row 7: title is 'x', the log says ''"),
        ("UPDATE match SET lapsed_at = NULL WHERE position = 9", None),
        ("UPDATE match SET claim = 'x' WHERE position = 8", None),
        ("UPDATE feed SET state = 'ok' WHERE id = 'gazette'", None),
        ("UPDATE claim SET matches = 9 WHERE id = 'black-sea-group'", None),
        ("UPDATE subscription SET since_position = 1 WHERE digest = 'weekly'", None),
        ("UPDATE digest SET subject = 'x' WHERE name = 'daily'", None),
        ("UPDATE digest_match SET name = 'x'", None),
        ("UPDATE delivery SET attempts = 9 WHERE state = 'accepted'", None),
    ],
)
def test_an_edited_row_is_named_with_its_column_and_both_values(
    told: EventLog, statement: str, difference: str | None
) -> None:
    before = snapshot(told)
    meddle(told, statement)
    with pytest.raises(LogDamaged) as caught:
        verify(told)
    table, column = statement.split()[1], statement.split()[3]
    assert caught.value.message.startswith(f"a projection differs from the log: table {table}, row ")
    assert f": {column} is " in caught.value.message
    assert difference is None or caught.value.message.endswith(difference)
    assert caught.value.hint == "`claimwatch rebuild` mends it."
    rebuild_projections(told)
    assert snapshot(told) == before
    verify(told)


def test_two_edited_columns_of_a_row_are_both_told(told: EventLog) -> None:
    meddle(told, "UPDATE claim SET terms = 7, kind = 'fact' WHERE id = 'black-sea-group'")
    message = "table claim, row black-sea-group: kind is 'fact', the log says 'commitment', terms is 7, the log says 2"
    with pytest.raises(LogDamaged) as caught:
        verify(told)
    assert caught.value.message.endswith(message)


def test_the_first_of_several_edited_rows_is_named(told: EventLog) -> None:
    meddle(told, "UPDATE delivery SET answer = 'x'")
    meddle(told, "UPDATE item SET title = 'x' WHERE id IN ('2', '4')")
    with pytest.raises(LogDamaged, match="table item, row 2: title is 'x', the log says 'Two, after all'"):
        verify(told)


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("end", ["ASC", "DESC"])
def test_a_removed_row_is_named(told: EventLog, table: str, end: str) -> None:
    keys = [column.name for column in TABLES[table].primary_key.columns]
    names = ", ".join(f'"{key}"' for key in keys)
    order = ", ".join(f'"{key}" {end}' for key in keys)
    with told.reading() as connection:
        key = connection.execute(text(f'SELECT {names} FROM "{table}" ORDER BY {order} LIMIT 1')).one()
    where = " AND ".join(f'"{name}" = :{name}' for name in keys)
    meddle(told, f'DELETE FROM "{table}" WHERE {where}', **dict(zip(keys, key, strict=True)))
    with pytest.raises(LogDamaged) as caught:
        verify(told)
    assert f"table {table}, row {' / '.join(map(str, key))}: it is missing" in caught.value.message


@pytest.mark.parametrize("id", ["0", "2a", "9"])
def test_a_row_that_the_log_knows_nothing_of_is_named(told: EventLog, id: str) -> None:
    columns = ", ".join(column.name for column in TABLES["item"].columns if column.name != "id")
    meddle(told, f"INSERT INTO item (id, {columns}) SELECT :id, {columns} FROM item WHERE id = '2'", id=id)
    with pytest.raises(LogDamaged, match=f"table item, row {id}: it is there"):
        verify(told)


def test_a_log_cut_off_at_its_end_shows_in_the_tables(told: EventLog) -> None:
    break_in(told, "DELETE FROM event WHERE position = (SELECT max(position) FROM event)")
    with told.reading() as connection:
        verify_chain(connection)
    with pytest.raises(LogDamaged, match="table feed, row gazette: state is 'failing', the log says 'new'"):
        verify(told)


def test_a_bad_event_is_named_before_any_row(told: EventLog) -> None:
    meddle(told, "UPDATE item SET title = 'x' WHERE id = '2'")
    break_in(told, "UPDATE event SET at = 'x' WHERE position = 12")
    with pytest.raises(LogDamaged, match=r"^event 12 \("):
        verify(told)


def test_a_log_is_verified_while_its_writer_is_in_the_middle_of_a_transaction(told: EventLog) -> None:
    with told.transaction(at(30)) as transaction:
        record(transaction, [NewEvent(*seen("9", "Nine"))])
        before = verify(told)
    assert verify(told).position == before.position + 1


# ── feeds, claims, subscriptions ─────────────────────────────────────────────────────────────────────────────────

FRESH = {"since": None, "reason": "", "detail": "", "hint": ""}


def feed(log: EventLog, id: str = "gazette") -> dict[str, Any]:
    return next(row for row in rows(log, "feed") if row["id"] == id)


def test_a_feed_of_the_rules_is_new(ruled: EventLog) -> None:
    nothing_yet = {
        "unfit_keys": "[]",
        "unreadable_sha256": None,
        "unreadable_detail": "",
        "item_count": 0,
        "last_item": None,
        "last_gap": None,
    }
    url = "https://gazette.example/rss"
    expected = {"id": "gazette", "url": url, "asked_url": url, "moved": None, "title": "The Gazette", "enabled": True}
    assert feed(ruled) == expected | {"state": "new"} | FRESH | nothing_yet
    assert [(row["id"], row["enabled"]) for row in rows(ruled, "feed")] == [
        ("courier", True),
        ("gazette", True),
        ("resting", False),
    ]


def test_a_failing_feed_keeps_the_moment_it_began_to_fail(ruled: EventLog) -> None:
    tell(ruled, 1, ("feed/gazette", FeedFailed("timeout", "20 s", "Wait.")))
    tell(ruled, 2, ("feed/gazette", FeedFailed("http 503", "busy", "Ask.")))
    expected = ("failing", timestamp(at(1)), "http 503", "busy", "Ask.")
    assert some(feed(ruled), "state", "since", "reason", "detail", "hint") == expected


def test_a_document_given_up_is_remembered_over_other_failures_until_the_feed_recovers(ruled: EventLog) -> None:
    tell(ruled, 1, ("feed/gazette", FeedFailed("unreadable", "3 s", "Wait.", "a" * 64)))
    tell(ruled, 2, ("feed/gazette", FeedFailed("http 503", "busy", "Ask.")))
    assert some(feed(ruled), "unreadable_sha256", "unreadable_detail") == ("a" * 64, "3 s")
    tell(ruled, 3, ("feed/gazette", FeedRecovered(at(1))))
    assert some(feed(ruled), "unreadable_sha256", "unreadable_detail") == (None, "")


def test_a_recovered_feed_is_well_since_then_and_a_new_failure_begins_anew(ruled: EventLog) -> None:
    tell(ruled, 1, ("feed/gazette", FeedFailed("timeout", "20 s", "Wait.")))
    tell(ruled, 2, ("feed/gazette", FeedRecovered(at(1))))
    assert some(feed(ruled), "state", *FRESH) == ("ok", timestamp(at(2)), "", "", "")
    tell(ruled, 3, ("feed/gazette", FeedFailed("timeout", "20 s", "Wait.")))
    assert some(feed(ruled), "state", "since") == ("failing", timestamp(at(3)))


def test_a_feed_that_is_gone_says_where_it_was(ruled: EventLog) -> None:
    tell(ruled, 1, ("feed/gazette", FeedGone("https://gazette.example/rss")))
    expected = ("gone", timestamp(at(1)), "gone", "https://gazette.example/rss answers 410")
    assert some(feed(ruled), "state", "since", "reason", "detail") == expected
    assert "feeds.yaml" in feed(ruled)["hint"]


def test_a_feed_that_moved_is_asked_at_its_new_address_until_feeds_yaml_has_another(ruled: EventLog) -> None:
    old, new = "https://gazette.example/rss", "https://gazette.example/feed"
    tell(ruled, 1, ("feed/gazette", FeedMoved(old, new)))
    assert some(feed(ruled), "url", "asked_url", "moved") == (old, new, timestamp(at(1)))
    tell(ruled, 2, rules_changed())
    assert feed(ruled)["asked_url"] == new
    tell(ruled, 3, rules_changed(LATER_RULES))
    expected = ("https://new.example/rss", "https://new.example/rss", None)
    assert some(feed(ruled), "url", "asked_url", "moved") == expected


def test_a_move_from_an_address_that_feeds_yaml_has_no_more_changes_nothing(ruled: EventLog) -> None:
    tell(ruled, 1, rules_changed(LATER_RULES))
    tell(ruled, 2, ("feed/gazette", FeedMoved("https://gazette.example/rss", "https://gazette.example/feed")))
    assert some(feed(ruled), "asked_url", "moved") == ("https://new.example/rss", None)


def test_a_feed_with_a_new_address_is_new_again_and_keeps_its_items_and_keys(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), ("feed/gazette", FeedRekeyed("link", "x", ("A", "B"))))
    tell(ruled, 2, ("feed/gazette", FeedGone("https://gazette.example/rss")))
    tell(ruled, 3, rules_changed(LATER_RULES))
    row = feed(ruled)
    assert some(row, "url", "title", "state", *FRESH) == (
        "https://new.example/rss",
        "The New Gazette",
        "new",
        *FRESH.values(),
    )
    assert some(row, "item_count", "unfit_keys") == (1, '["link"]')


def test_a_feed_with_the_same_address_keeps_its_state_when_rules_change(ruled: EventLog) -> None:
    tell(ruled, 1, ("feed/courier", FeedGone("https://courier.example/rss")))
    tell(ruled, 2, rules_changed(replace(RULES, within_words=3)))
    assert feed(ruled, "courier")["state"] == "gone"


def test_a_feed_that_left_the_rules_rests_and_comes_back(ruled: EventLog) -> None:
    tell(ruled, 1, rules_changed(LATER_RULES))
    assert [(row["id"], row["enabled"]) for row in rows(ruled, "feed")] == [
        ("courier", False),
        ("gazette", True),
        ("resting", False),
    ]
    tell(ruled, 2, rules_changed())
    assert feed(ruled, "courier")["enabled"]


def test_unfit_keys_are_gathered(ruled: EventLog) -> None:
    keys: tuple[Literal["guid", "link"], ...] = ("link", "guid", "link")
    for key in keys:
        tell(ruled, 1, ("feed/gazette", FeedRekeyed(key, "x", ("A", "B"))))
    assert json.loads(feed(ruled)["unfit_keys"]) == ["guid", "link"]


def test_a_gap_is_dated_by_its_event(ruled: EventLog) -> None:
    tell(ruled, 5, ("feed/gazette", GapSuspected(at(1), at(4))))
    assert feed(ruled)["last_gap"] == timestamp(at(5))


def test_a_claim_of_the_rules_has_no_matches_yet(ruled: EventLog) -> None:
    row = rows(ruled, "claim")[1]
    assert row == {
        "id": "energy-strike-pause",
        "statement": "The statement of energy-strike-pause.",
        "article": "An Author, “An Article”, A Publisher, 2025-03-19",
        "made": "2025-03-18",
        "due": "2025-04-17",
        "kind": "commitment",
        "enabled": True,
        "terms": 1,
        "matches": 0,
        "last_match": None,
    }


def test_a_changed_claim_keeps_its_count_of_matches(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    tell(ruled, 2, rules_changed(LATER_RULES))
    resting, watched = rows(ruled, "claim")
    assert some(watched, "terms", "matches", "last_match", "due") == (1, 1, timestamp(at(1)), None)
    assert not resting["enabled"]


def test_a_claim_that_left_the_rules_rests(ruled: EventLog) -> None:
    tell(ruled, 1, rules_changed(replace(RULES, claims=RULES.claims[:1])))
    assert [(row["id"], row["enabled"]) for row in rows(ruled, "claim")] == [
        ("black-sea-group", False),
        ("energy-strike-pause", True),
    ]


def subscriptions(log: EventLog) -> list[tuple[Any, ...]]:
    return [some(row, "digest", "recipient", "since_position", "last_due") for row in rows(log, "subscription")]


def test_a_recipient_subscribes_from_the_rules_that_name_them_on(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"))
    daily, weekly = RULES.digests
    wider = replace(weekly, recipients=(support.RECIPIENT, OTHER_RECIPIENT))
    tell(ruled, 2, rules_changed(replace(RULES, digests=(daily, wider))))
    assert subscriptions(ruled) == [
        ("daily", OTHER_RECIPIENT, 1, None),
        ("daily", support.RECIPIENT, 1, None),
        ("weekly", OTHER_RECIPIENT, 3, None),
        ("weekly", support.RECIPIENT, 1, None),
    ]


def test_whoever_leaves_the_rules_gets_nothing_more(ruled: EventLog) -> None:
    assert {row["id"] for row in rows(ruled, "recipient")} == {support.RECIPIENT, OTHER_RECIPIENT}
    tell(ruled, 2, rules_changed(LATER_RULES))
    assert [row["recipient"] for row in rows(ruled, "subscription")] == [support.RECIPIENT]
    assert [row["id"] for row in rows(ruled, "recipient")] == [support.RECIPIENT]


def test_a_cancelled_digest_holds_nothing_and_answers_nothing(ruled: EventLog) -> None:
    id = f"{DAILY}/1"
    tell(ruled, 1, prepared(id, 3, missed=(DUE - timedelta(days=1),)))
    tell(ruled, 2, (f"digest/{id}", DeliveryCancelled("gone", may_have_left=False)))
    assert some(only(ruled, "delivery"), "state", "finished_at", "answer") == ("cancelled", timestamp(at(2)), "gone")
    assert rows(ruled, "digest_match") == []
    open_again = timestamp(DUE - timedelta(days=1, seconds=1))
    assert ("daily", support.RECIPIENT, 1, open_again) in subscriptions(ruled)


def test_a_cancelled_digest_that_may_have_left_stays_told_and_answered(ruled: EventLog) -> None:
    id = f"{DAILY}/1"
    tell(ruled, 1, prepared(id, 3), (f"digest/{id}", DeliveryStarted(1, "smtp")))
    tell(ruled, 2, (f"digest/{id}", DeliveryCancelled("gone", may_have_left=True)))
    assert only(ruled, "delivery")["state"] == "cancelled"
    assert [row["match"] for row in rows(ruled, "digest_match")] == [3]
    assert ("daily", support.RECIPIENT, 1, timestamp(DUE)) in subscriptions(ruled)


def test_a_digest_cancelled_after_a_later_one_opens_no_due_time(ruled: EventLog) -> None:
    tell(ruled, 1, prepared(f"{DAILY}/1", 3), prepared(f"{DAILY}/2", due=DUE + timedelta(days=1)))
    tell(ruled, 2, (f"digest/{DAILY}/1", DeliveryCancelled("gone", may_have_left=False)))
    assert ("daily", support.RECIPIENT, 1, timestamp(DUE + timedelta(days=1))) in subscriptions(ruled)


def refuse(log: EventLog, hours: float, *ids: str, recipient: str = support.RECIPIENT) -> None:
    for id in ids:
        digest_of = f"daily/{recipient}/{id}"
        tell(log, hours, prepared(digest_of), (f"digest/{digest_of}", DeliveryRefused(f"550 {id}")))


def recipient(log: EventLog) -> tuple[Any, ...]:
    (row,) = [row for row in rows(log, "recipient") if row["id"] == support.RECIPIENT]
    return some(row, "refusals", "resting_since", "answer")


def test_a_recipient_rests_after_the_third_refusal_in_a_row(ruled: EventLog) -> None:
    refuse(ruled, 1, "1", "2")
    refuse(ruled, 2, "other", recipient=OTHER_RECIPIENT)
    assert recipient(ruled) == (2, None, "550 2")
    refuse(ruled, 3, "3")
    assert recipient(ruled) == (3, timestamp(at(3)), "550 3")
    refuse(ruled, 4, "4")
    assert recipient(ruled) == (4, timestamp(at(3)), "550 4")


def test_a_message_that_is_taken_ends_the_row_of_refusals(ruled: EventLog) -> None:
    refuse(ruled, 1, "1", "2")
    tell(ruled, 2, prepared(f"{DAILY}/3"), (f"digest/{DAILY}/3", DeliveryAccepted("250 OK")))
    assert recipient(ruled) == (0, None, "")
    refuse(ruled, 3, "4")
    assert recipient(ruled) == (1, None, "550 4")


def test_a_cancelled_message_is_no_refusal(ruled: EventLog) -> None:
    refuse(ruled, 1, "1", "2")
    tell(ruled, 2, prepared(f"{DAILY}/3"), (f"digest/{DAILY}/3", DeliveryCancelled("gone", may_have_left=False)))
    assert recipient(ruled) == (2, None, "550 2")


def test_who_takes_a_message_after_a_rest_has_missed_no_due_time(ruled: EventLog) -> None:
    refuse(ruled, 1, "1", "2", "3")
    again = prepared(f"{DAILY}/4", resent=True)
    tell(ruled, 90, again, (f"digest/{DAILY}/4", DeliveryAccepted("250 OK")))
    assert recipient(ruled) == (0, None, "")
    assert ("daily", support.RECIPIENT, 1, timestamp(at(90))) in subscriptions(ruled)
    assert ("daily", OTHER_RECIPIENT, 1, None) in subscriptions(ruled)


def test_whoever_is_named_anew_rests_no_more(ruled: EventLog) -> None:
    refuse(ruled, 1, "1", "2", "3")
    without = tuple(replace(digest, recipients=(OTHER_RECIPIENT,)) for digest in RULES.digests)
    tell(ruled, 2, rules_changed(replace(RULES, digests=without)))
    tell(ruled, 3, rules_changed())
    assert recipient(ruled) == (0, None, "")


def test_another_calendar_makes_nothing_due_that_was_not(ruled: EventLog) -> None:
    daily, weekly = RULES.digests
    tell(ruled, 1, rules_changed(replace(RULES, digests=(replace(daily, when_empty="send"), weekly))))
    assert ("daily", support.RECIPIENT, 1, None) in subscriptions(ruled)
    tell(ruled, 90, rules_changed(replace(RULES, digests=(replace(daily, cron="0 * * * *"), weekly))))
    assert ("daily", support.RECIPIENT, 1, timestamp(at(90))) in subscriptions(ruled)
    assert ("weekly", support.RECIPIENT, 1, None) in subscriptions(ruled)


def test_who_leaves_and_comes_back_subscribes_anew(ruled: EventLog) -> None:
    tell(ruled, 1, skipped(f"daily/{OTHER_RECIPIENT}/1"))
    tell(ruled, 2, rules_changed(LATER_RULES))
    tell(ruled, 3, rules_changed())
    assert subscriptions(ruled)[0] == ("daily", OTHER_RECIPIENT, 4, None)


def test_the_subscriptions_of_a_resting_digest_rest(ruled: EventLog) -> None:
    resting = tuple(replace(digest, enabled=False) for digest in RULES.digests)
    tell(ruled, 1, rules_changed(replace(RULES, digests=resting)))
    assert {row["enabled"] for row in rows(ruled, "subscription")} == {False}


def test_a_digest_that_wakes_has_missed_nothing_and_forgotten_nothing(ruled: EventLog) -> None:
    resting = tuple(replace(digest, enabled=False) for digest in RULES.digests)
    before = rows(ruled, "subscription")
    tell(ruled, 1, rules_changed(replace(RULES, digests=resting)))
    tell(ruled, 2, rules_changed(RULES))
    after = rows(ruled, "subscription")
    assert [row["since_position"] for row in after] == [row["since_position"] for row in before]
    assert all(row["enabled"] and row["last_due"] for row in after)


# ── items and matches ────────────────────────────────────────────────────────────────────────────────────────────


def test_an_item_stands_as_it_was_seen(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One", already_there=True))
    assert only(ruled, "item") == {
        "id": "1",
        "feed": "gazette",
        "guid": "one",
        "link": "https://gazette.example/one",
        "title": "One",
        "summary": "About One: обстріл",
        "author": "A. Writer",
        "published": "2025-03-18T12:00:00.000000Z",
        "first_seen": timestamp(at(1)),
        "changed": timestamp(at(1)),
        "version": 1,
        "position": 2,
        "text_position": 2,
        "already_there": True,
        "redacted": False,
    }
    assert some(feed(ruled), "item_count", "last_item") == (1, timestamp(at(1)))


def test_a_revised_item_has_its_new_text_and_its_old_birth(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"))
    tell(ruled, 2, revised("1", "Other", published=None))
    row = only(ruled, "item")
    assert some(row, "title", "guid", "published", "version", "text_position") == ("Other", "other", None, 2, 3)
    assert some(row, "first_seen", "changed", "position") == (timestamp(at(1)), timestamp(at(2)), 2)
    assert feed(ruled)["item_count"] == 1


def test_every_text_of_an_item_is_kept_to_know_it_again(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), seen("2", "Two", "courier", guid=None, link=None))
    tell(ruled, 2, revised("1", "Other"))
    columns = ("position", "item", "feed", "guid", "link", "title", "fingerprint")
    assert [some(row, *columns) for row in rows(ruled, "revision")] == [
        (2, "1", "gazette", "one", "https://gazette.example/one", "One", "1One"),
        (3, "2", "courier", None, None, "Two", "1Two"),
        (4, "1", "gazette", "other", "https://gazette.example/other", "Other", "1Other"),
    ]


def test_a_redacted_item_has_no_text_left_in_any_table(told: EventLog) -> None:
    row = rows(told, "item")[0]
    assert some(row, "id", "title", "summary", "author", "redacted", "version") == ("1", "", "", None, True, 4)
    assert [row["title"] for row in rows(told, "revision") if row["item"] == "1"] == ["", "", ""]
    assert [row["redacted"] for row in rows(told, "item")] == [True, False, False, False]


def test_a_match_stands_with_its_evidence(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    row = only(ruled, "match")
    evidence = json.loads(row.pop("evidence"))
    assert row == {
        "position": 3,
        "claim": "energy-strike-pause",
        "item": "1",
        "feed": "gazette",
        "at": timestamp(at(1)),
        "item_version": 1,
        "rules": RULES.sha256,
        "already_there": False,
        "retroactive": False,
        "lapsed_at": None,
        "current": True,
        "reviewed": None,
    }
    assert evidence == [
        {
            "term": "energy pause",
            "stance": "mentions",
            "field": "summary",
            "spans": [[6, 12]],
            "surface": ["обстріл"],
        }
    ]
    assert some(rows(ruled, "claim")[1], "matches", "last_match") == (1, timestamp(at(1)))


def test_evidence_is_readable_in_an_sql_tool(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    assert "обстріл" in only(ruled, "match")["evidence"]


def test_a_lapse_ends_the_standing_match_of_that_claim_and_item_only(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"), matched("black-sea-group", "1"))
    tell(ruled, 1, seen("2", "Two"), matched("energy-strike-pause", "2"))
    tell(ruled, 2, revised("1", "Other"), lapsed("energy-strike-pause", "1"))
    tell(ruled, 3, revised("1", "Again"), matched("energy-strike-pause", "1", 3))
    tell(ruled, 4, revised("1", "Anew"), lapsed("energy-strike-pause", "1", 4))
    lapses = [some(row, "claim", "item", "lapsed_at") for row in rows(ruled, "match")]
    assert lapses == [
        ("energy-strike-pause", "1", timestamp(at(2))),
        ("black-sea-group", "1", None),
        ("energy-strike-pause", "2", None),
        ("energy-strike-pause", "1", timestamp(at(4))),
    ]


def test_a_lapse_ends_no_match_on_that_text_or_a_later_one(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), revised("1", "Other"), matched("energy-strike-pause", "1", 2))
    tell(ruled, 2, lapsed("energy-strike-pause", "1", 2))
    assert only(ruled, "match")["lapsed_at"] is None
    tell(ruled, 3, lapsed("energy-strike-pause", "1", 3))
    assert only(ruled, "match")["lapsed_at"] == timestamp(at(3))


def test_a_lapse_that_a_backfill_finds_is_as_old_as_the_text(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    tell(ruled, 9, ("claim/energy-strike-pause", MatchLapsed("energy-strike-pause", "1", 2, changed_at=at(2))))
    assert only(ruled, "match")["lapsed_at"] == timestamp(at(2))


def test_a_reviewed_match_stands_as_the_later_rules_make_it(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    tell(ruled, 2, revised("1", "Other"), lapsed("energy-strike-pause", "1"))
    tell(ruled, 3, reviewed(3, "1", 2, "another term"))
    row = only(ruled, "match")
    expected = (at(1), 2, LATER_RULES.sha256, None, True, 6)
    assert some(row, "at", "item_version", "rules", "lapsed_at", "current", "reviewed") == (
        timestamp(expected[0]),
        *expected[1:],
    )
    assert json.loads(row["evidence"])[0]["term"] == "another term"


def test_a_match_that_later_rules_do_not_make_stands_as_it_was_made(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    before = only(ruled, "match")
    tell(ruled, 2, reviewed(3, "1", 1))
    assert only(ruled, "match") == before | {"current": False, "reviewed": 4}
    tell(ruled, 3, lapsed("energy-strike-pause", "1"))
    assert only(ruled, "match") == before | {"current": False, "reviewed": 4}


def test_a_claim_counts_the_matches_that_todays_rules_make(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"))
    counts = []
    for terms in ((), (), ("a",), ("b",)):
        tell(ruled, 2, reviewed(3, "1", 1, *terms))
        counts.append(some(rows(ruled, "claim")[1], "matches")[0])
    assert counts == [0, 0, 1, 1]


def test_matches_of_a_claim_that_is_watched_no_more_are_not_current(ruled: EventLog) -> None:
    tell(ruled, 1, seen("1", "One"), matched("energy-strike-pause", "1"), matched("black-sea-group", "1"))
    tell(ruled, 2, rules_changed(LATER_RULES))
    assert [some(row, "claim", "current") for row in rows(ruled, "match")] == [
        ("energy-strike-pause", True),
        ("black-sea-group", False),
    ]
    assert [some(row, "id", "matches") for row in rows(ruled, "claim")] == [
        ("black-sea-group", 0),
        ("energy-strike-pause", 1),
    ]


# ── digests and deliveries ───────────────────────────────────────────────────────────────────────────────────────


def test_a_prepared_digest_stands_with_what_it_holds(ruled: EventLog) -> None:
    id = f"{DAILY}/1"
    tell(ruled, 1, prepared(id, 3, 7, missed=(NOON, at(5))))
    assert only(ruled, "digest") == {
        "id": id,
        "name": "daily",
        "recipient": support.RECIPIENT,
        "due": timestamp(DUE),
        "at": timestamp(at(1)),
        "position": 2,
        "log_position": 9,
        "skipped": False,
        "resent": False,
        "missed": f'["{timestamp(NOON)}", "{timestamp(at(5))}"]',
        "matches": 2,
        "message_id": f"<{id}@example.org>",
        "subject": f"Subject of {id}",
        "template_error": "",
    }
    assert [some(row, "digest", "match", "name", "recipient") for row in rows(ruled, "digest_match")] == [
        (id, 3, "daily", support.RECIPIENT),
        (id, 7, "daily", support.RECIPIENT),
    ]
    assert ("daily", support.RECIPIENT, 1, timestamp(DUE)) in subscriptions(ruled)


def test_an_empty_digest_holds_no_matches(ruled: EventLog) -> None:
    tell(ruled, 1, prepared(f"{DAILY}/1"))
    assert only(ruled, "digest")["matches"] == 0
    assert rows(ruled, "digest_match") == []


def test_a_skipped_digest_is_answered_and_has_no_delivery(ruled: EventLog) -> None:
    tell(ruled, 1, skipped(f"weekly/{support.RECIPIENT}/1", missed=(NOON,)))
    row = only(ruled, "digest")
    assert some(row, "skipped", "matches", "message_id", "subject", "resent") == (True, 0, None, "", False)
    assert rows(ruled, "delivery") == []
    assert ("weekly", support.RECIPIENT, 1, timestamp(DUE)) in subscriptions(ruled)


def test_a_resent_digest_answers_no_due_time(ruled: EventLog) -> None:
    tell(ruled, 1, prepared(f"{DAILY}/1", 3, resent=True))
    assert only(ruled, "digest")["resent"]
    assert ("daily", support.RECIPIENT, 1, None) in subscriptions(ruled)


DELIVERY = ("state", "version", "attempts", "first_attempt", "retry_at", "finished_at", "answer")


def test_a_delivery_is_told_step_by_step(ruled: EventLog) -> None:
    id = f"{DAILY}/1"
    steps: list[tuple[Event, tuple[Any, ...]]] = [
        (prepared(id, 3)[1], ("prepared", 1, 0, None, None, None, "")),
        (DeliveryStarted(1, "smtp"), ("started", 2, 1, timestamp(at(1)), None, None, "")),
        (
            DeliveryDeferred("451 later", at(9)),
            ("deferred", 3, 1, timestamp(at(1)), timestamp(at(9)), None, "451 later"),
        ),
        (DeliveryStarted(2, "smtp"), ("started", 4, 2, timestamp(at(1)), None, None, "451 later")),
        (
            DeliveryUncertain(2),
            ("uncertain", 5, 2, timestamp(at(1)), None, None, "a crash came before the outcome was known"),
        ),
        (
            DeliveryStarted(3, "smtp"),
            ("started", 6, 3, timestamp(at(1)), None, None, "a crash came before the outcome was known"),
        ),
        (DeliveryAccepted("250 OK"), ("accepted", 7, 3, timestamp(at(1)), None, timestamp(at(6)), "250 OK")),
    ]
    for hours, (event, expected) in enumerate(steps):
        tell(ruled, hours, (f"digest/{id}", event))
        assert some(only(ruled, "delivery"), *DELIVERY) == expected
    assert only(ruled, "delivery")["prepared_at"] == timestamp(at(0))


def test_a_refused_digest_gives_its_matches_back_and_no_others(ruled: EventLog) -> None:
    refused, other = f"{DAILY}/1", f"daily/{OTHER_RECIPIENT}/1"
    tell(ruled, 1, prepared(refused, 3, 7), prepared(other, 3, 7))
    tell(ruled, 2, (f"digest/{refused}", DeliveryRefused("550 no such user")))
    assert [some(row, "digest", "match") for row in rows(ruled, "digest_match")] == [(other, 3), (other, 7)]
    row = next(row for row in rows(ruled, "delivery") if row["digest"] == refused)
    assert some(row, "state", "finished_at", "answer") == ("refused", timestamp(at(2)), "550 no such user")
    assert next(row for row in rows(ruled, "digest") if row["id"] == refused)["matches"] == 2


# ── notices ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_notice_that_was_not_taken_leaves_its_troubles_untold(ruled: EventLog) -> None:
    tell(ruled, 24, notice(1, trouble("feed failing", "gazette", "first")))
    assert some(only(ruled, "notice"), "recipient", "state", "version", "subject", "finished_at") == (
        "r-000000000009",
        "prepared",
        1,
        "Notice 1",
        None,
    )
    tell(ruled, 25, deferred(1, at(26)))
    assert some(only(ruled, "notice"), "state", "version", "retry_at", "answer") == (
        "deferred",
        2,
        timestamp(at(26)),
        "451 later",
    )
    row = only(ruled, "told_trouble")
    assert some(row, "kind", "about", "state", "told_at") == ("feed failing", "gazette", "untold", None)


def test_a_trouble_stands_from_the_notice_that_was_taken_until_one_says_that_it_is_over(ruled: EventLog) -> None:
    first = trouble("feed failing", "gazette", "first")
    tell(ruled, 24, notice(1, first), sent(1, first))
    assert some(only(ruled, "told_trouble"), "state", "since", "told_at") == (
        "standing",
        timestamp(at(23)),
        timestamp(at(24)),
    )
    again = trouble("feed failing", "gazette", "again")
    tell(ruled, 200, notice(2, again), sent(2, again))
    assert some(only(ruled, "told_trouble"), "state", "since", "told_at") == (
        "standing",
        timestamp(at(23)),
        timestamp(at(200)),
    )
    over = trouble("feed failing", "gazette", "over", at(201))
    tell(ruled, 203, notice(3, over), sent(3, over))
    assert some(only(ruled, "told_trouble"), "state", "over_at", "incidents") == ("over", timestamp(at(203)), 1)


@pytest.mark.parametrize(("hours", "incidents"), [(7 * 24 - 1, 2), (7 * 24, 1)])
def test_a_trouble_that_comes_back_within_a_week_is_one_incident_more(
    ruled: EventLog, hours: int, incidents: int
) -> None:
    passed = trouble("rules refused", "", "passed", at(30))
    tell(ruled, 24, notice(1, passed), sent(1, passed))
    back = trouble("rules refused", "", "first")
    tell(ruled, 24 + hours, notice(2, back), sent(2, back))
    assert some(only(ruled, "told_trouble"), "state", "incidents", "over_at") == ("standing", incidents, None)
