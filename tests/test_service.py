"""A poll from end to end over a real server: what was fetched becomes events, projections and a poll cache."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete
from sqlalchemy.event import listen, remove

from daemon import knowledge, queries
from daemon.chain import verify_chain
from daemon.databases import Connection
from daemon.errors import ClaimwatchError
from daemon.eventlog import EventLog, head_of, read
from daemon.events import FeedFailed, ItemRevised, ItemSeen, NewEvent, Recorded
from daemon.items import Item
from daemon.knowledge import PollState
from daemon.outcomes import Answered, Changed, Failed, Gone, Unchanged
from daemon.parsing import Limits, Parser, open_parser
from daemon.projections import record
from daemon.rules import FeedRule
from daemon.service import MOST_ITEMS, Polled, SystemClock, Watch, due_feeds, enrol_feeds, poll, record_rules
from daemon.watch import MANY_TERMS
from tests.support import (
    NOW,
    Answer,
    ParserHere,
    WebServer,
    claim,
    digest,
    feed,
    fetcher,
    item,
    meanwhile,
    move_on,
    rss,
    rules,
    take_in,
    watching,
)

PAUSE = item("Energy strike pause holds", published=NOW)
OTHER = item("A gallery opens", published=NOW - timedelta(hours=1))
PAGE = b"<!DOCTYPE html><html><body>Are you a robot?</body></html>"
DOWN = Failed("http 503", "503 Away", "Wait.")


def changed(*items: Item, sha256: str = "x", etag: str | None = None) -> Changed:
    return Changed(rss(*items), sha256, etag, None, None)


def polled(watch: Watch, *feeds: FeedRule, limits: Limits | None = None, **options: Any) -> list[Polled]:
    """One round over these feeds (all of them, unless told), by a real fetcher: what was told. With limits, documents
    are read by a child process."""
    heard: list[Polled] = []
    told = options.pop("told", lambda _one: None)

    def hear(one: Polled) -> None:
        heard.append(one)
        told(one)

    async def once() -> list[Polled]:
        async with fetcher() as opened, open_parser(limits) as child:
            parser = child if limits else ParserHere()
            return await poll(watch, opened, parser, feeds or watch.rules.polled_feeds, told=hear, **options)

    results = asyncio.run(once())
    assert results == [replace(one, recorded=()) for one in heard]
    return heard


def watching_url(watch: Watch, *urls: str) -> Watch:
    """The watch with feeds of these addresses, `feed-0`, `feed-1` …, which the log knows."""
    feeds = [feed(f"feed-{at}", url) for at, url in enumerate(urls)]
    watch = Watch.over(watch.log, rules(*feeds, claim()), watch.clock)
    record_rules(watch)
    return watch


def kinds(recorded: Any) -> list[str]:
    return [one.event.kind for one in recorded]


def due_of(polled: Polled) -> datetime:
    assert polled.next_due is not None
    return polled.next_due


def state_of(watch: Watch, feed_id: str = "feed-0") -> PollState:
    with watch.log.reading() as connection:
        return knowledge.poll_states(connection)[feed_id]


def health_of(watch: Watch, feed_id: str = "feed-0") -> Any:
    with watch.log.reading() as connection:
        return next(one for one in queries.feed_health(connection) if one.id == feed_id)


def events_of(watch: Watch, stream: str) -> list[Recorded]:
    with watch.log.reading() as connection:
        return list(read(connection, stream=stream))


def head(log: EventLog) -> int:
    with log.reading() as connection:
        return head_of(connection).position


@pytest.fixture
def begun(watch: Watch) -> Watch:
    """A watch over the feed `gazette`, whose rules the log knows."""
    record_rules(watch)
    return watch


# ── the straight path ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_poll_brings_items_and_matches_into_the_log(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/feed.xml", rss(PAUSE, OTHER)))
    (one,) = polled(watch, limits=Limits())
    assert kinds(one.recorded) == ["item_seen", "item_seen", "claim_matched"]
    assert [event.event.title for event in one.recorded[:2]] == [OTHER.title, PAUSE.title]
    assert (one.feed, one.new_items, one.revised_items, one.matched_claims) == (
        "feed-0",
        2,
        0,
        ("energy-strike-pause",),
    )
    with watch.log.reading() as connection:
        assert queries.counts(connection) == {"items": 2, "matches": 1, "digests": 0}
        verify_chain(connection)


def test_a_poll_keeps_what_the_next_question_goes_by(watch: Watch, web: WebServer) -> None:
    headers = {"ETag": '"1"', "Last-Modified": "yesterday"}
    url = web.serve("/feed.xml", Answer(rss(PAUSE), headers=headers), Answer(status=304))
    watch = watching_url(watch, url)
    (one,) = polled(watch)
    state = state_of(watch)
    assert (state.url, state.etag, state.last_modified) == (url, '"1"', "yesterday")
    assert (state.polled_at, state.succeeded_at, state.failures) == (NOW, NOW, 0)
    assert state.window == {one.recorded[0].id}
    assert state.next_due == one.next_due
    assert NOW + timedelta(minutes=15) <= due_of(one) <= NOW + timedelta(minutes=16.5)
    before = head(watch.log)
    move_on(watch, timedelta(hours=1))
    (again,) = polled(watch)
    assert again.outcome == Unchanged('"1"', "yesterday")
    assert web.asked[1].headers["if-none-match"] == '"1"'
    assert web.asked[1].headers["if-modified-since"] == "yesterday"
    assert head(watch.log) == before
    assert state_of(watch).succeeded_at == NOW + timedelta(hours=1)
    assert state_of(watch).window == state.window


def test_a_watch_over_many_terms_learns_from_its_log_what_words_are_rare(begun: Watch) -> None:
    take_in(begun, feed(), Changed(rss(*(item(f"Strike {number}") for number in range(9))), "x", None, None, None))
    many = claim("many", *(f"strike depot{number}" for number in range(MANY_TERMS)))
    rule_set = rules(many)
    matcher = Watch.over(begun.log, rule_set, begun.clock).matcher
    strikes = matcher.reading("Strike", "").present
    assert strikes
    assert strikes.isdisjoint(matcher.index.keys)
    assert [one.claim for one in matcher.match(title="A strike on depot7", summary="")] == ["many"]


def test_two_who_ask_for_the_matcher_at_once_get_the_one_that_was_compiled(begun: Watch) -> None:
    learnt: list[int] = []

    class Learning(EventLog):
        """Read once for each matcher that is compiled of so many terms, and slowly enough for the others to come."""

        @contextmanager
        def reading(self) -> Iterator[Connection]:
            learnt.append(threading.get_ident())
            time.sleep(0.1)
            with super().reading() as connection:
                yield connection

    many = claim("many", *(f"strike depot{at}" for at in range(MANY_TERMS)))
    with closing(Learning(begun.log.database)) as log, ThreadPoolExecutor(4) as threads:
        watch = Watch.over(log, rules(many), begun.clock)
        matchers = list(threads.map(lambda _: watch.matcher, range(4)))
    assert len(learnt) == 1
    assert len({id(one) for one in matchers}) == 1


def test_the_same_bytes_again_append_nothing(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/feed.xml", rss(PAUSE)))
    polled(watch)
    before = head(watch.log)
    assert isinstance(polled(watch)[0].outcome, Unchanged)
    assert head(watch.log) == before


def test_a_changed_text_is_a_revision(watch: Watch, web: WebServer) -> None:
    revised = replace(PAUSE, title="Something quite different")
    watch = watching_url(watch, web.serve("/feed.xml", rss(PAUSE), rss(revised)))
    polled(watch)
    (one,) = polled(watch)
    assert kinds(one.recorded) == ["item_revised", "match_lapsed"]
    assert (one.new_items, one.revised_items, one.matched_claims) == (0, 1, ())


def test_a_feed_larger_than_any_query_is_known_again_whole(begun: Watch) -> None:
    many = [item(f"Story {at}", published=NOW - timedelta(minutes=at)) for at in range(450)]
    many += [Item(None, None, f"Note {at}", "") for at in range(10)]
    assert take_in(begun, begun.rules.feeds[0], changed(*many, sha256="1")).new_items == 460
    assert take_in(begun, begun.rules.feeds[0], changed(*many, sha256="2")).recorded == []


def test_the_log_stands_in_one_transaction_with_the_poll_cache(begun: Watch) -> None:
    class Full(EventLog):
        def transaction(self, now: datetime) -> Any:
            raise ClaimwatchError("the disk is full")

    log = Full(begun.log.database)
    try:
        with pytest.raises(ClaimwatchError, match="the disk is full"):
            take_in(replace(begun, log=log), begun.rules.feeds[0], changed(PAUSE))
    finally:
        log.close()
    with begun.log.reading() as connection:
        assert {one.polled_at for one in knowledge.poll_states(connection).values()} == {None}


def test_the_system_clock_tells_utc() -> None:
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)
    assert SystemClock().now().tzinfo == UTC


# ── feeds that fail ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_failing_feed_keeps_its_state_and_recovers(watch: Watch, web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(rss(PAUSE), headers={"ETag": '"1"'}), Answer(status=503), Answer(status=304))
    watch = watching_url(watch, url)
    polled(watch)
    good = state_of(watch)
    move_on(watch, timedelta(hours=1))
    (failed,) = polled(watch)
    assert kinds(failed.recorded) == ["feed_failed"]
    kept = state_of(watch)
    assert (kept.etag, kept.body_sha256, kept.window) == (good.etag, good.body_sha256, good.window)
    assert (kept.failures, kept.succeeded_at, kept.polled_at) == (1, NOW, NOW + timedelta(hours=1))
    assert (health_of(watch).state, health_of(watch).reason) == ("failing", "http 503")
    move_on(watch, timedelta(hours=1))
    (recovered,) = polled(watch)
    assert kinds(recovered.recorded) == ["feed_recovered"]
    assert recovered.recorded[0].event.failing_since == NOW + timedelta(hours=1)
    assert (health_of(watch).state, state_of(watch).failures) == ("ok", 0)


def test_a_failure_that_lasts_is_told_once_and_another_one_again(begun: Watch) -> None:
    one = begun.rules.feeds[0]
    outcomes = [DOWN, DOWN, replace(DOWN, detail="503 Still away"), Failed("timeout", "late", "")]
    assert [kinds(take_in(begun, one, outcome).recorded) for outcome in outcomes] == [
        ["feed_failed"],
        [],
        [],
        ["feed_failed"],
    ]
    assert health_of(begun, "gazette").since == NOW


def test_pauses_after_failures_grow(begun: Watch) -> None:
    pauses = [due_of(take_in(begun, begun.rules.feeds[0], DOWN)) - NOW for _ in range(9)]
    assert [round(pause / pauses[0]) for pause in pauses[:4]] == [1, 2, 4, 8]
    assert timedelta(minutes=15) <= pauses[0] <= timedelta(minutes=16.5)
    assert timedelta(hours=24) <= pauses[-1] <= timedelta(hours=26.4)


def test_a_site_that_asks_for_a_pause_gets_it(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/feed.xml", Answer(status=429, headers={"Retry-After": "86400"})))
    assert polled(watch)[0].next_due == NOW + timedelta(days=1)
    assert state_of(watch).next_due == NOW + timedelta(days=1)


BUSY = Answer(status=429, headers={"Retry-After": "7200"})
BRIEF = Answer(status=429, headers={"Retry-After": "60"})


def test_a_host_that_asked_for_a_pause_is_left_alone_by_all_its_feeds_until_it_is_over(
    watch: Watch, web: WebServer
) -> None:
    elsewhere = web.serve("/elsewhere", rss(PAUSE)).replace("127.0.0.1", "localhost")
    watch = watching_url(watch, web.serve("/busy", BUSY, rss(PAUSE)), web.serve("/feed.xml", rss(PAUSE)), elsewhere)
    by_feed = {one.feed: one for one in polled(watch)}
    paused = by_feed["feed-1"].outcome
    assert isinstance(paused, Failed)
    assert (paused.reason, by_feed["feed-1"].recorded) == ("paused by its host", [])
    assert due_of(by_feed["feed-1"]) >= NOW + timedelta(seconds=7190)
    assert (health_of(watch, "feed-1").state, state_of(watch, "feed-1").failures) == ("new", 0)
    assert isinstance(by_feed["feed-2"].outcome, Changed)
    assert [asked.path for asked in web.asked if asked.path != "/elsewhere"] == ["/busy"]
    # Another process, half an hour later: whoever asks by hand is held back, too.
    move_on(watch, timedelta(minutes=30))
    assert [type(one.outcome) for one in polled(watch, watch.rules.feeds[1])] == [Failed]
    move_on(watch, timedelta(minutes=90))
    assert set(due_ids(watch)) == {"feed-0", "feed-1", "feed-2"}
    assert {type(one.outcome) for one in polled(watch)} == {Changed, Unchanged}
    assert {health_of(watch, f"feed-{at}").state for at in range(3)} == {"ok"}


def test_a_feed_that_is_asked_by_hand_in_its_host_s_pause_ends_no_pause(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/busy", BUSY, rss(PAUSE)))
    until = due_of(polled(watch)[0])
    move_on(watch, timedelta(minutes=30))
    for _ in range(2):
        (held_back,) = polled(watch)
        assert isinstance(held_back.outcome, Failed)
        assert not held_back.outcome.asked
        assert until <= due_of(held_back) <= until + timedelta(minutes=1, seconds=1)
    assert len(web.asked) == 1


def test_a_host_that_answers_few_questions_an_hour_starves_none_of_its_feeds(tmp_path: Path) -> None:
    """It answers so many in an hour, and then wants a pause."""
    count, allowed, per, retry = 8, 4, timedelta(hours=1), timedelta(hours=1)
    feeds = [feed(f"f{at}", f"https://host.example/{at}") for at in range(count)]
    with watching(tmp_path, rules(*feeds)) as watch:
        record_rules(watch)
        end, until = NOW + timedelta(hours=18), NOW
        answered: list[datetime] = []
        read: dict[str, list[datetime]] = {one.id: [NOW] for one in feeds}
        while (now := watch.clock.now()) < end:
            for one in due_feeds(watch):
                now = watch.clock.now()
                if now < until:
                    take_in(watch, one, Failed("paused by its host", "", "", until - now, asked=False))
                    continue
                answered = [at for at in answered if now - at < per]
                if len(answered) < allowed:
                    answered.append(now)
                    read[one.id].append(now)
                    take_in(watch, one, Unchanged(None, None))
                else:
                    until = now + retry
                    take_in(watch, one, Failed("http 429", "", "", retry, pausing_host="host.example"))
                move_on(watch, timedelta(seconds=1))
            move_on(watch, timedelta(seconds=20))
        longest = {
            id: max(after - before for before, after in pairwise([*moments, end])) for id, moments in read.items()
        }
        # All of them in turn, with a pause after each few.
        turn = (per + retry) * count / allowed + timedelta(minutes=17)
        assert max(longest.values()) < turn, longest
        assert {state_of(watch, one.id).failures for one in feeds} == {0}
        told = [one.event.reason for one in events_of(watch, "feed/") if isinstance(one.event, FeedFailed)]
        assert set(told) == {"http 429"}


def test_a_feed_behind_a_redirect_to_a_host_in_a_pause_keeps_its_pace(watch: Watch, web: WebServer) -> None:
    away = Answer(status=302, headers={"Location": web.url("/there")})
    elsewhere = web.serve("/away", away).replace("127.0.0.1", "localhost")
    watch = watching_url(watch, web.serve("/busy", BRIEF), elsewhere)
    by_feed = {one.feed: one for one in [*polled(watch, watch.rules.feeds[0]), *polled(watch, watch.rules.feeds[1])]}
    assert isinstance(outcome := by_feed["feed-1"].outcome, Failed)
    assert (outcome.reason, outcome.asked) == ("paused by its host", True)
    assert by_feed["feed-1"].recorded == []
    assert due_of(by_feed["feed-1"]) >= NOW + timedelta(minutes=15)
    assert {state_of(watch, id).failures for id in by_feed} == {0}


def test_a_host_s_pause_is_as_long_as_it_was_after_the_clock_was_set_back(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/busy", BUSY), web.serve("/feed.xml", rss(PAUSE)))
    polled(watch, watch.rules.feeds[0])
    clock = Turned(NOW - timedelta(days=300))
    back = replace(watch, clock=clock)
    assert due_ids(back) == ["feed-1"]
    assert isinstance(polled(back, watch.rules.feeds[1])[0].outcome, Failed)
    clock.moment += timedelta(hours=2, seconds=1)
    assert isinstance(polled(back, watch.rules.feeds[1])[0].outcome, Changed)


def test_feeds_of_one_host_wait_in_nobody_s_way(watch: Watch, web: WebServer) -> None:
    slow = [web.serve(f"/slow{at}", Answer(status=503, delay_seconds=0.5)) for at in range(3)]
    quick = [web.serve(f"/quick{at}", Answer(status=503)).replace("127.0.0.1", "localhost") for at in range(4)]
    watch = watching_url(watch, *slow, *quick)
    heard: list[str] = []
    polled(watch, at_once=2, told=lambda one: heard.append(one.feed))
    assert set(heard[:4]) == {"feed-3", "feed-4", "feed-5", "feed-6"}


def test_a_round_that_has_lasted_long_begins_no_more_questions_and_leaves_the_rest_due(
    watch: Watch, web: WebServer
) -> None:
    slow = [web.serve(f"/slow{at}", Answer(status=503, delay_seconds=0.5)) for at in range(5)]
    quick = web.serve("/quick", rss(PAUSE)).replace("127.0.0.1", "localhost")
    watch = watching_url(watch, *slow, quick)
    before = [one.feed for one in polled(watch, begin_within_seconds=0.9)]
    assert before == ["feed-5", "feed-0", "feed-1"]
    assert set(due_ids(watch)) == {"feed-2", "feed-3", "feed-4"}
    assert len(web.asked) == 3


LOGIN = b"<!doctype html><html><form><input name=p type='password'></form></html>"
CHALLENGE = b"<html><script src='/cdn-cgi/challenge-platform/x.js'></script></html>"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (LOGIN, "a login page instead of a feed"),
        (CHALLENGE, "the page of a bot wall instead of a feed"),
        (PAGE, "a web page instead of a feed"),
        (b"", "an empty answer"),
    ],
)
def test_what_came_instead_of_a_feed_is_called_by_its_name(
    watch: Watch, web: WebServer, body: bytes, what: str
) -> None:
    watch = watching_url(watch, web.serve("/feed.xml", body))
    (one,) = polled(watch)
    assert isinstance(one.outcome, Failed)
    assert (one.outcome.reason, one.outcome.detail) == ("not a feed", what)


@pytest.mark.parametrize("body", [PAGE, LOGIN, CHALLENGE, b"", b"  \n", b"\x00\x01", b'{"version": 1}', b"<rss"])
def test_what_is_no_feed_clears_nothing(watch: Watch, web: WebServer, body: bytes) -> None:
    url = web.serve("/feed.xml", Answer(rss(PAUSE), headers={"ETag": '"1"'}), Answer(body, headers={"ETag": '"2"'}))
    watch = watching_url(watch, url)
    polled(watch)
    good = state_of(watch)
    (one,) = polled(watch)
    assert isinstance(one.outcome, Failed)
    assert one.outcome.reason == "not a feed"
    kept = state_of(watch)
    assert (kept.etag, kept.body_sha256, kept.window) == (good.etag, good.body_sha256, good.window)
    with watch.log.reading() as connection:
        assert queries.counts(connection)["items"] == 1


def test_a_feed_without_items_keeps_its_window(begun: Watch) -> None:
    one = begun.rules.feeds[0]
    take_in(begun, one, changed(PAUSE, sha256="1"))
    window = state_of(begun, "gazette").window
    assert take_in(begun, one, changed(sha256="2")).recorded == []
    assert state_of(begun, "gazette").window == window
    assert take_in(begun, one, changed(PAUSE, sha256="3")).recorded == []


def test_a_feed_that_is_gone_rests_and_may_come_back(begun: Watch) -> None:
    one = begun.rules.feeds[0]
    assert kinds(take_in(begun, one, Gone(one.url)).recorded) == ["feed_gone"]
    assert take_in(begun, one, Gone(one.url)).recorded == []
    move_on(begun, timedelta(days=30))
    assert due_feeds(begun) == []
    assert kinds(take_in(begun, one, changed(PAUSE)).recorded)[0] == "feed_recovered"
    move_on(begun, timedelta(hours=1))
    assert due_feeds(begun) == [one]


def test_one_feed_that_fails_spoils_no_other(watch: Watch, web: WebServer) -> None:
    broken = web.serve("/broken", Answer(raw=b""))
    urls = [broken, web.serve("/a", PAGE), web.serve("/b", rss(PAUSE))]
    urls.append(web.serve("/c", Answer(status=302, headers={"Location": "http://127.0.0.1:99999/"})))
    watch = watching_url(watch, *urls)
    outcomes = {one.feed: one.outcome for one in polled(watch)}
    assert {id: type(outcome) for id, outcome in outcomes.items()} == {
        "feed-0": Failed,
        "feed-1": Failed,
        "feed-2": Changed,
        "feed-3": Failed,
    }


# ── how often ────────────────────────────────────────────────────────────────────────────────────────────────────


def pause_of(watch: Watch, rule: FeedRule, outcome: Any) -> timedelta:
    """The pause that is decided upon an outcome; the clock moves on to its end."""
    pause = due_of(take_in(watch, rule, outcome)) - watch.clock.now()
    move_on(watch, pause)
    return pause


@pytest.fixture
def paced(tmp_path: Path) -> Iterator[Watch]:
    """A watch over a feed that is asked between every five minutes and every six hours."""
    with watching(tmp_path, rules(feed(interval_seconds=300, longest_interval_seconds=21_600))) as one:
        record_rules(one)
        yield one


def stories(start: int, end: int) -> list[Item]:
    return [item(f"Story {at}") for at in range(start, end)]


def test_a_feed_is_asked_the_more_seldom_the_less_it_brings(paced: Watch) -> None:
    one = paced.rules.feeds[0]
    pauses = [pause_of(paced, one, changed(*stories(0, 30), sha256="1"))]
    pauses += [pause_of(paced, one, Unchanged(None, None)) for _ in range(3)]
    assert timedelta(minutes=5) <= pauses[0] <= timedelta(minutes=5.5)
    assert pauses[0] < pauses[1] < pauses[2]
    assert timedelta(hours=6) <= pauses[3] <= timedelta(hours=6.6)
    assert pause_of(paced, one, changed(*stories(20, 50), sha256="2")) < timedelta(hours=5)
    assert state_of(paced, "gazette").interval is not None
    assert health_of(paced, "gazette").interval_seconds > 3600


def test_after_a_gap_a_feed_is_asked_as_often_as_it_may_be(paced: Watch) -> None:
    one = paced.rules.feeds[0]
    for outcome in (changed(*stories(0, 30), sha256="1"), *[Unchanged(None, None)] * 3):
        pause_of(paced, one, outcome)
    last = state_of(paced, "gazette").succeeded_at
    gap = take_in(paced, one, changed(*stories(50, 80), sha256="2"))
    (event,) = [told.event for told in gap.recorded if told.event.kind == "gap_suspected"]
    assert (event.after, event.before) == (last, paced.clock.now())
    assert due_of(gap) - paced.clock.now() <= timedelta(minutes=5.5)


def test_a_failing_feed_keeps_the_pause_that_it_had(paced: Watch) -> None:
    one = paced.rules.feeds[0]
    for outcome in (changed(*stories(0, 30), sha256="1"), *[Unchanged(None, None)] * 3):
        pause_of(paced, one, outcome)
    before = state_of(paced, "gazette")
    assert pause_of(paced, one, DOWN) >= timedelta(hours=6)
    kept = state_of(paced, "gazette")
    assert (kept.interval, kept.items_an_hour) == (before.interval, before.items_an_hour)


def test_what_a_site_says_of_pauses_is_heeded_also_where_nothing_changed(paced: Watch) -> None:
    one = paced.rules.feeds[0]
    fresh = Answered(fresh=timedelta(hours=2))
    pause_of(paced, one, replace(changed(*stories(0, 30), sha256="1"), answered=fresh))
    for outcome in (replace(changed(*stories(25, 55), sha256="2"), answered=fresh), Unchanged(None, None, fresh)):
        assert timedelta(hours=2) <= pause_of(paced, one, outcome) <= timedelta(hours=2.2)


def test_what_a_document_asks_for_is_known_until_it_says_otherwise(paced: Watch) -> None:
    one = paced.rules.feeds[0]
    asking = rss(*stories(0, 30)).replace(b"<title>", b"<skipHours><hour>13</hour></skipHours><title>", 1)
    take_in(paced, one, Changed(asking, "1", None, None, None))
    for hours in (0.9, 0.8):
        move_on(paced, timedelta(hours=hours))
        take_in(paced, one, Unchanged(None, None))
        assert state_of(paced, "gazette").asks.skip_hours == (13,)
    assert paced.clock.now() == NOW.replace(hour=13, minute=42)
    due = state_of(paced, "gazette").next_due
    assert due is not None
    assert due.hour != 13
    take_in(paced, one, changed(*stories(0, 30), sha256="2"))
    assert state_of(paced, "gazette").asks.skip_hours == ()


# ── feeds that move ──────────────────────────────────────────────────────────────────────────────────────────────


def moved(web: WebServer, status: int = 301, path: str = "/new.xml") -> Answer:
    return Answer(status=status, headers={"Location": web.url(path)})


def polled_hourly(watch: Watch, times: int) -> list[str]:
    """The kinds of events that so many polls, an hour apart, bring of the feed itself."""
    told: list[str] = []
    for _ in range(times):
        (one,) = polled(watch)
        told += [event.event.kind for event in one.recorded if event.stream.startswith("feed/")]
        move_on(watch, timedelta(hours=1))
    return told


def test_a_feed_that_moved_for_good_is_asked_at_its_new_address(watch: Watch, web: WebServer) -> None:
    new = web.serve("/new.xml", Answer(rss(PAUSE), headers={"ETag": '"1"'}), Answer(status=304))
    watch = watching_url(watch, web.serve("/feed.xml", moved(web)))
    assert polled_hourly(watch, 24) == []
    assert polled_hourly(watch, 1) == ["feed_moved"]
    (event,) = [one.event for one in events_of(watch, "feed/feed-0")]
    assert (event.from_url, event.to_url) == (web.url("/feed.xml"), new)
    assert (health_of(watch).url, health_of(watch).asked_url) == (web.url("/feed.xml"), new)
    assert health_of(watch).succeeded_at == NOW + timedelta(hours=24)
    asked = len(web.asked)
    assert polled_hourly(watch, 1) == []
    assert [(one.path, one.headers["if-none-match"]) for one in web.asked[asked:]] == [("/new.xml", '"1"')]


@pytest.mark.parametrize("status", [302, 303, 307])
def test_a_passing_redirect_moves_no_feed(watch: Watch, web: WebServer, status: int) -> None:
    web.serve("/new.xml", rss(PAUSE))
    watch = watching_url(watch, web.serve("/feed.xml", moved(web, status)))
    assert polled_hourly(watch, 30) == []


def test_a_redirect_to_what_is_no_feed_moves_no_feed(watch: Watch, web: WebServer) -> None:
    web.serve("/new.xml", PAGE)
    watch = watching_url(watch, web.serve("/feed.xml", moved(web)))
    assert polled_hourly(watch, 30) == ["feed_failed"]


def test_a_failure_on_the_way_takes_nothing_back_and_an_answer_from_the_old_address_does(
    watch: Watch, web: WebServer
) -> None:
    good = rss(PAUSE)
    web.serve("/new.xml", good, Answer(status=503), good)
    watch = watching_url(watch, web.serve("/feed.xml", moved(web)))
    assert polled_hourly(watch, 25) == ["feed_failed", "feed_recovered", "feed_moved"]
    web.serve("/third.xml", good)
    web.serve("/new.xml", *[moved(web, path="/third.xml")] * 20, good, moved(web, path="/third.xml"))
    assert polled_hourly(watch, 45) == []


@pytest.mark.parametrize("bad", [Answer(status=404), Answer(status=410), BRIEF], ids=["404", "410", "429"])
def test_where_the_new_address_fails_on_and_on_the_old_one_is_asked_again(
    watch: Watch, web: WebServer, bad: Answer
) -> None:
    good = Answer(rss(PAUSE), headers={"ETag": '"1"'})
    web.serve("/new.xml", *[good] * 25, bad)
    watch = watching_url(watch, web.serve("/feed.xml", *[moved(web)] * 25, good))
    assert polled_hourly(watch, 28) == ["feed_moved", "feed_failed"]
    assert [one.path for one in web.asked[-3:]] == ["/new.xml"] * 3
    assert polled_hourly(watch, 2) == ["feed_recovered", "feed_moved"]
    assert [one.path for one in web.asked[-2:]] == ["/feed.xml"] * 2
    assert "if-none-match" not in web.asked[-2].headers
    assert (health_of(watch).asked_url, health_of(watch).moved, health_of(watch).state) == (
        web.url("/feed.xml"),
        None,
        "ok",
    )
    assert health_of(watch).next_due is not None


def test_a_new_address_that_comes_back_is_found_where_the_old_one_is_no_more(watch: Watch, web: WebServer) -> None:
    good = rss(PAUSE)
    new = web.serve("/new.xml", *[good] * 25, *[Answer(status=503)] * 3, good)
    watch = watching_url(watch, web.serve("/feed.xml", *[moved(web)] * 25, Answer(status=404)))
    events = polled_hourly(watch, 35)
    assert (events[0], events[-1]) == ("feed_moved", "feed_recovered")
    assert (health_of(watch).asked_url, health_of(watch).state) == (new, "ok")


def test_an_old_address_that_still_sends_everybody_on_takes_no_move_back(watch: Watch, web: WebServer) -> None:
    good = Answer(rss(PAUSE), headers={"ETag": '"1"'})
    new = web.serve("/new.xml", *[good] * 25, *[Answer(status=503)] * 4, good)
    watch = watching_url(watch, web.serve("/feed.xml", moved(web)))
    assert polled_hourly(watch, 31) == ["feed_moved", "feed_failed", "feed_recovered"]
    assert health_of(watch).asked_url == new
    assert [one.path for one in web.asked[-1:]] == ["/new.xml"]


def test_the_address_that_feeds_yaml_gets_rules_again(watch: Watch, web: WebServer) -> None:
    new = web.serve("/new.xml", Answer(rss(PAUSE), headers={"ETag": '"1"'}), Answer(status=304))
    watch = watching_url(watch, web.serve("/feed.xml", moved(web)))
    polled_hourly(watch, 25)
    # Taken over as status advises: nothing has to be fetched anew.
    watch = watching_url(watch, new)
    assert (health_of(watch).asked_url, state_of(watch).etag) == (new, '"1"')
    assert [type(one.outcome) for one in polled(watch)] == [Unchanged]
    watch = watching_url(watch, web.serve("/third.xml", rss(PAUSE)))
    asked = len(web.asked)
    polled(watch)
    assert [one.path for one in web.asked[asked:]] == ["/third.xml"]
    assert "if-none-match" not in web.asked[-1].headers


def test_an_answer_from_an_address_that_was_replaced_meanwhile_is_taken_in_and_puts_off_no_poll(begun: Watch) -> None:
    later = Watch.over(begun.log, rules(feed(url="https://new.example/rss")), begun.clock)
    record_rules(later)
    assert take_in(begun, begun.rules.feeds[0], changed(PAUSE)).new_items == 1
    assert due_feeds(later) == list(later.rules.feeds)


@pytest.mark.parametrize("outcome", [Gone("https://gazette.example/rss"), DOWN], ids=["gone", "failed"])
def test_how_an_address_does_that_was_replaced_meanwhile_is_not_held_against_the_new_one(
    begun: Watch, outcome: Gone | Failed
) -> None:
    later = Watch.over(begun.log, rules(feed(url="https://new.example/rss")), begun.clock)
    record_rules(later)
    assert take_in(begun, begun.rules.feeds[0], outcome).recorded == []
    assert health_of(later, "gazette").state == "new"
    record_rules(later)
    assert due_feeds(later) == list(later.rules.feeds)


def test_an_answer_from_an_address_that_was_replaced_ends_no_failure_of_the_new_one(begun: Watch) -> None:
    later = Watch.over(begun.log, rules(feed(url="https://new.example/rss")), begun.clock)
    record_rules(later)
    take_in(later, later.rules.feeds[0], DOWN)
    assert kinds(take_in(begun, begun.rules.feeds[0], changed(PAUSE)).recorded) == ["item_seen", "claim_matched"]
    assert health_of(later, "gazette").state == "failing"


# ── conditional requests ─────────────────────────────────────────────────────────────────────────────────────────


def test_new_validators_are_kept_though_the_document_is_the_same(watch: Watch, web: WebServer) -> None:
    def answer(etag: str, modified: str) -> Answer:
        return Answer(rss(PAUSE), headers={"ETag": etag, "Last-Modified": modified})

    watch = watching_url(watch, web.serve("/feed.xml", answer('"1"', "then"), answer('W/"2"', "now"), rss(PAUSE)))
    assert [len(polled(watch)[0].recorded) for _ in range(4)] == [2, 0, 0, 0]
    sent = [(one.headers.get("if-none-match"), one.headers.get("if-modified-since")) for one in web.asked]
    assert sent == [(None, None), ('"1"', "then"), ('W/"2"', "now"), (None, None)]


def test_validators_from_behind_a_redirect_go_back_there_alone(watch: Watch, web: WebServer) -> None:
    web.serve("/new.xml", Answer(rss(PAUSE), headers={"ETag": '"1"'}), Answer(status=304))
    watch = watching_url(watch, web.serve("/feed.xml", moved(web, 302)))
    polled(watch)
    assert isinstance(polled(watch)[0].outcome, Unchanged)
    sent = [(one.path, one.headers.get("if-none-match")) for one in web.asked[2:]]
    assert sent == [("/feed.xml", None), ("/new.xml", '"1"')]


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_slow_feed_does_not_hold_up_the_others(watch: Watch, web: WebServer) -> None:
    slow = web.serve("/slow", Answer(rss(PAUSE), delay_seconds=0.6)).replace("127.0.0.1", "localhost")
    watch = watching_url(watch, slow, *[web.serve(f"/{at}", rss(item(f"Story {at}"))) for at in range(6)])
    heard: list[tuple[str, float]] = []
    started = time.monotonic()
    polled(watch, told=lambda one: heard.append((one.feed, time.monotonic() - started)))
    assert {feed_id for feed_id, _ in heard[:6]} == {f"feed-{at}" for at in range(1, 7)}
    assert heard[6][0] == "feed-0"
    assert heard[5][1] < heard[6][1]


def test_never_more_are_fetched_at_once_than_allowed(watch: Watch) -> None:
    running, most = 0, 0

    @dataclass(frozen=True)
    class Counting:
        def pause_hosts(self, pauses: Any) -> None:
            assert pauses == {}

        async def fetch(self, request: Any, now: datetime) -> Any:
            nonlocal running, most
            running += 1
            most = max(most, running)
            await asyncio.sleep(0.001)
            running -= 1
            return DOWN

    watch = watching_url(watch, *[f"http://host-{at}.example/" for at in range(12)])
    fetching: Any = Counting()
    results = asyncio.run(poll(watch, fetching, Parser(), watch.rules.polled_feeds, at_once=3))
    assert (len(results), most) == (12, 3)


def test_a_round_without_feeds_ends(begun: Watch) -> None:
    async def once() -> list[Polled]:
        async with fetcher() as opened, open_parser() as parser:
            return await poll(begun, opened, parser, [])

    assert asyncio.run(once()) == []


def test_what_is_told_is_committed(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/feed.xml", rss(PAUSE)))
    seen: list[int] = []

    def told(one: Polled) -> None:
        other = EventLog(watch.log.database)
        seen.append(head(other))
        other.close()

    polled(watch, told=told)
    assert seen == [head(watch.log)]


def test_who_is_told_and_raises_leaves_no_task_behind(watch: Watch, web: WebServer) -> None:
    slow = web.serve("/slow", Answer(rss(PAUSE), delay_seconds=5)).replace("127.0.0.1", "localhost")
    watch = watching_url(watch, slow, web.serve("/feed.xml", rss(PAUSE)))

    class StopError(Exception):
        pass

    def told(_one: Polled) -> None:
        raise StopError

    async def once() -> int:
        async with fetcher() as opened, open_parser() as parser:
            with pytest.raises(StopError):
                await poll(watch, opened, parser, watch.rules.polled_feeds, told=told)
            return len(asyncio.all_tasks())

    started = time.monotonic()
    assert asyncio.run(once()) == 1
    assert time.monotonic() - started < 3


def test_a_cancelled_round_leaves_no_task_behind_and_keeps_what_was_taken_in(watch: Watch, web: WebServer) -> None:
    slow = web.serve("/slow", Answer(rss(PAUSE), delay_seconds=5)).replace("127.0.0.1", "localhost")
    watch = watching_url(watch, slow, web.serve("/feed.xml", rss(PAUSE)))

    async def once() -> int:
        async with fetcher() as opened, open_parser() as parser:
            heard = asyncio.Event()
            feeds = watch.rules.polled_feeds
            rounds = asyncio.create_task(poll(watch, opened, parser, feeds, told=lambda _one: heard.set()))
            await heard.wait()
            rounds.cancel()
            await asyncio.gather(rounds, return_exceptions=True)
            return len(asyncio.all_tasks())

    assert asyncio.run(once()) == 1
    with watch.log.reading() as connection:
        polls = knowledge.poll_states(connection)
        assert {id for id, one in polls.items() if one.polled_at} == {"feed-1"}


# ── two writers ──────────────────────────────────────────────────────────────────────────────────────────────────


def taken_in(watch: Watch, outcome: Any, *meddlings: Callable[[], object]) -> Polled:
    """What an outcome comes to while somebody else meddles."""
    with meanwhile(watch, *meddlings) as busy:
        return take_in(busy, watch.rules.feeds[0], outcome)


def test_who_comes_second_with_an_item_does_not_record_it_again(begun: Watch) -> None:
    def other() -> None:
        take_in(begun, begun.rules.feeds[0], changed(PAUSE))

    one = taken_in(begun, changed(PAUSE, OTHER), other)
    assert [event.event.title for event in one.recorded] == [OTHER.title]
    assert [event.version for event in events_of(begun, "item/")] == [1, 1]
    with begun.log.reading() as connection:
        verify_chain(connection)
        assert queries.counts(connection) == {"items": 2, "matches": 1, "digests": 0}


def test_who_comes_second_with_another_text_records_a_revision(begun: Watch) -> None:
    def other() -> None:
        take_in(begun, begun.rules.feeds[0], changed(PAUSE))

    one = taken_in(begun, changed(replace(PAUSE, summary="More of it")), other)
    assert [type(event.event) for event in one.recorded] == [ItemRevised]
    assert [type(event.event) for event in events_of(begun, "item/")] == [ItemSeen, ItemRevised]


def test_a_failure_that_somebody_else_recorded_first_is_decided_again(begun: Watch) -> None:
    def other() -> None:
        with begun.log.transaction(NOW) as transaction:
            record(transaction, [NewEvent("feed/gazette", FeedFailed("http 503", "503 Away", "Wait."))])

    assert taken_in(begun, DOWN, other).recorded == []
    assert kinds(events_of(begun, "feed/gazette")) == ["feed_failed"]


def test_it_is_decided_again_as_often_as_somebody_else_comes_first(begun: Watch) -> None:
    texts = iter([replace(PAUSE, summary=f"Version {at}") for at in range(3)])

    def other() -> None:
        take_in(begun, begun.rules.feeds[0], changed(next(texts)))

    one = taken_in(begun, changed(PAUSE), other, other, other)
    assert [event.version for event in one.recorded] == [4]


def test_a_failing_feed_that_no_rules_name_is_taken_in_all_the_same(watch: Watch) -> None:
    # Its first failure is in the log, but no projection tells of it: the next one must not be decided for ever.
    def too_often() -> None:
        raise AssertionError("it is decided again and again")

    take_in(watch, watch.rules.feeds[0], DOWN)
    taken_in(watch, DOWN, int, int, int, too_often)


# ── what is due ──────────────────────────────────────────────────────────────────────────────────────────────────


def due_ids(watch: Watch) -> list[str]:
    return [one.id for one in due_feeds(watch)]


def test_a_feed_that_was_never_polled_is_due_at_once(begun: Watch) -> None:
    assert due_ids(begun) == ["gazette"]


def test_a_feed_is_due_again_when_its_time_has_come(begun: Watch) -> None:
    next_due = due_of(take_in(begun, begun.rules.feeds[0], changed(PAUSE)))
    assert due_ids(begun) == []
    move_on(begun, next_due - NOW - timedelta(microseconds=1))
    assert due_ids(begun) == []
    move_on(begun, timedelta(microseconds=1))
    assert due_ids(begun) == ["gazette"]


def test_the_longest_due_comes_first(tmp_path: Path) -> None:
    feeds = [feed(id, interval_seconds=seconds) for id, seconds in (("a", 7200), ("b", 3600), ("c", 900))]
    with watching(tmp_path, rules(*feeds, feed("d"))) as watch:
        record_rules(watch)
        for one in feeds:
            take_in(watch, one, changed(PAUSE))
        move_on(watch, timedelta(hours=5))
        assert due_ids(watch) == ["d", "c", "b", "a"]


def test_a_feed_that_rests_and_comes_back_is_due_at_once(watch: Watch) -> None:
    record_rules(watch)
    take_in(watch, watch.rules.feeds[0], changed(PAUSE))
    away = Watch.over(watch.log, rules(feed("other")), watch.clock)
    record_rules(away)
    move_on(watch, timedelta(days=1))
    assert due_ids(away) == ["other"]
    assert state_of(watch, "gazette").next_due is None
    record_rules(watch)
    assert due_ids(watch) == ["gazette"]
    assert state_of(watch, "gazette").window


def test_a_lost_poll_cache_is_made_anew_when_the_watch_begins(begun: Watch) -> None:
    take_in(begun, begun.rules.feeds[0], changed(PAUSE))
    with begun.log.transaction(NOW) as transaction:
        transaction.connection.execute(delete(knowledge._poll))
    assert due_ids(begun) == []
    assert record_rules(begun) is None
    assert due_ids(begun) == ["gazette"]


def test_a_feed_that_is_gone_stays_so_over_a_start_and_without_its_cache(begun: Watch) -> None:
    take_in(begun, begun.rules.feeds[0], Gone("x"))
    for forget in (False, True):
        if forget:
            with begun.log.transaction(NOW) as transaction:
                transaction.connection.execute(delete(knowledge._poll))
        record_rules(begun)
        assert due_ids(begun) == []


def test_before_rules_are_recorded_it_can_be_told_what_will_be_due(watch: Watch) -> None:
    enrol_feeds(watch)
    assert due_ids(watch) == ["gazette"]
    assert head(watch.log) == 0


def test_what_a_tick_asks_is_asked_of_indexes_alone(begun: Watch) -> None:
    asked: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            asked.append((statement, parameters))

    with begun.log.reading() as connection:
        listen(connection.engine, "before_cursor_execute", note)
        knowledge.due_feeds(connection, NOW)
        knowledge.polled_ahead(connection, NOW)
        knowledge.paused_hosts(connection, NOW)
        remove(connection.engine, "before_cursor_execute", note)
        plans = [connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {one}", values).all() for one, values in asked]
    assert len(plans) == 3
    assert all("SEARCH poll USING" in str(plan) and "poll_" in str(plan) for plan in plans), plans


def test_a_resting_feed_is_never_due(tmp_path: Path) -> None:
    with watching(tmp_path, rules(feed(), feed("resting", enabled=False))) as watch:
        record_rules(watch)
        assert due_ids(watch) == ["gazette"]


def test_a_feed_whose_address_changed_is_due_at_once_and_asked_unconditionally(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/old", Answer(rss(PAUSE), headers={"ETag": '"1"'})))
    polled(watch)
    assert due_ids(watch) == []
    watch = watching_url(watch, web.serve("/new", Answer(rss(PAUSE), headers={"ETag": '"1"'})))
    assert due_ids(watch) == ["feed-0"]
    (one,) = polled(watch)
    assert "if-none-match" not in web.asked[1].headers
    assert isinstance(one.outcome, Changed)
    assert one.recorded == []


def test_a_feed_that_was_gone_is_due_again_under_another_address(begun: Watch) -> None:
    take_in(begun, begun.rules.feeds[0], Gone("x"))
    assert due_ids(begun) == []
    moved = Watch.over(begun.log, rules(feed(url="https://new.example/rss")), begun.clock)
    record_rules(moved)
    assert due_ids(moved) == ["gazette"]


@dataclass
class Turned:
    """A clock that may be set back."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment


def test_after_the_clock_was_set_back_feeds_are_due_within_a_pause(begun: Watch) -> None:
    clock = Turned(NOW)
    watch = replace(begun, clock=clock)
    pause = due_of(take_in(watch, watch.rules.feeds[0], changed(PAUSE))) - NOW
    clock.moment = back = NOW - timedelta(hours=2)
    assert due_ids(watch) == []
    state = state_of(watch, "gazette")
    assert (state.polled_at, state.succeeded_at, state.next_due) == (back, back, back + pause)
    clock.moment = back + pause
    assert due_ids(watch) == ["gazette"]


def test_a_clock_that_was_ten_years_ahead_costs_one_pause(begun: Watch) -> None:
    clock = Turned(NOW + timedelta(days=3650))
    watch = replace(begun, clock=clock)
    pause = due_of(take_in(watch, watch.rules.feeds[0], DOWN)) - clock.moment
    clock.moment = NOW
    assert due_ids(watch) == []
    clock.moment = NOW + pause
    assert due_ids(watch) == ["gazette"]


def test_a_feed_that_was_never_asked_stays_due_at_once_whatever_the_clock_does(begun: Watch) -> None:
    clock = Turned(NOW - timedelta(days=3650))
    assert due_ids(replace(begun, clock=clock)) == ["gazette"]


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_rules_are_recorded_once(watch: Watch) -> None:
    first = record_rules(watch)
    assert first is not None
    assert (first.position, first.stream, first.event.rules) == (1, "watch", watch.rules)
    assert record_rules(watch) is None
    assert record_rules(Watch.over(watch.log, rules(), watch.clock)) is None
    assert head(watch.log) == 1


def test_rules_are_recorded_again_when_they_change_and_when_they_change_back(watch: Watch) -> None:
    other = Watch.over(watch.log, rules(digest(cron="0 9 * * *")), watch.clock)
    recorded = [record_rules(one) for one in (watch, other, watch)]
    assert [one.event.sha256 for one in recorded if one] == [
        watch.rules.sha256,
        other.rules.sha256,
        watch.rules.sha256,
    ]


def test_a_match_names_the_rules_that_it_was_made_under(begun: Watch) -> None:
    found = take_in(begun, begun.rules.feeds[0], changed(PAUSE)).recorded
    (matched,) = [one.event for one in found if one.event.kind == "claim_matched"]
    assert matched.rules == begun.rules.sha256


def test_a_digest_that_was_never_prepared_is_none(begun: Watch) -> None:
    with begun.log.reading() as connection:
        assert queries.prepared_digest(connection, "daily/nobody/never") is None


# ── documents that can't be read ─────────────────────────────────────────────────────────────────────────────────

ENDLESS = b"<rss version='2.0'><channel><item><author>" + b"a" * 150_000 + b"</author></item></channel></rss>"
IMPATIENT = Limits(cpu_seconds=0.2)


def test_a_document_that_kills_the_parser_is_a_failure_of_its_feed_and_of_no_other(
    watch: Watch, web: WebServer
) -> None:
    watch = watching_url(watch, web.serve("/endless", ENDLESS), web.serve("/sound", rss(PAUSE)))
    by_feed = {one.feed: one for one in polled(watch, limits=IMPATIENT)}
    assert by_feed["feed-1"].new_items == 1
    (failed,) = by_feed["feed-0"].recorded
    assert failed.event.reason == "unreadable"
    assert "more than 0.2 s of processor time" in failed.event.detail
    assert failed.event.document_sha256 == hashlib.sha256(ENDLESS).hexdigest()
    assert "skipped until it changes" in failed.event.hint


def test_a_document_that_was_given_up_is_skipped_until_it_changes(
    watch: Watch, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = web.serve("/feed", ENDLESS, ENDLESS, Answer(status=503), ENDLESS, rss(PAUSE), ENDLESS)
    watch = watching_url(watch, one)
    assert [kinds(one.recorded) for one in polled(watch, limits=IMPATIENT)] == [["feed_failed"]]
    monkeypatch.setattr(ParserHere, "parse", None)  # whoever asks a parser for it now fails
    assert [kinds(one.recorded) for one in polled(watch)] == [[]]
    assert [kinds(one.recorded) for one in polled(watch)] == [["feed_failed"]]
    (again,) = polled(watch)
    (told,) = again.recorded
    assert told.event.detail.startswith("reading it took more than 0.2 s of processor time (document ")
    monkeypatch.undo()
    (well,) = polled(watch)
    assert kinds(well.recorded) == ["feed_recovered", "item_seen", "claim_matched"]
    assert [kinds(one.recorded) for one in polled(watch, limits=IMPATIENT)] == [["feed_failed"]]


def test_while_a_document_is_being_read_the_loop_goes_on_and_other_feeds_are_fetched(
    watch: Watch, web: WebServer
) -> None:
    watch = watching_url(watch, web.serve("/endless", ENDLESS), web.serve("/away", Answer(status=503)))
    heard: list[str] = []
    polled(watch, limits=Limits(cpu_seconds=1), told=lambda one: heard.append(one.feed))
    assert heard == ["feed-1", "feed-0"]


def test_what_need_not_be_the_document_s_own_doing_is_tried_again(watch: Watch, web: WebServer) -> None:
    watch = watching_url(watch, web.serve("/feed", ENDLESS))
    (failed,) = polled(watch, limits=Limits(cpu_seconds=60, wall_seconds=0.5))
    assert failed.recorded[0].event.detail == "reading it took more than 0.5 s"
    assert failed.recorded[0].event.document_sha256 is None
    # It is read again; that it is given up this time is news.
    (again,) = polled(watch, limits=IMPATIENT)
    assert again.recorded[0].event.document_sha256 == hashlib.sha256(ENDLESS).hexdigest()


def test_where_no_parser_can_be_started_each_feed_fails_and_keeps_its_pause(
    watch: Watch, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watching_url(watch, web.serve("/a", rss(PAUSE)), web.serve("/b", rss(PAUSE)))
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    for one in polled(watch, limits=Limits()):
        assert one.recorded[0].event.reason == "no parser"
        assert due_of(one) >= NOW + timedelta(seconds=900)
    monkeypatch.undo()
    assert [one.new_items for one in polled(watch)] == [1, 1]


def test_a_document_of_more_items_than_any_feed_has_is_refused_whole(begun: Watch) -> None:
    one = begun.rules.feeds[0]
    many = tuple(item(f"Story {number}") for number in range(MOST_ITEMS + 1))
    refused = take_in(begun, one, changed(*many, sha256="1"))
    assert kinds(refused.recorded) == ["feed_failed"]
    assert refused.recorded[0].event.detail == "it holds 5,001 items, more than 5,000"


def test_a_server_s_own_words_are_cut_where_they_become_too_long(begun: Watch) -> None:
    failed = take_in(begun, begun.rules.feeds[0], Failed("broken answer", "x" * 30_000 + "\n\n", ""))
    assert failed.recorded[0].event.detail == "x" * 400
