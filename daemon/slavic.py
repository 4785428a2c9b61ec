"""Russian and Ukrainian inflection by pymorphy3's dictionaries (OpenCorpora; VESUM): all forms of a word's lexemes.

A word that one dictionary knows takes that one's forms; one that both know, both's; one that neither knows, what its
ending predicts in each language that its letters allow.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
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


class _Endings(NamedTuple):
    """What a form's word has before and after its stem: in the form, in the dictionary form, in all forms."""

    own: tuple[str, str]
    lemma: tuple[str, str]
    all: frozenset[tuple[str, str]]
    is_name: bool


class _Dictionary:
    def __init__(self, path: str, language: str) -> None:
        from pymorphy3 import MorphAnalyzer

        # With its path: else every installed package is asked whether it brings dictionaries.
        self._analyzer = MorphAnalyzer(path=path, lang=language)
        self._words = self._analyzer.dictionary.words
        self._rows: dict[int, list[tuple[str, str, tuple[str, str] | None, bool]]] = {}
        self._endings: dict[tuple[int, int], _Endings] = {}
        self._made: dict[tuple[str, tuple[str, str], frozenset[tuple[str, str]]], tuple[str, frozenset[str]]] = {}

    def known(self, word: str) -> list[_Reading]:
        """The readings of a word that the dictionary lists, also where it has ё for its е or ґ for its г."""
        # Not analyzer.parse, which makes a named tuple of every case; this is twice as fast.
        return [
            self._reading(word, spelt, self._endings_of(*place))
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

    def _reading(self, word: str, spelt: str, endings: _Endings) -> _Reading:
        before, after = endings.own
        stem = spelt[len(before) : len(spelt) - len(after)]
        key = (stem, endings.lemma, endings.all)
        made = self._made.get(key)
        if made is None:
            if len(self._made) >= _MOST_MADE:
                self._made.clear()
            lemma = fold(endings.lemma[0] + stem + endings.lemma[1])
            made = (lemma, frozenset(fold(before + stem + after) for before, after in endings.all))
            self._made[key] = made
        return _Reading(made[1], made[0] == word, endings.is_name)

    def _endings_of(self, paradigm: int, place: int) -> _Endings:
        endings = self._endings.get((paradigm, place))
        if endings is None:
            rows = self._rows.get(paradigm)
            if rows is None:
                built = self._analyzer.dictionary.build_paradigm_info(paradigm)
                has_plural = any(tag.number == "plur" for _, tag, _ in built)
                rows = [(before, after, _participle(tag), _is_name(tag, has_plural)) for before, tag, after in built]
                self._rows[paradigm] = rows
            before, after, participle, is_name = rows[place]
            pairs = [row[:2] for row in rows if participle is None or row[2] == participle]
            endings = _Endings((before, after), pairs[0], frozenset(pairs), is_name)
            self._endings[paradigm, place] = endings
        return endings


def _participle(tag: Any) -> tuple[str, str] | None:
    """Which participle of its verb a form belongs to, if any: *удержанный*, like *building*, brings its own forms."""
    return (tag.voice, tag.tense) if tag.POS in _PARTICIPLES else None


def _is_name(tag: Any, has_plural: bool) -> bool:
    """Whether a form may be a name's: a person's, or one like "Донбас", a noun that has no plural."""
    grammemes = tag.grammemes
    return not _NAMES.isdisjoint(grammemes) or (tag.POS == "NOUN" and not has_plural and "Fixd" not in grammemes)
