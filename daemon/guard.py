"""The network guard: no feed and no redirect leads into a private network, unless feeds.yaml names the host.

The guard sits where a connection is made. A name is resolved once, every address it has must be public, and the
connection goes to the address that was checked: whoever checks a name first and connects by it afterwards is led astray
by a resolver that answers differently the second time.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import TypeAlias

import httpcore
import httpx

Resolver: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Host and port to addresses, the one to be tried first in front. Raises OSError for a name that nobody knows."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_SocketOptions: TypeAlias = Iterable[httpcore.SOCKET_OPTION]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = 0x00005EFE
"""What stands before the IPv4 address in an interface's id (RFC 5214); one bit of it says who gave the id."""
_SPECIAL = tuple(map(ipaddress.ip_network, ("192.88.99.0/24", "fec0::/10", "3fff::/20")))
"""Not in Python 3.11's tables: 6to4 relays (RFC 7526), site-local (RFC 3879), documentation (RFC 9637)."""
_FIRST_ADDRESSES_SECONDS = 4.0
"""An address that does not answer must leave time for the next one: IPv6 addresses that lead nowhere are common."""


class AddressRefused(Exception):
    """A connection into a private network was asked for."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(host if host == address else f"{host}, which is {address}")


def is_public(address: str) -> bool:
    """Whether an address, and every IPv4 address that it stands for, belongs to the public internet.

    Looks into what is mapped (::ffff:…), translated (NAT64) and tunnelled (6to4, Teredo).
    """
    try:
        outer = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return all(
        one.is_global and not (one.is_multicast or one.is_reserved or any(one in network for network in _SPECIAL))
        for one in _stands_for(outer)
    )


def _stands_for(outer: _Address) -> Iterator[_Address]:
    last_four_bytes = ipaddress.IPv4Address(int(outer) & 0xFFFFFFFF)
    if isinstance(outer, ipaddress.IPv6Address) and outer in _NAT64:
        # In a network that has IPv6 only, every IPv4 site is found behind such an address.
        yield last_four_bytes
        return
    yield outer
    if isinstance(outer, ipaddress.IPv6Address):
        inside = (outer.ipv4_mapped, outer.sixtofour, *(outer.teredo or ()))
        yield from (inner for inner in inside if inner is not None)
        if int(outer) >> 32 & 0xFDFFFFFF == _ISATAP:
            yield last_four_bytes


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, by the system's resolver."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Makes connections to public addresses, and to the hosts in `allowed` wherever they are."""

    def __init__(self, allowed: Collection[str], resolver: Resolver) -> None:
        self._allowed = frozenset(map(_plain, allowed))
        self._resolver = resolver
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Resolves, checks, connects. Raises AddressRefused, or httpcore's errors."""
        try:
            addresses = await self._resolver(host, port)
        except OSError as error:
            raise httpcore.ConnectError(str(error)) from error
        if _plain(host) not in self._allowed:
            for address in addresses:
                # One private address among public ones is refused too: the next try would get that one.
                if not is_public(address):
                    raise AddressRefused(host, address)
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in addresses:
            last = address == addresses[-1]
            patience = timeout if last or timeout is None else min(timeout, _FIRST_ADDRESSES_SECONDS)
            try:
                return await self._network.connect_tcp(address, port, patience, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: _SocketOptions | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """No feed is behind one."""
        raise AddressRefused(path, path)

    async def sleep(self, seconds: float) -> None:
        """Waits, for httpcore."""
        await asyncio.sleep(seconds)


@lru_cache
def _trusted_authorities() -> ssl.SSLContext:
    # Read once: 25 ms, and a transport is made for every round of polls.
    return httpx.create_ssl_context(trust_env=False)


class GuardedTransport(httpx.AsyncBaseTransport):
    """HTTP/1.1 over a guarded network: each request on a connection of its own.

    Through a proxy the proxy resolves the names, so that only addresses written as such can be checked; the proxy is
    trusted, as whoever set it wanted.
    """

    def __init__(
        self,
        *,
        allowed: Collection[str] = (),
        proxy: str | None = None,
        resolver: Resolver = resolve,
        tls: ssl.SSLContext | None = None,
        most_connections: int = 100,
    ) -> None:
        self._allowed = frozenset(map(_plain, allowed))
        self._proxied = proxy is not None
        tls = tls or _trusted_authorities()
        proxy_host = [httpx.URL(proxy).host] if proxy else []
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=tls,
            proxy=httpcore.Proxy(proxy) if proxy else None,
            max_connections=most_connections,
            max_keepalive_connections=0,
            network_backend=GuardedNetwork([*allowed, *proxy_host], resolver),
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """One request, its answer's body not yet read. Raises AddressRefused, or httpx's errors."""
        host = request.url.host
        if self._proxied and _plain(host) not in self._allowed:
            address = _literal(host)
            # The proxy might read %31 as 1.
            if "%" in host or (address and not is_public(address)):
                raise AddressRefused(host, address or host)
        assert isinstance(request.stream, httpx.AsyncByteStream)
        asked = httpcore.Request(
            method=request.method,
            url=httpcore.URL(
                scheme=request.url.raw_scheme,
                host=request.url.raw_host,
                port=request.url.port,
                target=request.url.raw_path,
            ),
            headers=request.headers.raw,
            content=request.stream,
            extensions=request.extensions,
        )
        with _as_httpx():
            answer = await self._pool.handle_async_request(asked)
        return httpx.Response(
            answer.status, headers=answer.headers, stream=_Body(answer), extensions=dict(answer.extensions)
        )

    async def aclose(self) -> None:
        """Closes every connection."""
        await self._pool.aclose()


class _Body(httpx.AsyncByteStream):
    """The body of httpcore's answer, failing with httpx's errors."""

    def __init__(self, answer: httpcore.Response) -> None:
        self._answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for chunk in self._answer.aiter_stream():
                yield chunk

    async def aclose(self) -> None:
        with _as_httpx():
            await self._answer.aclose()


@contextmanager
def _as_httpx() -> Iterator[None]:
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        httpcore.ProxyError,
        httpcore.UnsupportedProtocol,
    ) as error:
        # httpx has an error of the same name for each of them.
        raise getattr(httpx, type(error).__name__)(str(error)) from error


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def _literal(host: str) -> str | None:
    """The address that a host is written as, also in the old ways (2130706433, 0x7f.1); None for a name."""
    try:
        return str(ipaddress.ip_address(_plain(host)))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(_plain(host)))
    except OSError:
        return None
