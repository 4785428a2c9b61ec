"""What follows from what came in: pure functions from what is known, what came in and `now` to events.

No clock, no network, no disk, no randomness: a decision can be made again and comes out the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Protocol

from daemon.events import (
    ClaimMatched,
    Event,
    FeedFailed,
    FeedGone,
    FeedMoved,
    FeedRecovered,
    FeedRekeyed,
    GapSuspected,
    ItemRevised,
    ItemSeen,
    MatchLapsed,
    NewEvent,
)
from daemon.items import Item, titles_by_key
from daemon.matching import Matcher
from daemon.moments import doubled, timestamp
from daemon.pacing import share, spread
from daemon.rules import canonical_json

OLD_AT_FIRST_POLL = timedelta(days=7)
FUTURE_TOLERANCE = timedelta(days=2)
"""A zone set wrong puts an item hours ahead; a date further ahead than this is no date."""
LONGEST_PAUSE = timedelta(hours=24)
LONGEST_PAUSE_OFFLINE = timedelta(hours=1)
"""Where no server answered at all, the fault may be this machine's: a lost network must not cost a day."""

LAST_IN_TURN = timedelta(minutes=1)
"""How long after the end of a host's pause a feed comes that has just been read; others come before it."""

MOVE_SIGHTINGS = 3
MOVE_STANDS = timedelta(days=1)
"""A redirect that a site sets by mistake is taken back within hours; a move that was adopted is not taken back."""

MOVED_BACK_AFTER = 3
"""How many failures in a row at the address that a feed moved to make its old one be asked again; and the other way."""

Key = Literal["guid", "link", "title+link", "content"]


@dataclass(frozen=True)
class KnownItem:
    """An item as the log knows it: every text it ever had, and the claims it bears on now.

    `titles` holds every (link, title) it ever had, where it had both.
    """

    id: str
    version: int
    guids: frozenset[str]
    links: frozenset[str]
    titles: frozenset[tuple[str, str]]
    fingerprints: frozenset[str]
    claims: frozenset[str] = frozenset()
    already_there: bool = False


@dataclass(frozen=True)
class KnownFeed:
    """A feed as the log and the poll cache know it. `window` holds the ids of the items of its last document."""

    id: str
    version: int = 0
    state: Literal["new", "ok", "failing", "gone"] = "new"
    since: datetime | None = None
    reason: str = ""
    unreadable_sha256: str | None = None
    unfit_keys: frozenset[str] = frozenset()
    has_items: bool = False
    window: frozenset[str] = frozenset()
    last_success: datetime | None = None


@dataclass(frozen=True)
class AfterChange:
    """What a changed document means: the events to append, and the feed's window from here on."""

    events: tuple[NewEvent, ...]
    window: frozenset[str]


def after_change(
    feed: KnownFeed, items: Sequence[Item], known: Iterable[KnownItem], matcher: Matcher, now: datetime
) -> AfterChange:
    """The events of a document that was read: new items, revisions, matches, a suspected gap, a recovery.

    `known` are those of the feed's items that share a guid, a link or a text with one of `items`.
    """
    rekeyed = tuple(_rekeyed(feed, items))
    catalogue = _Catalogue(feed, feed.unfit_keys | {event.unfit for event in rekeyed}, known)
    known_before = {item.id for item in catalogue.items.values()}
    news: list[NewEvent] = []
    window: set[str] = set()
    for item in _oldest_first(items):
        item = _with_possible_date(item, now)
        standing = catalogue.find(item)
        if standing is not None and item.fingerprint in standing.fingerprints:
            window.add(standing.id)
            continue
        if standing is None:
            old = item.published is not None and now - item.published > OLD_AT_FIRST_POLL
            standing, text = catalogue.new(item, already_there=old and not feed.has_items)
        else:
            standing, text = catalogue.revised(standing, item)
        window.add(standing.id)
        news.append(text)
        claim_events, claims = bearing(feed.id, standing, item, matcher)
        news += [NewEvent(f"claim/{event.claim}", event) for event in claim_events]
        catalogue.put(replace(standing, claims=claims))
    gap = _gap(feed, window, met=bool(window & known_before), now=now)
    feed_events = _in_stream(f"feed/{feed.id}", feed.version, [*after_unchanged(feed), *rekeyed, *gap])
    return AfterChange((*feed_events, *news), frozenset(window) or feed.window)


def after_unchanged(feed: KnownFeed) -> list[FeedRecovered]:
    """A feed that answers: if it was failing, it recovered."""
    return [FeedRecovered(feed.since)] if feed.state in ("failing", "gone") and feed.since else []


def after_failure(feed: KnownFeed, failure: FeedFailed) -> tuple[NewEvent, ...]:
    """A failure is news when the feed was well before, or failed in another way, or over another document."""
    another_document = failure.document_sha256 not in (None, feed.unreadable_sha256)
    if feed.state == "failing" and feed.reason == failure.reason and not another_document:
        return ()
    return _in_stream(f"feed/{feed.id}", feed.version, [failure])


def after_gone(feed: KnownFeed, url: str) -> tuple[NewEvent, ...]:
    """The server says that there will be no such feed again."""
    if feed.state == "gone":
        return ()
    return _in_stream(f"feed/{feed.id}", feed.version, [FeedGone(url)])


@dataclass(frozen=True)
class Move:
    """Another address that a site names for good: since when, and in how many good answers in a row."""

    to_url: str
    since: datetime
    seen: int


def next_move(before: Move | None, moved_to: str | None, now: datetime) -> Move | None:
    """What a good answer says of a move: one that came without, or from elsewhere, takes back what others said."""
    if moved_to is None:
        return None
    if before is None or before.to_url != moved_to:
        return Move(moved_to, now, 1)
    return replace(before, seen=before.seen + 1)


def after_moved(
    feed: KnownFeed, decided: Sequence[NewEvent], url: str, move: Move | None, now: datetime
) -> NewEvent | None:
    """The move of a feed that was asked at `url`, once it was told often and long enough; after what was `decided`."""
    if move is None or move.seen < MOVE_SIGHTINGS or now - move.since < MOVE_STANDS:
        return None
    return moved(feed, decided, url, move.to_url)


def moved(feed: KnownFeed, decided: Sequence[NewEvent], from_url: str, to_url: str) -> NewEvent:
    """A feed is asked elsewhere from here on."""
    stream = f"feed/{feed.id}"
    return NewEvent(stream, FeedMoved(from_url, to_url), feed.version + sum(one.stream == stream for one in decided))


def next_poll(
    feed: str,
    interval: timedelta,
    failures: int,
    now: datetime,
    not_before: datetime | None = None,
    longest: timedelta = LONGEST_PAUSE,
) -> datetime:
    """When to ask a feed again: after its interval, doubled from the second failure in a row on up to `longest`.

    Never before `not_before`. Up to a tenth is added by the feed's name, so that feeds drift apart and stay there.
    """
    due = now + spread(feed, doubled(interval, failures - 1, max(longest, interval)))
    return max(due, not_before) if not_before else due


def next_turn(
    interval: timedelta, pause: timedelta, due: datetime | None, read_at: datetime | None, now: datetime
) -> datetime:
    """When to ask a feed that was not asked, because its host wants to be left alone for this `pause`.

    Not before it was `due`. Whoever was read longest ago comes first: a host that answers a few questions and then
    wants a pause would else answer the same feeds each time.
    """
    waited = max(now - read_at, timedelta(0)) if read_at else None
    behind = LAST_IN_TURN / (1 + waited / interval) if waited is not None else timedelta(0)
    return max(now + pause + behind, due or now)


def after_too_many(feed: str, shortest: timedelta, pause: timedelta, now: datetime) -> datetime:
    """When to ask a feed whose question was one too many for its host, which wants this `pause`.

    As soon as both allow it, because others got its turn; up to half a `shortest` later, by chance, because a host may
    count in just the time after which the feed would come again.
    """
    return now + max(pause, shortest * (1 + share(f"{feed} {timestamp(now)}") / 2))


# ── items ────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Catalogue:
    """A feed's known items while one document is being read, found by whatever identifies an item there."""

    def __init__(self, feed: KnownFeed, unfit: frozenset[str], known: Iterable[KnownItem]) -> None:
        self.feed = feed
        self.unfit = unfit
        self.items: dict[str, KnownItem] = {}
        self.by_guid: dict[str, str] = {}
        self.by_link: dict[str, str] = {}
        self.by_title: dict[tuple[str, str], str] = {}
        self.by_text: dict[str, str] = {}
        for item in known:
            self.put(item)

    def put(self, item: KnownItem) -> None:
        self.items[item.id] = item
        for guid in item.guids:
            self.by_guid.setdefault(guid, item.id)
        for fingerprint in item.fingerprints:
            self.by_text.setdefault(fingerprint, item.id)
        for link in item.links:
            self.by_link.setdefault(link, item.id)
        for title in item.titles:
            self.by_title.setdefault(title, item.id)

    def find(self, item: Item) -> KnownItem | None:
        kind, key = self.key(item)
        # The very same text is the surest sign, but for texts with a guid of their own and no link to tell them apart.
        found = self.by_text.get(item.fingerprint) if item.link or kind != "guid" else None
        if found is None and kind == "guid":
            found = self.by_guid.get(key)
        if found is None and item.link and item.title:
            found = self.by_title.get((item.link, item.title))
        if found is None and kind == "link":
            found = self.by_link.get(key)
        if found is None and self._id(item) in self.items:
            found = self._id(item)
        return self.items[found] if found else None

    def key(self, item: Item) -> tuple[Key, str]:
        """What identifies `item` in its feed: its guid, else its link, else its text."""
        if item.guid and "guid" not in self.unfit:
            return "guid", item.guid
        if item.link and not item.guid and "link" not in self.unfit:
            return "link", item.link
        if item.link:
            return "title+link", canonical_json([item.link, item.title]).decode()
        return "content", item.fingerprint

    def new(self, item: Item, *, already_there: bool) -> tuple[KnownItem, NewEvent]:
        kind, _ = self.key(item)
        seen = ItemSeen(feed=self.feed.id, key=kind, already_there=already_there, **_fields(item))
        known = _known(self._id(item), 1, item, already_there)
        self.put(known)
        return known, NewEvent(f"item/{known.id}", seen, 0)

    def revised(self, standing: KnownItem, item: Item) -> tuple[KnownItem, NewEvent]:
        revised = ItemRevised(feed=self.feed.id, **_fields(item))
        text = _known(standing.id, standing.version + 1, item, standing.already_there)
        known = replace(
            text,
            guids=standing.guids | text.guids,
            links=standing.links | text.links,
            titles=standing.titles | text.titles,
            fingerprints=standing.fingerprints | text.fingerprints,
            claims=standing.claims,
        )
        self.put(known)
        return known, NewEvent(f"item/{known.id}", revised, standing.version)

    def _id(self, item: Item) -> str:
        return hashlib.sha256(canonical_json([self.feed.id, *self.key(item)])).hexdigest()[:16]


def _fields(item: Item) -> dict[str, Any]:
    """What the events of a text say of it: every field of the item, and its fingerprint."""
    return vars(item) | {"fingerprint": item.fingerprint}


def _known(id: str, version: int, item: Item, already_there: bool) -> KnownItem:
    return KnownItem(
        id=id,
        version=version,
        guids=frozenset({item.guid}) if item.guid else frozenset(),
        links=frozenset({item.link}) if item.link else frozenset(),
        titles=frozenset({(item.link, item.title)}) if item.link and item.title else frozenset(),
        fingerprints=frozenset({item.fingerprint}),
        already_there=already_there,
    )


def _rekeyed(feed: KnownFeed, items: Sequence[Item]) -> Iterator[FeedRekeyed]:
    keys: tuple[Literal["guid", "link"], ...] = ("guid", "link")
    for key in keys:
        if key in feed.unfit_keys:
            continue
        for value, titles in titles_by_key(items, key).items():
            if len(titles) > 1:
                yield FeedRekeyed(key, value, tuple(titles)[:3])
                break


def _oldest_first(items: Sequence[Item]) -> Sequence[Item]:
    """By date where every item has one, else from the document's end, since feeds put the newest first."""
    upwards = items[::-1]
    if all(item.published for item in items):
        return sorted(upwards, key=lambda item: item.published or datetime.min.replace(tzinfo=UTC))
    return upwards


def _with_possible_date(item: Item, now: datetime) -> Item:
    if item.published and item.published > now + FUTURE_TOLERANCE:
        return replace(item, published=None)
    return item


def _gap(feed: KnownFeed, window: set[str], *, met: bool, now: datetime) -> list[GapSuspected]:
    """Nothing of the last window is left. Where the cache that holds the window is lost: nothing ever seen is left."""
    if not feed.has_items or not window:
        return []
    left = bool(feed.window & window) if feed.window else met
    return [] if left else [GapSuspected(feed.last_success, now)]


# ── claims ───────────────────────────────────────────────────────────────────────────────────────────────────────


class Text(Protocol):
    """What terms look at: an item, or an event that holds its text."""

    @property
    def title(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def content(self) -> str: ...


def bearing(
    feed: str, standing: KnownItem, text: Text, matcher: Matcher
) -> tuple[list[ClaimMatched | MatchLapsed], frozenset[str]]:
    """The claims that the item's present text bears on, and the events for those that begin or cease to.

    `standing` is the item with this text's version, and the claims that the text before bore on.
    """
    found = {
        match.claim: match
        for match in matcher.match(feed=feed, title=text.title, summary=text.summary, content=text.content)
    }
    news: list[ClaimMatched | MatchLapsed] = [
        ClaimMatched(
            claim=claim,
            item=standing.id,
            feed=feed,
            item_version=standing.version,
            rules=matcher.rules_sha256,
            evidence=match.evidence,
            already_there=standing.already_there,
        )
        for claim, match in found.items()
        if claim not in standing.claims
    ]
    lapsed = sorted(standing.claims & matcher.claims - found.keys())
    news += [MatchLapsed(claim, standing.id, standing.version) for claim in lapsed]
    return news, (standing.claims - matcher.claims) | frozenset(found)


def _in_stream(stream: str, version: int, events: Sequence[Event]) -> tuple[NewEvent, ...]:
    return tuple(NewEvent(stream, event, version + at) for at, event in enumerate(events))
