"""Words: how a text is cut into them, what makes two of them the same.

Case, accents, compatibility forms (full-width letters, ligatures), soft hyphens and the kind of apostrophe never decide
a match; ё is е, while й and ї are letters of their own. Initials are one word, with or without their dots ("U.S." is
*US*); an English possessive and a French or Italian elision belong to their word ("Russia's" is *russia*, "l'accord"
is *accord*). A hyphen parts two words, and what it joins is a word too: "cease-fire" is *cease*, *fire* and
*ceasefire*. In scripts without spaces (Chinese, Japanese, Thai …) each character is a word of its own.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, zip_longest
from operator import attrgetter
from typing import NamedTuple

# Thai, Lao, Burmese, Khmer, kana, Han and their extensions; the gaps are punctuation and digits.
_UNSPACED = (
    "\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0ecd\u0edc-\u0edf\u1000-\u103f\u1050-\u108f\u1780-\u17d3\u3005-\u3007"
    "\u3041-\u3096\u3099\u309a\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\uff66-\uff9f\U0001b000-\U0001b16f\U00020000-\U000323af"
)
# What stands inside a word and is no letter to Python: soft hyphen, accents, vowel signs of Indic scripts, points of
# Hebrew and Arabic, joiners.
_MARKS = (
    "\u00ad\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0900-\u0963\u0971-\u0dff\u200c\u200d"
)
# Vowels and tones of the scripts without spaces, which are no letters to Python either.
_SIGNS = (
    "\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u1056-\u1059\u105e-\u1060\u1062-\u1064"
    "\u1067-\u106d\u1071-\u1074\u1082-\u108d\u108f\u17b4-\u17d3\u3099\u309a"
)
_LETTERS = rf"[^\Wʼ{_UNSPACED}]+(?:[{_MARKS}]+[^\Wʼ{_UNSPACED}]*)*"
_PART = rf"(?!_){_LETTERS}(?:['’ʼ]{_LETTERS})*"
_INITIALS = r"(?<!\w)(?:[^\W\d_]\.){2,}"
_HYPHEN = "[-\u2010\u2011]"
_WORD = re.compile(rf"{_INITIALS}|[{_UNSPACED}]|{_PART}(?:{_HYPHEN}{_PART})*")
_PARTS = re.compile(rf"{_INITIALS}|[{_UNSPACED}]|{_PART}")
# Coarser than a word and five times faster to find, because its class is no list of ranges that is gone through for
# each letter: no word of `_WORD` goes over its ends.
_CHUNK = re.compile(rf"\w+(?:['’\-\u2010\u2011{_MARKS}{_SIGNS}]+\w+|[{_MARKS}{_SIGNS}]+|(?:\.[^\W\d_](?!\w))+\.)*")
_ONE_UNSPACED = re.compile(f"[{_UNSPACED}]")
_ALL_UNSPACED = re.compile(f"[{_UNSPACED}]+")
_UNSPACED_APART = re.compile(f"([{_UNSPACED}]+)")
_LETTER_AND_DOT = re.compile(r"[^\W\d_]\.")
_HYPHENS = re.compile(_HYPHEN)
MOST_CHARACTERS_KEPT = 100
"""Of a spelling that is remembered: a text without spaces may be one of 200,000, and comes once."""
_EDGES = ".,:;!?…()[]\"'“”„«»‘’-–—"
"""What mostly stands around a word, and is no part of one that is letters and digits alone."""

_TYPOGRAPHY = str.maketrans({"’": "'", "ʼ": "'", "\u00ad": None, "\u200c": None, "\u200d": None})
# Letters that Unicode does not take apart, though a reader without the right keyboard would.
_LETTERS_APART = str.maketrans({"æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ı": "i", "ŧ": "t", "ħ": "h"})
# й, ї and ў are letters, and no и, і, у with an accent.
_ACCENT = re.compile(
    "(и\u0306|і\u0308|у\u0306)|[\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed]"
)
_CYRILLIC = re.compile(r"[\u0400-\u052f\u0300-\u036f']+")
# Nothing of it is folded, whatever stands beside it.
_FOLDED_CYRILLIC = re.compile("[а-яіїєґ]+")
_ELISION = re.compile(
    r"(?:[cdjlmnst]|qu|un|dell|all|dall|nell|sull|quell|quest|jusqu|lorsqu|puisqu)'(?=\w\w)", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text: its characters `[start, end)`, and its folded form."""

    start: int
    end: int
    form: str


class Unit(NamedTuple):
    """A word on the axis along which nearness is measured, in half-words: it stands at `at`, the next one at `after`.

    A word advances by 2, a character of a script without spaces by 1. What hyphens join (`joins`) stands beside its
    parts, one after the first of them.
    """

    at: int
    after: int
    start: int
    end: int
    word: str
    joins: bool = False


def units(text: str) -> Iterator[Unit]:
    """The words of `text` as they stand there, each with its place on the axis and its characters `[start, end)`."""
    at = 0
    for chunk in _CHUNK.finditer(text):
        for found in _WORD.finditer(chunk.group()):
            start, word, first = chunk.start() + found.start(), found.group(), at
            for part in _PARTS.finditer(word):
                after = at + (1 if _ONE_UNSPACED.match(part.group()) else 2)
                yield Unit(at, after, start + part.start(), start + part.end(), part.group())
                at = after
            if at - first > 2 and (whole := joined(word)):
                yield Unit(first + 1, at, start, start + len(word), whole, joins=True)


def tokenise(text: str) -> list[Token]:
    """The words of `text` in order, with spans into `text` exactly as it was given; hyphens part them."""
    return [Token(unit.start, unit.end, fold(unit.word)) for unit in units(text) if not unit.joins]


def pieces(text: str) -> list[str]:
    """What stands between spaces: mostly one word and its punctuation. Twenty times faster than looking for words."""
    return text.split()


def chunks(text: str) -> list[str]:
    """`text` without what lies between words: mostly one word a chunk (see `words_of`)."""
    return _CHUNK.findall(text)


def words_of(chunk: str) -> list[str]:
    """The words of a chunk as they stand there; what one hyphen joins is one word (see `parts_of`)."""
    return _WORD.findall(chunk)


def is_one_word(text: str) -> bool:
    """Whether it is, at a glance, one word of letters and digits of a script with spaces. False may be wrong."""
    return text.isalnum() and (text.isascii() or (max(text) < "\u0900" and "ʼ" not in text))


def parts_of(word: str) -> list[str]:
    """The words that hyphens join in a word of `words_of`; mostly that word alone."""
    return _PARTS.findall(word)


def joined(word: str) -> str | None:
    """A word of `words_of` without its hyphens ("cease-fire" is also *ceasefire*); None where it has none.

    Figures that a hyphen joins stay apart: 2-3 is no 23.
    """
    whole = _HYPHENS.sub("", word)
    return whole if whole != word and any(map(str.isalpha, whole)) else None


def has_unspaced(text: str) -> bool:
    """Whether some character of it belongs to a script that is written without spaces between words."""
    return _ONE_UNSPACED.search(text) is not None


def unspaced_apart(piece: str) -> list[str]:
    """What stands in a piece, by turns: what belongs to scripts with spaces, and to those without.

    The words of the first are the same alone and here, and of the second each character is one. Empty where that does
    not hold: beside initials (which may be of any script), and where a vowel sign stands that may belong to nothing.
    """
    apart = _UNSPACED_APART.split(piece)
    if ("." in piece and _LETTER_AND_DOT.search(piece)) or not all(map(str.isalnum, apart[1::2])):
        return []
    return apart


def is_cyrillic(word: str) -> bool:
    """Whether it is a folded word of Cyrillic letters, accents and apostrophes among them."""
    return _CYRILLIC.fullmatch(word) is not None


def is_unspaced(text: str) -> bool:
    """Whether every character of it belongs to a script that is written without spaces between words."""
    return _ALL_UNSPACED.fullmatch(text) is not None


class Spans:
    """Where the words of a text stand in it, which was cut into pieces.

    A text is not cut into units again for the few words that are asked for: only what holds them is. `width_of` says
    how far a part of it reaches on the axis, which is known of what was read.
    """

    def __init__(self, text: str, pieces: Sequence[str], width_of: Callable[[str], int]) -> None:
        self._pieces = pieces
        self._width_of = width_of
        self._before = _before(text, pieces)
        self._stretches: dict[int, list[_Stretch]] = {}

    def at(self, index: int, place: int) -> tuple[int, int]:
        """The characters `[start, end)` of the word at a place of a piece, which is counted from where that begins."""
        start, written = self._before[index] + index, self._pieces[index]
        if not place:
            if is_one_word(written):
                return start, start + len(written)
            if is_one_word(word := written.strip(_EDGES)):
                start += written.index(word)
                return start, start + len(word)
        stretches = self._stretches.get(index)
        if stretches is None:
            stretches = self._stretches[index] = _stretches(written, self._width_of)
        first, last = stretches[bisect_right(stretches, place, key=_begin) - 1].span(place)
        return start + first, start + last


def _before(text: str, pieces: Sequence[str]) -> Sequence[int]:
    """How many characters stand before each piece, without those that part pieces where these are one each."""
    lengths = list(accumulate(map(len, pieces), initial=0))
    if lengths[-1] + len(pieces) - 1 == len(text):
        return lengths
    found, start = [], 0
    for index, piece in enumerate(pieces):
        start = text.index(piece, start)
        found.append(start - index)
        start += len(piece)
    return found


@dataclass(slots=True)
class _Stretch:
    """A part of a piece: where it begins on the axis and in the text, both counted from where the piece does."""

    at: int
    start: int
    text: str
    is_unspaced: bool
    words: dict[int, tuple[int, int]] | None = None
    """The characters of its words, by their places, from when one is asked for on."""

    def span(self, place: int) -> tuple[int, int]:
        """The characters `[start, end)` of the word at a place of the piece."""
        at, start = place - self.at, self.start
        if self.is_unspaced:
            return start + at, start + at + 1
        if self.words is None:
            self.words = {unit.at: (start + unit.start, start + unit.end) for unit in units(self.text)}
        return self.words[at]


_begin = attrgetter("at")


def _stretches(piece: str, width_of: Callable[[str], int]) -> list[_Stretch]:
    apart = unspaced_apart(piece) if has_unspaced(piece) else []
    if not apart:
        return [_Stretch(0, 0, piece, is_unspaced=False)]
    # As the cells of such a piece are made: each character of a clause of Chinese is a word, which needs no search.
    stretches: list[_Stretch] = []
    at = start = 0
    for spaced, unspaced in zip_longest(apart[::2], apart[1::2], fillvalue=""):
        if spaced:
            if width := width_of(spaced):
                stretches.append(_Stretch(at, start, spaced, is_unspaced=False))
                at += width
            start += len(spaced)
        if unspaced:
            stretches.append(_Stretch(at, start, unspaced, is_unspaced=True))
            at, start = at + len(unspaced), start + len(unspaced)
    return stretches


def fold(word: str) -> str:
    """The form in which two spellings of a word are equal: `fold("Russia’s") == "russia"`, `fold("Zoé") == "zoe"`."""
    return _folded(word) if len(word) <= MOST_CHARACTERS_KEPT else _folded.__wrapped__(word)


@lru_cache(maxsize=8_192)
def _folded(word: str) -> str:
    if word.isascii() and word.isalnum():
        return word.lower()
    if _FOLDED_CYRILLIC.fullmatch(word):
        return word
    spelt = spell(word).casefold()
    if spelt.isascii():
        return spelt
    bare = _ACCENT.sub(lambda found: found[1] or "", unicodedata.normalize("NFD", spelt))
    return unicodedata.normalize("NFC", bare).translate(_LETTERS_APART) or spelt


def spell(word: str) -> str:
    """A word in one typography, its case and accents kept: `spell("Istanbul’s") == "Istanbul"`."""
    # A dot inside a word is one between initials: "U.S." is spelt as "US" is.
    spelt = unicodedata.normalize("NFKC", word).translate(_TYPOGRAPHY).replace(".", "")
    if "'" in spelt:
        spelt = _ELISION.sub("", spelt) if _ELISION.match(spelt) else spelt
        spelt = spelt[:-2] if spelt[-2:] in ("'s", "'S") else spelt
    return spelt or word


@dataclass(frozen=True, slots=True)
class Forms:
    """What a word of a term meets: its folded inflected forms, itself among them, in order and each once (`of`).

    `by_stem` is true for words of languages that only Snowball serves: those meet every word of an equal stem, too.
    `guessed` is true where no dictionary lists the word, and its forms follow from how it ends.
    """

    listed: tuple[str, ...]
    """No set: the words of 100,000 terms would take 9 MB more."""
    by_stem: bool = False
    guessed: bool = False

    @classmethod
    def of(cls, forms: Iterable[str], *, by_stem: bool = False, guessed: bool = False) -> Forms:
        """Of forms in any order."""
        return cls(tuple(sorted(set(forms))), by_stem, guessed)

    @property
    def forms(self) -> frozenset[str]:
        """The forms, to be asked for one."""
        return frozenset(self.listed)
