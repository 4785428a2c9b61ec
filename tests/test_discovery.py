"""The feeds behind a site's address, found on real servers on loopback."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from daemon.backtest import VirtualClock
from daemon.discovery import MOST_CANDIDATES, USUAL_PLACES, Discovery, FoundFeed, discover
from daemon.fetching import open_fetcher
from daemon.guard import GuardedTransport
from daemon.parsing import Limits, open_parser
from tests.support import NOW, Answer, WebServer, item, rss

NEWS = rss(item("Older", published=NOW - timedelta(days=1)), item("Newer", published=NOW), item("Undated"))
ATOM = b'<feed xmlns="http://www.w3.org/2005/Atom"><title>Atom News</title></feed>'
JSON = b'{"version": "https://jsonfeed.org/version/1.1", "title": "JSON News", "items": [{"id": "1", "title": "A"}]}'


def found(
    url: str,
    allowed: tuple[str, ...] = ("127.0.0.1",),
    most_bytes: int = 10_000_000,
    pause_seconds: float = 0,
    limits: Limits | None = None,
    asked: list[str] | None = None,
) -> Discovery:
    async def search() -> Discovery:
        network = GuardedTransport(allowed=allowed)
        async with (
            open_fetcher(
                timeout_seconds=5, most_bytes=most_bytes, host_pause_seconds=pause_seconds, transport=network
            ) as fetcher,
            open_parser(limits) as parser,
        ):
            return await discover(url, fetcher, parser, VirtualClock(NOW), (asked if asked is not None else []).append)

    return asyncio.run(search())


def page(head: str = "", body: str = "") -> bytes:
    return f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode()


def declared(href: str, type: str = "rss+xml") -> str:
    return f'<link rel="alternate" type="application/{type}" href="{href}">'


def paths(web: WebServer) -> list[str]:
    return [one.path for one in web.asked]


def test_an_address_that_is_a_feed_is_the_one_found(web: WebServer) -> None:
    url = web.serve("/feed.xml", NEWS)
    assert found(f"{url}#latest") == Discovery(url, (FoundFeed(url, "The Gazette", "RSS 2.0", 3, NOW),))
    assert paths(web) == ["/feed.xml"]


def test_what_a_page_declares_is_fetched_and_read(web: WebServer) -> None:
    site = web.serve("/news/", page(declared("rss.xml") + declared("/atom", "atom+xml") + declared("//:bad:/")))
    web.serve("/news/rss.xml", NEWS)
    web.serve("/atom", ATOM)
    asked: list[str] = []
    discovery = found(site, asked=asked)
    assert discovery.feeds == (
        FoundFeed(web.url("/news/rss.xml"), "The Gazette", "RSS 2.0", 3, NOW),
        FoundFeed(web.url("/atom"), "Atom News", "Atom 1.0", 0, None),
    )
    assert asked == [site, web.url("/news/rss.xml"), web.url("/atom")]
    assert discovery.in_vain == ()


def test_links_start_from_the_base_of_the_page(web: WebServer) -> None:
    site = web.serve("/", page(f'<base href="/deep/down/">{declared("feed.json", "feed+json")}'))
    web.serve("/deep/down/feed.json", JSON)
    assert found(site).feeds == (FoundFeed(web.url("/deep/down/feed.json"), "JSON News", "JSON Feed", 1, None),)


def test_link_headers_declare_feeds_of_any_document(web: WebServer) -> None:
    header = {"Link": '</rss>; rel="alternate"; type="application/rss+xml"', "Content-Type": "text/plain"}
    site = web.serve("/plain", Answer(b"words", headers=header))
    web.serve("/rss", NEWS)
    discovery = found(site)
    assert [one.url for one in discovery.feeds] == [web.url("/rss")]
    assert [(one.url, one.reason[:10]) for one in discovery.in_vain] == [(site, "not a feed")]


def test_links_that_look_like_feeds_are_tried_after_the_declared_ones(web: WebServer) -> None:
    site = web.serve("/", page(declared("/gone"), '<a href="/world/rss">World</a><a href="/about">About</a>'))
    web.serve("/gone", Answer(status=410))
    web.serve("/world/rss", NEWS)
    discovery = found(site)
    assert [one.url for one in discovery.feeds] == [web.url("/world/rss")]
    assert [(one.url, one.reason) for one in discovery.in_vain] == [(web.url("/gone"), "gone for good (410)")]


def test_the_usual_places_are_asked_in_turn_where_nothing_is_declared(web: WebServer) -> None:
    site = web.serve("/about/us", page())
    web.serve("/atom.xml", ATOM)
    discovery = found(site)
    assert [one.url for one in discovery.feeds] == [web.url("/atom.xml")]
    assert paths(web) == ["/about/us", *USUAL_PLACES[: USUAL_PLACES.index("/atom.xml") + 1]]


def test_where_something_is_declared_the_usual_places_are_left_alone(web: WebServer) -> None:
    discovery = found(web.serve("/", page(declared("/gone"))))
    assert discovery.feeds == ()
    assert paths(web) == ["/", "/gone"]


def test_a_site_without_feeds_tells_what_was_asked(web: WebServer) -> None:
    discovery = found(web.serve("/", page()))
    assert discovery.feeds == ()
    assert [one.url for one in discovery.in_vain] == [web.url(place) for place in USUAL_PLACES]
    assert {one.reason for one in discovery.in_vain} == {"http 404"}


def test_one_feed_at_several_addresses_is_found_once(web: WebServer) -> None:
    links = ("/rss", "/rss/", "/RSS#top", "/rss#x", "/moved")
    site = web.serve("/", page("".join(map(declared, links))))
    for path in ("/rss", "/rss/"):
        web.serve(path, NEWS)
    web.serve("/RSS", ATOM)
    web.serve("/moved", Answer(status=301, headers={"Location": "/RSS"}))
    assert [one.url for one in found(site).feeds] == [web.url("/rss"), web.url("/RSS")]


def test_a_page_that_names_itself_is_not_asked_again(web: WebServer) -> None:
    site = web.serve("/rss", page(declared("/rss") + declared("#")))
    found(site)
    assert paths(web).count("/rss") == 2  # once as the page, once as a usual place


@pytest.mark.parametrize(
    ("statuses", "final"),
    [((301,), True), ((308, 301), True), ((302,), False), ((301, 302), False), ((307,), False)],
)
def test_a_redirect_that_lasts_gives_the_feed_its_address(
    web: WebServer, statuses: tuple[int, ...], final: bool
) -> None:
    for number, status in enumerate(statuses):
        following = f"/{number + 1}" if number + 1 < len(statuses) else "/feed.xml"
        web.serve(f"/{number}", Answer(status=status, headers={"Location": following}))
    web.serve("/feed.xml", NEWS)
    (feed,) = found(web.url("/0")).feeds
    assert feed.url == web.url("/feed.xml" if final else "/0")


def test_after_a_redirect_links_start_from_where_it_led(web: WebServer) -> None:
    web.serve("/old", Answer(status=302, headers={"Location": "/new/home"}))
    web.serve("/new/home", page(declared("rss")))
    web.serve("/new/rss", NEWS)
    assert [one.url for one in found(web.url("/old")).feeds] == [web.url("/new/rss")]


def test_too_many_candidates_are_told_and_left(web: WebServer) -> None:
    site = web.serve("/", page("".join(declared(f"/rss/{number}") for number in range(MOST_CANDIDATES + 30))))
    discovery = found(site)
    assert len(discovery.in_vain) == MOST_CANDIDATES
    assert discovery.left_out == tuple(web.url(f"/rss/{n}") for n in range(MOST_CANDIDATES, MOST_CANDIDATES + 30))
    assert len(web.asked) == 1 + MOST_CANDIDATES


def test_requests_to_one_host_come_one_after_another_with_a_pause(web: WebServer) -> None:
    site = web.serve("/", page(declared("/a/rss") + declared("/b/rss")))
    began = time.monotonic()
    found(site, pause_seconds=0.2)
    assert time.monotonic() - began >= 0.4
    assert paths(web) == ["/", "/a/rss", "/b/rss"]


@pytest.mark.parametrize(
    "link", ["http://10.0.0.1/rss", "http://[::1]/rss", "http://169.254.169.254/latest/feed", "//2130706434/rss"]
)
def test_the_network_guard_holds_for_what_a_page_names(web: WebServer, link: str) -> None:
    discovery = found(web.serve("/", page(declared(link))))
    assert discovery.feeds == ()
    assert [one.reason for one in discovery.in_vain] == ["private address"]
    assert "allow_private" in discovery.in_vain[0].hint


def test_the_network_guard_holds_for_the_address_itself_and_for_redirects(web: WebServer) -> None:
    url = web.serve("/feed.xml", NEWS)
    assert found(url, allowed=()).in_vain[0].reason == "private address"
    redirect = web.serve("/to", Answer(status=302, headers={"Location": url.replace("127.0.0.1", "127.0.0.2")}))
    assert found(redirect).in_vain[0].reason == "private address"
    assert paths(web) == ["/to"]


@pytest.mark.parametrize("url", ["ftp://example.org/", "file:///etc/passwd", "nonsense", "", "https://[bad", "http://"])
def test_what_is_no_address_is_told(url: str) -> None:
    discovery = found(url)
    assert discovery.feeds == ()
    assert len(discovery.in_vain) == 1


def test_a_page_of_five_megabytes_is_read(web: WebServer) -> None:
    filler = '<div class="card"><p>Some words <a href="/news/1">here</a></p></div>' * 70_000
    site = web.serve("/", page(declared("/rss"), filler))
    web.serve("/rss", NEWS)
    assert len(web.script["/"][0].body) > 4_700_000
    assert len(found(site).feeds) == 1


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"<div>" * 900_000, id="nested"),
        pytest.param(b"<a " + b"".join(b"a%d=1 " % n for n in range(300_000)) + b">", id="attributes"),
        pytest.param(b"<" * 4_000_000, id="angles"),
    ],
)
def test_a_hostile_page_is_given_up_and_costs_no_more_than_the_limits(web: WebServer, body: bytes) -> None:
    site = web.serve("/", b"<!doctype html>" + body)
    began = time.monotonic()
    discovery = found(site, limits=Limits(cpu_seconds=0.5, memory_bytes=150_000_000, wall_seconds=3))
    assert time.monotonic() - began < 12
    assert discovery.in_vain[0].url == site
    assert discovery.feeds == ()


def test_a_page_that_never_ends_is_given_up(web: WebServer) -> None:
    discovery = found(web.serve("/", page(body="x" * 200_000)), most_bytes=100_000)
    assert "larger than 100,000 bytes" in discovery.in_vain[0].detail


def test_a_page_larger_than_pages_are_is_not_read(web: WebServer) -> None:
    discovery = found(web.serve("/", page(declared("/rss"), "x" * 5_000_000)))
    assert discovery.in_vain[0].reason == "a page larger than 5,000,000 bytes, which is not read"
