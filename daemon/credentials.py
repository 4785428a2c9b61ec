"""Secrets: what files beside feeds.yaml, systemd, or (for the mail server) the environment hold. They are never in
feeds.yaml, in the log, or in a message."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from daemon.feedsfile import FeedEntry, FeedsFile, SmtpEntry
from daemon.yamlfiles import Where, YamlFile

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HEADER_VALUE = re.compile(r"[\t\x20-\x7e\xa0-\xff]+")
_OURS = frozenset(
    {"accept-encoding", "connection", "content-length", "host", "if-modified-since", "if-none-match", "te"}
    | {"trailer", "transfer-encoding", "upgrade"}
)
_FORM = "Each line is a header as HTTP has it, such as X-Api-Key: …; # begins a comment."


def feed_secrets(file: YamlFile, feeds: Mapping[str, FeedEntry], beside: Path) -> dict[str, dict[str, str]]:
    """The secret headers of each feed that names a file of them: `headers_file`, and the login of `auth_file`.

    Notes a problem, with the place but never with the text, for each file that can't be used.
    """
    secrets: dict[str, dict[str, str]] = {}
    for id, feed in feeds.items():
        headers: dict[str, str] = {}
        if feed.headers_file:
            where: Where = ("feeds", id, "headers_file")
            text = read_secret(file, find_secret(feed.headers_file, beside), where)
            headers |= dict(_headers(file, where, feed.headers_file, text or ""))
        if feed.auth_file:
            headers |= _login(file, ("feeds", id, "auth_file"), feed.auth_file, beside)
        if headers:
            secrets[id] = headers
    return secrets


def mail_password(file: YamlFile, entry: SmtpEntry, beside: Path) -> tuple[str | None, str]:
    """The password of a mail server, and in words where it comes from: `password_file`, the environment variable of
    `password_env`, else the systemd credential `smtp-password`. There is none without a user name."""
    where: Where = ("mail", "smtp", "password_file" if entry.password_file else "username")
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if entry.username is None:
        for key in ("password_file", "password_env"):
            if getattr(entry, key) is not None:
                file.problem(
                    ("mail", "smtp", key), "a password without a user name", "Write who logs in: username: NAME"
                )
        return None, ""
    if entry.password_env is not None:
        return _from_environment(file, entry, entry.password_env)
    if entry.password_file:
        path = find_secret(entry.password_file, beside)
    elif credentials:
        path = Path(credentials) / "smtp-password"
    elif _is_written(file, "password", "password_env"):
        # What is wrong with it has been told.
        return None, ""
    else:
        hint = "Put it into a file that only this user reads, and name it: password_file: FILE"
        file.problem(where, "a user name without a password", hint)
        return None, ""
    return read_secret(file, path, where), f"the file {path}"


def _is_written(file: YamlFile, *keys: str) -> bool:
    smtp = file.values["mail"]["smtp"]
    return isinstance(smtp, dict) and any(key in smtp for key in keys)


def _from_environment(file: YamlFile, entry: SmtpEntry, name: str) -> tuple[str | None, str]:
    where: Where = ("mail", "smtp", "password_env")
    if entry.password_file:
        file.problem(where, "a password from the environment beside one from a file", "Keep one of the two.")
    elif not os.environ.get(name):
        hint = "Set it where claimwatch is started, or put the password into a file: password_file: FILE"
        file.problem(where, f"the environment variable {name} is not set", hint)
    return os.environ.get(name) or None, f"the environment variable {name}"


def secret_files(entries: FeedsFile, beside: Path) -> tuple[Path, ...]:
    """The files of all secrets that feeds.yaml names."""
    named = [name for feed in entries.feeds.values() for name in (feed.headers_file, feed.auth_file)]
    named.append(entries.mail.smtp.password_file if entries.mail.smtp else None)
    return tuple(find_secret(name, beside) for name in named if name)


def find_secret(name: Path, beside: Path) -> Path:
    """The file of this name beside feeds.yaml; where there is none, the systemd credential of this name."""
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    path = beside / name
    # Not path.exists(): that raises where a folder may not be entered.
    return Path(credentials) / name if credentials and not os.path.exists(path) else path


def read_secret(file: YamlFile, path: Path, where: Where) -> str | None:
    """What a secret's file holds, without the white space around it. Notes a problem where it can't be read.

    None also where it is a credential that systemd shows to nobody but the daemon, to whose reload we belong.
    """
    if _is_for_the_daemon_alone(path):
        return None
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        file.problem(where, f"the file {path} can't be read: {why}")
        return None
    if not text:
        file.problem(where, f"the file {path} is empty", "Write the secret into it.")
    return text or None


def _is_for_the_daemon_alone(path: Path) -> bool:
    """Whether a file is a credential of the service that this process was started to reload (`ExecReload=`).

    systemd 252 names the folder to such a process, and lets it not in. Whether the secret is sound is known by the
    start, and no reload changes it.
    """
    credentials = os.environ.get("CREDENTIALS_DIRECTORY")
    if not credentials or os.environ.get("MAINPID", str(os.getpid())) == str(os.getpid()):
        return False
    return path.is_relative_to(credentials) and not os.access(credentials, os.X_OK)


def _login(file: YamlFile, where: Where, name: Path, beside: Path) -> dict[str, str]:
    text = read_secret(file, find_secret(name, beside), where)
    if text is None:
        return {}
    user, colon, password = text.partition(":")
    if not colon or not user or not password or "\n" in text:
        file.problem(where, f"{name} holds no login", "It is one line: user:password")
        return {}
    # RFC 7617, 2.1: UTF-8 is what servers expect that expect anything.
    return {"authorization": "Basic " + base64.b64encode(text.encode()).decode()}


def _headers(file: YamlFile, where: Where, name: Path, text: str) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        header, colon, value = line.partition(":")
        if not colon or not _HEADER_NAME.fullmatch(header.strip()) or not _HEADER_VALUE.fullmatch(value.strip()):
            file.problem(where, f"line {number} of {name} is no header", _FORM)
        elif header.strip().lower() in _OURS:
            file.problem(where, f"line {number} of {name} sets {header.strip()}, which claimwatch sets itself", _FORM)
        else:
            yield header.strip().lower(), value.strip()
