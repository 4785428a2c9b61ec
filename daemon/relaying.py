"""Messages to one mail server, one after the other: what each came to, and whether the server is worth asking again.

It is imported when the first message goes out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from daemon.handovers import Accepted, Deferred, Handover, Refused, without
from daemon.links import ascii_host
from daemon.rendering import addressed
from daemon.settings import Smtp
from daemon.smtp import Conversation, Fault

MOST_BREAKS = 3
"""After so many connections in a row that broke before a message was through, a server is given up for this round."""
_TOO_LARGE = 552
_LOGIN_WANTED = 530
_NOT_PRINTED = re.compile(r"[\x00-\x20\x7f<>]")


@dataclass
class SmtpRound:
    """Messages to one server. Where it can't be reached it is not asked again in this round; where a connection breaks
    in the middle, the next message gets a fresh one."""

    smtp: Smtp
    sender: str
    timeout_seconds: float
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
            return self._down or _handover(replace(fault, said=without(address, fault.said)))
        return Accepted(without(address, answer))

    async def close(self) -> None:
        if self._conversation:
            await self._conversation.close()

    async def _connected(self) -> Conversation:
        conversation = Conversation(self.smtp, self.sender, self.timeout_seconds)
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
                self._down = Deferred(f"{without(address, _reason(fault))} ({MOST_BREAKS} connections in a row)")
            raise
        self._breaks = 0
        return answer


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


def _on_the_wire(address: str) -> str:
    """The address as SMTP carries it: the domain in its xn-- form. Raises UnicodeError for a name that is not ASCII."""
    name, _, domain = address.rpartition("@")
    if _NOT_PRINTED.search(address):
        raise UnicodeError(address)
    name.encode("ascii")
    return f"{name}@{ascii_host(domain)}"
