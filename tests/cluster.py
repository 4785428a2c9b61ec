"""A private PostgreSQL for the tests: begun in a temporary folder on a free loopback port, and ended with them.

    python -m tests.cluster -- COMMAND …

runs COMMAND with the cluster's address in `CLAIMWATCH_TEST_POSTGRES`. Where PostgreSQL 15 is missing and we are root,
it is installed from Debian's package.
"""

from __future__ import annotations

import argparse
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VARIABLE = "CLAIMWATCH_TEST_POSTGRES"
USER = "claimwatch"
DEBIAN_PROGRAMS = Path("/usr/lib/postgresql/15/bin")
# A language's collation, because that is where text ordered by the database would go wrong.
INITDB = ("--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US", "--no-sync")
QUIET = ("log_checkpoints=off", "max_wal_size=256MB", "max_connections=200", "unix_socket_directories=")
WITHOUT_FSYNC = ("fsync=off", "full_page_writes=off")
# Debian's package begins a cluster of its own when it is installed; nobody asked for that one.
NO_MAIN_CLUSTER = Path("/etc/postgresql-common/createcluster.d/claimwatch-tests.conf")
START_SECONDS = 30


@dataclass
class Cluster:
    """A PostgreSQL server of our own. It can be stopped and started again; its address stays the same."""

    folder: Path
    durable: bool = False
    port: int = 0
    password: str = field(default_factory=lambda: secrets.token_hex(8), repr=False)
    _server: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/postgres"

    def make(self) -> None:
        """Lays the cluster's files; PostgreSQL refuses root, so they belong to somebody else then."""
        account = _account()
        if "user" in account:
            os.chown(self.folder, account["user"], account["group"])
        secret = self.folder / "password"
        secret.write_text(self.password, encoding="utf-8")
        if "user" in account:
            os.chown(secret, account["user"], account["group"])
        command = [programs() / "initdb", *INITDB, "--auth=scram-sha-256", f"--username={USER}", f"--pwfile={secret}"]
        subprocess.run(
            [*map(str, command), f"--pgdata={self.folder / 'data'}"],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            **account,
        )
        self.port = self.port or _free_port()

    def start(self) -> None:
        """Starts the server and waits until it answers."""
        options = (*QUIET, *(() if self.durable else WITHOUT_FSYNC), "listen_addresses=127.0.0.1", f"port={self.port}")
        command = [str(programs() / "postgres"), "-D", str(self.folder / "data")]
        with (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [*command, *(f"--{option}" for option in options)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,  # Ctrl-C is for the tests; the server goes after them
                **_account(),
            )
        ready = [str(programs() / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        end = time.monotonic() + START_SECONDS
        while subprocess.run(ready, check=False).returncode:
            if self._server.poll() is not None or time.monotonic() > end:
                self.stop()
                log_text = (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")
                raise RuntimeError(f"PostgreSQL does not start:\n{log_text[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """Stops the server as an administrator would who does not wait for anybody (`pg_ctl stop -m fast`)."""
        if self._server is None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(20)
        except subprocess.TimeoutExpired:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait(20)
        self._server = None


@contextmanager
def running(*, durable: bool = False) -> Iterator[Cluster]:
    """A cluster for as long as it is needed; nothing of it is left behind."""
    with tempfile.TemporaryDirectory(prefix="claimwatch-postgresql-") as folder:
        cluster = Cluster(Path(folder), durable)
        cluster.make()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()


def programs() -> Path:
    """Where PostgreSQL's programs are: Debian keeps them out of PATH."""
    if (DEBIAN_PROGRAMS / "initdb").is_file():
        return DEBIAN_PROGRAMS
    found = shutil.which("initdb")
    if found is None:
        raise FileNotFoundError("there is no initdb")
    return Path(found).resolve().parent


def is_installed() -> bool:
    return (DEBIAN_PROGRAMS / "initdb").is_file() or shutil.which("initdb") is not None


def install() -> None:
    """Installs PostgreSQL 15 where it is missing. Ends with a message where we may not."""
    if is_installed():
        return
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(
            f"These tests need PostgreSQL 15: there is no initdb in PATH nor in {DEBIAN_PROGRAMS}.\n"
            "  Install it (on Debian: apt-get install postgresql-15), or run this as root."
        )
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "--no-install-recommends"]
    subprocess.run([*apt, "update"], check=True, env=quiet)
    subprocess.run([*apt, "install", "postgresql-common"], check=True, env=quiet)
    NO_MAIN_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
    NO_MAIN_CLUSTER.write_text("create_main_cluster = false\n", encoding="utf-8")
    try:
        subprocess.run([*apt, "install", "postgresql-15"], check=True, env=quiet)
    finally:
        NO_MAIN_CLUSTER.unlink()


def _account() -> dict[str, Any]:
    """As whom the server runs, for `subprocess`: ourselves, or `postgres` (else `nobody`) where we are root."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description=__doc__)
    parser.add_argument("--durable", action="store_true", help="keep fsync on, for measuring")
    parser.add_argument(
        "--if-installed", action="store_true", help="install nothing; go on without where it is missing"
    )
    parser.add_argument("command", nargs="+", help="what to run")
    wanted = parser.parse_args(arguments)
    if not wanted.if_installed:
        install()
    elif not is_installed():
        return subprocess.run(wanted.command, check=False).returncode
    # A runner that is told to stop must take its server with it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with running(durable=wanted.durable) as cluster:
        environment = os.environ | {VARIABLE: cluster.address}
        return subprocess.run(wanted.command, check=False, env=environment).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
