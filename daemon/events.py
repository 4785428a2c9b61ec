"""What can happen: one frozen dataclass a kind of event. `payloads` knows their stored form."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter

from daemon.coverage import Coverage
from daemon.moments import Moment
from daemon.notices import Told
from daemon.payloads import EVENT_TYPES as EVENT_TYPES
from daemon.payloads import Event as Event
from daemon.payloads import event_kind as _kind
from daemon.payloads import from_payload as from_payload
from daemon.payloads import to_payload as to_payload
from daemon.rules import Rules, Stance

# ── the watch ────────────────────────────────────────────────────────────────────────────────────────────────────


@_kind
@dataclass(frozen=True)
class WatchStarted:
    """The daemon began to watch. `last_awake` is the last moment it is known to have been awake before."""

    kind: ClassVar[str] = "watch_started"
    version: str
    last_awake: Moment | None


@_kind
@dataclass(frozen=True)
class WatchStopped:
    """The daemon stopped watching, and why."""

    kind: ClassVar[str] = "watch_stopped"
    reason: str


@_kind
@dataclass(frozen=True)
class RulesChanged:
    """The whole rule set as it stands from here on.

    `rematch` are the claims whose terms are new or changed, or were not yet matched against what was here when the
    rules changed again: they are matched against every stored item, up to the next `backfill_finished`.
    """

    kind: ClassVar[str] = "rules_changed"
    sha256: str
    rules: Rules
    rematch: tuple[str, ...] = ()


@_kind
@dataclass(frozen=True)
class BackfillFinished:
    """Every stored item was matched against the claims that the last `rules_changed` names in `rematch`.

    Of `items` looked at, `matched` brought a match that was not there, `changed` have one on other words or another
    text than before, and `dropped` are matches that today's rules no longer make.
    """

    kind: ClassVar[str] = "backfill_finished"
    rules: str
    claims: tuple[str, ...]
    items: int
    matched: int
    changed: int
    dropped: int


# ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────


@_kind
@dataclass(frozen=True)
class ItemSeen:
    """A feed brought an item for the first time.

    `key` says what identifies it in its feed (`guid`, `link`, `title+link` or `content`); `fingerprint` is the hash of
    its text; `already_there` marks an item that was over seven days old at the feed's first poll.
    """

    kind: ClassVar[str] = "item_seen"
    feed: str
    key: Literal["guid", "link", "title+link", "content"]
    guid: str | None
    link: str | None
    title: str
    summary: str
    content: str
    author: str | None
    published: Moment | None
    lang: str | None
    fingerprint: str
    already_there: bool = False


@_kind
@dataclass(frozen=True)
class ItemRevised:
    """A known item came with a text it never had before."""

    kind: ClassVar[str] = "item_revised"
    feed: str
    guid: str | None
    link: str | None
    title: str
    summary: str
    content: str
    author: str | None
    published: Moment | None
    lang: str | None
    fingerprint: str


@dataclass(frozen=True)
class Redaction:
    """One event whose text was taken out, and the hash of what is left of its payload."""

    position: int
    payload_sha256: str


@_kind
@dataclass(frozen=True)
class ItemRedacted:
    """The text of an item was taken out of the log, for the law or for retention; the chain still verifies."""

    kind: ClassVar[str] = "item_redacted"
    reason: str
    redactions: tuple[Redaction, ...]


# ── matches ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Evidence:
    """Why a claim matched: one term in one field, the character spans `[start, end)`, the words as they stood."""

    term: str
    stance: Stance
    field: Literal["title", "summary", "content"]
    spans: tuple[tuple[int, int], ...]
    surface: tuple[str, ...]


@_kind
@dataclass(frozen=True)
class ClaimMatched:
    """An item bears on a claim: one match, whose id is this event's position.

    `item_version` is the version in the item's stream whose text the spans point into; `retroactive` says that it was
    found by a backfill, in an item that was here before the claim had these terms.
    """

    kind: ClassVar[str] = "claim_matched"
    claim: str
    item: str
    feed: str
    item_version: int
    rules: str
    evidence: tuple[Evidence, ...]
    already_there: bool = False
    retroactive: bool = False


@_kind
@dataclass(frozen=True)
class MatchReviewed:
    """What rules of a later day make of a match that was there: on which text of the item, and by which words.

    Without evidence they do not make it. `match` is the position of its `claim_matched`.
    """

    kind: ClassVar[str] = "match_reviewed"
    match: int
    claim: str
    item: str
    item_version: int
    rules: str
    evidence: tuple[Evidence, ...]


@_kind
@dataclass(frozen=True)
class MatchLapsed:
    """The item was changed by its publisher so that it no longer bears on the claim.

    It ends matches on texts before `item_version`; `changed_at` is when that text came, where a backfill found it out.
    """

    kind: ClassVar[str] = "match_lapsed"
    claim: str
    item: str
    item_version: int
    changed_at: Moment | None = None


# ── feeds ────────────────────────────────────────────────────────────────────────────────────────────────────────


@_kind
@dataclass(frozen=True)
class FeedFailed:
    """A feed stopped answering as a feed, or fails in another way than before. `hint` says what can be done;
    `document_sha256` names a document that could not be read to its end: it is skipped until it changes."""

    kind: ClassVar[str] = "feed_failed"
    reason: str
    detail: str
    hint: str
    document_sha256: str | None = None


@_kind
@dataclass(frozen=True)
class FeedRecovered:
    """A failing feed answers again; `failing_since` is when it began to fail."""

    kind: ClassVar[str] = "feed_recovered"
    failing_since: Moment


@_kind
@dataclass(frozen=True)
class FeedMoved:
    """The site said often and long enough that the feed is at another address for good (301, 308). It is asked there
    from here on, until its address in feeds.yaml changes."""

    kind: ClassVar[str] = "feed_moved"
    from_url: str
    to_url: str


@_kind
@dataclass(frozen=True)
class FeedGone:
    """The server says that the feed is gone for good (410). It rests until its address in feeds.yaml changes."""

    kind: ClassVar[str] = "feed_gone"
    url: str


@_kind
@dataclass(frozen=True)
class FeedRekeyed:
    """A guid or link stood for different titles in one document: from here on it is no key in this feed."""

    kind: ClassVar[str] = "feed_rekeyed"
    unfit: Literal["guid", "link"]
    example: str
    titles: tuple[str, ...]


@_kind
@dataclass(frozen=True)
class GapSuspected:
    """Nothing of the feed's last window was left in this one: items may have come and gone in between."""

    kind: ClassVar[str] = "gap_suspected"
    after: Moment | None
    before: Moment


# ── digests and deliveries ───────────────────────────────────────────────────────────────────────────────────────


@_kind
@dataclass(frozen=True)
class DigestPrepared:
    """A digest is fixed before it is sent: its matches, its coverage, and the rendered message itself.

    `message` is the RFC 5322 message without its `To:` line, deflated, in base64; `missed` are the due times before
    `due` that this digest answers too; `head` is the chain's head up to `log_position`, all that the digest knew.
    `template_faults` say which of the user's templates failed; the shipped ones were used instead.
    """

    kind: ClassVar[str] = "digest_prepared"
    name: str
    recipient: str
    due: Moment
    missed: tuple[Moment, ...]
    matches: tuple[int, ...]
    coverage: Coverage
    log_position: int
    head: str
    message_id: str
    subject: str
    message: str
    resent: bool = False
    template_faults: tuple[str, ...] = ()


@_kind
@dataclass(frozen=True)
class DigestSkipped:
    """A digest was due and there was nothing to tell; nothing stays due."""

    kind: ClassVar[str] = "digest_skipped"
    name: str
    recipient: str
    due: Moment
    missed: tuple[Moment, ...]
    coverage: Coverage


@_kind
@dataclass(frozen=True)
class DeliveryStarted:
    """The attempt begins; after this event and before its outcome, nobody can know whether the message left."""

    kind: ClassVar[str] = "delivery_started"
    attempt: int
    via: Literal["smtp", "maildir"]


@_kind
@dataclass(frozen=True)
class DeliveryAccepted:
    """The mail server (or the Maildir) took the message; `answer` is what it said."""

    kind: ClassVar[str] = "delivery_accepted"
    answer: str


@_kind
@dataclass(frozen=True)
class DeliveryDeferred:
    """The message could not be handed over now; it is tried again at `retry_at`."""

    kind: ClassVar[str] = "delivery_deferred"
    reason: str
    retry_at: Moment


@_kind
@dataclass(frozen=True)
class DeliveryRefused:
    """The message will not be taken: its matches are free for the next digest. `gave_up` says that nobody refused it,
    but five days of trying are over."""

    kind: ClassVar[str] = "delivery_refused"
    reason: str
    gave_up: bool = False


@_kind
@dataclass(frozen=True)
class DeliveryCancelled:
    """A prepared message is not to be sent any more. Its matches are free again, unless an attempt was made before:
    then it may have left, and nothing is told twice."""

    kind: ClassVar[str] = "delivery_cancelled"
    reason: str
    may_have_left: bool


@_kind
@dataclass(frozen=True)
class DeliveryUncertain:
    """A crash came between the attempt and its outcome: it is repeated under the same Message-ID."""

    kind: ClassVar[str] = "delivery_uncertain"
    attempt: int


# ── notices to an operator ───────────────────────────────────────────────────────────────────────────────────────


@_kind
@dataclass(frozen=True)
class NoticePrepared:
    """A notice of troubles is fixed before it is sent, `message` as in a digest. It is tried at once; where no outcome
    follows, a crash came between, and it is repeated as it is."""

    kind: ClassVar[str] = "notice_prepared"
    told: tuple[Told, ...]
    message_id: str
    subject: str
    message: str


@_kind
@dataclass(frozen=True)
class NoticeSent:
    """The mail server (or the Maildir) took a notice: the operator was told."""

    kind: ClassVar[str] = "notice_sent"
    told: tuple[Told, ...]
    message_id: str
    answer: str


@_kind
@dataclass(frozen=True)
class NoticeDeferred:
    """The notice was not taken. It is dropped; at `retry_at` another one is made of what stands by then."""

    kind: ClassVar[str] = "notice_deferred"
    message_id: str
    reason: str
    retry_at: Moment


# ── in the log ───────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class NewEvent:
    """An event that a decision asks to append; `after_version` is the version of the stream that it was based on,
    None "whatever it is"."""

    stream: str
    event: Event
    after_version: int | None = None


@dataclass(frozen=True)
class Recorded:
    """An event as the log holds it."""

    position: int
    stream: str
    version: int
    at: datetime
    event: Any

    @property
    def id(self) -> str:
        """The part of the stream's name behind its type: `item/3f2a` is about `3f2a`."""
        return self.stream.partition("/")[2]


def evidence_from(stored: str) -> tuple[Evidence, ...]:
    """The evidence behind a column that holds it as JSON."""
    return _EVIDENCE.validate_json(stored)


_EVIDENCE: TypeAdapter[tuple[Evidence, ...]] = TypeAdapter(tuple[Evidence, ...])
