"""What new rules make of the items that are already here: which claims are to be matched again, and what then changes.

The measure is a daemon that had the rules from the start. An item's texts are gone through again by the decision that a
poll takes (`decisions.bearing`); what that comes to is compared with the matches that the log has, and the difference
becomes events. Done twice, it finds nothing the second time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from daemon.decisions import KnownItem, bearing
from daemon.events import ClaimMatched, Evidence, ItemSeen, MatchLapsed, MatchReviewed, NewEvent, Recorded
from daemon.matching import Matcher
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.words import fold


@dataclass(frozen=True)
class MatchMade:
    """A match as it stands in the log's tables: see `tables.MatchRow`."""

    position: int
    claim: str
    item_version: int
    evidence: tuple[Evidence, ...]
    current: bool
    lapsed_at: datetime | None


@dataclass(frozen=True)
class StoredItem:
    """An item with all its texts (`item_seen` first, then each `item_revised`) and all matches ever made on it."""

    id: str
    texts: Sequence[Recorded]
    matches: Sequence[MatchMade] = ()


# ── which claims ─────────────────────────────────────────────────────────────────────────────────────────────────


def claims_to_rematch(before: Rules | None, left: Collection[str], after: Rules) -> tuple[str, ...]:
    """The claims to be matched against every stored item when the rules `after` follow on `before`.

    Those whose matches can come out otherwise, and those of `left`: what was to be matched when the rules changed
    before, and is not done. None for the first rules of a log.
    """
    if before is None:
        return ()
    stood = {claim.id: claim for claim in before.watched_claims}
    lists = _Lists(before), _Lists(after)
    return tuple(
        claim.id
        for claim in after.watched_claims
        if claim.id in left
        or claim.id not in stood
        or _signature(stood[claim.id], before, lists[0]) != _signature(claim, after, lists[1])
    )


def _signature(claim: ClaimRule, rules: Rules, lists: _Lists) -> tuple[Any, ...]:
    """All that a claim's matches follow from. Notes and the statement are for people."""
    terms, never = (tuple(replace(term, note="") for term in some) for some in (claim.terms, claim.never))
    return terms, never, lists.named_in((*terms, *never)), rules.within_words


class _Lists:
    """The word lists of a rule set, by what a term must hold to name them.

    Letters alone are looked at, not the term's grammar: one list too many costs a pass that finds nothing, one too few
    would leave matches unfound.
    """

    def __init__(self, rules: Rules) -> None:
        self._words = {fold(name): words for name, words in rules.words.items()}
        self._text = {name: fold(" ".join(words)) for name, words in self._words.items()}

    def named_in(self, terms: Iterable[TermRule]) -> Mapping[str, tuple[str, ...]]:
        """The lists that these terms name, and those that are named in them in turn."""
        named: dict[str, tuple[str, ...]] = {}
        texts = [fold(term.text) for term in terms]
        while texts:
            text = texts.pop()
            for name in self._words.keys() - named.keys():
                if name in text:
                    named[name] = self._words[name]
                    texts.append(self._text[name])
        return named


# ── what changes ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Stretch:
    """From the text on which an item began to bear on a claim to the one that no longer did."""

    begun: ClaimMatched
    lapsed: MatchLapsed | None = None

    @property
    def lapsed_at(self) -> datetime | None:
        return self.lapsed.changed_at if self.lapsed else None


@dataclass
class _OfClaim:
    """Of one claim on one item: the matches as they ought to be, and as they are."""

    stretches: list[_Stretch] = field(default_factory=list)
    made: list[MatchMade] = field(default_factory=list)


def after_rematching(item: StoredItem, claims: Collection[str], matcher: Matcher) -> list[NewEvent]:
    """The events that make the item's matches on `claims` what they were, had these rules been there from the start.

    A match that is there already is never made again: it is reviewed, where it ought to stand on another text or on
    other words, or not at all.
    """
    by_claim: dict[str, _OfClaim] = defaultdict(_OfClaim)
    for stretch in _from_the_start(item, claims, matcher):
        by_claim[stretch.begun.claim].stretches.append(stretch)
    for match in item.matches:
        if match.claim in claims:
            by_claim[match.claim].made.append(match)
    return [
        NewEvent(f"claim/{claim}", event)
        for claim, of in sorted(by_claim.items())
        for event in _differences(item.id, of, matcher.rules_sha256)
    ]


def _from_the_start(item: StoredItem, claims: Collection[str], matcher: Matcher) -> Iterator[_Stretch]:
    """What a daemon with these rules would have made of the item's texts as they came."""
    seen: ItemSeen = item.texts[0].event
    nothing: frozenset[Any] = frozenset()
    known = KnownItem(item.id, 0, nothing, nothing, nothing, nothing, already_there=seen.already_there)
    standing: dict[str, _Stretch] = {}
    for text in item.texts:
        known = replace(known, version=text.version)
        events, bears_on = bearing(seen.feed, known, text.event, matcher)
        known = replace(known, claims=bears_on)
        for event in events:
            if event.claim not in claims:
                continue
            if isinstance(event, ClaimMatched):
                standing[event.claim] = _Stretch(replace(event, retroactive=True))
            else:
                stretch = standing.pop(event.claim)
                stretch.lapsed = replace(event, changed_at=text.at)
                yield stretch
    yield from standing.values()


def _differences(item: str, of: _OfClaim, rules: str) -> Iterator[ClaimMatched | MatchLapsed | MatchReviewed]:
    same = _told_already(of)
    kept = {match.position for match in same.values()}
    for match in of.made:
        if match.current and match.position not in kept:
            yield MatchReviewed(match.position, match.claim, item, match.item_version, rules, ())
    for at, stretch in enumerate(of.stretches):
        begun = stretch.begun
        made = same.get(at)
        if made is None:
            yield begun
        elif _as_it_stands(made) == (True, begun.item_version, begun.evidence, stretch.lapsed_at):
            continue
        else:
            yield MatchReviewed(made.position, begun.claim, item, begun.item_version, rules, begun.evidence)
        if stretch.lapsed:
            yield stretch.lapsed


def _as_it_stands(match: MatchMade) -> tuple[bool, int, tuple[Evidence, ...], datetime | None]:
    return match.current, match.item_version, match.evidence, match.lapsed_at


def _told_already(of: _OfClaim) -> dict[int, MatchMade]:
    """Which match that is there each stretch is, by its place: so that nobody is told of it twice.

    What stands is what stood; else the text on which it was made decides; else any will do, the latest first.
    """
    pairs = sorted(
        (_unlikeness(stretch, made), -at, -made.position, at, made)
        for at, stretch in enumerate(of.stretches)
        for made in of.made
    )
    same: dict[int, MatchMade] = {}
    taken: set[int] = set()
    for *_, at, made in pairs:
        if at not in same and made.position not in taken:
            same[at] = made
            taken.add(made.position)
    return same


def _unlikeness(stretch: _Stretch, made: MatchMade) -> int:
    if stretch.lapsed is None and made.lapsed_at is None and made.current:
        return 0
    return 1 if stretch.begun.item_version == made.item_version else 2
