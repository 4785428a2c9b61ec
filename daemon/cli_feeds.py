"""The commands about feeds: which there are, which there could be, and how they get into feeds.yaml and out of it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon import assembly, console, console_feeds, queries
from daemon.cli_options import AsJson, Config, State, given, print_lines
from daemon.discovery import Discovery, FoundFeed
from daemon.discovery import discover as discover_feeds
from daemon.errors import ClaimwatchError
from daemon.feedsedit import add_feeds
from daemon.fields import is_key
from daemon.links import address_key
from daemon.moments import timestamp, timestamp_or_none
from daemon.newfeeds import MOST_TITLE_CHARACTERS, NewFeed, feeds_of, fetchable, key_for, outlines_of
from daemon.opml import MOST_BYTES, read_outlines, write_outlines
from daemon.parsing import open_parser
from daemon.service import SystemClock
from daemon.settings import Polling, Settings, is_without_config, load
from daemon.yamlfiles import read_yaml

Address = Annotated[str, typer.Argument(metavar="URL", help="The address of a site, of a page of it, or of a feed.")]
Write = Annotated[
    bool, typer.Option("--write", help="Set it into feeds.yaml; every comment and all else stays as it is.")
]


def list_command(as_json: AsJson = False, config: Config = None, state: State = None) -> None:
    """The feeds of feeds.yaml: state, least and longest pause, last read, address. Works before there is a log.

    Example: `claimwatch feeds list`
    """
    settings = load(*given(config, state))
    feeds = _listed(settings)
    if as_json:
        print_lines(feeds)
    else:
        console_feeds.feeds_screen(feeds)


def _listed(settings: Settings) -> list[dict[str, Any]]:
    health = {}
    with assembly.log_if_any(settings) as log:
        if log is not None:
            with log.reading() as connection:
                health = {one.id: one for one in queries.feed_health(connection)}
    rows = []
    for feed in settings.rules.feeds:
        known = health.get(feed.id)
        row = {
            "id": feed.id,
            "title": feed.title,
            "url": feed.url,
            "state": "rests" if not feed.enabled else known.state if known else "new",
            "every_seconds": feed.interval_seconds,
            "longest_seconds": feed.longest_seconds,
            "succeeded_at": timestamp_or_none(known.succeeded_at) if known else None,
        }
        rows.append(row)
    return rows


def discover(url: Address, as_json: AsJson = False, config: Config = None, state: State = None) -> None:
    """Find the feeds behind a site's address: what its page declares, links that look like one, else usual places.

    Each one is fetched and read, within the limits of feeds.yaml where there is one. Exit code 1 when none is found.

    Examples: `claimwatch feeds discover example.org`, `claimwatch feeds discover https://example.org/news/ --json`
    """
    found = _discovered(url, _polling(*given(config, state)))
    if as_json:
        print_lines(_found_json(one) for one in found.feeds)
        console_feeds.say_in_vain(found)
    else:
        console_feeds.found_screen(found)
    if not found.feeds:
        raise ClaimwatchError(f"no feed was found at {found.url}", hint=_LOOK_YOURSELF)


_LOOK_YOURSELF = "Look on the site for a page about RSS, and name the address that it gives."


def _polling(config: Path | None, state: Path | None) -> Polling:
    """The limits of feeds.yaml; where nobody named one and none is there, the usual ones."""
    return Polling() if is_without_config(config) else load(config, state).polling


def _discovered(url: str, polling: Polling) -> Discovery:
    async def search() -> Discovery:
        async with assembly.fetcher_within(polling) as fetcher, open_parser() as parser:
            return await discover_feeds(url, fetcher, parser, SystemClock(), asking)

    with console_feeds.searching() as asking:
        return asyncio.run(search())


def _found_json(feed: FoundFeed) -> dict[str, Any]:
    return {
        "url": feed.url,
        "title": feed.title,
        "kind": feed.kind,
        "items": feed.items,
        "newest": timestamp(feed.newest) if feed.newest else None,
    }


def add(
    url: Address,
    key: Annotated[
        str,
        typer.Option("--key", metavar="KEY", help="What to call it in feeds.yaml; else made from its title or host."),
    ] = "",
    write: Write = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Add the feed behind an address: prints the line for feeds.yaml, or sets it in with --write.

    Where there are several, they are listed, and you name the address of one. Exit code 1 when there is none, or
    several, or feeds.yaml has it already.

    Examples: `claimwatch feeds add example.org`, `claimwatch feeds add example.org/rss.xml --key example --write`
    """
    settings = load(*given(config, state))
    taken = {feed.id for feed in settings.rules.feeds}
    if key and (not is_key(key) or key in taken):
        reason = "is in use" if key in taken else "can't be a key: small letters, digits, and . _ - between them"
        raise typer.BadParameter(f"{key!r} {reason}", param_hint="--key")
    _refuse_known(settings, fetchable(url))
    found = _discovered(url, settings.polling)
    if len(found.feeds) != 1:
        console_feeds.found_screen(found)
        if not found.feeds:
            raise ClaimwatchError(f"no feed was found at {found.url}", hint=_LOOK_YOURSELF)
        hint = f"Name one: claimwatch feeds add {found.feeds[0].url}"
        raise ClaimwatchError(f"{found.url} has {len(found.feeds)} feeds", hint=hint)
    (feed,) = found.feeds
    _refuse_known(settings, feed.url)
    console.err.print(console_feeds.found_line(feed), markup=False)
    new = NewFeed(key or key_for(feed.title, feed.url, taken), feed.url, feed.title[:MOST_TITLE_CHARACTERS].strip())
    _hand_over(settings, [new], write=write)


def _refuse_known(settings: Settings, url: str) -> None:
    for feed in settings.rules.feeds:
        if address_key(feed.url) == address_key(url):
            rests = "" if feed.enabled else " It rests: take its `enabled: false` out."
            raise ClaimwatchError(f"{settings.file} has it already, as {feed.id}", hint=f"{feed.url}{rests}")


def _hand_over(settings: Settings, feeds: list[NewFeed], *, write: bool) -> None:
    if write:
        add_feeds(settings, feeds)
    typer.echo(console_feeds.yaml_lines(feeds), nl=False)
    console_feeds.say_added(feeds, settings.file, written=write)


def import_command(
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", dir_okay=False, allow_dash=True, help="An OPML file; - for standard input."),
    ],
    write: Write = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Add the feeds of an OPML file, as other feed readers export it: prints the lines, or sets them in with --write.

    Nothing is fetched: the watch will tell of those that fail. What is left out is told with the reason. Exit code 1
    when there is nothing to add.

    Examples: `claimwatch feeds import subscriptions.opml`, `claimwatch feeds import subscriptions.opml --write`
    """
    settings = load(*given(config, state))
    known = {address_key(feed.url): feed.id for feed in settings.rules.feeds}
    feeds, left_out = feeds_of(read_outlines(_document(file)), known, set(known.values()))
    console_feeds.say_left_out(left_out)
    if not feeds:
        raise ClaimwatchError(f"there is no feed to add in {file}", hint="Nothing was changed.")
    _hand_over(settings, feeds, write=write)


def _document(file: Path) -> bytes:
    try:
        if str(file) == "-":
            return sys.stdin.buffer.read(MOST_BYTES + 1)
        with file.open("rb") as opened:
            return opened.read(MOST_BYTES + 1)
    except OSError as error:
        raise ClaimwatchError(f"{file} can't be read: {error.strerror}", hint="Name another file.") from error


def export(config: Config = None, state: State = None) -> None:
    """The feeds of feeds.yaml as OPML on stdout, for other feed readers and for `feeds import`.

    Passwords and keys (auth_file:, headers_file:) are not in it.

    Example: `claimwatch feeds export > feeds.opml`
    """
    settings = load(*given(config, state))
    feeds = read_yaml(settings.file).values.get("feeds") or {}
    typer.echo(write_outlines(outlines_of(feeds), "Feeds of claimwatch"), nl=False)
    if settings.feed_secrets:
        left_out = ", ".join(sorted(settings.feed_secrets))
        console.err.print(f"without the secrets of {left_out}", markup=False)
