"""Feeds that are to be added to feeds.yaml: what they are called there, how they are written, and which of a list are
left out, and why."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from daemon.feedsfile import FeedEntry
from daemon.fields import LONGEST_KEY, is_key
from daemon.items import one_line, squeeze
from daemon.links import address_key, host_of
from daemon.opml import Outline

LONGEST_KEY_OF_TITLE = 32
MOST_TITLE_CHARACTERS = 120
# What an editor, or another program, might take for a truth or for nothing.
_NO_TEXT = frozenset({"true", "false", "yes", "no", "on", "off", "null", "y", "n"})
_OPTIONS = tuple(
    name
    for name, info in FeedEntry.model_fields.items()
    # A list from elsewhere must not name files of this machine.
    if name not in ("url", "title") and Path not in (info.annotation, *get_args(info.annotation))
)


@dataclass(frozen=True)
class NewFeed:
    """A feed as feeds.yaml will have it. `options` are its other keys, as they are written there."""

    key: str
    url: str
    title: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class LeftOut:
    """A line of a list that was not taken, and why; `known`: feeds.yaml or the list itself has it already."""

    line: int
    title: str
    reason: str
    known: bool = False


def fetchable(url: str) -> str:
    """An address as it is fetched: `feed:` is how some sites write http, and a bare host is meant as https."""
    url = url.strip()
    if found := re.match(r"(?i)feed:(?://)?(?=https?:)", url):
        url = url[found.end() :]
    elif url[:7].lower() == "feed://":
        url = f"https://{url[7:]}"
    elif "://" not in url and re.match(r"[\w.-]+\.[\w-]{2,}(?::\d+)?(?:[/?#]|$)", url):
        url = f"https://{url}"
    return url


def key_for(title: str, url: str, taken: Collection[str]) -> str:
    """A key that is not in use: from the title where that is short and in Latin letters, else from the host."""
    key = _slug(title)
    if not 2 <= len(key) <= LONGEST_KEY_OF_TITLE or _mostly_lost(title, key) or key.isdigit() or key in _NO_TEXT:
        key = re.sub(r"[^a-z0-9._-]+", "-", host_of(url).lower().removeprefix("www.")).strip("-._") or "feed"
    key = key[: LONGEST_KEY - 8].strip("-._")
    return f"{key}-{_free_number(key, taken)}" if key in taken else key


def _free_number(key: str, taken: Collection[str]) -> int:
    """One whose predecessor is in use, found in a few steps: a list may have ten thousand feeds of one name."""
    below, free = 1, 2
    while f"{key}-{free}" in taken:
        below, free = free, free * 2
    while free - below > 1:
        middle = (below + free) // 2
        below, free = (middle, free) if f"{key}-{middle}" in taken else (below, middle)
    return free


def _slug(title: str) -> str:
    plain = unicodedata.normalize("NFKD", title).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain.replace("'", "")).strip("-")


def _mostly_lost(title: str, slug: str) -> bool:
    letters = sum(one.isalnum() for one in title)
    return sum(one.isalnum() for one in slug) * 2 < letters


def as_read(feed: NewFeed) -> str | dict[str, str]:
    """What feeds.yaml says of it, as it is read from there."""
    title = {"title": feed.title} if feed.title else {}
    return {**title, "url": feed.url, **feed.options} if title or feed.options else feed.url


def yaml_entry(feed: NewFeed) -> str:
    """How feeds.yaml has it, without indentation: one line."""
    says = as_read(feed)
    if isinstance(says, str):
        return f"{feed.key}: {_quoted(says)}"
    write = {"title": _text, "url": _quoted}
    return f"{feed.key}: {{{', '.join(f'{key}: {write.get(key, _option)(value)}' for key, value in says.items())}}}"


def _text(value: str) -> str:
    """As it is where every reader of YAML takes it for this text, else in quotes."""
    plain = re.fullmatch(r"[^\W\d_][\w ().&/-]*(?<! )", value) and value.isprintable()
    return value if plain and value.lower() not in _NO_TEXT else _quoted(value)


def _option(value: str) -> str:
    """Bare, as a number or a truth must be for an editor."""
    return value if re.fullmatch(r"[A-Za-z0-9]+", value) else _quoted(value)


def _quoted(value: str) -> str:
    # What JSON writes is YAML too, save for what YAML does not let stand unescaped.
    return "".join(one if one.isprintable() else _escaped(one) for one in json.dumps(value, ensure_ascii=False))


def _escaped(character: str) -> str:
    code = ord(character)
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def feeds_of(
    outlines: Iterable[Outline], known: Mapping[str, str], taken: Collection[str]
) -> tuple[list[NewFeed], list[LeftOut]]:
    """What a list of feeds adds to the `known` ones (keys by `address_key`), and what of it is left out."""
    new: list[NewFeed] = []
    left_out: list[LeftOut] = []
    keys, addresses = set(taken), dict(known)
    for outline in outlines:
        if not outline.url:
            if not outline.parent:
                left_out.append(LeftOut(outline.line, outline.title, _no_feed(outline)))
            continue
        url = fetchable(outline.url)
        options = {key: outline.own[key] for key in _OPTIONS if outline.own.get(key)}
        address = address_key(url)
        if reason := _why_refused({"url": url, **options}):
            left_out.append(LeftOut(outline.line, outline.title, reason))
        elif address in addresses:
            name = outline.title or one_line(squeeze(url))
            left_out.append(LeftOut(outline.line, name, f"is there already, as {addresses[address]}", known=True))
        else:
            title = outline.title[:MOST_TITLE_CHARACTERS].strip()
            wanted = outline.own.get("key", "")
            key = wanted if is_key(wanted) and wanted not in keys else key_for(title, url, keys)
            new.append(NewFeed(key, url, title, options))
            keys.add(key)
            addresses[address] = key
    return new, left_out


def _no_feed(outline: Outline) -> str:
    if outline.kind == "include":
        return "names another list: import that one by itself"
    return "names no feed (it has no xmlUrl)"


def _why_refused(entry: Mapping[str, str]) -> str:
    try:
        FeedEntry.model_validate(entry)
    except ValidationError as error:
        # The address alone names the place: what stands there may hold a login.
        first = error.errors()[0]
        message = str(first["msg"]).removeprefix("Value error, ").partition("\n")[0]
        return f"{first['loc'][0]}: {message}"
    return ""


def outlines_of(feeds: Mapping[str, Any]) -> list[Outline]:
    """The feeds of feeds.yaml, by key and as they are written there, as a list for other programs."""
    outlines = []
    for key, written in feeds.items():
        entry = {"url": written} if isinstance(written, str) else written
        options = {name: entry[name] for name in _OPTIONS if entry.get(name)}
        outlines.append(Outline(0, entry.get("title") or "", entry["url"], own={"key": key, **options}))
    return outlines
