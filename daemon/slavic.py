"""Russian and Ukrainian inflection by pymorphy3's dictionaries (OpenCorpora; VESUM): all forms of a word's lexemes.

A word that one dictionary knows takes that one's forms; one that both know, both's; one that neither knows, what its
ending predicts in each language that its letters allow.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import chain
from typing import Any, NamedTuple

from daemon.words import Forms, fold

_RUSSIAN_LETTERS = frozenset("ыэъё")
_UKRAINIAN_LETTERS = frozenset("іїєґ")
_NAMES = frozenset({"Name", "Patr", "Surn"})
_NOMINAL = frozenset({"ADJF", "ADJS", "NOUN", "PRTF"})
_PARTICIPLES = frozenset({"PRTF", "PRTS"})
# Of a word that no dictionary knows: two readings ("Кехмана" is a man's genitive or a woman's name), none of them
# ten times less likely than the best.
_MOST_PREDICTED = 2
_LEAST_SHARE = 0.1
# Letters that are folded each by itself, whatever stands beside them.
_PLAIN = re.compile("[а-яёіїєґ']*")
_MOST_MADE = 1_000
"""Words whose forms are kept: those that share them are neighbours in the alphabet, and are asked one after another."""


class _Reading(NamedTuple):
    """A word that a form may belong to: that word's forms, and whether the form is the one in the dictionary."""

    forms: frozenset[str]
    is_lemma: bool
    is_name: bool


class Slavic:
    """Both dictionaries; making one reads them."""

    def __init__(self) -> None:
        import pymorphy3_dicts_ru
        import pymorphy3_dicts_uk

        self._russian = _Dictionary(pymorphy3_dicts_ru.get_path(), "ru")
        self._ukrainian = _Dictionary(pymorphy3_dicts_uk.get_path(), "uk")

    def forms(self, word: str) -> Forms:
        """All forms of the folded `word`, folded."""
        dictionaries = list(self._may_know(word))
        known = [(dictionary, dictionary.known(word)) for dictionary in dictionaries]
        found: set[str] = {word}
        if not any(readings for _, readings in known):
            for dictionary in dictionaries:
                found.update(*(reading.forms for reading in dictionary.predicted(word)))
            return Forms.of(found, guessed=True)
        # The Ukrainian dictionary has "Шольц" and "Байден", the Russian one has not; the texts of both have them.
        of_name = all(reading.is_name and reading.is_lemma for _, readings in known for reading in readings)
        for dictionary, readings in known:
            if readings:
                lemmas = [reading for reading in readings if reading.is_lemma]
                found.update(*(reading.forms for reading in lemmas or readings))
            elif of_name:
                found.update(*(reading.forms for reading in dictionary.predicted(word)[:1] if reading.is_lemma))
        return Forms.of(found)

    def _may_know(self, word: str) -> Iterator[_Dictionary]:
        letters = set(word)
        if not letters & _UKRAINIAN_LETTERS:
            yield self._russian
        if not letters & _RUSSIAN_LETTERS:
            yield self._ukrainian


class _Tag(NamedTuple):
    """What a form's tag says here. Asking a tag of pymorphy3 for one thing takes two microseconds."""

    participle: tuple[str, str] | None
    """Which participle of its verb it belongs to, if any: *удержанный*, like *building*, brings its own forms."""
    is_of_name: bool
    is_noun: bool
    is_fixed: bool
    is_plural: bool


class _Endings(NamedTuple):
    """What the forms of a word have before and after its stem: the dictionary form, and all of them. Where they are
    `plain`, folding a form is folding its stem."""

    lemma: tuple[str, str]
    all: frozenset[tuple[str, str]]
    plain: bool


class _Paradigm(NamedTuple):
    """How some words are inflected: each form's beginning, ending and tag. Of a paradigm with participles, the endings
    of each of them are a word's of their own."""

    rows: list[tuple[str, str, _Tag]]
    endings: dict[tuple[str, str] | None, _Endings]
    has_plural: bool


class _Dictionary:
    def __init__(self, path: str, language: str) -> None:
        from pymorphy3 import MorphAnalyzer

        # With its path: else every installed package is asked whether it brings dictionaries.
        self._analyzer = MorphAnalyzer(path=path, lang=language)
        self._words = self._analyzer.dictionary.words
        self._tags: dict[Any, _Tag] = {}
        self._paradigms: dict[int, _Paradigm] = {}
        self._endings: dict[_Endings, _Endings] = {}
        self._made: dict[tuple[str, int], tuple[str, frozenset[str]]] = {}

    def known(self, word: str) -> list[_Reading]:
        """The readings of a word that the dictionary lists, also where it has ё for its е or ґ for its г."""
        # Not analyzer.parse, which makes a named tuple of every case; this is twice as fast.
        return [
            self._reading(word, spelt, *place)
            for spelt, places in self._words.similar_items(word, self._analyzer.char_substitutes)
            for place in places
        ]

    def predicted(self, word: str) -> list[_Reading]:
        """Up to two readings of an unknown word, by words that end alike; the likeliest first."""
        # The cases of one word are parses of their own: their likelihoods add up, and its forms are made once.
        parses: dict[tuple[str, str], list[Any]] = defaultdict(list)
        for parse in self._analyzer.parse(word):
            parses[parse.normal_form, parse.tag.POS].append(parse)
        shares = {key: sum(parse.score for parse in alike) for key, alike in parses.items()}
        least = max(shares.values(), default=0) * _LEAST_SHARE
        likely = [key for key in parses if shares[key] >= least]
        # Terms name things as a dictionary does, and a word that is in none is a name or a noun, as a rule.
        likely = [key for key in likely if key[1] in _NOMINAL] or likely
        likely.sort(key=lambda key: (fold(key[0]) == word, shares[key]), reverse=True)
        return [
            _Reading(
                frozenset(fold(form.word) for form in max(parses[key], key=lambda parse: parse.score).lexeme),
                is_lemma=fold(key[0]) == word,
                is_name=key[1] == "NOUN",
            )
            for key in likely[:_MOST_PREDICTED]
        ]

    def _reading(self, word: str, spelt: str, paradigm: int, place: int) -> _Reading:
        rows, endings_of, has_plural = self._paradigms.get(paradigm) or self._paradigm(paradigm)
        before, after, tag = rows[place]
        endings = endings_of.get(tag.participle) or self._endings_of(rows, endings_of, tag.participle)
        stem = spelt[len(before) : len(spelt) - len(after)]
        made = self._made.get((stem, id(endings)))
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            made = self._made[stem, id(endings)] = _made(stem, endings)
        # A name is a person's, or one like "Донбас": a noun that has no plural.
        is_name = tag.is_of_name or (tag.is_noun and not has_plural and not tag.is_fixed)
        return _Reading(made[1], made[0] == word, is_name)

    def _paradigm(self, number: int) -> _Paradigm:
        built = self._analyzer.dictionary.build_paradigm_info(number)
        rows = [(before, after, self._tags.get(tag) or self._tag(tag)) for before, tag, after in built]
        paradigm = _Paradigm(rows, {}, any(tag.is_plural for _, _, tag in rows))
        self._paradigms[number] = paradigm
        return paradigm

    def _tag(self, tag: Any) -> _Tag:
        grammemes, part = tag.grammemes, tag.POS
        known = self._tags[tag] = _Tag(
            participle=(tag.voice, tag.tense) if part in _PARTICIPLES else None,
            is_of_name=not _NAMES.isdisjoint(grammemes),
            is_noun=part == "NOUN",
            is_fixed="Fixd" in grammemes,
            is_plural=tag.number == "plur",
        )
        return known

    def _endings_of(
        self,
        rows: list[tuple[str, str, _Tag]],
        known: dict[tuple[str, str] | None, _Endings],
        participle: tuple[str, str] | None,
    ) -> _Endings:
        pairs = [(before, after) for before, after, tag in rows if participle is None or tag.participle == participle]
        plain = all(map(_is_plain, chain.from_iterable(pairs)))
        if plain:
            pairs = [(fold(before), fold(after)) for before, after in pairs]
        endings = _Endings(pairs[0], frozenset(pairs), plain)
        # One object for equal ones, which neighbours in the alphabet share.
        endings = known[participle] = self._endings.setdefault(endings, endings)
        return endings


def _made(stem: str, endings: _Endings) -> tuple[str, frozenset[str]]:
    """A word's dictionary form and all of its forms, folded."""
    first, last = endings.lemma
    if endings.plain and _is_plain(stem):
        stem = fold(stem)
        return first + stem + last, frozenset([before + stem + after for before, after in endings.all])
    return fold(first + stem + last), frozenset([fold(before + stem + after) for before, after in endings.all])


def _is_plain(text: str) -> bool:
    return _PLAIN.fullmatch(text) is not None
