"""The unit file is one that systemd understands; the directives that the README leans on are in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[1] / "systemd" / "claimwatch.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_finds_no_fault_in_the_unit(tmp_path: Path) -> None:
    # Its program is not installed on a developer's machine: any that is there stands in for it.
    text = UNIT.read_text(encoding="utf-8").replace("/opt/claimwatch/bin/claimwatch", "/bin/true")
    (tmp_path / UNIT.name).write_text(text, encoding="utf-8")
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / UNIT.name)], capture_output=True, text=True, check=False
    )
    ours = [line for line in checked.stderr.splitlines() if UNIT.name in line]
    assert (checked.returncode, ours) == (0, [])


@pytest.mark.parametrize(
    "directive", ["Type=notify", "StateDirectory=claimwatch", "Restart=on-failure", "WatchdogSec=120"]
)
def test_the_unit_says(directive: str) -> None:
    assert directive in UNIT.read_text(encoding="utf-8").splitlines()
