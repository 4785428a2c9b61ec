"""Spans of time in words: exactly, as feeds.yaml has them, and roughly, as a person tells them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.moments import exact_span, rough_span


@pytest.mark.parametrize(
    ("seconds", "exact", "rough"),
    [
        (1, "1s", "1 s"),
        (59, "59s", "59 s"),
        (60, "1m", "60 s"),
        (90, "90s", "90 s"),
        (900, "15m", "15 min"),
        (901, "901s", "15 min"),
        (3600, "1h", "60 min"),
        (5400, "90m", "90 min"),
        (7199, "7199s", "119 min"),
        (21_600, "6h", "6 h"),
        (86_400, "1d", "24 h"),
        (86_401, "86401s", "24 h"),
        (172_800, "2d", "2 days"),
        (259_199, "259199s", "2 days"),
    ],
)
def test_a_span_is_written_exactly_and_told_roughly(seconds: int, exact: str, rough: str) -> None:
    assert exact_span(timedelta(seconds=seconds)) == exact
    assert rough_span(timedelta(seconds=seconds)) == rough


def test_what_lies_ahead_by_a_clock_that_was_set_back_is_told_as_just_now() -> None:
    assert rough_span(timedelta(hours=-1)) == "0 s"
