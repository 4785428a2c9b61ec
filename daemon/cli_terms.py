"""The commands that try, compare and explain watch-terms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import IO, Annotated, Any

import typer

from daemon import assembly, console_terms, inquiries, storeditems
from daemon.cli_options import AsJson, Config, Since, State, given, print_lines
from daemon.completion import claim_ids
from daemon.events import ClaimMatched
from daemon.inquiries import Denial, Explanation
from daemon.itemfiles import TEXTS, objects_in
from daemon.matching import Match
from daemon.moments import timestamp, timestamp_or_none
from daemon.rules import ClaimRule, Rules
from daemon.settings import load
from daemon.terms import TermError, uncapitalised
from daemon.trials import Found, Newest, StoredItem, Trial
from daemon.yamlfiles import nearest

SHOWN_EACH_WAY = 3

ItemsFile = Annotated[
    typer.FileBinaryRead | None,
    typer.Option("--file", metavar="FILE", help="Items from JSON lines with id, feed, title, summary; - reads stdin."),
]


def try_command(
    term: Annotated[
        str,
        typer.Argument(
            metavar="TERM", help="A term as feeds.yaml has it, in single quotes; one that begins with - goes behind --."
        ),
    ],
    claim: Annotated[
        str | None,
        typer.Option("--claim", metavar="CLAIM", help="Beside this claim's other terms.", autocompletion=claim_ids),
    ] = None,
    since: Since = None,
    file: ItemsFile = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """What would a term find? Looks at every stored item; changes nothing.

    Word lists of feeds.yaml work in it. With --claim, what the claim never means is taken away.

    Examples: `claimwatch try 'prisoner (exchange OR swap)' --claim prisoner-exchange`,
    `claimwatch try 'energy strike pause' --since 90d`, `claimwatch try 'halt*' --file items.jsonl`
    """
    config, state = given(config, state)
    rules = load(config, state).rules
    chosen = _known_claim(rules, claim) if claim else None
    bad = _BadLines(getattr(file, "name", "-"))
    try:
        with _items(file, config, state, since, bad) as items:
            trial = inquiries.try_term(rules, term, chosen, items)
    except TermError as error:
        console_terms.say_unreadable(term, error)
        raise typer.Exit(2) from None
    if as_json:
        print_lines([_trial_json(term, claim, trial)])
    else:
        console_terms.trial_screen(term, claim, trial)
        for word, _ in uncapitalised(term):
            typer.echo(f"note: {word!r} is looked for as a word here; write {word.upper()} to join terms", err=True)
    bad.end()


def match_command(
    file: Annotated[
        typer.FileBinaryRead, typer.Argument(metavar="FILE", help="JSON lines with id, title, summary; - reads stdin.")
    ],
    config: Config = None,
    state: State = None,
) -> None:
    """Try the terms of feeds.yaml on items from a file; stores nothing. One JSON object a line comes out for each.

    Example: `claimwatch match items.jsonl`
    """
    matcher = inquiries.matcher_of(load(*given(config, state)).rules)
    bad = _BadLines(getattr(file, "name", "-"))
    for fields, item in objects_in(file, bad):
        found = matcher.match(**{name: getattr(item, name) for name in TEXTS}, feed=str(fields.get("feed") or ""))
        print_lines([{"id": fields.get("id"), **_matches_json(found)}])
    bad.end()


def diff(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="The edited feeds.yaml (the one in force without)."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All titles, not the newest three each way.")] = False,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """What would an edit of feeds.yaml change? The edited rules against the live ones, over all stored items.

    Tells for each claim how many items would begin (+) and cease (−) to bear on it. Exit code 1 when some would cease.

    Examples: `claimwatch diff`, `claimwatch diff new-feeds.yaml --all`
    """
    config, state = given(config, state)
    with assembly.reading(config, state) as installation, installation.log.reading() as connection:
        edited = load(file, state).rules if file else installation.settings.rules
        most = None if everything else SHOWN_EACH_WAY
        comparison = inquiries.difference(connection, edited, console_terms.looking, most)
    if as_json:
        print_lines(
            {
                "claim": one.claim,
                "change": one.change,
                "added": one.added.count,
                "removed": one.removed.count,
                "added_items": _items_json(one.added),
                "removed_items": _items_json(one.removed),
            }
            for one in comparison.claims
        )
    else:
        console_terms.comparison_screen(comparison)
    if comparison.loses_evidence:
        raise typer.Exit(1)


def explain(
    what: Annotated[
        str,
        typer.Argument(
            metavar="MATCH|CLAIM",
            help="A match by its number; with --why-not, a claim.",
            autocompletion=claim_ids,
        ),
    ],
    why_not: Annotated[
        str | None,
        typer.Option("--why-not", metavar="ITEM", help="Its id, its link, or a part of its title that no other has."),
    ] = None,
    as_json: AsJson = False,
    config: Config = None,
    state: State = None,
) -> None:
    """Why did it match: which words met which part of which term, under which rules? Or: why did it not?

    With --why-not it says for each term of the claim which condition failed first, and how near the item came.

    Examples: `claimwatch explain 1234` (`claimwatch matches` has the number),
    `claimwatch explain --why-not 'Talks resume in' prisoner-exchange`
    """
    if why_not is None and not what.isdecimal():
        raise typer.BadParameter(f"{what!r} is no match: `claimwatch matches` tells the number of each")
    with assembly.reading(*given(config, state)) as installation, installation.log.reading() as connection:
        if why_not is None:
            explanation = inquiries.explain(connection, int(what))
        else:
            rules = installation.settings.rules
            denial = inquiries.deny(connection, rules, why_not, _known_claim(rules, what))
    if why_not is not None:
        print_lines([_denial_json(denial)]) if as_json else console_terms.denial_screen(denial)
    else:
        print_lines([_explanation_json(explanation)]) if as_json else console_terms.explanation_screen(explanation)


def _known_claim(rules: Rules, id: str) -> ClaimRule:
    claims = {claim.id: claim for claim in rules.claims}
    if id not in claims:
        raise typer.BadParameter(f"feeds.yaml has no claim {id}. {nearest(id, claims)}")
    return claims[id]


@contextmanager
def _items(
    file: IO[bytes] | None, config: Path | None, state: Path | None, since: datetime | None, bad: _BadLines
) -> Iterator[Iterable[StoredItem]]:
    """The items of a file, else of the log, with a bar."""
    if file:
        items = (item for _, item in objects_in(file, bad) if since is None or (item.when and item.when >= since))
        yield console_terms.looking(items, None)
        return
    with assembly.reading(config, state) as installation, installation.log.reading() as connection:
        count = storeditems.count_items(connection, since=since)
        yield console_terms.looking(storeditems.stored_items(connection, since=since), count)


class _BadLines:
    """Names the lines of a file that hold no item, and ends with 1 if there was one."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._any = False

    def __call__(self, number: int, fault: str) -> None:
        self._any = True
        typer.echo(f"{self._name}:{number}: {fault}", err=True)

    def end(self) -> None:
        if self._any:
            raise typer.Exit(1)


# ── as JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────


def _matches_json(found: Sequence[Match]) -> dict[str, Any]:
    evidence = [
        {"claim": match.claim, "term": one.term, "field": one.field, "spans": one.spans, "surface": one.surface}
        for match in found
        for one in match.evidence
    ]
    return {"claims": [match.claim for match in found], "matches": evidence}


def _trial_json(term: str, claim: str | None, trial: Trial) -> dict[str, Any]:
    return {
        "term": term,
        "claim": claim,
        "items": trial.looked_at,
        "without_text": trial.without_text,
        "found": trial.found,
        "new": trial.new if claim else None,
        "already": trial.already if claim else None,
        "taken_away": trial.taken_away.count,
        "days": {str(day): count for day, count in sorted(trial.days.items(), key=lambda row: str(row[0]))},
        "feeds": dict(trial.feeds.most_common()),
        "newest": [_found_json(found) | {"new": found.is_new} for found in trial.newest],
    }


def _items_json(found: Newest) -> list[dict[str, Any]]:
    return [_found_json(one) for one in found]


def _found_json(found: Found) -> dict[str, Any]:
    return _item_json(found.item) | {"evidence": [asdict(one) for one in found.evidence]}


def _item_json(item: StoredItem) -> dict[str, Any]:
    return {
        "item": item.id,
        "feed": item.feed,
        "title": item.title,
        "link": item.link,
        "published": timestamp_or_none(item.published),
        "first_seen": timestamp_or_none(item.first_seen),
    }


def _explanation_json(one: Explanation) -> dict[str, Any]:
    event: ClaimMatched = one.match.event
    return {
        "match": one.match.position,
        "claim": event.claim,
        "statement": one.claim.statement if one.claim else None,
        "at": timestamp(one.match.at),
        "state": one.state,
        "current": one.is_current,
        "rules": event.rules,
        "rules_at": timestamp_or_none(one.rules_at),
        "rules_are_live": one.rules_are_live,
        "item_version": event.item_version,
        "text_was_changed": one.text_was_changed,
        **(_item_json(one.item) if one.item else {"item": event.item, "feed": event.feed}),
        "terms": [asdict(term) for term in one.terms],
    }


def _denial_json(denial: Denial) -> dict[str, Any]:
    return {
        "claim": denial.claim.id,
        "match": denial.match,
        "rules_are_live": denial.rules_are_live,
        **_item_json(denial.item),
        "terms": [{"term": one.term.text, "met": one.met, "reason": one.reason} for one in denial.verdicts],
    }
