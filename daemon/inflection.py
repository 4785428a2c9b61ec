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
    """The same word by word, in an order of its own: whoever does not keep them needs little room."""
    slavic: list[str] = []
    rest: list[str] = []
    for word in dict.fromkeys(words):
        (slavic if is_cyrillic(word) else rest).append(word)
    yield from _in_cyrillic(slavic)
    yield from _elsewhere(rest)


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
            yield word, Forms.of(dictionary.forms(word), by_stem=by_stem)
        else:
            yield word, Forms((word,), by_stem=script is not None)
