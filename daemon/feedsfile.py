"""What may stand in feeds.yaml and in a seed, key by key, and what is said where something else does."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from daemon.claims import ClaimKind
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


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


Interval = Annotated[int, BeforeValidator(_duration), AfterValidator(_interval)]
Timeout = Annotated[int, BeforeValidator(_duration), AfterValidator(_timeout)]
Url = Annotated[str, AfterValidator(_http_url)]
MailAddress = Annotated[str, AfterValidator(_address)]
Key = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$", max_length=64)]
Words = Annotated[list[Annotated[str, AfterValidator(_word)]], BeforeValidator(_one_or_many)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FeedEntry(_Strict):
    """A feed: `key: https://…`, or with options."""

    url: Url
    title: str = ""
    every: Interval | None = None
    enabled: bool = True

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"url": value} if isinstance(value, str) else value


class TermEntry(_Strict):
    """A term with options."""

    term: str
    stance: Stance = "mentions"


class ClaimEntry(_Strict):
    """The terms of one claim: a text block with one a line, or a list of texts and mappings."""

    terms: list[TermEntry] = []
    enabled: bool = True

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        terms = value.get("terms")
        if isinstance(terms, str):
            return value | {"terms": [{"term": term} for _, term in term_lines(terms)]}
        if isinstance(terms, list):
            return value | {"terms": [{"term": one} if isinstance(one, str) else one for one in terms]}
        return value


class DigestEntry(_Strict):
    """A digest: `at` on `days`, or `cron`; in `timezone`; `to` whom; about which `claims`."""

    at: Annotated[str, AfterValidator(_clock)] | None = None
    days: Annotated[list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], BeforeValidator(_one_or_many)] = []
    cron: Annotated[str, AfterValidator(_cron)] | None = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    to: Annotated[list[MailAddress], BeforeValidator(_one_or_many)] = []
    claims: Annotated[list[str], BeforeValidator(_one_or_many)] = []
    when_empty: WhenEmpty = "skip"
    enabled: bool = True

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
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    security: Literal["starttls", "tls", "none"] = "starttls"
    username: str | None = None
    password_file: Path | None = None
    ca_file: Path | None = None


class MailEntry(_Strict):
    """How digests leave."""

    sender: MailAddress = Field(default="claimwatch@localhost", alias="from")
    maildir: Path | None = None
    smtp: SmtpEntry | None = None


class PollingEntry(_Strict):
    """How feeds are asked, where a feed does not say otherwise."""

    every: Interval = 900
    timeout: Timeout = 30
    most_bytes: Annotated[int, Field(ge=10_000)] = 10_000_000


class FeedsFile(_Strict):
    """feeds.yaml."""

    feeds: Annotated[dict[Key, FeedEntry], BeforeValidator(_none_is_empty)] = {}
    claims: Annotated[dict[Key, ClaimEntry], BeforeValidator(_none_is_empty)] = {}
    words: Annotated[dict[str, Words], BeforeValidator(_none_is_empty)] = {}
    digests: Annotated[dict[Key, DigestEntry], BeforeValidator(_none_is_empty)] = {}
    mail: Annotated[MailEntry, BeforeValidator(_none_is_empty)] = MailEntry()
    polling: Annotated[PollingEntry, BeforeValidator(_none_is_empty)] = PollingEntry()
    database: str | None = None


class ClaimOfSeed(_Strict):
    """A claim in a seed file, under its id."""

    statement: str
    made: date
    kind: ClaimKind
    due: date | None = None


class SeedFile(_Strict):
    """A seed: an article and its claims."""

    title: str
    author: str
    publisher: str
    date: date
    url: Url | None = None
    claims: dict[Key, ClaimOfSeed]


def term_lines(block: str) -> Iterable[tuple[int, str]]:
    """The terms of a text block with their row (from 0): one a line, `#` begins a comment line."""
    for row, line in enumerate(block.splitlines()):
        term = re.sub(r"(^|\s)#.*$", "", line).strip()
        if term:
            yield row, term
