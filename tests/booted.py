"""A Debian of our own, booted by its own systemd: where the service is installed, started, hung, killed and stopped.

    python -m tests.booted -- COMMAND …

makes the machine's files once (by debootstrap, from the mirror that apt uses here; into .venv/systemd), then runs
COMMAND. The tests boot it under systemd-nspawn, without a network, over a layer that is thrown away with all they did.
Debian's packages for that are installed where they are missing; all of it needs root.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
CHECKOUT = Path(__file__).parents[1]
FOLDER = CHECKOUT / ".venv" / "systemd"
ROOT, WHEELS, MADE = FOLDER / "root", FOLDER / "wheels", FOLDER / "made"
PROGRAMS = {"systemd-nspawn": "systemd-container", "debootstrap": "debootstrap"}
INSIDE = ("systemd", "systemd-sysv", "dbus", "procps", "iproute2", "make", "python3", "python3-venv")
PATIENCE_SECONDS = 60.0
COMMAND_SECONDS = 240.0


@dataclass
class Machine:
    """The booted machine. Commands run inside as root; what one prints is returned."""

    layer: Path
    _nspawn: subprocess.Popen[bytes] | None = None
    _leader: int = 0

    @property
    def files(self) -> Path:
        """The root of the machine's files, as we see it."""
        return self.layer / "root"

    def boot(self) -> None:
        """Starts the machine, and waits until its systemd is done."""
        command = ["systemd-nspawn", "--quiet", f"--directory={self.files}", f"--machine=claimwatch-{os.getpid()}"]
        command += ["--boot", "--console=pipe", "--private-network", "--resolv-conf=off", "--timezone=off"]
        command += [f"--bind-ro={CHECKOUT}:/checkout", f"--bind-ro={WHEELS}:/wheels"]
        if not Path("/run/systemd/system").is_dir():
            # Nobody here gives out machines and control groups: it takes those that we are in.
            command += ["--register=no", "--keep-unit"]
        with (self.layer / "console.log").open("ab") as console:
            self._nspawn = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                preexec_fn=_into_own_control_group,
            )
        self._leader = eventually(self._find_leader, "a first process of the machine")
        state = eventually(lambda: self._state() or None, "a running system")
        assert state == "running", f"the machine is {state}:\n{self.run('systemctl', '--failed', check=False)}"

    def power_off(self) -> None:
        """Shuts the machine down, as its power button does."""
        if self._nspawn is None:
            return
        self.run("systemctl", "poweroff", check=False)
        try:
            self._nspawn.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._nspawn.kill()
            self._nspawn.wait()
        self._nspawn = None
        _leave_no_control_group()

    def run(self, *command: str, check: bool = True, said: str = "") -> str:
        """Runs a command inside; returns what it prints, errors as well. A failure that was not expected raises."""
        done = self.tried(*command, said=said)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(command)} ends with {done.returncode}:\n{done.stdout}")
        return done.stdout

    def tried(self, *command: str, said: str = "") -> subprocess.CompletedProcess[str]:
        """The same, where a failure is an answer."""
        inside = [
            "nsenter",
            f"--target={self._leader}",
            "--all",
            "--",
            "env",
            "-i",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin",
        ]
        inside += ["LANG=C.UTF-8", "PIP_NO_INDEX=1", "PIP_FIND_LINKS=/wheels", "SYSTEMD_PAGER=", *command]
        return subprocess.run(
            inside,
            input=said,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=COMMAND_SECONDS,
        )

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Writes a file of the machine."""
        self.run(
            "sh", "-c", f"umask 077; mkdir -p -m 755 $(dirname {path}); cat > {path}; chmod {mode:o} {path}", said=text
        )

    def _find_leader(self) -> int | None:
        assert self._nspawn
        if self._nspawn.poll() is not None:
            raise AssertionError(
                f"the machine does not boot:\n{(self.layer / 'console.log').read_text(errors='replace')}"
            )
        children = (
            Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children").read_text(encoding="ascii").split()
        )
        return int(children[0]) if children else None

    def _state(self) -> str:
        state = self.run("systemctl", "is-system-running", check=False).strip()
        return state if state in ("running", "degraded", "maintenance") else ""


@contextmanager
def booted() -> Iterator[Machine]:
    """The machine, for as long as it is needed; nothing of it is left behind."""
    with tempfile.TemporaryDirectory(prefix="claimwatch-machine-") as folder, ExitStack() as stack:
        layer = Path(folder)
        for name in ("upper", "work", "root"):
            (layer / name).mkdir()
        options = f"lowerdir={ROOT},upperdir={layer / 'upper'},workdir={layer / 'work'}"
        subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, str(layer / "root")], check=True)
        stack.callback(subprocess.run, ["umount", str(layer / "root")], check=True)
        machine = Machine(layer)
        stack.callback(machine.power_off)
        machine.boot()
        yield machine


def eventually(ask: Callable[[], T | None], what: str, seconds: float = PATIENCE_SECONDS) -> T:
    """What `ask` answers, as soon as it answers something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        answer = ask()
        if answer is not None:
            return answer
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds:g} seconds: {what}")


# ── control groups, where there is no systemd outside ────────────────────────────────────────────────────────────


def _control_groups(owner: int) -> list[Path]:
    """A group for a process's machine, in each hierarchy that systemd uses: two machines must not share theirs."""
    if Path("/run/systemd/system").is_dir():
        return []
    groups = []
    for line in Path("/proc/self/cgroup").read_text(encoding="ascii").splitlines():
        _, controllers, place = line.split(":", 2)
        name = {"": "unified", "name=systemd": "systemd"}.get(controllers)
        if name:
            hierarchy = Path("/sys/fs/cgroup") / name
            base = hierarchy if hierarchy.is_dir() else Path("/sys/fs/cgroup")
            groups.append(base / place.lstrip("/") / f"claimwatch-{owner}")
    return groups


def _into_own_control_group() -> None:
    for group in _control_groups(os.getppid()):
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii")


def _leave_no_control_group() -> None:
    for group in _control_groups(os.getpid()):
        for folder in sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                folder.rmdir()
        with suppress(OSError):
            group.rmdir()


# ── the machine's files ──────────────────────────────────────────────────────────────────────────────────────────


def why_not() -> str:
    """Why a machine can't be booted here; empty where it can."""
    if os.geteuid() != 0:
        return "only root can boot a machine; run `make test-systemd` as root"
    if missing := [name for name in PROGRAMS if not shutil.which(name)]:
        return f"there is no {' and no '.join(missing)} here; on Debian: apt-get install {' '.join(PROGRAMS.values())}"
    return "" if MADE.is_file() else "the machine's files are not made; `make test-systemd` makes them"


def make() -> None:
    """Makes the machine's files, and the wheels that it installs from, unless they are there already."""
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(f"These tests boot a machine: {why_not() or 'there is no apt-get here'}.")
    quiet = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    apt = ["apt-get", "-q", "-y", "--no-install-recommends"]
    if missing := [package for name, package in PROGRAMS.items() if not shutil.which(name)]:
        subprocess.run([*apt, "update"], check=True, env=quiet)
        subprocess.run([*apt, "install", *missing], check=True, env=quiet)
    wanted = _fingerprint()
    if MADE.is_file() and MADE.read_text(encoding="ascii") == wanted:
        return
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    _make_root(quiet)
    _make_wheels()
    MADE.write_text(wanted, encoding="ascii")


def _fingerprint() -> str:
    """What the files are made of: with other dependencies they are made anew."""
    parts = [INSIDE, *((CHECKOUT / name).read_bytes() for name in ("pyproject.toml", "constraints.txt"))]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def _make_root(environment: dict[str, str]) -> None:
    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(INSIDE)}", suite, str(ROOT), _mirror(suite)]
    with (FOLDER / "debootstrap.log").open("wb") as log:
        done = subprocess.run(command, stdout=log, stderr=log, check=False, env=environment)
    if done.returncode:
        sys.exit(f"debootstrap fails:\n{(FOLDER / 'debootstrap.log').read_text(errors='replace')[-2000:]}")
    shutil.rmtree(ROOT / "var/cache/apt/archives", ignore_errors=True)


def _mirror(suite: str) -> str:
    """Where apt gets this suite from on this machine."""
    asked = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"]
    for line in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines():
        codename, component, address = line.split(" ", 2)
        if (codename, component) == (suite, "main"):
            return address
    sys.exit(f"apt knows no mirror of Debian {suite}: is it in sources.list, and was `apt-get update` run?")


def _make_wheels() -> None:
    """All that `make install` takes from a package index, for the machine's Python."""
    inside = subprocess.run(
        ["chroot", str(ROOT), "/usr/bin/python3", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    ours = f"{sys.version_info.major}.{sys.version_info.minor}"
    if inside != ours:
        sys.exit(f"The machine's Python is {inside}, this one is {ours}: run the tests by python{inside}.")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", f"--wheel-dir={WHEELS}"]
    command += [f"--constraint={CHECKOUT / 'constraints.txt'}", f"{CHECKOUT}[postgresql]", "hatchling"]
    subprocess.run(command, check=True)
    for own in WHEELS.glob("claimwatch-*.whl"):
        own.unlink()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.booted", description=__doc__)
    parser.add_argument(
        "--where-possible", action="store_true", help="do nothing, and say why, where none can be booted"
    )
    parser.add_argument("command", nargs="+", help="what to run")
    given = parser.parse_args(arguments)
    try:
        if given.where_possible:
            _be_able_to_boot()
        make()
    except (SystemExit, subprocess.CalledProcessError) as error:
        if not given.where_possible:
            raise
        sys.stderr.write(f"Nothing was booted, so the service was NOT tried on a machine: {error}\n")
        return 0
    return subprocess.run(given.command, check=False).returncode


def _be_able_to_boot() -> None:
    """Exits where this machine may start none: a container without privileges has no namespaces to give."""
    tried = ["unshare", "--mount", "--pid", "--fork", "--mount-proc", "true"]
    if os.geteuid() != 0 or subprocess.run(tried, capture_output=True, check=False).returncode:
        sys.exit("no namespaces can be made here")
    if not os.access("/sys/fs/cgroup", os.W_OK):
        sys.exit("there are no control groups here that could be written")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
