"""What all commands share: the options that they take, and how they print objects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon.backfill import catch_up
from daemon.errors import ClaimwatchError
from daemon.events import Recorded, to_payload
from daemon.moments import as_utc, timestamp
from daemon.service import Watch

Config = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="feeds.yaml to use (else ./feeds.yaml, $CLAIMWATCH_CONFIG, the user's, /etc)."
    ),
]
State = Annotated[
    Path | None,
    typer.Option("--state", metavar="DIR", help="Folder of the log (else $STATE_DIRECTORY, the user's state folder)."),
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON object a line on stdout.")]


class Global:
    """What stood before the command: the options that may stand there as well as behind it."""

    config: Path | None = None
    state: Path | None = None


def given(config: Path | None, state: Path | None) -> tuple[Path | None, Path | None]:
    """The options behind the command, else those before it."""
    return config or Global.config, state or Global.state


def moment(text: str) -> datetime:
    """A day, a time (UTC where it names no zone), or a span back from now such as 6h or 30d."""
    try:
        if span := re.fullmatch(r"(\d+)([mhd])", text):
            unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[span[2]]
            return datetime.now(UTC) - int(span[1]) * unit
        if re.fullmatch(r"\d{8}T\d{6}Z", text):
            return datetime.strptime(text, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        found = datetime.fromisoformat(text)
        return as_utc(found if found.tzinfo else found.replace(tzinfo=UTC))
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r} is no time: write 2025-03-18, 2025-03-18T15:00Z or 6h") from error


Since = Annotated[
    datetime | None,
    typer.Option("--since", parser=moment, metavar="TIME", help="Not before: 2025-03-18, 2025-03-18T15:00Z, 6h, 30d."),
]


def match_stored(watch: Watch) -> None:
    """Matches new and changed terms against what is stored, where the log waits for it; a bar shows how far it is."""
    # Loaded here, as elsewhere: what draws on terminals is not for the watch, which takes its options from here.
    from daemon.console import Backfilling

    with closing(Backfilling()) as bar:
        catch_up(watch, bar.told)


def write_file(path: Path, text: str) -> None:
    """Writes a file that the user asked for. Raises ClaimwatchError where it can't be written."""
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ClaimwatchError(f"{path} can't be written: {error.strerror}", hint="Name another file.") from error


def print_lines(objects: Iterable[dict[str, Any]]) -> None:
    """Each object as JSON on a line of stdout."""
    for one in objects:
        # Half a character (a lone surrogate) from somebody's file can't be printed: it stays escaped.
        text = json.dumps(one, ensure_ascii=False, default=str).encode("utf-8", "backslashreplace")
        typer.echo(text.decode())


def print_recorded(recorded: Iterable[Recorded], as_json: bool) -> None:
    """Events, a line each: as JSON, or shortened for a person."""
    for one in recorded:
        if as_json:
            print_lines([_event_json(one)])
        else:
            payload = to_payload(one.event).decode()
            shown = payload if len(payload) <= 160 else payload[:157] + "…"
            typer.echo(f"{one.position:>7}  {timestamp(one.at)[:19]}  {one.event.kind:<18} {one.stream}  {shown}")


def _event_json(one: Recorded) -> dict[str, Any]:
    return {
        "position": one.position,
        "stream": one.stream,
        "version": one.version,
        "kind": one.event.kind,
        "at": timestamp(one.at),
        "payload": json.loads(to_payload(one.event)),
    }
