"""Web pages: where they say that their feeds are."""

from __future__ import annotations

import pytest

from daemon.pages import MOST_LINKS, FeedLink, Page, feeds_in_link_headers, looks_like_page, read_page


def links(markup: str | bytes, charset: str | None = None) -> list[FeedLink]:
    return list(read_page(markup.encode() if isinstance(markup, str) else markup, charset).links)


@pytest.mark.parametrize(
    "tag",
    [
        '<link rel="alternate" type="application/rss+xml" title="News" href="/rss?a=1&amp;b=2">',
        "<LINK HREF='/rss?a=1&b=2' TITLE=News TYPE=Application/RSS+XML REL='home  Alternate'>",
        '<link title="News" type="application/rss+xml; charset=utf-8" href=" /rss?a=1&amp;b=2 "\n rel=alternate />',
        '<p><b><link type="application/rss+xml" title="&#78;ews" rel="alternate"\thref="/rss?a=1&amp;b=2">',
    ],
)
def test_a_declared_feed_is_found_however_it_is_written(tag: str) -> None:
    assert links(f"<!doctype html><html><head>{tag}</head></html>") == [FeedLink("/rss?a=1&b=2", "News")]


@pytest.mark.parametrize("type", ["rss", "atom", "rdf"])
def test_feeds_of_each_kind_are_declared(type: str) -> None:
    assert links(f'<link rel="alternate" type="application/{type}+xml" href="/f">') == [FeedLink("/f")]


def test_a_json_feed_is_declared() -> None:
    assert links('<link rel="alternate" type="application/feed+json" href="/f">') == [FeedLink("/f")]


@pytest.mark.parametrize(
    "markup",
    [
        '<link rel="alternate" type="text/html" href="/rss">',
        '<link rel="stylesheet" type="application/rss+xml" href="/rss">',
        '<link rel="alternate" href="/en" hreflang="en">',
        '<link rel="alternate" type="application/json+oembed" href="/rss">',
        '<link rel="alternate" type="application/rss+xml">',
        '<link rel="alternate" type="application/rss+xml" href="">',
        '<!-- <link rel="alternate" type="application/rss+xml" href="/rss"> -->',
        """<script>document.write('<link rel="alternate" type="application/rss+xml" href="/rss">')</script>""",
        '<textarea><link rel="alternate" type="application/rss+xml" href="/rss"></textarea>',
        '<link rel="alternate" type="application/rss+xml" href="javascript:alert(1)">',
        f'<link rel="alternate" type="application/rss+xml" href="/{"a" * 3000}">',
        '<a href="/feedback">RSS</a><a href="https://feed.example/about">RSS</a><a href="/stormfeeds-are-bad">x</a>',
        '<a href="mailto:rss@example.org">x</a><a href="javascript:rss.xml">x</a><a name="rss">x</a>',
        "",
    ],
)
def test_what_declares_no_feed_is_passed_over(markup: str) -> None:
    assert links(markup) == []


@pytest.mark.parametrize(
    "href",
    [
        *("/feed", "/feed/", "feed", "/news/rss", "/rss.xml", "/news.rss", "/atom.xml", "/index.rdf", "/rss2/"),
        *("/?feed=rss2", "/news?format=rss", "feed://example.org/x", "https://feeds.example.org/world/rss.xml#top"),
    ],
)
def test_links_that_look_like_feeds_come_after_the_declared_ones(href: str) -> None:
    markup = (
        f'<a class="x" href="{href}">Our <b>feed</b></a><link rel="alternate" type="application/rss+xml" href="/d">'
    )
    assert links(markup) == [FeedLink("/d"), FeedLink(href, "Our feed", declared=False)]


def test_the_page_tells_its_title_and_what_its_links_start_from() -> None:
    page = read_page(b"<title> The \n &lt;Gazette&gt; </title><base target=_top><BASE href=/a/><base href=/b/>")
    assert page == Page("The <Gazette>", "/a/")


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        ("<title>Газета</title>".encode(), None),
        ("<title>Газета</title>".encode("cp1251"), "windows-1251"),
        ("<meta charset=windows-1251><title>Газета</title>".encode("cp1251"), None),
        ('<meta http-equiv=x content="text/html; charset=koi8-r"><title>Газета</title>'.encode("koi8-r"), None),
        ("<title>Газета</title>".encode("utf-16"), None),
        ("<title>Газета</title>".encode(), "nonsense"),
        ("<title>Газета</title>".encode(), "base64"),
    ],
)
def test_a_page_is_read_in_its_charset(body: bytes, charset: str | None) -> None:
    assert read_page(body, charset).title == "Газета"


def test_more_links_than_anybody_needs_are_left_unread() -> None:
    declared = '<link rel="alternate" type="application/rss+xml" href="/{}">'
    markup = "".join(declared.format(number) + f"<a href=/rss/{number}>x</a>" for number in range(5000))
    assert [one.declared for one in links(markup)] == [True] * MOST_LINKS + [False] * MOST_LINKS


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ('</feed>; rel="alternate"; type="application/rss+xml"', [FeedLink("/feed")]),
        (
            '<https://x/api>; rel="https://x.org/", </f,1>; title="A, \\B";type=application/atom+xml; REL=alternate',
            [FeedLink("/f,1", "A, \\B")],
        ),
        ("</a>; rel=alternate; type=application/rss+xml, </b>; rel=feed", [FeedLink("/a"), FeedLink("/b")]),
        ("</style.css>; rel=preload", []),
        ("</a>; rel=alternate; type=text/html", []),
        ("<", []),
        ('<a>; rel="' * 5000, []),
    ],
)
def test_link_headers_declare_feeds_too(value: str, found: list[FeedLink]) -> None:
    assert feeds_in_link_headers([value]) == found


@pytest.mark.parametrize(
    ("start", "is_page"),
    [
        (b"<!DOCTYPE html><html>", True),
        (b"\xef\xbb\xbf\n <!-- generated --> <HTML lang=en>", True),
        (b'<?xml version="1.0"?><!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Strict//EN" "x"><html>', True),
        (b"<head><title>x", True),
        (b'<?xml version="1.0"?><rss version="2.0"><channel><description>&lt;html></description>', False),
        (b'<feed xmlns="http://www.w3.org/2005/Atom"><title type="html"><![CDATA[<html>]]></title>', False),
        (b'{"version": "https://jsonfeed.org/version/1.1"}', False),
        (b"", False),
        (b"<!--" * 1000, False),
    ],
)
def test_a_page_is_known_by_its_beginning(start: bytes, is_page: bool) -> None:
    assert looks_like_page(start) is is_page
