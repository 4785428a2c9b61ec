"""Notices to the operator: looked for, prepared, handed over, recorded.

    tables ─look→ troubles ─next_notice→ told ─append→ notice_prepared ─hand over→ notice_sent | notice_deferred

As with a digest, the message is in the log before it is sent: after a crash in between, the same one goes out again,
under the same Message-ID. One that was not taken is dropped instead of kept: the next try tells what stands by then
(under the same Message-ID where that is the same), so that a mail server that was away for days brings one notice.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from daemon.events import NewEvent, NoticeDeferred, NoticePrepared, NoticeSent, Recorded
from daemon.handovers import Accepted, Handover, Refused
from daemon.mailing import hand_over
from daemon.moments import doubled
from daemon.notices import Key, Look, NoticeView, Operator, Told, compose_notice, next_notice
from daemon.preparing import Post
from daemon.rendering import Rendered, fault_of, pack, render_notice, unpack
from daemon.rules import canonical_json, recipient_id
from daemon.service import Watch, beside_the_loop, record_first
from daemon.tellable import message_id
from daemon.troubles import Before, digests_of_recipients, look, told_before

logger = logging.getLogger(__name__)

FIRST_RETRY = timedelta(minutes=15)
LONGEST_RETRY = timedelta(days=1)
"""Longer than that of deliveries: they ask whether the server is back, and the notice goes out behind the first."""
OPEN_AT_MOST = timedelta(days=1)
"""What a crash left is sent as it is when it is found so soon; later it may tell what is over by then."""
LIST_NAME = "operator"

NOTHING = Look()


async def tell_operator(watch: Watch, post: Post, own: Look = NOTHING) -> list[Recorded]:
    """Sends each recipient of notices what is due for them; returns the outcomes.

    `own` are the troubles that no table knows of, but the process itself: an edit that it refused.
    """
    if not post.operator:
        return []
    outcomes: list[Recorded] = []
    for address, prepared in await beside_the_loop(_prepared, watch, post, post.operator, own):
        outcomes += await _send(watch, post, address, prepared)
    return outcomes


def _prepared(watch: Watch, post: Post, operator: Operator, own: Look) -> list[tuple[str, Recorded]]:
    """What is to be sent now, and to which address: what a crash left, or a fresh notice of what is due."""
    now = watch.clock.now()
    prepared: list[tuple[str, Recorded]] = []
    with watch.log.reading() as connection:
        present: Look | None = None
        for address in operator.addresses:
            before = told_before(connection, recipient_id(address), now)
            if (left := before.open) and now - left.at < OPEN_AT_MOST:
                prepared.append((address, left))
                continue
            # What is further off than any pause was set by a clock that stood ahead.
            if before.retry_at and now < before.retry_at <= now + LONGEST_RETRY:
                continue
            present = present or look(connection, watch.rules.intervals, now).joined(own)
            if told := next_notice(present, before.mentioned, before.sent, operator, now):
                digests = digests_of_recipients(connection)
                fresh = _fresh(watch, post, recipient_id(address), before, told, present, digests, now)
                prepared += [(address, one) for one in fresh]
    return prepared


def _fresh(
    watch: Watch,
    post: Post,
    recipient: str,
    before: Before,
    told: tuple[Told, ...],
    present: Look,
    digests: Mapping[str, Sequence[str]],
    now: datetime,
) -> list[Recorded]:
    """A notice of this, recorded; nothing where somebody else was first."""
    names: dict[Key, str] = {
        (one.kind, one.about): f"{one.about} ({', '.join(digests[one.about])})" for one in told if one.about in digests
    }
    view = compose_notice(told, present, before.mentioned, now, names)
    rendered = _render(view, post)
    # The same as long as the same is to be told: a server that took a notice and could not say so gets no other one.
    content = canonical_json({"after": before.last_sent, "told": told}).decode()
    identity = message_id(f"notice/{recipient}", content, post.domain)
    message = post.message(rendered, name=LIST_NAME, message_id=identity, now=now)
    stream, events = f"notice/{recipient}", []
    if before.open:
        too_old = NoticeDeferred(before.open.event.message_id, "it was never handed over, and is too old by now", now)
        events.append(NewEvent(stream, too_old, before.version))
    event = NoticePrepared(told, identity, rendered.subject, pack(message))
    events.append(NewEvent(stream, event, before.version + len(events)))
    return record_first(watch, events, "notice")[-1:]


async def _send(watch: Watch, post: Post, address: str, prepared: Recorded) -> list[Recorded]:
    event = prepared.event
    assert isinstance(event, NoticePrepared)
    handover = await hand_over(post.carrier, unpack(event.message), address, event.message_id, prepared.at)
    outcome = await beside_the_loop(_outcome, watch, prepared, event, handover)
    last = NewEvent(prepared.stream, outcome, prepared.version)
    return await beside_the_loop(record_first, watch, [last], "notice")


def _outcome(
    watch: Watch, prepared: Recorded, event: NoticePrepared, handover: Handover
) -> NoticeSent | NoticeDeferred:
    now = watch.clock.now()
    if isinstance(handover, Accepted):
        return NoticeSent(event.told, event.message_id, handover.answer)
    with watch.log.reading() as connection:
        tries = told_before(connection, prepared.id, now).deferred
    # A refusal is the operator's to mend, who may not know of it: it stands in `status`, and is tried again every day.
    pause = LONGEST_RETRY if isinstance(handover, Refused) else doubled(FIRST_RETRY, tries, LONGEST_RETRY)
    return NoticeDeferred(event.message_id, handover.reason, now + pause)


def _render(view: NoticeView, post: Post) -> Rendered:
    try:
        return render_notice(view, post.templates)
    except Exception as error:  # noqa: BLE001 - a user's template may do anything
        slip = str(fault_of("notice.txt", error))
        logger.error("action=template_failed %s; the shipped template is used instead", slip)
        return render_notice(replace(view, template_error=slip), post.shipped_templates)
