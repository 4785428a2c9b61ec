"""From matches to mail: what is due is prepared once, sent at least once, and told to each recipient once."""

from __future__ import annotations

import asyncio
import email
import email.policy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

import pytest

from daemon import queries
from daemon.coverage import FeedTrouble, Span
from daemon.covering import coverage
from daemon.delivery import LONGEST_TRYING, deliver
from daemon.errors import ClaimwatchError
from daemon.eventlog import EventLog, head_of, read
from daemon.events import (
    DeliveryCancelled,
    DeliveryStarted,
    DigestPrepared,
    DigestSkipped,
    Evidence,
    FeedFailed,
    FeedGone,
    FeedRecovered,
    GapSuspected,
    NewEvent,
    Recorded,
    WatchStarted,
    WatchStopped,
)
from daemon.handovers import Accepted, Deferred, Handover, Refused
from daemon.items import Item
from daemon.knowledge import PollState, keep_poll_state
from daemon.mailing import MaildirCarrier
from daemon.outcomes import Changed, Failed, Gone, Unchanged
from daemon.preparing import (
    Post,
    digest_rule,
    next_due_time,
    prepare_due,
    prepare_now,
    preview,
    resend,
)
from daemon.projections import record
from daemon.rendering import unpack
from daemon.rules import recipient_id
from daemon.service import Watch, record_rules
from tests.support import (
    ADDRESS,
    NOW,
    RECIPIENT,
    claim,
    digest,
    feed,
    item,
    meanwhile,
    move_on,
    post,
    rss,
    rules,
    take_in,
    watching,
)

SECOND_ADDRESS = "editor@example.org"
SECOND = recipient_id(SECOND_ADDRESS)
BOTH = (ADDRESS, SECOND_ADDRESS)
DAY = timedelta(days=1)
DUE = datetime(2025, 3, 20, 7, 30, tzinfo=UTC)


@dataclass
class Hand:
    """A carrier that answers as it is told, in turn (the last answer stays), and keeps what it was handed."""

    answers: list[Handover] = field(default_factory=lambda: [Accepted("taken")])
    by_address: dict[str, Handover] = field(default_factory=dict)
    handed: list[tuple[str, str, bytes]] = field(default_factory=list)
    via: Literal["smtp", "maildir"] = "smtp"
    before: Callable[[], None] = lambda: None

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        self.before()
        self.handed.append((address, message_id, message))
        if address in self.by_address:
            return self.by_address[address]
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class PowerCutError(BaseException):
    """The end of a process, at whatever line it stands: nothing that anybody could catch."""


def cut() -> None:
    raise PowerCutError


def come_in(watch: Watch, *titles: str, feed_id: str = "gazette", **fields: Any) -> list[Recorded]:
    """A poll that brings items of these titles."""
    document: list[Item] = [item(title, published=watch.clock.now(), **fields) for title in titles]
    rule = next(one for one in watch.rules.feeds if one.id == feed_id)
    return list(take_in(watch, rule, Changed(rss(*document), "x" * 64, None, None, None)).recorded)


def change_rules(watch: Watch, *parts: Any) -> Watch:
    """The watch after feeds.yaml was changed."""
    changed = Watch.over(watch.log, rules(*parts), watch.clock)
    record_rules(changed)
    return changed


def kinds(recorded: Sequence[Recorded]) -> list[str]:
    return [one.event.kind for one in recorded]


def sent(watch: Watch, by: Post) -> list[str]:
    """Delivers what waits; the kinds of the outcomes."""
    return kinds(asyncio.run(deliver(watch, by)))


def held(recorded: Sequence[Recorded]) -> list[tuple[int, ...]]:
    """The matches that each prepared digest holds."""
    return [one.event.matches for one in recorded if isinstance(one.event, DigestPrepared)]


def matches_of(recorded: Sequence[Recorded]) -> tuple[int, ...]:
    return tuple(one.position for one in recorded if one.event.kind == "claim_matched")


def text_of(prepared: Recorded) -> str:
    """The text part of a prepared digest, on one line."""
    message = email.message_from_bytes(unpack(prepared.event.message), policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    part = message.get_body(("plain",))
    assert part is not None
    return " ".join(str(part.get_content()).split())


def head(log: EventLog) -> int:
    with log.reading() as connection:
        return head_of(connection).position


@pytest.fixture
def begun_watch(watch: Watch) -> Watch:
    """A watch whose rules the log knows since noon of 19 March."""
    record_rules(watch)
    return watch


def at_due(watch: Watch, *titles: str) -> Watch:
    """The watch when the daily digest has fallen due, with these items come in before."""
    if titles:
        come_in(watch, *titles)
    move_on(watch, DUE - watch.clock.now())
    return watch


class Raising(Hand):
    """A carrier with a slip of its own, for one address."""

    async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
        if address == ADDRESS:
            raise RuntimeError(f"no way to {address}")
        return await super().hand_over(message, address, message_id, prepared_at)


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_next_digest_is_due_after_the_rules_were_recorded(begun_watch: Watch) -> None:
    assert next_due_time(begun_watch) == DUE


def test_without_a_digest_nothing_is_due(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(enabled=False))) as watch:
        record_rules(watch)
        assert next_due_time(watch) is None
        move_on(watch, DAY)
        assert prepare_due(watch, post(tmp_path)) == []


def test_nothing_is_prepared_before_its_time(begun_watch: Watch, tmp_path: Path) -> None:
    come_in(begun_watch, "Energy strike pause")
    move_on(begun_watch, DUE - NOW - timedelta(seconds=1))
    assert prepare_due(begun_watch, post(tmp_path)) == []


def test_a_due_digest_is_prepared_once(begun_watch: Watch, tmp_path: Path) -> None:
    at_due(begun_watch, "Energy strike pause")
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert prepared.stream == f"digest/daily/{RECIPIENT}/2025-03-20T07:30:00Z"
    assert prepared.event.due == DUE
    assert prepare_due(begun_watch, post(tmp_path)) == []
    assert next_due_time(begun_watch) == DUE + DAY


def test_after_downtime_one_digest_answers_all_due_times_and_names_those_missed(
    begun_watch: Watch, tmp_path: Path
) -> None:
    come_in(begun_watch, "Energy strike pause")
    move_on(begun_watch, timedelta(days=3))
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert prepared.event.due == DUE + 2 * DAY
    assert prepared.event.missed == (DUE, DUE + DAY)
    says = "It also answers 2 missed due times: 20 Mar 2025, 07:30 UTC, 21 Mar 2025, 07:30 UTC"
    assert says in text_of(prepared)


def test_a_digest_with_nothing_to_tell_is_skipped_and_does_not_stay_due(begun_watch: Watch, tmp_path: Path) -> None:
    move_on(begun_watch, timedelta(days=2))
    (skipped,) = prepare_due(begun_watch, post(tmp_path))
    assert isinstance(skipped.event, DigestSkipped)
    assert (skipped.event.due, skipped.event.missed) == (DUE + DAY, (DUE,))
    assert prepare_due(begun_watch, post(tmp_path)) == []
    assert sent(begun_watch, post(tmp_path, Hand())) == []


def test_a_digest_that_wants_it_is_sent_empty(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(when_empty="send"))) as watch:
        record_rules(watch)
        at_due(watch)
        (prepared,) = prepare_due(watch, post(tmp_path))
        assert prepared.event.matches == ()
        assert prepared.event.subject == "Nothing new, 0 of 1 feed read (daily)"
        assert sent(watch, post(tmp_path, Hand())) == ["delivery_accepted"]


def test_two_digests_have_calendars_of_their_own(tmp_path: Path) -> None:
    weekly = digest("weekly", "0 9 * * 1")
    with watching(tmp_path, rules(digest(), weekly)) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause")
        move_on(watch, DAY)
        daily = prepare_due(watch, post(tmp_path))
        assert [one.event.name for one in daily] == ["daily"]
        move_on(watch, 5 * DAY)
        both = prepare_due(watch, post(tmp_path))
        assert kinds(both) == ["digest_skipped", "digest_prepared"]
        assert held(both) == held(daily)


@pytest.mark.parametrize("zone", ["Europe/Kyiv", "America/New_York", "Australia/Lord_Howe"])
@pytest.mark.parametrize("clock", ["30 1", "15 2", "30 3"])
def test_ticks_over_a_change_of_the_clock_bring_one_digest_each_local_day(
    tmp_path: Path, zone: str, clock: str
) -> None:
    changes = {"Europe/Kyiv": (date(2025, 3, 30), date(2025, 10, 26)), "America/New_York": (date(2025, 11, 2),)}
    for change in changes.get(zone, (date(2025, 4, 6), date(2025, 10, 5))):
        folder = tmp_path / str(change)
        folder.mkdir()
        start = datetime(change.year, change.month, change.day, 12, tzinfo=UTC) - 3 * DAY
        with watching(folder, rules(digest(cron=f"{clock} * * *", timezone=zone)), start) as watch:
            record_rules(watch)
            answered: list[datetime] = []
            for _ in range(5 * 8):
                move_on(watch, timedelta(hours=3))
                recorded = prepare_due(watch, post(folder))
                assert all(one.event.missed == () for one in recorded)
                answered += [one.event.due for one in recorded]
        assert len(answered) == 5
        assert len({due.astimezone(ZoneInfo(zone)).date() for due in answered}) == 5


# ── what ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_each_match_is_told_once(begun_watch: Watch, tmp_path: Path) -> None:
    first = matches_of(come_in(begun_watch, "Energy strike pause"))
    at_due(begun_watch)
    assert held(prepare_due(begun_watch, post(tmp_path))) == [first]
    second = matches_of(come_in(begun_watch, "Energy strike pause", "Another energy strike pause"))
    assert len(second) == 1
    move_on(begun_watch, DAY)
    assert held(prepare_due(begun_watch, post(tmp_path))) == [second]


def test_matches_wait_in_a_digest_that_is_not_sent_yet(begun_watch: Watch, tmp_path: Path) -> None:
    at_due(begun_watch, "Energy strike pause")
    prepare_due(begun_watch, post(tmp_path))
    move_on(begun_watch, DAY)
    assert kinds(prepare_due(begun_watch, post(tmp_path))) == ["digest_skipped"]


def test_every_digest_and_every_recipient_is_told_on_its_own(tmp_path: Path) -> None:
    digests = (digest("daily", recipients=(RECIPIENT, SECOND)), digest("evening"))
    with watching(tmp_path, rules(*digests)) as watch:
        record_rules(watch)
        found = matches_of(come_in(watch, "Energy strike pause"))
        move_on(watch, DAY)
        prepared = prepare_due(watch, post(tmp_path, addresses=BOTH))
        assert {(one.event.name, one.event.recipient) for one in prepared} == {
            ("daily", RECIPIENT),
            ("daily", SECOND),
            ("evening", RECIPIENT),
        }
        assert held(prepared) == [found] * 3
        assert len({one.event.message_id for one in prepared}) == 3


def test_a_digest_about_one_claim_holds_that_claim_s_matches_only(tmp_path: Path) -> None:
    parts = (claim(), claim("black-sea-group"), digest(claims=("black-sea-group",)))
    with watching(tmp_path, rules(*parts)) as watch:
        record_rules(watch)
        found = come_in(watch, "Energy strike pause", "Black Sea group")
        (wanted,) = [one.position for one in found if one.stream == "claim/black-sea-group"]
        at_due(watch)
        assert held(prepare_due(watch, post(tmp_path))) == [(wanted,)]


def test_a_recipient_named_later_is_told_what_comes_after(begun_watch: Watch, tmp_path: Path) -> None:
    before = matches_of(come_in(begun_watch, "Energy strike pause"))
    watch = change_rules(begun_watch, digest(recipients=(RECIPIENT, SECOND)))
    after = matches_of(come_in(watch, "Another energy strike pause"))
    at_due(watch)
    prepared = {one.event.recipient: one.event.matches for one in prepare_due(watch, post(tmp_path, addresses=BOTH))}
    assert prepared == {RECIPIENT: before + after, SECOND: after}


def test_a_recipient_named_later_answers_for_no_earlier_due_time(begun_watch: Watch, tmp_path: Path) -> None:
    move_on(begun_watch, 3 * DAY)
    watch = change_rules(begun_watch, digest(recipients=(SECOND,), when_empty="send"))
    assert prepare_due(watch, post(tmp_path)) == []


def test_an_item_that_was_already_there_is_told_as_such(begun_watch: Watch, tmp_path: Path) -> None:
    old = item("Energy strike pause", published=NOW - timedelta(days=30))
    take_in(begun_watch, begun_watch.rules.feeds[0], Changed(rss(old), "x", None, None, None))
    at_due(begun_watch)
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert "Already there when the feed was first read: * *Energy strike pause*" in text_of(prepared)


def test_a_match_that_lapsed_before_it_was_told_is_told_as_it_was(begun_watch: Watch, tmp_path: Path) -> None:
    come_in(begun_watch, "Energy strike pause", guid="1")
    come_in(begun_watch, "Something else", guid="1")
    at_due(begun_watch)
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert "* *Energy strike pause* gazette" in text_of(prepared)
    assert "Changed by its publisher since (19 Mar 2025, 12:00 UTC): it no longer says this." in text_of(prepared)


def test_the_marks_stand_where_the_log_s_evidence_points(begun_watch: Watch, tmp_path: Path) -> None:
    found = come_in(begun_watch, "Halt", summary="They strike no energy plant in this pause, they say")
    (matched,) = [one.event for one in found if one.event.kind == "claim_matched"]
    evidence: Evidence = matched.evidence[0]
    assert evidence.surface == ("strike", "energy", "pause")
    at_due(begun_watch)
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert "They *strike* no *energy* plant in this *pause*, they say" in text_of(prepared)


def test_a_digest_knows_the_head_that_it_was_made_on(begun_watch: Watch, tmp_path: Path) -> None:
    at_due(begun_watch, "Energy strike pause")
    with begun_watch.log.reading() as connection:
        before = head_of(connection)
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert (prepared.event.log_position, prepared.event.head) == (before.position, before.chain)
    assert prepared.position == before.position + 1


def test_two_logs_give_one_digest_two_message_ids(tmp_path: Path) -> None:
    ids = []
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        with watching(tmp_path / name, now=NOW if name == "one" else NOW + timedelta(seconds=1)) as watch:
            record_rules(watch)
            at_due(watch, "Energy strike pause")
            (prepared,) = prepare_due(watch, post(tmp_path))
            ids.append((prepared.id, prepared.event.message_id))
    assert ids[0][0] == ids[1][0]
    assert ids[0][1] != ids[1][1]


@pytest.mark.parametrize("broken", ["{{ digest.nothing }}", "{% if %}", "{{ digest.name + 1 }}", "{{ 1 / 0 }}"])
def test_a_slip_in_a_template_costs_no_digest(begun_watch: Watch, tmp_path: Path, broken: str) -> None:
    by = post(tmp_path)
    at_due(begun_watch, "Energy strike pause")
    (prepared,) = prepare_due(begun_watch, replace(by, templates=dict(by.templates) | {"digest.txt": broken}))
    assert "Energy strike pause" in text_of(prepared)


# ── coverage ─────────────────────────────────────────────────────────────────────────────────────────────────────


def add(watch: Watch, *events: tuple[str, Any]) -> None:
    with watch.log.transaction(watch.clock.now()) as transaction:
        record(transaction, [NewEvent(stream, event) for stream, event in events])


def covered(watch: Watch, since: datetime = NOW, until: datetime | None = None) -> Any:
    with watch.log.reading() as connection:
        return coverage(connection, since, until or watch.clock.now(), timedelta(days=1))


def test_coverage_names_feeds_that_fail_are_gone_or_were_never_polled(tmp_path: Path) -> None:
    feeds = [feed(id) for id in ("courier", "gazette", "herald", "tribune")]
    with watching(tmp_path, rules(*feeds, feed("resting", enabled=False))) as watch:
        record_rules(watch)
        take_in(watch, feeds[0], Failed("http 503", "503 Away", "Wait."))
        take_in(watch, feeds[1], Changed(rss(item()), "x", None, None, None))
        take_in(watch, feeds[2], Gone(feeds[2].url))
        found = covered(watch)
    assert (found.feeds, found.feeds_read) == (4, 1)
    hint = "Take it out of feeds.yaml, or give it its new address there."
    assert found.troubles == (
        FeedTrouble("courier", "failing", NOW, "http 503 Away", "Wait."),
        FeedTrouble("herald", "gone", NOW, "https://herald.example/rss answers 410", hint),
        FeedTrouble("tribune", "never polled", None, "not read yet", "It is polled when the watch runs."),
    )


def test_a_feed_read_without_a_match_is_covered(begun_watch: Watch) -> None:
    take_in(begun_watch, begun_watch.rules.feeds[0], Changed(rss(), "x", None, None, None))
    assert covered(begun_watch).feeds_read == 1


def test_a_feed_that_failed_and_came_back_is_not_passed_over_in_silence(begun_watch: Watch, tmp_path: Path) -> None:
    come_in(begun_watch, "Energy strike pause")
    one = begun_watch.rules.feeds[0]
    take_in(begun_watch, one, Failed("http 503", "503 Away", "Wait."))
    move_on(begun_watch, timedelta(hours=10))
    take_in(begun_watch, one, Unchanged(None, None))
    at_due(begun_watch)
    (prepared,) = prepare_due(begun_watch, post(tmp_path))
    assert "No feed failed" not in text_of(prepared)


def test_coverage_names_feeds_with_a_gap_since_the_last_digest(begun_watch: Watch) -> None:
    gap = GapSuspected(None, NOW)
    add(begun_watch, ("feed/early", gap))
    move_on(begun_watch, timedelta(hours=1))
    add(begun_watch, ("feed/herald", gap), ("feed/gazette", gap), ("feed/herald", gap))
    assert covered(begun_watch, NOW + timedelta(minutes=1)).gaps == ("gazette", "herald")


def hour(count: float) -> datetime:
    return NOW + timedelta(hours=count)


@pytest.mark.parametrize(
    ("story", "asleep"),
    [
        ([], []),
        ([(0, None)], []),
        ([(0, None), (2, "stop")], [(2, 10)]),
        ([(0, None), (2, "stop"), (5, 2)], [(2, 5)]),
        # A crash: no stop, but the last sign of life is known.
        ([(0, None), (5, 3)], [(3, 5)]),
        ([(0, None), (2, "stop"), (3, 2), (6, "stop"), (7, 6)], [(2, 3), (6, 7)]),
        # A command between stop and start leaves a later sign of life; the watch was down all the same.
        ([(0, None), (2, "stop"), (5, 4)], [(2, 5)]),
        ([(0, None), (0.5, "stop"), (0.8, 0.5)], []),
        ([(0, None), (0.5, "stop"), (3, 0.5)], [(1, 3)]),
    ],
)
def test_coverage_names_when_the_watch_was_down(begun_watch: Watch, story: list[Any], asleep: list[Any]) -> None:
    for at, what in story:
        move_on(begun_watch, hour(at) - begun_watch.clock.now())
        event = WatchStopped("SIGTERM") if what == "stop" else WatchStarted("1", hour(what) if what else None)
        add(begun_watch, ("watch", event))
    move_on(begun_watch, hour(10) - begun_watch.clock.now())
    assert covered(begun_watch, hour(1)).asleep == tuple(Span(hour(start), hour(end)) for start, end in asleep)


def test_a_watch_that_polled_nothing_for_long_was_not_awake_whatever_it_said(begun_watch: Watch) -> None:
    """It was killed: no stop stands in the log, and no next start tells of it yet."""
    take_in(begun_watch, begun_watch.rules.feeds[0], Changed(rss(), "x", None, None, None))
    move_on(begun_watch, 5 * DAY)
    assert covered(begun_watch).asleep == (Span(NOW, NOW + 5 * DAY),)


def test_polls_from_cron_after_a_stop_are_signs_of_life(begun_watch: Watch) -> None:
    add(begun_watch, ("watch", WatchStarted("1", None)), ("watch", WatchStopped("SIGTERM")))
    move_on(begun_watch, timedelta(hours=3))
    take_in(begun_watch, begun_watch.rules.feeds[0], Changed(rss(), "x", None, None, None))
    move_on(begun_watch, timedelta(hours=1))
    assert covered(begun_watch).asleep == ()


def test_every_outage_of_a_feed_is_told_also_when_it_fails_again(begun_watch: Watch) -> None:
    one = begun_watch.rules.feeds[0]
    for _ in range(2):
        take_in(begun_watch, one, Failed("http 503", "503 Away", "Wait."))
        move_on(begun_watch, timedelta(hours=1))
        take_in(begun_watch, one, Unchanged(None, None))
        move_on(begun_watch, timedelta(hours=1))
    take_in(begun_watch, one, Failed("http 503", "503 Away", "Wait."))
    starts = [outage.start for outage in covered(begun_watch).recovered]
    assert starts == [NOW, NOW + timedelta(hours=2)]


def test_coverage_runs_from_the_last_answered_due_time(begun_watch: Watch, tmp_path: Path) -> None:
    at_due(begun_watch)
    (first,) = prepare_due(begun_watch, post(tmp_path))
    assert (first.event.coverage.since, first.event.coverage.until) == (NOW, DUE)
    move_on(begun_watch, DAY + timedelta(minutes=5))
    (second,) = prepare_due(begun_watch, post(tmp_path))
    assert (second.event.coverage.since, second.event.coverage.until) == (DUE, DUE + DAY + timedelta(minutes=5))


def test_the_watch_is_known_awake_at_its_last_event_or_poll(begun_watch: Watch) -> None:
    def awake() -> datetime | None:
        with begun_watch.log.reading() as connection:
            return queries.last_awake(connection)

    assert awake() == NOW
    take_in(begun_watch, begun_watch.rules.feeds[0], Changed(rss(item()), "x", None, None, None))
    move_on(begun_watch, timedelta(hours=1))
    take_in(begun_watch, begun_watch.rules.feeds[0], Unchanged(None, None))
    assert awake() == hour(1)
    move_on(begun_watch, timedelta(hours=1))
    add(begun_watch, ("feed/gazette", FeedFailed("x", "y", "z")))
    assert awake() == hour(2)


def test_an_empty_log_was_never_awake(log: EventLog) -> None:
    with log.reading() as connection:
        assert queries.last_awake(connection) is None


# ── by hand: prepare, preview, resend ────────────────────────────────────────────────────────────────────────────


def test_a_preview_says_what_the_digest_would_say_and_stores_nothing(begun_watch: Watch, tmp_path: Path) -> None:
    found = matches_of(come_in(begun_watch, "Energy strike pause"))
    before = head(begun_watch.log)
    view, shown = preview(begun_watch, post(tmp_path), "daily")
    assert view.matches == found
    assert "*Energy strike pause*" in shown.text
    assert head(begun_watch.log) == before
    assert held(prepare_now(begun_watch, post(tmp_path), "daily")) == [found]


def test_a_preview_needs_no_recorded_rules(watch: Watch, tmp_path: Path) -> None:
    view, _ = preview(watch, post(tmp_path), "daily")
    assert (view.matches, head(watch.log)) == ((), 0)


def test_a_digest_prepared_by_hand_holds_all_that_is_untold(begun_watch: Watch, tmp_path: Path) -> None:
    found = matches_of(come_in(begun_watch, "Energy strike pause"))
    assert held(prepare_now(begun_watch, post(tmp_path), "daily")) == [found]
    at_due(begun_watch)
    assert kinds(prepare_due(begun_watch, post(tmp_path))) == ["digest_skipped"]


def test_a_digest_prepared_by_hand_twice_in_a_second_is_one(begun_watch: Watch, tmp_path: Path) -> None:
    come_in(begun_watch, "Energy strike pause")
    assert len(prepare_now(begun_watch, post(tmp_path), "daily")) == 1
    assert prepare_now(begun_watch, post(tmp_path), "daily") == []


def test_a_match_whose_text_the_log_lacks_is_no_blank_but_an_error(begun_watch: Watch, tmp_path: Path) -> None:
    (seen, matched) = come_in(begun_watch, "Energy strike pause")
    add(begun_watch, (matched.stream, replace(matched.event, item_version=7)))
    with pytest.raises(ClaimwatchError) as caught:
        preview(begun_watch, post(tmp_path), "daily")
    assert caught.value.message == f"the log holds no text of item {seen.id} at version 7"


def test_a_digest_that_does_not_exist_is_named_with_those_that_do(begun_watch: Watch) -> None:
    with pytest.raises(ClaimwatchError) as caught:
        digest_rule(begun_watch, "dayly")
    assert (caught.value.message, caught.value.hint) == ("there is no digest 'dayly'", "feeds.yaml has: daily")


def test_a_digest_is_sent_again_with_all_it_told_before(begun_watch: Watch, tmp_path: Path) -> None:
    at_due(begun_watch, "Energy strike pause")
    by = post(tmp_path, Hand())
    (first,) = prepare_due(begun_watch, by)
    sent(begun_watch, by)
    move_on(begun_watch, timedelta(hours=1))
    (again,) = resend(begun_watch, by, "daily", RECIPIENT, None)
    assert (again.event.matches, again.event.resent) == (first.event.matches, True)
    assert again.event.message_id != first.event.message_id
    assert again.event.subject.startswith("Again: ")
    assert sent(begun_watch, by) == ["delivery_accepted"]


def test_a_digest_sent_again_holds_matches_since_a_moment(begun_watch: Watch, tmp_path: Path) -> None:
    come_in(begun_watch, "Energy strike pause")
    move_on(begun_watch, timedelta(hours=1))
    later = matches_of(come_in(begun_watch, "Another energy strike pause"))
    assert held(resend(begun_watch, post(tmp_path), "daily", RECIPIENT, NOW + timedelta(minutes=1))) == [later]


def test_a_digest_sent_again_moves_no_calendar(begun_watch: Watch, tmp_path: Path) -> None:
    come_in(begun_watch, "Energy strike pause")
    move_on(begun_watch, timedelta(hours=1))
    resend(begun_watch, post(tmp_path), "daily", RECIPIENT, None)
    assert next_due_time(begun_watch) == DUE


def test_a_refused_repetition_gives_nothing_back_that_was_told_before(begun_watch: Watch, tmp_path: Path) -> None:
    at_due(begun_watch, "Energy strike pause")
    hand = Hand([Accepted("taken"), Refused("550 No")])
    by = post(tmp_path, hand)
    prepare_due(begun_watch, by)
    sent(begun_watch, by)
    move_on(begun_watch, timedelta(hours=1))
    resend(begun_watch, by, "daily", RECIPIENT, None)
    assert sent(begun_watch, by) == ["delivery_refused"]
    move_on(begun_watch, DAY)
    assert kinds(prepare_due(begun_watch, by)) == ["digest_skipped"]


def test_a_digest_about_a_resting_claim_is_not_sent_again_with_others(begun_watch: Watch, tmp_path: Path) -> None:
    parts = (claim(), claim("black-sea-group", enabled=False), digest(claims=("black-sea-group",)))
    watch = change_rules(begun_watch, *parts)
    come_in(watch, "Energy strike pause")
    assert held(resend(watch, post(tmp_path), "daily", RECIPIENT, None)) == [()]


# ── deliver ──────────────────────────────────────────────────────────────────────────────────────────────────────


def events_of(watch: Watch, stream: str = "digest/") -> list[Any]:
    with watch.log.reading() as connection:
        return [one.event for one in read(connection, stream=stream)]


def waiting_of(watch: Watch) -> list[queries.Waiting]:
    with watch.log.reading() as connection:
        return queries.waiting_deliveries(connection)


def prepared(watch: Watch, by: Post, *titles: str) -> Recorded:
    """A digest prepared at its due time."""
    at_due(watch, *(titles or ("Energy strike pause",)))
    return prepare_due(watch, by)[0]


def test_a_delivery_is_started_before_it_is_tried(begun_watch: Watch, tmp_path: Path) -> None:
    seen: list[list[str]] = []
    hand = Hand(before=lambda: seen.append([event.kind for event in events_of(begun_watch)]))
    prepared(begun_watch, post(tmp_path, hand))
    assert sent(begun_watch, post(tmp_path, hand)) == ["delivery_accepted"]
    assert seen == [["digest_prepared", "delivery_started"]]


def test_a_delivery_hands_over_the_prepared_bytes(begun_watch: Watch, tmp_path: Path) -> None:
    hand = Hand()
    one = prepared(begun_watch, post(tmp_path, hand))
    sent(begun_watch, post(tmp_path, hand))
    assert hand.handed == [(ADDRESS, one.event.message_id, unpack(one.event.message))]
    assert sent(begun_watch, post(tmp_path, hand)) == []


def test_an_accepted_digest_is_recorded_with_the_answer(begun_watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand([Accepted("250 kept as 42")]))
    prepared(begun_watch, by)
    sent(begun_watch, by)
    assert events_of(begun_watch)[-1].answer == "250 kept as 42"
    with begun_watch.log.reading() as connection:
        (row,) = queries.digest_rows(connection)
        assert (row["state"], row["attempts"], row["answer"]) == ("accepted", 1, "250 kept as 42")
        assert queries.counts(connection) == {"items": 1, "matches": 1, "digests": 1}
        assert [(one["id"], one["matches"]) for one in queries.claim_rows(connection)] == [("energy-strike-pause", 1)]


def test_no_address_is_in_the_log(begun_watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand())
    one = prepared(begun_watch, by)
    sent(begun_watch, by)
    assert ADDRESS.encode() not in unpack(one.event.message)
    assert ADDRESS not in str(events_of(begun_watch))


def test_a_refusal_gives_the_matches_back_to_the_next_digest(begun_watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand([Refused("550 No"), Accepted("taken")]))
    one = prepared(begun_watch, by)
    assert sent(begun_watch, by) == ["delivery_refused"]
    assert sent(begun_watch, by) == []
    move_on(begun_watch, DAY)
    assert held(prepare_due(begun_watch, by)) == [one.event.matches]
    assert sent(begun_watch, by) == ["delivery_accepted"]


def test_of_two_recipients_only_the_refused_one_gets_its_matches_again(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        by = post(tmp_path, Hand(by_address={SECOND_ADDRESS: Refused("550 No")}), BOTH)
        one = prepared(watch, by)
        assert sorted(sent(watch, by)) == ["delivery_accepted", "delivery_refused"]
        move_on(watch, DAY)
        again = prepare_due(watch, by)
        assert {one.event.recipient: one.event.kind for one in again} == {
            RECIPIENT: "digest_skipped",
            SECOND: "digest_prepared",
        }
        assert held(again) == [one.event.matches]


def test_pauses_between_attempts_grow_to_four_hours_and_end_after_five_days(begun_watch: Watch, tmp_path: Path) -> None:
    hand = Hand([Deferred("451 Later")])
    by = post(tmp_path, hand)
    one = prepared(begun_watch, by)
    pauses: list[timedelta] = []
    while (outcome := asyncio.run(deliver(begun_watch, by)))[0].event.kind == "delivery_deferred":
        pauses.append(outcome[0].event.retry_at - begun_watch.clock.now())
        move_on(begun_watch, pauses[-1] - timedelta(seconds=1))
        assert sent(begun_watch, by) == []
        move_on(begun_watch, timedelta(seconds=1))
    minutes = [1, 2, 4, 8, 16, 32, 64, 128]
    assert pauses[:8] == [timedelta(minutes=count) for count in minutes]
    assert set(pauses[8:]) == {timedelta(hours=4)}
    assert LONGEST_TRYING - timedelta(hours=4) < sum(pauses, timedelta()) <= LONGEST_TRYING
    assert outcome[0].event.kind == "delivery_refused"
    assert outcome[0].event.reason == f"given up after {len(pauses) + 1} attempts in five days: 451 Later"
    assert len({(message_id, message) for _, message_id, message in hand.handed}) == 1
    assert preview(begun_watch, by, "daily")[0].matches == one.event.matches


def test_a_crash_before_the_handover_repeats_nothing_and_loses_nothing(begun_watch: Watch, tmp_path: Path) -> None:
    hand = Hand(before=cut)
    one = prepared(begun_watch, post(tmp_path))
    with pytest.raises(PowerCutError):
        asyncio.run(deliver(begun_watch, post(tmp_path, hand)))
    assert hand.handed == []
    hand = Hand()
    assert sent(begun_watch, post(tmp_path, hand)) == ["delivery_accepted"]
    assert [(message_id, message) for _, message_id, message in hand.handed] == [
        (one.event.message_id, unpack(one.event.message))
    ]


def test_a_crash_after_the_handover_repeats_the_same_message(begun_watch: Watch, tmp_path: Path) -> None:
    class Crashing(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
            await super().hand_over(message, address, message_id, prepared_at)
            raise PowerCutError

    first, second = Crashing(), Hand()
    prepared(begun_watch, post(tmp_path))
    with pytest.raises(PowerCutError):
        asyncio.run(deliver(begun_watch, post(tmp_path, first)))
    move_on(begun_watch, timedelta(hours=1))
    assert sent(begun_watch, post(tmp_path, second)) == ["delivery_accepted"]
    assert first.handed == second.handed
    assert [event.kind for event in events_of(begun_watch)] == [
        "digest_prepared",
        "delivery_started",
        "delivery_uncertain",
        "delivery_started",
        "delivery_accepted",
    ]
    assert [event.attempt for event in events_of(begun_watch)[1:4]] == [1, 1, 2]


@pytest.mark.parametrize("was_read", [False, True])
def test_a_crash_after_the_maildir_was_written_leaves_one_file(
    begun_watch: Watch, tmp_path: Path, was_read: bool
) -> None:
    maildir = MaildirCarrier(tmp_path / "Maildir")

    class Crashing(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
            await maildir.hand_over(message, address, message_id, prepared_at)
            raise PowerCutError

    prepared(begun_watch, post(tmp_path))
    with pytest.raises(PowerCutError):
        asyncio.run(deliver(begun_watch, post(tmp_path, Crashing())))
    if was_read:
        (file,) = (maildir.maildir / "new").iterdir()
        file.rename(maildir.maildir / "cur" / f"{file.name}:2,S")
    move_on(begun_watch, timedelta(hours=1))
    assert sent(begun_watch, post(tmp_path, maildir)) == ["delivery_accepted"]
    assert len([path for path in maildir.maildir.rglob("*") if path.is_file()]) == 1


def test_a_carrier_that_raises_holds_up_no_other_message_and_is_tried_again_later(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        raising = Raising()
        by = post(tmp_path, raising, BOTH)
        at_due(watch, "Energy strike pause")
        prepare_due(watch, by)
        assert sent(watch, by) == ["delivery_deferred", "delivery_accepted"]
        assert [address for address, _, _ in raising.handed] == [SECOND_ADDRESS]
        (waiting,) = waiting_of(watch)
        assert waiting.answer == "the way to hand it over failed: RuntimeError: no way to recipient"
        move_on(watch, timedelta(minutes=1))
        assert sent(watch, post(tmp_path, Hand(), BOTH)) == ["delivery_accepted"]


def test_a_message_that_can_not_be_read_holds_up_no_other(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        by = post(tmp_path, Hand(), BOTH)
        at_due(watch, "Energy strike pause")
        (first, _second) = prepare_due(watch, by)
        damaged = replace(first.event, message="no message", due=DUE + DAY, matches=())
        add(watch, (f"digest/daily/{RECIPIENT}/damaged", damaged))
        come_in(watch, "Another energy strike pause")
        prepare_now(watch, by, "daily")
        with pytest.raises(ValueError, match="base64"):
            asyncio.run(deliver(watch, by))
        assert [one.digest for one in waiting_of(watch)] == [f"daily/{RECIPIENT}/damaged"]


def test_a_recipient_who_is_taken_out_gets_nothing_more(begun_watch: Watch, tmp_path: Path) -> None:
    hand = Hand()
    prepared(begun_watch, post(tmp_path, hand))
    watch = change_rules(begun_watch, digest(recipients=(SECOND,)))
    assert sent(watch, post(tmp_path, hand, BOTH)) == ["delivery_cancelled"]
    assert sent(watch, post(tmp_path, hand, BOTH)) == []
    assert hand.handed == []


def test_nothing_is_sent_to_a_recipient_whose_address_is_unknown(begun_watch: Watch, tmp_path: Path) -> None:
    hand = Hand()
    prepared(begun_watch, post(tmp_path, hand))
    (outcome,) = asyncio.run(deliver(begun_watch, post(tmp_path, hand, [])))
    assert outcome.event == DeliveryCancelled("the recipient is no longer in feeds.yaml", may_have_left=False)
    assert hand.handed == []


def test_one_delivery_that_waits_holds_up_no_other(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        by = post(tmp_path, Hand(by_address={ADDRESS: Deferred("451 Later")}), BOTH)
        prepared(watch, by)
        assert sorted(sent(watch, by)) == ["delivery_accepted", "delivery_deferred"]


def test_deliveries_deferred_one_after_the_other_are_tried_again_together(tmp_path: Path) -> None:
    class Slow(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
            move_on(watch, timedelta(seconds=5))
            return await super().hand_over(message, address, message_id, prepared_at)

    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        by = post(tmp_path, Slow([Deferred("451 Later")]), BOTH)
        prepared(watch, by)
        assert sent(watch, by) == ["delivery_deferred"] * 2
        move_on(watch, timedelta(seconds=54))
        assert sent(watch, by) == []
        move_on(watch, timedelta(seconds=1))
        assert sent(watch, by) == ["delivery_deferred"] * 2


def test_what_waits_for_a_later_try_is_sent_at_once_where_that_is_asked_for(begun_watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand([Deferred("535 Wrong"), Accepted("taken")]))
    prepared(begun_watch, by)
    assert sent(begun_watch, by) == ["delivery_deferred"]
    assert sent(begun_watch, by) == []
    now = begun_watch.clock.now()
    assert kinds(asyncio.run(deliver(begun_watch, by, mended=now))) == ["delivery_accepted"]
    assert kinds(asyncio.run(deliver(begun_watch, by, mended=now))) == []


def test_what_is_put_off_after_the_mend_waits_as_ever(begun_watch: Watch, tmp_path: Path) -> None:
    by = post(tmp_path, Hand([Deferred("451 Later")]))
    prepared(begun_watch, by)
    assert sent(begun_watch, by) == ["delivery_deferred"]
    move_on(begun_watch, timedelta(seconds=5))
    mended = begun_watch.clock.now()
    move_on(begun_watch, timedelta(seconds=5))
    told = [kinds(asyncio.run(deliver(begun_watch, by, mended=mended))) for _ in range(3)]
    assert told == [["delivery_deferred"], [], []]
    # Nor does a moment that a clock which stood ahead gave hurry anything.
    assert asyncio.run(deliver(begun_watch, by, mended=mended + DAY)) == []


def test_a_delivery_that_somebody_else_took_in_hand_is_left_to_them(begun_watch: Watch, tmp_path: Path) -> None:
    hand = Hand()
    one = prepared(begun_watch, post(tmp_path, hand))
    with meanwhile(begun_watch, lambda: add(begun_watch, (one.stream, DeliveryStarted(1, "smtp")))) as watch:
        assert asyncio.run(deliver(watch, post(tmp_path, hand))) == []
    assert hand.handed == []


def test_a_recovered_feed_is_no_trouble(begun_watch: Watch) -> None:
    add(begun_watch, ("feed/gazette", FeedGone("x")), ("feed/gazette", FeedRecovered(NOW)))
    with begun_watch.log.transaction(NOW) as transaction:
        url = begun_watch.rules.feeds[0].url
        keep_poll_state(transaction.connection, PollState("gazette", url), url)
    assert covered(begun_watch).troubles == ()
