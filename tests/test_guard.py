"""No feed and no redirect leads into a private network, unless feeds.yaml names the host."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import trustme

from daemon.fetching import Changed, Failed, Fetcher, Outcome, Request, open_fetcher
from daemon.guard import GuardedTransport, Resolver, is_public, resolve
from tests.support import NOW, Answer, WebServer, item, rss

FEED = rss(item("A title"))


def fetched(url: str, *, resolver: Resolver = resolve, tls: ssl.SSLContext | None = None, **options: Any) -> Outcome:
    """One fetch over the guarded network."""

    async def once() -> Outcome:
        transport = GuardedTransport(resolver=resolver, tls=tls, **options)
        limits: dict[str, Any] = {"timeout_seconds": 5, "most_bytes": 1_000_000, "host_pause_seconds": 0}
        async with open_fetcher(**limits, transport=transport) as fetcher:
            return await fetcher.fetch(Request("gazette", url), NOW)

    return asyncio.run(once())


def answering(*answers: Sequence[str]) -> Resolver:
    """A resolver that gives these addresses for any name, one answer after another; the last one stays."""
    turns: Iterator[Sequence[str]] = iter(answers)
    last: Sequence[str] = ()

    async def resolver(_host: str, _port: int) -> list[str]:
        nonlocal last
        last = next(turns, last)
        return list(last)

    return resolver


def port_of(web: WebServer) -> int:
    return int(web.url("/").rsplit(":", 1)[1].rstrip("/"))


def assert_refused(outcome: Outcome, web: WebServer) -> None:
    assert isinstance(outcome, Failed), outcome
    assert outcome.reason == "private address", outcome
    assert "allow_private" in outcome.hint
    assert web.asked == []


# ── which addresses are public ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_a_public_address_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.10", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254"),
        *("100.64.0.1", "100.100.100.200", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255"),
        *("::", "::1", "fd00::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1"),
        # IPv4-mapped, IPv4-compatible, NAT64 (well-known and local), 6to4, Teredo with a private server or client
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1"),
        *("2002:7f00:1::1", "2002:a00:1::1", "2001:0:7f00:1::1", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
        # ISATAP, a 6to4 relay, documentation
        *("2606:4700::5efe:10.0.0.1", "2606:4700::200:5efe:10.0.0.1", "192.88.99.1", "3fff::1"),
        *("", "localhost", "1.1.1", "no address"),
    ],
)
def test_a_private_or_special_address_is_not_public(address: str) -> None:
    assert not is_public(address)


# ── hostile addresses of feeds ───────────────────────────────────────────────────────────────────────────────────

HOSTILE_HOSTS = [
    *("127.0.0.1", "localhost", "127.1", "2130706433", "0x7f.1", "0x7f000001", "0", "0.0.0.0"),
    *("[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "LOCALHOST"),
]


@pytest.mark.parametrize("host", HOSTILE_HOSTS)
def test_no_way_to_write_this_machine_s_address_leads_there(host: str, web: WebServer) -> None:
    web.serve("/feed.xml", FEED)
    outcome = fetched(f"http://{host}:{port_of(web)}/feed.xml")
    assert isinstance(outcome, Failed), outcome
    assert_refused(outcome, web)


def test_an_address_in_octal_is_no_address_at_all(web: WebServer) -> None:
    outcome = fetched(f"http://0177.0.0.1:{port_of(web)}/feed.xml")
    assert isinstance(outcome, Failed)
    assert outcome.reason == "broken answer"
    assert web.asked == []


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "100.100.100.200",
        "10.0.0.1",
        "fd00::1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "::ffff:10.0.0.1",
    ],
)
def test_a_name_that_resolves_to_a_private_address_is_refused(address: str, web: WebServer) -> None:
    assert_refused(fetched("http://news.example/feed.xml", resolver=answering([address])), web)


def test_one_private_address_among_public_ones_is_refused(web: WebServer) -> None:
    assert_refused(fetched("http://news.example/", resolver=answering(["93.184.215.14", "127.0.0.1"])), web)


def test_the_refusal_names_host_and_address(web: WebServer) -> None:
    outcome = fetched("http://news.example/feed.xml", resolver=answering(["10.0.0.1"]))
    assert isinstance(outcome, Failed)
    assert outcome.detail == "news.example, which is 10.0.0.1 is no address of the public internet"


def test_a_name_is_resolved_once_and_the_connection_goes_to_the_address_that_was_checked(web: WebServer) -> None:
    # A resolver that turns round: whoever asked twice would be led to this machine the second time.
    asked: list[str] = []

    async def rebinding(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["192.0.2.1"] if len(asked) == 1 else ["127.0.0.1"]

    web.serve("/feed.xml", FEED)
    url = f"http://rebind.example:{port_of(web)}/feed.xml"
    assert_refused(fetched(url, resolver=rebinding), web)
    assert asked == ["rebind.example"]
    # And the next fetch is checked anew.
    assert_refused(fetched(url, resolver=rebinding), web)


def test_a_host_that_feeds_yaml_names_is_reached_wherever_it_is(web: WebServer) -> None:
    web.serve("/feed.xml", FEED)
    url = f"http://intranet.example:{port_of(web)}/feed.xml"
    outcome = fetched(url, resolver=answering(["127.0.0.1"]), allowed=["Intranet.Example."])
    assert isinstance(outcome, Changed)
    assert outcome.body == FEED
    assert web.asked[0].headers["host"] == f"intranet.example:{port_of(web)}"


def test_a_host_that_is_allowed_allows_no_other(web: WebServer) -> None:
    resolver = answering(["127.0.0.1"])
    for host in ("other.example", "sub.intranet.example", "intranet.example.org"):
        assert_refused(fetched(f"http://{host}:{port_of(web)}/", resolver=resolver, allowed=["intranet.example"]), web)


def test_a_redirect_to_a_private_address_is_refused(web: WebServer) -> None:
    port = port_of(web)
    web.serve("/feed.xml", Answer(status=302, headers={"Location": f"http://localhost:{port}/secret"}))
    outcome = fetched(
        f"http://intranet.example:{port}/feed.xml", resolver=answering(["127.0.0.1"]), allowed=["intranet.example"]
    )
    assert isinstance(outcome, Failed)
    assert outcome.reason == "private address"
    assert [asked.path for asked in web.asked] == ["/feed.xml"]


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://news.example/", "gopher://127.0.0.1/", "unix:///run/x"]
)
def test_a_redirect_to_anything_but_http_is_refused(location: str, web: WebServer) -> None:
    web.serve("/feed.xml", Answer(status=302, headers={"Location": location}))
    outcome = fetched(web.url("/feed.xml"), allowed=["127.0.0.1"])
    assert isinstance(outcome, Failed)
    assert outcome.reason == "bad redirect"


# ── connecting ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_address_is_tried_where_one_does_not_answer(web: WebServer) -> None:
    web.serve("/feed.xml", FEED)
    url = f"http://two.example:{port_of(web)}/feed.xml"
    # Nobody listens on 127.0.0.2.
    outcome = fetched(url, resolver=answering(["127.0.0.2", "127.0.0.1"]), allowed=["two.example"])
    assert isinstance(outcome, Changed)


def test_a_name_without_an_address_is_a_failure_that_may_be_our_own() -> None:
    outcome = fetched("http://nowhere.example/", resolver=answering([]))
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.offline) == ("no connection", True)


def test_a_name_that_nobody_knows_is_told_as_such() -> None:
    async def unknown(_host: str, _port: int) -> list[str]:
        raise OSError(-2, "Name or service not known")

    outcome = fetched("http://nowhere.example/", resolver=unknown)
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.offline) == ("name not found", True)


def test_the_certificate_is_checked_against_the_name_and_not_the_address() -> None:
    authority = trustme.CA()
    server_side, client_side = (ssl.SSLContext(kind) for kind in (ssl.PROTOCOL_TLS_SERVER, ssl.PROTOCOL_TLS_CLIENT))
    authority.issue_cert("intranet.example").configure_cert(server_side)
    authority.configure_trust(client_side)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(FEED) + FEED)
        await writer.drain()
        writer.close()

    async def both() -> list[Outcome]:
        server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=server_side)
        port = server.sockets[0].getsockname()[1]
        hosts = ("intranet.example", "other.example")
        transport = GuardedTransport(resolver=answering(["127.0.0.1"]), tls=client_side, allowed=hosts)
        limits: dict[str, Any] = {"timeout_seconds": 5, "most_bytes": 1_000_000, "host_pause_seconds": 0}
        async with server, open_fetcher(**limits, transport=transport) as fetcher:
            return [await fetcher.fetch(Request("gazette", f"https://{host}:{port}/"), NOW) for host in hosts]

    right, wrong = asyncio.run(both())
    assert isinstance(right, Changed)
    assert isinstance(wrong, Failed)
    assert wrong.reason == "tls"


# ── a proxy ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_configured_proxy_is_used_and_trusted_and_resolves_the_names(web: WebServer) -> None:
    web.serve("http://news.example/feed.xml", FEED)
    proxy = web.url("/").rstrip("/")
    outcome = fetched("http://news.example/feed.xml", proxy=proxy)
    assert isinstance(outcome, Changed)
    assert web.asked[0].path == "http://news.example/feed.xml"


@pytest.mark.parametrize(
    "host", ["%31%32%37.0.0.1", "127.0.0.1", "10.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:10.0.0.1]"]
)
def test_a_private_address_is_refused_through_a_proxy_too(host: str, web: WebServer) -> None:
    assert_refused(fetched(f"http://{host}/feed.xml", proxy=web.url("/").rstrip("/")), web)


def test_a_proxy_of_the_environment_is_not_asked(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    web.serve("/feed.xml", FEED)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert isinstance(fetched(web.url("/feed.xml"), allowed=["127.0.0.1"]), Changed)


# ── secrets ──────────────────────────────────────────────────────────────────────────────────────────────────────

SECRETS = {"gazette": {"x-api-key": "s3cret", "authorization": "Basic dTpw"}}


def fetched_with_secrets(url: str, feed: str = "gazette") -> Outcome:
    async def once() -> Outcome:
        transport = GuardedTransport(allowed=["127.0.0.1", "localhost"])
        limits: dict[str, Any] = {"timeout_seconds": 5, "most_bytes": 1_000_000, "host_pause_seconds": 0}
        async with open_fetcher(**limits, transport=transport, secrets=SECRETS) as fetcher:
            assert "s3cret" not in repr(fetcher)
            return await fetcher.fetch(Request(feed, url), NOW)

    return asyncio.run(once())


def test_the_secret_headers_of_a_feed_are_sent_for_that_feed_alone(web: WebServer) -> None:
    web.serve("/feed.xml", FEED)
    fetched_with_secrets(web.url("/feed.xml"))
    fetched_with_secrets(web.url("/feed.xml"), "courier")
    first, second = web.asked
    assert (first.headers["x-api-key"], first.headers["authorization"]) == ("s3cret", "Basic dTpw")
    assert "x-api-key" not in second.headers
    assert "authorization" not in second.headers


def test_secrets_follow_a_redirect_on_the_same_host_and_to_no_other(web: WebServer) -> None:
    elsewhere = web.url("/other").replace("127.0.0.1", "localhost")
    web.serve("/feed.xml", Answer(status=301, headers={"Location": "/new"}))
    web.serve("/new", Answer(status=302, headers={"Location": elsewhere}))
    web.serve("/other", FEED)
    assert isinstance(fetched_with_secrets(web.url("/feed.xml")), Changed)
    assert [(one.path, "x-api-key" in one.headers) for one in web.asked] == [
        ("/feed.xml", True),
        ("/new", True),
        ("/other", False),
    ]


def test_a_fetcher_shows_no_secret() -> None:
    fields = Fetcher.__dataclass_fields__
    assert not fields["secrets"].repr
