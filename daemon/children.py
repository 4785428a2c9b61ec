"""How a Python process of our own is started: with our interpreter and our package, and with nothing else of ours."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import daemon

_INHERITED = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONHOME")


def command_of(module: str, *arguments: str) -> list[str]:
    """The command that runs a module of this package. Run it with `environment()`."""
    # -P: a folder named `daemon` where the user happens to stand is not ours.
    return [sys.executable, "-P", "-m", f"daemon.{module}", *arguments]


def environment() -> dict[str, str]:
    """The child gets no secret from the environment: no credentials, no notification socket."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return inherited | {"PYTHONPATH": str(Path(daemon.__file__).resolve().parent.parent)}
