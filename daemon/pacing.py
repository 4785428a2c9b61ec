"""How often a feed is asked: so that each window meets the next one, and no oftener than its site wants, within bounds.

The window of a feed is what one document holds of it. From how much of it was new, and in how long, follows how fast it
turns over; the next document is asked for before more than half of it can have.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

LEFT_OF_A_WINDOW = 0.5
"""How much of a window is to be found in the next one, if its feed goes on as it did."""
LEFT_AT_LEAST = 0.25
"""How much of it must be, where the feed's own document asks for longer pauses."""
SPREAD = 0.1
SMALLEST_WINDOW = 3
GROWTH = 1.5
RATE_HALVES_IN = timedelta(hours=24)
"""A feed that was busy yesterday at this hour may be so again: what it once did is forgotten in days, not in polls."""


@dataclass(frozen=True)
class Bounds:
    """Between which pauses a feed is asked. Equal ones leave nothing to decide."""

    shortest: timedelta
    longest: timedelta

    def within(self, pause: timedelta) -> timedelta:
        return min(max(pause, self.shortest), self.longest)


@dataclass(frozen=True)
class Asks:
    """What a document asks of whoever polls it: RSS `ttl` or `sy:updatePeriod`, `skipHours`, `skipDays` (0 is Monday).

    Hours and days are those of UTC.
    """

    pause_seconds: int = 0
    skip_hours: tuple[int, ...] = ()
    skip_days: tuple[int, ...] = ()


NOTHING_ASKED = Asks()


@dataclass(frozen=True)
class Seen:
    """What a good answer shows of a feed's pace: `new` of the `size` items of its window came since the last good one,
    `since` ago; None where there was none, or the clock was set back."""

    new: int
    size: int
    since: timedelta | None

    @property
    def hours(self) -> float:
        return self.since / timedelta(hours=1) if self.since else 0

    @classmethod
    def between(cls, before: frozenset[str], window: frozenset[str], since: timedelta | None) -> Seen:
        """What two successive windows show."""
        return cls(len(window - before), len(window), since if since and since > timedelta(0) else None)


def rate_after(before: float | None, seen: Seen) -> float | None:
    """How many new items an hour a feed is known to bring at its busiest; None where nothing is known yet."""
    if not seen.hours:
        return before
    faded: float = (before or 0) * 0.5 ** min(seen.hours / (RATE_HALVES_IN / timedelta(hours=1)), 100)
    return max(seen.new / seen.hours, faded)


def interval(bounds: Bounds, rate: float | None, seen: Seen, asks: Asks, fresh: timedelta) -> timedelta:
    """The pause until a feed is asked again, within its bounds: as long as half of its window is left by then.

    `fresh` is for how long its answer says that it stays as it is (Cache-Control, Expires): until then there can be
    nothing new. What the document itself `asks` for is heeded as long as a quarter of the window is left by then:
    often it is only what the site's software writes of itself.
    """
    if rate is None or not seen.since:
        return bounds.within(fresh)
    asked = timedelta(seconds=asks.pause_seconds)
    if seen.size < SMALLEST_WINDOW:
        # Of so few, none may be left after any pause; one that rests is asked less and less often all the same.
        return bounds.within(max(seen.since * GROWTH if not seen.new else timedelta(0), asked, fresh))
    if seen.new >= seen.size:
        # Nobody knows how many there were: the next look, soon, tells.
        return bounds.within(fresh)
    turnover = _turnover(rate, seen)
    return bounds.within(max(turnover * (1 - LEFT_OF_A_WINDOW), min(asked, turnover * (1 - LEFT_AT_LEAST)), fresh))


def _turnover(rate: float, seen: Seen) -> timedelta:
    """In how long a window is another one, with all that is added to a pause afterwards."""
    # One that came just before the first look, and one that comes just behind the next, are not counted in `new`.
    fastest = max(rate, (seen.new + 1) / seen.hours)
    return timedelta(hours=min(seen.size / fastest / (1 + SPREAD), _LONGEST_HOURS))


def spread(feed: str, pause: timedelta) -> timedelta:
    """A pause and up to a tenth, by the feed's name: so feeds drift apart and stay there."""
    return pause * (1 + share(feed) * SPREAD)


def share(name: str) -> float:
    """A part of one, which follows from a name: evenly spread over many of them."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") / 2**32


def not_skipped(due: datetime, asks: Asks, latest: datetime) -> datetime:
    """The first moment from `due` on in an hour and on a day that the document does not ask to skip, up to `latest`."""
    moment = due
    while moment < latest and (moment.hour in asks.skip_hours or moment.weekday() in asks.skip_days):
        moment = moment.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return max(due, min(moment, latest))


# ── how it is written ────────────────────────────────────────────────────────────────────────────────────────────

_LONGEST_HOURS = 24 * 365
_PERIOD_HOURS = {"hourly": 1, "daily": 24, "weekly": 24 * 7, "monthly": 24 * 30, "yearly": _LONGEST_HOURS}
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


def asks_of(
    ttl: str = "", period: str = "", frequency: str = "", skip_hours: Iterable[str] = (), skip_days: Iterable[str] = ()
) -> Asks:
    """What a document asks for, as it is written there; what is not written as it should be asks for nothing."""
    pauses = [0.0]
    if minutes := _whole(ttl):
        pauses.append(minutes * 60)
    if hours := _PERIOD_HOURS.get(period.strip().lower()):
        pauses.append(hours * 3600 / max(_whole(frequency) or 1, 1))
    # RSS 0.91 counts hours from 1 to 24, RSS 2.0 from 0 to 23.
    hours_named = {number % 24 for text in skip_hours if (number := _whole(text)) is not None and number <= 24}
    days_named = {_DAYS.index(day) for text in skip_days if (day := text.strip().lower()) in _DAYS}
    return Asks(
        pause_seconds=int(min(max(pauses), _LONGEST_HOURS * 3600)),
        # Whoever names them all does not mean it.
        skip_hours=tuple(sorted(hours_named)) if len(hours_named) < 24 else (),
        skip_days=tuple(sorted(days_named)) if len(days_named) < len(_DAYS) else (),
    )


def _whole(text: str) -> int | None:
    text = text.strip()
    return int(text) if re.fullmatch(r"[0-9]{1,9}", text) else None
