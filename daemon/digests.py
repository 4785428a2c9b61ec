"""Digests: what one says, and what it is called. Pure: matches and times come in as values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import Literal
from zoneinfo import ZoneInfo

from daemon.coverage import Coverage
from daemon.events import Evidence
from daemon.links import host_of, safe_link
from daemon.moments import as_utc
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules

EXCERPT_CHARACTERS = 320


def digest_id(name: str, recipient: str, due: datetime, *, resent: bool = False, cancelled: int = 0) -> str:
    """`name/recipient/due`: what a digest for a recipient is called for ever.

    `+again` marks one sent on request, `+2` one in place of another that was cancelled.
    """
    again = "+again" if resent else f"+{cancelled + 1}" if cancelled else ""
    return f"{name}/{recipient}/{as_utc(due).strftime('%Y-%m-%dT%H:%M:%SZ')}{again}"


def message_id(digest: str, head: str, domain: str) -> str:
    """The Message-ID of a digest: stable over every try, different in every log (the chain's head goes in)."""
    return f"<{hashlib.sha256(f'{digest} {head}'.encode()).hexdigest()[:32]}@{domain}>"


# ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class MatchToTell:
    """A match with the text it was made on, as the log holds them. `link` may be relative to the feed."""

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


@dataclass(frozen=True)
class Piece:
    """A stretch of text, marked where a term met it."""

    text: str
    marked: bool = False


@dataclass(frozen=True)
class ItemView:
    """One item under one claim, ready to be shown. `link` is an http(s) address or None."""

    match: int
    title: tuple[Piece, ...]
    excerpt: tuple[Piece, ...]
    link: str | None
    host: str
    feed: str
    when: datetime
    when_is: Literal["published", "first seen"]
    terms: tuple[str, ...]
    lapsed_at: datetime | None


@dataclass(frozen=True)
class ClaimView:
    """A claim with what came in for it: new items, those that were already there at the feed's first poll, and those
    that a new or changed term found in what was already here."""

    id: str
    statement: str
    article: str
    made: date
    due: date | None
    standing: str
    news: tuple[ItemView, ...]
    already_there: tuple[ItemView, ...]
    retroactive: tuple[ItemView, ...]
    feeds: int

    @property
    def count(self) -> int:
        return self.came_in + len(self.retroactive)

    @property
    def came_in(self) -> int:
        """What a feed brought since the last digest, new or not."""
        return len(self.news) + len(self.already_there)


@dataclass(frozen=True)
class DigestView:
    """All that a template can say. Times are in the digest's zone.

    `still_watching`: it has nothing to tell and is sent to say that the watch goes on; `notes` are lines about the
    digest itself.
    """

    name: str
    id: str
    due: datetime
    missed: tuple[datetime, ...]
    claims: tuple[ClaimView, ...]
    quiet: tuple[ClaimView, ...]
    coverage: Coverage
    zone: ZoneInfo
    log_position: int
    head: str
    matches: tuple[int, ...]
    resent: bool = False
    still_watching: bool = False
    notes: tuple[str, ...] = ()

    @cached_property
    def items(self) -> int:
        return sum(claim.count for claim in self.claims)

    @cached_property
    def retroactive(self) -> int:
        """How many of them were found in what was already here."""
        return sum(len(claim.retroactive) for claim in self.claims)


def compose(
    rules: Rules,
    digest: DigestRule,
    *,
    id: str,
    due: datetime,
    missed: Sequence[datetime],
    matches: Sequence[MatchToTell],
    coverage: Coverage,
    log_position: int,
    head: str,
    resent: bool = False,
    still_watching: bool = False,
    notes: Sequence[str] = (),
) -> DigestView:
    """Puts a digest together: per claim the newest items first, the busiest claim first, then the quiet ones."""
    zone = ZoneInfo(digest.timezone)
    feeds = {feed.id: feed for feed in rules.feeds}
    by_claim: dict[str, list[MatchToTell]] = {}
    for match in matches:
        by_claim.setdefault(match.claim, []).append(match)
    watched = [claim for claim in rules.watched_claims if not digest.claims or claim.id in digest.claims]
    views = []
    for claim in watched:
        items = [(match, _item_view(match, feeds.get(match.feed), zone)) for match in by_claim.get(claim.id, ())]
        items.sort(key=lambda pair: (pair[1].when, pair[0].position), reverse=True)
        views.append(_claim_view(claim, items, due.astimezone(zone).date()))
    return DigestView(
        name=digest.name,
        id=id,
        due=due.astimezone(zone),
        missed=tuple(moment.astimezone(zone) for moment in missed),
        claims=tuple(sorted((view for view in views if view.count), key=lambda view: (-view.came_in, -view.count))),
        quiet=tuple(view for view in views if not view.count),
        coverage=coverage,
        zone=zone,
        log_position=log_position,
        head=head,
        matches=tuple(match.position for match in matches),
        resent=resent,
        still_watching=still_watching,
        notes=tuple(notes),
    )


def _claim_view(claim: ClaimRule, items: Sequence[tuple[MatchToTell, ItemView]], today: date) -> ClaimView:
    return ClaimView(
        id=claim.id,
        statement=claim.statement,
        article=claim.article,
        made=claim.made,
        due=claim.due,
        standing=standing(claim, today),
        news=tuple(view for match, view in items if not match.already_there and not match.retroactive),
        already_there=tuple(view for match, view in items if match.already_there and not match.retroactive),
        retroactive=tuple(view for match, view in items if match.retroactive),
        feeds=len({match.feed for match, _ in items}),
    )


def standing(claim: ClaimRule, today: date) -> str:
    """Where a claim stands in time: its age, and what is left until it falls due."""
    age = (today - claim.made).days
    if claim.due is None:
        return f"made {show_day(claim.made)}, {_days(age)} ago" if age > 0 else f"made {show_day(claim.made)}"
    length, left = (claim.due - claim.made).days, (claim.due - today).days
    if left > 0 and age >= 0:
        return f"day {age} of {length}, due {show_day(claim.due)}, in {_days(left)}"
    if left == 0:
        return f"due today, {show_day(claim.due)}"
    if left > 0:
        return f"made {show_day(claim.made)}, due {show_day(claim.due)}"
    return f"was due {show_day(claim.due)}, {_days(-left)} ago"


def show_day(day: date) -> str:
    """A day for a reader: `18 Mar 2025`, which breaks over no line and leaves no doubt about day and month."""
    return day.strftime("%-d %b %Y")


def _days(count: int) -> str:
    return "1 day" if count == 1 else f"{count} days"


def _item_view(match: MatchToTell, feed: FeedRule | None, zone: ZoneInfo) -> ItemView:
    link = safe_link(match.link, feed.url if feed else "")
    when = match.published or match.first_seen
    title = "(text taken out of the log)" if match.redacted else match.title or "(no title)"
    return ItemView(
        match=match.position,
        title=tuple(marked(title, 0, len(title), _spans(match, "title") if title == match.title else ())),
        excerpt=tuple(_excerpt(match)),
        link=link,
        host=host_of(link),
        feed=(feed.title if feed else "") or match.feed,
        when=when.astimezone(zone),
        when_is="published" if match.published else "first seen",
        terms=tuple(dict.fromkeys(evidence.term for evidence in match.evidence)),
        lapsed_at=match.lapsed_at.astimezone(zone) if match.lapsed_at else None,
    )


def _spans(match: MatchToTell, field: str) -> tuple[tuple[int, int], ...]:
    if match.redacted:
        return ()
    return tuple(sorted({span for evidence in match.evidence if evidence.field == field for span in evidence.spans}))


def _excerpt(match: MatchToTell) -> Iterator[Piece]:
    """An excerpt of the summary, or of the content if only it met."""
    text, spans = match.summary, _spans(match, "summary")
    if not spans and (in_content := _spans(match, "content")):
        text, spans = match.content, in_content
    if not match.redacted and text != match.title:
        yield from excerpt(text, spans)


def excerpt(text: str, spans: Sequence[tuple[int, int]]) -> Iterator[Piece]:
    """Up to EXCERPT_CHARACTERS of `text` around the first of `spans`, which are in order, with each of them marked."""
    first = spans[0][0] if spans else 0
    start = 0
    if first >= EXCERPT_CHARACTERS * 2 // 3:
        start = text.rfind(" ", 0, first - EXCERPT_CHARACTERS // 3) + 1
        # No space within reach (a long address, Chinese): then right before the mark.
        start = start if first - start < EXCERPT_CHARACTERS * 2 // 3 else first - EXCERPT_CHARACTERS // 3
    end = len(text)
    if end - start > EXCERPT_CHARACTERS:
        cut = text.rfind(" ", start, start + EXCERPT_CHARACTERS)
        end = cut if cut > start else start + EXCERPT_CHARACTERS
    if start:
        yield Piece("… ")
    yield from marked(text, start, end, spans)
    if end < len(text):
        yield Piece(" …")


def marked(text: str, start: int, end: int, spans: Iterable[tuple[int, int]]) -> Iterator[Piece]:
    """The characters `[start, end)` of `text`, with those of its spans marked that lie within."""
    at = start
    for first, last in _joined(text, spans):
        if first < at or last > end:
            continue
        if first > at:
            yield Piece(_on_one_line(text[at:first]))
        yield Piece(text[first:last], marked=True)
        at = last
    if at < end:
        yield Piece(_on_one_line(text[at:end]))


def _joined(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans with nothing but one space between them as one: a marked phrase reads as a phrase."""
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and text[joined[-1][1] : first] == " ":
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    yield from joined


def _on_one_line(text: str) -> str:
    return text.replace("\n", " ")
