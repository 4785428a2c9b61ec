"""Terms ready to be looked for: a tree over the numbers of `vocabulary`, and where it stands in an item.

A part that has a place stands in a field in *ways* (`readings.Way`), each of which are the places that it takes there.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Protocol, TypeAlias

from daemon.readings import SUMMARY, TITLE, Axis, Field, Places, Reading, Way

_FEW = 8
"""Ways up to which going through all is faster than bisecting."""

# What is looked for in several axes is looked for in those of one text: see `Reading.places`.
EITHER: tuple[Axis, ...] = (TITLE, SUMMARY)
"""Where a term is looked for that says nothing else."""

Found: TypeAlias = dict[Axis, Collection[int]]
"""The places that make a term true, by axis. Empty where nothing had to be there."""


class Node(Protocol):
    """A part of a compiled term."""

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        """None for "no", else the places that make it true."""
        ...


class Local:
    """A part that has a place in a text, so that something can be near it."""

    __slots__ = ()

    def anywhere(self, places: Places) -> Sequence[Way] | None:
        """All ways in which it stands in a text, also over the end of a field; None where these may be very many."""
        raise NotImplementedError

    def ways(self, field: Field) -> Sequence[Way]:
        """All ways in which it stands in a field."""
        ways = self.anywhere(field.places)
        assert ways is not None
        return field.within(ways)

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        """The tightest way in each field in which it stands; the first of those equally tight."""
        # Most are looked at because their words are there, and stand nowhere as they should: no field is asked then.
        ways = self.anywhere(reading.places(axes[0]))
        if ways is not None and not ways:
            return None
        found: Found = {}
        for axis in axes:
            field = reading.field(axis)
            if inside := self.ways(field) if ways is None else field.within(ways):
                found[axis] = inside[0] if len(inside) == 1 else _tightest_of(inside)
        return found or None


@dataclass(frozen=True, slots=True, eq=False)
class Leaf(Local):
    """A word, or any word of a list."""

    number: int

    def anywhere(self, places: Places) -> Sequence[Way]:
        return places.ways(self.number)


@dataclass(frozen=True, slots=True, eq=False)
class Row(Local):
    """A phrase: words one after another. `widths` says how far each reaches on the axis."""

    numbers: tuple[int, ...]
    widths: tuple[int, ...]

    def anywhere(self, places: Places) -> Sequence[Way]:
        return places.rows(self.numbers, self.widths)


@dataclass(frozen=True, slots=True, eq=False)
class Any(Local):
    """Any of these parts, which all have a place."""

    parts: tuple[Local, ...]

    def anywhere(self, places: Places) -> Sequence[Way] | None:
        if self not in places.known:
            found = [part.anywhere(places) for part in self.parts]
            told = [ways for ways in found if ways is not None]
            places.known[self] = _union(told) if len(told) == len(found) else None
        return places.known[self]

    def ways(self, field: Field) -> Sequence[Way]:
        known = field.known.get(self)
        if known is None:
            ways = self.anywhere(field.places)
            known = _union([part.ways(field) for part in self.parts]) if ways is None else field.within(ways)
            field.known[self] = known
        return known


@dataclass(frozen=True, slots=True, eq=False)
class Close(Local):
    """Parts near each other, on words of their own: their first and last word lie at most `reach` half-words apart."""

    parts: tuple[Local, ...]
    reach: int

    def anywhere(self, places: Places) -> None:
        # Of words that are repeated in two fields, all ways take far longer than those of each.
        return None

    def ways(self, field: Field) -> Sequence[Way]:
        return self._close(field, [None] * len(self.parts), every=True)

    def find(self, reading: Reading, axes: Sequence[Axis]) -> Found | None:
        places = reading.places(axes[0])
        options = [None if (ways := part.anywhere(places)) is None else _in_order(ways) for part in self.parts]
        told = [ways for ways in options if ways is not None]
        if not all(told) or (len(told) > 1 and _are_far_apart(told, self.reach)):
            return None
        found: Found = {}
        for axis in axes:
            if close := self._close(reading.field(axis), options, every=False):
                found[axis] = close[0]
        return found or None

    def _close(self, field: Field, options: Sequence[Sequence[Way] | None], *, every: bool) -> Sequence[Way]:
        # `options` are the ways of each part anywhere, in order, where these are known.
        inside: list[Sequence[Way]] = []
        for part, anywhere in zip(self.parts, options, strict=True):
            ways = _in_order(part.ways(field)) if anywhere is None else field.within(anywhere)
            if not ways:
                return ()
            inside.append(ways)
        return () if _are_far_apart(inside, self.reach) else _close_ways(inside, self.reach, every=every)


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


def _union(found: Iterable[Sequence[Way]]) -> Sequence[Way]:
    there = [ways for ways in found if ways]
    return there[0] if len(there) == 1 else list(dict.fromkeys(chain.from_iterable(there)))


def _tightest_of(ways: Sequence[Way]) -> Way:
    return min(ways, key=_tightness)


def _in_order(ways: Sequence[Way]) -> Sequence[Way]:
    return ways if len(ways) < 2 else sorted(ways)


def _two_words(one: Way, other: Way, reach: int) -> list[Way]:
    # Most terms that are looked at are two words, each of them once in the field.
    apart = other[0] - one[0]
    if 0 < apart <= reach:
        return [one + other]
    return [other + one] if 0 < -apart <= reach else []


def _are_far_apart(parts: Sequence[Sequence[Way]], reach: int) -> bool:
    """Whether, at a glance, they are never within reach: one begins first where another has long begun last."""
    return max([ways[0][0] for ways in parts]) - min([ways[-1][0] for ways in parts]) > reach


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
    """All parts on words of their own within reach, around each way of the rarest part; if not `every` way, the
    tightest, the first of those equally tight."""
    if len(parts) == 2:
        first, second = parts
        if len(first) == len(second) == 1 and len(first[0]) == len(second[0]) == 1:
            return _two_words(first[0], second[0], reach)
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
