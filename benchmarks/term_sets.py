"""What matching is measured on: real items of the shared corpus, and terms made from their own words.

All of it follows from the seed. A word of a term is drawn by drawing a place in the corpus, so that common words come
often and rare ones come too; or evenly from the corpus's vocabulary, as the names that people watch for come.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TypeAlias

from daemon.rules import ClaimRule, Rules, TermRule

CORPUS = Path(__file__).resolve().parents[2] / "shared" / "corpus" / "items" / "news.jsonl.gz"
SEED = 20250319
TERMS_IN_A_CLAIM = 4
WITHIN_WORDS = 12
# Nobody watches for "the" near "of": what stands in for the list of such words, in all languages.
TOO_COMMON = 150
VERY_COMMON = 300

# How many of a hundred terms are of which kind.
MIXTURE = {"phrase": 35, "near": 25, "alternatives": 20, "negation": 20}

_HAN = re.compile(r"[\u3400-\u9fff]{2,}")
_SPACELESS = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]")
_EDGES = " .,:;!?()[]\"“”„«»‘’'…—–-"

Phrase: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class CorpusItem:
    """An item as feeds brought it, with its language as the corpus names it."""

    title: str
    summary: str
    language: str

    @property
    def text(self) -> str:
        return f"{self.title}\n{self.summary}"


@dataclass(frozen=True)
class MadeTerm:
    """A term before it is written in anybody's language: parts near each other, each one of several phrases, and a
    word that may not be in the item."""

    parts: tuple[tuple[Phrase, ...], ...]
    unless: str = ""

    @property
    def is_plain_phrase(self) -> bool:
        return len(self.parts) == 1 and len(self.parts[0]) == 1 and len(self.parts[0][0]) > 1 and not self.unless

    @property
    def has_spaceless_words(self) -> bool:
        return any(is_spaceless(word) for part in self.parts for phrase in part for word in phrase)

    @property
    def line(self) -> str:
        """As an analyst writes it in feeds.yaml."""
        written = " ".join(_either(part) for part in self.parts)
        return f"{written} -{self.unless}" if self.unless else written


def is_spaceless(word: str) -> bool:
    """Whether `word` is of a script that puts no spaces between words."""
    return bool(_SPACELESS.search(word))


def load_items() -> list[CorpusItem]:
    """All items of the corpus."""
    with gzip.open(CORPUS, "rt", encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        return [CorpusItem(_line(row["title"]), _line(row["summary"]), row["lang"]) for row in rows]


def sample(items: Sequence[CorpusItem], count: int, seed: int = SEED) -> list[CorpusItem]:
    """So many items, their languages in the corpus's own proportion, in random order."""
    draw = random.Random(seed)
    by_language: dict[str, list[CorpusItem]] = {}
    for item in items:
        by_language.setdefault(item.language, []).append(item)
    chosen = [
        item for kind in by_language.values() for item in draw.sample(kind, round(count * len(kind) / len(items)))
    ]
    draw.shuffle(chosen)
    return chosen


class TermMaker:
    """Makes terms from the words of `items`, as often as they come there, or `evenly` from their vocabulary."""

    def __init__(self, items: Sequence[CorpusItem], *, evenly: bool = False) -> None:
        self._draw = random.Random(SEED)
        self._runs = [run for item in items for field in (item.title, item.summary) for run in _runs(field)]
        self._han = [found for item in items if item.language == "zh" for found in _HAN.findall(item.text)]
        if evenly:
            self._han = _even_han(self._han)
        self._share_of_han = sum(item.language == "zh" for item in items) / len(items)
        self._counts = Counter(word for run in self._runs for word in run)
        self._too_common = {word for word, _ in self._counts.most_common(TOO_COMMON)}
        # Drawn by place: a word comes as often as the corpus has it.
        self._places = [at for at, run in enumerate(self._runs) for _ in run]
        self._evenly = evenly
        self._vocabulary = [
            word for word, often in self._counts.items() if often > 1 and len(word) > 2 and word not in self._too_common
        ]

    def terms(self, count: int) -> list[MadeTerm]:
        """So many different terms of all kinds."""
        kinds: dict[str, Callable[[], MadeTerm | None]] = {
            "phrase": self._phrase,
            "near": self._near,
            "alternatives": self._alternatives,
            "negation": self._negation,
        }
        order = self._draw.choices(list(MIXTURE), list(MIXTURE.values()), k=count)
        return self._different(count, lambda at: kinds[order[at]]())

    def phrases_of_very_common_words(
        self, count: int, *, by_frequency: bool = False, least_words: int = 2
    ) -> list[MadeTerm]:
        """Phrases of up to four of the commonest words: each as likely as any, or as often as the corpus has it.

        Of 50,000, a third are pairs, every sixth that there is, and items are full of them; few have one of three.
        """
        commonest = self._counts.most_common(VERY_COMMON)
        words = [word for word, _ in commonest]
        weights = [often for _, often in commonest] if by_frequency else None

        def phrase(_: int) -> MadeTerm:
            return MadeTerm(((tuple(self._draw.choices(words, weights, k=self._draw.randint(least_words, 4))),),))

        return self._different(count, phrase)

    def _different(self, count: int, make: Callable[[int], MadeTerm | None]) -> list[MadeTerm]:
        made: dict[MadeTerm, None] = {}
        while len(made) < count:
            if term := make(len(made)):
                made[term] = None
        return list(made)

    def _run(self) -> Phrase:
        if self._evenly:
            return tuple(self._draw.choices(self._vocabulary, k=WITHIN_WORDS))
        return self._runs[self._draw.choice(self._places)]

    def _telling(self, run: Phrase) -> list[str]:
        return [word for word in dict.fromkeys(run) if word not in self._too_common and len(word) > 2]

    def _phrase(self) -> MadeTerm:
        if self._draw.random() < self._share_of_han:
            han, length = self._draw.choice(self._han), self._draw.randint(2, 4)
            if self._evenly:
                return MadeTerm((((han,),),))
            start = self._draw.randrange(max(1, len(han) - length + 1))
            return MadeTerm((((han[start : start + length],),),))
        while True:
            run, length = self._run(), self._draw.choice((2, 2, 2, 3, 3, 4))
            start = self._draw.randrange(len(run))
            words = run[start : start + length]
            # "Black Sea" and "Bank of England", but not "of the Black".
            if len(words) == length and len(self._telling((words[0], words[-1]))) == 2:
                return MadeTerm(((words,),))

    def _near(self) -> MadeTerm | None:
        words = self._near_words(self._draw.choice((2, 2, 3)))
        return MadeTerm(tuple(((word,),) for word in words)) if words else None

    def _near_words(self, count: int) -> list[str] | None:
        run = self._run()
        start = self._draw.randrange(len(run))
        words = self._telling(run[start : start + WITHIN_WORDS])
        return self._draw.sample(words, count) if len(words) >= count else None

    def _alternatives(self) -> MadeTerm | None:
        here, there = self._near_words(2), self._near_words(3)
        if here is None or there is None or set(here) & set(there):
            return None
        first, second = here
        # One part is a word, the other that word's company or something else that would do.
        return MadeTerm((((first,),), ((second,), (there[0],), (there[1], there[2]))))

    def _negation(self) -> MadeTerm | None:
        base = self._phrase() if self._draw.random() < 0.5 else self._near()
        others = self._near_words(2)
        if base is None or others is None:
            return None
        return MadeTerm(base.parts, unless=others[0])


def _even_han(clauses: Sequence[str]) -> list[str]:
    """Each row of two to four characters that comes more than once: what there is to draw evenly from, where nothing
    shows where words end."""
    rows = Counter(
        han[start : start + length] for han in clauses for length in (2, 3, 4) for start in range(len(han) - length + 1)
    )
    return [row for row, often in rows.items() if often > 1]


def rules_of(terms: Sequence[MadeTerm]) -> Rules:
    """A rule set with a few of the terms in every claim."""
    return rules_of_lines([term.line for term in terms])


def rules_of_lines(lines: Sequence[str]) -> Rules:
    """`rules_of` for terms that are written already."""
    groups = [lines[at : at + TERMS_IN_A_CLAIM] for at in range(0, len(lines), TERMS_IN_A_CLAIM)]
    return Rules(claims=tuple(_claim(number, group) for number, group in enumerate(groups)), within_words=WITHIN_WORDS)


def _claim(number: int, lines: Sequence[str]) -> ClaimRule:
    return ClaimRule(
        id=f"claim-{number}",
        statement="A statement.",
        seed="seed",
        article="An article",
        made=date(2025, 3, 18),
        kind="commitment",
        terms=tuple(map(TermRule, lines)),
    )


def _either(phrases: Sequence[Phrase]) -> str:
    written = [phrase[0] if len(phrase) == 1 else f'"{" ".join(phrase)}"' for phrase in phrases]
    return written[0] if len(written) == 1 else f"({' OR '.join(written)})"


def _line(text: str) -> str:
    return " ".join(text.split())


def _runs(text: str) -> Iterator[Phrase]:
    """Runs of words that every engine cuts alike: letters only, of scripts with spaces, two letters or more."""
    run: list[str] = []
    for piece in text.split():
        word = piece.strip(_EDGES).lower()
        if len(word) > 1 and word.isalpha() and not is_spaceless(word):
            run.append(word)
        elif run:
            yield tuple(run)
            run = []
    if run:
        yield tuple(run)
