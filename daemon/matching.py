"""Which claims an item bears on, and by which words.

The terms are compiled once (`compile_rules`) and listed under the rarest words that they can't do without. An item is
cut into words once; a term is looked at only where two of those words are in it, or where two follow on each other.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from daemon.compiling import CompiledTerm, Compiler
from daemon.events import Evidence
from daemon.glancing import TermReader
from daemon.indexing import Index
from daemon.readings import ACROSS, CONTENT, SUMMARY, TITLE, Axis, Reading
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.searching import Found
from daemon.terms import FIELDS, And, In, Near, Not, Or, Term, Word, parse_term, words_to_inflect
from daemon.vocabulary import Cells, Inflect, Vocabulary
from daemon.words import Spans, fold

_MANY_OBJECTS = 10_000
"""As 500 terms make."""


@dataclass(frozen=True)
class Match:
    """One claim that an item bears on, with its evidence, in the order of the claim's terms."""

    claim: str
    evidence: tuple[Evidence, ...]


class Matcher:
    """The compiled rule set. Knows no clock; equal rules match equally."""

    def __init__(self, rules: Rules, cells: Cells, index: Index, terms: Mapping[str, Sequence[int]]) -> None:
        self.rules = rules
        self.vocabulary = cells.vocabulary
        self.index = index
        self.terms = terms
        """By claim, the numbers that its terms have in the index, in the order of the rules."""
        self.claims = frozenset(terms)
        self._order = {claim: at for at, claim in enumerate(terms)}
        self._cells = cells

    @cached_property
    def rules_sha256(self) -> str:
        """The hash of the rule set, which each match names."""
        return self.rules.sha256

    def match(self, *, title: str, summary: str, content: str = "", feed: str = "") -> tuple[Match, ...]:
        """The claims that an item of this feed bears on, in the order of the rules."""
        reading = self.reading(title, summary, content)
        candidates = self.index.candidates(reading)
        if not candidates:
            return ()
        nevers: list[CompiledTerm] = []
        found: dict[str, list[tuple[int, Found]]] = {}
        for number in candidates:
            term = self.index.terms[number]
            if term is None or (term.rule.feeds and feed not in term.rule.feeds):
                continue
            if term.never:
                nevers.append(term)
            elif places := term.node.find(reading, term.axes):
                found.setdefault(term.claim, []).append((number, places))
        for term in nevers:
            if term.claim in found and term.node.find(reading, term.axes):
                del found[term.claim]
        if not found:
            return ()
        telling = _Telling(reading)
        return tuple(
            Match(claim, tuple(telling.evidence(self._in_order(claim, found[claim]))))
            for claim in sorted(found, key=self._order.__getitem__)
        )

    def reading(self, title: str, summary: str, content: str = "") -> Reading:
        """An item, cut into the words that the terms know."""
        return Reading(self._cells, title, summary, content if self.index.reads_content else "")

    def _in_order(self, claim: str, found: list[tuple[int, Found]]) -> Iterator[tuple[CompiledTerm, Found]]:
        if len(found) > 1:
            found.sort(key=lambda pair: self.terms[claim].index(pair[0]))
        for number, places in found:
            term = self.index.terms[number]
            assert term is not None
            yield term, places


def compile_rules(rules: Rules, inflect: Inflect, before: Matcher | None = None, news: Iterable[str] = ()) -> Matcher:
    """The matcher for all terms of all watched claims. Raises TermError for a term that can't be read.

    With the matcher of the rules `before`, only the terms that are new or mean something else now are compiled. `news`
    are texts such as items have, some hundreds: what words are rare in them makes many terms faster, and nothing else.
    """
    base = before if before is not None and _is_akin(before, rules) else None
    vocabulary = base.vocabulary if base else Vocabulary()
    index = base.index.copy() if base else Index(vocabulary)
    with _uncollected():
        kept, plan = _plan(base, rules)
        trees: deque[Term] = deque()
        vocabulary.learn(_words_while_reading(rules, plan, trees), inflect)
        compiler = Compiler(vocabulary, rules.words, rules.within_words)
        planned = {
            claim: [
                # A tree is dropped when it has been compiled: those of 100,000 terms take 26 MB.
                index.put(compiler.compiled(claim, term.rule, trees.popleft(), never=term.never))
                if term.number is None
                else term.number
                for term in terms
            ]
            for claim, terms in plan.items()
        }
        made = {**kept, **planned}
        numbers = {claim.id: made[claim.id] for claim in rules.watched_claims}
        index.keep(number for own in numbers.values() for number in own)
        cells = vocabulary.cells()
        index.hear({number for cell in cells.of(text) for number in cell} for text in news)
        index.complete()
    return Matcher(rules, cells, index, numbers)


def _words_while_reading(rules: Rules, plan: Mapping[str, Iterable[_Planned]], trees: deque[Term]) -> Iterator[str]:
    """The words to be inflected, each as soon as its line is read, so that they can be looked up meanwhile; `trees`
    takes those of the new terms, in order."""
    for name, lines in rules.words.items():
        for line in (name, *lines):
            yield from words_to_inflect(line)
    reader = TermReader()
    for terms in plan.values():
        for term in terms:
            if term.number is None:
                trees.append(reader.read(term.rule.text))
        yield from reader.new_words()


@contextmanager
def _uncollected() -> Iterator[None]:
    # Nothing that is made here is garbage: looking for some, over and over, takes a seventh of the time.
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            if gc.get_count()[0] > _MANY_OBJECTS:
                # They count as young, and the next one would have all of them gone through: so they are made old.
                gc.freeze()
                gc.unfreeze()
            gc.enable()


class _Planned(NamedTuple):
    """A term of a claim, and the number that it has already."""

    rule: TermRule
    never: bool
    number: int | None


def _is_akin(before: Matcher, rules: Rules) -> bool:
    """Whether terms may mean the same: where a list's name is new, any term may hold it."""
    old = before.rules
    alive, dead = before.index.size
    return old.within_words == rules.within_words and old.words.keys() == rules.words.keys() and dead <= alive


def _plan(base: Matcher | None, rules: Rules) -> tuple[dict[str, Sequence[int]], dict[str, list[_Planned]]]:
    """Of the claims whose terms all mean what they meant, the numbers of these; of the others, their terms."""
    if base is None:
        return {}, {claim.id: _new(claim) for claim in rules.watched_claims}
    old_words = base.rules.words
    changed = {fold(name) for name, lines in rules.words.items() if tuple(old_words[name]) != tuple(lines)}
    old_claims = {claim.id: claim for claim in base.rules.watched_claims}
    kept: dict[str, Sequence[int]] = {}
    plan: dict[str, list[_Planned]] = {}
    for claim in rules.watched_claims:
        old = old_claims.get(claim.id)
        if old is None or (changed and not changed.isdisjoint(base.index.lists_of(base.terms[claim.id]))):
            plan[claim.id] = _new(claim)
        elif (old.terms, old.never) == (claim.terms, claim.never):
            kept[claim.id] = base.terms[claim.id]
        else:
            plan[claim.id] = _numbered_alike(_new(claim), base, claim.id)
    return kept, plan


def _new(claim: ClaimRule) -> list[_Planned]:
    return [_Planned(rule, False, None) for rule in claim.terms] + [_Planned(rule, True, None) for rule in claim.never]


def _numbered_alike(terms: Iterable[_Planned], base: Matcher, claim: str) -> list[_Planned]:
    there = {(term.rule, term.never): number for number in base.terms[claim] if (term := base.index.terms[number])}
    return [term._replace(number=there.pop((term.rule, term.never), None)) for term in terms]


class _Telling:
    """Makes evidence of places: the characters where they are, and the words that stand there."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._texts: dict[Axis, tuple[Spans, int]] = {}
        self._spans: dict[tuple[Axis, int], tuple[int, int]] = {}

    def evidence(self, found: Iterable[tuple[CompiledTerm, Found]]) -> Iterator[Evidence]:
        for term, places in found:
            by_field = self._by_field(places)
            for axis, field in enumerate(FIELDS):
                if there := by_field.get(axis):
                    text = self._reading.texts[axis]
                    spans = tuple([self._span(axis, place) for place in sorted(there)])
                    surface = tuple([text[start:end] for start, end in spans])
                    yield Evidence(term.rule.text, term.rule.stance, field, spans, surface)

    def _span(self, axis: Axis, place: int) -> tuple[int, int]:
        span = self._spans.get((axis, place))
        if span is None:
            reading = self._reading
            if axis not in self._texts:
                spans = Spans(reading.texts[axis], reading.pieces[axis], reading.memory.width)
                self._texts[axis] = spans, reading.first_piece(axis)
            spans, first = self._texts[axis]
            piece, at = reading.places(axis).piece_at(place)
            span = self._spans[axis, place] = spans.at(piece - first, at)
        return span

    def _by_field(self, places: Found) -> Mapping[Axis, Iterable[int]]:
        if ACROSS not in places:
            return places
        # What a term says of one field alone (title:) has places of its own beside those.
        border = self._reading.field(SUMMARY).begin
        by_field = {axis: set(places.get(axis, ())) for axis in (TITLE, SUMMARY, CONTENT)}
        by_field[TITLE].update(at for at in places[ACROSS] if at < border)
        by_field[SUMMARY].update(at for at in places[ACROSS] if at >= border)
        return by_field


def unused_word_lists(rules: Rules) -> tuple[str, ...]:
    """The names of word lists that stand in no term of any claim."""
    terms = (parse_term(rule.text) for claim in rules.claims for rule in (*claim.terms, *claim.never))
    named = {fold(word.text) for term in terms for word in bare_words(term)}
    return tuple(name for name in rules.words if fold(name) not in named)


def bare_words(term: Term) -> Iterator[Word]:
    """The words of a term that stand alone and are inflected: those that may be the name of a word list."""
    match term:
        case Word(exact=False, prefix=False):
            yield term
        case Near(parts) | And(parts) | Or(parts):
            for part in parts:
                yield from bare_words(part)
        case Not(part) | In(part=part):
            yield from bare_words(part)
