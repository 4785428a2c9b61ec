"""HTTP: one conditional GET a poll, whose outcome is a value. The only module that knows httpx.

The body is read raw and inflated here, within a limit: httpx 0.28 would inflate a bomb whole before any limit of ours
sees it (64 KiB read, 67 MB in memory).
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import httpx

from daemon import __version__

USER_AGENT = f"claimwatch/{__version__} (feed reader; polls on a schedule, asks conditionally)"
MOST_REDIRECTS = 5
LONGEST_RETRY_AFTER = timedelta(days=7)
_ACCEPT = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1"
)


@dataclass(frozen=True)
class Request:
    """What to ask for: the address, and what the last answer said that makes the question conditional."""

    feed: str
    url: str
    etag: str | None = None
    last_modified: str | None = None
    body_sha256: str | None = None


@dataclass(frozen=True)
class Changed:
    """A new document. `charset` is what the answer's header said of it."""

    body: bytes
    body_sha256: str
    etag: str | None
    last_modified: str | None
    charset: str | None


@dataclass(frozen=True)
class Unchanged:
    """The same document as before: the server said so (304), or sent the very same bytes."""

    etag: str | None
    last_modified: str | None


@dataclass(frozen=True)
class Gone:
    """410: there will be no such feed again."""

    url: str


@dataclass(frozen=True)
class Failed:
    """No document. `reason` is the kind of failure and stays the same while it lasts; `hint` is what can be done.

    `not_before` is when the server lets itself be asked again (429 or 503 with Retry-After); `offline` says that no
    server was reached at all, so that the fault may be this machine's.
    """

    reason: str
    detail: str
    hint: str
    not_before: datetime | None = None
    offline: bool = False


Outcome: TypeAlias = Changed | Unchanged | Gone | Failed


class TooLarge(Exception):
    """The body is larger than its limit."""


class BadEncoding(Exception):
    """The body is not encoded as it says."""


@dataclass
class Pacer:
    """Keeps requests to one host apart: one at a time, and a pause between two."""

    pause_seconds: float
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _last: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[None]:
        """Waits for this host's turn and holds it."""
        async with self._locks[host]:
            clock = asyncio.get_running_loop().time
            wait = self._last.get(host, -self.pause_seconds) + self.pause_seconds - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            try:
                yield
            finally:
                self._last[host] = clock()


@dataclass(frozen=True)
class Fetcher:
    """Fetches feeds with one client and one set of limits."""

    client: httpx.AsyncClient
    pacer: Pacer
    timeout_seconds: float
    most_bytes: int

    async def fetch(self, request: Request, now: datetime) -> Outcome:
        """One conditional GET, redirects followed. Never raises for what a server or the network does.

        The deadline runs from the moment the host's turn has come, over all redirects.
        """
        try:
            async with self.pacer.turn(urlsplit(request.url).hostname or ""), asyncio.timeout(self.timeout_seconds):
                return await self._follow(request, now)
        except TimeoutError:
            hint = "The site is slow or does not answer; it is tried again by itself."
            return Failed("timeout", f"no complete answer within {self.timeout_seconds:g} s", hint)
        except TooLarge:
            hint = "Raise polling: most_bytes in feeds.yaml if this feed is really that large."
            return Failed("too large", f"the document is larger than {self.most_bytes:,} bytes", hint)
        except (httpx.HTTPError, httpx.InvalidURL, BadEncoding, ssl.SSLError, zlib.error, ValueError, OSError) as error:
            return _network_failure(error)

    async def _follow(self, request: Request, now: datetime) -> Outcome:
        url = request.url
        for _ in range(MOST_REDIRECTS + 1):
            async with self.client.stream("GET", url, headers=_headers(request), follow_redirects=False) as response:
                location = response.headers.get("location")
                if not (response.status_code in (301, 302, 303, 307, 308) and location):
                    return await self._outcome(request, response, now)
            url = urljoin(url, location)
            if urlsplit(url).scheme not in ("http", "https"):
                hint = "Open the address in a browser and find the feed's new one."
                return Failed("bad redirect", f"it redirects to {url[:200]}", hint)
        hint = "Open the address in a browser and find the feed's new one."
        return Failed("bad redirect", f"more than {MOST_REDIRECTS} redirects, the last to {url[:200]}", hint)

    async def _outcome(self, request: Request, response: httpx.Response, now: datetime) -> Outcome:
        etag, last_modified = response.headers.get("etag"), response.headers.get("last-modified")
        if response.status_code == 304:
            return Unchanged(etag or request.etag, last_modified or request.last_modified)
        if response.status_code == 410:
            return Gone(str(response.url))
        if response.status_code != 200:
            return _http_failure(response, now)
        body = await _read(response, self.most_bytes)
        sha256 = hashlib.sha256(body).hexdigest()
        if sha256 == request.body_sha256:
            return Unchanged(etag, last_modified)
        return Changed(body, sha256, etag, last_modified, response.charset_encoding)


@asynccontextmanager
async def open_fetcher(
    *,
    timeout_seconds: float,
    most_bytes: int,
    host_pause_seconds: float,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Fetcher]:
    """A Fetcher for as long as it is needed. `transport` puts another network under it (an archive, in backtests)."""
    limits = httpx.Limits(max_connections=100, max_keepalive_connections=0)
    # trust_env off: a proxy from the environment would be a hop that nobody configured.
    async with httpx.AsyncClient(
        transport=transport, limits=limits, timeout=httpx.Timeout(timeout_seconds), trust_env=False
    ) as client:
        yield Fetcher(client, Pacer(host_pause_seconds), timeout_seconds, most_bytes)


def _headers(request: Request) -> dict[str, str]:
    headers = {"user-agent": USER_AGENT, "accept": _ACCEPT, "accept-encoding": "gzip"}
    if request.etag:
        headers["if-none-match"] = request.etag
    if request.last_modified:
        headers["if-modified-since"] = request.last_modified
    return headers


async def _read(response: httpx.Response, most_bytes: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("", "identity"):
        inflate = None
    elif encoding in ("gzip", "x-gzip", "deflate"):
        inflate = zlib.decompressobj(47 if encoding != "deflate" else zlib.MAX_WBITS)
    else:
        raise BadEncoding(f"the answer is encoded as {encoding!r}, which was not asked for")
    body = bytearray()
    async for chunk in response.aiter_raw():
        if inflate is not None:
            # One byte more than the limit is enough to know; never more than that is made.
            chunk = inflate.decompress(chunk, most_bytes + 1 - len(body))
        body += chunk
        if len(body) > most_bytes:
            raise TooLarge
    if inflate is not None and not inflate.eof:
        raise BadEncoding("the compressed answer breaks off")
    return bytes(body)


def _http_failure(response: httpx.Response, now: datetime) -> Failed:
    status = response.status_code
    hints = {
        401: "The feed wants a password.",
        403: "The site refuses robots: ask it for an exception, or use another feed.",
        404: "The feed may have moved: look for its new address on the site.",
        429: "The site asks for longer pauses; they are kept by themselves.",
    }
    hint = hints.get(status, "The site is in trouble; it is tried again by itself." if status >= 500 else "")
    detail = f"{status} {response.reason_phrase}".strip()
    if response.headers.get("cf-mitigated"):
        detail, hint = f"{detail} (cf-mitigated: the site's bot wall)", hints[403]
    not_before = retry_after(response.headers.get("retry-after"), now) if status in (429, 503) else None
    return Failed(f"http {status}", detail, hint or "Check the address in feeds.yaml.", not_before)


def retry_after(value: str | None, now: datetime) -> datetime | None:
    """The moment that a Retry-After header (seconds or a date) asks to wait for, at most a week ahead."""
    if value is None:
        return None
    try:
        if value.strip().isdigit():
            moment = now + timedelta(seconds=min(int(value), int(LONGEST_RETRY_AFTER.total_seconds())))
        else:
            moment = parsedate_to_datetime(value)
            moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, TypeError):
        return None
    return min(max(moment, now), now + LONGEST_RETRY_AFTER)


def _network_failure(error: Exception) -> Failed:
    detail = " ".join(str(error).split()) or type(error).__name__
    again = "It is tried again by itself."
    if isinstance(error, httpx.ConnectError) and ("Name or service" in detail or "name resolution" in detail.lower()):
        return Failed("name not found", detail, f"Check the address and this machine's network. {again}", offline=True)
    if "CERTIFICATE" in detail.upper() or isinstance(error, ssl.SSLError):
        return Failed("tls", detail, "The site's certificate does not hold; check this machine's clock and CA store.")
    if isinstance(error, httpx.TimeoutException):
        return Failed("timeout", detail, f"The site is slow or does not answer. {again}")
    if isinstance(error, httpx.ConnectError | OSError):
        return Failed("no connection", detail, f"Check this machine's network. {again}", offline=True)
    if isinstance(error, httpx.TransportError):
        return Failed("broken answer", detail, again)
    return Failed("broken answer", detail, f"Check the address in feeds.yaml. {again}")
