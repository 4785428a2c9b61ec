"""English inflection by lemminflect's tables: 34,000 words with every form that each of them takes.

The tables are read as they lie in lemminflect's folder. Its own functions answer the same, but need numpy, 1.3 s until
the first answer, and 0.2 ms a word; read here, they answer after 0.1 s, and a word costs 3 µs.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from importlib.util import find_spec

from daemon.errors import ClaimwatchError
from daemon.words import fold

_BETWEEN_FORMS = re.compile("[/,\n]")
# As lemminflect has them: in the tables, their nouns ("cans") stand where their pasts should.
_IRREGULAR = {
    "be": "am,are,is,was,were,been,being",
    "can": "could",
    "dare": "",
    "may": "might",
    "must": "",
    "ought": "",
    "shall": "should",
    "will": "would",
}


class English:
    """The tables; making one reads them."""

    def __init__(self) -> None:
        folder = _tables_folder()
        # Rows stay as they are until somebody asks for the word: cutting all 120,000 takes longer than reading them.
        self._lemmas = _read(f"{folder}/lemma_lu.csv.gz", f"{folder}/lemma_overrides.csv")
        self._inflected = _read(f"{folder}/infl_lu.csv.gz", f"{folder}/infl_overrides.csv") | _IRREGULAR
        self._names = {fold(word) for word in self._inflected if word[0].isupper()}

    def knows(self, word: str) -> bool:
        """Whether the folded `word` is one of the dictionary's, be it a name."""
        return word in self._lemmas or word in self._names

    def forms(self, word: str) -> frozenset[str]:
        """All forms of the folded `word`, folded; of a word that is in no table, its regular plural is one."""
        if not word.isascii() or not word.isalpha():
            return frozenset({word})
        row = self._lemmas.get(word)
        lemmas = set(_listed(row)) if row else None
        if not lemmas:
            return frozenset({word, *_plurals(word)})
        if word in lemmas:
            lemmas = {word}
        inflected = (form for lemma in lemmas for form in _listed(self._inflected.get(lemma, "")))
        return frozenset({word, *map(fold, lemmas), *map(fold, inflected)})


def _plurals(word: str) -> Iterator[str]:
    # The only form worth guessing of a name or a new word. A name in -y keeps it ("the Zelenskys").
    if word.endswith(("s", "z", "x", "ch", "sh")):
        yield f"{word}es"
        return
    yield f"{word}s"
    if word[-1] == "y" and word[-2:-1] not in {"", "a", "e", "i", "o", "u"}:
        yield f"{word[:-1]}ies"


def _tables_folder() -> str:
    # Not importlib.resources: it would import the package, and numpy with it.
    found = find_spec("lemminflect")
    if found is None or not found.submodule_search_locations:
        raise ClaimwatchError("the English dictionary is missing", hint="Reinstall claimwatch: lemminflect holds it.")
    return f"{found.submodule_search_locations[0]}/resources"


def _read(*paths: str) -> dict[str, str]:
    """The rows `word,part of speech,form/form,form …` of some tables: by word, what is listed for it."""
    rows: dict[str, str] = {}
    for path in paths:
        opened = gzip.open if path.endswith(".gz") else open
        with opened(path, "rt", encoding="utf-8") as table:
            for line in table:
                word, _, listed = line.partition(",")
                listed = listed.partition(",")[2]
                rows[word] = f"{rows[word]},{listed}" if word in rows else listed
    return rows


def _listed(row: str) -> list[str]:
    # Two words ("under goes") and what is hyphened are never one word of a text.
    return [form for form in _BETWEEN_FORMS.split(row) if form.isalpha()]
