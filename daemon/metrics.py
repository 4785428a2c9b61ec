"""How the watch does, for machines that look from outside: Prometheus metrics, `/healthz` (`metrics:` in feeds.yaml).

What the log knows is read from it when somebody asks; what it does not hold (answers of feeds that brought nothing, how
long the polls have shown no progress) is counted here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, Counter, Metric, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from daemon import __version__, queries, troubles
from daemon.databases import Connection
from daemon.errors import ClaimwatchError
from daemon.eventlog import head_of
from daemon.service import Polled, Watch

LONGEST_SILENCE_SECONDS = 300.0
"""Without progress of the polls, from when on the watch is called hung. A round of slow feeds shows some in seconds."""


class Metrics:
    """The metrics of one watch, and the server that gives them out while `listen` names an address."""

    def __init__(
        self,
        watch: Callable[[], Watch],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        longest_silence_seconds: float = LONGEST_SILENCE_SECONDS,
    ) -> None:
        self._watch = watch
        self._monotonic = monotonic
        self._longest_silence_seconds = longest_silence_seconds
        self._progressed_at = monotonic()
        self._registry = CollectorRegistry(auto_describe=False)
        ProcessCollector(registry=self._registry)
        self._polls = Counter(
            "claimwatch_polls", "Answers of feeds since the start, by outcome.", ["outcome"], registry=self._registry
        )
        self._registry.register(self)
        self._address: str | None = None
        self._server: _Server | None = None

    def polled(self, polled: Polled) -> None:
        """Counts what a feed answered."""
        self._polls.labels(type(polled.outcome).__name__.lower()).inc()

    def progressed(self) -> None:
        """The polls got something done, or found that nothing was due."""
        self._progressed_at = self._monotonic()

    def listen(self, address: str | None) -> None:
        """Serves at this `host:port` from now on, and no longer at the one before; nowhere for None.

        Raises ClaimwatchError where it can't be had; what was served before is still served then.
        """
        if address == self._address:
            return
        server = _Server.at(address, self._answer) if address else None
        self.close()
        self._address, self._server = address, server

    def close(self) -> None:
        """Ends serving."""
        if self._server:
            self._server.end()
        self._address = self._server = None

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                scrape: Iterable[bytes] = make_wsgi_app(self._registry)(environ, start_response)
                return scrape
            case "/healthz":
                fault = self._fault()
                status, said = ("503 Service Unavailable", fault) if fault else ("200 OK", "ok")
            case _:
                status, said = "404 Not Found", "There are /metrics and /healthz."
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{said}\n".encode()]

    def _fault(self) -> str:
        silence = self._monotonic() - self._progressed_at
        if silence > self._longest_silence_seconds:
            return f"the polls have shown no progress for {silence:.0f} seconds"
        try:
            with self._watch().log.reading() as connection:
                head_of(connection)
        except ClaimwatchError as error:
            return f"the log can't be read: {error.message}"
        return ""

    def collect(self) -> Iterator[Metric]:
        """What a scrape is given, besides the polls and the process itself: see prometheus_client's collectors."""
        yield InfoMetricFamily("claimwatch", "The program.", {"version": __version__})
        silence = self._monotonic() - self._progressed_at
        yield _gauge("claimwatch_seconds_without_progress", "Since the polls last got something done.", silence)
        watch = self._watch()
        with watch.log.reading() as connection:
            yield from _of_log(connection, watch)


def _of_log(connection: Connection, watch: Watch) -> Iterator[Metric]:
    yield _counter("claimwatch_events", "Events in the log.", head_of(connection).position)
    yield _counter("claimwatch_items", "Items seen.", queries.counts(connection)["items"])
    matches = CounterMetricFamily("claimwatch_matches", "Matches made, by claim.", labels=["claim"])
    for claim in queries.claim_rows(connection):
        matches.add_metric([claim["id"]], claim["matches"])
    yield matches
    yield from _of_feeds(queries.feed_health(connection))
    waiting = Tally(one.state for one in queries.waiting_deliveries(connection))
    yield _by_label("claimwatch_deliveries_waiting", "Messages not yet handed over, by state.", "state", waiting)
    look = troubles.look(connection, watch.rules.intervals, watch.clock.now())
    standing = Tally[str](one.kind for one in look.troubles if not one.covered)
    yield _by_label("claimwatch_troubles", "What is wrong with the watch, by kind.", "kind", standing)


def _of_feeds(feeds: Iterable[queries.FeedHealth]) -> Iterator[Metric]:
    read = GaugeMetricFamily("claimwatch_feed_last_read_timestamp_seconds", "When it was last read.", labels=["feed"])
    states: Tally[str] = Tally()
    for feed in feeds:
        states[feed.state] += 1
        if isinstance(feed.succeeded_at, datetime):
            read.add_metric([feed.id], feed.succeeded_at.timestamp())
    yield _by_label("claimwatch_feeds", "Feeds, by state.", "state", states)
    yield read


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, value=value)


def _counter(name: str, what: str, value: float) -> Metric:
    return CounterMetricFamily(name, what, value=value)


def _by_label(name: str, what: str, label: str, counts: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(name, what, labels=[label])
    for value, count in sorted(counts.items()):
        family.add_metric([value], count)
    return family


class _Server(ThreadingMixIn, WSGIServer):
    """Each request in a thread of its own: a scrape that waits for the log holds up no health check."""

    daemon_threads = True

    @classmethod
    def at(cls, address: str, answer: Callable[..., Iterable[bytes]]) -> _Server:
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = AF_INET6 if ":" in host else AF_INET
        # wsgiref takes a class and no family.
        of_family = type("_ServerOfFamily", (cls,), {"address_family": family})
        try:
            server: _Server = make_server(host, int(port), answer, of_family, _Quiet)
        except OSError as error:
            raise ClaimwatchError(
                f"metrics: can't be served at {address}: {error.strerror}",
                hint="Name another port there, or end what listens on this one.",
            ) from error
        server.serving = threading.Thread(target=server.serve_forever, name="claimwatch-metrics", daemon=True)
        server.serving.start()
        return server

    serving: threading.Thread

    def server_bind(self) -> None:
        # Not http.server's own, which asks a name server who we are.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def end(self) -> None:
        """Stops listening and waits for that."""
        self.shutdown()
        self.server_close()
        self.serving.join()


class _Quiet(WSGIRequestHandler):
    timeout = 10

    def log_message(self, format: str, *args: object) -> None:
        """A line for each scrape would drown what the journal is read for."""
