"""How single values are written in feeds.yaml and in a seed: durations, addresses, zones, times, words, keys.

Each is a type: what it takes, what is said of what it does not take, and how an editor is told of it.
"""

from __future__ import annotations

import difflib
import re
from datetime import UTC, datetime
from importlib import resources
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema

from daemon.compiling import entry
from daemon.databases import database_at
from daemon.links import ascii_host
from daemon.terms import Near, TermError
from daemon.words import tokenise

SHORTEST_INTERVAL_SECONDS = 60
LONGEST_INTERVAL_SECONDS = 30 * 86_400
LONGEST_TIMEOUT_SECONDS = 600
LONGEST_BETWEEN_ALERTS_SECONDS = 86_400
SHORTEST_PATIENCE_SECONDS = 3600
LONGEST_PATIENCE_SECONDS = 30 * 86_400
LONGEST_KEY = 64
KEY_PATTERN = r"^[a-z0-9][a-z0-9._-]*$"
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _duration(text: object) -> object:
    found = re.fullmatch(r"(\d+)\s*([smhd])", str(text).strip())
    if not found:
        raise ValueError(f"{text!r} is no duration\nWrite a number and a unit, such as 15m, 6h or 1d.")
    return int(found[1]) * _UNITS[found[2]]


def _interval(seconds: int) -> int:
    if seconds < SHORTEST_INTERVAL_SECONDS:
        raise ValueError("too often\nAsk a feed once a minute at most (1m); 15m is usual.")
    if seconds > LONGEST_INTERVAL_SECONDS:
        raise ValueError("too seldom\nAsk a feed once in 30 days at least (30d); 15m is usual.")
    return seconds


def _patience(seconds: int) -> int:
    if seconds < SHORTEST_PATIENCE_SECONDS:
        raise ValueError("too soon\nA server may be away for a while: wait an hour at least (1h); 1d is usual.")
    if seconds > LONGEST_PATIENCE_SECONDS:
        raise ValueError("too late\nWait 30 days at most (30d); 1d is usual.")
    return seconds


def _timeout(seconds: int) -> int:
    if not 1 <= seconds <= LONGEST_TIMEOUT_SECONDS:
        raise ValueError("out of range\nBetween 1s and 10m; 30s is usual.")
    return seconds


def _between_alerts(seconds: int) -> int:
    if seconds < SHORTEST_INTERVAL_SECONDS:
        raise ValueError("too often\nOnce a minute at most (1m); 15m is usual for alerts.")
    if seconds > LONGEST_BETWEEN_ALERTS_SECONDS:
        raise ValueError('too seldom for alerts\nWrite a time instead: at: "07:30", with days: if not every day.')
    return seconds


def _http_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises for a port that is none
    except ValueError as error:
        raise ValueError(f"{url!r} is no address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or any(c.isspace() for c in url):
        raise ValueError(f"{url!r} is no web address\nWrite it whole, with https:// before it.")
    if parts.username is not None:
        host = parts.netloc.rpartition("@")[2]
        raise ValueError(f"the address at {host} holds a login\nPut user:password into a file: auth_file: FILE.")
    return url


def _host(text: str) -> str:
    try:
        host = ascii_host(text.strip().strip("[]"))
    except UnicodeError:
        host = ""
    if not re.fullmatch(r"[a-z0-9._:-]+", host, re.IGNORECASE):
        raise ValueError(f"{text!r} is no host\nWrite it as it stands in the feed's address, without http:// and port.")
    return host.lower()


def _proxy(url: str) -> str:
    if urlsplit(_http_url(url)).path.strip("/"):
        raise ValueError(f"{url!r} is no proxy\nWrite it as http://HOST:PORT.")
    return url


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"there is no time zone {name!r}\n{_zone_meant(name)}") from error
    return name


def _zone_meant(name: str) -> str:
    """Goes by cities alone: what looks like an abbreviation (CEST, EST) may be hours away."""
    table = resources.files("tzdata.zoneinfo").joinpath("zone.tab").read_text(encoding="utf-8")
    zones = [line.split("\t")[2] for line in table.splitlines() if not line.startswith("#")]
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in [*zones, "UTC"]}
    city = name.strip().replace(" ", "_").rpartition("/")[2]
    cutoff = 1.0 if len(city) < 4 or city.isupper() else 0.75
    if close := difflib.get_close_matches(city.casefold(), cities, n=1, cutoff=cutoff):
        return f"Did you mean {cities[close[0]]!r}?"
    return "Write it as Continent/City, such as Europe/Kyiv."


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise ValueError(f'{text!r} is no time of day\nWrite it as "07:30".')
    return text


def _quiet(text: str) -> tuple[str, str]:
    begin, dash, end = (part.strip() for part in str(text).replace("–", "-").partition("-"))
    if not dash:
        raise ValueError(f'{text!r} is no stretch of the day\nWrite it as "22:00-07:00".')
    begin, end = (_clock(one).rjust(5, "0") for one in (begin, end))
    if begin == end:
        raise ValueError("it leaves no hour in which a mail could come\nTo rest a digest, write enabled: false.")
    return begin, end


def _a_day(text: object) -> int:
    found = re.fullmatch(r"([1-9]\d{0,3})\s*/\s*day", str(text).strip())
    if not found:
        raise ValueError(f"{text!r} is no number a day\nWrite it as 6/day.")
    return int(found[1])


def _cron(text: str) -> str:
    try:
        next(CronSim(text, datetime(2025, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} is no cron line\nFive fields: minute hour day month weekday.") from error
    if len(text.split()) != 5:
        raise ValueError(f"{text!r} is no cron line\nFive fields: minute hour day month weekday.")
    return text


def mail_address(text: str) -> str:
    """The address with its domain as mail carries it (xn--…). What stands before the @ must be plain ASCII."""
    local, _, domain = text.strip().rpartition("@")
    try:
        domain = ascii_host(domain)
    except UnicodeError:
        domain = ""
    if not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+", local, re.ASCII) or not re.fullmatch(r"[\w.-]+", domain, re.ASCII):
        raise ValueError(f"{text!r} is no mail address\nWrite it bare: name@example.org")
    return f"{local}@{domain}"


def _sender(text: str) -> str:
    """`name <address>`, the name empty where none is written."""
    written = re.fullmatch(r'\s*(?:"([^"]*)"|([^"<>]*?))\s*<([^<>]*)>\s*', text)
    name, address = (written[1] or written[2] or "", written[3]) if written else ("", text)
    try:
        return f"{name.strip()} <{mail_address(address)}>" if name.isprintable() else mail_address(text)
    except ValueError as error:
        raise ValueError(
            f"{text!r} is no sender\nWrite it as Claimwatch <name@example.org>, or bare: name@example.org"
        ) from error


def name_and_address(sender: str) -> tuple[str, str]:
    """The two parts of a Sender."""
    name, _, address = sender.rpartition(" <")
    return name, address.rstrip(">")


def _listen(text: str) -> str:
    host, _, port = text.strip().rpartition(":")
    bare = host[1:-1] if host[:1] == "[" and host[-1:] == "]" else host
    try:
        ip_address(bare)
    except ValueError:
        bare = bare if bare == "localhost" else ""
    if not bare or not port.isdigit() or not 1 <= int(port) <= 65_535:
        raise ValueError(
            f"{text} is no address of this machine with a port\nSuch as 127.0.0.1:9464, for this machine alone."
        )
    return f"{host}:{port}"


def _environment_name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", text):
        # What stands here may be the password itself, so it is not repeated.
        raise ValueError("that is no name of an environment variable\nWrite its name alone, such as SMTP_PASSWORD.")
    return text


def _word(text: str) -> str:
    if not tokenise(text):
        raise ValueError(f"there is no word in {text!r}")
    try:
        term = entry(text)
    except TermError as error:
        raise ValueError(f"{text!r}: {error.message}\n{error.hint}") from error
    if isinstance(term, Near):
        raise ValueError(f"{text!r} holds more than words\nA * may end a single word; else write words bare.")
    return text


def _database_url(address: str) -> str:
    database_at(address)
    return address


def is_key(text: str) -> bool:
    """Whether a feed, a claim or a digest can be called so."""
    return len(text) <= LONGEST_KEY and bool(re.fullmatch(KEY_PATTERN, text))


def one_or_many(value: object) -> object:
    """A list of one where a text stands alone."""
    return [value] if isinstance(value, str) else value


def _written(pattern: str, *examples: str) -> WithJsonSchema:
    # The message is no word of JSON Schema, but the YAML language server says it instead of the pattern.
    say = f"Write it as {' or '.join(examples)}."
    return WithJsonSchema(
        {"type": "string", "pattern": pattern, "patternErrorMessage": say, "examples": list(examples)}
    )


_DURATION = _written(r"^\s*\d+\s*[smhd]\s*$", "15m", "6h", "1d")
URL = _written(r"^[hH][tT][tT][pP][sS]?://\S+$", "https://example.org/rss.xml")
DATABASE_URL = _written(
    r"^(sqlite(\+pysqlite)?:///.+|postgres(ql(\+psycopg)?)?://.+)$",
    *("sqlite:///claimwatch.sqlite3", "postgresql://USER@HOST/DATABASE"),
)
ADDRESS = _written(r"^\s*[^\s@]+@[^\s@]+\s*$", "name@example.org")
Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

Interval = Annotated[int, BeforeValidator(_duration), AfterValidator(_interval), _DURATION]
BetweenAlerts = Annotated[int, BeforeValidator(_duration), AfterValidator(_between_alerts), _DURATION]
ADay = Annotated[int, BeforeValidator(_a_day), _written(r"^\s*[1-9]\d{0,3}\s*/\s*day\s*$", "6/day")]
Patience = Annotated[int, BeforeValidator(_duration), AfterValidator(_patience), _DURATION]
Timeout = Annotated[int, BeforeValidator(_duration), AfterValidator(_timeout), _DURATION]
Url = Annotated[str, AfterValidator(_http_url), URL]
Proxy = Annotated[str, AfterValidator(_proxy), URL]
MostBytes = Annotated[int, Field(ge=10_000)]
Hosts = Annotated[
    list[Annotated[str, AfterValidator(_host)]], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])
]
DatabaseUrl = Annotated[str, AfterValidator(_database_url), DATABASE_URL]
Zone = Annotated[str, AfterValidator(_zone), _written(r"^\S+$", "UTC", "Europe/Kyiv")]
Clock = Annotated[str, AfterValidator(_clock), _written(r"^([01]?\d|2[0-3]):[0-5]\d$", "07:30")]
Quiet = Annotated[
    tuple[str, str],
    BeforeValidator(_quiet),
    _written(r"^\s*([01]?\d|2[0-3]):[0-5]\d\s*[-–]\s*([01]?\d|2[0-3]):[0-5]\d\s*$", "22:00-07:00"),
]
Cron = Annotated[str, AfterValidator(_cron), _written(r"^\s*\S+(\s+\S+){4}\s*$", "30 7 * * 1-5")]
MailAddress = Annotated[str, AfterValidator(mail_address), ADDRESS]
Sender = Annotated[
    str,
    AfterValidator(_sender),
    _written(r"^\s*[^\s@<>]+@[^\s@<>]+\s*$|^[^<>]*<[^\s@<>]+@[^\s@<>]+>\s*$", "Claimwatch <name@example.org>"),
]
Listen = Annotated[
    str, AfterValidator(_listen), _written(r"^\s*(\[[0-9a-fA-F:.]+\]|[\w.]+):\d{1,5}\s*$", "127.0.0.1:9464")
]
EnvironmentName = Annotated[
    str, AfterValidator(_environment_name), _written(r"^[A-Za-z_][A-Za-z0-9_]*$", "SMTP_PASSWORD")
]
WithinWords = Annotated[int, Field(ge=2, le=200)]
Key = Annotated[str, Field(pattern=KEY_PATTERN, max_length=LONGEST_KEY)]
Words = Annotated[
    list[Annotated[str, AfterValidator(_word)]],
    # A number in a list of words is a number to an editor; to us each scalar is the text that was written.
    BeforeValidator(one_or_many, json_schema_input_type=str | list[str | int]),
]
