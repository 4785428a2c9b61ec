"""A few seconds of the soak, and that it would tell of growth."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.soak import MOST_ADDED, Sample, growth

STEADY = [Sample(day, 60_000_000 + day % 3 * 1_000_000, 20, 5, 1, 300_000 + day % 3 * 1_000) for day in range(40)]


def test_what_goes_up_and_down_has_not_grown() -> None:
    assert growth(STEADY) == []


def test_what_grows_while_it_warms_up_has_not_grown() -> None:
    assert growth([replace(one, handles=10, blocks=200_000) if one.day < 10 else one for one in STEADY]) == []


@pytest.mark.parametrize("measure", ["resident_bytes", "blocks", "handles", "threads", "tasks"])
def test_what_takes_a_step_afterwards_and_stays_there_is_told(measure: str) -> None:
    more = MOST_ADDED.get(measure, 0) * 2 + 1
    grown = [replace(one, **{measure: getattr(one, measure) + (more if one.day >= 20 else 0)}) for one in STEADY]
    (told,) = growth(grown)
    assert told.startswith(f"{measure} grew from ")


@pytest.mark.parametrize("measure", MOST_ADDED)
def test_what_grows_a_little_each_day_is_told(measure: str) -> None:
    a_day = MOST_ADDED[measure] // 15
    grown = [replace(one, **{measure: getattr(one, measure) + int(one.day * a_day)}) for one in STEADY]
    (told,) = growth(grown)
    assert told.startswith(f"{measure} grew from ")


@pytest.mark.long
def test_hours_of_a_watch_pass_in_seconds_and_nothing_is_left_over() -> None:
    # In a process of its own: looking for garbage in one that ran other tests takes longer than all the rest.
    command = [sys.executable, "-m", "benchmarks.soak", "--minutes", "0.1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[1])
    assert done.returncode in (0, 1), done.stderr
    rows = [
        list(map(float, line.strip("| ").replace(",", "").split(" | ")))
        for line in done.stdout.splitlines()[2:]
        if line[:1] == "|"
    ]
    begun, ended = rows[0], rows[-1]
    assert ended[0] >= begun[0]
    assert ended[5] == begun[5] == 1
    assert re.search(
        r"^[\d.]+ virtual days in 0.1 minutes; the log has [\d,]+ MB at the end$", done.stdout, re.MULTILINE
    )
