"""What would I have been told? An archive of feed snapshots, replayed through the code that polls and delivers.

Only the socket and the clock are replaced: `ArchiveTransport` answers requests with snapshots, and `VirtualClock`
stands at one instant until all that happens there is done.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from daemon import knowledge, queries
from daemon.backfill import Progress, catch_up
from daemon.delivery import deliver
from daemon.errors import ClaimwatchError
from daemon.eventlog import EventLog
from daemon.events import DeliveryAccepted, DigestPrepared, Recorded
from daemon.fetching import open_fetcher
from daemon.outcomes import Failed, Unchanged
from daemon.parsing import open_parser
from daemon.preparing import Post, next_due_time, prepare_due
from daemon.rules import FeedRule, Rules
from daemon.service import Polled, Watch, poll, record_rules

_SNAPSHOT = re.compile(r"(\d{8}T\d{6}Z).*\.(?:xml|json)(?:\.gz)?$")


_SEE_STATUS = "Look at `claimwatch digest show` and `claimwatch status` on this state."


@dataclass(frozen=True, order=True)
class Snapshot:
    """A feed's document as it was served at an instant."""

    at: datetime
    feed: str
    path: Path


@dataclass
class VirtualClock:
    """A clock that moves only when it is told to, and never back."""

    moment: datetime

    def now(self) -> datetime:
        return self.moment

    def move_to(self, moment: datetime) -> None:
        self.moment = max(self.moment, moment)


class ArchiveTransport(httpx.AsyncBaseTransport):
    """A network that has one document for each feed: its snapshot of the present instant, with an ETag of its bytes."""

    def __init__(self) -> None:
        self.serving: dict[str, Path] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = self.serving[str(request.url)]
        try:
            body = _bytes_of(path)
        except (OSError, EOFError, zlib.error) as error:
            raise httpx.ReadError(f"{path.name} can't be read: {error}", request=request) from error
        etag = f'"{hashlib.sha256(body).hexdigest()}"'
        if request.headers.get("if-none-match") == etag:
            return httpx.Response(304, headers={"etag": etag})
        return httpx.Response(200, headers={"etag": etag}, stream=httpx.ByteStream(body))


@dataclass
class Summary:
    """What a backtest came to: the one line it ends with."""

    feeds: int
    polls: int = 0
    unchanged: int = 0
    failed: int = 0
    items: int = 0
    revised: int = 0
    matches: Counter[str] = field(default_factory=Counter)
    digests: int = 0
    deliveries: int = 0

    def count(self, polled: Polled) -> None:
        self.polls += 1
        self.unchanged += isinstance(polled.outcome, Unchanged)
        self.failed += isinstance(polled.outcome, Failed)
        self.items += polled.new_items
        self.revised += polled.revised_items
        self.matches.update(polled.matched_claims)

    def as_json(self) -> dict[str, Any]:
        return vars(self) | {"matches": dict(self.matches)}


def snapshots_in(archive: Path) -> list[Snapshot]:
    """All snapshots of an archive in order of time. Raises ClaimwatchError where there is none."""
    if not archive.is_dir():
        raise ClaimwatchError(f"{archive} is no folder", hint="Name the folder that holds a folder for each feed.")
    found = sorted(_walk(archive))
    if not found:
        raise ClaimwatchError(
            f"{archive} holds no snapshots",
            hint="It takes a folder for each feed, with files named by time: FEED/20250318T150000Z.xml (or .xml.gz).",
        )
    return found


async def backtest(
    log: EventLog,
    rules: Rules,
    post: Post,
    snapshots: Sequence[Snapshot],
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    most_bytes: int,
    told: Callable[[Polled], None] = lambda _polled: None,
    mailed: Callable[[Recorded], None] = lambda _digest: None,
    rematched: Callable[[Progress], None] = lambda _progress: None,
) -> Summary:
    """Polls each snapshot at its instant, in order over all feeds; digests due before it are sent first.

    Snapshots that are not later than their feed's last poll in the log are passed over; with none left, and the rules
    as they were, nothing is appended. Where an earlier run had other rules, what it left is matched against these
    first. With `until`, the digests due up to it go out at the end. `told` hears of each poll, `mailed` of each digest
    that was prepared or skipped, `rematched` of each chunk of stored items that was matched again.
    """
    feeds = {feed.id: feed for feed in _archive_feeds(rules, snapshots)}
    rules = replace(rules, feeds=tuple(feeds.values()))
    with log.reading() as connection:
        polls = knowledge.poll_states(connection)
        awake = queries.last_awake(connection)
        known = queries.recorded_rules(connection)
    todo = [snapshot for snapshot in snapshots if _is_wanted(snapshot, since, until, polls.get(snapshot.feed))]
    summary = Summary(len(feeds), matches=Counter({claim.id: 0 for claim in rules.watched_claims}))
    moments = [moment for moment in (awake, todo[0].at if todo else None) if moment]
    if not moments or not (todo or (known and known.sha256 != rules.sha256)):
        return summary
    # From where an earlier run ended, so that what fell due in between goes out at its own times.
    clock = VirtualClock(min(moments))
    watch = Watch.over(log, rules, clock)
    transport = ArchiveTransport()
    record_rules(watch)
    catch_up(watch, rematched)
    limits: dict[str, Any] = {"timeout_seconds": 60, "most_bytes": most_bytes, "host_pause_seconds": 0}

    def taken(polled: Polled) -> None:
        summary.count(polled)
        told(polled)

    async with open_fetcher(**limits, transport=transport) as fetcher, open_parser() as parser:
        for snapshot in todo:
            await _mail_until(watch, clock, post, snapshot.at, summary, mailed)
            clock.move_to(snapshot.at)
            feed = feeds[snapshot.feed]
            transport.serving[str(httpx.URL(feed.url))] = snapshot.path
            await poll(watch, fetcher, parser, [feed], told=taken)
    if until is not None:
        await _mail_until(watch, clock, post, until + timedelta(microseconds=1), summary, mailed)
    return summary


async def _mail_until(
    watch: Watch,
    clock: VirtualClock,
    post: Post,
    end: datetime,
    summary: Summary,
    mailed: Callable[[Recorded], None],
) -> None:
    """Lives through every instant before `end` at which a digest falls due or a delivery is tried again."""
    while (moment := _next_mail(watch)) is not None and moment < end:
        clock.move_to(moment)
        recorded = prepare_due(watch, post)
        summary.digests += sum(isinstance(one.event, DigestPrepared) for one in recorded)
        outcomes = await deliver(watch, post)
        summary.deliveries += sum(isinstance(one.event, DeliveryAccepted) for one in outcomes)
        for one in recorded:
            mailed(one)
        if not recorded and not outcomes and _next_mail(watch) == moment:
            raise ClaimwatchError(f"what is due at {moment:%Y-%m-%dT%H:%M:%SZ} can't be prepared", hint=_SEE_STATUS)


def _next_mail(watch: Watch) -> datetime | None:
    with watch.log.reading() as connection:
        retries = [one.retry_at or watch.clock.now() for one in queries.waiting_deliveries(connection)]
    return min((moment for moment in (next_due_time(watch), *retries) if moment), default=None)


def _archive_feeds(rules: Rules, snapshots: Sequence[Snapshot]) -> Iterator[FeedRule]:
    """The archive's feeds, as feeds.yaml has them where it does. Each has an address of its own."""
    configured = {feed.id: feed for feed in rules.feeds}
    for id in sorted({snapshot.feed for snapshot in snapshots}):
        yield (
            replace(configured[id], enabled=True)
            if id in configured
            else FeedRule(id, f"https://{hashlib.sha256(id.encode()).hexdigest()[:16]}.invalid/feed", 86_400, id)
        )


def _is_wanted(
    snapshot: Snapshot, since: datetime | None, until: datetime | None, polled: knowledge.PollState | None
) -> bool:
    if (since and snapshot.at < since) or (until and snapshot.at > until):
        return False
    return polled is None or polled.polled_at is None or snapshot.at > polled.polled_at


def _walk(archive: Path) -> Iterator[Snapshot]:
    for folder in sorted(path for path in archive.iterdir() if path.is_dir()):
        for path in folder.iterdir():
            if named := _SNAPSHOT.match(path.name):
                yield Snapshot(_time_of(named[1], path), folder.name, path)


def _time_of(name: str, path: Path) -> datetime:
    try:
        return datetime.strptime(name, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise ClaimwatchError(f"{path} is named by no time", hint="Such as 20250318T150000Z.xml, in UTC.") from error


def _bytes_of(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
