"""JSON Schemas of feeds.yaml and of a seed, made from the classes that check them.

They are for editors, which complete and check a file whose first line is `# yaml-language-server: $schema=FILE`. They
describe what an editor sees (587 is a number, `false` no text) and say draft 7, the last one that all of them read.
Whether a term can be read, or a zone or a claim is there, no schema sees: that is for `claimwatch check`.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from pydantic import BaseModel

from daemon.feedsfile import FeedsFile, SeedFile

_DRAFT = {"$schema": "http://json-schema.org/draft-07/schema#"}


class Schema(StrEnum):
    """What there is a schema of."""

    FEEDS = "feeds"
    SEED = "seed"


_MODELS: dict[Schema, type[BaseModel]] = {Schema.FEEDS: FeedsFile, Schema.SEED: SeedFile}


def schema(of: Schema) -> str:
    """The JSON Schema of feeds.yaml or of a seed, as the text of its file."""
    made = _MODELS[of].model_json_schema()
    return json.dumps(_DRAFT | _plain(made), indent=1, ensure_ascii=False) + "\n"


def _plain(node: Any) -> Any:
    """Pydantic's schema without what an editor would take amiss: the titles that it makes of names are shown as words
    of ours, an empty default is written into the file, and a pattern of keys refuses no other key."""
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, dict):
        return node
    if patterns := node.get("patternProperties"):
        ((pattern, value),) = patterns.items()
        keys = node.get("propertyNames", {}) | {"pattern": pattern}
        node = node | {"propertyNames": keys, "additionalProperties": value}
        del node["patternProperties"]
    return {
        key: {name: _plain(one) for name, one in value.items()} if key == "properties" else _plain(value)
        for key, value in node.items()
        if not _is_noise(key, value)
    }


def _is_noise(key: str, value: Any) -> bool:
    return key == "title" or (key == "default" and (value in (None, "", []) or isinstance(value, dict)))
