"""What may stand in feeds.yaml and in a seed, key by key, and what is said where something else does.

The docstrings of keys are what an editor shows of them, and the types say how each is written in YAML: the JSON Schemas
that `schemas` makes of these classes are for people who edit the files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from daemon.claims import ClaimKind
from daemon.databases import database_at
from daemon.digests import ascii_host
from daemon.rules import Stance, WhenEmpty
from daemon.words import tokenise
from daemon.yamlfiles import nearest

SHORTEST_INTERVAL_SECONDS = 60
LONGEST_INTERVAL_SECONDS = 30 * 86_400
LONGEST_TIMEOUT_SECONDS = 600
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


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


def _timeout(seconds: int) -> int:
    if not 1 <= seconds <= LONGEST_TIMEOUT_SECONDS:
        raise ValueError("out of range\nBetween 1s and 10m; 30s is usual.")
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
        raise ValueError(f"there is no time zone {name!r}\n{nearest(name, available_timezones())[:120]}") from error
    return name


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]?\d|2[0-3]):[0-5]\d", text):
        raise ValueError(f'{text!r} is no time of day\nWrite it as "07:30".')
    return text


def _cron(text: str) -> str:
    try:
        next(CronSim(text, datetime(2025, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"{text!r} is no cron line\nFive fields: minute hour day month weekday.") from error
    if len(text.split()) != 5:
        raise ValueError(f"{text!r} is no cron line\nFive fields: minute hour day month weekday.")
    return text


def _address(text: str) -> str:
    """The address with its domain as mail carries it (xn--…). What stands before the @ must be plain ASCII."""
    local, _, domain = text.strip().rpartition("@")
    try:
        domain = ascii_host(domain)
    except UnicodeError:
        domain = ""
    if not re.fullmatch(r"[\w.!#$%&'*+/=?^`{|}~-]+", local, re.ASCII) or not re.fullmatch(r"[\w.-]+", domain, re.ASCII):
        raise ValueError(f"{text!r} is no mail address\nWrite it bare: name@example.org")
    return f"{local}@{domain}"


def _word(text: str) -> str:
    if not tokenise(text):
        raise ValueError(f"there is no word in {text!r}")
    if "*" in text or '"' in text:
        raise ValueError(
            f"{text!r} holds more than words\nWrite words and phrases bare; * and quotes belong into terms."
        )
    return text


def _database_url(address: str) -> str:
    database_at(address)
    return address


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


def _terms(value: object) -> object:
    if isinstance(value, str):
        return [{"term": term} for _, term in term_lines(value)]
    if isinstance(value, list):
        return [{"term": one} if isinstance(one, str) else one for one in value]
    return value


def _written(pattern: str, *examples: str) -> WithJsonSchema:
    # The message is no word of JSON Schema, but the YAML language server says it instead of the pattern.
    say = f"Write it as {' or '.join(examples)}."
    return WithJsonSchema(
        {"type": "string", "pattern": pattern, "patternErrorMessage": say, "examples": list(examples)}
    )


_DURATION = _written(r"^\s*\d+\s*[smhd]\s*$", "15m", "6h", "1d")
_URL = _written(r"^[hH][tT][tT][pP][sS]?://\S+$", "https://example.org/rss.xml")
_DATABASE_URL = _written(
    r"^(sqlite(\+pysqlite)?:///.+|postgres(ql(\+psycopg)?)?://.+)$",
    *("sqlite:///claimwatch.sqlite3", "postgresql://USER@HOST/DATABASE"),
)
_DAY = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

Interval = Annotated[int, BeforeValidator(_duration), AfterValidator(_interval), _DURATION]
Timeout = Annotated[int, BeforeValidator(_duration), AfterValidator(_timeout), _DURATION]
Url = Annotated[str, AfterValidator(_http_url), _URL]
Proxy = Annotated[str, AfterValidator(_proxy), _URL]
MostBytes = Annotated[int, Field(ge=10_000)]
Hosts = Annotated[
    list[Annotated[str, AfterValidator(_host)]], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])
]
DatabaseUrl = Annotated[str, AfterValidator(_database_url), _DATABASE_URL]
Zone = Annotated[str, AfterValidator(_zone), _written(r"^\S+$", "UTC", "Europe/Kyiv")]
Clock = Annotated[str, AfterValidator(_clock), _written(r"^([01]?\d|2[0-3]):[0-5]\d$", "07:30")]
Cron = Annotated[str, AfterValidator(_cron), _written(r"^\s*\S+(\s+\S+){4}\s*$", "30 7 * * 1-5")]
MailAddress = Annotated[str, AfterValidator(_address), _written(r"^\s*[^\s@]+@[^\s@]+\s*$", "name@example.org")]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
Words = Annotated[
    list[Annotated[str, AfterValidator(_word)]],
    # A number in a list of words is a number to an editor; to us each scalar is the text that was written.
    BeforeValidator(_one_or_many, json_schema_input_type=str | list[str | int]),
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


def _or_bare(url: WithJsonSchema) -> Callable[[dict[str, Any]], None]:
    def extend(schema: dict[str, Any]) -> None:
        mapping = dict(schema)
        schema.clear()
        schema |= {"description": mapping.pop("description"), "anyOf": [url.json_schema, mapping]}

    return extend


class FeedEntry(_Strict):
    """A feed: `key: https://…`, or with options."""

    model_config = ConfigDict(json_schema_extra=_or_bare(_URL))

    url: Url
    """Its address, whole, with https:// before it."""
    title: str = ""
    """What digests call it."""
    every: Interval | None = None
    """How often it is asked, such as 15m, 6h or 1d: once a minute at most. Without it, polling: says so."""
    enabled: bool = True
    """`false` rests it."""
    most_bytes: MostBytes | None = None
    """How large its document may be. Without it, polling: says so."""
    headers_file: Path | None = None
    """A file beside this one (or a systemd credential) with secret headers for it, one a line, such as X-Api-Key: …."""
    auth_file: Path | None = None
    """A file beside this one (or a systemd credential) with its login on one line: user:password."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class TermEntry(_Strict):
    """A term with options."""

    term: str
    """Words that a headline would have, near each other, in any inflected form; "…" is a phrase, ( OR ) alternatives,
    -word excludes."""
    stance: Stance = "mentions"
    """What a match says about the claim."""


class ClaimEntry(_Strict):
    """The terms of one claim: a text block with one a line, or a list of texts and mappings."""

    terms: Annotated[list[TermEntry], BeforeValidator(_terms, json_schema_input_type=str | list[str | TermEntry])] = []
    """What in the news gives the claim away: a text block (`terms: |`) with one term a line, or a list."""
    enabled: bool = True
    """`false` rests it."""


def _one_time(schema: dict[str, Any]) -> None:
    schema["oneOf"] = [{"required": ["at"]}, {"required": ["cron"], "not": {"required": ["days"]}}]


class DigestEntry(_Strict):
    """A digest: `at` on `days`, or `cron`; in `timezone`; `to` whom; about which `claims`."""

    model_config = ConfigDict(json_schema_extra=_one_time)

    at: Clock | None = None
    """Its time of day, in quotes: "07:30"."""
    days: Annotated[list[_DAY], BeforeValidator(_one_or_many, json_schema_input_type=_DAY | list[_DAY])] = []
    """The days of the week on which it comes; every day without."""
    cron: Cron | None = None
    """Instead of at: and days:, five fields: minute hour day month weekday."""
    timezone: Zone = "UTC"
    """The zone that its time is meant in, such as Europe/Kyiv."""
    to: Annotated[
        list[MailAddress], BeforeValidator(_one_or_many, json_schema_input_type=MailAddress | list[MailAddress])
    ] = []
    """Whom it is mailed to: one bare address or a list."""
    claims: Annotated[list[str], BeforeValidator(_one_or_many, json_schema_input_type=str | list[str])] = []
    """The claims that it tells of; all of them without."""
    when_empty: WhenEmpty = "skip"
    """What to do when nothing is new: `skip` it, or `send` it all the same."""
    enabled: bool = True
    """`false` rests it."""

    @model_validator(mode="after")
    def _one_calendar(self) -> DigestEntry:
        if (self.at is None) == (self.cron is None):
            raise ValueError(
                'it needs a time\nWrite either at: "07:30" (with days: if not every day) or cron: "30 7 * * 1-5".'
            )
        if self.cron and self.days:
            raise ValueError("days: goes with at:\nWith cron:, the days are its fifth field.")
        return self

    @property
    def cron_line(self) -> str:
        if self.cron:
            return self.cron
        hour, minute = (self.at or "").split(":")
        days = ",".join(str((_DAYS.index(day) + 1) % 7) for day in self.days) or "*"
        return f"{int(minute)} {int(hour)} * * {days}"


class SmtpEntry(_Strict):
    """A mail server. The password comes from a file or a systemd credential, never from here."""

    host: str
    """Its name."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Its port; without it 587, with `tls` 465, with `none` 25."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is protected."""
    username: str | None = None
    """Who logs in; nobody does without it."""
    password_file: Path | None = None
    """A file with the password, that only this user reads; relative to feeds.yaml."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's; relative to feeds.yaml."""


class MailEntry(_Strict):
    """How digests leave."""

    sender: MailAddress = Field(default="claimwatch@localhost", alias="from")
    """The address that digests come from."""
    maildir: Path | None = None
    """Where digests go while there is no server; relative to the state directory, where it is Maildir/ without this."""
    smtp: SmtpEntry | None = None
    """The server that takes digests."""


class PollingEntry(_Strict):
    """How feeds are asked, where a feed does not say otherwise."""

    every: Annotated[Interval, Field(json_schema_extra={"default": "15m"})] = 900
    """How often a feed is asked, such as 15m, 6h or 1d."""
    timeout: Annotated[Timeout, Field(json_schema_extra={"default": "30s"})] = 30
    """How long one fetch may take in all, from 1s to 10m."""
    most_bytes: MostBytes = 10_000_000
    """How large a feed's document may be, inflated."""
    allow_private: Hosts = []
    """Hosts of your own network that feeds may be on. All other addresses that are not public are refused."""
    proxy: Proxy | None = None
    """An HTTP proxy to go through, such as http://proxy.example.org:3128. The environment is never asked for one."""


def _or_nothing(schema: dict[str, Any]) -> None:
    for section in schema["properties"].values():
        if section.get("type") == "object":
            section["type"] = ["object", "null"]
        elif "$ref" in section:
            section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]


class DatabaseEntry(_Strict):
    """Where the log is: `database: URL`, or with the file that holds the password."""

    model_config = ConfigDict(json_schema_extra=_or_bare(_DATABASE_URL))

    url: DatabaseUrl = Field(repr=False)
    """sqlite:///FILE or postgresql://USER@HOST/DATABASE."""
    password_file: Path | None = None
    """The file that holds the password of a PostgreSQL user, and nothing else."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class FeedsFile(_Strict):
    """feeds.yaml: what claimwatch watches, and whom it tells."""

    model_config = ConfigDict(json_schema_extra=_or_nothing)

    feeds: Annotated[dict[Key, FeedEntry], BeforeValidator(_none_is_empty)] = {}
    """The feeds to poll: a key of your own, then the address."""
    claims: Annotated[dict[Key, ClaimEntry], BeforeValidator(_none_is_empty)] = {}
    """Watch-terms by claim; the claims themselves stand in seeds/."""
    words: Annotated[dict[str, Words], BeforeValidator(_none_is_empty)] = {}
    """Word lists: a list's name in a term stands for any of its words."""
    digests: Annotated[dict[Key, DigestEntry], BeforeValidator(_none_is_empty)] = {}
    """The digests that are mailed: when, to whom, about what."""
    mail: Annotated[MailEntry, BeforeValidator(_none_is_empty)] = MailEntry()
    """How digests leave: into a Maildir, or by a mail server."""
    polling: Annotated[PollingEntry, BeforeValidator(_none_is_empty)] = PollingEntry()
    """How often and within which limits feeds are asked."""
    database: DatabaseEntry | None = None
    """The log's address; without it, claimwatch.sqlite3 in the state directory."""


class ClaimOfSeed(_Strict):
    """A claim, under its id."""

    statement: str
    """What is claimed, in one sentence of your own, with its subject in it."""
    made: date
    """The day it was made, as 2025-03-19."""
    kind: ClaimKind
    """`commitment`: somebody undertook it. `condition`: somebody asks it. `fact`: the article reports that it is so.
    `prediction`: the article expects it."""
    due: date | None = None
    """The day by which it can be judged, if it has one."""


class SeedFile(_Strict):
    """A seed: an article and its claims."""

    title: str
    """The article's title."""
    author: str
    """Who wrote it."""
    publisher: str
    """Where it came out."""
    date: date
    """The day it came out, as 2025-03-20."""
    url: Url | None = None
    """Where it can be read."""
    claims: dict[Key, ClaimOfSeed]
    """Its claims, each under an id that no other seed uses: it stands in mails, commands and the log for ever."""


def term_lines(block: str) -> Iterable[tuple[int, str]]:
    """The terms of a text block with their row (from 0): one a line, `#` begins a comment line."""
    for row, line in enumerate(block.splitlines()):
        term = re.sub(r"(^|\s)#.*$", "", line).strip()
        if term:
            yield row, term
