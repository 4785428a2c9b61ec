"""Handing a prepared message over: to a mail server, or into a Maildir. The answer is a value; nothing here decides.

The only module that knows SMTP.
"""

from __future__ import annotations

import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

import aiosmtplib

from daemon.links import ascii_host
from daemon.rendering import addressed
from daemon.settings import Mail, Smtp


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


@dataclass(frozen=True)
class SmtpCarrier:
    """One message a connection, encrypted unless the user said otherwise."""

    smtp: Smtp
    sender: str
    timeout_seconds: float = 60
    via: Literal["smtp", "maildir"] = "smtp"

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        try:
            address = _on_the_wire(address)
        except UnicodeError:
            return Refused(f"{address} can't be carried by SMTP: only letters of ASCII may stand before the @")
        try:
            refused, answer = await aiosmtplib.send(
                addressed(message, address),
                sender=self.sender,
                recipients=[address],
                hostname=self.smtp.host,
                port=self.smtp.port,
                username=self.smtp.username,
                password=self.smtp.password,
                timeout=self.timeout_seconds,
                use_tls=self.smtp.security == "tls",
                # None would try STARTTLS and go on in the clear without it.
                start_tls=self.smtp.security == "starttls",
                tls_context=_tls_context(self.smtp) if self.smtp.security != "none" else None,
            )
        except aiosmtplib.SMTPRecipientsRefused as error:
            return _by_code(error.recipients[0].code, error.recipients[0].message)
        except aiosmtplib.SMTPAuthenticationError as error:
            # A wrong password is the operator's to mend: the digest waits for that instead of being lost.
            return Deferred(f"{error.code} {error.message} (user name or password)")
        except aiosmtplib.SMTPResponseException as error:
            return _by_code(error.code, error.message)
        except (aiosmtplib.SMTPException, OSError, ValueError) as error:
            return Deferred(" ".join(str(error).split()) or type(error).__name__)
        # A partly refused message counts as success there; we send to one recipient, so a refusal is the whole of it.
        if address in refused:
            return _by_code(refused[address].code, refused[address].message)
        return Accepted(" ".join(answer.split()))


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
        if any((self.maildir / "cur").glob(f"{name}*")):
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


def _by_code(code: int, message: str) -> Handover:
    reason = f"{code} {' '.join(message.split())}"
    return Refused(reason) if 500 <= code < 600 else Deferred(reason)


def _on_the_wire(address: str) -> str:
    """The address as SMTP carries it: the domain in its xn-- form. Raises UnicodeError for a name that is not ASCII."""
    name, _, domain = address.rpartition("@")
    name.encode("ascii")
    return f"{name}@{ascii_host(domain)}"


def _tls_context(smtp: Smtp) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(smtp.ca_file) if smtp.ca_file else None)
