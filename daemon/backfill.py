"""After the rules changed: new and changed terms are matched against every item that is stored.

    rules_changed ─stored items→ after_rematching → events ─append+project→ … → backfill_finished

It goes over the items in chunks, in order, each a transaction of its own that holds the writer's turn for some tens of
milliseconds: polls come in between. Killed anywhere, it goes on with the next chunk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from daemon import knowledge, queries
from daemon.databases import Connection
from daemon.eventlog import last_position_of
from daemon.events import BackfillFinished, NewEvent, RulesChanged
from daemon.knowledge import BackfillState
from daemon.projections import record
from daemon.rematching import after_rematching
from daemon.service import Watch

SMALLEST_CHUNK, FIRST_CHUNK, LARGEST_CHUNK = 10, 25, 1_000
"""Items. How many are right depends on how long they are, how many match, and the machine; fewer cost more each."""
CHUNK_SECONDS = 0.025
"""How long a chunk should take: a poll that waits for its turn meanwhile hardly notices."""


@dataclass(frozen=True)
class Progress:
    """How far a backfill is: `done` of `items` looked at for `claims`. `finished` is what it came to in the end."""

    claims: tuple[str, ...]
    done: int
    items: int
    finished: BackfillFinished | None = None


@dataclass
class Backfill:
    """One backfill to be done: for these claims, because of the `rules_changed` at this position."""

    watch: Watch
    rules_position: int
    claims: tuple[str, ...]
    items: int
    chunk_items: int = FIRST_CHUNK

    def advance(self) -> Progress | None:
        """Looks at the next chunk of items and records what follows. None when the rules have changed since.

        Once `finished` stands in what it returns, there is no more to do.
        """
        begun = time.monotonic()
        progress = self._advance()
        seconds = time.monotonic() - begun
        # By a half at most, up or down: one slow fsync is no reason to crawl.
        fit = min(max(CHUNK_SECONDS / max(seconds, 0.001), 0.5), 1.5)
        self.chunk_items = min(max(int(self.chunk_items * fit), SMALLEST_CHUNK), LARGEST_CHUNK)
        return progress

    def _advance(self) -> Progress | None:
        # Compiled before it is this one's turn to write: many terms take seconds.
        wanted, matcher = frozenset(self.claims), self.watch.matcher
        with self.watch.log.transaction(self.watch.clock.now()) as transaction:
            connection = transaction.connection
            if last_position_of(connection, RulesChanged.kind) != self.rules_position:
                return None
            before = knowledge.backfill_state(connection, self.rules_position)
            stored = knowledge.stored_items(connection, before.item_position, self.chunk_items)
            record(transaction, [event for one in stored.items for event in after_rematching(one, wanted, matcher)])
            done = before.items + stored.count
            if stored.last_position is not None:
                state = BackfillState(stored.last_position, done)
                knowledge.keep_backfill_state(connection, self.rules_position, state)
                return Progress(self.claims, done, max(self.items, done))
            came_to = knowledge.rematched_since(connection, self.rules_position)
            finished = BackfillFinished(self.watch.rules.sha256, self.claims, done, **vars(came_to))
            record(transaction, [NewEvent("watch", finished)])
            knowledge.keep_backfill_state(connection, self.rules_position, None)
            return Progress(self.claims, done, done, finished)


def waiting(watch: Watch) -> Backfill | None:
    """The backfill that the log waits for, under these rules; None when there is none."""
    with watch.log.reading() as connection:
        changed = queries.waiting_backfill(connection)
        if changed is None or changed.event.sha256 != watch.rules.sha256:
            return None
        return Backfill(watch, changed.position, changed.event.rematch, queries.counts(connection)["items"])


def progress_in(connection: Connection) -> Progress | None:
    """How far the waiting backfill is, for somebody who only looks; None when there is none."""
    changed = queries.waiting_backfill(connection)
    if changed is None:
        return None
    done = knowledge.backfill_state(connection, changed.position).items
    return Progress(changed.event.rematch, done, max(queries.counts(connection)["items"], done))


def catch_up(watch: Watch, told: Callable[[Progress], None] = lambda _progress: None) -> BackfillFinished | None:
    """Does the waiting backfill to its end, at once; None when there is none. `told` hears of each chunk."""
    backfill = waiting(watch)
    while backfill and (step := backfill.advance()):
        told(step)
        if step.finished:
            return step.finished
    return None
