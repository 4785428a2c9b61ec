"""When and to whom: alerts, quiet hours, signs of life, who rests, what is cancelled; no match is lost or doubled."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jinja2 import UndefinedError

from daemon import queries
from daemon.assembly import verify
from daemon.backfill import catch_up
from daemon.cancelling import cancel_outdated
from daemon.delivery import deliver
from daemon.errors import ClaimwatchError
from daemon.eventlog import read
from daemon.events import DeliveryAccepted, DeliveryCancelled, DeliveryRefused, DigestPrepared, Recorded
from daemon.handovers import Accepted, Deferred, Handover, Refused
from daemon.mailprojections import REFUSALS_BEFORE_REST
from daemon.outcomes import Answered, Changed
from daemon.preparing import Post, next_due_time, prepare_due, prepare_now, preview, resend
from daemon.recipients import resting_recipients
from daemon.rules import ClaimRule, DigestRule, recipient_id
from daemon.service import Watch, record_rules
from tests.support import (
    ADDRESS,
    NOW,
    RECIPIENT,
    claim,
    digest,
    feed,
    item,
    move_on,
    post,
    rss,
    rules,
    take_in,
    watching,
)
from tests.test_delivery import (
    BOTH,
    DAY,
    DUE,
    SECOND,
    Hand,
    PowerCutError,
    change_rules,
    come_in,
    events_of,
    held,
    kinds,
    matches_of,
    sent,
    text_of,
)

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
SEA = "black-sea-group"


def alerts(**fields: Any) -> DigestRule:
    return digest("alerts", "", every_seconds=900, **fields)


def until(watch: Watch, moment: datetime) -> None:
    move_on(watch, moment - watch.clock.now())


def clock(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 3, day, hour, minute, tzinfo=UTC)


@pytest.fixture
def alerted(tmp_path: Path) -> Iterator[Watch]:
    """A watch with alerts and a daily digest, whose rules the log knows since noon of 19 March."""
    with watching(tmp_path, rules(alerts(), digest())) as watch:
        record_rules(watch)
        yield watch


# ── a feed that moved ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_relative_link_leads_to_where_its_feed_moved(tmp_path: Path) -> None:
    old, new = "https://old.example/feed.xml", "https://new.example/feed.xml"
    with watching(tmp_path, rules(feed(url=old), claim(), digest())) as watch:
        record_rules(watch)
        for poll, title in enumerate(("Rain", "Snow", "Hail", "Energy strike pause")):
            document = rss(item(title, guid=title, link="/news/1", published=watch.clock.now()))
            answered = Answered(new, new if poll < 3 else None)
            take_in(watch, watch.rules.feeds[0], Changed(document, str(poll) * 64, None, None, None, answered))
            move_on(watch, 13 * HOUR)
        (prepared,) = prepare_due(watch, post(tmp_path))
    assert "https://new.example/news/1" in text_of(prepared)
    assert "old.example/news" not in text_of(prepared)


# ── a clock that stood ahead ─────────────────────────────────────────────────────────────────────────────────────


def set_back(watch: Watch, moment: datetime) -> Watch:
    return replace(watch, clock=type(watch.clock)(moment))  # type: ignore[call-arg]


def days_told(watch: Watch, folder: Path, until_day: int) -> list[tuple[str, datetime]]:
    """The names and due times of what is told of an item each morning and noon, on the days up to that one."""
    told = []
    while watch.clock.now() < clock(until_day, 23):
        if (now := watch.clock.now()).hour in (6, 12) and not now.minute:
            come_in(watch, f"Energy strike pause, says {now:%A %H}", guid=now.isoformat())
        told += [(one.event.name, one.event.due) for one in prepare_due(watch, post(folder))]
        move_on(watch, 30 * MINUTE)
    return told


def each_day(*days: int) -> list[tuple[str, datetime]]:
    told = {("alerts", clock(day, hour)) for day in days for hour in (6, 12)}
    return sorted(told | {("daily", clock(day, 7, 30)) for day in days}, key=lambda one: one[1])


def test_after_a_clock_that_stood_days_ahead_mail_comes_at_its_times(alerted: Watch, tmp_path: Path) -> None:
    come_in(alerted, "Energy strike pause", guid="before")
    until(alerted, clock(22, 12))
    assert {one.event.due.day for one in prepare_due(alerted, post(tmp_path))} == {22}
    watch = set_back(alerted, clock(20, 1))
    assert next_due_time(watch) == clock(20, 7, 30)
    # Also on the day that was answered before its time, under names of their own.
    assert days_told(watch, tmp_path, 22) == each_day(20, 21, 22)
    with watch.log.reading() as connection:
        assert sum(row["id"].endswith("+2") for row in queries.digest_rows(connection, last=100)) == 2
    verify(watch.log)


def test_after_a_clock_that_was_a_minute_fast_no_digest_comes_twice(alerted: Watch, tmp_path: Path) -> None:
    until(alerted, clock(20, 6))
    assert days_told(alerted, tmp_path, 20) == each_day(20)
    watch = set_back(alerted, clock(20, 7, 29))
    assert [one.event.name for one in prepare_due(watch, post(tmp_path))] == []
    move_on(watch, 2 * MINUTE)
    assert prepare_due(watch, post(tmp_path)) == []
    assert next_due_time(watch) == clock(21, 7, 30)


def test_a_watch_that_was_begun_under_a_clock_that_stood_ahead_tells_what_comes(tmp_path: Path) -> None:
    with watching(tmp_path, rules(alerts(), digest()), now=clock(31, 12)) as ahead:
        record_rules(ahead)
        watch = set_back(ahead, clock(20, 3))
        come_in(watch, "Energy strike pause", guid="at once")
        assert {one.event.name for one in prepare_due(watch, post(tmp_path))} == {"alerts", "daily"}
        until(watch, clock(20, 5))
        assert days_told(watch, tmp_path, 21) == each_day(20, 21)


def test_a_digest_with_nothing_to_tell_says_that_the_watch_goes_on_after_a_clock_that_stood_ahead(
    tmp_path: Path,
) -> None:
    with watching(tmp_path, rules(digest())) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause")
        until(watch, clock(29, 8))
        assert kinds(prepare_due(watch, post(tmp_path))) == ["digest_prepared"]
        watch, told = set_back(watch, clock(20, 8)), []
        while watch.clock.now() < clock(28, 9):
            told += [
                one.event.due.day for one in prepare_due(watch, post(tmp_path)) if one.event.kind[7:] == "prepared"
            ]
            move_on(watch, HOUR)
    assert told == [20, 27]


def test_a_delivery_that_a_clock_that_stood_ahead_put_off_is_tried_now(alerted: Watch, tmp_path: Path) -> None:
    come_in(alerted, "Energy strike pause")
    until(alerted, clock(29, 8))
    by = post(tmp_path, Hand([Deferred("451 Later"), Deferred("451 Later"), Accepted("taken")]))
    prepare_due(alerted, by)
    assert sent(alerted, by) == ["delivery_deferred"] * 2
    watch = set_back(alerted, clock(20, 8))
    assert sent(watch, by) == ["delivery_accepted"] * 2


# ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alert_comes_at_the_step_after_something_came_in(alerted: Watch, tmp_path: Path) -> None:
    until(alerted, clock(19, 12, 40))
    found = matches_of(come_in(alerted, "Energy strike pause"))
    assert prepare_due(alerted, post(tmp_path)) == []
    assert next_due_time(alerted) == clock(19, 12, 45)
    until(alerted, clock(19, 12, 45))
    (prepared,) = prepare_due(alerted, post(tmp_path))
    assert (prepared.event.name, prepared.event.due, prepared.event.matches) == ("alerts", clock(19, 12, 45), found)
    assert prepare_due(alerted, post(tmp_path)) == []


def test_alerts_with_nothing_to_tell_leave_no_trace_and_nothing_due(alerted: Watch, tmp_path: Path) -> None:
    assert next_due_time(alerted) == DUE
    until(alerted, clock(19, 23))
    assert prepare_due(alerted, post(tmp_path)) == []
    assert prepare_now(alerted, post(tmp_path), "alerts") == []
    assert events_of(alerted) == []


def test_an_alert_and_a_digest_tell_a_match_each_on_its_own(alerted: Watch, tmp_path: Path) -> None:
    found = matches_of(come_in(alerted, "Energy strike pause"))
    until(alerted, DUE)
    assert [(one.event.name, one.event.matches) for one in prepare_due(alerted, post(tmp_path))] == [
        ("alerts", found),
        ("daily", found),
    ]


def test_after_downtime_one_alert_tells_all_and_names_no_missed_times(alerted: Watch, tmp_path: Path) -> None:
    found = [come_in(alerted, "Energy strike pause")]
    move_on(alerted, 5 * HOUR)
    found.append(come_in(alerted, "Another energy strike pause"))
    until(alerted, clock(19, 23, 7))
    (prepared,) = prepare_due(alerted, post(tmp_path))
    assert prepared.event.matches == tuple(match for recorded in found for match in matches_of(recorded))
    assert (prepared.event.due, prepared.event.missed) == (clock(19, 23), ())


def test_over_the_limit_of_a_day_matches_wait_for_the_first_alert_of_the_next(tmp_path: Path) -> None:
    with watching(tmp_path, rules(alerts(at_most=2, timezone="Europe/Kyiv"))) as watch:
        record_rules(watch)
        told = []
        for number in range(6):
            come_in(watch, f"Energy strike pause {number}", guid=str(number))
            move_on(watch, HOUR)
            told += prepare_due(watch, post(tmp_path))
        # Midnight in Kyiv.
        assert next_due_time(watch) == clock(19, 22)
        until(watch, clock(19, 22))
        told += prepare_due(watch, post(tmp_path))
    assert [len(matches) for matches in held(told)] == [1, 1, 4]
    assert [one.event.due for one in told] == [clock(19, 13), clock(19, 14), clock(19, 22)]
    last = "No further alert comes today (at_most: 2/day); what comes in waits for tomorrow's first."
    assert [last in text_of(one) for one in told] == [False, True, False]


def test_refused_alerts_do_not_use_up_the_limit_of_a_day(tmp_path: Path) -> None:
    with watching(tmp_path, rules(alerts(at_most=1))) as watch:
        record_rules(watch)
        by = post(tmp_path, Hand([Refused("550 No"), Accepted("taken")]))
        found = matches_of(come_in(watch, "Energy strike pause"))
        until(watch, clock(19, 13))
        assert held(prepare_due(watch, by)) == [found]
        assert sent(watch, by) == ["delivery_refused"]
        move_on(watch, 15 * MINUTE)
        assert held(prepare_due(watch, by)) == [found]


def test_alerts_leave_history_and_what_was_already_there_to_digests_with_a_time(alerted: Watch, tmp_path: Path) -> None:
    old = item("Energy strike pause", published=NOW - 30 * DAY)
    take_in(alerted, alerted.rules.feeds[0], Changed(rss(old), "x" * 64, None, None, None))
    come_in(alerted, "Black Sea group")
    watch = change_rules(alerted, alerts(), digest(), claim(), claim(SEA))
    catch_up(watch)
    until(watch, DUE)
    (prepared,) = prepare_due(watch, post(tmp_path))
    assert (prepared.event.name, len(prepared.event.matches)) == ("daily", 2)
    assert preview(watch, post(tmp_path), "alerts")[0].matches == ()


def test_a_digest_that_can_not_be_made_holds_up_no_other(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest("a"), digest("b"))) as watch:
        record_rules(watch)
        found = matches_of(come_in(watch, "Energy strike pause"))
        until(watch, DUE)
        good = post(tmp_path)
        broken = dict(good.templates)
        broken["digest.txt"] = "{% if digest.name == 'a' %}{{ nothing.here }}{% endif %}" + broken["digest.txt"]
        with pytest.raises(UndefinedError, match="nothing"):
            prepare_due(watch, replace(good, templates=broken, shipped_templates=broken))
        assert [(event.name, event.matches) for event in events_of(watch)] == [("b", found)]
        (late,) = prepare_due(watch, good)
        assert (late.event.name, late.event.matches) == ("a", found)


# ── quiet hours ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_alert_due_in_quiet_hours_is_held_until_their_end(tmp_path: Path) -> None:
    with watching(tmp_path, rules(alerts(quiet=("22:00", "07:00")))) as watch:
        record_rules(watch)
        until(watch, clock(19, 22, 30))
        found = matches_of(come_in(watch, "Energy strike pause"))
        assert next_due_time(watch) == clock(20, 7)
        until(watch, clock(20, 6, 59))
        assert prepare_due(watch, post(tmp_path)) == []
        until(watch, clock(20, 7))
        (prepared,) = prepare_due(watch, post(tmp_path))
        assert (prepared.event.matches, prepared.event.due) == (found, clock(20, 7))


def test_a_digest_that_comes_late_into_quiet_hours_waits_for_their_end(tmp_path: Path) -> None:
    rule = digest(cron="0 18 * * *", quiet=("22:00", "07:00"))
    with watching(tmp_path, rules(rule)) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause")
        until(watch, clock(20, 2))
        assert prepare_due(watch, post(tmp_path)) == []
        assert next_due_time(watch) == clock(20, 7)
        until(watch, clock(20, 7))
        (prepared,) = prepare_due(watch, post(tmp_path))
        assert (prepared.event.due, prepared.event.missed) == (clock(19, 18), ())


def test_an_hourly_digest_tells_its_quiet_hours_at_their_end(tmp_path: Path) -> None:
    rule = digest("hourly", "0 * * * *", quiet=("22:00", "07:00"), when_empty="send")
    with watching(tmp_path, rules(rule), clock(19, 21, 30)) as watch:
        record_rules(watch)
        dues = []
        for _ in range(24):
            move_on(watch, 30 * MINUTE)
            dues += [(one.event.due, len(one.event.missed)) for one in prepare_due(watch, post(tmp_path))]
    assert dues == [(clock(20, 7), 9), (clock(20, 8), 0), (clock(20, 9), 0)]


# ── the sign of life ─────────────────────────────────────────────────────────────────────────────────────────────


def live(watch: Watch, by: Post, days: int) -> list[Recorded]:
    """What is prepared and skipped at the due times of some days, all of it delivered."""
    recorded: list[Recorded] = []
    for _ in range(days):
        due = next_due_time(watch)
        assert due
        until(watch, due)
        recorded += prepare_due(watch, by)
        asyncio.run(deliver(watch, by))
    return recorded


def test_a_quiet_digest_says_once_a_week_that_the_watch_goes_on(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    recorded = live(watch, post(tmp_path, Hand()), 15)
    shown = [at for at, one in enumerate(recorded, 1) if isinstance(one.event, DigestPrepared)]
    assert shown == [7, 14]
    first, second = (recorded[at - 1] for at in shown)
    assert first.event.subject == "Nothing new, still watching, 0 of 1 feed read (daily)"
    assert "Nothing was new for 7 days; this only says that the watch goes on, and what it covered." in text_of(first)
    assert (first.event.coverage.since, second.event.coverage.since) == (NOW, first.at)


def test_a_digest_with_news_begins_the_week_anew(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    by = post(tmp_path, Hand())
    live(watch, by, 3)
    come_in(watch, "Energy strike pause")
    recorded = live(watch, by, 8)
    assert [at for at, one in enumerate(recorded) if isinstance(one.event, DigestPrepared)] == [0, 7]


def test_a_refused_digest_is_no_sign_of_life(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    recorded = live(watch, post(tmp_path, Hand([Refused("550 No"), Accepted("taken")])), 10)
    assert [at for at, one in enumerate(recorded, 1) if isinstance(one.event, DigestPrepared)] == [7, 8]


def test_a_digest_that_is_told_so_stays_silent(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(still_watching="never"))) as watch:
        record_rules(watch)
        assert set(kinds(live(watch, post(tmp_path, Hand()), 15))) == {"digest_skipped"}


def test_a_digest_tells_what_befell_the_watch_on_days_that_were_skipped(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    by = post(tmp_path, Hand())
    live(watch, by, 2)
    come_in(watch, "Energy strike pause")
    (prepared,) = live(watch, by, 1)
    assert prepared.event.coverage.since == NOW


# ── who rests ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def refused(watch: Watch, tmp_path: Path) -> Watch:
    """A watch whose recipient refused three digests in a row, each with one match more."""
    record_rules(watch)
    by = post(tmp_path, Hand([Refused("550 No such user")]))
    for number in range(3):
        come_in(watch, f"Energy strike pause {number}", guid=str(number))
        live(watch, by, 1)
    return watch


def test_a_recipient_rests_after_three_refusals_in_a_row(refused: Watch, tmp_path: Path) -> None:
    with refused.log.reading() as connection:
        (one,) = resting_recipients(connection)
    assert (one.recipient, one.since, one.refusals) == (RECIPIENT, refused.clock.now(), 3)
    assert one.answer == "550 No such user"
    assert next_due_time(refused) is None
    move_on(refused, 3 * DAY)
    assert prepare_due(refused, post(tmp_path)) == []
    assert prepare_now(refused, post(tmp_path), "daily") == []


def test_nobody_rests_because_the_mail_server_was_away_for_long(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    hand = Hand([Deferred("connection refused")])
    by = post(tmp_path, hand)
    for number in range(12):
        come_in(watch, f"Energy strike pause {number}", guid=str(number))
        live(watch, by, 1)
    hand.answers = [Accepted("taken")]
    come_in(watch, "Energy strike pause at last", guid="at last")
    live(watch, by, 2)
    with watch.log.reading() as connection:
        ends = [one.event for one in read(connection) if one.event.kind in ("delivery_refused", "delivery_accepted")]
        assert resting_recipients(connection) == []
    assert sum(isinstance(end, DeliveryRefused) and end.gave_up for end in ends) >= REFUSALS_BEFORE_REST
    assert isinstance(ends[-1], DeliveryAccepted)


def test_a_digest_sent_again_wakes_whoever_takes_it(refused: Watch, tmp_path: Path) -> None:
    move_on(refused, 3 * DAY)
    late = matches_of(come_in(refused, "Another energy strike pause"))
    by = post(tmp_path, Hand())
    (again,) = resend(refused, by, "daily", RECIPIENT, None)
    assert len(again.event.matches) == 4
    assert again.event.matches[3:] == late
    assert sent(refused, by) == ["delivery_accepted"]
    more = matches_of(come_in(refused, "Yet another energy strike pause"))
    assert [(one.event.matches, one.event.missed) for one in live(refused, by, 1)] == [(more, ())]


def test_whoever_refuses_again_rests_on(refused: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand([Refused("550 Still not")]))
    resend(refused, by, "daily", RECIPIENT, None)
    assert sent(refused, by) == ["delivery_refused"]
    assert next_due_time(refused) is None


def test_whoever_is_taken_out_and_named_anew_gets_what_comes_in_from_then_on(refused: Watch, tmp_path: Path) -> None:
    without = change_rules(refused, digest(recipients=(SECOND,)))
    watch = change_rules(without, digest(recipients=(RECIPIENT,)))
    found = matches_of(come_in(watch, "Another energy strike pause"))
    by = post(tmp_path, Hand())
    assert held(live(watch, by, 1)) == [found]


def test_refusals_of_all_digests_count_for_a_recipient(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest("a"), digest("b"), digest("c"), digest("d", recipients=(SECOND,)))) as watch:
        record_rules(watch)
        by = post(tmp_path, Hand(by_address={ADDRESS: Refused("550 No")}), BOTH)
        come_in(watch, "Energy strike pause")
        live(watch, by, 1)
        come_in(watch, "Another energy strike pause")
        assert {one.event.recipient for one in live(watch, by, 1)} == {SECOND}


# ── what is cancelled ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def two_claims(tmp_path: Path) -> Iterator[Watch]:
    """A watch whose daily digest waits with a match on each of two claims."""
    with watching(tmp_path, rules(claim(), claim(SEA))) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause", "Black Sea group")
        until(watch, DUE)
        prepare_due(watch, post(tmp_path))
        yield watch


def cancelled(watch: Watch) -> list[DeliveryCancelled]:
    return [event for event in events_of(watch) if isinstance(event, DeliveryCancelled)]


def matches_on(watch: Watch, *claims: str) -> tuple[int, ...]:
    with watch.log.reading() as connection:
        return tuple(match.position for match in queries.matches_since(connection, claims, None))


def test_a_waiting_digest_that_tells_of_a_removed_claim_is_prepared_anew_without_it(
    two_claims: Watch, tmp_path: Path
) -> None:
    watch = change_rules(two_claims, claim())
    (anew,) = prepare_due(watch, post(tmp_path))
    assert cancelled(watch) == [DeliveryCancelled(f"it tells of what is watched no more: {SEA}", may_have_left=False)]
    assert anew.id == f"daily/{RECIPIENT}/2025-03-20T07:30:00Z+2"
    assert (anew.event.due, anew.event.matches) == (DUE, matches_on(watch, "energy-strike-pause"))
    hand = Hand()
    assert sent(watch, post(tmp_path, hand)) == ["delivery_accepted"]
    assert [message_id for _, message_id, _ in hand.handed] == [anew.event.message_id]
    assert prepare_due(watch, post(tmp_path)) == []


def test_a_waiting_digest_of_which_nothing_is_left_is_skipped(two_claims: Watch, tmp_path: Path) -> None:
    watch = change_rules(two_claims, claim("another-claim"))
    assert kinds(prepare_due(watch, post(tmp_path))) == ["digest_skipped"]
    assert sent(watch, post(tmp_path, Hand())) == []


def test_a_digest_cancelled_twice_is_prepared_a_third_time(two_claims: Watch, tmp_path: Path) -> None:
    watch = change_rules(two_claims, claim())
    prepare_due(watch, post(tmp_path))
    back = change_rules(watch, claim("another-claim"), claim(SEA))
    catch_up(back)
    (third,) = prepare_due(back, post(tmp_path))
    assert third.id.endswith("+3")
    assert third.event.matches == matches_on(back, SEA)


def test_what_was_tried_once_may_have_left_and_goes_on_as_it_is(two_claims: Watch, tmp_path: Path) -> None:
    hand = Hand([Deferred("connection lost"), Accepted("taken")])
    assert sent(two_claims, post(tmp_path, hand)) == ["delivery_deferred"]
    watch = change_rules(two_claims, claim())
    assert prepare_due(watch, post(tmp_path)) == []
    move_on(watch, HOUR)
    assert sent(watch, post(tmp_path, hand)) == ["delivery_accepted"]
    assert hand.handed[0] == hand.handed[1]


def test_what_may_have_left_to_somebody_taken_out_ends_and_stays_told(two_claims: Watch, tmp_path: Path) -> None:
    class Crashing(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Any:
            raise PowerCutError

    with pytest.raises(PowerCutError):
        asyncio.run(deliver(two_claims, post(tmp_path, Crashing())))
    (ended,) = cancel_outdated(Watch.over(two_claims.log, rules(digest(recipients=(SECOND,))), two_claims.clock))
    assert ended.event == DeliveryCancelled("the recipient is no longer in feeds.yaml", may_have_left=True)
    assert [event.kind for event in events_of(two_claims)][-2:] == ["delivery_uncertain", "delivery_cancelled"]
    # They are back before any rules were recorded: what may have arrived is not told again.
    assert prepare_due(two_claims, post(tmp_path)) == []
    assert preview(two_claims, post(tmp_path), "daily")[0].matches == ()


def test_a_waiting_digest_that_tells_only_an_edit_of_a_removed_claim_is_cancelled(tmp_path: Path) -> None:
    with watching(tmp_path, rules(claim(), claim(SEA))) as watch:
        record_rules(watch)
        come_in(watch, "Black Sea group agreed", guid="one")
        live(watch, post(tmp_path, Hand()), 1)
        come_in(watch, "Black Sea group denied", guid="one")
        until(watch, DUE + DAY)
        (edited,) = prepare_due(watch, post(tmp_path))
        assert edited.event.subject == "1 item edited: black sea group"
        fewer = change_rules(watch, claim())
        assert kinds(prepare_due(fewer, post(tmp_path))) == ["digest_skipped"]
        assert sent(fewer, post(tmp_path, Hand())) == []


def test_a_waiting_digest_that_tells_only_of_a_removed_claim_s_day_is_cancelled(tmp_path: Path) -> None:
    with watching(tmp_path, rules(claim(), claim(SEA, due=DUE.date()))) as watch:
        record_rules(watch)
        until(watch, DUE)
        assert "fell due" in prepare_due(watch, post(tmp_path))[0].event.subject
        fewer = change_rules(watch, claim())
        assert kinds(prepare_due(fewer, post(tmp_path))) == ["digest_skipped"]


def test_a_waiting_digest_goes_on_where_a_claim_came_or_one_is_worded_anew(two_claims: Watch, tmp_path: Path) -> None:
    more = change_rules(two_claims, claim(), claim(SEA, statement="In other words."), claim("one-more"))
    assert prepare_due(more, post(tmp_path)) == []
    assert sent(more, post(tmp_path, Hand())) == ["delivery_accepted"]


def test_a_waiting_digest_that_is_switched_off_is_not_sent_and_told_when_it_is_on_again(
    two_claims: Watch, tmp_path: Path
) -> None:
    hand = Hand()
    off = change_rules(two_claims, digest(enabled=False), claim(), claim(SEA))
    assert sent(off, post(tmp_path, hand)) == ["delivery_cancelled"]
    assert cancelled(off) == [DeliveryCancelled("the digest is switched off in feeds.yaml", may_have_left=False)]
    on = change_rules(off, digest(), claim(), claim(SEA))
    assert held(live(on, post(tmp_path, hand), 1)) == [matches_on(on, "energy-strike-pause", SEA)]
    assert len(hand.handed) == 1


def test_a_digest_that_was_tried_rests_while_it_is_switched_off(two_claims: Watch, tmp_path: Path) -> None:
    hand = Hand([Deferred("451 Later"), Accepted("taken")])
    assert sent(two_claims, post(tmp_path, hand)) == ["delivery_deferred"]
    off = change_rules(two_claims, digest(enabled=False), claim(), claim(SEA))
    move_on(off, HOUR)
    assert sent(off, post(tmp_path, hand)) == []
    on = change_rules(off, digest(), claim(), claim(SEA))
    assert sent(on, post(tmp_path, hand)) == ["delivery_accepted"]
    assert prepare_due(on, post(tmp_path)) == []


def test_a_digest_that_is_switched_off_is_sent_on_request_alone(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(enabled=False))) as watch:
        record_rules(watch)
        found = matches_of(come_in(watch, "Energy strike pause"))
        by = post(tmp_path, Hand())
        with pytest.raises(ClaimwatchError, match="the digest daily is switched off"):
            prepare_now(watch, by, "daily")
        assert held(resend(watch, by, "daily", RECIPIENT, None)) == [found]
        assert sent(watch, by) == ["delivery_accepted"]


def test_a_digest_sent_again_to_a_recipient_of_another_one_is_not_cancelled(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(), digest("other", recipients=(SECOND,)))) as watch:
        record_rules(watch)
        found = matches_of(come_in(watch, "Energy strike pause"))
        by = post(tmp_path, Hand(), BOTH)
        assert held(resend(watch, by, "daily", SECOND, None)) == [found]
        assert sent(watch, by) == ["delivery_accepted"]


def test_nobody_taken_out_while_another_is_sent_to_gets_anything(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause")
        until(watch, DUE)
        others = recipient_id("others@example.org")

        def take_both_out() -> None:
            change_rules(watch, digest(recipients=(others,)))

        hand = Hand(before=take_both_out)
        by = post(tmp_path, hand, BOTH)
        prepare_due(watch, by)
        assert sent(watch, by) == ["delivery_accepted", "delivery_cancelled"]
        assert len(hand.handed) == 1


def test_a_cancelled_alert_uses_up_nothing_of_its_day(tmp_path: Path) -> None:
    with watching(tmp_path, rules(alerts(at_most=1), claim(), claim(SEA))) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause", "Black Sea group")
        until(watch, clock(19, 13))
        prepare_due(watch, post(tmp_path))
        fewer = change_rules(watch, alerts(at_most=1), claim())
        (anew,) = prepare_due(fewer, post(tmp_path))
        assert anew.event.matches == matches_on(fewer, "energy-strike-pause")


# ── nothing lost, nothing doubled ────────────────────────────────────────────────────────────────────────────────

STORIES = int(os.environ.get("CLAIMWATCH_STORIES", "6"))
"""A story takes half a second; a change to who is told what deserves some hundreds."""
BARE = {"subject.txt": "{{ digest.name }}", "digest.txt": "{{ digest.matches }}", "digest.html": ""}
ANSWERS: dict[str, Handover] = {
    "takes": Accepted("taken"),
    "refuses": Refused("550 No"),
    "defers": Deferred("451 Later"),
}
CLAIMS: tuple[ClaimRule, ...] = (claim(), claim(SEA))
DIGESTS = (
    digest(quiet=("22:00", "06:00")),
    alerts(at_most=3, quiet=("23:00", "05:30"), timezone="Europe/Kyiv"),
    digest("weekly", "0 9 * * 1", claims=(SEA,), when_empty="send"),
)
WORK = st.tuples(
    st.sampled_from([5, 60, 600, 2000, 12_000]),
    st.sampled_from(["Energy strike pause", "Black Sea group", ""]),
    st.sampled_from(["all", "all", "prepare only", "crash"]),
    st.tuples(*(st.sampled_from(["takes", "refuses", "defers"]) for _ in BOTH)),
)
"""Something comes in, time goes by, and what is due is prepared and handed over, as each recipient's server will."""
STEPS = st.one_of(
    *[st.tuples(st.just("work"), WORK)] * 4,
    st.tuples(st.just("to"), st.sampled_from([(RECIPIENT,), (SECOND,), (RECIPIENT, SECOND)])),
    st.tuples(st.just("claims"), st.sampled_from([CLAIMS, CLAIMS[:1], CLAIMS[1:]])),
    st.tuples(st.just("at"), st.sampled_from(["30 7 * * *", "0 */6 * * *"])),
    st.tuples(st.just("enabled"), st.booleans()),
    st.tuples(st.just("again"), st.sampled_from(["daily", "alerts"])),
)


class Story:
    """A watch that lives through steps, and what its recipients were told in the end."""

    def __init__(self, watch: Watch, folder: Path) -> None:
        self.watch, self.number = watch, 0
        self.hand = Hand(by_address=dict.fromkeys(BOTH, ANSWERS["takes"]))
        self.by = replace(post(folder, self.hand, BOTH), templates=BARE)
        self.parts: dict[str, Any] = {"to": (RECIPIENT,), "claims": CLAIMS, "at": "30 7 * * *", "enabled": True}
        self.edit()

    def edit(self) -> None:
        digests = [replace(one, recipients=self.parts["to"]) for one in DIGESTS]
        digests[0] = replace(digests[0], cron=self.parts["at"], enabled=self.parts["enabled"])
        self.watch = Watch.over(self.watch.log, rules(*self.parts["claims"], *digests), self.watch.clock)
        record_rules(self.watch)
        catch_up(self.watch)

    def lives_through(self, steps: Sequence[tuple[str, Any]]) -> None:
        for what, how in steps:
            if what == "work":
                minutes, title, mode, answers = how
                if title:
                    self.number += 1
                    come_in(self.watch, f"{title} {self.number}", guid=str(self.number))
                move_on(self.watch, minutes * MINUTE)
                self.hand.by_address = {one: ANSWERS[answer] for one, answer in zip(BOTH, answers, strict=True)}
                self.work(mode)
            elif what == "again":
                resend(self.watch, self.by, how, self.parts["to"][0], None)
            else:
                self.parts[what] = how
                self.edit()

    def work(self, how: str = "all") -> None:
        prepare_due(self.watch, self.by)
        if how == "all":
            asyncio.run(deliver(self.watch, self.by))
        elif how == "crash":
            with tempfile.TemporaryDirectory() as folder:
                crashing = replace(post(Path(folder), Hand(before=self._cut), BOTH), templates=BARE)
                with suppress(PowerCutError):
                    asyncio.run(deliver(self.watch, crashing))

    @staticmethod
    def _cut() -> None:
        raise PowerCutError

    def ends_well(self) -> None:
        """Everybody takes what comes; those who rest are woken; every calendar comes round."""
        self.hand.by_address = dict.fromkeys(BOTH, ANSWERS["takes"])
        self.parts["enabled"] = True
        self.edit()
        with self.watch.log.reading() as connection:
            resting = resting_recipients(connection)
        for one in resting:
            # Of nothing: who is woken is to be told the rest by the digests themselves.
            resend(self.watch, self.by, "daily", one.recipient, self.watch.clock.now() + DAY)
        now = self.watch.clock.now()
        until(self.watch, now.replace(hour=12, minute=0, second=0) + DAY)
        for _ in range(4):
            self.work()
            move_on(self.watch, 3 * DAY)


@settings(max_examples=STORIES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(STEPS, min_size=3, max_size=12))
def test_each_recipient_is_told_each_match_once_and_none_is_lost(steps: list[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder, watching(Path(folder)) as watch:
        story = Story(watch, Path(folder))
        story.lives_through(steps)
        story.ends_well()
        with watch.log.reading() as connection:
            digests = queries.digest_rows(connection, last=10_000)
            told: Counter[tuple[str, str, int]] = Counter()
            for row in digests:
                one = queries.prepared_digest(connection, row["id"])
                assert one
                if row["state"] in ("refused", "cancelled") or row["skipped"] or row["resent"]:
                    continue
                told.update((row["name"], row["recipient"], match) for match in one.event.matches)
            again = {
                (row["name"], row["recipient"], match)
                for row in digests
                if row["resent"] and row["state"] == "accepted"
                for match in queries.prepared_digest(connection, row["id"]).event.matches  # type: ignore[union-attr]
            }
            assert queries.waiting_deliveries(connection) == []
            for name, recipient, since in [
                (one.digest, one.recipient, one.since_position) for one in queries.subscriptions(connection)
            ]:
                rule = next(one for one in story.watch.rules.digests if one.name == name)
                due_to_them = {
                    (name, recipient, match.position)
                    for match in queries.matches_since(connection, story.watch.rules.claims_of(rule), None)
                    if match.position > since and not (rule.every_seconds and match.retroactive)
                }
                assert due_to_them <= told.keys() | again
        assert set(told.values()) <= {1}
        if STORIES > 6:
            verify(watch.log)
