"""The commands that do once what the watch does by itself, and that say how it does: poll, deliver, status, check."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from daemon import assembly, console, console_status, console_terms, inquiries
from daemon.assembly import Installation
from daemon.backtest import Snapshot, Summary, snapshots_in
from daemon.backtest import backtest as run_backtest
from daemon.cli_options import AsJson, Config, State, given, match_stored, moment, print_lines, print_recorded
from daemon.completion import feed_keys
from daemon.counting import counted
from daemon.delivery import deliver as deliver_prepared
from daemon.errors import ClaimwatchError, ConfigError
from daemon.events import DeliveryDeferred, DeliveryRefused, NoticeDeferred, Recorded
from daemon.inquiries import Listened
from daemon.matching import unused_word_lists
from daemon.moments import timestamp_or_none
from daemon.outcomes import Failed, Gone
from daemon.parsing import open_parser
from daemon.service import Polled, SystemClock, due_feeds, poll, record_rules
from daemon.settings import Settings, load, template_problems
from daemon.telling import tell_operator


def poll_command(
    feeds: Annotated[
        list[str] | None,
        typer.Argument(metavar="FEED", help="Feeds by key; all of them without.", autocompletion=feed_keys),
    ] = None,
    due: Annotated[bool, typer.Option("--due", help="Only the feeds whose time has come.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Poll one round now and stop. Exit code 1 when no feed could be reached.

    Where terms are new or changed, what is stored is matched against them after the round.

    Examples: `claimwatch poll`, `claimwatch poll bbc-world ukrinform`, `claimwatch poll --due` (from cron)
    """
    with assembly.writing(*given(config, state), "poll") as installation:
        rules = installation.settings.rules
        known = {feed.id for feed in rules.feeds}
        if unknown := [feed for feed in feeds or () if feed not in known]:
            raise typer.BadParameter(f"feeds.yaml has no feed {', '.join(unknown)}")
        record_rules(installation.watch)
        chosen = [feed for feed in rules.feeds if feed.id in feeds] if feeds else list(rules.polled_feeds)
        if due:
            wanted = {feed.id for feed in chosen}
            chosen = [feed for feed in due_feeds(installation.watch) if feed.id in wanted]
        report = console.RoundReport()
        report.begin(len(chosen))
        try:
            results = asyncio.run(_poll(installation, chosen, report))
            report.end(results)
        finally:
            report.close()
        match_stored(installation.watch)
    if as_json:
        print_lines(_polled_json(polled) for polled in results)
    if results and all(isinstance(polled.outcome, Failed | Gone) for polled in results):
        raise typer.Exit(1)


async def _poll(installation: Installation, feeds: list[Any], report: console.RoundReport) -> list[Polled]:
    limits = installation.settings.polling
    async with assembly.fetcher_of(installation.settings) as fetcher, open_parser() as parser:
        return await poll(installation.watch, fetcher, parser, feeds, at_once=limits.at_once, told=report.told)


def _polled_json(polled: Polled) -> dict[str, Any]:
    outcome = polled.outcome
    failure = (
        {"reason": outcome.reason, "detail": outcome.detail, "hint": outcome.hint}
        if isinstance(outcome, Failed)
        else {}
    )
    return {
        "feed": polled.feed,
        "outcome": type(outcome).__name__.lower(),
        "items": polled.new_items,
        "revised": polled.revised_items,
        "matches": polled.matched_claims,
        "next_due": timestamp_or_none(polled.next_due),
        **failure,
    }


def deliver(
    early: Annotated[bool, typer.Option("--now", help="Also what waits for a later try.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Send what is prepared and due for a try, and tell the operator of troubles (`operator:` in feeds.yaml).

    Exit code 1 when something could not be handed over.

    Examples: `claimwatch digest prepare && claimwatch deliver`, `claimwatch deliver --now`
    """
    with assembly.writing(*given(config, state), "deliver") as installation:
        record_rules(installation.watch)
        outcomes = asyncio.run(_deliver(installation, early=early))
    print_recorded(outcomes, as_json)
    if not as_json:
        console.say_deliveries(outcomes, installation.maildir)
        if not outcomes:
            console.err.print("Nothing is waiting to be delivered.")
    if any(isinstance(one.event, DeliveryDeferred | DeliveryRefused | NoticeDeferred) for one in outcomes):
        raise typer.Exit(1)


async def _deliver(installation: Installation, *, early: bool) -> list[Recorded]:
    watch, post = installation.watch, installation.post
    outcomes = await deliver_prepared(watch, post, mended=watch.clock.now() if early else None)
    return outcomes + await tell_operator(watch, post)


def status(as_json: AsJson = False, config: Config = None, state: State = None) -> None:
    """How the watch does: feeds and their troubles, claims, deliveries, the log, and what the operator was told.

    Example: `claimwatch status`
    """
    with assembly.reading(*given(config, state)) as installation:
        values = assembly.status(installation, SystemClock())
    if as_json:
        print_lines([values])
    else:
        console_status.status_screen(values)
        console_status.troubles_screen(values)
        console_status.log_lines(values)


def check(
    no_log: Annotated[
        bool, typer.Option("--no-log", help="Look at the files alone, not at what the log holds.")
    ] = False,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Check feeds.yaml and the seeds: every problem at once, with its place. Exit code 2 when there is one.

    It also notes claims that no term watches, word lists that no term uses, and a small "or" that was meant as OR; and,
    where there is a log of some days, terms that met none of its items in 90 days, and words that are likely a slip.

    Examples: `claimwatch check`, `claimwatch check --config new-feeds.yaml --no-log`
    """
    settings = load(*given(config, state))
    if problems := template_problems(settings):
        raise ConfigError(problems)
    rules = settings.rules
    counts = {
        "feeds": len(rules.polled_feeds),
        "claims": len(rules.watched_claims),
        "terms": sum(len(claim.terms) for claim in rules.watched_claims),
        "digests": len(rules.live_digests),
    }
    unused = unused_word_lists(rules)
    heard = None if no_log else _listened(settings)
    if as_json:
        term_notes = [{"line": one.line, "column": one.column, "message": one.message} for one in settings.term_notes]
        notes = {"unwatched": settings.unwatched, "unused_words": unused, "term_notes": term_notes}
        print_lines([{"file": str(settings.file), **counts, **notes, **_listened_json(heard)}])
        return
    feeds, claims, terms, digests = (counted(count, key.removesuffix("s")) for key, count in counts.items())
    typer.echo(f"{settings.file} is fine: {feeds}, {claims} with {terms}, {digests}")
    for note in _notes(settings, unused, heard):
        typer.echo(f"note: {note}", err=True)


def _notes(settings: Settings, unused: Sequence[str], heard: Listened | None) -> Iterator[str]:
    yield from map(str, settings.term_notes)
    if settings.unwatched:
        yield f"no term watches {', '.join(settings.unwatched)}"
    if unused:
        yield f"no term uses the word list {', '.join(unused)}"
    if not settings.rules.polled_feeds:
        yield "there is no feed to poll"
    if heard:
        yield from console_terms.silence_notes(heard)


def _listened(settings: Settings) -> Listened | None:
    """What the log never heard of the terms. A log that can't be read is told: the files are fine all the same."""
    try:
        with assembly.log_if_any(settings) as log:
            if log is None:
                return None
            with log.reading() as connection:
                return inquiries.listened(connection, settings.rules, console_terms.looking)
    except ClaimwatchError as error:
        typer.echo(f"note: the log can't be looked at: {error.message}", err=True)
        return None


def _listened_json(heard: Listened | None) -> dict[str, Any]:
    if heard is None:
        return {"items_looked_at": 0, "silent_terms": [], "unknown_words": []}
    return {
        "items_looked_at": heard.silence.looked_at,
        "silent_terms": [{"claim": place.claim, "term": place.term.text} for place in heard.silence.terms],
        "unknown_words": [
            {"word": one.word, "where": one.where, "near": [{"word": word, "count": count} for word, count in one.near]}
            for one in heard.silence.words
        ],
    }


def backtest(
    archive: Annotated[
        Path,
        typer.Argument(
            metavar="DIR", exists=True, file_okay=False, help="A folder for each feed, with snapshots named by time."
        ),
    ],
    begin: Annotated[datetime | None, typer.Option("--from", parser=moment, metavar="TIME", help="Not before.")] = None,
    end: Annotated[
        datetime | None,
        typer.Option("--to", parser=moment, metavar="TIME", help="Not after; digests due until then are sent too."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """What would I have been told? Replays archived feed snapshots in virtual time, through the code that polls and
    delivers. The log is thrown away unless --state names a place for it; digests go to a Maildir there. Over a log that
    was kept, only later snapshots are replayed, and new terms also look at what it holds.

    It ends with sums and the subjects of the digests; with --json, in one line of sums alone.

    Example: `claimwatch backtest archive/ --from 2025-07-20 --to 2025-08-01 --state ./what-if`
    """
    config, state = given(config, state)
    snapshots = snapshots_in(archive)
    with assembly.replaying(config, state) as installation:
        digests: list[Recorded] = []
        summary = asyncio.run(_backtest(installation, snapshots, begin, end, digests.append))
    if as_json:
        print_lines([summary.as_json()])
        return
    console.backtest_screen(summary, digests)
    if not state:
        console.err.print(
            "The log was thrown away; --state DIR keeps it, with the digests in DIR/Maildir.", style="dim"
        )


async def _backtest(
    installation: Installation,
    snapshots: Sequence[Snapshot],
    begin: datetime | None,
    end: datetime | None,
    mailed: Callable[[Recorded], None],
) -> Summary:
    with closing(console.Replay(len(snapshots))) as replay:
        return await run_backtest(
            installation.log,
            installation.settings.rules,
            installation.maildir_post,
            snapshots,
            since=begin,
            until=end,
            most_bytes=installation.settings.polling.most_bytes,
            told=replay.told,
            mailed=mailed,
            rematched=replay.rematched,
        )
