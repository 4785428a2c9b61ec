"""The command line: one function a command, in the `cli_` modules; here they get their names.

Exit codes: 0 fine, 1 something is wrong, 2 wrong usage or configuration.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from daemon import (
    __version__,
    cli_demo,
    cli_digest,
    cli_feeds,
    cli_health,
    cli_log,
    cli_mail,
    cli_setup,
    cli_terms,
    cli_watch,
)
from daemon.cli_options import Config, Global, State
from daemon.errors import ClaimwatchError, ConfigError
from daemon.journal import set_up_logging


class _PlainHelp(TyperCommand):
    """A command whose --help tells no types that nobody can act on: `--json`, not `--json <bool>`; DIR, not {DIR}."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class _PlainGroupHelp(TyperGroup):
    """The same for a group of commands."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        elif isinstance(param, TyperArgument) and not param.type_descriptor.is_choice:
            # Its metavar stands for its name; typer has no option for the type beside it.
            param.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    return params


app = typer.Typer(
    name="claimwatch",
    cls=_PlainGroupHelp,
    help="Keeps watch over the claims that an article makes: polls news feeds, matches, logs, and mails digests.",
    epilog="Exit codes: 0 fine, 1 something is wrong, 2 wrong usage or configuration. "
    "`claimwatch COMMAND --help` has examples.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)
digest_app = typer.Typer(
    cls=_PlainGroupHelp, help="Preview, prepare, show and send digests again.", no_args_is_help=True
)
app.add_typer(digest_app, name="digest")
feeds_app = typer.Typer(
    cls=_PlainGroupHelp,
    help="List feeds, find those behind an address, add, import and export them.",
    no_args_is_help=True,
)
app.add_typer(feeds_app, name="feeds")


def main() -> None:
    """The entry point: errors become a message and an exit code."""
    try:
        app()
    except ConfigError as error:
        _fail(error, 2)
    except ClaimwatchError as error:
        _fail(error, 1)
    except SystemExit as ended:
        # Typer answers a closed pipe with 1; somebody's `| head` that has read enough is no failure.
        raise SystemExit(0 if isinstance(ended.__context__, BrokenPipeError) else ended.code) from None


def _fail(error: ClaimwatchError, code: int) -> None:
    typer.echo(f"claimwatch: {error}", err=True)
    raise SystemExit(code)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"claimwatch {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    config: Config = None,
    state: State = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="More log lines.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    Global.config, Global.state = config, state
    set_up_logging(verbose)


_COMMANDS: tuple[tuple[typer.Typer, str, Callable[..., None]], ...] = (
    (app, "run", cli_watch.run),
    (app, "poll", cli_watch.poll_command),
    (app, "deliver", cli_watch.deliver),
    (app, "send-test", cli_mail.send_test),
    (app, "status", cli_watch.status),
    (app, "health", cli_health.health),
    (app, "check", cli_watch.check),
    (app, "matches", cli_log.matches),
    (app, "try", cli_terms.try_command),
    (app, "diff", cli_terms.diff),
    (app, "explain", cli_terms.explain),
    (app, "match", cli_terms.match_command),
    (app, "backtest", cli_watch.backtest),
    (app, "init", cli_setup.init),
    (app, "schema", cli_setup.schema),
    (app, "demo", cli_demo.demo),
    (app, "events", cli_log.events),
    (app, "verify", cli_log.verify),
    (app, "rebuild", cli_log.rebuild),
    (digest_app, "preview", cli_digest.preview),
    (digest_app, "prepare", cli_digest.prepare),
    (digest_app, "show", cli_digest.show),
    (digest_app, "resend", cli_digest.resend),
    (feeds_app, "list", cli_feeds.list_command),
    (feeds_app, "discover", cli_feeds.discover),
    (feeds_app, "add", cli_feeds.add),
    (feeds_app, "import", cli_feeds.import_command),
    (feeds_app, "export", cli_feeds.export),
)
for _group, _name, _command in _COMMANDS:
    _group.command(_name, cls=_PlainHelp)(_command)
