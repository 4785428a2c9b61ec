"""Where a claim stands in time, and how days and counts are told to a reader."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from daemon.rules import ClaimRule


def standing(claim: ClaimRule, today: date) -> str:
    """A claim's age, and what is left until it falls due."""
    age = (today - claim.made).days
    if claim.due is None:
        return f"made {show_day(claim.made)}, {_days(age)} ago" if age > 0 else f"made {show_day(claim.made)}"
    length, left = (claim.due - claim.made).days, (claim.due - today).days
    if left > 0 and age >= 0:
        return f"day {age} of {length}, due in {_days(left)} ({show_day(claim.due)})"
    if left == 0:
        return f"due today, {show_day(claim.due)}"
    if left > 0:
        return f"made {show_day(claim.made)}, due {show_day(claim.due)}"
    return f"overdue since {show_day(claim.due)} ({_days(-left)})"


def fell_due(claim: ClaimRule, untold: Iterable[tuple[date, date]]) -> bool:
    """Whether the claim's day came within one of these stretches: after their first day, up to their last."""
    return claim.due is not None and any(after < claim.due <= upto for after, upto in untold)


def show_day(day: date) -> str:
    """A day for a reader: `18 Mar 2025`, which breaks over no line and leaves no doubt about day and month."""
    return day.strftime("%-d %b %Y")


def show_count(count: int, one: str, many: str = "") -> str:
    """`1 item`, `2,000 items`, `2 stories`."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def _days(count: int) -> str:
    return show_count(count, "day")
