"""Backtests: an archive of snapshots lived through in virtual time, by the code that polls and delivers."""

from __future__ import annotations

import asyncio
import gzip
import json
import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemon.backtest import VirtualClock, backtest, snapshots_in
from daemon.cli import app
from daemon.errors import ClaimwatchError
from tests.support import SHARED, event_log, feed, item, needs_shared, post, rss, rules

FEEDS = """\
feeds:
  gazette: {url: "https://gazette.example/rss", title: The Gazette}
  herald: {url: "https://herald.example/rss", enabled: false}
claims:
  prisoner-exchange: {terms: prisoner exchange}
  black-sea-group: {terms: Black Sea group}
digests:
  daily: {at: 7:30}
"""
KEYS = ["feeds", "polls", "unchanged", "failed", "items", "revised", "matches", "digests", "deliveries"]
RAIN = rss(item("Rain expected"))
SWAP = rss(item("Rain expected"), item("Prisoner exchange agreed"))
GROUP = rss(item("A group for the Black Sea"), item("Prisoner exchange agreed", summary="Tomorrow."))


@dataclass(frozen=True)
class Archive:
    """A folder of snapshots beside a feeds.yaml, and the backtests over it."""

    folder: Path

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def add(self, feed: str, name: str, document: bytes) -> None:
        """A snapshot under this name; gzipped if the name says so."""
        path = self.folder / "archive" / feed / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(document) if path.suffix == ".gz" else document)

    def run(self, *arguments: str) -> Result:
        words = ["backtest", str(self.folder / "archive"), *arguments, "--config", str(self.folder / "feeds.yaml")]
        return CliRunner().invoke(app, words)

    def summary(self, *arguments: str) -> dict[str, Any]:
        """What a backtest into the kept state comes to: the one line on its stdout."""
        done = self.run("--json", "--state", str(self.state), *arguments)
        assert done.exit_code == 0, done.output + repr(done.exception)
        (line,) = done.stdout.splitlines()
        found: dict[str, Any] = json.loads(line)
        return found

    def events(self, *kinds: str) -> list[tuple[str, str, dict[str, Any]]]:
        """The time, stream and payload of the events in the kept state."""
        with sqlite3.connect(self.state / "claimwatch.sqlite3") as connection:
            rows = connection.execute("SELECT at, stream, kind, payload FROM event ORDER BY position").fetchall()
        connection.close()
        return [
            (at[:16], stream, json.loads(payload)) for at, stream, kind, payload in rows if not kinds or kind in kinds
        ]

    def times(self, *kinds: str) -> list[str]:
        return [at for at, _, _ in self.events(*kinds)]

    def mails(self) -> list[str]:
        """The subjects of the mails in the kept state."""
        files = sorted((self.state / "Maildir" / "new").glob("*"))
        return [str(message_from_bytes(file.read_bytes(), policy=SMTP)["Subject"]) for file in files]

    def claimwatch(self, command: str) -> Result:
        words = [command, "--state", str(self.state), "--config", str(self.folder / "feeds.yaml")]
        return CliRunner().invoke(app, words)


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    """An archive without snapshots."""
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path)


@pytest.fixture
def two_days(archive: Archive) -> Archive:
    """Two feeds over two days; the daily digest at 07:30 lies between them."""
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("gazette", "20250318T160000Z.xml.gz", SWAP)
    archive.add("gazette", "20250318T170000Z.xml", SWAP)
    archive.add("harbour", "20250318T153000Z-0a1b2c.xml.gz", RAIN)
    archive.add("harbour", "20250319T120000Z.xml", GROUP)
    return archive


# ── what it comes to ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_backtest_ends_with_one_line(two_days: Archive) -> None:
    assert two_days.summary() == {
        "feeds": 2,
        "polls": 5,
        "unchanged": 1,
        "failed": 0,
        "items": 5,
        "revised": 0,
        "matches": {"prisoner-exchange": 2, "black-sea-group": 1},
        "digests": 1,
        "deliveries": 1,
    }


def test_the_line_has_its_keys_in_their_order(two_days: Archive) -> None:
    assert list(two_days.summary()) == KEYS


def test_only_the_line_is_on_stdout(two_days: Archive) -> None:
    assert list(json.loads(two_days.run("--json").stdout)) == KEYS


def test_without_json_a_person_reads_sums_and_what_the_digests_would_have_said(two_days: Archive) -> None:
    assert two_days.run().stdout.splitlines() == [
        "2 feeds: 5 polls; 5 items, 0 revised",
        "",
        "3 matches",
        "      2  prisoner-exchange",
        "      1  black-sea-group",
        "",
        "1 digest",
        "  2025-03-19 07:30 UTC  daily: 1 claim moved: prisoner exchange (1)",
    ]


def test_no_subject_stands_there_without_a_digest(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    assert archive.run().stdout.splitlines()[-1] == "0 digests"


def test_a_backtest_without_a_state_says_that_it_keeps_nothing(two_days: Archive) -> None:
    assert "The log was thrown away; --state DIR keeps it" in two_days.run().stderr
    assert not two_days.state.exists()


def test_a_backtest_with_a_state_says_nothing_of_throwing_away(two_days: Archive) -> None:
    assert "thrown away" not in two_days.run("--state", str(two_days.state)).stderr


def test_a_claim_that_nothing_bears_on_is_counted_as_nothing(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    assert archive.summary()["matches"] == {"prisoner-exchange": 0, "black-sea-group": 0}


def test_a_revision_is_counted(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", rss(item("Rain expected", summary="Today.")))
    archive.add("gazette", "20250318T160000Z.xml", rss(item("Rain expected", summary="Tomorrow.")))
    found = archive.summary()
    assert (found["items"], found["revised"]) == (1, 1)


# ── the order of things ──────────────────────────────────────────────────────────────────────────────────────────


def test_snapshots_are_polled_in_order_of_time_over_all_feeds(two_days: Archive) -> None:
    two_days.summary()
    seen = [(at, payload["feed"]) for at, _, payload in two_days.events("item_seen")]
    assert seen == [
        ("2025-03-18T15:00", "gazette"),
        ("2025-03-18T15:30", "harbour"),
        ("2025-03-18T16:00", "gazette"),
        ("2025-03-19T12:00", "harbour"),
        ("2025-03-19T12:00", "harbour"),
    ]


def test_a_digest_due_before_a_snapshot_goes_first(two_days: Archive) -> None:
    two_days.summary()
    assert two_days.times("digest_prepared", "delivery_accepted") == ["2025-03-19T07:30", "2025-03-19T07:30"]
    ((_, _, digest),) = two_days.events("digest_prepared")
    assert digest["due"].startswith("2025-03-19T07:30:00")
    assert len(digest["matches"]) == 1
    assert two_days.mails() == ["1 claim moved: prisoner exchange (1)"]


def test_a_digest_due_at_the_instant_of_a_snapshot_goes_after_it(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("gazette", "20250319T073000Z.xml", SWAP)
    found = archive.summary("--to", "2025-03-19T07:30Z")
    assert (found["matches"]["prisoner-exchange"], found["digests"], found["deliveries"]) == (1, 1, 1)


def test_digests_due_until_the_end_are_sent(two_days: Archive) -> None:
    found = two_days.summary("--to", "2025-03-21T00:00Z")
    assert (found["digests"], found["deliveries"]) == (2, 2)
    assert two_days.times("digest_prepared") == ["2025-03-19T07:30", "2025-03-20T07:30"]


def test_a_digest_with_nothing_to_tell_is_no_digest(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("gazette", "20250320T150000Z.xml", RAIN)
    assert archive.summary()["digests"] == 0
    assert archive.times("digest_skipped") == ["2025-03-19T07:30", "2025-03-20T07:30"]


def test_no_time_but_the_archives_is_in_the_log(two_days: Archive) -> None:
    two_days.summary()
    assert {at[:10] for at in two_days.times()} == {"2025-03-18", "2025-03-19"}


def test_the_clock_never_goes_back() -> None:
    clock = VirtualClock(datetime(2025, 3, 18, tzinfo=UTC))
    clock.move_to(datetime(2025, 3, 19, tzinfo=UTC))
    clock.move_to(datetime(2025, 3, 18, tzinfo=UTC))
    assert clock.now() == datetime(2025, 3, 19, tzinfo=UTC)


def test_two_backtests_over_the_same_archive_make_the_same_log(two_days: Archive, tmp_path: Path) -> None:
    logs = []
    for name in ("one", "two"):
        assert two_days.run("--state", str(tmp_path / name)).exit_code == 0
        with sqlite3.connect(tmp_path / name / "claimwatch.sqlite3") as connection:
            logs.append(connection.execute("SELECT position, kind, at FROM event").fetchall())
        connection.close()
    assert logs[0] == logs[1]


# ── snapshots ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_bytes_again_are_unchanged(archive: Archive) -> None:
    for hour in (15, 16, 17):
        archive.add("gazette", f"20250318T{hour}0000Z.xml", RAIN)
    found = archive.summary()
    assert (found["polls"], found["unchanged"], found["items"]) == (3, 2, 1)


def test_the_same_bytes_packed_are_unchanged(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("gazette", "20250318T160000Z.xml.gz", RAIN)
    assert archive.summary()["unchanged"] == 1


@pytest.mark.parametrize(
    "broken",
    [b"", b"not gzip", gzip.compress(SWAP)[:-9], gzip.compress(SWAP)[:20], b"\x1f\x8b\x08\x00" + b"\xff" * 40],
    ids=["empty", "other", "cut", "head", "garbled"],
)
def test_a_broken_archive_file_is_a_failed_poll(archive: Archive, broken: bytes) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("gazette", "20250318T160000Z.xml.gz", b"")
    (archive.folder / "archive" / "gazette" / "20250318T160000Z.xml.gz").write_bytes(broken)
    archive.add("gazette", "20250318T170000Z.xml", SWAP)
    found = archive.summary()
    assert (found["polls"], found["failed"], found["items"]) == (3, 1, 2)
    assert archive.times("feed_failed") == ["2025-03-18T16:00"]
    assert archive.times("feed_recovered") == ["2025-03-18T17:00"]


@pytest.mark.parametrize("document", [b"", b"<html><body>Sorry</body></html>"])
def test_a_snapshot_that_is_no_feed_is_a_failed_poll(archive: Archive, document: bytes) -> None:
    archive.add("gazette", "20250318T150000Z.xml", document)
    found = archive.summary()
    assert (found["polls"], found["failed"], found["items"]) == (1, 1, 0)


def test_a_snapshot_of_a_document_larger_than_the_limit_is_a_failed_poll(archive: Archive) -> None:
    (archive.folder / "feeds.yaml").write_text(FEEDS + "polling: {most_bytes: 10000}\n", encoding="utf-8")
    archive.add("gazette", "20250318T150000Z.xml.gz", RAIN + b" " * 10_000)
    assert archive.summary()["failed"] == 1


def test_a_json_feed_may_be_a_snapshot(archive: Archive) -> None:
    document = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": "Harbour",
        "items": [{"id": "1", "title": "Ships", "content_text": ""}],
    }
    archive.add("harbour", "20250318T150000Z.json", json.dumps(document).encode())
    assert archive.summary()["items"] == 1


def test_files_and_folders_that_are_no_snapshots_are_passed_over(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    for name in (
        "README.md",
        "20250318.xml",
        "20250318T150000.xml",
        "x20250318T150000Z.xml",
        "20250318T160000Z.xml.bak",
    ):
        archive.add("gazette", name, SWAP)
    (archive.folder / "archive" / "notes").mkdir()
    (archive.folder / "archive" / "20250318T150000Z.xml").write_bytes(SWAP)
    found = archive.summary()
    assert (found["feeds"], found["polls"]) == (1, 1)


def test_a_name_that_is_no_time_is_passed_over_or_told(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("gazette", "20250231T250000Z.xml", SWAP)
    done = archive.run("--state", str(archive.state))
    assert done.exception is None or isinstance(done.exception, ClaimwatchError)


def test_an_archive_that_is_no_folder_is_told(tmp_path: Path) -> None:
    with pytest.raises(ClaimwatchError, match=r"nowhere is no folder"):
        snapshots_in(tmp_path / "nowhere")


def test_an_archive_without_snapshots_is_told(archive: Archive) -> None:
    error = archive.run().exception
    assert isinstance(error, ClaimwatchError)
    assert error.message == f"{archive.folder / 'archive'} holds no snapshots"


# ── feeds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def feeds_in_the_log(archive: Archive) -> dict[str, dict[str, Any]]:
    ((_, _, changed),) = archive.events("rules_changed")
    return {one["id"]: one for one in changed["rules"]["feeds"]}


def test_a_feed_that_does_not_stand_in_feeds_yaml_is_polled(archive: Archive) -> None:
    archive.add("The Harbour [old]", "20250318T150000Z.xml", SWAP)
    assert archive.summary()["items"] == 2
    assert archive.events("item_seen")[0][2]["feed"] == "The Harbour [old]"
    assert list(feeds_in_the_log(archive)) == ["The Harbour [old]"]


def test_its_name_is_shown_as_it_is(archive: Archive) -> None:
    archive.add("Harbour [old]", "20250318T150000Z.xml", SWAP)
    archive.summary()
    assert "Harbour [old]" in archive.claimwatch("matches").stdout
    assert "Harbour [old]" in archive.claimwatch("status").stdout


def test_a_feed_that_stands_in_feeds_yaml_is_as_it_stands_there(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.summary()
    found = feeds_in_the_log(archive)["gazette"]
    assert (found["url"], found["title"]) == ("https://gazette.example/rss", "The Gazette")


def test_a_resting_feed_is_polled_where_the_archive_has_it(archive: Archive) -> None:
    archive.add("herald", "20250318T150000Z.xml", RAIN)
    assert archive.summary()["items"] == 1
    assert feeds_in_the_log(archive)["herald"]["enabled"] is True


def test_feeds_that_the_archive_has_not_are_not_in_the_backtest(archive: Archive) -> None:
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    assert archive.summary()["feeds"] == 1
    assert list(feeds_in_the_log(archive)) == ["gazette"]


def test_two_feeds_of_one_address_are_two_feeds(archive: Archive) -> None:
    text = FEEDS.replace("https://herald.example/rss", "https://gazette.example/rss")
    (archive.folder / "feeds.yaml").write_text(text, encoding="utf-8")
    archive.add("gazette", "20250318T150000Z.xml", RAIN)
    archive.add("herald", "20250318T150000Z.xml", SWAP)
    archive.summary()
    assert [payload["feed"] for _, _, payload in archive.events("item_seen")] == ["gazette", "herald", "herald"]


# ── from, to, and again ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("arguments", "polls"),
    [
        (("--from", "2025-03-18T16:00Z"), 3),
        (("--from", "20250318T160001Z"), 2),
        (("--to", "2025-03-18T16:00Z"), 3),
        (("--to", "2025-03-18T17:59+02:00"), 2),
        (("--from", "2025-03-18T15:30Z", "--to", "2025-03-18T16:30Z"), 2),
        (("--from", "2025-03-20"), 0),
        (("--from", "2025-03-19", "--to", "2025-03-18"), 0),
    ],
)
def test_snapshots_outside_the_span_are_passed_over(two_days: Archive, arguments: tuple[str, ...], polls: int) -> None:
    found = two_days.summary(*arguments)
    assert (found["feeds"], found["polls"]) == (2, polls)


def test_a_second_run_appends_nothing(two_days: Archive) -> None:
    two_days.summary()
    before = two_days.events()
    found = two_days.summary()
    assert (found.pop("feeds"), found.pop("matches")) == (2, {"prisoner-exchange": 0, "black-sea-group": 0})
    assert set(found.values()) == {0}
    assert two_days.events() == before


def test_a_second_run_with_an_end_appends_nothing_either(two_days: Archive) -> None:
    two_days.summary("--to", "2025-03-21T00:00Z")
    before = two_days.events()
    two_days.summary("--to", "2025-03-21T00:00Z")
    assert two_days.events() == before


def test_a_later_snapshot_goes_on_where_the_log_stands(two_days: Archive) -> None:
    two_days.summary()
    two_days.add("gazette", "20250319T130000Z.xml", rss(item("Rain expected"), item("Sun expected")))
    found = two_days.summary()
    assert (found["feeds"], found["polls"], found["items"], found["revised"]) == (2, 1, 1, 0)


def test_a_snapshot_that_came_late_is_passed_over(two_days: Archive) -> None:
    two_days.summary()
    two_days.add("gazette", "20250318T163000Z.xml", rss(item("Never seen")))
    assert two_days.summary()["polls"] == 0


def test_a_feed_that_came_late_is_polled_from_its_beginning(two_days: Archive) -> None:
    two_days.summary()
    two_days.add("late", "20250318T100000Z.xml", RAIN)
    found = two_days.summary()
    assert (found["feeds"], found["polls"], found["items"]) == (3, 1, 1)
    assert two_days.claimwatch("verify").exit_code == 0


def test_a_backtest_in_two_parts_tells_what_one_in_one_part_tells(archive: Archive, tmp_path: Path) -> None:
    """Digests that fell due between the parts go at their own times, not all at the beginning of the second."""
    archive.add("gazette", "20250318T150000Z.xml", SWAP)
    archive.add("gazette", "20250321T150000Z.xml", GROUP)
    archive.summary("--to", "2025-03-18T16:00Z")
    archive.summary()
    in_parts = archive.times("digest_prepared", "digest_skipped")
    archive.state.rename(tmp_path / "in-parts")
    archive.summary()
    at_once = archive.times("digest_prepared", "digest_skipped")
    assert at_once == ["2025-03-19T07:30", "2025-03-20T07:30", "2025-03-21T07:30"]
    assert in_parts == at_once


def test_new_terms_are_matched_against_what_an_earlier_run_left(two_days: Archive) -> None:
    two_days.summary()
    before = two_days.events()
    (two_days.folder / "feeds.yaml").write_text(FEEDS.replace("terms: Black Sea group", "terms: rain"))
    done = two_days.run("--state", str(two_days.state), "--to", "2025-03-20T08:00")
    assert "matched against 5 stored items: matches 2 found, 0 changed, 1 no longer made" in done.stderr
    added = two_days.events()[len(before) :]
    assert [(at, stream) for at, stream, _ in added][:4] == [
        ("2025-03-19T12:00", "watch"),
        ("2025-03-19T12:00", "claim/black-sea-group"),
        ("2025-03-19T12:00", "claim/black-sea-group"),
        ("2025-03-19T12:00", "claim/black-sea-group"),
    ]
    assert two_days.mails()[-1] == "2 claims moved: prisoner exchange (1), black sea group (2 earlier)"
    assert two_days.claimwatch("verify").exit_code == 0


# ── afterwards ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_log_of_a_backtest_verifies(two_days: Archive) -> None:
    two_days.summary()
    done = two_days.claimwatch("verify")
    assert done.stdout.startswith(f"the log and its tables hold: {len(two_days.events())} events, head ")


def test_a_rebuild_changes_nothing(two_days: Archive) -> None:
    two_days.summary()
    before = two_days.events()
    assert two_days.claimwatch("rebuild").exit_code == 0
    assert two_days.events() == before
    assert two_days.claimwatch("verify").exit_code == 0


def test_mail_goes_to_the_maildir_whatever_server_is_named(two_days: Archive) -> None:
    text = FEEDS.replace("at: 7:30", "at: 7:30, to: a@b.example") + "mail: {smtp: {host: 127.0.0.1, port: 9}}\n"
    (two_days.folder / "feeds.yaml").write_text(text, encoding="utf-8")
    assert two_days.summary()["deliveries"] == 1
    assert two_days.mails() == ["1 claim moved: prisoner exchange (1)"]


def test_a_delivery_that_must_wait_is_tried_again_in_virtual_time(tmp_path: Path) -> None:
    """The Maildir can't be made while a file stands in its place; the first retry is a minute later."""
    folder = tmp_path / "archive" / "gazette"
    folder.mkdir(parents=True)
    (folder / "20250318T150000Z.xml").write_bytes(rss(item("Energy strike pause agreed")))
    (folder / "20250319T120000Z.xml").write_bytes(RAIN)
    (tmp_path / "Maildir").write_text("in the way", encoding="utf-8")
    with event_log(tmp_path) as log:
        found = asyncio.run(
            backtest(
                *(log, rules(feed("gazette")), post(tmp_path), snapshots_in(tmp_path / "archive")),
                until=datetime(2025, 3, 19, 13, tzinfo=UTC) + timedelta(days=6),
                most_bytes=1_000_000,
            )
        )
        with log.reading() as connection:
            tried = connection.exec_driver_sql("SELECT count(*) FROM event WHERE kind = 'delivery_started'").scalar()
            ends = connection.exec_driver_sql(
                "SELECT kind FROM event WHERE stream LIKE 'digest/%' ORDER BY position DESC LIMIT 1"
            ).scalar()
    assert (found.digests > 0, found.deliveries) == (True, 0)
    assert tried is not None
    assert tried > 10
    assert ends in ("delivery_refused", "delivery_deferred")


@needs_shared
def test_the_shared_archive_has_snapshots_of_twelve_feeds() -> None:
    archive = SHARED / "corpus" / "timeline" / "snapshots"
    assert len({snapshot.feed for snapshot in snapshots_in(archive)}) == 12
