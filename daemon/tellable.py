"""What there is to tell, and what the digests are called that tell it. How they do is for `digests`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from daemon.events import Evidence
from daemon.moments import as_utc

if TYPE_CHECKING:
    from daemon.edits import Text


def digest_id(name: str, recipient: str, due: datetime, *, resent: bool = False, before: int = 0) -> str:
    """`name/recipient/due`: what a digest for a recipient is called for ever.

    `+again` marks one sent on request, `+2` one in place of another that was cancelled, sent again in the same second,
    or made by a clock that stood ahead; `before` counts those.
    """
    again = ("+again" if resent else "") + (f"+{before + 1}" if before else "")
    return f"{name}/{recipient}/{as_utc(due).strftime('%Y-%m-%dT%H:%M:%SZ')}{again}"


def message_id(digest: str, head: str, domain: str) -> str:
    """The Message-ID of a digest: stable over every try, different in every log (the chain's head goes in)."""
    return f"<{hashlib.sha256(f'{digest} {head}'.encode()).hexdigest()[:32]}@{domain}>"


@dataclass(frozen=True)
class MatchToTell:
    """A match with the text it was made on, as the log holds them.

    `link` may be relative to the feed, which is asked at `asked_url` by now; empty: where feeds.yaml says.
    """

    position: int
    claim: str
    feed: str
    title: str
    summary: str
    content: str
    link: str | None
    published: datetime | None
    first_seen: datetime
    evidence: tuple[Evidence, ...]
    already_there: bool = False
    lapsed_at: datetime | None = None
    redacted: bool = False
    retroactive: bool = False
    current: bool = True
    lang: str | None = None
    asked_url: str = ""

    @property
    def when(self) -> datetime:
        return self.published or self.first_seen


@dataclass(frozen=True)
class Revision:
    """A matched item that its publisher changed: the text that was told, and the one it has now, since `at`."""

    match: MatchToTell
    before: Text
    after: Text
    at: datetime
