"""Moments: aware times in UTC, and the one form in which the log and its tables hold them; spans of time in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator, PlainSerializer


def timestamp(moment: datetime) -> str:
    """ISO-8601 in UTC with six decimals, so that text sorts as time does: `2025-03-18T15:04:05.000000Z`."""
    return as_utc(moment).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def as_utc(moment: datetime) -> datetime:
    """The moment in UTC. Raises ValueError for a time without a zone: nobody could say when that was."""
    if moment.tzinfo:
        return moment.astimezone(UTC)
    raise ValueError(f"a time without a zone: {moment!r}")


def parse_timestamp(text: str) -> datetime:
    """The moment behind a stored timestamp."""
    return as_utc(datetime.fromisoformat(text))


def moment_or_none(text: str | None) -> datetime | None:
    """The moment behind a column that may be empty."""
    return parse_timestamp(text) if text else None


def timestamp_or_none(moment: datetime | None) -> str | None:
    """What such a column holds."""
    return timestamp(moment) if moment else None


def doubled(pause: timedelta, times: int, longest: timedelta) -> timedelta:
    """A pause that grows: doubled so many times, up to `longest`."""
    # A month doubled 16 times is still a timedelta.
    return min(pause * (1 << min(max(times, 0), 16)), longest)


def exact_span(span: timedelta) -> str:
    """A span of whole seconds as feeds.yaml has it, by the largest unit without a rest: `90s`, `15m`, `6h`, `1d`."""
    seconds = int(span.total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % length == 0:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def rough_span(span: timedelta) -> str:
    """A span as a person tells it, rounded down, by a unit of which there are two at least: `59 s`, `5 min`, `3 h`,
    `2 days`. One that would be negative, by a clock that was set back, is none."""
    seconds = max(0, int(span.total_seconds()))
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


Moment = Annotated[datetime, AfterValidator(as_utc), PlainSerializer(timestamp)]
