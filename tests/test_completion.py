"""What Tab offers, asked as bash and zsh ask: by environment variables."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon.cli import app

COMMAND = Path(sys.executable).with_name("claimwatch")
FEEDS = """\
feeds: {gazette: "https://gazette.example/rss", globe: "https://globe.example/rss", herald: "https://herald.example/"}
claims: {prisoner-exchange: {terms: prisoner exchange}, black-sea-group: {terms: Black Sea}}
digests: {daily: {at: "07:30"}, weekly: {at: "18:00", days: sun}}
"""


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a feeds.yaml, in which somebody presses Tab."""
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def offered(line: str) -> list[str]:
    """What bash is offered at the end of a line. Nothing may be said besides."""
    words = line.split(" ")
    asked = {
        "_CLAIMWATCH_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = CliRunner().invoke(app, [], env=asked, prog_name="claimwatch")
    assert (done.exit_code, done.stderr) == (0, "")
    return done.stdout.split()


def process(*words: str | Path, **variables: str) -> str:
    """What a process of its own prints, with claimwatch in its path. Nothing may be said besides."""
    environment = os.environ | {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}"} | variables
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=30, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("claimwatch poll g", ["gazette", "globe"]),
        ("claimwatch poll gazette h", ["herald"]),
        ("claimwatch matches --claim ", ["prisoner-exchange", "black-sea-group"]),
        ("claimwatch try rain --claim p", ["prisoner-exchange"]),
        ("claimwatch explain --why-not rain b", ["black-sea-group"]),
        ("claimwatch digest preview ", ["daily", "weekly"]),
        ("claimwatch digest resend w", ["weekly"]),
        ("claimwatch digest prepare d", ["daily"]),
        ("claimwatch events --kind digest_", ["digest_prepared", "digest_skipped"]),
        ("claimwatch schema ", ["feeds", "seed"]),
        ("claimwatch feeds ", ["list", "discover", "add", "import", "export"]),
        ("claimwatch feeds add --w", ["--write"]),
    ],
)
@pytest.mark.usefixtures("desk")
def test_tab_offers_what_may_stand_there(line: str, values: list[str]) -> None:
    assert offered(line) == values


@pytest.mark.parametrize("line", ["claimwatch --config {} poll o", "claimwatch poll --config {} o"])
def test_tab_goes_by_the_configuration_that_the_line_names(desk: Path, line: str) -> None:
    (desk / "other.yaml").write_text("feeds: {observer: https://observer.example/}\n", encoding="utf-8")
    assert offered(line.format("other.yaml")) == ["observer"]


def test_tab_is_silent_where_feeds_yaml_has_mistakes(desk: Path) -> None:
    (desk / "feeds.yaml").write_text("feds: {}\n", encoding="utf-8")
    assert offered("claimwatch poll ") == []


@pytest.mark.usefixtures("desk")
def test_tab_is_silent_where_there_is_no_feeds_yaml() -> None:
    assert offered("claimwatch poll --config nowhere.yaml ") == []


@pytest.mark.usefixtures("desk")
def test_zsh_is_answered_in_its_own_way() -> None:
    told = process(COMMAND, _CLAIMWATCH_COMPLETE="complete_zsh", _TYPER_COMPLETE_ARGS="claimwatch poll g")
    assert "'gazette' 'globe'" in " ".join(told.replace('"', "'").split())


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
@pytest.mark.usefixtures("desk")
def test_bash_itself_completes_by_the_script_that_the_command_prints() -> None:
    script = process(COMMAND, _CLAIMWATCH_COMPLETE="source_bash")
    press_tab = "COMP_WORDS=(claimwatch poll he); COMP_CWORD=2; _claimwatch_completion claimwatch; echo ${COMPREPLY[@]}"
    assert process("bash", "--norc", "-c", f"{script}\n{press_tab}") == "herald\n"
