"""Entries set into a YAML file whose every other byte stays as it is.

A library that reads and writes whole files (ruamel.yaml) keeps comments and order, and makes indentation, line breaks
and long lines its own. Here the marks of the parser say where the last entry ends, and lines are put in behind it.
Whoever calls this compares what the file said before and says then: nothing here knows what the entries mean.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import yaml

from daemon.yamlfiles import LOADER

_INDENT = 2
_BYTE_ORDER_MARK = "\ufeff"
_BLANKS_AND_COMMENTS = re.compile(r"(?:[ \t\r\n]+|#[^\r\n]*)*")


class CantInsert(ValueError):
    """The file is written in a way that entries can't be set into."""


def _refusal(node: yaml.Node, why: str) -> CantInsert:
    return CantInsert(f"line {node.start_mark.line + 1}: {why}")


@dataclass(frozen=True)
class _Text:
    """A file's text, with the ends of its lines."""

    text: str

    @property
    def newline(self) -> str:
        first = re.search(r"\r?\n", self.text)
        return first[0] if first else "\n"

    def line_start(self, at: int) -> int:
        return self.text.rfind("\n", 0, at) + 1

    def next_line(self, at: int) -> int:
        """Where the line after that of `at` starts; the text's end, where there is none."""
        end = self.text.find("\n", at)
        return len(self.text) if end < 0 else end + 1

    def line_end(self, at: int) -> int:
        """Before the line break of the line that `at` is in."""
        end = self.next_line(at)
        return end - len(re.search(r"(?:\r?\n)?\Z", self.text[max(0, end - 2) : end])[0])  # type: ignore[index]

    def indent_at(self, at: int) -> str:
        return re.match(r"[ \t]*", self.text[at:])[0]  # type: ignore[index]


def with_entries(text: str, section: str, entries: Sequence[str]) -> str:
    """`text` with these entries (each `key: value` on one line) at the end of a section of its top level.

    Raises CantInsert where the section is an alias, a list, or no YAML at all.
    """
    # Cut off, because the parser's marks don't count it.
    bare = text.removeprefix(_BYTE_ORDER_MARK)
    return text[: len(text) - len(bare)] + _with_entries(bare, section, entries)


def _with_entries(text: str, section: str, entries: Sequence[str]) -> str:
    try:
        root = yaml.compose(text, Loader=LOADER)
    except yaml.YAMLError as error:
        raise CantInsert("it is no YAML") from error
    if root is None:
        return text + _section_lines(_Text(text), section, entries, "", len(text))
    if not isinstance(root, yaml.MappingNode):
        raise _refusal(root, "it holds no keys")
    file = _Text(text)
    for key, value in root.value:
        if isinstance(key, yaml.ScalarNode) and key.value == section:
            if value.start_mark.index < key.end_mark.index:
                raise _refusal(key, f"{section}: is an alias of what stands in line {value.start_mark.line + 1}")
            insertions = _into(file, root, key, value, entries)
            break
    else:
        insertions = _without_section(file, root, section, entries)
    for start, end, added in sorted(insertions, reverse=True):
        text = text[:start] + added + text[end:]
    return text


_Insertion = tuple[int, int, str]
"""Where it begins, where what it replaces ends, and the text."""


def _into(
    file: _Text, root: yaml.MappingNode, key: yaml.Node, value: yaml.Node, entries: Sequence[str]
) -> list[_Insertion]:
    if isinstance(value, yaml.MappingNode):
        if value.flow_style:
            return _into_flow(file, value, entries)
        last = _end_of(file, value)
        return _lines_after(file, last, " " * _column_of_entries(file, value), entries)
    if not isinstance(value, yaml.ScalarNode) or value.style or value.value not in ("", "~", "null", "Null", "NULL"):
        raise _refusal(key, f"{key.value}: holds no keys")
    if root.flow_style:
        raise _refusal(key, f"{key.value}: holds nothing")
    begin, end = value.start_mark.index, value.end_mark.index
    # An explicit null makes room.
    erased = [(begin, end, "")] if begin < end else []
    return erased + _lines_after(file, end, " " * (key.start_mark.column + _INDENT), entries)


def _column_of_entries(file: _Text, value: yaml.MappingNode) -> int:
    """Where the entries of a block begin: with their key, or with the question mark before it (`? key`)."""
    begin = value.value[0][0].start_mark
    before = re.search(r"\?[ \t]+\Z", file.text[file.line_start(begin.index) : begin.index])
    return int(begin.column) - len(before[0] if before else "")


def _lines_after(file: _Text, at: int, indent: str, entries: Sequence[str]) -> list[_Insertion]:
    """Lines after that of `at`, and after the comments of the same block that follow on it: entries that were commented
    out, as a rule."""
    place = at if at == file.line_start(at) and at else file.next_line(at)
    while place < len(file.text):
        own = file.indent_at(place)
        if not file.text[place + len(own) :].startswith("#") or len(own) < len(indent):
            break
        place = file.next_line(place)
    begin = "" if file.text[:place].endswith("\n") else file.newline
    lines = file.newline.join(f"{indent}{entry}" for entry in entries)
    return [(place, place, f"{begin}{lines}{'' if begin else file.newline}")]


def _into_flow(file: _Text, value: yaml.MappingNode, entries: Sequence[str]) -> list[_Insertion]:
    close = value.end_mark.index - 1
    if not value.value:
        if len(entries) == 1:
            return [(close, close, entries[0])]
        indent = file.indent_at(file.line_start(value.start_mark.index))
        inner = f"{file.newline}{indent}{' ' * _INDENT}"
        return [(close, close, f"{inner}{f',{inner}'.join(entries)}{file.newline}{indent}")]
    first, end = value.value[0][0].start_mark, _end_of_flow(value)
    behind = _BLANKS_AND_COMMENTS.match(file.text, end).end()  # type: ignore[union-attr]
    comma = behind + 1 if file.text[behind] == "," else 0
    place = file.line_end(comma or end)
    if first.line == value.start_mark.line or place >= close:
        return [(end, end, "".join(f", {entry}" for entry in entries))]
    # Each on a line of its own, as the others are: a comment behind the last one stays with it.
    inner = f"{file.newline}{' ' * first.column}"
    added = f"{inner}{f',{inner}'.join(entries)}"
    if comma:
        return [(place, place, f"{added},")]
    return [(end, end, ","), (place, place, added)] if end < place else [(end, end, f",{added}")]


def _end_of_flow(node: yaml.MappingNode) -> int:
    key, value = node.value[-1]
    return max(int(key.end_mark.index), int(value.end_mark.index))


def _without_section(file: _Text, root: yaml.MappingNode, section: str, entries: Sequence[str]) -> list[_Insertion]:
    if root.flow_style:
        close = root.end_mark.index - 1
        if not root.value:
            return [(close, close, f"{section}: {{{', '.join(entries)}}}")]
        end = _end_of_flow(root)
        return [(end, end, f", {section}: {{{', '.join(entries)}}}")]
    indent = " " * root.value[0][0].start_mark.column
    # Before `...`, where there is one; comments at the end stay at the end of what they follow.
    end = root.end_mark.index
    return [(end, end, _section_lines(file, section, entries, indent, end))]


def _section_lines(file: _Text, section: str, entries: Sequence[str], indent: str, at: int) -> str:
    begin = "" if not at or file.text[:at].endswith("\n") else file.newline
    lines = [f"{indent}{section}:", *(f"{indent}{' ' * _INDENT}{entry}" for entry in entries)]
    return begin + "".join(f"{line}{file.newline}" for line in lines)


def _end_of(file: _Text, node: yaml.Node) -> int:
    """Where what a node says ends; the parser's own mark of a block stands behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode | yaml.SequenceNode) and not node.flow_style and node.value:
        last = node.value[-1]
        children = last if isinstance(last, tuple) else (last,)
        return max(_end_of(file, child) for child in children)
    end = int(node.end_mark.index)
    if isinstance(node, yaml.ScalarNode) and node.style in ("|", ">"):
        # The mark stands in the first line behind the text, where there is one.
        return end if end == len(file.text) else file.line_start(end)
    return end
