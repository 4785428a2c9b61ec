"""What a digest of thousands costs, and for how long it keeps others from writing: `make bench-digests`.

The shared corpus's items on a few great subjects, as if one claim had met all of them in a backfill, told to five
recipients at once.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.stories import SHARED_ITEMS, read_items
from daemon.assembly import verify
from daemon.backtest import VirtualClock
from daemon.eventlog import EventLog, Transaction
from daemon.events import ClaimMatched, DigestPrepared, Evidence, ItemSeen, NewEvent
from daemon.mailing import MaildirCarrier
from daemon.preparing import Post, prepare_due
from daemon.projections import record
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules, TermRule, recipient_id
from daemon.service import Watch, record_rules
from daemon.settings import load_templates, shipped
from daemon.stories import Report

MATCHES_AT = (1_000, 10_000)
WORDS = ("Iran", "Russia", "Ukraine", "Trump", "war", "Путин", "Украин")
CLAIM = "a-claim-that-meets-all"
NOW = datetime(2025, 3, 19, 12, 0, tzinfo=UTC)
ADDRESSES = tuple(f"recipient{number}@example.org" for number in range(5))


class Timed(EventLog):
    """A log that knows for how long each turn of a writer took."""

    def __init__(self, address: str) -> None:
        super().__init__(address)
        self.turns: list[float] = []

    @contextmanager
    def transaction(self, now: datetime) -> Iterator[Transaction]:
        with super().transaction(now) as transaction:
            started = time.perf_counter()
            yield transaction
        self.turns.append(time.perf_counter() - started)


def rules_of(reports: Sequence[Report]) -> Rules:
    """One claim over the feeds of these reports, told to all recipients every day."""
    feeds = tuple(FeedRule(id, f"https://{id}.example/rss", 900) for id in sorted({_feed(one) for one in reports}))
    claim = ClaimRule(CLAIM, "A claim.", "seed", "An article", NOW.date(), "fact", terms=(TermRule(WORDS[0]),))
    digest = DigestRule("daily", "30 7 * * *", "UTC", tuple(map(recipient_id, ADDRESSES)))
    return Rules(feeds=feeds, claims=(claim,), digests=(digest,))


def _feed(report: Report) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in report.feed.lower())


def fill(watch: Watch, reports: Sequence[Report]) -> None:
    """Records the reports as items, each with its match."""
    events = []
    for number, one in enumerate(reports):
        feed, word = _feed(one), one.title.split()[0]
        seen = ItemSeen(
            feed, "guid", str(number), one.link, one.title, one.summary, "", None, one.when, None, str(number)
        )
        evidence = Evidence(WORDS[0], "mentions", "title", ((0, len(word)),), (word,))
        match = ClaimMatched(CLAIM, f"item{number}", feed, 1, watch.rules.sha256, (evidence,), retroactive=True)
        events += [NewEvent(f"item/item{number}", seen), NewEvent(f"claim/{CLAIM}", match)]
    with watch.log.transaction(NOW) as transaction:
        record(transaction, events)


def measured(folder: Path, reports: Sequence[Report]) -> str:
    """A row of the table: what a digest of these reports costs."""
    templates = load_templates(shipped("alerts"))[0]
    addresses = {recipient_id(address): address for address in ADDRESSES}
    post = Post(templates, templates, "claimwatch@example.org", "example.org", addresses, MaildirCarrier(folder))
    log = Timed(f"sqlite:///{folder / 'claimwatch.sqlite3'}")
    log.create()
    try:
        clock = VirtualClock(NOW)
        watch = Watch.over(log, rules_of(reports), clock)
        record_rules(watch)
        fill(watch, reports)
        clock.move_to(NOW + timedelta(days=1))
        log.turns.clear()
        started = time.process_time()
        prepared = [one.event for one in prepare_due(watch, post)]
        taken = time.process_time() - started
        verify(log)
    finally:
        log.close()
    held = [len(one.matches) for one in prepared if isinstance(one, DigestPrepared)]
    if held != [len(reports)] * len(ADDRESSES):
        raise AssertionError(f"the digests hold {held} matches")
    return f"| {len(reports):,} | {taken:.1f} s | {max(log.turns):.2f} s |"


def main() -> int:
    if not SHARED_ITEMS.is_file():
        print("No figures: the shared corpus is not here.")
        return 0
    found = (
        one
        for _, one in read_items(SHARED_ITEMS)
        if one.title and any(word in one.title + one.summary for word in WORDS)
    )
    reports = sorted(found, key=lambda one: one.when)
    print(f"| matches | all {len(ADDRESSES)} digests, processor time | the longest turn |\n|---|---|---|")
    for many in MATCHES_AT:
        with tempfile.TemporaryDirectory() as folder:
            print(measured(Path(folder), reports[-many:]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
