"""The whole way of a mail tried with one message: what each step says, and for the one that fails what to mend.

It goes by the same conversation that digests go by, and records nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import make_msgid

from daemon.handovers import Accepted
from daemon.mailing import MaildirCarrier
from daemon.rendering import Rendered, addressed, to_message
from daemon.settings import Mail, Smtp
from daemon.smtp import Conversation, Fault, Step, names_of_certificate

TIMEOUT_SECONDS = 20
_USUAL_PORTS = "Usual are 587 with security: starttls, 465 with security: tls, and 25 with security: none."
_WRONG_NAMES = (62, 64)
_EXPIRED, _NOT_YET_VALID = 10, 9
_UNKNOWN_AUTHORITY = (2, 18, 19, 20, 21)
"""OpenSSL's codes (x509_vfy.h) for a certificate that does not hold: for another name or address; out of its time; by
itself, or by an authority that is not known here."""


@dataclass(frozen=True)
class Tried:
    """A step of the way: what was said there, and what to mend where it failed."""

    step: Step | str
    ok: bool
    says: str
    mend: str = ""


async def try_the_way(
    mail: Mail, address: str, now: datetime, told: Callable[[Tried], None], timeout_seconds: float = TIMEOUT_SECONDS
) -> bool:
    """Sends a test message to `address`; `told` hears of each step. Says whether the message arrived."""
    message_id = make_msgid(domain=mail.domain)
    message = to_message(
        _rendered(mail),
        sender=mail.sender,
        name="send-test",
        message_id=message_id,
        now=now,
        sender_name=mail.sender_name,
        unsubscribe=mail.unsubscribe,
    )
    if mail.smtp is None:
        tried = await _try_maildir(mail, message, address, message_id, now)
        told(tried)
        return tried.ok
    conversation = Conversation(
        mail.smtp, mail.sender, timeout_seconds, lambda step, said: told(Tried(step, True, said))
    )
    try:
        await conversation.open()
        await conversation.carry(addressed(message, address), address)
    except Fault as fault:
        told(Tried(fault.step, False, str(fault), await _mend(fault, mail.smtp, timeout_seconds)))
        return False
    finally:
        await conversation.close()
    return True


def _rendered(mail: Mail) -> Rendered:
    way = f"through {mail.smtp.host}" if mail.smtp else "into the Maildir"
    text = f"This is a test. Digests of claimwatch would reach you on this way: {way}."
    html = f'<!DOCTYPE html>\n<html lang="en"><title>Test</title><p>{text}</p></html>\n'
    return Rendered("Test message of claimwatch", f"{text}\n", html)


async def _try_maildir(mail: Mail, message: bytes, address: str, message_id: str, now: datetime) -> Tried:
    handover = await MaildirCarrier(mail.maildir).hand_over(message, address, message_id, now)
    if isinstance(handover, Accepted):
        return Tried("maildir", True, f"no mail server is set; the message is in {mail.maildir}")
    hint = "Let this user write there, or name another folder: mail: maildir: FOLDER"
    return Tried("maildir", False, handover.reason, hint)


async def _mend(fault: Fault, smtp: Smtp, timeout_seconds: float) -> str:
    if fault.sort == "certificate":
        return await _mend_certificate(fault, smtp, timeout_seconds)
    if fault.sort == "ours":
        return "Mend that in feeds.yaml, under mail:."
    if fault.sort == "answer" and fault.code == 421:
        return "The server is too busy, or going down: try again in a while."
    return _MENDS[fault.step](fault, smtp)


async def _mend_certificate(fault: Fault, smtp: Smtp, timeout_seconds: float) -> str:
    if fault.code in _WRONG_NAMES:
        names = ", ".join(await names_of_certificate(smtp, timeout_seconds)) or "another name"
        return f"It is made out to {names}: write that name as mail: smtp: host:."
    if fault.code == _EXPIRED:
        return "Whoever runs the server has to renew it; if they say that it is good, look at this machine's clock."
    if fault.code == _NOT_YET_VALID:
        return "Look at this machine's clock."
    if fault.code in _UNKNOWN_AUTHORITY:
        return (
            "Nobody known to this machine has signed it. If the server is yours, name the certificate of its authority "
            "(or its own, if it signed itself): mail: smtp: ca_file: FILE."
        )
    return "Whoever runs the server has to mend it."


def _mend_resolve(fault: Fault, smtp: Smtp) -> str:
    return f"Is {smtp.host!r} spelled right (mail: smtp: host:), and does this machine have a name server?"


def _mend_connect(fault: Fault, smtp: Smtp) -> str:
    if fault.sort == "answer":
        return "The server wants no connection from here: name the server that your provider gives for sending mail."
    if fault.sort == "unreachable":
        return f"Nothing listens on port {smtp.port} of {smtp.host}, or a firewall is between. {_USUAL_PORTS}"
    if smtp.security != "tls":
        return (
            f"If port {smtp.port} is one that is encrypted from the first byte, write security: tls; else a firewall "
            f"or this machine's provider may hold it back, as many do port 25. {_USUAL_PORTS}"
        )
    return f"A firewall may be between, or the port is another. {_USUAL_PORTS}"


def _mend_tls(fault: Fault, smtp: Smtp) -> str:
    if fault.sort == "not offered":
        return (
            f"Is port {smtp.port} the right one? {_USUAL_PORTS} In your own network, security: none goes without "
            "encryption, and shows the password to whoever listens."
        )
    if smtp.security == "tls":
        return f"Port {smtp.port} is not encrypted from the first byte: write security: starttls, or the right port."
    return "The server's encryption does not work: whoever runs it has to mend that."


def _mend_login(fault: Fault, smtp: Smtp) -> str:
    if fault.sort == "not offered":
        return (
            "Take out username: if the server needs none; else it may take a login on another port, or only encrypted: "
            f"this connection has security: {smtp.security}. {_USUAL_PORTS}"
        )
    if fault.sort != "answer" or 400 <= fault.code < 500:
        return "The server can't check logins now: try again in a while."
    return (
        f"The server refuses {smtp.username!r} with the password from {smtp.password_from or 'feeds.yaml'}. Some "
        "providers want the whole address as a user name, or a password made for programs alone."
    )


def _mend_sender(fault: Fault, smtp: Smtp) -> str:
    if fault.code == 530 or re.search("authenticat|log ?in", fault.said, re.IGNORECASE):
        return _LOG_IN if smtp.username is None else _OTHER_SENDER
    return _COME_BACK if _is_passing(fault) else _OTHER_SENDER


def _mend_recipient(fault: Fault, smtp: Smtp) -> str:
    if re.search(r"relay|\b5\.7\.(54|57|64)\b", fault.said, re.IGNORECASE) or fault.code == 530:
        if smtp.username is None:
            return f"The server carries nothing to others for a stranger. {_LOG_IN}"
        return "The server does not carry mail to that address for this login: ask whoever runs it."
    if _is_passing(fault):
        return _COME_BACK
    if re.search(r"\b[45]\.7\.", fault.said):
        return f"A rule of the server is against it. {_LOG_IN if smtp.username is None else _OTHER_SENDER}"
    return "The server knows no such recipient: is the address spelled right?"


def _mend_message(fault: Fault, smtp: Smtp) -> str:
    if fault.sort in ("silence", "broken"):
        return "Whether the server has the message is not known: look whether it came, then try again."
    return _COME_BACK if _is_passing(fault) else "The server's filter refuses the message: read what it says above."


def _is_passing(fault: Fault) -> bool:
    return fault.sort != "answer" or 400 <= fault.code < 500


_LOG_IN = "Log in: mail: smtp: username: NAME and password_file: FILE, with the user and password of your mail account."
_OTHER_SENDER = "Is mail: from: an address that this server, or this login, may send from?"
_COME_BACK = (
    "The server asks to come back later, as many do the first time (greylisting). Digests are tried again by "
    "themselves; try this again in some minutes."
)
_MENDS: dict[Step, Callable[[Fault, Smtp], str]] = {
    "resolve": _mend_resolve,
    "connect": _mend_connect,
    "tls": _mend_tls,
    "login": _mend_login,
    "sender": _mend_sender,
    "recipient": _mend_recipient,
    "message": _mend_message,
}
