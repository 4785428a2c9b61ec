"""Where machines ask how the watch does: a small HTTP server in threads of its own (see `metrics` for its answers)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from socket import AF_INET, AF_INET6, socket
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from daemon.errors import ClaimwatchError

MOST_AT_ONCE = 8
"""Requests: one who opens hundreds of connections and says nothing must not take a thread for each."""
PATIENCE_SECONDS = 10
"""With whoever asks slowly, or does not ask at all."""
_BUSY = b"HTTP/1.0 503 Service Unavailable\r\nRetry-After: 10\r\nContent-Length: 0\r\n\r\n"


class Endpoint(ThreadingMixIn, WSGIServer):
    """Each request in a thread of its own: a scrape that waits for the log holds up no health check.

    Where `MOST_AT_ONCE` are being answered, the next one hears 503 at once.
    """

    daemon_threads = True
    serving: threading.Thread

    @classmethod
    def at(cls, address: str, answer: Callable[..., Iterable[bytes]]) -> Endpoint:
        """Serves at this `host:port` until `end`. Raises ClaimwatchError where it can't be had."""
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        family = AF_INET6 if ":" in host else AF_INET
        # wsgiref takes a class and no family.
        of_family = type("_EndpointOfFamily", (cls,), {"address_family": family})
        try:
            endpoint: Endpoint = make_server(host, int(port), answer, of_family, _Quiet)
        except OSError as error:
            raise ClaimwatchError(
                f"metrics: can't be served at {address}: {error.strerror}",
                hint="Name another port there, or end what listens on this one.",
            ) from error
        endpoint.serving = threading.Thread(target=endpoint.serve_forever, name="claimwatch-metrics", daemon=True)
        endpoint.serving.start()
        return endpoint

    def __init__(self, *given: Any, **named: Any) -> None:
        self._free = threading.BoundedSemaphore(MOST_AT_ONCE)
        super().__init__(*given, **named)

    def server_bind(self) -> None:
        # Not http.server's own, which asks a name server who we are.
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            try:
                super().process_request(request, client_address)
            except BaseException:
                # No thread could be started, so none will free the place.
                self._free.release()
                raise
        else:
            _say_busy(request)
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def end(self) -> None:
        """Stops listening and waits for that."""
        self.shutdown()
        self.server_close()
        self.serving.join()


def _say_busy(request: socket) -> None:
    # This is the thread that hears everybody: it waits for none.
    request.setblocking(False)
    try:
        request.send(_BUSY)
    except OSError:
        return


class _Quiet(WSGIRequestHandler):
    timeout = PATIENCE_SECONDS

    def log_message(self, format: str, *args: object) -> None:
        """A line for each scrape would drown what the journal is read for."""
