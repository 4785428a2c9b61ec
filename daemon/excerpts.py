"""What is shown of a text: the sentence that matters, on one line, with the words that matter marked.

Marks are given as character spans into the text as it is stored. Controls that turn the direction of writing are taken
out of what is shown: an override in a title would turn round all that follows it on the page.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

EXCERPT_CHARACTERS = 320
SENTENCE_CHARACTERS = 1_000
"""What goes on for longer without an end is cut: it is no sentence."""

Spans = Sequence[tuple[int, int]]

_END = re.compile(r"[.!?…]+[\"'”’»)\]]*\s+|[。！？]+[」』”]*\s*|\n+")
_LAST_WORD = re.compile(r"(\w+)\.$")
_ABBREVIATED = {
    *("adm", "br", "capt", "col", "dr", "etc", "fig", "ft", "gen", "gov", "lt", "maj", "mr", "mrs", "ms", "no", "prof"),
    *("rep", "rev", "sen", "sgt", "st", "vs"),
}
LONGEST_ABBREVIATION = 12
"""Further back nobody looks for one: a text may be all dots."""
_TURNS = re.compile("[\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True)
class Piece:
    """A stretch of text, marked where a term met it."""

    text: str
    marked: bool = False


def excerpt(text: str, spans: Spans) -> Iterator[Piece]:
    """The sentence in which the first of `spans`, which are in order, stands, and the next ones as long as they hold a
    span and there is room; without spans the first sentences. At most EXCERPT_CHARACTERS, with each span marked."""
    first = spans[0][0] if spans else 0
    start, end = 0, 0
    for sentence_start, sentence_end in sentences(text):
        if sentence_end <= first:
            continue
        if not end:
            start = sentence_start
        elif sentence_end - start > EXCERPT_CHARACTERS or (
            spans and not any(sentence_start <= one < sentence_end for one, _ in spans)
        ):
            break
        end = sentence_end
    return window(text, start, end, spans)


def window(text: str, start: int, end: int, spans: Spans) -> Iterator[Piece]:
    """Up to EXCERPT_CHARACTERS of `text[start:end]` around the first of `spans`, with each of them marked."""
    first = next((one for one, _ in spans if one >= start), start)
    room = EXCERPT_CHARACTERS
    if end - start > room and first - start >= room * 2 // 3:
        begin = text.rfind(" ", start, first - room // 3) + 1
        # No space within reach (a long address, Chinese): then right before the mark.
        start = begin if first - begin < room * 2 // 3 and begin > start else first - room // 3
    if end - start > room:
        cut = text.rfind(" ", start, start + room)
        end = cut if cut > start else start + room
    if start:
        yield Piece("… ")
    yield from marked(text, start, end, spans)
    if text[end:].strip():
        yield Piece(" …")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Where the sentences of a text begin and end; together they are the whole text but the space between them."""
    start = 0
    for found in _END.finditer(text):
        if not _ends(text, start, found):
            continue
        yield from _cut(text, start, found.start() + len(found[0].rstrip()))
        start = found.end()
    if start < len(text):
        yield from _cut(text, start, len(text))


def _ends(text: str, start: int, found: re.Match[str]) -> bool:
    """Whether a sentence ends there: not after an initial or an abbreviation, nor where small letters go on."""
    if not found[0].startswith(".") or found[0].startswith(".."):
        return True
    word = _LAST_WORD.search(text, max(start, found.start() - LONGEST_ABBREVIATION), found.start() + 1)
    if word and (word[1].casefold() in _ABBREVIATED or (len(word[1]) == 1 and not word[1].isdigit())):
        return False
    return not text[found.end() : found.end() + 1].islower()


def _cut(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > SENTENCE_CHARACTERS:
        space = text.rfind(" ", start + 1, start + SENTENCE_CHARACTERS)
        at = space if space > start else start + SENTENCE_CHARACTERS
        yield start, at
        start = at
    if start < end:
        yield start, end


def marked(text: str, start: int, end: int, spans: Iterable[tuple[int, int]]) -> Iterator[Piece]:
    """The characters `[start, end)` of `text`, with those of its spans marked that lie within."""
    at = start
    for first, last in _joined(text, spans):
        if first < at or last > end:
            continue
        if first > at:
            yield Piece(shown(text[at:first]))
        yield Piece(shown(text[first:last]), marked=True)
        at = last
    if at < end:
        yield Piece(shown(text[at:end]))


def _joined(text: str, spans: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Spans with nothing but one space between them as one: a marked phrase reads as a phrase."""
    joined: list[tuple[int, int]] = []
    for first, last in spans:
        if joined and text[joined[-1][1] : first] == " ":
            joined[-1] = (joined[-1][0], last)
        else:
            joined.append((first, last))
    yield from joined


def shown(text: str) -> str:
    """A text as it may stand on a page: on one line, and unable to turn the direction of what follows."""
    return _TURNS.sub("", text).replace("\n", " ")
