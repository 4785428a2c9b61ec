"""The tables besides the log, as classes: what a user sees who opens the database in an SQL tool.

All but `poll` and `backfill` are projections: they hold what the log adds up to and can be made anew from it. `poll` is
a cache of what the next poll goes by; losing it costs one full fetch of each feed. `backfill` is how far one has come.
Times are ISO-8601 text in UTC, because SQLite drops time zones.
"""

from __future__ import annotations

from typing import Any

from sqlmodel import Field, Index, SQLModel


class ItemRow(SQLModel, table=True):
    """An item as it stands now. `text_position` is the event that holds its present text in full."""

    __tablename__ = "item"
    id: str = Field(primary_key=True)
    feed: str = Field(index=True)
    guid: str | None
    link: str | None
    title: str
    summary: str
    author: str | None
    published: str | None
    first_seen: str = Field(index=True)
    changed: str
    version: int
    position: int = Field(index=True)
    text_position: int
    already_there: bool
    redacted: bool


class RevisionRow(SQLModel, table=True):
    """A text that an item has or had: what it is known again by."""

    __tablename__ = "revision"
    __table_args__ = (
        Index("revision_guid", "feed", "guid"),
        Index("revision_link", "feed", "link"),
        Index("revision_fingerprint", "feed", "fingerprint"),
    )
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    item: str = Field(index=True)
    feed: str
    guid: str | None
    link: str | None
    title: str
    fingerprint: str


class MatchRow(SQLModel, table=True):
    """One item bears on one claim. `evidence` is JSON: terms, fields, spans and the words as they stood.

    `current` says whether today's rules make it; one that they don't stands as it was made, under `rules`.
    `retroactive` ones were found in what was already here. `reviewed` is the last `match_reviewed` about it.
    """

    __tablename__ = "match"
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    claim: str = Field(index=True)
    item: str = Field(index=True)
    feed: str
    at: str
    item_version: int
    rules: str
    already_there: bool
    retroactive: bool
    evidence: str
    lapsed_at: str | None
    current: bool
    reviewed: int | None


class FeedRow(SQLModel, table=True):
    """A feed and how it does. `unfit_keys` are what can't identify its items: `guid`, `link` or both.

    `url` is the address in feeds.yaml, `asked_url` the one that is asked: another one where the feed moved, at `moved`.
    `unreadable_sha256` is the hash of the document that was last given up, as long as no other one was read;
    `unreadable_detail` is why.
    """

    __tablename__ = "feed"
    id: str = Field(primary_key=True)
    url: str
    asked_url: str
    moved: str | None
    title: str
    enabled: bool
    state: str
    since: str | None
    reason: str
    detail: str
    hint: str
    unfit_keys: str
    unreadable_sha256: str | None
    unreadable_detail: str
    item_count: int
    last_item: str | None
    last_gap: str | None


class ClaimRow(SQLModel, table=True):
    """A claim and how much was found for it.

    `matches` are those that today's rules make, lapsed or not; `last_match` is when the last one was recorded.
    """

    __tablename__ = "claim"
    id: str = Field(primary_key=True)
    statement: str
    article: str
    made: str
    due: str | None
    kind: str
    enabled: bool
    terms: int
    matches: int
    last_match: str | None


class SubscriptionRow(SQLModel, table=True):
    """Who gets which digest, and from which position of the log on. `calendar` is what its due times follow from."""

    __tablename__ = "subscription"
    digest: str = Field(primary_key=True)
    recipient: str = Field(primary_key=True)
    enabled: bool
    calendar: str
    since_position: int
    since: str
    last_due: str | None


class RecipientRow(SQLModel, table=True):
    """Somebody who gets digests.

    `refusals` came in a row since the last delivery that was accepted, or since feeds.yaml named them anew; with the
    third one they rest. `answer` is what the last refusal said.
    """

    __tablename__ = "recipient"
    id: str = Field(primary_key=True)
    refusals: int
    resting_since: str | None
    answer: str


class DigestRow(SQLModel, table=True):
    """A digest that was due for a recipient: prepared, or skipped because there was nothing to tell.

    It was made at `at`, of all that the log held up to `log_position`.
    """

    __tablename__ = "digest"
    __table_args__ = (Index("digest_told", "name", "recipient", "position"),)
    id: str = Field(primary_key=True)
    name: str
    recipient: str
    due: str
    at: str
    position: int
    log_position: int
    skipped: bool
    resent: bool
    missed: str
    matches: int
    message_id: str | None
    subject: str
    template_error: str


class DigestMatchRow(SQLModel, table=True):
    """Which matches a digest holds. One that was refused or cancelled holds none: they are free for the next one."""

    __tablename__ = "digest_match"
    __table_args__ = (Index("digest_match_told", "name", "recipient", "match"),)
    digest: str = Field(primary_key=True)
    match: int = Field(primary_key=True, index=True)
    name: str
    recipient: str


class DeliveryRow(SQLModel, table=True):
    """A prepared digest's way to its recipient. `version` is the version of the digest's stream."""

    __tablename__ = "delivery"
    digest: str = Field(primary_key=True)
    state: str = Field(index=True)
    version: int
    attempts: int
    prepared_at: str
    first_attempt: str | None
    retry_at: str | None
    finished_at: str | None
    answer: str


class NoticeRow(SQLModel, table=True):
    """A notice of troubles to an operator, by its `notice_prepared`: `prepared`, then `sent` or `deferred`.

    `version` is the version of its recipient's stream at which that was recorded.
    """

    __tablename__ = "notice"
    position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    recipient: str = Field(index=True)
    state: str
    version: int
    prepared_at: str
    finished_at: str | None
    retry_at: str | None
    answer: str
    message_id: str
    subject: str


class ToldTroubleRow(SQLModel, table=True):
    """What an operator was told of a trouble last: `untold` (a notice of it was not taken), `standing` or `over`.

    `incidents` counts how often it came back within a week of being over.
    """

    __tablename__ = "told_trouble"
    recipient: str = Field(primary_key=True)
    kind: str = Field(primary_key=True)
    about: str = Field(primary_key=True)
    state: str
    since: str
    told_at: str | None
    over_at: str | None
    incidents: int


class PollRow(SQLModel, table=True):
    """The poll cache: what the next conditional request and the next due time go by. Not rebuilt from the log.

    Each feed that is to be polled has a line, also before its first poll; one that rests has no `next_due`.
    `url` is the address that is asked, `validated_url` the one whose `etag` and `last_modified` these are (another one
    behind a redirect). `move_…` is what good answers in a row say of another address: which, since when, how many.
    `interval_seconds` is the pause that was decided last, by `items_an_hour`, how many new ones the feed brings when it
    is busy, and by `asks`, what its document says of pauses, as JSON. No feed of `paused_host` is asked before
    `paused_until`, which that host said when this one was asked.
    """

    __tablename__ = "poll"
    feed: str = Field(primary_key=True)
    url: str
    etag: str | None = None
    last_modified: str | None = None
    validated_url: str | None = None
    body_sha256: str | None = None
    window: str = "[]"
    polled_at: str | None = Field(default=None, index=True)
    succeeded_at: str | None = None
    next_due: str | None = Field(default=None, index=True)
    failures: int = 0
    move_to_url: str | None = None
    move_since: str | None = None
    move_seen: int = 0
    paused_host: str | None = None
    paused_until: str | None = Field(default=None, index=True)
    interval_seconds: int | None = None
    items_an_hour: float | None = None
    asks: str = "{}"


class BackfillRow(SQLModel, table=True):
    """How far a backfill has come. Not rebuilt from the log: losing it means to begin again, and to find the same.

    `rules_position` is the `rules_changed` that asks for it, `item_position` the last item that was looked at.
    """

    __tablename__ = "backfill"
    rules_position: int = Field(primary_key=True, sa_column_kwargs={"autoincrement": False})
    item_position: int
    items: int


def table_of(row: Any) -> Any:
    """The Core table behind a row class."""
    return SQLModel.metadata.tables[row.__tablename__]
