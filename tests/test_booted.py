"""The service on a machine of its own, under the systemd of that machine: `make test-systemd`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.booted import Machine, booted, eventually, why_not
from tests.support import item, rss

pytestmark = pytest.mark.systemd

UNIT = "/etc/systemd/system/claimwatch.service"
FILES = "etc/systemd/system/claimwatch.service usr/local/bin/claimwatch-ctl"
DROP_IN = "/run/systemd/system/claimwatch.service.d/test.conf"
CONFIG_FILE = "/etc/claimwatch/feeds.yaml"
SOUND_CONFIG_FILE = "/root/sound/feeds.yaml"
"""For those who only read the log, whatever stands in the other."""
STATE = "/var/lib/claimwatch"
PASSWORD = "p4ssw0rd-of-ours"
CREDENTIAL = "/etc/credstore/claimwatch-smtp-password"
FEED = "http://127.0.0.1:8080/feed.xml"
CONFIG = """
feeds: {{ gazette: {url} }}
claims:
  prisoner-exchange: {{terms: "{term}"}}
digests:
  daily: {{at: "07:30", timezone: UTC, to: [reader@example.org]}}
polling: {{allow_private: 127.0.0.1, timeout: 1s, every: 5m}}
"""
MAIL = "mail: {smtp: {host: 127.0.0.1, port: 2525, security: none, username: watch}}\n"
NEWS = [item("Rain expected"), item("Prisoner exchange agreed")]
WEB_SERVER = """
[Service]
ExecStart=/usr/bin/python3 -m http.server 8080 --bind 127.0.0.1 --directory /srv/feeds
[Install]
WantedBy=multi-user.target
"""
# Two minutes and ten seconds are for people; what happens then is the same.
IMPATIENT = "[Service]\nRestartSec=1\n"


@dataclass
class Service:
    """claimwatch on the machine."""

    machine: Machine

    def configure(self, term: str = "prisoner exchange", more: str = "") -> None:
        self.machine.write(CONFIG_FILE, CONFIG.format(url=FEED, term=term) + more)

    def serve(self, *titles: str) -> None:
        self.machine.write("/srv/feeds/feed.xml", rss(*NEWS, *map(item, titles)).decode())

    def systemctl(self, *command: str) -> str:
        return self.machine.run("systemctl", *command, "claimwatch")

    def show(self, name: str) -> str:
        return self.machine.run("systemctl", "show", "--value", f"--property={name}", "claimwatch").strip()

    @property
    def pid(self) -> str:
        return self.show("MainPID")

    def claimwatch(self, *command: str) -> str:
        inside = ["/opt/claimwatch/bin/claimwatch", *command, "--config", SOUND_CONFIG_FILE, "--state", STATE]
        return self.machine.run(*inside)

    def events(self) -> list[dict[str, Any]]:
        told = self.claimwatch("events", "--json").splitlines()
        return [json.loads(line) for line in told if line.startswith("{")]

    def kinds(self) -> list[str]:
        return [event["kind"] for event in self.events()]

    def until(self, kind: str, count: int = 1) -> None:
        eventually(lambda: self.kinds().count(kind) >= count or None, f"{count} of {kind} in the log")

    def journal(self) -> str:
        self.machine.run("journalctl", "--sync")
        return self.machine.run("journalctl", "--unit=claimwatch", "--output=cat", "--boot")

    def drop_in(self, text: str) -> None:
        self.machine.write(DROP_IN, text)
        self.machine.run("systemctl", "daemon-reload")

    def processes(self) -> list[str]:
        """The numbers of all processes of the service."""
        return self.machine.run("pgrep", "--full", "claimwatch run|daemon.parser_child", check=False).split()


@pytest.fixture(scope="module")
def installed() -> Iterator[Service]:
    """A machine with claimwatch, as `make install` puts it there, and a web server with a feed."""
    if reason := why_not():
        pytest.skip(reason)
    with booted() as machine:
        machine.run("make", "-C", "/checkout", "install", "PYTHON=/usr/bin/python3")
        service = Service(machine)
        service.serve()
        machine.write("/etc/systemd/system/feeds.service", WEB_SERVER)
        machine.write(SOUND_CONFIG_FILE, CONFIG.format(url=FEED, term="prisoner exchange"))
        machine.run("systemctl", "enable", "--quiet", "--now", "feeds")
        yield service


@pytest.fixture
def service(installed: Service) -> Iterator[Service]:
    """The service, stopped, with nothing in its log and a configuration of its own."""
    machine = installed.machine
    machine.run("systemctl", "stop", "claimwatch")
    machine.run("systemctl", "reset-failed", "claimwatch", check=False)
    machine.run("rm", "-rf", "/var/lib/private/claimwatch", CREDENTIAL, DROP_IN)
    installed.drop_in(IMPATIENT)
    installed.serve()
    installed.configure()
    yield installed
    machine.run("systemctl", "stop", "claimwatch")


def test_it_starts_is_ready_and_reads_and_matches_under_all_that_is_closed(service: Service) -> None:
    service.systemctl("start")
    assert service.show("ActiveState") == "active"
    assert service.show("StatusText") == "watching 1 feed"
    # Read by one child, matched by words from another.
    service.until("claim_matched")
    assert service.kinds()[:2] == ["watch_started", "rules_changed"]
    *_, start = (line for line in service.journal().splitlines() if line.startswith("action=start "))
    assert " config=/etc/claimwatch/feeds.yaml " in start
    assert start.endswith(" feeds=1 due=1 claims=1")
    for pid in service.processes():
        status = service.machine.run("cat", f"/proc/{pid}/status")
        fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
        assert (fields["NoNewPrivs"], fields["Seccomp"], fields["CapBnd"].strip("0")) == ("1", "2", "")
        assert fields["Uid"].split()[0] != "0"
    service.claimwatch("verify")


def test_nothing_that_can_be_closed_is_left_open(service: Service) -> None:
    rated = service.machine.run("systemd-analyze", "security", "--threshold=12", "claimwatch")
    assert "Overall exposure level for claimwatch.service: 1.1 OK" in rated
    assert service.machine.run("systemd-analyze", "verify", "--man=no", UNIT) == ""


def test_its_log_is_for_nobody_else_to_read(service: Service) -> None:
    service.systemctl("start")
    service.until("item_seen")
    for path in (STATE + "/claimwatch.sqlite3", "/var/lib/private/claimwatch"):
        tried = service.machine.tried("runuser", "-u", "nobody", "--", "ls", path)
        assert "Permission denied" in tried.stdout
    assert service.machine.run("stat", "-c", "%a", "/var/lib/private/claimwatch").strip() == "700"


def test_a_password_reaches_the_service_and_nobody_else(service: Service) -> None:
    service.machine.write(CREDENTIAL, PASSWORD + "\n", mode=0o600)
    service.configure(more=MAIL)
    # Without it, this feeds.yaml could not be used.
    service.systemctl("start")
    service.until("claim_matched")
    service.systemctl("reload")
    inside = "/run/credentials/claimwatch.service/smtp-password"
    assert service.machine.run("cat", inside).strip() == PASSWORD
    assert "Permission denied" in service.machine.tried("runuser", "-u", "nobody", "--", "cat", inside).stdout
    seen = [service.journal(), service.machine.run("systemctl", "show", "claimwatch"), service.claimwatch("events")]
    for pid in service.processes():
        seen += [service.machine.run("cat", f"/proc/{pid}/{what}") for what in ("environ", "cmdline")]
    assert not [text for text in seen if PASSWORD in text]
    assert service.machine.tried("grep", "-r", PASSWORD, "/var/lib/private", "/etc/systemd", "/tmp").returncode == 1


def test_without_the_password_that_it_needs_it_says_so_and_tries_again(service: Service) -> None:
    service.configure(more=MAIL)
    assert service.machine.tried("systemctl", "start", "claimwatch").returncode != 0
    assert "smtp-password can't be read" in service.journal()
    service.machine.write(CREDENTIAL, PASSWORD + "\n", mode=0o600)
    eventually(lambda: service.show("ActiveState") == "active" or None, "a start without being asked")


def test_a_reload_takes_up_a_sound_edit_and_refuses_another(service: Service) -> None:
    service.systemctl("start")
    service.until("claim_matched")
    pid = service.pid
    service.configure(term="rain")
    service.systemctl("reload")
    service.until("rules_changed", 2)
    service.configure(term="rain AND")
    tried = service.machine.tried("systemctl", "reload", "claimwatch")
    assert tried.returncode != 0
    assert f"{CONFIG_FILE}:4" in service.journal()
    refused = "feeds.yaml was refused, the rules before it stay in force"
    eventually(lambda: refused in service.show("StatusText") or None, "a status that tells of it")
    assert (service.show("ActiveState"), service.pid) == ("active", pid)
    assert service.kinds().count("rules_changed") == 2
    service.configure(term="rain")
    service.systemctl("reload")
    eventually(lambda: service.show("StatusText") == "watching 1 feed" or None, "a status without it")


def test_a_daemon_that_hangs_is_ended_and_started_again(service: Service) -> None:
    service.drop_in(IMPATIENT + "WatchdogSec=4\n")
    service.systemctl("start")
    service.until("claim_matched")
    pid = service.pid
    service.machine.run("sleep", "6")
    assert (service.pid, service.show("NRestarts")) == (pid, "0")
    service.machine.run("kill", "-STOP", pid)
    service.until("watch_started", 2)
    assert service.show("NRestarts") == "1"
    journal = service.journal()
    assert "Watchdog timeout" in journal
    # Where it was.
    assert "Fatal Python error: Aborted" in journal
    service.claimwatch("verify")


def test_killed_it_comes_back_and_has_lost_nothing(service: Service) -> None:
    service.systemctl("start")
    service.until("claim_matched")
    for number in range(1, 4):
        before = service.events()
        service.serve(*(f"Another prisoner exchange, number {count}" for count in range(number)))
        service.machine.run("kill", "-KILL", service.pid)
        service.until("watch_started", number + 1)
        assert service.events()[: len(before)] == before
    assert service.show("NRestarts") == "3"
    service.claimwatch("verify")


def test_it_stops_within_seconds_and_leaves_nothing(service: Service) -> None:
    service.systemctl("start")
    service.until("claim_matched")
    service.machine.run("timeout", "10", "systemctl", "stop", "claimwatch")
    assert (service.show("ActiveState"), service.show("Result")) == ("inactive", "success")
    assert service.processes() == []
    assert {"action=stopped", "claimwatch.service: Deactivated successfully."} <= set(service.journal().splitlines())
    last = service.events()[-1]
    assert (last["kind"], last["payload"]["reason"]) == ("watch_stopped", "SIGTERM")


def test_after_a_boot_it_goes_on_where_its_log_ends(service: Service) -> None:
    service.machine.run("systemctl", "enable", "--quiet", "--now", "claimwatch")
    service.until("claim_matched")
    before = service.events()
    service.machine.power_off()
    service.machine.boot()
    service.until("watch_started", 2)
    after = service.events()
    assert after[: len(before)] == before
    assert after[len(before)]["kind"] == "watch_stopped"
    service.machine.run("systemctl", "disable", "--quiet", "claimwatch")


def test_a_log_of_an_earlier_release_is_brought_up_at_the_start(service: Service) -> None:
    dump = (Path(__file__).parent / "logs" / "schema-0.sqlite.sql").read_text(encoding="utf-8")
    service.systemctl("start")
    service.systemctl("stop")
    script = "import sqlite3, sys; sqlite3.connect(sys.argv[1]).executescript(sys.stdin.read())"
    service.machine.run("rm", f"{STATE}/claimwatch.sqlite3")
    service.machine.run("python3", "-c", script, f"{STATE}/claimwatch.sqlite3", said=dump)
    service.machine.run("chown", f"--reference={STATE}/.", f"{STATE}/claimwatch.sqlite3")
    service.systemctl("start")
    assert "action=migrated events=" in service.journal()
    service.claimwatch("verify")


def test_commands_work_at_the_log_of_the_service_with_its_passwords_and_as_its_user(service: Service) -> None:
    service.machine.write(CREDENTIAL, PASSWORD + "\n", mode=0o600)
    service.configure(more=MAIL)
    # Also where nothing is there yet, so that all files are made by the command.
    service.machine.run("claimwatch-ctl", "poll")
    assert service.kinds().count("item_seen") == len(NEWS)
    service.machine.run("claimwatch-ctl", "digest", "prepare")
    service.systemctl("start")
    assert "has been watching since" in service.machine.run("claimwatch-ctl", "status")
    refused = service.machine.tried("claimwatch-ctl", "poll")
    assert refused.returncode == 1
    assert "claimwatch run (process" in refused.stdout
    owners = service.machine.run("find", f"{STATE}/.", "-printf", "%u\n").split()
    assert len(set(owners)) == 1


@pytest.mark.slow
def test_an_upgrade_keeps_log_and_configuration_and_starts_the_new_program(service: Service) -> None:
    service.systemctl("start")
    service.until("claim_matched")
    before, pid, config = service.events(), service.pid, service.machine.run("cat", CONFIG_FILE)
    assert "kept /etc/claimwatch/feeds.yaml" in service.machine.run(
        "make", "-C", "/checkout", "install", "PYTHON=/usr/bin/python3"
    )
    assert service.pid != pid
    service.until("watch_started", 2)
    assert service.events()[: len(before)] == before
    assert service.machine.run("cat", CONFIG_FILE) == config
    assert service.machine.run("ls", "/opt").split() == ["claimwatch"]


def test_taken_away_it_leaves_the_log_and_the_configuration(service: Service) -> None:
    service.systemctl("start")
    service.until("claim_matched")
    service.machine.run("sh", "-c", f"tar -C / -cf /opt/aside.tar opt/claimwatch {FILES}")
    told = service.machine.run("make", "-C", "/checkout", "uninstall")
    assert "Kept: /etc/claimwatch (feeds.yaml), /var/lib/claimwatch (the log and the Maildir)" in told
    for path in ("/opt/claimwatch", UNIT, "/usr/local/bin/claimwatch-ctl"):
        assert service.machine.tried("ls", path).returncode != 0
    assert service.processes() == []
    service.machine.run("sh", "-c", "tar -C / -xf /opt/aside.tar && rm /opt/aside.tar")
    service.machine.run("systemctl", "daemon-reload")
    assert service.kinds()[-1] == "watch_stopped"
