"""Discovery: the feeds behind a site's address.

The address itself may be one; else its page declares them, or has links that look like feeds; else a few usual places
of the same host are asked. Whatever is found is fetched and read as the watch would do it, within the same limits and
behind the same network guard, one request after another.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urljoin

from daemon.fetching import Changed, Failed, Fetcher, Gone, Outcome, Request
from daemon.items import Feed, NotAFeed
from daemon.links import address_key, safe_link
from daemon.newfeeds import fetchable
from daemon.pages import FeedLink, Page, feeds_in_link_headers, looks_like_page
from daemon.parsing import Parser, Unreadable
from daemon.service import Clock

MOST_CANDIDATES = 20
"""Each one costs its site a request, and whoever waits a second."""
MOST_PAGE_BYTES = 5_000_000
USUAL_PLACES = ("/feed", "/rss", "/rss.xml", "/atom.xml", "/feed.xml", "/index.xml")

# The others are for a feed that is polled: that it is tried again by itself, that its address stands in feeds.yaml.
_HINTS_FOR_SEEKERS = frozenset({"private address", "http 403", "tls"})


@dataclass(frozen=True)
class FoundFeed:
    """A feed that was fetched and read. `newest` is the date of its newest item, where its items have dates."""

    url: str
    title: str
    kind: str
    items: int
    newest: datetime | None


@dataclass(frozen=True)
class NoFeed:
    """An address that was asked and is no feed, or can't be reached: why (as outcomes say it), and what can be done."""

    url: str
    reason: str
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Discovery:
    """What is behind an address: feeds in the order in which the page names them, and what was asked in vain.

    `left_out` are addresses that were not asked any more, because there were too many.
    """

    url: str
    feeds: tuple[FoundFeed, ...] = ()
    in_vain: tuple[NoFeed, ...] = ()
    left_out: tuple[str, ...] = ()


@dataclass
class _Trail:
    """What the answers on the way to a document said: where it was found, and what the last one's headers declare.

    A redirect that lasts (301, 308) gives a feed another address; any other one leads elsewhere each time.
    """

    url: str
    ended_at: str = ""
    links: list[str] = field(default_factory=list)
    _lasting: bool = True

    async def note(self, response: Any) -> None:
        self.ended_at = str(response.url)
        self.links = response.headers.get_list("link")
        if response.status_code in (302, 303, 307):
            self._lasting = False
        elif self._lasting and response.status_code not in (301, 308):
            self.url = self.ended_at


@dataclass
class _Search:
    fetcher: Fetcher
    parser: Parser
    clock: Clock
    asking: Callable[[str], None]
    feeds: list[FoundFeed] = field(default_factory=list)
    in_vain: list[NoFeed] = field(default_factory=list)
    _bodies: set[str] = field(default_factory=set)

    async def fetch(self, url: str) -> tuple[Outcome, _Trail]:
        self.asking(url)
        async with _following(self.fetcher, url) as trail:
            return await self.fetcher.fetch(Request("", url), self.clock.now()), trail

    async def take(self, url: str) -> None:
        """Asks a candidate: it is a feed, or was asked in vain."""
        outcome, trail = await self.fetch(url)
        if isinstance(outcome, Changed):
            self.found(trail.url, outcome, await self.parser.parse(outcome.body, outcome.charset))
        else:
            self.in_vain.append(_unreached(url, outcome))

    def found(self, url: str, outcome: Changed, reading: Feed | NotAFeed | Unreadable) -> None:
        if not isinstance(reading, Feed):
            self.in_vain.append(_no_feed(url, reading))
        # Many sites have one feed at several addresses.
        elif outcome.body_sha256 not in self._bodies and all(
            address_key(one.url) != address_key(url) for one in self.feeds
        ):
            self._bodies.add(outcome.body_sha256)
            dates = [one.published for one in reading.items if one.published]
            newest = max(dates, default=None)
            self.feeds.append(FoundFeed(url, reading.title, reading.kind, len(reading.items), newest))


async def discover(
    url: str, fetcher: Fetcher, parser: Parser, clock: Clock, asking: Callable[[str], None] = lambda _url: None
) -> Discovery:
    """The feeds behind an address. `asking` hears of each address before it is asked.

    Never raises for what a server or the network does. Raises ClaimwatchError where no document can be read at all.
    """
    search = _Search(fetcher, parser, clock, asking)
    url = fetchable(url).partition("#")[0]
    outcome, trail = await search.fetch(url)
    if not isinstance(outcome, Changed):
        return Discovery(url, in_vain=(_unreached(url, outcome),))
    page: Page | None = None
    if not looks_like_page(outcome.body):
        search.found(trail.url, outcome, await parser.parse(outcome.body, outcome.charset))
        if search.feeds:
            return Discovery(url, tuple(search.feeds))
    elif len(outcome.body) > MOST_PAGE_BYTES:
        search.in_vain.append(NoFeed(url, f"a page larger than {MOST_PAGE_BYTES:,} bytes, which is not read"))
    else:
        read = await parser.links_to_feeds(outcome.body, outcome.charset)
        if isinstance(read, Page):
            page = read
        else:
            search.in_vain.append(_no_feed(url, read))
    candidates = _candidates(trail, page or Page())
    for candidate in candidates[:MOST_CANDIDATES]:
        await search.take(candidate)
    if not candidates:
        for place in USUAL_PLACES:
            if not search.feeds:
                await search.take(urljoin(trail.ended_at, place))
    left_out = tuple(candidates[MOST_CANDIDATES:])
    return Discovery(url, tuple(search.feeds), tuple(search.in_vain), left_out)


@asynccontextmanager
async def _following(fetcher: Fetcher, url: str) -> AsyncIterator[_Trail]:
    trail = _Trail(url)
    hooks = fetcher.client.event_hooks
    fetcher.client.event_hooks = {**hooks, "response": [*hooks["response"], trail.note]}
    try:
        yield trail
    finally:
        fetcher.client.event_hooks = hooks


def _candidates(trail: _Trail, page: Page) -> list[str]:
    """Where feeds may be, the declared ones first, each address once and without the one that was asked."""
    base = safe_link(page.base, trail.ended_at) or trail.ended_at
    links = [(trail.ended_at, feeds_in_link_headers(trail.links)), (base, page.links)]
    found: dict[str, str] = {}
    for start, some in links:
        for url in _absolute(start, some):
            found.setdefault(address_key(url), url)
    found.pop(address_key(trail.ended_at), None)
    return list(found.values())


def _absolute(start: str, links: Iterable[FeedLink]) -> Iterable[str]:
    for link in links:
        if url := safe_link(fetchable(link.href) if link.href[:5].lower() == "feed:" else link.href, start):
            yield url.partition("#")[0]


def _unreached(url: str, outcome: Outcome) -> NoFeed:
    if isinstance(outcome, Failed):
        hint = outcome.hint if outcome.reason in _HINTS_FOR_SEEKERS else ""
        return NoFeed(url, outcome.reason, outcome.detail, hint)
    assert isinstance(outcome, Gone)
    return NoFeed(url, "gone for good (410)")


def _no_feed(url: str, reading: NotAFeed | Unreadable) -> NoFeed:
    return NoFeed(url, reading.reason if isinstance(reading, NotAFeed) else reading.detail)
