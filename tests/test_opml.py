"""Lists of feeds, from other programs and for them; and what feeds.yaml makes of one."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.errors import ClaimwatchError
from daemon.fields import is_key
from daemon.links import address_key
from daemon.newfeeds import (
    LeftOut,
    NewFeed,
    as_read,
    feeds_of,
    fetchable,
    key_for,
    outlines_of,
    yaml_entry,
)
from daemon.opml import Outline, read_outlines, write_outlines


def opml(body: str, version: str = "2.0") -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?><opml version="{version}"><body>{body}</body></opml>'.encode()


def taken(body: str) -> tuple[list[NewFeed], list[LeftOut]]:
    """What a list adds to a feeds.yaml with one feed."""
    return feeds_of(read_outlines(opml(body)), {address_key("https://gazette.example/rss"): "gazette"}, {"gazette"})


@pytest.mark.parametrize("version", ["1.0", "1.1", "2.0"])
def test_outlines_are_read_wherever_they_are_nested(version: str) -> None:
    document = opml(
        """<outline text="World">
          <outline type="rss" text="Globe &amp; Co" title="The Globe" xmlUrl="https://globe.example/rss?a=1&amp;b=2"/>
          <outline text="Deep"><outline text="Herald" xmlURL=" https://herald.example/ "/></outline>
        </outline>
        <outline xmlurl="https://observer.example/" text="https://observer.example/"/>""",
        version,
    )
    outlines = read_outlines(document)
    assert [(one.title, one.url, one.parent) for one in outlines] == [
        ("World", "", True),
        ("The Globe", "https://globe.example/rss?a=1&b=2", False),
        ("Deep", "", True),
        ("Herald", "https://herald.example/", False),
        ("", "https://observer.example/", False),
    ]
    assert [one.line for one in outlines] == [1, 2, 3, 3, 5]


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16", "windows-1251", "ISO-8859-5"])
def test_a_list_is_read_in_its_encoding(encoding: str) -> None:
    text = f'<?xml version="1.0" encoding="{encoding}"?><opml><body><outline text="Газета" xmlUrl="x"/></body></opml>'
    assert read_outlines(text.encode(encoding))[0].title == "Газета"


@pytest.mark.parametrize(
    ("document", "says"),
    [
        (b"", "no XML"),
        (b"feeds: {}", "line 1, column 1"),
        (b'<opml><body>\n<outline xmlUrl="https://a.example/?a=1&b=2"/></body></opml>', "line 2, column 42"),
        (b"<opml><body>", "no XML"),
        (b"<rss version='2.0'/>", "begins with <rss>"),
        (b"<html><body><outline xmlUrl='x'/></body></html>", "begins with <html>"),
        (b'<?xml version="1.0" encoding="gb2312"?><opml/>', "can't be read"),
        (b'<?xml version="1.0" encoding="nonsense"?><opml/>', "unknown encoding"),
        (b" " * 20_000_001, "larger than 20,000,000 bytes"),
    ],
)
def test_what_is_no_list_of_feeds_is_refused_with_its_place(document: bytes, says: str) -> None:
    with pytest.raises(ClaimwatchError) as refused:
        read_outlines(document)
    assert says in str(refused.value)
    assert refused.value.hint


LAUGHS = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 12))


@pytest.mark.parametrize(
    "subset",
    [
        f"<!ENTITY l0 'ha'>{LAUGHS}",
        "<!ENTITY l11 SYSTEM 'file:///etc/passwd'>",
        "<!ENTITY % p SYSTEM 'http://127.0.0.1:9/x'> %p;",
        f"<!ENTITY l11 '{'a' * 100_000}'>",
    ],
)
def test_a_list_with_entities_of_its_own_is_refused_at_once(subset: str) -> None:
    outlines = '<outline text="&l11;" xmlUrl="&l11;"/>' * 100
    document = f"<!DOCTYPE opml [{subset}]><opml><body>{outlines}</body></opml>".encode()
    began = time.process_time()
    with pytest.raises(ClaimwatchError, match="defines an entity"):
        read_outlines(document)
    assert time.process_time() - began < 1


def test_a_document_type_that_lies_elsewhere_is_not_asked_for() -> None:
    document = b'<!DOCTYPE opml SYSTEM "http://127.0.0.1:9/opml.dtd"><opml><body><outline xmlUrl="x"/></body></opml>'
    assert [one.url for one in read_outlines(document)] == ["x"]


def test_deep_nesting_costs_nothing() -> None:
    deep = 20_000
    document = opml("<outline>" * deep + '<outline xmlUrl="x"/>' + "</outline>" * deep)
    assert [one.url for one in read_outlines(document) if one.url] == ["x"]


def test_what_is_left_out_is_told_with_the_reason() -> None:
    feeds, left_out = taken(
        """
        <outline text="A folder"><outline text="Globe" xmlUrl="https://globe.example/rss"/></outline>
        <outline text="The Gazette" xmlUrl="http://GAZETTE.example:80/rss#top"/>
        <outline text="Globe again" xmlUrl="https://globe.example/rss"/>
        <outline text="A note"/>
        <outline text="More" type="include" url="https://lists.example/more.opml"/>
        <outline text="Mail" xmlUrl="mailto:a@b.example"/>
        <outline text="Mine" xmlUrl="https://me:swordfish@mine.example/rss"/>
        <outline text="Often" xmlUrl="https://often.example/" claimwatch:every="1s"/>"""
    )
    assert [one.key for one in feeds] == ["globe"]
    assert [(one.line, one.title, one.known) for one in left_out] == [
        (3, "The Gazette", True),
        (4, "Globe again", True),
        (5, "A note", False),
        (6, "More", False),
        (7, "Mail", False),
        (8, "Mine", False),
        (9, "Often", False),
    ]
    reasons = [one.reason for one in left_out]
    assert reasons[:2] == ["is there already, as gazette", "is there already, as globe"]
    assert "no xmlUrl" in reasons[2]
    assert "another list" in reasons[3]
    assert "no web address" in reasons[4]
    assert "holds a login" in reasons[5]
    assert "too often" in reasons[6]
    assert "swordfish" not in repr(left_out)


def test_a_list_from_elsewhere_names_no_file_of_this_machine() -> None:
    (feed,), _ = taken(
        """<outline xmlUrl="https://a.example/" claimwatch:auth_file="/etc/passwd" claimwatch:every="6h"
           claimwatch:headers_file="x" claimwatch:nonsense="x"/>"""
    )
    assert feed.options == {"every": "6h"}


def test_two_thousand_feeds_of_one_name_are_taken_in_a_moment() -> None:
    lines = "".join(f'<outline text="News" xmlUrl="https://site-{n}.example/rss"/>' for n in range(2000))
    began = time.process_time()
    feeds, left_out = taken(lines)
    assert time.process_time() - began < 5
    assert ([one.key for one in feeds], left_out) == (["news", *(f"news-{n}" for n in range(2, 2001))], [])


@pytest.mark.parametrize(
    ("title", "key"),
    [
        ("BBC News – World", "bbc-news-world"),
        ("L’Équipe", "lequipe"),
        ("The Globe", "the-globe-2"),
        ("Українська правда", "news.example.co.uk"),
        ("World (Світ і люди довкола)", "news.example.co.uk"),
        ("A very long title that nobody wants to type as a key", "news.example.co.uk"),
        ("", "news.example.co.uk"),
        ("2025", "news.example.co.uk"),
        ("No", "news.example.co.uk"),
    ],
)
def test_a_key_comes_from_a_short_title_else_from_the_host(title: str, key: str) -> None:
    assert key_for(title, "https://www.news.example.co.uk/rss", {"the-globe"}) == key


@given(st.text(max_size=60), st.sampled_from(["https://a.example/", "https://[::1]/", "http://бюро.example", "x"]))
@settings(max_examples=100, deadline=None)
def test_every_feed_gets_a_key_that_is_one_and_is_free(title: str, url: str) -> None:
    first = key_for(title, url, ())
    second = key_for(title, url, {first})
    assert is_key(first)
    assert is_key(second)
    assert first != second


@pytest.mark.parametrize(
    ("feed", "line"),
    [
        (NewFeed("a", "https://a.example/?x=1#y"), 'a: "https://a.example/?x=1#y"'),
        (NewFeed("a", "https://a.example/", "The A (world)"), 'a: {title: The A (world), url: "https://a.example/"}'),
        (NewFeed("a", "https://a.example/", "A: b"), 'a: {title: "A: b", url: "https://a.example/"}'),
        (NewFeed("a", "https://a.example/", "Yes"), 'a: {title: "Yes", url: "https://a.example/"}'),
        (
            NewFeed("a", "https://a.example/", "Новини", {"every": "6h", "enabled": "false"}),
            'a: {title: Новини, url: "https://a.example/", every: 6h, enabled: false}',
        ),
    ],
)
def test_a_feed_is_written_as_a_person_would(feed: NewFeed, line: str) -> None:
    assert yaml_entry(feed) == line


TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


@given(TEXTS, TEXTS)
@settings(max_examples=200, deadline=None)
def test_what_is_written_is_read_as_it_was_meant(title: str, tail: str) -> None:
    feed = NewFeed("a", f"https://a.example/{tail}", title, {"every": "6h"})
    assert yaml.load(f"feeds:\n  {yaml_entry(feed)}\n", Loader=yaml.CBaseLoader) == {"feeds": {"a": as_read(feed)}}


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("example.org", "https://example.org"),
        (" example.org:8080/x?y ", "https://example.org:8080/x?y"),
        ("feed://example.org/rss", "https://example.org/rss"),
        ("feed:http://example.org/rss", "http://example.org/rss"),
        ("http://example.org", "http://example.org"),
        ("mailto:a@example.org", "mailto:a@example.org"),
    ],
)
def test_an_address_is_taken_as_people_write_it(written: str, meant: str) -> None:
    assert fetchable(written) == meant


@pytest.mark.parametrize(
    "other",
    [
        "http://gazette.example/news/rss?a=b",
        "HTTPS://Gazette.Example:443/news/rss?a=b#top",
        "https://gazette.example./%6Eews/rss?a=b",
        " https://gazette.example:80/news/rss?%61=b",
    ],
)
def test_spellings_of_one_address_are_one(other: str) -> None:
    assert address_key(other) == address_key("https://gazette.example/news/rss?a=b")


@pytest.mark.parametrize(
    "other",
    [
        "https://gazette.example/news/rss",
        "https://gazette.example/News/rss?a=b",
        "https://gazette.example/news%2Frss?a=b",
        "https://gazette.example:8443/news/rss?a=b",
        "https://www.gazette.example/news/rss?a=b",
        "https://gazette.example:99999/news/rss?a=b",
    ],
)
def test_other_addresses_are_others(other: str) -> None:
    assert address_key(other) != address_key("https://gazette.example/news/rss?a=b")


def test_an_export_is_opml_2_that_any_reader_takes() -> None:
    feeds = {"a": {"title": 'A "B" & <C>', "url": "https://a.example/?x=1&y=2", "every": "6h", "auth_file": "login"}}
    document = write_outlines(outlines_of(feeds | {"b": "https://b.example/"}), "Feeds & more")
    root = ET.fromstring(document)
    assert (root.tag, root.get("version"), root.findtext("head/title")) == ("opml", "2.0", "Feeds & more")
    first, second = root.findall("body/outline")
    assert (first.get("type"), first.get("text"), first.get("title")) == ("rss", 'A "B" & <C>', 'A "B" & <C>')
    assert first.get("xmlUrl") == "https://a.example/?x=1&y=2"
    assert (second.get("text"), second.get("title")) == ("https://b.example/", None)
    assert "login" not in document


KEYS = st.from_regex(r"[a-z0-9][a-z0-9._-]{0,20}", fullmatch=True)
TITLES = TEXTS.map(lambda text: read_outlines(write_outlines([Outline(0, text, "x")], "").encode())[0].title)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "every": st.sampled_from(["15m", "6h", "1d"]),
        "enabled": st.sampled_from(["true", "false"]),
        "most_bytes": st.sampled_from(["10000", "20000000"]),
    },
)


@given(st.dictionaries(KEYS, st.tuples(TITLES, st.text("abcé&<>\"'?=/%#", max_size=10), OPTIONS), max_size=6))
@settings(max_examples=100, deadline=None)
def test_what_was_exported_is_imported_as_it_was(made: dict[str, tuple[str, str, dict[str, str]]]) -> None:
    feeds = [
        NewFeed(key, f"https://{number}.example/{path}", title, options)
        for number, (key, (title, path, options)) in enumerate(made.items())
    ]
    written = {one.key: as_read(one) for one in feeds}
    document = write_outlines(outlines_of(written), "Feeds").encode()
    assert feeds_of(read_outlines(document), {}, ()) == (feeds, [])
