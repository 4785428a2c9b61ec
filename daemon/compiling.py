"""From the tree that a person wrote to what is looked for: word lists put in, words numbered."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from daemon.readings import ACROSS, CONTENT, SUMMARY, TITLE, Axis
from daemon.rules import TermRule
from daemon.searching import (
    EITHER,
    All,
    Any,
    Close,
    Leaf,
    Local,
    Node,
    Row,
    Some,
    Within,
    Without,
)
from daemon.terms import And, In, Near, Not, Or, Phrase, Term, Word, parse_term
from daemon.vocabulary import Numbers, Vocabulary
from daemon.words import fold

_AXES = {"title": TITLE, "summary": SUMMARY, "content": CONTENT}
_ACROSS = (ACROSS,)
_LEAF = frozenset((Leaf,))
_NO_LISTS = frozenset[str]()
"""One for all terms without: each new one would take 216 bytes."""


class CompiledTerm(NamedTuple):
    """A term of a claim, ready to be looked for. `lists` are the word lists that it names, folded."""

    claim: str
    rule: TermRule
    never: bool
    node: Node
    lists: frozenset[str]
    reads_content: bool

    @property
    def axes(self) -> tuple[Axis, ...]:
        return _ACROSS if self.rule.across else EITHER


class Compiler:
    """Makes nodes of trees, for one vocabulary and one set of word lists."""

    def __init__(self, vocabulary: Vocabulary, words: Mapping[str, Sequence[str]], within_words: int) -> None:
        self._vocabulary = vocabulary
        self._within_words = within_words
        self._lists = {fold(name): (name, *entries) for name, entries in words.items()}
        self._nodes: dict[str, Local] = {}
        self._leaves: dict[int, Leaf] = {}
        self._plain: dict[str, Leaf] = {}
        """The same for words that are inflected, as they are written."""
        self._known_widths: dict[Numbers, Numbers] = {}
        self._named: set[str] = set()
        self._reads_content = False

    def compiled(self, claim: str, rule: TermRule, tree: Term, *, never: bool) -> CompiledTerm:
        """A term as a user wrote it, and its tree, ready to be looked for. Raises TermError for a line of a word list
        that can't be read."""
        self._reads_content = False
        node = self._node(tree, 2 * ((rule.within_words or self._within_words) - 1))
        lists = _NO_LISTS
        if self._named:
            lists, self._named = frozenset(self._named), set()
        return CompiledTerm(claim, rule, never, node, lists, self._reads_content)

    def _node(self, term: Term, reach: int) -> Node:
        match term:
            case And(parts):
                return All(tuple([self._node(part, reach) for part in parts]))
            case Or(parts):
                nodes = tuple([self._node(part, reach) for part in parts])
                local = tuple([node for node in nodes if isinstance(node, Local)])
                return Any(local) if len(local) == len(nodes) else Some(nodes)
            case Not(part):
                return Without(self._node(part, reach))
            case In(field, part):
                self._reads_content |= field == "content"
                return Within(_AXES[field], self._node(part, reach))
            case _:
                return self._local(term, reach)

    def _local(self, term: Term, reach: int) -> Local:
        if isinstance(term, Word):
            return self._word(term)
        if isinstance(term, Phrase):
            numbers = tuple(map(self._vocabulary.number, term.words))
            return Row(numbers, self._widths(numbers))
        if isinstance(term, Near):
            if term.within_words is None:
                # Where one has no place, the others are not looked for: the cheap ones first.
                parts = [self._local(part, reach) for part in term.parts]
                if not _LEAF.issuperset(map(type, parts)):
                    parts.sort(key=_breadth)
                return Close(tuple(parts), reach)
            # A phrase with room in it: as in any phrase, its words stand for themselves.
            numbers = tuple([self._vocabulary.number(part) for part in term.parts if isinstance(part, Word)])
            return Close(tuple(map(self._leaf, numbers)), 2 * (term.within_words - 1))
        if isinstance(term, Or):
            return Any(tuple([self._local(part, reach) for part in term.parts]))
        raise AssertionError(f"{type(term).__name__} has no place in a text; the parser refuses it here")

    def _widths(self, numbers: Numbers) -> Numbers:
        widths = tuple(map(self._vocabulary.width, numbers))
        return self._known_widths.setdefault(widths, widths)

    def _word(self, word: Word) -> Local:
        if word.exact or word.prefix:
            return self._leaf(self._vocabulary.number(word))
        leaf = self._plain.get(word.text)
        if leaf is None:
            if self._lists and (folded := fold(word.text)) in self._lists:
                return self._list(folded)
            leaf = self._plain[word.text] = self._leaf(self._vocabulary.number(word))
        return leaf

    def _leaf(self, number: int) -> Leaf:
        # One object for one word: at 100,000 terms, those that share words are most of the memory.
        leaf = self._leaves.get(number)
        if leaf is None:
            leaf = self._leaves[number] = Leaf(number)
        return leaf

    def _list(self, name: str) -> Local:
        self._named.add(name)
        if name not in self._nodes:
            self._nodes[name] = self._any_of(map(entry, self._lists[name]))
        return self._nodes[name]

    def _any_of(self, terms: Iterable[Term]) -> Local:
        words: set[int] = set()
        others: list[Local] = []
        for term in _alternatives(terms):
            if isinstance(term, Word):
                words.add(self._vocabulary.number(term))
            else:
                others.append(self._local(term, 0))
        if words:
            number = self._vocabulary.group(frozenset(words)) if len(words) > 1 else next(iter(words))
            others.insert(0, self._leaf(number))
        return others[0] if len(others) == 1 else Any(tuple(others))


def entry(text: str) -> Term:
    """A line of a word list as a term: its words in a row, `=word` and `word*` as in a term."""
    return parse_term(text if text[:1] == "=" or text[-1:] == "*" else f'"{text}"')


def _breadth(node: Local) -> int:
    """How much there is to look for at most."""
    match node:
        case Any(parts) | Close(parts):
            return sum(map(_breadth, parts))
        case Row(numbers):
            return len(numbers)
        case _:
            return 1


def _alternatives(terms: Iterable[Term]) -> Iterator[Term]:
    for term in terms:
        if isinstance(term, Or):
            yield from _alternatives(term.parts)
        else:
            yield term
