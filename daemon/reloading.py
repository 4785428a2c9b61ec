"""When an edit of feeds.yaml is read: after it was made, and not in the middle of it.

Half a file may be sound YAML, and a deploy tool takes a file away before it puts the next one there. So what changed is
read when it stood still for a while; what it looks like is all that is asked until then.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from pathlib import Path
from typing import TypeAlias

from daemon.settings import Settings, find_config, load

SETTLING = timedelta(seconds=2)
"""How long feeds.yaml and what is beside it must stand still before an edit is read."""
MOST_LOOKS_AT_MOVING_FILES = 30
LOOKS_AT_REFUSED_FILES = 12
"""After so many an edit that was refused is read again, though the files look the same: what it lacked may be a file
that only it names, such as a secret, and nobody looks at that one."""

Stamp: TypeAlias = tuple[tuple[str | int, ...], ...]
"""What files look like from outside."""


class Standing(Enum):
    """What a look at the files says of them."""

    READ = "read already"
    MOVING = "changed since the last look"
    EDITED = "edited, and still"
    REFUSED = "refused a while ago, and the same since"


@dataclass
class FilesSeen:
    """What was read last, and how the files looked since. `read` None: whatever they look like, they are to be read;
    `refused`: what was read can't be used."""

    read: Stamp | None = None
    last_look: Stamp | None = None
    refused: bool = False
    moving: int = 0
    at_refused: int = 0

    def look(self, now: Stamp) -> Standing:
        """What these files are by now; a second look at what moves decides."""
        before, self.last_look = self.last_look, now
        if now == self.read:
            self.moving = 0
            self.at_refused = self.at_refused + 1 if self.refused else 0
            again = self.refused and self.at_refused % LOOKS_AT_REFUSED_FILES == 0
            return Standing.REFUSED if again else Standing.READ
        if now != before:
            self.moving += 1
            return Standing.MOVING
        self.moving = 0
        return Standing.EDITED

    @property
    def never_still(self) -> bool:
        """Once in a long time of looks at files that move: so long, that somebody has to hear of it."""
        return self.moving > 0 and self.moving % MOST_LOOKS_AT_MOVING_FILES == 0


def load_stamped(config: Path | None, state: Path | None) -> tuple[Settings, Stamp]:
    """The settings, and what their files looked like before they were read: what is saved later is an edit."""
    before = [_stamps(_files_of(find_config(config)))]
    # Which files hold secrets is known only when feeds.yaml was read.
    settings = load(config, state, before_secrets=lambda files: before.append(_stamps(files)))
    return settings, tuple(itertools.chain.from_iterable(before))


def stamp_of(settings: Settings) -> Stamp:
    """What changes when feeds.yaml, a seed or a secret beside it is edited, replaced, added or taken away.

    Links are followed: the file behind one is what counts, and a link that leads elsewhere leads to another file.
    """
    return _stamps((*_files_of(settings.file), *settings.secret_files))


def _files_of(config: Path) -> list[Path]:
    beside = config.parent
    return [config, *sorted(beside.glob("seeds/*.y*ml")), *sorted(beside.glob("alerts/*"))]


def _stamps(paths: Iterable[Path]) -> Stamp:
    stamps = []
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        stamps.append((str(path), status.st_mtime_ns, status.st_size, status.st_dev, status.st_ino))
    return tuple(stamps)
