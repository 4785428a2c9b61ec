"""What matching costs, beside others and beside itself with fewer terms: `make bench-matching`.

Real items of the shared corpus, terms made of their own words (`term_sets`), everything in one run: each round
measures every engine once, so that a slow moment of the machine meets all of them. Costs are processor time, which is
kind to tantivy: its threads are counted, its waiting is not. Prints two tables for docs/benchmarks.md.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.fresh_process import Fresh
from benchmarks.matching_costs import (
    ROUNDS,
    Agreement,
    Case,
    Measured,
    agreements,
    changes,
    compilings,
    measure,
    say,
)
from benchmarks.term_sets import CORPUS, SEED, MadeTerm, TermMaker, load_items, sample

ITEMS = 2_000
HEARD = 500
"""Other items, from which our matcher learns what words are rare: as many as a watch takes from its log."""
SIZES = (10, 100, 1_000, 10_000, 100_000)
CHANGES = 5


@dataclass(frozen=True)
class Line:
    """A line of the table of targets; without a target it has no verdict."""

    what: str
    figure: str
    target: str = ""
    met: bool | None = None

    def __str__(self) -> str:
        verdict = "" if self.met is None else "met" if self.met else "**missed**"
        return f"| {self.what} | {self.figure} | {self.target} | {verdict} |"


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _spread(values: Sequence[float], unit: str = "", digits: int = 0) -> str:
    middle, least, most = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f}{unit} ({least:,.{digits}f} to {most:,.{digits}f})"


def _ratios(costs: Case, to: Case) -> list[float]:
    """Round by round, so that both were measured within the same seconds."""
    return [one / other for one, other in zip(costs.costs_us, to.costs_us, strict=True)]


def _at_most(what: str, costs: Case, to: Case, limit: float) -> Line:
    ratios = _ratios(costs, to)
    return Line(what, _spread(ratios, "×", 2), f"≤ {limit:g}×", statistics.median(ratios) <= limit)


def cost_lines(measured: Measured, fresh: Mapping[int, Sequence[Fresh]]) -> Iterator[str]:
    yield "| | items | found in 1,000 items | µs an item | in the first pass | items a second | to 10 terms |"
    yield "|---|---|---|---|---|---|---|"
    for size, case in measured.ours.items():
        cold = _spread([one.cold_us for one in fresh[size]])
        yield _cost_line(case, cold, _spread(_ratios(case, measured.ours[10]), "×", 2))
    for case in measured.even.values():
        yield _cost_line(case, to_ten=_spread(_ratios(case, measured.even[10]), "×", 2))
    for ten, many in measured.common:
        yield _cost_line(ten)
        yield _cost_line(many, to_ten=_spread(_ratios(many, ten), "×", 2))
    yield _cost_line(measured.shipped_rules)
    for terms, cases in measured.peers.items():
        for case in cases:
            yield _cost_line(replace(case, name=f"{case.name}, {terms}"))


def _cost_line(case: Case, cold: str = "", to_ten: str = "") -> str:
    rate = 1e6 / statistics.median(case.costs_us)
    found = f"{case.hits / len(case.items) * 1e3:,.0f}"
    if case.our_hits is not None:
        found += f" (ours {case.our_hits / len(case.items) * 1e3:,.0f})"
    return (
        f"| {case.name} | {len(case.items):,} | {found} | {_spread(case.costs_us)} | {cold} | {rate:,.0f} | {to_ten} |"
    )


def target_lines(measured: Measured, compiling: Sequence[Fresh]) -> Iterator[Line]:
    ours = measured.ours
    for size, limit in ((10_000, 2), (100_000, 4)):
        if size in ours:
            yield _at_most(f"cost at {size:,} terms to cost at 10", ours[size], ours[10], limit)
            even = measured.even
            yield _at_most(f"the same, terms evenly drawn, {size:,} to 10", even[size], even[10], limit)
    for few, many in measured.common:
        yield _at_most(f"{many.name}, to 10", many, few, 2)
    by_name = {case.name: case for case in measured.cases}
    for terms, cases in measured.peers.items():
        for case in cases:
            yield _ahead(case, by_name[terms])
    rates = [1e6 / cost for cost in measured.shipped_rules.costs_us]
    enough = statistics.median(rates) >= 10_000
    yield Line("items a second with the shipped feeds.yaml", _spread(rates), "≥ 10,000", enough)
    yield from _compile_lines(compiling, max(ours))


def _ahead(peer: Case, ours: Case) -> Line:
    ratios = _ratios(peer, ours)
    regex = peer.name == "regular expressions"
    least = 250 if regex and ours.name.startswith("1,000 ") else 1
    figure = _spread(ratios, "×", 0 if min(ratios) > 10 else 1)
    met = statistics.median(ratios) >= least
    return Line(f"{ours.name}: items a second to those of {peer.name}", figure, f"≥ {least}×", met)


def _compile_lines(compiling: Sequence[Fresh], size: int) -> Iterator[Line]:
    seconds = [one.compile_seconds for one in compiling]
    yield Line(f"compiling {size:,} terms", _spread(seconds, " s", 1), "≤ 5 s", statistics.median(seconds) <= 5)
    for what, bytes_taken in (
        ("memory that this leaves taken", [one.grown_bytes for one in compiling]),
        ("memory at the most, children included", [one.peak_bytes for one in compiling]),
        ("memory after two passes over the items", [one.used_bytes for one in compiling]),
    ):
        megabytes = [one / 1e6 for one in bytes_taken]
        yield Line(what, _spread(megabytes, " MB"), "≤ 200 MB", statistics.median(megabytes) <= 200)


def change_lines(terms: Sequence[MadeTerm], others: Sequence[MadeTerm], compile_seconds: float) -> Iterator[Line]:
    added, removed = zip(*changes(terms, others), strict=True)
    for what, seconds in (("adding", added), ("removing", removed)):
        met = statistics.median(seconds) <= compile_seconds / 20
        figure = _spread([one * 1e3 for one in seconds], " ms", 1)
        yield Line(f"{what} one term of {len(terms):,}", figure, "≤ 1/20 of compiling all", met)


def agreement_lines(found: Sequence[Agreement]) -> Iterator[Line]:
    for one in found:
        figure = f"{one.hits:,} hits, {one.not_ours} not ours; {one.only_ours} of ours not its"
        met = one.hits > 0 and not one.not_ours and not one.only_ours
        yield Line(f"plain phrases: the same items as {one.peer}", figure, "all", met)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures matching on the shared corpus.")
    parser.add_argument("--most-terms", type=int, default=max(SIZES), choices=SIZES, help="leave larger sets out")
    most: int = parser.parse_args().most_terms
    if not CORPUS.is_file():
        print("The shared corpus is not here: nothing was measured.")
        return
    sizes = [size for size in SIZES if size <= most]
    say("making terms")
    items = load_items()
    maker = TermMaker(items)
    made = maker.terms(max(sizes) + CHANGES)
    terms, others = made[:-CHANGES], made[-CHANGES:]
    chosen = sample(items, ITEMS)
    texts = {item.text for item in chosen}
    news = [item.text for item in sample(items, HEARD, SEED + 1) if item.text not in texts]
    characters = statistics.mean(len(item.title) + len(item.summary) for item in chosen)
    with tempfile.TemporaryDirectory() as folder:
        fresh = {}
        for size in sizes:
            say(f"{size:,} terms in a fresh process")
            fresh[size] = list(compilings(terms[:size], chosen, news, Path(folder)))
    even = TermMaker(items, evenly=True).terms(max(sizes))
    measured = measure(terms, even, maker, chosen, news, sizes)
    compiling = fresh[max(sizes)]
    say("adding and removing terms")
    seconds = statistics.median(one.compile_seconds for one in compiling)
    changed = list(change_lines(terms, others, seconds))
    say("whether all find the same")
    agreed = list(agreement_lines(agreements(terms[:1_000], chosen)))
    print(f"{len(chosen):,} items of {characters:.0f} characters in the mean (title and summary); {ROUNDS} rounds\n")
    print("\n".join(cost_lines(measured, fresh)))
    print("\n| what | figure | target | verdict |\n|---|---|---|---|")
    for line in (*target_lines(measured, compiling), *changed, *agreed):
        print(line)


if __name__ == "__main__":
    main()
