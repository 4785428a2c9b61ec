"""A matcher that is slow and obvious: it tries everything, and every rule of the language is a function of its own.

It has a tree of its own for terms, with the line that a user would write for each, so that it owes nothing to the
parser either. Inflection is not among its rules: it is for words that have none.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias

DEFAULT_FIELDS = ("title", "summary")
FIELDS = ("title", "summary", "content")


WordKind = Literal["plain", "exact", "cased", "prefix"]

# ── terms ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Word:
    """A word as a user writes it: inflected at will, `=exact`, `="cased"`, or a `prefix*`."""

    text: str
    kind: WordKind = "plain"

    def __str__(self) -> str:
        return {"plain": "{}", "exact": "={}", "cased": '="{}"', "prefix": "{}*"}[self.kind].format(self.text)


@dataclass(frozen=True)
class Phrase:
    """Words in quotes; with `slop` in any order, with so many words between them."""

    words: tuple[str, ...]
    slop: int | None = None
    cased: bool = False

    def __str__(self) -> str:
        return f'{"=" * self.cased}"{" ".join(self.words)}"' + (f"~{self.slop}" if self.slop is not None else "")


@dataclass(frozen=True)
class Near:
    parts: tuple[Term, ...]

    def __str__(self) -> str:
        return f"({' '.join(map(str, self.parts))})"


@dataclass(frozen=True)
class And:
    parts: tuple[Term, ...]

    def __str__(self) -> str:
        return f"({' AND '.join(map(str, self.parts))})"


@dataclass(frozen=True)
class Or:
    parts: tuple[Term, ...]

    def __str__(self) -> str:
        return f"({' OR '.join(map(str, self.parts))})"


@dataclass(frozen=True)
class Not:
    part: Term

    def __str__(self) -> str:
        return f"NOT {self.part}"


@dataclass(frozen=True)
class In:
    field: str
    part: Term

    def __str__(self) -> str:
        return f"{self.field}:{self.part}"


Term: TypeAlias = Word | Phrase | Near | And | Or | Not | In


# ── when two words are the same ──────────────────────────────────────────────────────────────────────────────────

APOSTROPHES = "'’ʼ"
HYPHENS = ("-", "\N{HYPHEN}", "\N{NON-BREAKING HYPHEN}")
SOFT_HYPHEN = "\u00ad"
SPACELESS = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


def cased_form(word: str) -> str:
    """As `="Word"` compares it: compatibility forms, apostrophes, soft hyphens, dots of initials and the English
    possessive don't count; all else does."""
    form = unicodedata.normalize("NFKC", word).replace(SOFT_HYPHEN, "").replace(".", "")
    for apostrophe in APOSTROPHES:
        form = form.replace(apostrophe, "'")
    return form[:-2] if form[-2:] in ("'s", "'S") else form


def exact_form(word: str) -> str:
    """As `=word` compares it: the case does not count either."""
    return cased_form(word).casefold()


@lru_cache(maxsize=10_000)
def plain_form(word: str) -> str:
    """As a word without `=` is compared: accents of Latin and Greek, stress marks, and the dots of ё don't count."""
    letters = ""
    for mark in unicodedata.normalize("NFD", exact_form(word)):
        if not unicodedata.combining(mark) or _makes_another_letter(letters, mark):
            letters += mark
    return unicodedata.normalize("NFC", letters)


def _makes_another_letter(before: str, mark: str) -> bool:
    """Whether a mark on the last letter of `before` makes it a letter of its own, as й and ї are, and ё is not."""
    script = unicodedata.name(before[-1:] or " ").split()[0]
    if script in ("LATIN", "GREEK"):
        return False
    if script == "CYRILLIC":
        return mark == "\N{COMBINING BREVE}" or (mark == "\N{COMBINING DIAERESIS}" and before[-1] != "е")
    return True


# ── what words a text has ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Standing:
    """A word that stands in a text: how it is spelt there, in which field, on which characters `[start, end)`.

    It begins so many half-words after the text: a word takes two of them, a character of a script without spaces one.
    What hyphens join stands beside its parts, half a word after the first of them begins. `first` and `last` are the
    numbers of those parts, or the word's own number, among the words that stand one after another.
    """

    spelt: str
    field: str
    start: int
    end: int
    begins: int
    first: int
    last: int


Text: TypeAlias = tuple[Standing, ...]
"""One sequence of words: a field, or several that are read as one."""


def is_spaceless(letter: str) -> bool:
    return unicodedata.name(unicodedata.normalize("NFKC", letter)[:1] or " ", "").startswith(SPACELESS)


@lru_cache(maxsize=100)
def word_spans(text: str) -> list[tuple[int, int]]:
    """Initials; single characters of scripts without spaces; other words, with marks and apostrophes inside."""
    at = 0
    spans = []
    while at < len(text):
        initials = re.compile(r"(?:[^\W\d_]\.){2,}").match(text, at)
        if initials and not (at and text[at - 1].isalnum()):
            end = initials.end()
        elif is_spaceless(text[at]):
            end = at + 1
        elif text[at].isalnum():
            end = _word_end(text, at)
        else:
            at += 1
            continue
        spans.append((at, end))
        at = end
    return spans


def _word_end(text: str, start: int) -> int:
    end = start + 1
    while end < len(text) and _goes_on(text[end], text[end + 1 : end + 2]):
        end += 1
    return end


def _goes_on(here: str, after: str) -> bool:
    if here in APOSTROPHES:
        return after.isalnum() and not is_spaceless(after)
    return (here.isalnum() and not is_spaceless(here)) or here == SOFT_HYPHEN or unicodedata.combining(here) > 0


def read(fields: Mapping[str, str], names: Sequence[str]) -> Text:
    """The fields of these names as one sequence of words."""
    words: list[Standing] = []
    compounds: list[Standing] = []
    begins = 0
    for name in names:
        text = fields[name]
        own: list[Standing] = []
        for start, end in word_spans(text):
            number = len(words) + len(own)
            own.append(Standing(text[start:end], name, start, end, begins, number, number))
            begins += 1 if is_spaceless(text[start]) else 2
        compounds += _compounds(text, own)
        words += own
    return (*words, *compounds)


def _compounds(text: str, words: Sequence[Standing]) -> Iterator[Standing]:
    """ "cease-fire" is *ceasefire*, too: words with nothing but a hyphen between them, as many as there are. Figures
    stay apart: 2-3 is not 23."""
    for parts in _joined_by_hyphens(text, words):
        first, last = parts[0], parts[-1]
        spelt = "".join(part.spelt for part in parts)
        if len(parts) > 1 and not spelt.isdigit():
            yield Standing(spelt, first.field, first.start, last.end, first.begins + 1, first.first, last.last)


def _joined_by_hyphens(text: str, words: Sequence[Standing]) -> Iterator[list[Standing]]:
    parts: list[Standing] = []
    for word in words:
        if parts and text[parts[-1].end : word.start] not in HYPHENS:
            yield parts
            parts = []
        parts.append(word)
    if parts:
        yield parts


# ── where a term stands ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Place:
    """The words that a term takes: where each of them begins, in half-words."""

    begins: frozenset[int]

    @property
    def length(self) -> int:
        return max(self.begins) - min(self.begins)


Lists: TypeAlias = Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Reference:
    """The rules that a term is read by: how near near is, whether it reads title and summary as one, word lists.

    With `shown`, spans of characters by field, all other words of an item are left out, and exclusions with them: so it
    tells whether what is shown is enough to make a term true.
    """

    within_words: int
    across: bool = False
    lists: Lists = field(default_factory=dict)
    shown: Mapping[str, Sequence[tuple[int, int]]] | None = None

    def holds(self, term: Term, item: Mapping[str, str], fields: Sequence[str] = DEFAULT_FIELDS) -> bool:
        """AND and NOT look at the whole item; the rest must stand somewhere."""
        match term:
            case Not(part):
                return self.shown is not None or not self.holds(part, item, fields)
            case In(name, part):
                return self.holds(part, item, (name,))
            case And(parts):
                return all(self.holds(part, item, fields) for part in parts)
            case Or(parts):
                return any(self.holds(part, item, fields) for part in parts)
            case _:
                return any(True for text in self.texts(item, fields) for _ in self.places(term, text))

    def texts(self, item: Mapping[str, str], fields: Sequence[str] = DEFAULT_FIELDS) -> list[Text]:
        """What is read in one go: each field by itself, unless the term reads across."""
        texts = [read(item, fields)] if self.across else [read(item, (name,)) for name in fields]
        if self.shown is None:
            return texts
        shown = {(name, start, end) for name, spans in self.shown.items() for start, end in spans}
        return [tuple(word for word in text if (word.field, word.start, word.end) in shown) for text in texts]

    def places(self, term: Term, text: Text) -> Iterator[Place]:
        """Every place in which `term` stands."""
        match term:
            case Word():
                for way in _spellings(term):
                    for words in self._meant_by(way):
                        yield from _places_of_row(words, text)
            case Phrase(words, None, cased):
                yield from _phrase_places([Word(word, "cased" if cased else "plain") for word in words], text)
            case Phrase(words, slop):
                parts = [list(_phrase_places([Word(word)], text)) for word in words]
                yield from _near_places(parts, len(words) + (slop or 0))
            case Or(parts):
                for part in parts:
                    yield from self.places(part, text)
            case Near(parts):
                yield from _near_places([list(self.places(part, text)) for part in parts], self.within_words)
            case _:
                raise AssertionError(f"{term} stands nowhere")

    def _meant_by(self, way: Sequence[Word]) -> list[Sequence[Word]]:
        """A word that is a list's name stands for each of its lines, too, which are words or phrases."""
        named = [name for name in self.lists if way[0].kind == "plain" and plain_form(name) == plain_form(way[0].text)]
        lines = [line for name in named for line in self.lists[name]] if len(way) == 1 else []
        return [way, *(row for line in lines for row in _rows([Word(word) for word in line.split()]))]


def _near_places(parts: Sequence[Sequence[Place]], within_words: int) -> Iterator[Place]:
    """All parts, each on words of its own, the last word beginning at most so many words after the first."""
    for places in itertools.product(*parts):
        together = Place(frozenset[int]().union(*(place.begins for place in places)))
        apart = len(together.begins) == sum(len(place.begins) for place in places)
        if apart and together.length <= 2 * (within_words - 1):
            yield together


def _phrase_places(words: Sequence[Word], text: Text) -> Iterator[Place]:
    """One word right after the other. A word of several, such as "cease-fire" or 停战, is the phrase of its words."""
    for row in _rows(words):
        yield from _places_of_row(row, text)


def _rows(words: Sequence[Word]) -> Iterator[list[Word]]:
    for ways in itertools.product(*map(_spellings, words)):
        yield [word for way in ways for word in way]


def _places_of_row(row: Sequence[Word], text: Text) -> Iterator[Place]:
    for run in _runs(row, text):
        yield Place(frozenset(word.begins for word in run))


def _spellings(word: Word) -> list[list[Word]]:
    """The words that a word of a term is made of, one after another; "cease-fire" is *ceasefire* as well."""
    made_of = read({"term": word.text}, ["term"])
    *apart, last = (one.spelt for one in made_of if one.first == one.last)
    inner: WordKind = "plain" if word.kind == "prefix" else word.kind
    joined = [[Word(one.spelt, word.kind)] for one in made_of if one.first < one.last]
    return [[*(Word(one, inner) for one in apart), Word(last, word.kind)], *joined]


def _runs(words: Sequence[Word], text: Text, after: int | None = None) -> Iterator[list[Standing]]:
    if not words:
        yield []
        return
    for standing in text:
        if after in (None, standing.first - 1) and meets(words[0], standing.spelt):
            for rest in _runs(words[1:], text, standing.last):
                yield [standing, *rest]


def meets(word: Word, spelt: str) -> bool:
    """Whether a word of a term takes a word of a text."""
    match word.kind:
        case "prefix":
            return plain_form(spelt).startswith(plain_form(word.text))
        case "cased":
            return cased_form(word.text) == cased_form(spelt)
        case "exact":
            return exact_form(word.text) == exact_form(spelt)
        case "plain":
            return plain_form(word.text) == plain_form(spelt)
