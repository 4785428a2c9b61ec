"""Prepared digests handed over.

    digest_prepared ─hand_over→ delivery_started → its outcome

The message is fixed before it is sent (`preparing`), and `delivery_started` stands before every attempt: a crash
anywhere repeats at most the same message under the same Message-ID.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from daemon import queries
from daemon.cancelling import NO_RECIPIENT, cancel, cancel_outdated, rests
from daemon.events import (
    DeliveryAccepted,
    DeliveryDeferred,
    DeliveryRefused,
    DeliveryStarted,
    DeliveryUncertain,
    DigestPrepared,
    NewEvent,
    Recorded,
)
from daemon.handovers import Accepted, Deferred, Handover, Refused
from daemon.mailing import hand_over, one_round
from daemon.moments import doubled
from daemon.preparing import Post
from daemon.queries import Waiting
from daemon.recipients import is_named
from daemon.rendering import unpack
from daemon.service import Watch, beside_the_loop, record_first

logger = logging.getLogger(__name__)

LONGEST_TRYING = timedelta(days=5)
"""How long a delivery is tried before its matches are given back: RFC 5321, 4.5.4.1, asks mail servers for the same."""
FIRST_RETRY = timedelta(minutes=1)
LONGEST_RETRY = timedelta(hours=4)
ALONG = timedelta(seconds=15)
"""How much before its time a delivery is tried when others are: a round defers its many one after the other."""


async def deliver(watch: Watch, post: Post, *, mended: datetime | None = None) -> list[Recorded]:
    """Hands over every prepared digest whose time to try has come; returns the outcomes.

    `mended`: also those that were put off until then, because what was in their way may have been mended just then.
    Where one can't be read or recorded, its error is raised once all others are handed over.
    """
    now = watch.clock.now()
    outcomes = await beside_the_loop(cancel_outdated, watch)
    with watch.log.reading() as connection:
        waiting = [one for one in queries.waiting_deliveries(connection) if not rests(watch.rules, one)]
    if not (due := _due(waiting, now, mended)):
        return outcomes
    failed: Exception | None = None
    async with one_round(post.carrier) as carrier:
        for one in due:
            try:
                outcomes += await _deliver_one(watch, replace(post, carrier=carrier), one)
            except Exception as error:  # noqa: BLE001 - a damaged message, a log that is away: whatever it is
                # What one fails on holds up no other; it is told at the end, and tried again.
                logger.error("action=delivery_failed digest=%s: %s", one.digest, error)
                failed = failed or error
    if failed:
        raise failed
    return outcomes


def _due(waiting: Sequence[Waiting], now: datetime, mended: datetime | None) -> list[Waiting]:
    """Those whose time to try has come, and with them those whose time is near: one connection serves them all."""
    come = [_has_come(one, now, mended) for one in waiting]
    if not any(come):
        return []
    return [one for one, has in zip(waiting, come, strict=True) if has or _has_come(one, now + ALONG, mended)]


def _has_come(one: Waiting, now: datetime, mended: datetime | None) -> bool:
    # What is further off than any pause was set by a clock that stood ahead.
    if one.retry_at is None or not now < one.retry_at <= now + LONGEST_RETRY:
        return True
    return mended is not None and one.retry_at - _pause(one.attempts) <= mended <= now


def _pause(attempts: int) -> timedelta:
    """How long after so many attempts the next one waits."""
    return doubled(FIRST_RETRY, attempts - 1, LONGEST_RETRY)


async def _deliver_one(watch: Watch, post: Post, one: Waiting) -> list[Recorded]:
    stream, attempt = f"digest/{one.digest}", one.attempts + 1
    with watch.log.reading() as connection:
        prepared = queries.prepared_digest(connection, one.digest)
        # feeds.yaml may have changed while the one before was handed over.
        named = is_named(connection, one.recipient)
    assert prepared is not None
    assert isinstance(prepared.event, DigestPrepared)
    address = post.addresses.get(one.recipient) if named else None
    if address is None:
        return await beside_the_loop(cancel, watch, one, NO_RECIPIENT)
    begin: list[NewEvent] = []
    if one.state == "started":
        begin.append(NewEvent(stream, DeliveryUncertain(one.attempts), one.version))
    begin.append(NewEvent(stream, DeliveryStarted(attempt, post.carrier.via), one.version + len(begin)))
    if not (started := await beside_the_loop(record_first, watch, begin, "delivery")):
        return []
    message = unpack(prepared.event.message)
    handover = await hand_over(post.carrier, message, address, prepared.event.message_id, one.prepared_at)
    outcome = _outcome(handover, one, attempt, watch.clock.now())
    logger.debug("action=%s digest=%s attempt=%d", outcome.kind, one.digest, attempt)
    return await beside_the_loop(record_first, watch, [NewEvent(stream, outcome, started[-1].version)], "delivery")


def _outcome(
    handover: Handover, one: Waiting, attempt: int, now: datetime
) -> DeliveryAccepted | DeliveryDeferred | DeliveryRefused:
    match handover:
        case Accepted(answer):
            return DeliveryAccepted(answer)
        case Refused(reason):
            return DeliveryRefused(reason)
        case Deferred(reason):
            retry_at = now + _pause(attempt)
            if retry_at - (one.first_attempt or now) > LONGEST_TRYING:
                return DeliveryRefused(f"given up after {attempt} attempts in five days: {reason}", gave_up=True)
            return DeliveryDeferred(reason, retry_at)
