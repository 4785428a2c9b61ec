"""Months of real feeds, replayed: no item of any snapshot may be missing from the log.

The count is our own, made straight from the files with the standard library's XML parser and no code of the product.
"""

from __future__ import annotations

import asyncio
import gzip
import html
import os
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.assembly import rebuild_projections, verify
from daemon.backtest import Summary, backtest, snapshots_in
from daemon.eventlog import EventLog, head_of, read
from daemon.rules import Rules
from tests.support import SHARED, claim, digest, event_log, needs_shared, post

ARCHIVE = SHARED / "corpus" / "timeline" / "snapshots"
SMALL = ("2025-ru-thebell", "2025-ru-verstka")
ATOM = "{http://www.w3.org/2005/Atom}"

pytestmark = needs_shared


def plain(text: str | None) -> str:
    """Text without tags and entities, with single spaces: what two readers of a feed must agree on."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text or "")).split())


def titles_and_links(document: bytes) -> Iterator[tuple[str, str]]:
    """Every (title, link) of an RSS or Atom document; nothing for one that breaks off."""
    try:
        root = ET.fromstring(document)
    except ET.ParseError:
        return
    for row in root.iter("item"):
        yield plain(row.findtext("title")), plain(row.findtext("link"))
    for row in root.iter(f"{ATOM}entry"):
        links = [link.get("href") for link in row.findall(f"{ATOM}link") if link.get("rel", "alternate") == "alternate"]
        yield plain(row.findtext(f"{ATOM}title")), plain(links[0] if links else "")


def served(feed: str) -> set[tuple[str, str]]:
    paths = sorted((ARCHIVE / feed).iterdir())
    return {pair for path in paths for pair in titles_and_links(gzip.decompress(path.read_bytes()))}


def logged(log: EventLog) -> dict[str, set[tuple[str, str]]]:
    found: dict[str, set[tuple[str, str]]] = {}
    with log.reading() as connection:
        for one in read(connection, kinds=("item_seen", "item_revised")):
            pair = plain(one.event.title), plain(one.event.link)
            found.setdefault(one.event.feed, set()).add(pair)
    return found


def replay(log: EventLog, folder: Path, feeds: tuple[str, ...]) -> Summary:
    rules = Rules(
        claims=(claim("prisoner-exchange"), claim("energy-strike-pause"), claim("black-sea-group", "Black Sea group")),
        digests=(digest(timezone="Europe/Kyiv"),),
    )
    snapshots = [snapshot for snapshot in snapshots_in(ARCHIVE) if snapshot.feed in feeds]
    return asyncio.run(backtest(log, rules, post(folder), snapshots, most_bytes=10_000_000))


def hold_the_promises(tmp_path: Path, feeds: tuple[str, ...]) -> None:
    with event_log(tmp_path) as log:
        first = replay(log, tmp_path, feeds)
        assert first.polls == sum(len(list((ARCHIVE / feed).iterdir())) for feed in feeds)
        log_has = logged(log)
        missing = {feed: served(feed) - log_has[feed] for feed in feeds}
        assert not any(missing.values()), {feed: sorted(pairs)[:5] for feed, pairs in missing.items() if pairs}

        with log.reading() as connection:
            head = head_of(connection)
        second = replay(log, tmp_path, feeds)
        assert second.polls == 0
        assert verify(log) == head, "a second run over the same state appended something"

        assert rebuild_projections(log) == head.position
        assert verify(log) == head


@pytest.mark.long
@pytest.mark.no_cover
def test_no_item_of_the_small_archives_is_missing_from_the_log(tmp_path: Path) -> None:
    hold_the_promises(tmp_path, SMALL)


@pytest.mark.slow
def test_no_item_of_any_archive_is_missing_from_the_log(tmp_path: Path) -> None:
    hold_the_promises(tmp_path, tuple(sorted(os.listdir(ARCHIVE))))
