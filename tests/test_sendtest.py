"""`claimwatch send-test`: the whole way tried against real servers, and what it says to mend where one says no."""

from __future__ import annotations

import asyncio
import json
import mailbox
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import trustme
from typer.testing import CliRunner

from daemon.cli import app
from daemon.sendtest import Tried, try_the_way
from daemon.settings import Mail, Smtp
from tests.mailservers import Authority, Mailbox, authority_for, listening, mail_server, scripted_server
from tests.support import ADDRESS, NOW

SENDER = "watch@example.org"
PLAIN = Smtp("127.0.0.1", 0, "none", None, None)
ALL_STEPS = ["resolve", "connect", "tls", "login", "sender", "recipient", "message"]


def mail_by(smtp: Smtp | None, folder: Path = Path("/nowhere")) -> Mail:
    return Mail(SENDER, folder, smtp, unsubscribe=SENDER)


async def way_to(smtp: Smtp, timeout_seconds: float = 5) -> list[Tried]:
    tried: list[Tried] = []
    arrived = await try_the_way(mail_by(smtp), ADDRESS, NOW, tried.append, timeout_seconds)
    assert arrived == tried[-1].ok
    assert all(one.ok and not one.mend for one in tried[:-1])
    assert bool(tried[-1].mend) != arrived
    return tried


def tried_with(mailbox: Mailbox, smtp: Smtp = PLAIN, **options: Any) -> list[Tried]:
    async def once() -> list[Tried]:
        async with mail_server(mailbox, **options) as port:
            return await way_to(replace(smtp, port=port))

    return asyncio.run(once())


def encrypted(authority: Authority, mailbox: Mailbox, password: str = "secret") -> tuple[Smtp, dict[str, Any]]:
    """How to reach a server that wants STARTTLS and a login, and how to run it."""
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", password, authority.ca_file, "the file smtp-password")
    options = {"require_starttls": True, "tls_context": authority.context, "auth_required": True}
    return smtp, {**options, "authenticator": mailbox.authenticate}


def test_a_way_that_is_open_is_told_step_by_step(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp, options = encrypted(authority, mailbox)
    tried = tried_with(mailbox, smtp, **options)
    assert [one.step for one in tried] == ALL_STEPS
    assert tried[-1].says == "OK, kept as 42"
    ((sender, recipients, content),) = mailbox.envelopes
    message = message_from_bytes(content)
    assert (sender, recipients, message["To"], message["From"]) == (
        SENDER,
        [ADDRESS],
        ADDRESS,
        f"claimwatch <{SENDER}>",
    )
    assert message["Subject"] == "Test message of claimwatch"


def test_encryption_from_the_first_byte_is_told_as_such(authority: Authority) -> None:
    smtp = replace(PLAIN, security="tls", ca_file=authority.ca_file)
    tried = tried_with(Mailbox(), smtp, tls=authority.context)
    assert [one.step for one in tried] == ["resolve", "connect", "tls", "sender", "recipient", "message"]
    assert "encrypted from the first byte" in tried[2].says


def test_a_refused_login_tells_where_the_password_came_from_and_not_what_it_is(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp, options = encrypted(authority, mailbox, password="hunter2")
    tried = tried_with(mailbox, smtp, **options)
    assert tried[-1].step == "login"
    assert tried[-1].says.startswith("535 ")
    assert "'watch' with the password from the file smtp-password" in tried[-1].mend
    assert "hunter2" not in str(tried)
    assert mailbox.envelopes == []


def test_a_certificate_of_another_name_tells_the_name_to_write(tmp_path: Path) -> None:
    other = authority_for(tmp_path, "mail.example")
    smtp = replace(PLAIN, security="starttls", ca_file=other.ca_file)
    tried = tried_with(Mailbox(), smtp, require_starttls=True, tls_context=other.context)
    assert (tried[-1].step, tried[-1].ok) == ("tls", False)
    assert tried[-1].mend == "It is made out to mail.example: write that name as mail: smtp: host:."


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_an_unknown_authority_tells_of_ca_file(authority: Authority, security: Any) -> None:
    options: dict[str, Any] = {"require_starttls": True, "tls_context": authority.context}
    if security == "tls":
        options = {"tls": authority.context}
    tried = tried_with(Mailbox(), replace(PLAIN, security=security), **options)
    assert tried[-1].step == "tls"
    assert "ca_file: FILE" in tried[-1].mend


def test_a_certificate_that_has_expired_is_the_server_s_to_renew(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    long_ago = datetime.now(UTC) - timedelta(days=40)
    ca.issue_cert("127.0.0.1", not_before=long_ago, not_after=long_ago + timedelta(days=30)).configure_cert(context)
    smtp = replace(PLAIN, security="starttls", ca_file=tmp_path / "ca.pem")
    tried = tried_with(Mailbox(), smtp, require_starttls=True, tls_context=context)
    assert "has to renew it" in tried[-1].mend


@pytest.mark.parametrize(
    ("says", "login", "step", "mend"),
    [
        ({"MAIL": "553 5.7.1 Not owned by you"}, False, "sender", "mail: from:"),
        ({"MAIL": "530 5.7.0 Authentication required"}, False, "sender", "Log in: mail: smtp: username: NAME"),
        ({"MAIL": "451 4.7.1 Try later"}, False, "sender", "greylisting"),
        ({"RCPT": "554 5.7.1 Relay access denied"}, False, "recipient", "nothing to others for a stranger"),
        ({"RCPT": "550 5.7.64 TenantAttribution; Relay Access Denied"}, True, "recipient", "ask whoever runs it"),
        ({"RCPT": "450 4.2.0 Greylisted"}, False, "recipient", "greylisting"),
        ({"RCPT": "550 5.1.1 No such user"}, False, "recipient", "no such recipient"),
        ({"RCPT": "554 5.7.1 Blocked by policy"}, False, "recipient", "A rule of the server is against it. Log in"),
        ({"RCPT": "421 Going down"}, False, "recipient", "too busy"),
        ({"DATA": "554 5.7.1 Looks like spam"}, False, "message", "filter"),
        ({"DATA": "452 4.3.1 Disk full"}, False, "message", "greylisting"),
        ({"EHLO": "500 What?"}, True, "login", "refuses"),
    ],
)
def test_a_server_that_says_no_is_quoted_and_explained(says: dict[str, str], login: bool, step: str, mend: str) -> None:
    mailbox = Mailbox(says=says)
    smtp = replace(PLAIN, username="watch", password="secret") if login else PLAIN
    options: dict[str, Any] = {"auth_require_tls": False, "authenticator": mailbox.authenticate} if login else {}
    tried = tried_with(mailbox, smtp, **options)
    assert tried[-1].step == step
    assert tried[-1].says in says.values()
    assert mend in tried[-1].mend


def test_a_server_without_starttls_is_left_and_the_usual_ports_are_named() -> None:
    mailbox = Mailbox()
    tried = tried_with(mailbox, replace(PLAIN, security="starttls"))
    assert tried[-1].step == "tls"
    assert "587 with security: starttls, 465 with security: tls" in tried[-1].mend
    assert mailbox.envelopes == []


def test_a_server_that_takes_no_login_is_told(authority: Authority) -> None:
    smtp, _ = encrypted(authority, Mailbox())
    options = {"require_starttls": True, "tls_context": authority.context}
    tried = tried_with(Mailbox(), smtp, auth_exclude_mechanism=["LOGIN", "PLAIN"], **options)
    assert tried[-1].step == "login"
    assert tried[-1].mend.startswith("Take out username: if the server needs none")


def test_a_port_that_is_not_encrypted_from_the_first_byte_is_told() -> None:
    tried = tried_with(Mailbox(), replace(PLAIN, security="tls"))
    assert tried[-1].step == "tls"
    assert "write security: starttls" in tried[-1].mend


def test_a_port_that_waits_for_encryption_is_told(authority: Authority) -> None:
    async def once() -> list[Tried]:
        async with mail_server(Mailbox(), tls=authority.context) as port:
            return await way_to(replace(PLAIN, port=port), timeout_seconds=0.3)

    tried = asyncio.run(once())
    assert tried[-1].step == "connect"
    assert "write security: tls" in tried[-1].mend


def test_a_port_where_nobody_listens_is_told() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        tried = asyncio.run(way_to(replace(PLAIN, port=nobody.getsockname()[1])))
    assert [one.step for one in tried] == ["resolve", "connect"]
    assert "Nothing listens on port" in tried[-1].mend


def test_a_name_without_an_address_is_told() -> None:
    (tried,) = asyncio.run(way_to(replace(PLAIN, host="mail.invalid", port=25)))
    assert tried.step == "resolve"
    assert "'mail.invalid' spelled right" in tried.mend


def test_a_server_that_wants_no_connection_is_told() -> None:
    async def once() -> list[Tried]:
        async with scripted_server(b"554 Not from there\r\n") as port:
            return await way_to(replace(PLAIN, port=port))

    tried = asyncio.run(once())
    assert (tried[-1].step, tried[-1].says) == ("connect", "554 Not from there")
    assert "no connection from here" in tried[-1].mend


def test_a_ca_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name, why in (("none.pem", "No such file or directory"), ("empty.pem", "it holds no certificate")):
        smtp = replace(PLAIN, security="starttls", ca_file=tmp_path / name)
        assert tried_with(Mailbox(), smtp)[-1].says == f"the ca_file {tmp_path / name} can't be used: {why}"


def test_a_server_that_hangs_up_on_the_message_leaves_it_uncertain() -> None:
    tried = tried_with(Mailbox(hangs_up_after_storing=True))
    assert tried[-1].step == "message"
    assert "not known" in tried[-1].mend


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────


def send_test(folder: Path, mail: str, *arguments: str) -> Any:
    (folder / "feeds.yaml").write_text(f"mail: {mail}\n", encoding="utf-8")
    options = ["--config", str(folder / "feeds.yaml"), "--state", str(folder / "state")]
    return CliRunner().invoke(app, ["send-test", *arguments, *options])


@contextmanager
def no_such_server() -> Iterator[int]:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        yield nobody.getsockname()[1]


def test_without_a_server_the_message_goes_into_the_maildir_and_no_log_is_begun(tmp_path: Path) -> None:
    done = send_test(tmp_path, "{from: Watch <watch@example.org>}", ADDRESS)
    assert done.exit_code == 0, done.output
    maildir = tmp_path / "state" / "Maildir"
    assert done.stdout == f"ok      maildir    no mail server is set; the message is in {maildir}\n"
    (message,) = mailbox.Maildir(maildir, create=False)
    assert (message["To"], message["From"]) == (ADDRESS, "Watch <watch@example.org>")
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["Maildir"]


def test_a_way_that_ends_somewhere_is_an_exit_code_and_an_object_for_each_step(tmp_path: Path) -> None:
    with no_such_server() as port:
        done = send_test(tmp_path, f"{{smtp: {{host: 127.0.0.1, port: {port}}}}}", ADDRESS, "--json")
    assert done.exit_code == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == {"step": "resolve", "ok": True, "says": "127.0.0.1 is 127.0.0.1", "mend": ""}
    assert (second["step"], second["ok"], bool(second["mend"])) == ("connect", False, True)
    assert not (tmp_path / "state").exists()


def test_a_maildir_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "full").write_text("no folder", encoding="utf-8")
    done = send_test(tmp_path, f"{{maildir: {tmp_path / 'full'}}}", ADDRESS)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[1].strip().startswith("Let this user write there")


@pytest.mark.parametrize("address", ["nobody", "a b@example.org", "Me <me@example.org>"])
def test_an_address_that_is_none_is_wrong_usage(tmp_path: Path, address: str) -> None:
    done = send_test(tmp_path, "{}", address)
    assert done.exit_code == 2
    assert "is no mail address" in " ".join(done.output.split())


def test_a_mistake_in_feeds_yaml_is_told_before_anything_is_tried(tmp_path: Path) -> None:
    done = send_test(tmp_path, "{smtp: {host: m, password: hunter2}}", ADDRESS)
    assert done.exit_code != 0
    assert "hunter2" not in done.output + str(done.exception)


def test_a_server_that_never_says_anything_is_given_up_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def once() -> list[Tried]:
        async with listening(silent) as port:
            return await way_to(replace(PLAIN, port=port), timeout_seconds=0.2)

    assert asyncio.run(once())[-1].step == "connect"
