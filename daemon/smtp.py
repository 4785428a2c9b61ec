"""A conversation with a mail server, step by step: where it fails, the `Fault` names the step and what was said.

The only module that knows SMTP.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

import aiosmtplib

from daemon.settings import Smtp

logger = logging.getLogger(__name__)

Step: TypeAlias = Literal["resolve", "connect", "tls", "login", "sender", "recipient", "message"]
Sort: TypeAlias = Literal["answer", "silence", "unreachable", "broken", "certificate", "no tls", "not offered", "ours"]
"""Of a fault: the server answered so; said nothing in time; can't be reached; hung up; its certificate does not hold;
it speaks no TLS there; it does not offer what is asked; or the fault is on this side."""

DATA_PATIENCE = 10
"""A server that has the whole message may take so many times longer to answer: who gives up first sends it twice."""


@dataclass
class Fault(Exception):
    """A step that went wrong. `code` is the server's reply code, or OpenSSL's for a certificate; 0 without one."""

    step: Step
    sort: Sort
    said: str
    code: int = 0

    def __str__(self) -> str:
        return f"{self.code} {self.said}" if self.sort == "answer" else self.said


def _say_nothing(step: Step, said: str) -> None:
    pass


@dataclass
class Conversation:
    """One connection, encrypted unless the user said otherwise, for one message after the other.

    `told` hears of each step that went well. `served` counts the messages that the server took or turned down with the
    connection standing. `any_name` lets a certificate pass that is made out to another name: only to look at it.
    """

    smtp: Smtp
    sender: str
    timeout_seconds: float
    told: Callable[[Step, str], None] = _say_nothing
    any_name: bool = False
    served: int = 0
    _client: aiosmtplib.SMTP = field(default_factory=aiosmtplib.SMTP)
    _transport: asyncio.BaseTransport | None = None

    async def open(self) -> None:
        """Connects, encrypts and logs in. Raises Fault; the connection is closed then."""
        try:
            await self._resolve()
            await self._connect()
            if self.smtp.security == "starttls":
                await self._encrypt()
            if self.smtp.username is not None:
                await self._log_in(self.smtp.username, self.smtp.password or "")
        except BaseException:
            self._hang_up()
            raise

    async def carry(self, message: bytes, address: str) -> str:
        """Hands a message over; the server's answer. Raises Fault; `is_open` tells whether the connection still is."""
        try:
            answer = await self._transact(message, address)
        except Fault as fault:
            if fault.sort == "answer" and fault.code != 421 and await self._forget():
                self.served += 1
            else:
                self._hang_up()
            raise
        except BaseException:
            self._hang_up()
            raise
        self.served += 1
        return answer

    @property
    def is_open(self) -> bool:
        return self._client.is_connected

    async def close(self) -> None:
        """Takes leave. Whatever the server says to that, what it took is taken."""
        with suppress(aiosmtplib.SMTPException, OSError):
            await self._client.quit(timeout=min(self.timeout_seconds, 5))
        self._hang_up()
        await asyncio.sleep(0)

    def certificate(self) -> dict[str, Any]:
        """What the server showed, once the connection is encrypted."""
        return self._client.get_transport_info("peercert") or {}

    # ── its steps ────────────────────────────────────────────────────────────────────────────────────────────────

    async def _resolve(self) -> None:
        host, port = self.smtp.host, self.smtp.port
        loop = asyncio.get_running_loop()
        async with _faults_of("resolve"):
            asked = loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found = await asyncio.wait_for(asked, self.timeout_seconds)
        self._done("resolve", f"{host} is {', '.join(dict.fromkeys(str(one[4][0]) for one in found))}")

    async def _connect(self) -> None:
        async with _faults_of("tls"):
            context = self._context()
        self._client = aiosmtplib.SMTP(
            hostname=self.smtp.host,
            port=self.smtp.port,
            timeout=self.timeout_seconds,
            use_tls=self.smtp.security == "tls",
            # Not None: that would try STARTTLS and go on in the clear without it.
            start_tls=False,
            tls_context=context,
        )
        async with _faults_of("connect"):
            greeting = await self._client.connect()
        self._transport = self._client.transport
        self._done("connect", f"port {self.smtp.port} answers: {_one_line(greeting.message)}")
        if self.smtp.security == "tls":
            self._done("tls", f"encrypted from the first byte ({self._cipher()}), the certificate holds")

    async def _encrypt(self) -> None:
        async with _faults_of("tls"):
            await self._client.ehlo()
            if not self._client.supports_extension("starttls"):
                raise Fault("tls", "not offered", "the server offers no STARTTLS, and nothing is sent in the clear")
            await self._client.starttls()
        self._transport = self._client.transport
        self._done("tls", f"STARTTLS ({self._cipher()}), the certificate holds")

    async def _log_in(self, username: str, password: str) -> None:
        async with _faults_of("login"):
            if self._client.is_ehlo_or_helo_needed:
                await self._client.ehlo()
            if not self._client.supports_extension("auth"):
                raise Fault("login", "not offered", "the server takes no login on this connection")
            await self._client.login(username, password)
        self._done("login", f"as {username}")

    async def _transact(self, message: bytes, address: str) -> str:
        client = self._client
        async with _faults_of("sender"):
            # Before it is asked what it offers: EHLO belongs to the first of these steps without STARTTLS or login.
            if client.is_ehlo_or_helo_needed:
                await client.ehlo()
            size = [f"size={len(message)}"] if client.supports_extension("size") else []
            await client.mail(self.sender, options=size)
        self._done("sender", self.sender)
        async with _faults_of("recipient"):
            await client.rcpt(address)
        self._done("recipient", address)
        async with _faults_of("message"):
            answer = await client.data(message, timeout=self.timeout_seconds * DATA_PATIENCE)
        said = _one_line(answer.message)
        self._done("message", said)
        return said

    async def _forget(self) -> bool:
        """Ends a transaction that was turned down; says whether the connection can go on."""
        try:
            await self._client.rset()
        except (aiosmtplib.SMTPException, OSError):
            return False
        return self.is_open

    def _done(self, step: Step, said: str) -> None:
        # No address: those stand in feeds.yaml alone.
        logger.debug("action=smtp_step step=%s", step)
        self.told(step, said)

    def _hang_up(self) -> None:
        self._client.close()
        # Else an encrypted connection would wait for the other's farewell, longer than a command's loop lives.
        if isinstance(self._transport, asyncio.WriteTransport):
            self._transport.abort()

    def _cipher(self) -> str:
        cipher = self._client.get_transport_info("cipher")
        return str(cipher[1]) if cipher else "unknown cipher"

    def _context(self) -> ssl.SSLContext | None:
        if self.smtp.security == "none":
            return None
        ca_file = self.smtp.ca_file
        try:
            context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        except OSError as error:
            why = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
            raise Fault("tls", "ours", f"the ca_file {ca_file} can't be used: {why}") from error
        context.check_hostname = not self.any_name
        return context


async def names_of_certificate(smtp: Smtp, timeout_seconds: float) -> tuple[str, ...]:
    """The names that a server's certificate is made out to, for whoever has the wrong one. Sends no login, no mail."""
    nobody = replace(smtp, username=None, password=None)
    conversation = Conversation(nobody, "", timeout_seconds, any_name=True)
    try:
        await conversation.open()
    except Fault:
        return ()
    certificate = conversation.certificate()
    await conversation.close()
    return tuple(str(name) for _, name in certificate.get("subjectAltName", ()))


@asynccontextmanager
async def _faults_of(step: Step) -> AsyncIterator[None]:
    """Whatever goes wrong in a step, as its Fault."""
    try:
        yield
    except Fault:
        raise
    except aiosmtplib.SMTPResponseException as error:
        raise Fault(step, "answer", _one_line(error.message), error.code) from error
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:
        raise _fault_of(step, error) from error


def _fault_of(step: Step, error: Exception) -> Fault:
    # Under a connection that could not be made lies what hindered it.
    hindered = isinstance(error.__cause__, ssl.SSLError | socket.gaierror | aiosmtplib.SMTPServerDisconnected)
    cause = error.__cause__ if hindered and error.__cause__ else error
    said = _one_line(str(cause))
    match cause:
        case ssl.SSLCertVerificationError():
            said = f"the server's certificate does not hold: {cause.verify_message}"
            return Fault("tls", "certificate", said, int(cause.verify_code))
        case ssl.SSLError():
            return Fault("tls", "no tls", f"the server speaks no TLS here: {said}")
        case socket.gaierror():
            return Fault("resolve", "unreachable", f"the server's name has no address: {cause.strerror}")
        case TimeoutError():
            return Fault(step, "silence", said or "no answer in time")
        case aiosmtplib.SMTPServerDisconnected():
            return Fault(step, "broken", f"the server hung up: {said}")
        case OSError():
            return Fault(step, "unreachable", said or type(cause).__name__)
        case aiosmtplib.SMTPException():
            return Fault(step, "not offered", said)
    return Fault(step, "ours", said)


def _one_line(text: str) -> str:
    return " ".join(text.split())
