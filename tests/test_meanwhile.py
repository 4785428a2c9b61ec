"""What is written between a poll's decision and its own write: the decision is made again on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from daemon.assembly import verify
from daemon.backfill import Backfill, waiting
from daemon.outcomes import Changed
from daemon.service import Watch, record_rules
from daemon.tables import MatchRow, table_of
from tests.support import Meddled, claim, item, meanwhile, rss, rules, take_in, watching

A, B = claim("cave-bear"), claim("energy-strike-pause")
match = table_of(MatchRow)


def says(title: str, summary: str = "") -> Changed:
    """A document of the one item, with this text."""
    return Changed(rss(item(title, guid="1", link=None, summary=summary)), f"{title} {summary}", None, None, None)


def edited(watch: Watch) -> Watch:
    """The watch after an edit that brought a claim: its backfill waits."""
    after = Watch.over(watch.log, rules(A, B), watch.clock)
    record_rules(after)
    return after


def backfill_of(watch: Watch) -> Backfill:
    backfill = waiting(watch)
    assert backfill
    return backfill


def to_its_end(backfill: Backfill) -> None:
    while (progress := backfill.advance()) and not progress.finished:
        pass


def matches(watch: Watch) -> list[Any]:
    with watch.log.reading() as connection:
        return list(connection.execute(select(match.c.claim, match.c.item_version, match.c.current, match.c.lapsed_at)))


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Watch]:
    with watching(tmp_path, rules(A)) as watch:
        record_rules(watch)
        yield watch
        verify(watch.log)


def test_a_match_that_a_backfill_makes_while_a_revision_is_decided_on_is_not_made_twice(begun: Watch) -> None:
    take_in(begun, begun.rules.feeds[0], says("Energy strike pause"))
    watch = edited(begun)
    backfill = backfill_of(watch)
    with meanwhile(watch, backfill.advance) as busy:
        polled = take_in(busy, watch.rules.feeds[0], says("Energy strike pause", "It holds."))
    to_its_end(backfill)
    assert [one.event.kind for one in polled.recorded] == ["item_revised"]
    assert matches(watch) == [(B.id, 1, True, None)]


def test_a_backfill_that_goes_on_after_a_restart_compiles_its_terms_before_its_turn_to_write(begun: Watch) -> None:
    take_in(begun, begun.rules.feeds[0], says("Energy strike pause"))
    edited(begun)
    compiled: list[bool] = []
    with meanwhile(Watch.over(begun.log, rules(A, B), begun.clock)) as restarted:
        log = restarted.log
        assert isinstance(log, Meddled)
        backfill = backfill_of(restarted)
        log.meddlings.append(lambda: compiled.append("_compiled" in vars(restarted)))
        to_its_end(backfill)
    assert compiled == [True]
    assert matches(begun) == [(B.id, 1, True, None)]


def test_a_match_that_a_backfill_makes_of_the_text_before_lapses_with_the_new_one(begun: Watch) -> None:
    take_in(begun, begun.rules.feeds[0], says("Energy strike pause"))
    watch = edited(begun)
    backfill = backfill_of(watch)
    with meanwhile(watch, backfill.advance) as busy:
        polled = take_in(busy, watch.rules.feeds[0], says("The weather"))
    to_its_end(backfill)
    assert [one.event.kind for one in polled.recorded] == ["item_revised", "match_lapsed"]
    assert [(one.claim, one.lapsed_at is None) for one in matches(watch)] == [(B.id, False)]
