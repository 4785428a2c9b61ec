"""Web pages, as far as they tell where feeds are: `<link rel="alternate">`, and links that look like feeds.

A page is cut down by nh3, which reads HTML as browsers do; what is left is in nh3's own spelling, where every attribute
stands in double quotes and a pattern is safe. Hostile pages cost time and memory all the same, so this runs in the
child process that reads feeds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from daemon.items import one_line, squeeze

FEED_TYPES = frozenset(
    {
        *("application/rss+xml", "application/atom+xml", "application/rdf+xml", "application/feed+json"),
        # What sites write that mean the same.
        *("text/rss+xml", "text/atom+xml", "application/x-rss+xml", "application/x-atom+xml"),
    }
)
MOST_LINKS = 200
"""More of one sort are left unread: a page of a hundred thousand links is no list of feeds."""
MOST_HREF_CHARACTERS = 2_000
MOST_LABEL_CHARACTERS = 200
_KEPT = {"base": {"href"}, "link": {"rel", "type", "href", "title"}, "a": {"href"}, "title": set[str]()}
_ELEMENT = re.compile(r"<(base|link|a|title)((?: [a-z]+=\"[^\"]*\")*)>(?:([^<]*)(?=</))?")
_ATTRIBUTE = re.compile(r" ([a-z]+)=\"([^\"]*)\"")
_CHARSET = re.compile(rb"<meta[^>]{0,200}?charset\s*=\s*[\"']?\s*([\w.:-]{2,40})", re.IGNORECASE)
_FEEDLIKE = re.compile(r"(?i)(?:^|[/._=&?-])(?:rss(?:2|20|\.xml)?|atom(?:10)?|rdf|feeds?)(?:$|[/._=&?#-])")


@dataclass(frozen=True)
class FeedLink:
    """A link of a page that may lead to a feed: the address as it is written, and what the page calls it.

    `declared` says that the page itself means it as a feed; else it only looks like one.
    """

    href: str
    label: str = ""
    declared: bool = True


@dataclass(frozen=True)
class Page:
    """What a web page says of feeds, in its order, the declared ones first. `base` is what its links start from."""

    title: str = ""
    base: str = ""
    links: tuple[FeedLink, ...] = ()


def looks_like_page(body: bytes) -> bool:
    """Whether a document is HTML by its beginning. XHTML is; a feed with HTML in it is not."""
    start = re.sub(rb"^(?:\s|<\?xml[^>]*>|<!--.*?-->|\xef\xbb\xbf)+", b"", body[:4096], flags=re.DOTALL).lower()
    return start.startswith((b"<!doctype html", b"<html", b"<head", b"<title", b"<meta", b"<body"))


def read_page(body: bytes, charset: str | None = None) -> Page:
    """Reads a page. `charset` is what the HTTP answer said. Never raises for what the page holds."""
    import html

    import nh3

    left = nh3.clean(
        _decoded(body, charset),
        tags=set(_KEPT),
        attributes=_KEPT,
        link_rel=None,
        url_schemes={"http", "https", "feed"},
        clean_content_tags={"script", "style"},
    )
    title, base = "", ""
    declared: list[FeedLink] = []
    alike: list[FeedLink] = []
    for name, written, text in _ELEMENT.findall(left):
        attributes = {key: html.unescape(value).strip() for key, value in _ATTRIBUTE.findall(written)}
        href = attributes.get("href", "")
        if name == "title":
            title = title or _label(html.unescape(text))
        elif name == "base":
            base = base or href
        elif href and len(href) <= MOST_HREF_CHARACTERS:
            if name == "a":
                if _FEEDLIKE.search(_behind_the_host(href)):
                    alike.append(FeedLink(href, _label(html.unescape(text)), declared=False))
            elif _means_a_feed(attributes):
                declared.append(FeedLink(href, _label(attributes.get("title", ""))))
    return Page(title, base, (*declared[:MOST_LINKS], *alike[:MOST_LINKS]))


def feeds_in_link_headers(values: list[str]) -> list[FeedLink]:
    """The feeds that `Link:` headers of an answer declare (RFC 8288)."""
    found = []
    for value in values:
        for href, rest in re.findall(r"<([^<>]*)>((?:[^,\"<]|\"[^\"]*\")*)", value[:20_000]):
            parameters = {
                key.lower(): quoted or bare
                for key, quoted, bare in re.findall(r";\s*([\w*!-]+)\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", rest)
            }
            if href.strip() and len(href) <= MOST_HREF_CHARACTERS and _means_a_feed(parameters):
                found.append(FeedLink(href.strip(), _label(parameters.get("title", ""))))
    return found[:MOST_LINKS]


def _means_a_feed(attributes: dict[str, str]) -> bool:
    rel = attributes.get("rel", "").lower().split()
    type = attributes.get("type", "").partition(";")[0].strip().lower()
    # rel="feed" was a proposal once; a type that is no feed's rules it out all the same.
    return ("alternate" in rel and type in FEED_TYPES) or ("feed" in rel and (not type or type in FEED_TYPES))


def _behind_the_host(href: str) -> str:
    """Path and query: that a site's name holds "feed" says nothing of its pages."""
    return re.sub(r"^(?:[a-zA-Z][a-zA-Z0-9+.-]*:)?//[^/?#]*", "", href) if not href.startswith("feed:") else "/feed"


def _label(text: str) -> str:
    return one_line(squeeze(text))[:MOST_LABEL_CHARACTERS]


def _decoded(body: bytes, charset: str | None) -> str:
    declared = _CHARSET.search(body[:4096])
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        charset = "utf-16"
    elif not charset and declared:
        charset = declared[1].decode()
    try:
        return body.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        # A charset that nobody knows, or that is none of text.
        return body.decode("utf-8", "replace")
