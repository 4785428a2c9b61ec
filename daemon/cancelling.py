"""Prepared digests that nobody is to get any more: their recipient or a claim that they tell of left feeds.yaml.

What may have left is never taken back: a digest that was tried once goes on, or ends where its recipient is gone, and
its matches stay told.
"""

from __future__ import annotations

import logging

from daemon import queries
from daemon.databases import Connection
from daemon.events import DeliveryCancelled, DeliveryUncertain, NewEvent, Recorded
from daemon.queries import Waiting
from daemon.recipients import claims_told
from daemon.rules import Rules
from daemon.service import Watch, record_first

logger = logging.getLogger(__name__)

NO_RECIPIENT = "the recipient is no longer in feeds.yaml"


def cancel_outdated(watch: Watch) -> list[Recorded]:
    """Cancels every waiting digest that today's rules would not send; what is left of it falls due again."""
    with watch.log.reading() as connection:
        reasons = [(one, _reason(connection, watch.rules, one)) for one in queries.waiting_deliveries(connection)]
    return [recorded for one, reason in reasons if reason for recorded in cancel(watch, one, reason)]


def cancel(watch: Watch, one: Waiting, reason: str) -> list[Recorded]:
    """Ends one delivery; nothing where somebody else took it in hand."""
    logger.info("action=delivery_cancelled digest=%s: %s", one.digest, reason)
    events = [NewEvent(f"digest/{one.digest}", DeliveryUncertain(one.attempts), one.version)] * (one.state == "started")
    cancelled = DeliveryCancelled(reason, may_have_left=one.attempts > 0)
    events.append(NewEvent(f"digest/{one.digest}", cancelled, one.version + len(events)))
    return record_first(watch, events, "delivery")[-1:]


def _reason(connection: Connection, rules: Rules, one: Waiting) -> str | None:
    rule = next((digest for digest in rules.digests if digest.name == one.name), None)
    if rule is None or (one.recipient not in rule.recipients and not (one.resent and _is_named(rules, one.recipient))):
        return NO_RECIPIENT
    if one.attempts:
        return None
    gone = claims_told(connection, one.digest) - set(rules.claims_of(rule))
    return f"it tells of what is watched no more: {', '.join(sorted(gone))}" if gone else None


def _is_named(rules: Rules, recipient: str) -> bool:
    return any(recipient in digest.recipients for digest in rules.digests)
