"""What `claimwatch init` writes: a short feeds.yaml and a seed to begin with, and the schemas that editors check by.

They are the files under `start/`, as they stand there; or, for somebody who wants it all, the shipped feeds.yaml.
"""

from __future__ import annotations

import os
from pathlib import Path

from daemon.errors import ClaimwatchError
from daemon.settings import shipped

START = Path(__file__).parent / "start"


def write_starter(folder: Path, *, everything: bool = False) -> list[Path]:
    """Writes the starter into a folder, which need not be there yet; returns its files, feeds.yaml first.

    With `everything`, feeds.yaml is the one that comes with claimwatch, whose seed is always at hand. Nothing is
    overwritten: raises ClaimwatchError, having written nothing, when one of the files is there.
    """
    texts = {folder / name: text for name, text in (_everything() if everything else _starter()).items()}
    if there := [str(path) for path in texts if os.path.lexists(path)]:
        hint = "Nothing was written. Move it away, or name another folder."
        raise ClaimwatchError(f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already", hint=hint)
    written: list[Path] = []
    try:
        for path, text in texts.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Without a seed to begin with as well: this is where the user's own go.
            (folder / "seeds").mkdir(exist_ok=True)
            # Exclusively: what came in the meantime is not overwritten either.
            with path.open("xb") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink()
        reason = f"{error.filename or folder} can't be written: {error.strerror}"
        raise ClaimwatchError(reason, hint="Name a folder in which you may write.") from error
    return written


def _starter() -> dict[Path, bytes]:
    paths = sorted((path for path in START.rglob("*") if path.is_file()), key=lambda path: (len(path.parts), path))
    return {path.relative_to(START): path.read_bytes() for path in paths}


def _everything() -> dict[Path, bytes]:
    starter = _starter()
    feeds = Path("feeds.yaml")
    # The first line says where the schema is, which is elsewhere in the place that the shipped file has.
    first_line = starter[feeds].partition(b"\n")[0]
    starter[feeds] = first_line + b"\n" + shipped("feeds.yaml").read_bytes().partition(b"\n")[2]
    return {path: text for path, text in starter.items() if path.parts[0] != "seeds"}
