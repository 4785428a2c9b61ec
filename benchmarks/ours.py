"""Our matcher as the benchmarks of matching call it: the one place to change when the way in changes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmarks.term_sets import CorpusItem
from daemon.lexicon import forms_of
from daemon.matching import Match, Matcher, compile_rules
from daemon.rules import Rules


def compiled(rules: Rules, news: Iterable[str] = ()) -> Matcher:
    """A matcher for rules that nobody compiled before, by a watch whose log holds this news."""
    return compile_rules(rules, forms_of, news=news)


def recompiled(rules: Rules, before: Matcher) -> Matcher:
    """A matcher for rules of which `before` knows nearly all."""
    return compile_rules(rules, forms_of, before)


def match_all(matcher: Matcher, items: Sequence[CorpusItem]) -> list[tuple[Match, ...]]:
    """The matches of each item."""
    return [matcher.match(title=item.title, summary=item.summary) for item in items]


def terms_met(matches: Sequence[Match]) -> set[str]:
    """The terms, as they were written, that an item meets."""
    return {one.term for match in matches for one in match.evidence}
