"""`claimwatch send-test`: the way of a mail, tried."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated

import typer

from daemon.cli_options import AsJson, Config, State, given, print_lines
from daemon.fields import mail_address
from daemon.sendtest import Tried, try_the_way
from daemon.settings import load


def _address(text: str) -> str:
    try:
        return mail_address(text)
    except ValueError as error:
        raise typer.BadParameter(". ".join(str(error).splitlines())) from error


def send_test(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", parser=_address, help="Whom to send it to.")],
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Send a test message as digests are sent, and say how far it came. Exit code 1 when it did not arrive.

    Each step of the way is told: the server's name, connection, encryption, login, sender, recipient, message; and for
    the one that fails, what to mend. Nothing is recorded in the log.

    Example: `claimwatch send-test you@example.org`
    """
    settings = load(*given(config, state))

    def told(tried: Tried) -> None:
        if as_json:
            print_lines([asdict(tried)])
        else:
            typer.echo(f"{'ok' if tried.ok else 'FAILED':<8}{tried.step:<11}{tried.says}")
            if tried.mend:
                typer.echo(f"        {tried.mend}")

    arrived = asyncio.run(try_the_way(settings.mail, address, datetime.now(UTC), told))
    if arrived and settings.mail.smtp and not as_json:
        typer.echo("The server has taken it. If it does not come, look where unwanted mail is kept.", err=True)
    if not arrived:
        raise typer.Exit(1)
