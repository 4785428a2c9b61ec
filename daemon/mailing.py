"""Handing prepared messages over: to a mail server, or into a Maildir. The answer is a value; nothing here decides."""

from __future__ import annotations

import hashlib
import logging
import os
import re
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from daemon.links import ascii_host
from daemon.rendering import addressed
from daemon.settings import Mail, Smtp
from daemon.smtp import Conversation, Fault

logger = logging.getLogger(__name__)

MOST_BREAKS = 3
"""After so many connections in a row that broke before a message was through, a server is given up for this round."""
_TOO_LARGE = 552
_LOGIN_WANTED = 530
_NOT_PRINTED = re.compile(r"[\x00-\x20\x7f<>]")


@dataclass(frozen=True)
class Accepted:
    """The message is in the other's hands; `answer` is what it said."""

    answer: str


@dataclass(frozen=True)
class Deferred:
    """Not now: the server is away, or says to come back."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """Never: the server refuses this recipient or this message for good."""

    reason: str


Handover: TypeAlias = Accepted | Deferred | Refused


class Carrier(Protocol):
    """A way to hand messages over."""

    @property
    def via(self) -> Literal["smtp", "maildir"]: ...

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        """Tries once. Does not raise for what a server or a disk does."""


async def hand_over(carrier: Carrier, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
    """Tries once. A carrier that raises all the same has not delivered, as far as anybody knows: it is tried later, and
    holds up no other message."""
    try:
        return await carrier.hand_over(message, address, message_id, prepared_at)
    except Exception as error:
        logger.exception("action=carrier_failed via=%s", carrier.via)
        return Deferred(_without(address, f"the way to hand it over failed: {type(error).__name__}: {error}"))


def one_round(carrier: Carrier) -> AbstractAsyncContextManager[Carrier]:
    """The carrier for several messages one after the other: a mail server gets them over one connection."""
    return carrier.round() if isinstance(carrier, SmtpCarrier) else nullcontext(carrier)


@dataclass(frozen=True)
class SmtpCarrier:
    """A mail server, with a connection for each message; `round` gives one for many."""

    smtp: Smtp
    sender: str
    timeout_seconds: float = 60
    via: Literal["smtp", "maildir"] = "smtp"

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        async with self.round() as server:
            return await server.hand_over(message, address, message_id, prepared_at)

    @asynccontextmanager
    async def round(self) -> AsyncIterator[Carrier]:
        """Connects when the first message comes, and takes leave at the end."""
        server = _SmtpRound(self)
        try:
            yield server
        finally:
            await server.close()


@dataclass
class _SmtpRound:
    """Messages to one server. Where it can't be reached it is not asked again in this round; where a connection breaks
    in the middle, the next message gets a fresh one."""

    carrier: SmtpCarrier
    via: Literal["smtp", "maildir"] = "smtp"
    _conversation: Conversation | None = None
    _down: Deferred | None = None
    _breaks: int = 0

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        try:
            address = _on_the_wire(address)
        except UnicodeError:
            return Refused("the address can't be carried by SMTP: only letters of ASCII may stand before the @")
        if self._down:
            return self._down
        try:
            conversation = self._conversation or await self._connected()
            answer = await self._carry(conversation, addressed(message, address), address)
        except Fault as fault:
            return self._down or _handover(replace(fault, said=_without(address, fault.said)))
        return Accepted(_without(address, answer))

    async def close(self) -> None:
        if self._conversation:
            await self._conversation.close()

    async def _connected(self) -> Conversation:
        carrier = self.carrier
        conversation = Conversation(carrier.smtp, carrier.sender, carrier.timeout_seconds)
        try:
            await conversation.open()
        except Fault as fault:
            self._down = _why_no_connection(fault)
            raise
        self._conversation = conversation
        return conversation

    async def _carry(self, conversation: Conversation, message: bytes, address: str) -> str:
        try:
            answer = await conversation.carry(message, address)
        except Fault as fault:
            if conversation.is_open:
                self._breaks = 0
                raise
            self._conversation = None
            if conversation.served and fault.step != "message":
                # Servers end a connection after so many messages (421, or none). This one has not left yet.
                return await self._carry(await self._connected(), message, address)
            self._breaks += 1
            if self._breaks == MOST_BREAKS:
                self._down = Deferred(f"{_without(address, _reason(fault))} ({MOST_BREAKS} connections in a row)")
            raise
        self._breaks = 0
        return answer


@dataclass(frozen=True)
class MaildirCarrier:
    """Files in a Maildir (https://cr.yp.to/proto/maildir.html): written in tmp, synced, then linked into new.

    The file's name comes from the Message-ID, so that a delivery repeated after a crash is the same file, also when
    the reader has moved it to cur meanwhile.
    """

    maildir: Path
    via: Literal["smtp", "maildir"] = "maildir"

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        stem = f"{int(prepared_at.timestamp())}.{hashlib.sha256(message_id.encode()).hexdigest()[:20]}"
        try:
            self._write(addressed(message, address), stem)
        except OSError as error:
            return Deferred(f"{self.maildir} can't be written: {error.strerror}")
        # Neither folder nor host: the state folder may be moved, and the same history is the same log everywhere.
        return Accepted(f"in the Maildir as {stem}")

    def _write(self, message: bytes, stem: str) -> None:
        for folder in ("tmp", "new", "cur"):
            (self.maildir / folder).mkdir(parents=True, exist_ok=True, mode=0o700)
        host = socket.gethostname().replace("/", r"\057").replace(":", r"\072")
        name = f"{stem}.{host}"
        # No glob: each pattern would be compiled, and kept.
        if any(there.startswith(name) for there in os.listdir(self.maildir / "cur")):
            return
        temporary, final = self.maildir / "tmp" / name, self.maildir / "new" / name
        with temporary.open("wb") as file:
            file.write(message.replace(b"\r\n", b"\n"))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(final)
        descriptor = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def carrier_for(mail: Mail) -> Carrier:
    """SMTP where a server is named, else the Maildir."""
    return SmtpCarrier(mail.smtp, mail.sender) if mail.smtp else MaildirCarrier(mail.maildir)


def _why_no_connection(fault: Fault) -> Deferred:
    """Nobody can be refused here: whoever waits is tried again, and the operator mends what is wrong."""
    reason = str(fault)
    return Deferred(f"{reason} (user name or password)" if fault.step == "login" else reason)


def _handover(fault: Fault) -> Handover:
    reason = _reason(fault)
    if fault.sort == "ours" and fault.step == "recipient":
        return Refused(reason)
    if fault.sort != "answer" or not 500 <= fault.code < 600:
        return Deferred(reason)
    if fault.code == _LOGIN_WANTED:
        return Deferred(f"{reason} (a user name and password)")
    if fault.step == "sender" and fault.code != _TOO_LARGE:
        # What the server has against the sender is the operator's to mend; no recipient is refused by it.
        return Deferred(f"{reason} (mail: from:)")
    return Refused(reason)


def _reason(fault: Fault) -> str:
    if fault.step == "message" and fault.sort in ("silence", "broken"):
        return f"{fault}; whether the server has the message is not known"
    return str(fault)


def _without(address: str, said: str) -> str:
    """What a server said, fit for the log: addresses stand in feeds.yaml alone."""
    return re.sub(re.escape(address), "recipient", said, flags=re.IGNORECASE)


def _on_the_wire(address: str) -> str:
    """The address as SMTP carries it: the domain in its xn-- form. Raises UnicodeError for a name that is not ASCII."""
    name, _, domain = address.rpartition("@")
    if _NOT_PRINTED.search(address):
        raise UnicodeError(address)
    name.encode("ascii")
    return f"{name}@{ascii_host(domain)}"
