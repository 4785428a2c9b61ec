"""Why a term did not meet an item: the first condition that failed, and the nearest it came.

As in `explaining`, the matcher is asked about parts of the term: dozens of questions for a usual item, and some
more where the distance between words is measured.
"""

from __future__ import annotations

import difflib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from daemon.events import Evidence
from daemon.explaining import DEFAULT_FIELDS, Compile, list_named, within_of
from daemon.notation import hyphenated, written
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.terms import FIELDS, And, Field, In, Near, Not, Or, Phrase, Term, Word, parse_term
from daemon.trials import StoredItem, bare_claim, matches_of
from daemon.words import Unit, fold, tokenise, units

MOST_WORDS_MEASURED = 5_000
"""How long a text may be for the nearest pass to be measured: a question costs what its words cost."""
_ANYWHERE = 1_000_000


@dataclass(frozen=True)
class Verdict:
    """What one term of a claim makes of an item: whether the claim is met by it, and in words, why or why not."""

    term: TermRule
    met: bool
    reason: str


def why_not(item: StoredItem, claim: ClaimRule, rules: Rules, compile: Compile) -> tuple[Verdict, ...]:
    """A verdict for each term of the claim, in their order."""
    asked = _Questions(item, claim, rules, compile)
    forbidden = next((_never(asked, rule) for rule in claim.never if asked.meets(rule)), None)
    return tuple(_verdict(asked, rule, item, forbidden) for rule in claim.terms)


def _verdict(asked: _Questions, rule: TermRule, item: StoredItem, forbidden: str | None) -> Verdict:
    if rule.feeds and item.feed not in rule.feeds:
        feeds = f"looks only at {'feed' if len(rule.feeds) == 1 else 'feeds'} {', '.join(rule.feeds)}"
        return Verdict(rule, False, f"{feeds}; this item is of {item.feed}")
    if not asked.meets(rule):
        return Verdict(rule, False, asked.shortfall(rule).says)
    where = _shown(asked.whole[rule])
    return Verdict(rule, False, f"met ({where}), but {forbidden}") if forbidden else Verdict(rule, True, where)


def _never(asked: _Questions, rule: TermRule) -> str:
    return f"never: {rule.text} is there ({_shown(asked.whole[rule])})"


@dataclass(frozen=True)
class _Shortfall:
    """Why a part is not met, and how near it came: 0 not at all, 1 met."""

    says: str
    nearness: float = 0.0


class _Questions:
    """The matcher's answers about every part of every term, each in each field and in the item as it stands."""

    def __init__(self, item: StoredItem, claim: ClaimRule, rules: Rules, compile: Compile) -> None:
        self.item = item
        self.rules = rules
        self.trees = {rule: parse_term(rule.text) for rule in (*claim.terms, *claim.never)}
        self._lines: dict[TermRule, str] = {}
        for rule, tree in self.trees.items():
            self._ask(rule)
            for part in _parts(tree):
                for line in (part, *(In(field, part) for field in FIELDS)):
                    self._ask(replace(rule, text=written(line)))
        claims = tuple(bare_claim(id, [replace(rule, feeds=())]) for rule, id in self._lines.items())
        found = {match.claim: match.evidence for match in matches_of(compile(replace(rules, claims=claims)), item)}
        self._evidence = {rule: found[id] for rule, id in self._lines.items() if id in found}
        self.whole = {rule: self._evidence.get(rule, ()) for rule in self.trees}
        self._loose = compile(_without_distance(rules, claims))

    def _ask(self, rule: TermRule) -> None:
        self._lines.setdefault(rule, str(len(self._lines)))

    def meets(self, rule: TermRule) -> bool:
        return rule in self._evidence and (not rule.feeds or self.item.feed in rule.feeds)

    def shortfall(self, rule: TermRule) -> _Shortfall:
        return self._shortfall(rule, self.trees[rule], DEFAULT_FIELDS)

    # ── is a part there ──

    def _there(self, rule: TermRule, part: Term, fields: Sequence[Field]) -> bool:
        match part:
            case And(parts):
                return all(self._there(rule, one, fields) for one in parts)
            case Or(parts) if not hyphenated(part):
                return any(self._there(rule, one, fields) for one in parts)
            case Not(inner):
                return not self._there(rule, inner, fields)
            case In(field, inner):
                return self._there(rule, inner, (field,))
        if tuple(fields) == DEFAULT_FIELDS:
            return replace(rule, text=written(part)) in self._evidence
        return any(field in fields for field in self._fields_of(rule, part))

    def _fields_of(self, rule: TermRule, part: Term) -> dict[Field, tuple[Evidence, ...]]:
        """The fields in which a word, a phrase or a near group stands, with the evidence."""
        if isinstance(part, Or) and not hyphenated(part):
            return {field: found for one in part.parts for field, found in self._fields_of(rule, one).items()}
        asked = {field: replace(rule, text=written(In(field, part))) for field in FIELDS}
        return {field: self._evidence[one] for field, one in asked.items() if one in self._evidence}

    # ── and if not, what is missing ──

    def _shortfall(self, rule: TermRule, part: Term, fields: Sequence[Field]) -> _Shortfall:
        match part:
            case And(parts):
                return self._of_all(rule, parts, fields)
            case Or(parts) if not hyphenated(part):
                return self._of_any(rule, parts, fields)
            case Not(inner):
                where = _shown([one for found in self._fields_of_any(rule, inner).values() for one in found])
                return _Shortfall(f"{_named(inner)} is there ({where}) and may not be", 0.9)
            case In(field, inner):
                return self._shortfall(rule, inner, (field,))
            case Near(parts) if len(parts) > 1:
                return self._of_near(rule, part, fields)
            case Phrase(words):
                return self._of_phrase(rule, words, fields)
            case _:
                return self._of_word(rule, part, fields)

    def _fields_of_any(self, rule: TermRule, part: Term) -> dict[Field, tuple[Evidence, ...]]:
        match part:
            case Or() if hyphenated(part):
                return self._fields_of(rule, part)
            case And(parts) | Or(parts):
                found: dict[Field, tuple[Evidence, ...]] = {}
                for one in parts:
                    found |= self._fields_of_any(rule, one)
                return found
            case In(field, inner):
                return {at: found for at, found in self._fields_of_any(rule, inner).items() if at == field}
            case Not():
                return {}
        return self._fields_of(rule, part)

    def _of_all(self, rule: TermRule, parts: Sequence[Term], fields: Sequence[Field]) -> _Shortfall:
        missing = [one for one in parts if not self._there(rule, one, fields)]
        present = [one for one in parts if one not in missing and not isinstance(one, Not)]
        first = self._shortfall(rule, missing[0], fields)
        there = f"{self._list_where(rule, present, fields)}; " if present else ""
        nearness = (len(present) + first.nearness) / (len(present) + len(missing))
        return _Shortfall(there + first.says, min(nearness, 0.95))

    def _of_any(self, rule: TermRule, parts: Sequence[Term], fields: Sequence[Field]) -> _Shortfall:
        nearest = max((self._shortfall(rule, one, fields) for one in parts), key=lambda one: one.nearness)
        verb = "is there" if all(isinstance(one, Word | Phrase) for one in parts) else "is met"
        none = f"none of {', '.join(map(_named, parts))} {verb}"
        if not nearest.nearness:
            return _Shortfall(none)
        return _Shortfall(f"{none}; nearest: {nearest.says}", nearest.nearness)

    def _of_near(self, rule: TermRule, near: Near, fields: Sequence[Field]) -> _Shortfall:
        missing = [one for one in near.parts if not self._there(rule, one, fields)]
        if missing:
            return self._of_all(rule, near.parts, fields)
        within = near.within_words or within_of(self.rules, rule)
        there = self._list_where(rule, near.parts, fields)
        passes = [(self._nearest_pass(rule, near, text), where) for where, text in self._texts(rule, near, fields)]
        measured = [(words, where) for words, where in passes if words is not None]
        if not measured:
            hint = "" if rule.across else " (across: true lets a term reach from the title into the summary)"
            return _Shortfall(f"{there}: near is meant within one field{hint}", 0.8)
        words, where = min(measured)
        apart = f"more than {MOST_WORDS_MEASURED:,}" if words > MOST_WORDS_MEASURED else str(words)
        both = "both are" if len(near.parts) == 2 else "all are"
        spread = f"{both} there, but spread over {apart} words of the {where}; within {within} is asked ({there})"
        return _Shortfall(spread, 0.8 + 0.15 * min(1, within / words))

    def _texts(self, rule: TermRule, near: Near, fields: Sequence[Field]) -> Iterator[tuple[str, str]]:
        """The texts in which the parts of a near group may stand together, with their names."""
        if rule.across and tuple(fields) == DEFAULT_FIELDS and near.within_words is None:
            yield "title and summary", f"{self.item.title}\n{self.item.summary}"
            return
        for field in fields:
            yield field, getattr(self.item, field)

    def _nearest_pass(self, rule: TermRule, near: Near, text: str) -> int | None:
        """How many words the shortest stretch of a text has that holds all parts; None where it does not hold them."""
        words = [unit for unit in units(text) if not unit.joins]
        id = self._lines[replace(rule, text=written(In("title", near)))]
        if not self._loosely(id, text):
            return None
        if len(words) > MOST_WORDS_MEASURED:
            return MOST_WORDS_MEASURED + 1
        return _shortest(words, lambda start, end: self._loosely(id, text[start:end]))

    def _loosely(self, id: str, text: str) -> bool:
        """Whether a text, put as a title, meets a part when any distance is near."""
        return any(match.claim == id for match in self._loose.match(title=text, summary="", feed=self.item.feed))

    def _of_phrase(self, rule: TermRule, words: Sequence[Word], fields: Sequence[Field]) -> _Shortfall:
        phrase = Phrase(tuple(words))
        if elsewhere := self._elsewhere(rule, phrase, fields):
            return elsewhere
        missing = [word for word in words if not self._there(rule, word, fields)]
        if not missing:
            return _Shortfall(f"the words of {written(phrase)} are there, but not one after another", 0.6)
        nearness = 0.5 * (len(words) - len(missing)) / len(words)
        return _Shortfall(
            f"{written(phrase)} is nowhere{_in(fields)}: {self._of_word(rule, missing[0], fields).says}", nearness
        )

    def _of_word(self, rule: TermRule, word: Term, fields: Sequence[Field]) -> _Shortfall:
        if elsewhere := self._elsewhere(rule, word, fields):
            return elsewhere
        line = written(word)
        if not isinstance(word, Word):
            return _Shortfall(f"{line} is nowhere{_in(fields)}")
        if (words := list_named(word, self.rules)) is not None:
            return _Shortfall(f"neither {line} nor one of the {len(words)} words and phrases of its list is there")
        if (word.exact or word.cased) and (other := self._another_form(word, fields)):
            return _Shortfall(f"{line} is there in another form alone: {other}", 0.5)
        alike = self._alike(word, fields)
        return _Shortfall(
            f"{line} is nowhere{_in(fields)}" + (f" (there is {alike})" if alike else ""), 0.2 * bool(alike)
        )

    def _elsewhere(self, rule: TermRule, part: Term, fields: Sequence[Field]) -> _Shortfall | None:
        """A part that stands in a field that the term does not look at."""
        other = next((field for field in self._fields_of(rule, part) if field not in fields), None)
        if other is None:
            return None
        line, where = written(part), _shown(self._fields_of(rule, part)[other])
        if other == "content" and tuple(fields) == DEFAULT_FIELDS:
            return _Shortfall(f"{line} is in the content alone ({where}); to look there, write content:{line}", 0.7)
        return _Shortfall(f"{line} is in the {other} alone ({where}), and is asked in the {' or '.join(fields)}", 0.7)

    def _another_form(self, word: Word, fields: Sequence[Field]) -> str | None:
        wanted = fold(word.text)
        tokens = [token for token in self._tokens(fields) if token[0] == wanted]
        return f"“{tokens[0][1]}”" if tokens else None

    def _alike(self, word: Word, fields: Sequence[Field]) -> str | None:
        """A word of the item that is spelt nearly so: an inflection that was not foreseen, a slip, another spelling."""
        surfaces = dict(reversed(self._tokens(fields)))
        close = difflib.get_close_matches(fold(word.text), list(surfaces), n=1, cutoff=0.75)
        return f"“{surfaces[close[0]]}”" if close else None

    def _tokens(self, fields: Sequence[Field]) -> list[tuple[str, str]]:
        """The folded form and the surface of each word."""
        texts = [getattr(self.item, field) for field in fields]
        return [(token.form, text[token.start : token.end]) for text in texts for token in tokenise(text)]

    def _list_where(self, rule: TermRule, parts: Sequence[Term], fields: Sequence[Field]) -> str:
        said = []
        for part in parts:
            found = [one for field, more in self._fields_of_any(rule, part).items() if field in fields for one in more]
            said.append(f"{_named(part)} is there" + (f" ({_shown(found)})" if found else ""))
        return ", ".join(said)


def _parts(term: Term) -> Iterator[Term]:
    """Every part of a term that has a place in a text: words, phrases with their words, near groups."""
    match term:
        case Or() if hyphenated(term):
            yield term
        case And(parts) | Or(parts):
            for part in parts:
                yield from _parts(part)
        case Not(part) | In(part=part):
            yield from _parts(part)
        case Near(parts) | Phrase(parts):
            yield term
            for part in parts:
                yield from _parts(part)
        case _:
            yield term


def _without_distance(rules: Rules, claims: Sequence[ClaimRule]) -> Rules:
    """The same questions, with any distance near enough."""
    loose = tuple(bare_claim(claim.id, [_loosened(term) for term in claim.terms]) for claim in claims)
    return replace(rules, claims=loose, within_words=_ANYWHERE)


def _loosened(rule: TermRule) -> TermRule:
    return replace(rule, text=written(_without_slop(parse_term(rule.text))), within_words=_ANYWHERE)


def _without_slop(term: Term) -> Term:
    match term:
        case Near(parts):
            return Near(tuple(map(_without_slop, parts))) if len(parts) > 1 else parts[0]
        case And(parts) | Or(parts):
            return replace(term, parts=tuple(map(_without_slop, parts)))
        case Not(part) | In(part=part):
            return replace(term, part=_without_slop(part))
        case _:
            return term


def _shortest(words: Sequence[Unit], holds: Callable[[int, int], bool]) -> int | None:
    """How many words the shortest run of `words` has whose text `holds`: as every run does that one is part of.

    Each shortest run is found by halving, in some twenty questions; a step for each word would take thousands.
    """
    shortest: int | None = None
    first = 0
    while True:
        ends = range(first, len(words))
        last = first + bisect_left(ends, True, key=lambda end: holds(words[first].start, words[end].end))
        if last == len(words):
            return shortest
        starts = range(first, last + 1)
        first += bisect_left(starts, True, key=lambda start: not holds(words[start].start, words[last].end)) - 1
        # Places are half-words: see `words.Unit`.
        length = (words[last].at - words[first].at + 1) // 2 + 1
        shortest = length if shortest is None else min(shortest, length)
        first += 1


def _named(part: Term) -> str:
    return f"({written(part)})" if isinstance(part, Near | And | Or) and not hyphenated(part) else written(part)


def _in(fields: Sequence[Field]) -> str:
    return " in the item" if tuple(fields) == DEFAULT_FIELDS else f" in the {' or '.join(fields)}"


def _shown(evidence: Iterable[Evidence]) -> str:
    """`title: prisoners … exchange`, a field after another."""
    words: dict[str, list[str]] = {}
    for one in evidence:
        words.setdefault(one.field, []).extend(one.surface)
    return "; ".join(f"{field}: {' … '.join(dict.fromkeys(surface))}" for field, surface in words.items())
