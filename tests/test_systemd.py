"""The unit is one that systemd understands, closes all that can be closed, and is what the documentation leans on; the
installer refuses what would go wrong. What the service does under systemd: `make test-systemd`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
UNIT = CHECKOUT / "systemd" / "claimwatch.service"
EXPOSURE = "1.1"
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")


@needs_systemd
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    # Its program is not installed on a developer's machine: any that is there stands in for it.
    text = UNIT.read_text(encoding="utf-8").replace("/opt/claimwatch/bin/claimwatch", "/bin/true")
    (tmp_path / UNIT.name).write_text(text, encoding="utf-8")
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT.name)], capture_output=True, text=True, check=False
    )
    ours = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert (checked.returncode, ours) == (0, [])


@needs_systemd
def test_systemd_finds_hardly_anything_left_open() -> None:
    rated = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--threshold=12", "--no-pager", str(UNIT)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert rated.returncode == 0, rated.stdout
    assert f"Overall exposure level for claimwatch.service: {EXPOSURE} OK" in rated.stdout


@pytest.mark.parametrize(
    "directive", ["Type=notify", "StateDirectory=claimwatch", "Restart=on-failure", "WatchdogSec=120"]
)
def test_the_unit_says(directive: str) -> None:
    assert directive in UNIT.read_text(encoding="utf-8").splitlines()


def test_every_directive_of_the_unit_stands_under_a_comment() -> None:
    blank = commented = False
    bare = []
    for line in UNIT.read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("["):
            blank, commented = True, False
        elif line.startswith("#"):
            blank, commented = False, True
        elif blank and not commented:
            bare.append(line)
    # What says itself what it is for, at the head of its section.
    assert [line.partition("=")[0] for line in bare] == ["Description", "Documentation", "WantedBy"]


# ── what the installer refuses ───────────────────────────────────────────────────────────────────────────────────


def install(what: str, places: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "PYTHON": sys.executable, **places}
    command = [str(CHECKOUT / "systemd" / "install.sh"), what]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ({"PREFIX": "opt/claimwatch"}, "opt/claimwatch is no place to install to"),
        ({"PREFIX": "/"}, "/ is no place to install to"),
        ({"PREFIX": "/opt/my claimwatch"}, "/opt/my claimwatch is no place to install to"),
        ({"SYSCONFDIR": "etc"}, "etc is no place to install to"),
        ({"PYTHON": "python-of-nobody"}, "there is no python-of-nobody"),
    ],
)
@pytest.mark.parametrize("what", ["install"])
def test_the_installer_refuses(what: str, places: dict[str, str], said: str, tmp_path: Path) -> None:
    done = install(what, {"DESTDIR": str(tmp_path), **places})
    assert done.returncode == 1
    assert done.stderr.startswith(f"claimwatch: {said}")
    # What to do about it.
    assert len(done.stderr.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("what", ["install", "uninstall"])
def test_the_installer_touches_no_folder_that_it_did_not_make(what: str, tmp_path: Path) -> None:
    theirs = tmp_path / "opt" / "claimwatch" / "notes.txt"
    theirs.parent.mkdir(parents=True)
    theirs.write_text("of somebody else", encoding="utf-8")
    # A Python outside of home directories, which `install` looks at first.
    done = install(what, {"DESTDIR": str(tmp_path), "PYTHON": fake_python(tmp_path)})
    assert done.returncode == 1
    assert "was not made by this" in done.stderr
    assert theirs.read_text(encoding="utf-8") == "of somebody else"


def test_the_installer_refuses_a_python_that_the_service_can_not_see(tmp_path: Path) -> None:
    done = install(
        "install", {"DESTDIR": str(tmp_path / "root"), "PYTHON": fake_python(tmp_path, "/home/analyst/python")}
    )
    assert done.returncode == 1
    assert "lies in /home/analyst/python, where the service can't see it" in done.stderr


def fake_python(folder: Path, home: str = "/usr") -> str:
    """A Python that says where it lives, and is fine otherwise."""
    program = folder / "python-of-a-test"
    program.write_text(f'#!/bin/sh\ncase "$2" in *base_prefix*) echo {home} ;; esac\n', encoding="utf-8")
    program.chmod(0o755)
    return str(program)


def test_what_was_never_installed_is_taken_away_without_complaint(tmp_path: Path) -> None:
    done = install("uninstall", {"DESTDIR": str(tmp_path)})
    assert done.returncode == 0
    assert f"Kept: {tmp_path}/etc/claimwatch (feeds.yaml)" in done.stdout
