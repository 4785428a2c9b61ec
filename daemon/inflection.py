"""Which inflected forms a word takes, by the languages of its script: English, Russian and Ukrainian from dictionaries.

A word that is a dictionary form brings its own forms only: *building* is not *build*, *prisoner* is not *prison*. Any
other word brings the forms of every word that it can be a form of: *struck* brings those of *strike*.

The dictionaries cost tens of megabytes, so this is for a process that ends when it has answered
(`daemon.lexicon_child`); each is read when words come that it may know.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from daemon.english import English
from daemon.slavic import Slavic
from daemon.stems import script_of
from daemon.words import Forms, is_cyrillic

# A shorter word that English doesn't have is an abbreviation: *nhl* has no stem.
_LEAST_LATIN_LETTERS = 4


def inflect(words: Iterable[str]) -> dict[str, Forms]:
    """The forms of each of `words`, which are single and folded. Words that take the same forms share them.

    `by_stem` is set for words of other languages than those three that a stemmer serves.
    """
    shared: dict[Forms, Forms] = {}
    return {word: shared.setdefault(forms, forms) for word, forms in inflected(words)}


def inflected(words: Iterable[str]) -> Iterator[tuple[str, Forms]]:
    """The same word by word, as they come: whoever does not keep them needs little room."""
    slavic: Slavic | None = None
    english: English | None = None
    for word in words:
        if word.isascii() and word.isalpha():
            english = english or English()
            by_stem = len(word) >= _LEAST_LATIN_LETTERS and not english.knows(word)
            yield word, Forms.of(english.forms(word), by_stem=by_stem)
        elif is_cyrillic(word):
            slavic = slavic or Slavic()
            yield word, slavic.forms(word)
        else:
            yield word, Forms((word,), by_stem=script_of(word) is not None)
