"""The product at work in a few seconds: a made-up week of news, replayed by the code that polls and delivers.

The week stands in `seeds/demo/`: a feeds.yaml, a seed, and an archive of snapshots. It is copied into a folder that
the user keeps, to look into and to change. Nothing below this module knows that the news are made up.
"""

from __future__ import annotations

import shlex
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Any

import daemon
from daemon import assembly
from daemon.backtest import Snapshot, Summary, backtest, snapshots_in
from daemon.errors import ClaimwatchError
from daemon.events import DigestPrepared, Recorded
from daemon.rendering import unpack
from daemon.rules import Rules
from daemon.service import Polled
from daemon.settings import shipped

HEADLINE = '{"title": "Demo: На світанку рибалок обміняли в морі"}'


@dataclass(frozen=True)
class Demo:
    """A folder with the demo's configuration and archive in it, and the places of what a replay makes there."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "feeds.yaml"

    @property
    def archive(self) -> Path:
        return self.folder / "archive"

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def maildir(self) -> Path:
        return self.state / "Maildir"

    @property
    def html(self) -> Path:
        return self.folder / "digest.html"


@dataclass(frozen=True)
class Replayed:
    """What the week came to: its sums, and the last digest as it was mailed."""

    demo: Demo
    summary: Summary
    digest: str
    message: EmailMessage
    end: datetime

    @property
    def html(self) -> str:
        part = self.message.get_body(("html",))
        return str(part.get_content()) if part else ""

    def as_json(self) -> dict[str, Any]:
        places = {"folder": self.demo.folder, "html": self.demo.html, "maildir": self.demo.maildir}
        return self.summary.as_json() | {"digest": self.digest} | {name: str(path) for name, path in places.items()}


def lay_out(folder: Path | None = None) -> Demo:
    """Copies the demo into `folder`, or into a new one among the temporary files that stays.

    Raises ClaimwatchError where the folder holds something or can't be written.
    """
    try:
        target = folder.absolute() if folder else Path(tempfile.mkdtemp(prefix="claimwatch-demo-"))
        target.mkdir(parents=True, exist_ok=True)
        if any(target.iterdir()):
            raise ClaimwatchError(
                f"{target} has something in it", hint="Name an empty folder, or one that is not there."
            )
        original = shipped("seeds") / "demo"
        _copy(original, target)
        _copy(Path(daemon.__file__).parent / "start" / "schemas", target / "schemas")
    except OSError as error:
        raise ClaimwatchError(f"the demo can't be put there: {error}", hint="Name another folder.") from error
    return Demo(target)


def _copy(original: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    for path in sorted(original.rglob("*")):
        copy = target / path.relative_to(original)
        # The first line says where the schema is, which comes along.
        copy.mkdir() if path.is_dir() else copy.write_bytes(path.read_bytes().replace(b"../../daemon/start/", b"", 1))


async def replay(
    demo: Demo,
    begun: Callable[[Sequence[Snapshot], Rules], None],
    told: Callable[[Polled], None],
    mailed: Callable[[Recorded], None],
) -> Replayed:
    """Lives through the week in virtual time, up to the end of its last day."""
    snapshots = snapshots_in(demo.archive)
    end = datetime.combine(snapshots[-1].at + timedelta(days=1), time(), snapshots[-1].at.tzinfo)
    digests: list[Recorded] = []

    def mail(digest: Recorded) -> None:
        digests.append(digest)
        mailed(digest)

    with assembly.replaying(demo.config, demo.state) as installation:
        begun(snapshots, installation.settings.rules)
        summary = await backtest(
            installation.log,
            installation.settings.rules,
            installation.maildir_post,
            snapshots,
            until=end,
            most_bytes=installation.settings.polling.most_bytes,
            told=told,
            mailed=mail,
        )
    id, prepared = [(one.id, one.event) for one in digests if isinstance(one.event, DigestPrepared)][-1]
    return Replayed(demo, summary, id, message_from_bytes(unpack(prepared.message), policy=SMTP), end)


def next_steps(replayed: Replayed, program: str) -> list[tuple[str, str]]:
    """What to try on the demo's folder: why, and a command for a shell, whatever folder it is in."""
    demo = replayed.demo
    config = ["--config", str(demo.config)]
    both = [*config, "--state", str(demo.state)]
    again = [*config, "--state", str(demo.folder / "again")]

    def command(*words: str) -> str:
        return f"{program} {shlex.join(words)}"

    return [
        ("which words of which item met which term", command("matches", "--claim", "crew-exchange", *both)),
        ("what failed and came back", command("events", "--kind", "feed_failed", "--kind", "feed_recovered", *both)),
        ("all digests of the week, and one of them", command("digest", "show", *both)),
        ("", command("digest", "show", replayed.digest, *both)),
        ("feeds and claims as they stand at the end", command("status", *both)),
        ("that nobody has altered the log since", command("verify", *both)),
        ("the terms on a headline of yours", f"echo {shlex.quote(HEADLINE)} | {command('match', '-', *config)}"),
        (
            f"the week once more, after you have edited {demo.config}",
            command("backtest", str(demo.archive), "--to", f"{replayed.end:%Y-%m-%d}", *again),
        ),
        ("", command("digest", "show", *again)),
        ("a watch of your own: a starter to edit, in a folder of that name", command("init", "my-watch")),
    ]
