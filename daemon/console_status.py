"""What a terminal shows of how the watch does: digests, claims, feeds, troubles, and what the operator knows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, tzinfo
from typing import Any

from rich.markup import escape
from rich.table import Table
from rich.text import Text

from daemon.console import due_time, indented, local, out, place, why_failed
from daemon.counting import counted

MOST_NAMES = 10


def status_screen(status: dict[str, Any]) -> None:
    """The status, to be read by a person."""
    out.print(f"[bold]claimwatch[/] {status['watch']}")
    for digest in status["digests"]:
        count, zone = digest["recipients"], digest["timezone"]
        to = "the Maildir" if digest["via"] == "maildir" else counted(count, "recipient")
        if digest["next_due"]:
            out.print(
                f"next digest: {digest['name']}, {due_time(datetime.fromisoformat(digest['next_due']), zone)}, to {to}"
            )
        else:
            pace = counted(digest["every_seconds"] // 60, "minute")
            out.print(f"alerts: {digest['name']}, when something is new, {pace} apart, to {to}")
    if running := status["log"]["backfill"]:
        looked_at = f"{running['done']} of {counted(running['items'], 'item')}"
        named = ", ".join(running["claims"][:5]) + (", …" if len(running["claims"]) > 5 else "")
        out.print(f"matching new terms against what is stored: {looked_at} ({escape(named)})")
    for waiting in status["waiting"]:
        tries = f"{waiting['state']}, {counted(waiting['attempts'], 'attempt')}"
        out.print(f"[yellow]waiting[/]: {waiting['digest']} ({tries}) {escape(waiting['answer'])}")
    for one in status["resting"]:
        since = local(datetime.fromisoformat(one["since"]))
        out.print(
            f"[red]rests[/]: {one['recipient']} gets nothing since {since}, after {one['refusals']} refusals in a row:"
            f" {escape(one['answer'])}",
            soft_wrap=True,
        )
        again = f"claimwatch digest resend NAME --since {since[:10]} --to {one['recipient']} && claimwatch deliver"
        out.print(f"  a message that is taken wakes them: {again}", style="dim", soft_wrap=True)
    # One zone for all of a table, the present one: in the head it holds for every row.
    here = datetime.now().astimezone().tzinfo
    claims = Table("claim", "terms", "matches", f"last match ({here})", box=None, header_style="bold")
    for claim in status["claims"]:
        claims.add_row(claim["id"], str(claim["terms"]), str(claim["matches"]), _cell(claim["last_match"], here))
    out.print(claims)
    feeds = Table(
        "feed", "state", "items", f"last read ({here})", "every", f"next ({here})", box=None, header_style="bold"
    )
    for feed in status["feeds"]:
        colour = {"ok": "green", "new": "dim"}.get(feed["state"], "red")
        row = (Text(feed["id"]), Text(feed["state"], colour), str(feed["items"]))
        seconds = feed["interval_seconds"]
        pause = f"{seconds / 60:.0f} min" if seconds else "–"
        feeds.add_row(*row, _cell(feed["succeeded_at"], here), pause, _cell(feed["next_due"], here))
    out.print(feeds)
    _say_troubles(status["feeds"])
    for feed in status["feeds"]:
        if feed["moved"]:
            since = local(datetime.fromisoformat(feed["moved"]))
            out.print(f"[yellow]moved[/]: {feed['id']} is asked at another address since {since}, as its site says")
            indented(out, f"Write it into feeds.yaml: {feed['asked_url']}", 2, "dim")


def log_lines(status: dict[str, Any]) -> None:
    """How a status ends: what the log holds, and where it is."""
    log = status["log"]
    sums = ", ".join(counted(log[many], one, many) for one, many in _COUNTED)
    out.print(f"log: {sums}; head {log['head'][:16]}")
    out.print(f"     {place(log['database'])}", style="dim")


_COUNTED = (("event", "events"), ("item", "items"), ("match", "matches"))


def _say_troubles(feeds: Iterable[dict[str, Any]]) -> None:
    """The feeds in trouble, those with the same trouble together: offline, all of them have one."""
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for feed in feeds:
        if feed["state"] not in ("ok", "new"):
            key = (feed["state"], why_failed(feed["reason"], feed["detail"]), feed["hint"])
            groups.setdefault(key, []).append(feed)
    for (state, why, hint), alike in groups.items():
        since = min((feed["since"] for feed in alike if feed["since"]), default=None)
        begun = f" since {local(datetime.fromisoformat(since))}" if since else ""
        out.print(f"[red]{escape(state)}[/]{begun}: {escape(why)}")
        indented(out, ", ".join(feed["id"] for feed in alike), 2)
        indented(out, hint, 2, "dim")


def _cell(moment: str | None, zone: tzinfo | None) -> str:
    return f"{datetime.fromisoformat(moment).astimezone(zone):%Y-%m-%d %H:%M}" if moment else "–"


def troubles_screen(status: dict[str, Any]) -> None:
    """The troubles of a status (those of feeds and recipients stand with them), and when the operator heard of them."""
    for trouble in status["troubles"]:
        if trouble["kind"].startswith("feed ") or trouble["kind"] == "recipient rests":
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
