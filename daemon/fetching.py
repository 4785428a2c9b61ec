"""HTTP: one conditional GET a poll, whose outcome is a value. Where connections may lead is decided in `guard`.

The body is read raw and inflated here, within a limit: httpx 0.28 would inflate a bomb whole before any limit of ours
sees it (64 KiB read, 67 MB in memory).
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

import httpx

from daemon import __version__
from daemon.guard import AddressRefused

USER_AGENT = f"claimwatch/{__version__} (feed reader; polls on a schedule, asks conditionally)"
MOST_REDIRECTS = 5
LONGEST_RETRY_AFTER = timedelta(days=7)
_STEP_BYTES = 1 << 20
_FIND_IT = "Open the address in a browser and find the feed's new one."
_NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, zlib.error, ValueError, OverflowError, OSError)
_ACCEPT = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1"
)


@dataclass(frozen=True)
class Request:
    """What to ask for: the address, what the last answer said that makes the question conditional, and how large the
    answer may be where this feed has a limit of its own."""

    feed: str
    url: str
    etag: str | None = None
    last_modified: str | None = None
    body_sha256: str | None = None
    most_bytes: int | None = None


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
    server was reached at all, so that the fault may be this machine's; `document_sha256` is the hash of a document
    that came and can't be read.
    """

    reason: str
    detail: str
    hint: str
    not_before: datetime | None = None
    offline: bool = False
    document_sha256: str | None = None


Outcome: TypeAlias = Changed | Unchanged | Gone | Failed


@dataclass(frozen=True)
class Redirect:
    """Ask there instead. Not an outcome: `Fetcher.fetch` follows it."""

    url: str


class TooLarge(Exception):
    """The body is larger than its limit."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        super().__init__(most_bytes)


class BadEncoding(ValueError):
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
    """Fetches feeds with one client and one set of limits.

    `secrets` are headers by feed id (passwords, keys), their names in small letters: they are sent to the feed's own
    origin alone, and shown nowhere.
    """

    client: httpx.AsyncClient
    pacer: Pacer
    timeout_seconds: float
    most_bytes: int
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)

    async def fetch(self, request: Request, now: datetime) -> Outcome:
        """One conditional GET, redirects followed. Never raises for what a server or the network does.

        Each host on the way is waited for in its turn; the deadline counts what is spent on the network.
        """
        seconds_left = self.timeout_seconds
        url = request.url
        clock = asyncio.get_running_loop().time
        for _ in range(MOST_REDIRECTS + 1):
            try:
                async with self.pacer.turn(urlsplit(url).hostname or ""):
                    began = clock()
                    async with asyncio.timeout(seconds_left):
                        answer = await self._ask(url, request, now)
                    seconds_left -= clock() - began
            except TimeoutError:
                hint = "The site is slow or does not answer; it is tried again by itself."
                return Failed("timeout", f"no complete answer within {self.timeout_seconds:g} s", hint)
            except TooLarge as error:
                hint = "Give this feed a most_bytes of its own in feeds.yaml, if it is really that large."
                return Failed("too large", f"the document is larger than {error.most_bytes:,} bytes", hint)
            except AddressRefused as error:
                hint = "If this is meant: name the host under polling: allow_private: in feeds.yaml."
                return Failed("private address", f"{error} is no address of the public internet", hint)
            # ExceptionGroup and OverflowError: an address with the port 99999 ends so, deep inside.
            except (*_NETWORK_ERRORS, ExceptionGroup) as error:
                return _network_failure(error)
            if not isinstance(answer, Redirect):
                return answer
            url = answer.url
            if urlsplit(url).scheme not in ("http", "https"):
                return Failed("bad redirect", f"it redirects to {url[:200]}", _FIND_IT)
        return Failed("bad redirect", f"more than {MOST_REDIRECTS} redirects, the last to {url[:200]}", _FIND_IT)

    async def _ask(self, url: str, request: Request, now: datetime) -> Outcome | Redirect:
        headers = _headers(request) | self._secrets_for(url, request)
        async with self.client.stream("GET", url, headers=headers, follow_redirects=False) as response:
            location = response.headers.get("location")
            if response.status_code in (301, 302, 303, 307, 308) and location:
                return Redirect(urljoin(url, location))
            return await self._outcome(request, response, now)

    def _secrets_for(self, url: str, request: Request) -> dict[bytes, bytes]:
        if _origin(url) != _origin(request.url):
            return {}
        secrets = self.secrets.get(request.feed, {})
        return {name.encode(): value.encode("latin-1") for name, value in secrets.items()}

    async def _outcome(self, request: Request, response: httpx.Response, now: datetime) -> Outcome:
        etag, last_modified = _validator(response, b"etag"), _validator(response, b"last-modified")
        if response.status_code == 304:
            return Unchanged(etag or request.etag, last_modified or request.last_modified)
        if response.status_code == 410:
            return Gone(str(response.url))
        if response.status_code != 200:
            return _http_failure(response, now)
        body = await _read(response, request.most_bytes or self.most_bytes)
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
    transport: httpx.AsyncBaseTransport,
    secrets: Mapping[str, Mapping[str, str]] | None = None,
) -> AsyncIterator[Fetcher]:
    """A Fetcher for as long as it is needed. `transport` is the network: a guarded one, or an archive in backtests."""
    # No cookies: a feed is asked as a stranger each time, and one that hands out cookies must not fill the memory.
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    # trust_env off: a proxy from the environment would be a hop that nobody configured.
    async with httpx.AsyncClient(
        transport=transport,
        timeout=httpx.Timeout(timeout_seconds, connect=timeout_seconds * 0.8),
        trust_env=False,
        cookies=no_cookies,
    ) as client:
        yield Fetcher(client, Pacer(host_pause_seconds), timeout_seconds, most_bytes, secrets or {})


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _headers(request: Request) -> dict[bytes, bytes]:
    headers = {b"user-agent": USER_AGENT, b"accept": _ACCEPT, b"accept-encoding": "gzip"}
    if request.etag:
        headers[b"if-none-match"] = request.etag
    if request.last_modified:
        headers[b"if-modified-since"] = request.last_modified
    return {name: value.encode("latin-1") for name, value in headers.items()}


def _validator(response: httpx.Response, name: bytes) -> str | None:
    """A header's value, to be sent back byte for byte: latin-1 is the one reading that loses none."""
    return next((value.decode("latin-1") for key, value in response.headers.raw if key.lower() == name), None)


async def _read(response: httpx.Response, most_bytes: int) -> bytes:
    encoding = response.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise BadEncoding(f"the answer is encoded as {encoding!r}, which was not asked for")
    inflate = _Inflate(zlib.MAX_WBITS if encoding == "deflate" else 47) if encoding not in ("", "identity") else None
    body = bytearray()
    received = 0
    async for chunk in response.aiter_raw():
        received += len(chunk)
        if inflate is None:
            body += chunk
        if max(len(body), received) > most_bytes:
            raise TooLarge(most_bytes)
        while inflate and not inflate.junk:
            made = inflate.some(chunk)
            body += made
            if len(body) > most_bytes:
                raise TooLarge(most_bytes)
            chunk = inflate.rest
            if not chunk and len(made) < _STEP_BYTES:
                break
            # 64 KiB may hold 67 MB: others have their turn in between.
            await asyncio.sleep(0)
        if inflate and inflate.junk:
            break
    if inflate and not inflate.complete:
        raise BadEncoding("the compressed answer breaks off")
    return bytes(body)


class _Inflate:
    """Inflates a body of one or more members (RFC 1952, 2.2) step by step; what follows the last one is left unread.

    `rest` is what of the last chunk is still to be inflated.
    """

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._member = zlib.decompressobj(window_bits)
        self._members = 0
        self.rest = b""
        self.junk = False

    @property
    def complete(self) -> bool:
        return self._member.eof or self._members > 0

    def some(self, chunk: bytes) -> bytes:
        """What this chunk gives, up to `_STEP_BYTES`; without a chunk, what the last one still has to give."""
        if self._member.eof and chunk:
            self._members += 1
            self._member = zlib.decompressobj(self._window_bits)
        try:
            made = self._member.decompress(chunk, _STEP_BYTES)
        except zlib.error:
            if not self._members:
                raise
            self.junk = True
            return b""
        self.rest = self._member.unused_data if self._member.eof else self._member.unconsumed_tail
        return made


def _http_failure(response: httpx.Response, now: datetime) -> Failed:
    status = response.status_code
    hints = {
        401: "The feed wants a password: auth_file:. Where it redirects to another host, none is sent there.",
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
    # httpx wraps what the TLS layer says; its text keeps the mark.
    if "CERTIFICATE" in detail.upper() or "[SSL" in detail or isinstance(error, ssl.SSLError):
        hint = "No safe connection: check the address, this machine's clock, and its CA certificates."
        return Failed("tls", detail, hint)
    if isinstance(error, httpx.TimeoutException):
        offline = isinstance(error, httpx.ConnectTimeout)
        return Failed("timeout", detail, f"The site is slow or does not answer. {again}", offline=offline)
    if isinstance(error, httpx.ConnectError | OSError):
        return Failed("no connection", detail, f"Check this machine's network. {again}", offline=True)
    if isinstance(error, httpx.TransportError):
        return Failed("broken answer", detail, again)
    return Failed("broken answer", detail, f"Check the address in feeds.yaml. {again}")
