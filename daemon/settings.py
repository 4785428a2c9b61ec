"""feeds.yaml and the seeds, read and checked whole: every problem at once, each with its place and its mend."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import daemon
from daemon.claims import Claim, Seed
from daemon.complaints import validate
from daemon.credentials import feed_secrets, find_secret, mail_password, read_secret, secret_files
from daemon.databases import Database, Sqlite, database_at
from daemon.duetimes import always_within
from daemon.errors import ConfigError, Problem
from daemon.feedsfile import (
    ClaimEntry,
    DatabaseEntry,
    DigestEntry,
    FeedsFile,
    MailEntry,
    SeedFile,
    TermEntry,
    pauses_of,
)
from daemon.fields import is_key, name_and_address
from daemon.headers import SENDER_NAME
from daemon.notices import Operator
from daemon.rendering import template_faults
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules, TermRule, recipient_id
from daemon.soundness import everywhere_in
from daemon.watchterms import check_terms, notes_on_terms
from daemon.words import units
from daemon.yamlfiles import YamlFile, nearest, raise_problems, read_yaml

LOCAL_RECIPIENT = "you@localhost"
"""Who gets a digest that names nobody, when mail goes to the Maildir."""
TEMPLATE_NAMES = ("subject.txt", "digest.txt", "digest.html", "notice-subject.txt", "notice.txt")


@dataclass(frozen=True)
class Smtp:
    """A mail server to hand digests to. `security` is how the connection is protected; `password_from` tells in words
    where the password was found."""

    host: str
    port: int
    security: Literal["starttls", "tls", "none"]
    username: str | None
    password: str | None = field(repr=False)
    ca_file: Path | None = None
    password_from: str = field(default="", compare=False)


@dataclass(frozen=True)
class Mail:
    """How digests leave: by SMTP, or into a Maildir where no server is named. `sender` is a bare address; readers who
    want no more write to `unsubscribe`."""

    sender: str
    maildir: Path
    smtp: Smtp | None
    sender_name: str = SENDER_NAME
    unsubscribe: str = ""

    @property
    def domain(self) -> str:
        return self.sender.rpartition("@")[2] or "localhost"


@dataclass(frozen=True)
class Polling:
    """Limits of every fetch. `host_pause_seconds` lies between two requests to one host; `allow_private` names the
    hosts that may have addresses which are not public."""

    timeout_seconds: float = 30
    most_bytes: int = 10_000_000
    host_pause_seconds: float = 1
    at_once: int = 20
    allow_private: tuple[str, ...] = ()
    proxy: str | None = None


@dataclass(frozen=True)
class Settings:
    """Everything a user set, checked. `addresses` tells whose an id is; `unwatched` are claims without terms,
    save for those of a shipped seed that this user does not watch at all; `term_notes` are what `check` tells of terms
    that are no mistakes; `feed_secrets` are headers by feed id, to be shown nowhere; `secret_files` are what was read
    besides, and what a reload looks at."""

    file: Path
    state: Path
    database: Database
    rules: Rules
    addresses: Mapping[str, str]
    mail: Mail
    polling: Polling
    templates: Mapping[str, str]
    shipped_templates: Mapping[str, str]
    seeds: tuple[Seed, ...]
    unwatched: tuple[str, ...]
    term_notes: tuple[Problem, ...] = ()
    feed_secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)
    secret_files: tuple[Path, ...] = ()
    operator: Operator | None = None
    metrics: str | None = None
    """Where metrics are served, as `host:port`."""


def load(
    config: Path | None = None,
    state: Path | None = None,
    draft: Path | None = None,
    before_secrets: Callable[[tuple[Path, ...]], object] = lambda _files: None,
) -> Settings:
    """Reads feeds.yaml and its seeds. Raises ConfigError with every problem in them.

    `draft` is read in its stead, as if it stood in its place: to see what would come of an edit. `before_secrets`
    hears of the files that hold secrets, before the first of them is read.
    """
    path = find_config(config)
    state = (state or default_state()).absolute()
    file = read_yaml(draft or path, str(path))
    if file.values is None:
        if not file.problems:
            file.problem((), "is empty", "An editor may be in the middle of saving it; else write what to watch.")
        raise_problems(file)
    entries = validate(file, FeedsFile) or FeedsFile()
    seeds, seed_files = _load_seeds(path.parent)
    check_terms(file, entries.words, entries.within)
    _check_words(file, entries)
    _check_claims(file, entries, seed_files)
    _check_digests(file, entries)
    holding_secrets = secret_files(entries, path.parent)
    before_secrets(holding_secrets)
    database = _database(file, entries.database, path.parent, state)
    mail = _mail(file, entries.mail, path.parent, state)
    secrets = feed_secrets(file, entries.feeds, path.parent)
    templates, template_files = load_templates(path.parent / "alerts")
    shipped_templates = load_templates(shipped("alerts"))[0]
    raise_problems(file, *seed_files, *template_files)
    addresses = {recipient_id(address): address for entry in entries.digests.values() for address in _to(entry)}
    claims = {claim.id: (claim, seed) for seed in seeds for claim in seed.claims}
    return Settings(
        file=path,
        state=state,
        database=database,
        rules=_rules(entries, claims),
        addresses=addresses,
        mail=mail,
        polling=Polling(
            timeout_seconds=entries.polling.timeout,
            most_bytes=entries.polling.most_bytes,
            allow_private=tuple(entries.polling.allow_private),
            proxy=entries.polling.proxy,
        ),
        feed_secrets=secrets,
        secret_files=holding_secrets,
        operator=_operator(entries),
        metrics=entries.metrics,
        templates=templates,
        shipped_templates=shipped_templates,
        seeds=seeds,
        unwatched=_unwatched(entries, seeds, path.parent / "seeds"),
        term_notes=notes_on_terms(file),
    )


def find_config(given: Path | None) -> Path:
    """The feeds.yaml in force. Raises ClaimwatchError, naming where it looked."""
    places, _ = _config_places(given)
    for place in places:
        if place.is_file():
            return place
    message = f"is not there: looked at {', '.join(map(str, places))}"
    hint = "`claimwatch init DIR` writes one; cd into its folder, or name it with --config FILE."
    raise ConfigError([Problem("feeds.yaml", 0, 0, message, hint)])


def is_without_config(given: Path | None) -> bool:
    """Whether nobody named a feeds.yaml, and none is in the usual places."""
    places, named = _config_places(given)
    return not named and not any(place.is_file() for place in places)


def _config_places(given: Path | None) -> tuple[list[Path], bool]:
    """Where to look, and whether somebody named a file: one that is not there is a mistake then, never passed over."""
    if given is not None:
        return [given], True
    if environment := os.environ.get("CLAIMWATCH_CONFIG"):
        return [Path("feeds.yaml"), Path(environment)], True
    # Loaded here, as below: under systemd both places are named.
    from platformdirs import user_config_path

    return [
        Path("feeds.yaml"),
        user_config_path("claimwatch") / "feeds.yaml",
        Path("/etc/claimwatch/feeds.yaml"),
    ], False


def default_state() -> Path:
    """Where the log lives: what systemd gives us, else the user's state directory."""
    if given := os.environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(given)
    from platformdirs import user_state_path

    return user_state_path("claimwatch")


def load_templates(folder: Path) -> tuple[dict[str, str], list[YamlFile]]:
    """The templates of mails: those in this folder (`alerts/` beside feeds.yaml), else the shipped ones.

    With them come the files that can't be read, each with its problem; the shipped template stands in for them.
    """
    templates, unreadable = {}, []
    for name in TEMPLATE_NAMES:
        own = folder / name
        templates[name] = (shipped("alerts") / name).read_text(encoding="utf-8")
        if not own.is_file():
            continue
        try:
            templates[name] = own.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            unreadable.append(YamlFile(str(own), []))
            unreadable[-1].problem((), f"can't be read: {error}", "Save it as UTF-8.")
    return templates, unreadable


def template_problems(settings: Settings) -> list[Problem]:
    """What is wrong with the user's own templates. No reason to stand still: the shipped ones stand in for them."""
    folder, hint = (
        settings.file.parent / "alerts",
        "Mend it, or take the file away; until then the shipped template is used.",
    )
    return [
        Problem(str(folder / fault.template), fault.line, 1 if fault.line else 0, fault.message, hint)
        for fault in template_faults(settings.templates, settings.shipped_templates)
    ]


def shipped(name: str) -> Path:
    """A folder or file that comes with claimwatch: inside the installed package, or beside it in a checkout."""
    package = Path(daemon.__file__).parent
    installed = package / "defaults" / name
    return installed if installed.exists() else package.parent / name


def _load_seeds(beside: Path) -> tuple[tuple[Seed, ...], list[YamlFile]]:
    paths: dict[str, Path] = {}
    for folder in (shipped("seeds"), beside / "seeds"):
        paths |= {path.name: path for path in folder.glob("*.y*ml")}
    seeds: list[Seed] = []
    files: list[YamlFile] = []
    owner: dict[str, str] = {}
    for _, path in sorted(paths.items()):
        file = read_yaml(path)
        files.append(file)
        entry = None if file.problems else validate(file, SeedFile)
        if entry is None:
            continue
        if path.suffix == ".yml" and f"{path.stem}.yaml" in paths:
            file.problem((), f"stands beside {path.stem}.yaml", "One seed, one file: take one of them away.")
        for id in entry.claims:
            if id in owner:
                hint = "A claim id stands for one claim, whatever its article: give this one another id."
                file.problem(("claims", id), f"the claim {id!r} stands in {owner[id]} too", hint, at_key=True)
            owner.setdefault(id, file.name)
        seeds.append(_seed(path.stem, entry))
    return tuple(seeds), files


def _seed(stem: str, entry: SeedFile) -> Seed:
    claims = tuple(
        Claim(id=id, statement=" ".join(claim.statement.split()), made=claim.made, kind=claim.kind, due=claim.due)
        for id, claim in entry.claims.items()
    )
    return Seed(stem, entry.title, entry.author, entry.publisher, entry.date, claims, entry.url)


def _unwatched(entries: FeedsFile, seeds: Iterable[Seed], own: Path) -> tuple[str, ...]:
    own_seeds = {path.stem for path in own.glob("*.y*ml")}
    watched = [seed for seed in seeds if seed.id in own_seeds or any(one.id in entries.claims for one in seed.claims)]
    with_terms = {id for id, entry in entries.claims.items() if entry.terms}
    return tuple(claim.id for seed in watched for claim in seed.claims if claim.id not in with_terms)


def _check_claims(file: YamlFile, entries: FeedsFile, seed_files: Iterable[YamlFile]) -> None:
    # By what is written, not by what is sound: a mistake inside a claim is told once, where it is.
    known = {id for seed in seed_files for id in _keys_of(seed, "claims")}
    watched = _keys_of(file, "claims")
    for id in watched:
        if id not in known:
            hint = nearest(id, filter(is_key, known)) or "Write the claim into a file in seeds/ first."
            terms = len(entries.claims[id].terms) if id in entries.claims else 0
            unowned = f"; its {terms} {'term belongs' if terms == 1 else 'terms belong'} to no claim" if terms else ""
            file.problem(("claims", id), f"no seed has the claim {id!r}{unowned}", hint, at_key=True)
        _check_feeds_of_terms(file, entries, id)
    for name, digest in entries.digests.items():
        for at, id in enumerate(digest.claims):
            if id not in watched:
                where = ("digests", name, "claims", at)
                file.problem(where, f"no claim {id!r} is watched here", nearest(id, filter(is_key, watched)))


def _check_words(file: YamlFile, entries: FeedsFile) -> None:
    for name, words in entries.words.items():
        if [unit.word for unit in units(name)] != [name]:
            hint = "Name it by one word of letters and digits: only a word that stands alone in a term can mean a list."
            file.problem(("words", name), f"{name!r} is no name for a list", hint, at_key=True)
        for at, line in enumerate(words):
            if (word := everywhere_in(line)) is not None:
                hint = "Take it out: every term with this list would match nearly everything."
                file.problem(("words", name, at), f"{word.text!r} is in nearly every text", hint)


def _check_feeds_of_terms(file: YamlFile, entries: FeedsFile, claim: str) -> None:
    known = _keys_of(file, "feeds")
    entry = entries.claims.get(claim, ClaimEntry())
    for kind, terms in (("terms", entry.terms), ("never", entry.never)):
        for at, term in enumerate(terms):
            for feed in term.feeds:
                if feed not in known:
                    where = ("claims", claim, kind, at, "feeds")
                    file.problem(where, f"there is no feed {feed!r}", nearest(feed, filter(is_key, known)))


def _keys_of(file: YamlFile, section: str) -> list[str]:
    values = file.values.get(section) if isinstance(file.values, dict) else None
    return list(values) if isinstance(values, dict) else []


def _check_digests(file: YamlFile, entries: FeedsFile) -> None:
    for name, digest in entries.digests.items():
        if digest.quiet and digest.cron_line and always_within(digest.cron_line, digest.quiet):
            begin, end = digest.quiet
            message = f"the digest is always due within its quiet hours, {begin}-{end}"
            hint = "Give it a time outside of them, or take quiet: out."
            file.problem(("digests", name, "quiet"), message, hint)
        if entries.mail.smtp and digest.enabled and not digest.to:
            hint = "With a mail server, name the recipients: to: [name@example.org]"
            file.problem(("digests", name), f"the digest {name!r} goes to nobody", hint, at_key=True)


def _database(file: YamlFile, entry: DatabaseEntry | None, beside: Path, state: Path) -> Database:
    if entry is None:
        return Sqlite(state / "claimwatch.sqlite3")
    database = database_at(entry.url)
    where: tuple[str, ...] = ("database", "password_file")
    if isinstance(database, Sqlite):
        if entry.password_file:
            file.problem(where, "an SQLite file has no password", "Take the line out.")
        return Sqlite(state / database.path)
    if entry.password_file is None:
        credentials = os.environ.get("CREDENTIALS_DIRECTORY")
        credential = Path(credentials) / "database-password" if credentials else None
        # Not credential.is_file(): that raises where a folder may not be entered.
        if database.wants_password and credential and os.path.isfile(credential):
            return database.with_password(read_secret(file, credential, ("database",)))
        return database
    if not database.wants_password:
        hint = "Write postgresql://USER@HOST/DATABASE: the user's name in the address, the password in the file alone."
        file.problem(where, "a password file beside an address with a password, or without a user", hint)
        return database
    return database.with_password(read_secret(file, find_secret(entry.password_file, beside), where))


def _mail(file: YamlFile, entry: MailEntry, beside: Path, state: Path) -> Mail:
    maildir = state / (entry.maildir or "Maildir")
    name, address = name_and_address(entry.sender)
    mail = Mail(address, maildir, None, name or SENDER_NAME, entry.unsubscribe or address)
    if entry.smtp is None:
        return mail
    port = entry.smtp.port or {"starttls": 587, "tls": 465, "none": 25}[entry.smtp.security]
    ca_file = beside / entry.smtp.ca_file if entry.smtp.ca_file else None
    password, source = mail_password(file, entry.smtp, beside)
    smtp = Smtp(entry.smtp.host, port, entry.smtp.security, entry.smtp.username, password, ca_file, source)
    return replace(mail, smtp=smtp)


def _operator(entries: FeedsFile) -> Operator | None:
    entry = entries.operator
    if entry is None:
        return None
    return Operator(tuple(dict.fromkeys(entry.to)), timedelta(seconds=entry.feed_failing_after))


def _to(entry: DigestEntry) -> list[str]:
    return entry.to or [LOCAL_RECIPIENT]


def _rules(entries: FeedsFile, claims: Mapping[str, tuple[Claim, Seed]]) -> Rules:
    return Rules(
        feeds=tuple(
            FeedRule(
                id=id,
                url=feed.url,
                interval_seconds=shortest,
                title=feed.title,
                enabled=feed.enabled,
                most_bytes=feed.most_bytes,
                longest_interval_seconds=longest if longest > shortest else None,
            )
            for id, feed in entries.feeds.items()
            for shortest, longest in [pauses_of(feed, entries.polling)]
        ),
        claims=tuple(_claim_rule(*claims[id], entry) for id, entry in entries.claims.items()),
        digests=tuple(
            DigestRule(
                name=name,
                cron=digest.cron_line,
                timezone=digest.timezone,
                recipients=tuple(dict.fromkeys(map(recipient_id, _to(digest)))),
                claims=tuple(digest.claims),
                when_empty=digest.when_empty,
                enabled=digest.enabled,
                every_seconds=digest.every,
                at_most=digest.at_most,
                quiet=digest.quiet,
                still_watching=digest.still_watching,
            )
            for name, digest in entries.digests.items()
        ),
        words={name: tuple(words) for name, words in entries.words.items()},
        within_words=entries.within,
    )


def _claim_rule(claim: Claim, seed: Seed, entry: ClaimEntry) -> ClaimRule:
    return ClaimRule(
        id=claim.id,
        statement=claim.statement,
        seed=seed.id,
        article=f"{seed.author}, “{seed.title}”, {seed.publisher}, {seed.date.isoformat()}",
        made=claim.made,
        kind=claim.kind,
        due=claim.due,
        terms=tuple(map(_term_rule, entry.terms)),
        enabled=entry.enabled,
        never=tuple(map(_term_rule, entry.never)),
    )


def _term_rule(entry: TermEntry) -> TermRule:
    return TermRule(entry.term, entry.stance, entry.note, entry.within, entry.across, tuple(entry.feeds))
