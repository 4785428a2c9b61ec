"""An item as terms are looked for in it: cut into pieces, these into cells, and where what they meet stands.

Words lie on an axis in half-words (`words.Unit`). A *way* is one way in which a part of a term stands there: the places
that it takes, in order.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import accumulate, chain, pairwise
from operator import contains
from typing import TypeAlias, TypeVar, cast

from daemon.vocabulary import Cell, Cells, Numbers, Run
from daemon.words import pieces

Way: TypeAlias = tuple[int, ...]
Axis: TypeAlias = int
"""What a term is looked for in: a field, or title and summary as one text. No enum: those hash in Python, which took a
fifth of the time of a match."""
TITLE, SUMMARY, CONTENT, ACROSS = range(4)
_Listed = TypeVar("_Listed")
_NOTHING = -1
_FEW_NUMBERS = 8
"""Numbers up to which looking for each is faster than finding out about all."""


class Places:
    """Where the words of an item that meet something stand: on one axis, title and summary one after the other.

    Found out as far as somebody asks, because most items meet no term or one.
    """

    __slots__ = ("_cells", "_present", "_run_begins", "_runs", "_singles", "_ways", "joins", "known", "line", "step")

    def __init__(self, cells: Sequence[Cell], present: Set[int]) -> None:
        self._cells = cells
        self._present = present
        self._ways: dict[int, Sequence[Way]] = {}
        self.known: dict[object, Sequence[Way] | None] = {}
        """The ways of what several terms share: found once; None of what is found out field by field."""
        self.line: Sequence[Numbers] = cells
        """What stands at each place, or at each second one: see `step`."""
        self.step = 2
        """How far apart they lie: 2 if there are only words, two half-words each; 1 with characters or joins."""
        self._singles: list[int] | None = None
        """The same of characters, if none has more than one number; where it has none, `_NOTHING`."""
        self.joins: Mapping[int, int] = {}
        """Where what hyphens join stands, with where the next word does."""
        self._run_begins: list[int] | None = None
        self._runs = _runs_in(cells)
        if self._runs:
            if (words := _words_of(cells, self._runs)) is not None:
                self.line = words
            else:
                self.step = 1
                self.line, self.joins = _line_of(cells)
                if not self.joins and max(map(len, self.line)) == 1:
                    self._singles = [met[0] if met else _NOTHING for met in self.line]

    def begin(self, piece: int) -> int:
        """Where a piece begins, or the last one ends."""
        return 2 * piece + sum([len(run.line) - 2 for at, run in self._runs if at < piece])

    def piece_at(self, place: int) -> tuple[int, int]:
        """In which piece something stands, and where in this: the first place of each is 0."""
        if self._run_begins is None:
            more = list(accumulate([len(run.line) - 2 for _, run in self._runs], initial=0))
            self._run_begins = [2 * at + before for (at, _), before in zip(self._runs, more, strict=False)]
        last = bisect_right(self._run_begins, place) - 1
        if last < 0:
            return place // 2, 0
        at, run = self._runs[last]
        inside = place - self._run_begins[last]
        return (at, inside) if inside < len(run.line) else (at + 1 + (inside - len(run.line)) // 2, 0)

    def ways(self, number: int) -> Sequence[Way]:
        """The ways of a number, in order; of one that is not there, none."""
        ways = self._ways.get(number)
        if ways is None:
            if number not in self._present:
                return ()
            if len(self._ways) >= _FEW_NUMBERS:
                self._find_all()
                return self._ways.get(number, ())
            ways = self._ways[number] = self._ways_of(number)
        return ways

    def _ways_of(self, number: int) -> Sequence[Way]:
        singles, step = self._singles, self.step
        if singles is None:
            return [(at * step,) for at, met in enumerate(self.line) if number in met]
        ways: list[Way] = []
        at = -1
        for _ in range(singles.count(number)):
            at = singles.index(number, at + 1)
            ways.append((at,))
        return ways

    def _find_all(self) -> None:
        ways: dict[int, list[Way]] = {}
        for at, met in enumerate(self.line):
            if met:
                way = (at * self.step,)
                for number in met:
                    if number in ways:
                        ways[number].append(way)
                    else:
                        ways[number] = [way]
        self._ways.update(ways)

    def rows(self, numbers: Sequence[int], widths: Sequence[int]) -> Sequence[Way]:
        """Where these numbers follow on each other; `widths` says how far each reaches."""
        begun, line, singles = self.ways(numbers[0]), self.line, self._singles
        if singles is not None and 2 not in widths:
            row, count = list(numbers), len(numbers)
            return [tuple(range(at, at + count)) for (at,) in begun if singles[at : at + count] == row]
        if self.step == 1:
            joins, ways = self.joins, begun
            for width, number in zip(widths, numbers[1:], strict=False):
                ways = [
                    (*way, at)
                    for way in ways
                    for at in (_next_to(way[-1], width, joins) if joins else (way[-1] + width,))
                    if number in line[at]
                ]
                if not ways:
                    break
            return ways
        found, count, last, second = [], len(numbers), len(line), numbers[1]
        for (begin,) in begun:
            at = begin // 2
            if (
                at + count <= last
                and second in line[at + 1]
                and (count == 2 or all(map(contains, line[at + 2 : at + count], numbers[2:])))
            ):
                found.append(tuple(range(begin, begin + 2 * count, 2)))
        return found

    def following(self, number: int, width: int) -> Iterator[int]:
        """What follows right on a number, which reaches `width` half-words."""
        line, ways = self.line, self.ways(number)
        if self.step == 2:
            places = [at // 2 + 1 for (at,) in ways if at // 2 + 1 < len(line)]
        else:
            places = [place for (at,) in ways for place in _next_to(at, width, self.joins)]
        return chain.from_iterable(map(line.__getitem__, places))

    def in_order(self, heads: Set[int], listed: Mapping[int | Numbers, _Listed], narrow: Set[int]) -> list[_Listed]:
        """What is listed under the pairs of numbers that follow on each other here, the first one of `heads`; `narrow`
        are the numbers that reach one half-word."""
        if self.step == 2:
            return self._words_in_order(heads, listed)
        pairs: Iterable[Numbers]
        if self._singles and self._present <= narrow:
            pairs = pairwise(self._singles)
        else:
            pairs = self._all_in_order(heads, narrow)
        return [listed[pair] for pair in pairs if pair in listed]

    def _words_in_order(self, heads: Set[int], listed: Mapping[int | Numbers, _Listed]) -> list[_Listed]:
        found: list[_Listed] = []
        before: Numbers = ()
        for numbers in self.line:
            if numbers and before:
                for first in before:
                    if first in heads:
                        for second in numbers:
                            if (pair := (first, second)) in listed:
                                found.append(listed[pair])  # noqa: PERF401 - a list of them takes half as long again
            before = numbers
        return found

    def _all_in_order(self, heads: Set[int], narrow: Set[int]) -> Iterator[Numbers]:
        line, joins = self.line, self.joins
        for at, numbers in enumerate(line):
            for first in numbers:
                if first in heads:
                    for place in _next_to(at, 1 if first in narrow else 2, joins):
                        for second in line[place]:
                            yield first, second


def _runs_in(cells: Sequence[Cell]) -> list[tuple[int, Run]]:
    # Half as long as looking at each cell: most are none.
    kinds = list(map(type, cells))
    runs = []
    at = -1
    for _ in range(kinds.count(Run)):
        at = kinds.index(Run, at + 1)
        runs.append((at, cast(Run, cells[at])))
    return runs


def _words_of(cells: Sequence[Cell], runs: Iterable[tuple[int, Run]]) -> Sequence[Numbers] | None:
    words: list[Numbers] = []
    done = 0
    for at, run in runs:
        if run.words is None:
            return None
        words += cells[done:at]
        words += run.words
        done = at + 1
    words += cells[done:]
    return words


def _line_of(cells: Iterable[Cell]) -> tuple[Sequence[Numbers], Mapping[int, int]]:
    line: list[Numbers] = []
    joins: dict[int, int] = {}
    for cell in cells:
        if isinstance(cell, Run):
            for place, after in cell.joins:
                joins[len(line) + place] = len(line) + after
            line += cell.line
        else:
            line += (cell, ())
    # What follows on the last word is looked for, too.
    line += ((), (), ())
    return line, joins


def _next_to(at: int, width: int, joins: Mapping[int, int]) -> tuple[int, ...]:
    """The places right behind a word at `at`: what stands there, and what hyphens join from there on."""
    after = joins.get(at, at + width)
    return (after, after + 1) if after + 1 in joins else (after,)


class Field:
    """The words of one axis: those from `begin` to `end` of all the places of a text."""

    __slots__ = ("begin", "end", "known", "places")

    def __init__(self, places: Places, begin: int, end: int) -> None:
        self.places = places
        self.begin = begin
        self.end = end
        self.known: dict[object, Sequence[Way]] = {}
        """The ways of what several terms share: found once."""

    def within(self, ways: Sequence[Way]) -> Sequence[Way]:
        """Those of these ways that lie in this field, and not over its ends."""
        begin, end = self.begin, self.end
        return [way for way in ways if begin <= way[0] and way[-1] < end]


class Reading:
    """One item, cut into pieces and these into cells, once."""

    __slots__ = ("_cells", "_fields", "_places", "memory", "pieces", "present", "texts")

    def __init__(self, cells: Cells, title: str, summary: str, content: str) -> None:
        self.texts = (title, summary, content)
        self.memory = cells
        """What pieces meet, of this item and others."""
        self.pieces = (pieces(title), pieces(summary), pieces(content) if content else [])
        # The content is a text of its own: hardly a term looks there, and it may be long.
        told = list(map(cells.__getitem__, chain(self.pieces[TITLE], self.pieces[SUMMARY])))
        self._cells: tuple[list[Cell], ...] = (told, list(map(cells.__getitem__, self.pieces[CONTENT])))
        # Most cells of a watch with few terms hold nothing.
        self.present: set[int] = set[int]().union(*filter(None, chain(*self._cells) if content else told))
        """What all pieces meet: those of the title, of the summary, and of the content."""
        self._places: dict[bool, Places] = {}
        self._fields: dict[Axis, Field] = {}

    def places(self, axis: Axis) -> Places:
        """Where what it meets stands: in title and summary, or in the content."""
        is_content = axis == CONTENT
        places = self._places.get(is_content)
        if places is None:
            places = self._places[is_content] = Places(self._cells[is_content], self.present)
        return places

    def all_places(self) -> Sequence[Places]:
        """Where what it meets stands, in each text that there is."""
        told = self.places(TITLE)
        return (told, self.places(CONTENT)) if self.pieces[CONTENT] else (told,)

    def field(self, axis: Axis) -> Field:
        """The words of an axis."""
        field = self._fields.get(axis)
        if field is None:
            places, first = self.places(axis), self.first_piece(axis)
            last = first + len(self.pieces[axis]) if axis != ACROSS else len(self._cells[0])
            field = self._fields[axis] = Field(places, places.begin(first), places.begin(last))
        return field

    def first_piece(self, axis: Axis) -> int:
        """The first piece of a field, of those of its text."""
        return len(self.pieces[TITLE]) if axis == SUMMARY else 0
