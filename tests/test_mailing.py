"""Handing messages over to real mail servers on loopback, and into Maildirs."""

from __future__ import annotations

import asyncio
import email
import os
import socket
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from mailbox import Maildir
from pathlib import Path
from typing import Any, Literal

import pytest

from daemon.handovers import Accepted, Deferred, Handover, Refused
from daemon.mailing import Carrier, MaildirCarrier, SmtpCarrier, carrier_for, one_round
from daemon.relaying import MOST_BREAKS
from daemon.rendering import Rendered, addressed, to_message
from daemon.settings import Mail, Smtp
from tests.mailservers import Authority, Mailbox, authority_for, listening, mail_server, scripted_server
from tests.support import ADDRESS, NOW

SENDER = "claimwatch@example.org"
MESSAGE_ID = "<3f2a@example.org>"
RENDERED = Rendered("2 claims moved", ".A line that begins with a dot\n..\nУдар\n", "<p>Удар</p>\n")
MESSAGE = to_message(RENDERED, sender=SENDER, name="daily", message_id=MESSAGE_ID, now=NOW)


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


def test_a_server_that_thinks_over_a_message_is_waited_for() -> None:
    # Whoever gives up while the server stores the message sends it twice (RFC 5321, 4.5.3.2.6).
    async def once(mailbox: Mailbox) -> Handover:
        async with mail_server(mailbox) as port:
            return await hand_over(replace(PLAIN, port=port), timeout_seconds=0.2)

    assert isinstance(asyncio.run(once(Mailbox(thinks_seconds=0.5))), Accepted)


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


def test_nothing_is_sent_to_a_server_of_an_unknownauthority_for(authority: Authority, tmp_path: Path) -> None:
    other = authority_for(tmp_path, "127.0.0.1")
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
    other = authority_for(tmp_path, "mail.example")
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


# ── SMTP: one connection for all ─────────────────────────────────────────────────────────────────────────────────


MANY = tuple(f"reader{number}@example.org" for number in range(5))


async def hand_over_all(smtp: Smtp, addresses: Sequence[str] = MANY, timeout_seconds: float = 5) -> list[Handover]:
    async with one_round(SmtpCarrier(smtp, SENDER, timeout_seconds)) as server:
        return [await server.hand_over(MESSAGE, address, MESSAGE_ID, NOW) for address in addresses]


def handovers_to(mailbox: Mailbox, smtp: Smtp = PLAIN, **options: Any) -> list[Handover]:
    """A round of handovers to a server that keeps its mail in this mailbox."""

    async def once() -> list[Handover]:
        async with mail_server(mailbox, **options) as port:
            return await hand_over_all(replace(smtp, port=port))

    return asyncio.run(once())


def kinds(handovers: Sequence[Handover]) -> list[type]:
    return [type(one) for one in handovers]


def test_a_round_gives_each_recipient_a_message_of_its_own_over_one_connection() -> None:
    mailbox = Mailbox()
    assert kinds(handovers_to(mailbox)) == [Accepted] * len(MANY)
    assert mailbox.connections == 1
    assert mailbox.envelopes == [(SENDER, [address], addressed(MESSAGE, address)) for address in MANY]


def test_a_round_without_messages_connects_to_nobody() -> None:
    async def once() -> None:
        async with one_round(SmtpCarrier(replace(PLAIN, port=1), SENDER)):
            pass

    asyncio.run(once())


def test_a_refused_recipient_among_others_is_refused_alone() -> None:
    mailbox = Mailbox(says={f"RCPT {MANY[1]}": "550 5.1.1 Unknown", f"RCPT {MANY[2]}": "451 4.2.0 Later"})
    assert kinds(handovers_to(mailbox)) == [Accepted, Refused, Deferred, Accepted, Accepted]
    assert mailbox.connections == 1


@pytest.mark.parametrize("hangs_up", [False, True])
def test_a_server_that_ends_a_connection_after_two_messages_gets_the_rest_over_fresh_ones(hangs_up: bool) -> None:
    mailbox = Mailbox(most_a_connection=2, hangs_up_at_the_limit=hangs_up)
    assert kinds(handovers_to(mailbox)) == [Accepted] * 5
    assert mailbox.connections == 3
    assert [recipients for _, recipients, _ in mailbox.envelopes] == [[address] for address in MANY]


def test_a_connection_that_breaks_in_a_message_costs_that_message_alone_its_turn() -> None:
    mailbox = Mailbox(hangs_up_on=MANY[1])
    handovers = handovers_to(mailbox)
    assert kinds(handovers) == [Accepted, Deferred, Accepted, Accepted, Accepted]
    assert mailbox.connections == 2
    assert "whether the server has the message is not known" in str(handovers[1])


def test_a_server_that_breaks_every_connection_is_given_up_for_this_round() -> None:
    mailbox = Mailbox(hangs_up_after_storing=True)
    handovers = handovers_to(mailbox)
    assert kinds(handovers) == [Deferred] * 5
    assert mailbox.connections == MOST_BREAKS


def test_a_server_that_is_down_is_asked_once_for_all_who_wait() -> None:
    connections: list[int] = []

    async def goodbye(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        writer.write(b"421 Down for the night\r\n")
        await writer.drain()

    async def once() -> list[Handover]:
        async with listening(goodbye) as port:
            return await hand_over_all(replace(PLAIN, port=port))

    assert asyncio.run(once()) == [Deferred("421 Down for the night")] * 5
    assert len(connections) == 1


def test_a_refused_login_is_tried_once_for_all_who_wait(authority: Authority) -> None:
    mailbox = Mailbox()
    smtp = Smtp("127.0.0.1", 0, "starttls", "watch", "wrong", authority.ca_file)
    options: dict[str, Any] = {"require_starttls": True, "tls_context": authority.context, "auth_required": True}
    assert kinds(handovers_to(mailbox, smtp, authenticator=mailbox.authenticate, **options)) == [Deferred] * 5
    assert (mailbox.connections, mailbox.envelopes) == (1, [])


def test_a_next_round_asks_a_server_again_that_was_down() -> None:
    mailbox = Mailbox(says={"EHLO": "421 Down"})
    carrier = SmtpCarrier(PLAIN, SENDER, 5)

    async def twice() -> list[Handover]:
        async with mail_server(mailbox) as port:
            aimed = replace(carrier, smtp=replace(PLAIN, port=port))
            handovers = []
            for _ in range(2):
                async with one_round(aimed) as server:
                    handovers.append(await server.hand_over(MESSAGE, ADDRESS, MESSAGE_ID, NOW))
                mailbox.says.clear()
            return handovers

    assert kinds(asyncio.run(twice())) == [Deferred, Accepted]


@pytest.mark.parametrize(
    ("step", "answer", "expected"),
    [
        ("MAIL", "553 5.7.1 Not your address", Deferred),
        ("MAIL", "530 5.7.0 Log in first", Deferred),
        ("RCPT", "530 5.7.0 Log in first", Deferred),
        ("MAIL", "552 5.3.4 Too large", Refused),
    ],
)
def test_what_is_the_operator_s_to_mend_refuses_no_recipient(step: str, answer: str, expected: type) -> None:
    handover = handover_to(Mailbox(says={step: answer}))
    assert isinstance(handover, expected)
    assert answer in str(handover)


def test_a_server_that_wants_nobody_s_mail_refuses_no_recipient() -> None:
    assert handover_to_script(b"554 No mail here\r\n") == Deferred("554 No mail here")


@pytest.mark.parametrize("answer", ["550 5.1.1 <{}>: unknown", "250 2.1.5 {} is fine"])
def test_what_a_server_says_names_nobody_in_the_log(answer: str) -> None:
    says = {"RCPT": answer.format(ADDRESS.upper())} if answer.startswith("5") else {"DATA": answer.format(ADDRESS)}
    assert ADDRESS not in str(handover_to(Mailbox(says=says))).lower()


def test_the_settings_of_a_server_show_no_password() -> None:
    assert "hunter2" not in repr(SmtpCarrier(replace(PLAIN, username="me", password="hunter2"), SENDER))


@pytest.mark.parametrize(
    "address", ["a\r\nRCPT TO:<b@example.org>", "a b@example.org", "a@example.org>", "a\0@b.example"]
)
def test_an_address_that_would_be_another_command_goes_to_nobody(address: str) -> None:
    mailbox = Mailbox()
    assert isinstance(handover_to(mailbox, address=address), Refused)
    assert (mailbox.connections, mailbox.envelopes) == (0, [])


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


def test_a_mail_program_finds_the_message_and_may_mark_it_read(maildir: Path) -> None:
    put(maildir)
    box = Maildir(maildir, create=False)
    ((key, message),) = box.items()
    assert message.get_subdir() == "new"
    assert (message["To"], message["Message-ID"], message["Subject"]) == (ADDRESS, MESSAGE_ID, "2 claims moved")
    assert [part.get_content_type() for part in message.walk()][1:] == ["text/plain", "text/html"]
    message.set_subdir("cur")
    message.add_flag("S")
    box[key] = message
    assert isinstance(put(maildir), Accepted)
    assert len(Maildir(maildir, create=False)) == 1


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
