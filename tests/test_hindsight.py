"""What a digest asks of the log besides its matches: edits of what was told, each once, and the last thirty days."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from daemon.events import DeliveryRefused, DigestPrepared, NewEvent, Recorded
from daemon.hindsight import found_by_day
from daemon.preparing import prepare_due
from daemon.projections import record
from daemon.service import Watch, record_rules
from tests.support import NOW, claim, move_on, post, rules, watching
from tests.test_delivery import DAY, come_in, text_of

CLAIM = "energy-strike-pause"


@pytest.fixture
def told(watch: Watch, tmp_path: Path) -> Watch:
    """A watch whose analyst was told of an item this morning."""
    record_rules(watch)
    come_in(watch, "Energy strike pause agreed", guid="g")
    move_on(watch, DAY)
    assert isinstance(the_digest(watch, tmp_path).event, DigestPrepared)
    return watch


def the_digest(watch: Watch, folder: Path) -> Recorded:
    (prepared,) = prepare_due(watch, post(folder))
    return prepared


def next_digest(watch: Watch, folder: Path) -> Recorded:
    move_on(watch, DAY)
    return the_digest(watch, folder)


def test_an_edit_of_what_was_told_is_told_once_also_without_a_match(told: Watch, tmp_path: Path) -> None:
    come_in(told, "Energy strike pause denied", guid="g")
    prepared = next_digest(told, tmp_path)
    assert (prepared.event.matches, prepared.event.subject) == ((), "1 item edited: energy strike pause")
    assert "before: Energy strike pause *agreed* now: Energy strike pause *denied*" in text_of(prepared)
    assert next_digest(told, tmp_path).event.kind == "digest_skipped"


def test_an_edit_that_ended_a_match_says_so(told: Watch, tmp_path: Path) -> None:
    come_in(told, "Nothing agreed on energy", guid="g")
    assert "it no longer bears on the claim" in text_of(next_digest(told, tmp_path))


def test_an_edit_elsewhere_in_the_item_tells_nothing(told: Watch, tmp_path: Path) -> None:
    come_in(told, "Energy strike pause agreed", guid="g", summary="Now with a summary.")
    assert next_digest(told, tmp_path).event.kind == "digest_skipped"


def test_an_edit_is_told_again_where_its_digest_was_refused(told: Watch, tmp_path: Path) -> None:
    come_in(told, "Energy strike pause denied", guid="g")
    refused = next_digest(told, tmp_path)
    with told.log.transaction(told.clock.now()) as transaction:
        record(transaction, [NewEvent(refused.stream, DeliveryRefused("550 no such user"), refused.version)])
    assert "now: Energy strike pause *denied*" in text_of(next_digest(told, tmp_path))


def test_an_item_that_is_changed_before_it_is_told_shows_both(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    come_in(watch, "Energy strike pause agreed", guid="g")
    come_in(watch, "Energy strike pause denied", guid="g")
    prepared = next_digest(watch, tmp_path)
    assert len(prepared.event.matches) == 1
    assert "before: Energy strike pause *agreed* now: Energy strike pause *denied*" in text_of(prepared)


def test_a_claim_that_fell_due_is_told_once_on_its_day(tmp_path: Path) -> None:
    with watching(tmp_path, rules(claim(due=date(2025, 3, 20)))) as watch:
        record_rules(watch)
        assert next_digest(watch, tmp_path).event.subject == "1 claim fell due: energy strike pause"
        assert next_digest(watch, tmp_path).event.kind == "digest_skipped"


def test_a_template_that_failed_is_recorded_with_the_digest(watch: Watch, tmp_path: Path) -> None:
    record_rules(watch)
    come_in(watch, "Energy strike pause")
    move_on(watch, DAY)
    own = post(tmp_path)
    (prepared,) = prepare_due(watch, replace(own, templates=dict(own.templates) | {"digest.html": "\n{{ nothing }}"}))
    assert prepared.event.template_faults == ("alerts/digest.html, line 2: 'nothing' is undefined",)


def test_days_are_counted_in_the_zone_that_is_asked_for_by_an_item_s_own_date(watch: Watch) -> None:
    record_rules(watch)
    come_in(watch, "Energy strike pause late")
    late = datetime(2025, 3, 19, 23, 0, tzinfo=UTC)
    move_on(watch, late - NOW)
    come_in(watch, "Energy strike pause at night")
    with watch.log.reading() as connection:
        for zone, days in (("UTC", [(19, 2)]), ("Europe/Kyiv", [(19, 1), (20, 1)])):
            counts = found_by_day(connection, [CLAIM], date(2025, 3, 20), ZoneInfo(zone))
            assert [(one.day.day, one.count) for one in counts] == days
        assert found_by_day(connection, [CLAIM], date(2025, 3, 20) + timedelta(days=31), ZoneInfo("UTC")) == []
        assert found_by_day(connection, ["another"], date(2025, 3, 20), ZoneInfo("UTC")) == []
