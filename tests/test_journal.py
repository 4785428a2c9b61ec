"""Log lines: one an action, with its priority for journald, its values quoted where they need it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from daemon.events import DeliveryAccepted, DeliveryDeferred, DeliveryRefused, NoticeSent, Recorded
from daemon.fetching import Changed
from daemon.journal import Journal, Lines, action
from daemon.notices import Told
from daemon.outcomes import Failed
from daemon.service import Polled
from tests.support import NOW

LATER = NOW + timedelta(minutes=15)


def line(level: int, message: str, *, for_journald: bool = True, fault: Exception | None = None) -> str:
    about = (type(fault), fault, None) if fault else None
    record = logging.LogRecord("daemon.x", level, "x.py", 1, message, (), about)
    return Lines(for_journald=for_journald).format(record)


def told(caplog: pytest.LogCaptureFixture, tell: Any) -> list[str]:
    """What is logged while `tell` is at work, each line with its level."""
    with caplog.at_level(logging.INFO):
        tell()
    return [f"{one.levelname} {one.getMessage()}" for one in caplog.records]


@pytest.mark.parametrize(
    ("level", "priority"),
    [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3), (logging.CRITICAL, 2), (25, 6)],
)
def test_a_line_for_journald_bears_its_priority(level: int, priority: int) -> None:
    assert line(level, "action=x") == f"<{priority}>action=x"


def test_elsewhere_a_line_names_its_level() -> None:
    assert line(logging.WARNING, "action=x", for_journald=False) == "WARNING action=x"


def test_a_message_of_several_lines_is_one_line() -> None:
    assert line(logging.ERROR, "action=x:\n  feeds.yaml:1:2: a slip\n\n    Mend it.\n") == (
        "<3>action=x: | feeds.yaml:1:2: a slip | Mend it."
    )


def test_each_line_of_a_traceback_bears_the_priority() -> None:
    lines = line(logging.ERROR, "action=x", fault=ValueError("a\nb")).splitlines()
    assert lines[0] == "<3>action=x"
    assert len(lines) > 2
    assert all(one.startswith("<3>") for one in lines)


@pytest.mark.parametrize(
    ("values", "written"),
    [
        ({"feed": "gazette", "new": 2}, "action=x feed=gazette new=2"),
        ({"reason": "503 Away"}, 'action=x reason="503 Away"'),
        ({"reason": 'says "no"\nFAKE action=y'}, 'action=x reason="says \\"no\\"\\nFAKE action=y"'),
        ({"url": "https://example.org/?a=b"}, 'action=x url="https://example.org/?a=b"'),
        ({"reason": None, "hint": "", "new": 0}, "action=x new=0"),
        ({"next": datetime(2025, 3, 19, tzinfo=UTC)}, "action=x next=2025-03-19T00:00:00Z"),
        ({"title": "перемир’я"}, "action=x title=перемир’я"),
    ],
)
def test_values_are_quoted_where_they_could_be_taken_for_more(values: dict[str, object], written: str) -> None:
    assert action("x", values) == written


def test_a_feed_is_told_of_when_it_brought_something_or_does_otherwise(caplog: pytest.LogCaptureFixture) -> None:
    down = Failed("http 503", "503 Away", "Wait.")
    journal = Journal()
    same = Polled("gazette", down, LATER)
    fails = Polled("gazette", down, LATER, events=1)
    brings = Polled(
        "herald",
        Changed(b"", "x", None, None, None),
        LATER,
        events=3,
        new_items=2,
        matched_claims=("swap", "sea", "sea"),
    )

    def tell() -> None:
        for one in (same, fails, brings):
            journal.told(one)
        journal.end([same, fails, brings])
        journal.end([same])

    assert told(caplog, tell) == [
        (
            'WARNING action=poll feed=gazette outcome=failed reason="http 503" detail="503 Away" hint=Wait. '
            "next=2025-03-19T12:15:00Z"
        ),
        "INFO action=poll feed=herald outcome=changed new=2 matched=sea,swap next=2025-03-19T12:15:00Z",
        "INFO action=round feeds=3 failed=2 new=2 matches=3",
    ]


def test_each_message_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    def recorded(event: object) -> Recorded:
        return Recorded(1, "digest/daily/a/2025", 1, NOW, event)

    told_of = (Told("feed gone", "gazette", "first", NOW, None), Told("offline", "", "over", NOW, NOW))
    events = (
        DeliveryAccepted("250 ok"),
        DeliveryDeferred("421 busy", LATER),
        DeliveryRefused("550 no such user"),
        NoticeSent(told_of, "<notice@example.org>", "250 ok"),
    )
    assert told(caplog, lambda: Journal().mailed([recorded(one) for one in events])) == [
        'INFO action=delivery_accepted digest=daily/a/2025 answer="250 ok"',
        'WARNING action=delivery_deferred digest=daily/a/2025 reason="421 busy" retry=2025-03-19T12:15:00Z',
        'ERROR action=delivery_refused digest=daily/a/2025 reason="550 no such user"',
        'INFO action=notice_sent told="feed gone gazette, offline"',
    ]


@pytest.mark.parametrize(("connected", "begins"), [(True, "<3>"), (False, "ERROR ")])
def test_priorities_are_for_the_stream_that_systemd_connected_alone(
    tmp_path: Path, connected: bool, begins: str
) -> None:
    program = "import logging; from daemon.journal import set_up_logging; set_up_logging(); logging.error('action=x')"
    with (tmp_path / "stream").open("w+") as stream:
        there = os.fstat(stream.fileno())
        named = f"{there.st_dev}:{there.st_ino if connected else there.st_ino + 1}"
        environment = os.environ | {"JOURNAL_STREAM": named}
        subprocess.run([sys.executable, "-c", program], stderr=stream, env=environment, check=True)
        stream.seek(0)
        assert stream.read() == f"{begins}action=x\n"
