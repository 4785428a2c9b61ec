"""The language of watch-terms: from the line a person writes to a tree.

    energy strike pause            all three words, in any inflected form, near each other
    "Black Sea"                    this phrase;  "prisoner exchange"~5  with up to five words between
    =Istanbul   ="Istanbul"        this form only;  this case too
    halt*                          every word that begins so
    cease-fire                     "cease fire" or ceasefire
    title:hockey  content:(a b)    in this field alone
    (strike OR attack) AND pause   alternatives; AND and NOT look at the whole item
    prisoner exchange -Gaza        and not

NOT binds before near (side by side), near before AND, AND before OR: Lucene's query syntax, with near for its "or".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, product
from operator import ne
from typing import Literal, NamedTuple, TypeAlias, get_args

from daemon.errors import ClaimwatchError
from daemon.words import chunks, fold, is_one_word, joined, parts_of, words_of

Field = Literal["title", "summary", "content"]
FIELDS: tuple[Field, ...] = get_args(Field)


@dataclass(frozen=True, slots=True)
class Word:
    """One word, or one character of a script without spaces.

    `exact` takes no inflection and minds accents, `cased` minds the case too, `prefix` takes every word that begins so.
    """

    text: str
    exact: bool = False
    cased: bool = False
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words one after another, in this order."""

    words: tuple[Word, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """Parts close together in one field, in any order; `within_words` None is the rule set's default."""

    parts: tuple[Term, ...]
    within_words: int | None = None


@dataclass(frozen=True, slots=True)
class And:
    """Every part, anywhere in the item."""

    parts: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Or:
    """Any part."""

    parts: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The item holds this nowhere."""

    part: Term


@dataclass(frozen=True, slots=True)
class In:
    """This part, in one field alone."""

    field: Field
    part: Term


Term: TypeAlias = Word | Phrase | Near | And | Or | Not | In


class TermError(ClaimwatchError):
    """A watch-term can't be read. `column` counts from 1 within the term."""

    def __init__(self, message: str, column: int, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.column = column


class _Piece(NamedTuple):
    kind: Literal["(", ")", "AND", "OR", "NOT", "field", "word", "phrase"]
    text: str
    column: int
    exact: bool = False
    prefix: bool = False
    slop: int | None = None


_ROOM = re.compile(r'"~\d+')
_PIECE = re.compile(
    r"""\s*(?:
      (?P<open>\() | (?P<close>\)) |
      (?P<field>(?P<name>[^\s"():=*~-][^\s"():=*~]*):(?!/)) |
      (?P<minus>-(?=[\w"(=])) |
      (?P<exact>=?)"(?P<phrase>[^"]*)(?P<closed>"?)(?:~(?P<slop>\d+))? |
      (?P<exactword>=?)(?P<word>[^\s"()]+)
    )""",
    re.VERBOSE,
)


_TYPOGRAPHY = str.maketrans("“”„‟«»–—−", '""""""---')
DEEPEST_NESTING = 50
MOST_HYPHENED = 3
"""Words with hyphens in one phrase, of which each may be apart or one: eight phrases, where ten would make 1,024."""

_OPERATORS = frozenset({"AND", "OR", "NOT"})


def parse_term(text: str) -> Term:
    """The tree of one watch-term. Raises TermError, which names the column and what to write instead."""
    # Quotes and dashes as word processors write them; each is one character, so that columns hold.
    text = text.translate(_TYPOGRAPHY)
    pieces = list(_pieces(text))
    if not pieces:
        raise TermError("an empty term", 1, "Write the words to look for, such as: prisoner exchange")
    parser = _Parser(pieces, len(text) + 1)
    term = parser.alternatives()
    if (rest := parser.peek()) is not None:
        raise TermError("this ) closes nothing", rest.column, "Take it out, or open it with ( before.")
    if not _says_something(term):
        raise TermError(
            "a term of nothing but exclusions would match nearly everything", 1, "Add a word that must be there."
        )
    return term


def words_to_inflect(text: str) -> Iterator[str]:
    """The folded words of a line: all that its terms may ask the forms of, and a few more (OR, title)."""
    # How near the words of a phrase are is no word, nor part of what stands behind it.
    for chunk in chunks(_ROOM.sub('" ', text.translate(_TYPOGRAPHY))):
        if is_one_word(chunk):
            yield fold(chunk)
            continue
        for word in words_of(chunk):
            yield from map(fold, _joined_or_parts(word))
            yield from map(fold, parts_of(word))


def words_in(term: Term) -> Iterator[Word]:
    """Every word of a term, in order."""
    match term:
        case Word():
            yield term
        case Phrase(parts) | Near(parts) | And(parts) | Or(parts):
            for part in parts:
                yield from words_in(part)
        case Not(part) | In(part=part):
            yield from words_in(part)


def uncapitalised(text: str) -> Iterator[tuple[str, int]]:
    """Each "and", "or" and "not" between the words of a term that are words for want of capitals, with its column."""
    pieces = list(_pieces(text.translate(_TYPOGRAPHY)))
    for before, piece, after in zip(pieces, pieces[1:], pieces[2:], strict=False):
        is_word = piece.kind == "word" and not piece.exact and not piece.prefix
        if (
            is_word
            and piece.text.upper() in _OPERATORS
            and before.kind not in ("(", "NOT", "field")
            and after.kind not in (")", "AND", "OR")
        ):
            yield piece.text, piece.column


def _pieces(text: str) -> Iterator[_Piece]:
    at = 0
    while at < len(text.rstrip()):
        found = _PIECE.match(text, at)
        if found is None or found.end() == at:
            column = at + len(text[at:]) - len(text[at:].lstrip()) + 1
            raise TermError(f"{text[column - 1]!r} can't stand here", column, "Write words, phrases in quotes, ( ) OR.")
        at = found.end()
        yield _piece(found)


def _piece(found: re.Match[str]) -> _Piece:
    column = found.start() + len(found.group()) - len(found.group().lstrip()) + 1
    if found["open"] or found["close"]:
        return _Piece("(" if found["open"] else ")", "", column)
    if found["field"]:
        if found["name"] not in FIELDS:
            raise TermError(f"there is no field {found['name']!r}", column, f"Fields are {', '.join(FIELDS)}.")
        if not found.string[found.end() :][:1].strip():
            example = f"Right behind it: {found['name']}:hockey"
            raise TermError(f"{found['name']}: must be followed by words", column, example)
        return _Piece("field", found["name"], column)
    if found["minus"]:
        return _Piece("NOT", "-", column)
    if found["phrase"] is not None:
        if not found["closed"]:
            raise TermError("this quote is never closed", column, 'Close the phrase with ".')
        slop = int(found["slop"]) if found["slop"] else None
        if "*" in found["phrase"]:
            star = found.start("phrase") + found["phrase"].index("*") + 1
            raise TermError("'*' can't stand in a phrase", star, "A * may end a word that stands alone: halt*")
        return _Piece("phrase", found["phrase"], column, exact=bool(found["exact"]), slop=slop)
    return _word_piece(found["word"], bool(found["exactword"]), column, found.start("word") + 1)


def _word_piece(word: str, exact: bool, column: int, first_letter: int) -> _Piece:
    if not exact and word in _OPERATORS:
        return _Piece(word, word, column)  # type: ignore[arg-type]
    if word[0] in "-!" and word.strip("-!"):
        raise TermError(f"{word[0]!r} can't stand here", first_letter, "To exclude a word, write -word.")
    stem = word.removesuffix("*")
    if "*" in stem or "~" in stem:
        mark = "*" if "*" in stem else "~"
        hint = "A * may end a word: halt*" if mark == "*" else 'A ~ follows a phrase: "prisoner exchange"~5'
        raise TermError(f"{mark!r} can't stand inside a word", first_letter + word.index(mark), hint)
    return _Piece("word", stem, column, exact=exact, prefix=stem != word)


class _Parser:
    """Recursive descent, one method for each strength of binding."""

    def __init__(self, pieces: list[_Piece], end_column: int) -> None:
        self.pieces = pieces
        self.at = 0
        self.depth = 0
        self.end_column = end_column

    def peek(self) -> _Piece | None:
        return self.pieces[self.at] if self.at < len(self.pieces) else None

    def take(self, *kinds: str) -> _Piece | None:
        piece = self.peek()
        if piece is None or piece.kind not in kinds:
            return None
        self.at += 1
        return piece

    def alternatives(self) -> Term:
        parts = [self.conjunction()]
        while self.take("OR"):
            parts.append(self.conjunction())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def conjunction(self) -> Term:
        parts = [self.neighbours()]
        while self.take("AND"):
            parts.append(self.neighbours())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def neighbours(self) -> Term:
        near: list[Term] = []
        nots: list[Term] = []
        while (piece := self.peek()) is not None and piece.kind not in (")", "AND", "OR"):
            part = self.unary()
            if isinstance(part, Not):
                nots.append(part)
                continue
            near.append(part)
            if len(near) > 1 and (bad := next((p for p in near if not _is_local(p)), None)) is not None:
                raise TermError(
                    f"{_name(bad)} can't be near something",
                    piece.column,
                    "Join the two with AND, or write the group without AND, NOT and fields.",
                )
        if not near and not nots:
            after = self.peek()
            raise TermError(
                "a word is missing here",
                after.column if after else self.end_column,
                "AND, OR and NOT stand between words; write them as =and, =or, =not to look for the words themselves.",
            )
        positive = [near[0]] if len(near) == 1 else [Near(tuple(near))] if near else []
        parts = positive + nots
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def unary(self) -> Term:
        if piece := self.take("NOT"):
            part = self.unary() if self.peek() else None
            if part is None or isinstance(part, Not):
                raise TermError("NOT must be followed by what may not be there", piece.column, "Such as: -Gaza")
            return Not(part)
        if piece := self.take("field"):
            part = self.unary()
            if isinstance(part, Not | In):
                raise TermError(
                    f"{piece.text}: must be followed by words", piece.column, f"Such as: {piece.text}:hockey"
                )
            return In(piece.text, part)  # type: ignore[arg-type]
        if piece := self.take("("):
            self.depth += 1
            if self.depth > DEEPEST_NESTING:
                raise TermError("too many brackets inside each other", piece.column, "Write it as several terms.")
            inner = self.alternatives()
            self.depth -= 1
            if not self.take(")"):
                raise TermError("this ( is never closed", piece.column, "Close it with ).")
            return inner
        piece = self.take("word", "phrase")
        if piece is None:
            after = self.peek()
            raise TermError("a word is missing here", after.column if after else self.end_column)
        return _leaf(piece)


def _leaf(piece: _Piece) -> Term:
    cased = piece.kind == "phrase" and piece.exact
    if is_one_word(piece.text):
        return Word(piece.text, piece.exact, cased, piece.prefix)
    spelt = [word for chunk in chunks(piece.text) for word in words_of(chunk)]
    if not spelt:
        raise TermError(f"there is no word in {piece.text!r}", piece.column, "Only letters and digits are looked for.")
    leaves = [_words_in_a_row([Word(word, piece.exact, cased) for word in way], piece) for way in _ways(spelt)]
    return leaves[0] if len(leaves) == 1 else Or(tuple(leaves))


def _ways(spelt: Sequence[str]) -> Iterator[list[str]]:
    """The ways to write a row of words of which hyphens join some: apart or as one, each or all."""
    apart = [parts_of(word) for word in spelt]
    whole = [_joined_or_parts(word) for word in spelt]
    hyphened = sum(map(ne, apart, whole))
    either = ([one] if one == other else [one, other] for one, other in zip(apart, whole, strict=True))
    for way in product(*either) if hyphened <= MOST_HYPHENED else (apart, whole):
        yield list(chain.from_iterable(way))


def _joined_or_parts(word: str) -> list[str]:
    whole = joined(word)
    return parts_of(word) if whole is None else [whole]


def _words_in_a_row(words: list[Word], piece: _Piece) -> Term:
    if piece.prefix:
        words[-1] = replace(words[-1], prefix=True)
    if piece.slop is not None and len(words) > 1:
        return Near(tuple(words), within_words=len(words) + piece.slop)
    return words[0] if len(words) == 1 else Phrase(tuple(words))


def _is_local(term: Term) -> bool:
    """Whether `term` has a place in the text, so that something can be near it."""
    match term:
        case Word() | Phrase():
            return True
        case Near(parts) | Or(parts):
            return all(map(_is_local, parts))
        case _:
            return False


def _says_something(term: Term) -> bool:
    match term:
        case Not():
            return False
        case And(parts):
            return any(map(_says_something, parts))
        case Or(parts):
            return all(map(_says_something, parts))
        case In(part=part):
            return _says_something(part)
        case _:
            return True


def _name(term: Term) -> str:
    match term:
        case In(field=field):
            return f"a {field}: group"
        case _:
            return "a group with AND or NOT"
