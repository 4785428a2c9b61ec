"""The commands that read the log and what it adds up to."""

from __future__ import annotations

import csv
import signal
import sys
import threading
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

import typer

from daemon import assembly, console, queries
from daemon.cli_options import AsJson, Config, Since, State, given, print_lines, print_recorded
from daemon.completion import claim_ids, event_kinds
from daemon.counting import counted
from daemon.eventlog import read
from daemon.events import EVENT_TYPES
from daemon.moments import timestamp, timestamp_or_none
from daemon.tellable import MatchToTell
from daemon.yamlfiles import nearest

FOLLOW_SECONDS = 0.5
INTERRUPTED = 130
"""The exit code of a command that Ctrl-C ended, as shells have it."""


def events(
    kind: Annotated[
        list[str] | None,
        typer.Option(
            "--kind", metavar="KIND", help="Only this kind; may be given more than once.", autocompletion=event_kinds
        ),
    ] = None,
    stream: Annotated[
        str | None,
        typer.Option("--stream", metavar="STREAM", help="One stream (feed/bbc-world), or all of a type (feed/)."),
    ] = None,
    since: Since = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is appended.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """The log, in order.

    Examples: `claimwatch events --kind claim_matched --since 7d`, `claimwatch events --stream feed/tass --json`
    """
    if unknown := [one for one in kind or () if one not in EVENT_TYPES]:
        raise typer.BadParameter(f"no kind {', '.join(unknown)}; there is: {', '.join(EVENT_TYPES)}")
    with assembly.reading(*given(config, state)) as installation:
        position = 0
        stopped = threading.Event()
        if follow:
            # Not as an exception in the middle of a read, which the database's pool would report as a fault.
            signal.signal(signal.SIGINT, lambda _number, _frame: stopped.set())
        while True:
            with installation.log.reading() as connection:
                for one in read(connection, after=position, kinds=kind or (), stream=stream, since=since):
                    position = one.position
                    print_recorded([one], as_json)
            if not follow:
                return
            sys.stdout.flush()
            if stopped.wait(FOLLOW_SECONDS):
                raise typer.Exit(INTERRUPTED)


def verify(as_json: AsJson = False, config: Config = None, state: State = None) -> None:
    """Check the log's chain, and that all tables are what the log adds up to. Exit code 1 names what is wrong.

    Example: `claimwatch verify`
    """
    with assembly.reading(*given(config, state)) as installation:
        head = assembly.verify(installation.log)
    if as_json:
        print_lines([{"events": head.position, "head": head.chain}])
    else:
        typer.echo(f"the log and its tables hold: {head.position} events, head {head.chain}")


def rebuild(as_json: AsJson = False, config: Config = None, state: State = None) -> None:
    """Make all tables anew from the log, also those that an older version made.

    Example: `claimwatch rebuild && claimwatch verify`
    """
    with assembly.writing(*given(config, state), "rebuild") as installation:
        count = installation.rebuilt
        if count is None:
            count = assembly.rebuild_projections(installation.log)
    if as_json:
        print_lines([{"events": count}])
    else:
        typer.echo(f"rebuilt from {count} events")


def matches(
    claim: Annotated[
        list[str] | None,
        typer.Option(
            "--claim", metavar="CLAIM", help="Only this claim; may be given more than once.", autocompletion=claim_ids
        ),
    ] = None,
    since: Since = None,
    dropped: Annotated[
        bool, typer.Option("--all", help="Also those that were made under earlier rules and not by today's.")
    ] = False,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="A table for a spreadsheet on stdout.")] = False,
    config: Config = None,
    state: State = None,
) -> None:
    """What was found and today's rules still find, oldest first.

    Examples: `claimwatch matches --claim prisoner-exchange --since 30d`, `claimwatch matches --csv > matches.csv`
    """
    with assembly.reading(*given(config, state)) as installation, installation.log.reading() as connection:
        known = {one.id for one in installation.settings.rules.claims} | queries.claim_ids(connection)
        if unknown := [one for one in claim or () if one not in known]:
            raise typer.BadParameter(f"there is no claim {unknown[0]}. {nearest(unknown[0], known)}")
        found = queries.matches_since(connection, claim or None, since, dropped=dropped)
    if as_json:
        print_lines(_match_json(match) for match in found)
    elif as_csv:
        _print_csv(found)
    else:
        for match in found:
            console.match_lines(match)
        console.err.print(counted(len(found), "match", "matches"))


def _match_json(match: MatchToTell) -> dict[str, Any]:
    return {
        "match": match.position,
        "claim": match.claim,
        "feed": match.feed,
        "title": match.title,
        "link": match.link,
        "published": timestamp_or_none(match.published),
        "first_seen": timestamp(match.first_seen),
        "already_there": match.already_there,
        "lapsed_at": timestamp_or_none(match.lapsed_at),
        "retroactive": match.retroactive,
        "current": match.current,
        "evidence": [asdict(one) for one in match.evidence],
    }


def _print_csv(found: Iterable[MatchToTell]) -> None:
    table = csv.writer(sys.stdout)
    table.writerow(("match", "claim", "first_seen", "published", "feed", "title", "link", "terms"))
    for match in found:
        row = _match_json(match)
        terms = "; ".join(dict.fromkeys(one.term for one in match.evidence))
        table.writerow(
            [_cell(row[key]) for key in ("match", "claim", "first_seen", "published", "feed", "title", "link")]
            + [_cell(terms)]
        )


def _cell(value: object) -> str:
    """A cell that no spreadsheet takes for a formula: a feed could write one into a title."""
    text = "" if value is None else str(value)
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t")) else text
