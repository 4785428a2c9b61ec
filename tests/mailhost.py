"""A mail host of our own for tests: Postfix takes mail by STARTTLS and login, Dovecot shows it by IMAP.

    python -m tests.mailhost -- COMMAND …

installs Debian's packages where they are missing and we are root, then runs COMMAND. The servers are started by the
tests themselves: on loopback, on ports and in a folder of their own, under a certificate authority made for the test.
"""

from __future__ import annotations

import argparse
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP
from imaplib import IMAP4_SSL
from pathlib import Path
from typing import TypeVar

import trustme

T = TypeVar("T")
PACKAGES = ("postfix", "dovecot-imapd")
MASTER = Path("/usr/lib/postfix/sbin/master")
PROGRAMS = ("postfix", "dovecot")
DOMAIN = "example.org"
SENDER = f"watch@{DOMAIN}"
PASSWORD = "pässword with spaces"
MAILBOXES = ("analyst", "editor", "third", "desk")
NOBODY = "nobody"
PATIENCE_SECONDS = 30
# Debian's packages begin servers of their own when they are installed; nobody asked for those.
NO_SERVICES = Path("/usr/sbin/policy-rc.d")

MAIN_CF = """\
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/postfix.log
maillog_file_prefixes = {folder}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.{domain}
mydestination =
local_recipient_maps =
alias_maps =
alias_database =
virtual_mailbox_domains = {domain}
virtual_mailbox_base = {folder}/mail
virtual_mailbox_maps = texthash:{folder}/mailboxes
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
smtpd_peername_lookup = no
smtpd_tls_cert_file = {folder}/server.pem
smtpd_tls_key_file = {folder}/server.pem
smtpd_tls_auth_only = yes
smtpd_sasl_auth_enable = yes
smtpd_sasl_type = dovecot
smtpd_sasl_path = {folder}/dovecot/login-for-postfix
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_recipient_restrictions = reject_unlisted_recipient
in_flow_delay = 0
"""
MASTER_CF = """\
127.0.0.1:{starttls_port} inet n - n - - smtpd
  -o smtpd_tls_security_level=encrypt
127.0.0.1:{tls_port} inet n - n - - smtpd
  -o smtpd_tls_wrappermode=yes
postlog unix-dgram n - n - 1 postlogd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n - 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
error unix - - n - - error
retry unix - - n - - error
proxymap unix - - n - - proxymap
anvil unix - - n - 1 anvil
virtual unix - n n - - virtual
"""
DOVECOT_CONF = """\
protocols = imap
listen = 127.0.0.1
base_dir = {folder}/dovecot
state_dir = {folder}/dovecot-state
log_path = {folder}/dovecot.log
ssl = required
ssl_cert = <{folder}/server.pem
ssl_key = <{folder}/server.pem
auth_mechanisms = plain login
mail_location = maildir:{folder}/mail/%n
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {folder}/logins
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={folder}/mail/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = 0
  }}
  inet_listener imaps {{
    port = {imaps_port}
    ssl = yes
  }}
}}
service auth {{
  unix_listener login-for-postfix {{
    mode = 0666
  }}
}}
"""


@dataclass
class MailHost:
    """Postfix and Dovecot. Postfix can be stopped and started again; its ports stay the same."""

    folder: Path
    starttls_port: int = 0
    tls_port: int = 0
    imaps_port: int = 0
    authority: trustme.CA = field(default_factory=trustme.CA)
    _postfix: subprocess.Popen[bytes] | None = None
    _dovecot: subprocess.Popen[bytes] | None = None

    @property
    def ca_file(self) -> Path:
        return self.folder / "ca.pem"

    def make(self) -> None:
        """Lays the files of both."""
        # Each server becomes users of its own, who must come in here.
        self.folder.chmod(0o755)
        owner = pwd.getpwnam(NOBODY)
        self.starttls_port, self.tls_port, self.imaps_port = free_ports(3)
        self.authority.cert_pem.write_to_path(self.ca_file)
        self.authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.folder / "server.pem")
        for name in ("queue", "data", "mail", "config"):
            (self.folder / name).mkdir()
        os.chown(self.folder / "mail", owner.pw_uid, owner.pw_gid)
        os.chown(self.folder / "data", pwd.getpwnam("postfix").pw_uid, -1)
        values = {name: getattr(self, name) for name in ("folder", "starttls_port", "tls_port", "imaps_port")}
        values |= {"domain": DOMAIN, "uid": owner.pw_uid, "gid": owner.pw_gid}
        logins = [SENDER, *(f"{name}@{DOMAIN}" for name in MAILBOXES)]
        files = {
            "config/main.cf": MAIN_CF.format(**values),
            "config/master.cf": MASTER_CF.format(**values),
            "dovecot.conf": DOVECOT_CONF.format(**values),
            "mailboxes": "".join(f"{name}@{DOMAIN} {name}/\n" for name in MAILBOXES),
            "logins": "".join(f"{login}:{PASSWORD}\n" for login in logins),
        }
        for name, text in files.items():
            (self.folder / name).write_text(text, encoding="utf-8")

    def start(self) -> None:
        """Starts both, and waits until they answer."""
        self._dovecot = self._started("dovecot", "-F", "-c", str(self.folder / "dovecot.conf"))
        self.start_postfix()
        self._until_open(self.imaps_port, self._dovecot)

    def start_postfix(self) -> None:
        config = str(self.folder / "config")
        subprocess.run(["postfix", "-c", config, "check"], check=True)
        # Not `postfix start`: that one's master is nobody's child, and whoever ends it has to guess its number.
        before = self._hung_up()
        self._postfix = self._started(str(MASTER), "-c", config, "-d")
        self._until_open(self.starttls_port, self._postfix)
        # The log tells of that first connection a moment later; a test that counts them should not find it its own.
        eventually(lambda: True if self._hung_up() > before else None, "the first connection in Postfix's log")

    def stop_postfix(self) -> None:
        _stop(self._postfix)
        self._postfix = None

    def stop(self) -> None:
        self.stop_postfix()
        _stop(self._dovecot)
        self._dovecot = None

    def log(self) -> str:
        return (self.folder / "postfix.log").read_text(encoding="utf-8", errors="replace")

    def _hung_up(self) -> int:
        return self.log().count(": disconnect from ") if (self.folder / "postfix.log").exists() else 0

    def messages(self, name: str) -> list[bytes]:
        """What is in a mailbox, read by IMAP when Postfix has nothing left to deliver."""
        eventually(lambda: None if self._queued() else True, "an empty queue")
        with self.imap(name) as imap:
            imap.select("INBOX", readonly=True)
            numbers = imap.search(None, "ALL")[1][0].split()
            return [_only_message(imap.fetch(number.decode(), "(RFC822)")[1]) for number in numbers]

    @contextmanager
    def imap(self, name: str) -> Iterator[IMAP4_SSL]:
        """A session in a mailbox."""
        with IMAP4_SSL("127.0.0.1", self.imaps_port, ssl_context=self.trust()) as imap:
            imap.authenticate("PLAIN", lambda _: f"\0{name}@{DOMAIN}\0{PASSWORD}".encode())
            yield imap

    def _queued(self) -> list[Path]:
        queues = (self.folder / "queue" / name for name in ("incoming", "active", "deferred"))
        return [path for queue in queues for path in queue.rglob("*") if path.is_file()]

    def trust(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.ca_file))

    def _started(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "output.log").open("ab") as output:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the tests; the servers go after them
            )

    def _until_open(self, port: int, server: subprocess.Popen[bytes]) -> None:
        def is_open() -> bool | None:
            if server.poll() is not None:
                logs = [path.read_text(errors="replace") for path in sorted(self.folder.glob("*.log"))]
                raise RuntimeError("the mail host does not start:\n" + "\n".join(logs)[-3000:])
            with socket.socket() as probe:
                return True if probe.connect_ex(("127.0.0.1", port)) == 0 else None

        eventually(is_open, f"port {port} open")


def eventually(ask: Callable[[], T | None], what: str) -> T:
    """What `ask` answers, as soon as it answers something."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {PATIENCE_SECONDS} seconds: {what}")


def parsed(message: bytes) -> EmailMessage:
    """A message as a mail program understands it."""
    read = message_from_bytes(message, policy=SMTP)
    assert isinstance(read, EmailMessage)
    return read


@contextmanager
def running() -> Iterator[MailHost]:
    """A mail host for as long as it is needed; nothing of it is left behind."""
    with tempfile.TemporaryDirectory(prefix="claimwatch-mail-") as folder:
        host = MailHost(Path(folder))
        host.make()
        try:
            host.start()
            yield host
        finally:
            host.stop()


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def _stop(server: subprocess.Popen[bytes] | None) -> None:
    if server is None:
        return
    server.send_signal(signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        server.wait(20)
    # It is the first of its group, and some of the others take their time to see that it is gone.
    with suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    server.wait(20)


def _only_message(fetched: Sequence[object]) -> bytes:
    (message,) = [part[1] for part in fetched if isinstance(part, tuple)]
    assert isinstance(message, bytes)
    return message


def why_not() -> str:
    """Why the mail host can't run here; empty where it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name)]
    if missing:
        return f"there is no {' and no '.join(missing)} here; on Debian: apt-get install {' '.join(PACKAGES)}"
    return "" if os.geteuid() == 0 else "Postfix and Dovecot start only as root; run `make test-mail` as root"


def install() -> None:
    """Installs Postfix and Dovecot where they are missing. Ends with a message where we may not."""
    if not why_not():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"These tests need a mail host: {why_not()}.")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "--no-install-recommends"]
    subprocess.run([*apt, "update"], check=True, env=quiet)
    choice = b"postfix postfix/main_mailer_type select No configuration\n"
    subprocess.run(["debconf-set-selections"], input=choice, check=True, env=quiet)
    ours = not NO_SERVICES.exists()
    if ours:
        NO_SERVICES.write_text("#!/bin/sh\nexit 101\n", encoding="utf-8")
        NO_SERVICES.chmod(0o755)
    try:
        subprocess.run([*apt, "install", *PACKAGES], check=True, env=quiet)
    finally:
        if ours:
            NO_SERVICES.unlink()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mailhost", description=__doc__)
    parser.add_argument("command", nargs="+", help="what to run")
    command = parser.parse_args(arguments).command
    install()
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
