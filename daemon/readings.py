"""An item as terms are looked for in it: cut into pieces, these into cells, and where what they meet stands.

Words lie on an axis in half-words (`words.Unit`). A *way* is one way in which a part of a term stands there: the places
that it takes, in order.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence, Set
from itertools import accumulate, chain, pairwise
from operator import contains
from typing import TypeAlias

from daemon.vocabulary import Cell, Cells, Run
from daemon.words import pieces

Way: TypeAlias = tuple[int, ...]
Axis: TypeAlias = int
"""What a term is looked for in: a field, or title and summary as one text. No enum: those hash in Python, which took a
fifth of the time of a match."""
TITLE, SUMMARY, CONTENT, ACROSS = range(4)
_FEW_NUMBERS = 8
"""Numbers up to which looking for each is faster than finding out about all."""


class Places:
    """Where the words of an item that meet something stand: on one axis, title, summary and content one after another.

    Found out as far as somebody asks, because most items meet no term or one.
    """

    __slots__ = ("_at", "_joins", "begins", "cells", "is_plain", "ways")

    def __init__(self, cells: Sequence[Cell], present: Set[int]) -> None:
        self.cells = cells
        self.is_plain = Run not in set(map(type, cells))
        """Whether each piece is a word, and so takes two half-words: no hyphens, no scripts without spaces."""
        self.begins: Sequence[int] = range(0, 2 * len(cells) + 1, 2)
        """Where each piece begins, and where the last one ends."""
        if not self.is_plain:
            widths = [cell.width if isinstance(cell, Run) else 2 for cell in cells]
            self.begins = list(accumulate(widths, initial=0))
        self.ways: Mapping[int, Sequence[Way]] = _Ways(cells, self.begins, present)
        """The ways of each number, in order; of one that is not there, none."""
        self._at: dict[int, tuple[int, ...]] | None = None
        self._joins: dict[int, int] = {}

    def rows(self, begun: Sequence[Way], numbers: Sequence[int], widths: Sequence[int], end: int) -> Sequence[Way]:
        """Where these numbers follow on each other before `end`, of the ways of the first; `widths` says how far each
        reaches."""
        if not self.is_plain or 1 in widths:
            return self._rows_with_runs(begun, numbers, widths, end)
        cells, count, last, second = self.cells, len(numbers), end // 2, numbers[1]
        found = []
        for (begin,) in begun:
            at = begin // 2
            if (
                at + count <= last
                and second in cells[at + 1]
                and all(map(contains, cells[at + 2 : at + count], numbers[2:]))
            ):
                found.append(tuple(range(begin, begin + 2 * count, 2)))
        return found

    def _rows_with_runs(
        self, ways: Sequence[Way], numbers: Sequence[int], widths: Sequence[int], end: int
    ) -> Sequence[Way]:
        here, joins = self._all()
        for width, number in zip(widths, numbers[1:], strict=False):
            ways = [
                (*way, at)
                for way in ways
                for at in (_next_to(way[-1], width, joins) if joins else (way[-1] + width,))
                if at < end and number in here.get(at, ())
            ]
        return ways

    def _all(self) -> tuple[Mapping[int, tuple[int, ...]], Mapping[int, int]]:
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
        for first, following in self._followed_words(behind) if self.is_plain else self._followed(behind, narrow):
            seconds = behind[first]
            if not seconds.isdisjoint(following):
                found += [(first, second) for second in following if second in seconds]
        return found

    def _followed_words(self, firsts: Container[int]) -> Iterator[tuple[int, Cell]]:
        for cell, following in pairwise(self.cells):
            if following:
                for first in cell:
                    if first in firsts:
                        yield first, following

    def _followed(self, firsts: Container[int], narrow: Set[int]) -> Iterator[tuple[int, Cell]]:
        here, joins = self._all()
        for at, numbers in here.items():
            for first in numbers:
                if first in firsts:
                    width = 1 if first in narrow else 2
                    for place in _next_to(at, width, joins) if joins else (at + width,):
                        if place in here:
                            yield first, here[place]


def _next_to(at: int, width: int, joins: Mapping[int, int]) -> tuple[int, ...]:
    """The places right behind a word at `at`: what stands there, and what hyphens join from there on."""
    after = joins.get(at, at + width)
    return (after, after + 1) if after + 1 in joins else (after,)


class _Ways(dict[int, list[Way]]):
    """The ways of numbers, one after the other as they are asked for; from a few on, all."""

    __slots__ = ("_begins", "_cells", "_present")

    def __init__(self, cells: Sequence[Cell], begins: Sequence[int], present: Set[int]) -> None:
        super().__init__()
        self._cells = cells
        self._begins = begins
        self._present = present

    def __missing__(self, number: int) -> list[Way]:
        if number not in self._present:
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
            for place, numbers in cell.units if isinstance(cell, Run) else ((0, cell),):
                way = (begin + place,)
                for number in numbers:
                    if number in self:
                        self[number].append(way)
                    else:
                        self[number] = [way]


class Field:
    """The words of one axis: those from `begin` to `end` of all the places of an item."""

    __slots__ = ("_places", "begin", "end", "known")

    def __init__(self, places: Places, begin: int, end: int) -> None:
        self._places = places
        self.begin = begin
        self.end = end
        self.known: dict[object, Sequence[Way]] = {}
        """The ways of what several terms share: found once."""

    def ways(self, number: int) -> Sequence[Way]:
        """The ways of a number, in order."""
        ways = self._places.ways[number]
        if not ways or (ways[0][0] >= self.begin and ways[-1][0] < self.end):
            return ways
        return [way for way in ways if self.begin <= way[0] < self.end]

    def rows(self, numbers: Sequence[int], widths: Sequence[int]) -> Sequence[Way]:
        """Where these numbers follow on each other; `widths` says how far each reaches."""
        ways = self.ways(numbers[0])
        return self._places.rows(ways, numbers, widths, self.end) if ways else ()


class Reading:
    """One item, cut into pieces and these into cells, once."""

    __slots__ = ("_fields", "_places", "cells", "pieces", "present", "texts")

    def __init__(self, cells: Cells, title: str, summary: str, content: str) -> None:
        self.texts = (title, summary, content)
        self.pieces = (pieces(title), pieces(summary), pieces(content) if content else [])
        self.cells: list[Cell] = list(map(cells.__getitem__, chain.from_iterable(self.pieces)))
        """What all pieces meet: those of the title, of the summary, and of the content."""
        # Most cells of a watch with few terms hold nothing.
        self.present: set[int] = set[int]().union(*filter(None, self.cells))
        self._places: Places | None = None
        self._fields: dict[Axis, Field] = {}

    @property
    def places(self) -> Places:
        """Where what it meets stands."""
        if self._places is None:
            self._places = Places(self.cells, self.present)
        return self._places

    def field(self, axis: Axis) -> Field:
        """The words of an axis."""
        field = self._fields.get(axis)
        if field is None:
            first, last = self._ends(axis)
            begins = self.places.begins
            field = self._fields[axis] = Field(self.places, begins[first], begins[last])
        return field

    def _ends(self, axis: Axis) -> tuple[int, int]:
        """Which pieces are those of an axis: from the first up to this one."""
        title = len(self.pieces[TITLE])
        if axis == TITLE:
            return 0, title
        summary = title + len(self.pieces[SUMMARY])
        if axis == SUMMARY:
            return title, summary
        return (0, summary) if axis == ACROSS else (summary, len(self.cells))

    def begins(self, axis: Axis) -> Sequence[int]:
        """Where each piece of a field begins, and where the last one ends."""
        first, last = self._ends(axis)
        return self.places.begins[first : last + 1]
