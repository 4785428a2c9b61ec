"""A few seconds of the soak, and that it would tell of growth."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import MOST_GROWTH_BYTES, Sample, growth

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


@pytest.mark.long
def test_hours_of_a_watch_pass_in_seconds_and_nothing_is_left_over() -> None:
    # In a process of its own: looking for garbage in one that ran other tests takes longer than all the rest.
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode in (0, 1), done.stderr
    rows = [list(map(float, line.strip("| ").split(" | "))) for line in done.stdout.splitlines()[2:] if line[:1] == "|"]
    begun, ended = rows[0], rows[-1]
    assert ended[0] >= begun[0]
    assert ended[4] == begun[4] == 1
    assert re.search(
        r"^[\d.]+ virtual days in 0.1 minutes; the log has [\d,]+ MB at the end$", done.stdout, re.MULTILINE
    )
