"""kill -9 at random moments of `poll` and `deliver`: nothing lost, nothing told twice but under its own Message-ID.

A short form runs by default; `make test-kill` kills fifty times. The moments come from the seed that the test leaves
beside its log.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from email.message import Message
from email.policy import SMTP
from pathlib import Path

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope, Session

from daemon.assembly import verify
from daemon.eventlog import EventLog, read
from daemon.events import DigestPrepared
from tests.databases import AnyDatabase
from tests.support import WebServer, item, rss

KILLS = int(os.environ.get("CLAIMWATCH_KILLS", "2"))
# Both are at one host, and a second lies between two requests to a host.
FEEDS = 2
ITEMS_A_ROUND = 30
CONFIG = """
database: {database}
feeds: {{ {feeds} }}
claims:
  prisoner-exchange: {{terms: "prisoner exchange"}}
digests:
  often: {{cron: "* * * * *", to: [analyst@example.org, second@example.org]}}
polling: {{allow_private: 127.0.0.1}}
mail:
  from: claimwatch@example.org
  smtp: {{host: 127.0.0.1, port: {port}, security: none}}
"""


class Mailbox:
    """An SMTP server's handler that keeps every message it accepted, slowly enough to be interrupted."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []

    async def handle_DATA(self, server: object, session: Session, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.messages.append((envelope.rcpt_tos[0], envelope.content))
        return "250 kept"


@contextmanager
def mail_server() -> Iterator[tuple[int, Mailbox]]:
    mailbox = Mailbox()
    for port in random.sample(range(20_000, 60_000), 20):
        controller = Controller(mailbox, hostname="127.0.0.1", port=port)
        try:
            controller.start()
        except OSError:
            continue
        try:
            yield port, mailbox
        finally:
            controller.stop()
        return
    raise RuntimeError("no free port")


def claimwatch(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "daemon", "--config", str(folder / "feeds.yaml"), "--state", str(folder / "state")]
    quiet = subprocess.DEVNULL
    return subprocess.Popen([*command, *arguments], cwd=folder, stdin=quiet, stdout=quiet, stderr=quiet)


def run_through(folder: Path, *arguments: str) -> None:
    process = claimwatch(folder, *arguments)
    assert process.wait(60) in (0, 1)


def kill_during(folder: Path, seconds: float, *arguments: str) -> bool:
    """Starts a command and kills it after a while; says whether it was still at work."""
    process = claimwatch(folder, *arguments)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    return process.wait(60) == -signal.SIGKILL


def how_long(folder: Path, *arguments: str) -> float:
    began = time.monotonic()
    run_through(folder, *arguments)
    return time.monotonic() - began


def serve_round(web: WebServer, number: int) -> set[str]:
    """Gives every feed a new window; returns the titles that it holds."""
    titles = set()
    for feed in range(FEEDS):
        window = [f"Prisoner exchange {feed} {number} {at}" for at in range(ITEMS_A_ROUND)]
        web.serve(f"/{feed}", rss(*(item(title) for title in window)))
        titles |= set(window)
    return titles


def message_ids(messages: list[tuple[str, bytes]]) -> dict[tuple[str, str], set[bytes]]:
    """The distinct bytes that came to each recipient under each Message-ID."""
    found: dict[tuple[str, str], set[bytes]] = {}
    for recipient, content in messages:
        parsed: Message = message_from_bytes(content, policy=SMTP)
        found.setdefault((recipient, str(parsed["Message-ID"])), set()).add(content)
    return found


@pytest.mark.long
def test_a_killed_command_loses_nothing_and_repeats_only_the_same_message(
    database: AnyDatabase, tmp_path: Path, web: WebServer
) -> None:
    seed = random.randrange(10**9)
    (tmp_path / "seed").write_text(str(seed), encoding="utf-8")
    moments = random.Random(seed)
    with mail_server() as (port, mailbox):
        feeds = ", ".join(f"f{feed}: {web.url(f'/{feed}')}" for feed in range(FEEDS))
        (tmp_path / "feeds.yaml").write_text(
            CONFIG.format(database=database.url, feeds=feeds, port=port), encoding="utf-8"
        )
        served = serve_round(web, 0)
        longest = {
            "poll": how_long(tmp_path, "poll"),
            "prepare": how_long(tmp_path, "digest", "prepare", "often"),
            "deliver": how_long(tmp_path, "deliver"),
        }
        interrupted = 0
        for number in range(1, KILLS // 2 + 1):
            served |= serve_round(web, number)
            interrupted += kill_during(tmp_path, moments.uniform(0.3, 1) * longest["poll"], "poll")
            run_through(tmp_path, "poll")
            run_through(tmp_path, "digest", "prepare", "often")
            interrupted += kill_during(tmp_path, moments.uniform(0.3, 1) * longest["deliver"], "deliver")
        assert interrupted >= KILLS // 4, "the commands were too fast to be killed"
        run_through(tmp_path, "digest", "prepare", "often")
        run_through(tmp_path, "deliver")

    log = EventLog(database.url)
    try:
        verify(log)
        with log.reading() as connection:
            events = list(read(connection))
    finally:
        log.close()
    seen = Counter(one.event.title for one in events if one.event.kind == "item_seen")
    assert set(seen) == served, "an item was lost"
    assert set(seen.values()) == {1}, "an item was taken in twice"

    matches = {one.position for one in events if one.event.kind == "claim_matched"}
    prepared = [one.event for one in events if isinstance(one.event, DigestPrepared)]
    for recipient in {digest.recipient for digest in prepared}:
        told = Counter(match for digest in prepared if digest.recipient == recipient for match in digest.matches)
        assert set(told) == matches, "a match was in no digest"
        assert set(told.values()) == {1}, "a match was told in two digests"

    came = message_ids(mailbox.messages)
    assert {message_id for _, message_id in came} == {digest.message_id for digest in prepared}, "a digest was lost"
    assert all(len(contents) == 1 for contents in came.values()), "a message came again with other bytes"
    accepted = Counter(one.id for one in events if one.event.kind == "delivery_accepted")
    assert set(accepted.values()) == {1}
    assert len(accepted) == len(prepared)
