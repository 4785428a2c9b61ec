"""What a fetch returned, as values; and what an answer's status and headers say: why there is no document and how that
is mended, and when to come back.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias

LONGEST_RETRY_AFTER = timedelta(days=7)
LONGEST_HOST_PAUSE = timedelta(days=1)
"""One feed's answer must not silence a host's other feeds for longer; the feed itself waits as long as it says."""
HELD_BACK = "paused by its host"
"""The reason where a host, which wants to be left alone, was not asked for a document."""
TOO_MANY = "http 429"
LONGEST_FRESH = timedelta(days=365)
"""RFC 9111 has no limit; what is longer can only mean "for ever"."""


@dataclass(frozen=True)
class Answered:
    """How a good answer came.

    `url` is the address that gave it: its validators are that address's and nobody else's. `moved_to` is where
    permanent redirects alone (301, 308) led, if the feed may move there. `fresh` is for how long it says that it stays
    as it is.
    """

    url: str = ""
    moved_to: str | None = None
    fresh: timedelta = timedelta(0)


@dataclass(frozen=True)
class Changed:
    """A new document. `charset` is what the answer's header said of it."""

    body: bytes
    body_sha256: str
    etag: str | None
    last_modified: str | None
    charset: str | None
    answered: Answered = field(default=Answered(), compare=False)


@dataclass(frozen=True)
class Unchanged:
    """The same document as before: the server said so (304), or sent the very same bytes."""

    etag: str | None
    last_modified: str | None
    answered: Answered = field(default=Answered(), compare=False)


@dataclass(frozen=True)
class Gone:
    """410: there will be no such feed again."""

    url: str


@dataclass(frozen=True)
class Failed:
    """No document. `reason` is the kind of failure and stays the same while it lasts; `hint` is what can be done.

    `pause` is how long the server wants to be left alone (429 or 503 with Retry-After), and `pausing_host` whose wish
    that is; `offline` says that no server was reached at all, so that the fault may be this machine's;
    `document_sha256` is the hash of a document that came and can't be read; `asked` is False where no request at all
    was made.
    """

    reason: str
    detail: str
    hint: str
    pause: timedelta | None = None
    offline: bool = False
    document_sha256: str | None = None
    pausing_host: str | None = None
    asked: bool = True

    @property
    def of_pace_alone(self) -> bool:
        """Whether it says how often a host may be asked, and nothing of the feed."""
        return self.pause is not None and self.reason in (HELD_BACK, TOO_MANY)


Outcome: TypeAlias = Changed | Unchanged | Gone | Failed


_WALL = "The site refuses robots: ask it for an exception, or use another feed."
_HINTS = {
    401: "The feed wants a password: auth_file:. Where it redirects to another host, none is sent there.",
    402: "The feed is for subscribers: put what they send into headers_file:, or use another feed.",
    403: _WALL,
    404: "The feed may have moved: look for its new address on the site.",
    407: "The proxy wants a login of its own: see proxy: in feeds.yaml.",
    429: "The site asks for longer pauses; they are kept by themselves.",
    451: "The site is closed to this country by law: use another feed, or a proxy: elsewhere.",
}
_WALLS = (("cf-mitigated", ""), ("x-amzn-waf-action", ""), ("server", "ddos-guard"))
"""What bot walls are known by: a header, and the value that it has to have, where it has to be a certain one."""


def http_failure(status: int, phrase: str, headers: Mapping[str, str], now: datetime) -> Failed:
    """The failure that an answer without a document is. `headers` finds them in any case."""
    hint = _HINTS.get(status, "The site is in trouble; it is tried again by itself." if status >= 500 else "")
    detail = f"{status} {phrase}".strip()
    if wall := _wall(headers) if status in (403, 429, 503) else None:
        detail, hint = f"{detail} ({wall}: the site's bot wall)", _WALL
    # A date is meant by the server's own clock, where it tells it.
    asked_at = _http_date(headers.get("date")) or now
    until = retry_after(headers.get("retry-after"), asked_at) if status in (429, 503) else None
    pause = until - asked_at if until else None
    return Failed(f"http {status}", detail, hint or "Check the address in feeds.yaml.", pause)


def _wall(headers: Mapping[str, str]) -> str | None:
    for name, value in _WALLS:
        if value in headers.get(name, "").lower() and name in headers:
            return f"{name}: {value}" if value else name
    return None


def retry_after(value: str | None, now: datetime) -> datetime | None:
    """The moment that a Retry-After header (seconds or a date) asks to wait for, at most a week ahead."""
    seconds = _seconds(value)
    moment = now + timedelta(seconds=seconds) if seconds is not None else _http_date(value)
    return min(max(moment, now), now + LONGEST_RETRY_AFTER) if moment else None


def fresh_for(headers: Mapping[str, str], now: datetime) -> timedelta:
    """For how long an answer says that it stays as it is: Cache-Control's max-age, else Expires (RFC 9111, 4.2.1)."""
    directives = dict(_directives(headers.get("cache-control", "")))
    if directives.keys() & {"no-cache", "no-store"}:
        return timedelta(0)
    if (max_age := _seconds(directives.get("max-age"))) is not None:
        # A cache on the way has held it for a part of that already.
        return timedelta(seconds=max(max_age - (_seconds(headers.get("age")) or 0), 0))
    expires = _http_date(headers.get("expires"))
    if expires is None:
        return timedelta(0)
    # By the server's own clock, where it tells it.
    return min(max(expires - (_http_date(headers.get("date")) or now), timedelta(0)), LONGEST_FRESH)


def _directives(value: str) -> Iterator[tuple[str, str]]:
    for part in value.split(","):
        name, _, argument = part.partition("=")
        yield name.strip().lower(), argument.strip().strip('"')


def _seconds(text: str | None) -> int | None:
    text = (text or "").strip()
    longest = int(LONGEST_FRESH.total_seconds())
    return min(int(text), longest) if re.fullmatch(r"[0-9]{1,30}", text) else None


def _http_date(value: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(value or "")
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        return None
