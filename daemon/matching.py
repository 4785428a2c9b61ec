"""Which claims an item bears on, and by which words.

The terms are compiled once into forms (`compile_rules`). An item is cut into words once; a term is looked at only when
one of the words that it can't do without is there.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

from daemon.events import Evidence
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.terms import FIELDS, And, Field, In, Near, Not, Or, Phrase, Term, Word, parse_term
from daemon.words import Token, fold, forms, spell, tokenise

DEFAULT_FIELDS: tuple[Field, ...] = ("title", "summary")

Interval = tuple[int, int]
"""Words `[first, last]` of a field."""


@dataclass(frozen=True)
class Match:
    """One claim that an item bears on, with its evidence, in the order of the claim's terms."""

    claim: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class _Leaf:
    """A compiled word: the folded forms it may take, or what they begin with, or the very letters."""

    forms: frozenset[str]
    prefix: str = ""
    surface: str = ""

    def meets(self, token: Token, text: str) -> bool:
        if self.prefix:
            return token.form.startswith(self.prefix)
        if token.form not in self.forms:
            return False
        return not self.surface or spell(text[token.start : token.end]) == self.surface


@dataclass(frozen=True)
class _CompiledTerm:
    claim: str
    rule: TermRule
    tree: Term
    leaves: Mapping[Word, _Leaf]


class _Text:
    """A field's text, cut into words once, and where each word form stands."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def tokens(self) -> list[Token]:
        return tokenise(self.text)

    @cached_property
    def places(self) -> Mapping[str, list[int]]:
        places: dict[str, list[int]] = defaultdict(list)
        for at, token in enumerate(self.tokens):
            places[token.form].append(at)
        return places


class Matcher:
    """The compiled rule set. Knows no feeds and no clock; equal rules match equally."""

    def __init__(self, terms: Sequence[_CompiledTerm], rules: Rules) -> None:
        self.rules_sha256 = rules.sha256
        self.claims = frozenset(claim.id for claim in rules.watched_claims)
        self._within_words = rules.within_words
        self._terms = terms
        self._by_word: dict[str, list[int]] = defaultdict(list)
        self._always: list[int] = []
        for at, term in enumerate(terms):
            anchors = _anchors(term.tree, term.leaves)
            for form in anchors or ():
                self._by_word[form].append(at)
            if anchors is None:
                self._always.append(at)
        self._reads_content = any(_reads_content(term.tree) for term in terms)

    def match(self, *, title: str, summary: str, content: str = "", feed: str = "") -> tuple[Match, ...]:
        """The claims that the item bears on, in the order of the rules."""
        texts = {"title": _Text(title), "summary": _Text(summary), "content": _Text(content)}
        present = texts["title"].places.keys() | texts["summary"].places.keys()
        if self._reads_content:
            present |= texts["content"].places.keys()
        candidates = set(self._always)
        for form in present & self._by_word.keys():
            candidates.update(self._by_word[form])
        found: dict[str, list[Evidence]] = {}
        for at in sorted(candidates):
            term = self._terms[at]
            if term.rule.feeds and feed not in term.rule.feeds:
                continue
            words = _Search(texts, term.leaves, self._within_words).find(term.tree, DEFAULT_FIELDS)
            if words:
                found.setdefault(term.claim, []).extend(_evidence(term, words, texts))
        return tuple(Match(claim, tuple(evidence)) for claim, evidence in found.items())


def compile_rules(rules: Rules) -> Matcher:
    """The matcher for all terms of all watched claims. The terms were checked when feeds.yaml was read."""
    lists = {fold(name): (name, *words) for name, words in rules.words.items()}
    terms = [_compile(claim, term, lists) for claim in rules.watched_claims for term in claim.terms]
    return Matcher(terms, rules)


def _compile(claim: ClaimRule, rule: TermRule, lists: Mapping[str, tuple[str, ...]]) -> _CompiledTerm:
    tree = _expand(parse_term(rule.text), lists)
    return _CompiledTerm(claim.id, rule, tree, {word: _compile_word(word) for word in _words_in(tree)})


def _compile_word(word: Word) -> _Leaf:
    if word.prefix:
        return _Leaf(frozenset(), prefix=fold(word.text))
    if word.exact:
        return _Leaf(frozenset({fold(word.text)}), surface=spell(word.text) if word.cased else "")
    return _Leaf(forms(word.text))


def _expand(term: Term, lists: Mapping[str, tuple[str, ...]]) -> Term:
    """`term` with each word that names a word list replaced by the list. Words in phrases stand for themselves."""
    match term:
        case Word(text, exact=False, prefix=False) if fold(text) in lists:
            return Or(tuple(_entry(words) for words in lists[fold(text)]))
        case Near(parts) | And(parts) | Or(parts):
            return replace(term, parts=tuple(_expand(part, lists) for part in parts))
        case Not(part) | In(part=part):
            return replace(term, part=_expand(part, lists))
        case _:
            return term


def unused_word_lists(rules: Rules) -> tuple[str, ...]:
    """The names of word lists that stand in no term of any claim."""
    leaves = (leaf for claim in rules.claims for term in claim.terms for leaf in _leaves_in(parse_term(term.text)))
    named = {fold(leaf.text) for leaf in leaves if isinstance(leaf, Word) and not (leaf.exact or leaf.prefix)}
    return tuple(name for name in rules.words if fold(name) not in named)


def _entry(text: str) -> Term:
    words = tuple(Word(text[token.start : token.end]) for token in tokenise(text))
    return words[0] if len(words) == 1 else Phrase(words)


def _words_in(term: Term) -> Iterable[Word]:
    for leaf in _leaves_in(term):
        yield from leaf.words if isinstance(leaf, Phrase) else (leaf,)


def _leaves_in(term: Term) -> Iterable[Word | Phrase]:
    match term:
        case Word() | Phrase():
            yield term
        case Near(parts) | And(parts) | Or(parts):
            for part in parts:
                yield from _leaves_in(part)
        case Not(part) | In(part=part):
            yield from _leaves_in(part)


def _anchors(term: Term, leaves: Mapping[Word, _Leaf]) -> frozenset[str] | None:
    """Forms of which at least one must be in a matching item; None when there is no such set."""
    match term:
        case Word():
            return None if leaves[term].prefix else leaves[term].forms
        case Phrase(parts) | Near(parts) | And(parts):
            found = [anchors for part in parts if (anchors := _anchors(part, leaves)) is not None]
            # The longest word is, as a rule, the rarest; fewer forms are cheaper to keep.
            return max(found, key=lambda forms: (min(map(len, forms)), -len(forms)), default=None)
        case Or(parts):
            sets = [_anchors(part, leaves) for part in parts]
            return None if None in sets else frozenset().union(*(forms for forms in sets if forms))
        case In(part=part):
            return _anchors(part, leaves)
        case Not():
            return None


def _reads_content(term: Term) -> bool:
    match term:
        case In(field, part):
            return field == "content" or _reads_content(part)
        case Near(parts) | And(parts) | Or(parts):
            return any(map(_reads_content, parts))
        case Not(part):
            return _reads_content(part)
        case _:
            return False


@dataclass(frozen=True)
class _Search:
    """Looks for one term in one item. `find` answers None for "no", else the words that made it true, by field."""

    texts: Mapping[str, _Text]
    leaves: Mapping[Word, _Leaf]
    within_words: int

    def find(self, term: Term, fields: Sequence[Field]) -> _WordsByField | None:
        match term:
            case Not(part):
                return None if self.find(part, fields) is not None else {}
            case In(field, part):
                return self.find(part, (field,))
            case And(parts):
                return _all([self.find(part, fields) for part in parts])
            case Or(parts):
                return _any([self.find(part, fields) for part in parts])
            case _:
                return self._find_in_text(term, fields)

    def _find_in_text(self, term: Term, fields: Sequence[Field]) -> _WordsByField | None:
        words: _WordsByField = {}
        for field in fields:
            if found := self._places(term, self.texts[field], every=False):
                tightest = min(found, key=lambda way: (_extent(way), min(way)))
                words[field] = set(tightest)
        return words or None

    def _places(self, term: Term, text: _Text, *, every: bool) -> list[frozenset[int]]:
        """The ways in which `term` stands in `text`, as the words it takes: every one, or the tightest will do."""
        match term:
            case Word():
                return [frozenset({at}) for at in self._word_places(self.leaves[term], text)]
            case Phrase(words):
                return self._phrase_places(words, text)
            case Or(parts):
                return list(dict.fromkeys(place for part in parts for place in self._places(part, text, every=every)))
            case Near(parts, within_words):
                options = [_Places.of(self._places(part, text, every=True)) for part in parts]
                return _near_ways(options, within_words or self.within_words, every=every)
            case _:
                raise AssertionError(f"{type(term).__name__} has no place in a text; the parser refuses it here")

    def _word_places(self, leaf: _Leaf, text: _Text) -> list[int]:
        if leaf.prefix:
            return [at for at, token in enumerate(text.tokens) if leaf.meets(token, text.text)]
        places = [at for form in leaf.forms for at in text.places.get(form, ())]
        return sorted(at for at in places if leaf.meets(text.tokens[at], text.text))

    def _phrase_places(self, words: Sequence[Word], text: _Text) -> list[frozenset[int]]:
        rest = [set(self._word_places(self.leaves[word], text)) for word in words[1:]]
        return [
            frozenset(range(at, at + len(words)))
            for at in self._word_places(self.leaves[words[0]], text)
            if all(at + offset in places for offset, places in enumerate(rest, start=1))
        ]


@dataclass(frozen=True)
class _Places:
    """The ways of one part of a near group, in order of their first words."""

    ways: Sequence[frozenset[int]]
    starts: Sequence[int]

    @classmethod
    def of(cls, ways: Iterable[frozenset[int]]) -> _Places:
        ordered = sorted(ways, key=min)
        return cls(ordered, [min(way) for way in ordered])

    def beside(self, taken: frozenset[int], within_words: int) -> list[frozenset[int]]:
        """Those that share no word with `taken` and leave both within so many words, the closest first."""
        first = bisect_left(self.starts, max(taken) - within_words + 1)
        last = bisect_right(self.starts, min(taken) + within_words - 1)
        near = [way for way in self.ways[first:last] if not way & taken and _extent(way | taken) <= within_words]
        return sorted(near, key=lambda way: (_extent(way | taken), min(way)))


def _near_ways(parts: Sequence[_Places], within_words: int, *, every: bool) -> list[frozenset[int]]:
    """All parts on words of their own within so many words: around each place of the rarest part."""
    rarest, *rest = sorted(parts, key=lambda places: len(places.ways))
    anchors = [way for way in rarest.ways if _extent(way) <= within_words]
    if every:
        return list(dict.fromkeys(way for anchor in anchors for way in _all_ways(anchor, rest, within_words)))
    best: frozenset[int] | None = None
    for anchor in anchors:
        # Only what is tighter than the best so far is still looked for.
        best = _tightest(anchor, rest, within_words if best is None else _extent(best) - 1) or best
    return [] if best is None else [best]


def _all_ways(taken: frozenset[int], rest: Sequence[_Places], within_words: int) -> Iterator[frozenset[int]]:
    if not rest:
        yield taken
        return
    for way in rest[0].beside(taken, within_words):
        yield from _all_ways(taken | way, rest[1:], within_words)


def _tightest(taken: frozenset[int], rest: Sequence[_Places], within_words: int) -> frozenset[int] | None:
    if not rest:
        return taken if _extent(taken) <= within_words else None
    beside = [places.beside(taken, within_words) for places in rest]
    # The part with the fewest places first: where it has none, nothing more is tried.
    at = min(range(len(rest)), key=lambda index: len(beside[index]))
    others = [places for index, places in enumerate(rest) if index != at]
    best: frozenset[int] | None = None
    for way in beside[at]:
        best = _tightest(taken | way, others, within_words if best is None else _extent(best) - 1) or best
    return best


def _extent(words: Collection[int]) -> int:
    return max(words) - min(words) + 1


_WordsByField: TypeAlias = dict[Field, set[int]]


def _all(parts: Sequence[_WordsByField | None]) -> _WordsByField | None:
    return None if None in parts else _union(parts)


def _any(parts: Sequence[_WordsByField | None]) -> _WordsByField | None:
    return None if all(part is None for part in parts) else _union(parts)


def _union(parts: Iterable[_WordsByField | None]) -> _WordsByField:
    union: _WordsByField = {}
    for part in parts:
        for field, words in (part or {}).items():
            union.setdefault(field, set()).update(words)
    return union


def _evidence(term: _CompiledTerm, found: _WordsByField, texts: Mapping[str, _Text]) -> Iterable[Evidence]:
    for field in FIELDS:
        if words := sorted(found.get(field, ())):
            spans = tuple((texts[field].tokens[at].start, texts[field].tokens[at].end) for at in words)
            surface = tuple(texts[field].text[start:end] for start, end in spans)
            yield Evidence(term.rule.text, term.rule.stance, field, spans, surface)
