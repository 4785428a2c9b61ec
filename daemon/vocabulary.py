"""The words of all terms, numbered, and which of them a word of a text meets.

A text is looked at piece by piece (`words.pieces`). Which numbers a piece meets is found out once for each spelling and
kept, so that a usual word of a usual item costs one look into a dictionary; most meet nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TypeAlias

from daemon.stems import script_of, stems
from daemon.terms import Word
from daemon.words import (
    MOST_CHARACTERS_KEPT,
    Forms,
    chunks,
    fold,
    has_unspaced,
    is_one_word,
    is_unspaced,
    pieces,
    spell,
    units,
    unspaced_apart,
)

Inflect: TypeAlias = Callable[[Iterable[str]], Mapping[str, Forms]]
"""The forms of all of these folded words. They come as terms are read, and may be looked up meanwhile: see
`lexicon.forms_of`."""
Numbers: TypeAlias = tuple[int, ...]

MOST_CELLS = 50_000
"""Spellings kept, of about 120 bytes each: the 61,801 items of the corpus have 175,000, of which half come once."""
STEM_HEAD = 4
"""Letters that a Latin word and its inflections share, which is as many as a stem must have there; without them, each
spelling would go through sixteen stemmers."""


class Run(tuple[int, ...]):
    """What a piece meets that is not one ordinary word: a compound, characters without spaces, a lone dash.

    As a tuple, all numbers in it. `line` is what stands at each of its places on the axis, mostly nothing; `joins` is
    where what hyphens join stands, and where the next word does. `words` is what each of its words meets, where these
    are all that there is: no characters that are words, and nothing met by what hyphens join.
    """

    line: Sequence[Numbers]
    joins: Sequence[tuple[int, int]]
    words: Sequence[Numbers] | None


Cell: TypeAlias = Numbers | Run


class Vocabulary:
    """Grows only: a number means the same for as long as it lives, so matchers may share one."""

    def __init__(self) -> None:
        self.words: list[Word | None] = []
        """By number; None for a group."""
        self.narrow: set[int] = set()
        """The numbers of characters that are words, which reach half as far as others: see `words.Unit`."""
        self._numbers: dict[Word | Forms, int] = {}
        self._plain: dict[str, int] = {}
        """The same for words that are inflected, as they are written: most are asked for many times."""
        self._forms: dict[str, Forms] = {}
        self._groups: dict[frozenset[int], int] = {}
        self._groups_of: dict[int, Numbers] = {}
        self._members: dict[int, frozenset[int]] = {}
        self._by_form: dict[str, Numbers] = {}
        self._by_letters: dict[str, Numbers] = {}
        self._by_prefix: dict[str, Numbers] = {}
        self._stemmed: dict[str, list[tuple[str, int]]] = {}
        """The words that meet by stem, by their first letters."""
        self._by_stem: dict[str, tuple[int, dict[str, Numbers]]] = {}
        """Their stems, by the same letters, from when a text has such a word on (sixteen stemmers take 25 µs a word);
        and of how many words they are."""
        self._prefix_lengths: tuple[int, ...] = ()

    def learn(self, words: Iterable[str], inflect: Inflect) -> None:
        """Looks up the forms of these folded words, which `number` goes by."""
        self._forms.update(inflect(word for word in words if word not in self._forms))

    def number(self, word: Word) -> int:
        """The number of a word of a term. Words of the same forms have the same: *attack* and *attacks*."""
        if word.exact or word.prefix:
            return self._numbered(word, word)
        known = self._plain.get(word.text)
        if known is None:
            folded = fold(word.text)
            known = self._plain[word.text] = self._numbered(word, self._forms.get(folded) or Forms((folded,)))
        return known

    def _numbered(self, word: Word, key: Word | Forms) -> int:
        new = len(self.words)
        known = self._numbers.setdefault(key, new)
        if known == new:
            self.words.append(word)
            if is_unspaced(word.text):
                self.narrow.add(known)
            self._list(known, word, key)
        return known

    def group(self, numbers: frozenset[int]) -> int:
        """One number for "any of these": what a word list stands for costs what a word costs."""
        known = self._groups.get(numbers)
        if known is None:
            known = self._groups[numbers] = len(self.words)
            self.words.append(None)
            self._members[known] = numbers
            for number in numbers:
                self._groups_of[number] = (*self._groups_of.get(number, ()), known)
        return known

    def members(self, group: int) -> frozenset[int]:
        """The numbers that a group stands for."""
        return self._members[group]

    def width(self, number: int) -> int:
        """How far the word reaches on the axis: see `words.Unit`."""
        return 1 if number in self.narrow else 2

    def _list(self, number: int, word: Word, key: Word | Forms) -> None:
        alone = (number,)
        folded = fold(word.text)
        if isinstance(key, Forms):
            for form in key.listed:
                _add(self._by_form, form, alone)
            if key.by_stem:
                self._stemmed.setdefault(_head(folded), []).append((folded, number))
        elif word.prefix:
            _add(self._by_prefix, folded, alone)
            self._prefix_lengths = tuple(sorted({*self._prefix_lengths, len(folded)}))
        else:
            # A cased word's key can't be one without case: see `_letters`.
            _add(self._by_letters, spell(word.text) if word.cased else _letters(spell(word.text)), alone)

    def met_by(self, word: str, known: int) -> Numbers:
        """The numbers below `known` that one word of a text meets, as it is written there."""
        form = fold(word)
        found = self._by_form.get(form, ())
        if self._by_letters:
            spelt = spell(word)
            found += self._by_letters.get(spelt, ()) + self._by_letters.get(_letters(spelt), ())
        for length in self._prefix_lengths:
            if length <= len(form):
                found += self._by_prefix.get(form[:length], ())
        if self._stemmed and (head := _head(form)) in self._stemmed:
            by_stem = self._stems_of(head)
            for stem in stems(form):
                found += by_stem.get(stem, ())
        if self._groups_of:
            found += tuple(group for number in found for group in self._groups_of.get(number, ()))
        if found and max(found) >= known:
            # Another matcher has learnt more words since: they are none of the one's that asks.
            found = tuple(number for number in found if number < known)
        return found if len(found) < 2 else tuple(dict.fromkeys(found))

    def _stems_of(self, head: str) -> dict[str, Numbers]:
        words = self._stemmed[head]
        count, known = self._by_stem.get(head, (0, {}))
        if count < len(words):
            # Kept when it is whole, with how many words it is of: other threads may be looking, or learning one.
            count, known = len(words), {}
            for word, number in words[:count]:
                for stem in stems(word):
                    _add(known, stem, (number,))
            self._by_stem[head] = count, known
        return known

    def cells(self) -> Cells:
        """A fresh memory of what pieces meet, for the words as they are now."""
        return Cells(self)


class Cells(dict[str, Cell]):
    """What each piece meets, found out when it is first asked for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self.vocabulary = vocabulary
        self._known = len(vocabulary.words)
        self._characters = _Characters(vocabulary, self._known)

    def of(self, text: str) -> list[Cell]:
        """The cells of a text, in order."""
        return list(map(self.__getitem__, pieces(text)))

    def width(self, text: str) -> int:
        """How far a text reaches on the axis, in half-words."""
        cell = self[text]
        return len(cell.line) if isinstance(cell, Run) else 2

    def __missing__(self, piece: str) -> Cell:
        if has_unspaced(piece):
            # A clause of Chinese comes but once: its characters are kept instead.
            apart = unspaced_apart(piece)
            return self._of_apart(apart) if apart else _together(map(self._of_unspaced, chunks(piece)))
        inside = chunks(piece)
        if inside == [piece]:
            cell = self._of_chunk(piece)
        else:
            cell = self[inside[0]] if len(inside) == 1 else _together(map(self.__getitem__, inside))
        if len(piece) <= MOST_CHARACTERS_KEPT:
            if len(self) >= MOST_CELLS:
                self.clear()
            self[piece] = cell
        return cell

    def _of_apart(self, apart: Sequence[str]) -> Run:
        known = self._characters.__getitem__
        line: list[Numbers] = []
        joins: list[tuple[int, int]] = []
        for spaced, unspaced in zip_longest(apart[::2], apart[1::2], fillvalue=""):
            if spaced:
                _join(line, joins, self[spaced])
            line += map(known, unspaced)
        return _run(line, joins, have_characters=True)

    def _of_unspaced(self, chunk: str) -> Cell:
        if not has_unspaced(chunk):
            return self[chunk]
        if not is_unspaced(chunk):
            return self._of_chunk(chunk)
        return _run(list(map(self._characters.__getitem__, chunk)), (), have_characters=True)

    def _of_chunk(self, chunk: str) -> Cell:
        if is_one_word(chunk):
            return self._met_by(chunk)
        there = list(units(chunk))
        if len(there) == 1 and there[0].after == 2:
            return self._met_by(there[0].word)
        line: list[Numbers] = [()] * max((unit.after for unit in there), default=0)
        joins: list[tuple[int, int]] = []
        have_characters = False
        for unit in there:
            is_character = unit.after - unit.at == 1
            have_characters |= is_character
            if numbers := self._characters[unit.word] if is_character else self._met_by(unit.word):
                line[unit.at] = numbers
                if unit.joins:
                    joins.append((unit.at, unit.after))
        return _run(line, joins, have_characters=have_characters)

    def _met_by(self, word: str) -> Numbers:
        return self.vocabulary.met_by(word, self._known)


class _Characters(dict[str, Numbers]):
    """What each character of a script without spaces meets."""

    def __init__(self, vocabulary: Vocabulary, known: int) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._known = known

    def __missing__(self, character: str) -> Numbers:
        numbers = self[character] = self._vocabulary.met_by(character, self._known)
        return numbers


def _run(line: Sequence[Numbers], joins: Sequence[tuple[int, int]], *, have_characters: bool) -> Run:
    # Some numbers may come twice in it: a set is made of all of them at last.
    run = Run(chain.from_iterable(line))
    run.line, run.joins = line, joins
    run.words = None if have_characters or joins else line[::2]
    return run


def _together(cells: Iterable[Cell]) -> Run:
    line: list[Numbers] = []
    joins: list[tuple[int, int]] = []
    have_characters = False
    for cell in cells:
        _join(line, joins, cell)
        have_characters |= isinstance(cell, Run) and cell.words is None
    return _run(line, joins, have_characters=have_characters)


def _join(line: list[Numbers], joins: list[tuple[int, int]], cell: Cell) -> None:
    """Puts a cell's words behind those that are there."""
    if isinstance(cell, Run):
        if cell.joins:
            begin = len(line)
            joins += [(begin + at, begin + after) for at, after in cell.joins]
        line += cell.line
    else:
        line += (cell, ())


def _letters(spelt: str) -> str:
    # The mark keeps what any case meets apart from what only this case meets.
    return "\0" + spelt.casefold()


def _head(form: str) -> str:
    # Arabic has its article in front, and other scripts have few words here: what they share is the script.
    return form[:STEM_HEAD] if form.isascii() else script_of(form) or ""


def _add(index: dict[str, Numbers], key: str, alone: Numbers) -> None:
    there = index.get(key)
    index[key] = alone if there is None else there + alone
