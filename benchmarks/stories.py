"""How well stories are told apart in real news, and what that costs: `make bench-stories` (needs the shared corpus).

story_digests.tsv holds what was in 269 digests, story_pairs.tsv 423 pairs of reports out of them that a reader took for
the same news or for other news, without knowing the estimate: 300 to tune by, 123 to check, drawn when the rest was
tuned. Items are named by a hash, so that no text of theirs is here. A pair was drawn by how many words the two share
(its stratum), more of them where it is hard to tell; `pairs` of its stratum, of which `drawn` were judged, weigh it
back to all pairs of those digests.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from daemon.items import plain_text
from daemon.stories import Report, stories

HERE = Path(__file__).resolve().parent
SHARED_ITEMS = HERE.parents[1] / "shared" / "corpus" / "items" / "news.jsonl.gz"
USES = ("tuning", "check")
COST_AT = (50, 500, 5_000)
COST_WORD = "Iran"
ROUNDS = 5


@dataclass(frozen=True)
class Judged:
    """Two reports of a digest, by their hashes, and whether a reader took them for the same news."""

    digest: str
    one: str
    other: str
    stratum: str
    use: str
    same: bool
    weight: float

    @property
    def from_shipped_rules(self) -> bool:
        return self.stratum.startswith("S")


@dataclass(frozen=True)
class Rates:
    """Precision and recall of "same story", and the counts they come from."""

    true: float
    false: float
    missed: float

    def __str__(self) -> str:
        return f"{self._part(self.false)} | {self._part(self.missed)}"

    def _part(self, wrong: float) -> str:
        whole = self.true + wrong
        return f"{self.true / whole:.2f} ({self.true:,.0f} of {whole:,.0f})" if whole else "none"


def read_digests(path: Path) -> dict[str, list[str]]:
    """What was in each digest, by the items' hashes."""
    lines = (line.split("\t") for line in path.read_text(encoding="utf-8").splitlines())
    return {name: hashes.split() for name, hashes in lines}


def read_pairs(path: Path) -> list[Judged]:
    """The judged pairs."""
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Judged(
                digest=row["digest"],
                one=row["one"],
                other=row["other"],
                stratum=row["stratum"],
                use=row["use"],
                same={"same": True, "other": False}[row["verdict"]],
                weight=int(row["pairs"]) / int(row["drawn"]),
            )
            for row in csv.DictReader(file, delimiter="\t")
        ]


def read_items(path: Path) -> Iterator[tuple[str, Report]]:
    """The items of the shared corpus that have a date, with their hashes; a source is taken for a feed."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            if not row["published"]:
                continue
            key = json.dumps([row["source"], row["link"], row["title"], row["summary"]], ensure_ascii=False)
            summary = plain_text(row["summary"] or "")
            when = datetime.fromisoformat(row["published"])
            yield (
                hashlib.sha256(key.encode()).hexdigest()[:12],
                Report(number, row["source"], row["title"], summary, row["link"], when),
            )


def joined(digests: Iterable[Sequence[str]], items: Mapping[str, Report]) -> list[dict[int, int]]:
    """For each digest, the number of each report's story."""
    return [
        {
            match: number
            for number, story in enumerate(stories([items[each] for each in hashes]))
            for match in story.reports
        }
        for hashes in digests
    ]


def rates(pairs: Iterable[Judged], found: Mapping[Judged, bool], *, weighed: bool = False) -> Rates:
    """The rates over some pairs: plain, or weighed back to all pairs of the digests."""
    sums: defaultdict[tuple[bool, bool], float] = defaultdict(float)
    for pair in pairs:
        sums[found[pair], pair.same] += pair.weight if weighed else 1
    return Rates(sums[True, True], sums[True, False], sums[False, True])


def quality(pairs: Sequence[Judged], found: Mapping[Judged, bool]) -> Iterator[str]:
    """The table of precision and recall."""
    yield "| pairs | judged | same news | precision | recall | precision, weighed | recall, weighed |"
    yield "|---|---|---|---|---|---|---|"
    for use in USES:
        of_use = [pair for pair in pairs if pair.use == use]
        shipped = [pair for pair in of_use if pair.from_shipped_rules]
        broader = [pair for pair in of_use if not pair.from_shipped_rules]
        for name, some in ((use, of_use), (f"{use}, shipped rules", shipped), (f"{use}, broad topics", broader)):
            same = sum(pair.same for pair in some)
            yield f"| {name} | {len(some)} | {same} | {rates(some, found)} | {rates(some, found, weighed=True)} |"


def by_stratum(pairs: Sequence[Judged], found: Mapping[Judged, bool]) -> Iterator[str]:
    """Where the check's wrong ones lie: S are the shipped rules' digests, T broad topics, 0 shares hardly a word."""
    pairs = [pair for pair in pairs if pair.use == "check"]
    yield "| stratum | drawn of | same news | found | wrongly found | missed |"
    yield "|---|---|---|---|---|---|"
    for stratum in sorted({pair.stratum for pair in pairs}):
        some = [pair for pair in pairs if pair.stratum == stratum]
        one = rates(some, found)
        total = round(sum(pair.weight for pair in some))
        counts = (sum(pair.same for pair in some), *map(int, (one.true, one.false, one.missed)))
        yield f"| {stratum} | {len(some)} of {total:,} | {' | '.join(map(str, counts))} |"


def costs(reports: Sequence[Report]) -> Iterator[str]:
    """The table of costs: so many reports on one subject, one after another in time."""
    yield "| reports | processor time | stories | the largest |"
    yield "|---|---|---|---|"
    for many in COST_AT:
        batch = [*reports[:many]]
        taken = []
        for _ in range(ROUNDS):
            started = time.process_time()
            told = stories(batch)
            taken.append(time.process_time() - started)
        taken.sort()
        middle = f"{taken[ROUNDS // 2]:.2f} s ({taken[0]:.2f} to {taken[-1]:.2f})"
        yield f"| {len(batch):,} | {middle} | {len(told):,} | {max(len(story.reports) for story in told)} |"


def main() -> int:
    if not SHARED_ITEMS.is_file():
        print("No figures: the shared corpus is not here.")
        return 0
    digests, pairs = read_digests(HERE / "story_digests.tsv"), read_pairs(HERE / "story_pairs.tsv")
    items = dict(read_items(SHARED_ITEMS))
    unknown = {each for hashes in digests.values() for each in hashes} - set(items)
    if unknown:
        print(
            f"{len(unknown)} items of story_digests.tsv are not in the shared corpus: is it another one?",
            file=sys.stderr,
        )
        return 1
    numbers = dict(zip(digests, joined(digests.values(), items), strict=True))
    found = {
        pair: numbers[pair.digest][items[pair.one].match] == numbers[pair.digest][items[pair.other].match]
        for pair in pairs
    }
    print("\n".join(quality(pairs, found)), end="\n\n")
    print("\n".join(by_stratum(pairs, found)), end="\n\n")
    on_one_subject = [each for each in items.values() if COST_WORD in each.title or COST_WORD in each.summary]
    print("\n".join(costs(sorted(on_one_subject, key=lambda report: report.when))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
