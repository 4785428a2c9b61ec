"""What digests say, drawn from the log as it stands at one moment.

What recipients have in common is read, and put into stories, once.

untold matches + edits + last days + coverage ─compose→ the digest of one recipient
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from daemon import queries
from daemon.coverage import Coverage
from daemon.covering import coverage, longest_silence
from daemon.databases import Connection
from daemon.duetimes import STILL_WATCHING_DAYS, is_last_of_day, says_still_watching
from daemon.eventlog import head_of
from daemon.hindsight import found_by_day, revised_since
from daemon.pictures import DayCount
from daemon.queries import Subscription, Untold
from daemon.recipients import Stretch, prepared_for, told_since, untold_stretches
from daemon.rules import DigestRule, Rules
from daemon.tellable import MatchToTell, Revision, digest_id

if TYPE_CHECKING:
    from daemon.digests import StoriesTold
    from daemon.views import DigestView


@dataclass(frozen=True)
class Due:
    """A digest that is to be prepared for a recipient: when it is due, and the due times before that it answers too.

    `again`: it is sent on request, with all matches `since` a moment, told before or not.
    """

    rule: DigestRule
    to: Subscription
    due: datetime
    missed: tuple[datetime, ...] = ()
    again: bool = False
    since: datetime | None = None


class Desk:
    """Where digests of one rule are composed, of one state of the log: the one that `connection` sees, at `now`."""

    def __init__(self, connection: Connection, rules: Rules, now: datetime) -> None:
        self.now, self.head = now, head_of(connection)
        self._connection, self._rules = connection, rules
        self._matches: dict[int, MatchToTell] = {}
        self._told: StoriesTold = {}
        self._counts: dict[tuple[date, ZoneInfo, tuple[str, ...]], list[DayCount]] = {}
        self._coverage: dict[datetime, Coverage] = {}

    def matches(self, due: Due) -> list[MatchToTell]:
        """What it is to tell, oldest first."""
        claims = self._rules.claims_of(due.rule)
        if due.again:
            return queries.matches_since(self._connection, claims, due.since)
        positions = queries.untold_positions(self._connection, untold_of(due.rule, due.to, self._rules))
        unread = [position for position in positions if position not in self._matches]
        self._matches |= {match.position: match for match in queries.matches_at(self._connection, unread)}
        return [self._matches[position] for position in positions]

    def coverage(self, since: datetime) -> Coverage:
        """What was watched since a moment."""
        if since not in self._coverage:
            silence = longest_silence(self._rules)
            self._coverage[since] = coverage(self._connection, since, self.now, silence)
        return self._coverage[since]

    def compose(self, due: Due, matches: Sequence[MatchToTell]) -> DigestView:
        """The digest that tells these matches, and what there is to tell besides."""
        # Loaded here: a watch need not hold what tells stories before it has any to tell.
        from daemon.digests import compose

        rule, to = due.rule, due.to
        name, recipient = rule.name, to.recipient
        stretches = [] if due.again else untold_stretches(self._connection, name, recipient, to.since_position)
        if due.again:
            begin = due.since or min((match.first_seen for match in matches), default=self.now)
        else:
            # Since they were last told: what befell the watch on days that were skipped is told as well.
            begin = stretches[0].after.at if stretches[0].after else to.since
        answered = to.last_due == due.due
        before = prepared_for(self._connection, name, recipient, due.due, resent=due.again, answered=answered)
        view = compose(
            self._rules,
            rule,
            id=digest_id(name, recipient, due.due, resent=due.again, before=before),
            due=due.due,
            missed=due.missed,
            matches=matches,
            coverage=self.coverage(begin),
            log_position=self.head.position,
            head=self.head.chain,
            resent=due.again,
            revisions=self._revisions(due, stretches, matches),
            counts=self._found_by_day(due),
            untold=[_due_times(one) for one in stretches] or [(None, None)],
            told_others=self._told,
        )
        return view if due.again else self._with_notes(view, due, stretches[-1])

    def _revisions(self, due: Due, stretches: Sequence[Stretch], matches: Sequence[MatchToTell]) -> list[Revision]:
        if due.again:
            return []
        return revised_since(self._connection, untold_of(due.rule, due.to, self._rules), stretches, matches)

    def _found_by_day(self, due: Due) -> list[DayCount]:
        zone = ZoneInfo(due.rule.timezone)
        key = due.due.astimezone(zone).date(), zone, self._rules.claims_of(due.rule)
        if key not in self._counts:
            today, _, claims = key
            self._counts[key] = found_by_day(self._connection, claims, today, zone)
        return self._counts[key]

    def _with_notes(self, view: DigestView, due: Due, last: Stretch) -> DigestView:
        rule = due.rule
        told_at = last.after.due if last.after else due.to.since
        still_watching = view.empty and rule.when_empty == "skip" and says_still_watching(rule, told_at, due.due)
        lately = told_lately(self._connection, rule, due.to, self.now)
        return replace(view, still_watching=still_watching, notes=tuple(_notes(rule, due.due, lately, still_watching)))


def untold_of(rule: DigestRule, to: Subscription, rules: Rules) -> Untold:
    """What a recipient is still to be told under a digest's name: alerts tell news alone."""
    return Untold(rule.name, to.recipient, rules.claims_of(rule), to.since_position, rule.every_seconds is not None)


def told_lately(connection: Connection, rule: DigestRule, to: Subscription, now: datetime) -> list[datetime]:
    """The due times of the alerts that count for the limit of a day, in whatever zone."""
    return told_since(connection, rule.name, to.recipient, now - timedelta(days=2)) if rule.at_most else []


def _due_times(stretch: Stretch) -> tuple[datetime | None, datetime | None]:
    return stretch.after.due if stretch.after else None, stretch.upto.due if stretch.upto else None


def _notes(rule: DigestRule, due: datetime, told: Sequence[datetime], still_watching: bool) -> Iterator[str]:
    if still_watching:
        days = STILL_WATCHING_DAYS
        yield f"Nothing was new for {days} days; this only says that the watch goes on, and what it covered."
    if is_last_of_day(rule, due, told):
        yield f"No further alert comes today (at_most: {rule.at_most}/day); what comes in waits for tomorrow's first."
