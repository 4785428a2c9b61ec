"""How a digest or a notice looks: its view filled into templates, made into a message. Pure: templates come as text."""

from __future__ import annotations

import base64
import hashlib
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from typing import TYPE_CHECKING

from daemon import headers
from daemon.items import one_line
from daemon.notices import NoticeView

if TYPE_CHECKING:
    from daemon.views import DigestView

SUBJECT_CHARACTERS = 78
HTML_BYTES = 100_000
"""Gmail shows no more than 102 kB of a page."""
SUBJECT_BYTES = 100_000
TEXT_BYTES = 4_500_000
"""As it is sent. With the page, and in a mail server's count, that stays below what servers take at the least."""


@dataclass(frozen=True)
class TemplateFault:
    """A template of the user's own that could not be used; the shipped one stands in for it. `line` 0 is no line."""

    template: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"alerts/{self.template}" + (f", line {self.line}" if self.line else "") + f": {self.message}"


@dataclass(frozen=True)
class Rendered:
    """A digest as it is read: its subject, and the same content twice, as text and as HTML; a notice is text
    alone.

    `faults` are the templates that failed and for which the shipped ones stand in.
    """

    subject: str
    text: str
    html: str = ""
    faults: tuple[TemplateFault, ...] = ()


def render(
    view: DigestView,
    templates: Mapping[str, str],
    shipped: Mapping[str, str] | None = None,
    *,
    text_bytes: int = TEXT_BYTES,
) -> Rendered:
    """Fills the templates `subject.txt`, `digest.txt` and `digest.html`, with as much as there is room for.

    One that fails, or that can't be kept small enough, is replaced by that of `shipped`, alone. Without `shipped` it
    raises what the template raised.
    """
    # Loaded here, as below: a watch need not hold what fills templates, jinja2 above all, before it has any to fill.
    from daemon.templates import filled as fill

    faults: list[TemplateFault] = []

    def filled(name: str, view: DigestView, most: int, measure: Callable[[str], int]) -> tuple[str, bool]:
        standby = None if shipped is None or shipped[name] == templates[name] else shipped
        try:
            text, whole = fill(name, templates, view, measure, most)
            if standby is None or measure(text) <= most:
                return text, whole
            faults.append(TemplateFault(name, 0, f"it makes more than {most:,} bytes, however little it is given"))
        except Exception as error:  # a user's template may do anything
            if standby is None:
                raise
            faults.append(fault_of(name, error))
        return fill(name, standby, view, measure, most)

    # What finds no room in the page stands in the text; what finds none there, in the log.
    text, whole = filled("digest.txt", replace(view, rest_in="log"), text_bytes, _sent_bytes)
    html, _ = filled("digest.html", view if whole else replace(view, rest_in="log"), HTML_BYTES, _bytes)
    subject, _ = filled("subject.txt", view, SUBJECT_BYTES, _bytes)
    return Rendered(_shorten(one_line(subject)), text.strip() + "\n", html, tuple(faults))


def render_notice(view: NoticeView, templates: Mapping[str, str]) -> Rendered:
    """Fills the templates `notice-subject.txt` and `notice.txt`; a notice has no HTML. Raises jinja2.TemplateError."""
    from daemon.templates import compiled

    subject, text = (compiled(name, templates).render(notice=view) for name in ("notice-subject.txt", "notice.txt"))
    return Rendered(
        subject=_shorten(one_line(subject)),
        text=text.strip() + "\n",
    )


def template_faults(templates: Mapping[str, str], shipped: Mapping[str, str]) -> tuple[TemplateFault, ...]:
    """What is wrong with templates, as far as filling them with digests of every sort tells."""
    if templates == shipped:
        return ()
    from daemon.proofs import proofs

    faults = (fault for proof in proofs() for fault in render(proof, templates, shipped).faults)
    return tuple({fault.template: fault for fault in faults}.values())


def fault_of(template: str, error: Exception) -> TemplateFault:
    """What failed in a template, and in which of its lines, as far as the error tells."""
    from jinja2 import TemplateSyntaxError

    if isinstance(error, TemplateSyntaxError):
        return TemplateFault(error.name or template, error.lineno, error.message or "it can't be read")
    # Jinja puts the template's own lines into the traceback, as those of a file of this name.
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return TemplateFault(template, (lines[-1] if lines else None) or 0, str(error) or type(error).__name__)


def _bytes(text: str) -> int:
    return len(text.encode())


def _sent_bytes(text: str) -> int:
    """How many bytes a text takes in a message, quoted-printable, with its soft line ends."""
    plain = text.encode("ascii", "ignore")
    quoted = _bytes(text) - len(plain) + plain.count(b"=")
    return (len(plain) + 2 * plain.count(b"=") + 3 * (quoted - plain.count(b"="))) * 76 // 73 + text.count("\n")


def _shorten(subject: str) -> str:
    if len(subject) <= SUBJECT_CHARACTERS:
        return subject
    cut = subject[: SUBJECT_CHARACTERS - 4]
    # Between two claims where that leaves something to read, else between two words. Three dots, since email folds a
    # line before a lone … so that mail programs show a space too many (Python 3.11).
    at = cut.rfind(", ")
    return (cut[:at] if at > SUBJECT_CHARACTERS // 3 else cut.rpartition(" ")[0] or cut) + " ..."


# ── the message ──────────────────────────────────────────────────────────────────────────────────────────────────


def to_message(
    rendered: Rendered,
    *,
    sender: str,
    name: str,
    message_id: str,
    now: datetime,
    sender_name: str = headers.SENDER_NAME,
    unsubscribe: str = "",
) -> bytes:
    """The RFC 5322 message, without its `To:` line: the log names recipients by an id, the address comes at delivery.

    `name` is the digest's. Whoever wants it no more writes to `unsubscribe`, else to the sender. The boundary is made
    from the Message-ID, so that equal digests are equal bytes.
    """
    head = (
        headers.mailbox_header("From", sender_name, sender),
        headers.text_header("Subject", rendered.subject),
        headers.date_header("Date", now),
        headers.header("Message-ID", message_id),
        headers.list_id(name, message_id.strip("<>").partition("@")[2]),
        headers.list_unsubscribe(name, unsubscribe or sender),
        headers.header("Auto-Submitted", "auto-generated"),
        headers.header("X-Auto-Response-Suppress", "All"),
    )
    # Loaded here, like the templates: with all that it can read, 1 MB.
    from email.policy import SMTP

    message = EmailMessage(policy=SMTP)
    message.set_content(_whole(rendered.text), cte="quoted-printable")
    if rendered.html:
        message.add_alternative(_whole(rendered.html), subtype="html", cte="quoted-printable")
        message.set_boundary(f"=_{hashlib.sha256(message_id.encode()).hexdigest()[:32]}")
    return b"".join(head) + message.as_bytes()


def addressed(message: bytes, address: str) -> bytes:
    """The message with its `To:` line."""
    return headers.address_header("To", address) + message


def _whole(text: str) -> str:
    """Half a character (a lone surrogate) has no bytes."""
    return text.encode("utf-8", "replace").decode()


def pack(message: bytes) -> str:
    """The message as the log holds it: deflated, in base64."""
    return base64.b64encode(zlib.compress(message)).decode()


def unpack(message: str) -> bytes:
    """The message again, byte for byte."""
    return zlib.decompress(base64.b64decode(message))
