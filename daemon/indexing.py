"""By what a term is looked up, so that it costs nothing where it can't match.

Whatever matches a term has one of each of the things that the term requires. A term is listed under the rarest of them,
beside the next rarest; a phrase under the rarer of two of its words that follow on each other, because the rarest word
of a phrase of common words is in every item (measured: 1,445 µs an item by one word, 44 by a pair, for 50,000 such
phrases). Which words are rare is learnt from texts of the news, where there are some: it decides what is looked at in
vain, and never what is found.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Literal, TypeAlias

from daemon.commonwords import COMMON
from daemon.compiling import CompiledTerm
from daemon.searching import (
    ACROSS,
    CONTENT,
    EITHER,
    All,
    Any,
    Axis,
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
from daemon.terms import Word
from daemon.vocabulary import Cell, Vocabulary
from daemon.words import fold

MOST_SECONDS = 32
"""Alternatives of a second word under each of which a term is listed; with more of them, the first must do."""
_GUESS_IN_TEXTS = 0.01
"""What a guess counts beside texts that were read: no word that none of them had is taken for one that they had."""
_FEW = 4
"""Numbers up to which going through all is faster than a set's own way, and needs no set."""

Key: TypeAlias = int | tuple[int, int]
"""What a term can be looked up by: a number, or two that follow on each other."""
Keys: TypeAlias = tuple[Key, ...]
"""Of these, at least one is in every item that the term matches."""


_NONE: dict[int, list[int]] = {}
"""For all that have none: at 100,000 terms, empty dictionaries would take 10 MB. Nothing is ever put into it."""


class _Under:
    """The terms that are listed under a number, each by another number that it needs.

    `beside` are those that need that one anywhere in the item (which for a term that needs no other is the number
    itself), `behind` those that need it as the next word, `before` as the last one. `others` is all three, for one
    look.
    """

    __slots__ = ("before", "behind", "beside", "others")

    def __init__(self) -> None:
        self.beside = self.behind = self.before = _NONE
        self.others: Collection[int] = ()

    def copy(self) -> _Under:
        """Another one with the same terms."""
        copy = _Under()
        for name in ("beside", "behind", "before"):
            if there := getattr(self, name):
                setattr(copy, name, {other: list(terms) for other, terms in there.items()})
        return copy

    def put(self, where: Literal["beside", "behind", "before"], other: int, term: int) -> None:
        """Lists a term."""
        there = getattr(self, where)
        if there is _NONE:
            setattr(self, where, {other: [term]})
        else:
            there.setdefault(other, []).append(term)

    def complete(self) -> None:
        """Makes `others` of what was listed."""
        others = {*self.beside, *self.behind, *self.before}
        self.others = tuple(others) if len(others) <= _FEW else others

    def between(self, last: Iterable[int], following: Iterable[int], found: set[int]) -> None:
        """Finds the terms whose words are in order where the number stands, between these two."""
        if behind := self.behind:
            for second in following:
                if second in behind:
                    found.update(behind[second])
        if before := self.before:
            for second in last:
                if second in before:
                    found.update(before[second])

    def within(self, first: int, field: Field, width: Callable[[int], int], found: set[int]) -> None:
        """The same, wherever the number stands in a field."""
        there, ways = field.at, field.ways
        if self.behind:
            reach = width(first)
            for (at,) in ways[first]:
                self.between(
                    (), [second for after in field.next_to(at, reach) for second in there.get(after, ())], found
                )
        for second in self.before.keys() & ways.keys():
            reach = width(second)
            if any(first in there.get(after, ()) for (at,) in ways[second] for after in field.next_to(at, reach)):
                found.update(self.before[second])


class Index:
    """All terms by number, and the numbers by what they are looked up by."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.terms: list[CompiledTerm | None] = []
        """By number; None where a term is no longer in the rules."""
        self._vocabulary = vocabulary
        self._rarity = _Rarity(vocabulary)
        self._rest: list[tuple[int, ...]] = []
        """By number, what a term requires besides that by which it is listed."""
        self._unlisted: list[int] = []
        self._under: dict[int, _Under] = {}
        self.firsts: set[int] = set()
        """What terms are listed under: a set and a set meet twice as fast as a set and a dictionary's keys."""
        self._alive = 0

    def copy(self) -> Index:
        """Another index with the same terms: what is put into it is not in this one."""
        copy = Index(self._vocabulary)
        copy.terms, copy._rarity = list(self.terms), self._rarity
        copy._under, copy._rest = dict(self._under), list(self._rest)
        return copy

    def put(self, term: CompiledTerm) -> int:
        """Takes a term in and gives it a number; it is found from `complete` on."""
        self._unlisted.append(len(self.terms))
        self.terms.append(term)
        self._rest.append(())
        self._rarity.count(term.node)
        return self._unlisted[-1]

    def hear(self, news: Iterable[Iterable[int]]) -> None:
        """Learns how rare words are from texts, each as the numbers that it meets; for terms listed from then on.

        Once is enough: an index that was copied knows it already, and reads nothing.
        """
        if not self._rarity.has_heard:
            for numbers in news:
                self._rarity.heard(numbers)

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
        changed: dict[int, _Under] = {}
        for number in self._unlisted:
            if (term := self.terms[number]) is not None:
                required = _by_rarity(_required(term.node, self._rarity), self._rarity)
                self._list(number, required, changed)
                self._rest[number] = _rest(required)
        for under in changed.values():
            under.complete()
        self._under |= changed
        self.firsts = set(self._under)
        self._unlisted = []
        terms = [term for term in self.terms if term]
        self.reads_content = any(term.reads_content for term in terms)
        across = any(term.rule.across for term in terms)
        self._axes = ((ACROSS,) if across else EITHER) + ((CONTENT,) if self.reads_content else ())

    def _list(self, term: int, required: Sequence[Keys], changed: dict[int, _Under]) -> None:
        for key in required[0]:
            if isinstance(key, int):
                under = self._to_change(key, changed)
                for other in _seconds_of(key, required, self._rarity):
                    under.put("beside", other, term)
            else:
                first, second = key
                if self._rarity.cost(first) <= self._rarity.cost(second):
                    self._to_change(first, changed).put("behind", second, term)
                else:
                    self._to_change(second, changed).put("before", first, term)

    def _to_change(self, first: int, changed: dict[int, _Under]) -> _Under:
        under = changed.get(first)
        if under is None:
            # Another index may share what is there.
            there = self._under.get(first)
            under = changed[first] = there.copy() if there else _Under()
        return under

    def candidates(self, reading: Reading) -> set[int]:
        """The numbers of the terms that may match."""
        found: set[int] = set()
        present, under = reading.present, self._under
        is_absent = present.isdisjoint
        in_order: dict[int, _Under] = {}
        for first in present & self.firsts:
            waiting = under[first]
            if is_absent(waiting.others):
                continue
            if beside := waiting.beside:
                # A view meets a set by going through the smaller of both.
                for other in beside.keys() & present:
                    found.update(beside[other])
            if waiting.behind or waiting.before:
                in_order[first] = waiting
        if in_order:
            for axis in self._axes:
                _find_in_order(reading, axis, in_order, self._vocabulary.width, found)
        if found:
            rest, has = self._rest, present.issuperset
            return {number for number in found if has(rest[number])}
        return found


def _find_in_order(
    reading: Reading, axis: Axis, in_order: Mapping[int, _Under], width: Callable[[int], int], found: set[int]
) -> None:
    is_absent = in_order.keys().isdisjoint
    last: Cell = ()
    for cell, following in pairwise((*reading.cells(axis), ())):
        if not is_absent(cell):
            if not last.__class__ is cell.__class__ is following.__class__ is tuple:
                # Beside hyphens, and between characters, it takes more than a look.
                field = reading.field(axis)
                for first in in_order.keys() & field.ways.keys():
                    in_order[first].within(first, field, width, found)
                return
            for first in cell:
                if waiting := in_order.get(first):
                    waiting.between(last, following, found)
        last = cell


def _seconds_of(first: int, required: Sequence[Keys], rarity: _Rarity) -> Sequence[int]:
    for keys in required[1:]:
        # Of a pair, its rarer word: a term of one word and alternatives, some of them phrases, would otherwise be
        # looked at wherever the one word is, which was four of five terms looked at.
        numbers = {key if isinstance(key, int) else min(key, key=rarity.cost) for key in keys}
        if len(numbers) <= MOST_SECONDS and first not in numbers:
            return sorted(numbers)
    return (first,)


def _rest(required: Sequence[Keys]) -> tuple[int, ...]:
    first = required[0][0] if len(required[0]) == 1 else ()
    listed = {first} if isinstance(first, int) else {*first}
    return tuple(
        key for keys in required[1:] if len(keys) == 1 for key in keys if isinstance(key, int) and key not in listed
    )


class _Rarity:
    """How rare a word is: by how many texts of the news have it, and where that does not tell, by a guess.

    The guess goes by how many terms hold it: terms are made of what news is made of.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._vocabulary = vocabulary
        self._counts: dict[int, int] = {}
        self._texts: dict[int, int] = {}
        self._costs: dict[int, float] = {}

    def count(self, node: Node) -> None:
        """Counts a term's words."""
        for number in _numbers_in(node):
            self._counts[number] = self._counts.get(number, 0) + 1

    @property
    def has_heard(self) -> bool:
        """Whether it goes by texts already."""
        return bool(self._texts)

    def heard(self, numbers: Iterable[int]) -> None:
        """Counts what a text of the news meets."""
        for number in numbers:
            self._texts[number] = self._texts.get(number, 0) + 1
        self._costs.clear()

    def cost(self, key: Key) -> float:
        """How often, about, a term is looked at in vain that is looked up by this key."""
        if not isinstance(key, int):
            first, second = key
            return min(self.cost(first), self.cost(second)) / 16
        cost = self._costs.get(key)
        if cost is None:
            cost = self._costs[key] = self._of_number(key)
        return cost

    def _of_number(self, number: int) -> float:
        word = self._vocabulary.words[number]
        if self._texts:
            return self._texts.get(number, 0) + self._guess(number, word) * _GUESS_IN_TEXTS
        return self._guess(number, word)

    def _guess(self, number: int, word: Word | None) -> float:
        if word is None:
            return sum(self._guess(one, self._vocabulary.words[one]) for one in self._vocabulary.members(number))
        folded = fold(word.text)
        cost = 1.0 + self._counts.get(number, 0) + 8 / len(folded)
        if folded in COMMON and not word.cased:
            cost *= 1_000
        return cost * 8 if word.prefix else cost


def _by_rarity(required: Iterable[Keys], rarity: _Rarity) -> list[Keys]:
    cost = rarity.cost
    return sorted(dict.fromkeys(required), key=lambda keys: cost(keys[0]) if len(keys) == 1 else sum(map(cost, keys)))


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
