"""How a digest or a notice looks: its view filled into templates, made into a message. Pure: templates come as text."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from unicodedata import east_asian_width

from jinja2 import DictLoader, Environment, StrictUndefined, select_autoescape

from daemon import headers
from daemon.digests import DigestView, Piece, show_day
from daemon.items import one_line
from daemon.notices import NoticeView

SUBJECT_CHARACTERS = 78
TEXT_COLUMNS = 76


@dataclass(frozen=True)
class Rendered:
    """A digest as it is read: its subject, and the same content twice, as text and as HTML; a notice is text alone."""

    subject: str
    text: str
    html: str = ""


def render(view: DigestView, templates: Mapping[str, str]) -> Rendered:
    """Fills the templates `subject.txt`, `digest.txt` and `digest.html`. Raises jinja2.TemplateError."""
    environment = _environment(templates)
    environment.globals |= {"local": lambda moment: moment.astimezone(view.zone)}
    subject = one_line(environment.get_template("subject.txt").render(digest=view))
    return Rendered(
        subject=_shorten(subject),
        text=environment.get_template("digest.txt").render(digest=view).strip() + "\n",
        html=environment.get_template("digest.html").render(digest=view),
    )


def render_notice(view: NoticeView, templates: Mapping[str, str]) -> Rendered:
    """Fills the templates `notice-subject.txt` and `notice.txt`; a notice has no HTML. Raises jinja2.TemplateError."""
    environment = _environment(templates)
    return Rendered(
        subject=_shorten(one_line(environment.get_template("notice-subject.txt").render(notice=view))),
        text=environment.get_template("notice.txt").render(notice=view).strip() + "\n",
    )


def _environment(templates: Mapping[str, str]) -> Environment:
    environment = Environment(
        loader=DictLoader(dict(templates)),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"moment": _show_moment, "fill": _fill, "plain": _show_plain}
    return environment


def _show_moment(moment: datetime) -> str:
    return f"{show_day(moment)}, {moment.strftime('%H:%M %Z')}"


def _show_plain(pieces: Sequence[Piece]) -> str:
    """Marked text for a terminal or a plain mail: the words that met a term stand between asterisks."""
    return "".join(f"*{piece.text}*" if piece.marked else piece.text for piece in pieces)


def _fill(text: str, indent: int = 0, first: str | None = None) -> str:
    """`text` in lines of at most TEXT_COLUMNS, indented; `first` stands before the first line instead."""
    margin = " " * indent
    lines = [margin if first is None else first]
    room, fresh = TEXT_COLUMNS - len(lines[0]), True
    for word in _breakable(one_line(text), TEXT_COLUMNS - max(indent, len(lines[0]))):
        needed = _columns(word)
        if needed + (not fresh) > room:
            lines.append(margin)
            room, fresh = TEXT_COLUMNS - indent, True
        lines[-1] += word if fresh else f" {word}"
        room, fresh = room - needed - (not fresh), False
    return "\n".join(lines)


def _breakable(text: str, columns: int) -> Iterator[str]:
    """The words of a text, those that no line could hold in pieces."""
    for word in text.split(" "):
        while _columns(word) > columns:
            at = next(at for at in range(len(word), 0, -1) if _columns(word[:at]) <= columns)
            yield word[:at]
            word = word[at:]
        yield word


def _columns(text: str) -> int:
    """How wide a terminal draws a text: a Chinese letter takes two columns."""
    return len(text) if text.isascii() else sum(2 if east_asian_width(one) in "WF" else 1 for one in text)


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
    return base64.b64encode(zlib.compress(message, 9)).decode()


def unpack(message: str) -> bytes:
    """The message again, byte for byte."""
    return zlib.decompress(base64.b64decode(message))
