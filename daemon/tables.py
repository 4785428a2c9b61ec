"""The tables besides the log, as SQLAlchemy's Core has them: what a user sees who opens the database in an SQL tool.

All but `poll` and `backfill` are projections: they hold what the log adds up to and can be made anew from it. `poll` is
a cache of what the next poll goes by; losing it costs one full fetch of each feed. `backfill` is how far one has come.
Times are ISO-8601 text in UTC, because SQLite drops time zones.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import Boolean, Column, Float, Index, Integer, String, Table

from daemon.schemaversion import TABLES

_required = partial(Column, nullable=False)

ITEM = Table(
    "item",
    TABLES,
    Column("id", String, primary_key=True),
    _required("feed", String, index=True),
    Column("guid", String),
    Column("link", String),
    _required("title", String),
    _required("summary", String),
    Column("author", String),
    Column("published", String),
    _required("first_seen", String, index=True),
    _required("changed", String),
    _required("version", Integer),
    _required("position", Integer, index=True),
    _required("text_position", Integer),
    _required("already_there", Boolean),
    _required("redacted", Boolean),
)
"""An item as it stands now. `text_position` is the event that holds its present text in full."""

REVISION = Table(
    "revision",
    TABLES,
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("item", String, index=True),
    _required("feed", String),
    Column("guid", String),
    Column("link", String),
    _required("title", String),
    _required("fingerprint", String),
    Index("revision_guid", "feed", "guid"),
    Index("revision_link", "feed", "link"),
    Index("revision_fingerprint", "feed", "fingerprint"),
)
"""A text that an item has or had: what it is known again by."""

MATCH = Table(
    "match",
    TABLES,
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("claim", String, index=True),
    _required("item", String, index=True),
    _required("feed", String),
    _required("at", String),
    _required("item_version", Integer),
    _required("rules", String),
    _required("already_there", Boolean),
    _required("retroactive", Boolean),
    _required("evidence", String),
    Column("lapsed_at", String),
    _required("current", Boolean),
    Column("reviewed", Integer),
)
"""One item bears on one claim. `evidence` is JSON: terms, fields, spans and the words as they stood.

`current` says whether today's rules make it; one that they don't stands as it was made, under `rules`.
`retroactive` ones were found in what was already here. `reviewed` is the last `match_reviewed` about it.
"""

FEED = Table(
    "feed",
    TABLES,
    Column("id", String, primary_key=True),
    _required("url", String),
    _required("asked_url", String),
    Column("moved", String),
    _required("title", String),
    _required("enabled", Boolean),
    _required("state", String),
    Column("since", String),
    _required("reason", String),
    _required("detail", String),
    _required("hint", String),
    _required("unfit_keys", String),
    Column("unreadable_sha256", String),
    _required("unreadable_detail", String),
    _required("item_count", Integer),
    Column("last_item", String),
    Column("last_gap", String),
)
"""A feed and how it does. `unfit_keys` are what can't identify its items: `guid`, `link` or both.

`url` is the address in feeds.yaml, `asked_url` the one that is asked: another one where the feed moved, at `moved`.
`unreadable_sha256` is the hash of the document that was last given up, as long as no other one was read;
`unreadable_detail` is why.
"""

CLAIM = Table(
    "claim",
    TABLES,
    Column("id", String, primary_key=True),
    _required("statement", String),
    _required("article", String),
    _required("made", String),
    Column("due", String),
    _required("kind", String),
    _required("enabled", Boolean),
    _required("terms", Integer),
    _required("matches", Integer),
    Column("last_match", String),
)
"""A claim and how much was found for it.

`matches` are those that today's rules make, lapsed or not; `last_match` is when the last one was recorded.
"""

SUBSCRIPTION = Table(
    "subscription",
    TABLES,
    Column("digest", String, primary_key=True),
    Column("recipient", String, primary_key=True),
    _required("enabled", Boolean),
    _required("calendar", String),
    _required("since_position", Integer),
    _required("since", String),
    Column("last_due", String),
)
"""Who gets which digest, and from which position of the log on. `calendar` is what its due times follow from."""

RECIPIENT = Table(
    "recipient",
    TABLES,
    Column("id", String, primary_key=True),
    _required("refusals", Integer),
    Column("resting_since", String),
    _required("answer", String),
)
"""Somebody who gets digests.

`refusals` came in a row since the last delivery that was accepted, or since feeds.yaml named them anew; with the
third one they rest. `answer` is what the last refusal said.
"""

DIGEST = Table(
    "digest",
    TABLES,
    Column("id", String, primary_key=True),
    _required("name", String),
    _required("recipient", String),
    _required("due", String),
    _required("at", String),
    _required("position", Integer),
    _required("log_position", Integer),
    _required("skipped", Boolean),
    _required("resent", Boolean),
    _required("missed", String),
    _required("matches", Integer),
    Column("message_id", String),
    _required("subject", String),
    _required("template_error", String),
    Index("digest_told", "name", "recipient", "position"),
)
"""A digest that was due for a recipient: prepared, or skipped because there was nothing to tell.

It was made at `at`, of all that the log held up to `log_position`.
"""

DIGEST_MATCH = Table(
    "digest_match",
    TABLES,
    Column("digest", String, primary_key=True),
    Column("match", Integer, primary_key=True, index=True),
    _required("name", String),
    _required("recipient", String),
    Index("digest_match_told", "name", "recipient", "match"),
)
"""Which matches a digest holds. One that was refused or cancelled holds none: they are free for the next one."""

DELIVERY = Table(
    "delivery",
    TABLES,
    Column("digest", String, primary_key=True),
    _required("state", String, index=True),
    _required("version", Integer),
    _required("attempts", Integer),
    _required("prepared_at", String),
    Column("first_attempt", String),
    Column("retry_at", String),
    Column("finished_at", String),
    _required("answer", String),
)
"""A prepared digest's way to its recipient. `version` is the version of the digest's stream."""

NOTICE = Table(
    "notice",
    TABLES,
    Column("position", Integer, primary_key=True, autoincrement=False),
    _required("recipient", String, index=True),
    _required("state", String),
    _required("version", Integer),
    _required("prepared_at", String),
    Column("finished_at", String),
    Column("retry_at", String),
    _required("answer", String),
    _required("message_id", String),
    _required("subject", String),
)
"""A notice of troubles to an operator, by its `notice_prepared`: `prepared`, then `sent` or `deferred`.

`version` is the version of its recipient's stream at which that was recorded.
"""

TOLD_TROUBLE = Table(
    "told_trouble",
    TABLES,
    Column("recipient", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("about", String, primary_key=True),
    _required("state", String),
    _required("since", String),
    Column("told_at", String),
    Column("over_at", String),
    _required("incidents", Integer),
)
"""What an operator was told of a trouble last: `untold` (a notice of it was not taken), `standing` or `over`.

`incidents` counts how often it came back within a week of being over.
"""

POLL = Table(
    "poll",
    TABLES,
    Column("feed", String, primary_key=True),
    _required("url", String),
    Column("etag", String),
    Column("last_modified", String),
    Column("validated_url", String),
    Column("body_sha256", String),
    _required("window", String, default="[]"),
    Column("polled_at", String, index=True),
    Column("succeeded_at", String),
    Column("next_due", String, index=True),
    _required("failures", Integer, default=0),
    Column("move_to_url", String),
    Column("move_since", String),
    _required("move_seen", Integer, default=0),
    Column("paused_host", String),
    Column("paused_until", String, index=True),
    Column("interval_seconds", Integer),
    Column("items_an_hour", Float),
    _required("asks", String, default="{}"),
)
"""The poll cache: what the next conditional request and the next due time go by. Not rebuilt from the log.

Each feed that is to be polled has a line, also before its first poll; one that rests has no `next_due`.
`url` is the address that is asked, `validated_url` the one whose `etag` and `last_modified` these are (another one
behind a redirect). `move_…` is what good answers in a row say of another address: which, since when, how many.
`interval_seconds` is the pause that was decided last, by `items_an_hour`, how many new ones the feed brings when it
is busy, and by `asks`, what its document says of pauses, as JSON. No feed of `paused_host` is asked before
`paused_until`, which that host said when this one was asked.
"""

BACKFILL = Table(
    "backfill",
    TABLES,
    Column("rules_position", Integer, primary_key=True, autoincrement=False),
    _required("item_position", Integer),
    _required("items", Integer),
)
"""How far a backfill has come. Not rebuilt from the log: losing it means to begin again, and to find the same.

`rules_position` is the `rules_changed` that asks for it, `item_position` the last item that was looked at.
"""
