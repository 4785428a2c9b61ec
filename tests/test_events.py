"""Every kind of event, its stored form, and the page that documents them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import fields, is_dataclass, replace
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon import events
from daemon.coverage import Coverage, FeedOutage, FeedTrouble, Span
from daemon.errors import LogDamaged, UnknownKind
from daemon.events import (
    EVENT_TYPES,
    BackfillFinished,
    ClaimMatched,
    DeliveryAccepted,
    DeliveryCancelled,
    DeliveryDeferred,
    DeliveryRefused,
    DeliveryStarted,
    DeliveryUncertain,
    DigestPrepared,
    DigestSkipped,
    Event,
    Evidence,
    FeedFailed,
    FeedGone,
    FeedMoved,
    FeedRecovered,
    FeedRekeyed,
    GapSuspected,
    ItemRedacted,
    ItemRevised,
    ItemSeen,
    MatchLapsed,
    MatchReviewed,
    NoticeDeferred,
    NoticePrepared,
    NoticeSent,
    Recorded,
    Redaction,
    RulesChanged,
    WatchStarted,
    WatchStopped,
    from_payload,
    to_payload,
)
from daemon.moments import as_utc, parse_timestamp, timestamp
from daemon.notices import Told
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules, TermRule, canonical_json, recipient_id
from tests import support

NOON = datetime(2025, 3, 19, 12, 0, tzinfo=UTC)
MORNING = NOON - timedelta(hours=5, microseconds=-7)
DOCUMENT = Path(__file__).parent.parent / "docs" / "events.md"

RULES = support.rules(
    support.feed("gazette", title="The Gazette"),
    support.feed("газета", enabled=False),
    replace(support.claim(due=date(2025, 4, 17)), terms=(TermRule("energy pause", "supports"),)),
    support.digest(claims=("energy-strike-pause",), when_empty="send"),
    words={"strike": ("attack", "удар")},
    within_words=8,
)
COVERAGE = Coverage(
    since=MORNING,
    until=NOON,
    feeds=3,
    feeds_read=2,
    troubles=(
        FeedTrouble("courier", "failing", MORNING, "timeout", "Wait."),
        FeedTrouble("post", "gone", None, "", ""),
    ),
    asleep=(Span(MORNING, NOON),),
    gaps=("gazette",),
)
EVIDENCE = Evidence("energy pause", "supports", "title", ((0, 6), (10, 15)), ("Energy", "pause"))
TEXT: dict[str, Any] = {
    "feed": "gazette",
    "guid": "a-1",
    "link": "https://gazette.example/a-1",
    "title": "Обстріл “paused”",
    "summary": "Two\nparagraphs",
    "content": "",
    "author": None,
    "published": MORNING,
    "lang": "uk",
    "fingerprint": "f" * 64,
}

TOLD = (
    Told("feed failing", "gazette", "first", MORNING),
    Told("rules refused", "", "over", MORNING, NOON),
)

EXAMPLES: tuple[Event, ...] = (
    WatchStarted("1.0", MORNING),
    WatchStarted("1.0", None),
    WatchStopped("SIGTERM"),
    RulesChanged(RULES.sha256, RULES),
    RulesChanged(RULES.sha256, RULES, rematch=("energy-strike-pause",)),
    BackfillFinished(RULES.sha256, ("energy-strike-pause",), items=90, matched=3, changed=2, dropped=1),
    ItemSeen(key="guid", already_there=True, **TEXT),
    ItemSeen(key="title+link", **TEXT | {"guid": None, "published": None, "lang": None, "author": "A. Writer"}),
    ItemRevised(**TEXT),
    ItemRedacted("a court's order", (Redaction(4, "0" * 64), Redaction(9, "1" * 64))),
    ClaimMatched("energy-strike-pause", "3f2a", "gazette", 2, RULES.sha256, (EVIDENCE, EVIDENCE), already_there=True),
    ClaimMatched("energy-strike-pause", "3f2a", "gazette", 2, RULES.sha256, (EVIDENCE,), retroactive=True),
    MatchReviewed(7, "energy-strike-pause", "3f2a", 2, RULES.sha256, (EVIDENCE,)),
    MatchReviewed(7, "energy-strike-pause", "3f2a", 2, RULES.sha256, ()),
    MatchLapsed("energy-strike-pause", "3f2a", 3),
    MatchLapsed("energy-strike-pause", "3f2a", 3, changed_at=MORNING),
    FeedFailed("timeout", "no answer in 20 s", "It is tried again."),
    FeedRecovered(MORNING),
    FeedGone("https://gazette.example/rss"),
    FeedMoved("https://gazette.example/rss", "https://gazette.example/feed"),
    FeedRekeyed("link", "https://gazette.example/", ("One", "Another")),
    GapSuspected(MORNING, NOON),
    GapSuspected(None, NOON),
    DigestPrepared(
        name="daily",
        recipient="r-0123456789ab",
        due=NOON,
        missed=(MORNING,),
        matches=(7, 12),
        coverage=COVERAGE,
        log_position=12,
        head="a" * 64,
        message_id="<id@example.org>",
        subject="2 new",
        message="eJwDAAAAAAE=",
        resent=True,
    ),
    DigestSkipped("daily", "r-0123456789ab", NOON, (MORNING, NOON), replace(COVERAGE, since=None)),
    DeliveryStarted(1, "smtp"),
    DeliveryAccepted("250 OK"),
    DeliveryDeferred("451 later", NOON),
    DeliveryRefused("550 no such user"),
    DeliveryCancelled("the recipient is no longer in feeds.yaml", may_have_left=True),
    DeliveryUncertain(1),
    NoticePrepared(TOLD, "<notice@example.org>", "1 feed that can't be read", "eJwDAAAAAAE="),
    NoticeSent(TOLD, "<notice@example.org>", "250 OK"),
    NoticeDeferred("<other@example.org>", "451 later", NOON),
)


def example_of(kind: str) -> Event:
    return next(event for event in EXAMPLES if event.kind == kind)


def names_of(event: Any) -> list[str]:
    """The names of an event's fields, in the order in which the class has them."""
    return [field.name for field in fields(event)]


def stored(event: Event) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(to_payload(event))
    return found


def test_there_is_an_example_of_every_kind() -> None:
    assert {event.kind for event in EXAMPLES} == set(EVENT_TYPES)


def test_every_event_class_of_the_module_is_known_by_its_kind() -> None:
    classes = [one for one in vars(events).values() if is_dataclass(one) and hasattr(one, "kind")]
    assert sorted(EVENT_TYPES.values(), key=repr) == sorted(classes, key=repr)


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_an_event_comes_back_equal(event: Event) -> None:
    assert from_payload(event.kind, to_payload(event)) == event


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_a_payload_holds_exactly_the_fields(event: Event) -> None:
    assert list(stored(event)) == sorted(names_of(event))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: event.kind)
def test_a_payload_is_canonical(event: Event) -> None:
    payload = to_payload(event)
    by_hand = json.dumps(json.loads(payload), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert payload == by_hand.encode()


def test_a_payload_says_what_was_given_in_utf8() -> None:
    event = FeedFailed("тайм-аут", "no answer", "Wait “a while”.")
    expected = '{"detail":"no answer","document_sha256":null,"hint":"Wait “a while”.","reason":"тайм-аут"}'
    assert to_payload(event) == expected.encode()


def test_times_in_a_payload_are_utc_with_microseconds() -> None:
    kyiv = timezone(timedelta(hours=2))
    event = DeliveryDeferred("later", datetime(2025, 3, 19, 14, 0, tzinfo=kyiv))
    assert stored(event)["retry_at"] == "2025-03-19T12:00:00.000000Z"


def test_the_recorded_rules_have_the_hash_that_they_had() -> None:
    event = from_payload("rules_changed", to_payload(RulesChanged(RULES.sha256, RULES)))
    assert isinstance(event, RulesChanged)
    assert event.rules.sha256 == event.sha256 == RULES.sha256


# Any text that UTF-8 can hold: controls, emoji, both directions, line separators. Lone surrogates are no text.
texts = st.text(st.characters(exclude_categories=["Cs"]))
moments = st.datetimes(
    min_value=datetime(1, 1, 2),  # noqa: DTZ001
    max_value=datetime(9999, 12, 30),  # noqa: DTZ001
    timezones=st.timezones() | st.just(UTC),
)


@given(texts, texts, texts, st.none() | texts, st.none() | moments)
def test_any_text_and_any_date_of_an_item_come_back(
    title: str, summary: str, content: str, author: str | None, published: datetime | None
) -> None:
    given_text = TEXT | {
        "title": title,
        "summary": summary,
        "content": content,
        "author": author,
        "published": published,
    }
    event = ItemRevised(**given_text)
    # In UTC, because Python calls no time of another zone equal to one of an hour that comes twice.
    told = replace(event, published=published and published.astimezone(UTC))
    assert from_payload(event.kind, to_payload(event)) == told


@given(texts, texts, texts)
def test_any_text_of_a_failure_comes_back(reason: str, detail: str, hint: str) -> None:
    event = FeedFailed(reason, detail, hint)
    assert from_payload(event.kind, to_payload(event)) == event


@given(texts, st.lists(texts), st.dictionaries(texts, st.lists(texts).map(tuple)))
def test_any_words_of_rules_come_back(statement: str, terms: list[str], words: dict[str, tuple[str, ...]]) -> None:
    rules = support.rules(replace(support.claim(), statement=statement, terms=tuple(map(TermRule, terms))), words=words)
    event = RulesChanged(rules.sha256, rules)
    assert from_payload(event.kind, to_payload(event)) == event


# ── what is not taken ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["item_dreamt", "ItemSeen", "daemon.events.ItemSeen", "", "ITEM_SEEN"])
def test_an_unknown_kind_is_an_error_that_names_it_and_its_place(kind: str) -> None:
    with pytest.raises(UnknownKind, match=f"event 17 is of the kind '{kind}'") as caught:
        from_payload(kind, b"{}", position=17)
    assert "newer claimwatch" in caught.value.hint


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_an_extra_field_is_an_error(kind: str) -> None:
    payload = canonical_json(stored(example_of(kind)) | {"surprise": 1})
    with pytest.raises(LogDamaged, match=rf"event 3 \({kind}\) can't be read: surprise: "):
        from_payload(kind, payload, position=3)


OPTIONAL = {
    *("already_there", "changed_at", "document_sha256", "gave_up", "rematch", "resent", "retroactive"),
    "template_faults",
}
REQUIRED = [
    (kind, name)
    for kind, event_type in sorted(EVENT_TYPES.items())
    for name in names_of(event_type)
    if name not in OPTIONAL
]


@pytest.mark.parametrize(("kind", "name"), REQUIRED)
def test_a_missing_field_is_an_error(kind: str, name: str) -> None:
    payload = stored(example_of(kind))
    del payload[name]
    with pytest.raises(LogDamaged, match=rf"event 3 \({kind}\) can't be read: {name}: "):
        from_payload(kind, canonical_json(payload), position=3)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("rules_changed", ("rules",)),
        ("rules_changed", ("rules", "feeds", 0)),
        ("rules_changed", ("rules", "claims", 0)),
        ("rules_changed", ("rules", "claims", 0, "terms", 0)),
        ("rules_changed", ("rules", "digests", 0)),
        ("item_redacted", ("redactions", 0)),
        ("claim_matched", ("evidence", 0)),
        ("digest_prepared", ("coverage",)),
        ("digest_prepared", ("coverage", "troubles", 0)),
        ("digest_skipped", ("coverage", "asleep", 0)),
    ],
)
def test_an_extra_field_deep_inside_is_an_error_too(kind: str, path: tuple[str | int, ...]) -> None:
    payload: Any = stored(example_of(kind))
    inner = payload
    for step in path:
        inner = inner[step]
    inner["surprise"] = 1
    with pytest.raises(LogDamaged, match=rf"{'.'.join(map(str, path))}\.surprise: "):
        from_payload(kind, canonical_json(payload))


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("item_seen", "key", "title"),
        ("item_seen", "title", None),
        ("item_seen", "title", 7),
        ("item_seen", "published", "yesterday"),
        ("item_seen", "published", "2025-03-19T12:00:00"),
        ("item_seen", "already_there", "perhaps"),
        ("feed_rekeyed", "unfit", "title"),
        ("feed_rekeyed", "titles", "One"),
        ("delivery_started", "via", "pigeon"),
        ("delivery_started", "attempt", "first"),
        ("claim_matched", "evidence", [{"term": "x"}]),
        ("digest_prepared", "matches", [1.5]),
    ],
)
def test_a_value_that_the_field_does_not_take_is_an_error(kind: str, field: str, value: object) -> None:
    payload = canonical_json(stored(example_of(kind)) | {field: value})
    with pytest.raises(LogDamaged, match=rf"\({kind}\) can't be read: {field}"):
        from_payload(kind, payload)


@pytest.mark.parametrize("payload", [b"", b"{", b"null", b"[]", b'"text"', b"\xff\xfe", b"{}x"])
def test_a_payload_that_is_no_json_object_is_an_error(payload: bytes) -> None:
    with pytest.raises(LogDamaged, match=r"event 5 \(watch_stopped\) can't be read: payload: "):
        from_payload("watch_stopped", payload, position=5)


def test_a_time_without_a_zone_is_never_stored() -> None:
    with pytest.raises(ValueError, match="a time without a zone"):
        to_payload(FeedRecovered(datetime(2025, 3, 19, 12)))  # noqa: DTZ001


# ── times ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2025, 3, 18, 15, 4, 5, tzinfo=UTC), "2025-03-18T15:04:05.000000Z"),
        (datetime(2025, 3, 18, 15, 4, 5, 7, tzinfo=UTC), "2025-03-18T15:04:05.000007Z"),
        (datetime(2025, 3, 18, 1, 0, tzinfo=timezone(timedelta(hours=2))), "2025-03-17T23:00:00.000000Z"),
        (datetime(987, 1, 1, tzinfo=UTC), "0987-01-01T00:00:00.000000Z"),
    ],
)
def test_a_timestamp_is_iso_8601_in_utc_with_six_decimals(moment: datetime, text: str) -> None:
    assert timestamp(moment) == text
    assert parse_timestamp(text) == moment


@given(moments, moments)
def test_timestamps_sort_as_their_moments_do(one: datetime, other: datetime) -> None:
    assert (timestamp(one) < timestamp(other)) == (as_utc(one) < as_utc(other))


def test_a_stored_time_without_a_zone_can_not_be_read() -> None:
    with pytest.raises(ValueError, match="a time without a zone"):
        parse_timestamp("2025-03-18T15:04:05.000000")


# ── canonical JSON, rules, recipients ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"b": 1, "a": [1, 2], "ж": None}, '{"a":[1,2],"b":1,"ж":null}'),
        ({"Z": 1, "a": 2, "É": 3}, '{"Z":1,"a":2,"É":3}'),
        (["", 1, True, 0.5], '["",1,true,0.5]'),
        ((1, (2,)), "[1,[2]]"),
        ({"made": date(2025, 3, 18)}, '{"made":"2025-03-18"}'),
        ("a/b \u2028 </script>", '"a/b \u2028 </script>"'),
        ('"\\\n\x00', '"\\"\\\\\\n\\u0000"'),
    ],
)
def test_canonical_json_has_one_form(value: object, expected: str) -> None:
    assert canonical_json(value) == expected.encode()


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_json_has_not_has_no_canonical_form(number: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        canonical_json([number])


def test_other_types_have_no_canonical_form() -> None:
    with pytest.raises(TypeError, match="set has no canonical form"):
        canonical_json({"a": {1}})


def test_a_usual_cyrillic_text_takes_two_bytes_a_letter() -> None:
    assert len(canonical_json("удар")) == 2 + 2 * 4


def test_equal_rules_have_an_equal_hash_whatever_the_order_of_their_words() -> None:
    one = Rules(words={"a": ("1",), "b": ("2",)})
    other = Rules(words={"b": ("2",), "a": ("1",)})
    assert one.sha256 == other.sha256


@pytest.mark.parametrize(
    "change",
    [
        {"within_words": 13},
        {"words": {"a": ("b",)}},
        {"feeds": ()},
        {"claims": ()},
        {"digests": ()},
        {"feeds": (replace(RULES.feeds[0], interval_seconds=901),)},
        {"digests": (replace(RULES.digests[0], enabled=False),)},
    ],
    ids=str,
)
def test_other_rules_have_another_hash(change: dict[str, Any]) -> None:
    assert replace(RULES, **change).sha256 != RULES.sha256


def test_the_hash_of_rules_is_that_of_their_canonical_json() -> None:
    stored_form = b'{"claims":[],"digests":[],"feeds":[],"within_words":12,"words":{}}'
    assert Rules().sha256 == hashlib.sha256(stored_form).hexdigest()


def test_what_rests_is_neither_polled_nor_watched_nor_due() -> None:
    rules = support.rules(
        support.feed("awake"),
        support.feed("asleep", enabled=False),
        support.claim("awake"),
        replace(support.claim("asleep"), enabled=False),
        support.digest("awake"),
        support.digest("asleep", enabled=False),
    )
    assert [one.id for one in rules.polled_feeds] == ["awake"]
    assert [one.id for one in rules.watched_claims] == ["awake"]
    assert [one.name for one in rules.live_digests] == ["awake"]


def test_a_recipients_id_tells_no_address_and_stays_for_another_spelling() -> None:
    assert re.fullmatch(r"r-[0-9a-f]{12}", recipient_id("Analyst@Example.org"))
    assert recipient_id(" Analyst@Example.org ") == recipient_id("analyst@example.org")
    assert recipient_id("analyst@example.org") != recipient_id("analyst@example.com")


@pytest.mark.parametrize(
    ("stream", "id"), [("item/3f2a", "3f2a"), ("watch", ""), ("digest/daily/r-1/2025", "daily/r-1/2025")]
)
def test_a_recorded_events_id_is_what_its_stream_is_about(stream: str, id: str) -> None:
    assert Recorded(1, stream, 1, NOON, WatchStopped("")).id == id


# ── docs/events.md ───────────────────────────────────────────────────────────────────────────────────────────────

STREAMS = {
    "watch": "watch",
    "item": "item/<id>",
    "claim": "claim/<id>",
    "feed": "feed/<id>",
    "digest": "digest/<id>",
    "notice": "notice/<recipient>",
}
STREAM_OF = {
    **dict.fromkeys(("watch_started", "watch_stopped", "rules_changed", "backfill_finished"), "watch"),
    **dict.fromkeys(("item_seen", "item_revised", "item_redacted"), "item"),
    **dict.fromkeys(("claim_matched", "match_reviewed", "match_lapsed"), "claim"),
    **dict.fromkeys(
        ("feed_failed", "feed_recovered", "feed_gone", "feed_moved", "feed_rekeyed", "gap_suspected"), "feed"
    ),
    **dict.fromkeys(("digest_prepared", "digest_skipped"), "digest"),
    **dict.fromkeys(("delivery_started", "delivery_accepted", "delivery_deferred"), "digest"),
    **dict.fromkeys(("delivery_refused", "delivery_cancelled", "delivery_uncertain"), "digest"),
    **dict.fromkeys(("notice_prepared", "notice_sent", "notice_deferred"), "notice"),
}
VALUES: dict[str, type[Any]] = {
    one.__name__: one
    for one in (
        Redaction,
        Evidence,
        Coverage,
        FeedOutage,
        FeedTrouble,
        Span,
        Rules,
        FeedRule,
        ClaimRule,
        TermRule,
        DigestRule,
        Told,
    )
}
"""The types inside payloads; the page lists them as it does kinds."""


def sections() -> dict[str, str]:
    """The text under each heading of the page that names a kind or a type: ### `name`."""
    parts = re.split(r"^### `(\w+)`$", DOCUMENT.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {
        name: re.split(r"^##", text, flags=re.MULTILINE)[0] for name, text in zip(parts[1::2], parts[2::2], strict=True)
    }


def listed_fields(section: str) -> list[str]:
    """The first column of the table in a section."""
    return re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)


def test_the_page_has_a_section_for_every_kind_and_type_and_for_nothing_else() -> None:
    assert set(sections()) == set(EVENT_TYPES) | set(VALUES)


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_the_page_lists_exactly_the_fields_of_a_kind(kind: str) -> None:
    assert listed_fields(sections()[kind]) == names_of(EVENT_TYPES[kind])


@pytest.mark.parametrize("kind", sorted(EVENT_TYPES))
def test_the_page_says_in_which_stream_a_kind_stands_and_when_it_is_appended(kind: str) -> None:
    line = re.search(r"^Stream `(.+)`\. Appended \S.+", sections()[kind], flags=re.MULTILINE)
    assert line
    assert line[1] == STREAMS[STREAM_OF[kind]]


def test_the_page_lists_exactly_the_fields_of_the_types_inside() -> None:
    for name, type_ in VALUES.items():
        assert listed_fields(sections()[name]) == names_of(type_), name
