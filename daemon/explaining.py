"""Why a term met an item: its parse tree, with the words that met each part.

Nothing here knows how a matcher works: parts of a term are written as terms of their own, and the matcher is asked
about each of them. That is slow, and always what the matcher itself would say.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from daemon.events import Evidence
from daemon.matching import Matcher
from daemon.notation import hyphenated, written
from daemon.rules import Rules, TermRule
from daemon.terms import And, Field, In, Near, Not, Or, Phrase, Term, Word, parse_term
from daemon.trials import StoredItem, bare_claim
from daemon.words import fold

Compile = Callable[[Rules], Matcher]
DEFAULT_FIELDS: tuple[Field, ...] = ("title", "summary")
MOST_WORDS_IN_A_LEAF = 8
"""A word list may hold phrases; none of those shipped has more than five words."""


@dataclass(frozen=True)
class Met:
    """A stretch of a field that met a word or phrase of a term: `[start, end)` and the words as they stood."""

    field: Field
    start: int
    end: int
    surface: str


@dataclass(frozen=True)
class Branch:
    """A part of a term in words, what met it (words and phrases alone have that), and its own parts."""

    says: str
    met: tuple[Met, ...] = ()
    parts: tuple[Branch, ...] = ()


def tree_of(term: TermRule, rules: Rules, item: StoredItem, evidence: Sequence[Evidence], compile: Compile) -> Branch:
    """The parse tree of a term that met `item`, with the words of the evidence at the leaves that they met."""
    tree = parse_term(term.text)
    leaves = list(dict.fromkeys(_leaves(tree)))
    claims = tuple(bare_claim(str(at), [TermRule(written(leaf))]) for at, leaf in enumerate(leaves))
    matcher = compile(replace(rules, claims=claims))
    met: dict[Term, list[Met]] = {leaf: [] for leaf in leaves}
    for one in evidence:
        for stretch, claim in _stretches(one, getattr(item, one.field), matcher):
            met[leaves[claim]].append(stretch)
    return _Drawing(met, rules, term).branch(tree, DEFAULT_FIELDS)


def _leaves(term: Term) -> Iterator[Term]:
    match term:
        case Or() if hyphenated(term):
            yield term
        case Near(parts) | And(parts) | Or(parts):
            for part in parts:
                yield from _leaves(part)
        case Not(part) | In(part=part):
            yield from _leaves(part)
        case _:
            yield term


def _stretches(evidence: Evidence, text: str, matcher: Matcher) -> Iterator[tuple[Met, int]]:
    """The shortest stretches of the evidence's words that meet a leaf, with the leaf's number."""
    taken: set[tuple[int, int]] = set()
    for length in range(1, min(len(evidence.spans), MOST_WORDS_IN_A_LEAF) + 1):
        for at in range(len(evidence.spans) - length + 1):
            start, end = evidence.spans[at][0], evidence.spans[at + length - 1][1]
            # Of a text that was taken out, the evidence has kept the words.
            surface = text[start:end] or " ".join(evidence.surface[at : at + length])
            for match in matcher.match(title=surface, summary=""):
                leaf = int(match.claim)
                if not any((leaf, inner) in taken for inner in range(at, at + length)):
                    taken |= {(leaf, inner) for inner in range(at, at + length)}
                    yield Met(evidence.field, start, end, surface), leaf


@dataclass(frozen=True)
class _Drawing:
    met: Mapping[Term, Sequence[Met]]
    rules: Rules
    rule: TermRule

    def branch(self, term: Term, fields: Sequence[Field]) -> Branch:
        match term:
            case And(parts):
                return self._with("all of these, anywhere in the item", parts, fields)
            case Or(parts) if not hyphenated(term):
                return self._with("one of these", parts, fields)
            case Near(parts, within_words):
                within = within_words or within_of(self.rules, self.rule)
                where = ", from title to summary too" if self.rule.across and within_words is None else ", in one field"
                return self._with(f"near each other: within {within} words{where}", parts, fields)
            case In(field, part):
                return self._with(f"in the {field} alone", (part,), (field,))
            case Not(part):
                return Branch(f"not there: {written(part)}")
            case _:
                met = tuple(one for one in self.met[term] if one.field in fields)
                return Branch(_leaf_in_words(term, self.rules), met)

    def _with(self, says: str, parts: Iterable[Term], fields: Sequence[Field]) -> Branch:
        return Branch(says, parts=tuple(self.branch(part, fields) for part in parts))


def within_of(rules: Rules, rule: TermRule) -> int:
    """How many words near spans in this term, where it does not say so itself."""
    return rule.within_words or rules.within_words


def _leaf_in_words(term: Term, rules: Rules) -> str:
    line = written(term)
    if isinstance(term, Phrase):
        return f"{line} (a phrase)"
    if not isinstance(term, Word):
        return line
    if (words := list_named(term, rules)) is not None:
        return f"{line} (a word list of {len(words)})"
    if term.cased:
        return f"{line} (in this form and case alone)"
    if term.exact:
        return f"{line} (in this form alone)"
    return f"{line} (what begins so)" if term.prefix else line


def list_named(word: Word, rules: Rules) -> tuple[str, ...] | None:
    """The word list that a word of a term names."""
    if word.exact or word.prefix:
        return None
    return next((words for name, words in rules.words.items() if fold(name) == fold(word.text)), None)
