"""What is told while claimwatch works: log lines, and what `claimwatch run` says where no person watches it.

One line is one action, with a stable `action=` key and values as `key=value`. Under systemd each line bears its
priority (sd-daemon(3)); on a terminal it has a time and colours.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from daemon import __version__
from daemon.events import (
    DeliveryAccepted,
    DeliveryCancelled,
    DeliveryDeferred,
    DeliveryRefused,
    NoticeDeferred,
    NoticeSent,
    Recorded,
)
from daemon.outcomes import Failed, Gone
from daemon.service import Polled
from daemon.settings import Settings

logger = logging.getLogger(__name__)

_PLAIN = re.compile(r'[^\s"=]+')
_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6), (logging.DEBUG, 7))
"""Python's levels as syslog's."""
_NOISY = ("httpx", "httpcore", "apscheduler", "asyncio", "aiosmtplib")


def set_up_logging(verbose: bool = False) -> None:
    """Log lines to stderr: for a terminal, for journald, or plain."""
    handler: logging.Handler
    if sys.stderr.isatty():
        # Loaded here: where no person looks, there is nothing to draw.
        from rich.logging import RichHandler

        from daemon.console import err

        handler = RichHandler(console=err, show_path=False, log_time_format="%H:%M:%S")
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Lines(for_journald=_goes_to_journald()))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.DEBUG if verbose else logging.INFO)
    for noisy in _NOISY:
        logging.getLogger(noisy).setLevel(logging.WARNING)


def _goes_to_journald() -> bool:
    """Whether stderr is the stream that systemd connected to the journal ($JOURNAL_STREAM in systemd.exec(5))."""
    try:
        there = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError):
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


class Lines(logging.Formatter):
    """A record as one line; a traceback, which programmers read, keeps its lines, each with the record's priority."""

    def __init__(self, *, for_journald: bool) -> None:
        super().__init__("%(message)s" if for_journald else "%(levelname)s %(message)s")
        self._for_journald = for_journald

    def format(self, record: logging.LogRecord) -> str:
        """As `logging.Formatter` has it, made lines of."""
        text = super().format(record)
        lines = text.splitlines() if record.exc_info else [" | ".join(filter(None, map(str.strip, text.splitlines())))]
        if not self._for_journald:
            return "\n".join(lines)
        priority = next((number for level, number in _PRIORITIES if record.levelno >= level), 7)
        return "\n".join(f"<{priority}>{line}" for line in lines)


def action(name: str, values: Mapping[str, object]) -> str:
    """A log line of an action: its values in order, quoted where they need it; None and empty ones are left out."""
    written = (f"{key}={_value(value)}" for key, value in values.items() if value is not None and value != "")
    return " ".join((f"action={name}", *written))


def _value(value: object) -> str:
    text = f"{value.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if isinstance(value, datetime) else str(value)
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


class Journal:
    """What `claimwatch run` tells where no person watches it: see `console.RoundReport` for where one does."""

    def __init__(self) -> None:
        self._said = False

    def start(self, settings: Settings, due: int) -> None:
        """What the watch begins with."""
        rules = settings.rules
        feeds, claims = len(rules.polled_feeds), len(rules.watched_claims)
        _say(
            "start",
            version=__version__,
            config=settings.file,
            log=settings.database,
            maildir=None if settings.mail.smtp else settings.mail.maildir,
            feeds=feeds,
            due=due,
            claims=claims,
        )

    def ready(self) -> None:
        """That a signal would be heard."""
        _say("ready")

    def begin(self, feeds: int) -> None:
        """A round of polls begins: its end is told."""

    def told(self, polled: Polled) -> None:
        """One feed was polled: told where it brought something, or does otherwise than before."""
        if not polled.events:
            return
        outcome = polled.outcome
        failed = isinstance(outcome, Failed | Gone)
        _say(
            "poll",
            logging.WARNING if failed else logging.INFO,
            feed=polled.feed,
            outcome=type(outcome).__name__.lower(),
            reason=outcome.reason if isinstance(outcome, Failed) else None,
            detail=outcome.detail if isinstance(outcome, Failed) else None,
            hint=outcome.hint if isinstance(outcome, Failed) else None,
            new=polled.new_items or None,
            revised=polled.revised_items or None,
            matched=",".join(sorted(set(polled.matched_claims))),
            next=polled.next_due,
        )

    def end(self, results: Sequence[Polled]) -> None:
        """The round is over. The first one is always told; a later one when it brought news."""
        if self._said and not any(polled.events for polled in results):
            return
        self._said = True
        failed = sum(isinstance(polled.outcome, Failed | Gone) for polled in results)
        _say(
            "round",
            feeds=len(results),
            failed=failed,
            new=sum(polled.new_items for polled in results),
            matches=sum(len(polled.matched_claims) for polled in results),
        )

    def mailed(self, outcomes: Sequence[Recorded]) -> None:
        """What became of each message."""
        for one in outcomes:
            match one.event:
                case DeliveryAccepted(answer):
                    _say("delivery_accepted", digest=one.id, answer=answer)
                case DeliveryDeferred(reason, retry_at):
                    _say("delivery_deferred", logging.WARNING, digest=one.id, reason=reason, retry=retry_at)
                case DeliveryRefused(reason):
                    _say("delivery_refused", logging.ERROR, digest=one.id, reason=reason)
                case DeliveryCancelled(reason):
                    _say("delivery_cancelled", digest=one.id, reason=reason)
                case NoticeSent(told):
                    _say("notice_sent", told=", ".join(f"{it.kind} {it.about}".strip() for it in told))
                case NoticeDeferred(_, reason, retry_at):
                    _say("notice_deferred", logging.WARNING, reason=reason, retry=retry_at)

    def close(self) -> None:
        """Nothing is held that would have to be given back."""

    def stopped(self) -> None:
        """That it ended in order."""
        _say("stopped")


def _say(name: str, level: int = logging.INFO, **values: Any) -> None:
    logger.log(level, "%s", action(name, values))
