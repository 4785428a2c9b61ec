"""The lines above a message: read back by the standard library as they were meant, whatever was put into them."""

from __future__ import annotations

import email
import email.policy
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from daemon import headers
from daemon.rendering import Rendered, addressed, to_message
from tests.support import NOW

NAMES = {
    *("To", "From", "Subject", "Date", "Message-ID", "List-Id", "List-Unsubscribe", "Auto-Submitted"),
    *("X-Auto-Response-Suppress", "MIME-Version", "Content-Type"),
}
HOSTILE = st.one_of(
    st.text(max_size=300),
    st.text(alphabet="\r\n\t\x00\x1b\x85\u2028\u2029\u202e\ud800\udfff aé停𝔘:;,<>@\"'\\\\=?", max_size=120),
    st.text(alphabet="ab ", min_size=60, max_size=2000),
    st.sampled_from(
        [
            "Talks\r\nBcc: all@example.org",
            "=?utf-8?q?Talks=0D=0ABcc:_all@example.org?=",
            "=?utf-8?b?VGFsa3MNCkJjYzogYWxsQGV4YW1wbGUub3Jn?=",
            "=?utf-8?q?a?= =?utf-8?q?b?=",
            "w" * 3000,
            "Удар" * 900,
            "half a \ud83d character",
            "a name, another <all@example.org>",
            'quo"ted \\\\ name',
            "\r\n\r\n<p>a body</p>",
        ]
    ),
)


def message_of(subject: str = "s", **fields: Any) -> bytes:
    options: dict[str, Any] = {"sender": "watch@example.org", "name": "daily", "message_id": "<1@example.org>"}
    return to_message(Rendered(subject, subject, subject or "<p>"), now=NOW, **(options | fields))


def read(message: bytes) -> EmailMessage:
    parsed = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(parsed, EmailMessage)
    return parsed


def decoded(message: bytes, name: str) -> str:
    """A header as the older, stricter decoder of the library reads it."""
    raw = email.message_from_bytes(message)[name]
    return str(make_header(decode_header(raw.replace("\r\n", "")))) if "=?" in raw else raw.replace("\r\n", "")


@given(HOSTILE, HOSTILE)
@settings(max_examples=60, deadline=None)
@example("", "")
def test_whatever_a_title_or_a_name_holds_the_headers_stay_these(subject: str, name: str) -> None:
    message = addressed(message_of(subject, sender_name=name), "reader@example.org")
    parsed = read(message)
    assert sorted(parsed.keys()) == sorted(NAMES)
    assert [one.addr_spec for one in parsed["To"].addresses] == ["reader@example.org"]
    assert [one.addr_spec for one in parsed["From"].addresses] == ["watch@example.org"]
    assert not parsed["From"].defects
    assert " ".join(decoded(message, "Subject").split()) == headers.one_line(subject)
    assert all(len(line) <= 998 for line in message.split(b"\r\n"))
    assert all(len(line) <= 78 for line in message.split(b"List-Id")[0].split(b"\r\n"))
    assert message.isascii()


@given(HOSTILE)
@settings(max_examples=50, deadline=None)
def test_a_sender_s_name_is_read_back_as_it_was_written(name: str) -> None:
    clean = headers.one_line(name)
    (one,) = read(message_of(sender_name=name))["From"].addresses
    # The library's parser puts no space back where two encoded words meet at one; nor does it need to.
    assert one.display_name.replace(" ", "") == clean.replace(" ", "")


@given(st.text(max_size=80), st.text(max_size=80))
@settings(max_examples=50, deadline=None)
def test_no_address_is_more_than_one(local: str, domain: str) -> None:
    message = addressed(message_of(), f"{local}@{domain}")
    assert sorted(read(message).keys()) == sorted(NAMES)
    assert len(message.split(b"\r\n", 1)[0]) < 300
    assert len(read(message)["To"].addresses) <= 1


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("claimwatch", "claimwatch <w@e.org>"),
        ("Watch, The", '"Watch, The" <w@e.org>'),
        ('The "Watch"', '"The \\\\"Watch\\\\"" <w@e.org>'.replace("\\\\", "\\")),
        ("Спостереження", "=?utf-8?b?0KHQv9C+0YHRgtC10YDQtdC20LXQvdC90Y8=?= <w@e.org>"),
    ],
)
def test_a_name_is_written_as_mail_programs_expect(name: str, written: str) -> None:
    assert headers.mailbox_header("From", name, "w@e.org").decode() == f"From: {written}\r\n"


def test_a_subject_is_folded_between_words_and_unfolds_to_itself() -> None:
    subject = "3 claims moved: energy strike pause (4), prisoner exchange (2), black sea ceasefire (1)"
    folded = headers.text_header("Subject", subject)
    assert folded.count(b"\r\n") == 2
    assert folded.replace(b"\r\n", b"").decode() == f"Subject: {subject}"


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("daily", "claimwatch daily <daily.example.org>"),
        ("energy.daily", '"claimwatch energy.daily" <energy.daily.example.org>'),
        ("a..b.", '"claimwatch a..b." <a.b.example.org>'),
    ],
)
def test_a_list_id_is_a_name_between_dots(name: str, written: str) -> None:
    assert headers.list_id(name, "example.org").decode() == f"List-Id: {written}\r\n"


@pytest.mark.parametrize("address", ["watch@example.org", "watch+news@example.org", "a&b?c%d@example.org"])
def test_list_unsubscribe_is_one_address_with_a_subject_that_names_the_digest(address: str) -> None:
    (value,) = read(message_of(name="daily", unsubscribe=address)).get_all("List-Unsubscribe", [])
    link = urlsplit(value.strip("<>"))
    assert (link.scheme, unquote(link.path), parse_qs(link.query)) == (
        "mailto",
        address,
        {"subject": ["unsubscribe daily"]},
    )


def test_readers_write_to_the_sender_where_nobody_else_is_named() -> None:
    assert read(message_of())["List-Unsubscribe"] == "<mailto:watch@example.org?subject=unsubscribe%20daily>"


@pytest.mark.parametrize("value", ["a\r\nBcc: x", "a\nb", "\r\n", "", "é", "a\r\n"])
def test_a_header_of_ours_that_would_be_two_is_an_error(value: str) -> None:
    with pytest.raises(ValueError, match="X would be no header"):
        headers.header("X", value)


def test_half_a_character_in_a_text_does_not_stop_the_message() -> None:
    part = read(message_of("half \ud83d")).get_body(("plain",))
    assert part is not None
    assert part.get_content().strip() == "half ?"
