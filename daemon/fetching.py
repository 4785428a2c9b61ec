"""HTTP: one conditional GET a poll, whose outcome is a value (see `outcomes`).

Where connections may lead is decided in `guard`, how large a body may become in `inflating`.
"""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http.cookiejar import CookieJar, DefaultCookiePolicy
from math import ceil
from urllib.parse import urljoin, urlsplit

import httpx

from daemon import __version__
from daemon.guard import AddressRefused
from daemon.inflating import TooLarge, read_body
from daemon.outcomes import HELD_BACK, LONGEST_HOST_PAUSE, Answered, fresh_for, http_failure
from daemon.outcomes import Changed as Changed
from daemon.outcomes import Failed as Failed
from daemon.outcomes import Gone as Gone
from daemon.outcomes import Outcome as Outcome
from daemon.outcomes import Unchanged as Unchanged

USER_AGENT = f"claimwatch/{__version__} (feed reader; polls on a schedule, asks conditionally)"
MOST_REDIRECTS = 5
MOST_ADDRESS_CHARACTERS = 2_000
_FIND_IT = "Open the address in a browser and find the feed's new one."
_NETWORK_ERRORS = (httpx.HTTPError, httpx.InvalidURL, ssl.SSLError, zlib.error, ValueError, OverflowError, OSError)
_ACCEPT = (
    "application/rss+xml, application/atom+xml, application/feed+json, application/xml;q=0.9, text/xml;q=0.8, */*;q=0.1"
)


@dataclass(frozen=True)
class Request:
    """What to ask for: the address, what the last answer said that makes the question conditional, and how large the
    answer may be where this feed has a limit of its own.

    The validators are those of `validated_url` and are sent there alone; None means `url`. `home` is the address that
    feeds.yaml has, where the feed has moved from it: secret headers belong to its origin; None means `url`.
    """

    feed: str
    url: str
    etag: str | None = None
    last_modified: str | None = None
    body_sha256: str | None = None
    most_bytes: int | None = None
    validated_url: str | None = None
    home: str | None = None


@dataclass(frozen=True)
class Redirect:
    """Ask there instead. Not an outcome: `Fetcher.fetch` follows it. `permanent` is what 301 and 308 say."""

    url: str
    permanent: bool = False


@dataclass
class Pacer:
    """Keeps requests to one host apart: one at a time, a pause between two, none while it wants to be left alone."""

    pause_seconds: float
    _locks: dict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _last: dict[str, float] = field(default_factory=dict)
    _until: dict[str, float] = field(default_factory=dict)

    def leave_alone(self, host: str, seconds: float) -> None:
        """No request to this host for so long."""
        until = asyncio.get_running_loop().time() + seconds
        self._until[host] = max(until, self._until.get(host, until))

    def forget(self) -> None:
        """Which hosts want to be left alone."""
        self._until.clear()

    @asynccontextmanager
    async def turn(self, host: str) -> AsyncIterator[float]:
        """Waits for this host's turn and holds it; at once, with the seconds left, while it is to be left alone."""
        async with self._locks[host]:
            clock = asyncio.get_running_loop().time
            if (left := self._until.get(host, 0) - clock()) > 0:
                yield left
                return
            wait = self._last.get(host, -self.pause_seconds) + self.pause_seconds - clock()
            if wait > 0:
                await asyncio.sleep(wait)
            try:
                yield 0
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
        if request.home and not self._may_move(request, request.url):
            # It was given secrets after it had moved to another origin: they are for the one that feeds.yaml names.
            request = replace(request, url=request.home, validated_url=request.validated_url or request.url)
        url, moved_to, moved = request.url, request.url, True
        clock = asyncio.get_running_loop().time
        for _ in range(MOST_REDIRECTS + 1):
            try:
                host = host_of(url)
                async with self.pacer.turn(host) as left_alone_seconds:
                    if left_alone_seconds:
                        return _left_alone(host, left_alone_seconds, asked=url != request.url)
                    began = clock()
                    async with asyncio.timeout(seconds_left):
                        answer = await self._ask(url, request, now)
                    seconds_left -= clock() - began
                    answer = self._heed(host, answer)
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
                return _with_way(answer, url, moved_to if moved_to != request.url else None)
            # Only what every step up to there calls permanent: behind a passing redirect, nothing is.
            moved = moved and answer.permanent and self._may_move(request, answer.url, url)
            moved_to = answer.url if moved else moved_to
            url = answer.url
            if urlsplit(url).scheme not in ("http", "https"):
                return Failed("bad redirect", f"it redirects to {url[:200]}", _FIND_IT)
        return Failed("bad redirect", f"more than {MOST_REDIRECTS} redirects, the last to {url[:200]}", _FIND_IT)

    def pause_hosts(self, pauses: Mapping[str, timedelta]) -> None:
        """Leaves these hosts alone for so long from now on, and no other ones."""
        self.pacer.forget()
        for host, pause in pauses.items():
            self.pacer.leave_alone(host, pause.total_seconds())

    def _heed(self, host: str, answer: Outcome | Redirect) -> Outcome | Redirect:
        """What a host says of pauses holds for all feeds that are on it, at once."""
        if not isinstance(answer, Failed) or not answer.pause:
            return answer
        self.pacer.leave_alone(host, min(answer.pause, LONGEST_HOST_PAUSE).total_seconds())
        return replace(answer, pausing_host=host)

    def _may_move(self, request: Request, url: str, before: str = "") -> bool:
        """Whether an address may become the one that this feed is asked at: one that can be recorded, no less safe
        than the one before, and for a feed with secrets one of its own origin."""
        try:
            parts = urlsplit(url)
            ours = self.secrets.get(request.feed) is None or _origin(url) == _origin(request.home or request.url)
        except ValueError:
            return False
        sound = parts.hostname is not None and parts.username is None and url.isprintable() and " " not in url
        safe = parts.scheme == "https" or not before.startswith("https:")
        return ours and sound and safe and len(url) <= MOST_ADDRESS_CHARACTERS

    async def _ask(self, url: str, request: Request, now: datetime) -> Outcome | Redirect:
        headers = _headers(url, request) | self._secrets_for(url, request)
        async with self.client.stream("GET", url, headers=headers, follow_redirects=False) as response:
            location = response.headers.get("location")
            if response.status_code in (301, 302, 303, 307, 308) and location:
                # Where the feed is does not depend on which part of a document somebody wants to see.
                target = urljoin(url, location).partition("#")[0]
                return Redirect(target, permanent=response.status_code in (301, 308))
            return await self._outcome(url, request, response, now)

    def _secrets_for(self, url: str, request: Request) -> dict[bytes, bytes]:
        if _origin(url) != _origin(request.home or request.url):
            return {}
        secrets = self.secrets.get(request.feed, {})
        return {name.encode(): value.encode("latin-1") for name, value in secrets.items()}

    async def _outcome(self, url: str, request: Request, response: httpx.Response, now: datetime) -> Outcome:
        etag, last_modified = _validator(response, b"etag"), _validator(response, b"last-modified")
        answered = Answered(fresh=fresh_for(response.headers, now))
        if response.status_code == 304:
            if not _conditions(url, request):
                hint = "Check the address in feeds.yaml; tell the site, if it is right."
                return Failed("broken answer", "304 (not modified) to a question without a condition", hint)
            return Unchanged(etag or request.etag, last_modified or request.last_modified, answered)
        if response.status_code == 410:
            return Gone(str(response.url))
        if response.status_code != 200:
            return http_failure(response.status_code, response.reason_phrase, response.headers, now)
        encoding = response.headers.get("content-encoding", "identity")
        body = await read_body(response.aiter_raw(), encoding, request.most_bytes or self.most_bytes)
        sha256 = hashlib.sha256(body).hexdigest()
        if sha256 == request.body_sha256:
            return Unchanged(etag, last_modified, answered)
        return Changed(body, sha256, etag, last_modified, response.charset_encoding, answered)


def host_of(url: str) -> str:
    """Whom an address asks; nobody where it is none."""
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return ""


def _left_alone(host: str, seconds: float, *, asked: bool) -> Failed:
    detail = f"{host} asked for a pause when another of its feeds was asked"
    hint = "The pause is kept by itself. If it comes often: a longer min: (or every:) for the feeds of this host."
    return Failed(HELD_BACK, detail, hint, timedelta(seconds=ceil(seconds)), asked=asked)


def _with_way(outcome: Outcome, url: str, moved_to: str | None) -> Outcome:
    if not isinstance(outcome, Changed | Unchanged):
        return outcome
    return replace(outcome, answered=replace(outcome.answered, url=url, moved_to=moved_to))


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


def _headers(url: str, request: Request) -> dict[bytes, bytes]:
    headers = {b"user-agent": USER_AGENT, b"accept": _ACCEPT, b"accept-encoding": "gzip", **_conditions(url, request)}
    return {name: value.encode("latin-1") for name, value in headers.items()}


def _conditions(url: str, request: Request) -> dict[bytes, str]:
    """What makes the question conditional. Another address's validators would: a 304 to them says nothing of ours."""
    if url != (request.url if request.validated_url is None else request.validated_url):
        return {}
    conditions = {b"if-none-match": request.etag, b"if-modified-since": request.last_modified}
    return {name: value for name, value in conditions.items() if value}


def _validator(response: httpx.Response, name: bytes) -> str | None:
    """A header's value, to be sent back byte for byte: latin-1 is the one reading that loses none."""
    return next((value.decode("latin-1") for key, value in response.headers.raw if key.lower() == name), None)


_UNKNOWN_NAME = ("name or service", "name resolution", "no address associated")
_TLS_HINTS = {
    "has expired": "The site's certificate has expired: tell it, and look at this machine's clock.",
    "is not valid for": "The certificate is another site's: check the address in feeds.yaml.",
    "self-signed": "Nobody vouches for the site's certificate: is this the site, or somebody in between?",
    "local issuer": "No known authority vouches for the site's certificate: update this machine's CA certificates.",
}


def _network_failure(error: Exception) -> Failed:
    detail = " ".join(str(error).split()) or type(error).__name__
    again = "It is tried again by itself."
    if isinstance(error, httpx.ConnectError) and any(words in detail.lower() for words in _UNKNOWN_NAME):
        hint = f"Check the address for a slip, and this machine's network if other feeds fail too. {again}"
        return Failed("name not found", detail, hint, offline=True)
    # httpx wraps what the TLS layer says; its text keeps the mark.
    if "CERTIFICATE" in detail.upper() or "[SSL" in detail or isinstance(error, ssl.SSLError):
        otherwise = "No safe connection: check the address, this machine's clock, and its CA certificates."
        return Failed("tls", detail, next((hint for mark, hint in _TLS_HINTS.items() if mark in detail), otherwise))
    if isinstance(error, httpx.TimeoutException):
        offline = isinstance(error, httpx.ConnectTimeout)
        return Failed("timeout", detail, f"The site is slow or does not answer. {again}", offline=offline)
    if isinstance(error, httpx.ConnectError | OSError):
        return Failed("no connection", detail, f"Check this machine's network. {again}", offline=True)
    if isinstance(error, httpx.TransportError):
        return Failed("broken answer", detail, again)
    return Failed("broken answer", detail, f"Check the address in feeds.yaml. {again}")
