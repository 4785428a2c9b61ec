"""Words: how a text is cut into them, what makes two of them the same, and which forms one of them takes.

Case, compatibility forms (NFKC: full-width letters, ligatures), soft hyphens and the kind of apostrophe never decide a
match. Initials are one word, with or without their dots ("U.S." is *US*); an English possessive belongs to its word
("Russia's" is *russia*); a hyphen parts two words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

# A word may hold combining marks (text in NFD), soft hyphens and inner apostrophes (п'ять, don't).
_INITIALS = r"(?<!\w)(?:[^\W\d_]\.){2,}"
_WORD = re.compile(rf"{_INITIALS}|(?!ʼ)[^\W_](?:(?!ʼ)[\w\u00ad\u0300-\u036f]|['’ʼ](?=(?!ʼ)\w))*")
_SOFT_HYPHEN = "\u00ad"
_APOSTROPHES = str.maketrans({"’": "'", "ʼ": "'", _SOFT_HYPHEN: None})


@dataclass(frozen=True, slots=True)
class Token:
    """A word of a text: its characters `[start, end)`, and its folded form."""

    start: int
    end: int
    form: str


def tokenise(text: str) -> list[Token]:
    """The words of `text` in order, with spans into `text` exactly as it was given."""
    return [Token(found.start(), found.end(), fold(found.group())) for found in _WORD.finditer(text)]


@lru_cache(maxsize=65_536)
def fold(word: str) -> str:
    """The form in which two spellings of a word are equal: `fold("Russia’s") == "russia"`."""
    return spell(word).casefold()


def spell(word: str) -> str:
    """`fold`, but for the case: `spell("Istanbul’s") == "Istanbul"`."""
    # A dot inside a word is one between initials: "U.S." is spelt as "US" is.
    spelt = unicodedata.normalize("NFKC", word).translate(_APOSTROPHES).replace(".", "")
    return (spelt[:-2] if spelt[-2:] in ("'s", "'S") else spelt) or spelt


def forms(word: str) -> frozenset[str]:
    """Every inflected form of `word`, folded, with the word itself among them; never its derivations.

    English only as yet (lemminflect's tables); a word in another script stands for itself. A word that is a dictionary
    form brings its own forms only: *building* is not *build*, and *prisoner* is not *prison*.
    """
    folded = fold(word)
    if not folded.isascii() or not folded.isalpha():
        return frozenset({folded})
    return frozenset({folded} | _english_forms(folded))


@lru_cache(maxsize=16_384)
def _english_forms(word: str) -> frozenset[str]:
    # Imported here because it brings numpy (0.15 s, 18 MB), which commands that compile no rules never need.
    from lemminflect import getAllInflections, getAllInflectionsOOV, getAllLemmas

    lemmas = {lemma for found in getAllLemmas(word).values() for lemma in found}
    if word in lemmas:
        lemmas = {word}
    if not lemmas:
        # A name or a new word: its regular plural is the only form worth guessing.
        return frozenset(form for found in getAllInflectionsOOV(word, "NOUN").values() for form in found)
    inflected = {form for lemma in lemmas for found in getAllInflections(lemma).values() for form in found}
    return frozenset(fold(form) for form in inflected | lemmas)
