"""What was really watched in a span of time: a value that digests say and that the log keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from daemon.moments import Moment


@dataclass(frozen=True)
class FeedTrouble:
    """A feed that was not readable at the end of a digest's span: since when, why, and what can be done."""

    feed: str
    state: Literal["failing", "gone", "never polled"]
    since: Moment | None
    reason: str
    hint: str


@dataclass(frozen=True)
class Span:
    """A stretch of time."""

    start: Moment
    end: Moment


@dataclass(frozen=True)
class FeedOutage:
    """A stretch in which a feed could not be read, and which is over."""

    feed: str
    start: Moment
    end: Moment


@dataclass(frozen=True)
class Coverage:
    """What was really watched between `since` and `until`.

    `feeds` were to be polled and `feeds_read` of them were readable at the end; `recovered` failed in between and came
    back; `asleep` are the stretches in which the watch was down; `gaps` are the feeds with a suspected gap, by name.
    """

    since: Moment | None
    until: Moment
    feeds: int
    feeds_read: int
    troubles: tuple[FeedTrouble, ...]
    asleep: tuple[Span, ...]
    gaps: tuple[str, ...]
    recovered: tuple[FeedOutage, ...] = ()


def told_reason(reason: str, detail: str) -> str:
    """Why a feed can't be read: its reason, where what was found does not say that itself."""
    return said_once(reason, detail) or f"{reason}: {detail}".removesuffix(": ")


def said_once(reason: str, detail: str) -> str:
    """What was found, where it says the reason itself; else nothing. An answer's number is that: http 404 Not Found."""
    if f"http {detail} ".startswith(f"{reason} "):
        return f"http {detail}"
    return detail if reason in detail else ""


# ── for a reader ─────────────────────────────────────────────────────────────────────────────────────────────────

_TURNED_AWAY = re.compile(r"(?:http )?(?:401|403|407|429|451)\b|private address|paused by")
TOGETHER = timedelta(hours=1)


@dataclass(frozen=True)
class Trouble:
    """Feeds with the same trouble: `since` the first of them had it, and since `latest` the last one, where that was
    more than an hour later. `state` is a word for it: one whose server (or our own guard) turns us away is `blocked`.
    """

    feeds: tuple[str, ...]
    state: str
    since: Moment | None
    reason: str
    hint: str
    more: int = 0
    latest: Moment | None = None


def troubles_together(troubles: Iterable[FeedTrouble]) -> tuple[Trouble, ...]:
    """Those with the same trouble as one: offline, all feeds have one."""
    groups: dict[tuple[str, str, str], list[FeedTrouble]] = {}
    for one in troubles:
        state = "blocked" if one.state == "failing" and _TURNED_AWAY.match(one.reason) else one.state
        groups.setdefault((state, one.reason, one.hint), []).append(one)
    return tuple(_trouble(*kind, alike) for kind, alike in groups.items())


def _trouble(state: str, reason: str, hint: str, alike: list[FeedTrouble]) -> Trouble:
    moments = sorted(one.since for one in alike if one.since)
    first, last = (moments[0], moments[-1]) if moments else (None, None)
    apart = first and last and last - first > TOGETHER
    return Trouble(tuple(one.feed for one in alike), state, first, reason, hint, latest=last if apart else None)
