"""When a digest is due: the calendar of its cron fields in its zone, or the steps of its alerts; never in quiet hours.

A local time that spring skips comes right after the gap, one that autumn repeats counts the first time: for due times
and for quiet hours alike. Alerts are due by steps of equal length, which no change of the clock touches. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from itertools import takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim

from daemon.moments import as_utc
from daemon.rules import DigestRule

MOST_MISSED = 400
"""Due times looked back at after a long downtime: over a year of a daily digest."""
STILL_WATCHING_DAYS = 7
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MOMENT = timedelta(microseconds=1)


# ── the calendar ─────────────────────────────────────────────────────────────────────────────────────────────────


def next_due(rule: DigestRule, after: datetime) -> datetime:
    """The first due time after a moment, in UTC."""
    if rule.every_seconds:
        return _step_from(rule.every_seconds, after + _MOMENT)
    return next(_calendar(rule, after))


def due_times(rule: DigestRule, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """The due times in (after, until], oldest first: at most the last MOST_MISSED of them, and of an alert the last."""
    if rule.every_seconds:
        last = _step_from(rule.every_seconds, until + _MOMENT) - timedelta(seconds=rule.every_seconds)
        return (last,) if last > after else ()
    return tuple(deque(takewhile(lambda due: due <= until, _calendar(rule, after)), maxlen=MOST_MISSED))


def _calendar(rule: DigestRule, after: datetime) -> Iterator[datetime]:
    """The due times after a moment, without end."""
    for local in CronSim(_fixed(rule.cron), after.astimezone(ZoneInfo(rule.timezone))):
        # cronsim goes by local times: in the repeated hour it names the first one, which may be over.
        if (due := as_utc(local)) > after:
            yield due


def calendar_of(rule: DigestRule) -> str:
    """What due times follow from, as a line: with another line, they are others."""
    return f"every {rule.every_seconds}s" if rule.every_seconds else f"{rule.cron} {rule.timezone}"


@lru_cache(maxsize=256)
def _fixed(cron: str) -> str:
    """The cron fields with minutes and hours as plain lists.

    Like Debian's cron, cronsim takes what has a `*` there for a job that follows the clock: it would skip
    `*/30 3 * * *` in spring and repeat it in autumn. Lists are times of the day to it, each of which comes once.
    """
    fields = CronSim(cron, _EPOCH)
    return " ".join((_listed(fields.minutes), _listed(fields.hours), *cron.split()[2:]))


def _listed(values: set[int]) -> str:
    return ",".join(map(str, sorted(values)))


def _step_from(seconds: int, moment: datetime) -> datetime:
    """The first step at or after a moment. Steps are counted from the epoch, so that they are the same for everybody
    and after every restart."""
    return _EPOCH - (_EPOCH - as_utc(moment)) // timedelta(seconds=seconds) * timedelta(seconds=seconds)


# ── quiet hours ──────────────────────────────────────────────────────────────────────────────────────────────────


def quiet_until(rule: DigestRule, moment: datetime) -> datetime | None:
    """The end of the quiet hours in which a moment lies; None outside of them."""
    if rule.quiet is None:
        return None
    begin, end = rule.quiet
    zone = ZoneInfo(rule.timezone)
    today = moment.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        last = day if begin < end else day + timedelta(days=1)
        ends = _at_local(last, end, zone)
        if _at_local(day, begin, zone) <= moment < ends:
            return ends
    return None


def released(rule: DigestRule, due: datetime) -> datetime:
    """When what is due at a moment may be prepared: then, or at the end of the quiet hours that it lies in."""
    return quiet_until(rule, due) or due


def always_within(cron: str, quiet: tuple[str, str]) -> bool:
    """Whether each time of the day that cron fields name lies in these quiet hours."""
    begin, end = quiet
    fields = CronSim(cron, _EPOCH)
    times = (f"{hour:02}:{minute:02}" for hour in fields.hours for minute in fields.minutes)
    return all(begin <= one < end if begin < end else one >= begin or one < end for one in times)


def _at_local(day: date, clock: str, zone: ZoneInfo) -> datetime:
    moment = datetime.combine(day, time.fromisoformat(clock), zone)
    while moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment.replace(tzinfo=None):
        moment += timedelta(minutes=1)
    return as_utc(moment)


# ── alerts, and the sign of life of a quiet digest ───────────────────────────────────────────────────────────────


def next_alert(rule: DigestRule, after: datetime, came: datetime, told: Iterable[datetime]) -> datetime:
    """When the next alert after a moment is due, if something came in at `came` and is not told yet.

    `told` are the due times of the alerts that went out before; of those of one local day the rule's `at_most` are
    enough. What is over, and what falls due in quiet hours, is held: until the next day, until their end.
    """
    assert rule.every_seconds
    zone = ZoneInfo(rule.timezone)
    days = [due.astimezone(zone).date() for due in told]
    due = max(next_due(rule, after), _step_from(rule.every_seconds, came))
    while True:
        today = due.astimezone(zone).date()
        if ends := quiet_until(rule, due):
            due = ends
        elif rule.at_most and days.count(today) >= rule.at_most:
            due = _at_local(today + timedelta(days=1), "00:00", zone)
        else:
            return due


def alert_due(
    rule: DigestRule, after: datetime, came: datetime, told: Iterable[datetime], now: datetime
) -> datetime | None:
    """The due time of the alert whose time has come, if one has: after downtime the last that was missed."""
    told = list(told)
    first = next_alert(rule, after, came, told)
    if first > now or quiet_until(rule, now):
        return None
    last = next_alert(rule, max(after, due_times(rule, _EPOCH, now)[0] - _MOMENT), came, told)
    return last if last <= now else first


def is_last_of_day(rule: DigestRule, due: datetime, told: Iterable[datetime]) -> bool:
    """Whether an alert is the last one that its day may have."""
    zone = ZoneInfo(rule.timezone)
    today = due.astimezone(zone).date()
    return rule.at_most is not None and 1 + sum(one.astimezone(zone).date() == today for one in told) >= rule.at_most


def says_still_watching(rule: DigestRule, last_told: datetime, due: datetime) -> bool:
    """Whether a digest with nothing to tell is sent all the same, because nothing was for a week of local days.

    What a clock told that stood ahead, nobody can say how long ago that was: it counts as a week.
    """
    if rule.every_seconds or rule.still_watching == "never":
        return False
    zone = ZoneInfo(rule.timezone)
    days = (due.astimezone(zone).date() - last_told.astimezone(zone).date()).days
    return days >= STILL_WATCHING_DAYS or days < 0
