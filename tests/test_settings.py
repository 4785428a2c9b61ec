"""feeds.yaml and the seeds: what they mean, where they are looked for, and what is said of every mistake in them."""

from __future__ import annotations

import os
from datetime import date, timedelta
from pathlib import Path

import pytest

from daemon.databases import Postgresql
from daemon.errors import ConfigError, Problem
from daemon.notices import Operator
from daemon.rules import DigestRule, TermRule, recipient_id
from daemon.settings import Polling, Settings, Smtp, default_state, find_config, load, shipped
from daemon.yamlfiles import nearest

REPOSITORY = Path(__file__).resolve().parents[1]

SEED = """\
title: A Made-Up Article
author: An Author
publisher: A Publisher
date: 2025-03-20
claims:
  harbour-opens:
    statement: The harbour
      opens again.
    made: 2025-03-19
    kind: prediction
"""


def settings(folder: Path, text: str | bytes = "feeds: {}", seeds: dict[str, str] | None = None) -> Settings:
    """feeds.yaml of this text in a folder, with these seeds beside it, loaded."""
    config = folder / "feeds.yaml"
    config.write_bytes(text if isinstance(text, bytes) else text.encode())
    for name, seed in (seeds or {}).items():
        (folder / "seeds").mkdir(exist_ok=True)
        (folder / "seeds" / name).write_text(seed, encoding="utf-8")
    return load(config, folder / "state")


def problems(folder: Path, text: str | bytes, seeds: dict[str, str] | None = None) -> list[Problem]:
    """What is wrong with such a feeds.yaml and seeds."""
    with pytest.raises(ConfigError) as caught:
        settings(folder, text, seeds)
    return caught.value.problems


def places(found: list[Problem]) -> list[tuple[int, int, str]]:
    return [(problem.line, problem.column, problem.message) for problem in found]


def digest_of(folder: Path, text: str) -> DigestRule:
    return settings(folder, f"digests:\n  daily: {{{text}}}\n").rules.digests[0]


# ── what is said of a mistake ────────────────────────────────────────────────────────────────────────────────────

MISTAKES = {
    "an unknown key at the top": ("feds: {}\n", 1, 1, "unknown key 'feds'", "Did you mean 'feeds'?"),
    "an unknown key of a feed": (
        "feeds:\n  a: {url: 'https://a.example/', evry: 1h}\n",
        *(2, 34, "unknown key 'evry'", "Did you mean 'every'?"),
    ),
    "an unknown key of a claim": (
        "claims:\n  black-sea-group:\n    term: x\n",
        *(3, 5, "unknown key 'term'", "Did you mean 'terms'?"),
    ),
    "an unknown key of a term": (
        "claims:\n  black-sea-group:\n    terms:\n      - {term: x, stanse: supports}\n",
        *(4, 19, "unknown key 'stanse'", "Did you mean 'stance'?"),
    ),
    "an unknown key of a digest": (
        "digests:\n  daily: {at: 7:30, time_zone: UTC}\n",
        *(2, 21, "unknown key 'time_zone'", "Did you mean 'timezone'?"),
    ),
    "an unknown key of mail, by the name it has in the file": (
        "mail:\n  form: a@b.example\n",
        *(2, 3, "unknown key 'form'", "Did you mean 'from'?"),
    ),
    "an unknown key of the mail server": (
        "mail:\n  smtp: {host: m, prot: 25}\n",
        *(2, 19, "unknown key 'prot'", "Did you mean 'port'?"),
    ),
    "an unknown key of polling": ("polling: {time: 1m}\n", 1, 11, "unknown key 'time'", "Did you mean 'timeout'?"),
    "an unknown key like no other": (
        "mail: {xyz: 1}\n",
        *(1, 8, "unknown key 'xyz'", "There is: from, maildir, smtp, unsubscribe."),
    ),
    "a key that stands twice": (
        "feeds:\n  a: https://a.example/\n  a: https://b.example/\n",
        *(3, 3, "'a' stands here twice", "It stands in line 2 already; the second one would silently win."),
    ),
    "a section that stands twice": (
        "feeds: {}\nwords: {}\nfeeds: {}\n",
        *(3, 1, "'feeds' stands here twice", "It stands in line 1 already; the second one would silently win."),
    ),
    "a login in an address": (
        "feeds:\n  a: https://me:s3cret@a.example/rss\n",
        *(
            2,
            6,
            "feeds.a.url: the address at a.example holds a login",
            "Put user:password into a file: auth_file: FILE.",
        ),
    ),
    "a private host with more than its name": (
        "polling: {allow_private: 'http://intranet.example:8080'}\n",
        *(1, 26, "polling.allow_private.0: 'http://intranet.example:8080' is no host"),
        "Write it as it stands in the feed's address, without http:// and port.",
    ),
    "a proxy with a path": (
        "polling: {proxy: 'http://proxy.example/there'}\n",
        *(1, 18, "polling.proxy: 'http://proxy.example/there' is no proxy", "Write it as http://HOST:PORT."),
    ),
    "metrics at a port alone": (
        "metrics: 9464\n",
        *(
            1,
            10,
            "metrics: 9464 is no address of this machine with a port",
            "Such as 127.0.0.1:9464, for this machine alone.",
        ),
    ),
    "metrics at another's name": (
        "metrics: example.org:9464\n",
        *(
            1,
            10,
            "metrics: example.org:9464 is no address of this machine with a port",
            "Such as 127.0.0.1:9464, for this machine alone.",
        ),
    ),
    "a duration without a unit": (
        "polling: {every: 15}\n",
        *(1, 18, "polling.every: '15' is no duration", "Write a number and a unit, such as 15m, 6h or 1d."),
    ),
    "a duration of a fraction": (
        "polling: {timeout: 1.5h}\n",
        *(1, 20, "polling.timeout: '1.5h' is no duration", "Write a number and a unit, such as 15m, 6h or 1d."),
    ),
    "an interval too short": (
        "feeds:\n  a: {url: 'https://a.example/', every: 59s}\n",
        *(2, 41, "feeds.a.every: too often", "Ask a feed once a minute at most (1m); 15m is usual."),
    ),
    "a zone by half a name": (
        "digests:\n  d: {at: 7:30, timezone: europe/kyiv}\n",
        *(2, 27, "digests.d.timezone: there is no time zone 'europe/kyiv'", "Did you mean 'Europe/Kyiv'?"),
    ),
    "a zone by its abbreviation, which may be that of another": (
        "digests:\n  d: {at: 7:30, timezone: CEST}\n",
        *(2, 27, "digests.d.timezone: there is no time zone 'CEST'"),
        "Write it as Continent/City, such as Europe/Kyiv.",
    ),
    "an hour after the last": (
        "digests:\n  d: {at: 24:00}\n",
        *(2, 11, "digests.d.at: '24:00' is no time of day", 'Write it as "07:30".'),
    ),
    "a cron line of four fields": (
        "digests:\n  d: {cron: 30 7 * *}\n",
        *(2, 13, "digests.d.cron: '30 7 * *' is no cron line", "Five fields: minute hour day month weekday."),
    ),
    "a cron line with seconds": (
        "digests:\n  d: {cron: 0 30 7 * * *}\n",
        *(2, 13, "digests.d.cron: '0 30 7 * * *' is no cron line", "Five fields: minute hour day month weekday."),
    ),
    "a cron line that never comes": (
        "digests:\n  d: {cron: 0 0 30 2 *}\n",
        *(2, 13, "digests.d.cron: '0 0 30 2 *' is no cron line", "Five fields: minute hour day month weekday."),
    ),
    "a digest without a time": (
        "digests:\n  d: {to: a@b.example}\n",
        *(2, 6, "digests.d: it needs a time"),
        'Write either at: "07:30" (with days: if not every day), cron: "30 7 * * 1-5", or every: 15m (alerts).',
    ),
    "a digest with two times": (
        "digests:\n  d: {at: 7:30, cron: 30 7 * * *}\n",
        *(2, 6, "digests.d: it needs a time"),
        'Write either at: "07:30" (with days: if not every day), cron: "30 7 * * 1-5", or every: 15m (alerts).',
    ),
    "days beside a cron line": (
        "digests:\n  d: {cron: 30 7 * * *, days: [mon]}\n",
        *(2, 6, "digests.d: days: goes with at:", "With cron:, the days are its fifth field."),
    ),
    "a feed address without its scheme": (
        "feeds:\n  a: news.example/rss\n",
        *(2, 6, "feeds.a.url: 'news.example/rss' is no web address", "Write it whole, with https:// before it."),
    ),
    "a feed address of another scheme": (
        "feeds:\n  a: ftp://news.example/rss\n",
        *(2, 6, "feeds.a.url: 'ftp://news.example/rss' is no web address", "Write it whole, with https:// before it."),
    ),
    "a feed address with a blank": (
        "feeds:\n  a: {url: 'https://news.example/r ss'}\n",
        *(2, 12, "feeds.a.url: 'https://news.example/r ss' is no web address"),
        "Write it whole, with https:// before it.",
    ),
    "a feed without an address": (
        "feeds:\n  a: {title: A}\n",
        *(2, 3, "'url' is missing", "Write url: its address, whole, with https:// before it."),
    ),
    "a recipient with a name": (
        "digests:\n  d: {at: 7:30, to: 'Me <me@news.example>'}\n",
        *(2, 21, "digests.d.to.0: 'Me <me@news.example>' is no mail address", "Write it bare: name@example.org"),
    ),
    "a mail address without a domain": (
        "digests:\n  d: {at: 7:30, to: [me@b.example, nobody]}\n",
        *(2, 36, "digests.d.to.1: 'nobody' is no mail address", "Write it bare: name@example.org"),
    ),
    "alerts with a time": (
        "digests:\n  d: {at: 7:30, every: 15m}\n",
        *(2, 6, "digests.d: it needs a time"),
        'Write either at: "07:30" (with days: if not every day), cron: "30 7 * * 1-5", or every: 15m (alerts).',
    ),
    "alerts on some days": (
        "digests:\n  d: {every: 15m, days: [mon]}\n",
        *(2, 6, "digests.d: days: goes with at:", "Alerts come on any day; quiet: holds them for some hours."),
    ),
    "alerts too often": (
        "digests:\n  d: {every: 30s}\n",
        *(2, 14, "digests.d.every: too often", "Once a minute at most (1m); 15m is usual for alerts."),
    ),
    "alerts too seldom": (
        "digests:\n  d: {every: 2d}\n",
        *(2, 14, "digests.d.every: too seldom for alerts"),
        'Write a time instead: at: "07:30", with days: if not every day.',
    ),
    "alerts that want to be sent empty": (
        "digests:\n  d: {every: 15m, when_empty: send}\n",
        *(2, 6, "digests.d: when_empty: goes with at: or cron:"),
        "Alerts come only when something is new; a second digest with a time can tell of the quiet days.",
    ),
    "a limit of a digest with a time": (
        "digests:\n  d: {at: 7:30, at_most: 6/day}\n",
        *(2, 6, "digests.d: at_most: goes with every:"),
        "A digest with a time comes at that time; take the line out.",
    ),
    "a limit of alerts an hour": (
        "digests:\n  d: {every: 15m, at_most: 6/hour}\n",
        *(2, 28, "digests.d.at_most: '6/hour' is no number a day", "Write it as 6/day."),
    ),
    "a limit of none": (
        "digests:\n  d: {every: 15m, at_most: 0/day}\n",
        *(2, 28, "digests.d.at_most: '0/day' is no number a day", "Write it as 6/day."),
    ),
    "quiet hours without an end": (
        "digests:\n  d: {at: 7:30, quiet: 22:00}\n",
        *(2, 24, "digests.d.quiet: '22:00' is no stretch of the day", 'Write it as "22:00-07:00".'),
    ),
    "quiet hours to a time that there is not": (
        "digests:\n  d: {at: 7:30, quiet: 22:00-7}\n",
        *(2, 24, "digests.d.quiet: '7' is no time of day", 'Write it as "07:30".'),
    ),
    "quiet hours all day": (
        "digests:\n  d: {at: 7:30, quiet: 7:00 – 07:00}\n",
        *(2, 24, "digests.d.quiet: it leaves no hour in which a mail could come"),
        "To rest a digest, write enabled: false.",
    ),
    "a digest in its own quiet hours": (
        "digests:\n  d:\n    at: 6:45\n    quiet: 22:00-07:00\n",
        *(4, 12, "the digest is always due within its quiet hours, 22:00-07:00"),
        "Give it a time outside of them, or take quiet: out.",
    ),
    "a digest on a claim that is not watched": (
        "claims:\n  black-sea-group: {terms: x}\ndigests:\n  d: {at: 7:30, claims: [black-sea-grup]}\n",
        *(4, 26, "no claim 'black-sea-grup' is watched here", "Did you mean 'black-sea-group'?"),
    ),
    "a claim that no seed has": (
        "claims:\n  prisoner-exchnge: {terms: x}\n",
        *(
            2,
            3,
            "no seed has the claim 'prisoner-exchnge'; its 1 term belongs to no claim",
            "Did you mean 'prisoner-exchange'?",
        ),
    ),
    "a mail server and nobody to write to": (
        "digests:\n  d: {at: 7:30}\nmail: {smtp: {host: mail.example}}\n",
        *(2, 3, "the digest 'd' goes to nobody"),
        "With a mail server, name the recipients: to: [name@example.org]",
    ),
    "a user name without a password": (
        "mail: {smtp: {host: mail.example, username: me}}\n",
        *(1, 45, "a user name without a password"),
        "Put it into a file that only this user reads, and name it: password_file: FILE",
    ),
    "a database of another kind": (
        "database: mysql://me:secret@localhost/claimwatch\n",
        *(1, 11, "database.url: there is no log in mysql"),
        "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE, or leave it out for a file in the state directory.",
    ),
    "a database of another driver": (
        "database: {url: postgresql+asyncpg://localhost/claimwatch}\n",
        *(1, 17, "database.url: there is no log in postgresql+asyncpg"),
        "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE, or leave it out for a file in the state directory.",
    ),
    "a database without a file": (
        "database: 'sqlite:///'\n",
        *(1, 11, "database.url: no SQLite file"),
        "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE, or leave it out for a file in the state directory.",
    ),
    "a server without a database": (
        "database: postgresql://localhost\n",
        *(1, 11, "database.url: no PostgreSQL database"),
        "Write sqlite:///FILE or postgresql://USER@HOST/DATABASE, or leave it out for a file in the state directory.",
    ),
    "a database's password that breaks its address": (
        "database: postgresql://me:se@cret@localhost/claimwatch\n",
        *(1, 11, "database.url: no address of a database"),
        "In a user's name and a password, write @ as %40, : as %3A, / as %2F, ? as %3F, % as %25.",
    ),
    "a database's password behind the question mark": (
        "database: postgresql://localhost/claimwatch?password=secret\n",
        *(1, 11, "database.url: password stands behind the ?"),
        "Put the password into a file: password_file: FILE",
    ),
    "a password for a file": (
        "database: {url: 'sqlite:///watch.db', password_file: secret}\n",
        *(1, 54, "an SQLite file has no password"),
        "Take the line out.",
    ),
    "a database's password file without a user": (
        "database: {url: 'postgresql://localhost/claimwatch', password_file: secret}\n",
        *(1, 69, "a password file beside an address with a password, or without a user"),
        "Write postgresql://USER@HOST/DATABASE: the user's name in the address, the password in the file alone.",
    ),
    "a tab": (
        "feeds:\n\ta: https://a.example/\n",
        *(2, 1, "is no YAML: a tab stands here", "Indent with spaces."),
    ),
    "a tab behind spaces": (
        "feeds:\n  a: https://a.example/\n  \tb: https://b.example/\n",
        *(3, 3, "is no YAML: a tab stands here", "Indent with spaces."),
    ),
    "a tab in a text block": (
        "claims:\n  black-sea-group:\n    terms: |\n      sea\n\tships\n",
        *(5, 1, "is no YAML: a tab stands here", "Indent with spaces."),
    ),
    "a text with a colon": (
        "feeds:\n  a: {url: 'https://a.example/'}\n  b:\n    title: DW: World\n",
        *(4, 14, "is no YAML: a second colon stands here", "Put the text in quotes."),
    ),
    "a text that ends with a colon": (
        "words:\n  pause: said:\n",
        *(2, 14, "is no YAML: a second colon stands here", "Put the text in quotes."),
    ),
    "a line too deep": (
        "feeds: {}\n  words: {}\n",
        *(2, 3, "is no YAML: did not find expected key", "Check indentation and quotes."),
    ),
    "a line too deep with a colon in its text": (
        "polling:\n  every: 1h\n    proxy: 'http: 1'\n",
        *(3, 10, "is no YAML: mapping values are not allowed in this context", "Check indentation and quotes."),
    ),
    "two documents": (
        "feeds: {}\n---\nfeeds: {}\n",
        *(2, 1, "is no YAML: but found another document", "Check indentation and quotes."),
    ),
}


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    list(MISTAKES.values()),
    ids=[name.replace(" ", "_") for name in MISTAKES],
)
def test_a_mistake_is_told_with_its_place_and_its_mend(
    tmp_path: Path, text: str, line: int, column: int, message: str, hint: str
) -> None:
    assert problems(tmp_path, text) == [Problem(str(tmp_path / "feeds.yaml"), line, column, message, hint)]


KEYS_ARE_MISSING = "Write `key: …` lines indented under it."
TERM_IS_MISSING = (
    "Write term: words that a headline would have, near each other, in any inflected form; "
    '"…" is a phrase, ( OR ) alternatives, -word excludes.'
)
ONE_VALUE = "Write it on the line of its key."


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("feeds: [a]\n", 1, 8, "feeds: holds no keys", KEYS_ARE_MISSING),
        ("claims:\n  black-sea-group: sea\n", 2, 20, "claims.black-sea-group: holds no keys", KEYS_ARE_MISSING),
        ("hello\n", 1, 1, "holds no keys", KEYS_ARE_MISSING),
        ("feeds:\n  a: {url: [x]}\n", 2, 12, "feeds.a.url: must be one value", ONE_VALUE),
        ("feeds:\n  a: {url: }\n", 2, 12, "feeds.a.url: is empty", ONE_VALUE),
        ("mail: {smtp: {host: m, port: 99999}}\n", 1, 30, "mail.smtp.port: 99999 is too large", "Write 65535 at most."),
        (
            "polling: {most_bytes: 10}\n",
            *(1, 23, "polling.most_bytes: 10 is too small", "Write 10000 at least."),
        ),
        (
            "mail: {smtp: {host: m, security: ssl}}\n",
            *(1, 34, "mail.smtp.security: unknown value 'ssl'", "There is: none, starttls, tls."),
        ),
        (
            "polling: {most_bytes: 10MB}\n",
            *(1, 23, "polling.most_bytes: '10MB' is no whole number", "Write it in digits alone."),
        ),
        (
            "feeds:\n  a: {url: 'https://a.example/', enabled: maybe}\n",
            *(2, 43, "feeds.a.enabled: 'maybe' is neither true nor false", "Write true or false."),
        ),
        ("words: {pause: ['?!']}\n", 1, 17, "words.pause.0: there is no word in '?!'", ""),
        (
            "words: {pause: {a: b}}\n",
            *(1, 16, "words.pause: is no list", "Write it as [one, another], or in lines that begin with -."),
        ),
        (
            "claims:\n  black-sea-group:\n    terms:\n      - {term: x, stance: suports}\n",
            *(4, 27, "claims.black-sea-group.terms.0.stance: unknown value 'suports'", "Did you mean 'supports'?"),
        ),
        (
            "claims:\n  black-sea-group:\n    terms:\n      - stance: supports\n",
            *(4, 9, "'term' is missing", TERM_IS_MISSING),
        ),
        (
            "database: {password_file: secret}\n",
            *(1, 1, "'url' is missing", "Write url: sqlite:///FILE or postgresql://USER@HOST/DATABASE."),
        ),
        ("mail: {smtp: {port: 25}}\n", 1, 8, "'host' is missing", "Write host: its name."),
        (
            "digests:\n  d: {at: 7:30, days: [monday]}\n",
            *(2, 24, "digests.d.days.0: unknown value 'monday'", "Did you mean 'mon'?"),
        ),
        ("feeds:\n  a: 'https://[::1'\n", 2, 6, "feeds.a.url: 'https://[::1' is no address: Invalid IPv6 URL", ""),
        (
            "feeds:\n  a: https://a.example:99999/\n",
            *(2, 6, "feeds.a.url: 'https://a.example:99999/' is no address: Port out of range 0-65535", ""),
        ),
    ],
)
def test_a_value_of_the_wrong_type_is_told_at_its_place_with_its_mend(
    tmp_path: Path, text: str, line: int, column: int, message: str, hint: str
) -> None:
    assert problems(tmp_path, text) == [Problem(str(tmp_path / "feeds.yaml"), line, column, message, hint)]


@pytest.mark.parametrize("text", ["- a\n", "hello\n"])
def test_a_file_that_is_no_mapping_is_refused_at_its_first_line(tmp_path: Path, text: str) -> None:
    assert [(one.line, one.column) for one in problems(tmp_path, text)] == [(1, 1)]


def test_a_key_with_a_blank_is_told_at_the_key(tmp_path: Path) -> None:
    found = problems(tmp_path, "feeds:\n  The Gazette: https://a.example/\n")
    assert [(one.line, one.column) for one in found] == [(2, 3)]


def test_a_key_with_a_blank_is_answered_with_what_a_key_may_hold(tmp_path: Path) -> None:
    assert problems(tmp_path, "feeds:\n  The Gazette: https://a.example/\n")[0].hint != ""


@pytest.mark.parametrize("text", ["feeds: &a {x: *a}\n", "words: &w [*w]\n"])
def test_an_alias_inside_itself_is_a_problem_and_no_crash(tmp_path: Path, text: str) -> None:
    assert len(problems(tmp_path, text)) >= 1


def test_a_key_that_is_a_list_is_shown_without_the_parser_inside_it(tmp_path: Path) -> None:
    assert "ScalarNode" not in str(problems(tmp_path, "[a, b]: c\n")[0])


def test_an_alias_stands_for_what_it_names(tmp_path: Path) -> None:
    feeds = settings(tmp_path, "feeds:\n  a: &same https://a.example/\n  b: *same\n").rules.feeds
    assert [feed.url for feed in feeds] == ["https://a.example/", "https://a.example/"]


def test_a_timeout_of_nothing_is_refused(tmp_path: Path) -> None:
    assert places(problems(tmp_path, "polling: {timeout: 0s}\n"))[0][:2] == (1, 20)


def test_an_interval_of_ages_is_refused(tmp_path: Path) -> None:
    """It would be more than a date can be moved by."""
    assert places(problems(tmp_path, "polling: {every: 9999999999999d}\n"))[0][:2] == (1, 18)


# ── all at once ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_mistakes_of_every_kind_are_told_at_once(tmp_path: Path) -> None:
    text = """\
feds: {}
polling: {every: often}
claims:
  no-such-claim: {terms: x}
  black-sea-group:
    terms: |
      (sea
digests:
  daily: {at: 7:30, claims: [black-see-group]}
database: mysql://x
"""
    assert places(problems(tmp_path, text)) == [
        (1, 1, "unknown key 'feds'"),
        (2, 18, "polling.every: 'often' is no duration"),
        (4, 3, "no seed has the claim 'no-such-claim'; its 1 term belongs to no claim"),
        (7, 7, "this term can't be read: this ( is never closed"),
        (9, 30, "no claim 'black-see-group' is watched here"),
        (10, 11, "database.url: there is no log in mysql"),
    ]


def test_a_key_that_stands_twice_hides_no_other_mistake(tmp_path: Path) -> None:
    text = "polling: {every: 1h, every: 2h}\nfeds: {}\nclaims: {black-sea-group: {terms: '(sea'}}\n"
    assert places(problems(tmp_path, text)) == [
        (1, 22, "'every' stands here twice"),
        (2, 1, "unknown key 'feds'"),
        (3, 36, "this term can't be read: this ( is never closed"),
    ]


def test_mistakes_that_pydantic_does_not_see_are_told_together(tmp_path: Path) -> None:
    text = """\
claims:
  no-such-claim: {terms: "(x"}
digests:
  daily: {at: 7:30, claims: nothing}
mail: {smtp: {host: m, username: me}}
database: x
"""
    assert [message for _, _, message in places(problems(tmp_path, text))] == [
        "no seed has the claim 'no-such-claim'; its 1 term belongs to no claim",
        "this term can't be read: this ( is never closed",
        "the digest 'daily' goes to nobody",
        "no claim 'nothing' is watched here",
        "a user name without a password",
        "database.url: no address of a database",
    ]


def test_mistakes_in_feeds_and_in_seeds_are_told_together(tmp_path: Path) -> None:
    found = problems(tmp_path, "feds: {}\n", {"made-up.yaml": SEED.replace("prediction", "guess")})
    assert [(Path(one.file).name, one.line, one.column) for one in found] == [
        ("feeds.yaml", 1, 1),
        ("made-up.yaml", 10, 11),
    ]


def test_a_mistake_in_a_seed_is_not_told_again_as_a_claim_that_no_seed_has(tmp_path: Path) -> None:
    found = problems(
        tmp_path, "claims: {harbour-opens: {terms: harbour}}\n", {"made-up.yaml": SEED.replace("prediction", "guess")}
    )
    assert [Path(one.file).name for one in found] == ["made-up.yaml"]


def test_the_error_counts_its_problems_and_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, "feds: {}\nwrds: {}\n")
    file = tmp_path / "feeds.yaml"
    assert str(caught.value) == (
        f"{file}:1:1: unknown key 'feds'\n    Did you mean 'feeds'?\n"
        f"{file}:2:1: unknown key 'wrds'\n    Did you mean 'words'?\n"
        "  2 problems; mend, then try `claimwatch check`."
    )


def test_nothing_to_choose_from_makes_no_hint() -> None:
    assert nearest("word", []) == ""


# ── terms that can't be read ─────────────────────────────────────────────────────────────────────────────────────


def term_problem(folder: Path, terms: str) -> Problem:
    (found,) = problems(folder, f"claims:\n  black-sea-group:\n    terms: {terms}")
    return found


def test_a_bad_term_in_a_block_is_told_at_its_line_and_column_with_a_caret(tmp_path: Path) -> None:
    found = term_problem(tmp_path, '|\n      sea group\n\n      # ships\n      ships "Black Sea\n')
    assert found.message == "this term can't be read: this quote is never closed"
    assert (found.line, found.column) == (7, 13)
    assert found.hint == 'ships "Black Sea\n          ^ Close the phrase with ".'


def test_the_caret_stands_under_the_fault_as_printed(tmp_path: Path) -> None:
    lines = str(term_problem(tmp_path, "|\n      sea (group\n")).splitlines()
    assert lines[1].index("(") == lines[2].index("^")


@pytest.mark.parametrize(
    ("rows", "line"),
    [
        (["(sea OR ocean) group", "(sea"], 5),
        (["# not (sea", "(sea"], 5),
        (["group # of (sea", "ships", "(sea"], 6),
        (["ships", "", "(sea"], 6),
        (["(sea"], 4),
    ],
)
def test_a_bad_term_that_other_lines_hold_too_is_told_at_its_own_line(
    tmp_path: Path, rows: list[str], line: int
) -> None:
    block = "".join(f"      {row}\n" if row else "\n" for row in rows)
    found = term_problem(tmp_path, f"|\n{block}")
    assert (found.line, found.column) == (line, 7)


def test_a_bad_term_that_its_own_key_line_holds_too_is_told_at_its_own_line(tmp_path: Path) -> None:
    found = term_problem(tmp_path, "| # such as (sea OR ocean)\n      (sea\n")
    assert (found.line, found.column) == (4, 7)


def test_a_bad_term_is_told_at_its_line_in_a_file_with_crlf(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, b"claims:\r\n  black-sea-group:\r\n    terms: |\r\n      sea\r\n      sea (x\r\n")
    assert (found.line, found.column) == (5, 11)


@pytest.mark.parametrize(
    ("terms", "line", "column"),
    [
        ("'(sea'\n", 3, 13),
        ("\n      - sea\n      - '(sea'\n", 5, 10),
        ("\n      - {stance: supports, term: (sea}\n", 4, 34),
        ("\n      - stance: supports\n        term: sea (x\n", 5, 19),
        ("['']\n", 3, 13),
    ],
)
def test_a_bad_term_in_another_form_is_told_at_its_place(tmp_path: Path, terms: str, line: int, column: int) -> None:
    found = term_problem(tmp_path, terms)
    assert (found.line, found.column) == (line, column)


def test_a_bad_term_written_with_escapes_is_told_at_its_value(tmp_path: Path) -> None:
    text = 'claims:\n  black-sea-group: {terms: ["\\u0028sea"]}\n  prisoner-exchange: {terms: x}\n# (sea\n'
    (found,) = problems(tmp_path, text)
    assert found.line == 2


def test_every_bad_term_is_told(tmp_path: Path) -> None:
    text = "claims:\n  black-sea-group:\n    terms: |\n      (a\n      b\n      )c\n      AND d\n      x:y\n      -e\n"
    assert [one.line for one in problems(tmp_path, text)] == [4, 6, 7, 8, 9]


@pytest.mark.parametrize(
    "claims", ["x", "[a]", "{black-sea-group: x}", "{black-sea-group: [x]}", "{black-sea-group: {terms: [[a]]}}"]
)
def test_claims_of_a_wrong_shape_are_a_problem_and_no_crash(tmp_path: Path, claims: str) -> None:
    assert [one.line for one in problems(tmp_path, f"claims: {claims}\n")] == [1]


@pytest.mark.parametrize(
    "terms",
    [
        "\n      sea group\n      ships\n",
        "sea group\n      ships\n",
        "'sea group\n      ships'\n",
        '"sea group\n      ships (sea"\n',
        ">\n      sea group\n      ships\n",
        ">-\n\n      sea group\n\n      ships\n",
    ],
)
def test_terms_in_lines_that_yaml_makes_one_are_refused(tmp_path: Path, terms: str) -> None:
    found = term_problem(tmp_path, terms)
    assert found.message == "claims.black-sea-group.terms: several lines without |"
    assert found.hint == "Write terms: |, or the lines become one term."
    assert found.line == (4 if terms[0] == "\n" else 3)


@pytest.mark.parametrize(
    "terms",
    [
        "sea group\n\n\n",
        "\n      sea group\n",
        ">\n      sea group\n\n    # ships\n",
        "|\n      sea group\n",
        "\n      - sea\n        group\n",
    ],
)
def test_one_term_may_be_written_in_any_way(tmp_path: Path, terms: str) -> None:
    loaded = settings(tmp_path, f"claims:\n  black-sea-group:\n    terms: {terms}")
    assert loaded.rules.claims[0].terms == (TermRule("sea group"),)


@pytest.mark.parametrize(
    ("terms", "places"),
    [
        ("|\n      peace or talks\n      # x or y\n      sea Not ships\n", [(4, 13, "or"), (6, 11, "Not")]),
        ("peace and talks\n", [(3, 18, "and")]),
        ("\n      - {term: peace or talks}\n      - sea or ships\n", [(4, 22, "or"), (5, 13, "or")]),
    ],
)
def test_an_operator_in_small_letters_is_noted_at_its_place(
    tmp_path: Path, terms: str, places: list[tuple[int, int, str]]
) -> None:
    notes = settings(tmp_path, f"claims:\n  black-sea-group:\n    terms: {terms}").term_notes
    assert notes == tuple(
        Problem(
            str(tmp_path / "feeds.yaml"),
            *(line, column),
            f"{word!r} is looked for as a word here; write {word.upper()} (or ={word} to mean the word)",
        )
        for line, column, word in places
    )


@pytest.mark.parametrize(
    ("written", "zone"),
    [
        ("Kyiv", "Europe/Kyiv"),
        ("Kiev", "Europe/Kyiv"),
        ("Europe/Kyev", "Europe/Kyiv"),
        ("New York", "America/New_York"),
        ("utc", "UTC"),
    ],
)
def test_a_zone_is_offered_by_its_city(tmp_path: Path, written: str, zone: str) -> None:
    (found,) = problems(tmp_path, f"digests:\n  d: {{at: 7:30, timezone: {written}}}\n")
    assert found.hint == f"Did you mean {zone!r}?"


@pytest.mark.parametrize("written", ["CEST", "cst", "EDT", "msk", "MSK", "UTC+2", "Nowhere", "''"])
def test_no_zone_is_offered_for_what_may_be_another(tmp_path: Path, written: str) -> None:
    (found,) = problems(tmp_path, f"digests:\n  d: {{at: 7:30, timezone: {written}}}\n")
    assert found.hint == "Write it as Continent/City, such as Europe/Kyiv."


# ── what YAML makes of it ────────────────────────────────────────────────────────────────────────────────────────


def test_a_time_without_quotes_stays_a_time(tmp_path: Path) -> None:
    assert digest_of(tmp_path, "at: 22:00").cron == "0 22 * * *"


@pytest.mark.parametrize(
    ("written", "cron"),
    [
        ('at: "07:30"', "30 7 * * *"),
        ("at: 7:05", "5 7 * * *"),
        ("at: 18:00, days: [sun]", "0 18 * * 0"),
        ("at: 18:00, days: sat", "0 18 * * 6"),
        ("at: 0:00, days: [mon, thu]", "0 0 * * 1,4"),
        ("cron: 30 7 * * 1-5", "30 7 * * 1-5"),
    ],
)
def test_a_digest_has_a_calendar(tmp_path: Path, written: str, cron: str) -> None:
    assert digest_of(tmp_path, written).cron == cron


@pytest.mark.parametrize(
    ("written", "seconds"), [("60s", 60), ("15m", 900), ("6h", 21_600), ("1d", 86_400), ("2 h", 7200)]
)
def test_a_duration_carries_its_unit(tmp_path: Path, written: str, seconds: int) -> None:
    feeds = settings(tmp_path, f"feeds:\n  a: {{url: 'https://a.example/', every: {written}}}\n").rules.feeds
    assert feeds[0].interval_seconds == seconds


@pytest.mark.parametrize(
    ("polling", "feed", "shortest", "longest"),
    [
        ("", "", 300, 1800),
        ("every: 15m", "", 900, 900),
        ("min: 10m, max: 2h", "", 600, 7200),
        ("min: 1h", "", 3600, 3600),
        ("max: 2m", "", 120, 120),
        ("min: 10m, max: 2h", "every: 15m", 900, 900),
        ("every: 15m", "every: 1h", 3600, 3600),
        ("min: 10m, max: 2h", "min: 20m", 1200, 7200),
        ("min: 10m, max: 2h", "min: 6h", 21_600, 21_600),
        ("min: 10m, max: 2h", "max: 1h", 600, 3600),
        ("min: 10m, max: 2h", "max: 5m", 300, 300),
        ("min: 10m, max: 2h", "min: 1m, max: 1d", 60, 86_400),
        ("every: 15m", "max: 1h", 300, 3600),
    ],
)
def test_how_often_a_feed_is_asked_is_its_own_word_else_polling_s(
    tmp_path: Path, polling: str, feed: str, shortest: int, longest: int
) -> None:
    text = f"feeds:\n  a: {{url: 'https://a.example/', {feed}}}\npolling: {{{polling}}}\n"
    (one,) = settings(tmp_path, text).rules.feeds
    assert (one.interval_seconds, one.longest_seconds) == (shortest, longest)
    assert (one.longest_interval_seconds is None) == (shortest == longest)


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("every: 1h, min: 5m", "every: beside min: or max:"),
        ("every: 1h, max: 5h", "every: beside min: or max:"),
        ("min: 2h, max: 1h", "min: is longer than max:"),
    ],
)
def test_a_pace_that_contradicts_itself_is_refused_where_it_stands(tmp_path: Path, written: str, message: str) -> None:
    (found,) = problems(tmp_path, f"feeds:\n  a: {{url: 'https://a.example/', {written}}}\n")
    assert (found.line, found.message) == (2, f"feeds.a: {message}")
    (found,) = problems(tmp_path, f"polling: {{{written}}}\n")
    assert (found.line, found.message) == (1, f"polling: {message}")


@pytest.mark.parametrize("text", ["", "# nothing but this\n"])
def test_an_empty_file_is_refused(tmp_path: Path, text: str) -> None:
    """An editor in the middle of saving, or a full disk: a watch must not take it for the wish to watch nothing."""
    assert places(problems(tmp_path, text)) == [(1, 1, "is empty")]


def test_sections_with_everything_commented_out_are_empty(tmp_path: Path) -> None:
    sections = ("feeds", "claims", "words", "digests", "mail", "polling", "database")
    text = "".join(f"{section}:\n  # x: y\n" for section in sections)
    loaded = settings(tmp_path, text)
    assert (loaded.rules.feeds, loaded.rules.claims, dict(loaded.rules.words)) == ((), (), {})


@pytest.mark.parametrize("null", ["", "~", "null", "Null", "NULL"])
def test_an_option_of_null_is_an_option_left_out(tmp_path: Path, null: str) -> None:
    text = f"feeds:\n  a:\n    url: https://a.example/\n    every: {null}\ndatabase: {null}\n"
    loaded = settings(tmp_path, text)
    assert (loaded.rules.feeds[0].interval_seconds, Path(str(loaded.database)).name) == (300, "claimwatch.sqlite3")


def test_null_in_quotes_is_a_word(tmp_path: Path) -> None:
    assert settings(tmp_path, "words: {void: ['null', \"~x\"]}\n").rules.words["void"] == ("null", "~x")


def test_a_file_with_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    assert len(settings(tmp_path, b"\xef\xbb\xbffeeds:\n  a: https://a.example/\n").rules.feeds) == 1


def test_a_byte_order_mark_moves_no_column(tmp_path: Path) -> None:
    assert places(problems(tmp_path, b"\xef\xbb\xbffeds: {}\n")) == [(1, 1, "unknown key 'feds'")]


def test_a_file_with_crlf_is_read(tmp_path: Path) -> None:
    loaded = settings(tmp_path, b"claims:\r\n  black-sea-group:\r\n    terms: |\r\n      sea\r\n      ships\r\n")
    assert loaded.rules.claims[0].terms == (TermRule("sea"), TermRule("ships"))


def test_a_file_that_is_not_utf_8_is_refused_with_the_byte(tmp_path: Path) -> None:
    file = str(tmp_path / "feeds.yaml")
    assert problems(tmp_path, b"# caf\xe9\n") == [Problem(file, 0, 0, "is not UTF-8 (byte 5)", "Save it as UTF-8.")]


def test_a_control_character_is_refused(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, b"feeds: {}\n#\x00\n")
    assert found.message.startswith("is no YAML: unacceptable character #x0000")


def test_a_problem_of_a_whole_file_names_no_line() -> None:
    assert str(Problem("feeds.yaml", 0, 0, "is not UTF-8")) == "feeds.yaml: is not UTF-8"


# ── feeds, claims, words, digests ────────────────────────────────────────────────────────────────────────────────


def test_a_feed_may_be_an_address_alone(tmp_path: Path) -> None:
    feed = settings(tmp_path, "feeds:\n  a: https://a.example/\npolling: {every: 1h}\n").rules.feeds[0]
    assert (feed.id, feed.url, feed.interval_seconds, feed.title, feed.enabled) == (
        "a",
        "https://a.example/",
        3600,
        "",
        True,
    )


def test_what_is_not_enabled_rests(tmp_path: Path) -> None:
    text = """\
feeds: {a: {url: "https://a.example/", enabled: false}, b: "https://b.example/"}
claims: {black-sea-group: {terms: sea, enabled: no}, prisoner-exchange: {terms: prisoners}}
digests: {c: {at: 7:30, enabled: off}, d: {at: 7:30}}
"""
    rules = settings(tmp_path, text).rules
    assert [feed.id for feed in rules.polled_feeds] == ["b"]
    assert [claim.id for claim in rules.watched_claims] == ["prisoner-exchange"]
    assert [digest.name for digest in rules.live_digests] == ["d"]
    assert (len(rules.feeds), len(rules.claims), len(rules.digests)) == (2, 2, 2)


def test_a_resting_digest_needs_no_recipients(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "digests:\n  d: {at: 7:30, enabled: false}\nmail: {smtp: {host: mail.example}}\n")
    assert loaded.rules.live_digests == ()


def test_terms_are_lines_without_comments(tmp_path: Path) -> None:
    rows = '      # a comment\n      "Black Sea" group  # and why\n\n      ships\n'
    text = f"claims:\n  black-sea-group:\n    terms: |\n{rows}"
    assert settings(tmp_path, text).rules.claims[0].terms == (TermRule('"Black Sea" group'), TermRule("ships"))


def test_terms_may_be_a_list_with_options(tmp_path: Path) -> None:
    text = "claims:\n  black-sea-group:\n    terms:\n      - ships\n      - {term: no ships, stance: contradicts}\n"
    assert settings(tmp_path, text).rules.claims[0].terms == (TermRule("ships"), TermRule("no ships", "contradicts"))


def test_a_claim_rule_carries_what_its_seed_says(tmp_path: Path) -> None:
    claim = settings(tmp_path, "claims: {harbour-opens: {terms: harbour}}\n", {"made-up.yaml": SEED}).rules.claims[0]
    assert claim.statement == "The harbour opens again."
    assert claim.article == "An Author, “A Made-Up Article”, A Publisher, 2025-03-20"
    assert (claim.seed, claim.made, claim.due, claim.kind) == ("made-up", date(2025, 3, 19), None, "prediction")


def test_claims_that_no_term_watches_are_named(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "claims:\n  black-sea-group: {terms: sea}\n  prisoner-exchange: {}\n")
    assert set(loaded.unwatched) >= {"energy-strike-pause", "prisoner-exchange"}
    assert "black-sea-group" not in loaded.unwatched


def test_a_claim_with_several_terms_that_no_seed_has_is_told_with_their_number(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "claims:\n  harbour-shuts:\n    terms: |\n      harbour\n      port\n")
    assert found.message == "no seed has the claim 'harbour-shuts'; its 2 terms belong to no claim"


def test_a_claim_that_no_seed_has_and_no_term_watches_is_told_alone(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "claims: {harbour-shuts: {}}\n")
    assert found.message == "no seed has the claim 'harbour-shuts'"


def test_every_claim_of_a_seed_of_ones_own_is_to_be_watched(tmp_path: Path) -> None:
    assert settings(tmp_path, "feeds: {}", {"made-up.yaml": SEED}).unwatched == ("harbour-opens",)


def test_a_shipped_seed_of_which_nothing_is_watched_is_left_unmentioned(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "claims: {harbour-opens: {terms: harbour}}\n", {"made-up.yaml": SEED})
    assert loaded.unwatched == ()


def test_a_list_of_one_word_may_be_the_word(tmp_path: Path) -> None:
    assert dict(settings(tmp_path, "words: {pause: halt, strike: [attack, shelling]}\n").rules.words) == {
        "pause": ("halt",),
        "strike": ("attack", "shelling"),
    }


def test_a_digest_names_its_recipients_by_id_alone(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "digests:\n  d: {at: 7:30, to: [Me@b.example, me@b.example, you@b.example]}\n")
    me, you = recipient_id("me@b.example"), recipient_id("you@b.example")
    assert loaded.rules.digests[0].recipients == (me, you)
    assert loaded.addresses == {me: "me@b.example", you: "you@b.example"}
    assert "b.example" not in repr(loaded.rules)


def test_a_digest_for_nobody_goes_to_the_maildir_under_a_local_name(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "digests:\n  d: {at: 7:30}\n")
    assert loaded.addresses == {recipient_id("you@localhost"): "you@localhost"}


# ── seeds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_seed_beside_feeds_yaml_stands_in_for_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "feeds: {}", {"carnegie-2025-03-19.yaml": SEED})
    assert [(seed.id, seed.title) for seed in loaded.seeds] == [("carnegie-2025-03-19", "A Made-Up Article")]


def test_a_seed_of_another_name_stands_beside_the_shipped_ones(tmp_path: Path) -> None:
    assert [seed.id for seed in settings(tmp_path, "feeds: {}", {"a.yml": SEED}).seeds] == ["a", "carnegie-2025-03-19"]


def test_a_claim_id_in_two_seeds_is_told_in_the_second(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "feeds: {}", {"a.yaml": SEED, "b.yaml": SEED})
    first, second = tmp_path / "seeds" / "a.yaml", tmp_path / "seeds" / "b.yaml"
    hint = "A claim id stands for one claim, whatever its article: give this one another id."
    assert found == Problem(str(second), 6, 3, f"the claim 'harbour-opens' stands in {first} too", hint)


def test_a_claim_id_of_a_shipped_seed_is_told(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, "feeds: {}", {"z.yaml": SEED.replace("harbour-opens", "black-sea-group")})
    assert found.message == f"the claim 'black-sea-group' stands in {shipped('seeds') / 'carnegie-2025-03-19.yaml'} too"


def test_two_seeds_that_differ_in_their_ending_alone_are_a_problem(tmp_path: Path) -> None:
    """One of them would silently win."""
    other = SEED.replace("harbour-opens", "harbour-closes")
    assert problems(tmp_path, "feeds: {}", {"a.yaml": SEED, "a.yml": other})


@pytest.mark.parametrize(
    ("before", "after", "line", "column", "message", "hint"),
    [
        ("author:", "autor:", 2, 1, "unknown key 'autor'", "Did you mean 'author'?"),
        ("kind: prediction", "knd: prediction", 10, 5, "unknown key 'knd'", "Did you mean 'kind'?"),
        ("date: 2025-03-20", "date: 2025-02-30", 4, 7, "date: '2025-02-30' is no date", "There is no such day."),
        (
            "made: 2025-03-19",
            *("made: 19.3.2025", 9, 11, "claims.harbour-opens.made: '19.3.2025' is no date"),
            "Write it as 2026-12-31.",
        ),
        ("publisher: A Publisher\n", "", 1, 1, "'publisher' is missing", "Write publisher: where it came out."),
        (
            "made: 2025-03-19",
            *("due: 2025-03-19", 6, 3, "'made' is missing", "Write made: the day it was made, as 2025-03-19."),
        ),
        (
            "made: 2025-03-19",
            *("made: 2025-03-19\n    due: 2025-03-18", 10, 10),
            "claims.harbour-opens.due: 2025-03-18 is before it was made, on 2025-03-19",
            "Write the day by which it can be judged.",
        ),
        (
            "claims:",
            *("claims:\n  harbour-shuts: It shuts.", 6, 18, "claims.harbour-shuts: holds no keys"),
            "Write `key: …` lines indented under it.",
        ),
    ],
)
def test_a_mistake_in_a_seed_is_told_at_its_place_with_its_mend(
    tmp_path: Path, before: str, after: str, line: int, column: int, message: str, hint: str
) -> None:
    file = tmp_path / "seeds" / "a.yaml"
    found = problems(tmp_path, "feeds: {}", {"a.yaml": SEED.replace(before, after)})
    assert Problem(str(file), line, column, message, hint) in found
    assert {one.file for one in found} == {str(file)}


def test_a_claim_may_be_due_on_the_day_it_was_made(tmp_path: Path) -> None:
    seed = SEED.replace("made: 2025-03-19", "made: 2025-03-19\n    due: 2025-03-19")
    (made_up,) = (one for one in settings(tmp_path, "feeds: {}", {"a.yaml": seed}).seeds if one.id == "a")
    assert made_up.claims[0].due == date(2025, 3, 19)


def test_an_id_that_cannot_be_one_is_offered_to_nobody(tmp_path: Path) -> None:
    seeds = {"a.yaml": SEED.replace("harbour-opens", "Harbour_Opens")}
    found = problems(tmp_path, "claims: {harbour-opens: {terms: harbour}}\n", seeds)
    assert {Path(one.file).name: one.message.partition(";")[0] for one in found} == {
        "feeds.yaml": "no seed has the claim 'harbour-opens'",
        "a.yaml": "'Harbour_Opens' can't be a key here",
    }
    assert not any("Harbour_Opens" in one.hint for one in found)


# ── templates ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_templates_are_replaced_one_by_one(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "subject.txt").write_text("Mine: {{ digest.name }}", encoding="utf-8")
    templates = settings(tmp_path).templates
    assert templates["subject.txt"] == "Mine: {{ digest.name }}"
    assert templates["digest.txt"] == (shipped("alerts") / "digest.txt").read_text(encoding="utf-8")
    assert templates["digest.html"] == (shipped("alerts") / "digest.html").read_text(encoding="utf-8")


def test_a_template_that_is_not_utf_8_is_a_problem_of_its_file(tmp_path: Path) -> None:
    (tmp_path / "alerts").mkdir()
    (tmp_path / "alerts" / "digest.txt").write_bytes(b"caf\xe9")
    (found,) = problems(tmp_path, "feeds: {}")
    assert found.file == str(tmp_path / "alerts" / "digest.txt")


# ── mail and database ────────────────────────────────────────────────────────────────────────────────────────────


def test_mail_goes_to_a_maildir_in_the_state_directory_without_a_server(tmp_path: Path) -> None:
    mail = settings(tmp_path).mail
    assert (mail.sender, mail.maildir, mail.smtp) == ("claimwatch@localhost", tmp_path / "state" / "Maildir", None)


def test_the_maildir_may_lie_elsewhere(tmp_path: Path) -> None:
    assert settings(tmp_path, "mail: {maildir: /var/spool/watch}\n").mail.maildir == Path("/var/spool/watch")


def test_the_senders_domain_is_that_of_the_messages(tmp_path: Path) -> None:
    assert settings(tmp_path, "mail: {from: watch@news.example}\n").mail.domain == "news.example"


@pytest.mark.parametrize(
    ("options", "port"),
    [("", 587), ("security: tls", 465), ("security: none", 25), ("security: tls, port: 2525", 2525)],
)
def test_a_mail_server_has_the_port_of_its_security(tmp_path: Path, options: str, port: int) -> None:
    smtp = settings(tmp_path, f"mail: {{smtp: {{host: mail.example, {options}}}}}\n").mail.smtp
    assert smtp is not None
    assert (smtp.port, smtp.username, smtp.password) == (port, None, None)


def test_the_password_is_read_from_a_file_beside_feeds_yaml(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("open sesame\n", encoding="utf-8")
    text = "mail: {smtp: {host: mail.example, username: me, password_file: secret, ca_file: ca.pem}}\n"
    smtp = settings(tmp_path, text).mail.smtp
    assert smtp == Smtp("mail.example", 587, "starttls", "me", "open sesame", tmp_path / "ca.pem")


def test_the_password_comes_from_a_credential_where_no_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "smtp-password").write_text("from systemd\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    smtp = settings(tmp_path, "mail: {smtp: {host: mail.example, username: me}}\n").mail.smtp
    assert smtp is not None
    assert smtp.password == "from systemd"


def test_the_password_comes_from_the_environment_where_the_user_chose_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "mail: {smtp: {host: mail.example, username: me, password_env: WATCH_PASSWORD}}\n"
    hint = "Set it where claimwatch is started, or put the password into a file: password_file: FILE"
    monkeypatch.delenv("WATCH_PASSWORD", raising=False)
    (problem,) = problems(tmp_path, text)
    assert (problem.message, problem.hint) == ("the environment variable WATCH_PASSWORD is not set", hint)
    monkeypatch.setenv("WATCH_PASSWORD", "from the environment")
    smtp = settings(tmp_path, text).mail.smtp
    assert smtp is not None
    assert smtp.password == "from the environment"
    assert "from the environment" not in repr(smtp)


@pytest.mark.parametrize(
    ("options", "column", "message"),
    [
        ("username: me, password: hunter2", 46, "a password does not belong in here"),
        (
            "username: me, password_env: hunter 2",
            60,
            "mail.smtp.password_env: that is no name of an environment variable",
        ),
        ("password_env: HUNTER2", 46, "a password without a user name"),
        ("password_file: hunter2", 47, "a password without a user name"),
        (
            "username: me, password_env: A, password_file: b",
            60,
            "a password from the environment beside one from a file",
        ),
    ],
)
def test_a_password_in_a_wrong_place_is_told_without_being_shown(
    tmp_path: Path, options: str, column: int, message: str
) -> None:
    found = problems(tmp_path, f"mail: {{smtp: {{host: m.example, {options}}}}}\n")
    assert places(found) == [(1, column, message)]
    assert "hunter" not in "".join(map(str, found))
    assert all(one.hint for one in found)


@pytest.mark.parametrize(
    ("written", "name", "address"),
    [
        ("watch@example.org", "claimwatch", "watch@example.org"),
        ("Claimwatch <watch@example.org>", "Claimwatch", "watch@example.org"),
        ("'\"Watch, The\" <watch@example.org>'", "Watch, The", "watch@example.org"),
        ("Варта <watch@exämple.org>", "Варта", "watch@xn--exmple-cua.org"),
        ("<watch@example.org>", "claimwatch", "watch@example.org"),
    ],
)
def test_the_sender_may_have_a_name(tmp_path: Path, written: str, name: str, address: str) -> None:
    mail = settings(tmp_path, f"mail: {{from: {written}}}\n").mail
    assert (mail.sender_name, mail.sender, mail.unsubscribe) == (name, address, address)


@pytest.mark.parametrize(
    "written", ['"A\\r\\nBcc: b@c.example <a@b.example>"', "A <a@b.example> <c@d.example>", "A B", "A <b>"]
)
def test_a_sender_that_is_none_is_told(tmp_path: Path, written: str) -> None:
    (problem,) = problems(tmp_path, f"mail: {{from: {written}}}\n")
    assert "is no sender" in problem.message
    assert problem.hint == "Write it as Claimwatch <name@example.org>, or bare: name@example.org"


def test_readers_who_want_no_more_may_write_to_somebody_else(tmp_path: Path) -> None:
    assert settings(tmp_path, "mail: {unsubscribe: desk@example.org}\n").mail.unsubscribe == "desk@example.org"


def test_a_named_password_file_goes_before_the_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "smtp-password").write_text("from systemd\n", encoding="utf-8")
    (tmp_path / "mine").write_text("from a file\n", encoding="utf-8")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    smtp = settings(tmp_path, "mail: {smtp: {host: m.example, username: me, password_file: mine}}\n").mail.smtp
    assert smtp is not None
    assert smtp.password == "from a file"


def test_a_password_file_that_is_not_there_is_told_at_its_name(tmp_path: Path) -> None:
    found = problems(tmp_path, "mail: {smtp: {host: m.example, username: me, password_file: none}}\n")
    message = f"the file {tmp_path / 'none'} can't be read: No such file or directory"
    assert places(found) == [(1, 61, message)]


def test_a_credential_that_is_not_there_is_told_at_the_user_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    found = problems(tmp_path, "mail: {smtp: {host: m.example, username: me}}\n")
    message = f"the file {tmp_path / 'smtp-password'} can't be read: No such file or directory"
    assert places(found) == [(1, 42, message)]


def test_a_password_file_that_is_not_utf_8_is_a_problem_and_no_crash(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"p\xe4ss\n")
    found = problems(tmp_path, "mail: {smtp: {host: m.example, username: me, password_file: secret}}\n")
    assert [(one.line, one.column) for one in found] == [(1, 61)]


@pytest.mark.parametrize(
    ("written", "file"), [("sqlite:///watch.db", "state/watch.db"), ("sqlite:////srv/watch.db", "/srv/watch.db")]
)
def test_the_database_is_a_file_beside_the_state_unless_it_is_named_whole(
    tmp_path: Path, written: str, file: str
) -> None:
    assert str(settings(tmp_path, f"database: {written}\n").database) == f"sqlite:///{tmp_path / file}"


POSTGRESQL = "postgresql://me@db.example:5433/claimwatch?sslmode=require"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_the_database_may_be_one_of_a_postgresql_server(tmp_path: Path, scheme: str) -> None:
    loaded = settings(tmp_path, f"database: {scheme}://me:p%40ss@db.example/claimwatch\n").database
    assert isinstance(loaded, Postgresql)
    assert (loaded.url.username, loaded.url.password, loaded.url.host) == ("me", "p@ss", "db.example")


def test_a_databases_password_is_shown_nowhere(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("p%40ss:word\n", encoding="utf-8")
    for text in (
        "database: postgresql://me:p%2540ss:word@db.example:5433/claimwatch?sslmode=require\n",
        f"database: {{url: '{POSTGRESQL}', password_file: secret}}\n",
    ):
        loaded = settings(tmp_path, text)
        assert isinstance(loaded.database, Postgresql)
        assert loaded.database.url.password == "p%40ss:word"
        assert str(loaded.database) == "postgresql://me:***@db.example:5433/claimwatch?sslmode=require"
        assert "ss:word" not in repr(loaded) + f"{loaded.database}" + str([loaded.database])


def test_a_databases_password_comes_from_a_credential_where_none_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def password(text: str) -> str | None:
        database = settings(tmp_path, text).database
        assert isinstance(database, Postgresql)
        return database.url.password

    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    assert password(f"database: {POSTGRESQL}\n") is None
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "database-password").write_text("of systemd\n", encoding="utf-8")
    (tmp_path / "secret").write_text("of a file", encoding="utf-8")
    assert password(f"database: {POSTGRESQL}\n") == "of systemd"
    assert password(f"database: {{url: '{POSTGRESQL}', password_file: secret}}\n") == "of a file"
    assert password("database: postgresql://me:own@db.example/claimwatch\n") == "own"
    assert password("database: postgresql:///claimwatch?host=/run/postgresql\n") is None


def test_a_databases_password_file_that_is_not_there_is_a_problem_at_its_place(tmp_path: Path) -> None:
    (found,) = problems(tmp_path, f"database:\n  url: {POSTGRESQL}\n  password_file: none\n")
    assert (found.line, found.column) == (3, 18)
    assert found.message.endswith("none can't be read: No such file or directory")


def test_the_limits_of_a_fetch_are_taken_from_polling(tmp_path: Path) -> None:
    loaded = settings(tmp_path, "polling: {timeout: 1m, most_bytes: 20000, proxy: 'http://proxy.example:3128'}\n")
    expected = Polling(timeout_seconds=60, most_bytes=20_000, proxy="http://proxy.example:3128")
    assert loaded.polling == expected


@pytest.mark.parametrize("written", ["127.0.0.1:9464", "localhost:9464", "'[::1]:9464'"])
def test_metrics_are_served_where_feeds_yaml_says_and_nowhere_without(tmp_path: Path, written: str) -> None:
    assert settings(tmp_path, f"metrics: {written}\n").metrics == written.strip("'")
    assert settings(tmp_path).metrics is None


@pytest.mark.parametrize(
    ("written", "hosts"),
    [
        ("intranet.example", ("intranet.example",)),
        ("[Intranet.Example, 10.0.0.1]", ("intranet.example", "10.0.0.1")),
        ("['[::1]', 'bücher.example']", ("::1", "xn--bcher-kva.example")),
    ],
)
def test_private_hosts_are_taken_as_they_stand_in_addresses(
    tmp_path: Path, written: str, hosts: tuple[str, ...]
) -> None:
    assert settings(tmp_path, f"polling: {{allow_private: {written}}}\n").polling.allow_private == hosts


# ── where things are looked for ──────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a home that holds nothing but `.config/claimwatch/feeds.yaml`."""
    home = tmp_path / "home"
    own = home / ".config" / "claimwatch"
    own.mkdir(parents=True)
    (own / "feeds.yaml").touch()
    monkeypatch.setenv("HOME", str(home))
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path


def test_feeds_yaml_is_looked_for_here_first(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "other.yaml").touch()
    monkeypatch.setenv("CLAIMWATCH_CONFIG", str(elsewhere / "other.yaml"))
    Path("feeds.yaml").touch()
    assert find_config(None) == Path("feeds.yaml")


def test_then_where_the_environment_says(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "other.yaml").touch()
    monkeypatch.setenv("CLAIMWATCH_CONFIG", str(elsewhere / "other.yaml"))
    assert find_config(None) == elsewhere / "other.yaml"


def test_then_in_the_users_config_directory(elsewhere: Path) -> None:
    assert find_config(None) == elsewhere / "home" / ".config" / "claimwatch" / "feeds.yaml"


@pytest.mark.skipif(os.path.exists("/etc/claimwatch/feeds.yaml"), reason="this machine has a feeds.yaml of its own")
def test_a_feeds_yaml_that_is_nowhere_is_told_with_all_the_places(elsewhere: Path) -> None:
    own = elsewhere / "home" / ".config" / "claimwatch" / "feeds.yaml"
    own.unlink()
    with pytest.raises(ConfigError) as caught:
        find_config(None)
    message = f"is not there: looked at feeds.yaml, {own}, /etc/claimwatch/feeds.yaml"
    hint = "`claimwatch init DIR` writes one; cd into its folder, or name it with --config FILE."
    assert caught.value.problems == [Problem("feeds.yaml", 0, 0, message, hint)]


def test_a_named_file_is_taken_or_nothing(elsewhere: Path) -> None:
    with pytest.raises(ConfigError, match=r"looked at mine\.yaml"):
        find_config(Path("mine.yaml"))


def test_a_folder_is_no_feeds_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not there"):
        load(tmp_path, tmp_path / "state")


def test_the_state_lies_where_systemd_says(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/claimwatch:/var/lib/other")
    assert default_state() == Path("/var/lib/claimwatch")


def test_the_state_lies_in_the_users_state_directory_otherwise(elsewhere: Path) -> None:
    assert default_state() == elsewhere / "home" / ".local" / "state" / "claimwatch"


def test_a_state_given_relatively_is_kept_whole(elsewhere: Path) -> None:
    Path("feeds.yaml").write_text("feeds: {}", encoding="utf-8")
    assert str(load(None, Path("st")).database) == f"sqlite:///{elsewhere / 'work' / 'st' / 'claimwatch.sqlite3'}"


# ── what is shipped ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The shipped feeds.yaml and seeds."""
    return load(REPOSITORY / "feeds.yaml", tmp_path_factory.mktemp("state"))


def test_the_shipped_feeds_are_fifteen_to_twenty_five(ours: Settings) -> None:
    assert 15 <= len(ours.rules.polled_feeds) <= 25


def test_the_shipped_feeds_are_each_another_address_over_https(ours: Settings) -> None:
    urls = [feed.url for feed in ours.rules.feeds]
    assert len(set(urls)) == len(urls)
    assert {url.partition(":")[0] for url in urls} == {"https"}


def test_the_shipped_claims_are_watched_by_the_users_own_terms(ours: Settings) -> None:
    first = {claim.id: claim.terms[0].text for claim in ours.rules.watched_claims}
    assert first["energy-strike-pause"] == "energy strike pause"
    assert first["black-sea-group"] == "Black Sea group"
    assert first["prisoner-exchange"] == "prisoner exchange"


def test_every_shipped_claim_is_watched(ours: Settings) -> None:
    assert len(ours.rules.watched_claims) == 19
    assert ours.unwatched == ()


def test_the_shipped_claims_have_their_dates(ours: Settings) -> None:
    dates = {claim.id: (claim.made, claim.due, claim.kind) for claim in ours.rules.claims}
    assert dates["energy-strike-pause"] == (date(2025, 3, 18), date(2025, 4, 17), "commitment")
    assert dates["black-sea-group"] == (date(2025, 3, 18), None, "commitment")
    assert dates["prisoner-exchange"] == (date(2025, 3, 18), None, "commitment")
    assert {made for made, _, _ in dates.values()} == {date(2025, 3, 18), date(2025, 3, 19)}


def test_the_shipped_seed_names_its_article(ours: Settings) -> None:
    seed = next(seed for seed in ours.seeds if seed.id == "carnegie-2025-03-19")
    assert seed.title == "What's the Thinking Behind Putin's Maneuvering Around Trump?"
    assert (seed.publisher, seed.date) == ("Carnegie Politika", date(2025, 3, 19))


def test_one_daily_and_one_weekly_digest_are_shipped(ours: Settings) -> None:
    assert {digest.name: digest.cron for digest in ours.rules.live_digests} == {
        "daily": "30 7 * * *",
        "weekly": "0 18 * * 0",
    }


def test_alerts_have_a_pace_a_limit_and_quiet_hours(tmp_path: Path) -> None:
    rule = digest_of(tmp_path, "every: 15m, at_most: 6/day, quiet: 22:00–7:00, timezone: Europe/Kyiv")
    assert (rule.cron, rule.every_seconds, rule.at_most, rule.quiet) == ("", 900, 6, ("22:00", "07:00"))


@pytest.mark.parametrize("written", ["22:00-07:00", "22:00 – 7:00", '"22:00–07:00"'])
def test_quiet_hours_are_written_as_people_write_them(tmp_path: Path, written: str) -> None:
    assert digest_of(tmp_path, f"at: 7:30, quiet: {written}").quiet == ("22:00", "07:00")


def test_a_skipped_digest_shows_once_a_week_that_it_lives_unless_told_otherwise(tmp_path: Path) -> None:
    assert digest_of(tmp_path, "at: 7:30").still_watching == "weekly"
    assert digest_of(tmp_path, "at: 7:30, still_watching: never").still_watching == "never"


# ── the operator ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "operator"),
    [
        ("", None),
        ("operator:\n", None),
        ("operator: ops@example.org\n", Operator(("ops@example.org",), timedelta(days=1))),
        ("operator: {to: ops@example.org}\n", Operator(("ops@example.org",), timedelta(days=1))),
        (
            "operator: {to: [a@example.org, b@example.org, a@example.org], feed_failing_after: 36h}\n",
            Operator(("a@example.org", "b@example.org"), timedelta(hours=36)),
        ),
    ],
)
def test_an_operator_is_one_address_or_several_with_a_time_for_feeds(
    tmp_path: Path, text: str, operator: Operator | None
) -> None:
    assert settings(tmp_path, f"feeds: {{}}\n{text}").operator == operator


@pytest.mark.parametrize(
    ("text", "column", "message", "hint"),
    [
        ("operator: ops\n", 11, "operator.to.0: 'ops' is no mail address", "Write it bare: name@example.org"),
        ("operator: {to: []}\n", 16, "operator.to: is empty", "Write one at least, or take the key out."),
        (
            "operator: {to: a@example.org, feed_failing_after: 5m}\n",
            51,
            "operator.feed_failing_after: too soon",
            "A server may be away for a while: wait an hour at least (1h); 1d is usual.",
        ),
        (
            "operator: {to: a@example.org, feed_failing_after: 90d}\n",
            51,
            "operator.feed_failing_after: too late",
            "Wait 30 days at most (30d); 1d is usual.",
        ),
        (
            "operator: {feed_failing_after: 1d}\n",
            1,
            "'to' is missing",
            "Write to: the address, or a list of them, that notices go to.",
        ),
    ],
)
def test_what_is_wrong_with_an_operator_is_told_with_its_place(
    tmp_path: Path, text: str, column: int, message: str, hint: str
) -> None:
    (problem,) = problems(tmp_path, text)
    assert (problem.line, problem.column, problem.message, problem.hint) == (1, column, message, hint)


def test_the_operators_address_is_no_part_of_the_rules(tmp_path: Path) -> None:
    assert settings(tmp_path, "operator: ops@example.org\n").rules == settings(tmp_path).rules
