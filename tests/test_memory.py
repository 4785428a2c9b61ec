"""What a watch of months must not pile up: what was freed, rules of before, words of terms that are gone."""

from __future__ import annotations

import gc
import subprocess
import sys
import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from daemon.eventlog import EventLog
from daemon.matching import compile_rules
from daemon.rules import Rules
from daemon.watch import Watch
from daemon.words import Forms
from tests.support import claim, feed, rules

RELOADS = 100
WORDS = ("envoy", "exchange", "grid", "pause", "pipeline", "port", "prisoner", "ship", "strike", "summit", "talks")
FREED = """
import sys
from pathlib import Path
from daemon.memory import give_back, share_one_arena

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

share_one_arena()
kept = [b"x" * 5_000 for _ in range(20_000)]
top, kept = kept[-1], None
before = resident()
give_back()
print(before - resident())
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[EventLog]:
    with closing(EventLog(f"sqlite:///{tmp_path}/log.sqlite3")) as begun:
        begun.create()
        yield begun


def edition(number: int) -> Rules:
    """Twelve terms of words that no other edition has."""
    draw = Random(number)
    terms = (" ".join(f"{word}{number}" for word in draw.sample(WORDS, 2)) for _ in range(12))
    return rules(feed("gazette"), *(claim(f"claim-{at}", term) for at, term in enumerate(terms)))


@pytest.mark.skipif(sys.platform != "linux", reason="other C libraries have no such calls")
def test_what_was_freed_is_given_back_to_the_machine() -> None:
    done = subprocess.run([sys.executable, "-c", FREED], capture_output=True, text=True, timeout=30, check=True)
    assert int(done.stdout) > 80_000_000


def test_a_watch_holds_the_rules_before_it_no_longer_than_it_takes_terms_over_from_them(log: EventLog) -> None:
    first = Watch.over(log, edition(0))
    matcher = weakref.ref(first.matcher)
    second = Watch.over(log, edition(1), before=first.matcher)
    del first
    assert matcher() is not None
    assert second.matcher is not matcher()
    gc.collect()
    assert matcher() is None


def forms_of(words: Iterable[str]) -> Mapping[str, Forms]:
    """Each word alone: the dictionaries are asked in a process of their own."""
    return {word: Forms((word,)) for word in words}


def test_garbage_is_not_looked_for_in_all_that_compiling_makes() -> None:
    """Going through all of it once took a sixteenth of the time of compiling."""
    many = rules(claim("many", *(f"envoy{number} talks{number}" for number in range(2_000))))
    looked: list[str] = []
    gc.callbacks.append(lambda phase, _: looked.append(phase))
    try:
        gc.collect()
        found_by_itself = [*looked]
        matcher = compile_rules(many, forms_of)
    finally:
        del gc.callbacks[-1]
    assert found_by_itself == ["start", "stop"]
    assert looked == found_by_itself
    assert gc.isenabled()
    assert matcher.index.size == (2_000, 0)


def test_a_hundred_reloads_leave_hardly_more_words_than_one() -> None:
    """What is dead is kept until it is more than what lives."""
    matcher = compile_rules(edition(0), forms_of)
    once = most = len(matcher.vocabulary.words)
    for number in range(1, RELOADS + 1):
        matcher = compile_rules(edition(number), forms_of, matcher)
        most = max(most, len(matcher.vocabulary.words))
    assert most <= 4 * once
