"""Prepared digests that nobody is to get any more: feeds.yaml has another mind about their recipient, or a claim.

What may have left is never taken back: a digest that was tried once goes on, or ends where its recipient is gone, and
its matches stay told.
"""

from __future__ import annotations

import logging

from daemon import queries
from daemon.databases import Connection
from daemon.events import DeliveryCancelled, DeliveryUncertain, NewEvent, Recorded
from daemon.queries import Waiting
from daemon.rules import DigestRule, Rules
from daemon.service import Watch, record_first

logger = logging.getLogger(__name__)

NO_RECIPIENT = "the recipient is no longer in feeds.yaml"
SWITCHED_OFF = "the digest is switched off in feeds.yaml"


def cancel_outdated(watch: Watch) -> list[Recorded]:
    """Cancels every waiting digest that today's rules would not send; what is left of it falls due again."""
    with watch.log.reading() as connection:
        waiting = queries.waiting_deliveries(connection)
        reasons = [(one, _reason(connection, watch.rules, one)) for one in waiting]
    return [recorded for one, reason in reasons if reason for recorded in cancel(watch, one, reason)]


def rests(rules: Rules, one: Waiting) -> bool:
    """Whether a digest that was tried already waits until feeds.yaml switches it on again."""
    rule = _rule_of(rules, one)
    return rule is not None and not rule.enabled and not one.resent


def cancel(watch: Watch, one: Waiting, reason: str) -> list[Recorded]:
    """Ends one delivery; nothing where somebody else took it in hand."""
    logger.info("action=delivery_cancelled digest=%s: %s", one.digest, reason)
    events = [NewEvent(f"digest/{one.digest}", DeliveryUncertain(one.attempts), one.version)] * (one.state == "started")
    cancelled = DeliveryCancelled(reason, may_have_left=one.attempts > 0)
    events.append(NewEvent(f"digest/{one.digest}", cancelled, one.version + len(events)))
    return record_first(watch, events, "delivery")[-1:]


def _reason(connection: Connection, rules: Rules, one: Waiting) -> str | None:
    rule = _rule_of(rules, one)
    if rule is None or (one.recipient not in rule.recipients and not (one.resent and _is_named(rules, one.recipient))):
        return NO_RECIPIENT
    if one.attempts:
        return None
    if rests(rules, one):
        return SWITCHED_OFF
    gone = _claims_then(connection, one) - set(rules.claims_of(rule))
    return f"it tells of what is watched no more: {', '.join(sorted(gone))}" if gone else None


def _claims_then(connection: Connection, one: Waiting) -> set[str]:
    """The claims that a digest was about when it was prepared.

    It may tell of any of them: of an edit, of a claim that fell due, or that nothing was new.
    """
    then = queries.recorded_rules(connection, upto=one.log_position)
    rules = then.rules if then else Rules()
    rule = _rule_of(rules, one)
    return set(rules.claims_of(rule)) if rule else set()


def _rule_of(rules: Rules, one: Waiting) -> DigestRule | None:
    return next((digest for digest in rules.digests if digest.name == one.name), None)


def _is_named(rules: Rules, recipient: str) -> bool:
    return any(recipient in digest.recipients for digest in rules.digests)
