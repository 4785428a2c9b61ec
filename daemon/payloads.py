"""The stored form of events and back: every kind under a string of its own.

The stored `kind` is never the class's name or path, so that code can be renamed while a log lives for years. An unknown
kind, a missing field or an extra one is an error; nothing is skipped in silence.
"""

from __future__ import annotations

from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from daemon.errors import LogDamaged, UnknownKind
from daemon.rules import canonical_json


class Event(Protocol):
    """Anything `to_payload` can store: a frozen dataclass with a `kind`."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]


EVENT_TYPES: dict[str, type[Event]] = {}
_adapters: dict[str, TypeAdapter[Any]] = {}
E_ = TypeVar("E_", bound=type)


def event_kind(cls: E_) -> E_:
    """Makes a dataclass a kind of event."""
    kind: str = cls.kind  # type: ignore[attr-defined]
    cls.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    EVENT_TYPES[kind] = cls
    return cls


def to_payload(event: Event) -> bytes:
    """The event's fields as canonical JSON in UTF-8."""
    return canonical_json(_adapter(event.kind).dump_python(event, mode="json"))


def from_payload(kind: str, payload: bytes, *, position: int = 0) -> Event:
    """The event again. Raises UnknownKind, or LogDamaged when the payload is not one of this kind."""
    if kind not in EVENT_TYPES:
        raise UnknownKind(
            f"event {position} is of the kind {kind!r}, which this version does not know",
            hint="The log was written by a newer claimwatch: use that version, or a newer one.",
        )
    try:
        event: Event = _adapter(kind).validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "payload"
        raise LogDamaged(
            f"event {position} ({kind}) can't be read: {place}: {first['msg']}",
            hint="Run `claimwatch verify`; restore the log from a backup if it names this event too.",
        ) from error
    return event


def _adapter(kind: str) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(EVENT_TYPES[kind])
    return _adapters[kind]
