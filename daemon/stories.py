"""Stories: reports of several feeds that tell the same news. Pure; an estimate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Report:
    """What one feed said, as far as grouping looks at it. `match` is any number of its own."""

    match: int
    feed: str
    title: str
    summary: str
    link: str | None
    when: datetime


@dataclass(frozen=True)
class Story:
    """The reports of one story by their numbers, the earliest first, and how many independent sources they come to."""

    reports: tuple[int, ...]
    sources: int


def stories(reports: Sequence[Report]) -> tuple[Story, ...]:
    """The stories that these reports tell, by their earliest report: those with the same title are one."""
    told: dict[str, list[Report]] = {}
    for report in sorted(reports, key=lambda one: (one.when, one.match)):
        told.setdefault(" ".join(report.title.casefold().split()) or f"#{report.match}", []).append(report)
    return tuple(Story(tuple(one.match for one in same), len({one.feed for one in same})) for same in told.values())
