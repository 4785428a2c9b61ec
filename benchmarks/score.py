"""How well a feeds.yaml finds the claims of its seed in labelled news: `make score [LABELS=FILE] [CONFIG=FILE]`.

A labels file holds one JSON object a line: `id`, `lang`, `title`, `summary`, and the claims that a reader saw in it
(`claims`; `contested` where two readers differed, which counts neither way). A match with any other claim is false.

Precision is true of found, recall true of positives; macro is the plain mean over the claims. A claim that has
positives and is never found has precision 0, not none: a rule that says nothing must not look like a careful one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.errors import ClaimwatchError
from daemon.events import Evidence
from daemon.lexicon import forms_of
from daemon.matching import compile_rules
from daemon.settings import load

ROOT = Path(__file__).resolve().parents[1]
SHARED_LABELS = ROOT.parent / "shared" / "corpus" / "labels" / "dev.jsonl"
FIRST_CLASS = ("en", "ru", "uk")


@dataclass(frozen=True)
class Labelled:
    """An item as a reader labelled it."""

    id: str
    lang: str
    title: str
    summary: str
    claims: frozenset[str]
    contested: frozenset[str]


@dataclass(frozen=True)
class Judged:
    """A labelled item with what the rules found in it: the evidence by claim."""

    item: Labelled
    found: Mapping[str, Sequence[Evidence]]

    def verdict(self, claim: str) -> tuple[bool, bool] | None:
        """Whether the claim is in it, and whether it was found; None where readers differed."""
        return None if claim in self.item.contested else (claim in self.item.claims, claim in self.found)


@dataclass(frozen=True)
class Score:
    """Counts of one claim over some items."""

    true: int
    false: int
    missed: int

    @property
    def precision(self) -> float | None:
        """None only where nothing was to be found, and nothing was."""
        found = self.true + self.false
        return self.true / found if found else 0.0 if self.missed else None

    @property
    def recall(self) -> float | None:
        return self.true / (self.true + self.missed) if self.true + self.missed else None


def read_labels(path: Path) -> list[Labelled]:
    """The labelled items of a file. Raises ClaimwatchError, naming the line that can't be read."""
    items = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            row: Any = json.loads(line)
            claims = frozenset(row["claims"]) - {"none"}
            contested = frozenset(row.get("contested", ()))
            items.append(
                Labelled(row["id"], row["lang"], row["title"], row.get("summary") or "", claims, contested),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            hint = 'Write one object a line: {"id": …, "lang": …, "title": …, "summary": …, "claims": […]}'
            raise ClaimwatchError(f"{path.name}:{number}: no labelled item: {error!r}", hint=hint) from error
    return items


def judge(config: Path, items: Iterable[Labelled]) -> list[Judged]:
    """Every item with what the terms of this feeds.yaml find in it."""
    matcher = compile_rules(load(config).rules, forms_of)
    return [
        Judged(item, {match.claim: match.evidence for match in matcher.match(title=item.title, summary=item.summary)})
        for item in items
    ]


def labelled_claims(judged: Iterable[Judged]) -> list[str]:
    """The claims that readers looked for: those that at least one item has."""
    return sorted({claim for one in judged for claim in one.item.claims})


def score(judged: Iterable[Judged], claim: str) -> Score:
    """The counts of one claim."""
    verdicts = [verdict for one in judged if (verdict := one.verdict(claim)) is not None]
    return Score(verdicts.count((True, True)), verdicts.count((False, True)), verdicts.count((True, False)))


def macro(scores: Iterable[Score]) -> tuple[float | None, float | None]:
    """Mean precision and mean recall over the claims that have them."""
    scores = list(scores)
    return _mean([one.precision for one in scores]), _mean([one.recall for one in scores])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def groups(judged: Sequence[Judged]) -> Iterator[tuple[str, list[Judged]]]:
    """The items by language, as the table shows them: each first-class language, those together, the rest, all."""
    for lang in FIRST_CLASS:
        yield lang, [one for one in judged if one.item.lang == lang]
    yield "+".join(FIRST_CLASS), [one for one in judged if one.item.lang in FIRST_CLASS]
    yield "others", [one for one in judged if one.item.lang not in FIRST_CLASS]
    yield "all", list(judged)


def table(judged: Sequence[Judged]) -> Iterator[str]:
    """The lines of the table: a block a language, in it a line a claim, the macro line last."""
    claims = labelled_claims(judged)
    width = max(map(len, (*claims, "macro")))
    header = f"{'':{width}}  positives  found  true  false  precision        recall"
    for name, items in groups(judged):
        yield f"\n{name}: {len(items)} items\n{header}"
        scores = {claim: score(items, claim) for claim in claims}
        for claim, one in scores.items():
            found, positives = one.true + one.false, one.true + one.missed
            precision = f"{_rate(one.precision)} ({one.true}/{found})"
            recall = f"{_rate(one.recall)} ({one.true}/{positives})"
            yield f"{claim:{width}}  {positives:9}  {found:5}  {one.true:4}  {one.false:5}  {precision:15}  {recall}"
        precision_of_all, recall_of_all = map(_rate, macro(scores.values()))
        yield f"{'macro':{width}}  {'':9}  {'':5}  {'':4}  {'':5}  {precision_of_all:15}  {recall_of_all}"


def _rate(value: float | None) -> str:
    return " n/a" if value is None else f"{value:.2f}"


def wrong(judged: Iterable[Judged]) -> Iterator[str]:
    """Each false positive with the terms that fired, and each miss, with the item's title: for the terminal only."""
    judged = list(judged)
    for claim in labelled_claims(judged):
        for one in judged:
            is_there, is_found = one.verdict(claim) or (False, False)
            if is_there != is_found:
                yield f"{claim}  {'false' if is_found else 'missed'}  {one.item.id}  {one.item.lang}  {one.item.title}"
                yield from (f"    {each.term}  →  {' … '.join(each.surface)}" for each in one.found.get(claim, ()))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.score", description="How well a feeds.yaml finds labelled news."
    )
    parser.add_argument("--labels", type=Path, metavar="FILE", help="the labels; the shared ones unless named")
    parser.add_argument("--config", type=Path, metavar="FILE", default=ROOT / "feeds.yaml", help="the feeds.yaml")
    parser.add_argument("--wrong", action="store_true", help="list what was found or missed wrongly, with titles")
    given = parser.parse_args(arguments)
    if given.labels is None and not SHARED_LABELS.is_file():
        print("No score: the shared labels are not here. Name a file of your own with LABELS=FILE.")
        return 0
    try:
        judged = judge(given.config, read_labels(given.labels or SHARED_LABELS))
    except (ClaimwatchError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(table(judged)))
    if given.wrong:
        print("\n" + "\n".join(wrong(judged)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
