"""The watch-terms of feeds.yaml where they stand in it: how they are written there, and which can't be read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from daemon.terms import TermError, parse_term
from daemon.yamlfiles import Where, YamlFile


def term_lines(block: str) -> Iterable[tuple[int, str]]:
    """The terms of a text block with their row (from 0): one a line, `#` begins a comment line."""
    for row, line in enumerate(block.splitlines()):
        term = re.sub(r"(^|\s)#.*$", "", line).strip()
        if term:
            yield row, term


def check_terms(file: YamlFile) -> None:
    """Notes a problem at each term that can't be read."""
    for where, row, term in _terms_in(file):
        try:
            parse_term(term)
        except TermError as error:
            message = f"this term can't be read: {error.message}"
            file.problem_in_text(where, row, term, error.column, message, error.hint)


def _terms_in(file: YamlFile) -> Iterator[tuple[Where, int, str]]:
    """Every term as it is written, with its place and its row in a text block, whatever else is wrong in the file."""
    claims = file.values.get("claims") if isinstance(file.values, dict) else None
    for id, claim in claims.items() if isinstance(claims, dict) else ():
        where: Where = ("claims", id, "terms")
        terms = claim.get("terms") if isinstance(claim, dict) else None
        if isinstance(terms, str):
            yield from ((where, row, term) for row, term in term_lines(terms))
        elif isinstance(terms, list):
            for at, one in enumerate(terms):
                text, within = (one.get("term"), ("term",)) if isinstance(one, dict) else (one, ())
                if isinstance(text, str):
                    yield (*where, at, *within), 0, text
