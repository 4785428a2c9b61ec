"""What a digest tells besides its matches: what publishers changed since, whose day came, and the last thirty days."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from daemon.backtest import VirtualClock
from daemon.eventlog import EventLog
from daemon.handovers import Accepted, Deferred, Refused
from daemon.hindsight import found_by_day
from daemon.preparing import prepare_due, preview, resend
from daemon.service import Watch, record_rules
from tests.databases import AnyDatabase
from tests.support import NOW, RECIPIENT, claim, digest, move_on, post, rules, watching
from tests.test_delivery import DAY, DUE, SECOND, Hand, change_rules, come_in, sent, text_of
from tests.test_preparing import live, until

HOUR = timedelta(hours=1)
EDITED = "1 item edited: energy strike pause"


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with watching(tmp_path) as one:
        record_rules(one)
        yield one


def publish(watch: Watch, title: str) -> None:
    """One and the same item, with another title each time."""
    move_on(watch, HOUR)
    come_in(watch, title, guid="one", link="https://news.example/one")


# ── edits ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_edit_of_what_was_told_is_told_once(watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand())
    publish(watch, "Energy strike pause agreed by both sides")
    live(watch, by, 1)
    publish(watch, "Energy strike pause denied by both sides")
    (told, silent) = live(watch, by, 2)
    assert told.event.subject == EDITED
    assert "before: Energy strike pause *agreed* by both sides" in text_of(told)
    assert silent.event.kind == "digest_skipped"


def test_an_edit_that_ended_a_match_says_so(watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand())
    publish(watch, "Energy strike pause agreed")
    live(watch, by, 1)
    publish(watch, "Nothing agreed on energy")
    (told,) = live(watch, by, 1)
    assert "it no longer bears on the claim" in text_of(told)


def test_an_edit_elsewhere_in_the_item_tells_nothing(watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand())
    come_in(watch, "Energy strike pause agreed")
    live(watch, by, 1)
    come_in(watch, "Energy strike pause agreed", summary="Now with a summary.")
    (silent,) = live(watch, by, 1)
    assert silent.event.kind == "digest_skipped"


def test_an_item_that_is_changed_before_it_is_told_shows_both(watch: Watch, tmp_path: Path) -> None:
    publish(watch, "Energy strike pause agreed")
    publish(watch, "Energy strike pause denied")
    (told,) = live(watch, post(tmp_path, Hand()), 1)
    assert len(told.event.matches) == 1
    assert "before: Energy strike pause *agreed* now: Energy strike pause *denied*" in text_of(told)


def test_an_edit_in_a_refused_digest_is_told_by_the_next(watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand([Accepted("taken"), Refused("550 No"), Accepted("taken")]))
    publish(watch, "Energy strike pause agreed by both sides")
    live(watch, by, 1)
    publish(watch, "Energy strike pause denied by both sides")
    assert [one.event.subject for one in live(watch, by, 2)] == [EDITED, EDITED]


def test_an_edit_of_what_was_told_on_request_alone_is_told(watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand())
    come_in(watch, "Another energy strike pause")
    live(watch, by, 1)
    publish(watch, "Energy strike pause agreed by both sides")
    resend(watch, by, "daily", RECIPIENT, None)
    assert sent(watch, by) == ["delivery_accepted"]
    publish(watch, "Energy strike pause denied by both sides")
    (told,) = live(watch, by, 1)
    assert told.event.kind == "digest_prepared"
    assert told.event.subject == EDITED


def test_an_edit_in_a_digest_that_is_refused_when_the_next_one_is_out_is_told_by_the_one_after(
    watch: Watch, tmp_path: Path
) -> None:
    later = Deferred("451 Later")
    by = post(
        tmp_path, Hand([Accepted("taken"), later, later, Accepted("taken"), Refused("550 No"), Accepted("taken")])
    )
    publish(watch, "Energy strike pause agreed by both sides")
    come_in(watch, "Another energy strike pause agreed", guid="two", link="https://news.example/two")
    live(watch, by, 1)
    publish(watch, "Energy strike pause denied by both sides")
    (deferred,) = live(watch, by, 1)
    come_in(watch, "Another energy strike pause denied", guid="two", link="https://news.example/two")
    come_in(watch, "Energy strike pause at last")
    (told,) = live(watch, by, 1)
    move_on(watch, 5 * HOUR)
    assert sent(watch, by) == ["delivery_refused"]
    (made_up, silent) = live(watch, by, 2)
    edit = "before: Energy strike pause *agreed* by both sides"
    assert [edit in text_of(one) for one in (deferred, told, made_up)] == [True, False, True]
    assert (made_up.event.subject, silent.event.kind) == (EDITED, "digest_skipped")
    assert "1 item edited" in text_of(told)


def test_what_a_refused_digest_had_made_up_for_is_told_when_that_is_lost_too(watch: Watch, tmp_path: Path) -> None:
    hand = Hand()
    by = post(tmp_path, hand)
    publish(watch, "Energy strike pause agreed by both sides")
    live(watch, by, 1)
    publish(watch, "Energy strike pause denied by both sides")
    hand.answers = [Refused("550 No")]
    live(watch, by, 1)
    # This one makes up for it, and is refused when the one after it is out.
    hand.answers = [
        Deferred("451 Later"),
        Deferred("451 Later"),
        Accepted("taken"),
        Refused("550 No"),
        Accepted("taken"),
    ]
    (made_up,) = live(watch, by, 1)
    come_in(watch, "Another energy strike pause")
    (other,) = live(watch, by, 1)
    move_on(watch, 5 * HOUR)
    assert sent(watch, by) == ["delivery_refused"]
    (again,) = live(watch, by, 1)
    assert [one.event.subject == EDITED for one in (made_up, other, again)] == [True, False, True]


def test_whoever_is_named_anew_is_not_told_edits_of_what_they_were_told_before(watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand())
    publish(watch, "Energy strike pause agreed by both sides")
    live(watch, by, 1)
    without = change_rules(watch, digest(recipients=(SECOND,)))
    anew = change_rules(without, digest())
    publish(anew, "Energy strike pause denied by both sides")
    (told,) = live(anew, by, 1)
    assert told.event.kind == "digest_skipped"


# ── days that came ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_claim_that_fell_due_is_told_once_on_its_day(tmp_path: Path) -> None:
    with watching(tmp_path, rules(claim(due=date(2025, 3, 20)))) as watch:
        record_rules(watch)
        (told, silent) = live(watch, post(tmp_path, Hand()), 2)
    assert (told.event.subject, silent.event.kind) == ("1 claim fell due: energy strike pause", "digest_skipped")


def test_a_day_that_came_in_a_digest_that_is_refused_late_is_told_by_the_one_after(
    database: AnyDatabase, tmp_path: Path
) -> None:
    with closing(EventLog(database.url)) as log:
        log.create()
        one = rules(claim(due=date(2025, 3, 20)), digest(when_empty="send"))
        watch = Watch.over(log, one, VirtualClock(NOW))
        record_rules(watch)
        later = Deferred("451 Later")
        by = post(tmp_path, Hand([later, later, Accepted("taken"), Refused("550 No"), Accepted("taken")]))
        told = live(watch, by, 2)
        move_on(watch, 5 * HOUR)
        assert sent(watch, by) == ["delivery_refused"]
        told += live(watch, by, 2)
        assert ["Fell due" in text_of(one) for one in told] == [True, False, True, False]


def test_a_day_that_comes_after_a_downtime_over_midnight_is_told(tmp_path: Path) -> None:
    with watching(tmp_path, rules(claim(due=date(2025, 3, 21)), digest(when_empty="send"))) as watch:
        record_rules(watch)
        by = post(tmp_path, Hand())
        # Due on the 20th at 07:30, prepared on the 21st at 06:30, an hour before the digest of that day.
        until(watch, DUE + 23 * HOUR)
        (late,) = prepare_due(watch, by)
        (told,) = live(watch, by, 1)
        assert [one.event.due for one in (late, told)] == [DUE, DUE + DAY]
        assert "Fell due" not in text_of(late)
        assert "Fell due: The statement of energy-strike-pause. (due today, 21 Mar 2025)" in text_of(told)
        (after,) = live(watch, by, 1)
        assert "Fell due" not in text_of(after)


def test_days_that_came_and_find_no_room_are_counted(tmp_path: Path) -> None:
    many = [claim(f"c-{number}", due=date(2025, 3, 20)) for number in range(600)]
    with watching(tmp_path, rules(*many)) as watch:
        record_rules(watch)
        until(watch, DUE)
        _, shown = preview(watch, post(tmp_path), "daily")
    assert shown.subject.startswith("600 claims fell due")
    assert (shown.text.count("Fell due:"), shown.html.count("Fell due:")) == (600, 60)
    assert "and 540 more claims fell due, in the text part of this mail" in shown.html


# ── the last days ────────────────────────────────────────────────────────────────────────────────────────────────


def test_days_are_counted_in_the_zone_that_is_asked_for_by_an_item_s_own_date(watch: Watch) -> None:
    come_in(watch, "Energy strike pause late")
    late = datetime(2025, 3, 19, 23, 0, tzinfo=UTC)
    move_on(watch, late - NOW)
    come_in(watch, "Energy strike pause at night")
    with watch.log.reading() as connection:
        for zone, days in (("UTC", [(19, 2)]), ("Europe/Kyiv", [(19, 1), (20, 1)])):
            counts = found_by_day(connection, ["energy-strike-pause"], date(2025, 3, 20), ZoneInfo(zone))
            assert [(one.day.day, one.count) for one in counts] == days
        assert (
            found_by_day(connection, ["energy-strike-pause"], date(2025, 3, 20) + timedelta(days=31), ZoneInfo("UTC"))
            == []
        )
        assert found_by_day(connection, ["another"], date(2025, 3, 20), ZoneInfo("UTC")) == []
