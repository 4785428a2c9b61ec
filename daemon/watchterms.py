"""The watch-terms of feeds.yaml where they stand in it: how they are written there, which can't be
read, and which may mean something else than their writer."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from daemon.errors import Problem
from daemon.soundness import UselessTerm, read_term
from daemon.terms import TermError, uncapitalised
from daemon.yamlfiles import Where, YamlFile


def term_lines(block: str) -> Iterable[tuple[int, str]]:
    """The terms of a text block with their row (from 0): one a line, `#` begins a comment line."""
    for row, line in enumerate(block.splitlines()):
        term = re.sub(r"(^|\s)#.*$", "", line).strip()
        if term:
            yield row, term


def check_terms(file: YamlFile, lists: Mapping[str, Sequence[str]], within_words: int) -> None:
    """Notes a problem at each term that can't be read or can't do its work, and where lines are no terms of their own.

    `lists` are the word lists, `within_words` is how near is near where a term does not say so.
    """
    for where in file.joined:
        if where[:1] == ("claims",) and where[2:] in (("terms",), ("never",)):
            message = f"{'.'.join(map(str, where))}: several lines without |"
            file.problem(where, message, f"Write {where[2]}: |, or the lines become one term.")
    for where, row, term in _terms_in(file):
        try:
            read_term(term, _own_within(file, where) or within_words, lists)
        except TermError as error:
            fault = "is of no use" if isinstance(error, UselessTerm) else "can't be read"
            message = f"this term {fault}: {error.message}"
            file.problem_in_text(where, row, term, error.column, message, error.hint)


def _own_within(file: YamlFile, where: Where) -> int | None:
    """The `within:` of a term that is written with options, if it has a sound one."""
    if where[-1:] != ("term",):
        return None
    mapping = file.values
    for key in where[:-1]:
        mapping = mapping[key]
    within = mapping.get("within")
    return int(within) if isinstance(within, str) and within.strip().isdecimal() else None


def notes_on_terms(file: YamlFile) -> tuple[Problem, ...]:
    """What to tell of terms that can all be read, each with its place: words that are meant otherwise, it seems."""
    return tuple(
        Problem(
            file.name,
            *file.place_in_text(where, row, term, column),
            f"{word!r} is looked for as a word here; write {word.upper()} (or ={word} to mean the word)",
        )
        for where, row, term in _terms_in(file)
        for word, column in uncapitalised(term)
    )


def _terms_in(file: YamlFile) -> Iterator[tuple[Where, int, str]]:
    """Every term as it is written, with its place and its row in a text block, whatever else is wrong in the file."""
    claims = file.values.get("claims") if isinstance(file.values, dict) else None
    for id, claim in claims.items() if isinstance(claims, dict) else ():
        for kind in ("terms", "never"):
            yield from _terms_of(file, ("claims", id, kind), claim.get(kind) if isinstance(claim, dict) else None)


def _terms_of(file: YamlFile, where: Where, terms: Any) -> Iterator[tuple[Where, int, str]]:
    if isinstance(terms, str) and where not in file.joined:
        yield from ((where, row, term) for row, term in term_lines(terms))
    elif isinstance(terms, list):
        for at, one in enumerate(terms):
            text, within = (one.get("term"), ("term",)) if isinstance(one, dict) else (one, ())
            if isinstance(text, str):
                yield (*where, at, *within), 0, text
