"""Handing prepared messages over: to a mail server, or into a Maildir. The answer is a value; nothing here decides."""

from __future__ import annotations

import hashlib
import logging
import os
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from daemon.handovers import Accepted, Deferred, Handover, without
from daemon.rendering import addressed
from daemon.settings import Mail, Smtp

logger = logging.getLogger(__name__)


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
        return Deferred(without(address, f"the way to hand it over failed: {type(error).__name__}: {error}"))


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
        # Loaded here: a watch need not hold what speaks SMTP before it has something to send.
        from daemon.relaying import SmtpRound

        server = SmtpRound(self.smtp, self.sender, self.timeout_seconds)
        try:
            yield server
        finally:
            await server.close()


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
