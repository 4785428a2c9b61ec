"""OPML, in which feed readers hand lists of feeds to one another: read (1.0 and 2.0), and written (2.0).

Read by expat as a stream, so that neither deep nesting nor size costs more than the file itself. Entities of a file's
own are refused: no feed reader writes them, and they are all that a bomb is made of. Files and addresses that a
document names are never opened.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError, ParserCreate
from xml.parsers.expat.errors import messages
from xml.sax.saxutils import escape, quoteattr

from daemon.errors import ClaimwatchError
from daemon.items import one_line, squeeze

NAMESPACE = "https://claimwatch.example/opml"
"""Of the attributes that hold what OPML has no word for. It only has to be ours; nothing is there to be fetched."""
MOST_BYTES = 20_000_000
_PREFIX = "claimwatch:"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_EXPORT_ANEW = "Export it anew from the program that it came from; nothing was imported."


@dataclass(frozen=True)
class Outline:
    """A line of a list of feeds: `url` is empty where it names none. `own` are claimwatch's own attributes: a feed's
    key and its options. `line` counts from 1; `parent` says that other outlines stand inside it."""

    line: int
    title: str
    url: str = ""
    kind: str = ""
    own: Mapping[str, str] = field(default_factory=dict)
    parent: bool = False


class _Reading:
    """What expat tells of a document, in the order of its outlines."""

    def __init__(self) -> None:
        self.outlines: list[Outline] = []
        self.root = ""
        self._open: list[int] = []
        # Prefixes as they are written: a namespace costs nothing to get wrong here, and feed readers do.
        self._parser = ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.EntityDeclHandler = self._refuse_entity

    def read(self, document: bytes) -> None:
        self._parser.Parse(document, True)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self.root = self.root or name
        if name.lower() != "outline":
            return
        for at in self._open[-1:]:
            self.outlines[at] = _with_children(self.outlines[at])
        self._open.append(len(self.outlines))
        self.outlines.append(_outline(self._parser.CurrentLineNumber, attributes))

    def _end(self, name: str) -> None:
        if name.lower() == "outline":
            self._open.pop()

    def _refuse_entity(self, name: str, *_: object) -> None:
        raise ClaimwatchError(
            f"the file defines an entity ({name[:40]!r}), as no list of feeds does", hint=_EXPORT_ANEW
        )


def _with_children(outline: Outline) -> Outline:
    return Outline(outline.line, outline.title, outline.url, outline.kind, outline.own, parent=True)


def _outline(line: int, attributes: Mapping[str, str]) -> Outline:
    # xmlUrl is also written xmlURL and xmlurl.
    small = {key.lower(): value for key, value in attributes.items()}
    own = {key.removeprefix(_PREFIX): value.strip() for key, value in small.items() if key.startswith(_PREFIX)}
    url = small.get("xmlurl", "").strip()
    title = one_line(squeeze(small.get("title", ""))) or one_line(squeeze(small.get("text", "")))
    return Outline(line, "" if title == url else title, url, small.get("type", "").strip().lower(), own)


def read_outlines(document: bytes) -> list[Outline]:
    """Every outline of a document, wherever it is nested. Raises ClaimwatchError where it is no OPML."""
    if len(document) > MOST_BYTES:
        message = f"the file is larger than {MOST_BYTES:,} bytes"
        raise ClaimwatchError(message, hint="That is no list of feeds; nothing was imported.")
    reading = _Reading()
    try:
        reading.read(document)
    except ExpatError as error:
        place, what = f"line {error.lineno}, column {error.offset + 1}", messages.get(error.code, "a mistake")
        raise ClaimwatchError(f"the file is no XML ({place}: {what})", hint=_EXPORT_ANEW) from error
    except (LookupError, ValueError) as error:
        raise ClaimwatchError(f"the file can't be read: {error}", hint="Save it as UTF-8.") from error
    if reading.root.lower() != "opml":
        message = f"the file is XML, but no OPML: it begins with <{reading.root[:40]}>"
        raise ClaimwatchError(message, hint="Ask the program that it came from for an export as OPML.")
    return reading.outlines


def write_outlines(outlines: Iterable[Outline], title: str) -> str:
    """A document of these feeds: OPML 2.0, in UTF-8."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        f'<opml version="2.0" xmlns:claimwatch="{NAMESPACE}">',
        f"  <head><title>{escape(_sayable(title))}</title></head>",
        "  <body>",
        *(f"    <outline {_written(one)}/>" for one in outlines),
        "  </body>",
        "</opml>",
    ]
    return "\n".join(lines) + "\n"


def _written(outline: Outline) -> str:
    attributes = {"type": "rss", "text": outline.title or outline.url, "xmlUrl": outline.url}
    if outline.title:
        attributes["title"] = outline.title
    attributes |= {f"{_PREFIX}{key}": value for key, value in outline.own.items()}
    return " ".join(f"{key}={quoteattr(_sayable(value))}" for key, value in attributes.items())


def _sayable(text: str) -> str:
    """Without the characters that XML can't carry in any way."""
    return _NOT_XML.sub("", text)
