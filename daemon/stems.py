"""What a word shares with its inflected forms in a language that has no dictionary here: its stem.

Snowball's stemmers cut endings off by rule. A term's word and a text's word meet where both have the same stem in the
same language; derivations may merge. English, Russian and Ukrainian words don't come here: `daemon.inflection`
lists their forms.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from functools import cache
from typing import Protocol

_LATIN = (
    *("czech", "danish", "dutch", "estonian", "finnish", "french", "german", "hungarian", "italian", "norwegian"),
    *("polish", "portuguese", "romanian", "spanish", "swedish", "turkish"),
)
# Left out, after a look at what they merge among the 45,000 Latin words of 61,801 news items: Irish, Indonesian and
# Sesotho change a word's beginning ("three" is "tree", "performer" is "former", "bahamas" is "hamas"). Basque and
# Lithuanian leave too little of words that are not theirs ("presente", "prestige" and "presos" are one, and so are
# "barrot", "barring" and "barrios"); Catalan merges nearly as many as Spanish in news that have no Catalan ("angel" is
# "angelina"); Serbian cuts plain words ("cream" is "crease"); Esperanto takes any last vowel. dutch_porter is what
# dutch was before, porter what english was.
_ALGORITHMS: Mapping[str, tuple[str, ...]] = {
    "latin": _LATIN,
    "greek": ("greek",),
    "armenian": ("armenian",),
    "hebrew": ("yiddish",),
    "arabic": ("arabic", "persian"),
    "devanagari": ("hindi", "nepali"),
    "tamil": ("tamil",),
}
_LETTERS = {
    "latin": r"a-zA-Z\u00c0-\u024f\u1e00-\u1eff\u0300-\u036f",
    "greek": r"\u0370-\u03ff\u1f00-\u1fff\u0300-\u036f",
    "armenian": r"\u0530-\u058f",
    "hebrew": r"\u0590-\u05ff",
    "arabic": r"\u0600-\u06ff\u0750-\u077f",
    "devanagari": r"\u0900-\u097f",
    "tamil": r"\u0b80-\u0bff",
}
_SCRIPT = re.compile("|".join(f"(?P<{script}>[{letters}]+)" for script, letters in _LETTERS.items()))
# Sixteen languages are tried on a Latin word, and the fewer letters are left, the more of them agree by chance: at
# three, "gaza" is "gaze" in ten of them, "mars" is "mare" in five. Roots in Arabic have three letters, and the
# other scripts have one or two languages each.
_LEAST_LETTERS = {"latin": 4}
_LEAST_LETTERS_ELSEWHERE = 2


class _Stemmer(Protocol):
    def stemWord(self, word: str, /) -> str: ...  # noqa: N802 - PyStemmer's name


def script_of(word: str) -> str | None:
    """The script of all of a word's letters, if Snowball serves it: "latin", "greek", …; never Cyrillic."""
    found = _SCRIPT.fullmatch(word)
    return found.lastgroup if found else None


def stems(word: str) -> frozenset[str]:
    """The stems of a folded word as "language:stem", one for each language of its script that leaves enough of it.

    Empty for a word of a script that no stemmer serves, and for one too short to tell anything. Safe in any thread.
    """
    script = script_of(word)
    if script is None:
        return frozenset()
    least = _LEAST_LETTERS.get(script, _LEAST_LETTERS_ELSEWHERE)
    if len(word) < least:
        return frozenset()
    idle = _idle_stemmers(script)
    # A stemmer must not be used by two threads at once: each call takes a set of its own and gives it back.
    try:
        stemmers = idle.pop()
    except IndexError:
        stemmers = _new_stemmers(script)
    found = [(language, stemmer.stemWord(word)) for language, stemmer in stemmers]
    idle.append(stemmers)
    return frozenset(f"{language}:{stem}" for language, stem in found if len(stem) >= least)


_Stemmers = tuple[tuple[str, _Stemmer], ...]


@cache
def _idle_stemmers(script: str) -> deque[_Stemmers]:
    return deque((_new_stemmers(script),))


def _new_stemmers(script: str) -> _Stemmers:
    # Imported here: only rules with words of other languages need it.
    from Stemmer import Stemmer

    # Its own cache is slower than none.
    return tuple((language, Stemmer(language, maxCacheSize=0)) for language in _ALGORITHMS[script])
