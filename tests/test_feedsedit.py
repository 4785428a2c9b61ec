"""Feeds set into feeds.yaml: all of them or nothing, and the rest of the file as it was."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path

import pytest

from daemon import feedsedit
from daemon.errors import ClaimwatchError
from daemon.feedsedit import add_feeds
from daemon.newfeeds import NewFeed
from daemon.settings import Settings, load, shipped
from daemon.starter import write_starter
from daemon.yamledit import with_entries

GLOBE = NewFeed("globe", "https://globe.example/rss", "The Globe")
LINE = '  globe: {title: The Globe, url: "https://globe.example/rss"}\n'
FEEDS = """\
# My feeds
feeds:
  gazette:   'https://gazette.example/rss'   # the first

digests: {daily: {at: "07:30"}}
"""


def settings_of(folder: Path, text: str = FEEDS) -> Settings:
    (folder / "feeds.yaml").write_bytes(text.encode())
    return load(folder / "feeds.yaml", folder / "state")


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_feed_comes_in_and_the_rest_stays(tmp_path: Path) -> None:
    add_feeds(settings_of(tmp_path), [GLOBE])
    head, tail = FEEDS.split("# the first\n")
    assert (tmp_path / "feeds.yaml").read_bytes().decode() == f"{head}# the first\n{LINE}{tail}"
    assert [feed.id for feed in load(tmp_path / "feeds.yaml").rules.feeds] == ["gazette", "globe"]
    assert names_in(tmp_path) == ["feeds.yaml"]


@pytest.mark.parametrize("everything", [True, False])
def test_feeds_come_into_what_claimwatch_ships(tmp_path: Path, everything: bool) -> None:
    path = write_starter(tmp_path, everything=everything)[0]
    before = path.read_bytes()
    many = [NewFeed(f"new-{n}", f"https://{n}.example/", "", {"every": "6h"}) for n in range(2000)]
    add_feeds(load(path, tmp_path), many)
    lines = "".join(f'  new-{n}: {{url: "https://{n}.example/", every: 6h}}\n' for n in range(2000)).encode()
    head, found, tail = path.read_bytes().partition(lines)
    assert found
    assert head + tail == before


def test_a_link_stays_one_and_the_file_behind_it_is_edited(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "watch.yaml").write_text(FEEDS)
    link = tmp_path / "etc" / "feeds.yaml"
    link.symlink_to("../repository/watch.yaml")
    # What stands beside the link is what counts: the claim's seed is there.
    (tmp_path / "etc" / "seeds").mkdir()
    seed = (shipped("seeds") / "carnegie-2025-03-19.yaml").read_text().replace("prisoner-exchange:", "my-own:")
    (tmp_path / "etc" / "seeds" / "carnegie-2025-03-19.yaml").write_text(seed)
    link.write_text(FEEDS + "claims: {my-own: {terms: x y}}\n")
    add_feeds(load(link, tmp_path), [GLOBE])
    assert os.readlink(link) == "../repository/watch.yaml"
    assert LINE in (tmp_path / "repository" / "watch.yaml").read_text()
    assert names_in(tmp_path / "etc") == ["feeds.yaml", "seeds"]
    assert names_in(tmp_path / "repository") == ["watch.yaml"]


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664])
def test_the_rights_of_the_file_stay(tmp_path: Path, mode: int) -> None:
    settings = settings_of(tmp_path)
    settings.file.chmod(mode)
    os.utime(settings.file, (1, 1))
    add_feeds(settings, [GLOBE])
    assert stat.S_IMODE(settings.file.stat().st_mode) == mode
    assert settings.file.stat().st_mtime > 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_the_owner_of_the_file_stays(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    os.chown(settings.file, 12345, 23456)
    add_feeds(settings, [GLOBE])
    assert (settings.file.stat().st_uid, settings.file.stat().st_gid) == (12345, 23456)


@pytest.mark.parametrize(
    ("feeds", "says"),
    [
        ([NewFeed("gazette", "https://globe.example/")], "stands here twice"),
        ([NewFeed("Globe", "https://globe.example/")], "can't be a key"),
        ([GLOBE, NewFeed("herald", "ftp://herald.example/")], "no web address"),
        ([NewFeed("globe", "https://globe.example/", "", {"every": "1s"})], "too often"),
    ],
)
def test_what_could_not_be_used_is_refused_and_nothing_is_changed(
    tmp_path: Path, feeds: list[NewFeed], says: str
) -> None:
    settings = settings_of(tmp_path)
    before = settings.file.stat()
    with pytest.raises(ClaimwatchError) as refused:
        add_feeds(settings, feeds)
    assert says in refused.value.message
    # Told by the name of the file, not by that of the one that was tried.
    assert f"{settings.file}:" in refused.value.message
    assert "Nothing was changed." in refused.value.hint
    assert settings.file.read_text() == FEEDS
    assert settings.file.stat() == before
    assert names_in(tmp_path) == ["feeds.yaml"]


def test_a_file_in_too_odd_a_form_is_left_alone_and_the_line_is_told(tmp_path: Path) -> None:
    text = "words: &none {}\nfeeds: *none\n"
    settings = settings_of(tmp_path, text)
    with pytest.raises(ClaimwatchError) as refused:
        add_feeds(settings, [GLOBE])
    why = "line 2: feeds: is an alias of what stands in line 1"
    assert refused.value.message == f"feeds can't be set into {settings.file}: {why}"
    assert "Nothing was changed." in refused.value.hint
    assert settings.file.read_text() == text


def test_an_edit_that_would_say_something_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)
    lossy = lambda text, section, entries: with_entries(text, section, entries).replace("07:30", "08:30")  # noqa: E731
    monkeypatch.setattr(feedsedit, "with_entries", lossy)
    with pytest.raises(ClaimwatchError, match="by themselves"):
        add_feeds(settings, [GLOBE])
    assert settings.file.read_text() == FEEDS


def test_a_file_that_was_saved_in_the_meantime_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(tmp_path)

    def saves_meanwhile(text: str, section: str, entries: list[str]) -> str:
        settings.file.write_text(FEEDS + "# saved\n")
        return with_entries(text, section, entries)

    monkeypatch.setattr(feedsedit, "with_entries", saves_meanwhile)
    with pytest.raises(ClaimwatchError, match="saved by somebody else"):
        add_feeds(settings, [GLOBE])
    assert settings.file.read_text() == FEEDS + "# saved\n"
    assert names_in(tmp_path) == ["feeds.yaml"]


def test_a_disk_that_takes_no_more_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    settings = settings_of(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(FEEDS), limits[1]))
    try:
        with pytest.raises(ClaimwatchError, match="can't be written: File too large"):
            add_feeds(settings, [GLOBE])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert settings.file.read_text() == FEEDS
    assert names_in(tmp_path) == ["feeds.yaml"]
