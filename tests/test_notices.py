"""What an operator is told of the watch itself, and when: tables of decisions, over weeks of virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.notices import (
    BETWEEN_NOTICES,
    MOST_A_DAY,
    MOST_GROUPS,
    MOST_NAMES,
    Key,
    Look,
    Mentioned,
    Operator,
    Told,
    Trouble,
    TroubleKind,
    compose_notice,
    next_notice,
    online_since,
    patience,
    settling,
    with_offline,
)
from tests.support import NOW

MINUTE, HOUR, DAY, WEEK = (timedelta(minutes=1), timedelta(hours=1), timedelta(days=1), timedelta(days=7))
OPERATOR = Operator(("ops@example.org",))
LOOKS_EVERY = timedelta(minutes=10)


def trouble(about: str = "gazette", since: timedelta = timedelta(0), kind: TroubleKind = "feed failing") -> Trouble:
    return Trouble(kind, about, NOW + since, "http 503: unavailable", "It is tried again.")


@dataclass
class Memory:
    """What one operator was told, kept as the log's tables keep it; a mail server that can be away."""

    known: dict[Key, Mentioned] = field(default_factory=dict)
    over_at: dict[Key, datetime] = field(default_factory=dict)
    mails: list[tuple[datetime, tuple[Told, ...]]] = field(default_factory=list)

    def look(self, look: Look, now: datetime, operator: Operator = OPERATOR) -> tuple[Told, ...]:
        sent = [at for at, _ in self.mails]
        told = next_notice(look, self.known.values(), sent, operator, now)
        if told:
            self.mails.append((now, told))
            for one in told:
                self._keep(one, now)
        return told

    def _keep(self, told: Told, now: datetime) -> None:
        key = (told.kind, told.about)
        if told.stage == "first":
            back = key in self.over_at and now - self.over_at[key] < WEEK
            incidents = self.known[key].incidents + 1 if back else 1
            self.known[key] = Mentioned(told.kind, told.about, "standing", told.since, now, incidents)
        elif told.stage == "again":
            self.known[key] = replace(self.known[key], told_at=now)
        else:
            self.known[key] = replace(self.known[key], state="over", told_at=now)
            self.over_at[key] = now


def watched(
    memory: Memory, look_at: Callable[[datetime], Look], until: timedelta, operator: Operator = OPERATOR
) -> Memory:
    """Looks every ten minutes for so long."""
    now = NOW
    while now <= NOW + until:
        memory.look(look_at(now), now, operator)
        now += LOOKS_EVERY
    return memory


def failing_between(start: timedelta, end: timedelta, about: str = "gazette") -> Callable[[datetime], Look]:
    def look(now: datetime) -> Look:
        if NOW + start <= now < NOW + end:
            return Look((trouble(about, start),))
        return Look(over={("feed failing", about): NOW + end})

    return look


def told_stages(memory: Memory) -> list[tuple[timedelta, str]]:
    return [(at - NOW, one.stage) for at, told in memory.mails for one in told]


# ── once, weekly, and when it is over ────────────────────────────────────────────────────────────────────────────


def test_a_feed_that_fails_for_a_day_is_told_once_every_week_and_when_it_is_over() -> None:
    memory = watched(Memory(), failing_between(timedelta(0), timedelta(days=17, hours=3)), timedelta(days=30))
    assert told_stages(memory) == [
        (DAY, "first"),
        (DAY + WEEK, "again"),
        (DAY + 2 * WEEK, "again"),
        (timedelta(days=17, hours=4), "over"),
    ]
    over = memory.mails[-1][1][0]
    assert (over.since, over.until) == (NOW, NOW + timedelta(days=17, hours=3))


def test_a_feed_that_is_well_again_within_a_day_is_not_told() -> None:
    memory = watched(Memory(), failing_between(timedelta(0), timedelta(hours=23)), timedelta(days=3))
    assert memory.mails == []


@pytest.mark.parametrize(
    ("kind", "after"),
    [
        ("feed gone", timedelta(0)),
        ("recipient rests", timedelta(0)),
        ("template failed", timedelta(0)),
        ("gaps", timedelta(0)),
        ("rules refused", timedelta(minutes=10)),
        ("delivery failing", HOUR),
        ("offline", 2 * HOUR),
        ("feed failing", 36 * HOUR),
    ],
)
def test_each_trouble_has_a_patience_of_its_own(kind: TroubleKind, after: timedelta) -> None:
    operator = Operator(("ops@example.org",), timedelta(hours=36))
    look = Look((trouble(kind=kind),))
    if after:
        assert next_notice(look, (), (), operator, NOW + after - MINUTE) == ()
    assert [one.stage for one in next_notice(look, (), (), operator, NOW + after)] == ["first"]


def test_a_feed_that_may_fail_for_an_hour_only_makes_the_watch_offline_as_soon() -> None:
    assert patience("offline", Operator((), HOUR)) == HOUR


def test_a_trouble_whose_end_nobody_knows_is_over_at_once() -> None:
    known = Mentioned("feed failing", "gazette", "standing", NOW, NOW + DAY)
    told = next_notice(Look(), [known], (), OPERATOR, NOW + 2 * DAY)
    assert told == (Told("feed failing", "gazette", "over", NOW),)


def test_what_could_not_be_told_while_it_stood_is_told_when_it_is_over() -> None:
    known = Mentioned("delivery failing", "r-0123456789ab", "untold", NOW, None)
    look = Look(over={known.key: NOW + 3 * DAY})
    told = next_notice(look, [known], (), OPERATOR, NOW + 3 * DAY + MINUTE)
    assert told == (Told("delivery failing", "r-0123456789ab", "passed", NOW, NOW + 3 * DAY),)


def test_what_could_not_be_told_and_still_stands_is_told_as_new() -> None:
    known = Mentioned("feed failing", "gazette", "untold", NOW, None)
    told = next_notice(Look((trouble(),)), [known], (), OPERATOR, NOW + 2 * DAY)
    assert [one.stage for one in told] == ["first"]


# ── one mail a round ─────────────────────────────────────────────────────────────────────────────────────────────


def test_fifty_feeds_are_one_mail() -> None:
    look = Look(tuple(trouble(f"feed-{number:02}") for number in range(50)))
    memory = watched(Memory(), lambda _now: look, 3 * DAY)
    assert [len(told) for _, told in memory.mails] == [50]


def test_an_hour_lies_between_two_notices() -> None:
    looks = Look((trouble("a", -DAY), trouble("b", -DAY + 20 * MINUTE)))
    memory = watched(Memory(), lambda _now: looks, 6 * HOUR)
    assert [(at - NOW, told[0].about) for at, told in memory.mails] == [(timedelta(0), "a"), (HOUR, "b")]


def test_more_than_six_notices_a_day_are_not_sent() -> None:
    """A feed an hour is gone for good; each is told as soon as there is room."""

    def look(now: datetime) -> Look:
        return Look(tuple(trouble(f"{hour:03}", hour * HOUR, "feed gone") for hour in range((now - NOW) // HOUR + 1)))

    memory = watched(Memory(), look, 2 * DAY)
    assert [sum(NOW + day * DAY <= at < NOW + (day + 1) * DAY for at, _ in memory.mails) for day in (0, 1)] == [6, 6]
    assert len({one.about for _, told in memory.mails for one in told}) == 49


def test_troubles_told_on_different_days_are_reminded_of_together() -> None:
    looks = Look(tuple(trouble(str(day), day * DAY) for day in range(5)))

    def look(now: datetime) -> Look:
        return Look(tuple(one for one in looks.troubles if one.since <= now))

    memory = watched(Memory(), look, timedelta(days=28))
    reminders = [(at, told) for at, told in memory.mails if told[0].stage == "again"]
    assert [(at - NOW).days for at, _ in reminders] == [8, 15, 22]
    assert all(len(told) == 5 for _, told in reminders)


def test_a_clock_that_was_set_back_does_not_silence_the_notices() -> None:
    told = next_notice(Look((trouble(),)), (), [NOW + timedelta(days=300)], OPERATOR, NOW + DAY)
    assert len(told) == 1


# ── comes and goes ───────────────────────────────────────────────────────────────────────────────────────────────


def flapping(up: timedelta, down: timedelta, kind: TroubleKind) -> Callable[[datetime], Look]:
    def look(now: datetime) -> Look:
        at = (now - NOW) % (up + down)
        began = now - at
        if at < down:
            return Look((Trouble(kind, "gazette", began, "http 503", ""),))
        return Look(over={(kind, "gazette"): began + down})

    return look


def test_a_trouble_that_comes_and_goes_within_the_hour_stands() -> None:
    memory = watched(Memory(), flapping(40 * MINUTE, 30 * MINUTE, "rules refused"), timedelta(days=14))
    assert [stage for _, stage in told_stages(memory)] == ["first", "again"]


def test_a_trouble_that_keeps_coming_back_is_waited_for_the_longer() -> None:
    memory = watched(Memory(), flapping(2 * HOUR, 2 * HOUR, "rules refused"), timedelta(days=14))
    stages = [stage for _, stage in told_stages(memory)]
    assert stages[:4] == ["first", "over", "first", "again"]
    assert len(stages) <= 5
    assert [settling(incidents) // HOUR for incidents in (1, 2, 3, 4, 50)] == [1, 4, 16, 24, 24]


def test_a_failing_feed_that_was_told_and_answers_now_and_then_is_not_told_again() -> None:
    def look(now: datetime) -> Look:
        if now < NOW + 2 * DAY:
            return Look((trouble(),))
        return flapping(30 * MINUTE, 2 * HOUR, "feed failing")(now)

    memory = watched(Memory(), look, timedelta(days=6))
    assert told_stages(memory) == [(DAY, "first")]


@dataclass(frozen=True)
class Outage:
    kind: TroubleKind
    about: str
    start: timedelta
    end: timedelta


KINDS: tuple[TroubleKind, ...] = ("feed failing", "feed gone", "delivery failing", "rules refused")
outages = st.lists(
    st.builds(
        lambda kind, about, start, length: Outage(kind, about, start * MINUTE, (start + length) * MINUTE),
        st.sampled_from(KINDS),
        st.sampled_from("abcd"),
        st.integers(0, 10 * 24 * 60),
        st.integers(10, 3 * 24 * 60),
    ),
    max_size=40,
)


def look_at(some: Iterable[Outage], now: datetime) -> Look:
    """What the watch would find: overlapping outages of one thing are one."""
    present: dict[Key, Trouble] = {}
    over: dict[Key, datetime] = {}
    for one in sorted(some, key=lambda outage: outage.start):
        key = (one.kind, one.about)
        if NOW + one.start <= now < NOW + one.end:
            present.setdefault(key, Trouble(one.kind, one.about, NOW + one.start, "down", ""))
        elif now >= NOW + one.end:
            over[key] = max(NOW + one.end, over.get(key, NOW))
    return Look(tuple(present.values()), over)


@settings(max_examples=40)
@given(outages)
def test_whatever_happens_there_is_no_flood_and_nothing_that_lasts_stays_untold(some: list[Outage]) -> None:
    memory = Memory()
    now = NOW
    waiting: dict[Key, datetime] = {}
    while now <= NOW + timedelta(days=15):
        look = look_at(some, now)
        memory.look(look, now)
        sent = [at for at, _ in memory.mails]
        lately = [at for at in sent if now - at < DAY]
        assert len(lately) <= MOST_A_DAY
        for one in look.troubles:
            known = memory.known.get(one.key)
            if known and known.state == "standing":
                waiting.pop(one.key, None)
            elif now - one.since >= patience(one.kind, OPERATOR):
                waiting.setdefault(one.key, now)
                if len(lately) < MOST_A_DAY:
                    assert now - waiting[one.key] <= BETWEEN_NOTICES or sent[-1] > now - BETWEEN_NOTICES
        waiting = {key: at for key, at in waiting.items() if key in {one.key for one in look.troubles}}
        now += 2 * LOOKS_EVERY
    assert all(later - earlier >= BETWEEN_NOTICES for earlier, later in pairwise(sent))
    # Nothing stands any more, and nobody is left thinking that it does; each was told once for each time it was over.
    assert all(one.state == "over" for one in memory.known.values())
    for key in memory.known:
        stages = [one.stage for _, told in memory.mails for one in told if (one.kind, one.about) == key]
        news = [stage for stage in stages if stage != "again"]
        assert news == ["first", "over"] * (len(news) // 2)


# ── offline ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_when_most_feeds_begin_to_fail_at_once_the_watch_seems_to_be_offline() -> None:
    failing = [trouble("old", -5 * DAY), *(trouble(str(at), at * MINUTE) for at in range(20))]
    found = with_offline(failing, feeds=24)
    assert found[0] == Trouble(
        "offline",
        "",
        NOW,
        "20 of 24 feeds fail since then, 20 of them with: http 503: unavailable",
        "Look at this machine's network, its name resolution, and the proxy in feeds.yaml, if there is one.",
    )
    assert [one.about for one in found if not one.covered and one.kind == "feed failing"] == ["old"]


@pytest.mark.parametrize(
    ("since", "feeds"),
    [
        ([0, 1], 2),  # two feeds are too few to tell
        ([0, 1, 2], 6),  # half of them are not most
        ([0, 24, 48, 72, 96], 5),  # not at once
        ([], 0),
    ],
    ids=["few", "half", "apart", "none"],
)
def test_feeds_that_fail_for_themselves_are_told_each(since: list[int], feeds: int) -> None:
    failing = [trouble(str(hours), hours * HOUR) for hours in since]
    assert with_offline(failing, feeds) == tuple(failing)


def test_what_the_offline_watch_covers_is_neither_told_nor_over() -> None:
    failing = [trouble(str(at), at * MINUTE) for at in range(5)]
    known = Mentioned("feed failing", "3", "standing", NOW - WEEK, NOW - 6 * DAY)
    told = next_notice(Look(with_offline(failing, 5)), [known], (), OPERATOR, NOW + 2 * DAY)
    assert [(one.kind, one.stage) for one in told] == [("offline", "first")]


def test_the_watch_is_online_since_most_feeds_are_well() -> None:
    recoveries = [NOW, NOW + MINUTE, NOW + 2 * MINUTE, NOW + 9 * MINUTE]
    # Of five feeds, three are most; with one that fails still, the second last recovery made them fewer.
    assert online_since(1, 5, recoveries) == NOW + 2 * MINUTE
    assert online_since(3, 5, recoveries) is None
    assert online_since(0, 5, []) is None


# ── how it says that ─────────────────────────────────────────────────────────────────────────────────────────────


def test_troubles_with_one_reason_are_one_paragraph() -> None:
    troubles = (trouble("a"), trouble("b", HOUR), replace(trouble("c"), reason="timeout"))
    told = [Told(one.kind, one.about, "first", one.since) for one in troubles]
    view = compose_notice(told, Look(troubles), (), NOW + 2 * DAY, {("feed failing", "b"): "b (The B)"})
    assert [(group.says, group.names, group.since) for group in view.first] == [
        ("2 feeds that can't be read", ("a", "b (The B)"), NOW),
        ("1 feed that can't be read", ("c",), NOW),
    ]


def test_the_summary_names_what_is_new_what_stands_and_what_is_over() -> None:
    told = (
        Told("rules refused", "", "first", NOW),
        Told("feed failing", "a", "first", NOW),
        Told("feed failing", "b", "again", NOW),
        Told("delivery failing", "r-1", "passed", NOW, NOW + DAY),
        Told("feed failing", "d", "over", NOW),
    )
    assert compose_notice(told, Look(), (), NOW, {}).summary == (
        "edit of feeds.yaml refused: the rules before it stay in force, 1 feed that can't be read; "
        "still: 1 feed that can't be read; "
        "over: 1 recipient whom no mail reaches, 1 feed that can't be read"
    )


def test_a_notice_has_an_end_and_counts_what_it_leaves_out() -> None:
    many = [replace(trouble(f"{at:03}"), reason=f"reason {at % 35}" if at < 70 else "one") for at in range(150)]
    told = [Told(one.kind, one.about, "first", one.since) for one in many]
    known = [Mentioned("feed gone", "z", "standing", NOW, NOW)]
    gone = trouble("z", kind="feed gone")
    view = compose_notice(told, Look((*many, gone)), known, NOW, {})
    assert (len(view.first), view.left, view.others) == (MOST_GROUPS, 6, 1)
    whole = compose_notice(told[70:], Look(tuple(many)), (), NOW, {}).first[0]
    assert (len(whole.names), whole.more) == (MOST_NAMES, 40)
