"""What systemd hears of us: sd_notify(3) by a datagram, and the watchdog, which the work itself feeds."""

from __future__ import annotations

import logging
import os
import socket
import time
from datetime import timedelta

logger = logging.getLogger(__name__)

OFTEN_ENOUGH_SECONDS = 1.0
FED_BY_FAILURES_SECONDS = 3_600.0
"""How long after the last progress. By then the operator was told, and what a new start heals gets one: file handles
that are used up, say."""


def notify(state: str) -> None:
    """Tells systemd (sd_notify(3)), where it listens. That it can't be told is no reason to stop the work."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
            connection.connect("\0" + address[1:] if address.startswith("@") else address)
            connection.sendall(state.encode())
    except OSError as error:
        logger.warning("action=notify_failed; systemd did not hear %r: %s", state, error)


def starting(what: str, seconds: int) -> None:
    """Says what keeps the start so long, and that it will show progress again within so many seconds."""
    notify(f"STATUS={what}\nEXTEND_TIMEOUT_USEC={seconds * 1_000_000}")


class Watchdog:
    """systemd's watchdog (sd_watchdog_enabled(3)): without progress for `seconds`, we are ended and started again.

    Nothing here feeds it by itself. Whoever gets something done says so, and for an hour also whoever comes to an end
    with an error; so work that hangs starves it, whatever else is still alive in the process.
    """

    def __init__(self, seconds: float | None, fed_by_failures_seconds: float = FED_BY_FAILURES_SECONDS) -> None:
        self._seconds = seconds
        self._fed_by_failures_seconds = fed_by_failures_seconds
        self._got_on = time.monotonic()
        self._allowed = seconds or 0.0
        self._fed: float | None = None

    @classmethod
    def from_environment(cls) -> Watchdog:
        """The watchdog that systemd set for this process, if any."""
        microseconds = os.environ.get("WATCHDOG_USEC", "")
        ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return cls(int(microseconds) / 1_000_000 if microseconds.isdigit() and ours else None)

    @property
    def longest_pause(self) -> timedelta:
        """How long whoever feeds it may rest, where there is nothing to do."""
        return timedelta(seconds=self._seconds / 3) if self._seconds else timedelta.max

    def progressed(self) -> None:
        """Something got done. Many calls a second cost one message."""
        self._got_on = time.monotonic()
        self._feed()

    def failed(self) -> None:
        """Something came to its end with an error, which was told."""
        if time.monotonic() - self._got_on < self._fed_by_failures_seconds:
            self._feed()

    def _feed(self) -> None:
        if not self._seconds:
            return
        now = time.monotonic()
        if self._fed is None or now - self._fed >= min(OFTEN_ENOUGH_SECONDS, self._seconds / 4):
            self._fed = now
            notify("WATCHDOG=1")

    def allow(self, seconds: float) -> None:
        """A single piece of work may take so long: with less, systemd would end a sound process."""
        if self._seconds and seconds > self._allowed:
            self._allowed = seconds
            notify(f"WATCHDOG_USEC={int(seconds * 1_000_000)}")
