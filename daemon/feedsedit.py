"""feeds.yaml with feeds added, or left as it was: tried whole before it is put in the old one's place.

A watch that runs takes the new file up by itself; it never sees half of it, because the file is written beside the old
one and renamed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from daemon.errors import ClaimwatchError, ConfigError
from daemon.newfeeds import NewFeed, as_read, yaml_entry
from daemon.settings import Settings, load
from daemon.yamledit import CantInsert, with_entries
from daemon.yamlfiles import read_yaml

_PASTE = "Nothing was changed. Without --write the lines are printed: paste them yourself."


def add_feeds(settings: Settings, feeds: Sequence[NewFeed]) -> None:
    """Sets feeds into the feeds.yaml that these settings came from; all else in it stays byte for byte.

    Raises ClaimwatchError, having changed nothing, where that can't be done or the file could not be used afterwards.
    """
    path = settings.file
    # Where it is a link, the file that it leads to is another, and the link stays one.
    real = path.resolve()
    with _told(path):
        before = real.read_bytes()
    after = _edited(path, before, feeds)
    with _told(path), _draft_beside(real, after) as draft:
        _try(settings, draft, feeds)
        if real.read_bytes() != before:
            message = f"{path} was saved by somebody else in the meantime"
            raise ClaimwatchError(message, hint="Nothing was changed. Try again.")
        draft.replace(real)
        _make_lasting(real.parent)


def _edited(path: Path, before: bytes, feeds: Sequence[NewFeed]) -> bytes:
    try:
        return with_entries(before.decode(), "feeds", [yaml_entry(one) for one in feeds]).encode()
    except (CantInsert, UnicodeDecodeError) as error:
        raise ClaimwatchError(f"feeds can't be set into {path}: {error}", hint=_PASTE) from error


def _try(settings: Settings, draft: Path, feeds: Sequence[NewFeed]) -> None:
    """Whether a draft says what the file says now, and these feeds besides. Raises ClaimwatchError where it doesn't."""
    try:
        load(settings.file, settings.state, draft)
    except ConfigError as error:
        message = f"with these feeds, {settings.file} could not be used:\n{error.message}"
        raise ClaimwatchError(message, hint=_PASTE) from error
    expected, found = (_without_last_breaks(read_yaml(one).values or {}) for one in (settings.file, draft))
    expected["feeds"] = (expected.get("feeds") or {}) | {one.key: as_read(one) for one in feeds}
    if found != expected or list(found["feeds"]) != list(expected["feeds"]):
        raise ClaimwatchError(f"feeds can't be set into {settings.file} by themselves", hint=_PASTE)


def _without_last_breaks(value: Any) -> Any:
    """A text block at the end of a file gets the line break that it lacked."""
    if isinstance(value, dict):
        return {key: _without_last_breaks(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_last_breaks(one) for one in value]
    return value.rstrip("\n") if isinstance(value, str) else value


@contextmanager
def _draft_beside(real: Path, text: bytes) -> Iterator[Path]:
    """A file of this text in the same folder, with the owner and the rights of the one that it may replace."""
    handle, name = tempfile.mkstemp(prefix=f".{real.name}.", dir=real.parent)
    draft = Path(name)
    try:
        with open(handle, "wb") as file:
            file.write(text)
            file.flush()
            _make_alike(real, draft)
            os.fsync(file.fileno())
        yield draft
    finally:
        # Gone already, where it took the other's place.
        draft.unlink(missing_ok=True)


def _make_alike(real: Path, draft: Path) -> None:
    status, own = real.stat(), draft.stat()
    if (status.st_uid, status.st_gid) != (own.st_uid, own.st_gid):
        os.chown(draft, status.st_uid, status.st_gid)
    # Rights and extended attributes; the time is the draft's own.
    shutil.copystat(real, draft)
    os.utime(draft)


def _make_lasting(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Not every file system can; then the rename is as lasting as it gets there.
        with suppress(OSError):
            os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"{path} can't be written: {error.strerror}"
        raise ClaimwatchError(message, hint="Nothing was changed. Do it as the user whose file it is.") from error
