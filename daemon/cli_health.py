"""The command for monitors."""

from __future__ import annotations

from typing import Any

import typer

from daemon import assembly
from daemon.cli_options import AsJson, Config, State, given, print_lines
from daemon.errors import ClaimwatchError
from daemon.health import Health, health_of
from daemon.moments import timestamp, timestamp_or_none
from daemon.service import SystemClock


def health(as_json: AsJson = False, config: Config = None, state: State = None) -> None:
    """Does the watch do well? One line why, and an exit code for monitors.

    0: well. 1: in trouble (a trouble that an operator would be told of, or a watch that hangs). 2: not running, or its
    files can't be read. It asks the log alone, not the running watch.

    Example: `claimwatch health || systemctl status claimwatch`
    """
    try:
        with assembly.reading(*given(config, state)) as installation:
            found = health_of(installation, SystemClock().now())
    except ClaimwatchError as error:
        found = Health("unreadable", " ".join(error.message.split()))
    if as_json:
        print_lines([_as_json(found)])
    else:
        typer.echo(f"{found.state}: {found.why}")
    raise typer.Exit(found.exit_code)


def _as_json(found: Health) -> dict[str, Any]:
    return {
        "state": found.state,
        "why": found.why,
        "last_awake": timestamp_or_none(found.last_awake),
        "troubles": [
            {
                "kind": one.kind,
                "about": one.about,
                "since": timestamp(one.since),
                "reason": one.reason,
                "hint": one.hint,
            }
            for one in found.troubles
        ],
    }
