"""`claimwatch digest`: preview, prepare, show, and send again."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Annotated

import typer

from daemon import assembly, console, queries
from daemon.cli_options import (
    AsJson,
    Config,
    Since,
    State,
    given,
    match_stored,
    print_lines,
    print_recorded,
    write_file,
)
from daemon.completion import digest_names
from daemon.errors import ClaimwatchError
from daemon.events import DigestPrepared, DigestSkipped, Recorded
from daemon.preparing import digest_rule, prepare_due, prepare_now
from daemon.preparing import preview as preview_digest
from daemon.preparing import resend as prepare_again
from daemon.recipients import resting_recipients
from daemon.rendering import unpack
from daemon.rules import recipient_id
from daemon.service import record_rules
from daemon.settings import LOCAL_RECIPIENT

# ── digests ──────────────────────────────────────────────────────────────────────────────────────────────────────

Name = Annotated[
    str, typer.Argument(metavar="NAME", help="The digest's name in feeds.yaml.", autocompletion=digest_names)
]


def preview(
    name: Name,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the HTML part to this file.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """What a digest would say if it were due now. Stores nothing.

    Example: `claimwatch digest preview daily --html /tmp/daily.html`
    """
    with assembly.reading(*given(config, state)) as installation:
        _known(name, installation)
        view, rendered = preview_digest(installation.watch, installation.post, name)
    if as_json:
        print_lines(
            [{"digest": view.name, "matches": view.matches, "subject": rendered.subject, "text": rendered.text}]
        )
    else:
        typer.echo(f"Subject: {rendered.subject}\n\n{rendered.text}", nl=False)
    if html:
        write_file(html, rendered.html)
        console.err.print(f"HTML: {html}")


def prepare(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="Prepare this one now; without, all that are due.", autocompletion=digest_names
        ),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Prepare the digests that are due, or one by name at once; `claimwatch deliver` sends them.

    Examples: `claimwatch digest prepare`, `claimwatch digest prepare daily`
    """
    with assembly.writing(*given(config, state), "digest prepare") as installation:
        watch, post = installation.watch, installation.post
        if name:
            _known(name, installation)
        record_rules(watch)
        match_stored(watch)
        recorded = prepare_now(watch, post, name) if name else prepare_due(watch, post)
        with installation.log.reading() as connection:
            resting = resting_recipients(connection)
    for one in resting:
        address = installation.settings.addresses.get(one.recipient, one.recipient)
        console.err.print(f"{address} rests after {one.refusals} refusals; `claimwatch status` says what wakes them.")
    _say_prepared(recorded, as_json, f"{name}: nothing to prepare." if name else "No digest is due.")


def resend(
    name: Name,
    to: Annotated[
        str | None,
        typer.Option("--to", metavar="ADDRESS", help="Whom: an address of feeds.yaml. Needed where several get it."),
    ] = None,
    since: Since = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Prepare a digest of all matches since a time once more, told before or not; `claimwatch deliver` sends it.

    It goes to a recipient who rests after three refusals, too: one that is taken wakes them.

    Examples: `claimwatch digest resend daily --since 7d && claimwatch deliver`,
    `claimwatch digest resend daily --since 7d --to name@example.org && claimwatch deliver`
    """
    with assembly.writing(*given(config, state), "digest resend") as installation:
        _known(name, installation)
        recipient = _recipient(to, name, installation)
        record_rules(installation.watch)
        match_stored(installation.watch)
        recorded = prepare_again(installation.watch, installation.post, name, recipient, since)
    _say_prepared(recorded, as_json, f"{name}: nothing to prepare.")


def show(
    id: Annotated[
        str | None, typer.Argument(metavar="ID", help="The digest's id; without, the last ones are listed.")
    ] = None,
    raw: Annotated[bool, typer.Option("--raw", help="The message, byte for byte (without its To: line).")] = False,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the HTML part to this file.")
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Show a digest as it was prepared, or list the last ones.

    Examples: `claimwatch digest show`, `claimwatch digest show ID --raw > digest.eml`
    """
    with assembly.reading(*given(config, state)) as installation, installation.log.reading() as connection:
        if id is None:
            rows = queries.digest_rows(connection)
            print_lines(rows) if as_json else console.digest_list(rows)
            return
        recorded = queries.prepared_digest(connection, id)
    if recorded is None:
        raise ClaimwatchError(f"there is no digest {id!r}", hint="`claimwatch digest show` lists them.")
    if as_json:
        print_recorded([recorded], as_json)
    elif isinstance(recorded.event, DigestSkipped):
        typer.echo(f"{id} was due and had nothing to tell.")
    elif raw:
        sys.stdout.buffer.write(unpack(recorded.event.message))
    else:
        message = message_from_bytes(unpack(recorded.event.message), policy=SMTP)
        console.show_message(message)
        if html and (markup := message.get_body(("html",))):
            write_file(html, markup.get_content())
            console.err.print(f"HTML: {html}")


def _known(name: str, installation: assembly.Installation) -> None:
    names = [digest.name for digest in installation.settings.rules.digests]
    if name not in names:
        raise typer.BadParameter(f"feeds.yaml has no digest {name!r}; it has: {', '.join(names) or 'none'}")


def _recipient(to: str | None, name: str, installation: assembly.Installation) -> str:
    """Whose address that is; without one, the one recipient whom a digest has, be it whoever reads the Maildir."""
    addresses = installation.settings.addresses
    if to is not None:
        if recipient_id(to) not in addresses:
            raise typer.BadParameter(f"{to} is no recipient of a digest in feeds.yaml")
        return recipient_id(to)
    recipients = digest_rule(installation.watch, name).recipients
    if len(recipients) > 1:
        several = ", ".join(addresses[one] for one in recipients)
        raise typer.BadParameter(f"several get {name}; name one of them with --to: {several}")
    if addresses[recipients[0]] == LOCAL_RECIPIENT and installation.settings.mail.smtp is not None:
        raise typer.BadParameter(f"{name} has no to: in feeds.yaml, and mail goes to a server; name somebody with --to")
    return recipients[0]


def _say_prepared(recorded: Iterable[Recorded], as_json: bool, nothing: str) -> None:
    recorded = list(recorded)
    if as_json:
        print_recorded(recorded, as_json)
        return
    for one in recorded:
        if isinstance(one.event, DigestPrepared):
            typer.echo(f"prepared {one.id}: {one.event.subject}")
        else:
            typer.echo(f"skipped {one.id}: nothing to tell")
    if not recorded:
        console.err.print(nothing, markup=False)
