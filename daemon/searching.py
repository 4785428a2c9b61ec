"""Terms ready to be looked for: a tree over the numbers of `vocabulary`, and where it stands in an item.

A field's words lie on an axis in half-words (`words.Unit`). A *way* is one way in which a part of a term stands in a
field: the places that it takes there, in order.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import accumulate, chain, pairwise
from typing import Protocol, TypeAlias

from daemon.vocabulary import Cell, Cells, Run
from daemon.words import pieces

Way: TypeAlias = tuple[int, ...]
_FEW = 8
"""Ways up to which going through all is faster than bisecting."""
_FEW_NUMBERS = 8
"""Numbers up to which looking for each is faster than finding out about all."""


Axis: TypeAlias = int
"""What a term is looked for in: a field, or title and summary as one text. No enum: those hash in Python, which took a
fifth of the time of a match."""
TITLE, SUMMARY, CONTENT, ACROSS, WHOLE = range(5)
EITHER: tuple[Axis, ...] = (TITLE, SUMMARY)
"""Where a term is looked for that says nothing else."""

Found: TypeAlias = dict[Axis, Collection[int]]
"""The places that make a term true, by axis. Empty where nothing had to be there."""


class Field:
    """The words of one axis that meet something, found out as far as somebody asks: most items meet no term or one."""

    __slots__ = ("_at", "_joins", "begins", "cells", "is_plain", "known", "ways")

    def __init__(self, cells: Sequence[Cell], begins: Sequence[int], *, is_plain: bool) -> None:
        self.cells = cells
        self.begins = begins
        """Where each piece begins on the axis, and where the last one ends."""
        self.is_plain = is_plain
        """Whether each piece is a word, and so takes two half-words: no hyphens, no scripts without spaces."""
        self.ways: Mapping[int, Sequence[Way]] = _Ways(cells, begins)
        """The ways of each number, in order; of one that is not there, none."""
        self.known: dict[Local, Sequence[Way]] = {}
        """The ways of what several terms share: found once."""
        self._at: dict[int, tuple[int, ...]] | None = None
        self._joins: dict[int, int] = {}

    @property
    def end(self) -> int:
        """How far the field reaches."""
        return self.begins[-1]

    def rows(self, numbers: Sequence[int], widths: Sequence[int]) -> Sequence[Way]:
        """Where these numbers follow on each other; `widths` says how far each reaches."""
        ways = self.ways[numbers[0]]
        if not ways:
            return ()
        if not self.is_plain:
            here, joins = self.places()
            for width, number in zip(widths, numbers[1:], strict=False):
                ways = [
                    (*way, at) for way in ways for at in _next_to(way[-1], width, joins) if number in here.get(at, ())
                ]
            return ways
        cells, count, found = self.cells, len(numbers), []
        for (begin,) in ways:
            at = begin // 2
            for number, cell in zip(numbers, cells[at : at + count], strict=False):
                if number not in cell:
                    break
                at += 1
            if 2 * (at - count) == begin:
                found.append(tuple(range(begin, 2 * at, 2)))
        return found

    def places(self) -> tuple[Mapping[int, tuple[int, ...]], Mapping[int, int]]:
        """What stands at each place; and where what hyphens join stands, with where the next word does."""
        if self._at is None:
            self._at = {}
            for begin, cell in zip(self.begins, self.cells, strict=False):
                if isinstance(cell, Run):
                    self._at.update([(begin + place, numbers) for place, numbers in cell.units])
                    self._joins.update([(begin + place, begin + after) for place, after in cell.joins])
                elif cell:
                    self._at[begin] = cell
        return self._at, self._joins

    def in_order(self, behind: Mapping[int, Set[int]], narrow: Set[int]) -> list[tuple[int, int]]:
        """The pairs of numbers that follow on each other here, of those that `behind` has: by the first, the second
        ones. `narrow` are the numbers that reach one half-word."""
        found: list[tuple[int, int]] = []
        for cell, following in pairwise(self.cells) if self.is_plain else self._followed(behind, narrow):
            if cell and following:
                for first in cell:
                    if first in behind and not behind[first].isdisjoint(following):
                        found += [(first, second) for second in following if second in behind[first]]
        return found

    def _followed(self, behind: Mapping[int, Set[int]], narrow: Set[int]) -> Iterator[tuple[Iterable[int], Cell]]:
        here, joins = self.places()
        for at, numbers in here.items():
            for first in numbers:
                if first in behind:
                    width = 1 if first in narrow else 2
                    for place in _next_to(at, width, joins) if joins else (at + width,):
                        if place in here:
                            yield (first,), here[place]


def _next_to(at: int, width: int, joins: Mapping[int, int]) -> tuple[int, ...]:
    """The places right behind a word at `at`: what stands there, and what hyphens join from there on."""
    after = joins.get(at, at + width)
    return (after, after + 1) if after + 1 in joins else (after,)


class _Ways(dict[int, list[Way]]):
    """The ways of numbers, one after the other as they are asked for; from a few on, all."""

    __slots__ = ("_begins", "_cells", "_is_whole")

    def __init__(self, cells: Sequence[Cell], begins: Sequence[int]) -> None:
        super().__init__()
        self._cells = cells
        self._begins = begins
        self._is_whole = False

    def __missing__(self, number: int) -> list[Way]:
        if self._is_whole:
            return []
        if len(self) >= _FEW_NUMBERS:
            self._find_all()
            return self[number]
        ways: list[Way] = []
        for begin, cell in [pair for pair in zip(self._begins, self._cells, strict=False) if number in pair[1]]:
            if isinstance(cell, Run):
                ways += [(begin + place,) for place, numbers in cell.units if number in numbers]
            else:
                ways.append((begin,))
        self[number] = ways
        return ways

    def _find_all(self) -> None:
        self.clear()
        for begin, cell in zip(self._begins, self._cells, strict=False):
            if isinstance(cell, Run):
                units = cell.units
            elif cell:
                units = ((0, cell),)
            else:
                continue
            for place, numbers in units:
                way = (begin + place,)
                for number in numbers:
                    if number in self:
                        self[number].append(way)
                    else:
                        self[number] = [way]
        self._is_whole = True


class Reading:
    """One item, cut into pieces and these into cells, once."""

    __slots__ = ("_begins", "_ends", "_fields", "cells", "pieces", "present", "texts")

    def __init__(self, cells: Cells, title: str, summary: str, content: str) -> None:
        self.texts = (title, summary, content)
        self.pieces = (pieces(title), pieces(summary), pieces(content) if content else [])
        self.cells: list[Cell] = list(map(cells.__getitem__, chain.from_iterable(self.pieces)))
        """What all pieces meet: those of the title, of the summary, and of the content."""
        self.present: set[int] = set(chain.from_iterable(self.cells))
        self._fields: list[Field | None] = [None, None, None, None, None]
        self._begins: Sequence[int] = ()

    def field(self, axis: Axis) -> Field:
        """The words of an axis."""
        found = self._fields[axis]
        if found is None:
            found = self._fields[axis] = self._made(axis)
        return found

    def _made(self, axis: Axis) -> Field:
        begins = self._begins or self._find_begins()
        title = len(self.pieces[TITLE])
        summary = title + len(self.pieces[SUMMARY])
        end = len(self.cells)
        first, last = ((0, title), (title, summary), (summary, end), (0, summary), (0, end))[axis]
        is_plain = isinstance(begins, range)
        if is_plain:
            here: Sequence[int] = range(0, 2 * (last - first) + 1, 2)
        else:
            start = begins[first]
            here = [begin - start for begin in begins[first : last + 1]] if start else begins[: last + 1]
        return Field(self.cells[first:last], here, is_plain=is_plain)

    def _find_begins(self) -> Sequence[int]:
        if Run in set(map(type, self.cells)):
            widths = [2 if cell.__class__ is tuple else cell.width for cell in self.cells]  # type: ignore[union-attr]
            self._begins = list(accumulate(widths, initial=0))
        else:
            self._begins = range(0, 2 * len(self.cells) + 1, 2)
        return self._begins


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
        return field.ways[self.number]


@dataclass(frozen=True, slots=True, eq=False)
class Row(Local):
    """A phrase: words one after another. `widths` says how far each reaches on the axis."""

    numbers: tuple[int, ...]
    widths: tuple[int, ...]

    def ways(self, field: Field, *, every: bool) -> Sequence[Way]:
        return field.rows(self.numbers, self.widths)


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
