"""How a digest or a notice looks: its view filled into templates, made into a message. Pure: templates come as text."""

from __future__ import annotations

import base64
import hashlib
import re
import traceback
import unicodedata
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from email.message import EmailMessage
from email.policy import SMTP
from functools import lru_cache
from itertools import accumulate, takewhile

from jinja2 import DictLoader, Environment, StrictUndefined, TemplateSyntaxError, pass_context, select_autoescape
from jinja2.runtime import Context

from daemon import headers
from daemon.excerpts import Piece
from daemon.folding import fitting
from daemon.items import one_line
from daemon.notices import NoticeView
from daemon.proofs import proofs
from daemon.standings import show_count, show_day
from daemon.views import DigestView

SUBJECT_CHARACTERS = 78
TEXT_COLUMNS = 76
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
    faults: list[TemplateFault] = []

    def filled(name: str, view: DigestView, most: int, measure: Callable[[str], int]) -> tuple[str, bool]:
        standby = None if shipped is None or shipped[name] == templates[name] else shipped
        try:
            text, whole = _filled(name, templates, view, measure, most)
            if standby is None or measure(text) <= most:
                return text, whole
            faults.append(TemplateFault(name, 0, f"it makes more than {most:,} bytes, however little it is given"))
        except Exception as error:  # a user's template may do anything
            if standby is None:
                raise
            faults.append(fault_of(name, error))
        return _filled(name, standby, view, measure, most)

    # What finds no room in the page stands in the text; what finds none there, in the log.
    text, whole = filled("digest.txt", replace(view, rest_in="log"), text_bytes, _sent_bytes)
    html, _ = filled("digest.html", view if whole else replace(view, rest_in="log"), HTML_BYTES, _bytes)
    subject, _ = filled("subject.txt", view, SUBJECT_BYTES, _bytes)
    return Rendered(_shorten(one_line(subject)), text.strip() + "\n", html, tuple(faults))


def render_notice(view: NoticeView, templates: Mapping[str, str]) -> Rendered:
    """Fills the templates `notice-subject.txt` and `notice.txt`; a notice has no HTML. Raises jinja2.TemplateError."""
    environment = _environment(tuple(templates.items()))
    return Rendered(
        subject=_shorten(one_line(environment.get_template("notice-subject.txt").render(notice=view))),
        text=environment.get_template("notice.txt").render(notice=view).strip() + "\n",
    )


def _filled(
    name: str, templates: Mapping[str, str], view: DigestView, measure: Callable[[str], int], most: int
) -> tuple[str, bool]:
    """The filled template, and whether all of the digest found room in it."""
    template = _environment(tuple(templates.items())).get_template(name)
    fitted: tuple[DigestView | None, str] = (None, "")

    def size(folded: DigestView) -> int:
        nonlocal fitted
        text = template.render(digest=folded)
        if (needed := measure(text)) <= most:
            fitted = folded, text
        return needed

    shown = fitting(view, size, most)
    return fitted[1] if fitted[0] is shown else template.render(digest=shown), shown is view


def template_faults(templates: Mapping[str, str], shipped: Mapping[str, str]) -> tuple[TemplateFault, ...]:
    """What is wrong with templates, as far as filling them with digests of every sort tells."""
    if templates == shipped:
        return ()
    faults = (fault for proof in proofs() for fault in render(proof, templates, shipped).faults)
    return tuple({fault.template: fault for fault in faults}.values())


def fault_of(template: str, error: Exception) -> TemplateFault:
    """What failed in a template, and in which of its lines, as far as the error tells."""
    if isinstance(error, TemplateSyntaxError):
        return TemplateFault(error.name or template, error.lineno, error.message or "it can't be read")
    # Jinja puts the template's own lines into the traceback, as those of a file of this name.
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == "<template>"]
    return TemplateFault(template, (lines[-1] if lines else None) or 0, str(error) or type(error).__name__)


@lru_cache(maxsize=8)
def _environment(templates: tuple[tuple[str, str], ...]) -> Environment:
    """Templates compiled: a digest for each recipient, a preview, and each step of folding fill the same ones."""
    environment = Environment(
        loader=DictLoader(dict(templates)),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "moment": _show_moment,
        "short": _show_short,
        "day": show_day,
        "counted": show_count,
        "fill": _fill,
        "plain": _show_plain,
        "isolated": _isolated,
    }
    environment.globals |= {"local": _local}
    return environment


@pass_context
def _local(context: Context, moment: datetime) -> datetime:
    """A moment in the zone of the digest that is being filled in."""
    return moment.astimezone(context["digest"].zone)


def _bytes(text: str) -> int:
    return len(text.encode())


def _sent_bytes(text: str) -> int:
    """How many bytes a text takes in a message, quoted-printable, with its soft line ends."""
    plain = text.encode("ascii", "ignore")
    quoted = _bytes(text) - len(plain) + plain.count(b"=")
    return (len(plain) + 2 * plain.count(b"=") + 3 * (quoted - plain.count(b"="))) * 76 // 73 + text.count("\n")


@pass_context
def _show_short(context: Context, moment: datetime, beside: datetime | None = None) -> str:
    """A moment as short as it can be told: beside another one of the same day, by the clock alone."""
    if beside and moment.date() == beside.date():
        return f"{moment:%H:%M}"
    return f"{moment:%a %-d %b, %H:%M}" if moment.year == context["digest"].due.year else f"{moment:%-d %b %Y, %H:%M}"


def _isolated(text: str) -> str:
    """A text within a line of others, which it can't turn round, though it is written from the right."""
    turns = not text.isascii() and any(unicodedata.bidirectional(one) in ("R", "AL", "AN") for one in text)
    return f"\u2068{text}\u2069" if turns else text


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
    line, longest = one_line(str(text)), TEXT_COLUMNS - max(indent, len(lines[0]))
    if _NARROW.fullmatch(line) and max(map(len, line.split(" "))) <= longest:
        return lines[0] + f"\n{margin}".join(_lines(line, room, TEXT_COLUMNS - indent))
    for word in _breakable(line, longest):
        needed = _columns(word)
        if needed + (not fresh) > room:
            lines.append(margin)
            room, fresh = TEXT_COLUMNS - indent, True
        lines[-1] += word if fresh else f" {word}"
        room, fresh = room - needed - (not fresh), False
    return "\n".join(lines)


_NARROW = re.compile("[\x20-\u0377\u0400-\u052f\u2010-\u2027\u2030-\u205e\u20ac\u2116]*")
"""Letters that all take one column, which makes most lines ten times quicker to break."""


def _lines(text: str, first: int, others: int) -> Iterator[str]:
    """A text broken at spaces into lines of so many letters; no word is longer."""
    begin, room = 0, first
    while len(text) - begin > room:
        end = text.rindex(" ", begin, begin + room + 1)
        yield text[begin:end]
        begin, room = end + 1, others
    yield text[begin:]


def _breakable(text: str, columns: int) -> Iterator[str]:
    """The words of a text, those that no line could hold in pieces."""
    for word in text.split(" "):
        if _columns(word) > columns:
            # From the front, and each letter once: a whole text without spaces is one word.
            while len(piece := _beginning(word, columns)) < len(word):
                yield piece
                word = word[len(piece) :]
        yield word


def _beginning(word: str, columns: int) -> str:
    """As much of a word as so many columns hold, one letter at least."""
    letters = sum(1 for _ in takewhile(columns.__ge__, accumulate(map(_columns, word))))
    return word[: max(letters, 1)]


def _columns(text: str) -> int:
    """How wide a terminal draws a text: a Chinese letter takes two columns."""
    return len(text) if text.isascii() else sum(2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text)


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
    return base64.b64encode(zlib.compress(message)).decode()


def unpack(message: str) -> bytes:
    """The message again, byte for byte."""
    return zlib.decompress(base64.b64decode(message))
