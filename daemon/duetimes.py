"""When a digest is due: the calendar of its cron fields in its zone. Pure."""

from __future__ import annotations

from datetime import datetime
from zoneinfo import ZoneInfo

from cronsim import CronSim

from daemon.moments import as_utc
from daemon.rules import DigestRule

MOST_MISSED = 400
"""Due times looked back at after a long downtime: over a year of a daily digest."""


def next_due(rule: DigestRule, after: datetime) -> datetime:
    """The first due time after a moment, in UTC.

    cronsim reads the cron fields in the digest's zone as Debian's cron does: a time that spring skips comes right after
    the gap, one that autumn repeats comes once.
    """
    return as_utc(next(CronSim(rule.cron, after.astimezone(ZoneInfo(rule.timezone)))))


def due_times(rule: DigestRule, after: datetime, until: datetime) -> tuple[datetime, ...]:
    """The due times in (after, until], oldest first; at most the last MOST_MISSED of them."""
    found: list[datetime] = []
    due = next_due(rule, after)
    while due <= until:
        found = [*found[-MOST_MISSED + 1 :], due]
        due = next_due(rule, due)
    return tuple(found)
