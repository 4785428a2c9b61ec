"""Items: what a feed document holds, read by feedparser and put into one frozen form.

The only module that knows feedparser. `split` cuts a document, `parse` reads it; neither raises on bad input: a
document that is no feed is a value too (`NotAFeed`).
"""

from __future__ import annotations

import calendar
import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Literal

from daemon.pacing import NOTHING_ASKED, Asks, asks_of
from daemon.rules import canonical_json

SUMMARY_FROM_CONTENT_CHARACTERS = 500
MOST_TITLE_CHARACTERS = 2_000
MOST_TEXT_CHARACTERS = 200_000
"""A longer summary or content is cut and ends in `…`: one item of 9 MB made the daemon hold 400 MB of words."""
MOST_KEY_BYTES = 2_000
"""A longer guid is replaced by its hash, a longer link is none. PostgreSQL indexes up to 2,704 bytes."""
_IMPOSSIBLE_REFERENCE = re.compile(rb"&#(?:[xX]([0-9a-fA-F]{1,16})|([0-9]{1,20}));")
_SKIPPED = {
    "hours": re.compile(rb"<skipHours>(.{0,2000}?)</skipHours>", re.DOTALL),
    "days": re.compile(rb"<skipDays>(.{0,2000}?)</skipDays>", re.DOTALL),
}
_PASSWORD_FIELD = re.compile(rb"<input[^>]{0,500}type=[\"']?password")
_WALL_MARKS = (b"/cdn-cgi/challenge-platform/", b"ddos-guard", b"awswafintegration")
"""What the pages of common bot walls hold that they send with 200."""
_PARSER_FAULTS = (ArithmeticError, AssertionError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
EARLIEST_PUBLISHED_YEAR = 1990
"""Feeds give 1970 (and 1601, and 0001) for "I don't know": an earlier year is no date at all."""


@dataclass(frozen=True)
class Item:
    """An entry in our own form: plain text in NFC, without markup or control characters.

    `link` is as the feed gives it, also where it is relative. `published` is what the feed claims, in UTC.
    Every field has a most that it holds.
    """

    guid: str | None
    link: str | None
    title: str
    summary: str
    content: str = ""
    author: str | None = None
    published: datetime | None = None
    lang: str | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the text and the link: equal fingerprints are one and the same text. `1` is the way it is made."""
        return (
            "1"
            + hashlib.sha256(canonical_json([self.link or "", self.title, self.summary, self.content])).hexdigest()[:32]
        )


@dataclass(frozen=True)
class Document:
    """A feed document cut into pieces, each with the hash by which an unchanged piece is known again.

    As yet a document is one piece; feedparser reads it whole.
    """

    format: Literal["xml", "json"]
    pieces: tuple[bytes, ...]
    charset: str | None = None


@dataclass(frozen=True)
class Feed:
    """What a document says: the feed's own title, its items in document order, and how often it wants to be asked.

    `kind` is what it is written in.
    """

    title: str
    items: tuple[Item, ...]
    asks: Asks = NOTHING_ASKED
    kind: str = ""


@dataclass(frozen=True)
class NotAFeed:
    """The document is no feed; `reason` says what it is instead, `hint` what can be done."""

    reason: str
    hint: str


def split(body: bytes, charset: str | None = None) -> Document:
    """Cuts a document. `charset` is what the HTTP answer said, used only where the document does not tell itself."""
    head = body[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    return Document("json" if head.startswith(b"{") else "xml", (body,), charset)


def make_ready() -> None:
    """Loads what documents are read by. The process that watches reads none, and would hold 8 MB for nothing."""
    import feedparser
    import nh3

    assert feedparser.__name__
    assert nh3.__name__


def parse(document: Document) -> Feed | NotAFeed:
    """Reads a document: every entry that feedparser finds becomes an item (JSON Feed: every object in `items`)."""
    body = b"".join(document.pieces)
    if not body.strip():
        return NotAFeed("an empty answer", "The site may be in trouble; it is tried again by itself.")
    return _parse_json(body) if document.format == "json" else _parse_xml(body, document.charset)


# ── RSS, Atom, RDF ───────────────────────────────────────────────────────────────────────────────────────────────


def _parse_xml(body: bytes, charset: str | None) -> Feed | NotAFeed:
    import feedparser

    body = _IMPOSSIBLE_REFERENCE.sub(_possible, body if body[:2] in (b"\xff\xfe", b"\xfe\xff") else body.lstrip())
    try:
        # BytesIO, because feedparser opens a file when the bytes are a path.
        parsed = feedparser.parse(BytesIO(body), response_headers=_headers(body, charset), sanitize_html=False)
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        # It raises where it should report: a document like that is none, and the next feed must not suffer for it.
        return NotAFeed(
            f"the parser fails on it ({type(error).__name__}: {error})", "Tell the site; it is tried again."
        )
    if not parsed.get("version") and not parsed.entries:
        return _not_a_feed(body, parsed.get("bozo_exception"))
    lang = _text_or_none(parsed.feed.get("language"))
    items = tuple(_item_from_entry(entry, lang) for entry in parsed.entries)
    title = one_line(plain_text(parsed.feed.get("title") or ""))
    return Feed(title, items, _asks(parsed.feed, body), _kind(parsed.get("version") or ""))


def _asks(head: Mapping[str, Any], body: bytes) -> Asks:
    """Hours and days are read here, because feedparser keeps the last one of them alone."""
    skipped = {
        name: [text.decode("ascii", "replace") for text in re.findall(rb">([^<>]{1,20})</", found[1])]
        for name, found in ((name, pattern.search(body)) for name, pattern in _SKIPPED.items())
        if found
    }
    return asks_of(
        ttl=_string(head.get("ttl")),
        period=_string(head.get("sy_updateperiod")),
        frequency=_string(head.get("sy_updatefrequency")),
        skip_hours=skipped.get("hours", ()),
        skip_days=skipped.get("days", ()),
    )


def _kind(version: str) -> str:
    """feedparser's `rss20` as people write it."""
    family = next((name for name in ("RSS", "Atom", "CDF") if version.startswith(name.lower())), "RSS")
    digits = re.fullmatch(r"[a-z]+(\d)(\d+)[a-z]?", version)
    return f"{family} {digits[1]}.{digits[2]}" if digits else family


def _possible(reference: re.Match[bytes]) -> bytes:
    """A numeric reference as it stands if it names a character, else the one for "unknown"."""
    number = int(reference[1], 16) if reference[1] else int(reference[2])
    known = 0 < number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF
    return reference[0] if known else b"&#xFFFD;"


def _headers(body: bytes, charset: str | None) -> dict[str, str]:
    """The content type for feedparser, with the server's charset only if the document names none.

    feedparser lets the HTTP charset win, as RFC 7303 has it; servers that add a default one are the commoner fault.
    """
    declared = re.match(rb"\s*<\?xml[^>]*encoding", body[:256]) or body.startswith(
        (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
    )
    if charset is None or declared or _is_utf8(body):
        return {"content-type": "application/xml"}
    return {"content-type": f"application/xml; charset={charset}"}


def _is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def _not_a_feed(body: bytes, error: object) -> NotAFeed:
    start = body[:2048].lstrip().lower()
    if b"<html" in start or b"<!doctype html" in start:
        page = body[:200_000].lower()
        if _PASSWORD_FIELD.search(page):
            return NotAFeed(
                "a login page instead of a feed",
                "Give the feed its login (auth_file: or headers_file:), or use another feed.",
            )
        if any(mark in page for mark in _WALL_MARKS):
            return NotAFeed(
                "the page of a bot wall instead of a feed", "Ask the site for an exception, or use another feed."
            )
        return NotAFeed(
            "a web page instead of a feed",
            "Open the address in a browser: the feed may have moved, or the site shows robots a wall.",
        )
    return NotAFeed(f"not a feed ({error})" if error else "not a feed", "Check the address in feeds.yaml.")


def _item_from_entry(entry: dict[str, Any], feed_lang: str | None) -> Item:
    content = "\n".join(filter(None, (_construct(part) for part in entry.get("content") or ())))
    summary = _construct(entry.get("summary_detail")) or plain_text(entry.get("summary") or "")
    return _within_limits(
        guid=_text_or_none(entry.get("id")),
        link=_text_or_none(entry.get("link")),
        title=one_line(_title(entry)),
        summary=summary,
        content=content,
        author=_text_or_none(entry.get("author")),
        published=_moment(_date_of(entry)),
        lang=_language(entry) or feed_lang,
    )


def _within_limits(
    *,
    guid: str | None,
    link: str | None,
    title: str,
    summary: str,
    content: str,
    author: str | None,
    published: datetime | None,
    lang: str | None,
) -> Item:
    """An item that nobody has to be afraid of, whatever its feed says."""
    summary, content = _cut(summary, MOST_TEXT_CHARACTERS), _cut(content, MOST_TEXT_CHARACTERS)
    if guid and len(guid.encode()) > MOST_KEY_BYTES:
        guid = "sha256:" + hashlib.sha256(guid.encode()).hexdigest()
    return Item(
        guid=guid,
        link=link if link and len(link.encode()) <= MOST_KEY_BYTES else None,
        title=_cut(title, MOST_TITLE_CHARACTERS),
        summary=summary or _cut(content, SUMMARY_FROM_CONTENT_CHARACTERS),
        content="" if content == summary else content,
        author=_cut(author, MOST_TITLE_CHARACTERS) if author else None,
        published=published,
        lang=lang[:100] if lang else None,
    )


def _title(entry: Mapping[str, Any]) -> str:
    """`title_detail` may be the title of an image inside the entry; `title` is right, so only its type is taken."""
    return _construct({**(entry.get("title_detail") or {}), "value": entry.get("title")})


def _construct(detail: Mapping[str, Any] | None) -> str:
    """The text of feedparser's `{"type": …, "value": …}`: text/plain is taken as it is, the rest is HTML."""
    if not detail:
        return ""
    value = detail.get("value") or ""
    return squeeze(value) if detail.get("type") == "text/plain" else plain_text(value)


def _language(entry: Mapping[str, Any]) -> str | None:
    details = (entry.get("title_detail"), entry.get("summary_detail"))
    return next(
        (_text_or_none(detail.get("language")) for detail in details if detail and detail.get("language")), None
    )


def _date_of(entry: dict[str, Any]) -> Sequence[int] | None:
    # Past feedparser's own look-up, which answers for `updated_parsed` from `published_parsed`, with a warning.
    parsed: Sequence[int] | None = dict.get(entry, "published_parsed") or dict.get(entry, "updated_parsed")
    return parsed


def _moment(parsed: Sequence[int] | None) -> datetime | None:
    """feedparser's UTC time tuple; None where there is none, or where it is no date (29 February 2025, the year 0)."""
    if parsed is None:
        return None
    try:
        moment = datetime.fromtimestamp(calendar.timegm(tuple(parsed)), UTC)
    except (ValueError, OverflowError, OSError, TypeError):
        return None
    return moment if moment.year >= EARLIEST_PUBLISHED_YEAR else None


# ── JSON Feed ────────────────────────────────────────────────────────────────────────────────────────────────────


def _parse_json(body: bytes) -> Feed | NotAFeed:
    """JSON Feed 1.0 and 1.1 (https://www.jsonfeed.org/version/1.1/), lenient about types as its part on ids is."""
    try:
        document = json.loads(body.decode("utf-8-sig", errors="replace"))
    except (ValueError, RecursionError) as error:
        return NotAFeed(f"broken JSON ({error})", "The site may be in trouble; it is tried again by itself.")
    if "jsonfeed.org" not in str(document.get("version")) or not isinstance(document.get("items"), list):
        return NotAFeed("JSON, but no JSON Feed", "Check the address in feeds.yaml.")
    lang = _text_or_none(document.get("language"))
    entries = [entry for entry in document["items"] if isinstance(entry, dict)]
    title = one_line(squeeze(_string(document.get("title"))))
    return Feed(title, tuple(_item_from_json(entry, lang) for entry in entries), kind="JSON Feed")


def _item_from_json(entry: Mapping[str, Any], feed_lang: str | None) -> Item:
    content = plain_text(_string(entry.get("content_html"))) or squeeze(_string(entry.get("content_text")))
    summary = squeeze(_string(entry.get("summary")))
    return _within_limits(
        guid=_text_or_none(entry.get("id")),
        link=_text_or_none(entry.get("url") or entry.get("external_url")),
        title=one_line(squeeze(_string(entry.get("title")))),
        summary=summary,
        content=content,
        author=_json_author(entry),
        published=_iso_moment(_string(entry.get("date_published") or entry.get("date_modified"))),
        lang=_text_or_none(entry.get("language")) or feed_lang,
    )


def _json_author(entry: Mapping[str, Any]) -> str | None:
    authors = entry.get("authors")
    people = authors if isinstance(authors, list) else [entry.get("author")]
    names = [_string(person.get("name")) for person in people if isinstance(person, dict)]
    return _text_or_none(", ".join(filter(None, names)))


def _iso_moment(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text.strip())
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return moment if moment.year >= EARLIEST_PUBLISHED_YEAR else None


def _string(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return ""
    return str(value) if isinstance(value, str | int | float) else ""


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_BLOCK_TAGS = {
    *("address", "article", "aside", "blockquote", "br", "dd", "div", "dl", "dt", "fieldset", "figcaption", "figure"),
    *("footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "li", "main", "nav", "ol", "p", "pre"),
    *("section", "table", "td", "th", "tr", "ul"),
}
_MARKUP = re.compile(r"<[^>]*>")
_UNPRINTABLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\ud800-\udfff\ufeff\ufffe\uffff]")
_SPACES = re.compile(r"[^\S\n]+")
_LINES = re.compile(r"\s*\n\s*")


def plain_text(markup: str) -> str:
    """The text of a piece of HTML: scripts and styles gone, blocks parted by a line break, entities resolved."""
    import html

    import nh3

    # It takes no lone surrogates.
    markup = _UNPRINTABLE.sub("", markup)
    if "<" not in markup and "&" not in markup:
        return squeeze(markup)
    # After nh3 only its own serialisation is left (every other < is escaped), so a pattern is safe on it.
    blocks = nh3.clean(markup, tags=_BLOCK_TAGS, attributes={}, link_rel=None)
    return squeeze(html.unescape(_MARKUP.sub("\n", blocks)))


def squeeze(text: str) -> str:
    """`text` in NFC on as few lines as it has paragraphs: control characters gone, runs of white space made one."""
    text = _UNPRINTABLE.sub("", text.replace("\r", "\n"))
    return _LINES.sub("\n", _SPACES.sub(" ", unicodedata.normalize("NFC", text))).strip()


def one_line(text: str) -> str:
    """`text` on one line."""
    return " ".join(text.split())


def _text_or_none(value: object) -> str | None:
    return one_line(squeeze(_string(value))) or None


def _cut(text: str, most_characters: int) -> str:
    """`text`, or its start where it is longer, cut between words."""
    if len(text) <= most_characters:
        return text
    start = text[: most_characters + 1]
    words = re.match(r"(?s)(.*\S)\s", start)
    return f"{words[1] if words else start[:-1]} …"


def titles_by_key(items: Iterable[Item], key: Literal["guid", "link"]) -> dict[str, dict[str, None]]:
    """For each guid (or link, of the items without a guid) of a document, the titles it stands for."""
    titles: dict[str, dict[str, None]] = {}
    for item in items:
        value = item.guid if key == "guid" else item.link if item.guid is None else None
        if value:
            titles.setdefault(value, {})[item.title] = None
    return titles
