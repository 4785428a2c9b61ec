"""What Tab offers for values: the feeds, claims and digests of the feeds.yaml in force, and kinds of events."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import typer

from daemon.errors import ClaimwatchError
from daemon.events import EVENT_TYPES
from daemon.rules import Rules
from daemon.settings import load


def feed_keys(context: typer.Context, incomplete: str) -> list[str]:
    """Feeds by key."""
    return _beginning(incomplete, (feed.id for feed in _rules(context).feeds))


def claim_ids(context: typer.Context, incomplete: str) -> list[str]:
    """Claims by id."""
    return _beginning(incomplete, (claim.id for claim in _rules(context).claims))


def digest_names(context: typer.Context, incomplete: str) -> list[str]:
    """Digests by name."""
    return _beginning(incomplete, (digest.name for digest in _rules(context).digests))


def event_kinds(incomplete: str) -> list[str]:
    """Kinds of events."""
    return _beginning(incomplete, EVENT_TYPES)


def _beginning(incomplete: str, values: Iterable[str]) -> list[str]:
    return [value for value in values if value.startswith(incomplete)]


def _rules(context: typer.Context) -> Rules:
    try:
        return load(_config(context)).rules
    except (ClaimwatchError, OSError):
        # Whatever is wrong is told when the command runs; in the middle of a line it would be in the way.
        return Rules()


def _config(context: typer.Context) -> Path | None:
    """`--config` as it stands in the line so far, behind the command or before it."""
    named: Path | None = context.params.get("config") or context.find_root().params.get("config")
    return named
