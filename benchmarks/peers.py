"""The same terms in the hands of others: a loop of regular expressions, SQLite FTS5, tantivy.

Each takes the terms word for word, without inflection, which is less than our matcher does. Words of scripts without
spaces are left to the regular expressions alone: the other two take a run of such characters for one word.

An engine is a context manager whose value answers, for each item, which of the terms (by their number) it meets.
"""

from __future__ import annotations

import importlib
import importlib.util
import itertools
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias

from benchmarks.term_sets import WITHIN_WORDS, CorpusItem, MadeTerm, Phrase

Find: TypeAlias = Callable[[Sequence[CorpusItem]], list[list[int]]]
Engine: TypeAlias = Callable[[Sequence[MadeTerm]], AbstractContextManager[Find]]

# Between two words of a pattern anything but a word, and never the line's end: that parts title and summary.
_GAP = r"[^\w\n]+"


# ── regular expressions ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def regular_expressions(terms: Sequence[MadeTerm]) -> Iterator[Find]:
    """A compiled pattern a term, and one for what it excludes. Of three words near each other each gap is bounded, not
    their sum, and a phrase near something may lie a word too far."""
    patterns = [
        (re.compile(_pattern(term), re.IGNORECASE), re.compile(_words((term.unless,)), re.IGNORECASE))
        if term.unless
        else (re.compile(_pattern(term), re.IGNORECASE), None)
        for term in terms
    ]

    def find(items: Sequence[CorpusItem]) -> list[list[int]]:
        return [
            [
                number
                for number, (wanted, unless) in enumerate(patterns)
                if wanted.search(text) and not (unless and unless.search(text))
            ]
            for text in (item.text for item in items)
        ]

    yield find


def _pattern(term: MadeTerm) -> str:
    parts = [f"(?:{'|'.join(map(_words, part))})" for part in term.parts]
    gap = rf"{_GAP}(?:\w+{_GAP}){{0,{WITHIN_WORDS - len(parts)}}}?"
    return "|".join(gap.join(order) for order in itertools.permutations(parts))


def _words(phrase: Phrase) -> str:
    if MadeTerm(((phrase,),)).has_spaceless_words:
        return _GAP.join(map(re.escape, phrase))
    return rf"\b{_GAP.join(map(re.escape, phrase))}\b"


# ── SQLite FTS5 ──────────────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def fts5_at_a_time(terms: Sequence[MadeTerm]) -> Iterator[Find]:
    """An item at a time, as a daemon gets them: into the table, a query a term, and out again."""
    queries = list(map(fts5_query, terms))
    with closing(_fts5()) as connection:

        def met_by(item: CorpusItem) -> list[int]:
            connection.execute("BEGIN")
            connection.execute("INSERT INTO item VALUES (?, ?)", (item.title, item.summary))
            ask = "SELECT 1 FROM item WHERE item MATCH ?"
            met = [number for number, query in enumerate(queries) if connection.execute(ask, (query,)).fetchone()]
            connection.execute("ROLLBACK")
            return met

        yield lambda items: list(map(met_by, items))


@contextmanager
def fts5_at_once(terms: Sequence[MadeTerm]) -> Iterator[Find]:
    """All items in one table, then a query a term: what FTS5 is made for, with an answer when all items are there."""
    queries = list(map(fts5_query, terms))
    with closing(_fts5()) as connection:

        def find(items: Sequence[CorpusItem]) -> list[list[int]]:
            connection.execute("BEGIN")
            rows = [(number, item.title, item.summary) for number, item in enumerate(items)]
            connection.executemany("INSERT INTO item (rowid, title, summary) VALUES (?, ?, ?)", rows)
            met: list[list[int]] = [[] for _ in items]
            for number, query in enumerate(queries):
                for (at,) in connection.execute("SELECT rowid FROM item WHERE item MATCH ?", (query,)):
                    met[at].append(number)
            connection.execute("ROLLBACK")
            return met

        yield find


def _fts5() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    tokenizer = "unicode61 remove_diacritics 0"
    connection.execute(f"CREATE VIRTUAL TABLE item USING fts5(title, summary, tokenize = '{tokenizer}')")
    return connection


def fts5_query(term: MadeTerm) -> str:
    """The term in FTS5's language. NEAR takes phrases only, so that alternatives are multiplied out; it counts the
    words between the first and the last phrase."""
    groups = [_fts5_phrase(ways[0]) if len(ways) == 1 else _fts5_near(ways) for ways in itertools.product(*term.parts)]
    wanted = " OR ".join(groups)
    return f"({wanted}) NOT {_fts5_phrase((term.unless,))}" if term.unless else wanted


def _fts5_near(phrases: Sequence[Phrase]) -> str:
    longer = sum(len(phrase) - 1 for phrase in phrases)
    return f"NEAR({' '.join(map(_fts5_phrase, phrases))}, {WITHIN_WORDS - 2 - longer})"


def _fts5_phrase(phrase: Phrase) -> str:
    return f'"{" ".join(phrase)}"'


# ── tantivy ──────────────────────────────────────────────────────────────────────────────────────────────────────
# It has no percolator (queries that wait for documents), so that here too every term is a query.

# The least that a writer takes, with one thread: one segment, in which documents keep their order.
_HEAP_BYTES = 15_000_000


@contextmanager
def tantivy_at_a_time(terms: Sequence[MadeTerm]) -> Iterator[Find]:
    """An item at a time: an index of its own in memory, a query a term."""
    search = _Tantivy(terms)

    def met_by(item: CorpusItem) -> list[int]:
        searcher = search.over([item])
        return [at for at, query in enumerate(search.queries) if searcher.search(query, limit=1, count=False).hits]

    yield lambda items: list(map(met_by, items))


@contextmanager
def tantivy_at_once(terms: Sequence[MadeTerm]) -> Iterator[Find]:
    """All items in one index, then a query a term."""
    search = _Tantivy(terms)

    def find(items: Sequence[CorpusItem]) -> list[list[int]]:
        searcher = search.over(items)
        met: list[list[int]] = [[] for _ in items]
        for number, query in enumerate(search.queries):
            for _, address in searcher.search(query, limit=len(items), count=False).hits:
                met[address.doc].append(number)
        return met

    yield find


class _Tantivy:
    """The terms as tantivy's queries. Its slop bounds the words between all words of a phrase together; it reads a
    phrase backwards only where moving the words costs no more, so that every order is a query of its own."""

    def __init__(self, terms: Sequence[MadeTerm]) -> None:
        self._tantivy: Any = importlib.import_module("tantivy")
        builder = self._tantivy.SchemaBuilder()
        for field in ("title", "summary"):
            builder.add_text_field(field)
        self._schema = builder.build()
        self.queries = list(map(self._query, terms))

    def over(self, items: Sequence[CorpusItem]) -> Any:
        index = self._tantivy.Index(self._schema)
        writer = index.writer(_HEAP_BYTES, 1)
        for item in items:
            writer.add_document(self._tantivy.Document(title=item.title, summary=item.summary))
        writer.commit()
        index.reload()
        return index.searcher()

    def _query(self, term: MadeTerm) -> Any:
        query = self._tantivy.Query
        occurs = self._tantivy.Occur
        anywhere = [
            one
            for ways in itertools.product(*term.parts)
            for order in itertools.permutations(ways)
            for field in ("title", "summary")
            for one in self._in_order(field, order)
        ]
        wanted = query.boolean_query([(occurs.Should, one) for one in anywhere])
        if not term.unless:
            return wanted
        excluded = [(occurs.MustNot, self._phrase(field, (term.unless,))) for field in ("title", "summary")]
        return query.boolean_query([(occurs.Must, wanted), *excluded])

    def _in_order(self, field: str, phrases: Sequence[Phrase]) -> list[Any]:
        if len(phrases) == 1:
            return [self._phrase(field, phrases[0])]
        words = tuple(word for phrase in phrases for word in phrase)
        # The words of a phrase in a near group may part: it has no phrase that is near something.
        return [self._tantivy.Query.phrase_query(self._schema, field, list(words), WITHIN_WORDS - len(words))]

    def _phrase(self, field: str, phrase: Phrase) -> Any:
        if len(phrase) == 1:
            return self._tantivy.Query.term_query(self._schema, field, phrase[0], "basic")
        return self._tantivy.Query.phrase_query(self._schema, field, list(phrase))


@dataclass(frozen=True)
class Peer:
    """An engine by the name it has in tables; one that works `at_once` is cheaper an item the more items there are."""

    name: str
    engine: Engine
    at_once: bool = False


def peers() -> tuple[Peer, ...]:
    """All that are installed."""
    always = (
        Peer("regular expressions", regular_expressions),
        Peer("SQLite FTS5, an item at a time", fts5_at_a_time),
        Peer("SQLite FTS5, all items at once", fts5_at_once, at_once=True),
    )
    if importlib.util.find_spec("tantivy") is None:
        return always
    return (
        *always,
        Peer("tantivy, an item at a time", tantivy_at_a_time),
        Peer("tantivy, all items at once", tantivy_at_once, at_once=True),
    )
