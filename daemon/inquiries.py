"""Questions about terms, put to the stored items: what would it find, what would an edit change, why, why not.

They read and never write; what comes of it is the core's (`trials`, `explaining`, `shortfalls`, `unheard`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from daemon import queries
from daemon.databases import Connection
from daemon.errors import ClaimwatchError
from daemon.eventlog import head_of, read
from daemon.events import ClaimMatched, Evidence, Recorded, RulesChanged
from daemon.explaining import Branch, tree_of
from daemon.lexicon import forms_of
from daemon.matching import Matcher, compile_rules
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.shortfalls import Verdict, why_not
from daemon.soundness import read_term
from daemon.storeditems import MOST_NAMESAKES, count_items, item_text, items_named, stored_items
from daemon.terms import TermError
from daemon.trials import (
    Comparison,
    StoredItem,
    Trial,
    changed_claims,
    compare,
    restricted,
    rules_to_try,
    try_out,
)
from daemon.unheard import Silence, listen
from daemon.words import fold

Looking = Callable[[Iterable[StoredItem], int | None], Iterable[StoredItem]]
"""Passes items on and shows how far it is; the number is how many there will be, if that is known."""


def matcher_of(rules: Rules) -> Matcher:
    """The matcher of a rule set: the one place where rules are compiled for a question."""
    return compile_rules(rules, forms_of)


# ── a term before it is live ─────────────────────────────────────────────────────────────────────────────────────


def try_term(rules: Rules, text: str, claim: ClaimRule | None, items: Iterable[StoredItem]) -> Trial:
    """What a term finds among items, with the options that it has where the claim has it already.

    Raises TermError where it can't be read, can never match, or would match nearly everything.
    """
    read_term(text, rules.within_words, rules.words)
    standing = (term for term in claim.terms if term.text == text) if claim else iter(())
    return try_out(matcher_of(rules_to_try(rules, next(standing, TermRule(text)), claim)), items)


# ── an edit before it is live ────────────────────────────────────────────────────────────────────────────────────


def difference(connection: Connection, edited: Rules, looking: Looking, most: int | None) -> Comparison:
    """The edited rules against the live ones, over the stored items. Raises ClaimwatchError where there are none."""
    live = queries.recorded_rules(connection)
    if live is None:
        raise ClaimwatchError(
            "the log holds no rules yet", hint="`claimwatch run` or `claimwatch poll` records those of feeds.yaml."
        )
    changed = changed_claims(live.rules, edited)
    if not changed:
        return Comparison(0, 0, ())
    before, after = (matcher_of(restricted(rules, changed)) for rules in (live.rules, edited))
    items = looking(stored_items(connection), count_items(connection))
    return compare(before, after, changed, items, most)


# ── why ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class TermAtWork:
    """A term that made a match: as it stood then, as a tree, with its evidence."""

    term: TermRule
    tree: Branch
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Explanation:
    """Why a match was made, and what it is worth today.

    `item` has the text that the spans point into; `rules_at` is when its rule set began to hold, `state` says whether
    the match stands, `since` what became of the rules.
    """

    match: Recorded
    claim: ClaimRule | None
    item: StoredItem | None
    text_was_changed: bool
    terms: tuple[TermAtWork, ...]
    rules_at: datetime | None
    rules_are_live: bool
    since: str
    state: str

    @property
    def is_current(self) -> bool:
        return self.state == "current"


def explain(connection: Connection, position: int) -> Explanation:
    """Why a match was made. Raises ClaimwatchError where the log has no match at that position."""
    match = next(read(connection, after=position - 1, upto=position), None)
    if match is None or not isinstance(match.event, ClaimMatched):
        what = f"event {position} is {match.event.kind}, no match" if match else f"the log has no event {position}"
        raise ClaimwatchError(what, hint="`claimwatch matches` tells the number of each match.")
    event = match.event
    made_under = _rules_of(connection, event)
    live = queries.recorded_rules(connection)
    rules = made_under.event.rules if made_under else Rules()
    claim = _claim_in(rules, event.claim)
    then = item_text(connection, event.item, event.item_version)
    now = item_text(connection, event.item)
    return Explanation(
        match=match,
        claim=claim,
        item=then,
        text_was_changed=bool(then and now and _texts(then) != _texts(now)),
        terms=tuple(_terms_at_work(event, claim, rules, then)),
        rules_at=made_under.at if made_under else None,
        rules_are_live=bool(live and live.sha256 == event.rules),
        since=_since(claim, live, event) if made_under else "the log has no such rules",
        state=_state(connection, match, live, now),
    )


def _rules_of(connection: Connection, event: ClaimMatched) -> Recorded | None:
    changes = read(connection, kinds=(RulesChanged.kind,))
    return next((one for one in changes if one.event.sha256 == event.rules), None)


def _claim_in(rules: Rules, id: str) -> ClaimRule | None:
    return next((claim for claim in rules.watched_claims if claim.id == id), None)


def _texts(item: StoredItem) -> tuple[str, str, str]:
    return item.title, item.summary, item.content


def _terms_at_work(
    event: ClaimMatched, claim: ClaimRule | None, rules: Rules, item: StoredItem | None
) -> Iterator[TermAtWork]:
    known = {term.text: term for term in claim.terms} if claim else {}
    for text in dict.fromkeys(one.term for one in event.evidence):
        evidence = tuple(one for one in event.evidence if one.term == text)
        term = known.get(text, TermRule(text, evidence[0].stance))
        standing = item or StoredItem(event.item, event.feed, "", "")
        try:
            tree = tree_of(term, rules, standing, evidence, matcher_of)
        except TermError as error:
            # An older version took what this one refuses: the evidence stands all the same.
            tree = Branch(f"{text} (can't be read any more: {error.message})")
        yield TermAtWork(term, tree, evidence)


def _since(claim: ClaimRule | None, live: RulesChanged | None, event: ClaimMatched) -> str:
    if live is None or live.sha256 == event.rules:
        return "they are the live ones"
    today = _claim_in(live.rules, event.claim)
    if today is None:
        return "not live any more: the claim is watched no more"
    if claim and (today.terms, today.never) != (claim.terms, claim.never):
        return "not live any more: the claim has other terms"
    return "not live any more, but the claim has the same terms"


def _state(connection: Connection, match: Recorded, live: RulesChanged | None, now: StoredItem | None) -> str:
    event: ClaimMatched = match.event
    lapsed, current = queries.match_state(connection, match.position)
    if lapsed:
        return f"lapsed on {lapsed:%Y-%m-%d %H:%M} UTC"
    if now is None or not now.has_text:
        return "as it was made: the item's text was taken out"
    if live is None or _claim_in(live.rules, event.claim) is None:
        return "of a claim that is watched no more"
    return "current" if current else "not one that today's rules would make"


# ── why not ──────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Denial:
    """What each term of a claim makes of an item; `match` is the newest match of the two that the log has."""

    item: StoredItem
    claim: ClaimRule
    verdicts: tuple[Verdict, ...]
    match: int | None
    rules_are_live: bool


def deny(connection: Connection, rules: Rules, item_name: str, claim: ClaimRule) -> Denial:
    """Why an item does not bear on a claim of feeds.yaml. Raises ClaimwatchError where the item can't be told."""
    item = _the_item(connection, item_name)
    if not item.has_text:
        raise ClaimwatchError(
            f"the text of item {item.id} was taken out of the log", hint="No term can be tried on it."
        )
    live = queries.recorded_rules(connection)
    return Denial(
        item=item,
        claim=claim,
        verdicts=why_not(item, claim, rules, matcher_of),
        match=queries.match_of(connection, claim.id, item.id),
        rules_are_live=bool(live and claim.id not in changed_claims(live.rules, rules)),
    )


def _the_item(connection: Connection, name: str) -> StoredItem:
    found = items_named(connection, name)
    if not found:
        raise ClaimwatchError(
            f"no item is called {name!r}",
            hint="Name it by its id (`claimwatch events --kind item_seen`), its link, or a part of its title.",
        )
    if len(found) > 1:
        many = f"{len(found)} items" if len(found) < MOST_NAMESAKES else f"{MOST_NAMESAKES} items or more"
        listed = "\n  ".join(f"{one.id}  {one.feed}  {one.title}" for one in found)
        raise ClaimwatchError(f"{many} may be meant by {name!r}", hint=f"Name one by its id:\n  {listed}")
    return found[0]


# ── terms that hear nothing ──────────────────────────────────────────────────────────────────────────────────────

LISTENED_FOR = timedelta(days=90)
YOUNGEST_LOG = timedelta(days=3)
"""Of a younger log nothing can be said: its terms may simply have had no news yet."""


@dataclass(frozen=True)
class Listened:
    """What of the terms was never heard in the last `days` of the log."""

    days: int
    silence: Silence


def listened(connection: Connection, rules: Rules, looking: Looking) -> Listened | None:
    """What of the terms the log never heard; None where it is too young, or holds no items."""
    first = next(read(connection, upto=1), None)
    last = next(read(connection, after=head_of(connection).position - 1), None)
    if first is None or last is None or last.at - first.at < YOUNGEST_LOG:
        return None
    since = last.at - LISTENED_FOR
    count = count_items(connection, first_seen_since=since)
    if not count:
        return None
    items = looking(stored_items(connection, first_seen_since=since), count)
    return Listened(min(LISTENED_FOR, last.at - first.at).days, listen(rules, items, matcher_of, known_word))


def known_word(word: str) -> bool:
    """Whether a dictionary lists the word: English, Russian or Ukrainian."""
    folded = fold(word)
    forms = forms_of([folded])[folded]
    return not (forms.by_stem or forms.guessed)
