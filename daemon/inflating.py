"""Bodies inflated step by step, within a limit.

httpx 0.28 would inflate a bomb whole before any limit of ours sees it (64 KiB read, 67 MB in memory).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator

_STEP_BYTES = 1 << 20


class TooLarge(Exception):
    """The body is larger than its limit."""

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        super().__init__(most_bytes)


class BadEncoding(ValueError):
    """The body is not encoded as it says."""


async def read_body(chunks: AsyncIterator[bytes], content_encoding: str, most_bytes: int) -> bytes:
    """The body behind these raw chunks. Raises TooLarge, or BadEncoding or zlib.error for what is not what it says."""
    encoding = content_encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip", "deflate"):
        raise BadEncoding(f"the answer is encoded as {encoding!r}, which was not asked for")
    counted = _within(chunks, most_bytes)
    if encoding in ("", "identity"):
        return b"".join([chunk async for chunk in counted])
    return await _inflated(_from_two_bytes(counted), encoding, most_bytes)


async def _within(chunks: AsyncIterator[bytes], most_bytes: int) -> AsyncIterator[bytes]:
    received = 0
    async for chunk in chunks:
        received += len(chunk)
        if received > most_bytes:
            raise TooLarge(most_bytes)
        yield chunk


async def _inflated(chunks: AsyncIterator[bytes], encoding: str, most_bytes: int) -> bytes:
    body = bytearray()
    inflate: _Inflate | None = None
    async for chunk in chunks:
        inflate = inflate or _Inflate(_window_bits(encoding, chunk))
        while not inflate.junk:
            made = inflate.some(chunk)
            body += made
            if len(body) > most_bytes:
                raise TooLarge(most_bytes)
            chunk = inflate.rest
            if not chunk and len(made) < _STEP_BYTES:
                break
            # 64 KiB may hold 67 MB: others have their turn in between.
            await asyncio.sleep(0)
        if inflate.junk:
            break
    if not (inflate and inflate.complete):
        raise BadEncoding("the compressed answer breaks off")
    return bytes(body)


async def _from_two_bytes(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes, the first chunk at least two of them: by those it shows how a body is packed."""
    head = b""
    async for chunk in chunks:
        head += chunk
        if len(head) >= 2:
            yield head
            break
    else:
        yield head
    async for chunk in chunks:
        yield chunk


def _window_bits(encoding: str, head: bytes) -> int:
    """How zlib is to read a body: "deflate" is sent with the frame of RFC 1950, as it should be, and without."""
    framed = len(head) < 2 or (head[0] & 15 == zlib.DEFLATED and int.from_bytes(head[:2], "big") % 31 == 0)
    return 47 if encoding != "deflate" or framed else -zlib.MAX_WBITS


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
