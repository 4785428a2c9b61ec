"""How the watch does, for machines that look from outside: Prometheus metrics, `/healthz` (`metrics:` in feeds.yaml).

What the log knows is read from it when somebody asks; what it does not hold (answers of feeds that brought nothing, how
long the polls have shown no progress) is counted here.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from daemon.errors import ClaimwatchError
from daemon.eventlog import head_of
from daemon.service import Polled, Watch

if TYPE_CHECKING:
    from daemon.endpoint import Endpoint

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
        self._endpoint: Endpoint | None = None

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
        if address:
            # Loaded here: most watches serve nothing, and need no HTTP server.
            from daemon.endpoint import Endpoint

            self._endpoint = Endpoint.at(address, self._answer)
        self._address = address

    def close(self) -> None:
        """Ends serving."""
        if self._endpoint:
            self._endpoint.end()
        self._address = self._endpoint = None

    def _answer(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        match environ["PATH_INFO"]:
            case "/metrics":
                # Loaded here: prometheus_client takes 2 MB, and whoever asks for /healthz alone needs none.
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
