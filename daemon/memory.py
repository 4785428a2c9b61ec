"""The process's memory: asked for sparingly, and given back to the machine when it is free again.

glibc keeps what was freed for later: after a digest of thousands or a backfill, for days: 8 MB in a soak. On a C
library that has no such calls nothing is done.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_M_ARENA_MAX = -8
"""As malloc.h has it."""


def share_one_arena() -> None:
    """To be called before any thread begins: all of them take from one place, and what one frees serves another.

    Without, each has a place of its own, and what is free in it is free for no other: 0.4 MB with eight threads.
    """
    if mallopt := _call("mallopt"):
        mallopt(_M_ARENA_MAX, 1)


def give_back() -> None:
    """Gives back what is free. It takes 0.1 ms for a small watch, 50 ms where a third of a gigabyte was in use."""
    if trim := _call("malloc_trim"):
        trim(0)


def _call(name: str) -> Callable[..., Any] | None:
    """A function of the C library, if it has it."""
    if sys.platform != "linux":
        return None
    try:
        import ctypes
    except (ImportError, MemoryError):
        # Under MemoryDenyWriteExecute= an old libffi can't be loaded: the watch does without.
        return None
    return getattr(ctypes.CDLL(None), name, None)
