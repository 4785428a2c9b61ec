"""Whether the watch does well, for monitors: from the log, the poll cache and the log's lock, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from daemon import queries, troubles
from daemon.assembly import Installation
from daemon.locks import holder_of
from daemon.moments import rough_span
from daemon.notices import Operator, Trouble, patience

SILENT_TOO_LONG = timedelta(minutes=15)
"""A watch with feeds that are due, which did nothing for so long, hangs: a round asks a feed every few seconds."""
MOST_NAMES = 5
_RUN = "claimwatch run"

State = Literal["well", "in trouble", "not running", "unreadable"]


@dataclass(frozen=True)
class Health:
    """How the watch does, why in one line, and the troubles that an operator would be told of by now."""

    state: State
    why: str
    last_awake: datetime | None = None
    troubles: tuple[Trouble, ...] = ()

    @property
    def exit_code(self) -> int:
        """As monitors take it: fine, warning, critical."""
        return {"well": 0, "in trouble": 1}.get(self.state, 2)


def health_of(installation: Installation, now: datetime) -> Health:
    """Reads the log. Raises ClaimwatchError where it can't be read."""
    settings = installation.settings
    holder = holder_of(settings.database)
    with installation.log.reading() as connection:
        look = troubles.look(connection, settings.rules.intervals, now)
        awake = queries.last_awake(connection)
        dues = [feed.next_due for feed in queries.feed_health(connection) if feed.next_due]
    standing = standing_long_enough(look.troubles, settings.operator or Operator(()), now)
    named = tuple(replace(one, about=settings.addresses.get(one.about, one.about)) for one in standing)
    return judged(holder, awake, min(dues, default=None), named, now)


def standing_long_enough(found: Iterable[Trouble], operator: Operator, now: datetime) -> tuple[Trouble, ...]:
    """The troubles that an operator is told of: a feed that failed once is none yet."""
    return tuple(one for one in found if not one.covered and now - one.since >= patience(one.kind, operator))


def judged(
    holder: str | None,
    awake: datetime | None,
    earliest_due: datetime | None,
    standing: tuple[Trouble, ...],
    now: datetime,
) -> Health:
    """The state, by who holds the log's lock, when the watch was awake last, when a feed was due first, and what
    stands against it."""
    seen = f"last awake {rough_span(now - awake)} ago" if awake else "it has done nothing yet"
    if holder is None or not holder.startswith(_RUN):
        return Health("not running", f"{holder} is at work; {seen}" if holder else seen, awake, standing)
    if awake and earliest_due and max(awake, earliest_due) < now - SILENT_TOO_LONG:
        due = f"feeds are due for {rough_span(now - earliest_due)}"
        return Health("in trouble", f"{holder} hangs: {due}, and it was {seen}", awake, standing)
    if standing:
        return Health("in trouble", "; ".join(_by_kind(standing)), awake, standing)
    return Health("well", f"{holder} watches; {seen}", awake)


def _by_kind(standing: Iterable[Trouble]) -> Iterable[str]:
    kinds: dict[str, list[str]] = {}
    for one in standing:
        kinds.setdefault(one.kind, []).append(one.about)
    for kind, names in kinds.items():
        more = ", …" if len(names) > MOST_NAMES else ""
        named = ", ".join(filter(None, names[:MOST_NAMES])) + more
        yield f"{kind}: {named}" if named else kind
