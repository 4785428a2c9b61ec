"""What a digest says and when: its due times, its view, its three templates, and the message it becomes."""

from __future__ import annotations

import email
import email.policy
import random
import re
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jinja2 import TemplateError

from daemon.coverage import Coverage, FeedOutage, FeedTrouble, Span, told_reason
from daemon.digests import compose
from daemon.duetimes import MOST_MISSED, due_times, next_due
from daemon.events import Evidence
from daemon.items import one_line, squeeze
from daemon.rendering import Rendered, addressed, pack, render, to_message, unpack
from daemon.rules import DigestRule, Rules
from daemon.settings import load_templates, shipped
from daemon.standings import standing
from daemon.tellable import MatchToTell, digest_id, message_id
from daemon.views import DigestView, ItemView
from tests.support import NOW, claim, digest, feed, rules

TEMPLATES = load_templates(shipped("alerts"))[0]
ALL_WELL = Coverage(NOW - timedelta(days=1), NOW, 2, 2, (), (), ())


def evidence(term: str = "strike", field: Any = "title", *spans: tuple[int, int]) -> Evidence:
    return Evidence(term, "mentions", field, spans, tuple("x" for _ in spans))


def match(title: str = "A strike on the grid", position: int = 1, **fields: Any) -> MatchToTell:
    """A match of the claim `energy-strike-pause` in the feed `gazette`."""
    defaults: dict[str, Any] = {
        "claim": "energy-strike-pause",
        "feed": "gazette",
        "summary": "",
        "content": "",
        "link": "https://gazette.example/1",
        "published": NOW - timedelta(hours=2),
        "first_seen": NOW - timedelta(hours=1),
        "evidence": (),
    }
    return MatchToTell(position=position, title=title, **(defaults | fields))


def view_of(
    *matches: MatchToTell,
    rule_set: Rules | None = None,
    rule: DigestRule | None = None,
    due: datetime = NOW,
    missed: Sequence[datetime] = (),
    coverage: Coverage = ALL_WELL,
    head: str = "f" * 64,
    resent: bool = False,
) -> DigestView:
    rule = rule or digest()
    return compose(
        rule_set or rules(claim(due=date(2025, 4, 17)), claim("black-sea-group")),
        rule,
        id=digest_id(rule.name, rule.recipients[0], due),
        due=due,
        missed=missed,
        matches=matches,
        coverage=coverage,
        log_position=7,
        head=head,
        resent=resent,
    )


def item_view(one: MatchToTell, **fields: Any) -> ItemView:
    """How this match is shown."""
    (shown,) = view_of(one, **fields).claims
    return (*shown.news, *shown.already_there, *shown.retroactive)[0].lead


def rendered(*matches: MatchToTell, **fields: Any) -> Rendered:
    return render(view_of(*matches, **fields), TEMPLATES)


def message_of(one: Rendered, sender: str = "claimwatch@example.org", domain: str = "example.org") -> bytes:
    identity = message_id("daily", "head", domain)
    return to_message(one, sender=sender, name="daily", message_id=identity, now=NOW)


def parsed(message: bytes) -> EmailMessage:
    read = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(read, EmailMessage)
    return read


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────

SPRING = {"Europe/Kyiv": "2025-03-30", "America/New_York": "2025-03-09", "Australia/Lord_Howe": "2025-10-05"}
AUTUMN = {"Europe/Kyiv": "2025-10-26", "America/New_York": "2025-11-02", "Australia/Lord_Howe": "2025-04-06"}


@pytest.mark.parametrize(
    "clock", ["0 0", "30 0", "30 1", "45 1", "0 2", "15 2", "30 2", "0 3", "30 3", "30 7", "59 23"]
)
@pytest.mark.parametrize(("zone", "changes"), [*SPRING.items(), *AUTUMN.items()])
def test_a_daily_digest_is_due_once_each_local_day_over_a_change_of_the_clock(
    zone: str, changes: str, clock: str
) -> None:
    local = ZoneInfo(zone)
    first = datetime.fromisoformat(changes).replace(tzinfo=local) - timedelta(days=3)
    dues = due_times(digest(cron=f"{clock} * * *", timezone=zone), first, first + timedelta(days=7))
    days = Counter(due.astimezone(local).date() for due in dues)
    expected = [first.date() + timedelta(days=at) for at in range(1, 6)]
    assert [days[day] for day in expected] == [1] * 5
    assert max(days.values()) == 1


@pytest.mark.parametrize(
    ("zone", "clock", "after", "due"),
    [
        ("Europe/Kyiv", "30 7", "2025-03-29T12:00Z", "2025-03-30T04:30Z"),
        ("Europe/Kyiv", "30 7", "2025-10-25T12:00Z", "2025-10-26T05:30Z"),
        # 03:30 does not exist on this day: it comes when the gap is over.
        ("Europe/Kyiv", "30 3", "2025-03-29T12:00Z", "2025-03-30T01:00Z"),
        # 03:30 comes twice on this day: the first one counts.
        ("Europe/Kyiv", "30 3", "2025-10-25T12:00Z", "2025-10-26T00:30Z"),
        ("America/New_York", "0 0", "2025-03-09T12:00Z", "2025-03-10T04:00Z"),
        ("America/New_York", "30 1", "2025-11-01T12:00Z", "2025-11-02T05:30Z"),
        ("Australia/Lord_Howe", "15 2", "2025-10-04T12:00Z", "2025-10-04T15:30Z"),
        ("Australia/Lord_Howe", "45 1", "2025-04-05T12:00Z", "2025-04-05T14:45Z"),
    ],
)
def test_a_digest_is_due_at_its_local_time(zone: str, clock: str, after: str, due: str) -> None:
    rule = digest(cron=f"{clock} * * *", timezone=zone)
    assert next_due(rule, datetime.fromisoformat(after)) == datetime.fromisoformat(due)


def test_the_moment_itself_is_due_but_was_not_due_before() -> None:
    due = datetime(2025, 3, 20, 7, 30, tzinfo=UTC)
    assert due_times(digest(), NOW, due) == (due,)
    assert due_times(digest(), due, due) == ()
    assert due_times(digest(), NOW, due - timedelta(microseconds=1)) == ()


def test_due_times_come_oldest_first() -> None:
    dues = due_times(digest(), NOW, NOW + timedelta(days=3))
    assert [due.day for due in dues] == [20, 21, 22]


def test_a_clock_that_was_set_back_makes_nothing_due() -> None:
    assert due_times(digest(), NOW, NOW - timedelta(days=2)) == ()


def test_after_a_very_long_downtime_the_last_due_times_are_kept() -> None:
    dues = due_times(digest(cron="0 * * * *"), NOW, NOW + timedelta(hours=MOST_MISSED + 50))
    assert len(dues) == MOST_MISSED
    assert dues[-1] == NOW + timedelta(hours=MOST_MISSED + 50)
    assert dues[0] == NOW + timedelta(hours=51)


def test_a_digest_s_id_names_its_due_time_in_utc() -> None:
    due = datetime(2025, 3, 20, 9, 30, tzinfo=ZoneInfo("Europe/Kyiv"))
    assert digest_id("daily", "r-1", due) == "daily/r-1/2025-03-20T07:30:00Z"


def test_a_message_id_is_stable_and_another_one_in_every_log() -> None:
    one = message_id("daily/r-1/x", "a" * 64, "example.org")
    assert one == message_id("daily/r-1/x", "a" * 64, "example.org")
    assert re.fullmatch(r"<[0-9a-f]{32}@example\.org>", one)
    assert one != message_id("daily/r-1/x", "b" * 64, "example.org")
    assert one != message_id("daily/r-2/x", "a" * 64, "example.org")


@pytest.mark.parametrize(
    ("due", "today", "says"),
    [
        (None, "2025-03-18", "made 18 Mar 2025"),
        (None, "2025-03-17", "made 18 Mar 2025"),
        (None, "2025-03-19", "made 18 Mar 2025, 1 day ago"),
        (None, "2025-03-28", "made 18 Mar 2025, 10 days ago"),
        ("2025-04-17", "2025-03-18", "day 0 of 30, due in 30 days (17 Apr 2025)"),
        ("2025-04-17", "2025-03-19", "day 1 of 30, due in 29 days (17 Apr 2025)"),
        ("2025-04-17", "2025-04-16", "day 29 of 30, due in 1 day (17 Apr 2025)"),
        ("2025-04-17", "2025-04-17", "due today, 17 Apr 2025"),
        ("2025-04-17", "2025-04-18", "overdue since 17 Apr 2025 (1 day)"),
        ("2025-04-17", "2025-05-17", "overdue since 17 Apr 2025 (30 days)"),
        ("2025-04-17", "2025-03-01", "made 18 Mar 2025, due 17 Apr 2025"),
    ],
)
def test_a_claim_tells_where_it_stands_in_time(due: str | None, today: str, says: str) -> None:
    one = claim(due=date.fromisoformat(due) if due else None)
    assert standing(one, date.fromisoformat(today)) == says


def test_a_claim_s_day_is_the_day_in_the_digest_s_zone() -> None:
    late = datetime(2025, 3, 19, 23, 0, tzinfo=UTC)
    (shown,) = view_of(match(), due=late, rule=digest(timezone="Europe/Kyiv")).claims
    assert shown.standing.startswith("day 2 of 30")


# ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_busiest_claim_comes_first_and_the_quiet_ones_are_named() -> None:
    rule_set = rules(claim("a-pause"), claim("b-group"), claim("c-exchange"))
    view = view_of(
        match(claim="a-pause"), *[match(claim="c-exchange", position=at) for at in (2, 3)], rule_set=rule_set
    )
    assert [(shown.id, shown.count) for shown in view.claims] == [("c-exchange", 2), ("a-pause", 1)]
    assert [shown.id for shown in view.quiet] == ["b-group"]
    assert view.items == 3
    assert view.matches == (1, 2, 3)


def test_a_digest_about_some_claims_says_nothing_of_others() -> None:
    view = view_of(rule=digest(claims=("black-sea-group",)))
    assert [shown.id for shown in view.quiet] == ["black-sea-group"]


def test_a_claim_that_rests_is_not_named() -> None:
    view = view_of(rule_set=rules(claim(enabled=False), claim("black-sea-group")))
    assert [shown.id for shown in view.quiet] == ["black-sea-group"]


def test_the_newest_item_comes_first_by_its_date_else_by_when_it_was_seen() -> None:
    hours = [timedelta(hours=at) for at in range(5)]
    view = view_of(
        match("grain ship", 1, published=NOW - hours[3]),
        match("prisoner list", 2, published=NOW - hours[1]),
        match("ceasefire talk", 3, published=None, first_seen=NOW - hours[2]),
    )
    assert [one.lead.title[0].text for one in view.claims[0].news] == ["prisoner list", "ceasefire talk", "grain ship"]


def test_items_of_two_feeds_are_counted_as_two() -> None:
    (shown,) = view_of(match(), match(position=2), match(position=3, feed="courier")).claims
    assert (shown.count, shown.feeds) == (3, 2)


def test_a_feed_is_shown_by_its_title_else_by_its_key() -> None:
    rule_set = rules(feed(title="The Gazette"), feed("courier"))
    shown = [item_view(match(feed=id), rule_set=rule_set).feed for id in ("gazette", "courier", "taken-out")]
    assert shown == ["The Gazette", "courier", "taken-out"]


def test_what_new_terms_found_stands_apart_and_is_counted_apart() -> None:
    found = match(position=3, retroactive=True, already_there=True)
    view = view_of(match(), match(position=2, already_there=True), found)
    (shown,) = view.claims
    assert [one.lead.match for one in shown.retroactive] == [3]
    assert (shown.count, shown.came_in, view.items, view.retroactive) == (3, 2, 3, 1)
    text = rendered(match(), found)
    assert text.subject == "1 claim moved: energy strike pause (1 + 1 earlier)"
    assert "2 items from 1 feed, 1 of them found in what was already here" in " ".join(text.text.split())
    assert text.text.count("Found in what was already here, by new or changed terms:") == 1
    assert text.html.count(">Found in what was already here, by new or changed terms</h3>") == 1
    assert "2 items in 2 stories, 1 of them found in what was already here." in _Page(text.html).text
    assert "already here" not in rendered(match()).text + rendered(match()).html
    assert rendered(found).subject == "1 claim moved: energy strike pause (1 earlier)"


def test_what_was_already_there_stands_apart() -> None:
    (shown,) = view_of(match(already_there=True), match(position=2)).claims
    assert [one.lead.match for one in shown.news] == [2]
    assert [one.lead.match for one in shown.already_there] == [1]
    assert "Already there when the feed was first read" in rendered(match(already_there=True)).text


def test_times_are_told_in_the_digest_s_zone() -> None:
    shown = item_view(match(published=NOW), rule=digest(timezone="Europe/Kyiv"))
    assert (shown.when.hour, shown.when_is) == (14, "published")
    assert "19 Mar 2025, 14:00 EET" in rendered(match(published=NOW), rule=digest(timezone="Europe/Kyiv")).text


def test_an_item_without_a_date_is_told_by_when_it_was_seen() -> None:
    one = match(published=None, first_seen=NOW)
    assert item_view(one).when_is == "first seen"
    for part in (rendered(one).text, rendered(one).html):
        assert "Wed 19 Mar, 12:00 (first seen)" in part


def test_a_lapsed_match_says_so() -> None:
    one = match(lapsed_at=NOW)
    says = "Changed by its publisher since (19 Mar 2025, 12:00 UTC): it no longer says this."
    assert says in rendered(one).html
    assert says in " ".join(rendered(one).text.split())
    assert "no longer says" not in rendered(match()).text


def test_a_redacted_item_shows_nothing_of_its_text() -> None:
    one = match("", redacted=True, summary="", evidence=(evidence("strike", "title", (0, 6)),))
    shown = item_view(one)
    assert [(piece.text, piece.marked) for piece in shown.title] == [("(text taken out of the log)", False)]
    assert shown.excerpt == ()


def test_an_item_without_a_title_is_still_shown() -> None:
    assert [piece.text for piece in item_view(match("")).title] == ["(no title)"]


def test_a_term_that_matched_in_two_fields_is_named_once() -> None:
    found = (evidence("strike", "title"), evidence("grid", "title"), evidence("strike", "summary"))
    assert [term.text for term in item_view(match(evidence=found)).terms] == ["strike", "grid"]


# ── marks and excerpts ───────────────────────────────────────────────────────────────────────────────────────────


def marked(pieces: Sequence[Any]) -> list[str]:
    return [piece.text for piece in pieces if piece.marked]


def text_of(pieces: Sequence[Any]) -> str:
    return "".join(piece.text for piece in pieces)


def test_the_marked_words_are_those_of_the_evidence() -> None:
    title, summary = "A strike on the energy grid", "Energy is what the strike was about"
    found = (evidence("a", "title", (2, 8), (16, 22)), evidence("b", "summary", (0, 6), (19, 25)))
    shown = item_view(match(title, summary=summary, evidence=found))
    assert marked(shown.title) == ["strike", "energy"]
    assert marked(shown.excerpt) == ["Energy", "strike"]
    assert (text_of(shown.title), text_of(shown.excerpt)) == (title, summary)


def test_a_phrase_is_marked_as_one() -> None:
    found = (evidence("a", "title", (0, 6), (7, 11), (13, 17)),)
    assert marked(item_view(match("Strike here, grid", evidence=found)).title) == ["Strike here", "grid"]


def test_a_word_that_two_terms_met_is_marked_once() -> None:
    found = (evidence("a", "title", (2, 8)), evidence("b", "title", (2, 8), (5, 12)))
    shown = item_view(match(evidence=found))
    assert marked(shown.title) == ["strike"]
    assert text_of(shown.title) == "A strike on the grid"


@given(st.text(), st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9))))
@settings(max_examples=100, deadline=None)
def test_marks_never_change_a_text(title: str, places: list[tuple[int, int]]) -> None:
    found = evidence("a", "title", *((start, start + length) for start, length in places))
    shown = item_view(match(title or "x", evidence=(found,)))
    assert text_of(shown.title).replace("\n", " ") == (title or "x").replace("\n", " ")


def words(count: int) -> str:
    return " ".join(f"w{at}" for at in range(count))


def test_a_short_summary_is_shown_whole() -> None:
    assert text_of(item_view(match(summary="Short\nand in two paragraphs")).excerpt) == "Short and in two paragraphs"


def test_a_summary_that_repeats_the_title_is_not_shown() -> None:
    assert item_view(match(summary="A strike on the grid")).excerpt == ()


def test_a_long_summary_without_a_mark_is_shown_from_its_start() -> None:
    shown = text_of(item_view(match(summary=words(200))).excerpt)
    assert shown.startswith("w0 w1 ")
    assert re.search(r" w\d+ …$", shown)
    assert len(shown) <= 322


@pytest.mark.parametrize("before", [0, 30, 50, 60, 70, 100, 500])
@pytest.mark.parametrize("after", [0, 20, 500])
def test_an_excerpt_holds_the_first_mark_with_words_around_it(before: int, after: int) -> None:
    ahead = words(before) + " " if before else ""
    summary = f"{ahead}STRIKE {words(after)}".strip()
    found = evidence("strike", "summary", (len(ahead), len(ahead) + 6))
    shown = item_view(match(summary=summary, evidence=(found,))).excerpt
    assert marked(shown) == ["STRIKE"]
    whole = text_of(shown)
    assert len(whole) <= 324
    assert whole.startswith("… ") == (not summary.startswith(whole[:20]))
    assert whole.removeprefix("… ").removesuffix(" …") in summary


@pytest.mark.parametrize("ahead", ["x" * 500, "x " + "y" * 500, "戦" * 700], ids=["letters", "one space", "no spaces"])
def test_an_excerpt_holds_the_first_mark_of_a_text_without_spaces(ahead: str) -> None:
    found = evidence("strike", "summary", (len(ahead) + 1, len(ahead) + 7))
    assert marked(item_view(match(summary=f"{ahead} STRIKE here", evidence=(found,))).excerpt) == ["STRIKE"]


def test_a_match_in_the_content_alone_is_shown_from_the_content() -> None:
    one = match(summary="Other news", content="Far on: a strike.", evidence=(evidence("a", "content", (10, 16)),))
    shown = item_view(one).excerpt
    assert (text_of(shown), marked(shown)) == ("Far on: a strike.", ["strike"])


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "link",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "java\tscript:alert(1)",
        "data:text/html,<b>x</b>",
        "vbscript:x",
        "file:///etc/passwd",
        "ftp://gazette.example/1",
        "mailto:a@example.org",
        "https://bank.example@evil.example/",
        "https://user:secret@gazette.example/",
        "https://@evil.example/",
        r"https://bank.example\@evil.example/",
        r"https://evil.example\.bank.example/",
        "https://",
        "http://[::1",
        "",
        None,
    ],
)
@pytest.mark.parametrize("feed_id", ["gazette", "taken-out"])
def test_only_a_plain_web_address_becomes_a_link(link: str | None, feed_id: str) -> None:
    one = match(link=link, feed=feed_id)
    if link and feed_id == "taken-out":
        assert item_view(one).link is None
    elif link:
        assert (item_view(one).link or "https://gazette.example/").startswith("https://gazette.example/")
    assert "javascript:" not in rendered(one).html.lower()
    assert "evil" not in rendered(one).html


def test_no_address_turns_the_direction_of_what_is_read() -> None:
    text = rendered(match(link="https://evil.example/\u202emoc.knab//:sptth\u2028x")).text
    assert "https://evil.example/%E2%80%AEmoc.knab//:sptth%E2%80%A8x" in text


def test_an_item_without_a_link_says_so_and_shows_no_host() -> None:
    shown = item_view(match(link="javascript:alert(1)"))
    assert (shown.link, shown.host) == (None, "")
    assert "(no link)" in rendered(match(link="javascript:alert(1)")).text


@pytest.mark.parametrize(
    ("link", "absolute"),
    [
        ("/news/1", "https://gazette.example/news/1"),
        ("news/1", "https://gazette.example/news/1"),
        ("//other.example/1", "https://other.example/1"),
        ("https://gazette.example/a b", "https://gazette.example/a%20b"),
    ],
)
def test_a_relative_link_is_told_in_full(link: str, absolute: str) -> None:
    assert item_view(match(link=link)).link == absolute


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("gazette.example", "gazette.example"),
        ("GAZETTE.example", "gazette.example"),
        ("gаzette.example", "xn--gzette-3nf.example"),  # a Cyrillic letter in it
        ("українa.example", "xn--a-7sb3annq7l.example"),
        ("xn--80ak6aa92e.com", "xn--80ak6aa92e.com"),
        ("straße.example", "xn--strae-oqa.example"),  # browsers have not read ß as ss for years
        ("❤" * 70 + ".example", "\\u2764" * 70 + ".example"),
    ],
)
def test_a_host_is_shown_as_a_browser_resolves_it(host: str, shown: str) -> None:
    one = match(link=f"https://{host}/1")
    assert item_view(one).host == shown
    assert shown in rendered(one).html


# ── the three parts ──────────────────────────────────────────────────────────────────────────────────────────────


class _Page(HTMLParser):
    """Every tag, attribute and stretch of text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


HOSTILE = '<script>alert(1)</script><img src="https://evil.example/p.gif">&lt;b&gt; "quoted\' {{ digest }}'
EVERYTHING = Coverage(
    NOW - timedelta(days=1),
    NOW,
    5,
    2,
    (
        FeedTrouble("courier", "failing", NOW - timedelta(hours=3), f"http 503: {HOSTILE}", "Wait."),
        FeedTrouble("herald", "gone", NOW - timedelta(days=9), "https://herald.example answers 410", "Take it out."),
        FeedTrouble("tribune", "never polled", None, "not read yet", "It is polled when the watch runs."),
    ),
    (Span(NOW - timedelta(hours=6), NOW - timedelta(hours=5)),),
    ("gazette", "herald"),
)


def hostile_digest() -> Rendered:
    rule_set = rules(feed(title=HOSTILE), claim(statement=f"They said {HOSTILE}"))
    found = (evidence(HOSTILE, "title", (0, 8)), evidence("b", "summary", (0, 8)))
    one = match(HOSTILE, summary=HOSTILE + " and more", link=f"https://gazette.example/?q={HOSTILE}", evidence=found)
    return rendered(one, match(HOSTILE, 2, already_there=True, link=None), rule_set=rule_set, coverage=EVERYTHING)


def test_whatever_a_feed_says_is_only_text_in_the_page() -> None:
    page = _Page(hostile_digest().html)
    assert not {"script", "img", "form", "iframe", "link", "object", "base"} & set(page.tags)
    assert page.text.count("alert(1)") >= 6
    assert {name for name, _ in page.attributes} <= {
        *("style", "class", "href", "lang", "charset", "name", "content", "role", "width", "cellpadding"),
        *("cellspacing", "border", "align", "dir", "valign", "height", "bgcolor", "colspan"),
        *("aria-label", "aria-hidden", "aria-roledescription"),
    }


def test_the_page_loads_nothing_from_anywhere() -> None:
    page = hostile_digest().html
    assert not re.search(r"\ssrc\s*=|url\(|@import|<link|<img|background=", re.sub(r"&lt;.*?&gt;", "", page))
    assert all(value.startswith("https://gazette.example/") for name, value in _Page(page).attributes if name == "href")


def test_the_page_is_escaped_also_where_a_word_is_marked() -> None:
    assert ">&lt;script&gt;</mark>" in rendered(match(HOSTILE, evidence=(evidence("a", "title", (0, 8)),))).html


def test_the_marked_words_stand_in_marks_and_between_asterisks() -> None:
    both = rendered(match(evidence=(evidence("strike", "title", (2, 8)),)))
    assert re.findall(r"<mark [^>]*>([^<]*)</mark>", both.html) == ["strike"]
    assert "* A *strike* on the grid\n" in both.text


@pytest.mark.parametrize("part", ["text", "html"])
@pytest.mark.parametrize(
    "says",
    [
        "From 18 Mar 2025, 12:00 UTC to 19 Mar 2025, 12:00 UTC: 2 of 5 feeds could be read at the end.",
        "courier: failing since 19 Mar 2025, 09:00 UTC, http 503:",
        "herald: gone since 10 Mar 2025, 12:00 UTC, https://herald.example answers 410. Take it out.",
        "tribune: never polled, not read yet. It is polled when the watch runs.",
        "The watch was down from 19 Mar 2025, 06:00 UTC to 19 Mar 2025, 07:00 UTC.",
        "Items may have come and gone between two polls of: gazette, herald.",
    ],
)
def test_both_parts_say_what_was_watched(part: str, says: str) -> None:
    both = rendered(coverage=EVERYTHING)
    text = both.text if part == "text" else _Page(both.html).text
    assert says in " ".join(text.split())


def test_a_day_on_which_all_was_well_says_so() -> None:
    says = "No feed failed, no gap is suspected, and the watch was not down."
    for part in (rendered(), rendered(match())):
        assert says in part.text
        assert says in part.html
    assert says not in rendered(coverage=EVERYTHING).text + rendered(coverage=EVERYTHING).html


@pytest.mark.parametrize(("count", "says"), [(1, "1 missed due time:"), (2, "2 missed due times:")])
def test_missed_due_times_are_named(count: int, says: str) -> None:
    missed = [NOW - timedelta(days=at) for at in range(count, 0, -1)]
    both = rendered(missed=missed)
    for text in (both.text, _Page(both.html).text):
        assert f"It also answers {says} 1" in " ".join(text.split())
        assert all(moment.strftime("%-d %b %Y, 12:00 UTC") in " ".join(text.split()) for moment in missed)


def test_a_digest_sent_again_says_so_itself() -> None:
    both = rendered(match(), resent=True)
    assert both.subject.startswith("Again: ")
    assert "Sent again on request" in both.text
    assert "Sent again on request" in both.html
    assert "Sent again" not in rendered(match()).text


def test_a_digest_names_the_head_of_the_log() -> None:
    for part in (rendered().text, _Page(rendered().html).text):
        assert "log 7 ffffffffffffffff; claimwatch verify compares it" in " ".join(part.split())


def test_the_subject_counts_what_moved() -> None:
    both = view_of(match(), match(position=2, claim="black-sea-group"), match(position=3, claim="black-sea-group"))
    assert render(both, TEMPLATES).subject == "2 claims moved: black sea group (2), energy strike pause (1)"
    assert rendered(match()).subject == "1 claim moved: energy strike pause (1)"
    assert rendered(coverage=EVERYTHING).subject == "Nothing new, 2 of 5 feeds read (daily)"


@pytest.mark.parametrize("count", [2, 3, 4, 5, 20])
def test_a_subject_is_at_most_78_characters(count: int) -> None:
    claims = [claim(f"a-claim-with-a-long-name-{at}") for at in range(count)]
    found = [match(claim=one.id, position=at) for at, one in enumerate(claims, 1)]
    both = rendered(*found, rule_set=rules(*claims))
    subject = both.subject
    assert len(subject) <= 78
    assert subject.startswith(f"{count} claims moved: a claim with")
    assert subject.endswith(" ...") == (count > 2)
    assert parsed(message_of(both))["Subject"] == subject


LONG = {
    "words": "A word and another " * 30,
    "one word": "x" * 300,
    "no spaces": "停" * 200,
    "hyphens": "one-" * 100,
}


def columns(line: str) -> int:
    """The width of a line in a terminal, where a letter of Chinese or Japanese takes two columns."""
    return sum(2 if "\u2e80" <= letter <= "\uffef" else 1 for letter in line)


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_line_of_the_text_but_a_link_is_wider_than_78_columns(text: str) -> None:
    rule_set = rules(claim(statement=text), feed(title=text))
    both = rendered(match(text, summary=f"{text} {text}", evidence=(evidence(text),)), rule_set=rule_set)
    wide = [line for line in both.text.splitlines() if columns(line) > 78 and not line.startswith("  https://")]
    assert wide == []


def test_a_text_without_spaces_costs_in_proportion_to_its_length() -> None:
    one = match("停" * 30_000)
    began = time.process_time()
    text = rendered(one).text
    assert time.process_time() - began < 5
    assert text.count("停") >= 30_000


def test_no_claim_s_id_is_broken_at_the_end_of_a_line() -> None:
    """Whoever copies one into `matches --claim` needs it whole."""
    claims = [claim(f"{at}-an-id-of-many-hyphens", statement="word" * at) for at in range(1, 25)]
    quiet = rendered(rule_set=rules(*claims)).text.partition("Nothing new on:")[2]
    assert [one.id for one in claims if f"({one.id};" not in quiet] == []


def test_a_template_that_can_not_be_filled_says_so() -> None:
    for broken in ("{{ digest.nothing }}", "{% if %}", "{{ digest.due | nonsense }}"):
        with pytest.raises(TemplateError):
            render(view_of(), TEMPLATES | {"digest.txt": broken})


# ── the message ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_message_has_the_headers_of_an_automatic_one() -> None:
    message = parsed(message_of(rendered(match())))
    headers = {name: str(value) for name, value in message.items()}
    identity = message_id("daily", "head", "example.org")
    assert headers == {
        "From": "claimwatch <claimwatch@example.org>",
        "Subject": "1 claim moved: energy strike pause (1)",
        "Date": "Wed, 19 Mar 2025 12:00:00 +0000",
        "Message-ID": identity,
        "List-Id": "claimwatch daily <daily.example.org>",
        "List-Unsubscribe": "<mailto:claimwatch@example.org?subject=unsubscribe%20daily>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "MIME-Version": "1.0",
        "Content-Type": headers["Content-Type"],
    }
    assert headers["Content-Type"].startswith("multipart/alternative")


def test_a_message_holds_both_parts_the_text_first() -> None:
    both = rendered(match("Удар по енергетиці"))
    text, html = list(parsed(message_of(both)).iter_parts())
    assert [text.get_content_type(), html.get_content_type()] == ["text/plain", "text/html"]
    contents = [part.get_content().replace("\r\n", "\n") for part in (text, html)]
    assert contents == [both.text, both.html]


def test_equal_digests_are_equal_bytes() -> None:
    assert message_of(rendered(match())) == message_of(rendered(match()))


def test_the_to_line_comes_at_delivery() -> None:
    message = message_of(rendered())
    assert parsed(message)["To"] is None
    assert addressed(message, "a@example.org") == b"To: a@example.org\r\n" + message
    assert str(parsed(addressed(message, "a@example.org"))["To"]) == "a@example.org"


def test_a_packed_message_comes_back_byte_for_byte() -> None:
    message = message_of(rendered(match()))
    assert unpack(pack(message)) == message
    assert len(pack(message)) < len(message)


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_no_line_of_a_message_is_longer_than_998_bytes(text: str) -> None:
    one = match(text * 10, link="https://gazette.example/" + "a" * 3_000, summary=text * 20)
    message = message_of(rendered(one))
    assert max(map(len, message.split(b"\r\n"))) <= 998
    assert b"\n" not in message.replace(b"\r\n", b"")
    assert message.isascii()


@pytest.mark.parametrize(
    "domain", ["localhost", "a.example", "-".join(["long"] * 10) + ".example", "x" * 60 + ".example"]
)
def test_a_long_domain_leaves_the_headers_whole(domain: str) -> None:
    message = parsed(message_of(rendered(), sender=f"claimwatch@{domain}", domain=domain))
    assert str(message["Message-ID"]) == message_id("daily", "head", domain)
    assert str(message["List-Id"]) == f"claimwatch daily <daily.{domain}>"
    assert message["From"].addresses[0].addr_spec == f"claimwatch@{domain}"
    assert b"=?" not in message_of(rendered(), domain=domain).split(b"\r\n\r\n")[0]


ODD = (
    "\r\n\t\x00\x0b\x0c\x1b\x1c\x85\u2028\u2029\u202e\u2066\u200f\ufeff\ud800é𝔘Удар停=?utf-8?q?x?= :;,<>@\"'\\ Bcc:abc"
)


def test_no_title_adds_a_header_or_stops_the_digest() -> None:
    # A template of the user's own may put titles into the subject; the shipped one does not.
    chance = random.Random(20250319)
    expected = parsed(message_of(rendered(match()))).keys()
    for _ in range(200):
        title = squeeze("".join(chance.choices(ODD, k=chance.randrange(1, 120))))
        message = parsed(message_of(Rendered(one_line(title), "text\n", "<p>html</p>\n")))
        assert message.keys() == expected, repr(title)
        assert len(message.get_all("Subject", [])) == 1


def test_a_template_of_the_user_s_own_may_put_titles_into_the_subject() -> None:
    own = TEMPLATES | {"subject.txt": "{{ digest.claims[0].news[0].lead.title | plain }}"}
    title = "Talks\r\nBcc: all@example.org\u2028X: y"
    assert render(view_of(match(title)), own).subject == "Talks Bcc: all@example.org X: y"


@pytest.mark.parametrize(
    "title",
    ["Talks\r\nBcc: all@example.org", "Talks\x85Bcc: x", "Talks\u2028Bcc: x", "\u202egnp.exe", "\x00\x1b[31mred"],
)
def test_a_title_with_line_ends_or_controls_stays_one_line_of_its_digest(title: str) -> None:
    clean = squeeze(title)
    message = parsed(message_of(rendered(match(clean, summary=f"{clean} twice"))))
    assert message["Bcc"] is None
    (line,) = [line for line in message.get_body(("plain",)).get_content().splitlines() if line.startswith("* ")]  # type: ignore[union-attr]
    assert line == "* " + " ".join(clean.replace("\u202e", "").split())


@given(st.lists(st.text(max_size=60), min_size=1, max_size=30))
@settings(max_examples=8, deadline=None)
def test_any_titles_make_a_message_that_parses(titles: list[str]) -> None:
    found = [match(squeeze(title), at, summary=squeeze(title) + "x") for at, title in enumerate(titles, 1)]
    message = parsed(message_of(rendered(*found)))
    assert message["Subject"] == f"1 claim moved: energy strike pause ({len(titles)})"
    assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
    assert all(not part.defects for part in message.walk())


def test_what_began_and_ended_within_a_minute_is_told_as_that_short() -> None:
    start = datetime(2025, 3, 19, 1, 52, 10, tzinfo=UTC)
    end = start + timedelta(seconds=20)
    short = replace(ALL_WELL, asleep=(Span(start, end),), recovered=(FeedOutage("gazette", start, end),))
    both = rendered(coverage=short)
    for text in (both.text, _Page(both.html).text):
        words = " ".join(text.split())
        assert "could not be read for less than a minute, at 19 Mar 2025, 01:52 UTC." in words
        assert "The watch was down for less than a minute, at 19 Mar 2025, 01:52 UTC." in words


def test_one_feed_is_told_as_one() -> None:
    both = rendered(coverage=replace(ALL_WELL, feeds=1, feeds_read=1))
    for text in (both.text, both.html):
        assert "1 of 1 feed could be read at the end." in " ".join(text.split())


def test_a_coverage_without_a_beginning_is_told_without_one() -> None:
    both = rendered(coverage=replace(ALL_WELL, since=None))
    assert "could be read at the end" not in both.text + both.html


@pytest.mark.parametrize(
    ("reason", "detail", "told"),
    [
        ("http 404", "404 Not Found", "http 404 Not Found"),
        ("http 503", "http 503: busy", "http 503: busy"),
        ("http 40", "404 Not Found", "http 40: 404 Not Found"),
        ("timeout", "timeout while connecting", "timeout while connecting"),
        ("timeout", "no complete answer within 20 s", "timeout: no complete answer within 20 s"),
        ("not a feed", "", "not a feed"),
    ],
)
def test_why_a_feed_can_not_be_read_is_said_once(reason: str, detail: str, told: str) -> None:
    assert told_reason(reason, detail) == told
