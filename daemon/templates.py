"""Templates compiled, and what they lay texts out by: moments, marked words, lines of so many columns. Pure.

The only module that knows jinja2, save for the fault that `rendering` tells of. It is imported when the first digest or
notice is drawn.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import accumulate, takewhile

from jinja2 import DictLoader, Environment, StrictUndefined, Template, pass_context, select_autoescape
from jinja2.runtime import Context

from daemon.excerpts import Piece
from daemon.folding import fitting
from daemon.items import one_line
from daemon.standings import show_count, show_day
from daemon.views import DigestView

TEXT_COLUMNS = 76


def filled(
    name: str, templates: Mapping[str, str], view: DigestView, measure: Callable[[str], int], most: int
) -> tuple[str, bool]:
    """The filled template, and whether all of the digest found room in it. Raises what the template raises."""
    template = compiled(name, templates)
    fitted: tuple[DigestView | None, str] = (None, "")

    def size(folded: DigestView) -> int:
        nonlocal fitted
        text = template.render(digest=folded)
        if (needed := measure(text)) <= most:
            fitted = folded, text
        return needed

    shown = fitting(view, size, most)
    return fitted[1] if fitted[0] is shown else template.render(digest=shown), shown is view


def compiled(name: str, templates: Mapping[str, str]) -> Template:
    """One of these templates. Raises jinja2.TemplateError."""
    return _environment(tuple(templates.items())).get_template(name)


@lru_cache(maxsize=8)
def _environment(templates: tuple[tuple[str, str], ...]) -> Environment:
    """Templates compiled: a digest for each recipient, a preview, and each step of folding fill the same ones."""
    environment = Environment(
        loader=DictLoader(dict(templates)),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "moment": _show_moment,
        "short": _show_short,
        "day": show_day,
        "counted": show_count,
        "fill": _fill,
        "plain": _show_plain,
        "isolated": _isolated,
    }
    environment.globals |= {"local": _local}
    return environment


@pass_context
def _local(context: Context, moment: datetime) -> datetime:
    """A moment in the zone of the digest that is being filled in."""
    return moment.astimezone(context["digest"].zone)


@pass_context
def _show_short(context: Context, moment: datetime, beside: datetime | None = None) -> str:
    """A moment as short as it can be told: beside another one of the same day, by the clock alone."""
    if beside and moment.date() == beside.date():
        return f"{moment:%H:%M}"
    return f"{moment:%a %-d %b, %H:%M}" if moment.year == context["digest"].due.year else f"{moment:%-d %b %Y, %H:%M}"


def _isolated(text: str) -> str:
    """A text within a line of others, which it can't turn round, though it is written from the right."""
    turns = not text.isascii() and any(unicodedata.bidirectional(one) in ("R", "AL", "AN") for one in text)
    return f"\u2068{text}\u2069" if turns else text


def _show_moment(moment: datetime) -> str:
    return f"{show_day(moment)}, {moment.strftime('%H:%M %Z')}"


def _show_plain(pieces: Sequence[Piece]) -> str:
    """Marked text for a terminal or a plain mail: the words that met a term stand between asterisks."""
    return "".join(f"*{piece.text}*" if piece.marked else piece.text for piece in pieces)


def _fill(text: str, indent: int = 0, first: str | None = None) -> str:
    """`text` in lines of at most TEXT_COLUMNS, indented; `first` stands before the first line instead."""
    margin = " " * indent
    lines = [margin if first is None else first]
    room, fresh = TEXT_COLUMNS - len(lines[0]), True
    line, longest = one_line(str(text)), TEXT_COLUMNS - max(indent, len(lines[0]))
    if _NARROW.fullmatch(line) and max(map(len, line.split(" "))) <= longest:
        return lines[0] + f"\n{margin}".join(_lines(line, room, TEXT_COLUMNS - indent))
    for word in _breakable(line, longest):
        needed = _columns(word)
        if needed + (not fresh) > room:
            lines.append(margin)
            room, fresh = TEXT_COLUMNS - indent, True
        lines[-1] += word if fresh else f" {word}"
        room, fresh = room - needed - (not fresh), False
    return "\n".join(lines)


_NARROW = re.compile("[\x20-\u0377\u0400-\u052f\u2010-\u2027\u2030-\u205e\u20ac\u2116]*")
"""Letters that all take one column, which makes most lines ten times quicker to break."""


def _lines(text: str, first: int, others: int) -> Iterator[str]:
    """A text broken at spaces into lines of so many letters; no word is longer."""
    begin, room = 0, first
    while len(text) - begin > room:
        end = text.rindex(" ", begin, begin + room + 1)
        yield text[begin:end]
        begin, room = end + 1, others
    yield text[begin:]


def _breakable(text: str, columns: int) -> Iterator[str]:
    """The words of a text, those that no line could hold in pieces."""
    for word in text.split(" "):
        if _columns(word) > columns:
            # From the front, and each letter once: a whole text without spaces is one word.
            while len(piece := _beginning(word, columns)) < len(word):
                yield piece
                word = word[len(piece) :]
        yield word


def _beginning(word: str, columns: int) -> str:
    """As much of a word as so many columns hold, one letter at least."""
    letters = sum(1 for _ in takewhile(columns.__ge__, accumulate(map(_columns, word))))
    return word[: max(letters, 1)]


def _columns(text: str) -> int:
    """How wide a terminal draws a text: a Chinese letter takes two columns."""
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)
