"""What an article claims: the statements being watched, as they stand in `seeds/`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

ClaimKind = Literal["commitment", "condition", "fact", "prediction"]


@dataclass(frozen=True)
class Claim:
    """One statement of an article, in our own words.

    `made` is the day it was made, `due` the day by which it can be judged (if it has one); `kind` says whether the
    article reports a commitment, a condition, a fact or a prediction.
    """

    id: str
    statement: str
    made: date
    kind: ClaimKind
    due: date | None = None


@dataclass(frozen=True)
class Seed:
    """An article and the claims taken from it: one file in `seeds/`. `id` is the file's name without its ending."""

    id: str
    title: str
    author: str
    publisher: str
    date: date
    claims: tuple[Claim, ...]
    url: str | None = None
