"""`claimwatch feeds`: what each command prints where, what it changes, and the code it ends with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from daemon.cli import app
from tests.support import NOW, Answer, WebServer, item, rss

FEEDS = """\
feeds:
  gazette: {title: The Gazette, url: "http://127.0.0.1:9/gazette", every: 6h}   # kept
  rested: {url: "https://rested.example/rss", enabled: false}

polling: {allow_private: 127.0.0.1}
"""
GLOBE = rss(item("News", published=NOW), title="The Globe")
Run = Callable[..., Result]


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a feeds.yaml, in which somebody works."""
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    return tmp_path


def run(*words: str, code: int = 0, stdin: bytes | None = None) -> Result:
    """The command, which must end so. Errors of claimwatch become words and codes in `main`, which is not run here."""
    done = CliRunner().invoke(app, ["feeds", *words], input=stdin)
    refused = str(done.exception) if done.exception and not isinstance(done.exception, SystemExit) else ""
    assert done.exit_code == code, done.output + refused
    return done


def refused(*words: str, stdin: bytes | None = None) -> str:
    return str(run(*words, code=1, stdin=stdin).exception)


def objects(done: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def opml(*feeds: tuple[str, str]) -> bytes:
    lines = "".join(f'<outline text="{title}" xmlUrl="{url}"/>' for title, url in feeds)
    return f"<opml version='1.0'><body>{lines}</body></opml>".encode()


@pytest.mark.usefixtures("desk")
def test_the_feeds_are_listed_before_there_is_a_log() -> None:
    lines = run("list").stdout.splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["gazette", "new", "6h", "–", "http://127.0.0.1:9/gazette"],
        ["rested", "rests", "5m–30m", "–", "https://rested.example/rss"],
    ]


def test_the_list_tells_when_each_feed_was_read_and_which_fails(desk: Path, web: WebServer) -> None:
    url = web.serve("/feed.xml", GLOBE)
    with (desk / "feeds.yaml").open("a") as file:
        file.write("digests: {}\n")
    (desk / "feeds.yaml").write_text(FEEDS.replace("\n\n", f"\n  globe: {url}\n\n"))
    assert CliRunner().invoke(app, ["poll"]).exit_code == 0
    listed = {one["id"]: one for one in objects(run("list", "--json"))}
    assert {key: one["state"] for key, one in listed.items()} == {
        "gazette": "failing",
        "rested": "rests",
        "globe": "ok",
    }
    assert listed["gazette"]["succeeded_at"] is None
    assert str(listed["globe"]["succeeded_at"]).endswith("Z")
    assert listed["gazette"] | {"state": ""} == {
        "id": "gazette",
        "title": "The Gazette",
        "url": "http://127.0.0.1:9/gazette",
        "state": "",
        "every_seconds": 21_600,
        "longest_seconds": 21_600,
        "succeeded_at": None,
    }


@pytest.mark.usefixtures("desk")
def test_a_long_address_is_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert "https://rested.example/rss" in run("list").stdout


@pytest.mark.usefixtures("desk")
def test_discovery_tells_what_it_found_and_what_it_asked_in_vain(web: WebServer) -> None:
    links = '<link rel="alternate" type="application/rss+xml" href="{}">'
    site = web.serve("/", f"<!doctype html>{links.format('/rss')}{links.format('/gone')}".encode())
    feed = web.serve("/rss", GLOBE)
    done = run("discover", site)
    assert done.stdout == f"{feed}\n  The Globe · RSS 2.0 · 1 item, the newest of 2025-03-19 12:00 UTC\n"
    assert done.stderr == f"no feed: http 404 Not Found\n  {web.url('/gone')}\n"
    assert objects(run("discover", feed, "--json")) == [
        {"url": feed, "title": "The Globe", "kind": "RSS 2.0", "items": 1, "newest": "2025-03-19T12:00:00.000000Z"}
    ]


@pytest.mark.usefixtures("desk")
def test_nothing_that_a_page_says_is_obeyed_by_the_terminal(web: WebServer) -> None:
    title, href = "Red \x1b[31m\u009b31m news", "/\x1b]0;title\x07/rss"
    page = f'<html><link rel=alternate type=application/rss+xml href="/rss"><a href="{href}">x</a>'
    site = web.serve("/", page.encode())
    web.serve("/rss", rss(item("News"), title="").replace(b"<title>", f"<title>{title}".encode(), 1))
    done = run("discover", site)
    assert [one for one in done.stdout + done.stderr if not one.isprintable() and one != "\n"] == []
    assert "/\ufffd]0;title\ufffd/rss" in done.stderr


@pytest.mark.usefixtures("desk")
def test_a_site_without_feeds_ends_with_1(web: WebServer) -> None:
    site = web.serve("/", b"<html><link rel=alternate type=application/rss+xml href=/gone>")
    assert refused("discover", site).startswith(f"no feed was found at {site}\n")


def test_discovery_needs_no_feeds_yaml_but_one_that_is_named(
    tmp_path: Path, web: WebServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    # Without a feeds.yaml nobody has allowed addresses of this machine.
    done = run("discover", web.url(), code=1)
    assert "no feed: private address (127.0.0.1 is no address of the public internet)" in done.stderr
    assert web.asked == []
    assert "nowhere.yaml" in refused("discover", web.url(), "--config", "nowhere.yaml")
    monkeypatch.setenv("CLAIMWATCH_CONFIG", "elsewhere.yaml")
    assert "elsewhere.yaml" in refused("discover", web.url())


def test_what_is_added_is_printed_to_paste(desk: Path, web: WebServer) -> None:
    url = web.serve("/rss", GLOBE)
    done = run("add", url)
    assert done.stdout == f'  the-globe: {{title: The Globe, url: "{url}"}}\n'
    assert "1 item, the newest of 2025-03-19" in done.stderr
    assert "1 feed to paste under feeds: in feeds.yaml; --write does it for you." in done.stderr
    assert (desk / "feeds.yaml").read_text() == FEEDS


def test_with_write_it_is_set_into_the_file(desk: Path, web: WebServer) -> None:
    site = web.serve("/", b'<html><link rel=alternate type=application/rss+xml href="/rss">')
    url = web.serve("/rss", GLOBE)
    done = run("add", site, "--write", "--key", "globe")
    assert "1 feed added to feeds.yaml; a watch that runs takes it up by itself." in done.stderr
    assert (desk / "feeds.yaml").read_text() == FEEDS.replace("\n\n", f"\n{done.stdout}\n")
    assert done.stdout == f'  globe: {{title: The Globe, url: "{url}"}}\n'
    assert [one["id"] for one in objects(run("list", "--json"))] == ["gazette", "rested", "globe"]


def test_of_several_feeds_one_must_be_named(desk: Path, web: WebServer) -> None:
    links = "".join(f'<link rel=alternate type=application/rss+xml href="/{name}">' for name in ("a", "b"))
    site = web.serve("/", f"<html>{links}".encode())
    first, second = web.serve("/a", GLOBE), web.serve("/b", rss(item("Other")))
    done = run("add", site, "--write", code=1)
    assert done.stdout.splitlines()[::2] == [first, second]
    assert str(done.exception) == f"{site} has 2 feeds\n  Name one: claimwatch feeds add {first}"
    assert (desk / "feeds.yaml").read_text() == FEEDS


@pytest.mark.usefixtures("desk")
def test_a_feed_that_is_there_is_not_asked_and_not_added_again(web: WebServer) -> None:
    said = refused("add", "127.0.0.1:9/%67azette#x")
    assert said == "feeds.yaml has it already, as gazette\n  http://127.0.0.1:9/gazette"
    assert "It rests: take its `enabled: false` out." in refused("add", "http://rested.example/rss")
    assert web.asked == []


def test_a_feed_that_is_there_under_another_address_is_not_added_again(desk: Path, web: WebServer) -> None:
    url = web.serve("/rss", GLOBE)
    (desk / "feeds.yaml").write_text(FEEDS.replace("http://127.0.0.1:9/gazette", url))
    moved = web.serve("/old", Answer(status=301, headers={"Location": "/rss"}))
    assert "has it already, as gazette" in refused("add", moved)


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize("key", ["gazette", "rested", "The Globe", "-x", "x" * 65])
def test_a_key_that_can_not_be_used_is_wrong_usage(key: str, web: WebServer) -> None:
    run("add", web.url(), "--key", key, code=2)
    assert web.asked == []


@pytest.mark.usefixtures("desk")
def test_a_title_can_not_break_the_line(web: WebServer) -> None:
    url = web.serve("/rss", rss(item("News"), title='A: "b" {c}, #d\n- e'))
    assert run("add", url, "--key", "a").stdout == f'  a: {{title: "A: \\"b\\" {{c}}, #d - e", url: "{url}"}}\n'


def test_a_list_is_imported_and_what_is_left_out_is_told(desk: Path) -> None:
    (desk / "list.opml").write_bytes(
        opml(
            ("Globe", "https://globe.example/"),
            ("The Gazette", "http://127.0.0.1:9/gazette"),
            ("Mail", "mailto:a@b.example"),
        )
    )
    printed = run("import", "list.opml")
    assert printed.stdout == '  globe: {title: Globe, url: "https://globe.example/"}\n'
    assert "left out, line 1: The Gazette is there already, as gazette\n" in printed.stderr
    assert "left out, line 1: Mail: url: 'mailto:a@b.example' is no web address\n" in printed.stderr
    assert (desk / "feeds.yaml").read_text() == FEEDS
    written = run("import", "list.opml", "--write")
    assert (desk / "feeds.yaml").read_text() == FEEDS.replace("\n\n", f"\n{written.stdout}\n")
    # Once more: it is all there.
    assert "there is no feed to add in list.opml" in refused("import", "list.opml")


def test_two_thousand_feeds_are_imported_at_once(desk: Path) -> None:
    feeds = [(f"Site {n}", f"https://{n}.example/rss") for n in range(2000)]
    done = run("import", "-", "--write", stdin=opml(*feeds, *feeds))
    assert done.stdout.count("\n") == 2000
    assert "left out: 2000 that are there already or stand in the list twice (Site 0, Site 1, Site 2, …)" in done.stderr
    assert len(objects(run("list", "--json"))) == 2002
    assert "  # kept\n" in (desk / "feeds.yaml").read_text()


def test_a_list_that_can_not_be_read_changes_nothing(desk: Path) -> None:
    (desk / "list.opml").write_bytes(opml(("A & B", "https://a.example/")))
    assert "nowhere.opml can't be read: No such file" in refused("import", "nowhere.opml", "--write")
    assert "the file is no XML (line 1, column 45: not well-formed" in refused("import", "list.opml", "--write")
    assert (desk / "feeds.yaml").read_text() == FEEDS


def test_many_lines_left_out_are_counted(desk: Path) -> None:
    (desk / "list.opml").write_bytes(opml(*[("Note", "")] * 40, ("Globe", "https://globe.example/")))
    said = run("import", "list.opml").stderr
    assert said.count("left out, line 1: Note: names no feed") == 30
    assert "left out: 10 more of the kind" in said


def test_an_export_can_be_imported_elsewhere_as_it_was(desk: Path) -> None:
    (desk / "login").write_text("me:swordfish")
    (desk / "login").chmod(0o600)
    secret = '  secret: {url: "https://secret.example/", auth_file: login}\n'
    (desk / "feeds.yaml").write_text(FEEDS.replace("\n\n", f"\n{secret}\n"))
    done = run("export")
    assert "swordfish" not in done.stdout
    assert done.stderr == "without the secrets of secret\n"
    (desk / "other.yaml").write_text("feeds:\n")
    run("import", "-", "--write", "--config", "other.yaml", stdin=done.stdout_bytes)
    assert objects(run("list", "--json", "--config", "other.yaml")) == objects(run("list", "--json"))


def test_feeds_yaml_with_mistakes_is_left_alone(desk: Path, web: WebServer) -> None:
    (desk / "feeds.yaml").write_text("feds: {}\n")
    for words in (("list",), ("export",), ("add", web.url(), "--write"), ("import", "feeds.yaml", "--write")):
        assert "unknown key 'feds'" in refused(*words)
    assert (desk / "feeds.yaml").read_text() == "feds: {}\n"
    assert web.asked == []
