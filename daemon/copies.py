"""Copies: which texts were made from one another, by the runs of words that they share.

A copy is known though it was cut, or a word here and there or its headline was changed. The runs are of words that tell
something, which come as numbers: editors change the small ones first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import NamedTuple

RUN_WORDS = 4
LEAST_SHARED = 3
COPIED_PART = 0.5
_LATEST_CARRIERS = 5


class Runs(NamedTuple):
    """The runs of words of a report: those of its title, and all of them."""

    title: frozenset[int]
    whole: frozenset[int]


def runs(title: Sequence[int], whole: Sequence[int]) -> Runs:
    """Those of a title, and of all the text that begins with it."""
    return Runs(_runs_of(title), _runs_of(whole))


def _runs_of(words: Sequence[int]) -> frozenset[int]:
    # The hash of a tuple of numbers is the same in every process, and one number takes a third of its memory.
    return frozenset(hash(tuple(words[at : at + RUN_WORDS])) for at in range(len(words) - RUN_WORDS + 1))


def copied(one: Runs, other: Runs) -> bool:
    """Whether half of the shorter title, or half of the shorter text, stands in both."""
    return _shared(one.title, other.title) or _shared(one.whole, other.whole)


def _shared(one: frozenset[int], other: frozenset[int]) -> bool:
    # Three runs of four words are six words in a row.
    return len(one & other) >= max(LEAST_SHARED, COPIED_PART * min(len(one), len(other)))


def copies(texts: Sequence[Runs]) -> Iterator[tuple[int, int]]:
    """Pairs (the later, the earlier) of copies: enough of them to tell which texts hang together, not all."""
    carriers: defaultdict[int, list[int]] = defaultdict(list)
    for later, text in enumerate(texts):
        known = [carriers[run] for run in text.whole]
        for earlier in sorted({earlier for each in known for earlier in each[-_LATEST_CARRIERS:]}):
            if copied(text, texts[earlier]):
                yield later, earlier
        for each in known:
            each.append(later)


class Groups:
    """The numbers 0 … `many`, which are united pair by pair."""

    def __init__(self, many: int) -> None:
        self._above = list(range(many))

    def unite(self, one: int, other: int) -> None:
        """Puts the groups of two numbers together."""
        one, other = sorted((self._top(one), self._top(other)))
        self._above[other] = one

    def _top(self, at: int) -> int:
        while self._above[at] != at:
            self._above[at] = at = self._above[self._above[at]]
        return at

    def __iter__(self) -> Iterator[list[int]]:
        """The groups, each in order, by their first numbers."""
        groups: dict[int, list[int]] = {}
        for at in range(len(self._above)):
            groups.setdefault(self._top(at), []).append(at)
        return iter(groups.values())
