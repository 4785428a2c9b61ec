"""By what a term is looked up, so that it costs nothing where it can't match.

Whatever matches a term has one of each of the things that the term requires. A term is listed under the rarest of them,
beside the next rarest; a phrase under two of its words that follow on each other, because the rarest word of a phrase
of common words is in every item (measured: 1,445 µs an item by one word, 44 by a pair, for 50,000 such phrases).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple, TypeAlias

from daemon.commonwords import COMMON
from daemon.compiling import CompiledTerm
from daemon.searching import (
    ACROSS,
    CONTENT,
    EITHER,
    All,
    Any,
    Close,
    Field,
    Leaf,
    Node,
    Reading,
    Row,
    Some,
    Within,
    Without,
)
from daemon.vocabulary import Vocabulary
from daemon.words import fold

MOST_SECONDS = 32
"""Alternatives of a second word under each of which a term is listed; with more of them, the first must do."""
_NO_SECOND = -1

Key: TypeAlias = int | tuple[int, int]
"""What a term can be looked up by: a number, or two that follow on each other."""
Keys: TypeAlias = tuple[Key, ...]
"""Of these, at least one is in every item that the term matches."""


class _Pairs(NamedTuple):
    """What may follow on a word that reaches so far on the axis, and the terms that wait for it."""

    width: int
    seconds: dict[int, list[int]]


class Index:
    """All terms by number, and the numbers by what they are looked up by."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.terms: list[CompiledTerm | None] = []
        """By number; None where a term is no longer in the rules."""
        self._vocabulary = vocabulary
        self._rarity = _Rarity(vocabulary)
        self._unlisted: list[int] = []
        self._words: dict[int, dict[int, list[int]]] = {}
        self._pairs: dict[int, _Pairs] = {}
        self._shared: Index | None = None
        self._alive = 0

    def copy(self) -> Index:
        """Another index with the same terms: what is put into it is not in this one."""
        copy = Index(self._vocabulary)
        copy.terms, copy._rarity, copy._shared = list(self.terms), self._rarity, self
        copy._words, copy._pairs = dict(self._words), dict(self._pairs)
        return copy

    def put(self, term: CompiledTerm) -> int:
        """Takes a term in and gives it a number; it is found from `complete` on."""
        self._unlisted.append(len(self.terms))
        self.terms.append(term)
        self._rarity.count(term.node)
        return self._unlisted[-1]

    def keep(self, numbers: Iterable[int]) -> None:
        """Drops all terms but these."""
        kept = set(numbers)
        self._alive = len(kept)
        if len(kept) < len(self.terms):
            self.terms = [term if number in kept else None for number, term in enumerate(self.terms)]

    def lists_of(self, numbers: Iterable[int]) -> frozenset[str]:
        """The word lists, folded, that these terms name."""
        return frozenset[str]().union(*(term.lists for number in numbers if (term := self.terms[number])))

    @property
    def size(self) -> tuple[int, int]:
        """How many terms are in it, and how many numbers are used up by those that were dropped."""
        return self._alive, len(self.terms) - self._alive

    def complete(self) -> None:
        """Lists the terms that were put in, each by the rarest that it requires."""
        for number in self._unlisted:
            if (term := self.terms[number]) is not None:
                self._list(number, _by_rarity(_required(term.node, self._rarity), self._rarity))
        self._unlisted, self._shared = [], None
        terms = [term for term in self.terms if term]
        self.reads_content = any(term.reads_content for term in terms)
        across = any(term.rule.across for term in terms)
        self._axes = ((ACROSS,) if across else EITHER) + ((CONTENT,) if self.reads_content else ())

    def _list(self, term: int, required: Sequence[Keys]) -> None:
        for key in required[0]:
            if isinstance(key, int):
                seconds = self._own_words(key)
                for second in _seconds_of(key, required, self._rarity):
                    seconds.setdefault(second, []).append(term)
            else:
                self._own_pairs(key[0]).setdefault(key[1], []).append(term)

    def _own_words(self, first: int) -> dict[int, list[int]]:
        own = self._words.get(first)
        if own is None:
            own = self._words[first] = {}
        elif self._shared and own is self._shared._words.get(first):
            own = self._words[first] = {second: list(terms) for second, terms in own.items()}
        return own

    def _own_pairs(self, first: int) -> dict[int, list[int]]:
        own = self._pairs.get(first)
        if own is None:
            own = self._pairs[first] = _Pairs(self._vocabulary.width(first), {})
        elif self._shared and own is self._shared._pairs.get(first):
            copied = {second: list(terms) for second, terms in own.seconds.items()}
            own = self._pairs[first] = _Pairs(own.width, copied)
        return own.seconds

    def candidates(self, reading: Reading) -> set[int]:
        """The numbers of the terms that may match."""
        found: set[int] = set()
        words, pairs_of, present = self._words, self._pairs, reading.present
        # Views meet a set by going through the smaller of both.
        there = {_NO_SECOND, *present}
        for first in present & words.keys():
            seconds = words[first]
            if not seconds.keys().isdisjoint(there):
                for second in seconds.keys() & there:
                    found.update(seconds[second])
        pairs = [
            (first, both)
            for first in present & pairs_of.keys()
            if not (both := pairs_of[first]).seconds.keys().isdisjoint(present)
        ]
        if pairs:
            for axis in self._axes:
                _find_pairs(reading.field(axis), pairs, found)
        return found


def _find_pairs(field: Field, pairs: Iterable[tuple[int, _Pairs]], found: set[int]) -> None:
    there, ways = field.at, field.ways
    for first, (width, seconds) in pairs:
        for (at,) in ways.get(first, ()):
            for after in field.next_to(at, width) if field.joins else (at + width,):
                for second in there.get(after, ()):
                    if second in seconds:
                        found.update(seconds[second])


def _seconds_of(first: int, required: Sequence[Keys], rarity: _Rarity) -> Sequence[int]:
    for keys in required[1:]:
        # Of a pair, its rarer word: a term of one word and alternatives, some of them phrases, would otherwise be
        # looked at wherever the one word is, which was four of five terms looked at.
        numbers = {key if isinstance(key, int) else min(key, key=rarity.cost) for key in keys}
        if len(numbers) <= MOST_SECONDS and first not in numbers:
            return sorted(numbers)
    return (_NO_SECOND,)


class _Rarity:
    """How rare a word is, guessed by how many terms hold it: terms are made of what news is made of."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._counts: dict[int, int] = {}
        self._costs: dict[int, float] = {}

    def count(self, node: Node) -> None:
        """Counts a term's words."""
        for number in _numbers_in(node):
            self._counts[number] = self._counts.get(number, 0) + 1

    def cost(self, key: Key) -> float:
        """How often, about, a term is looked at in vain that is looked up by this key."""
        if not isinstance(key, int):
            return min(map(self.cost, key)) / 16
        cost = self._costs.get(key)
        if cost is None:
            cost = self._costs[key] = self._of_number(key)
        return cost

    def _of_number(self, number: int) -> float:
        word = self._vocabulary.words[number]
        if word is None:
            return sum(map(self.cost, self._vocabulary.members(number)))
        folded = fold(word.text)
        cost = 1.0 + self._counts.get(number, 0) + 8 / len(folded)
        if folded in COMMON and not word.cased:
            cost *= 1_000
        return cost * 8 if word.prefix else cost


def _by_rarity(required: Iterable[Keys], rarity: _Rarity) -> list[Keys]:
    return sorted(dict.fromkeys(required), key=lambda keys: sum(map(rarity.cost, keys)))


def _required(node: Node, rarity: _Rarity) -> list[Keys]:
    # All that an item must have one of each of, to be worth a look.
    match node:
        case Leaf(number):
            return [(number,)]
        case Row(numbers):
            # Its words too: beside the pair, a rare one of them may be what something else is looked up by.
            return [(min(pairwise(numbers), key=rarity.cost),), *((number,) for number in numbers)]
        case Close(parts) | All(parts):
            return [keys for part in parts for keys in _required(part, rarity)]
        case Any(parts) | Some(parts):
            best = [_by_rarity(_required(part, rarity), rarity) for part in parts]
            return [tuple(dict.fromkeys(key for keys in best for key in keys[0]))] if all(best) else []
        case Within(part=part):
            return _required(part, rarity)
        case _:
            return []


def _numbers_in(node: Node) -> Iterator[int]:
    match node:
        case Leaf(number):
            yield number
        case Row(numbers):
            yield from numbers
        case Close(parts) | All(parts) | Any(parts) | Some(parts):
            for part in parts:
                yield from _numbers_in(part)
        case Within(part=part) | Without(part):
            yield from _numbers_in(part)
