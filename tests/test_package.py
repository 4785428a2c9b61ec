"""The distribution: built, installed as a stranger would, and run from a folder that knows nothing of the checkout.

The default run gives the new environment this one's libraries, and so needs no network. `make test-package` (slow)
installs with pip and all that it fetches.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon import __version__
from tests.support import NOW, item, rss

REPOSITORY = Path(__file__).resolve().parents[1]
WATCHED = """\
feeds: {gazette: https://gazette.example/rss}
claims: {prisoner-exchange: {terms: prisoner exchange}}
digests: {daily: {at: "07:30"}}
"""
NEWS = (item("Prisoner exchange agreed", published=NOW), item("Rain expected"))


def run(*words: str | Path, folder: Path = Path("/"), home: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A command in a folder, for a user whose home this is."""
    # What a developer's shell says of Python decides nothing in an environment that is to be empty.
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "XDG_"))}
    environment = kept | ({"HOME": str(home)} if home else {})
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, timeout=600, check=False)


def ok(*words: str | Path, folder: Path = Path("/"), home: Path | None = None) -> str:
    """What a command prints that must end well."""
    done = run(*words, folder=folder, home=home)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def build(source: Path, target: str, into: Path) -> Path:
    """The wheel or the sdist of a source tree."""
    ok(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, folder=source)
    (built,) = into.iterdir()
    return built


def unpacked(sdist: Path, into: Path) -> Path:
    """The source tree of an sdist."""
    with tarfile.open(sdist) as archive:
        archive.extractall(into, filter="data")
    return into / sdist.name.removesuffix(".tar.gz")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def files_under(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, "sdist", tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(REPOSITORY, "wheel", tmp_path_factory.mktemp("wheel"))


@dataclass(frozen=True)
class Installed:
    """An environment with claimwatch in it, and a user's home beside it."""

    environment: Path
    home: Path

    @property
    def python(self) -> Path:
        return self.environment / "bin" / "python"

    def run(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        return run(self.environment / "bin" / "claimwatch", *words, home=self.home)

    def ok(self, *words: str | Path) -> str:
        return ok(self.environment / "bin" / "claimwatch", *words, home=self.home)

    def pip(self, *words: str | Path) -> str:
        return ok(self.python, "-m", "pip", "--quiet", "--disable-pip-version-check", *words)

    @property
    def package(self) -> Path:
        return Path(ok(self.python, "-c", "import daemon; print(daemon.__path__[0])").strip())


# ── what is in it ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_wheel_holds_the_program_and_all_that_comes_with_it(wheel: Path) -> None:
    expected = {f"daemon/{name}": text for name, text in files_under(REPOSITORY / "daemon").items()}
    for folder in ("alerts", "seeds"):
        shipped = files_under(REPOSITORY / folder)
        assert shipped
        expected |= {f"daemon/defaults/{folder}/{name}": text for name, text in shipped.items()}
    expected["daemon/defaults/feeds.yaml"] = (REPOSITORY / "feeds.yaml").read_bytes()
    held = contents(wheel)
    assert {name: text for name, text in held.items() if ".dist-info/" not in name} == expected


def test_an_sdist_holds_what_a_packager_needs(sdist: Path, tmp_path: Path) -> None:
    tree = unpacked(sdist, tmp_path)
    wanted = ("systemd/claimwatch.service", "LICENSE", "README.md", "CHANGELOG.md", "docs/seeds.md", "constraints.txt")
    assert [name for name in wanted if not (tree / name).is_file()] == []


def test_a_wheel_of_the_sdist_is_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    again = build(unpacked(sdist, tmp_path), "wheel", tmp_path / "again")
    assert contents(again) == contents(wheel)


def test_an_editable_install_lays_the_door_before_a_package_that_would_hide_the_checkout(tmp_path: Path) -> None:
    held = contents(build(REPOSITORY, "wheel:editable", tmp_path))
    assert held["daemon/__main__.py"] == (REPOSITORY / "daemon" / "__main__.py").read_bytes()
    assert "daemon/__init__.py" not in held


def test_an_archive_among_the_seeds_goes_along(sdist: Path, tmp_path: Path) -> None:
    tree = unpacked(sdist, tmp_path)
    snapshot = tree / "seeds" / "example" / "archive" / "gazette" / "20250318T150000Z.xml"
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(rss(*NEWS))
    held = contents(build(tree, "wheel", tmp_path / "built"))
    assert held["daemon/defaults/seeds/example/archive/gazette/20250318T150000Z.xml"] == rss(*NEWS)


# ── as it is used ────────────────────────────────────────────────────────────────────────────────────────────────


def use(installed: Installed, folder: Path) -> None:
    """What somebody does first, from `/`: each step must work."""
    assert installed.ok("--version") == f"claimwatch {__version__}\n"
    assert installed.ok("init", folder / "watch").startswith(f"wrote {folder / 'watch' / 'feeds.yaml'}\n")
    assert " is fine: 4 feeds, 3 claims with " in installed.ok("check", "--config", folder / "watch" / "feeds.yaml")
    # The claim is in the shipped seed, the digest is made by the shipped templates.
    (folder / "feeds.yaml").write_text(WATCHED, encoding="utf-8")
    snapshot = folder / "archive" / "gazette" / "20250319T120000Z.xml"
    snapshot.parent.mkdir(parents=True)
    snapshot.write_bytes(rss(*NEWS))
    options = ("--config", folder / "feeds.yaml", "--state", folder / "state")
    summary = json.loads(installed.ok("backtest", "--json", folder / "archive", "--to", "2025-03-20T12:00Z", *options))
    assert (summary["items"], summary["matches"], summary["digests"]) == (2, {"prisoner-exchange": 1}, 1)
    assert len(list((folder / "state" / "Maildir" / "new").iterdir())) == 1


def use_more(installed: Installed, folder: Path) -> None:
    """What somebody does then."""
    installed.ok("init", "--all", folder / "all")
    assert " is fine: " in installed.ok("check", "--config", folder / "all" / "feeds.yaml")
    schema = (folder / "all" / "schemas" / "seed.schema.json").read_text(encoding="utf-8")
    assert installed.ok("schema", "seed") == schema
    options = ("--config", folder / "feeds.yaml", "--state", folder / "state")
    digest = json.loads(installed.ok("digest", "show", "--json", *options))["id"]
    assert "Moscow agreed to an exchange of prisoners" in installed.ok("digest", "show", digest, *options)
    installed.ok("verify", *options)


@pytest.mark.long
def test_a_wheel_in_an_empty_environment_does_all_a_newcomer_asks(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", symlinks=True)
    installed = Installed(tmp_path / "environment", tmp_path / "home")
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "--python", installed.python)
    ok(*pip, "install", "--no-deps", "--no-index", wheel)
    # Our libraries without our own package: a .pth file in a folder that a .pth file names is not read.
    (packages,) = (tmp_path / "environment" / "lib").glob("python*/site-packages")
    (packages / "libraries.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    assert installed.package == packages / "daemon"
    use(installed, tmp_path)


# ── as pip installs it, with all that it needs: make test-package ────────────────────────────────────────────────


def fresh(folder: Path, *what: str | Path) -> Installed:
    """A new environment into which pip has installed this, with its dependencies."""
    venv.create(folder / "environment", symlinks=True, with_pip=True)
    installed = Installed(folder / "environment", folder / "home")
    installed.pip("install", "-c", REPOSITORY / "constraints.txt", *what)
    return installed


def said_not_ours(installed: Installed) -> None:
    """Both ways to start say that the package is another one, and nothing else."""
    command = installed.run("check")
    module = run(installed.python, "-m", "daemon", "check")
    for said in (command, module):
        assert (said.returncode, said.stdout) == (2, "")
        assert said.stderr.startswith(f"claimwatch: the package `daemon` in {installed.package} is not claimwatch's")
        assert "Traceback" not in said.stderr


@pytest.mark.slow
def test_pip_installs_the_sdist(sdist: Path, tmp_path: Path) -> None:
    installed = fresh(tmp_path, sdist)
    assert installed.package.is_relative_to(installed.environment)
    use(installed, tmp_path)
    use_more(installed, tmp_path)


@pytest.mark.slow
def test_pip_installs_a_checkout_in_place(sdist: Path, tmp_path: Path) -> None:
    tree = unpacked(sdist, tmp_path)
    installed = fresh(tmp_path, "--editable", tree)
    assert installed.package == tree / "daemon"
    use(installed, tmp_path)
    use_more(installed, tmp_path)
    installed.pip("install", "python-daemon")
    said_not_ours(installed)
    installed.pip("uninstall", "--yes", "python-daemon")
    assert installed.ok("--version") == f"claimwatch {__version__}\n"


@pytest.mark.slow
def test_a_wheel_works_until_python_daemon_is_installed_over_it_and_says_so_then(wheel: Path, tmp_path: Path) -> None:
    installed = fresh(tmp_path, wheel)
    use(installed, tmp_path)
    use_more(installed, tmp_path)
    installed.pip("install", "python-daemon")
    said_not_ours(installed)
    # Taking it away takes our __init__.py along; what the message says mends it.
    installed.pip("uninstall", "--yes", "python-daemon")
    said_not_ours(installed)
    installed.pip("install", "--force-reinstall", "--no-deps", wheel)
    assert installed.ok("--version") == f"claimwatch {__version__}\n"
    installed.ok("check", "--config", tmp_path / "feeds.yaml")
