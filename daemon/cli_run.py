"""`claimwatch run`: the watch itself. It imports what a watch of months works with, and nothing that it doesn't."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from daemon import assembly
from daemon.cli_options import Config, State, given
from daemon.journal import Journal
from daemon.memory import share_one_arena
from daemon.metrics import Metrics
from daemon.scheduling import Daemon
from daemon.service import Polled, due_feeds, enrol_feeds
from daemon.settings import Settings

if TYPE_CHECKING:
    from daemon.console import Screen


def run(config: Config = None, state: State = None) -> None:
    """Watch: poll, match, log and mail on schedule, until stopped.

    Example: `claimwatch run --config feeds.yaml --state ./state`
    """
    share_one_arena()
    with assembly.writing(*given(config, state), "run") as installation:
        settings = installation.settings
        enrol_feeds(installation.watch)
        report = _report()
        report.start(settings, len(due_feeds(installation.watch)))
        metrics = Metrics(lambda: daemon.watch)

        def serve(fresh: Settings) -> None:
            metrics.allow(fresh.polling.timeout_seconds)
            metrics.listen(fresh.metrics)

        def told(polled: Polled) -> None:
            metrics.polled(polled)
            report.told(polled)

        daemon = Daemon(
            installation.watch,
            installation.post,
            settings,
            installation.reloaded,
            installation.stamp,
            ready=report.ready,
            told=told,
            before_round=report.begin,
            after_round=report.end,
            after_mail=report.mailed,
            progressed=metrics.progressed,
            after_reload=serve,
        )
        try:
            serve(settings)
            asyncio.run(daemon.run())
        finally:
            metrics.close()
            report.close()
        report.stopped()


def _report() -> Screen | Journal:
    if not sys.stderr.isatty():
        return Journal()
    # Loaded here: under systemd nobody looks, and what draws on terminals takes 4 MB.
    from daemon.console import Screen

    return Screen()
