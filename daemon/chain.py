"""The log checked from its first event on: an event that was altered, removed or moved is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row, select

from daemon.databases import Connection
from daemon.errors import LogDamaged
from daemon.eventlog import (
    BATCH_EVENTS,
    EVENT,
    GENESIS,
    REDACTABLE_KINDS,
    Head,
    chained,
    sha256_of,
)
from daemon.events import ItemRedacted, from_payload

_COLUMN_TYPES = {
    **dict.fromkeys(("position", "version"), int),
    **dict.fromkeys(("stream", "kind", "at", "payload_sha256", "chain"), str),
    "payload": bytes,
}


def verify_chain(connection: Connection) -> Head:
    """Reads the whole log and checks positions, versions, hashes and chain.

    Raises LogDamaged naming the first event that does not add up. What was cut off at the end shows only against a
    head kept elsewhere: every digest names one.
    """
    redacted = _redacted_hashes(connection)
    head, versions = Head(0, GENESIS), dict[str, int]()
    query = select(EVENT).order_by(EVENT.c.position).execution_options(yield_per=BATCH_EVENTS)
    with connection.execute(query) as rows:
        for row in rows:
            if fault := _fault(row, head, versions.get(row.stream, 0) + 1, redacted):
                raise LogDamaged(
                    f"event {row.position} ({row.stream} version {row.version}, {row.kind}): {fault}",
                    hint="Restore the log from a backup, and keep this file: it shows what was changed.",
                )
            versions[row.stream] = row.version
            head = Head(row.position, row.chain)
    return head


def _fault(row: Row[Any], head: Head, version: int, redacted: Mapping[tuple[str, int], str | None]) -> str | None:
    if strange := [column for column, kind in _COLUMN_TYPES.items() if not isinstance(getattr(row, column), kind)]:
        return f"its {strange[0]} was altered: it is of another type"
    if row.position != head.position + 1:
        return f"it should stand at position {head.position + 1}: events are missing before it"
    if row.version != version:
        return f"its stream should be at version {version}"
    expected: str | None = row.payload_sha256
    if row.kind in REDACTABLE_KINDS:
        expected = redacted.get((row.stream, row.position), expected)
    if expected is not None and expected != sha256_of(row.payload):
        return "its payload was altered"
    if row.chain != chained(head.chain, row.position, row.stream, row.version, row.kind, row.at, row.payload_sha256):
        return "its chain does not follow from the event before it: it was altered, or events were reordered"
    return None


def _redacted_hashes(connection: Connection) -> dict[tuple[str, int], str | None]:
    """What redacted payloads hash to now; None where the redaction itself is damaged: that is named in its turn."""
    hashes: dict[tuple[str, int], str | None] = {}
    columns = (EVENT.c.stream, EVENT.c.position, EVENT.c.payload, EVENT.c.payload_sha256)
    query = select(*columns).where(EVENT.c.kind == ItemRedacted.kind).order_by(EVENT.c.position)
    for row in connection.execute(query):
        if not isinstance(row.payload, bytes) or sha256_of(row.payload) != row.payload_sha256:
            before = select(EVENT.c.position).where(EVENT.c.stream == row.stream, EVENT.c.position < row.position)
            hashes |= dict.fromkeys(((row.stream, position) for position in connection.scalars(before)), None)
            continue
        event = from_payload(ItemRedacted.kind, row.payload, position=row.position)
        assert isinstance(event, ItemRedacted)
        hashes |= {(row.stream, redaction.position): redaction.payload_sha256 for redaction in event.redactions}
    return hashes
