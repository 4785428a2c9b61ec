"""Mail servers on loopback, in the loop of a test: one that keeps its mail, and one that says what it is told to."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trustme
from aiosmtpd.smtp import SMTP, AuthResult


@dataclass
class Mailbox:
    """What a mail server took in, and what it says at each step: `says["RCPT"] = "550 No such user"`."""

    says: dict[str, str] = field(default_factory=dict)
    envelopes: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    logins: list[bool] = field(default_factory=list)
    hangs_up_after_storing: bool = False
    hangs_up_on: str = ""
    most_a_connection: int | None = None
    hangs_up_at_the_limit: bool = False
    thinks_seconds: float = 0
    connections: int = 0

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [self.says["EHLO"]] if "EHLO" in self.says else responses

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        session.messages = getattr(session, "messages", 0) + 1
        if self.most_a_connection and session.messages > self.most_a_connection:
            if self.hangs_up_at_the_limit:
                server.transport.abort()
            return "421 Enough for one connection"
        return self.says.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.says.get(f"RCPT {address}", self.says.get("RCPT", "250 OK"))

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if "DATA" not in self.says:
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        if self.hangs_up_after_storing or self.hangs_up_on in envelope.rcpt_tos:
            server.transport.abort()
        await asyncio.sleep(self.thinks_seconds)
        return self.says.get("DATA", "250 OK, kept as 42")

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return self.says.get("QUIT", "221 Bye")

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.login == b"watch" and data.password == b"secret")
        return AuthResult(success=self.logins[-1], handled=False)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its file for clients, and its context for servers."""

    ca_file: Path
    context: ssl.SSLContext


def authority_for(folder: Path, name: str) -> Authority:
    """An authority of our own that has issued a server's certificate to this name."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return Authority(folder / "ca.pem", context)


@asynccontextmanager
async def mail_server(mailbox: Mailbox, *, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """A real SMTP server in this loop; yields its port."""
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        mailbox.connections += 1
        sessions.append(SMTP(mailbox, hostname="mx.example", loop=loop, **options))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in sessions:
            if one.transport is not None:
                one.transport.close()
            if one._handler_coroutine is not None:
                one._handler_coroutine.cancel()
                await asyncio.gather(one._handler_coroutine, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server in this loop; yields its port. What it still does at the end is cut off and waited for."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client has hung up, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def scripted_server(*answers: bytes, heard: list[bytes] | None = None) -> AsyncIterator[int]:
    """A server that greets with its first answer and gives the others line by line; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
            await writer.drain()
            line = await reader.readline()
            if heard is not None:
                heard.append(line)

    async with listening(serve) as port:
        yield port
