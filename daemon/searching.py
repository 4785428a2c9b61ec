"""Terms ready to be looked for: a tree over the numbers of `vocabulary`, and where it stands in an item.

A field's words lie on an axis in half-words (`words.Unit`). A *way* is one way in which a part of a term stands in a
field: the places that it takes there, in order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeAlias

from daemon.vocabulary import Cell, Cells, Run

Way: TypeAlias = tuple[int, ...]
_FEW = 8
"""Ways up to which going through all is faster than bisecting."""


Axis: TypeAlias = int
"""What a term is looked for in: a field, or title and summary as one text. No enum: those hash in Python, which took a
fifth of the time of a match."""
TITLE, SUMMARY, CONTENT, ACROSS = range(4)
EITHER: tuple[Axis, ...] = (TITLE, SUMMARY)
"""Where a term is looked for that says nothing else."""

Found: TypeAlias = dict[Axis, Collection[int]]
"""The places that make a term true, by axis. Empty where nothing had to be there."""


class Field:
    """The words of one axis that meet something: the ways of each number, and what stands at each place."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.ways: dict[int, list[Way]] = {}
        """In order."""
        self.at: dict[int, tuple[int, ...]] = {}
        self.joins: dict[int, int] = {}
        """Where what hyphens join stands, and where the next word does."""
        self.known: dict[Local, Sequence[Way]] = {}
        """The ways of what several terms share: found once."""
        at = 0
        ways, there = self.ways, self.at
        for cell in cells:
            if cell.__class__ is tuple:
                if cell:
                    # As `_put`, which would cost a call for each word.
                    there[at] = cell
                    way = (at,)
                    for number in cell:
                        if number in ways:
                            ways[number].append(way)
                        else:
                            ways[number] = [way]
                at += 2
            else:
                at = self._put_run(at, cell)
        self.end = at

    def _put(self, at: int, numbers: tuple[int, ...]) -> None:
        self.at[at] = numbers
        for number in numbers:
            self.ways.setdefault(number, []).append((at,))

    def _put_run(self, at: int, run: Cell) -> int:
        assert isinstance(run, Run)
        for place, after, numbers in run.units:
            self._put(at + place, numbers)
            if after:
                self.joins[at + place] = at + after
        return at + run.width

    def next_to(self, at: int, width: int) -> tuple[int, ...]:
        """The places right behind a word at `at`: what stands there, and what hyphens join from there on."""
        after = self.joins.get(at, at + width) if self.joins else at + width
        return (after, after + 1) if after + 1 in self.joins else (after,)


class Reading:
    """One item, cut into cells once."""

    def __init__(self, cells: Cells, title: str, summary: str, content: str) -> None:
        self._cells = [cells.of(title), cells.of(summary), cells.of(content) if content else []]
        self.present: set[int] = set().union(*filter(None, chain.from_iterable(self._cells)))
        self._fields: list[Field | None] = [None, None, None, None]

    def field(self, axis: Axis) -> Field:
        """The words of an axis."""
        found = self._fields[axis]
        if found is None:
            found = self._fields[axis] = Field(self.cells(axis))
        return found

    def cells(self, axis: Axis) -> list[Cell]:
        """What the pieces of an axis meet, in order."""
        return self._cells[TITLE] + self._cells[SUMMARY] if axis == ACROSS else self._cells[axis]

    def widths(self, axis: Axis) -> list[int]:
        """How far each piece of a field reaches on its axis."""
        return [cell.width if isinstance(cell, Run) else 2 for cell in self._cells[axis]]


class Node(Protocol):
    """A part of a compiled term."""

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        """None for "no", else the places that make it true."""
        ...


class Local:
    """A part that has a place in a text, so that something can be near it."""

    __slots__ = ()

    def ways(self, field: Field, *, every: bool) -> Sequence[Way]:
        """The ways in which it stands there: every one, or the tightest will do."""
        raise NotImplementedError

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        """The tightest way in each field in which it stands; the first of those equally tight."""
        found: Found = {}
        for axis in axes:
            if ways := self.ways(reading.field(axis), every=False):
                found[axis] = ways[0] if len(ways) == 1 else _tightest_of(ways)
        return found or None


@dataclass(frozen=True, slots=True, eq=False)
class Leaf(Local):
    """A word, or any word of a list."""

    number: int

    def ways(self, field: Field, *, every: bool) -> Sequence[Way]:
        return field.ways.get(self.number, ())


@dataclass(frozen=True, slots=True, eq=False)
class Row(Local):
    """A phrase: words one after another. `widths` says how far each reaches on the axis."""

    numbers: tuple[int, ...]
    widths: tuple[int, ...]

    def ways(self, field: Field, *, every: bool) -> Sequence[Way]:
        ways: Sequence[Way] = field.ways.get(self.numbers[0], ())
        for width, number in zip(self.widths, self.numbers[1:], strict=False):
            if not ways:
                return ()
            here = field.at
            ways = [(*way, at) for way in ways for at in field.next_to(way[-1], width) if number in here.get(at, ())]
        return ways


@dataclass(frozen=True, slots=True, eq=False)
class Any(Local):
    """Any of these parts, which all have a place."""

    parts: tuple[Local, ...]

    def ways(self, field: Field, *, every: bool) -> Sequence[Way]:
        known = field.known.get(self)
        if known is None:
            ways = (way for part in self.parts for way in part.ways(field, every=True))
            known = field.known[self] = list(dict.fromkeys(ways))
        return known


@dataclass(frozen=True, slots=True, eq=False)
class Close(Local):
    """Parts near each other, on words of their own: their first and last word lie at most `reach` half-words apart."""

    parts: tuple[Local, ...]
    reach: int

    def ways(self, field: Field, *, every: bool) -> Sequence[Way]:
        options: list[Sequence[Way]] = []
        for part in self.parts:
            ways = part.ways(field, every=True)
            if not ways:
                return ()
            options.append(ways if len(ways) == 1 or part.__class__ is Leaf else sorted(ways))
        if len(options) == 2:
            first, second = options
            if len(first) == len(second) == 1 and len(first[0]) == len(second[0]) == 1:
                return _two_words(first[0], second[0], self.reach)
        if _are_far_apart(options, self.reach):
            return ()
        return _close_ways(options, self.reach, every=every)


@dataclass(frozen=True, slots=True, eq=False)
class All:
    """Every part, anywhere."""

    parts: tuple[Node, ...]

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        union: Found = {}
        for part in self.parts:
            found = part.find(reading, axes)
            if found is None:
                return None
            _join(union, found)
        return union


@dataclass(frozen=True, slots=True, eq=False)
class Some:
    """At least one part, anywhere."""

    parts: tuple[Node, ...]

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        union: Found | None = None
        for part in self.parts:
            if (found := part.find(reading, axes)) is not None:
                union = _join({} if union is None else union, found)
        return union


@dataclass(frozen=True, slots=True, eq=False)
class Without:
    """This part, nowhere."""

    part: Node

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        return None if self.part.find(reading, axes) is not None else {}


@dataclass(frozen=True, slots=True, eq=False)
class Within:
    """This part, in one field alone."""

    axis: Axis
    part: Node

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        return self.part.find(reading, (self.axis,))


def _join(union: Found, found: Found) -> Found:
    for axis, places in found.items():
        union[axis] = {*union[axis], *places} if axis in union else places
    return union


# ── near ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def extent(way: Way) -> int:
    """How far apart the first and the last word of a way lie, in half-words."""
    return way[-1] - way[0]


def _two_words(one: Way, other: Way, reach: int) -> list[Way]:
    # Most terms that are looked at are two words, each of them once in the field.
    apart = other[0] - one[0]
    if 0 < apart <= reach:
        return [one + other]
    return [other + one] if 0 < -apart <= reach else []


def _are_far_apart(parts: Sequence[Sequence[Way]], reach: int) -> bool:
    """Whether, at a glance, they are never within reach: one begins first where another has long begun last."""
    return max([ways[0][0] for ways in parts]) - min([ways[-1][0] for ways in parts]) > reach


def _tightest_of(ways: Iterable[Way]) -> Way:
    return min(ways, key=_tightness)


def _tightness(way: Way) -> tuple[int, int]:
    return way[-1] - way[0], way[0]


def _beside(ways: Sequence[Way], taken: Way, reach: int) -> list[Way]:
    """`taken` together with each of these ways, which are in order, that shares no word with it, if both lie within
    reach: the closest first."""
    first, last = taken[0], taken[-1]
    if last - first > reach:
        return []
    if len(ways) > _FEW:
        ways = ways[bisect_left(ways, (last - reach,)) : bisect_left(ways, (first + reach + 1,))]
    both = [
        tuple(sorted(taken + way))
        for way in ways
        if last - way[0] <= reach and way[-1] - first <= reach and way[-1] - way[0] <= reach
    ]
    apart = [way for way in both if len(set(way)) == len(way)]
    if len(apart) > 1:
        apart.sort(key=_tightness)
    return apart


def _close_ways(parts: Sequence[Sequence[Way]], reach: int, *, every: bool) -> list[Way]:
    """All parts on words of their own within reach: around each way of the rarest part."""
    rarest, *rest = sorted(parts, key=len)
    anchors = [way for way in rarest if extent(way) <= reach]
    if every:
        return list(dict.fromkeys(way for anchor in anchors for way in _all_ways(anchor, rest, reach)))
    best: Way | None = None
    for anchor in anchors:
        # Only what is tighter than the best so far is still looked for.
        best = _tightest(anchor, rest, reach if best is None else extent(best) - 1) or best
    return [] if best is None else [best]


def _all_ways(taken: Way, rest: Sequence[Sequence[Way]], reach: int) -> Iterator[Way]:
    if not rest:
        yield taken
        return
    for both in _beside(rest[0], taken, reach):
        yield from _all_ways(both, rest[1:], reach)


def _tightest(taken: Way, rest: Sequence[Sequence[Way]], reach: int) -> Way | None:
    if not rest:
        return taken if extent(taken) <= reach else None
    if len(rest) == 1:
        return next(iter(_beside(rest[0], taken, reach)), None)
    beside = [_beside(ways, taken, reach) for ways in rest]
    # The part with the fewest places first: where it has none, nothing more is tried.
    at = min(range(len(rest)), key=lambda index: len(beside[index]))
    others = [ways for index, ways in enumerate(rest) if index != at]
    best: Way | None = None
    for both in beside[at]:
        best = _tightest(both, others, reach if best is None else extent(best) - 1) or best
    return best
