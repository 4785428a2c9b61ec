"""`claimwatch` and `python -m daemon`: the door, before anything heavy is imported.

PyPI's python-daemon installs a package `daemon` too. Installed over ours, it puts its `__init__.py` in the place of
ours; uninstalled, it takes that away and leaves a package without one. Both leave this module where it was.
"""

import os
import sys

import daemon


def main() -> None:
    """The version at once; everything else by the command line. Exit code 2 when the package is not ours any more."""
    if getattr(daemon, "DISTRIBUTION", "") != "claimwatch":
        sys.stderr.write(_not_ours())
        raise SystemExit(2)
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(f"claimwatch {daemon.__version__}\n")
        return
    from daemon.cli import main as command_line

    command_line()


def _not_ours() -> str:
    folder = os.path.dirname(os.path.abspath(__file__))
    return (
        f"claimwatch: the package `daemon` in {folder} is not claimwatch's any more\n"
        "  Another distribution has a package of this name: python-daemon, most likely, was installed over claimwatch\n"
        "  or taken away again. The two can't share an environment. Your feeds.yaml and the log are untouched.\n"
        "  Install claimwatch into a virtual environment of its own:\n"
        "      python3 -m venv claimwatch-env\n"
        "      claimwatch-env/bin/pip install CLAIMWATCH          (its wheel, or a checkout of it)\n"
        "  or, if nothing else here needs python-daemon, mend this one:\n"
        f"      {sys.executable} -m pip uninstall python-daemon\n"
        f"      {sys.executable} -m pip install --force-reinstall --no-deps CLAIMWATCH\n"
    )


if __name__ == "__main__":
    main()
