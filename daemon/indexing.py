"""By what a term is looked up, so that it costs nothing where it can't match.

Whatever matches a term has one of each of the things that the term requires. A term is listed under the rarest of them,
beside the next rarest. A phrase of nothing but common words is listed under two of them that follow on each other,
because even the rarest is in every item (measured: 1,445 µs an item by one word, 44 by a pair, for 50,000 such
phrases). Which words are rare is learnt from texts of the news, where there are some: it decides what is looked at in
vain, and never what is found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence, Set
from itertools import chain, pairwise
from typing import TypeAlias

from daemon.commonwords import COMMON
from daemon.compiling import CompiledTerm
from daemon.readings import Reading
from daemon.searching import All, Any, Close, Leaf, Node, Row, Some, Within, Without
from daemon.terms import Word
from daemon.vocabulary import Vocabulary
from daemon.words import fold

MOST_SECONDS = 32
"""Alternatives of a second word under each of which a term is listed; with more of them, the first must do."""
_FEW_OTHERS = 8
"""Other numbers up to which a tuple of them is asked faster than a set. Two sets tell fastest whether they share
something; but a small set is a fifth of a kilobyte, and an item of 100,000 terms mostly waits for memory."""
_FEW_HEADS = 2
"""Words of an item that pairs begin with, up to which looking what follows on each is faster than going through all."""
_GUESS_IN_TEXTS = 0.01
"""What a guess counts beside texts that were read: no word that none of them had is taken for one that they had."""
_COMMON_SHARE = 0.02
"""The part of all items from which on a word is common."""
_COMMON_GUESS = 1_000
"""What such a word costs beside others, where no texts were read."""

Key: TypeAlias = int | tuple[int, ...]
"""What a term can be looked up by: a number, or two that follow on each other."""
Keys: TypeAlias = tuple[Key, ...]
"""Of these, at least one is in every item that the term matches."""
_Waiting: TypeAlias = dict[int, int | list[int]]
"""The terms that are listed under a key, by another number that they need (the key's own, where they need no other).
Most are alone there, and a list of one would take 64 bytes more."""


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
        self._waiting: dict[Key, _Waiting] = {}
        self._others: list[Collection[int]] = []
        """By number, what else the terms need that are listed under it: the keys of what waits there."""
        self._heads: set[int] = set()
        self._behind: dict[int, set[int]] = {}
        """Of all pairs that terms are listed under, by the first word, the second ones."""
        self._alive = 0

    def copy(self) -> Index:
        """Another index with the same terms: what is put into it is not in this one."""
        copy = Index(self._vocabulary)
        copy.terms, copy._rarity = list(self.terms), self._rarity
        copy._waiting, copy._rest = dict(self._waiting), list(self._rest)
        copy._others, copy._behind = list(self._others), dict(self._behind)
        return copy

    def put(self, term: CompiledTerm) -> int:
        """Takes a term in and gives it a number; it is found from `complete` on."""
        self._unlisted.append(len(self.terms))
        self.terms.append(term)
        self._rest.append(())
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
    def keys(self) -> Collection[Key]:
        """What terms are listed under."""
        return self._waiting.keys()

    @property
    def size(self) -> tuple[int, int]:
        """How many terms are in it, and how many numbers are used up by those that were dropped."""
        return self._alive, len(self.terms) - self._alive

    def complete(self) -> None:
        """Lists the terms that were put in, each by the rarest that it requires."""
        changed: dict[Key, _Waiting] = {}
        rarity = self._rarity
        new = [(number, term.node) for number in self._unlisted if (term := self.terms[number]) is not None]
        rarity.count(chain.from_iterable(_numbers_in(node) for _, node in new))
        for number, node in new:
            if numbers := _all_of(node, rarity):
                # Of most terms, each word must be there.
                first, *rest = sorted(dict.fromkeys(numbers), key=rarity.__getitem__)
                self._list(number, first, rest[:1] or (first,), changed)
                self._rest[number] = tuple(rest)
            else:
                required = _by_rarity(_required(node, rarity), rarity)
                for key in required[0]:
                    self._list(number, key, _seconds_of(key, required, rarity), changed)
                self._rest[number] = _rest(required)
        self._unlisted = []
        self._waiting |= changed
        self._others += [()] * (len(self._vocabulary.words) - len(self._others))
        for key, waiting in changed.items():
            if isinstance(key, int):
                self._others[key] = tuple(waiting) if len(waiting) <= _FEW_OTHERS else set(waiting)
        behind: dict[int, set[int]] = {}
        for key in changed:
            if not isinstance(key, int):
                behind.setdefault(key[0], set()).add(key[1])
        self._behind |= {first: self._behind.get(first, set()) | seconds for first, seconds in behind.items()}
        self._heads = set(self._behind)
        self.reads_content = any(term.reads_content for term in self.terms if term)

    def _list(self, term: int, key: Key, seconds: Iterable[int], changed: dict[Key, _Waiting]) -> None:
        waiting = changed.get(key)
        if waiting is None:
            # Another index may share what is there.
            waiting = changed[key] = {
                other: terms if isinstance(terms, int) else list(terms)
                for other, terms in self._waiting.get(key, {}).items()
            }
        for other in seconds:
            there = waiting.get(other)
            if there is None:
                waiting[other] = term
            elif isinstance(there, int):
                waiting[other] = [there, term]
            else:
                there.append(term)

    def candidates(self, reading: Reading) -> set[int]:
        """The numbers of the terms that may match."""
        found: set[int] = set()
        present, others = reading.present, self._others
        is_absent = present.isdisjoint
        listed = self._waiting
        asked = [listed[first] for first in present if (needed := others[first]) and not is_absent(needed)]
        if heads := present & self._heads:
            asked += self._listed_by_pairs(reading, heads)
        for waiting in asked:
            if is_absent(waiting):
                continue
            # A view meets a set by going through the smaller of both.
            for other in waiting.keys() & present:
                terms = waiting[other]
                if isinstance(terms, int):
                    found.add(terms)
                else:
                    found.update(terms)
        if found:
            rest, has = self._rest, present.issuperset
            return {number for number in found if has(rest[number])}
        return found

    def _listed_by_pairs(self, reading: Reading, heads: Set[int]) -> list[_Waiting]:
        """What is listed under pairs that follow on each other there; their first words are among `heads`."""
        narrow, is_absent = self._vocabulary.narrow, reading.present.isdisjoint
        if len(heads) > _FEW_HEADS:
            return [one for places in reading.all_places() for one in places.in_order(heads, self._waiting, narrow)]
        return [
            self._waiting[first, second]
            for first in heads
            if not is_absent(behind := self._behind[first])
            for places in reading.all_places()
            for second in places.following(first, 1 if first in narrow else 2)
            if second in behind
        ]


def _seconds_of(key: Key, required: Sequence[Keys], rarity: _Rarity) -> Sequence[int]:
    own = _numbers_of(key)
    for keys in required[1:]:
        # Of a pair, its rarer word: a term of one word and alternatives, some of them phrases, would otherwise be
        # looked at wherever the one word is, which was four of five terms looked at.
        numbers = {key if isinstance(key, int) else min(key, key=rarity.__getitem__) for key in keys}
        if len(numbers) <= MOST_SECONDS and numbers.isdisjoint(own):
            return sorted(numbers)
    return own[:1]


def _numbers_of(key: Key) -> tuple[int, ...]:
    return (key,) if isinstance(key, int) else key


def _rest(required: Sequence[Keys]) -> tuple[int, ...]:
    listed = _numbers_of(required[0][0]) if len(required[0]) == 1 else ()
    return tuple(
        key for keys in required[1:] if len(keys) == 1 for key in keys if isinstance(key, int) and key not in listed
    )


class _Rarity(dict[Key, float]):
    """How often, about, a term is looked at in vain that is looked up by a key; found out when it is first asked for.

    It goes by how many texts of the news have a word, and where that does not tell, by a guess. The guess goes by how
    many terms hold the word: terms are made of what news is made of.
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._counts: Counter[int] = Counter()
        self._texts: Counter[int] = Counter()
        self._heard = 0

    def __missing__(self, key: Key) -> float:
        cost = self[key] = self._of_number(key) if isinstance(key, int) else min(map(self.__getitem__, key)) / 16
        return cost

    def count(self, numbers: Iterable[int]) -> None:
        """Counts the words of terms."""
        self._counts.update(numbers)

    @property
    def has_heard(self) -> bool:
        """Whether it goes by texts already."""
        return self._heard > 0

    def heard(self, numbers: Iterable[int]) -> None:
        """Counts what a text of the news meets."""
        self._heard += 1
        self._texts.update(numbers)
        self.clear()

    def is_common(self, number: int) -> bool:
        """Whether so many items have it that what is listed under it alone would be looked at all the time: as
        characters of scripts without spaces are, each of which is in many words."""
        if number in self._vocabulary.narrow:
            return True
        return self[number] >= (self._heard * _COMMON_SHARE if self._texts else _COMMON_GUESS)

    def _of_number(self, number: int) -> float:
        word = self._vocabulary.words[number]
        guess = self._guess(number, word)
        if not self._texts:
            return guess
        heard = self._texts.get(number, 0)
        if not heard and guess < _COMMON_GUESS:
            # Of two that are as rare, the one that more terms need: the fewer words terms are listed by, the fewer of
            # them an item has (12 instead of 14 of an English one's, of 100,000 terms).
            return _GUESS_IN_TEXTS / (1 + self._counts.get(number, 0))
        return heard + guess * _GUESS_IN_TEXTS

    def _guess(self, number: int, word: Word | None) -> float:
        if word is None:
            return sum(self._guess(one, self._vocabulary.words[one]) for one in self._vocabulary.members(number))
        folded = fold(word.text)
        cost = 1.0 + self._counts.get(number, 0) + 8 / len(folded)
        if folded in COMMON and not word.cased:
            cost *= _COMMON_GUESS
        return cost * 8 if word.prefix else cost


def _by_rarity(required: Iterable[Keys], rarity: _Rarity) -> list[Keys]:
    return sorted(
        dict.fromkeys(required),
        key=lambda keys: rarity[keys[0]] if len(keys) == 1 else sum(map(rarity.__getitem__, keys)),
    )


def _all_of(node: Node, rarity: _Rarity) -> Sequence[int]:
    """The numbers that an item must have, each of them, where there is nothing else to go by; else none."""
    # Not `match`, which takes twice as long: this and what is below is a quarter of compiling.
    if isinstance(node, All):
        return _all_of(node.parts[0], rarity) if len(node.parts) == 2 and isinstance(node.parts[1], Without) else ()
    if isinstance(node, Close):
        numbers = [part.number for part in node.parts if isinstance(part, Leaf)]
        return numbers if len(numbers) == len(node.parts) else ()
    if isinstance(node, Row):
        return () if all(map(rarity.is_common, node.numbers)) else node.numbers
    return (node.number,) if isinstance(node, Leaf) else ()


def _required(node: Node, rarity: _Rarity) -> list[Keys]:
    # All that an item must have one of each of, to be worth a look.
    if isinstance(node, Leaf):
        return [(node.number,)]
    if isinstance(node, Row):
        keys: list[Keys] = [(number,) for number in node.numbers]
        if all(map(rarity.is_common, node.numbers)):
            # Else a pair is not worth it: it is found by going through all words of an item.
            keys.append((min(pairwise(node.numbers), key=rarity.__getitem__),))
        return keys
    if isinstance(node, Close | All):
        return [keys for part in node.parts for keys in _required(part, rarity)]
    if isinstance(node, Any | Some):
        best = [_rarest(part, rarity) for part in node.parts]
        return [tuple(dict.fromkeys(chain.from_iterable(best)))] if all(best) else []
    return _required(node.part, rarity) if isinstance(node, Within) else []


def _rarest(node: Node, rarity: _Rarity) -> Keys:
    """The rarest of what a node requires; nothing where it requires nothing."""
    if numbers := _all_of(node, rarity):
        return (min(numbers, key=rarity.__getitem__),)
    return next(iter(_by_rarity(_required(node, rarity), rarity)), ())


def _numbers_in(node: Node) -> Sequence[int]:
    if isinstance(node, Leaf):
        return (node.number,)
    if isinstance(node, Row):
        return node.numbers
    if isinstance(node, Within | Without):
        return _numbers_in(node.part)
    found: list[int] = []
    if isinstance(node, Close | All | Any | Some):
        for part in node.parts:
            found += _numbers_in(part)
    return found
