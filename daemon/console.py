"""What a person sees in a terminal: rounds of polls, where digests went. Decides nothing."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from email.message import EmailMessage
from operator import itemgetter
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from daemon import __version__, backfill
from daemon.backtest import Snapshot, Summary
from daemon.counting import counted, noun
from daemon.coverage import said_once
from daemon.duetimes import next_due
from daemon.events import (
    BackfillFinished,
    DeliveryAccepted,
    DeliveryCancelled,
    DeliveryDeferred,
    DeliveryRefused,
    DigestPrepared,
    FeedFailed,
    FeedRecovered,
    GapSuspected,
    MatchLapsed,
    NoticeDeferred,
    NoticeSent,
    Recorded,
)
from daemon.outcomes import Failed, Gone
from daemon.rules import Rules
from daemon.service import Polled
from daemon.settings import Settings
from daemon.tellable import MatchToTell

err = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
out = Console(highlight=False, soft_wrap=True, emoji=False)


def say_start(settings: Settings, due: int) -> None:
    """What the watch begins with: its rules, its places, and how many feeds are not among the `due` first ones."""
    rules = settings.rules
    feeds, claims = len(rules.polled_feeds), len(rules.watched_claims)
    sums = f"{counted(feeds, 'feed')}, {counted(claims, 'claim')}"
    err.print(f"claimwatch {__version__}: {sums}, from {settings.file}")
    err.print(f"log: {place(str(settings.database))}", style="dim")
    if settings.mail.smtp is None:
        say_maildir(settings.mail.maildir)
    if waiting := feeds - due:
        err.print(f"{counted(waiting, 'feed')} {noun(waiting, 'is', 'are')} not due yet")


def say_watching(rules: Rules, now: datetime) -> None:
    """That the watch runs, what comes next, and how to end it."""
    with_time = [one for one in rules.live_digests if not one.every_seconds]
    coming = min(((next_due(one, now), one) for one in with_time), key=itemgetter(0), default=None)
    digest = (
        f"next digest: {coming[1].name}, {due_time(coming[0], coming[1].timezone)}" if coming else "no digest is set"
    )
    if alerts := [one for one in rules.live_digests if one.every_seconds]:
        named = f"{', '.join(one.name for one in alerts)} when something is new"
        digest = f"{digest}; {named}" if coming else named
    err.print(f"watching; {digest}; Ctrl-C stops")


class RoundReport:
    """Follows a round of polls: a bar on a terminal, and a plain line for each feed that brought something."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._said = False

    def begin(self, feeds: int) -> None:
        """A round of `feeds` polls begins."""
        self.close()
        if err.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            self._bar = Progress(*columns, console=err, transient=True)
            self._task = self._bar.add_task("polling", total=feeds)
            self._bar.start()

    def told(self, polled: Polled) -> None:
        """One feed was polled."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)
        if polled.new_items or polled.revised_items:
            err.print(_polled_line(polled))

    def end(self, results: Sequence[Polled]) -> None:
        """The round is over. The first one is always told; a later one when it brought news."""
        self.close()
        if not self._said or any(polled.events for polled in results):
            say_round(results)
        self._said = True

    def close(self) -> None:
        """Gives the terminal back, also when a round was cut off."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class Screen(RoundReport):
    """What `claimwatch run` tells whoever sits before it; `journal.Journal` tells a journal the same."""

    def start(self, settings: Settings, due: int) -> None:
        """What the watch begins with."""
        say_start(settings, due)
        self._rules = settings.rules

    def ready(self) -> None:
        """That it watches, and what comes next."""
        say_watching(self._rules, datetime.now(UTC))

    def mailed(self, outcomes: Sequence[Recorded]) -> None:
        """What became of each message."""
        say_deliveries(outcomes, None)

    def stopped(self) -> None:
        """That it ended in order."""
        err.print("stopped")


def _polled_line(polled: Polled) -> str:
    matched = ", ".join(escape(claim) for claim in sorted(set(polled.matched_claims)))
    found = f"{polled.new_items} new" + (f", {polled.revised_items} revised" if polled.revised_items else "")
    return f"  {escape(polled.feed)}: {found}" + (f" → [bold]{matched}[/]" if matched else "")


def say_round(results: Sequence[Polled]) -> None:
    """How many feeds were reached, what came in, which failed and why, and when they are asked again."""
    failed = [polled for polled in results if isinstance(polled.outcome, Failed | Gone)]
    reached, items = len(results) - len(failed), sum(polled.new_items for polled in results)
    matches = sum(len(polled.matched_claims) for polled in results)
    colour = "green" if reached == len(results) else "red" if not reached else "yellow"
    sums = f"{items} new {noun(items, 'item')}, {counted(matches, 'match', 'matches')}"
    err.print(f"[{colour}]{reached} of {counted(len(results), 'feed')} reached[/]; {sums}")
    for (why, hint), feeds in _grouped(failed).items():
        again = min((polled.next_due for polled in feeds if polled.next_due), default=None)
        err.print(f"  {escape(why)}")
        indented(err, ", ".join(polled.feed for polled in feeds), 4)
        indented(err, f"{hint} Next try from {local(again)}." if again else hint, 4, "dim")


def _grouped(failed: Iterable[Polled]) -> dict[tuple[str, str], list[Polled]]:
    groups: dict[tuple[str, str], list[Polled]] = {}
    for polled in failed:
        if isinstance(polled.outcome, Failed):
            key = (why_failed(polled.outcome.reason, polled.outcome.detail), polled.outcome.hint)
        else:
            key = ("gone for good (410)", "Take it out of feeds.yaml, or give it its new address.")
        groups.setdefault(key, []).append(polled)
    return groups


def why_failed(reason: str, detail: str) -> str:
    """The reason, and of the detail what a person can use: the log has all of it."""
    if reason == "name not found":
        return reason
    detail = re.sub(r"^\[Errno -?\d+\] ", "", detail)
    return said_once(reason, detail) or f"{reason} ({detail})"


def say_deliveries(outcomes: Sequence[Recorded], maildir: Path | None) -> None:
    """What became of each delivery, and how to read what went into the Maildir."""
    for one in outcomes:
        match one.event:
            case DeliveryAccepted(answer):
                err.print(f"[green]digest sent[/]: {one.id}" + (f" ({escape(answer)})" if maildir is None else ""))
            case DeliveryDeferred(reason, retry_at):
                err.print(f"[yellow]digest waits[/]: {one.id}: {escape(reason)}. Next try {local(retry_at)}.")
            case DeliveryRefused(reason):
                err.print(f"[red]digest refused[/]: {one.id}: {escape(reason)}. The next one takes its matches.")
            case DeliveryCancelled(reason):
                err.print(f"[yellow]digest cancelled[/]: {one.id}: {escape(reason)}")
            case NoticeSent():
                err.print("[green]operator told[/] of troubles: claimwatch status")
            case NoticeDeferred(_, reason, retry_at):
                err.print(f"[yellow]operator not told[/]: {escape(reason)}. Next try {local(retry_at)}.")
    if maildir is not None and any(isinstance(one.event, DeliveryAccepted) for one in outcomes):
        say_maildir(maildir)


def say_maildir(maildir: Path) -> None:
    """Where mail goes without a server, and how to read it."""
    err.print(f"Digests go to the Maildir {maildir}; read them with any mail program (mutt -f {maildir}),")
    err.print("or with: claimwatch digest show. To send them, name a server under mail: in feeds.yaml.", style="dim")


class Replay:
    """Follows a backtest: a bar on a terminal, nothing elsewhere."""

    def __init__(self, snapshots: int) -> None:
        columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._task = self._bar.add_task("replay", total=snapshots)
        self._bar.start()

    def told(self, _polled: Polled) -> None:
        """One snapshot was polled."""
        self._bar.advance(self._task)

    def rematched(self, progress: backfill.Progress) -> None:
        """More of what an earlier run left was matched against new terms."""
        if progress.finished:
            say_backfill(progress.finished)

    def close(self) -> None:
        """The backtest is over."""
        self._bar.stop()


class Backfilling:
    """Follows a backfill: a bar on a terminal, and a line in the end."""

    def __init__(self) -> None:
        columns = (TextColumn("matching what is stored"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=err, transient=True, disable=not err.is_terminal)
        self._task: TaskID | None = None

    def told(self, progress: backfill.Progress) -> None:
        """One more chunk of items was looked at."""
        if self._task is None:
            self._task = self._bar.add_task("backfill")
            self._bar.start()
        self._bar.update(self._task, completed=progress.done, total=progress.items)
        if progress.finished:
            say_backfill(progress.finished)

    def close(self) -> None:
        """Gives the terminal back."""
        self._bar.stop()


def say_backfill(finished: BackfillFinished) -> None:
    """What new and changed terms made of what was stored."""
    claims, items = counted(len(finished.claims), "claim"), counted(finished.items, "stored item")
    found = f"{finished.matched} found, {finished.changed} changed, {finished.dropped} no longer made"
    err.print(f"new terms of {claims} matched against {items}: matches {found}")


def backtest_screen(summary: Summary, digests: Iterable[Recorded]) -> None:
    """What a backtest came to: what came in, on which claims, and what the digests would have said."""
    failed = f", {summary.failed} failed" if summary.failed else ""
    polls, items = counted(summary.polls, "poll"), counted(summary.items, "item")
    out.print(f"{counted(summary.feeds, 'feed')}: {polls}{failed}; {items}, {summary.revised} revised")
    found = summary.matches.total()
    out.print(f"\n[bold]{counted(found, 'match', 'matches')}[/]")
    for claim, count in summary.matches.most_common():
        out.print(f"{count:>7}  {claim}", markup=False, style=None if count else "dim")
    out.print(f"\n[bold]{counted(summary.digests, 'digest')}[/]")
    for one in digests:
        if isinstance(one.event, DigestPrepared):
            out.print(f"  {one.at:%Y-%m-%d %H:%M} UTC  {one.event.name}: {one.event.subject}", markup=False)


class WeekReport:
    """Tells a newcomer what a replay does: a few lines for each time at which a digest falls due."""

    def __init__(self) -> None:
        self._polls: list[Polled] = []

    def begin(self, snapshots: Sequence[Snapshot], rules: Rules) -> None:
        """The replay of these snapshots begins."""
        feeds, claims = len(rules.polled_feeds), len(rules.watched_claims)
        err.print(
            f"A made-up week of news, lived through in virtual time: {feeds} feeds polled {len(snapshots)} times,"
        )
        err.print(f"{claims} claims watched, a digest every evening and one for the week.\n")

    def told(self, polled: Polled) -> None:
        """One snapshot was polled."""
        self._polls.append(polled)

    def mailed(self, digest: Recorded) -> None:
        """A digest fell due: what came in since the last one, and what the digest says of it."""
        if polls := self._polls:
            items, matches = sum(one.new_items for one in polls), sum(len(one.matched_claims) for one in polls)
            sums = f"{items} new {noun(items, 'item')}, {counted(matches, 'match', 'matches')}"
            err.print(f"[bold]{digest.at:%a} {digest.at.day} {digest.at:%b}[/]  {len(polls)} polls: {sums}")
        for polled in polls:
            for remark in _remarks(polled):
                err.print(f"           {escape(remark)}", style="yellow")
        subject = digest.event.subject if isinstance(digest.event, DigestPrepared) else "nothing to tell, not sent"
        err.print(f"           {digest.event.name} digest: {escape(subject)}")
        self._polls = []


def _remarks(polled: Polled) -> Iterator[str]:
    """What a poll brought besides items."""
    for one in polled.recorded:
        match one.event:
            case FeedFailed(reason, detail):
                yield f"{polled.feed} can't be read: {why_failed(reason, detail)}"
            case FeedRecovered():
                yield f"{polled.feed} can be read again"
            case GapSuspected():
                yield f"{polled.feed} may have brought and dropped items between two polls"
            case MatchLapsed(claim):
                yield f"{polled.feed} has changed an item: it no longer bears on {claim}"


def demo_screen(message: EmailMessage, html: Path, maildir: Path, steps: Iterable[tuple[str, str]]) -> None:
    """How a demo ends: the last digest, where it lies, and what to try next."""
    err.print("\nThe last of the digests:\n", style="bold")
    show_message(message)
    out.print("\n[bold]Where it is[/]\n")
    out.print(f"  in a browser   {html}", markup=False)
    out.print(f"  as mail        {maildir}  (with the others)", markup=False)
    out.print("\n[bold]What to try next[/]: each line can be copied into a shell as it stands\n")
    for why, command in steps:
        if why:
            out.print(f"  # {why}", style="dim", markup=False)
        out.print(f"  {command}", markup=False)


def digest_list(rows: Sequence[dict[str, Any]]) -> None:
    """The last digests, a line each."""
    for row in rows:
        state = "skipped, nothing to tell" if row["skipped"] else row["state"]
        answer = f" ({escape(row['answer'])})" if row["answer"] and row["state"] != "accepted" else ""
        out.print(f"{row['id']}  [bold]{state}[/]{answer}  {escape(row['subject'])}")
    if not rows:
        err.print("No digest was prepared yet.")


def show_message(message: EmailMessage) -> None:
    """The text part of a prepared message, under its subject."""
    text = message.get_body(("plain",))
    out.print(f"Subject: {message['Subject']}\n", markup=False)
    out.print(text.get_content() if text else "", markup=False, end="")


def match_lines(match: MatchToTell) -> None:
    """One match, for a person."""
    terms = "; ".join(dict.fromkeys(evidence.term for evidence in match.evidence))
    head = f" {local(match.first_seen)} {match.feed}  "
    remark = "" if match.current else ", not by today's terms"
    out.print(Text.assemble((match.claim, "bold"), head, (f"match {match.position}{remark}", "dim")))
    out.print(Text(f"  {match.title or match.summary[:120]}"))
    out.print(Text.assemble("  ", (terms, "dim"), f"  {match.link or ''}"))


def indented(console: Console, text: str, columns: int, style: str | None = None) -> None:
    """A text under a line, in lines that no terminal has to break in the middle of a feed's name."""
    margin = " " * columns
    lines = textwrap.wrap(
        text, 80, initial_indent=margin, subsequent_indent=margin, break_long_words=False, break_on_hyphens=False
    )
    console.print("\n".join(lines), style=style, markup=False)


def local(moment: datetime) -> str:
    """A moment as this machine's clock has it."""
    return f"{moment.astimezone():%Y-%m-%d %H:%M %Z}"


def due_time(moment: datetime, zone: str) -> str:
    """When a digest is due, as its line in feeds.yaml has it."""
    due = moment.astimezone(ZoneInfo(zone))
    return f"{due:%a} {due.day} {due:%b %H:%M} {zone}"


def place(database: str) -> str:
    """A file by its path, a database on a server by its address."""
    return database.removeprefix("sqlite:///")
