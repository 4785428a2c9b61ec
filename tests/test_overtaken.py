"""Digests are made while others go on writing: what came meanwhile is told by the next, or they are made anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.preparing import prepare_due, resend
from daemon.projections import project
from daemon.service import Watch, record_rules
from tests.support import RECIPIENT, claim, digest, meanwhile, post, rules, watching
from tests.test_delivery import (
    BOTH,
    DUE,
    SECOND,
    Hand,
    change_rules,
    come_in,
    held,
    kinds,
    matches_of,
    sent,
    text_of,
)
from tests.test_preparing import SEA, alerts, clock, live, until

BLANK = {"title": "", "summary": "", "content": ""}


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    with watching(tmp_path, rules(digest(), claim(), claim(SEA))) as one:
        record_rules(one)
        yield one


def test_a_match_that_comes_in_while_a_digest_is_made_is_told_by_the_next(watch: Watch, tmp_path: Path) -> None:
    first = matches_of(come_in(watch, "Energy strike pause"))
    until(watch, DUE)
    late: list[int] = []
    with meanwhile(watch, lambda: late.extend(matches_of(come_in(watch, "Another energy strike pause")))) as busy:
        (prepared,) = prepare_due(busy, post(tmp_path))
    assert prepared.event.matches == first
    assert prepared.event.log_position < late[0] < prepared.position
    assert held(live(watch, post(tmp_path, Hand()), 1)) == [tuple(late)]


def test_an_alert_comes_for_what_came_in_while_the_one_before_was_made(tmp_path: Path) -> None:
    with watching(tmp_path, rules(alerts())) as watch:
        record_rules(watch)
        come_in(watch, "Energy strike pause")
        until(watch, clock(19, 12, 15))
        late: list[int] = []
        with meanwhile(watch, lambda: late.extend(matches_of(come_in(watch, "Another energy strike pause")))) as busy:
            prepare_due(busy, post(tmp_path))
        assert held(live(watch, post(tmp_path, Hand()), 1)) == [tuple(late)]


def test_an_edit_that_comes_while_a_digest_is_made_is_told_by_the_next(watch: Watch, tmp_path: Path) -> None:
    come_in(watch, "Energy strike pause agreed", guid="one")
    until(watch, DUE)
    with meanwhile(watch, lambda: come_in(watch, "Energy strike pause denied", guid="one")) as busy:
        (prepared,) = prepare_due(busy, post(tmp_path))
    (edited,) = live(watch, post(tmp_path, Hand()), 1)
    assert "denied" not in text_of(prepared)
    assert "before: Energy strike pause *agreed* now: Energy strike pause *denied*" in text_of(edited)


def test_whoever_is_taken_out_while_a_digest_is_made_gets_none(watch: Watch, tmp_path: Path) -> None:
    come_in(watch, "Energy strike pause")
    until(watch, DUE)
    with meanwhile(watch, lambda: change_rules(watch, digest(recipients=(SECOND,)), claim(), claim(SEA))) as busy:
        assert prepare_due(busy, post(tmp_path)) == []


def test_a_text_that_is_taken_out_while_a_digest_is_made_is_not_told(watch: Watch, tmp_path: Path) -> None:
    seen = come_in(watch, "Energy strike pause in a text that a court takes out")
    until(watch, DUE)

    def take_out() -> None:
        with watch.log.transaction(watch.clock.now()) as transaction:
            project(transaction.connection, transaction.redact(seen[0].stream, "a court's order", BLANK))

    with meanwhile(watch, take_out) as busy:
        (prepared,) = prepare_due(busy, post(tmp_path))
    assert prepared.event.matches == matches_of(seen)
    assert "that a court" not in text_of(prepared)
    assert "(text taken out of the log)" in text_of(prepared)


def test_what_is_sent_on_request_while_a_digest_is_made_is_told_once(watch: Watch, tmp_path: Path) -> None:
    come_in(watch, "Energy strike pause")
    until(watch, DUE)
    by = post(tmp_path, Hand())
    with meanwhile(watch, lambda: resend(watch, by, "daily", RECIPIENT, None)) as busy:
        assert kinds(prepare_due(busy, by)) == ["digest_skipped"]


def test_what_is_prepared_for_another_recipient_overtakes_nothing(tmp_path: Path) -> None:
    with watching(tmp_path, rules(digest(recipients=(RECIPIENT, SECOND)))) as watch:
        record_rules(watch)
        found = matches_of(come_in(watch, "Energy strike pause"))
        until(watch, DUE)
        by = post(tmp_path, Hand(), BOTH)
        prepared = prepare_due(watch, by)
        assert held(prepared) == [found, found]
        assert len({one.event.log_position for one in prepared}) == 1
        assert sent(watch, by) == ["delivery_accepted"] * 2


def test_two_sent_again_in_one_second_are_two(watch: Watch, tmp_path: Path) -> None:
    found = matches_of(come_in(watch, "Energy strike pause"))
    by = post(tmp_path, Hand())
    again = [one for _ in range(3) for one in resend(watch, by, "daily", RECIPIENT, None)]
    assert [one.id.rpartition("Z")[2] for one in again] == ["+again", "+again+2", "+again+3"]
    assert held(again) == [found] * 3
    assert len({one.event.message_id for one in again}) == 3
    assert sent(watch, by) == ["delivery_accepted"] * 3
