"""What a scrape is given: the log's sums, the feeds and the troubles as Prometheus metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from prometheus_client import CollectorRegistry, Metric, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from daemon import __version__, queries, troubles
from daemon.databases import Connection
from daemon.eventlog import head_of
from daemon.service import Watch

Scrape: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]
"""A WSGI application."""


def scrape_of(watch: Watch, polls: Mapping[str, int], silence_seconds: float) -> Scrape:
    """What answers a scrape. `polls` are the answers of feeds since the start by outcome, `silence_seconds` says how
    long the polls have shown no progress; all else is read from the log."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Watched(watch, polls, silence_seconds))
    answer: Scrape = make_wsgi_app(registry)
    return answer


@dataclass(frozen=True, eq=False)
class _Watched:
    watch: Watch
    polls: Mapping[str, int]
    silence_seconds: float

    def collect(self) -> Iterator[Metric]:
        """As prometheus_client's collectors."""
        yield InfoMetricFamily("claimwatch", "The program.", {"version": __version__})
        what = "Seconds since the polls last got something done."
        yield GaugeMetricFamily("claimwatch_seconds_without_progress", what, value=self.silence_seconds)
        polls = CounterMetricFamily("claimwatch_polls", "Answers of feeds since the start.", labels=["outcome"])
        for outcome, count in sorted(self.polls.items()):
            polls.add_metric([outcome], count)
        yield polls
        with self.watch.log.reading() as connection:
            yield from _of_log(connection, self.watch)


def _of_log(connection: Connection, watch: Watch) -> Iterator[Metric]:
    yield _counter("claimwatch_events", "Events in the log.", head_of(connection).position)
    yield _counter("claimwatch_items", "Items seen.", queries.counts(connection)["items"])
    matches = CounterMetricFamily("claimwatch_matches", "Matches made, by claim.", labels=["claim"])
    for claim in queries.claim_rows(connection):
        matches.add_metric([claim["id"]], claim["matches"])
    yield matches
    yield from _of_feeds(queries.feed_health(connection))
    waiting = Counter(one.state for one in queries.waiting_deliveries(connection))
    yield _by_label("claimwatch_deliveries_waiting", "Messages not yet handed over, by state.", "state", waiting)
    look = troubles.look(connection, watch.rules.intervals, watch.clock.now())
    standing = Counter[str](one.kind for one in look.troubles if not one.covered)
    yield _by_label("claimwatch_troubles", "What is wrong with the watch, by kind.", "kind", standing)


def _of_feeds(feeds: Iterable[queries.FeedHealth]) -> Iterator[Metric]:
    read = GaugeMetricFamily("claimwatch_feed_last_read_timestamp_seconds", "When it was last read.", labels=["feed"])
    states: Counter[str] = Counter()
    for feed in feeds:
        states[feed.state] += 1
        if isinstance(feed.succeeded_at, datetime):
            read.add_metric([feed.id], feed.succeeded_at.timestamp())
    yield _by_label("claimwatch_feeds", "Feeds, by state.", "state", states)
    yield read


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(name, what, value=value)


def _by_label(name: str, what: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family
