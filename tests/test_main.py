"""The door of the command: what it answers before anything heavy is imported, and when the package is not ours."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import daemon
from daemon import __version__

NOT_FOR_THE_WATCH = {
    *("feedparser", "nh3", "prometheus_client", "rich", "socketserver"),
    *("daemon.backtest", "daemon.cli_feeds", "daemon.cli_watch", "daemon.console", "daemon.exposition"),
    *("daemon.inflection", "html.entities", "platformdirs"),
    *("jinja2", "daemon.digests", "daemon.folding", "daemon.proofs", "daemon.stories", "daemon.templates"),
    *("aiosmtplib", "daemon.relaying", "email.generator", "email.policy"),
}
"""What only a child process, a scrape, a terminal, another command or the first mail needs."""
HEAVY = ("httpx", "pydantic", "rich", "sqlalchemy", "sqlmodel", "typer", "yaml")
THE_OTHER = '''\
"""A package that has our name, as another distribution would install it."""

from .context import Context

__all__ = ["Context"]
'''


def python(*words: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own."""
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=30, check=False)


def python_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Python in a process of its own that knows the packages in this folder and no other."""
    return subprocess.run(
        [sys.executable, "-S", *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def overwritten(tmp_path: Path) -> Path:
    """A folder with our package after another distribution of its name was installed over it."""
    shutil.copytree(Path(daemon.__file__).parent, tmp_path / "daemon", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "daemon" / "__init__.py").write_text(THE_OTHER, encoding="utf-8")
    (tmp_path / "daemon" / "context.py").write_text("class Context: ...\n", encoding="utf-8")
    return tmp_path


def test_the_version_is_told_before_anything_heavy_is_imported() -> None:
    told = python(
        "-c",
        "import sys; sys.argv = ['claimwatch', '--version']\n"
        "from daemon.__main__ import main; main()\n"
        f"print(sorted(set(sys.modules) & set({HEAVY!r})))",
    )
    assert (told.stdout, told.stderr) == (f"claimwatch {__version__}\n[]\n", "")


def imported_by(*words: str) -> set[str]:
    """What a command has imported in the end."""
    told = python(
        "-c",
        f"import sys; sys.argv = ['claimwatch', *{words!r}]\n"
        "from daemon.__main__ import main\n"
        "try: main()\n"
        "finally: print(*sys.modules)",
    )
    return set(told.stdout.splitlines()[-1].split())


def test_what_the_version_need_not_import_any_other_command_does() -> None:
    """Else the test above could not fail."""
    assert not set(HEAVY) - imported_by("check", "--help")


def test_the_watch_imports_nothing_that_only_others_need(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_text("feeds: {}\n", encoding="utf-8")
    # The state folder can't be made: it ends when all is imported, and before it begins.
    watch = imported_by("run", "--config", str(tmp_path / "feeds.yaml"), "--state", str(tmp_path / "feeds.yaml" / "no"))
    assert "daemon.scheduling" in watch
    assert not NOT_FOR_THE_WATCH & watch


def test_what_the_watch_does_not_import_others_do() -> None:
    """Else the test above could not fail."""
    names = (
        *("feedparser", "nh3", "daemon.exposition", "daemon.endpoint", "daemon.cli_feeds", "daemon.cli_watch"),
        *("daemon.inflection", "daemon.templates", "daemon.proofs", "daemon.relaying", "platformdirs"),
    )
    told = python("-c", f"import sys, {', '.join(names)}; print(*sys.modules)")
    assert set(told.stdout.split()) >= NOT_FOR_THE_WATCH


def test_the_module_tells_the_version_too() -> None:
    assert python("-m", "daemon", "--version").stdout == f"claimwatch {__version__}\n"


@pytest.mark.parametrize("command", ["--version", "check"])
def test_a_package_that_was_overwritten_is_said_so_with_what_to_do(overwritten: Path, command: str) -> None:
    done = python_in(overwritten, "-m", "daemon", command)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(
        f"claimwatch: the package `daemon` in {overwritten / 'daemon'} is not claimwatch's any more\n"
    )
    assert "Traceback" not in done.stderr
    assert "python3 -m venv" in done.stderr
    assert f"{sys.executable} -m pip uninstall python-daemon" in done.stderr
    assert f"{sys.executable} -m pip install --force-reinstall --no-deps" in done.stderr


def test_a_package_whose_first_file_was_taken_away_is_said_so(overwritten: Path) -> None:
    """What is left when the other distribution is uninstalled again."""
    (overwritten / "daemon" / "__init__.py").unlink()
    done = python_in(overwritten, "-c", "from daemon.__main__ import main; main()")
    assert done.returncode == 2
    assert done.stderr.startswith(f"claimwatch: the package `daemon` in {overwritten / 'daemon'} is not")


def test_our_own_package_in_that_place_is_let_through(overwritten: Path) -> None:
    shutil.copy(daemon.__file__, overwritten / "daemon" / "__init__.py")
    assert python_in(overwritten, "-m", "daemon", "--version").stdout == f"claimwatch {__version__}\n"
