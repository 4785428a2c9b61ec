"""How a term is written: from its tree back to the line that a person would write, with the fewest brackets."""

from __future__ import annotations

from daemon.terms import And, In, Near, Not, Or, Phrase, Term, TermError, Word, parse_term

_OPERATORS = frozenset({"AND", "OR", "NOT"})


def written(term: Term) -> str:
    """The line that `terms.parse_term` reads as this very tree."""
    return _written(term, 0)


def _written(term: Term, around: int) -> str:
    """`around` is how strongly what stands around this part binds: 0 nothing, 1 AND, 2 near, 3 NOT and fields."""
    match term:
        case Word():
            return _word(term)
        case Phrase(words):
            return _phrase(words)
        case Near(parts, within_words) if within_words is not None:
            return f"{_phrase(parts)}~{within_words - len(parts)}"
        case Near(parts):
            return _joined(" ", parts, 2, around)
        case And(parts):
            return _joined(" AND ", parts, 1, around)
        case Or(parts):
            return hyphenated(term) or _joined(" OR ", parts, 0, around)
        case Not(part):
            return f"NOT {_written(part, 3)}"
        case In(field, part):
            return f"{field}:{_written(part, 3)}"
    raise AssertionError(f"{type(term).__name__} is no part of a term")


def hyphenated(term: Term) -> str | None:
    """How a word with hyphens is written; None for any other term. It reads as its parts in a row, or as one word."""
    match term:
        case Or((Phrase(words), Word(_, exact, cased, prefix))):
            line = "-".join(word.text for word in words)
            line = f'="{line}"' if cased else "=" * exact + line + "*" * prefix
            try:
                return line if parse_term(line) == term else None
            except TermError:
                return None
    return None


def _joined(sign: str, parts: tuple[Term, ...], strength: int, around: int) -> str:
    line = sign.join(_written(part, strength + 1) for part in parts)
    return f"({line})" if around > strength else line


def _word(word: Word) -> str:
    if word.cased:
        return f'="{word.text}"'
    if word.exact or word.prefix:
        return "=" * word.exact + word.text + "*" * word.prefix
    return f'"{word.text}"' if word.text in _OPERATORS else word.text


def _phrase(parts: tuple[Term, ...]) -> str:
    words = [part for part in parts if isinstance(part, Word)]
    return "=" * words[0].cased + f'"{" ".join(word.text for word in words)}"'
