"""What a digest asks of the log besides its matches: what was changed since of what was told, and the last days."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, exists, func, select

from daemon.decisions import FUTURE_TOLERANCE
from daemon.eventlog import read
from daemon.events import ItemRevised, ItemSeen
from daemon.moments import parse_timestamp, timestamp
from daemon.pictures import DAYS, DayCount
from daemon.queries import Untold, to_tell
from daemon.recipients import Stretch
from daemon.rules import Stance
from daemon.tables import DigestMatchRow, DigestRow, ItemRow, MatchRow, RevisionRow, table_of
from daemon.tellable import MatchToTell, Revision

_item, _match, _text = map(table_of, (ItemRow, MatchRow, RevisionRow))
_digest, _digest_match = table_of(DigestRow), table_of(DigestMatchRow)


def found_by_day(connection: Connection, claims: Sequence[str], today: date, zone: ZoneInfo) -> list[DayCount]:
    """How many items each claim got on each of the last days, by their own date, else by when they were first seen."""
    when = func.coalesce(_item.c.published, _item.c.first_seen)
    since = datetime.combine(today - timedelta(days=DAYS - 1), time(), zone)
    # A quotation mark within a string is written \" there, so only the key itself can read like this.
    sides = [_match.c.evidence.like(f'%"stance": "{side}"%') for side in ("supports", "contradicts")]
    standing = _match.c.claim.in_(claims) & _match.c.current & _match.c.lapsed_at.is_(None)
    # No match is older than its item's date but for what publishers date ahead; this spares looking at most items.
    lately = _match.c.at >= timestamp(since - FUTURE_TOLERANCE)
    query = (
        select(_match.c.claim, when, *sides)
        .join(_item, _item.c.id == _match.c.item)
        .where(standing, lately, when >= timestamp(since))
    )
    counts: Counter[tuple[str, date, Stance]] = Counter()
    for claim, moment, supports, contradicts in connection.execute(query):
        stance: Stance = "mentions" if supports == contradicts else "supports" if supports else "contradicts"
        counts[claim, parse_timestamp(moment).astimezone(zone).date(), stance] += 1
    return [DayCount(*key, count) for key, count in sorted(counts.items())]


def revised_since(
    connection: Connection, untold: Untold, stretches: Sequence[Stretch], telling: Sequence[MatchToTell]
) -> list[Revision]:
    """Matches of items that their publishers changed: those that this recipient was told of by that digest, changed
    within stretches that they were not told of, by the text that stood before; and those `telling` now, by the text
    that they were made on."""
    changed = (_item.c.text_position > _item.c.position) & ~_item.c.redacted & _match.c.claim.in_(untold.claims)
    held = exists().where(
        _digest_match.c.name == untold.digest,
        _digest_match.c.recipient == untold.recipient,
        _digest_match.c.match == _match.c.position,
        # Not by one of an earlier time, before they were taken out of feeds.yaml and named anew.
        _digest.c.id == _digest_match.c.digest,
        _digest.c.position > untold.after_position,
    )
    found: dict[int, Revision] = {}
    for stretch in stretches:
        after, upto = (one.position if one else 0 for one in (stretch.after, stretch.upto))
        # By what was changed, which is little, and not by all that was ever told: of 100,000 that took a second.
        lately = select(_text.c.item).where(_text.c.position > after)
        if upto:
            lately = lately.where(_text.c.position <= upto)
        for match in to_tell(connection, changed & _match.c.item.in_(lately) & _match.c.current & held):
            if match.position not in found:
                # What was made since that digest was told on request alone, as it stood when it was made.
                for revision in _revision(connection, match, known_up_to=max(after, match.position)):
                    found[match.position] = revision
    if telling:
        there = {match.position for match in telling}
        fresh = select(_match.c.position).join(_item, _item.c.id == _match.c.item)
        fresh = fresh.where(changed, _match.c.position.between(min(there), max(there)))
        revised = there.intersection(connection.scalars(fresh)) - found.keys()
        for match in telling:
            if match.position in revised:
                for revision in _revision(connection, match, known_up_to=match.position):
                    found[match.position] = revision
    return list(found.values())


def _revision(connection: Connection, match: MatchToTell, *, known_up_to: int) -> Iterator[Revision]:
    """What became of an item's text after a position: nothing, where the text of that time is the present one."""
    row = connection.execute(
        select(_item.c.id, _item.c.text_position)
        .join(_match, _match.c.item == _item.c.id)
        .where(_match.c.position == match.position)
    ).one()
    stood = select(func.max(_text.c.position)).where(_text.c.item == row.id, _text.c.position <= known_up_to)
    stood_at = connection.scalar(stood)
    if stood_at is None or stood_at == row.text_position:
        return
    before, after = (next(read(connection, after=at - 1, upto=at)) for at in (stood_at, row.text_position))
    if isinstance(before.event, ItemSeen | ItemRevised) and isinstance(after.event, ItemSeen | ItemRevised):
        again = select(_match.c.position).where(
            _match.c.item == row.id, _match.c.claim == match.claim, _match.c.current, _match.c.lapsed_at.is_(None)
        )
        bears = connection.scalar(again.limit(1)) is not None
        yield Revision(replace(match, lapsed_at=None) if bears else match, before.event, after.event, after.at)
