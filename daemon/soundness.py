"""Whether a term that can be read can do its work: some can never match, and some would match nearly everything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from daemon.commonwords import COMMON
from daemon.compiling import entry
from daemon.glancing import TermReader
from daemon.terms import And, In, Near, Not, Or, Phrase, Term, TermError, Word, words_in
from daemon.words import fold, is_unspaced

SHORTEST_PREFIX = 3
"""Letters: `th*` and `по*` begin a word of nearly every item."""


class UselessTerm(TermError):
    """A watch-term can be read, but can't do its work."""


def read_term(text: str, within_words: int, lists: Mapping[str, Sequence[str]]) -> Term:
    """The tree of a watch-term that can match, and tells something by that.

    `lists` are the word lists that it may name. Raises TermError with the column and what to write instead; UselessTerm
    where it can be read.
    """
    term = TermReader().read(text)
    folded = {fold(name): words for name, words in lists.items()}
    if (word := _everywhere(term, folded)) is not None:
        raise UselessTerm(_too_common(word, folded), _column(text, word), "Add a word that tells more, near it.")
    for near in _nears(term):
        within = near.within_words or within_words
        if (least := _least_words(near)) > within:
            message = f"{least} words never stand within {within}"
            raise UselessTerm(message, 1, f"Write within: {least} or more for it, or join some words with AND.")
    if (excluded := _contradiction(term)) is not None:
        words = next(words_in(excluded))
        message = "it excludes what it asks for, and can never match"
        raise UselessTerm(message, _last_column(text, words), "Take the exclusion out, or ask for something else.")
    return term


def everywhere_in(words: str) -> Word | None:
    """The word of a line of a word list that would match nearly everything, if there is one."""
    return _everywhere(entry(words), {})


def _too_common(word: Word, lists: Mapping[str, Sequence[str]]) -> str:
    if word.prefix:
        return f"{word.text}* would match nearly everything"
    if fold(word.text) in lists:
        return f"the list {word.text!r} would match nearly everything"
    return f"{word.text!r} is in nearly every text"


def _everywhere(term: Term, lists: Mapping[str, Sequence[str]]) -> Word | None:
    """The word because of which `term` is true of nearly every item, if it is."""
    match term:
        case Word():
            return term if _is_common(term, lists) else None
        case Or(parts):
            return next((word for part in parts if (word := _everywhere(part, lists))), None)
        case Near(parts) | And(parts):
            common = [_everywhere(part, lists) for part in parts if not isinstance(part, Not)]
            return common[0] if all(common) else None
        case In(part=part):
            return _everywhere(part, lists)
        case _:
            return None


def _is_common(word: Word, lists: Mapping[str, Sequence[str]]) -> bool:
    folded = fold(word.text)
    if word.prefix:
        return len(folded) < SHORTEST_PREFIX and not is_unspaced(word.text)
    if not word.exact and folded in lists:
        return any(everywhere_in(words) for words in lists[folded])
    return folded in COMMON and not word.cased


def _nears(term: Term) -> Iterator[Near]:
    match term:
        case Near(parts):
            yield term
            for part in parts:
                yield from _nears(part)
        case And(parts) | Or(parts):
            for part in parts:
                yield from _nears(part)
        case Not(part) | In(part=part):
            yield from _nears(part)


def _least_words(term: Term) -> int:
    match term:
        case Phrase(words):
            return sum(0.5 if is_unspaced(word.text) else 1 for word in words).__ceil__()
        case Near(parts):
            return sum(map(_least_words, parts))
        case Or(parts):
            return min(map(_least_words, parts))
        case _:
            return 1


def _contradiction(term: Term) -> Term | None:
    """What a term excludes although it holds wherever the rest of the term does."""
    match term:
        case And(parts):
            certain = {must for part in parts for must in _musts(part)}
            excluded = (part.part for part in parts if isinstance(part, Not))
            return next((part for part in excluded if _follows(part, certain)), None)
        case Or(parts):
            contradictions = [_contradiction(part) for part in parts]
            return contradictions[0] if all(contradictions) else None
        case In(part=part):
            return _contradiction(part)
        case _:
            return None


def _musts(term: Term) -> Iterator[Term]:
    """What holds wherever a term does."""
    if isinstance(term, Not):
        return
    yield term
    match term:
        case Phrase(parts) | Near(parts) | And(parts):
            for part in parts:
                yield from _musts(part)
        case In(field, part) if field != "content":
            yield from _musts(part)


def _follows(term: Term, certain: set[Term]) -> bool:
    if term in certain:
        return True
    match term:
        case Or(parts):
            return any(_follows(part, certain) for part in parts)
        case And(parts):
            return all(_follows(part, certain) for part in parts)
        case _:
            return False


def _column(text: str, word: Word) -> int:
    return max(text.find(word.text), 0) + 1


def _last_column(text: str, word: Word) -> int:
    return max(text.rfind(word.text), 0) + 1
