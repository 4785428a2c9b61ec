"""YAML with places: what a file says, and the line and column where it says it.

`yaml.compose` keeps every scalar as the text that was written (`at: 22:00` is no number of minutes here) and knows
where each node stands; pydantic then checks the values, and `complaints` brings what it says back to those places.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from daemon.errors import ConfigError, Problem

Where = tuple[str | int, ...]

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})


@dataclass
class YamlFile:
    """A file's values with the place of every key and value, and the problems found in it so far.

    `joined` are the texts of several lines that YAML makes one line of, for want of a `|`."""

    name: str
    lines: list[str]
    values: Any = None
    keys: dict[Where, tuple[int, int]] = field(default_factory=dict)
    places: dict[Where, tuple[int, int]] = field(default_factory=dict)
    joined: set[Where] = field(default_factory=set)
    problems: list[Problem] = field(default_factory=list)

    def problem(self, where: Where, message: str, hint: str = "", *, at_key: bool = False) -> None:
        """Notes a problem at a key or value; at the nearest enclosing place where it has none of its own."""
        line, column = self._place(where, at_key)
        self.problems.append(Problem(self.name, line, column, message, hint))

    def problem_in_text(self, where: Where, row: int, text: str, column: int, message: str, hint: str) -> None:
        """Notes a problem at a column (from 1) of `text`, with a caret."""
        caret = f"{text}\n    {' ' * (column - 1)}^ {hint}".rstrip()
        self.problems.append(Problem(self.name, *self.place_in_text(where, row, text, column), message, caret))

    def place_in_text(self, where: Where, row: int, text: str, column: int) -> tuple[int, int]:
        """Where a column (from 1) of `text` is: in row `row` (from 0) of a text block, or in a scalar that is written
        on one line."""
        line, start = self._place(where, at_key=False)
        written = self.lines[line - 1][start - 1 :] if line <= len(self.lines) else ""
        if written[:1] in ("|", ">"):
            line += 1 + row
            written, start = self.lines[line - 1], 1
        # What is written with escapes stands nowhere as it reads: then the value's own place has to do.
        at = written.find(text) if text else 0
        return line, start + at + column - 1 if at >= 0 else start

    def _place(self, where: Where, at_key: bool) -> tuple[int, int]:
        if at_key and where in self.keys:
            return self.keys[where]
        while where and where not in self.places:
            where = where[:-1]
        return self.places.get(where, (1, 1))


def read_yaml(path: Path, name: str | None = None) -> YamlFile:
    """Reads one YAML document. A file that can't be read or is no YAML has its problems noted, and no values."""
    file = YamlFile(name or str(path), [])
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        file.problems.append(Problem(file.name, 0, 0, f"can't be read: {error.strerror}"))
        return file
    except UnicodeDecodeError as error:
        file.problems.append(Problem(file.name, 0, 0, f"is not UTF-8 (byte {error.start})", "Save it as UTF-8."))
        return file
    file.lines = text.splitlines()
    try:
        node = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        file.problems.append(_syntax_problem(file, error))
        return file
    if node is not None:
        file.values = _value(file, node, (), ())
    return file


def _syntax_problem(file: YamlFile, error: yaml.YAMLError) -> Problem:
    mark = getattr(error, "problem_mark", None)
    line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
    written = file.lines[line - 1] if 0 < line <= len(file.lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        at = written.index("\t") + 1
        return Problem(file.name, line, at, "is no YAML: a tab stands here", "Indent with spaces.")
    reason = getattr(error, "problem", None) or str(error)
    if reason.startswith("mapping values are not allowed") and ": " in written[: column - 1]:
        return Problem(file.name, line, column, "is no YAML: a second colon stands here", "Put the text in quotes.")
    return Problem(file.name, line, column, f"is no YAML: {reason}", "Check indentation and quotes.")


def raise_problems(*files: YamlFile) -> None:
    """Raises ConfigError with every problem noted in these files, if there is any."""
    if problems := [problem for file in files for problem in file.problems]:
        raise ConfigError(problems)


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean "feeds"?`, or what there is to choose from."""
    choices = sorted(known)
    if close := difflib.get_close_matches(word, choices, n=1, cutoff=0.6):
        return f"Did you mean {close[0]!r}?"
    return f"There is: {', '.join(choices)}." if choices else ""


def _value(file: YamlFile, node: yaml.Node, where: Where, around: tuple[yaml.Node, ...]) -> Any:
    file.places[where] = _place_of(node)
    if node in around:
        file.problems.append(Problem(file.name, *_place_of(node), "this alias stands inside what it names"))
        return None
    if isinstance(node, yaml.MappingNode):
        return _mapping(file, node, where, around)
    if isinstance(node, yaml.SequenceNode):
        return [_value(file, child, (*where, at), (*around, node)) for at, child in enumerate(node.value)]
    if _is_joined(file, node):
        file.joined.add(where)
    # The C loader says "" where the Python one says None for a scalar without quotes.
    plain = not getattr(node, "style", None)
    return None if plain and node.value in _NULLS else node.value


def _is_joined(file: YamlFile, node: yaml.Node) -> bool:
    begin, end, style = node.start_mark.line, node.end_mark.line, getattr(node, "style", None)
    if style == ">":
        first = next(filter(str.strip, file.lines[begin + 1 : end + 1]), "")
        return first.strip() != str(node.value).strip()
    return style != "|" and end > begin


def _mapping(file: YamlFile, node: yaml.MappingNode, where: Where, around: tuple[yaml.Node, ...]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = _place_of(key_node)
        if not isinstance(key_node, yaml.ScalarNode):
            file.problems.append(Problem(file.name, *place, "a key must be one word", "Quote it if it is meant so."))
            continue
        key = str(key_node.value)
        if key in values:
            before = file.keys[(*where, key)][0]
            hint = f"It stands in line {before} already; the second one would silently win."
            file.problems.append(Problem(file.name, *place, f"{key!r} stands here twice", hint))
            continue
        file.keys[(*where, key)] = place
        values[key] = _value(file, value_node, (*where, key), (*around, node))
    return values


def _place_of(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
