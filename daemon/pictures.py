"""The last thirty days of a claim as bars: how many items came in on each day, and on which side. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from daemon.rules import Stance
from daemon.standings import show_count

DAYS = 30
BLOCKS = "▁▂▃▄▅▆▇█"
NO_BLOCK = "·"
HIGHEST_PIXELS = 36
LOWEST_PIXELS = 4
STANCES: tuple[Stance, ...] = ("supports", "contradicts", "mentions")


@dataclass(frozen=True)
class DayCount:
    """How many items of one stance a claim got on one day, in the zone of whoever asks."""

    claim: str
    day: date
    stance: Stance
    count: int


@dataclass(frozen=True)
class Part:
    """The stretch of a bar that belongs to one stance."""

    stance: Stance
    count: int
    pixels: int


@dataclass(frozen=True)
class Column:
    """A day with its bar, or `days` days in a row without one."""

    days: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Picture:
    """The counts of thirty days, the oldest first, by stance."""

    first: date
    supports: tuple[int, ...]
    contradicts: tuple[int, ...]
    mentions: tuple[int, ...]

    def of(self, stance: Stance) -> tuple[int, ...]:
        counts: tuple[int, ...] = getattr(self, stance)
        return counts

    @property
    def totals(self) -> tuple[int, ...]:
        return tuple(map(sum, zip(self.supports, self.contradicts, self.mentions, strict=True)))

    @property
    def total(self) -> int:
        return sum(self.totals)

    @property
    def last(self) -> date:
        return self.first + timedelta(days=DAYS - 1)

    @property
    def says(self) -> str:
        """The picture in words: for whoever can't see it, and beside it for everybody."""
        if not self.total:
            return f"nothing in the last {DAYS} days"
        sides = ", ".join(said for _, said in self.sides)
        return f"{show_count(self.total, 'item')} in the last {DAYS} days ({sides}), {self.when}"

    @property
    def sides(self) -> tuple[tuple[Stance, str], ...]:
        """How many of each stance, in words."""
        return tuple((one, split(one, count)) for one in STANCES if (count := sum(self.of(one))))

    @property
    def when(self) -> str:
        """When most of it came in, and the last of it."""
        days = [self.first + timedelta(days=at) for at, count in enumerate(self.totals) if count]
        busiest = max(self.totals)
        peak = self.first + timedelta(days=DAYS - 1 - self.totals[::-1].index(busiest))
        if len(days) == 1:
            return f"all on {peak:%-d %b}" if busiest > 1 else f"on {peak:%-d %b}"
        most = f"most on {peak:%-d %b} ({busiest}), " if busiest > 1 else ""
        return f"{most}the last on {days[-1]:%-d %b}"

    @property
    def columns(self) -> tuple[Column, ...]:
        """The bars for a page, each part at least so high that it can be seen."""
        highest = max(self.totals)
        columns: list[Column] = []
        for at in range(DAYS):
            parts = tuple(
                Part(one, count, max(LOWEST_PIXELS, round(HIGHEST_PIXELS * count / highest)))
                for one in STANCES
                if (count := self.of(one)[at])
            )
            if not parts and columns and not columns[-1].parts:
                columns[-1] = Column(columns[-1].days + 1, ())
            else:
                columns.append(Column(1, parts))
        return tuple(columns)

    @property
    def rows(self) -> tuple[tuple[Stance, str], ...]:
        """The bars for a text, one row for each stance there is: a letter a day, all on one scale."""
        highest = max(max(self.of(one)) for one in STANCES)
        return tuple((one, _blocks(self.of(one), highest)) for one in STANCES if any(self.of(one)))


def picture(claim: str, counts: Iterable[DayCount], today: date) -> Picture:
    """A claim's picture up to `today`. What is dated later (a publisher's clock may be wrong) stands at its end."""
    first = today - timedelta(days=DAYS - 1)
    found = {one: [0] * DAYS for one in STANCES}
    for one in counts:
        at = (min(one.day, today) - first).days
        if one.claim == claim and at >= 0:
            found[one.stance][at] += one.count
    return Picture(first, *(tuple(found[one]) for one in STANCES))


def split(stance: Stance, count: int) -> str:
    """A count of one stance in words: `5 support`, `1 contradicts`."""
    return f"{count} {stance if count == 1 else stance.removesuffix('s')}"


def _blocks(counts: Sequence[int], highest: int) -> str:
    return "".join(BLOCKS[-(-count * len(BLOCKS) // highest) - 1] if count else NO_BLOCK for count in counts)
