"""What a publisher changed in an item after it was matched, where that touches the words that met a term. Pure.

Told is the sentence that holds such words, before and after. Whatever else was changed stays in the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal, Protocol

from daemon.events import Evidence
from daemon.excerpts import Piece, Spans, sentences, window

LIKE_ENOUGH = 0.3
"""How much of their words two sentences share, to be the same one before and after."""

_WORD = re.compile(r"\w+")
_Field = Literal["title", "summary", "content"]
_FIELDS: tuple[_Field, ...] = ("title", "summary", "content")


class Text(Protocol):
    """An item's text at some time."""

    @property
    def title(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def content(self) -> str: ...


@dataclass(frozen=True)
class Edit:
    """A sentence before and after, what differs marked; `after` is empty where nothing like it is left."""

    before: tuple[Piece, ...]
    after: tuple[Piece, ...]


def edits(evidence: Sequence[Evidence], before: Text, after: Text) -> tuple[Edit, ...]:
    """The first sentence of each field that holds words of the evidence and does not stand in the later text.

    Case, punctuation and spaces make no edit; a summary that repeats the title is not told twice.
    """
    found = (
        _edit(_places(evidence, before, field), getattr(before, field), getattr(after, field)) for field in _FIELDS
    )
    return tuple({"".join(piece.text for piece in one.before): one for one in found if one}.values())


def _places(evidence: Sequence[Evidence], text: Text, field: _Field) -> Spans:
    """Where the words of the evidence stand in a field: by its spans, or, in another text, by the words."""
    there: str = getattr(text, field)
    places: set[tuple[int, int]] = set()
    for one in evidence:
        if one.field != field:
            continue
        # As many words as spans, unless another version recorded it otherwise: that costs an edit, not the digest.
        for (start, end), word in zip(one.spans, one.surface, strict=False):
            if there[start:end] == word:
                places.add((start, end))
            elif word:
                places.update(found.span() for found in re.finditer(rf"\b{re.escape(word)}\b", there, re.IGNORECASE))
    return sorted(places)


def _edit(places: Spans, before: str, after: str) -> Edit | None:
    if not places or before == after:
        return None
    now = f" {' '.join(word for word, _ in _words(after))} "
    for start, end in sentences(before):
        if not any(start <= first < end for first, _ in places):
            continue
        words = list(_words(before, start, end))
        if f" {' '.join(word for word, _ in words)} " in now:
            continue
        there = _likest({word for word, _ in words}, after)
        if there is None:
            return Edit(tuple(window(before, start, end, places)), ())
        gone, new = _changed(words, list(_words(after, *there)))
        return Edit(tuple(window(before, start, end, gone)), tuple(window(after, *there, new)))
    return None


def _words(text: str, start: int = 0, end: int | None = None) -> Iterator[tuple[str, tuple[int, int]]]:
    for found in _WORD.finditer(text, start, len(text) if end is None else end):
        yield found[0].casefold(), found.span()


def _likest(words: set[str], text: str) -> tuple[int, int] | None:
    """The sentence of a text that shares most words with these; None where none shares enough."""
    best, where = LIKE_ENOUGH, None
    for start, end in sentences(text):
        those = {word for word, _ in _words(text, start, end)}
        if those and (alike := 2 * len(words & those) / (len(words) + len(those))) > best:
            best, where = alike, (start, end)
    return where


def _changed(
    before: Sequence[tuple[str, tuple[int, int]]], after: Sequence[tuple[str, tuple[int, int]]]
) -> tuple[Spans, Spans]:
    """Which words are gone, and which are new."""
    matcher = SequenceMatcher(None, [word for word, _ in before], [word for word, _ in after], autojunk=False)
    gone: list[tuple[int, int]] = []
    new: list[tuple[int, int]] = []
    for kind, first, last, first_after, last_after in matcher.get_opcodes():
        if kind != "equal":
            gone += [span for _, span in before[first:last]]
            new += [span for _, span in after[first_after:last_after]]
    return gone, new
