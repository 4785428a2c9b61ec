"""The commands that set up: a starter to edit, and the schemas that editors check it by."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from daemon import console, schemas
from daemon.schemas import Schema
from daemon.starter import write_starter


def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", file_okay=False, help="Where; made if it is not there.")],
    everything: Annotated[
        bool,
        typer.Option("--all", help="All feeds and terms that come with claimwatch, instead of a few to begin with."),
    ] = False,
) -> None:
    """Write a starter to edit: feeds.yaml, a seed, and their schemas for your editor. Overwrites nothing.

    Example: `claimwatch init ~/watch && cd ~/watch && claimwatch check`
    """
    for path in write_starter(folder, everything=everything):
        typer.echo(f"wrote {path}")
    go_there = f"cd {shlex.quote(str(folder))} && " if folder.resolve() != Path.cwd() else ""
    console.err.print(
        "\nIt can be run as it is:\n"
        f"  {go_there}claimwatch check     says what it makes of the files\n"
        f"  {go_there}claimwatch run       watches until Ctrl-C\n"
        "To watch a claim of your own, write it into a file in seeds/, and its terms into feeds.yaml.",
        markup=False,
    )


def schema(of: Annotated[Schema, typer.Argument(metavar="WHICH", help="Of feeds.yaml, or of a seed.")]) -> None:
    """The JSON Schema of feeds.yaml or of a seed, on stdout: for editors, and for programs that write them.

    Example: `claimwatch schema feeds > feeds.schema.json`
    """
    typer.echo(schemas.schema(of), nl=False)
