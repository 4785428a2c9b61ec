"""The secrets of feeds come from files; what is wrong with one is told by its place, never by its text."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from daemon.errors import ConfigError
from daemon.reloading import Stamp, load_stamped, stamp_of
from daemon.settings import Settings, load

FEED = "feeds:\n  paid:\n    url: https://paid.example/feed\n"


def loaded(folder: Path, *options: str, **files: str) -> Settings:
    """The settings of a feed with these options, beside these files."""
    (folder / "feeds.yaml").write_text(FEED + "".join(f"    {one}\n" for one in options), encoding="utf-8")
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return load(folder / "feeds.yaml", folder / "state")


def complaint(folder: Path, *options: str, **files: str) -> str:
    with pytest.raises(ConfigError) as raised:
        loaded(folder, *options, **files)
    (problem,) = raised.value.problems
    assert (problem.line, problem.file) == (4, str(folder / "feeds.yaml"))
    return f"{problem.message}: {problem.hint}"


def test_a_feed_without_secrets_has_none(tmp_path: Path) -> None:
    assert loaded(tmp_path).feed_secrets == {}


def test_a_login_is_sent_as_basic_authentication_has_it(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "auth_file: login", login="Aladdin:open sesame\n")
    # The example of RFC 7617, section 2.
    assert settings.feed_secrets == {"paid": {"authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="}}


def test_a_password_may_hold_a_colon_and_any_letter(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "auth_file: login", login="test:123£")
    # The example of RFC 7617, section 2.1.
    assert settings.feed_secrets["paid"]["authorization"] == "Basic dGVzdDoxMjPCow=="
    assert loaded(tmp_path, "auth_file: login", login="u:a:b").feed_secrets["paid"]["authorization"] == "Basic dTphOmI="


def test_headers_stand_one_a_line_between_comments(tmp_path: Path) -> None:
    text = "# of the archive\nX-Api-Key: k3y: with colon\n\n  Cookie :a=b \n"
    settings = loaded(tmp_path, "headers_file: headers", headers=text)
    assert settings.feed_secrets == {"paid": {"x-api-key": "k3y: with colon", "cookie": "a=b"}}


def test_a_login_wins_over_a_header_of_the_same_name(tmp_path: Path) -> None:
    options = ("headers_file: headers", "auth_file: login")
    settings = loaded(tmp_path, *options, headers="Authorization: Bearer x", login="u:p")
    assert settings.feed_secrets["paid"] == {"authorization": "Basic dTpw"}


def test_where_no_such_file_is_beside_feeds_yaml_it_is_a_systemd_credential(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    (credentials / "login").write_text("u:p", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(credentials))
    assert loaded(tmp_path, "auth_file: login").feed_secrets["paid"] == {"authorization": "Basic dTpw"}
    beside = loaded(tmp_path, "auth_file: login", login="other:p").feed_secrets["paid"]
    assert beside == {"authorization": "Basic b3RoZXI6cA=="}


def test_a_reload_does_not_ask_for_credentials_that_the_daemon_alone_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Root may enter any folder: one that is not there stands for one that is closed.
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "closed"))
    monkeypatch.setenv("MAINPID", "1")
    mail = "mail: {smtp: {host: m.example, username: me}}\n"
    text = FEED + "    auth_file: login\n    headers_file: headers\n" + mail
    (tmp_path / "feeds.yaml").write_text(text, encoding="utf-8")
    assert load(tmp_path / "feeds.yaml", tmp_path / "state").feed_secrets == {}
    # To the daemon itself they are missing.
    monkeypatch.delenv("MAINPID")
    with pytest.raises(ConfigError) as raised:
        load(tmp_path / "feeds.yaml", tmp_path / "state")
    assert len(raised.value.problems) == 3


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    assert "login can't be read: No such file" in complaint(tmp_path, "auth_file: login")
    assert "headers can't be read: No such file" in complaint(tmp_path, "headers_file: headers")


def test_an_empty_file_holds_no_secret(tmp_path: Path) -> None:
    assert f"the file {tmp_path / 'login'} is empty" in complaint(tmp_path, "auth_file: login", login=" \n")


@pytest.mark.parametrize("text", ["s3cret", ":s3cret", "s3cret:", "s3cret:x\nanother: line"])
def test_what_is_no_login_is_refused_without_being_shown(text: str, tmp_path: Path) -> None:
    told = complaint(tmp_path, "auth_file: login", login=text)
    assert "login holds no login: It is one line: user:password" in told
    assert "s3cret" not in told


@pytest.mark.parametrize(
    "line", ["s3cret", "X Api: s3cret", ": s3cret", "X-Api-Key:", "X-Api-Key: s3cret\x07", "X-Api-Key: s3cretключ"]
)
def test_what_is_no_header_is_refused_with_its_line_and_without_being_shown(line: str, tmp_path: Path) -> None:
    told = complaint(tmp_path, "headers_file: headers", headers=f"# one\n{line}\n")
    assert "line 2 of headers is no header" in told
    assert "s3cret" not in told


@pytest.mark.parametrize("name", ["Host", "content-length", "Accept-Encoding", "If-None-Match", "Transfer-Encoding"])
def test_a_header_that_claimwatch_sets_itself_is_refused(name: str, tmp_path: Path) -> None:
    told = complaint(tmp_path, "headers_file: headers", headers=f"{name}: s3cret")
    assert f"line 1 of headers sets {name}, which claimwatch sets itself" in told
    assert "s3cret" not in told


def test_a_running_watch_sees_when_a_secret_is_exchanged(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "headers_file: headers", "auth_file: login", headers="X: y", login="u:p")
    assert settings.secret_files == (tmp_path / "headers", tmp_path / "login")
    before = stamp_of(settings)
    (tmp_path / "login").write_text("u:another", encoding="utf-8")
    assert stamp_of(settings) != before


def test_a_secret_that_is_exchanged_just_after_it_was_read_is_an_edit(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_text(FEED + "    headers_file: headers\n    auth_file: login\n", encoding="utf-8")
    (tmp_path / "headers").write_text("X-Api-Key: before", encoding="utf-8")
    os.mkfifo(tmp_path / "login")

    def exchange() -> None:
        # Whoever reads the login waits here, and has read the headers.
        with (tmp_path / "login").open("w", encoding="utf-8") as login:
            (tmp_path / "headers").write_text("X-Api-Key: afterwards", encoding="utf-8")
            login.write("u:p")

    with ThreadPoolExecutor() as beside:
        done = beside.submit(exchange)
        settings, stamp = load_stamped(tmp_path / "feeds.yaml", tmp_path / "state")
        done.result(timeout=10)

    def of_headers(files: Stamp) -> Stamp:
        return tuple(one for one in files if one[0] == str(tmp_path / "headers"))

    assert settings.feed_secrets["paid"]["x-api-key"] == "before"
    assert len(of_headers(stamp)) == len(of_headers(stamp_of(settings))) == 1
    assert of_headers(stamp) != of_headers(stamp_of(settings))


def test_what_is_there_at_a_start_looks_the_same_to_the_first_look_after_it(tmp_path: Path) -> None:
    loaded(tmp_path, "headers_file: headers", "auth_file: login", headers="X: y", login="u:p")
    settings, stamp = load_stamped(tmp_path / "feeds.yaml", tmp_path / "state")
    assert stamp == stamp_of(settings)


def test_settings_show_no_secret(tmp_path: Path) -> None:
    settings = loaded(tmp_path, "headers_file: headers", headers="X-Api-Key: s3cret")
    assert settings.feed_secrets
    assert "s3cret" not in repr(settings)
    assert "s3cret" not in repr(settings.rules)
