"""What was really watched between two moments, as far as the log and the poll cache tell."""

from __future__ import annotations

from datetime import datetime, timedelta

from daemon import queries
from daemon.coverage import Coverage, FeedTrouble, told_reason
from daemon.databases import Connection
from daemon.queries import FeedHealth
from daemon.rules import Rules


def longest_silence(rules: Rules) -> timedelta:
    """How long a watch that is awake may go without a poll."""
    longest = max((feed.longest_seconds for feed in rules.polled_feeds), default=0)
    return max(timedelta(hours=1), 2 * timedelta(seconds=longest))


def coverage(connection: Connection, since: datetime, until: datetime, silence: timedelta) -> Coverage:
    """What was really watched between two moments, as far as the log and the poll cache tell.

    A watch without a poll for longer than `silence` was not awake, whether or not it said so.
    """
    feeds = queries.feed_health(connection)
    troubles = [trouble for feed in feeds if (trouble := _trouble(feed)) is not None]
    return Coverage(
        since=since,
        until=until,
        feeds=len(feeds),
        feeds_read=len(feeds) - len(troubles),
        troubles=tuple(troubles),
        recovered=queries.recovered_since(connection, since),
        asleep=queries.asleep_since(connection, since, until, silence),
        gaps=queries.gaps_since(connection, since),
    )


def _trouble(feed: FeedHealth) -> FeedTrouble | None:
    if feed.state == "failing":
        return FeedTrouble(
            feed.id,
            "failing",
            feed.since,
            told_reason(feed.reason, feed.detail),
            feed.hint,
        )
    if feed.state == "gone":
        return FeedTrouble(feed.id, "gone", feed.since, feed.detail, feed.hint)
    if feed.state == "new":
        return FeedTrouble(feed.id, "never polled", None, "not read yet", "It is polled when the watch runs.")
    return None
