"""The demo: a made-up week of news, replayed as a user would, by the installed command from an unrelated folder."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from typer.testing import CliRunner

from daemon.cli import app
from daemon.demo import lay_out
from daemon.errors import ClaimwatchError
from daemon.matching import Matcher
from daemon.rules import ClaimRule
from daemon.settings import load, shipped
from tests.support import compiled

ROOT = Path(__file__).resolve().parents[1]
DEMO = shipped("seeds") / "demo"
SCRIPT = Path(sys.executable).with_name("claimwatch")
# Counted by hand in seeds/demo/archive.
ITEMS = {"tarnel-courier": 13, "strait-wire": 8, "protoka": 8, "merel": 10}
MATCHES = {
    "ferry-line": 3,
    "crew-exchange": 4,
    "survey-group": 2,
    "harbour-toll": 3,
    "sea-cable": 2,
    "air-link": 0,
}
SUMMARY = {"feeds": 4, "polls": 27, "unchanged": 1, "failed": 1, "items": 39, "revised": 2, "matches": MATCHES}
NEAR_MISSES = {
    "crew-exchange": "Demo: Theatre crew comes to Halvik on an exchange",
    "harbour-toll": "Demo: Bells toll for the old fish market",
    "ferry-line": "Demo: Ferry festival resumes after three years",
    "sea-cable": "Demo: Cable car above Halvik closes for repair",
}
DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
WITHOUT_NETWORK = """\
import os, sys

def refuse(event, arguments):
    if event in ("socket.bind", "socket.connect", "socket.getaddrinfo", "socket.sendto"):
        os.write(2, f"{event} {arguments}".encode())
        os._exit(97)

sys.addaudithook(refuse)
from daemon.cli import main
main()
"""


@dataclass(frozen=True)
class Shown:
    """A demo that was run, and what it printed."""

    folder: Path
    stdout: str
    stderr: str

    @property
    def html(self) -> bytes:
        return (self.folder / "digest.html").read_bytes()

    @property
    def recommended(self) -> list[str]:
        """The lines under "What to try next" that are no remarks."""
        lines = self.stdout.partition("What to try next")[2].splitlines()[1:]
        return [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]

    def objects(self, command: str) -> list[dict[str, Any]]:
        """What a command says of the demo's log, as JSON."""
        options = ["--config", str(self.folder / "feeds.yaml"), "--state", str(self.folder / "state")]
        done = CliRunner().invoke(app, [command, "--json", *options])
        return [json.loads(line) for line in done.stdout.splitlines()]


def run(words: list[str], folder: Path, code: int = 0, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a process of its own, which must end with this code."""
    done = subprocess.run(
        words, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Shown:
    """The demo, in a folder that was named."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    folder = elsewhere / "a demo"
    done = run([str(SCRIPT), "demo", "a demo"], elsewhere)
    return Shown(folder, done.stdout, done.stderr)


# ── what is shipped ──────────────────────────────────────────────────────────────────────────────────────────────


def documents() -> list[Path]:
    return sorted(DEMO.glob("archive/*/*.xml"))


def elements(path: Path, name: str) -> list[str]:
    """The texts of all elements of a document by their local name."""
    root = ElementTree.fromstring(path.read_bytes().removeprefix(b"<!DOCTYPE html>"))
    return [one.text or "" for one in root.iter() if one.tag.rpartition("}")[2] == name]


def test_every_title_begins_with_demo() -> None:
    titles = [title for path in documents() for name in ("title", "h1") for title in elements(path, name)]
    titles += [feed["title"] for feed in yaml.safe_load((DEMO / "feeds.yaml").read_text("utf-8"))["feeds"].values()]
    for seed in DEMO.glob("seeds/*.yaml"):
        titles += [yaml.safe_load(seed.read_text("utf-8"))[key] for key in ("title", "publisher")]
    assert len(titles) > 100
    assert [title for title in titles if not title.startswith("Demo: ")] == []


def test_every_address_leads_nowhere() -> None:
    texts = [path.read_text("utf-8") for path in sorted(DEMO.rglob("*")) if path.is_file()]
    hosts = {host for text in texts for host in re.findall(r"https?://([^/\"<\s]+)", text)}
    assert {host.rpartition(".")[2] for host in hosts - {"www.w3.org"}} == {"example"}


def test_each_feed_has_as_many_items_as_were_counted() -> None:
    seen: dict[str, set[str]] = {feed: set() for feed in ITEMS}
    for path in documents():
        seen[path.parent.name].update(key for name in ("guid", "id") for key in elements(path, name))
    # An Atom feed has an id of its own.
    own = {feed: int(feed in ("strait-wire", "merel")) for feed in ITEMS}
    assert {feed: len(keys) - own[feed] for feed, keys in seen.items()} == ITEMS


def test_the_archive_is_small_and_has_several_snapshots_of_each_feed() -> None:
    counts = {feed: len([path for path in documents() if path.parent.name == feed]) for feed in ITEMS}
    assert min(counts.values()) >= 5
    assert sum(path.stat().st_size for path in DEMO.rglob("*") if path.is_file()) < 200_000


def test_the_demo_is_in_no_other_configuration() -> None:
    settings = load(ROOT / "feeds.yaml")
    demo = set(MATCHES)
    assert demo.isdisjoint(claim.id for seed in settings.seeds for claim in seed.claims)
    assert demo.isdisjoint(settings.unwatched)


def test_the_demo_s_configuration_is_fine_and_watches_all_of_its_own_claims() -> None:
    settings = load(DEMO / "feeds.yaml")
    assert [claim.id for claim in settings.rules.watched_claims] == list(MATCHES)
    assert settings.unwatched == ()


@pytest.mark.parametrize("claim", sorted(NEAR_MISSES))
def test_a_minus_and_nothing_else_keeps_a_near_miss_out(claim: str) -> None:
    assert _claims_of(_demo_matcher(), NEAR_MISSES[claim]) == []
    assert _claims_of(_demo_matcher(minus=False), NEAR_MISSES[claim]) == [claim]


@cache
def _demo_matcher(*, minus: bool = True) -> Matcher:
    rules = load(DEMO / "feeds.yaml").rules
    return compiled(rules if minus else replace(rules, claims=tuple(map(_without_minus, rules.claims))))


def _without_minus(claim: ClaimRule) -> ClaimRule:
    terms = (replace(term, text=re.sub(r' -("[^"]*"|\S+)', "", term.text)) for term in claim.terms)
    return replace(claim, terms=tuple(terms))


def _claims_of(matcher: Matcher, title: str) -> list[str]:
    return [match.claim for match in matcher.match(title=title, summary="")]


def test_the_readme_shows_a_picture_that_is_sharp_and_small() -> None:
    picture = ROOT / "docs" / "digest.png"
    assert "docs/digest.png" in (ROOT / "README.md").read_text("utf-8")
    body = picture.read_bytes()
    assert body[:8] == b"\x89PNG\r\n\x1a\n"
    width, height = struct.unpack(">II", body[16:24])
    assert (width, height > width) == (1440, True)
    assert len(body) < 200_000


# ── what it shows ────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_week_comes_to_what_was_counted_by_hand_and_opens_no_connection(shown: Shown, tmp_path: Path) -> None:
    done = run([sys.executable, "-c", WITHOUT_NETWORK, "demo", "--json", str(tmp_path / "quiet")], tmp_path)
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert {key: found[key] for key in SUMMARY} == SUMMARY
    assert (found["digests"], found["deliveries"]) == (8, 8)
    assert Path(found["html"]).read_bytes() == shown.html
    assert len(list(Path(found["maildir"]).glob("new/*"))) == 8


def test_a_demo_without_a_folder_makes_one_that_stays_and_shows_the_same_digest(shown: Shown, tmp_path: Path) -> None:
    path = os.pathsep.join((str(SCRIPT.parent), os.environ["PATH"]))
    done = run([str(SCRIPT), "demo"], tmp_path, TMPDIR=str(tmp_path), PATH=path)
    (folder,) = tmp_path.glob("claimwatch-demo-*")
    again = Shown(folder, done.stdout, done.stderr)
    assert again.html == shown.html
    assert str(folder / "digest.html") in again.stdout
    assert again.recommended[0].startswith("claimwatch matches ")


def test_the_digest_stands_on_the_screen_as_it_was_mailed(shown: Shown) -> None:
    text = shown.stdout.partition("Where it is")[0]
    assert text.startswith("Subject: 2 claims moved: crew exchange (4), ferry line (3)\n\nweekly digest, 9 Mar 2025")
    assert "4 items from 3 feeds" in text
    assert "3 items from 3 feeds" in text
    assert "day 8 of 14, due in 6 days (15 Mar 2025)" in text
    assert max(map(len, text.splitlines())) <= 80


def test_the_digest_tells_of_an_item_that_was_there_before_and_of_one_that_was_changed(shown: Shown) -> None:
    before, changed = (
        "Already there when the feed was first read:",
        "Changed by its publisher since (5 Mar 2025, 06:00 UTC)",
    )
    assert "*Crews* may be *exchanged*" in shown.stdout.partition(before)[2][:80]
    assert changed in shown.stdout.partition("*Ferry* to Port Merel could *reopen*")[2][:260]


def test_the_digest_says_what_stayed_quiet_and_what_was_watched(shown: Shown) -> None:
    quiet, _, covered = " ".join(shown.stdout.partition("Nothing new on:")[2].split()).partition("What was watched")
    assert quiet.startswith("- Nobody will fly between the two capitals again this year. (air-link;")
    assert "From 3 Mar 2025, 06:00 UTC to 9 Mar 2025, 18:30 UTC: 4 of 4 feeds could be read at the end." in covered
    assert "strait-wire: could not be read from 6 Mar 2025, 06:10 UTC to 7 Mar 2025, 06:10 UTC." in covered
    assert "Items may have come and gone between two polls of: merel." in covered


def test_what_happens_is_told_day_by_day(shown: Shown) -> None:
    lines = shown.stderr.splitlines()
    days = [line for line in lines if " polls: " in line]
    assert [day[:9] for day in days] == [f"{name} {at} Mar" for at, name in enumerate(DAYS, start=3)]
    assert days[0] == "Mon 3 Mar  4 polls: 10 new items, 3 matches"
    assert sum(int(re.findall(r"(\d+) new", day)[0]) for day in days) == sum(ITEMS.values())
    assert "           strait-wire can't be read: not a feed (a web page instead of a feed)" in lines
    assert len([line for line in lines if " digest: " in line]) == 8


def test_each_language_is_matched(shown: Shown) -> None:
    found = shown.objects("matches")
    assert {feed: len([one for one in found if one["feed"] == feed]) for feed in ITEMS} == {
        "tarnel-courier": 5,
        "strait-wire": 2,
        "protoka": 4,
        "merel": 3,
    }
    words = {word for one in found for evidence in one["evidence"] for word in evidence["surface"]}
    assert {"fishermen", "рибалками", "Рыбаков"} <= words


def test_the_schemas_come_along_for_editors(shown: Shown) -> None:
    for name in ("feeds.yaml", "seeds/demo-tarnel-2025-03-02.yaml"):
        path = shown.folder / name
        schema = path.read_text(encoding="utf-8").partition("\n")[0].removeprefix("# yaml-language-server: $schema=")
        assert (path.parent / schema).resolve().is_relative_to(shown.folder.resolve())
        assert (path.parent / schema).is_file()


@pytest.mark.long
def test_each_command_that_it_recommends_can_be_copied_into_a_shell(shown: Shown, tmp_path: Path) -> None:
    assert len(shown.recommended) == 10
    outputs = [run(["sh", "-c", line], tmp_path) for line in shown.recommended]
    assert all(done.stdout for done in outputs)
    assert (tmp_path / "my-watch" / "feeds.yaml").is_file()
    assert "the log and its tables hold" in "".join(done.stdout for done in outputs)
    ids = [re.findall(r"^\S+/[-\d]{10}T[:\d]{8}Z", done.stdout, re.MULTILINE) for done in outputs]
    assert ids[2] == ids[8] != []
    assert '"claims": ["crew-exchange"]' in "".join(done.stdout for done in outputs)


# ── where it may not be ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_with_something_in_it_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    done = run([str(SCRIPT), "demo", "."], tmp_path, code=1)
    assert f"claimwatch: {tmp_path} has something in it\n  Name an empty folder" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_will_do(tmp_path: Path) -> None:
    demo = lay_out(tmp_path)
    assert load(demo.config).rules == load(DEMO / "feeds.yaml").rules


def test_a_place_that_can_t_be_a_folder_is_an_error_with_a_hint(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(ClaimwatchError, match="Name another folder"):
        lay_out(tmp_path / "file" / "demo")


def test_the_demo_takes_no_configuration_and_no_state(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["--state", str(tmp_path / "state"), "demo", str(tmp_path / "demo")])
    assert done.exit_code == 2
    assert "brings its own" in done.stderr
    assert list(tmp_path.iterdir()) == []
