"""The JSON Schemas: they are what the code makes of itself, and an editor that goes by them agrees with `check`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from daemon.errors import ConfigError
from daemon.feedsfile import FeedsFile, SeedFile
from daemon.schemas import Schema, schema
from daemon.settings import load
from daemon.starter import START

REPOSITORY = Path(__file__).resolve().parents[1]
FEEDS_FILES = (REPOSITORY / "feeds.yaml", START / "feeds.yaml", *sorted((REPOSITORY / "seeds").glob("*/feeds.yaml")))
SEEDS = tuple(
    path
    for folder, pattern in ((REPOSITORY, "seeds/*.yaml"), (REPOSITORY, "seeds/*/seeds/*.yaml"), (START, "seeds/*.yaml"))
    for path in sorted(folder.glob(pattern))
)
SEED = """\
title: A Made-Up Article
author: An Author
publisher: A Publisher
date: 2025-03-20
claims: {harbour-opens: {statement: It opens., made: 2025-03-19, kind: prediction}}
"""


class Loader(yaml.SafeLoader):
    """YAML as an editor reads it, which follows YAML 1.2: a date and a time of day are texts there."""


Loader.yaml_implicit_resolvers = {
    letter: [(tag, pattern) for tag, pattern in found if tag != "tag:yaml.org,2002:timestamp"]
    for letter, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def complaints(of: Schema, text: str) -> list[str]:
    """What an editor underlines."""
    validator = Draft7Validator(json.loads(schema(of)), format_checker=Draft7Validator.FORMAT_CHECKER)
    return [error.message for error in validator.iter_errors(yaml.load(text, Loader))]


def is_refused(folder: Path, feeds: str, seed: str = "") -> bool:
    """Whether `check` refuses it."""
    (folder / "seeds").mkdir()
    (folder / "feeds.yaml").write_text(feeds, encoding="utf-8")
    if seed:
        (folder / "seeds" / "made-up.yaml").write_text(seed, encoding="utf-8")
    try:
        load(folder / "feeds.yaml", folder / "state")
    except ConfigError:
        return True
    return False


def mappings_in(node: Any) -> Iterator[dict[str, Any]]:
    for inner in node if isinstance(node, list) else node.values() if isinstance(node, dict) else ():
        yield from mappings_in(inner)
    if isinstance(node, dict):
        yield node


@pytest.mark.parametrize("of", list(Schema))
def test_the_shipped_schema_is_what_the_code_makes(of: Schema) -> None:
    """If not: make schemas."""
    assert (START / "schemas" / f"{of}.schema.json").read_text(encoding="utf-8") == schema(of)


@pytest.mark.parametrize("of", list(Schema))
def test_a_schema_is_one_of_draft_7(of: Schema) -> None:
    Draft7Validator.check_schema(json.loads(schema(of)))


@pytest.mark.parametrize("of", list(Schema))
def test_every_key_is_described(of: Schema) -> None:
    classes = [one["properties"] for one in mappings_in(json.loads(schema(of))) if "properties" in one]
    assert len(classes) >= 2
    assert [name for keys in classes for name, key in keys.items() if not key.get("description")] == []


@pytest.mark.parametrize("of", list(Schema))
def test_nothing_stands_beside_a_reference_where_draft_7_would_not_see_it(of: Schema) -> None:
    assert [one for one in mappings_in(json.loads(schema(of))) if "$ref" in one and len(one) > 1] == []


@pytest.mark.parametrize("path", [*FEEDS_FILES, *SEEDS], ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_a_shipped_file_names_its_schema_in_its_first_line(path: Path) -> None:
    named = path.read_text(encoding="utf-8").splitlines()[0].removeprefix("# yaml-language-server: $schema=")
    of = Schema.FEEDS if path in FEEDS_FILES else Schema.SEED
    assert (path.parent / named).resolve() == START / "schemas" / f"{of}.schema.json"


@pytest.mark.parametrize("path", FEEDS_FILES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_an_editor_finds_no_fault_in_a_shipped_feeds_yaml(path: Path) -> None:
    assert complaints(Schema.FEEDS, path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_an_editor_finds_no_fault_in_a_shipped_seed(path: Path) -> None:
    assert complaints(Schema.SEED, path.read_text(encoding="utf-8")) == []


WELL_WRITTEN = {
    "nothing yet": "feeds: {}\n",
    "sections without anything": "feeds:\nclaims:\nwords:\ndigests:\nmail:\npolling:\n",
    "a bare address": "feeds: {a: https://a.example/}\n",
    "an address with options": "feeds: {a: {url: https://a.example/, title: A, every: 6h, enabled: false}}\n",
    "terms as a block": "claims:\n  hockey:\n    terms: |\n      hockey match\n      puck\n",
    "terms as a list": "claims: {hockey: {terms: [puck, {term: no hockey, stance: contradicts}], enabled: true}}\n",
    "words": "words: {pause: halt, strike: [attack, удар, 155]}\n",
    "a digest at a time": 'digests: {d: {at: "07:30", days: [mon, thu], timezone: Europe/Kyiv, to: [me@b.example]}}\n',
    "a digest on one day to one": 'digests: {d: {at: "7:30", days: sun, to: me@b.example, when_empty: send}}\n',
    "a digest by a cron line": "digests: {d: {cron: 30 7 * * 1-5}}\n",
    "alerts": 'digests: {d: {every: 15m, at_most: 6/day, quiet: "22:00–07:00", timezone: Europe/Kyiv}}\n',
    "a digest that is silent": 'digests: {d: {at: "07:30", quiet: "22:00-7:00", still_watching: never}}\n',
    "a sender with a name": "mail: {from: Watch <me@b.example>, unsubscribe: desk@b.example}\n",
    "a mail server": "mail: {from: me@b.example, smtp: {host: mail.example, port: 587, security: tls}}\n",
    "an operator": "operator: ops@example.org\n",
    "operators": "operator: {to: [ops@example.org, second@example.org], feed_failing_after: 36h}\n",
    "no operator": "operator:\n",
    "polling": "polling: {every: 1h, timeout: 10s, most_bytes: 1000000}\n",
}
MISTAKES = {
    "an unknown section": "feds: {}\n",
    "an unknown key of a feed": "feeds: {a: {url: https://a.example/, evry: 1h}}\n",
    "an unknown key of a claim": "claims: {hockey: {term: x}}\n",
    "an unknown key of a term": "claims: {hockey: {terms: [{term: x, stanse: supports}]}}\n",
    "an unknown key of a digest": 'digests: {d: {at: "07:30", time_zone: UTC}}\n',
    "a password": "mail: {smtp: {host: m, username: me, password: x}}\n",
    "a sender that is none": "mail: {from: Watch}\n",
    "an unknown key of the mail server": "mail: {smtp: {host: m, prot: 25}}\n",
    "a wrong stance": "claims: {hockey: {terms: [{term: x, stance: suports}]}}\n",
    "an operator who is no address": "operator: ops\n",
    "an operator without an address": "operator: {feed_failing_after: 1d}\n",
    "a list of no operators": "operator: {to: []}\n",
    "an interval in words": "polling: {every: soon}\n",
    "an interval of a number": "polling: {every: 15}\n",
    "a feed's interval in words": "feeds: {a: {url: https://a.example/, every: soon}}\n",
    "a feed without an address": "feeds: {a: {title: A}}\n",
    "an address without its scheme": "feeds: {a: news.example/rss}\n",
    "a key with a blank": "feeds: {The Gazette: https://a.example/}\n",
    "feeds as a list": "feeds: [https://a.example/]\n",
    "a switch that is none": "feeds: {a: {url: https://a.example/, enabled: maybe}}\n",
    "a digest without a time": "digests: {d: {to: me@b.example}}\n",
    "a digest with two times": 'digests: {d: {at: "07:30", cron: 30 7 * * *}}\n',
    "alerts with a time": 'digests: {d: {at: "07:30", every: 15m}}\n',
    "alerts on some days": "digests: {d: {every: 15m, days: [mon]}}\n",
    "alerts that want to be sent empty": "digests: {d: {every: 15m, when_empty: send}}\n",
    "a limit of a digest with a time": 'digests: {d: {at: "07:30", at_most: 6/day}}\n',
    "a limit of alerts an hour": "digests: {d: {every: 15m, at_most: 6/hour}}\n",
    "quiet hours without an end": 'digests: {d: {at: "07:30", quiet: "22:00"}}\n',
    "days beside a cron line": "digests: {d: {cron: 30 7 * * *, days: [mon]}}\n",
    "a day by its whole name": 'digests: {d: {at: "07:30", days: [monday]}}\n',
    "an hour after the last": 'digests: {d: {at: "24:00"}}\n',
    "a cron line of four fields": "digests: {d: {cron: 30 7 * *}}\n",
    "a mail address without a domain": 'digests: {d: {at: "07:30", to: nobody}}\n',
    "a wrong way to be empty": 'digests: {d: {at: "07:30", when_empty: never}}\n',
    "a port that there is not": "mail: {smtp: {host: m, port: 99999}}\n",
    "a server without a name": "mail: {smtp: {security: tls}}\n",
    "a wrong protection": "mail: {smtp: {host: m, security: ssl}}\n",
    "a size with a unit": "polling: {most_bytes: 10MB}\n",
    "a file that is no mapping": "- feeds\n",
}
MISTAKES_IN_SEEDS = {
    "an unknown key": ("author:", "autor:"),
    "an unknown key of a claim": ("kind:", "due: 2025-04-01, knd:"),
    "no publisher": ("publisher: A Publisher\n", ""),
    "a date that there is not": ("date: 2025-03-20", "date: 2025-02-30"),
    "a date in words": ("date: 2025-03-20", "date: 20 March 2025"),
    "a claim without its day": (" made: 2025-03-19,", ""),
    "a kind that there is not": ("kind: prediction", "kind: guess"),
    "an id with a blank": ("harbour-opens", "harbour opens"),
    "an address that is none": ("date: 2025-03-20", "date: 2025-03-20\nurl: harbour"),
}


@pytest.mark.parametrize("text", list(WELL_WRITTEN.values()), ids=[name.replace(" ", "_") for name in WELL_WRITTEN])
def test_what_check_takes_an_editor_takes(tmp_path: Path, text: str) -> None:
    if "smtp" not in text:  # a server wants recipients, which is no matter of one file's shape
        assert not is_refused(tmp_path, text)
    assert complaints(Schema.FEEDS, text) == []


@pytest.mark.parametrize("text", list(MISTAKES.values()), ids=[name.replace(" ", "_") for name in MISTAKES])
def test_what_check_refuses_an_editor_underlines(tmp_path: Path, text: str) -> None:
    assert is_refused(tmp_path, text)
    assert complaints(Schema.FEEDS, text) != []


@pytest.mark.parametrize(
    ("before", "after"), list(MISTAKES_IN_SEEDS.values()), ids=[name.replace(" ", "_") for name in MISTAKES_IN_SEEDS]
)
def test_what_check_refuses_of_a_seed_an_editor_underlines(tmp_path: Path, before: str, after: str) -> None:
    seed = SEED.replace(before, after)
    assert seed != SEED
    assert is_refused(tmp_path, "feeds: {}\n", seed)
    assert complaints(Schema.SEED, seed) != []


def test_a_seed_without_fault_is_taken_by_both(tmp_path: Path) -> None:
    assert not is_refused(tmp_path, "feeds: {}\n", SEED)
    assert complaints(Schema.SEED, SEED) == []


@pytest.mark.parametrize(("of", "model"), [(Schema.FEEDS, FeedsFile), (Schema.SEED, SeedFile)])
def test_a_schema_knows_the_keys_of_the_code_by_their_names_in_the_file(
    of: Schema, model: type[FeedsFile] | type[SeedFile]
) -> None:
    assert list(json.loads(schema(of))["properties"]) == list(model.model_fields)
    assert "from" in json.loads(schema(Schema.FEEDS))["$defs"]["MailEntry"]["properties"]
