"""Measuring our matcher and its peers, each once a round; `benchmarks.matching` makes tables of it."""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.fresh_process import Fresh, in_a_fresh_process
from benchmarks.ours import compiled, match_all, recompiled, terms_met
from benchmarks.peers import Find, Peer, peers
from benchmarks.term_sets import CorpusItem, MadeTerm, TermMaker, rules_of
from daemon.matching import Matcher
from daemon.settings import load, shipped

ROUNDS = 5
PEERS_AT = (1_000, 10_000)
ADVERSARIAL = 50_000
# A pass takes at most about so long: slow engines get the first so many items of the shuffled sample.
PASS_SECONDS = 1.0
LEAST_ITEMS = 20
# A pass of all items at once that takes longer is not measured.
LONGEST_PASS_SECONDS = 60
FRESH_RUNS = 3
# What takes longer than this is not repeated in processes of its own.
LONG_SECONDS = 20


@dataclass
class Case:
    """Something to be measured: `run` takes items. `hits` are the pairs of term and item that it found among `items`,
    `our_hits` those of our matcher with the same terms and items, beside a peer's."""

    name: str
    items: Sequence[CorpusItem]
    run: Callable[[Sequence[CorpusItem]], object]
    hits: int
    our_hits: int | None = None
    costs_us: list[float] = field(default_factory=list)

    def measure(self) -> None:
        self.costs_us.append(_seconds(lambda: self.run(self.items)) / len(self.items) * 1e6)


# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────────


def say(what: str) -> None:
    """Tells a person at a terminal how far it is."""
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def our_case(name: str, matcher: Matcher, items: Sequence[CorpusItem]) -> Case:
    some = _affordable(lambda few: match_all(matcher, few), items)
    return Case(name, some, lambda few: match_all(matcher, few), _hits(matcher, some))


def _hits(matcher: Matcher, items: Sequence[CorpusItem]) -> int:
    return sum(len(terms_met(matches)) for matches in match_all(matcher, items))


def peer_case(peer: Peer, find: Find, items: Sequence[CorpusItem], ours: Matcher) -> Case | None:
    some = items if peer.at_once else _affordable(find, items)
    found: list[list[int]] = []
    if _seconds(lambda: found.extend(find(some))) > LONGEST_PASS_SECONDS:
        return None
    return Case(peer.name, some, find, sum(map(len, found)), _hits(ours, some))


def _affordable(run: Callable[[Sequence[CorpusItem]], object], items: Sequence[CorpusItem]) -> Sequence[CorpusItem]:
    few = items[:LEAST_ITEMS]
    run(few)
    seconds = _seconds(lambda: run(few)) / len(few)
    return items[: max(LEAST_ITEMS, int(PASS_SECONDS / seconds))]


def _seconds(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


@dataclass(frozen=True)
class Measured:
    """All that one run found out. `peers` are keyed by our case on the same terms, by its name."""

    ours: Mapping[int, Case]
    even: Mapping[int, Case]
    """The same sizes, of terms drawn evenly from the vocabulary."""
    common: Sequence[tuple[Case, Case]]
    """Phrases of very common words: ten of them, and very many."""
    shipped_rules: Case
    peers: Mapping[str, Sequence[Case]]

    @property
    def cases(self) -> Iterator[Case]:
        yield from self.ours.values()
        yield from self.even.values()
        for few, many in self.common:
            yield from (few, many)
        yield self.shipped_rules
        for cases in self.peers.values():
            yield from cases


def measure(
    terms: Sequence[MadeTerm],
    even: Sequence[MadeTerm],
    maker: TermMaker,
    items: Sequence[CorpusItem],
    news: Sequence[str],
    sizes: Sequence[int],
) -> Measured:
    """Every engine on `items`, once a round; ours knows from `news`, which are others, what words are rare."""
    common = {
        "of very common words": maker.phrases_of_very_common_words(ADVERSARIAL),
        "of three or four very common words": maker.phrases_of_very_common_words(ADVERSARIAL, least_words=3),
        "of very common words, by frequency": maker.phrases_of_very_common_words(ADVERSARIAL, by_frequency=True),
    }

    def ours(name: str, some: Sequence[MadeTerm]) -> Case:
        say(f"compiling {name}")
        return our_case(name, compiled(rules_of(some), news), items)

    with ExitStack() as stack:
        measured = Measured(
            {size: ours(f"{size:,} terms", terms[:size]) for size in sizes},
            {size: ours(f"{size:,} terms, evenly drawn", even[:size]) for size in sizes},
            [
                (ours(f"10 phrases {what}", some[:10]), ours(f"{ADVERSARIAL:,} phrases {what}", some))
                for what, some in common.items()
            ],
            our_case("the shipped feeds.yaml", _shipped_matcher(), items),
            {
                name: _peer_cases(some[:size], items, stack)
                for size in PEERS_AT
                for name, some in ((f"{size:,} terms", terms), (f"{size:,} terms, evenly drawn", even))
                if size in sizes
            },
        )
        for number in range(ROUNDS):
            say(f"round {number + 1} of {ROUNDS}")
            for case in measured.cases:
                case.measure()
    return measured


def _peer_cases(terms: Sequence[MadeTerm], items: Sequence[CorpusItem], stack: ExitStack) -> list[Case]:
    ours = compiled(rules_of(terms))
    cases = []
    for peer in peers():
        say(f"{peer.name}: {len(terms):,} terms")
        if case := peer_case(peer, stack.enter_context(peer.engine(terms)), items, ours):
            cases.append(case)
    return cases


def _shipped_matcher() -> Matcher:
    with tempfile.TemporaryDirectory() as state:
        return compiled(load(shipped("feeds.yaml"), Path(state)).rules)


def changes(terms: Sequence[MadeTerm], others: Sequence[MadeTerm]) -> Iterator[tuple[float, float]]:
    """Seconds of adding one term to all of `terms`, and of taking it away again, for each of `others`."""
    rules = rules_of(terms)
    matcher = compiled(rules)
    for other in others:
        more = rules_of([*terms, other])
        began = time.perf_counter()
        grown = recompiled(more, matcher)
        added = time.perf_counter() - began
        text = " ".join(word for part in other.parts for word in part[0])
        if other.line not in terms_met(grown.match(title=text, summary="")):
            raise AssertionError(f"{other.line} was added and does not find {text!r}")
        began = time.perf_counter()
        matcher = recompiled(rules, grown)
        yield added, time.perf_counter() - began
        if added > LONG_SECONDS:
            return


# ── whether all find the same ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Agreement:
    """A peer's hits, how many of them our matcher lacks, and how many of its own, word for word, the peer lacks."""

    peer: str
    hits: int
    not_ours: int
    only_ours: int


def agreements(terms: Sequence[MadeTerm], items: Sequence[CorpusItem]) -> list[Agreement]:
    """Plain phrases of the terms in texts without punctuation: there all engines mean the same, but for inflection. So
    all that a peer finds must be ours, and all that is ours word for word must be the peer's."""
    phrases = [term for term in terms if term.is_plain_phrase and not term.has_spaceless_words]
    bare = [replace(item, title=_bare(item.title), summary=_bare(item.summary)) for item in items]
    numbers = {term.line: number for number, term in enumerate(phrases)}
    ours, word_for_word = set(), set()
    for at, matches in enumerate(match_all(compiled(rules_of(phrases)), bare)):
        for one in (one for match in matches for one in match.evidence):
            number = numbers[one.term]
            ours.add((at, number))
            if tuple(word.lower() for word in one.surface) == phrases[number].parts[0][0]:
                word_for_word.add((at, number))
    found = []
    for peer in peers():
        with peer.engine(phrases) as find:
            theirs = {(at, number) for at, numbers in enumerate(find(bare)) for number in numbers}
        found.append(Agreement(peer.name, len(theirs), len(theirs - ours), len(word_for_word - theirs)))
    return found


def _bare(text: str) -> str:
    return re.sub(r"[\W_]+", " ", text)


def compilings(
    terms: Sequence[MadeTerm], items: Sequence[CorpusItem], news: Sequence[str], folder: Path
) -> Iterator[Fresh]:
    """The same in several new processes, unless one takes long."""
    for _ in range(FRESH_RUNS):
        one = in_a_fresh_process(terms, items, news, folder)
        yield one
        if one.compile_seconds > LONG_SECONDS:
            return
