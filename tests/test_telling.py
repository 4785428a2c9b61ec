"""Notices to the operator, from feeds, mail servers and edits that fail to the mail that tells of them."""

from __future__ import annotations

import asyncio
import email
import email.policy
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from daemon.assembly import reading, rebuild_projections, verify, writing
from daemon.backtest import VirtualClock
from daemon.delivery import deliver
from daemon.eventlog import EventLog, read
from daemon.events import DigestPrepared, FeedRecovered, GapSuspected, NewEvent, NoticePrepared, NoticeSent, Recorded
from daemon.handovers import Accepted, Deferred, Handover, Refused
from daemon.mailing import SmtpCarrier
from daemon.notices import Look, Operator, Trouble
from daemon.outcomes import HELD_BACK, Failed, Gone, Unchanged
from daemon.parsing import open_parser
from daemon.preparing import Post, prepare_due, prepare_now, resend
from daemon.projections import PROJECTIONS, record
from daemon.rendering import unpack
from daemon.rules import recipient_id
from daemon.service import Watch, poll, record_rules
from daemon.settings import Smtp
from daemon.telling import tell_operator
from daemon.troubles import look
from tests.databases import AnyDatabase
from tests.mailservers import Mailbox, mail_server
from tests.support import (
    ADDRESS,
    NOW,
    RECIPIENT,
    Answer,
    WebServer,
    feed,
    fetcher,
    item,
    move_on,
    post,
    rss,
    rules,
    take_in,
    watching,
)
from tests.test_delivery import Hand, PowerCutError, come_in, cut

OPS = "ops@example.org"
OPERATOR = Operator((OPS,))
STREAM = f"notice/{recipient_id(OPS)}"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
DOWN = Failed("http 503", "http 503: busy", "It is tried again by itself.")


@pytest.fixture
def ready(watch: Watch) -> Watch:
    """A watch whose log knows its rules."""
    record_rules(watch)
    return watch


def to_operator(folder: Path, hand: Hand | None = None, operator: Operator = OPERATOR) -> Post:
    return replace(post(folder, hand), operator=operator)


def tell(watch: Watch, by: Post, own: Look | None = None) -> list[str]:
    """Tells the operator what is due; the kinds of the outcomes."""
    return [one.event.kind for one in asyncio.run(tell_operator(watch, by, own or Look()))]


def events(watch: Watch, kind: str) -> list[Recorded]:
    with watch.log.reading() as connection:
        return list(read(connection, kinds=(kind,)))


def parsed(message: bytes) -> EmailMessage:
    one = email.message_from_bytes(message, policy=email.policy.default)
    assert isinstance(one, EmailMessage)
    return one


def text_of(message: bytes) -> str:
    return str(parsed(message).get_content())


def one_line(text: str) -> str:
    return " ".join(text.split())


def last_text(hand: Hand) -> str:
    return one_line(text_of(hand.handed[-1][2]))


def fail(watch: Watch, *feeds: str) -> None:
    for id in feeds or ("gazette",):
        take_in(watch, next(one for one in watch.rules.feeds if one.id == id), DOWN)


def recover(watch: Watch, feed_id: str = "gazette") -> None:
    take_in(watch, next(one for one in watch.rules.feeds if one.id == feed_id), Unchanged(None, None))


# ── feeds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_feed_that_fails_and_recovers_is_told_once_again_and_when_it_is_over(tmp_path: Path, web: WebServer) -> None:
    url = web.serve("/feed.xml", Answer(status=503))
    mailbox = Mailbox()

    async def through_three_weeks(watch: Watch) -> list[tuple[int, str]]:
        told = []
        async with mail_server(mailbox) as port, fetcher() as fetching, open_parser() as parser:
            smtp = SmtpCarrier(Smtp("127.0.0.1", port, "none", None, None), "claimwatch@example.org")
            by = replace(to_operator(tmp_path), carrier=smtp)
            for hours in sorted({*range(0, 21 * 24, 24), 15 * 24 + 12}):
                move_on(watch, NOW + hours * HOUR - watch.clock.now())
                if hours == 15 * 24:
                    web.serve("/feed.xml", rss(item("Nothing of note")))
                await poll(watch, fetching, parser, watch.rules.polled_feeds)
                told += [(hours, one.event.told[0].stage) for one in await tell_operator(watch, by)]
        return told

    with watching(tmp_path, rules(feed(url=url))) as watch:
        record_rules(watch)
        told = asyncio.run(through_three_weeks(watch))
        verify(watch.log)
        sent = events(watch, "notice_sent")
    assert told == [(24, "first"), (8 * 24, "again"), (15 * 24 + 12, "over")]
    assert [(sender, to) for sender, to, _ in mailbox.envelopes] == [("claimwatch@example.org", [OPS])] * 3
    first, again, over = (parsed(message) for _, _, message in mailbox.envelopes)
    assert [message["Subject"] for message in (first, again, over)] == [
        "claimwatch: 1 feed that can't be read",
        "claimwatch: still: 1 feed that can't be read",
        "claimwatch: over: 1 feed that can't be read",
    ]
    assert (first["To"], first["From"]) == (OPS, "claimwatch <claimwatch@example.org>")
    assert first["Auto-Submitted"] == "auto-generated"
    assert [message["Message-ID"] for message in (first, again, over)] == [one.event.message_id for one in sent]
    assert "1 feed that can't be read, since 19 Mar 2025, 12:00 UTC gazette http 503" in one_line(first.get_content())
    assert "from 19 Mar 2025, 12:00 UTC until 3 Apr 2025, 12:00 UTC gazette" in one_line(over.get_content())


NOTICE = """\
In trouble
----------------------------------------------------------------------------
* 2 feeds that can't be read, since 19 Mar 2025, 12:00 UTC
  courier, gazette
  http 503: busy
  It is tried again by itself.

Over
----------------------------------------------------------------------------
* 1 feed that is gone for good, from 19 Mar 2025, 14:00 UTC until 20 Mar
  2025, 20:00 UTC
  times

--
Told once, again every week, and when it is over; claimwatch status has the
rest. To change who is told: operator: in feeds.yaml.
"""


def test_a_notice_reads_like_this(tmp_path: Path) -> None:
    hand = Hand()
    by = to_operator(tmp_path, hand)
    feeds = [feed(id) for id in ("gazette", "courier", "post", "times", "herald")]
    with watching(tmp_path, rules(*feeds)) as watch:
        record_rules(watch)
        fail(watch, "gazette")
        tell(watch, by)
        move_on(watch, 2 * HOUR)
        fail(watch, "courier")
        take_in(watch, feeds[3], Gone("https://times.example/rss"))
        assert tell(watch, by) == ["notice_sent"]
        move_on(watch, 30 * HOUR)
        recover(watch, "times")
        move_on(watch, HOUR)
        assert tell(watch, by) == ["notice_sent"]
    assert [address for address, _, _ in hand.handed] == [OPS, OPS]
    assert text_of(hand.handed[-1][2]).replace("\r\n", "\n") == NOTICE


def test_a_feed_that_is_gone_is_told_at_once(ready: Watch, tmp_path: Path) -> None:
    hand = Hand()
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    assert tell(ready, to_operator(tmp_path, hand)) == ["notice_sent"]
    assert "gazette gone: https://gazette.example/rss answers 410" in last_text(hand)


def test_a_failing_feed_that_turns_out_to_be_gone_is_not_over(ready: Watch, tmp_path: Path) -> None:
    hand = Hand()
    by = to_operator(tmp_path, hand)
    fail(ready)
    move_on(ready, DAY)
    tell(ready, by)
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    move_on(ready, HOUR)
    assert tell(ready, by) == ["notice_sent"]
    assert [(one.kind, one.stage) for one in events(ready, "notice_sent")[-1].event.told] == [("feed gone", "first")]


def test_a_new_address_that_was_not_read_yet_ends_nothing_and_one_taken_out_does(ready: Watch, tmp_path: Path) -> None:
    by = to_operator(tmp_path, Hand())
    fail(ready)
    move_on(ready, DAY)
    tell(ready, by)
    moved = replace(ready, rules=rules(feed(url="https://elsewhere.example/rss")))
    record_rules(moved)
    move_on(moved, DAY)
    assert tell(moved, by) == []
    without = replace(ready, rules=rules(feed("courier")))
    record_rules(without)
    assert tell(without, by) == ["notice_sent"]
    assert [one.stage for one in events(without, "notice_sent")[-1].event.told] == ["over"]


def test_many_feeds_that_fail_at_once_are_one_trouble_and_no_flood(tmp_path: Path) -> None:
    hand = Hand()
    by = to_operator(tmp_path, hand)
    with watching(tmp_path, rules(*(feed(f"feed-{number:02}") for number in range(50)))) as watch:
        record_rules(watch)
        for one in watch.rules.feeds[:48]:
            take_in(watch, one, DOWN)
        for _ in range(10 * 4):
            tell(watch, by)
            move_on(watch, 6 * HOUR)
        for one in watch.rules.feeds[:48]:
            take_in(watch, one, Unchanged(None, None))
        move_on(watch, 2 * HOUR)
        tell(watch, by)
        told = [[(one.kind, one.stage) for one in sent.event.told] for sent in events(watch, "notice_sent")]
    assert told == [[("offline", "first")], [("offline", "again")], [("offline", "over")]]
    assert "48 of 50 feeds fail since then, 48 of them with: http 503: busy" in one_line(text_of(hand.handed[0][2]))


def test_feeds_whose_host_wants_a_pause_do_not_make_the_watch_offline(tmp_path: Path) -> None:
    paused = Failed(HELD_BACK, "wire.example asked for a pause when another of its feeds was asked", "It is kept.")
    with watching(tmp_path, rules(*(feed(f"feed-{number}") for number in range(5)))) as watch:
        record_rules(watch)
        first, *others = watch.rules.feeds
        take_in(watch, first, Failed("http 429", "429 Too Many Requests", "It is kept."))
        for one in others:
            take_in(watch, one, paused)
        with watch.log.reading() as connection:
            found = look(connection, watch.rules.intervals, NOW + 2 * DAY).troubles
    standing = [one for one in found if not one.covered]
    assert [(one.kind, one.about) for one in standing] == [("feed failing", first.id)]


def test_gaps_on_time_pile_up_and_those_after_a_downtime_do_not(ready: Watch, tmp_path: Path) -> None:
    by = to_operator(tmp_path, Hand())

    def gap(pause: timedelta) -> None:
        now = ready.clock.now()
        with ready.log.transaction(now) as transaction:
            record(transaction, [NewEvent("feed/gazette", GapSuspected(now - pause, now))])

    for _ in range(9):
        gap(DAY)
    for _ in range(4):
        move_on(ready, HOUR)
        gap(timedelta(minutes=16))
    assert tell(ready, by) == []
    gap(timedelta(minutes=16))
    assert tell(ready, by) == ["notice_sent"]
    move_on(ready, timedelta(days=7, hours=1))
    assert tell(ready, by) == ["notice_sent"]
    assert [one.event.told[0].stage for one in events(ready, "notice_sent")] == ["first", "over"]


# ── mail ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_while_mail_fails_nothing_piles_up_and_then_one_notice_says_from_when_to_when(tmp_path: Path) -> None:
    mailbox = Mailbox()
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    smtp = SmtpCarrier(Smtp("127.0.0.1", port, "none", None, None), "claimwatch@example.org", timeout_seconds=5)
    by = replace(to_operator(tmp_path), carrier=smtp)

    async def a_round(watch: Watch) -> None:
        prepare_due(watch, by)
        await deliver(watch, by)
        await tell_operator(watch, by)
        move_on(watch, 40 * MINUTE if watch.clock.now() < NOW + DAY else 4 * HOUR)

    async def later(watch: Watch) -> None:
        carrier = SmtpCarrier(Smtp("127.0.0.1", 0, "none", None, None), "claimwatch@example.org")
        async with mail_server(mailbox) as open_port:
            back = replace(by, carrier=replace(carrier, smtp=replace(carrier.smtp, port=open_port)))
            for _ in range(15):
                prepare_due(watch, back)
                await deliver(watch, back)
                await tell_operator(watch, back)
                move_on(watch, 40 * MINUTE)

    with watching(tmp_path) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause agreed")
        while watch.clock.now() < NOW + 3 * DAY:
            asyncio.run(a_round(watch))
        tried = len(events(watch, "notice_deferred"))
        assert events(watch, "notice_sent") == []
        asyncio.run(later(watch))
        sent = events(watch, "notice_sent")
        verify(watch.log)
    assert 5 < tried < 10
    assert len(sent) == 1
    (told,) = sent[0].event.told
    assert (told.kind, told.about, told.stage) == ("delivery failing", RECIPIENT, "passed")
    assert told.since == datetime(2025, 3, 20, 8, 0, tzinfo=UTC)
    notices = [message for _, to, message in mailbox.envelopes if to == [OPS]]
    assert len(notices) == 1
    assert f"{RECIPIENT} (daily)" in text_of(notices[0])
    assert "from 20 Mar 2025, 08:00 UTC until 2" in one_line(text_of(notices[0]))


def test_a_recipient_who_is_refused_three_times_rests_and_is_told_apart(ready: Watch, tmp_path: Path) -> None:
    hand = Hand(by_address={ADDRESS: Refused("550 no such user")})
    by = to_operator(tmp_path, hand)

    def refused_digest() -> None:
        come_in(ready, f"Energy strike pause {ready.clock.now():%H:%M}")
        prepare_now(ready, by, "daily")
        asyncio.run(deliver(ready, by))
        move_on(ready, 10 * MINUTE)

    refused_digest()
    assert tell(ready, by) == []
    move_on(ready, HOUR)
    assert tell(ready, by) == ["notice_sent"]
    refused_digest()
    refused_digest()
    move_on(ready, HOUR)
    assert tell(ready, by) == ["notice_sent"]
    hand.by_address = {}
    resend(ready, by, "daily", RECIPIENT, None)
    asyncio.run(deliver(ready, by))
    move_on(ready, 2 * HOUR)
    assert tell(ready, by) == ["notice_sent"]
    told = [[(one.kind, one.stage) for one in sent.event.told] for sent in events(ready, "notice_sent")]
    assert told == [
        [("delivery failing", "first")],
        [("recipient rests", "first")],
        [("delivery failing", "over"), ("recipient rests", "over")],
    ]


def test_a_template_that_fails_is_told_and_when_it_works_again(ready: Watch, tmp_path: Path) -> None:
    hand = Hand()
    sound = to_operator(tmp_path, hand)
    broken = replace(sound, templates={**sound.templates, "digest.txt": "\n{% for %}"})
    come_in(ready, "Energy strike pause agreed")
    (prepared,) = prepare_now(ready, broken, "daily")
    assert isinstance(prepared.event, DigestPrepared)
    assert prepared.event.template_faults[0].startswith("alerts/digest.txt, line 2: ")
    assert tell(ready, sound) == ["notice_sent"]
    assert "1 digest whose template fails" in last_text(hand)
    assert "digest.txt, line 2: Expected an expression" in last_text(hand)
    move_on(ready, DAY)
    come_in(ready, "Energy strike pause signed")
    prepare_now(ready, sound, "daily")
    move_on(ready, 2 * HOUR)
    assert tell(ready, sound) == ["notice_sent"]
    assert [one.event.told[0].stage for one in events(ready, "notice_sent")] == ["first", "over"]


def test_a_notice_whose_own_template_fails_goes_out_by_the_shipped_one_and_says_so(
    ready: Watch, tmp_path: Path
) -> None:
    hand = Hand()
    by = to_operator(tmp_path, hand)
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    broken = replace(by, templates={**by.templates, "notice.txt": "{{ notice.nonsense }}"})
    assert tell(ready, broken) == ["notice_sent"]
    assert "Your own template of this notice fails" in last_text(hand)
    assert "has no attribute 'nonsense'" in last_text(hand)


# ── never lost, never doubled ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("taken", [False, True], ids=["before it was taken", "after it was taken"])
def test_a_crash_repeats_the_same_notice_and_no_other(ready: Watch, tmp_path: Path, taken: bool) -> None:
    class Cut(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
            if taken:
                self.handed.append((address, message_id, message))
            raise PowerCutError

    cutting, hand = Cut(), Hand()
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    with pytest.raises(PowerCutError):
        tell(ready, to_operator(tmp_path, cutting))
    # What happens meanwhile is told by the next one.
    own = Look((Trouble("rules refused", "", NOW - DAY, "feeds.yaml:1:8: nonsense", ""),))
    assert tell(ready, to_operator(tmp_path, hand), own) == ["notice_sent"]
    assert tell(ready, to_operator(tmp_path, hand), own) == []
    (prepared,) = events(ready, "notice_prepared")
    assert isinstance(prepared.event, NoticePrepared)
    same = (OPS, prepared.event.message_id, unpack(prepared.event.message))
    assert cutting.handed + hand.handed == [same] * (2 if taken else 1)
    move_on(ready, HOUR)
    assert tell(ready, to_operator(tmp_path, hand), own) == ["notice_sent"]
    assert [one.kind for one in events(ready, "notice_sent")[-1].event.told] == ["rules refused"]


def test_what_a_crash_left_is_not_told_days_later(ready: Watch, tmp_path: Path) -> None:
    class Cut(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
            raise PowerCutError

    fail(ready)
    move_on(ready, DAY)
    with pytest.raises(PowerCutError):
        tell(ready, to_operator(tmp_path, Cut()))
    # The operator has another address for a while, and comes back when the feed is well.
    move_on(ready, 3 * DAY)
    recover(ready)
    move_on(ready, 2 * HOUR)
    hand = Hand()
    assert tell(ready, to_operator(tmp_path, hand)) == ["notice_sent"]
    assert [one.stage for one in events(ready, "notice_sent")[-1].event.told] == ["passed"]
    assert [one.event.reason for one in events(ready, "notice_deferred")] == [
        "it was never handed over, and is too old by now"
    ]
    assert tell(ready, to_operator(tmp_path, hand)) == []


def test_a_carrier_that_raises_keeps_no_notice_from_another_operator(ready: Watch, tmp_path: Path) -> None:
    class Raising(Hand):
        async def hand_over(self, message: bytes, address: str, message_id: str, prepared_at: datetime) -> Handover:
            if address == OPS:
                raise RuntimeError(f"no way to {address}")
            return await super().hand_over(message, address, message_id, prepared_at)

    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    two = replace(OPERATOR, addresses=(OPS, "second@example.org"))
    assert tell(ready, to_operator(tmp_path, Raising(), two)) == ["notice_deferred", "notice_sent"]


def test_a_crash_before_the_notice_is_prepared_loses_nothing(ready: Watch, tmp_path: Path) -> None:
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    hand = Hand()
    by = to_operator(tmp_path, hand)

    def prepare_and_crash() -> None:
        with ready.log.transaction(ready.clock.now()) as transaction:
            record(transaction, [NewEvent(STREAM, NoticePrepared((), "<x@example.org>", "", ""))])
            cut()

    with pytest.raises(PowerCutError):
        prepare_and_crash()
    assert tell(ready, by) == ["notice_sent"]


def test_a_notice_into_the_maildir_is_repeated_as_the_same_file(ready: Watch, tmp_path: Path) -> None:
    by = to_operator(tmp_path)
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    assert tell(ready, by) == ["notice_sent"]
    (prepared,) = events(ready, "notice_prepared")
    asyncio.run(by.carrier.hand_over(unpack(prepared.event.message), OPS, prepared.event.message_id, prepared.at))
    (file,) = (tmp_path / "Maildir" / "new").iterdir()
    assert parsed(file.read_bytes())["To"] == OPS


@pytest.mark.parametrize(
    ("answer", "pauses"),
    [
        (Deferred("451 later"), [15 * MINUTE, 30 * MINUTE, *(hours * HOUR for hours in (1, 2, 4, 8, 16, 24, 24))]),
        (Refused("550 no such user"), [DAY, DAY]),
    ],
    ids=["deferred", "refused"],
)
def test_a_notice_that_is_not_taken_is_made_anew_after_growing_pauses(
    ready: Watch, tmp_path: Path, answer: Handover, pauses: Sequence[timedelta]
) -> None:
    by = to_operator(tmp_path, Hand([answer]))
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    for pause in pauses:
        assert tell(ready, by) == ["notice_deferred"]
        move_on(ready, pause - MINUTE)
        assert tell(ready, by) == []
        move_on(ready, MINUTE)
    assert tell(ready, to_operator(tmp_path, Hand([Accepted("taken")]))) == ["notice_sent"]
    # It tells the same all the time: whoever took it and could not say so knows it again.
    assert len({one.event.message_id for one in events(ready, "notice_prepared")}) == 1


def test_a_notice_that_a_clock_that_stood_ahead_put_off_is_made_anew_now(ready: Watch, tmp_path: Path) -> None:
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    now = ready.clock.now()
    move_on(ready, 30 * DAY)
    assert tell(ready, to_operator(tmp_path, Hand([Deferred("451 later")]))) == ["notice_deferred"]
    watch = replace(ready, clock=VirtualClock(now + HOUR))
    assert tell(watch, to_operator(tmp_path, Hand())) == ["notice_sent"]


def test_every_reminder_has_a_message_id_of_its_own(ready: Watch, tmp_path: Path) -> None:
    by = to_operator(tmp_path, Hand())
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    for _ in range(4):
        assert tell(ready, by) == ["notice_sent"]
        move_on(ready, 7 * DAY)
    assert [one.event.told[0].stage for one in events(ready, "notice_sent")] == ["first", "again", "again", "again"]
    assert len({one.event.message_id for one in events(ready, "notice_sent")}) == 4


def test_a_digest_that_is_taken_tells_that_the_server_is_back_before_the_pause_is_over(
    ready: Watch, tmp_path: Path
) -> None:
    away, back = (to_operator(tmp_path, Hand([answer])) for answer in (Deferred("away"), Accepted("taken")))
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    for _ in range(8):
        assert tell(ready, away) == ["notice_deferred"]
        move_on(ready, DAY)
    assert tell(ready, away) == ["notice_deferred"]
    come_in(ready, "Energy strike pause agreed")
    prepare_now(ready, back, "daily")
    move_on(ready, MINUTE)
    assert tell(ready, back) == []
    asyncio.run(deliver(ready, back))
    assert tell(ready, back) == ["notice_sent"]


def test_one_recipient_who_is_refused_keeps_nothing_from_the_other(ready: Watch, tmp_path: Path) -> None:
    hand = Hand(by_address={OPS: Refused("550 no such user")})
    by = to_operator(tmp_path, hand, Operator((OPS, "second@example.org")))
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    assert tell(ready, by) == ["notice_deferred", "notice_sent"]
    (sent,) = events(ready, "notice_sent")
    assert isinstance(sent.event, NoticeSent)
    assert sent.id == recipient_id("second@example.org")


def test_no_address_gets_into_the_log(ready: Watch, tmp_path: Path) -> None:
    by = to_operator(tmp_path, Hand())
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    tell(ready, by)
    for kind in ("notice_prepared", "notice_sent"):
        (recorded,) = events(ready, kind)
        assert OPS not in repr(recorded)
    assert OPS.encode() not in unpack(events(ready, "notice_prepared")[0].event.message)


def test_without_an_operator_nothing_is_told(ready: Watch, tmp_path: Path) -> None:
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    assert tell(ready, post(tmp_path, Hand())) == []
    assert events(ready, "notice_prepared") == []


def test_somebody_who_becomes_operator_later_hears_of_what_stands(ready: Watch, tmp_path: Path) -> None:
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    tell(ready, to_operator(tmp_path, Hand()))
    both = to_operator(tmp_path, Hand(), Operator((OPS, "second@example.org")))
    move_on(ready, DAY)
    assert tell(ready, both) == ["notice_sent"]
    assert events(ready, "notice_sent")[-1].id == recipient_id("second@example.org")


def test_what_was_told_is_the_same_after_a_rebuild(ready: Watch, tmp_path: Path) -> None:
    by = to_operator(tmp_path, Hand([Deferred("451 later"), Accepted("taken")]))
    take_in(ready, ready.rules.feeds[0], Gone("https://gazette.example/rss"))
    tell(ready, by)
    move_on(ready, HOUR)
    tell(ready, by)
    rebuild_projections(ready.log)
    verify(ready.log)
    move_on(ready, DAY)
    assert tell(ready, by) == []
    move_on(ready, 6 * DAY)
    assert tell(ready, by) == ["notice_sent"]
    with ready.log.transaction(ready.clock.now()) as transaction:
        record(transaction, [NewEvent("feed/gazette", FeedRecovered(NOW))])
    with ready.log.reading() as connection:
        assert look(connection, {}, ready.clock.now()).over["feed gone", "gazette"] == ready.clock.now()


def test_a_process_that_is_killed_while_the_server_takes_a_notice_repeats_that_one(
    tmp_path: Path, web: WebServer
) -> None:
    class Killing(Mailbox):
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            answer = await super().handle_DATA(server, session, envelope)
            if len(self.envelopes) == 1:
                running[-1].kill()
            return answer

    async def killed() -> int:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "daemon", "--config", str(config), "--state", str(state), "deliver"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        running.append(process)
        return await asyncio.wait_for(process.wait(), 60)

    async def twice() -> tuple[int, list[Recorded]]:
        async with mail_server(mailbox) as port:
            config.write_text(f"{text}mail: {{smtp: {{host: 127.0.0.1, port: {port}, security: none}}}}\n")
            code = await killed()
            with writing(config, state, "deliver") as installation:
                return code, await tell_operator(installation.watch, installation.post)

    running: list[asyncio.subprocess.Process] = []
    mailbox, config, state = Killing(), tmp_path / "feeds.yaml", tmp_path / "state"
    gone = web.serve("/feed.xml", Answer(status=410))
    text = f"feeds: {{gazette: {gone}}}\npolling: {{allow_private: 127.0.0.1}}\noperator: {OPS}\n"
    config.write_text(text)
    with writing(config, state, "poll") as installation:
        record_rules(installation.watch)
        take_in(installation.watch, installation.watch.rules.feeds[0], Gone(gone))
    code, outcomes = asyncio.run(twice())
    assert (code, [one.event.kind for one in outcomes]) == (-signal.SIGKILL, ["notice_sent"])
    (_, _, first), (_, _, second) = mailbox.envelopes
    assert first == second
    with reading(config, state) as installation:
        verify(installation.log)
        with installation.log.reading() as connection:
            kinds = [one.event.kind for one in read(connection, stream=STREAM)]
    assert kinds == ["notice_prepared", "notice_sent"]


def test_troubles_are_found_and_told_on_every_kind_of_database(database: AnyDatabase, tmp_path: Path) -> None:
    with closing(EventLog(database.url)) as log:
        log.create()
        watch = Watch.over(log, rules(), VirtualClock(NOW))
        hand = Hand(by_address={ADDRESS: Refused("550 no such user")})
        by = to_operator(tmp_path, hand)
        record_rules(watch)
        come_in(watch, "Energy strike pause agreed")
        prepare_now(watch, replace(by, templates={**by.templates, "subject.txt": "{% nonsense %}"}), "daily")
        asyncio.run(deliver(watch, by))
        take_in(watch, watch.rules.feeds[0], Gone("https://gazette.example/rss"))
        with log.transaction(NOW) as transaction:
            gap = GapSuspected(NOW - 15 * MINUTE, NOW)
            record(transaction, [NewEvent("feed/gazette", gap) for _ in range(5)])
        move_on(watch, HOUR)
        assert tell(watch, by) == ["notice_sent"]
        assert tell(watch, by) == []
        recover(watch)
        hand.by_address = {}
        come_in(watch, "Energy strike pause signed")
        prepare_now(watch, by, "daily")
        asyncio.run(deliver(watch, by))
        move_on(watch, 8 * DAY)
        assert tell(watch, by) == ["notice_sent"]
        told = [{(one.kind, one.stage) for one in sent.event.told} for sent in events(watch, "notice_sent")]
        before = database.dump(PROJECTIONS)
        rebuild_projections(log)
        assert database.dump(PROJECTIONS) == before
        verify(log)
    kinds = ("feed gone", "delivery failing", "template failed", "gaps")
    assert told == [{(kind, stage) for kind in kinds} for stage in ("first", "over")]
