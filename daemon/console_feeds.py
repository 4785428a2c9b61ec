"""What a terminal shows of feeds: those of feeds.yaml, those found behind an address, and what of a list was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from rich.text import Text

from daemon.console import err, indented, out, why_failed
from daemon.counting import counted
from daemon.discovery import Discovery, FoundFeed, NoFeed
from daemon.moments import exact_span
from daemon.newfeeds import LeftOut, NewFeed, yaml_entry

MOST_LEFT_OUT = 30
_COLOURS = {"ok": "green", "new": "dim", "rests": "dim"}


def feeds_screen(feeds: Iterable[dict[str, Any]]) -> None:
    """The feeds of feeds.yaml, a line each. No table of rich's: it would cut addresses to the width of the terminal."""
    here = datetime.now().astimezone().tzinfo
    rows = [("feed", "state", "every", f"last read ({here})", "address")]
    for feed in feeds:
        read = feed["succeeded_at"]
        last = f"{datetime.fromisoformat(read).astimezone(here):%Y-%m-%d %H:%M}" if read else "–"
        shortest, longest = (exact_span(timedelta(seconds=feed[key])) for key in ("every_seconds", "longest_seconds"))
        every = shortest if shortest == longest else f"{shortest}–{longest}"
        rows.append((feed["id"], feed["state"], every, last, feed["url"]))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [Text("  ".join(map(str.ljust, row, widths)).rstrip()) for row in rows]
    lines[0].stylize("bold")
    state = widths[0] + 2
    for line, row in zip(lines[1:], rows[1:], strict=True):
        line.stylize(_COLOURS.get(row[1], "red"), state, state + len(row[1]))
    for line in lines:
        out.print(line)


@contextmanager
def searching() -> Iterator[Callable[[str], None]]:
    """On a terminal, a line that tells which address is being asked, as long as it takes."""
    if not err.is_terminal:
        yield lambda _url: None
        return
    with err.status("") as status:
        yield lambda url: status.update(Text(f"asking {url}"))


def found_screen(discovery: Discovery) -> None:
    """The feeds that were found on stdout, and on stderr what was asked in vain."""
    for feed in discovery.feeds:
        out.print(feed.url, markup=False)
        indented(out, found_line(feed), 2, "dim")
    say_in_vain(discovery)


def found_line(feed: FoundFeed) -> str:
    """What is known of a feed, without its address."""
    newest = (
        f", the newest of {feed.newest:%Y-%m-%d %H:%M} UTC" if feed.newest else ", without dates" * bool(feed.items)
    )
    return f"{feed.title or '(without a title)'} · {feed.kind} · {counted(feed.items, 'item')}{newest}"


def say_in_vain(discovery: Discovery) -> None:
    """What was asked and is no feed, those with the same reason together, and what was not asked at all."""
    groups: dict[tuple[str, str], list[NoFeed]] = {}
    for one in discovery.in_vain:
        groups.setdefault((why_failed(one.reason, one.detail), one.hint), []).append(one)
    for (why, hint), alike in groups.items():
        err.print(_shown(f"no feed: {why}"), markup=False)
        indented(err, _shown(", ".join(one.url for one in alike)), 2)
        if hint:
            indented(err, hint, 2, "dim")
    if discovery.left_out:
        err.print(f"{counted(len(discovery.left_out), 'more address', 'more addresses')} not asked:")
        indented(err, _shown(", ".join(discovery.left_out[:MOST_LEFT_OUT])), 2)
        indented(err, "If yours is among them: `claimwatch feeds discover` takes its address, too.", 2, "dim")


def _shown(text: str) -> str:
    """A text from elsewhere without what a terminal would obey."""
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def yaml_lines(feeds: Iterable[NewFeed]) -> str:
    """The lines to paste under `feeds:`."""
    return "".join(f"  {yaml_entry(one)}\n" for one in feeds)


def say_added(feeds: Sequence[NewFeed], file: Path, *, written: bool) -> None:
    """Where the lines on stdout belong, or are by now."""
    count = counted(len(feeds), "feed")
    if written:
        err.print(f"{count} added to {file}; a watch that runs takes it up by itself.", markup=False)
    else:
        err.print(f"{count} to paste under feeds: in {file}; --write does it for you.", markup=False)


def say_left_out(left_out: Sequence[LeftOut]) -> None:
    """The lines of a list that were not taken; those that are there already in one line."""
    known = [one for one in left_out if one.known]
    others = [one for one in left_out if not one.known]
    for one in others[:MOST_LEFT_OUT]:
        err.print(f"left out, line {one.line}: {one.title or '(without a title)'}: {one.reason}", markup=False)
    if len(others) > MOST_LEFT_OUT:
        err.print(f"left out: {len(others) - MOST_LEFT_OUT} more of the kind")
    if len(known) == 1:
        err.print(f"left out, line {known[0].line}: {known[0].title} {known[0].reason}", markup=False)
    elif known:
        first = ", ".join(one.title for one in known[:3]) + (", …" if len(known) > 3 else "")
        err.print(f"left out: {len(known)} that are there already or stand in the list twice ({first})", markup=False)
