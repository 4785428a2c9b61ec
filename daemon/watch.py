"""`Watch` is what every command works with: the log, the rules, their compiled terms and a clock."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Protocol

from daemon.eventlog import EventLog
from daemon.lexicon import forms_of
from daemon.matching import Matcher, compile_rules
from daemon.rules import FeedRule, Rules
from daemon.storeditems import newest_texts

MANY_TERMS = 1_000
"""Terms from which on it pays to learn, from what is stored, which of their words are rare."""
TEXTS_TO_LEARN_FROM = 500


class Clock(Protocol):
    """Tells the present, as an aware UTC time."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class Watch:
    """A rule set at work on a log."""

    log: EventLog
    rules: Rules
    clock: Clock
    before: Matcher | None = field(default=None, repr=False)
    """What terms that have not changed are taken over from."""
    _compiling: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False, compare=False)

    @classmethod
    def over(cls, log: EventLog, rules: Rules, clock: Clock | None = None, before: Matcher | None = None) -> Watch:
        """The watch of `rules` over `log`."""
        return cls(log, rules, clock or SystemClock(), before)

    @cached_property
    def polled_feeds(self) -> dict[str, FeedRule]:
        """The feeds that are to be polled, by id."""
        return {feed.id: feed for feed in self.rules.polled_feeds}

    @property
    def matcher(self) -> Matcher:
        """The compiled terms. Made when they are first asked for: what only sends or tells needs no dictionaries."""
        # A poll and a backfill ask in threads of their own, and `cached_property` alone lets both compile.
        with self._compiling:
            return self._compiled

    @cached_property
    def _compiled(self) -> Matcher:
        matcher = compile_rules(self.rules, forms_of, self.before, self._news())
        # Held no longer than it is needed: it has a memory of its own of what words meet, which grows with each item.
        object.__setattr__(self, "before", None)
        return matcher

    def _news(self) -> Iterator[str]:
        # Read only where somebody asks: terms that are taken over brought what was learnt with them.
        if sum(len(claim.terms) for claim in self.rules.watched_claims) >= MANY_TERMS:
            with self.log.reading() as connection:
                yield from newest_texts(connection, TEXTS_TO_LEARN_FROM)
