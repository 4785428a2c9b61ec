"""The command line: one function a command, in the `cli_` modules; here they get their names.

Exit codes: 0 fine, 1 something is wrong, 2 wrong usage or configuration.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Annotated, Any, ClassVar

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from daemon import __version__
from daemon.cli_options import Config, Global, State
from daemon.errors import ClaimwatchError, ConfigError
from daemon.journal import set_up_logging


class _PlainHelp(TyperCommand):
    """A command whose --help tells no types that nobody can act on: `--json`, not `--json <bool>`; DIR, not {DIR}."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


class _Commands(MutableMapping[str, Any]):
    """Commands by name, each imported when it is asked for: a watch of months has no use for those of all the others.

    They are functions of this package, `module.function`; groups are added as they are.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self._places = dict(places)
        self._made: dict[str, Any] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._made:
            module, function = self._places[name].split(".")
            alone = typer.Typer(**_HELP, add_completion=False)
            alone.command(name, cls=_PlainHelp)(getattr(import_module(f"daemon.{module}"), function))
            self._made[name] = typer.main.get_command(alone)
        return self._made[name]

    def __setitem__(self, name: str, made: Any) -> None:
        self._places.setdefault(name, "")
        self._made[name] = made

    def __delitem__(self, name: str) -> None:
        del self._places[name]
        self._made.pop(name, None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)


class _PlainGroupHelp(TyperGroup):
    """The same for a group of commands, which are those of `places`."""

    places: ClassVar[Mapping[str, str]]

    def __init__(self, **given: Any) -> None:
        groups = given.pop("commands", None) or {}
        super().__init__(**given)
        self.commands = _Commands(self.places)
        self.commands.update(groups)

    def get_params(self, ctx: Any) -> list[Any]:
        return _without_types(super().get_params(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


def _without_types(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_flag", False):
            param.metavar = ""
        elif isinstance(param, TyperArgument) and not param.type_descriptor.is_choice:
            # Its metavar stands for its name; typer has no option for the type beside it.
            param.display_type_rich = lambda ctx: None  # type: ignore[method-assign]
    return params


class _AllCommands(_PlainGroupHelp):
    places: ClassVar[Mapping[str, str]] = {
        "run": "cli_run.run",
        "poll": "cli_watch.poll_command",
        "deliver": "cli_watch.deliver",
        "send-test": "cli_mail.send_test",
        "status": "cli_watch.status",
        "health": "cli_health.health",
        "check": "cli_watch.check",
        "matches": "cli_log.matches",
        "try": "cli_terms.try_command",
        "diff": "cli_terms.diff",
        "explain": "cli_terms.explain",
        "match": "cli_terms.match_command",
        "backtest": "cli_watch.backtest",
        "init": "cli_setup.init",
        "schema": "cli_setup.schema",
        "demo": "cli_demo.demo",
        "events": "cli_log.events",
        "verify": "cli_log.verify",
        "rebuild": "cli_log.rebuild",
    }


class _DigestCommands(_PlainGroupHelp):
    places: ClassVar[Mapping[str, str]] = {
        "preview": "cli_digest.preview",
        "prepare": "cli_digest.prepare",
        "show": "cli_digest.show",
        "resend": "cli_digest.resend",
    }


class _FeedsCommands(_PlainGroupHelp):
    places: ClassVar[Mapping[str, str]] = {
        "list": "cli_feeds.list_command",
        "discover": "cli_feeds.discover",
        "add": "cli_feeds.add",
        "import": "cli_feeds.import_command",
        "export": "cli_feeds.export",
    }


_HELP: dict[str, Any] = {"rich_markup_mode": "markdown", "pretty_exceptions_enable": False}
app = typer.Typer(
    name="claimwatch",
    cls=_AllCommands,
    help="Keeps watch over the claims that an article makes: polls news feeds, matches, logs, and mails digests.",
    epilog="Exit codes: 0 fine, 1 something is wrong, 2 wrong usage or configuration. "
    "`claimwatch COMMAND --help` has examples.",
    no_args_is_help=True,
    **_HELP,
)
app.add_typer(
    typer.Typer(cls=_DigestCommands, help="Preview, prepare, show and send digests again.", no_args_is_help=True),
    name="digest",
)
app.add_typer(
    typer.Typer(
        cls=_FeedsCommands,
        help="List feeds, find those behind an address, add, import and export them.",
        no_args_is_help=True,
    ),
    name="feeds",
)


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
