"""The lines above a message, encoded: nothing that a feed or a user wrote can add a header or a recipient. Pure.

The standard library's header classes read what they are given: `=?utf-8?q?=0D=0ABcc:…?=` in a title is decoded by them.
Here a text is only ever text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from urllib.parse import quote

SENDER_NAME = "claimwatch"
"""Whom a message is from where feeds.yaml gives its sender no name."""
COLUMNS = 76
LONGEST_WORD = 60
"""What is longer is encoded, for then it can be folded."""
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~ -]+")
_DOT_ATOM = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_ADDRESS_LITERAL = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_LINE = re.compile(r"[\x20-\x7e]+(\r\n [\x20-\x7e]+)*")
# Controls, line and paragraph ends, half characters: what no line of text holds.
_NO_TEXT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]+")


def header(name: str, value: str) -> bytes:
    """A header of ours as it stands. Raises ValueError where it would be more than one."""
    if not _LINE.fullmatch(value):
        raise ValueError(f"{name} would be no header: {value!r}")
    return f"{name}: {value}\r\n".encode("ascii")


def text_header(name: str, text: str) -> bytes:
    """A header that people read. Line ends and controls in it are spaces."""
    words = one_line(text)
    plain = _is_plain(words)
    return header(name, "\r\n ".join(_lines(words, COLUMNS - len(name) - 2)) if plain else _encoded(words, name))


def mailbox_header(name: str, display: str, address: str) -> bytes:
    """A header with one mailbox: `From: A Name <name@example.org>`."""
    phrase, bare = _phrase(one_line(display), name), mailbox(address)
    narrow = len(f"{name}: {phrase} <{bare}>") <= COLUMNS
    return header(name, f"{phrase} <{bare}>" if narrow else f"{phrase}\r\n <{bare}>")


def address_header(name: str, address: str) -> bytes:
    """A header with one bare address."""
    return header(name, mailbox(address))


def date_header(name: str, moment: datetime) -> bytes:
    """A header with a time."""
    return header(name, format_datetime(moment))


def list_id(name: str, domain: str) -> bytes:
    """`List-Id` (RFC 2919) of the digest of this name: its label is made of the name's parts between dots."""
    phrase = _phrase(f"claimwatch {one_line(name)}", "List-Id")
    return header("List-Id", f"{phrase} <{_labels(name) or 'digest'}.{_labels(domain) or 'localhost'}>")


def list_unsubscribe(name: str, address: str) -> bytes:
    """`List-Unsubscribe` (RFC 2369): a mail to this address, whose subject names the digest."""
    # Beside letters, only what RFC 6068 lets stand: a ? or & in an address would begin something else.
    to, subject = quote(mailbox(address), safe="@!$'*+"), quote(f"unsubscribe {one_line(name)}", safe="")
    return header("List-Unsubscribe", f"<mailto:{to}?subject={subject}>")


def mailbox(address: str) -> str:
    """The address as RFC 5322 writes it. Letters that mail can't carry become question marks."""
    local, _, domain = _NO_TEXT.sub("", address).encode("ascii", "replace").decode().rpartition("@")
    if not _DOT_ATOM.fullmatch(local):
        local = _quoted(local)
    return f"{local}@{domain if _ADDRESS_LITERAL.fullmatch(domain) else _labels(domain) or 'invalid'}"


def _labels(text: str) -> str:
    return ".".join(part for part in re.split(r"[^A-Za-z0-9_-]+", text) if part)


def one_line(text: str) -> str:
    """`text` without line ends, controls and half characters, a single space between two words."""
    return " ".join(_NO_TEXT.sub(" ", text).split())


def _is_plain(text: str) -> bool:
    # What looks encoded is encoded once more, so that nobody decodes it to something else.
    return text.isascii() and "=?" not in text and all(len(word) <= LONGEST_WORD for word in text.split(" "))


def _lines(text: str, first: int) -> Iterator[str]:
    line, room = "", first
    for word in text.split(" "):
        if line and len(line) + 1 + len(word) > room:
            yield line
            line, room = word, COLUMNS - 1
        else:
            line = f"{line} {word}" if line else word
    yield line or " "


def _encoded(text: str, name: str) -> str:
    return Header(text, "utf-8", maxlinelen=COLUMNS - 1, header_name=name).encode(linesep="\r\n")


def _phrase(text: str, name: str) -> str:
    if not _is_plain(text) or len(text) > LONGEST_WORD:
        return _encoded(text, name)
    return text if _ATOMS.fullmatch(text) else _quoted(text)


def _quoted(text: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'
