"""The whole way of a digest, through a real Postfix into a mailbox that a real Dovecot shows (`make test-mail`)."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias, cast, get_args

import pytest
from typer.testing import CliRunner, Result

from daemon import queries
from daemon.assembly import reading, verify
from daemon.cli import app
from daemon.delivery import deliver
from daemon.eventlog import EventLog, read
from daemon.events import DigestPrepared, Recorded
from daemon.mailing import MaildirCarrier, SmtpCarrier
from daemon.outcomes import Changed
from daemon.preparing import prepare_due
from daemon.rendering import Rendered, addressed, to_message, unpack
from daemon.service import Watch, record_rules
from daemon.settings import Smtp
from tests.between import Between, Moment, standing_between
from tests.mailhost import DOMAIN, NOBODY, PASSWORD, SENDER, MailHost, parsed, running, why_not
from tests.support import NOW, WebServer, digest, item, move_on, post, rss, rules, take_in, watching

pytestmark = pytest.mark.mail

ANALYST, EDITOR, THIRD = (f"{name}@{DOMAIN}" for name in ("analyst", "editor", "third"))
UNKNOWN = f"unknown@{DOMAIN}"
FEEDS = """
feeds: {{gazette: {feed}}}
claims:
  prisoner-exchange: {{terms: "prisoner exchange"}}
digests:
  often: {{cron: "0 0 1 1 *", to: [{to}]}}
polling: {{allow_private: 127.0.0.1}}
mail:
  from: Варта <{sender}>
  unsubscribe: desk@{domain}
  smtp: {{host: 127.0.0.1, port: {port}, security: {security}, username: {user}, password_file: secret, ca_file: {ca}}}
"""


@pytest.fixture(scope="module")
def host() -> Iterator[MailHost]:
    if reason := why_not():
        # Where nobody looks whether it was skipped, it fails.
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    with running() as one:
        yield one


@dataclass
class Desk:
    """A folder with feeds.yaml whose one feed has news, and claimwatch at work on it."""

    folder: Path
    web: WebServer
    host: MailHost

    def write(self, *to: str, port: int = 0, security: str = "starttls", user: str = SENDER) -> None:
        titles = ("Prisoner exchange agreed", "Prisoner exchange: обмін полоненими 停火")
        text = FEEDS.format(
            feed=self.web.serve("/feed", rss(*map(item, titles))),
            to=", ".join(to or (ANALYST,)),
            sender=SENDER,
            domain=DOMAIN,
            port=port or self.host.starttls_port,
            security=security,
            user=user,
            ca=self.host.ca_file,
        )
        (self.folder / "feeds.yaml").write_text(text, encoding="utf-8")
        (self.folder / "secret").write_text(PASSWORD, encoding="utf-8")
        (self.folder / "alerts").mkdir(exist_ok=True)
        (self.folder / "alerts" / "subject.txt").write_text("Новини: {{ digest.name }}", encoding="utf-8")

    @property
    def options(self) -> list[str]:
        return ["--config", str(self.folder / "feeds.yaml"), "--state", str(self.folder / "state")]

    def run(self, *command: str) -> Result:
        return CliRunner().invoke(app, [*self.options, *command])

    def begin(self, *command: str) -> subprocess.Popen[bytes]:
        """claimwatch in a process of its own."""
        quiet = subprocess.DEVNULL
        line = [sys.executable, "-m", "daemon", *self.options, *command]
        return subprocess.Popen(line, cwd=Path.cwd(), stdin=quiet, stdout=quiet, stderr=quiet)

    def ok(self, *command: str) -> Result:
        done = self.run(*command)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done

    def events(self) -> list[Recorded]:
        with reading(self.folder / "feeds.yaml", self.folder / "state") as installation:
            verify(installation.log)
            with installation.log.reading() as connection:
                return list(read(connection))


@pytest.fixture
def desk(tmp_path: Path, web: WebServer, host: MailHost) -> Desk:
    one = Desk(tmp_path, web, host)
    one.write()
    return one


def came(host: MailHost, name: str, message_id: str) -> list[bytes]:
    """The copies of a message in a mailbox."""
    return [message for message in host.messages(name) if parsed(message)["Message-ID"] == message_id]


def connections(host: MailHost) -> int:
    return host.log().count(": connect from ")


# ── there and back ───────────────────────────────────────────────────────────────────────────────────────────────


def test_a_digest_comes_whole_with_every_header_and_both_parts(desk: Desk, host: MailHost) -> None:
    for command in (("poll",), ("digest", "prepare", "often"), ("deliver",)):
        desk.ok(*command)
    (prepared,) = [one.event for one in desk.events() if isinstance(one.event, DigestPrepared)]
    (raw,) = came(host, "analyst", prepared.message_id)
    message = parsed(raw)
    headers = {name: str(value) for name, value in message.items() if name not in ("Received", "Content-Type")}
    date = headers.pop("Date")
    assert headers == {
        "Return-Path": f"<{SENDER}>",
        "X-Original-To": ANALYST,
        "Delivered-To": ANALYST,
        "To": ANALYST,
        "From": f"Варта <{SENDER}>",
        "Subject": "Новини: often",
        "Message-ID": prepared.message_id,
        "List-Id": f"claimwatch often <often.{DOMAIN}>",
        "List-Unsubscribe": f"<mailto:desk@{DOMAIN}?subject=unsubscribe%20often>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "MIME-Version": "1.0",
    }
    sent = parsed(unpack(prepared.message))
    assert date == str(sent["Date"])
    assert "ESMTPSA" in str(message["Received"])
    assert message.get_content_type() == "multipart/alternative"
    both = [part.get_content_type() for part in message.iter_parts()]
    assert both == ["text/plain", "text/html"]
    for part, original in zip(message.iter_parts(), sent.iter_parts(), strict=True):
        assert part.get_content() == original.get_content()
        assert "обмін полоненими 停火" in part.get_content()
    # What Postfix put above it aside, the message is what the log holds, byte for byte.
    assert raw.replace(b"\r\n", b"\n").endswith(addressed(unpack(prepared.message), ANALYST).replace(b"\r\n", b"\n"))


def test_a_server_that_is_encrypted_from_the_first_byte_takes_a_digest_too(desk: Desk, host: MailHost) -> None:
    desk.write(EDITOR, port=host.tls_port, security="tls")
    for command in (("poll",), ("digest", "prepare", "often"), ("deliver",)):
        desk.ok(*command)
    (prepared,) = [one.event for one in desk.events() if isinstance(one.event, DigestPrepared)]
    assert len(came(host, "editor", prepared.message_id)) == 1


def test_a_refused_recipient_among_three_is_refused_alone_and_named_nowhere(desk: Desk, host: MailHost) -> None:
    desk.write(ANALYST, UNKNOWN, EDITOR)
    desk.ok("poll")
    desk.ok("digest", "prepare", "often")
    before = connections(host)
    done = desk.run("deliver", "--json")
    assert done.exit_code == 1
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert Counter(one["kind"] for one in outcomes) == {"delivery_accepted": 2, "delivery_refused": 1}
    (refused,) = [one for one in outcomes if one["kind"] == "delivery_refused"]
    assert refused["payload"]["reason"].startswith("550 5.1.1 <recipient>: Recipient address rejected")
    assert connections(host) == before + 1
    events = desk.events()
    ids = {one.id: one.event.message_id for one in events if isinstance(one.event, DigestPrepared)}
    there = {str(parsed(one)["Message-ID"]) for name in ("analyst", "editor") for one in host.messages(name)}
    digest_refused = refused["stream"].removeprefix("digest/")
    assert {id for id, message_id in ids.items() if message_id in there} == ids.keys() - {digest_refused}
    database = (desk.folder / "state" / "claimwatch.sqlite3").read_bytes()
    assert all(address.encode() not in database for address in (ANALYST, EDITOR, UNKNOWN))


def test_a_server_that_is_down_for_three_days_gets_the_message_once(tmp_path: Path, host: MailHost) -> None:
    smtp = Smtp("127.0.0.1", host.starttls_port, "starttls", SENDER, PASSWORD, host.ca_file)
    by = post(tmp_path, SmtpCarrier(smtp, SENDER, 5), [THIRD])
    recipient = next(iter(by.addresses))
    with watching(tmp_path, rules(digest(recipients=(recipient,)))) as watch:
        record_rules(watch)
        take_in(watch, watch.rules.feeds[0], _changed("Energy strike pause"))
        move_on(watch, timedelta(days=1))
        (prepared,) = prepare_due(watch, by)
        host.stop_postfix()
        try:
            attempts = _try_for(watch, by, timedelta(days=3))
        finally:
            host.start_postfix()
        assert all(outcome == "delivery_deferred" for _, outcome in attempts)
        pauses = [later - earlier for (earlier, _), (later, _) in pairwise(attempts)]
        assert 20 <= len(attempts) <= 40
        assert pauses == sorted(pauses)
        assert [outcome for _, outcome in _try_for(watch, by, timedelta(hours=5))] == ["delivery_accepted"]
    assert len(came(host, "third", prepared.event.message_id)) == 1


def _changed(*titles: str) -> Any:
    return Changed(rss(*(item(title, published=NOW) for title in titles)), "x" * 64, None, None, None)


def _try_for(watch: Watch, by: Any, span: timedelta) -> list[tuple[Any, str]]:
    """Every attempt within a span of virtual time: when it was made, and its outcome."""
    attempts, end = [], watch.clock.now() + span
    while True:
        attempts += [(watch.clock.now(), one.event.kind) for one in asyncio.run(deliver(watch, by))]
        with watch.log.reading() as connection:
            retries = [one.retry_at for one in queries.waiting_deliveries(connection) if one.retry_at]
        if not retries or min(retries) > end:
            move_on(watch, end - watch.clock.now())
            return attempts
        move_on(watch, min(retries) - watch.clock.now())


# ── kill -9 ──────────────────────────────────────────────────────────────────────────────────────────────────────

Kills: TypeAlias = list[tuple[Moment, int]]
KILLS_OF_A_DAEMON: Kills = [
    *((moment, 1) for moment in get_args(Moment) if moment != "QUIT"),
    *((moment, 2) for moment in cast(list[Moment], ["MAIL", "RCPT", "stored", "told", "QUIT"])),
]
KILLS_OF_A_COMMAND: Kills = [("RCPT", 1), ("stored", 1), ("told", 1), ("stored", 2)]


@pytest.mark.parametrize(("command", "kills"), [("run", KILLS_OF_A_DAEMON), ("deliver", KILLS_OF_A_COMMAND)])
def test_a_kill_at_any_step_loses_nothing_and_repeats_only_the_same_message(
    desk: Desk, host: MailHost, command: str, kills: Kills
) -> None:
    with standing_between(host) as between:
        desk.write(ANALYST, EDITOR, port=between.port)
        desk.ok("poll")
        for moment, message in kills:
            for address in (ANALYST, EDITOR):
                desk.ok("digest", "resend", "often", "--to", address)
            _kill_at(desk, between, moment, message, command)
            _deliver_the_rest(desk)
    events = desk.events()
    prepared = {one.id: one.event for one in events if isinstance(one.event, DigestPrepared)}
    outcomes = Counter(one.event.kind for one in events)
    assert len(prepared) == 2 * len(kills)
    assert outcomes["delivery_accepted"] == len(prepared)
    assert Counter(one.id for one in events if one.event.kind == "delivery_accepted") == dict.fromkeys(prepared, 1)

    copies: dict[str, set[bytes]] = {}
    counts: Counter[str] = Counter()
    for name in ("analyst", "editor"):
        for raw in host.messages(name):
            message_id = str(parsed(raw)["Message-ID"])
            counts[message_id] += 1
            copies.setdefault(message_id, set()).add(raw[raw.index(b"\r\nTo: ") :])
    ids = {one.message_id for one in prepared.values()}
    assert ids <= counts.keys(), "a digest was lost"
    assert all(len(copies[id]) == 1 for id in ids), "a message came again with other bytes"
    repeated = Counter(counts[id] for id in ids)
    assert set(repeated) <= {1, 2}
    # Where the server had the message and claimwatch was not told, it comes again; where it was just told, perhaps.
    at = Counter(moment for moment, _ in kills)
    assert at["stored"] <= repeated[2] <= at["stored"] + at["told"]
    assert repeated[2] <= outcomes["delivery_uncertain"] <= len(kills)


def _kill_at(desk: Desk, between: Between, moment: Moment, message: int, command: str) -> None:
    process = desk.begin(command)
    between.aim(process, moment, message)
    try:
        assert process.wait(30) == -signal.SIGKILL, f"{command} was not killed at {moment} of message {message}"
    finally:
        process.kill()
        process.wait()


def _deliver_the_rest(desk: Desk) -> None:
    desk.run("deliver")
    with reading(desk.folder / "feeds.yaml", desk.folder / "state") as installation, installation.log.reading() as one:
        kinds = Counter(recorded.event.kind for recorded in read(one))
    assert kinds["delivery_accepted"] == kinds["digest_prepared"]


def test_the_daemon_goes_on_after_a_kill_with_what_waits(desk: Desk, host: MailHost) -> None:
    with standing_between(host) as between:
        desk.write(ANALYST, port=between.port)
        desk.ok("poll")
        desk.ok("digest", "prepare", "often")
        _kill_at(desk, between, "stored", 1, "run")
        daemon = desk.begin("run")
        try:
            end = time.monotonic() + 30
            while "delivery_accepted" not in _kinds(desk) and time.monotonic() < end:
                time.sleep(0.2)
        finally:
            daemon.terminate()
            assert daemon.wait(30) == 0
    (prepared,) = [one.event for one in desk.events() if isinstance(one.event, DigestPrepared)]
    first, second = came(host, "analyst", prepared.message_id)
    assert first[first.index(b"\r\nTo: ") :] == second[second.index(b"\r\nTo: ") :]
    told = [kind for kind in _kinds(desk) if kind.startswith("delivery")]
    assert told == ["delivery_started", "delivery_uncertain", "delivery_started", "delivery_accepted"]


def _kinds(desk: Desk) -> list[str]:
    log = EventLog(f"sqlite:///{desk.folder / 'state' / 'claimwatch.sqlite3'}")
    try:
        with log.reading() as connection:
            return [one.event.kind for one in read(connection)]
    finally:
        log.close()


# ── send-test, and the Maildir ───────────────────────────────────────────────────────────────────────────────────


def test_send_test_goes_the_whole_way(desk: Desk, host: MailHost) -> None:
    before = len(host.messages("third"))
    done = desk.ok("send-test", THIRD)
    steps = [line.split()[:2] for line in done.stdout.splitlines()]
    assert steps == [["ok", step] for step in ("resolve", "connect", "tls", "login", "sender", "recipient", "message")]
    *_, newest = host.messages("third")
    assert len(host.messages("third")) == before + 1
    assert parsed(newest)["Subject"] == "Test message of claimwatch"
    assert not (desk.folder / "state").exists()


@pytest.mark.parametrize(
    ("change", "to", "step", "says", "mend"),
    [
        ((PASSWORD, "wrong"), THIRD, "login", "535 5.7.8", "from the file"),
        (("ca_file", "#"), THIRD, "tls", "certificate", "ca_file: FILE"),
        (("host: 127.0.0.1", "host: localhost"), THIRD, "tls", "mismatch", "made out to 127.0.0.1"),
        (("security: starttls", "security: none"), THIRD, "login", "takes no login", "security: none"),
        (("security: starttls", "security: tls"), THIRD, "tls", "no TLS", "security: starttls"),
        (("username", "#"), f"x@elsewhere.{DOMAIN}", "recipient", "554 5.7.1", "nothing to others for a stranger"),
        (("", ""), UNKNOWN, "recipient", "550 5.1.1", "no such recipient"),
    ],
)
def test_send_test_says_what_a_real_server_has_against_it(
    desk: Desk, change: tuple[str, str], to: str, step: str, says: str, mend: str
) -> None:
    old, new = change
    if old == PASSWORD:
        (desk.folder / "secret").write_text(new, encoding="utf-8")
    text = (desk.folder / "feeds.yaml").read_text(encoding="utf-8")
    if new == "#":
        gone = ("username:", "password_file:") if old == "username" else (f"{old}:",)
        parts = text.rstrip().rstrip("}").split(", ")
        text = ", ".join(part for part in parts if not part.startswith(gone)) + "}\n"
    elif old and old != PASSWORD:
        text = text.replace(old, new)
    (desk.folder / "feeds.yaml").write_text(text, encoding="utf-8")
    done = desk.run("send-test", to, "--json")
    assert done.exit_code == 1, done.output
    last = json.loads(done.stdout.splitlines()[-1])
    assert (last["step"], last["ok"]) == (step, False)
    assert says.lower() in last["says"].lower()
    assert mend in last["mend"]
    assert PASSWORD not in done.output


def test_another_program_reads_our_maildir_and_a_repetition_stays_one_message(host: MailHost) -> None:
    maildir = host.folder / "mail" / "desk"
    carrier = MaildirCarrier(maildir)
    message = to_message(
        Rendered("Новини", "Удар\n.\nFrom here on\n", "<p>Удар</p>\n"),
        sender=SENDER,
        name="daily",
        message_id="<in-a-maildir@example.org>",
        now=NOW,
    )

    def put() -> None:
        asyncio.run(carrier.hand_over(message, ANALYST, "<in-a-maildir@example.org>", NOW))
        owner = pwd.getpwnam(NOBODY)
        for path in (maildir, *maildir.rglob("*")):
            os.chown(path, owner.pw_uid, owner.pw_gid)

    put()
    (raw,) = host.messages("desk")
    assert raw == addressed(message, ANALYST)
    with host.imap("desk") as imap:
        imap.select("INBOX")
        imap.store("1", "+FLAGS", r"(\Seen \Flagged)")
    put()
    assert host.messages("desk") == [raw]
    assert not list((maildir / "new").iterdir())


def test_a_wrong_password_is_one_login_for_all_who_wait(desk: Desk, host: MailHost) -> None:
    desk.write(ANALYST, EDITOR, THIRD)
    (desk.folder / "secret").write_text("wrong", encoding="utf-8")
    desk.ok("poll")
    desk.ok("digest", "prepare", "often")
    before = connections(host)
    done = desk.run("deliver", "--json")
    outcomes = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["kind"] for one in outcomes] == ["delivery_deferred"] * 3
    assert all(one["payload"]["reason"].startswith("535 5.7.8") for one in outcomes)
    assert connections(host) == before + 1


def test_many_messages_go_over_one_connection(host: MailHost) -> None:
    smtp = Smtp("127.0.0.1", host.starttls_port, "starttls", SENDER, PASSWORD, host.ca_file)
    before, many = connections(host), 40

    async def all_of_them() -> set[str]:
        async with SmtpCarrier(smtp, SENDER).round() as server:
            return {type(await server.hand_over(*_numbered(at), NOW)).__name__ for at in range(many)}

    assert asyncio.run(all_of_them()) == {"Accepted"}
    assert connections(host) == before + 1
    ids = {str(parsed(one)["Message-ID"]) for one in host.messages("third")}
    assert {_numbered(at)[2] for at in range(many)} <= ids


def _numbered(at: int) -> tuple[bytes, str, str]:
    identity = f"<number-{at}@{DOMAIN}>"
    words = Rendered(f"{at}", f"{at}\n", f"<p>{at}</p>\n")
    message = to_message(words, sender=SENDER, name="daily", message_id=identity, now=NOW + timedelta(seconds=at))
    return message, THIRD, identity
