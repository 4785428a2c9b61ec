"""What may stand in feeds.yaml and in a seed, key by key, and what is said where something else does.

The docstrings of keys are what an editor shows of them, and the types say how each is written in YAML: the JSON Schemas
that `schemas` makes of these classes are for people who edit the files.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from daemon.claims import ClaimKind
from daemon.fields import (
    ADDRESS,
    DATABASE_URL,
    DAYS,
    URL,
    ADay,
    BetweenAlerts,
    Clock,
    Cron,
    DatabaseUrl,
    Day,
    EnvironmentName,
    Hosts,
    Interval,
    Key,
    Listen,
    MailAddress,
    MostBytes,
    Patience,
    Proxy,
    Quiet,
    Sender,
    Timeout,
    Url,
    WithinWords,
    Words,
    Zone,
    one_or_many,
)
from daemon.rules import Stance, StillWatching, WhenEmpty
from daemon.watchterms import term_lines

SHORTEST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 300, 1800
"""What min: and max: are where nobody says."""


def _none_is_empty(value: object) -> object:
    return {} if value is None else value


def _terms(value: object) -> object:
    if isinstance(value, str):
        return [{"term": term} for _, term in term_lines(value)]
    if isinstance(value, list):
        return [{"term": one} if isinstance(one, str) else one for one in value]
    return value


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

    model_config = ConfigDict(json_schema_extra=_or_bare(URL))

    url: Url
    """Its address, whole, with https:// before it."""
    title: str = ""
    """What digests call it."""
    every: Interval | None = None
    """How often it is asked, always: such as 15m, 6h or 1d, once a minute at most. Instead of min: and max:."""
    min: Interval | None = None
    """How often it is asked at most. Without it, polling: says so."""
    max: Interval | None = None
    """How often it is asked at least. Without it, polling: says so."""
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

    @model_validator(mode="after")
    def _one_pace(self) -> FeedEntry:
        _check_pace(self.every, self.min, self.max)
        return self


def _check_pace(every: int | None, shortest: int | None, longest: int | None) -> None:
    if every and (shortest or longest):
        raise ValueError("every: beside min: or max:\nKeep either: every: is always the same pause.")
    if shortest and longest and shortest > longest:
        raise ValueError("min: is longer than max:\nmin: is the shortest pause between two polls, max: the longest.")


class TermEntry(_Strict):
    """A term with options."""

    term: str
    """Words that a headline would have, near each other, in any inflected form; "…" is a phrase, ( OR ) alternatives,
    -word excludes."""
    stance: Stance = "mentions"
    """What a match says about the claim."""
    note: str = ""
    """Why the term is there, for whoever reads it later."""
    within: WithinWords | None = None
    """How many words its words may take up together. Without it, within: at the top says so."""
    across: bool = False
    """`true`: words may stand near each other across the title's end, as if title and summary were one text."""
    feeds: Annotated[list[str], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])] = []
    """The only feeds whose items it looks at, by their keys; all of them without."""


_Terms = Annotated[list[TermEntry], BeforeValidator(_terms, json_schema_input_type=str | list[str | TermEntry])]


class ClaimEntry(_Strict):
    """The terms of one claim: a text block with one a line, or a list of texts and mappings."""

    terms: _Terms = []
    """What in the news gives the claim away: a text block (`terms: |`) with one term a line, or a list."""
    never: _Terms = []
    """What shows that something else is meant: an item that one of these terms matches is none of the claim's."""
    enabled: bool = True
    """`false` rests it."""


def _one_time(schema: dict[str, Any]) -> None:
    def only(key: str, *without: str) -> dict[str, Any]:
        return {"required": [key], "not": {"anyOf": [{"required": [other]} for other in without]}}

    schema["oneOf"] = [
        only("at", "at_most"),
        only("cron", "days", "at_most"),
        only("every", "days", "when_empty", "still_watching"),
    ]


class DigestEntry(_Strict):
    """A digest: `at` on `days`, or `cron`, or `every` for alerts; in `timezone`; `to` whom; about which `claims`."""

    model_config = ConfigDict(json_schema_extra=_one_time)

    at: Clock | None = None
    """Its time of day, in quotes: "07:30"."""
    days: Annotated[list[Day], BeforeValidator(one_or_many, json_schema_input_type=Day | list[Day])] = []
    """The days of the week on which it comes; every day without."""
    cron: Cron | None = None
    """Instead of at: and days:, five fields: minute hour day month weekday."""
    every: BetweenAlerts | None = None
    """Instead of a time, for alerts: how often to look whether something is new, such as 15m. One comes only when
    something is; what was already there or is found in history is left to digests with a time."""
    at_most: ADay | None = None
    """With every:, how many alerts a day, such as 6/day. What is over comes in the first alert of the next day."""
    quiet: Quiet | None = None
    """Hours in which nothing is prepared, in quotes: "22:00-07:00". What falls due in them comes at their end."""
    timezone: Zone = "UTC"
    """The zone that its time is meant in, such as Europe/Kyiv."""
    to: Annotated[
        list[MailAddress], BeforeValidator(one_or_many, json_schema_input_type=MailAddress | list[MailAddress])
    ] = []
    """Whom it is mailed to: one bare address or a list."""
    claims: Annotated[list[str], BeforeValidator(one_or_many, json_schema_input_type=str | list[str])] = []
    """The claims that it tells of; all of them without."""
    when_empty: WhenEmpty = "skip"
    """What to do when nothing is new: `skip` it, or `send` it all the same."""
    still_watching: StillWatching = "weekly"
    """A digest that is skipped comes once in seven days all the same, to say that the watch goes on: `weekly`, or
    `never`."""
    enabled: bool = True
    """`false` rests it."""

    @model_validator(mode="after")
    def _one_calendar(self) -> DigestEntry:
        if [self.at, self.cron, self.every].count(None) != 2:
            raise ValueError(
                "it needs a time\n"
                'Write either at: "07:30" (with days: if not every day), cron: "30 7 * * 1-5", or every: 15m (alerts).'
            )
        if self.cron and self.days:
            raise ValueError("days: goes with at:\nWith cron:, the days are its fifth field.")
        if self.every and self.days:
            raise ValueError("days: goes with at:\nAlerts come on any day; quiet: holds them for some hours.")
        if self.at_most and not self.every:
            raise ValueError("at_most: goes with every:\nA digest with a time comes at that time; take the line out.")
        for key in ("when_empty", "still_watching"):
            if self.every and key in self.model_fields_set:
                raise ValueError(
                    f"{key}: goes with at: or cron:\nAlerts come only when something is new; a second digest with a"
                    " time can tell of the quiet days."
                )
        return self

    @property
    def cron_line(self) -> str:
        if self.cron:
            return self.cron
        if self.every:
            return ""
        hour, minute = (self.at or "").split(":")
        days = ",".join(str((DAYS.index(day) + 1) % 7) for day in self.days) or "*"
        return f"{int(minute)} {int(hour)} * * {days}"


class SmtpEntry(_Strict):
    """A mail server. The password comes from a file, a systemd credential or the environment, never from here."""

    host: str
    """Its name."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Its port; without it 587, with `tls` 465, with `none` 25."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection is protected."""
    username: str | None = None
    """Who logs in; nobody does without it."""
    password_file: Path | None = None
    """A file with the password, that only this user reads; relative to feeds.yaml, else a systemd credential."""
    password_env: EnvironmentName | None = None
    """Instead of a file, the environment variable that holds the password. Other programs of this user can see it."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's; relative to feeds.yaml."""


class MailEntry(_Strict):
    """How digests leave."""

    sender: Sender = Field(default="claimwatch@localhost", alias="from")
    """Whom digests come from: an address, or a name with it, as Claimwatch <name@example.org>."""
    unsubscribe: MailAddress | None = None
    """Whom readers write to who want a digest no more; the address of from: without it."""
    maildir: Path | None = None
    """Where digests go while there is no server; relative to the state directory, where it is Maildir/ without this."""
    smtp: SmtpEntry | None = None
    """The server that takes digests."""


class OperatorEntry(_Strict):
    """Who is told when the watch itself is in trouble: `operator: ADDRESS`, or with options."""

    model_config = ConfigDict(json_schema_extra=_or_bare(ADDRESS))

    to: Annotated[
        list[MailAddress],
        BeforeValidator(one_or_many, json_schema_input_type=MailAddress | list[MailAddress]),
        Field(min_length=1),
    ]
    """The address, or a list of them, that notices go to."""
    feed_failing_after: Annotated[Patience, Field(json_schema_extra={"default": "1d"})] = 86_400
    """How long a feed may fail before that is told, from 1h to 30d. One that is gone for good is told at once."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"to": value} if isinstance(value, str) else value


class PollingEntry(_Strict):
    """How feeds are asked, where a feed does not say otherwise."""

    min: Annotated[Interval | None, Field(json_schema_extra={"default": "5m"})] = None
    """How often a feed is asked at most, however much it brings."""
    max: Annotated[Interval | None, Field(json_schema_extra={"default": "30m"})] = None
    """How often a feed is asked at least, however little it brings."""
    every: Interval | None = None
    """Instead of min: and max:, how often each feed is asked, always: such as 15m, 6h or 1d."""
    timeout: Annotated[Timeout, Field(json_schema_extra={"default": "30s"})] = 30
    """How long one fetch may take in all, from 1s to 10m."""
    most_bytes: MostBytes = 10_000_000
    """How large a feed's document may be, inflated."""
    allow_private: Hosts = []
    """Hosts of your own network that feeds may be on. All other addresses that are not public are refused."""
    proxy: Proxy | None = None
    """An HTTP proxy to go through, such as http://proxy.example.org:3128. The environment is never asked for one."""

    @model_validator(mode="after")
    def _one_pace(self) -> PollingEntry:
        _check_pace(self.every, self.min, self.max)
        return self


def _or_nothing(schema: dict[str, Any]) -> None:
    for section in schema["properties"].values():
        if section.get("type") == "object":
            section["type"] = ["object", "null"]
        elif "$ref" in section:
            section["anyOf"] = [{"$ref": section.pop("$ref")}, {"type": "null"}]


def pauses_of(feed: FeedEntry, polling: PollingEntry) -> tuple[int, int]:
    """The shortest and the longest pause of a feed in seconds: its own, else what polling: says; where its own min: and
    the max: of polling: (or the other way round) don't go together, its own one is both."""
    if feed.every or (polling.every and not (feed.min or feed.max)):
        every = feed.every or polling.every or 0
        return every, every
    shortest, longest = polling.min or SHORTEST_PAUSE_SECONDS, polling.max or LONGEST_PAUSE_SECONDS
    if polling.min and not polling.max:
        longest = max(shortest, longest)
    if polling.max and not polling.min:
        shortest = min(shortest, longest)
    if feed.min:
        return feed.min, feed.max or max(feed.min, longest)
    return min(shortest, feed.max or shortest), feed.max or longest


class DatabaseEntry(_Strict):
    """Where the log is: `database: URL`, or with the file that holds the password."""

    model_config = ConfigDict(json_schema_extra=_or_bare(DATABASE_URL))

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
    within: WithinWords = 12
    """How many words the words of a term may take up together, from first to last."""
    words: Annotated[dict[str, Words], BeforeValidator(_none_is_empty)] = {}
    """Word lists: a list's name in a term stands for any of its words."""
    digests: Annotated[dict[Key, DigestEntry], BeforeValidator(_none_is_empty)] = {}
    """The digests that are mailed: when, to whom, about what."""
    mail: Annotated[MailEntry, BeforeValidator(_none_is_empty)] = MailEntry()
    """How digests leave: into a Maildir, or by a mail server."""
    operator: OperatorEntry | None = None
    """Who is told when a feed fails for long, mail can't be delivered or an edit is refused; nobody without it."""
    polling: Annotated[PollingEntry, BeforeValidator(_none_is_empty)] = PollingEntry()
    """How often and within which limits feeds are asked."""
    metrics: Listen | None = None
    """Where Prometheus metrics and /healthz are served, such as 127.0.0.1:9464; nowhere without it."""
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

    @field_validator("due")
    @classmethod
    def _after_it_was_made(cls, due: date | None, others: ValidationInfo) -> date | None:
        made = others.data.get("made")
        if due and made and due < made:
            raise ValueError(f"{due} is before it was made, on {made}\nWrite the day by which it can be judged.")
        return due


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
