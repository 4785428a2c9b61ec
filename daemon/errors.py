"""Every error a user can meet, as one tree.

    ClaimwatchError           the base: a message, and what to do about it
    ├── ConfigError           feeds.yaml or a seed can't be used: all its problems at once
    ├── LogBusy               another command is writing this log
    ├── LogDamaged            the log does not add up
    ├── StreamConflict        somebody else appended to this stream first
    └── UnknownKind           an event of a kind that this version does not know

The first line of a class's docstring is its message where none is given.
"""

from __future__ import annotations

from dataclasses import dataclass


class ClaimwatchError(Exception):
    """Something went wrong."""

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return f"{self.message}\n  {self.hint}" if self.hint else self.message


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong in a file a user wrote. `line` and `column` count from 1; 0 is "the whole file"."""

    file: str
    line: int
    column: int
    message: str
    hint: str = ""

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}" + (f"\n    {self.hint}" if self.hint else "")


class ConfigError(ClaimwatchError):
    """The configuration can't be used."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = sorted(set(problems))
        count = len(self.problems)
        super().__init__(
            "\n".join(map(str, self.problems)),
            hint=f"{count} {'problem' if count == 1 else 'problems'}; mend, then try `claimwatch check`.",
        )


class LogBusy(ClaimwatchError):
    """Another command is writing this log."""


class LogDamaged(ClaimwatchError):
    """The log does not add up."""


class StreamConflict(ClaimwatchError):
    """Somebody else appended to this stream first; read it again and decide again."""


class UnknownKind(ClaimwatchError):
    """An event of a kind that this version does not know."""
