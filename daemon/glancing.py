"""Terms as most are written, read at a glance: words, phrases, alternatives in brackets, a word left out.

Many terms are read by one reader: a word is one object wherever it stands, and is looked at once. Half of the time of
compiling 100,000 terms went into the parser of `daemon.terms`, which reads all others, and whose trees these are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from daemon.terms import DEEPEST_NESTING, And, Near, Not, Or, Phrase, Term, Word, parse_term, words_to_inflect
from daemon.words import fold, is_one_word

_PIECE = re.compile(r'[()]|"[^"]*"|[^\s"()]+')
_OPERATORS = frozenset({"AND", "OR", "NOT"})


class TermReader:
    """Reads terms, and tells which words they ask the forms of."""

    def __init__(self) -> None:
        self._words = _Words()

    def read(self, text: str) -> Term:
        """The tree that `terms.parse_term` makes of it, too. Raises TermError as that does."""
        term = self._at_a_glance(text)
        if term is None:
            term = parse_term(text)
            self._words.new += words_to_inflect(text)
        return term

    def new_words(self) -> Sequence[str]:
        """The folded words of the terms that were read since this was asked last: all that they may ask the forms of,
        and a few more. No word of a term that was read at a glance is told twice."""
        new, self._words.new = self._words.new, []
        return new

    def _at_a_glance(self, text: str) -> Term | None:
        plain, minus, last = text.rpartition(" -")
        if minus and last not in _OPERATORS and (unless := self._words[last]):
            term = self._positive(plain)
            # An exclusion binds before OR: what it belongs to is for the parser.
            return None if term is None or isinstance(term, Or) else And((term, Not(unless)))
        return self._positive(text)

    def _positive(self, text: str) -> Term | None:
        if '"' not in text and "(" not in text:
            spelt = text.split()
            if _OPERATORS.isdisjoint(spelt):
                return _side_by_side(self._row(spelt))
        elif text[0] == text[-1] == '"' and text.count('"') == 2:
            return _in_a_row(self._row(text[1:-1].split()))
        if text.count('"') % 2 or text.count("(") > DEEPEST_NESTING:
            return None
        pieces = iter([*_PIECE.findall(text), ")"])
        term = self._up_to_bracket(pieces)
        return term if next(pieces, None) is None else None

    def _up_to_bracket(self, pieces: Iterator[str]) -> Term | None:
        alternatives: list[Term] = []
        near: list[Term] = []
        for piece in pieces:
            if piece in ("OR", ")"):
                part = _side_by_side(tuple(near))
                if part is None:
                    return None
                alternatives.append(part)
                near = []
                if piece == ")":
                    return Or(tuple(alternatives)) if len(alternatives) > 1 else part
                continue
            if piece == "(":
                part = self._up_to_bracket(pieces)
            elif piece[0] == '"':
                part = _in_a_row(self._row(piece[1:-1].split()))
            else:
                part = None if piece in _OPERATORS else self._words[piece]
            if part is None:
                return None
            near.append(part)
        return None

    def _row(self, spelt: Sequence[str]) -> tuple[Word, ...]:
        """The words, all or none."""
        words = tuple(filter(None, map(self._words.__getitem__, spelt)))
        return words if len(words) == len(spelt) else ()


class _Words(dict[str, Word | None]):
    """The words that are seen to be one at a glance, as they are written; None for anything else."""

    def __init__(self) -> None:
        super().__init__()
        self.new: list[str] = []

    def __missing__(self, text: str) -> Word | None:
        if not is_one_word(text):
            return None
        word = self[text] = Word(text)
        self.new.append(fold(text))
        return word


def _in_a_row(words: tuple[Word, ...]) -> Term | None:
    return Phrase(words) if len(words) > 1 else words[0] if words else None


def _side_by_side(parts: tuple[Term, ...]) -> Term | None:
    return Near(parts) if len(parts) > 1 else parts[0] if parts else None
