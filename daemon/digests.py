"""Digests: what one says, and what it is called. Pure: matches and times come in as values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TypeAlias
from zoneinfo import ZoneInfo

from daemon.coverage import Coverage, troubles_together
from daemon.edits import edits
from daemon.excerpts import Piece, excerpt, marked
from daemon.links import host_of, names_another_host, safe_link
from daemon.pictures import STANCES, DayCount, picture, split
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules, Stance, one_stance
from daemon.standings import fell_due, standing
from daemon.stories import Report, stories
from daemon.tellable import MatchToTell, Revision
from daemon.views import ClaimView, DigestView, EditView, ItemView, StoryView, TermView

_LANGUAGE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8}){0,4}")


StoriesTold: TypeAlias = dict[tuple[ZoneInfo, tuple[int, ...]], tuple[StoryView, ...]]
"""The stories that matches tell, by their positions and the zone, under the same rules and at the same moment."""


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
    revisions: Sequence[Revision] = (),
    counts: Sequence[DayCount] = (),
    untold: Sequence[tuple[datetime | None, datetime | None]] = ((None, None),),
    told_others: StoriesTold | None = None,
) -> DigestView:
    """Puts a digest together: the busiest claim first, the best attested stories first, then the quiet claims.

    `revisions` are of what this recipient was told, now or before; `counts` those of the last days, by claim;
    `untold` are the stretches of time that this recipient is to be told of, between the due times of digests: the first
    begins with the coverage where there was none before, the last one ends when this one is due.
    `told_others` is looked up, and added to: what other digests of these matches tell costs most of the time.
    """
    zone = ZoneInfo(digest.timezone)
    # A digest tells the days up to the one that it was due on, however late it was prepared.
    days = tuple(
        (begin.astimezone(zone).date(), (end or due).astimezone(zone).date())
        for after, end in untold
        if (begin := after or coverage.since)
    )
    told = {} if told_others is None else told_others
    desk = _Desk({feed.id: feed for feed in rules.feeds}, zone, due.astimezone(zone).date(), days, told)
    by_claim: dict[str, list[MatchToTell]] = {}
    for match in matches:
        by_claim.setdefault(match.claim, []).append(match)
    views = [
        _claim_view(
            claim,
            by_claim.get(claim.id, []),
            [one for one in revisions if one.match.claim == claim.id],
            [one for one in counts if one.claim == claim.id],
            desk,
        )
        for claim in rules.watched_claims
        if not digest.claims or claim.id in digest.claims
    ]
    moved = sorted((one for one in views if one.moved), key=lambda one: (-one.came_in, -one.count, -one.edited))
    return DigestView(
        name=digest.name,
        id=id,
        due=due.astimezone(zone),
        missed=tuple(moment.astimezone(zone) for moment in missed),
        claims=tuple(moved),
        brief=(),
        quiet=tuple(one for one in views if not one.moved),
        fell_due=tuple(one for one in views if one.fell_due),
        coverage=coverage,
        troubles=troubles_together(coverage.troubles),
        resting=len(rules.feeds) - len(rules.polled_feeds),
        zone=zone,
        log_position=log_position,
        head=head,
        matches=tuple(match.position for match in matches),
        items=sum(one.count for one in views),
        stories=sum(one.stories for one in views),
        retroactive=sum(one.earlier for one in views),
        edited=sum(one.edited for one in views),
        moved=len(moved),
        watched=len(views),
        resent=resent,
    )


@dataclass(frozen=True)
class _Desk:
    """What is the same for all that a digest says."""

    feeds: dict[str, FeedRule]
    zone: ZoneInfo
    today: date
    untold: tuple[tuple[date, date], ...]
    told: StoriesTold


def _claim_view(
    claim: ClaimRule,
    matches: Sequence[MatchToTell],
    revisions: Sequence[Revision],
    counts: Sequence[DayCount],
    desk: _Desk,
) -> ClaimView:
    parts = {
        "news": [match for match in matches if not match.already_there and not match.retroactive],
        "already_there": [match for match in matches if match.already_there and not match.retroactive],
        "retroactive": [match for match in matches if match.retroactive],
    }
    told = {name: _told(part, desk) for name, part in parts.items()}
    sides = [one_stance(match.evidence) for match in matches]
    changed = tuple(_edits(revisions, desk))
    return ClaimView(
        id=claim.id,
        statement=claim.statement,
        article=claim.article,
        made=claim.made,
        due=claim.due,
        standing=standing(claim, desk.today),
        overdue=claim.due is not None and claim.due < desk.today,
        fell_due=fell_due(claim, desk.untold),
        news=told["news"],
        already_there=told["already_there"],
        retroactive=told["retroactive"],
        edits=changed,
        picture=picture(claim.id, counts, desk.today),
        came_in=len(parts["news"]) + len(parts["already_there"]),
        earlier=len(parts["retroactive"]),
        stories=sum(map(len, told.values())),
        feeds=len({match.feed for match in matches}),
        sides=", ".join(split(one, sides.count(one)) for one in STANCES if one in sides),
        edited=len(changed),
    )


def _told(matches: Sequence[MatchToTell], desk: _Desk) -> tuple[StoryView, ...]:
    key = desk.zone, tuple(match.position for match in matches)
    if key not in desk.told:
        desk.told[key] = tuple(_stories(matches, desk))
    return desk.told[key]


def _stories(matches: Sequence[MatchToTell], desk: _Desk) -> Iterator[StoryView]:
    """The stories that these matches tell: those with most independent sources first, then the newest."""
    by_number = {match.position: match for match in matches}
    readable = [match for match in matches if not match.redacted]
    reports = [Report(one.position, one.feed, one.title, one.summary, one.link, one.when) for one in readable]
    told = [(one.reports, one.sources) for one in stories(reports)]
    # Of a text that was taken out nobody can say which story it told.
    told += [((match.position,), 1) for match in matches if match.redacted]
    told.sort(key=lambda one: (one[1], max((by_number[at].when, at) for at in one[0])), reverse=True)
    for numbers, sources in told:
        yield StoryView(tuple(_item_view(by_number[at], desk) for at in numbers), sources)


def _edits(revisions: Sequence[Revision], desk: _Desk) -> Iterator[EditView]:
    """The revisions that touch what was matched, the latest first."""
    for one in sorted(revisions, key=lambda one: (one.at, one.match.position), reverse=True):
        if found := edits(one.match.evidence, one.before, one.after):
            item = _item_view(one.match, desk)
            yield EditView(item, one.at.astimezone(desk.zone), found, one.match.lapsed_at is not None)


def _item_view(match: MatchToTell, desk: _Desk) -> ItemView:
    feed = desk.feeds.get(match.feed)
    link = safe_link(match.link, match.asked_url or (feed.url if feed else ""))
    host = host_of(link)
    source = (feed.title if feed else "") or match.feed
    title = "(text taken out of the log)" if match.redacted else match.title or "(no title)"
    terms: dict[tuple[str, Stance], None] = {(evidence.term, evidence.stance): None for evidence in match.evidence}
    return ItemView(
        match=match.position,
        title=tuple(marked(title, 0, len(title), _spans(match, "title") if title == match.title else ())),
        excerpt=tuple(_excerpt(match)),
        link=link,
        host=host,
        deceives=bool(link) and names_another_host(title, host),
        source_deceives=bool(link) and names_another_host(source, host),
        feed=source,
        when=match.when.astimezone(desk.zone),
        when_is="published" if match.published else "first seen",
        terms=tuple(TermView(text, stance) for text, stance in terms),
        stance=one_stance(match.evidence),
        lapsed_at=match.lapsed_at.astimezone(desk.zone) if match.lapsed_at else None,
        lang=_language(match.lang),
    )


def _language(said: str | None) -> str | None:
    tag = (said or "").strip().replace("_", "-")
    return tag if _LANGUAGE.fullmatch(tag) else None


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
