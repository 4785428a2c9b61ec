"""Numbers with what they count."""

from __future__ import annotations


def counted(count: int, one: str, many: str | None = None) -> str:
    """`1 feed`, `2 feeds`."""
    return f"{count} {noun(count, one, many)}"


def noun(count: int, one: str, many: str | None = None) -> str:
    """What is counted: `feed` for one, `feeds` for any other number of them."""
    return one if count == 1 else many or one + "s"
