"""What is read from feed documents: every entry, as plain text, whatever the bytes are, and never an exception."""

from __future__ import annotations

import codecs
import csv
import hashlib
import json
import re
import unicodedata
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import feedparser
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.items import (
    MOST_TEXT_CHARACTERS,
    MOST_TITLE_CHARACTERS,
    SUMMARY_FROM_CONTENT_CHARACTERS,
    Feed,
    Item,
    NotAFeed,
    one_line,
    parse,
    plain_text,
    split,
    squeeze,
    titles_by_key,
)
from tests.support import SHARED, item, needs_shared, rss

MOMENT = datetime(2025, 3, 19, 7, 30, tzinfo=UTC)


def read(body: bytes, charset: str | None = None) -> Feed:
    found = parse(split(body, charset))
    assert isinstance(found, Feed), found
    return found


def refused(body: bytes, charset: str | None = None) -> NotAFeed:
    found = parse(split(body, charset))
    assert isinstance(found, NotAFeed), found
    return found


def rss_of(inner: str, declaration: str = '<?xml version="1.0"?>', head: str = "") -> str:
    """An RSS document of one item with these elements."""
    spaces = 'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:content="http://purl.org/rss/1.0/modules/content/"'
    channel = f"<channel><title>The Gazette</title>{head}<item>{inner}</item></channel>"
    return f'{declaration}<rss version="2.0" {spaces}>{channel}</rss>'


def item_of(inner: str, head: str = "") -> Item:
    [only] = read(rss_of(inner, head=head).encode()).items
    return only


def json_feed(*entries: Any, **head: Any) -> bytes:
    defaults = {"version": "https://jsonfeed.org/version/1.1", "title": "The Gazette"}
    return json.dumps(defaults | head | {"items": list(entries)}).encode()


def json_item(**entry: Any) -> Item:
    [only] = read(json_feed(entry)).items
    return only


# ── formats ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_rss_item_brings_all_its_fields() -> None:
    inner = """
        <title>A pause is agreed</title><link>https://gazette.example/1</link><guid isPermaLink="false">g1</guid>
        <description>In short.</description><content:encoded>&lt;p&gt;At length.&lt;/p&gt;</content:encoded>
        <dc:creator>A. Writer</dc:creator><pubDate>Wed, 19 Mar 2025 09:30:00 +0200</pubDate>"""
    assert item_of(inner, head="<language>en-gb</language>") == Item(
        guid="g1",
        link="https://gazette.example/1",
        title="A pause is agreed",
        summary="In short.",
        content="At length.",
        author="A. Writer",
        published=MOMENT,
        lang="en-gb",
    )


def test_an_atom_entry_brings_all_its_fields() -> None:
    feed = read(b"""<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="uk"><title>The Gazette</title>
        <entry><id>urn:1</id><title type="html">A &lt;b&gt;pause&lt;/b&gt;</title>
        <author><name>A. Writer</name></author>
        <link rel="alternate" href="https://gazette.example/1"/>
        <published>2025-03-19T07:30:00Z</published><updated>2025-03-20T00:00:00Z</updated><summary>In short.</summary>
        <content type="html">&lt;p&gt;At length.&lt;/p&gt;</content></entry></feed>""")
    assert feed == Feed(
        "The Gazette",
        (
            Item(
                guid="urn:1",
                link="https://gazette.example/1",
                title="A pause",
                summary="In short.",
                content="At length.",
                author="A. Writer",
                published=MOMENT,
                lang="uk",
            ),
        ),
        kind="Atom 1.0",
    )


def test_an_rdf_item_stands_beside_its_channel() -> None:
    feed = read(b"""<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
        xmlns:dc="http://purl.org/dc/elements/1.1/"><channel rdf:about="https://gazette.example/">
        <title>The Gazette</title></channel><item rdf:about="https://gazette.example/1"><title>A pause</title>
        <dc:date>2025-03-19T07:30:00Z</dc:date><link>https://gazette.example/1</link>
        <description>In short.</description></item></rdf:RDF>""")
    [only] = feed.items
    assert (feed.title, only.title, only.link, only.summary) == (
        "The Gazette",
        "A pause",
        "https://gazette.example/1",
        "In short.",
    )
    assert only.published == MOMENT
    assert feed.kind == "RSS 1.0"


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        ('<rss version="0.91"><channel><title>T</title></channel></rss>', "RSS 0.91"),
        ("<rss><channel><title>T</title></channel></rss>", "RSS"),
        ('<feed version="0.3" xmlns="http://purl.org/atom/ns#"><title>T</title></feed>', "Atom 0.3"),
    ],
)
def test_a_feed_tells_what_it_is_written_in(document: str, kind: str) -> None:
    assert read(document.encode()).kind == kind


def test_a_json_feed_item_brings_all_its_fields() -> None:
    entry = {
        "id": "g1",
        "url": "https://gazette.example/1",
        "title": "A pause is agreed",
        "summary": "In short.",
        "content_html": "<p>At length.</p>",
        "authors": [{"name": "A. Writer"}, {"name": "B. Writer"}, "nobody", {"url": "https://a.example"}],
        "date_published": "2025-03-19T09:30:00+02:00",
    }
    assert read(json_feed(entry, language="en")) == Feed(
        "The Gazette",
        (
            Item(
                guid="g1",
                link="https://gazette.example/1",
                title="A pause is agreed",
                summary="In short.",
                content="At length.",
                author="A. Writer, B. Writer",
                published=MOMENT,
                lang="en",
            ),
        ),
        kind="JSON Feed",
    )


def test_items_come_in_document_order() -> None:
    titles = [f"Title {number}" for number in range(30)]
    assert [one.title for one in read(rss(*map(item, titles))).items] == titles
    assert [one.title for one in read(json_feed(*({"title": title} for title in titles))).items] == titles


@pytest.mark.parametrize(
    ("entry", "field", "value"),
    [
        ({"id": 7}, "guid", "7"),
        ({"id": 1.5}, "guid", "1.5"),
        ({"id": True}, "guid", None),
        ({"id": ["g"]}, "guid", None),
        ({"id": " \n "}, "guid", None),
        ({"external_url": "https://x.example"}, "link", "https://x.example"),
        ({"url": "", "external_url": "https://x.example"}, "link", "https://x.example"),
        ({"title": 12}, "title", "12"),
        ({"title": None}, "title", ""),
        ({"title": {"a": 1}}, "title", ""),
        ({"title": "A\r\nBcc: b"}, "title", "A Bcc: b"),
        ({"content_text": "a < b &amp; c"}, "summary", "a < b &amp; c"),
        ({"content_html": "a &lt; b<br>c"}, "summary", "a < b\nc"),
        ({"author": {"name": "A. Writer"}}, "author", "A. Writer"),
        ({"author": "A. Writer"}, "author", None),
        ({"authors": "A. Writer"}, "author", None),
        ({"language": "de"}, "lang", "de"),
    ],
)
def test_json_feed_fields_of_odd_types_are_taken_as_far_as_they_go(
    entry: dict[str, Any], field: str, value: str | None
) -> None:
    assert getattr(json_item(**entry), field) == value


def test_rows_of_a_json_feed_that_are_no_objects_are_no_items() -> None:
    feed = read(json_feed("text", None, 3, {"title": "The only one"}, ["x"]))
    assert [one.title for one in feed.items] == ["The only one"]


def test_a_json_feed_may_begin_with_a_byte_order_mark_and_white_space() -> None:
    assert read(codecs.BOM_UTF8 + json_feed({"title": "Пауза"})).items[0].title == "Пауза"
    assert read(b" \r\n\t" + json_feed({"title": "Пауза"})).items[0].title == "Пауза"


def test_the_title_of_a_feed_is_one_line() -> None:
    assert read(json_feed(title="The\r\nGazette")).title == "The Gazette"
    assert read(rss(title="The\n Gazette")).title == "The Gazette"


# ── what identifies an item ──────────────────────────────────────────────────────────────────────────────────────


def test_an_item_without_guid_and_link_is_an_item_all_the_same() -> None:
    only = item_of("<title>A pause</title>")
    assert (only.guid, only.link, only.title) == (None, None, "A pause")


def test_a_guid_that_is_a_permalink_is_the_link_too() -> None:
    only = item_of("<guid>https://gazette.example/1</guid>")
    assert (only.guid, only.link) == ("https://gazette.example/1",) * 2


def test_a_link_stays_as_the_feed_gives_it() -> None:
    assert item_of("<link>/news/1?a=1&amp;b=2</link>").link == "/news/1?a=1&b=2"


def test_white_space_around_guid_and_link_is_not_part_of_them() -> None:
    only = item_of("<guid isPermaLink='false'>\n g1 \n</guid><link>\n https://gazette.example/1 \n</link>")
    assert (only.guid, only.link) == ("g1", "https://gazette.example/1")


def test_the_fingerprint_is_of_link_title_summary_and_content_and_of_nothing_else() -> None:
    one = item("A", guid="1", link="l", summary="s", content="c")
    same = item("A", guid="2", link="l", summary="s", content="c", author="B", published=MOMENT, lang="en")
    assert same.fingerprint == one.fingerprint
    others = [
        ("B", "l", "s", "c"),
        ("A", "m", "s", "c"),
        ("A", "l", "t", "c"),
        ("A", "l", "s", "d"),
        ("A", None, "ls", "c"),
    ]
    found = {item(title, link=link, summary=s, content=c).fingerprint for title, link, s, c in others}
    assert len(found | {one.fingerprint}) == len(others) + 1


def test_the_fingerprint_of_a_text_never_changes_between_versions_of_the_program() -> None:
    # It stands in logs: another value would make a revision of every item ever seen.
    told = hashlib.sha256('["https://x.example","Пауза","s",""]'.encode()).hexdigest()
    assert item("Пауза", link="https://x.example", summary="s").fingerprint == "1" + told[:32]


def test_titles_by_guid_and_by_link_show_what_a_key_stands_for() -> None:
    items = [
        item("A", guid="g", link="l"),
        item("B", guid="g", link="l"),
        item("B", guid="g", link="m"),
        item("C", guid=None, link="l"),
        item("D", guid=None, link="l"),
        item("E", guid=None, link=None),
    ]
    assert titles_by_key(items, "guid") == {"g": {"A": None, "B": None}}
    assert titles_by_key(items, "link") == {"l": {"C": None, "D": None}}


# ── summary and content ──────────────────────────────────────────────────────────────────────────────────────────


def test_content_that_says_what_the_summary_says_is_kept_once() -> None:
    only = item_of("<description>Short.</description><content:encoded>&lt;p&gt;Short.&lt;/p&gt;</content:encoded>")
    assert (only.summary, only.content) == ("Short.", "")


def test_an_item_without_a_summary_takes_its_content_for_one() -> None:
    only = json_item(content_text="Short.")
    assert (only.summary, only.content) == ("Short.", "Short.")


def test_a_long_content_gives_its_start_for_a_summary_cut_between_words() -> None:
    content = "word " * 200 + "end"
    only = json_item(content_text=content)
    assert only.content == content
    assert only.summary == "word " * 100 + "…"


def test_a_word_that_just_fits_is_kept() -> None:
    content = "a" * (SUMMARY_FROM_CONTENT_CHARACTERS - 4) + " end more"
    assert json_item(content_text=content).summary == content.removesuffix(" more") + " …"


def test_a_long_content_without_spaces_gives_its_start_too() -> None:
    # As in Chinese and Japanese.
    assert json_item(content_text="停" * 600).summary.startswith("停" * 100)


def test_a_long_content_of_short_lines_gives_its_start_too() -> None:
    assert json_item(content_text="停战\n" * 300).summary.startswith("停战\n停战\n")


# ── encodings ────────────────────────────────────────────────────────────────────────────────────────────────────

PAUSE = "<title>Пауза в ударах — «тиша»</title>"


def declared(encoding: str) -> str:
    return f'<?xml version="1.0" encoding="{encoding}"?>'


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (rss_of(PAUSE, declared("windows-1251")).encode("cp1251"), None),
        (rss_of(PAUSE, declared("windows-1251")).encode("cp1251"), "utf-8"),
        (rss_of(PAUSE, declared("utf-8")).encode(), "iso-8859-1"),
        (rss_of(PAUSE).encode(), "iso-8859-1"),
        (rss_of(PAUSE, "").encode(), "windows-1251"),
        (rss_of(PAUSE, "").encode(), None),
        (rss_of(PAUSE, "").encode(), "no-such-charset"),
        (rss_of(PAUSE, "").encode("cp1251"), "windows-1251"),
        (codecs.BOM_UTF8 + rss_of(PAUSE).encode(), "iso-8859-1"),
        (codecs.BOM_UTF8 + rss_of(PAUSE, declared("utf-8")).encode(), None),
        (codecs.BOM_UTF16_LE + rss_of(PAUSE, declared("utf-16")).encode("utf-16-le"), None),
        (codecs.BOM_UTF16_BE + rss_of(PAUSE, declared("utf-16")).encode("utf-16-be"), "utf-8"),
        (codecs.BOM_UTF16_LE + rss_of(PAUSE, "").encode("utf-16-le"), "utf-8"),
        (rss_of(PAUSE, declared("koi8-u")).replace("—", "-").encode("koi8-u", "replace"), None),
    ],
    ids=range(14),
)
def test_a_document_is_read_in_its_own_encoding_whatever_the_server_says(body: bytes, charset: str | None) -> None:
    [only] = read(body, charset).items
    assert only.title.startswith("Пауза в ударах")


def test_white_space_before_the_declaration_does_not_hide_the_encoding() -> None:
    body = rss_of(PAUSE, "\n" + declared("windows-1251")).encode("cp1251")
    assert read(body).items[0].title == "Пауза в ударах — «тиша»"


def test_text_is_in_nfc() -> None:
    decomposed = unicodedata.normalize("NFD", "Zürich й")
    assert item_of(f"<title>{decomposed}</title>").title == "Zürich й"
    assert json_item(title=decomposed).title == "Zürich й"


# ── HTML to text ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("", ""),
        ("no markup", "no markup"),
        ("<p>One</p><p>Two</p>", "One\nTwo"),
        ("<p>One<p>Two", "One\nTwo"),
        ("One<br>Two<br/>Three", "One\nTwo\nThree"),
        ("<ul><li>One<li>Two</ul>", "One\nTwo"),
        ("<table><tr><td>One<td>Two</table>", "One\nTwo"),
        ("<h1>Head</h1>Text", "Head\nText"),
        ("<div><div>\n\n One \n</div></div>", "One"),
        ("ener<b>gy</b> <i>pause</i>", "energy pause"),
        ('<a href="https://x.example">link</a>ed', "linked"),
        ("a<!-- comment -->b", "ab"),
        ("<script>alert('x')</script>pause", "pause"),
        ("<style>p { color: red }</style>pause", "pause"),
        ("<SCRIPT>x</SCRIPT><Style>y</Style>z", "z"),
        ("pause<script>never closed", "pause"),
        ('<img src="x.png" alt="Alt">pause', "pause"),
        ("AT&amp;T &mdash; &#8220;x&#8221; &#x41;", "AT&T — “x” A"),
        ("&lt;b&gt;told, not meant&lt;/b&gt;", "<b>told, not meant</b>"),
        ("&amp;lt;", "&lt;"),
        ("&amp;amp;", "&amp;"),
        ("fish & chips", "fish & chips"),
        ("3 < 5 > 4", "3 < 5 > 4"),
        ("a&nbsp;b", "a b"),
        ("<p class='a>b'>text</p>", "text"),
        ("<p title='<script>'>text</p>", "text"),
        ("<<b>>text</b>", "<>text"),
        ("<b><i><u>deep", "deep"),
        ("&#0;&#8;a", "\ufffda"),
        ("<![CDATA[text]]>pause", "pause"),
    ],
)
def test_html_becomes_the_text_a_reader_sees(markup: str, text: str) -> None:
    assert plain_text(markup) == text


def test_nested_junk_of_any_depth_is_read_through() -> None:
    assert plain_text("<div><span>" * 5_000 + "pause") == "pause"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("a\x00b", "ab"),
        ("a\x1fb\x7f\x9f", "ab"),
        ("a\ud800b\udfff", "ab"),
        ("\ufeffa\ufffe", "a"),
        ("a\r\nb\rc", "a\nb\nc"),
        ("a \t  b", "a b"),
        ("a \n \n\n b", "a\nb"),
        ("a\u2028b\u00a0c\u3000d", "a b c d"),
        ("  a  ", "a"),
        ("e\u0301", "é"),
    ],
)
def test_text_loses_its_control_characters_and_spare_white_space(raw: str, text: str) -> None:
    assert squeeze(raw) == text


@pytest.mark.parametrize("space", ["\x0b", "\x0c", "\x85"])
def test_white_space_that_is_a_control_character_parts_words_all_the_same(space: str) -> None:
    assert one_line(squeeze(f"energy{space}strike")) == "energy strike"


@pytest.mark.parametrize("markup", ["a\ud800<b>b</b>", "\udfff&amp;", "<p>\x00a\ud800</p>"])
def test_html_may_hold_lone_surrogates(markup: str) -> None:
    assert "\ud800" not in plain_text(markup)


any_text = st.text(st.characters(categories=["C", "L", "P", "S", "Z", "M"]) | st.sampled_from("<>&;\r\n\x00\ud800"))


@given(any_text)
def test_squeezed_text_holds_nothing_that_would_break_a_mail_or_a_log(raw: str) -> None:
    text = squeeze(raw)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\ud800-\udfff]", text)
    assert squeeze(text) == text == unicodedata.normalize("NFC", text)
    text.encode()


@given(any_text)
def test_any_markup_becomes_text(raw: str) -> None:
    text = plain_text(raw)
    assert squeeze(text) == text


# ── titles ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "title"),
    [
        ("A\r\nBcc: b@example.org", "A Bcc: b@example.org"),
        ("A&#13;&#10;Bcc: b@example.org", "A Bcc: b@example.org"),
        ("&lt;b&gt;A&lt;/b&gt; pause", "A pause"),
        ("<![CDATA[A <i>pause</i>]]>", "A pause"),
        ("AT&amp;T", "AT&T"),
        ("AT&amp;amp;T", "AT&T"),
        ("3 &lt; 5", "3 < 5"),
        ("", ""),
    ],
)
def test_a_title_is_one_line_of_plain_text(written: str, title: str) -> None:
    assert item_of(f"<title>{written}</title><link>https://gazette.example/1</link>").title == title


@pytest.mark.parametrize(
    "inner",
    [
        "<image><url>https://x.example/1.png</url><title>Our logo</title></image>",
        "<image>https://x.example/1.png</image><author><name>A. Writer</name><title>Night editor</title></author>",
    ],
)
def test_the_title_of_a_part_of_the_item_is_not_the_title_of_the_item(inner: str) -> None:
    assert item_of(f"<title>A pause</title>{inner}").title == "A pause"


# ── dates ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("Wed, 19 Mar 2025 07:30:00 GMT", MOMENT),
        ("Wed, 19 Mar 2025 09:30:00 +0200", MOMENT),
        ("2025-03-19T07:30:00Z", MOMENT),
        ("Fri, 19 Mar 2025 07:30:00 GMT", MOMENT),  # it was a Wednesday
        ("Sat, 19 Mar 2095 07:30:00 GMT", MOMENT.replace(year=2095)),  # what is impossible is for decisions to say
        ("Thu, 01 Jan 1970 00:00:00 GMT", None),
        ("Mon, 01 Jan 1601 00:00:00 GMT", None),
        ("Sun, 31 Dec 1989 23:59:59 GMT", None),
        ("Mon, 01 Jan 1990 00:00:00 GMT", datetime(1990, 1, 1, tzinfo=UTC)),
        ("Sat, 30 Feb 2025 25:61:00 GMT", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_an_item_is_kept_whatever_its_date_is(written: str, published: datetime | None) -> None:
    only = item_of(f"<title>A pause</title><pubDate>{written}</pubDate>")
    assert (only.title, only.published) == ("A pause", published)


def test_an_item_without_a_date_has_none() -> None:
    assert item_of("<title>A pause</title>").published is None
    assert json_item(title="A pause").published is None


def test_an_item_without_a_date_of_publication_takes_that_of_its_update() -> None:
    feed = read(b"""<feed xmlns="http://www.w3.org/2005/Atom"><entry><id>1</id>
        <updated>2025-03-19T07:30:00Z</updated></entry></feed>""")
    assert feed.items[0].published == MOMENT
    assert json_item(date_modified="2025-03-19T07:30:00Z").published == MOMENT


@pytest.mark.parametrize(
    ("written", "published"),
    [
        ("2025-03-19T07:30:00Z", MOMENT),
        ("2025-03-19T07:30:00", MOMENT),
        (" 2025-03-19T09:30:00+02:00 ", MOMENT),
        ("1970-01-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+23:00", None),
        ("9999-12-31T23:59:59-23:00", None),
        ("2025-02-30T00:00:00Z", None),
        ("soon", None),
        (1742369400, None),
        ({"at": "noon"}, None),
    ],
)
def test_a_json_item_is_kept_whatever_its_date_is(written: object, published: datetime | None) -> None:
    only = json_item(title="A pause", date_published=written)
    assert (only.title, only.published) == ("A pause", published)


# ── what is no feed ──────────────────────────────────────────────────────────────────────────────────────────────

WEB_PAGE = b"<!DOCTYPE html>\n<html><head><title>Robots?</title></head><body><p>Prove you are human.</p></body></html>"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "an empty answer"),
        (b" \r\n ", "an empty answer"),
        (WEB_PAGE, "a web page instead of a feed"),
        (b"  <HTML><body>x", "a web page instead of a feed"),
        (b"Service unavailable", "not a feed"),
        (b"\x00\x01\x02\xff", "not a feed"),
        (b"<", "not a feed"),
        (b"<?xml version='1.0'?>", "not a feed"),
        (b"<note><to>you</to></note>", "not a feed"),
        (b"<a>" * 20_000, "not a feed"),
        (b"[1, 2]", "not a feed"),
        (b'{"version": ', "broken JSON"),
        (b"{not json}", "broken JSON"),
        (b'{"a":' * 100_000, "broken JSON"),
        (b'{"version": "https://jsonfeed.org/version/1", "items": [' + b"[" * 100_000, "broken JSON"),
        (b"{}", "JSON, but no JSON Feed"),
        (b'{"version": 1, "items": []}', "JSON, but no JSON Feed"),
        (b'{"version": "https://jsonfeed.org/version/1"}', "JSON, but no JSON Feed"),
        (b'{"version": "https://jsonfeed.org/version/1", "items": {"0": {}}}', "JSON, but no JSON Feed"),
        (b'{"error": "not found", "items": []}', "JSON, but no JSON Feed"),
    ],
    ids=range(20),
)
def test_what_is_no_feed_is_told_as_that(body: bytes, reason: str) -> None:
    found = refused(body)
    assert found.reason.startswith(reason)
    assert found.hint


def test_a_feed_without_items_is_a_feed() -> None:
    assert read(rss()) == Feed("The Gazette", (), kind="RSS 2.0")
    assert read(json_feed()) == Feed("The Gazette", (), kind="JSON Feed")


def test_a_feed_cut_off_in_the_middle_gives_the_items_before_the_cut() -> None:
    whole = rss(item("One"), item("Two"), item("Three"))
    cut = whole[: whole.index(b"<title>Three")]
    assert [one.title for one in read(cut).items[:2]] == ["One", "Two"]


def test_an_item_nested_in_junk_does_not_stop_the_next() -> None:
    body = rss_of(
        "<description>" + "<div>" * 3_000 + "x" + "</div>" * 3_000 + "</description></item><item><title>Next</title>"
    )
    assert read(body.encode()).items[-1].title == "Next"


def test_bytes_that_are_a_path_are_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "feed.xml"
    secret.write_bytes(rss(item("A secret")))
    assert refused(str(secret).encode()).reason.startswith("not a feed")


def test_bytes_that_are_an_address_are_not_fetched() -> None:
    assert refused(b"http://127.0.0.1:9/feed.xml").reason.startswith("not a feed")


def test_an_entity_does_not_open_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("swordfish")
    doctype = f'<?xml version="1.0"?><!DOCTYPE rss [<!ENTITY x SYSTEM "{secret.as_uri()}">]>'
    found = parse(split(rss_of("<title>A &x;</title>", doctype).encode()))
    assert "swordfish" not in repr(found)


# ── never an exception ───────────────────────────────────────────────────────────────────────────────────────────

POISON = ["\ud800", "<b>\udfff</b>", "&amp;\ud800", "\x00<br>"]


@pytest.mark.parametrize("field", ["title", "summary", "content_html", "content_text", "id", "url", "language"])
@pytest.mark.parametrize("poison", POISON)
def test_a_lone_surrogate_in_json_does_not_stop_the_feed(field: str, poison: str) -> None:
    [first, second] = read(json_feed({field: poison}, {"title": "Next"})).items
    assert second.title == "Next"
    assert first.fingerprint


@pytest.mark.parametrize("tag", ["title", "description", "content:encoded", "guid", "link", "dc:creator", "pubDate"])
@pytest.mark.parametrize(
    "poison", ["&#xD800;", "&lt;b&gt;&amp;#xD800;&lt;/b&gt;", "&#0;", "\x00", "&nonsense;", "&#99999999;"]
)
def test_an_impossible_character_in_xml_does_not_stop_the_feed(tag: str, poison: str) -> None:
    body = rss_of(f"<{tag}>a {poison} <b>b</b></{tag}></item><item><title>Next</title>").encode()
    found = read(body)
    assert found.items[-1].title == "Next"
    assert all(one.fingerprint for one in found.items)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=200) | st.text(st.sampled_from("<>/!?&;\"'={}[] \nabrs")).map(str.encode), st.none() | st.text()
)
def test_any_bytes_are_a_feed_or_none(body: bytes, charset: str | None) -> None:
    assert isinstance(parse(split(body, charset)), Feed | NotAFeed)


@settings(max_examples=100, deadline=None)
@given(any_text, any_text, any_text)
def test_any_text_in_the_fields_of_a_feed_is_an_item(title: str, summary: str, date: str) -> None:
    body = rss_of(f"<title>{title}</title><description>{summary}</description><pubDate>{date}</pubDate>")
    assert isinstance(parse(split(body.encode(errors="replace"))), Feed | NotAFeed)
    only = json_item(title=title, content_html=summary, date_published=date)
    assert only.fingerprint


# ── real feeds ───────────────────────────────────────────────────────────────────────────────────────────────────


def corpus() -> list[dict[str, str]]:
    if not SHARED.is_dir():
        return []
    with (SHARED / "corpus/feeds/manifest.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def words_of(text: object) -> str:
    return " ".join(unicodedata.normalize("NFC", str(text or "")).split())


def in_json(body: bytes) -> list[tuple[str, str, str]]:
    return [
        (words_of(entry.get("id")), words_of(entry.get("url")), words_of(entry.get("title")))
        for entry in json.loads(body.decode("utf-8-sig"))["items"]
    ]


def in_feedparser(body: bytes) -> list[tuple[str, str, str]]:
    entries = feedparser.parse(BytesIO(body), sanitize_html=False, resolve_relative_uris=False).entries
    return [(words_of(entry.get("id")), words_of(entry.get("link")), words_of(entry.get("title"))) for entry in entries]


LARGE_BYTES = 30_000
"""Documents of this size or more are four in ten, and nearly all of the time that feedparser takes for all."""


@needs_shared
@pytest.mark.parametrize(
    ("large", "count"), [(False, 298), pytest.param(True, 228, marks=pytest.mark.slow)], ids=["small", "large"]
)
@pytest.mark.no_cover
def test_every_real_feed_gives_what_feedparser_finds_item_for_item(large: bool, count: int) -> None:
    rows = [row for row in corpus() if (int(row["bytes"]) >= LARGE_BYTES) is large]
    assert len(rows) == count
    for row in rows:
        body = (SHARED / "corpus" / row["path"]).read_bytes()
        found = read(body).items
        expected = in_json(body) if row["format"] == "json" else in_feedparser(body)
        assert len(found) == len(expected) == int(row["n_items"]), row["path"]
        for at, (one, (guid, link, title)) in enumerate(zip(found, expected, strict=True)):
            place = f"{row['path']}, item {at}"
            assert (one.guid or "", one.link or "") == (guid, link), place
            if not re.search(r"[<&\x00-\x1f\x7f-\x9f\ufeff]", title):
                assert one.title == title, place


@needs_shared
def test_no_hostile_document_raises() -> None:
    hostile = SHARED / "corpus/hostile"
    paths = [path for path in sorted(hostile.rglob("*.*")) if path.is_file() and path.name != "manifest.tsv"]
    # Entity bombs, and documents of a megabyte, are for the child process with its limits.
    paths = [path for path in paths if "entities-dtd" not in path.parts and path.stat().st_size < 150_000]
    assert len(paths) > 300
    for path in paths:
        assert isinstance(parse(split(path.read_bytes())), Feed | NotAFeed), path


# ── what is too long ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_too_long_is_cut_between_words_and_says_so() -> None:
    found = item_of(f"<title>{'word ' * 1_000}</title><description>{'слово ' * 50_000}</description>")
    assert len(found.title) <= MOST_TITLE_CHARACTERS + 2
    assert found.title.endswith("word …")
    assert len(found.summary) <= MOST_TEXT_CHARACTERS + 2
    assert found.summary.endswith("слово …")


def test_a_guid_too_long_is_known_by_its_hash_and_a_link_too_long_is_none() -> None:
    long = "https://news.example/" + "я" * 1_500
    found = item_of(f"<title>A title</title><guid>{long}</guid><link>{long}</link>")
    assert found.guid == "sha256:" + hashlib.sha256(long.encode()).hexdigest()
    assert found.link is None
