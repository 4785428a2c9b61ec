"""The words of all terms, numbered, and which of them a word of a text meets.

A text is looked at chunk by chunk (`words.chunks`). Which numbers a chunk meets is found out once for each spelling and
kept, so that a usual word of a usual item costs one look into a dictionary; most meet nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

from daemon.stems import stems
from daemon.terms import Word
from daemon.words import Forms, Unit, chunks, fold, is_unspaced, spell, units

Inflect: TypeAlias = Callable[[Iterable[str]], Mapping[str, Forms]]
"""The forms of folded words: see `lexicon.forms_of`."""
Numbers: TypeAlias = tuple[int, ...]

MOST_CELLS = 100_000
"""Spellings kept: the 61,801 items of the corpus have 175,000, of which half come once."""
STEM_HEAD = 3
"""Letters that a word and its inflections share; without them, each spelling would go through every stemmer."""


class Run(tuple[int, ...]):
    """What a chunk meets that is more than one ordinary word: a compound, or characters without spaces.

    As a tuple, all numbers in it. `units` are the words that meet something: their place in the run, for what hyphens
    join where the next word stands (else 0), and what they meet; `width` is how far the run reaches on the axis.
    """

    units: Sequence[tuple[int, int, Numbers]]
    width: int


Cell: TypeAlias = Numbers | Run


class Vocabulary:
    """Grows only: a number means the same for as long as it lives, so matchers may share one."""

    def __init__(self) -> None:
        self.words: list[Word | None] = []
        """By number; None for a group."""
        self._numbers: dict[Word | Forms, int] = {}
        self._forms: dict[str, Forms] = {}
        self._groups: dict[frozenset[int], int] = {}
        self._groups_of: dict[int, Numbers] = {}
        self._members: dict[int, frozenset[int]] = {}
        self._by_form: dict[str, Numbers] = {}
        self._by_letters: dict[str, Numbers] = {}
        self._by_prefix: dict[str, Numbers] = {}
        self._by_stem: dict[str, Numbers] = {}
        self._stem_heads: set[str] = set()
        self._prefix_lengths: tuple[int, ...] = ()

    def learn(self, words: Iterable[str], inflect: Inflect) -> None:
        """Looks up the forms of these folded words, which `number` goes by."""
        if new := set(words) - self._forms.keys():
            self._forms.update(inflect(new))

    def number(self, word: Word) -> int:
        """The number of a word of a term. Words of the same forms have the same: *attack* and *attacks*."""
        key: Word | Forms = word
        if not (word.exact or word.prefix):
            key = self._forms.get(fold(word.text)) or Forms(frozenset({fold(word.text)}))
        known = self._numbers.get(key)
        if known is None:
            known = self._numbers[key] = len(self.words)
            self.words.append(word)
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
        word = self.words[number]
        return 1 if word is not None and is_unspaced(word.text) else 2

    def _list(self, number: int, word: Word, key: Word | Forms) -> None:
        alone = (number,)
        folded = fold(word.text)
        if isinstance(key, Forms):
            for form in key.forms:
                _add(self._by_form, form, alone)
            for stem in stems(folded) if key.by_stem else ():
                _add(self._by_stem, stem, alone)
                self._stem_heads.add(folded[:STEM_HEAD])
        elif word.prefix:
            _add(self._by_prefix, folded, alone)
            self._prefix_lengths = tuple(sorted({*self._prefix_lengths, len(folded)}))
        else:
            # A cased word's key can't be one without case: see `_letters`.
            _add(self._by_letters, spell(word.text) if word.cased else _letters(word.text), alone)

    def met_by(self, word: str) -> Numbers:
        """The numbers that one word of a text meets, as it is written there."""
        form = fold(word)
        found = self._by_form.get(form, ())
        if self._by_letters:
            found += self._by_letters.get(spell(word), ()) + self._by_letters.get(_letters(word), ())
        for length in self._prefix_lengths:
            if length <= len(form):
                found += self._by_prefix.get(form[:length], ())
        if form[:STEM_HEAD] in self._stem_heads:
            for stem in stems(form):
                found += self._by_stem.get(stem, ())
        if self._groups_of:
            found += tuple(group for number in found for group in self._groups_of.get(number, ()))
        return found if len(found) < 2 else tuple(dict.fromkeys(found))

    def cells(self) -> Cells:
        """A fresh memory of what chunks meet, for the words as they are now."""
        return Cells(self)


class Cells(dict[str, Cell]):
    """What each chunk meets, found out when it is first asked for."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        super().__init__()
        self._vocabulary = vocabulary
        self._characters: dict[str, Numbers] = {}

    def of(self, text: str) -> list[Cell]:
        """The cells of a text, in order."""
        return list(map(self.__getitem__, chunks(text)))

    def __missing__(self, chunk: str) -> Cell:
        if is_unspaced(chunk[0]) and is_unspaced(chunk):
            # A clause of Chinese comes but once: its characters are kept instead.
            met = map(self._met_by_character, chunk)
            return _run([(at, 0, numbers) for at, numbers in enumerate(met) if numbers], len(chunk))
        there = list(units(chunk))
        if len(there) == 1 and not _is_character(there[0]):
            cell: Cell = self._vocabulary.met_by(there[0].word)
        else:
            cell = _run(
                [
                    (unit.at, unit.after if unit.joins else 0, numbers)
                    for unit in sorted(there)
                    if (numbers := self._met_by(unit))
                ],
                max((unit.after for unit in there), default=0),
            )
            if any(map(_is_character, there)):
                return cell
        if len(self) >= MOST_CELLS:
            self.clear()
        self[chunk] = cell
        return cell

    def _met_by(self, unit: Unit) -> Numbers:
        return self._met_by_character(unit.word) if _is_character(unit) else self._vocabulary.met_by(unit.word)

    def _met_by_character(self, character: str) -> Numbers:
        numbers = self._characters.get(character)
        if numbers is None:
            numbers = self._characters[character] = self._vocabulary.met_by(character)
        return numbers


def _run(there: Sequence[tuple[int, int, Numbers]], width: int) -> Run:
    run = Run(dict.fromkeys(number for _, _, numbers in there for number in numbers))
    run.units, run.width = there, width
    return run


def _is_character(unit: Unit) -> bool:
    return unit.after - unit.at == 1


def _letters(word: str) -> str:
    # The mark keeps what any case meets apart from what only this case meets.
    return "\0" + spell(word).casefold()


def _add(index: dict[str, Numbers], key: str, alone: Numbers) -> None:
    there = index.get(key)
    index[key] = alone if there is None else there + alone
