"""Fetching against real servers on loopback: what a server says and does becomes a value, and nothing ever raises."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
import socket
import ssl
import time
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import __version__
from daemon.fetching import Fetcher, Request, open_fetcher
from daemon.guard import GuardedTransport
from daemon.outcomes import (
    LONGEST_RETRY_AFTER,
    Answered,
    Changed,
    Failed,
    Gone,
    Outcome,
    Unchanged,
    fresh_for,
    retry_after,
)
from tests.support import NOW, Answer, WebServer, fetcher, item, rss

BODY = rss(item("Talks on the strait go on"))
NO_LOGIN = "The feed wants a password: auth_file:. Where it redirects to another host, none is sent there."
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def outcome_of(url: str, *, now: datetime = NOW, limits: dict[str, Any] | None = None, **fields: Any) -> Outcome:
    """The outcome of one fetch of this address."""

    async def once() -> Outcome:
        async with fetcher(**(limits or {})) as opened:
            return await opened.fetch(Request("gazette", url, **fields), now)

    return asyncio.run(once())


def failure_of(url: str, **fields: Any) -> Failed:
    outcome = outcome_of(url, **fields)
    assert isinstance(outcome, Failed)
    return outcome


def body_of(url: str, **fields: Any) -> bytes:
    outcome = outcome_of(url, **fields)
    assert isinstance(outcome, Changed), outcome
    return outcome.body


@asynccontextmanager
async def server(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """A server in this loop that speaks bytes; yields its address. What it still does at the end is cut off."""
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await handle(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client has hung up, or the test is over
        finally:
            writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/feed.xml"
    finally:
        listening.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await listening.wait_closed()


def outcome_from(handle: Handler, **limits: Any) -> Outcome:
    """The outcome of one fetch from a server that does this."""

    async def once() -> Outcome:
        async with server(handle) as url, fetcher(**limits) as opened:
            return await opened.fetch(Request("gazette", url), NOW)

    return asyncio.run(once())


def endless(head: bytes, chunk: bytes, pause_seconds: float = 0) -> Handler:
    """A server that says `head`, and then `chunk` for ever."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        while True:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause_seconds)

    return handle


# ── the question ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_question_is_unconditional(web: WebServer) -> None:
    outcome_of(web.serve("/feed.xml", BODY))
    assert not {"if-none-match", "if-modified-since"} & web.asked[0].headers.keys()


def test_the_program_says_who_it_is(web: WebServer) -> None:
    outcome_of(web.serve("/feed.xml", BODY))
    assert web.asked[0].headers["user-agent"].startswith(f"claimwatch/{__version__} (")


def test_only_an_encoding_that_is_read_within_a_limit_is_asked_for(web: WebServer) -> None:
    outcome_of(web.serve("/feed.xml", BODY))
    assert web.asked[0].headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("etag", ['"abc"', 'W/"abc"', "unquoted", '"a,b  c"', '"%7e\\"', '"été"'])
def test_an_etag_comes_back_byte_for_byte(web: WebServer, etag: str) -> None:
    # http.server writes and reads headers as latin-1, so that a character here is a byte on the wire.
    url = web.serve("/feed.xml", Answer(BODY, headers={"ETag": etag}), Answer(status=304))
    first = outcome_of(url)
    assert isinstance(first, Changed)
    assert outcome_of(url, etag=first.etag) == Unchanged(first.etag, None)
    assert web.asked[1].headers["if-none-match"] == etag


@pytest.mark.parametrize("moment", ["Wed, 19 Mar 2025 11:00:00 GMT", "2025-03-19", "Wed, 19 Mar 2025 11:00:00 +0200"])
def test_a_last_modified_comes_back_byte_for_byte(web: WebServer, moment: str) -> None:
    url = web.serve("/feed.xml", Answer(BODY, headers={"Last-Modified": moment}), Answer(status=304))
    first = outcome_of(url)
    assert isinstance(first, Changed)
    assert outcome_of(url, last_modified=first.last_modified) == Unchanged(None, moment)
    assert web.asked[1].headers["if-modified-since"] == moment


def test_a_feed_s_cookies_are_not_carried_along(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(BODY, headers={"Set-Cookie": "who=me"}))

    async def twice() -> None:
        async with fetcher() as opened:
            await opened.fetch(Request("gazette", url), NOW)
            await opened.fetch(Request("gazette", url), NOW)

    asyncio.run(twice())
    assert "cookie" not in web.asked[1].headers


def test_a_proxy_of_the_environment_is_not_used(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert body_of(web.serve("/feed.xml", BODY)) == BODY


# ── a document, or none ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_document_comes_with_all_that_the_next_question_needs(web: WebServer) -> None:
    headers = {"ETag": '"1"', "Last-Modified": "yesterday", "Content-Type": "text/xml; charset=KOI8-R"}
    outcome = outcome_of(web.serve("/feed.xml", Answer(BODY, headers=headers)))
    assert outcome == Changed(BODY, sha256(BODY).hexdigest(), '"1"', "yesterday", "koi8-r")


def test_an_answer_without_a_charset_claims_none(web: WebServer) -> None:
    outcome = outcome_of(web.serve("/feed.xml", Answer(BODY, headers={"Content-Type": "application/rss+xml"})))
    assert isinstance(outcome, Changed)
    assert outcome.charset is None


def test_a_304_keeps_the_validators_that_it_does_not_repeat(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(status=304))
    assert outcome_of(url, etag='"1"', last_modified="yesterday") == Unchanged('"1"', "yesterday")


def test_a_304_may_bring_new_validators(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(status=304, headers={"ETag": '"2"', "Last-Modified": "today"}))
    assert outcome_of(url, etag='"1"', last_modified="yesterday") == Unchanged('"2"', "today")


def test_the_very_same_bytes_are_unchanged(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(BODY, headers={"ETag": '"2"'}))
    assert outcome_of(url, etag='"1"', body_sha256=sha256(BODY).hexdigest()) == Unchanged('"2"', None)


def test_the_same_bytes_packed_are_unchanged(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(gzip.compress(BODY), headers={"Content-Encoding": "gzip"}))
    assert outcome_of(url, body_sha256=sha256(BODY).hexdigest()) == Unchanged(None, None)


def test_410_is_gone(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(status=410))
    assert outcome_of(url) == Gone(url)


@pytest.mark.parametrize(
    ("status", "detail", "hint"),
    [
        (401, "401 Unauthorized", NO_LOGIN),
        (403, "403 Forbidden", "The site refuses robots: ask it for an exception, or use another feed."),
        (404, "404 Not Found", "The feed may have moved: look for its new address on the site."),
        (429, "429 Too Many Requests", "The site asks for longer pauses; they are kept by themselves."),
        (500, "500 Internal Server Error", "The site is in trouble; it is tried again by itself."),
        (503, "503 Service Unavailable", "The site is in trouble; it is tried again by itself."),
        (206, "206 Partial Content", "Check the address in feeds.yaml."),
        (301, "301 Moved Permanently", "Check the address in feeds.yaml."),
        (418, "418 I'm a Teapot", "Check the address in feeds.yaml."),
    ],
)
def test_a_status_that_brings_no_document_is_a_failure_with_a_hint(
    web: WebServer, status: int, detail: str, hint: str
) -> None:
    assert outcome_of(web.serve("/feed.xml", Answer(BODY, status))) == Failed(f"http {status}", detail, hint)


def test_a_bot_wall_is_called_by_its_name(web: WebServer) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(status=403, headers={"cf-mitigated": "challenge"})))
    assert failure.detail == "403 Forbidden (cf-mitigated: the site's bot wall)"
    assert failure.hint == "The site refuses robots: ask it for an exception, or use another feed."


@pytest.mark.parametrize(
    ("headers", "wall"),
    [
        ({"cf-mitigated": "challenge"}, "cf-mitigated"),
        ({"x-amzn-waf-action": "captcha"}, "x-amzn-waf-action"),
        ({"Server": "ddos-guard"}, "server: ddos-guard"),
    ],
)
@pytest.mark.parametrize("status", [403, 429, 503])
def test_bot_walls_are_known_by_their_headers(web: WebServer, status: int, headers: dict[str, str], wall: str) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(status=status, headers=headers)))
    assert failure.detail.endswith(f"({wall}: the site's bot wall)")
    assert failure.hint == "The site refuses robots: ask it for an exception, or use another feed."


def test_a_missing_page_behind_a_bot_wall_is_a_missing_page(web: WebServer) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(status=404, headers={"Server": "ddos-guard"})))
    assert (failure.detail, failure.hint) == (
        "404 Not Found",
        "The feed may have moved: look for its new address on the site.",
    )


# ── when to come back ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_says_when_the_site_may_be_asked_again(web: WebServer, status: int) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(status=status, headers={"Retry-After": "120"})))
    assert (failure.pause, failure.pausing_host) == (timedelta(seconds=120), "127.0.0.1")


def test_a_date_to_come_back_at_is_meant_by_the_server_s_own_clock(web: WebServer) -> None:
    raw = (
        b"HTTP/1.1 503 Away\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\n"
        b"Retry-After: Mon, 01 Jan 2001 00:10:00 GMT\r\nContent-Length: 0\r\n\r\n"
    )
    assert failure_of(web.serve("/feed.xml", Answer(raw=raw))).pause == timedelta(minutes=10)


def test_retry_after_means_nothing_beside_other_statuses(web: WebServer) -> None:
    assert failure_of(web.serve("/feed.xml", Answer(status=404, headers={"Retry-After": "120"}))).pause is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        (" 90 ", 90),
        ("604800", 604_800),
        ("99999999999999999999", 604_800),
        ("Wed, 19 Mar 2025 12:10:00 GMT", 600),
        ("Wed, 19 Mar 2025 14:10:00 +0200", 600),
        ("Wed, 19 Mar 2025 12:10:00", 600),
        ("Wed, 19 Mar 2025 11:00:00 GMT", 0),
        ("Wed, 19 Mar 2099 11:00:00 GMT", 604_800),
    ],
)
def test_retry_after_is_read_in_both_its_forms_and_is_at_most_a_week(value: str, seconds: int) -> None:
    assert retry_after(value, NOW) == NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize("value", [None, "", "-5", "1.5", "soon", "²", "Wed, 99 Mar 2025 11:00:00 GMT", "\x00"])
def test_a_retry_after_that_says_nothing_is_none(value: str | None) -> None:
    assert retry_after(value, NOW) is None


@settings(max_examples=50, deadline=None)
@given(st.one_of(st.text(), st.from_regex(r"\w{3}, \d{1,3} \w{3} \d{1,5} \d\d?:\d\d?(:\d\d)? [-+A-Z]?\d{0,6}")))
def test_no_retry_after_can_raise_or_ask_for_more_than_a_week(value: str) -> None:
    moment = retry_after(value, NOW)
    assert moment is None or NOW <= moment <= NOW + LONGEST_RETRY_AFTER


def test_a_host_that_wants_a_pause_gets_it_from_all_who_are_sent_there(web: WebServer) -> None:
    busy = web.serve("/busy", Answer(status=503, headers={"Retry-After": "120"}))
    other = web.serve("/feed.xml", BODY)
    web.serve("/away", Answer(status=302, headers={"Location": other}))
    elsewhere = web.url("/away").replace("127.0.0.1", "localhost")

    async def all_of_them() -> list[Outcome]:
        async with fetcher() as opened:
            outcomes = [await opened.fetch(Request("gazette", url), NOW) for url in (busy, other, elsewhere)]
            opened.pause_hosts({"localhost": timedelta(hours=1)})
            return [*outcomes, *[await opened.fetch(Request("gazette", url), NOW) for url in (other, elsewhere)]]

    first, same_host, sent_there, after_all, held = asyncio.run(all_of_them())
    assert isinstance(first, Failed)
    for one, host, seconds in (
        (same_host, "127.0.0.1", 120),
        (sent_there, "127.0.0.1", 120),
        (held, "localhost", 3600),
    ):
        assert isinstance(one, Failed)
        assert (one.reason, one.pausing_host) == ("paused by its host", None)
        assert one.detail == f"{host} asked for a pause when another of its feeds was asked"
        assert one.pause is not None
        assert timedelta(seconds=seconds - 5) < one.pause <= timedelta(seconds=seconds)
    assert isinstance(after_all, Changed)
    assert [asked.path for asked in web.asked] == ["/busy", "/away", "/feed.xml"]


# ── redirects ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(web: WebServer, status: int) -> None:
    web.serve("/new.xml", BODY)
    assert body_of(web.serve("/feed.xml", Answer(status=status, headers={"Location": web.url("/new.xml")}))) == BODY


@pytest.mark.parametrize("location", ["new.xml", "/a/new.xml", "../a/new.xml", "?x", "//{host}/a/new.xml"])
def test_a_relative_redirect_is_followed(web: WebServer, location: str) -> None:
    for path in ("/a/new.xml", "/a/feed.xml?x"):
        web.serve(path, BODY)
    host = web.url("").removeprefix("http://")
    url = web.serve("/a/feed.xml", Answer(status=302, headers={"Location": location.format(host=host)}))
    assert body_of(url) == BODY


def test_the_question_is_conditional_at_the_address_alone_that_gave_the_validators(web: WebServer) -> None:
    new = web.serve("/new.xml", Answer(status=304))
    url = web.serve("/feed.xml", Answer(status=302, headers={"Location": "/new.xml"}))
    outcome = outcome_of(url, etag='"1"', last_modified="today", validated_url=new)
    assert outcome == Unchanged('"1"', "today")
    assert isinstance(outcome, Unchanged)
    assert outcome.answered == Answered(new)
    conditions = [(asked.headers.get("if-none-match"), asked.headers.get("if-modified-since")) for asked in web.asked]
    assert conditions == [(None, None), ('"1"', "today")]


def test_nothing_of_an_old_address_s_validators_is_sent_where_a_redirect_leads(web: WebServer) -> None:
    web.serve("/new.xml", BODY)
    url = web.serve("/feed.xml", Answer(status=302, headers={"Location": "/new.xml"}))
    assert isinstance(outcome_of(url, etag='"1"', last_modified="today"), Changed)
    assert not {"if-none-match", "if-modified-since"} & web.asked[1].headers.keys()


def test_a_304_to_a_question_without_a_condition_is_a_failure(web: WebServer) -> None:
    """Taken for an answer, it would make a feed that was never read look well."""
    failure = failure_of(web.serve("/feed.xml", Answer(status=304, headers={"ETag": '"1"'})))
    assert (failure.reason, failure.detail) == (
        "broken answer",
        "304 (not modified) to a question without a condition",
    )


def test_five_redirects_are_followed(web: WebServer) -> None:
    for at in range(5):
        web.serve(f"/{at}", Answer(status=302, headers={"Location": f"/{at + 1}"}))
    web.serve("/5", BODY)
    assert body_of(web.url("/0")) == BODY


def test_the_sixth_redirect_is_too_many(web: WebServer) -> None:
    for at in range(6):
        web.serve(f"/{at}", Answer(status=302, headers={"Location": f"/{at + 1}"}))
    web.serve("/6", BODY)
    failure = failure_of(web.url("/0"))
    assert failure.reason == "bad redirect"
    assert failure.detail == f"more than 5 redirects, the last to {web.url('/6')}"
    assert len(web.asked) == 6


def test_a_redirect_to_itself_ends(web: WebServer) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(status=301, headers={"Location": "/feed.xml"})))
    assert failure.reason == "bad redirect"
    assert len(web.asked) == 6


@pytest.mark.parametrize("location", ["file:///etc/hostname", "ftp://127.0.0.1/feed"])
def test_a_redirect_out_of_http_is_not_followed(web: WebServer, location: str) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(status=302, headers={"Location": location})))
    assert (failure.reason, failure.detail) == ("bad redirect", f"it redirects to {location}")


@pytest.mark.parametrize("location", ["javascript:alert(1)", "data:text/xml,<rss/>", "mailto:a@example.org"])
def test_a_redirect_to_what_is_no_address_of_a_server_is_a_failure(web: WebServer, location: str) -> None:
    assert failure_of(web.serve("/feed.xml", Answer(status=302, headers={"Location": location}))).detail
    assert len(web.asked) == 1


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:99999/", "http://[::1", "http://", "http://a:b:c/", "http://\x7f/", "http://" + "a" * 70_000],
)
def test_a_redirect_to_nonsense_is_a_failure(web: WebServer, location: str) -> None:
    assert failure_of(web.serve("/feed.xml", Answer(status=302, headers={"Location": location}))).detail


def moved_to(url: str, secrets: dict[str, str] | None = None, **fields: Any) -> str | None:
    """Where a feed may move after one good answer."""

    async def once() -> Outcome:
        transport = GuardedTransport(allowed=["127.0.0.1", "localhost"])
        limits: dict[str, Any] = {"timeout_seconds": 5, "most_bytes": 1_000_000, "host_pause_seconds": 0}
        theirs = {"gazette": secrets} if secrets else {}
        async with open_fetcher(**limits, transport=transport, secrets=theirs) as opened:
            return await opened.fetch(Request("gazette", url, **fields), NOW)

    outcome = asyncio.run(once())
    assert isinstance(outcome, Changed), outcome
    return outcome.answered.moved_to


def redirects(web: WebServer, *statuses: int) -> str:
    """Addresses /0, /1 … that redirect each to the next, the last one to a feed."""
    for at, status in enumerate(statuses):
        web.serve(f"/{at}", Answer(status=status, headers={"Location": f"/{at + 1}"}))
    web.serve(f"/{len(statuses)}", BODY)
    return web.url("/0")


@pytest.mark.parametrize(
    ("statuses", "moved"),
    [
        ((301,), "/1"),
        ((308,), "/1"),
        ((301, 308), "/2"),
        ((301, 302), "/1"),
        ((302,), None),
        ((303,), None),
        ((307,), None),
        ((307, 301), None),
        ((), None),
    ],
)
def test_a_feed_may_move_as_far_as_every_step_is_permanent(
    web: WebServer, statuses: tuple[int, ...], moved: str | None
) -> None:
    assert moved_to(redirects(web, *statuses)) == (moved and web.url(moved))


def test_a_permanent_redirect_to_a_failure_moves_nothing(web: WebServer) -> None:
    web.serve("/new.xml", Answer(status=503))
    failure_of(web.serve("/feed.xml", Answer(status=301, headers={"Location": "/new.xml"})))


def test_a_login_in_an_address_is_followed_and_never_moved_to(web: WebServer) -> None:
    web.serve("/new.xml", BODY)
    location = web.url("/new.xml").replace("http://", "http://user:word@")
    assert moved_to(web.serve("/feed.xml", Answer(status=301, headers={"Location": location}))) is None


def test_the_part_of_a_document_that_a_redirect_names_is_no_part_of_the_address(web: WebServer) -> None:
    new = web.serve("/new.xml", BODY)
    assert moved_to(web.serve("/feed.xml", Answer(status=301, headers={"Location": "/new.xml#top"}))) == new


def test_a_feed_with_secrets_may_move_within_its_origin_alone(web: WebServer) -> None:
    secret = {"x-key": "secret"}
    assert moved_to(redirects(web, 301), secret) == web.url("/1")
    elsewhere = web.url("/1").replace("127.0.0.1", "localhost")
    url = web.serve("/0", Answer(status=301, headers={"Location": elsewhere}))
    assert moved_to(url) == elsewhere
    assert moved_to(url, secret) is None
    assert [asked.path for asked in web.asked if "x-key" in asked.headers] == ["/0", "/1", "/0"]


def test_secrets_that_came_after_a_move_go_to_the_origin_in_feeds_yaml(web: WebServer) -> None:
    home, away = web.serve("/feed.xml", BODY), web.serve("/new.xml", BODY).replace("127.0.0.1", "localhost")
    moved_to(away, {"x-key": "secret"}, home=home, etag='"1"')
    assert [(asked.path, asked.headers.get("x-key")) for asked in web.asked] == [("/feed.xml", "secret")]
    assert "if-none-match" not in web.asked[0].headers


def test_a_feed_that_left_https_has_not_moved() -> None:
    """Followed as before; but what is asked from then on must not become less safe."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    good = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)

    async def once() -> Outcome:
        async with server(saying(good)) as open_url:
            head = f"HTTP/1.1 301 Moved\r\nLocation: {open_url}\r\n\r\n".encode()
            transport = GuardedTransport(allowed=["127.0.0.1"], tls=trusting)
            limits: dict[str, Any] = {"timeout_seconds": 5, "most_bytes": 1_000_000, "host_pause_seconds": 0}
            async with server(saying(head), tls=context) as url, open_fetcher(**limits, transport=transport) as opened:
                return await opened.fetch(Request("gazette", url.replace("http:", "https:")), NOW)

    outcome = asyncio.run(once())
    assert isinstance(outcome, Changed), outcome
    assert outcome.answered.moved_to is None


def test_a_feed_gone_behind_a_redirect_names_what_is_gone(web: WebServer) -> None:
    gone = web.serve("/new.xml", Answer(status=410))
    assert outcome_of(web.serve("/feed.xml", Answer(status=302, headers={"Location": "/new.xml"}))) == Gone(gone)


# ── packed bodies, and limits ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        (" GZIP ", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
        ("deflate", zlib.compress(BODY, wbits=-15)),
        ("identity", BODY),
        ("", BODY),
    ],
)
def test_a_packed_body_is_unpacked(web: WebServer, encoding: str, body: bytes) -> None:
    assert body_of(web.serve("/feed.xml", Answer(body, headers={"Content-Encoding": encoding}))) == BODY


@pytest.mark.parametrize(("encoding", "bits"), [("gzip", 31), ("deflate", 15), ("deflate", -15)])
def test_a_packed_body_may_come_byte_by_byte(encoding: str, bits: int) -> None:
    packed = zlib.compress(BODY, wbits=bits)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        lines = ("HTTP/1.1 200 OK", f"Content-Encoding: {encoding}", f"Content-Length: {len(packed)}", "", "")
        writer.write("\r\n".join(lines).encode())
        for at in range(len(packed)):
            writer.write(packed[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)

    outcome = outcome_from(drip)
    assert isinstance(outcome, Changed), outcome
    assert outcome.body == BODY


def test_a_gzip_body_of_several_members_is_read_to_its_end(web: WebServer) -> None:
    # RFC 1952, 2.2: "A gzip file consists of a series of members".
    packed = gzip.compress(BODY[:40]) + gzip.compress(BODY[40:])
    assert body_of(web.serve("/feed.xml", Answer(packed, headers={"Content-Encoding": "gzip"}))) == BODY


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, deflate", "gzip, identity", "compress", "ü"])
def test_an_encoding_nobody_asked_for_is_a_failure(web: WebServer, encoding: str) -> None:
    packed = gzip.compress(gzip.compress(BODY))
    failure = failure_of(web.serve("/feed.xml", Answer(packed, headers={"Content-Encoding": encoding})))
    assert failure.reason == "broken answer"
    assert "which was not asked for" in failure.detail


@pytest.mark.parametrize("cut", [0, 5, 12, 40])
def test_a_gzip_body_that_breaks_off_is_a_failure(web: WebServer, cut: int) -> None:
    packed = gzip.compress(BODY)[:cut]
    failure = failure_of(web.serve("/feed.xml", Answer(packed, headers={"Content-Encoding": "gzip"})))
    assert (failure.reason, failure.detail) == ("broken answer", "the compressed answer breaks off")


def test_a_body_that_is_not_packed_as_it_says_is_a_failure(web: WebServer) -> None:
    failure = failure_of(web.serve("/feed.xml", Answer(BODY, headers={"Content-Encoding": "gzip"})))
    assert failure.reason == "broken answer"


@pytest.mark.parametrize(("size", "fits"), [(999, True), (1_000, True), (1_001, False)])
@pytest.mark.parametrize("packed", [False, True])
def test_a_body_may_be_as_large_as_its_limit(web: WebServer, size: int, fits: bool, packed: bool) -> None:
    body = b"<" * size
    answer = Answer(gzip.compress(body), headers={"Content-Encoding": "gzip"}) if packed else Answer(body)
    outcome = outcome_of(web.serve("/feed.xml", answer), limits={"most_bytes": 1_000})
    if fits:
        assert isinstance(outcome, Changed)
        assert outcome.body == body
    else:
        hint = "Give this feed a most_bytes of its own in feeds.yaml, if it is really that large."
        assert outcome == Failed("too large", "the document is larger than 1,000 bytes", hint)


def peak_of(handle: Handler, **limits: Any) -> tuple[Outcome, int]:
    """The outcome, and the most memory that was held at once on the way to it."""
    tracemalloc.start()
    try:
        outcome = outcome_from(handle, **limits)
        return outcome, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def saying(*parts: bytes) -> Handler:
    """A server that says this and hangs up."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for part in parts:
            writer.write(part)
        await writer.drain()

    return handle


def test_a_gzip_bomb_is_stopped_at_the_limit() -> None:
    squeezer = zlib.compressobj(9, wbits=31)
    million = bytes(1_000_000)
    bomb = b"".join([*(squeezer.compress(million) for _ in range(200)), squeezer.flush()])
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    outcome, peak = peak_of(saying(head, bomb), most_bytes=1_000_000)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "too large"
    assert peak < 8_000_000


def test_an_endless_body_is_stopped_at_the_limit() -> None:
    outcome, peak = peak_of(endless(b"HTTP/1.1 200 OK\r\n\r\n", bytes(65_536)), most_bytes=1_000_000)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "too large"
    assert peak < 8_000_000


def test_what_follows_the_end_of_a_gzip_body_is_not_heaped_up() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + gzip.compress(BODY)
    outcome, peak = peak_of(endless(head, b"x" * 65_536), most_bytes=1_000_000, timeout_seconds=1)
    assert isinstance(outcome, Changed | Failed)
    assert peak < 8_000_000


# ── servers that misbehave ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "head",
    [b"HTTP/1.1 200 OK\r\n\r\n<rss>", b"HTTP/1.1 200 OK\r\nX-Slow: ", b"HTTP/1.1 200 O", b""],
    ids=["body", "header", "status line", "nothing"],
)
def test_a_slow_drip_is_cut_at_the_deadline_of_the_whole(head: bytes) -> None:
    # Each byte comes within any read timeout; only a deadline over all of it ends this.
    started = time.monotonic()
    outcome = outcome_from(endless(head, b"." if head else b"", 0.02), timeout_seconds=0.3)
    assert outcome == Failed(
        "timeout",
        "no complete answer within 0.3 s",
        "The site is slow or does not answer; it is tried again by itself.",
    )
    assert time.monotonic() - started < 2


def test_the_deadline_runs_over_all_redirects(web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(status=302, headers={"Location": "/feed.xml"}, delay_seconds=0.15))
    assert failure_of(url, limits={"timeout_seconds": 0.4}).reason == "timeout"


def test_an_endless_row_of_early_answers_is_cut_at_the_deadline() -> None:
    outcome = outcome_from(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.01), timeout_seconds=0.3)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "timeout"


def test_a_flood_of_headers_is_a_failure() -> None:
    outcome, peak = peak_of(endless(b"HTTP/1.1 200 OK\r\n", b"X-Flood: " + b"x" * 1_000 + b"\r\n"))
    assert isinstance(outcome, Failed)
    assert outcome.reason == "broken answer"
    assert peak < 8_000_000


def test_a_content_length_that_promises_more_is_a_failure(web: WebServer) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n<rss/>"
    assert failure_of(web.serve("/feed.xml", Answer(raw=raw))).reason == "broken answer"


def test_a_content_length_that_promises_less_ends_the_body(web: WebServer) -> None:
    raw = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<rss/>and much more"
    assert body_of(web.serve("/feed.xml", Answer(raw=raw))) == b"<rss/>"


def test_a_chunked_body_that_breaks_off_is_a_failure(web: WebServer) -> None:
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n<rss/>\r\n"
    assert failure_of(web.serve("/feed.xml", Answer(raw=raw))).reason == "broken answer"


def test_a_refused_connection_is_a_failure() -> None:
    # Bound and not listening: nobody else can take this port meanwhile.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        failure = failure_of(f"http://127.0.0.1:{nobody.getsockname()[1]}/feed.xml")
    assert failure.reason == "no connection"
    assert failure.hint == "Check this machine's network. It is tried again by itself."


def test_a_reset_connection_is_a_failure() -> None:
    async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()

    outcome = outcome_from(reset)
    assert isinstance(outcome, Failed)
    assert outcome.reason == "broken answer"


def test_a_name_that_does_not_exist_is_a_failure_of_its_own() -> None:
    failure = failure_of("http://no-such-host.invalid/feed.xml")
    assert failure.reason == "name not found"


def test_a_server_without_tls_behind_https_is_a_failure_of_its_own(web: WebServer) -> None:
    assert failure_of(web.serve("/feed.xml", BODY).replace("http:", "https:")).reason == "tls"


def test_a_certificate_of_an_unknown_authority_is_a_failure_of_its_own() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)

    async def once() -> Outcome:
        async with server(saying(b""), tls=context) as url, fetcher() as opened:
            return await opened.fetch(Request("gazette", url.replace("http:", "https:")), NOW)

    outcome = asyncio.run(once())
    assert isinstance(outcome, Failed)
    assert outcome.reason == "tls"
    assert "certificate verify failed" in outcome.detail


@pytest.mark.parametrize(
    ("host", "ends", "hint"),
    [
        ("127.0.0.1", -1, "The site's certificate has expired: tell it, and look at this machine's clock."),
        ("elsewhere.example", 1, "The certificate is another site's: check the address in feeds.yaml."),
    ],
)
def test_what_is_wrong_with_a_certificate_decides_what_to_do(host: str, ends: int, hint: str) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    today = datetime.now(UTC)
    authority.issue_cert(
        host, not_before=today - timedelta(days=9), not_after=today + timedelta(days=ends)
    ).configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def once() -> Outcome:
        transport = GuardedTransport(allowed=["127.0.0.1"], tls=trusting)
        limits: dict[str, Any] = {"timeout_seconds": 5, "most_bytes": 1_000_000, "host_pause_seconds": 0}
        async with server(saying(b""), tls=context) as url, open_fetcher(**limits, transport=transport) as opened:
            return await opened.fetch(Request("gazette", url.replace("http:", "https:")), NOW)

    outcome = asyncio.run(once())
    assert isinstance(outcome, Failed)
    assert (outcome.reason, outcome.hint) == ("tls", hint)


@pytest.mark.parametrize(
    "url", ["", "feed.xml", "file:///etc/hostname", "http://", "http://[::1", "http://\x00/", "http://127.0.0.1:99999/"]
)
def test_an_address_that_is_none_is_a_failure(url: str) -> None:
    assert failure_of(url).reason


HOSTILE = [
    b"",
    b"\x00",
    b"\r\n\r\n",
    b"HTTP/1.1 \r\n\r\n",
    b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 999 What\r\n\r\n",
    b"HTTP/1.1 99999 What\r\n\r\n",
    b"HTTP/1.1 -1 What\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    b"HTTP/1.1 200 \xff\xfe\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffffff\r\nx",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: nonsense\r\n\r\nx",
    b"HTTP/1.1 200 OK\r\n folded: x\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset*=x'y'%ff%fe\r\n\r\n<rss/>",
    b"HTTP/1.1 200 OK\r\nContent-Type: ;;;=\xff\r\n\r\n<rss/>",
    b"HTTP/1.1 200 OK\r\nContent-Encoding: deflate\r\n\r\n\x00\x01",
    b"HTTP/1.1 302 Found\r\nLocation: \xff\xfe\x80\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://%/\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://xn--a/\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:x/\r\n\r\n",
    b"HTTP/1.1 302 Found\r\nLocation: http://user:pa@ss@[/\r\n\r\n",
    b"HTTP/1.1 429 Slow\r\nRetry-After: \xff\r\n\r\n",
    b"SSH-2.0-OpenSSH_9.2\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
    b"<rss/>",
]


def test_whatever_bytes_a_server_says_the_outcome_is_a_value() -> None:
    chance = random.Random(20250319)
    soup = [bytes(chance.choices(b"HTP/1. 20\r\n:-\x00\xffagzip", k=chance.randrange(200))) for _ in range(40)]
    said = [*HOSTILE, *(b"HTTP/1.1 200 OK\r\n" + one for one in soup), *soup]
    answers = iter(said)

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(next(answers, b""))
        await writer.drain()

    async def all_of_it() -> list[Outcome]:
        async with server(handle) as url, fetcher(timeout_seconds=1) as opened:
            return [await opened.fetch(Request("gazette", url), NOW) for _ in said]

    outcomes = asyncio.run(all_of_it())
    assert len(outcomes) == len(said)
    assert {type(outcome) for outcome in outcomes} <= {Changed, Failed}
    assert all(outcome.reason and outcome.detail for outcome in outcomes if isinstance(outcome, Failed))


# ── pace ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def timed(spans: list[tuple[float, float]], busy_seconds: float) -> Handler:
    """A server that is busy for a while with each request, and notes from when to when."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        began = time.monotonic()
        await asyncio.sleep(busy_seconds)
        spans.append((began, time.monotonic()))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<rss/>")
        await writer.drain()

    return handle


async def _fetch_all(opened: Fetcher, *urls: str) -> list[Outcome]:
    return await asyncio.gather(*(opened.fetch(Request("gazette", url), NOW) for url in urls))


def test_one_host_is_asked_one_at_a_time_with_a_pause_between() -> None:
    spans: list[tuple[float, float]] = []

    async def four() -> None:
        async with server(timed(spans, 0.02)) as url, fetcher(host_pause_seconds=0.05) as opened:
            assert all(isinstance(one, Changed) for one in await _fetch_all(opened, *[url] * 4))

    asyncio.run(four())
    pauses = [after[0] - before[1] for before, after in itertools.pairwise(spans)]
    assert len(pauses) == 3
    assert min(pauses) >= 0.045  # timers may be a little early


def test_the_pause_is_kept_after_a_failure_too() -> None:
    asked: list[float] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        asked.append(time.monotonic())
        writer.transport.abort()

    async def twice() -> None:
        async with server(handle) as url, fetcher(host_pause_seconds=0.1) as opened:
            await _fetch_all(opened, url, url)

    asyncio.run(twice())
    assert asked[1] - asked[0] >= 0.095


def test_two_ports_of_a_host_are_one_host_in_any_spelling() -> None:
    spans: list[tuple[float, float]] = []

    async def both() -> None:
        slow = timed(spans, 0.05)
        async with server(slow) as one, server(slow) as other, fetcher() as opened:
            await _fetch_all(opened, one.replace("127.0.0.1", "LOCALHOST"), other.replace("127.0.0.1", "localhost"))

    asyncio.run(both())
    spans.sort()
    assert spans[1][0] >= spans[0][1]


def test_two_hosts_are_asked_at_the_same_time() -> None:
    spans: list[tuple[float, float]] = []

    async def both() -> None:
        async with server(timed(spans, 0.2)) as url, fetcher(host_pause_seconds=1) as opened:
            await _fetch_all(opened, url, url.replace("127.0.0.1", "localhost"))

    asyncio.run(both())
    spans.sort()
    assert spans[1][0] < spans[0][1]


def test_waiting_for_a_turn_does_not_eat_the_deadline() -> None:
    spans: list[tuple[float, float]] = []

    async def three() -> list[Outcome]:
        async with server(timed(spans, 0.2)) as url, fetcher(timeout_seconds=0.45) as opened:
            return await _fetch_all(opened, url, url, url)

    assert [type(outcome) for outcome in asyncio.run(three())] == [Changed] * 3


def test_a_site_that_several_feeds_redirect_to_is_asked_one_at_a_time_too() -> None:
    spans: list[tuple[float, float]] = []

    async def both() -> None:
        async with server(timed(spans, 0.05)) as target:
            head = f"HTTP/1.1 302 Found\r\nLocation: {target.replace('127.0.0.1', 'localhost')}\r\n\r\n".encode()
            async with server(saying(head)) as first, fetcher() as opened:
                await _fetch_all(opened, first, target.replace("127.0.0.1", "localhost"))

    asyncio.run(both())
    spans.sort()
    assert spans[1][0] >= spans[0][1]


def test_the_present_is_a_parameter(web: WebServer) -> None:
    raw = b"HTTP/1.1 429 Busy\r\nRetry-After: Mon, 01 Jan 2001 00:01:00 GMT\r\nContent-Length: 0\r\n\r\n"
    url = web.serve("/feed.xml", Answer(raw=raw))
    assert failure_of(url, now=datetime(2001, 1, 1, tzinfo=UTC)).pause == timedelta(minutes=1)


# ── for how long an answer holds ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0),
        ({"cache-control": "max-age=600"}, 600),
        ({"cache-control": 'public, Max-Age="600"'}, 600),
        ({"cache-control": "max-age=600", "age": "100"}, 500),
        ({"cache-control": "max-age=600", "age": "1000"}, 0),
        ({"cache-control": "max-age=600, no-cache"}, 0),
        ({"cache-control": "no-store"}, 0),
        ({"cache-control": "max-age=soon"}, 0),
        ({"cache-control": "max-age=" + "9" * 25}, 365 * 86_400),
        ({"expires": "Wed, 19 Mar 2025 12:10:00 GMT"}, 600),
        ({"expires": "Wed, 19 Mar 2025 12:10:00 GMT", "date": "Wed, 19 Mar 2025 12:05:00 GMT"}, 300),
        ({"expires": "Wed, 19 Mar 2025 11:00:00 GMT"}, 0),
        ({"expires": "0"}, 0),
        ({"expires": "Wed, 19 Mar 2125 11:00:00 GMT"}, 365 * 86_400),
        ({"expires": "Wed, 19 Mar 2025 12:10:00 GMT", "cache-control": "max-age=5"}, 5),
    ],
)
def test_an_answer_says_for_how_long_it_stays_as_it_is(headers: dict[str, str], seconds: int) -> None:
    assert fresh_for(headers, NOW) == timedelta(seconds=seconds)


@pytest.mark.parametrize("status", [200, 304])
def test_for_how_long_an_answer_holds_comes_with_it(web: WebServer, status: int) -> None:
    answer = Answer(BODY, status, {"Cache-Control": "max-age=600"})
    outcome = outcome_of(web.serve("/feed.xml", answer), etag='"1"')
    assert isinstance(outcome, Changed | Unchanged)
    assert outcome.answered.fresh == timedelta(minutes=10)
