"""What came of handing a message over: taken, not now, or never."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True)
class Accepted:
    """The message is in the other's hands; `answer` is what it said."""

    answer: str


@dataclass(frozen=True)
class Deferred:
    """Not now: the server is away, or says to come back."""

    reason: str


@dataclass(frozen=True)
class Refused:
    """Never: the server refuses this recipient or this message for good."""

    reason: str


Handover: TypeAlias = Accepted | Deferred | Refused


def without(address: str, said: str) -> str:
    """What a server said, fit for the log: addresses stand in feeds.yaml alone."""
    return re.sub(re.escape(address), "recipient", said, flags=re.IGNORECASE)
