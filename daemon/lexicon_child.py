"""The process that looks words up in the dictionaries of `daemon.inflection`, and ends: their memory ends with it.

`daemon.lexicon` starts it. On stdin comes a JSON array of folded words, on stdout goes an `Answer` as JSON.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What was found for the words that were asked: for the one at each place, `lists[list_of[place]]`.

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
    answers.write(json.dumps(vars(answer(json.load(sys.stdin))), ensure_ascii=False))
    answers.close()


def answer(words: Sequence[str]) -> Answer:
    """The forms of `words`, which are all different, each list of forms once."""
    # Here, because the parent takes `Answer` from this module: it has no use for what reads dictionaries.
    from daemon.inflection import inflected

    places = {word: place for place, word in enumerate(words)}
    answer = Answer([], [0] * len(words), [], [])
    lists: dict[str, int] = {}
    for word, found in inflected(words):
        # As one text at once: the sets of 10,000 Slavic words would take as much room as the dictionaries do.
        listed, place = "\n".join(found.listed), places[word]
        answer.list_of[place] = lists.setdefault(listed, len(lists))
        if found.by_stem:
            answer.by_stem.append(place)
        if found.guessed:
            answer.guessed.append(place)
    answer.lists.extend(lists)
    return answer


if __name__ == "__main__":
    main()
