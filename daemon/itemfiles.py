"""Items that somebody has in a file: JSON lines, one object an item."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any

from daemon.moments import as_utc
from daemon.trials import StoredItem

TEXTS = ("title", "summary", "content")


def objects_in(lines: Iterable[bytes], bad: Callable[[int, str], None]) -> Iterator[tuple[dict[str, Any], StoredItem]]:
    """The object of each line, and the item that it is. `bad` is told the number and the fault of a line that is none.

    Fields are id, feed (or source), title, summary, content, link, published; any of them may be missing.
    """
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line.decode())
            item = _item(fields, number)
        except (ValueError, AttributeError, RecursionError) as error:
            bad(number, f"no JSON object: {error}")
            continue
        yield fields, item


def _item(fields: dict[str, Any], number: int) -> StoredItem:
    title, summary, content = (_text(fields.get(name)) for name in TEXTS)
    return StoredItem(
        id=str(fields.get("id") or f"line {number}"),
        feed=str(fields.get("feed") or fields.get("source") or ""),
        title=title,
        summary=summary,
        content=content,
        link=_text(fields.get("link")) or None,
        published=_moment(fields.get("published")),
    )


def _text(value: Any) -> str:
    return str(value or "")


def _moment(value: Any) -> datetime | None:
    """A time as ISO 8601 has it, in UTC where it names no zone; anything else is no date."""
    try:
        found = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return as_utc(found if found.tzinfo else found.replace(tzinfo=UTC))
