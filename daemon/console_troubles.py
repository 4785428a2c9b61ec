"""What a terminal shows of troubles that no feed's line tells, and of what the operator knows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.markup import escape

from daemon.console import indented, local, out

MOST_NAMES = 10


def troubles_screen(status: dict[str, Any]) -> None:
    """The troubles of a status (those of single feeds stand below its table), and when the operator heard of them."""
    for trouble in status["troubles"]:
        if trouble["kind"].startswith("feed "):
            continue
        about = f" ({escape(trouble['about'])})" if trouble["about"] else ""
        since = local(datetime.fromisoformat(trouble["since"]))
        # Why is told with the feeds.
        reason = "most feeds began to fail at once" if trouble["kind"] == "offline" else trouble["reason"]
        out.print(f"[red]{trouble['kind']}[/]{about} since {since}: {escape(reason)}")
        indented(out, trouble["hint"], 2, "dim")
    told: dict[str, list[str]] = {}
    for trouble in status["troubles"]:
        if trouble["operator_told_at"]:
            about = f"{trouble['about']} ({trouble['kind']})" if trouble["about"] else trouble["kind"]
            told.setdefault(trouble["operator_told_at"], []).append(about)
    for moment, names in sorted(told.items()):
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        at = local(datetime.fromisoformat(moment))
        out.print(f"operator told at {at}: {escape(', '.join(names[:MOST_NAMES]))}{more}")
    for operator in status["operator"]:
        if operator["retry_at"]:
            at = local(datetime.fromisoformat(operator["retry_at"]))
            out.print(f"[yellow]operator not told[/] ({operator['to']}): {escape(operator['answer'])}. Next try {at}.")
