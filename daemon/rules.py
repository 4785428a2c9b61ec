"""The rule set: all that feeds.yaml and the seeds say, as one frozen value that the log can hold.

`rules_changed` records it whole, so that every match can be explained by the rules it was made under, whatever the
files say today. Recipients stand in it by an id only: an address lives in feeds.yaml and nowhere in the log, so that
it can be erased.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import date
from functools import cached_property
from typing import Any, Literal, Protocol

from daemon.claims import ClaimKind

Stance = Literal["supports", "contradicts", "mentions"]
WhenEmpty = Literal["skip", "send"]
StillWatching = Literal["weekly", "never"]


class HasStance(Protocol):
    """A term, or what it met."""

    @property
    def stance(self) -> Stance: ...


@dataclass(frozen=True)
class FeedRule:
    """A feed to poll: its key in feeds.yaml, its address, how often, and how large its document may be, if that is
    a limit of its own.

    `interval_seconds` lie between two polls, or up to `longest_interval_seconds`, as the feed brings news; None: always
    the same.
    """

    id: str
    url: str
    interval_seconds: int
    title: str = ""
    enabled: bool = True
    most_bytes: int | None = None
    longest_interval_seconds: int | None = None

    @property
    def longest_seconds(self) -> int:
        return self.longest_interval_seconds or self.interval_seconds


@dataclass(frozen=True)
class TermRule:
    """A watch-term as its user wrote it, with its options.

    `within_words` None is the rule set's; `across` lets near cross from the title into the summary; an empty `feeds`
    means all of them.
    """

    text: str
    stance: Stance = "mentions"
    note: str = ""
    within_words: int | None = None
    across: bool = False
    feeds: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClaimRule:
    """A claim, the article it comes from, the terms that give it away, and those that say it is not meant (`never`)."""

    id: str
    statement: str
    seed: str
    article: str
    made: date
    kind: ClaimKind
    due: date | None = None
    terms: tuple[TermRule, ...] = ()
    enabled: bool = True
    never: tuple[TermRule, ...] = ()


@dataclass(frozen=True)
class DigestRule:
    """A named digest: when it is due (cron fields in an IANA zone, or `every_seconds`), about which claims, to whom.

    An empty `claims` means all of them. `recipients` are recipient ids, never addresses. One with `every_seconds` is an
    alert: it has no cron fields and comes only when something is new, `at_most` times a day. Nothing is prepared in
    the `quiet` hours, from one local time to another.
    """

    name: str
    cron: str
    timezone: str
    recipients: tuple[str, ...]
    claims: tuple[str, ...] = ()
    when_empty: WhenEmpty = "skip"
    enabled: bool = True
    every_seconds: int | None = None
    at_most: int | None = None
    quiet: tuple[str, str] | None = None
    still_watching: StillWatching = "weekly"


@dataclass(frozen=True)
class Rules:
    """Everything the daemon goes by. Equal rules have an equal `sha256`."""

    feeds: tuple[FeedRule, ...] = ()
    claims: tuple[ClaimRule, ...] = ()
    digests: tuple[DigestRule, ...] = ()
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    within_words: int = 12

    @cached_property
    def sha256(self) -> str:
        # Not asdict(), which copies all of it: 3 s for 100,000 terms.
        values = {one.name: getattr(self, one.name) for one in fields(self)}
        return hashlib.sha256(canonical_json(values)).hexdigest()

    @property
    def polled_feeds(self) -> tuple[FeedRule, ...]:
        return tuple(feed for feed in self.feeds if feed.enabled)

    @property
    def intervals(self) -> dict[str, int]:
        """How many seconds lie between two polls of each feed that is polled, at least."""
        return {feed.id: feed.interval_seconds for feed in self.polled_feeds}

    @property
    def watched_claims(self) -> tuple[ClaimRule, ...]:
        return tuple(claim for claim in self.claims if claim.enabled)

    @property
    def live_digests(self) -> tuple[DigestRule, ...]:
        return tuple(digest for digest in self.digests if digest.enabled)

    def claims_of(self, digest: DigestRule) -> tuple[str, ...]:
        """The watched claims that a digest is about."""
        return tuple(claim.id for claim in self.watched_claims if not digest.claims or claim.id in digest.claims)


def canonical_json(value: Any) -> bytes:
    """`value` as JSON with sorted keys and no spaces, in UTF-8: the one form that is hashed and stored.

    ASCII escapes would double Cyrillic text (1,673 against 791 bytes for a usual item).
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_plain
    ).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, date):
        return value.isoformat()
    if is_dataclass(value):
        return vars(value)
    raise TypeError(f"{type(value).__name__} has no canonical form")


def one_stance(evidence: Iterable[HasStance]) -> Stance:
    """The side on which all that fired comes down: what speaks for both sides, or for none, mentions."""
    sides = {one.stance for one in evidence} - {"mentions"}
    return sides.pop() if len(sides) == 1 else "mentions"


def recipient_id(address: str) -> str:
    """The id under which the log names a recipient: `r-` and twelve hex digits of the address's hash."""
    return "r-" + hashlib.sha256(f"claimwatch recipient {address.strip().casefold()}".encode()).hexdigest()[:12]
