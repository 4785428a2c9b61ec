"""What follows from a document, a failure or a silence: which item is which, what is news, and when to ask again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon import decisions
from daemon.decisions import (
    AfterChange,
    KnownFeed,
    KnownItem,
    Move,
    after_change,
    after_failure,
    after_gone,
    after_moved,
    after_unchanged,
    next_move,
)
from daemon.events import (
    ClaimMatched,
    Event,
    FeedFailed,
    FeedGone,
    FeedMoved,
    FeedRecovered,
    FeedRekeyed,
    GapSuspected,
    ItemRevised,
    ItemSeen,
    MatchLapsed,
    NewEvent,
)
from daemon.items import Item
from daemon.matching import Matcher
from daemon.outcomes import Changed
from daemon.service import Watch
from tests.support import NOW, claim, compiled, item, move_on, rss, rules, take_in

WATCH = compiled(rules(claim("pause", "pause"), claim("strike", "strike")))
LATER = NOW + timedelta(hours=1)

E = TypeVar("E")


class Story:
    """A feed's life: its documents one after another, each decided on all that the ones before it came to."""

    def __init__(self, matcher: Matcher = WATCH) -> None:
        self.matcher = matcher
        self.now = NOW
        self.feed = KnownFeed("gazette")
        self.items: dict[str, KnownItem] = {}
        self.streams: dict[str, int] = {}

    def brings(self, *items: Item) -> list[Event]:
        """Takes a document in; returns its events."""
        decided = self.decide(items)
        self.fold(decided)
        return [new.event for new in decided.events]

    def decide(self, items: Sequence[Item]) -> AfterChange:
        return after_change(self.feed, items, self.known(items), self.matcher, self.now)

    def known(self, items: Sequence[Item]) -> list[KnownItem]:
        """The items that share a guid, a link or a text with one of these, as the log gives them."""
        guids = {one.guid for one in items if one.guid}
        links = {one.link for one in items if one.link}
        texts = {one.fingerprint for one in items}
        return [
            known
            for known in self.items.values()
            if known.guids & guids or known.links & links or known.fingerprints & texts
        ]

    def fold(self, decided: AfterChange) -> None:
        for new in decided.events:
            before = self.streams.get(new.stream, 0)
            if not new.stream.startswith("claim/"):
                assert new.after_version == before, f"{new} was decided on another version than {before}"
            self.streams[new.stream] = before + 1
            self._fold(new.stream.partition("/")[2], new.event, before + 1)
        self.feed = replace(
            self.feed,
            version=self.streams.get("feed/gazette", 0),
            has_items=bool(self.items),
            window=decided.window,
            last_success=self.now,
        )

    def _fold(self, id: str, event: Event, version: int) -> None:
        match event:
            case ItemSeen():
                assert id not in self.items
                self.items[id] = KnownItem(
                    id, version, frozenset(), frozenset(), frozenset(), frozenset(), already_there=event.already_there
                )
                self._add_text(id, event, version)
            case ItemRevised():
                assert event.fingerprint not in self.items[id].fingerprints
                self._add_text(id, event, version)
            case ClaimMatched():
                known = self.items[event.item]
                assert (event.claim not in known.claims, event.item_version) == (True, known.version)
                self.items[event.item] = replace(known, claims=known.claims | {event.claim})
            case MatchLapsed():
                known = self.items[event.item]
                assert (event.claim in known.claims, event.item_version) == (True, known.version)
                self.items[event.item] = replace(known, claims=known.claims - {event.claim})
            case FeedRekeyed():
                assert event.unfit not in self.feed.unfit_keys
                self.feed = replace(self.feed, unfit_keys=self.feed.unfit_keys | {event.unfit})

    def _add_text(self, id: str, event: ItemSeen | ItemRevised, version: int) -> None:
        known = self.items[id]
        links = frozenset({event.link} if event.link else ())
        titles = frozenset({(event.link, event.title)} if event.link and event.title else ())
        self.items[id] = replace(
            known,
            version=version,
            guids=known.guids | frozenset({event.guid} if event.guid else ()),
            links=known.links | links,
            titles=known.titles | titles,
            fingerprints=known.fingerprints | {event.fingerprint},
        )


@pytest.fixture
def story() -> Story:
    return Story()


def told(events: Iterable[Event]) -> list[tuple[str, str]]:
    """The kinds of these events, and the titles of those that have one."""
    return [(event.kind, getattr(event, "title", "")) for event in events]


def texts(events: Iterable[Event]) -> list[tuple[str, str]]:
    """What was told of items: in documents that leave nothing of the last one, a gap is told beside it."""
    return told(event for event in events if isinstance(event, ItemSeen | ItemRevised))


def only(events: Iterable[Event], kind: type[E]) -> E:
    [one] = [event for event in events if isinstance(event, kind)]
    return one


# ── new items ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_item_is_seen_with_all_its_fields(story: Story) -> None:
    one = item("Ships sail", summary="s", content="c", author="A. Writer", published=NOW, lang="en")
    assert story.brings(one) == [
        ItemSeen(
            feed="gazette",
            key="guid",
            guid="ships-sail",
            link="https://news.example/ships-sail",
            title="Ships sail",
            summary="s",
            content="c",
            author="A. Writer",
            published=NOW,
            lang="en",
            fingerprint=one.fingerprint,
        )
    ]


def test_the_same_document_again_is_no_news(story: Story) -> None:
    document = [item("A"), item("B"), item("C")]
    assert len(story.brings(*document)) == 3
    assert story.brings(*document) == []


def test_the_same_items_in_another_order_are_no_news(story: Story) -> None:
    story.brings(item("A"), item("B"), item("C"))
    assert story.brings(item("C"), item("A"), item("B")) == []


def test_an_item_that_left_and_came_back_is_no_news(story: Story) -> None:
    story.brings(item("A"), item("B"))
    story.brings(item("B"))
    assert story.brings(item("A"), item("B")) == []


def test_what_is_not_text_does_not_make_news(story: Story) -> None:
    story.brings(item("A", published=NOW, author="A", lang="en"))
    assert story.brings(item("A", published=LATER, author="B", lang="de")) == []


def test_two_feeds_give_the_same_item_different_ids() -> None:
    ids = {
        new.stream
        for feed in ("gazette", "herald")
        for new in after_change(KnownFeed(feed), [item("A")], [], WATCH, NOW).events
    }
    assert len(ids) == 2


def test_the_id_of_an_item_is_the_same_whenever_it_is_made() -> None:
    first, second = (after_change(KnownFeed("gazette"), [item("A")], [], WATCH, now) for now in (NOW, LATER))
    assert first.events[0].stream == second.events[0].stream


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────


def days_ago(number: int) -> datetime:
    return NOW - timedelta(days=number)


def test_items_without_dates_are_seen_from_the_documents_end(story: Story) -> None:
    assert [title for _, title in told(story.brings(item("New"), item("Middle"), item("Old")))] == [
        "Old",
        "Middle",
        "New",
    ]


def test_dated_items_are_seen_oldest_first_wherever_they_stand(story: Story) -> None:
    items = [item("B", published=days_ago(2)), item("C", published=days_ago(1)), item("A", published=days_ago(3))]
    assert [title for _, title in told(story.brings(*items))] == ["A", "B", "C"]


def test_items_of_one_date_are_seen_from_the_documents_end(story: Story) -> None:
    items = [item("B", published=NOW), item("A", published=NOW)]
    assert [title for _, title in told(story.brings(*items))] == ["A", "B"]


def test_where_one_date_is_missing_the_document_alone_says_the_order(story: Story) -> None:
    items = [item("C", published=days_ago(3)), item("B"), item("A", published=days_ago(1))]
    assert [title for _, title in told(story.brings(*items))] == ["A", "B", "C"]


# ── identity ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("fields", "key"),
    [
        ({"guid": "g", "link": "l"}, "guid"),
        ({"guid": "g", "link": None}, "guid"),
        ({"guid": None, "link": "l"}, "link"),
        ({"guid": None, "link": None}, "content"),
    ],
)
def test_an_item_is_known_by_its_guid_else_its_link_else_its_content(
    story: Story, fields: dict[str, Any], key: str
) -> None:
    assert only(story.brings(item("A", **fields)), ItemSeen).key == key
    assert story.brings(item("A", **fields)) == []


@pytest.mark.parametrize(
    "fields", [{"guid": "g", "link": "l"}, {"guid": "g", "link": None}, {"guid": None, "link": "l"}]
)
def test_a_known_item_with_another_text_is_a_revision(story: Story, fields: dict[str, Any]) -> None:
    story.brings(item("A", **fields))
    assert told(story.brings(item("B", **fields))) == [("item_revised", "B")]
    assert told(story.brings(item("B", summary="More", **fields))) == [("item_revised", "B")]


def test_a_revision_brings_all_its_fields(story: Story) -> None:
    story.brings(item("A", guid="g"))
    one = item("B", guid="g", link="m", summary="s", content="c", author="B. Writer", published=LATER, lang="uk")
    assert story.brings(one) == [
        ItemRevised("gazette", "g", "m", "B", "s", "c", "B. Writer", LATER, "uk", one.fingerprint)
    ]


def test_another_link_is_a_revision(story: Story) -> None:
    story.brings(item("A", guid="g", link="l"))
    assert told(story.brings(item("A", guid="g", link="m"))) == [("item_revised", "A")]


def test_without_guid_and_link_another_text_is_another_item(story: Story) -> None:
    story.brings(item("A", guid=None, link=None))
    assert texts(story.brings(item("B", guid=None, link=None))) == [("item_seen", "B")]


def test_texts_that_flip_back_and_forth_are_two_texts_and_no_more(story: Story) -> None:
    first, second = item("A", guid="g"), item("B", guid="g")
    assert told(story.brings(first)) == [("item_seen", "A")]
    assert told(story.brings(second)) == [("item_revised", "B")]
    for document in (first, second, first, second):
        assert story.brings(document) == []


def test_a_new_guid_with_a_known_link_and_title_is_the_known_item(story: Story) -> None:
    story.brings(item("A", guid="g1", link="l"))
    assert story.brings(item("A", guid="g2", link="l")) == []
    assert told(story.brings(item("A", guid="g2", link="l", summary="More"))) == [("item_revised", "A")]


def test_a_new_guid_with_a_known_link_but_another_title_is_another_item(story: Story) -> None:
    story.brings(item("A", guid="g1", link="l"))
    assert texts(story.brings(item("B", guid="g2", link="l"))) == [("item_seen", "B")]


def test_a_new_guid_with_a_known_title_but_another_link_is_another_item(story: Story) -> None:
    story.brings(item("A", guid="g1", link="l"))
    assert texts(story.brings(item("A", guid="g2", link="m"))) == [("item_seen", "A")]


def test_an_item_that_lost_its_guid_is_known_by_its_link(story: Story) -> None:
    story.brings(item("A", guid="g", link="l"))
    assert story.brings(item("A", guid=None, link="l")) == []
    assert told(story.brings(item("B", guid=None, link="l"))) == [("item_revised", "B")]


def test_an_item_that_gained_a_guid_is_known_by_its_link_and_title(story: Story) -> None:
    story.brings(item("A", guid=None, link="l"))
    assert story.brings(item("A", guid="g", link="l")) == []


def test_an_item_is_known_by_every_link_it_had(story: Story) -> None:
    story.brings(item("A", guid="g", link="l"))
    story.brings(item("A", guid="g", link="m"))
    assert story.brings(item("A", guid=None, link="l")) == []
    assert story.brings(item("A", guid=None, link="m")) == []


def test_an_item_without_a_link_that_lost_its_guid_is_known_by_its_text(story: Story) -> None:
    story.brings(item("A pause", guid="g", link=None))
    assert texts(story.brings(item("A pause", guid=None, link=None))) == []


def test_of_two_items_with_one_link_a_row_without_a_guid_means_the_one_with_its_title(story: Story) -> None:
    story.brings(item("B", guid="2", link="l"), item("A", guid="1", link="l"))
    [second] = [known.id for known in story.items.values() if known.guids == {"2"}]
    decided = story.decide([item("B", guid=None, link="l", summary="More")])
    assert [new.stream for new in decided.events] == [f"item/{second}"]


def test_items_that_come_to_share_link_and_title_settle_at_once(story: Story) -> None:
    story.brings(item("A", guid="1", link="l"))
    document = [
        item("B", guid="3", link="m", summary="Third"),
        item("B", guid="1", link="m", summary="Second"),
        item("B", guid="2", link="m", summary="First"),
    ]
    assert len(texts(story.brings(*document))) == 3
    assert story.brings(*document) == []


# ── keys that are none ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_guid_for_two_titles_is_no_key_from_then_on_and_both_titles_are_kept(story: Story) -> None:
    document = [item("B", guid="g", link="m"), item("A", guid="g", link="l")]
    events = story.brings(*document)
    assert events[0] == FeedRekeyed("guid", "g", ("B", "A"))
    assert told(events[1:]) == [("item_seen", "A"), ("item_seen", "B")]
    assert {event.key for event in events if isinstance(event, ItemSeen)} == {"title+link"}
    assert story.brings(*document) == []
    assert texts(story.brings(item("C", guid="g", link="l"))) == [("item_seen", "C")]


def test_a_link_for_two_titles_is_no_key_from_then_on_and_both_titles_are_kept(story: Story) -> None:
    document = [item("B", guid=None, link="l"), item("A", guid=None, link="l")]
    events = story.brings(*document)
    assert events[0] == FeedRekeyed("link", "l", ("B", "A"))
    assert told(events[1:]) == [("item_seen", "A"), ("item_seen", "B")]
    assert {event.key for event in events if isinstance(event, ItemSeen)} == {"title+link"}
    assert story.brings(*document) == []
    assert texts(story.brings(item("C", guid=None, link="m"))) == [("item_seen", "C")]
    assert texts(story.brings(item("D", guid=None, link="m"))) == [("item_seen", "D")]


def test_a_rekeyed_feed_is_told_with_three_titles_at_most_and_only_once(story: Story) -> None:
    titles = ["E", "D", "C", "B", "A"]
    document = [item(title, guid="g", link="l") for title in titles]
    assert story.brings(*document)[0] == FeedRekeyed("guid", "g", ("E", "D", "C"))
    assert story.brings(*document, item("F", guid="g", link="l")) != []
    assert story.feed.unfit_keys == {"guid"}


def test_guid_and_link_can_both_turn_out_to_be_no_keys(story: Story) -> None:
    events = story.brings(
        item("D", guid="g", link="l"),
        item("C", guid="g", link="l"),
        item("B", guid=None, link="l"),
        item("A", guid=None, link="l"),
    )
    assert [event.unfit for event in events if isinstance(event, FeedRekeyed)] == ["guid", "link"]
    assert sorted(event.title for event in events if isinstance(event, ItemSeen)) == ["A", "B", "C", "D"]


def test_a_guid_that_stands_twice_for_one_title_is_a_key_still(story: Story) -> None:
    events = story.brings(item("A", guid="g", link="l"), item("A", guid="g", link="l"))
    assert told(events) == [("item_seen", "A")]


def test_a_link_shared_by_items_that_have_guids_is_a_key_still(story: Story) -> None:
    events = story.brings(item("B", guid="2", link="l"), item("A", guid="1", link="l"))
    assert told(events) == [("item_seen", "A"), ("item_seen", "B")]
    assert story.feed.unfit_keys == frozenset()


def test_what_was_known_before_a_feed_was_rekeyed_is_known_after_it(story: Story) -> None:
    story.brings(item("A", guid="g", link="l"))
    events = story.brings(item("B", guid="g", link="l"), item("A", guid="g", link="l"))
    assert told(events) == [("feed_rekeyed", ""), ("item_seen", "B")]


def test_what_was_known_before_a_feed_without_links_was_rekeyed_is_known_after_it(story: Story) -> None:
    story.brings(item("A", guid="g", link=None))
    events = story.brings(item("B", guid="g", link=None), item("A", guid="g", link=None))
    assert texts(events) == [("item_seen", "B")]


def test_in_a_rekeyed_feed_an_item_without_a_link_is_known_by_its_content(story: Story) -> None:
    document = [item("B", guid="g", link=None), item("A", guid="g", link=None)]
    events = story.brings(*document)
    assert {event.key for event in events if isinstance(event, ItemSeen)} == {"content"}
    assert story.brings(*document) == []


def test_in_a_rekeyed_feed_a_known_title_with_another_text_is_a_revision(story: Story) -> None:
    story.brings(item("B", guid="g", link="l"), item("A", guid="g", link="l"))
    assert told(story.brings(item("B", guid="g", link="l", summary="More"))) == [("item_revised", "B")]


def test_in_a_rekeyed_feed_an_item_without_a_title_is_known_by_its_link(story: Story) -> None:
    story.brings(
        item("A", guid="g", link="l"), item("B", guid="g", link="l"), item("", guid="g", link="m", summary="s")
    )
    assert story.brings(item("", guid="g", link="m", summary="s")) == []
    assert told(story.brings(item("", guid="g", link="m", summary="t"))) == [("item_revised", "")]


# ── claims ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_item_that_bears_on_a_claim_is_matched_right_after_it_was_seen(story: Story) -> None:
    events = story.brings(item("Other"), item("A pause in strikes"))
    assert told(events) == [
        ("item_seen", "A pause in strikes"),
        ("claim_matched", ""),
        ("claim_matched", ""),
        ("item_seen", "Other"),
    ]
    [id] = [known.id for known in story.items.values() if known.claims]
    matched = [event for event in events if isinstance(event, ClaimMatched)]
    assert [event.claim for event in matched] == ["pause", "strike"]
    assert {(event.item, event.feed, event.item_version, event.rules) for event in matched} == {
        (id, "gazette", 1, WATCH.rules_sha256)
    }
    assert [event.evidence[0].surface for event in matched] == [("pause",), ("strikes",)]


def test_a_revision_is_matched_by_its_own_version(story: Story) -> None:
    story.brings(item("Talks", guid="g"))
    matched = only(story.brings(item("A pause", guid="g")), ClaimMatched)
    assert (matched.claim, matched.item_version) == ("pause", 2)


def test_a_claim_that_stays_is_not_matched_again(story: Story) -> None:
    story.brings(item("A pause", guid="g"))
    assert told(story.brings(item("The pause", guid="g"))) == [("item_revised", "The pause")]


def test_a_claim_that_the_new_text_no_longer_bears_on_lapses(story: Story) -> None:
    story.brings(item("A pause", guid="g"))
    events = story.brings(item("A strike", guid="g"))
    [id] = story.items
    assert events[1] == only(events, ClaimMatched)
    assert events[2] == MatchLapsed("pause", id, 2)
    assert story.items[id].claims == {"strike"}


def test_a_match_that_lapsed_comes_again_with_a_third_text(story: Story) -> None:
    story.brings(item("A pause", guid="g"))
    story.brings(item("Talks", guid="g"))
    assert only(story.brings(item("The pause", guid="g")), ClaimMatched).item_version == 3


def test_content_alone_can_bear_on_a_claim() -> None:
    story = Story(compiled(rules(claim("pause", "content:pause"))))
    assert only(story.brings(item("Talks", content="A pause")), ClaimMatched).evidence[0].field == "content"


def test_a_claim_that_is_no_longer_watched_does_not_lapse(story: Story) -> None:
    story.brings(item("A pause", guid="g"))
    story.matcher = compiled(rules(claim("strike", "strike")))
    assert told(story.brings(item("Talks", guid="g"))) == [("item_revised", "Talks")]
    story.matcher = WATCH
    assert told(story.brings(item("More talks", guid="g")))[1:] == [("match_lapsed", "")]


def test_what_an_item_bears_on_is_not_lost_by_a_second_revision_in_one_document(story: Story) -> None:
    events = story.brings(item("A", guid="g", summary="pause 2"), item("A", guid="g", summary="pause"))
    assert [event.kind for event in events] == ["item_seen", "claim_matched", "item_revised"]


# ── already there ────────────────────────────────────────────────────────────────────────────────────────────────

A_WEEK = timedelta(days=7)
A_MOMENT = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("published", "already_there"),
    [
        (NOW, False),
        (NOW - A_WEEK, False),
        (NOW - A_WEEK - A_MOMENT, True),
        (None, False),
        (NOW + timedelta(days=1), False),
    ],
)
def test_only_what_is_older_than_a_week_at_the_first_poll_was_already_there(
    story: Story, published: datetime | None, already_there: bool
) -> None:
    events = story.brings(item("A pause", published=published))
    assert only(events, ItemSeen).already_there is already_there
    assert only(events, ClaimMatched).already_there is already_there


def test_an_old_item_that_comes_later_is_news(story: Story) -> None:
    story.brings(item("A"))
    events = story.brings(item("A"), item("A pause", published=days_ago(30)))
    assert only(events, ItemSeen).already_there is False
    assert only(events, ClaimMatched).already_there is False


def test_a_first_document_without_items_is_no_first_poll(story: Story) -> None:
    story.brings()
    assert only(story.brings(item("A pause", published=days_ago(30))), ItemSeen).already_there is True


def test_what_was_already_there_stays_so_when_it_is_revised(story: Story) -> None:
    story.brings(item("Talks", guid="g", published=days_ago(30)))
    assert only(story.brings(item("A pause", guid="g", published=days_ago(30))), ClaimMatched).already_there is True


# ── dates ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("ahead", "kept"),
    [
        (timedelta(hours=12), True),
        (timedelta(days=2), True),
        (timedelta(days=2) + A_MOMENT, False),
        (timedelta(days=9_000), False),
    ],
)
def test_a_date_too_far_ahead_is_dropped_and_the_item_kept(story: Story, ahead: timedelta, kept: bool) -> None:
    seen = only(story.brings(item("A", published=NOW + ahead)), ItemSeen)
    assert seen.published == (NOW + ahead if kept else None)


def test_an_impossible_date_is_dropped_from_a_revision_too(story: Story) -> None:
    story.brings(item("A", guid="g"))
    assert only(story.brings(item("B", guid="g", published=NOW + timedelta(days=400))), ItemRevised).published is None


# ── gaps and windows ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_gap_is_suspected_when_nothing_of_the_last_window_is_left(story: Story) -> None:
    story.brings(item("A"), item("B"))
    story.now = LATER
    events = story.brings(item("C"), item("D"))
    assert events[0] == GapSuspected(after=NOW, before=LATER)
    assert told(events[1:]) == [("item_seen", "D"), ("item_seen", "C")]


def test_no_gap_is_suspected_while_one_item_of_the_window_is_left(story: Story) -> None:
    story.brings(item("A"), item("B"))
    assert told(story.brings(item("C"), item("B"))) == [("item_seen", "C")]


def test_a_revised_item_of_the_window_is_left(story: Story) -> None:
    story.brings(item("A", guid="g"))
    assert told(story.brings(item("B", guid="g"))) == [("item_revised", "B")]


def test_an_item_from_before_the_window_does_not_close_the_gap(story: Story) -> None:
    story.brings(item("A"))
    story.brings(item("A"), item("B"))
    story.brings(item("B"))
    assert told(story.brings(item("A"), item("C"))) == [("gap_suspected", ""), ("item_seen", "C")]


def test_a_first_document_has_no_gap_before_it(story: Story) -> None:
    assert told(story.brings(item("A"))) == [("item_seen", "A")]


def test_an_empty_document_is_no_gap_and_keeps_the_window(story: Story) -> None:
    story.brings(item("A"), item("B"))
    window = story.feed.window
    assert story.brings() == []
    assert story.feed.window == window
    assert story.brings(item("A"), item("B")) == []
    story.brings()
    assert only(story.brings(item("C")), GapSuspected)


def test_the_window_is_what_the_last_document_held(story: Story) -> None:
    story.brings(item("A"), item("B"))
    story.brings(item("B"), item("C"))
    assert {guid for id in story.feed.window for guid in story.items[id].guids} == {"b", "c"}


def test_where_the_window_was_lost_a_gap_is_suspected_if_nothing_ever_seen_is_left(story: Story) -> None:
    story.brings(item("A"), item("B"))
    story.feed = replace(story.feed, window=frozenset(), last_success=None)
    assert story.brings(item("A")) == []
    story.feed = replace(story.feed, window=frozenset(), last_success=None)
    assert only(story.brings(item("C")), GapSuspected) == GapSuspected(None, NOW)


# ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_several_events_of_one_item_in_one_document_follow_each_other(story: Story) -> None:
    decided = story.decide([item("A", summary="3"), item("A", summary="2"), item("A", summary="1")])
    assert [(new.event.kind, new.after_version) for new in decided.events] == [
        ("item_seen", 0),
        ("item_revised", 1),
        ("item_revised", 2),
    ]
    assert len({new.stream for new in decided.events}) == 1


def test_a_revision_follows_the_version_that_is_known(story: Story) -> None:
    for number in range(4):
        story.brings(item("A", summary=str(number)))
    [id] = story.items
    decided = story.decide([item("A", summary="next")])
    assert [(new.stream, new.after_version) for new in decided.events] == [(f"item/{id}", 4)]


def test_several_events_of_a_feed_follow_each_other_and_come_first(story: Story) -> None:
    story.brings(item("A"))
    story.feed = replace(story.feed, version=5, state="failing", since=NOW, reason="timeout")
    document = [item("C", guid="g", link="l"), item("D", guid="g", link="l")]
    decided = story.decide(document)
    assert [(new.stream, new.event.kind, new.after_version) for new in decided.events[:3]] == [
        ("feed/gazette", "feed_recovered", 5),
        ("feed/gazette", "feed_rekeyed", 6),
        ("feed/gazette", "gap_suspected", 7),
    ]


def test_matches_go_to_the_claims_stream_at_whatever_version_it_is(story: Story) -> None:
    story.brings(item("A pause", guid="g"))
    decided = story.decide([item("A strike", guid="g")])
    assert [(new.stream, new.after_version) for new in decided.events[1:]] == [
        ("claim/strike", None),
        ("claim/pause", None),
    ]


# ── failing, recovering, gone ────────────────────────────────────────────────────────────────────────────────────

FAILING = KnownFeed("gazette", version=3, state="failing", since=NOW, reason="timeout")


@pytest.mark.parametrize("state", ["new", "ok", "gone"])
def test_the_first_failure_is_news(state: Any) -> None:
    feed = KnownFeed("gazette", version=3, state=state, since=NOW)
    assert after_failure(feed, FeedFailed("timeout", "30 s", "Wait.")) == (
        NewEvent("feed/gazette", FeedFailed("timeout", "30 s", "Wait."), 3),
    )


def test_the_same_failure_again_is_no_news() -> None:
    assert after_failure(FAILING, FeedFailed("timeout", "31 s", "Wait longer.")) == ()


def test_another_failure_is_news() -> None:
    assert [new.event for new in after_failure(FAILING, FeedFailed("HTTP 500", "", ""))] == [
        FeedFailed("HTTP 500", "", "")
    ]


@pytest.mark.parametrize("state", ["failing", "gone"])
def test_a_feed_that_answers_again_has_recovered(state: Any) -> None:
    feed = replace(FAILING, state=state)
    assert after_unchanged(feed) == [FeedRecovered(NOW)]
    decided = after_change(feed, [], [], WATCH, LATER)
    assert decided.events == (NewEvent("feed/gazette", FeedRecovered(NOW), 3),)


@pytest.mark.parametrize("state", ["new", "ok"])
def test_a_feed_that_was_well_has_nothing_to_recover_from(state: Any) -> None:
    assert after_unchanged(KnownFeed("gazette", state=state, since=NOW)) == []


def test_a_feed_that_is_gone_is_told_once() -> None:
    url = "https://gazette.example/rss"
    assert after_gone(FAILING, url) == (NewEvent("feed/gazette", FeedGone(url), 3),)
    assert after_gone(replace(FAILING, state="gone"), url) == ()


# ── moving ───────────────────────────────────────────────────────────────────────────────────────────────────────

OLD, NEW = "https://gazette.example/rss", "https://gazette.example/feed"


def move_after(*told: tuple[float, str | None]) -> Move | None:
    """What answers so many hours after noon, each with the address it names for good, come to."""
    move: Move | None = None
    for hours, moved_to in told:
        move = next_move(move, moved_to, NOW + timedelta(hours=hours))
    return move


def moves(now_hours: float, move: Move | None) -> bool:
    return after_moved(FAILING, (), OLD, move, NOW + timedelta(hours=now_hours)) is not None


def test_a_feed_moves_when_a_site_said_so_three_times_in_a_row_and_for_a_day() -> None:
    assert moves(24, move_after((0, NEW), (1, NEW), (24, NEW)))
    assert not moves(23.9, move_after((0, NEW), (1, NEW), (23.9, NEW)))
    assert not moves(30, move_after((0, NEW), (30, NEW)))
    assert not moves(30, None)


@pytest.mark.parametrize("between", [None, "https://elsewhere.example/"])
def test_an_answer_without_the_move_takes_back_what_others_said(between: str | None) -> None:
    assert move_after((0, NEW), (1, NEW), (12, between), (24, NEW)) == Move(NEW, NOW + timedelta(hours=24), 1)


def test_a_move_is_recorded_behind_what_else_is_decided_of_the_feed() -> None:
    move = move_after((0, NEW), (1, NEW), (24, NEW))
    decided = [
        NewEvent("feed/gazette", FeedRecovered(NOW), 3),
        NewEvent("item/1", ItemRevised("gazette", None, None, "", "", "", None, None, None, "1"), 1),
    ]
    moved = after_moved(FAILING, decided, OLD, move, NOW + timedelta(hours=24))
    assert moved == NewEvent("feed/gazette", FeedMoved(OLD, NEW), 4)


# ── when to ask again ────────────────────────────────────────────────────────────────────────────────────────────

QUARTER = timedelta(minutes=15)


def pause_after(failures: int, interval: timedelta = QUARTER, feed: str = "gazette", **options: Any) -> timedelta:
    options.setdefault("not_before", None)
    return decisions.next_poll(feed, interval, failures, NOW, **options) - NOW


def test_a_feed_that_was_not_asked_comes_after_the_pause_and_the_longest_unread_first() -> None:
    quarter, pause = QUARTER, timedelta(hours=1)
    read = [None, *(NOW - timedelta(minutes=minutes) for minutes in (300, 75, 30, 0))]
    moments = [decisions.next_turn(quarter, pause, NOW, at, NOW) for at in read]
    assert moments[0] == NOW + pause
    assert sorted(set(moments)) == moments
    assert moments[-1] == NOW + pause + decisions.LAST_IN_TURN
    assert decisions.next_turn(quarter, pause, NOW + 2 * pause, NOW, NOW) == NOW + 2 * pause


def test_a_question_too_many_is_put_again_when_the_host_and_its_own_pace_allow_it() -> None:
    quarter = QUARTER
    assert decisions.after_too_many("a", quarter, timedelta(days=1), NOW) == NOW + timedelta(days=1)
    pauses = {decisions.after_too_many(f"feed {at}", quarter, timedelta(minutes=1), NOW) - NOW for at in range(50)}
    assert len(pauses) == 50
    assert min(pauses) >= quarter
    assert max(pauses) <= 1.5 * quarter


@pytest.mark.parametrize("failures", [0, 1, 3, 20, 10_000])
@pytest.mark.parametrize("feed", ["gazette", "herald", "вісник"])
def test_a_feed_is_asked_up_to_a_tenth_later_than_its_pause(failures: int, feed: str) -> None:
    pause = pause_after(failures, feed=feed)
    steps = [QUARTER * 2**doubled for doubled in range(7)] + [timedelta(days=1)]
    assert any(step <= pause <= step * 1.1 for step in steps)


def test_a_feed_that_answers_is_asked_after_its_interval() -> None:
    assert QUARTER <= pause_after(0) <= QUARTER * 1.1


def test_each_failure_in_a_row_makes_the_pause_no_shorter_and_two_make_it_longer() -> None:
    pauses = [pause_after(failures) for failures in range(12)]
    assert pauses == sorted(pauses)
    assert pauses[2] >= pauses[0] * 2
    assert abs(pauses[4] - pauses[3] * 2) <= A_MOMENT * 2


def test_the_pause_never_grows_beyond_a_day() -> None:
    assert timedelta(days=1) <= pause_after(50) <= timedelta(days=1) * 1.1


def test_an_interval_longer_than_a_day_stays_as_it_is() -> None:
    week = timedelta(days=7)
    assert pause_after(0, week) == pause_after(5, week)
    assert week <= pause_after(5, week) <= week * 1.1


def test_the_spread_is_the_feeds_own_and_parts_feeds() -> None:
    assert pause_after(0) == pause_after(0)
    assert len({pause_after(0, feed=f"feed-{number}") for number in range(100)}) == 100


def test_a_feed_is_never_asked_before_the_server_allows() -> None:
    allowed = NOW + timedelta(hours=7)
    assert pause_after(0, not_before=allowed) == timedelta(hours=7)
    assert pause_after(0, not_before=NOW + timedelta(seconds=1)) == pause_after(0)


# ── any documents at all ─────────────────────────────────────────────────────────────────────────────────────────

_dates = st.none() | st.sampled_from([days_ago(30), days_ago(1), NOW, NOW + timedelta(days=30)])


def _items(titles: Sequence[str]) -> st.SearchStrategy[Item]:
    return st.builds(
        Item,
        guid=st.sampled_from([None, "g1", "g2", "g3"]),
        link=st.sampled_from([None, "l1", "l2"]),
        title=st.sampled_from(titles),
        summary=st.sampled_from(["", "s", "a strike"]),
        published=_dates,
    )


def _documents(titles: Sequence[str]) -> st.SearchStrategy[list[list[Item]]]:
    return st.lists(st.lists(_items(titles), max_size=5), min_size=1, max_size=4)


def recorded(events: Iterable[Event]) -> set[tuple[str, str | None, str]]:
    return {(event.title, event.link, event.summary) for event in events if isinstance(event, ItemSeen | ItemRevised)}


@settings(max_examples=200, deadline=None)
@given(_documents(["", "A", "B", "A pause"]))
def test_no_text_of_any_document_is_missing_from_the_log(documents: list[list[Item]]) -> None:
    story = Story()
    log: list[Event] = []
    for document in documents:
        log += story.brings(*document)
        assert {(one.title, one.link, one.summary) for one in document} <= recorded(log)


@settings(max_examples=200, deadline=None)
@given(_documents(["", "A", "B", "A pause"]))
def test_the_same_document_twice_is_never_news_the_second_time(documents: list[list[Item]]) -> None:
    story = Story()
    for document in documents:
        story.brings(*document)
        assert story.brings(*document) == []


@settings(max_examples=150, deadline=None)
@given(_documents(["A", "B", "A pause"]))
def test_what_an_item_bears_on_is_what_its_last_recorded_text_bears_on(documents: list[list[Item]]) -> None:
    story = Story()
    last: dict[str, ItemSeen | ItemRevised] = {}
    for document in documents:
        decided = story.decide(document)
        story.fold(decided)
        for new in decided.events:
            if isinstance(new.event, ItemSeen | ItemRevised):
                last[new.stream.partition("/")[2]] = new.event
    for id, known in story.items.items():
        found = WATCH.match(title=last[id].title, summary=last[id].summary)
        assert known.claims == {match.claim for match in found}


# ── as the log knows it ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_guid_that_a_revision_brought_identifies_the_item_from_then_on(watch: Watch) -> None:
    def polled(one: Item) -> list[str]:
        move_on(watch, timedelta(hours=1))
        known = watch.rules.feeds[0]
        changed = Changed(rss(one), body_sha256="", etag=None, last_modified=None, charset=None)
        return [recorded.event.kind for recorded in take_in(watch, known, changed).recorded]

    assert polled(item("A", guid="1", link="l")) == ["item_seen"]
    assert polled(item("A", guid="2", link="l", summary="More")) == ["item_revised"]
    assert polled(item("B", guid="2", link="l", summary="More")) == ["item_revised"]
