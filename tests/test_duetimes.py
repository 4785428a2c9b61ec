"""When something is due: over both changes of the clock, in quiet hours, and for alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from daemon.duetimes import (
    alert_due,
    always_within,
    due_times,
    is_last_of_day,
    next_alert,
    next_due,
    quiet_until,
    released,
    says_still_watching,
)
from daemon.rules import DigestRule
from tests.support import digest

CLOCKS = ("00:00", "01:30", "02:00", "02:30", "03:00", "03:30")
CHANGES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    # Zone, the day in it, and when each of CLOCKS is due: in UTC, those of the day before without a date.
    "Kyiv, 03:00 becomes 04:00": (
        *("Europe/Kyiv", "2025-03-30"),
        ("29T22:00", "29T23:30", "30T00:00", "30T00:30", "30T01:00", "30T01:00"),
    ),
    "Kyiv, 04:00 becomes 03:00": (
        *("Europe/Kyiv", "2025-10-26"),
        ("25T21:00", "25T22:30", "25T23:00", "25T23:30", "26T00:00", "26T00:30"),
    ),
    "New York, 02:00 becomes 03:00": (
        *("America/New_York", "2025-03-09"),
        ("09T05:00", "09T06:30", "09T07:00", "09T07:00", "09T07:00", "09T07:30"),
    ),
    "New York, 02:00 becomes 01:00": (
        *("America/New_York", "2025-11-02"),
        ("02T04:00", "02T05:30", "02T07:00", "02T07:30", "02T08:00", "02T08:30"),
    ),
    "Lord Howe, 02:00 becomes 02:30": (
        *("Australia/Lord_Howe", "2025-10-05"),
        ("04T13:30", "04T15:00", "04T15:30", "04T15:30", "04T16:00", "04T16:30"),
    ),
    "Lord Howe, 02:00 becomes 01:30": (
        *("Australia/Lord_Howe", "2025-04-06"),
        ("05T13:00", "05T14:30", "05T15:30", "05T16:00", "05T16:30", "05T17:00"),
    ),
}
CHANGE = pytest.mark.parametrize(("zone", "day", "dues"), CHANGES.values(), ids=CHANGES)
HALF_HOUR = timedelta(minutes=30)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def local_day(zone: str, day: str) -> tuple[datetime, datetime]:
    """The last moment before a local day, and its last one."""
    begin = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo(zone))
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=ZoneInfo(zone))
    return tuple(moment.astimezone(UTC) - timedelta(microseconds=1) for moment in (begin, end))  # type: ignore[return-value]


def alerts(every: int = 900, **fields: object) -> DigestRule:
    return digest("alerts", "", every_seconds=every, **fields)


# ── changes of the clock ─────────────────────────────────────────────────────────────────────────────────────────


@CHANGE
@pytest.mark.parametrize("at", range(len(CLOCKS)), ids=CLOCKS)
def test_a_daily_time_comes_once_on_the_day_of_a_change(zone: str, day: str, dues: tuple[str, ...], at: int) -> None:
    hour, minute = CLOCKS[at].split(":")
    rule = digest(cron=f"{int(minute)} {int(hour)} * * *", timezone=zone)
    expected = utc(f"{day[:8]}{dues[at]}")
    before, end = local_day(zone, day)
    assert due_times(rule, before, end) == (expected,)
    # From whatever moment it is asked, in a gap or in a repeated hour as well: never again, never in the past.
    moment = before
    while moment < end:
        due = next_due(rule, moment)
        assert due == expected if moment < expected else due > end
        moment += timedelta(minutes=10)


@CHANGE
@pytest.mark.parametrize("minutes", ["0,30", "*/30"])
def test_each_time_of_a_list_comes_once_on_the_day_of_a_change(
    zone: str, day: str, dues: tuple[str, ...], minutes: str
) -> None:
    every_half_hour = due_times(digest(cron=f"{minutes} 0-3 * * *", timezone=zone), *local_day(zone, day))
    assert set(every_half_hour) >= {utc(f"{day[:8]}{due}") for due in dues}
    assert len(set(every_half_hour)) == len(every_half_hour)
    assert len(every_half_hour) == {"03-30": 7, "03-09": 6, "10-05": 7}.get(day[5:], 8)


@pytest.mark.parametrize("hours", ["*/3", "0,3,6,9,12,15,18,21"])
def test_steps_of_hours_lose_and_repeat_none(hours: str) -> None:
    for day in ("2025-03-30", "2025-10-26"):
        rule = digest(cron=f"0 {hours} * * *", timezone="Europe/Kyiv")
        dues = due_times(rule, *local_day("Europe/Kyiv", day))
        assert len(dues) == 8


@CHANGE
def test_an_hourly_digest_comes_once_in_each_hour_by_its_name(zone: str, day: str, dues: tuple[str, ...]) -> None:
    before, end = local_day(zone, day)
    for minutes in ("30", "*/60"):
        found = due_times(digest(cron=f"{minutes} * * * *", timezone=zone), before, end)
        hours = [due.astimezone(ZoneInfo(zone)).hour for due in found]
        # An hour that spring takes whole comes right after the gap, with the first time of the next one at :00.
        taken = {"03-30": {3}, "03-09": {2}}.get(day[5:], set())
        assert sorted(set(range(24)) - set(hours)) == sorted(taken)
        assert len(found) == len(set(found)) == 24 - (minutes == "*/60") * len(taken)


@CHANGE
def test_alerts_keep_their_pace_over_a_change(zone: str, day: str, dues: tuple[str, ...]) -> None:
    moment, end = local_day(zone, day)
    steps = []
    while (moment := next_due(alerts(timezone=zone), moment)) <= end:
        steps.append(moment)
    assert {later - before for before, later in pairwise(steps)} == {timedelta(minutes=15)}


@CHANGE
def test_quiet_hours_end_once_on_the_day_of_a_change(zone: str, day: str, dues: tuple[str, ...]) -> None:
    before, end = local_day(zone, day)
    for clock, due in zip(CLOCKS[1:], dues[1:], strict=True):
        rule = digest(timezone=zone, quiet=("22:00", clock))
        ends = utc(f"{day[:8]}{due}")
        assert quiet_until(rule, before) == ends
        assert quiet_until(rule, ends - timedelta(microseconds=1)) == ends
        moment = ends
        while moment < end - timedelta(hours=2):
            assert quiet_until(rule, moment) is None
            moment += HALF_HOUR


# ── quiet hours ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("quiet", "moment", "ends"),
    [
        (("22:00", "07:00"), "2025-06-01T21:59", None),
        (("22:00", "07:00"), "2025-06-01T22:00", "2025-06-02T07:00"),
        (("22:00", "07:00"), "2025-06-02T00:00", "2025-06-02T07:00"),
        (("22:00", "07:00"), "2025-06-02T06:59", "2025-06-02T07:00"),
        (("22:00", "07:00"), "2025-06-02T07:00", None),
        (("12:00", "13:00"), "2025-06-02T12:30", "2025-06-02T13:00"),
        (("12:00", "13:00"), "2025-06-02T13:00", None),
        (("22:00", "00:00"), "2025-06-01T23:59", "2025-06-02T00:00"),
        (None, "2025-06-02T03:00", None),
    ],
)
def test_what_falls_due_in_quiet_hours_is_released_at_their_end(
    quiet: tuple[str, str] | None, moment: str, ends: str | None
) -> None:
    rule = digest(quiet=quiet)
    assert quiet_until(rule, utc(moment)) == (utc(ends) if ends else None)
    assert released(rule, utc(moment)) == utc(ends or moment)


def test_quiet_hours_are_those_of_the_digest_s_zone() -> None:
    rule = digest(timezone="Europe/Kyiv", quiet=("22:00", "07:00"))
    assert quiet_until(rule, utc("2025-06-01T19:00")) == utc("2025-06-02T04:00")
    assert quiet_until(rule, utc("2025-06-01T18:59")) is None


@pytest.mark.parametrize(
    ("cron", "always"),
    [
        ("0 6 * * *", True),
        ("0 22 * * mon", True),
        ("0 7 * * *", False),
        ("59 21 * * *", False),
        ("0,30 23,0-6 * * *", True),
        ("0 6,18 * * *", False),
        ("0 * * * *", False),
    ],
)
def test_a_calendar_that_quiet_hours_swallow_is_known(cron: str, always: bool) -> None:
    assert always_within(cron, ("22:00", "07:00")) is always


# ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────────

NOON = utc("2025-06-02T12:00")


def test_an_alert_is_due_at_the_step_after_something_came_in() -> None:
    assert next_alert(alerts(), NOON - timedelta(days=2), utc("2025-06-02T12:07"), ()) == utc("2025-06-02T12:15")
    assert next_alert(alerts(), NOON - timedelta(days=2), utc("2025-06-02T12:15"), ()) == utc("2025-06-02T12:15")


def test_two_alerts_lie_a_step_apart() -> None:
    assert next_alert(alerts(), utc("2025-06-02T12:15"), utc("2025-06-02T12:01"), ()) == utc("2025-06-02T12:30")


def test_steps_are_the_same_after_every_restart() -> None:
    for after in range(0, 900, 77):
        assert next_due(alerts(), NOON + timedelta(seconds=after)) == utc("2025-06-02T12:15")


def test_an_alert_in_quiet_hours_comes_at_their_end() -> None:
    rule = alerts(quiet=("22:00", "07:05"))
    assert next_alert(rule, NOON, utc("2025-06-02T23:10"), ()) == utc("2025-06-03T07:05")
    assert next_alert(rule, NOON, utc("2025-06-03T07:01"), ()) == utc("2025-06-03T07:15")
    assert next_alert(rule, NOON, utc("2025-06-03T06:59"), ()) == utc("2025-06-03T07:05")


def test_what_is_over_the_limit_of_a_day_waits_for_the_next_one() -> None:
    rule = alerts(at_most=2, timezone="Europe/Kyiv")
    today = (utc("2025-06-02T09:00"), utc("2025-06-02T12:00"))
    assert next_alert(rule, NOON, utc("2025-06-02T13:00"), today[:1]) == utc("2025-06-02T13:00")
    # Midnight in Kyiv.
    assert next_alert(rule, NOON, utc("2025-06-02T13:00"), today) == utc("2025-06-02T21:00")
    assert next_alert(alerts(at_most=2, timezone="Europe/Kyiv", quiet=("22:00", "07:00")), NOON, NOON, today) == utc(
        "2025-06-03T04:00"
    )
    assert (is_last_of_day(rule, NOON, today[:1]), is_last_of_day(rule, NOON, ())) == (True, False)
    assert not is_last_of_day(alerts(), NOON, today * 50)


def test_alerts_of_yesterday_count_for_yesterday() -> None:
    # 00:30 of the third in Kyiv is the second in UTC.
    rule = alerts(at_most=1, timezone="Europe/Kyiv")
    told = (utc("2025-06-02T21:30"),)
    assert next_alert(rule, told[0], utc("2025-06-02T22:00"), told) == utc("2025-06-03T21:00")
    assert next_alert(rule, utc("2025-06-01T20:00"), utc("2025-06-02T20:00"), told) == utc("2025-06-02T20:00")


def test_after_downtime_one_alert_comes_at_the_last_step() -> None:
    came = utc("2025-06-02T12:07")
    assert alert_due(alerts(), NOON, came, (), utc("2025-06-02T12:14")) is None
    assert alert_due(alerts(), NOON, came, (), utc("2025-06-02T12:16")) == utc("2025-06-02T12:15")
    assert alert_due(alerts(), NOON, came, (), utc("2025-06-04T15:07")) == utc("2025-06-04T15:00")


def test_after_downtime_that_ends_in_quiet_hours_nothing_comes_before_they_are_over() -> None:
    rule = alerts(quiet=("22:00", "07:05"))
    came = utc("2025-06-02T12:07")
    assert alert_due(rule, NOON, came, (), utc("2025-06-02T23:00")) is None
    assert alert_due(rule, NOON, came, (), utc("2025-06-03T07:06")) == utc("2025-06-03T07:05")


# ── the sign of life ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_quiet_digest_says_once_in_seven_local_days_that_the_watch_goes_on() -> None:
    rule = digest(timezone="Europe/Kyiv")
    # The spring change lies between: an hour less than seven days.
    told = utc("2025-03-25T05:30")
    assert not says_still_watching(rule, told, utc("2025-03-31T04:30"))
    assert says_still_watching(rule, told, utc("2025-04-01T04:30"))
    assert not says_still_watching(digest(still_watching="never"), told, utc("2025-05-01T04:30"))
    assert not says_still_watching(alerts(), told, utc("2025-05-01T04:30"))
