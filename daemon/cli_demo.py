"""`claimwatch demo`: the first thing to try."""

from __future__ import annotations

import asyncio
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

from daemon import console
from daemon.cli_options import AsJson, given, print_lines, write_file
from daemon.demo import lay_out, next_steps, replay


def demo(
    folder: Annotated[
        Path | None,
        typer.Argument(
            metavar="DIR", help="An empty folder to keep it in; without, a new one in /tmp.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """See it at work in a few seconds, without network: a made-up week of news, replayed into a folder of its own.

    Examples: `claimwatch demo`, `claimwatch demo ./demo`
    """
    if any(given(None, None)):
        raise typer.BadParameter("the demo brings its own --config and --state; name a folder for them: demo DIR")
    laid_out = lay_out(folder)
    report = console.WeekReport()
    replayed = asyncio.run(replay(laid_out, report.begin, report.told, report.mailed))
    write_file(laid_out.html, replayed.html)
    if as_json:
        print_lines([replayed.as_json()])
    else:
        console.demo_screen(replayed.message, laid_out.html, laid_out.maildir, next_steps(replayed, _program()))


def _program() -> str:
    """How a shell calls this very claimwatch: by its name where that finds it, else by its path."""
    called = Path(sys.argv[0]).absolute()
    if called.name != "claimwatch":
        return f"{shlex.quote(sys.executable)} -m daemon"
    found = shutil.which("claimwatch")
    return "claimwatch" if found and called.exists() and called.samefile(found) else shlex.quote(str(called))
