"""What the news says, in words: which terms met nothing of it, and which of their words it never had.

A word that no dictionary knows and that no item has is likely a slip of the finger; with it, the words are told that
come near it and that the news does have.
"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from daemon.compiling import entry
from daemon.matching import Matcher
from daemon.notation import written
from daemon.rules import Rules, TermRule
from daemon.terms import Word, parse_term, words_in
from daemon.trials import StoredItem, bare_claim, matches_of
from daemon.words import chunks, fold, tokenise

MOST_NEAR_WORDS = 3
SHORTEST_WORD = 4
"""Three letters have dozens of neighbours, and most are abbreviations."""
LONG_WORD = 8
"""From this length on two slips in a word are looked for; in shorter ones two edits lead anywhere."""
WORDS_OF_ITEMS = 20_000
"""How many items the words are gathered from: with their words' neighbours, more of them tell little more."""
_WORDS_AT_ONCE = 5_000


@dataclass(frozen=True)
class TermPlace:
    """A term and the claim that it belongs to."""

    claim: str
    term: TermRule


@dataclass(frozen=True)
class UnknownWord:
    """A word that stands in a term or a word list and in no item. `near` are words that items have, with how often."""

    term: Word
    where: str
    near: tuple[tuple[str, int], ...]

    @property
    def word(self) -> str:
        return self.term.text


@dataclass(frozen=True)
class Silence:
    """What was never heard: of so many items, the terms that met none, and the words that are likely a slip."""

    looked_at: int
    terms: tuple[TermPlace, ...]
    words: tuple[UnknownWord, ...]


def listen(
    rules: Rules,
    items: Iterable[StoredItem],
    compile_rules: Callable[[Rules], Matcher],
    known_word: Callable[[str], bool],
    words_of_items: int = WORDS_OF_ITEMS,
) -> Silence:
    """What of the terms none of the items has. Words are gathered from the first `words_of_items` of them, and what is
    missing there is looked for in the rest."""
    places = tuple(TermPlace(claim.id, term) for claim in rules.watched_claims for term in claim.terms)
    terms = _Missing(rules, [place.term for place in places], compile_rules)
    rest = iter(items)
    gathered: Counter[str] = Counter()
    looked_at = 0
    for item in _gathering(islice(rest, words_of_items), gathered):
        looked_at += 1
        terms.look_at(item)
    words = unheard_words(rules, _folded(gathered), compile_rules, known_word)
    # A matcher of their own: the other one knows by now what each spelling is to it, which is most of the work.
    also = _Missing(rules, [TermRule(written(one.term)) for one in words], compile_rules)
    for item in rest:
        looked_at += 1
        terms.look_at(item)
        also.look_at(item)
    return Silence(
        looked_at=looked_at,
        terms=tuple(places[at] for at in sorted(terms.silent)),
        words=tuple(words[at] for at in sorted(also.silent)),
    )


class _Missing:
    """Terms of which some were met by no item so far: `silent` are their numbers."""

    def __init__(self, rules: Rules, terms: Sequence[TermRule], compile_rules: Callable[[Rules], Matcher]) -> None:
        self.silent = set(range(len(terms)))
        claims = tuple(bare_claim(str(at), [term]) for at, term in enumerate(terms))
        self._matcher = compile_rules(replace(rules, claims=claims)) if terms else None

    def look_at(self, item: StoredItem) -> None:
        if self.silent and self._matcher:
            self.silent -= {int(match.claim) for match in matches_of(self._matcher, item)}


def _gathering(items: Iterable[StoredItem], gathered: Counter[str]) -> Iterator[StoredItem]:
    # As they stand: to fold each word where it stands took 7.3 s for 20,000 items, each spelling once 1.4 s.
    for item in items:
        for text in (item.title, item.summary, item.content):
            gathered.update(chunks(text))
        yield item


def _folded(gathered: Counter[str]) -> Counter[str]:
    heard: Counter[str] = Counter()
    for spelling, count in gathered.items():
        for token in tokenise(spelling):
            heard[token.form] += count
    return heard


def unheard_words(
    rules: Rules, heard: Counter[str], compile_rules: Callable[[Rules], Matcher], known_word: Callable[[str], bool]
) -> tuple[UnknownWord, ...]:
    """The words of terms, and of the lists that they name, which `heard` lacks in every form, no dictionary knows, and
    which come near a word that it has.

    Words of fewer than four letters, with digits, or in a script without capitals are not judged.
    """
    places = _words_of(rules)
    numbered = list(places)
    claims = tuple(bare_claim(str(at), [TermRule(written(word))]) for at, word in enumerate(numbered))
    matcher = compile_rules(replace(rules, claims=claims, words={}))
    vocabulary, spoken = list(heard), set()
    for begin in range(0, len(vocabulary), _WORDS_AT_ONCE):
        text = " ".join(vocabulary[begin : begin + _WORDS_AT_ONCE])
        spoken |= {int(match.claim) for match in matcher.match(title=text, summary="")}
    silent = [word for at, word in enumerate(numbered) if at not in spoken and not known_word(word.text)]
    neighbours = _Neighbours(heard)
    found = (UnknownWord(word, places[word], neighbours.of(fold(word.text))) for word in silent)
    return tuple(one for one in found if one.near)


def _words_of(rules: Rules) -> dict[Word, str]:
    """Each word that may hold a slip, without its case, and where it stands first."""
    found: dict[Word, str] = {}
    lists = {fold(name): name for name in rules.words}
    used: dict[str, None] = {}
    for claim in rules.watched_claims:
        for term in (*claim.terms, *claim.never):
            for word in words_in(parse_term(term.text)):
                if fold(word.text) in lists and not (word.exact or word.prefix):
                    used[lists[fold(word.text)]] = None
                elif _can_be_judged(word.text):
                    found.setdefault(replace(word, cased=False), claim.id)
    for name in used:
        for line in rules.words[name]:
            for word in words_in(entry(line)):
                # A list holds words of all languages, and for most of those there is no dictionary here.
                if _can_be_judged(word.text) and script_of(fold(word.text)) == "CYRILLIC":
                    found.setdefault(replace(word, cased=False), f"the word list {name}")
    return found


def _can_be_judged(word: str) -> bool:
    folded = fold(word)
    return len(folded) >= SHORTEST_WORD and script_of(folded) is not None


def script_of(word: str) -> str | None:
    """The script that all letters of a word belong to, if it has capitals: LATIN, CYRILLIC, GREEK …; else None."""
    letters = [letter for letter in word if letter not in "'-"]
    scripts = {unicodedata.name(letter, "").partition(" ")[0] for letter in letters}
    cased = all(letter.isalpha() and letter.lower() != letter.upper() for letter in letters)
    return scripts.pop() if cased and len(scripts) == 1 else None


class _Neighbours:
    """The words of a vocabulary that are a slip or two away from a word, in its script."""

    def __init__(self, heard: Mapping[str, int]) -> None:
        self._heard = heard
        self._letters: dict[str, Sequence[str]] = {}

    def of(self, word: str) -> tuple[tuple[str, int], ...]:
        """The likeliest: one slip away before two, then those that are heard most."""
        letters = self._letters_of(script_of(word) or "")
        one_away = _one_away(word, letters)
        near = self._heard.keys() & one_away - {word}
        if not near and len(word) >= LONG_WORD:
            near = {other for step in one_away for other in _one_away(step, letters) if other in self._heard}
        ranked = sorted(near, key=lambda other: (-self._heard[other], other))
        return tuple((other, self._heard[other]) for other in ranked[:MOST_NEAR_WORDS])

    def _letters_of(self, script: str) -> Sequence[str]:
        if script not in self._letters:
            common = Counter(letter for word in self._heard for letter in set(word) if letter.isalpha())
            # 40 letters hold every alphabet; what is rarer than those is no slip of a finger.
            fit = (letter for letter, _ in common.most_common() if script_of(letter) == script)
            self._letters[script] = [letter for _, letter in zip(range(40), fit, strict=False)]
        return self._letters[script]


def _one_away(word: str, letters: Sequence[str]) -> set[str]:
    """What one letter more, less, other or swapped makes of a word."""
    cuts = [(word[:at], word[at:]) for at in range(len(word) + 1)]
    less = {left + right[1:] for left, right in cuts if right}
    swapped = {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    other = {left + letter + right[1:] for left, right in cuts if right for letter in letters}
    more = {left + letter + right for left, right in cuts for letter in letters}
    return less | swapped | other | more
