"""Handing messages over to real mail servers on loopback, and into Maildirs."""

from __future__ import annotations

import asyncio
import email
import os
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
from aiosmtpd.smtp import SMTP, AuthResult

from daemon.mailing import Accepted, Carrier, Deferred, Handover, MaildirCarrier, Refused, SmtpCarrier, carrier_for
from daemon.rendering import Rendered, addressed, to_message
from daemon.settings import Mail, Smtp
from tests.support import ADDRESS, NOW

SENDER = "claimwatch@example.org"
MESSAGE_ID = "<3f2a@example.org>"
RENDERED = Rendered("2 claims moved", ".A line that begins with a dot\n..\nУдар\n", "<p>Удар</p>\n")
MESSAGE = to_message(RENDERED, sender=SENDER, name="daily", message_id=MESSAGE_ID, now=NOW)


# ── a mail server ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass
class Mailbox:
    """What a mail server took in, and what it says at each step: `says["RCPT"] = "550 No such user"`."""

    says: dict[str, str] = field(default_factory=dict)
    envelopes: list[tuple[str, list[str], bytes]] = field(default_factory=list)
    logins: list[bool] = field(default_factory=list)
    hangs_up_after_storing: bool = False

    async def handle_EHLO(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        return [self.says["EHLO"]] if "EHLO" in self.says else responses

    async def handle_MAIL(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self.says.get("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        return self.says.get("RCPT", "250 OK")

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        if "DATA" not in self.says:
            self.envelopes.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        if self.hangs_up_after_storing:
            server.transport.abort()
        return self.says.get("DATA", "250 OK, kept as 42")

    async def handle_QUIT(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        return self.says.get("QUIT", "221 Bye")

    def authenticate(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        self.logins.append(data.login == b"watch" and data.password == b"secret")
        return AuthResult(success=self.logins[-1], handled=False)


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its file for clients, and its context for servers."""

    ca_file: Path
    context: ssl.SSLContext


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return _authority(tmp_path_factory.mktemp("authority"), "127.0.0.1")


def _authority(folder: Path, name: str) -> Authority:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(folder / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(context)
    return Authority(folder / "ca.pem", context)


@asynccontextmanager
async def mail_server(mailbox: Mailbox, *, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[int]:
    """A real SMTP server in this loop; yields its port."""
    loop = asyncio.get_running_loop()
    sessions: list[SMTP] = []

    def session() -> SMTP:
        sessions.append(SMTP(mailbox, hostname="mx.example", loop=loop, **options))
        return sessions[-1]

    server = await loop.create_server(session, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for one in sessions:
            if one.transport is not None:
                one.transport.close()
            if one._handler_coroutine is not None:
                one._handler_coroutine.cancel()
                await asyncio.gather(one._handler_coroutine, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """A server in this loop; yields its port. What it still does at the end is cut off and waited for."""
    tasks: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await serve(reader, writer)
        except (OSError, asyncio.CancelledError):
            pass  # the client has hung up, or the test is over
        finally:
            writer.close()

    server = await asyncio.start_server(one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


@asynccontextmanager
async def scripted_server(*answers: bytes, heard: list[bytes] | None = None) -> AsyncIterator[int]:
    """A server that greets with its first answer and gives the others line by line; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            writer.write(answer)
            await writer.drain()
            line = await reader.readline()
            if heard is not None:
                heard.append(line)

    async with listening(serve) as port:
        yield port


PLAIN = Smtp("127.0.0.1", 0, "none", None, None)


async def hand_over(smtp: Smtp, address: str = ADDRESS, sender: str = SENDER, timeout_seconds: float = 5) -> Handover:
    return await SmtpCarrier(smtp, sender, timeout_seconds).hand_over(MESSAGE, address, MESSAGE_ID, NOW)


def handover_to(
    mailbox: Mailbox, smtp: Smtp = PLAIN, address: str = ADDRESS, sender: str = SENDER, **options: Any
) -> Handover:
    """One handover to a server that keeps its mail in this mailbox."""

    async def once() -> Handover:
        async with mail_server(mailbox, **options) as port:
            return await hand_over(replace(smtp, port=port), address, sender)

    return asyncio.run(once())


def handover_to_script(*answers: bytes, smtp: Smtp = PLAIN, heard: list[bytes] | None = None) -> Handover:
    async def once() -> Handover:
        async with scripted_server(*answers, heard=heard) as port:
            return await hand_over(replace(smtp, port=port), timeout_seconds=0.5)

    return asyncio.run(once())


# ── SMTP: accepted ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_mail_server_gets_the_message_byte_for_byte_with_its_to_line() -> None:
    mailbox = Mailbox()
    assert handover_to(mailbox) == Accepted("OK, kept as 42")
    assert mailbox.envelopes == [(SENDER, [ADDRESS], addressed(MESSAGE, ADDRESS))]


def test_starttls_and_a_password_are_used_where_they_are_set(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", "secret", authority.ca_file)
    options: dict[str, Any] = {"require_starttls": True, "tls_context": authority.context, "auth_required": True}
    assert isinstance(handover_to(mailbox, smtp, authenticator=mailbox.authenticate, **options), Accepted)
    assert mailbox.logins == [True]
    assert len(mailbox.envelopes) == 1


def test_tls_from_the_first_byte_is_used_where_it_is_set(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp = Smtp("127.0.0.1", 0, "tls", None, None, authority.ca_file)
    assert isinstance(handover_to(mailbox, smtp, tls=authority.context), Accepted)
    assert len(mailbox.envelopes) == 1


def test_a_bad_answer_to_the_farewell_takes_nothing_back() -> None:
    mailbox = Mailbox(says={"QUIT": "421 Gone already"})
    assert isinstance(handover_to(mailbox), Accepted)


def test_an_answer_of_several_lines_is_told_in_one() -> None:
    assert handover_to(Mailbox(says={"DATA": "250-First\r\n250 second"})) == Accepted("First second")


# ── SMTP: deferred or refused ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("step", ["RCPT", "DATA"])
@pytest.mark.parametrize(
    ("answer", "handover"),
    [
        ("450 Greylisted, come back", Deferred("450 Greylisted, come back")),
        ("451 Try later", Deferred("451 Try later")),
        ("452 Disk full", Deferred("452 Disk full")),
        ("550 No such user", Refused("550 No such user")),
        ("552 Too large", Refused("552 Too large")),
        ("554-Not\r\n554 wanted", Refused("554 Not wanted")),
    ],
)
def test_the_answer_s_code_decides_whether_it_is_tried_again(step: str, answer: str, handover: Handover) -> None:
    mailbox = Mailbox(says={step: answer})
    assert handover_to(mailbox) == handover
    assert mailbox.envelopes == []


@pytest.mark.parametrize("step", ["MAIL", "RCPT", "DATA"])
def test_a_server_that_goes_down_is_tried_again(step: str) -> None:
    mailbox = Mailbox(says={step: "421 Going down"})
    handover = handover_to(mailbox)
    assert isinstance(handover, Deferred)
    assert "421" in handover.reason
    assert mailbox.envelopes == []


@pytest.mark.parametrize("greeting", [b"421 Busy\r\n", b"", b"What?\r\n", b"\xff\xfe\r\n", b"220 " + b"x" * 9_000])
def test_a_server_that_does_not_greet_well_is_tried_again(greeting: bytes) -> None:
    assert isinstance(handover_to_script(greeting), Deferred)


def test_a_server_that_stores_and_hangs_up_is_tried_again() -> None:
    # The lost acknowledgement of RFC 1047: the message comes twice, under one Message-ID.
    mailbox = Mailbox(hangs_up_after_storing=True)
    assert isinstance(handover_to(mailbox), Deferred)
    mailbox.hangs_up_after_storing = False
    assert isinstance(handover_to(mailbox), Accepted)
    first, second = mailbox.envelopes
    assert first == second
    assert email.message_from_bytes(first[2])["Message-ID"] == MESSAGE_ID


def test_a_server_that_says_nothing_is_given_up_for_now_in_time() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def once() -> Handover:
        async with listening(silent) as port:
            return await hand_over(replace(PLAIN, port=port), timeout_seconds=0.2)

    assert isinstance(asyncio.run(once()), Deferred)


def test_a_server_that_is_not_there_is_tried_again() -> None:
    # Bound and not listening: nobody else can take this port meanwhile.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        handover = asyncio.run(hand_over(replace(PLAIN, port=nobody.getsockname()[1])))
    assert isinstance(handover, Deferred)


@pytest.mark.parametrize(
    "address",
    ["jürgen@example.org", "an@exämple.org", "a@b@example.org", '"@example.org', "a:b@example.org", "x@[::1]"],
)
def test_an_address_that_mail_can_not_carry_stops_nothing(address: str) -> None:
    # feeds.yaml lets these through.
    assert isinstance(handover_to(Mailbox(), address=address), Accepted | Deferred | Refused)


# ── SMTP: nothing leaves unprotected ─────────────────────────────────────────────────────────────────────────────


def test_a_wrong_password_waits_for_the_operator(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", "wrong", authority.ca_file)
    options: dict[str, Any] = {"require_starttls": True, "tls_context": authority.context, "auth_required": True}
    handover = handover_to(mailbox, smtp, authenticator=mailbox.authenticate, **options)
    assert isinstance(handover, Deferred)
    assert handover.reason.startswith("535 ")
    assert handover.reason.endswith("(user name or password)")
    assert mailbox.envelopes == []


def test_a_password_never_shows_in_the_reason(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", "hunter2", authority.ca_file)
    options: dict[str, Any] = {"require_starttls": True, "tls_context": authority.context, "auth_required": True}
    assert "hunter2" not in str(handover_to(mailbox, smtp, authenticator=mailbox.authenticate, **options))


def test_nothing_is_sent_to_a_server_of_an_unknown_authority(authority: Authority, tmp_path: Path) -> None:
    other = _authority(tmp_path, "127.0.0.1")
    servers: list[tuple[Literal["starttls", "tls"], dict[str, Any]]] = [
        ("starttls", {"require_starttls": True, "tls_context": other.context}),
        ("tls", {"tls": other.context}),
    ]
    for security, options in servers:
        mailbox = Mailbox()
        smtp = Smtp("127.0.0.1", 0, security, "watch", "secret", authority.ca_file)
        handover = handover_to(mailbox, smtp, authenticator=mailbox.authenticate, **options)
        assert isinstance(handover, Deferred)
        assert "certificate" in handover.reason.lower()
        assert (mailbox.envelopes, mailbox.logins) == ([], [])


def test_nothing_is_sent_to_a_server_of_another_name(tmp_path: Path) -> None:
    other = _authority(tmp_path, "mail.example")
    mailbox = Mailbox()
    smtp = replace(PLAIN, security="starttls", ca_file=other.ca_file)
    handover = handover_to(mailbox, smtp, require_starttls=True, tls_context=other.context)
    assert isinstance(handover, Deferred)
    assert "certificate" in handover.reason.lower()
    assert mailbox.envelopes == []


def test_nothing_is_sent_where_starttls_was_stripped(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", "secret", authority.ca_file)
    options: dict[str, Any] = {"auth_require_tls": False, "authenticator": mailbox.authenticate}
    assert isinstance(handover_to(mailbox, smtp, **options), Deferred)
    assert (mailbox.envelopes, mailbox.logins) == ([], [])


def test_nothing_is_said_where_starttls_is_offered_and_then_denied(authority: Authority) -> None:
    heard: list[bytes] = []
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", "secret", authority.ca_file)
    answers = (b"220 mx\r\n", b"250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n", b"454 Not now\r\n", b"221 Bye\r\n")
    assert isinstance(handover_to_script(*answers, smtp=smtp, heard=heard), Deferred)
    assert [line.split()[0] for line in heard if line] in ([b"EHLO", b"STARTTLS"], [b"EHLO", b"STARTTLS", b"QUIT"])


def test_a_ca_file_that_is_not_there_waits_for_the_operator(tmp_path: Path) -> None:
    smtp = Smtp("127.0.0.1", 0, "starttls", None, None, tmp_path / "none.pem")
    assert isinstance(handover_to(Mailbox(), smtp), Deferred)


# ── Maildir ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def maildir(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


def put(maildir: Path, message_id: str = MESSAGE_ID, prepared_at: Any = NOW) -> Handover:
    return asyncio.run(MaildirCarrier(maildir).hand_over(MESSAGE, ADDRESS, message_id, prepared_at))


def files(maildir: Path) -> list[Path]:
    return sorted(path for path in maildir.rglob("*") if path.is_file())


def test_a_maildir_is_made_with_its_three_folders_which_only_this_user_reads(maildir: Path) -> None:
    put(maildir)
    assert sorted(path.name for path in maildir.iterdir()) == ["cur", "new", "tmp"]
    assert {path.stat().st_mode & 0o777 for path in maildir.iterdir()} == {0o700}


def test_a_message_lands_in_new_with_unix_line_ends_and_leaves_nothing_in_tmp(maildir: Path) -> None:
    put(maildir)
    (file,) = files(maildir)
    assert file.parent == maildir / "new"
    assert file.read_bytes() == addressed(MESSAGE, ADDRESS).replace(b"\r\n", b"\n")


def test_the_answer_names_the_file_but_neither_folder_nor_host(maildir: Path) -> None:
    handover = put(maildir)
    (file,) = files(maildir)
    time, unique, _host = file.name.split(".", 2)
    assert handover == Accepted(f"in the Maildir as {time}.{unique}")


def test_a_file_s_name_begins_with_the_time_and_holds_no_colon_or_slash(maildir: Path) -> None:
    put(maildir)
    name = files(maildir)[0].name
    assert name.startswith(f"{int(NOW.timestamp())}.")
    assert ":" not in name
    assert not name.startswith(".")


def test_a_message_delivered_again_is_the_same_file(maildir: Path) -> None:
    first = put(maildir)
    assert put(maildir) == first
    assert len(files(maildir)) == 1


@pytest.mark.parametrize("suffix", ["", ":2,", ":2,S", ":2,FRS"])
def test_a_message_delivered_again_after_it_was_read_stays_one_file(maildir: Path, suffix: str) -> None:
    put(maildir)
    (file,) = files(maildir)
    read = maildir / "cur" / f"{file.name}{suffix}"
    file.rename(read)
    assert isinstance(put(maildir), Accepted)
    assert files(maildir) == [read]


def test_a_half_written_message_of_a_crash_is_written_over(maildir: Path) -> None:
    put(maildir)
    (file,) = files(maildir)
    half = maildir / "tmp" / file.name
    file.rename(half)
    half.write_bytes(b"To: somebo")
    put(maildir)
    assert files(maildir) == [file]
    assert file.read_bytes().endswith(b"--\n")


def test_two_messages_are_two_files(maildir: Path) -> None:
    put(maildir)
    put(maildir, "<other@example.org>")
    put(maildir, MESSAGE_ID, NOW + timedelta(days=1))
    assert len(files(maildir)) == 3


def test_a_maildir_that_can_not_be_written_is_tried_again(maildir: Path) -> None:
    maildir.write_text("not a folder")
    assert put(maildir) == Deferred(f"{maildir} can't be written: Not a directory")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_maildir_without_leave_to_write_is_tried_again(maildir: Path) -> None:
    put(maildir)
    (maildir / "tmp").chmod(0o500)
    assert put(maildir, "<other@example.org>") == Deferred(f"{maildir} can't be written: Permission denied")


# ── which of them ────────────────────────────────────────────────────────────────────────────────────────────────


def test_mail_goes_to_the_server_where_one_is_named_else_to_the_maildir(maildir: Path) -> None:
    by_smtp: Carrier = carrier_for(Mail(SENDER, maildir, PLAIN))
    by_file: Carrier = carrier_for(Mail(SENDER, maildir, None))
    assert (by_smtp, by_smtp.via) == (SmtpCarrier(PLAIN, SENDER), "smtp")
    assert (by_file, by_file.via) == (MaildirCarrier(maildir), "maildir")
