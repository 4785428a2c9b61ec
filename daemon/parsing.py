"""Reading feed documents in a child process that can be killed: `daemon.parser_child`.

The child is started when there is something to read, used again, and ended when nothing came for a while. Each
document may cost it 3 s of processor time, 300 MB and 5 s by the clock; what needs more is `Unreadable`, a value like
any other, and the next document gets a fresh child.

    parent → child   whether it is a page (1 byte), length of charset, length of body (4 bytes each), charset, body
    child → parent   length, whether it ends now, JSON: {"feed": …} or {"not_a_feed": …} or {"page": …} or
                     {"fault": …}; and once, when it is ready, an empty answer
"""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from daemon.children import command_of, environment
from daemon.errors import ClaimwatchError
from daemon.items import Feed, NotAFeed
from daemon.pages import Page
from daemon.parser_child import ANSWER, OUT_OF_MEMORY, REQUEST

IDLE_SECONDS = 20
START_SECONDS = 60
_BUFFER_BYTES = 1 << 20
_NO_CHILD = "Look whether this machine has memory and processes left, and reinstall claimwatch if it has."
MOST_ANSWER_BYTES = 20_000_000
"""Entities let a small document say much (expat allows a hundredfold); what we would have to hold is limited too."""


@dataclass(frozen=True)
class Limits:
    """What one document may cost. The wall clock is for a child that waits for ever instead of working.

    The largest sound documents tried (15 MB of Cyrillic markup) need 164 MB; with more than 300 MB, all processes of
    claimwatch together could not stay below 400 MB while a hostile one is read.
    """

    cpu_seconds: float = 3
    memory_bytes: int = 300_000_000
    wall_seconds: float = 5


@dataclass(frozen=True)
class Unreadable:
    """The document could not be read to its end; `detail` says what it would have cost.

    `lasting` says that it is the document's own doing, so that reading it again is of no use. What the wall clock, a
    crash or a fault of ours ended may be another's doing: a busy machine's, a full one's, an older claimwatch's.
    """

    detail: str
    lasting: bool = False


_OTHER_ANSWER = Unreadable("the parser answers another question; please report it")
Reading: TypeAlias = Feed | NotAFeed | Unreadable
_Answered: TypeAlias = Feed | NotAFeed | Page | Unreadable


@dataclass(frozen=True)
class _Answer:
    feed: Feed | None = None
    not_a_feed: NotAFeed | None = None
    page: Page | None = None
    fault: str | None = None


_ANSWER = TypeAdapter(_Answer)


class Parser:
    """Reads one document at a time; whoever comes meanwhile waits for his turn."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._turn = asyncio.Lock()
        self._child: Process | None = None
        self._idle: asyncio.TimerHandle | None = None

    async def parse(self, body: bytes, charset: str | None = None) -> Reading:
        """Reads a document. `charset` is what the HTTP answer said. Never raises for what the document holds.

        Raises ClaimwatchError where no child can be started.
        """
        reading = await self._answer_to(body, charset, is_page=False)
        return _OTHER_ANSWER if isinstance(reading, Page) else reading

    async def links_to_feeds(self, body: bytes, charset: str | None = None) -> Page | Unreadable:
        """Reads a web page in search of feeds, under the same limits. Raises as `parse` does."""
        reading = await self._answer_to(body, charset, is_page=True)
        return reading if isinstance(reading, Page | Unreadable) else _OTHER_ANSWER

    async def _answer_to(self, body: bytes, charset: str | None, *, is_page: bool) -> _Answered:
        async with self._turn:
            if self._idle:
                self._idle.cancel()
            reading = await self._read(body, charset, is_page)
            if reading is None:
                # It died by no limit of ours. Somebody else may have killed it: the document gets one more chance.
                reading = await self._read(body, charset, is_page) or Unreadable("the parser crashed on it, twice")
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._dismiss)
            return reading

    async def close(self) -> None:
        """Ends the child, if there is one."""
        if self._idle:
            self._idle.cancel()
        if self._child:
            await self._end(self._child)

    async def _read(self, body: bytes, charset: str | None, is_page: bool) -> _Answered | None:
        """The child's answer, or what the document would have cost; None where the child died unexplained."""
        child = await self._living_child()
        try:
            async with asyncio.timeout(self.limits.wall_seconds):
                answer, last = await _ask(child, body, charset, is_page)
        except BaseException as error:
            # Whatever came in between: what this child says next would be taken for another document's.
            await self._end(child)
            if isinstance(error, TimeoutError):
                return Unreadable(f"reading it took more than {self.limits.wall_seconds:g} s")
            if isinstance(error, OSError | asyncio.IncompleteReadError):
                return self._why(child.returncode)
            raise
        if answer is None or last:
            await self._end(child)
        return (
            Unreadable(f"it holds more than {MOST_ANSWER_BYTES:,} bytes of text", True)
            if answer is None
            else _reading(answer)
        )

    def _why(self, returncode: int | None) -> Unreadable | None:
        if returncode == -signal.SIGPROF:
            return Unreadable(f"reading it took more than {self.limits.cpu_seconds:g} s of processor time", True)
        if returncode == OUT_OF_MEMORY:
            return Unreadable(f"reading it took more than {self.limits.memory_bytes // 1_000_000} MB of memory", True)
        return None

    async def _living_child(self) -> Process:
        if self._child and self._child.returncode is not None:
            await self._end(self._child)
        if self._child is None:
            self._child = await _start(self.limits)
        return self._child

    async def _end(self, child: Process) -> None:
        """Ends a child, whatever it is doing, and waits until nothing of it is left."""
        self._child = None
        await _kill(child)

    def _dismiss(self) -> None:
        # It ends with its stdin.
        if self._child and self._child.stdin:
            self._child.stdin.close()


@asynccontextmanager
async def open_parser(limits: Limits | None = None) -> AsyncIterator[Parser]:
    """A Parser for as long as it is needed; no process is left behind."""
    parser = Parser(limits)
    try:
        yield parser
    finally:
        await parser.close()


async def _start(limits: Limits) -> Process:
    try:
        child = await asyncio.create_subprocess_exec(
            *command_of("parser_child", str(limits.memory_bytes), str(limits.cpu_seconds)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_BUFFER_BYTES,
            # Ctrl-C in a terminal goes to its whole process group.
            start_new_session=True,
            env=environment(),
        )
    except OSError as error:
        raise ClaimwatchError(f"the parser can't be started: {error.strerror}", hint=_NO_CHILD) from error
    try:
        async with asyncio.timeout(START_SECONDS):
            await _answer_of(child)
    except BaseException as error:
        await _kill(child)
        if isinstance(error, TimeoutError | OSError | asyncio.IncompleteReadError):
            raise ClaimwatchError("the parser can't be started: it ended at once", hint=_NO_CHILD) from error
        raise
    return child


async def _kill(child: Process) -> None:
    assert child.stdin
    assert child.stdout
    if child.returncode is None:
        with suppress(ProcessLookupError):
            # Not child.kill(): it would look first whether the child has ended, and take its exit code from asyncio.
            os.kill(child.pid, signal.SIGKILL)
    child.stdin.close()
    # What is left in the pipe would keep its transport open for ever.
    await child.stdout.read()
    await child.wait()


async def _ask(child: Process, body: bytes, charset: str | None, is_page: bool) -> tuple[bytes | None, bool]:
    """The child's answer (None where it is too large to be held), and whether it is the child's last."""
    assert child.stdin
    name = (charset or "").encode()
    child.stdin.write(REQUEST.pack(is_page, len(name), len(body)) + name)
    child.stdin.write(body)
    await child.stdin.drain()
    return await _answer_of(child)


async def _answer_of(child: Process) -> tuple[bytes | None, bool]:
    assert child.stdout
    length, last = ANSWER.unpack(await child.stdout.readexactly(ANSWER.size))
    return await child.stdout.readexactly(length) if length <= MOST_ANSWER_BYTES else None, last


def _reading(answer: bytes) -> _Answered:
    # Validated, because what comes from there is only as good as the document that it read.
    try:
        message = _ANSWER.validate_json(answer)
    except ValidationError as error:
        return Unreadable(f"the parser's answer is none ({error.errors()[0]['msg']}); please report it")
    if read := message.feed or message.not_a_feed or message.page:
        return read
    return Unreadable(f"the parser fails on it ({(message.fault or '')[:300]}); please report it")
