"""Puts the parts together for a command: settings read, lock held, log opened, mail ready."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from daemon import queries, troubles
from daemon.backfill import progress_in
from daemon.chain import verify_chain
from daemon.comparison import first_difference
from daemon.databases import Connection
from daemon.duetimes import next_due, released
from daemon.errors import ClaimwatchError, ConfigError, LogDamaged, Problem
from daemon.eventlog import EventLog, Head, copy_events, head_of, last_of_kind
from daemon.events import WatchStarted, WatchStopped
from daemon.fetching import Fetcher, open_fetcher
from daemon.guard import GuardedTransport
from daemon.locks import Keep, holder_of, writer_lock
from daemon.mailing import MaildirCarrier, carrier_for
from daemon.migrations import bring_up, refuse_unfit
from daemon.moments import timestamp, timestamp_or_none
from daemon.preparing import Post
from daemon.projections import rebuild
from daemon.recipients import resting_recipients
from daemon.reloading import Stamp, load_stamped
from daemon.rules import DigestRule, recipient_id
from daemon.service import Clock, SystemClock, Watch
from daemon.settings import Polling, Settings, load

logger = logging.getLogger(__name__)

FEEDS_FILE_NOTE = "feeds-file.txt"
"""In the state folder: the feeds.yaml whose log it holds."""


@dataclass(frozen=True)
class Installation:
    """One configuration with its log: what a command works on.

    `rebuilt` is the number of events that an earlier release's tables were just made anew from; `stamp` what feeds.yaml
    and the files beside it looked like before they were read, None where nobody looked.
    """

    settings: Settings
    log: EventLog
    rebuilt: int | None = None
    stamp: Stamp | None = None

    @cached_property
    def post(self) -> Post:
        mail = self.settings.mail
        return Post(
            self.settings.templates,
            self.settings.shipped_templates,
            mail.sender,
            mail.domain,
            self.settings.addresses,
            carrier_for(mail),
            self.settings.operator,
            mail.sender_name,
            mail.unsubscribe,
        )

    @cached_property
    def maildir_post(self) -> Post:
        """The same post into the Maildir of the state directory, whatever server is set: for backtests."""
        return replace(self.post, carrier=MaildirCarrier(self.settings.state / "Maildir"))

    @cached_property
    def watch(self) -> Watch:
        return Watch.over(self.log, self.settings.rules)

    @property
    def maildir(self) -> Path | None:
        """Where mail goes when there is no server."""
        return None if self.settings.mail.smtp else self.settings.mail.maildir

    def reloaded(self, before: Watch) -> tuple[Settings, Watch, Post]:
        """The same log under feeds.yaml as it is now, its terms compiled; those of `before` are taken over.

        Raises ConfigError where that can't be used, any other ClaimwatchError where the fault is not in the files.
        """
        fresh = Installation(load(self.settings.file, self.settings.state), self.log)
        if fresh.settings.database != self.settings.database:
            hint = "Restart claimwatch to work on another log."
            raise ConfigError([Problem(str(fresh.settings.file), 0, 0, "database: was changed", hint)])
        watch = Watch.over(self.log, fresh.settings.rules, before=before.matcher)
        _ = watch.matcher  # Compiled now, so that its faults are those of the reload.
        return fresh.settings, watch, fresh.post


@contextmanager
def reading(config: Path | None, state: Path | None) -> Iterator[Installation]:
    """An installation to read from; works beside a running daemon. Raises ClaimwatchError where there is no log yet."""
    settings = load(config, state)
    if not settings.database.has_log():
        raise ClaimwatchError(
            f"there is no log yet at {str(settings.database).removeprefix('sqlite:///')}",
            hint="`claimwatch run` or `claimwatch poll` begins one; --state names another place.",
        )
    if other := _other_feeds_file(settings):
        logger.warning("action=other_feeds_file; this log belongs to %s, not to %s", other, settings.file.absolute())
    with _opened(settings) as installation:
        refuse_unfit(installation.log)
        yield installation


@contextmanager
def log_if_any(settings: Settings) -> Iterator[EventLog | None]:
    """The log of these settings to read from; None where there is none. Raises ClaimwatchError where it is unfit."""
    if not settings.database.has_log():
        yield None
        return
    with _opened(settings) as installation:
        refuse_unfit(installation.log)
        yield installation.log


@contextmanager
def writing(config: Path | None, state: Path | None, command: str) -> Iterator[Installation]:
    """An installation to write to, as the log's one writer. Raises LogBusy where somebody else writes.

    A log that an earlier release wrote is brought up to date first; that of a newer one is refused.
    """
    settings, stamp = load_stamped(config, state)
    try:
        settings.state.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ClaimwatchError(
            f"the state folder {settings.state} can't be made: {error.strerror}", hint="Name another with --state."
        ) from error
    with writer_lock(settings.database, command) as keep, _opened(settings, keep) as installation:
        _claim_for_feeds_file(settings)
        yield replace(installation, rebuilt=bring_up(installation.log, SystemClock().now()), stamp=stamp)


def _claim_for_feeds_file(settings: Settings) -> None:
    """Notes whose log this is. Two watches on one log would take each other's rules for an edit.

    Raises ClaimwatchError where another feeds.yaml, which is still there, stands in that note.
    """
    note = settings.state / FEEDS_FILE_NOTE
    if other := _other_feeds_file(settings):
        raise ClaimwatchError(
            f"this log belongs to {other}, not to {settings.file.absolute()}",
            hint=f"Name a folder of its own with --state DIR; or take {note} away, if this one goes on with the log.",
        )
    try:
        note.write_text(f"{settings.file.absolute()}\n", encoding="utf-8")
    except OSError as error:
        message = f"{note} can't be written: {error.strerror}"
        raise ClaimwatchError(message, hint="Name a folder that this user may write, with --state.") from error


def _other_feeds_file(settings: Settings) -> Path | None:
    try:
        other = Path((settings.state / FEEDS_FILE_NOTE).read_text(encoding="utf-8").strip())
    except (OSError, UnicodeDecodeError):
        return None
    # One that was moved away is the same watch in another place.
    return other if other.is_file() and other != settings.file.absolute() else None


@contextmanager
def replaying(config: Path | None, state: Path | None) -> Iterator[Installation]:
    """An installation to replay an archive on: in `state`, or in a scratch folder that is thrown away.

    Raises ClaimwatchError where feeds.yaml names a database outside of it: virtual time must not get into a real log.
    """
    with tempfile.TemporaryDirectory(prefix="claimwatch-") as folder:
        settings = load(config, state or Path(folder))
        if not settings.database.is_inside(settings.state):
            raise ClaimwatchError(
                f"feeds.yaml names a database of its own ({settings.database})",
                hint="A replay must not write there: name a copy of feeds.yaml without its database: line.",
            )
        with writing(config, state or Path(folder), "backtest") as installation:
            yield installation


@contextmanager
def _opened(settings: Settings, keep: Keep = lambda: None) -> Iterator[Installation]:
    log = EventLog(settings.database, keep)
    try:
        yield Installation(settings, log)
    finally:
        log.close()


def fetcher_of(settings: Settings) -> AbstractAsyncContextManager[Fetcher]:
    """A Fetcher on the guarded network, with the limits and secrets that feeds.yaml sets."""
    return fetcher_within(settings.polling, settings.feed_secrets)


def fetcher_within(
    polling: Polling, secrets: Mapping[str, Mapping[str, str]] | None = None
) -> AbstractAsyncContextManager[Fetcher]:
    """A Fetcher on the guarded network, within these limits."""
    return open_fetcher(
        timeout_seconds=polling.timeout_seconds,
        most_bytes=polling.most_bytes,
        host_pause_seconds=polling.host_pause_seconds,
        transport=GuardedTransport(allowed=polling.allow_private, proxy=polling.proxy),
        secrets=secrets,
    )


def verify(log: EventLog) -> Head:
    """Checks the chain, and that the projections are what the log adds up to: made anew in a scratch database.

    Raises LogDamaged naming the first event or row that is not right.
    """
    with tempfile.TemporaryDirectory(prefix="claimwatch-") as folder, log.reading() as standing:
        head = verify_chain(standing)
        anew = EventLog(f"sqlite:///{folder}/rebuilt.sqlite3")
        anew.create()
        try:
            with anew.transaction(SystemClock().now()) as transaction:
                copy_events(standing, transaction.connection)
                rebuild(transaction.connection)
            with anew.reading() as rebuilt:
                difference = first_difference(standing, rebuilt)
        finally:
            anew.close()
    if difference:
        raise LogDamaged(f"a projection differs from the log: {difference}", hint="`claimwatch rebuild` mends it.")
    return head


def rebuild_projections(log: EventLog) -> int:
    """Makes the projections anew from the log, in one transaction; returns the number of events."""
    with log.transaction(SystemClock().now()) as transaction, log.database.with_room(transaction.connection):
        return rebuild(transaction.connection)


def status(installation: Installation, clock: Clock) -> dict[str, Any]:
    """The state of the watch as plain values: what `claimwatch status` shows and prints as JSON."""
    rules = {digest.name: digest for digest in installation.settings.rules.live_digests}
    with installation.log.reading() as connection:
        head = head_of(connection)
        subscriptions = [one for one in queries.subscriptions(connection) if one.digest in rules]
        names = sorted({one.digest for one in subscriptions})
        return {
            "watch": _watch_words(connection, installation, clock),
            "digests": [
                {
                    "name": name,
                    "next_due": _next_due(rules[name], clock),
                    "every_seconds": rules[name].every_seconds,
                    "timezone": rules[name].timezone,
                    "via": "maildir" if installation.maildir else "smtp",
                    "recipients": len([one for one in subscriptions if one.digest == name and not one.resting]),
                }
                for name in names
            ],
            "waiting": [
                {
                    "digest": one.digest,
                    "state": one.state,
                    "attempts": one.attempts,
                    "retry_at": timestamp_or_none(one.retry_at),
                    "answer": one.answer,
                }
                for one in queries.waiting_deliveries(connection)
            ],
            "resting": [
                {
                    "recipient": installation.settings.addresses.get(one.recipient, one.recipient),
                    "since": timestamp(one.since),
                    "refusals": one.refusals,
                    "answer": one.answer,
                }
                for one in resting_recipients(connection)
            ],
            "claims": [
                {key: row[key] for key in ("id", "statement", "due", "terms", "matches", "last_match")}
                for row in queries.claim_rows(connection)
            ],
            "feeds": [_plain(vars(feed)) for feed in queries.feed_health(connection)],
            "troubles": _troubles(connection, installation, clock),
            "operator": _operator(connection, installation, clock),
            "log": {
                "database": str(installation.settings.database),
                "events": head.position,
                "head": head.chain,
                **queries.counts(connection),
                "backfill": _backfill_values(connection),
            },
        }


def _next_due(rule: DigestRule, clock: Clock) -> str | None:
    """When a digest comes next; None for alerts, which come when something does."""
    return None if rule.every_seconds else timestamp(released(rule, next_due(rule, clock.now())))


def _backfill_values(connection: Connection) -> dict[str, Any] | None:
    progress = progress_in(connection)
    return {"claims": progress.claims, "done": progress.done, "items": progress.items} if progress else None


def _troubles(connection: Connection, installation: Installation, clock: Clock) -> list[dict[str, Any]]:
    """What is wrong with the watch, and when the operator heard of it last."""
    told = troubles.told_times(connection)
    addresses = installation.settings.addresses
    return [
        {
            "kind": one.kind,
            "about": addresses.get(one.about, one.about),
            "since": timestamp(one.since),
            "reason": one.reason,
            "hint": one.hint,
            "operator_told_at": timestamp_or_none(told.get(one.key)),
        }
        for one in troubles.look(connection, installation.settings.rules.intervals, clock.now()).troubles
        if not one.covered
    ]


def _operator(connection: Connection, installation: Installation, clock: Clock) -> list[dict[str, Any]]:
    """Who is told of troubles, and how that went."""
    operator = installation.settings.operator
    return [
        {
            "to": address,
            "retry_at": timestamp_or_none(before.retry_at),
            "answer": before.answer,
        }
        for address in (operator.addresses if operator else ())
        for before in [troubles.told_before(connection, recipient_id(address), clock.now())]
    ]


def _watch_words(connection: Connection, installation: Installation, clock: Clock) -> str:
    started = last_of_kind(connection, WatchStarted.kind)
    stopped = last_of_kind(connection, WatchStopped.kind)
    holder = holder_of(installation.settings.database)
    _, _, process = (holder or "").partition("claimwatch run ")
    if process and started and (stopped is None or stopped.position < started.position):
        return f"has been watching since {timestamp(started.at)[:16].replace('T', ' ')} UTC {process}"
    if holder:
        return f"is at work: {holder}"
    awake = queries.last_awake(connection)
    return f"is not running; last awake {timestamp(awake)[:16].replace('T', ' ')} UTC" if awake else "has not run yet"


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {key: timestamp(value) if hasattr(value, "isoformat") else value for key, value in values.items()}
