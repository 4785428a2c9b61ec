"""How the watch does, for machines that look from outside: Prometheus metrics, `/healthz` (`metrics:` in feeds.yaml).

What the log knows is read from it when somebody asks; what it does not hold (answers of feeds that brought nothing, how
long the polls have shown no progress) is counted here.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from daemon.errors import ClaimwatchError
from daemon.eventlog import head_of
from daemon.service import Polled, Watch

LONGEST_SILENCE_SECONDS = 300.0
"""Without progress of the polls, from when on the watch is called hung, where the timeouts of fetches allow no more."""


class Metrics:
    """The metrics of one watch, and the server that gives them out while `listen` names an address."""

    def __init__(
        self,
        watch: Callable[[], Watch],
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watch = watch
        self._monotonic = monotonic
        self._longest_silence_seconds = LONGEST_SILENCE_SECONDS
        self._progressed_at = monotonic()
        self._polls: Counter[str] = Counter()
        self._address: str | None = None
        self._server: _Server | None = None

    def polled(self, polled: Polled) -> None:
        """Counts what a feed answered."""
        self._polls[type(polled.outcome).__name__.lower()] += 1

    def progressed(self) -> None:
        """The polls got something done, or found that nothing was due."""
        self._progressed_at = self._monotonic()

    def allow(self, timeout_seconds: float) -> None:
        """A fetch may take so long, and a sound round be without progress for twice that."""
        self._longest_silence_seconds = max(LONGEST_SILENCE_SECONDS, 2 * timeout_seconds)

    def listen(self, address: str | None) -> None:
        """Serves at this `host:port` from now on, and no longer at the one before; nowhere for None.

        Raises ClaimwatchError where it can't be had; what was served before is served again then.
        """
        if address == self._address:
            return
        before = self._address
        self.close()
        try:
            self._serve(address)
        except ClaimwatchError:
            self._serve(before)
            raise

    def _serve(self, address: str | None) -> None:
        self._server = _Server.at(address, self._answer) if address else None
        self._address = address

    def close(self) -> None:
        """Ends serving."""
        if self._server:
            self._server.end()
        self._address = self._server = None

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                # Loaded here: most watches serve none, and prometheus_client takes 2 MB.
                from daemon.exposition import scrape_of

                return scrape_of(self._watch(), self._polls, self._silence_seconds)(environ, start_response)
            case "/healthz":
                fault = self._fault()
                status, said = ("503 Service Unavailable", fault) if fault else ("200 OK", "ok")
            case _:
                status, said = "404 Not Found", "There are /metrics and /healthz."
        start_response(status, [("Content-Type", "text/plain; charset=utf-8")])
        return [f"{said}\n".encode()]

    @property
    def _silence_seconds(self) -> float:
        return self._monotonic() - self._progressed_at

    def _fault(self) -> str:
        if self._silence_seconds > self._longest_silence_seconds:
            return f"the polls have shown no progress for {self._silence_seconds:.0f} seconds"
        try:
            with self._watch().log.reading() as connection:
                head_of(connection)
        except ClaimwatchError as error:
            return f"the log can't be read: {error.message}"
        return ""


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
