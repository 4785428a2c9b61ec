"""The process that looks words up in the dictionaries of `daemon.inflection`, and ends: their memory ends with it.

`daemon.lexicon` starts it. On stdin come JSON arrays of folded words, a line each; they are looked up as they come.
After the last, an `Answer` goes to stdout as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain


@dataclass(frozen=True)
class Answer:
    """What was found for the words, in the order in which they were asked: for each, `lists[list_of[place]]`.

    A list is its forms, a line each: folding makes words with a space in them, and none with an end of line.
    `by_stem` are the places of words that are also matched by stem, `guessed` of those that no dictionary lists.
    """

    lists: list[str]
    list_of: list[int]
    by_stem: list[int]
    guessed: list[int]


def main() -> None:
    """Answers once. Signals to the whole group are for the parent, which ends this one."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    # It lives for seconds and drops next to nothing: looking for garbage would cost a fifth of its time.
    gc.disable()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    # What a library prints must not get into the answer.
    os.dup2(2, 1)
    # dumps, not dump: only the former is written in C.
    asked = chain.from_iterable(map(json.loads, sys.stdin.buffer))
    answers.write(json.dumps(vars(answer(asked)), ensure_ascii=False))
    answers.close()


def answer(words: Iterable[str]) -> Answer:
    """The forms of `words`, each list of forms once."""
    # Here, because the parent takes `Answer` from this module: it has no use for what reads dictionaries.
    from daemon.inflection import inflected

    answer = Answer([], [], [], [])
    lists: dict[str, int] = {}
    for place, (_, found) in enumerate(inflected(words)):
        # As one text at once: the sets of 10,000 Slavic words would take as much room as the dictionaries do.
        answer.list_of.append(lists.setdefault("\n".join(found.listed), len(lists)))
        if found.by_stem:
            answer.by_stem.append(place)
        if found.guessed:
            answer.guessed.append(place)
    answer.lists.extend(lists)
    return answer


if __name__ == "__main__":
    main()
