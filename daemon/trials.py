"""What terms would find: one term tried over items, and two rule sets held against each other.

Items come as an iterable and are looked at one by one, so that a log of any length takes no more memory than what is
shown of it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta

from daemon.events import Evidence
from daemon.matching import Match, Matcher
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.words import fold, tokenise

_LONG_AGO = datetime.min.replace(tzinfo=UTC)
TERM, OTHERS, NEVER = "term", "others", "never"
"""The claims of a rule set that tries one term: the term itself, its claim's other terms, and what that never means."""


@dataclass(frozen=True)
class StoredItem:
    """An item with a text that it has or had. `first_seen` is None where nobody polled it: in a file."""

    id: str
    feed: str
    title: str
    summary: str
    content: str = ""
    link: str | None = None
    published: datetime | None = None
    first_seen: datetime | None = None

    @property
    def has_text(self) -> bool:
        """False for what was redacted."""
        return bool(self.title or self.summary or self.content)

    @property
    def when(self) -> datetime | None:
        """When it was published, else first seen."""
        return self.published or self.first_seen


@dataclass(frozen=True)
class Found:
    """An item that a term meets, by which words. `is_new`: no other term of the claim meets it."""

    item: StoredItem
    evidence: tuple[Evidence, ...] = ()
    is_new: bool = True


class Newest:
    """Counts what it is given and keeps the newest `most` of it; all of it for None."""

    def __init__(self, most: int | None) -> None:
        self.count = 0
        self._most = most
        self._kept: list[tuple[datetime, str, int, Found]] = []

    def add(self, found: Found) -> None:
        self.count += 1
        entry = (found.item.when or _LONG_AGO, found.item.id, self.count, found)
        if self._most is None or len(self._kept) < self._most:
            heapq.heappush(self._kept, entry)
        elif self._kept:
            heapq.heappushpop(self._kept, entry)

    def __iter__(self) -> Iterator[Found]:
        """The newest first."""
        return (entry[-1] for entry in sorted(self._kept, reverse=True))


# ── one term ─────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Trial:
    """What a term finds. Days are UTC; None is an item that bears no date.

    `looked_at` items had a text, `without_text` were redacted; those `taken_away` met the term but also what its claim
    never means.
    """

    looked_at: int = 0
    without_text: int = 0
    already: int = 0
    days: Counter[date | None] = field(default_factory=Counter)
    feeds: Counter[str] = field(default_factory=Counter)
    newest: Newest = field(default_factory=lambda: Newest(10))
    taken_away: Newest = field(default_factory=lambda: Newest(3))

    @property
    def found(self) -> int:
        return self.newest.count

    @property
    def new(self) -> int:
        return self.found - self.already


def rules_to_try(rules: Rules, term: TermRule, claim: ClaimRule | None) -> Rules:
    """A rule set that tries `term` beside the other terms of its claim, with the word lists of `rules`."""
    others = tuple(one for one in claim.terms if one.text != term.text) if claim else ()
    parts = {TERM: (term,), OTHERS: others, NEVER: claim.never if claim else ()}
    return replace(rules, claims=tuple(bare_claim(id, terms) for id, terms in parts.items() if terms))


def bare_claim(id: str, terms: Sequence[TermRule]) -> ClaimRule:
    """A claim that is nothing but its terms: to ask a matcher about them apart from each other."""
    return ClaimRule(id, "", "", "", date(2000, 1, 1), "fact", terms=tuple(terms))


def try_out(matcher: Matcher, items: Iterable[StoredItem]) -> Trial:
    """What the term of `rules_to_try` finds in these items."""
    trial = Trial()
    for item in items:
        if not item.has_text:
            trial.without_text += 1
            continue
        trial.looked_at += 1
        met = {match.claim: match for match in matches_of(matcher, item)}
        if TERM not in met:
            continue
        found = Found(item, met[TERM].evidence, is_new=OTHERS not in met)
        if NEVER in met:
            trial.taken_away.add(Found(item, met[NEVER].evidence))
            continue
        trial.newest.add(found)
        trial.already += not found.is_new
        trial.days[item.when.astimezone(UTC).date() if item.when else None] += 1
        trial.feeds[item.feed] += 1
    return trial


def matches_of(matcher: Matcher, item: StoredItem) -> tuple[Match, ...]:
    """What the item bears on."""
    return matcher.match(feed=item.feed, title=item.title, summary=item.summary, content=item.content)


MOST_BARS = 31


def bars(days: Counter[date | None]) -> list[tuple[str, int]]:
    """The days in order, those without an item too, or weeks or months where they are too many to show."""
    dated = {day: count for day, count in days.items() if day}
    rows = _row_per_day(dated)
    for name in (_week, _month, _year):
        if len(rows) <= MOST_BARS:
            break
        grouped: Counter[str] = Counter()
        for day, count in sorted(_row_per_day_of(dated)):
            grouped[name(day)] += count
        rows = list(grouped.items())
    return rows + ([("no date", days[None])] if days[None] else [])


def _row_per_day(dated: dict[date, int]) -> list[tuple[str, int]]:
    return [(day.isoformat(), count) for day, count in _row_per_day_of(dated)]


def _row_per_day_of(dated: dict[date, int]) -> Iterator[tuple[date, int]]:
    if dated:
        first, last = min(dated), max(dated)
        for ahead in range((last - first).days + 1):
            day = first + timedelta(days=ahead)
            yield day, dated.get(day, 0)


def _week(day: date) -> str:
    return f"week of {day - timedelta(days=day.weekday())}"


def _month(day: date) -> str:
    return f"{day:%Y-%m}"


def _year(day: date) -> str:
    return f"{day:%Y}"


# ── two rule sets ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ClaimDifference:
    """What an edit of the rules changes on one claim: items that would begin to bear on it, and that would cease to."""

    claim: str
    change: str
    added: Newest
    removed: Newest


@dataclass(frozen=True)
class Comparison:
    """Two rule sets over the same items: a difference for each claim whose rules differ, in the order of the rules."""

    looked_at: int
    without_text: int
    claims: tuple[ClaimDifference, ...]

    @property
    def loses_evidence(self) -> bool:
        return any(one.removed.count for one in self.claims)

    @property
    def changes_matches(self) -> bool:
        return any(one.removed.count or one.added.count for one in self.claims)


def changed_claims(before: Rules, after: Rules) -> dict[str, str]:
    """The claims that may match otherwise, each with what was changed about it."""
    old, new = ({claim.id: claim for claim in rules.watched_claims} for rules in (before, after))
    lists = _changed_lists(before, after)
    nearness = before.within_words != after.within_words
    changed: dict[str, str] = {}
    for id in dict.fromkeys((*new, *old)):
        if id not in old:
            changed[id] = "not watched as yet"
        elif id not in new:
            changed[id] = "watched no more"
        elif (old[id].terms, old[id].never) != (new[id].terms, new[id].never):
            changed[id] = _change_of_terms(old[id], new[id])
        elif used := sorted(name for name in lists if _uses(new[id], name)):
            changed[id] = f"word {'list' if len(used) == 1 else 'lists'} {', '.join(used)}"
        elif nearness:
            changed[id] = f"within: {before.within_words} → {after.within_words}"
    return changed


def _change_of_terms(old: ClaimRule, new: ClaimRule) -> str:
    before, after = set(old.terms), set(new.terms)
    said = [f"{len(after - before)} new"] if after - before else []
    said += [f"{len(before - after)} gone"] if before - after else []
    terms = f"terms: {', '.join(said)}" if said else ""
    never = "never: changed" if old.never != new.never else ""
    return "; ".join(filter(None, (terms, never))) or "terms in another order"


def _changed_lists(before: Rules, after: Rules) -> set[str]:
    """The word lists that differ, with those whose entries name one that does."""
    names = set(before.words) | set(after.words)
    changed = {name for name in names if before.words.get(name) != after.words.get(name)}
    while more := {
        name
        for name in names - changed
        if any(
            _names(text, one) for text in (*before.words.get(name, ()), *after.words.get(name, ())) for one in changed
        )
    }:
        changed |= more
    return changed


def _uses(claim: ClaimRule, name: str) -> bool:
    return any(_names(term.text, name) for term in (*claim.terms, *claim.never))


def _names(text: str, name: str) -> bool:
    """Whether every word of the list's name stands in the text: rather a claim too many than one too few."""
    return {token.form for token in tokenise(name)} <= {token.form for token in tokenise(text)} or fold(name) in text


def restricted(rules: Rules, claims: Iterable[str]) -> Rules:
    """The rules with these claims alone."""
    wanted = set(claims)
    return replace(rules, claims=tuple(claim for claim in rules.watched_claims if claim.id in wanted))


def compare(
    before: Matcher, after: Matcher, changed: dict[str, str], items: Iterable[StoredItem], most: int | None
) -> Comparison:
    """What `after` makes of the items otherwise than `before`, keeping up to `most` titles each way and claim."""
    claims = {id: ClaimDifference(id, change, Newest(most), Newest(most)) for id, change in changed.items()}
    looked_at = without_text = 0
    for item in items:
        if not item.has_text:
            without_text += 1
            continue
        looked_at += 1
        old, new = ({match.claim: match for match in matches_of(matcher, item)} for matcher in (before, after))
        for id in new.keys() - old.keys():
            claims[id].added.add(Found(replace(item, content=""), new[id].evidence))
        for id in old.keys() - new.keys():
            claims[id].removed.add(Found(replace(item, content=""), old[id].evidence))
    return Comparison(looked_at, without_text, tuple(claims.values()))
