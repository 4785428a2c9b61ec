"""Which inflected forms a word takes, by the languages of its script: English, Russian and Ukrainian from dictionaries.

A word that is a dictionary form brings its own forms only: *building* is not *build*, *prisoner* is not *prison*. Any
other word brings the forms of every word that it can be a form of: *struck* brings those of *strike*.

The dictionaries cost tens of megabytes, so this is for a process that ends when it has answered
(`daemon.lexicon_child`); each is read when words come that it may know.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from daemon.english import English
from daemon.slavic import Slavic
from daemon.stems import script_of
from daemon.words import Forms

_CYRILLIC = re.compile(r"[\u0400-\u052f\u0300-\u036f']+")
# A shorter word that English doesn't have is an abbreviation: *nhl* has no stem.
_LEAST_LATIN_LETTERS = 4


def inflect(words: Iterable[str]) -> dict[str, Forms]:
    """The forms of each of `words`, which are single and folded. Words that take the same forms share them.

    `by_stem` is set for words of other languages than those three that a stemmer serves.
    """
    slavic: list[str] = []
    rest: list[str] = []
    for word in dict.fromkeys(words):
        (slavic if _CYRILLIC.fullmatch(word) else rest).append(word)
    shared: dict[Forms, Forms] = {}
    found = (*_in_cyrillic(slavic), *_elsewhere(rest))
    return {word: shared.setdefault(forms, forms) for word, forms in found}


def _in_cyrillic(words: list[str]) -> Iterator[tuple[str, Forms]]:
    dictionaries = Slavic() if words else None
    for word in words:
        assert dictionaries
        yield word, dictionaries.forms(word)


def _elsewhere(words: list[str]) -> Iterator[tuple[str, Forms]]:
    scripts = {word: script_of(word) for word in words}
    dictionary = English() if "latin" in scripts.values() else None
    for word, script in scripts.items():
        if dictionary and script == "latin" and word.isascii():
            by_stem = len(word) >= _LEAST_LATIN_LETTERS and not dictionary.knows(word)
            yield word, Forms(dictionary.forms(word), by_stem)
        else:
            yield word, Forms(frozenset({word}), by_stem=script is not None)
