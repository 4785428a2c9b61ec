"""A few seconds of the soak, and that it would tell of growth."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import MOST_GROWTH_BYTES, Sample, growth, soak

STEADY = [Sample(day, 60_000_000 + day % 3 * 1_000_000, 20, 5, 1) for day in range(40)]


def test_what_goes_up_and_down_has_not_grown() -> None:
    assert growth(STEADY) == []


def test_what_grows_while_it_warms_up_has_not_grown() -> None:
    assert growth([replace(one, handles=10) if one.day < 10 else one for one in STEADY]) == []


@pytest.mark.parametrize(
    ("measure", "more"),
    [("handles", 1), ("threads", 1), ("tasks", 1), ("resident_bytes", MOST_GROWTH_BYTES + 2_000_000)],
)
def test_what_grows_afterwards_is_told(measure: str, more: int) -> None:
    grown = [replace(one, **{measure: getattr(one, measure) + (more if one.day >= 20 else 0)}) for one in STEADY]
    (told,) = growth(grown)
    assert told.startswith(f"{measure} grew from ")


def test_hours_of_a_watch_pass_in_seconds_and_nothing_is_left_over(tmp_path: Path) -> None:
    samples = asyncio.run(soak(tmp_path, seconds=5, samples=8))
    assert samples[-1].day > 0.1
    assert samples[-1].tasks == samples[0].tasks
    assert samples[-1].threads <= max(one.threads for one in samples[:4])
    assert any((tmp_path / "Maildir" / "new").iterdir())
