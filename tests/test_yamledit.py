"""Entries set into a YAML file: what was there stays byte for byte, and what comes in is what was meant."""

from __future__ import annotations

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.yamledit import CantInsert, with_entries

NEW = 'globe: "https://globe.example/rss"'
TWO = [NEW, "herald: {title: The Herald, url: h}"]
DIGESTS = "digests:\n  daily: {at: 7:30}\n"


def values(text: str) -> dict[str, object]:
    """What the file says; every scalar is the text that was written."""
    loaded = yaml.load(text, Loader=yaml.CBaseLoader)
    assert isinstance(loaded, dict)
    return loaded


def said(value: Any) -> Any:
    """`value` without the last breaks of its texts: a text block at the end of a file gets the one that it lacked."""
    if isinstance(value, dict):
        return {key: said(one) for key, one in value.items()}
    return value.rstrip("\n") if isinstance(value, str) else value


def is_kept(before: str, after: str) -> bool:
    """Whether nothing of `before` is gone or was moved."""
    codes = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return all(tag in ("equal", "insert") for tag, *_ in codes)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("feeds:\n  a: x\n" + DIGESTS, f"feeds:\n  a: x\n  {NEW}\n" + DIGESTS),
        # The block's indentation, whatever it is.
        ("feeds:\n    a: x\n", f"feeds:\n    a: x\n    {NEW}\n"),
        ("  feeds:\n   a: x\n  digests: {}\n", f"  feeds:\n   a: x\n   {NEW}\n  digests: {{}}\n"),
        # A blank line and a heading stay with what follows.
        ("feeds:\n  a: x\n\n# Digests\n" + DIGESTS, f"feeds:\n  a: x\n  {NEW}\n\n# Digests\n" + DIGESTS),
        # Comments of the block, such as entries that were commented out, stay with what they follow.
        ("feeds:\n  a: x  # first\n  # b: y\n# End\n", f"feeds:\n  a: x  # first\n  # b: y\n  {NEW}\n# End\n"),
        ("feeds:\n  a:\n    url: x\n    # note\n", f"feeds:\n  a:\n    url: x\n    # note\n  {NEW}\n"),
        ("feeds:\n  a: x  \n   \n", f"feeds:\n  a: x  \n  {NEW}\n   \n"),
        ("feeds:\n  a: {url: x,\n     every: 6h}\n", f"feeds:\n  a: {{url: x,\n     every: 6h}}\n  {NEW}\n"),
        ("feeds:\n  a: x\t# a tab\n", f"feeds:\n  a: x\t# a tab\n  {NEW}\n"),
        ("feeds:\n  a:\n", f"feeds:\n  a:\n  {NEW}\n"),
        ("feeds:\n  a: |\n    x\n\ndigests: {}\n", f"feeds:\n  a: |\n    x\n\n  {NEW}\ndigests: {{}}\n"),
        # No line break at the end.
        ("feeds:\n  a: x", f"feeds:\n  a: x\n  {NEW}"),
        (DIGESTS + "feeds:", DIGESTS + f"feeds:\n  {NEW}"),
        # CRLF.
        ("feeds:\r\n  a: x\r\ndigests: {}\r\n", f"feeds:\r\n  a: x\r\n  {NEW}\r\ndigests: {{}}\r\n"),
        ("\ufefffeeds:\n  a: x\n", f"\ufefffeeds:\n  a: x\n  {NEW}\n"),
        (
            "\ufefffeeds: {\r\n  a: x, # one\r\n}\r\n" + DIGESTS,
            f"\ufefffeeds: {{\r\n  a: x, # one\r\n  {NEW},\r\n}}\r\n" + DIGESTS,
        ),
        ("\ufefffeeds: {a: x}\n", f"\ufefffeeds: {{a: x, {NEW}}}\n"),
        ("\ufeff", f"\ufefffeeds:\n  {NEW}\n"),
        # Nothing there yet.
        ("feeds:\n" + DIGESTS, f"feeds:\n  {NEW}\n" + DIGESTS),
        ("feeds:  # none yet\n  # a: x\n" + DIGESTS, f"feeds:  # none yet\n  # a: x\n  {NEW}\n" + DIGESTS),
        ("feeds: ~ # none\n" + DIGESTS, f"feeds:  # none\n  {NEW}\n" + DIGESTS),
        (DIGESTS, DIGESTS + f"feeds:\n  {NEW}\n"),
        (DIGESTS + "# End\n", DIGESTS + f"# End\nfeeds:\n  {NEW}\n"),
        ("---\ndigests: {}\n...\n", f"---\ndigests: {{}}\nfeeds:\n  {NEW}\n...\n"),
        (" digests: {}", f" digests: {{}}\n feeds:\n   {NEW}\n"),
        ("# Nothing but this\n", f"# Nothing but this\nfeeds:\n  {NEW}\n"),
        # Keys with a question mark before them.
        ("? feeds\n: {a: x}\n", f"? feeds\n: {{a: x, {NEW}}}\n"),
        ("feeds:\n  ? a\n  : x\n" + DIGESTS, f"feeds:\n  ? a\n  : x\n  {NEW}\n" + DIGESTS),
        ('feeds:\n  ?   &a "a"\n  : x\n  b: y\n', f'feeds:\n  ?   &a "a"\n  : x\n  b: y\n  {NEW}\n'),
        # Anchors and aliases within the section.
        ("feeds: &all\n  a: &a {url: x}\n  b: *a\n", f"feeds: &all\n  a: &a {{url: x}}\n  b: *a\n  {NEW}\n"),
        # Flow style.
        ("feeds: {}\n" + DIGESTS, f"feeds: {{{NEW}}}\n" + DIGESTS),
        ("feeds: {a: x}\n", f"feeds: {{a: x, {NEW}}}\n"),
        ("feeds: {a: {url: x}, }\n", f"feeds: {{a: {{url: x}}, {NEW}, }}\n"),
        ("feeds: {\n  a: x,  # one\n  b: y  # two\n}\n", f"feeds: {{\n  a: x,  # one\n  b: y,  # two\n  {NEW}\n}}\n"),
        ("feeds: {\n  a: x,  # one\n}\n", f"feeds: {{\n  a: x,  # one\n  {NEW},\n}}\n"),
        ("feeds: {\n  a: x\n  ,\n}\n", f"feeds: {{\n  a: x\n  ,\n  {NEW},\n}}\n"),
        ("feeds: {a: x,\n  b: y}\n", f"feeds: {{a: x,\n  b: y, {NEW}}}\n"),
        ("{feeds: {a: x}, digests: {}}", f"{{feeds: {{a: x, {NEW}}}, digests: {{}}}}"),
        ("{digests: {}}", f"{{digests: {{}}, feeds: {{{NEW}}}}}"),
        ("{}", f"{{feeds: {{{NEW}}}}}"),
    ],
)
def test_an_entry_goes_behind_the_last_one(before: str, after: str) -> None:
    assert with_entries(before, "feeds", [NEW]) == after
    added = values(after).pop("feeds")
    assert isinstance(added, dict)
    assert added["globe"] == "https://globe.example/rss"


def test_several_entries_stand_in_their_order_each_on_a_line() -> None:
    assert with_entries("feeds:\n  a: x\n", "feeds", TWO) == f"feeds:\n  a: x\n  {TWO[0]}\n  {TWO[1]}\n"
    assert with_entries("feeds: {}\n", "feeds", TWO) == f"feeds: {{\n  {TWO[0]},\n  {TWO[1]}\n}}\n"
    assert with_entries("feeds: {\n a: x}\n", "feeds", TWO) == f"feeds: {{\n a: x, {TWO[0]}, {TWO[1]}}}\n"
    assert with_entries("feeds: {\n a: x\n}\n", "feeds", TWO) == f"feeds: {{\n a: x,\n {TWO[0]},\n {TWO[1]}\n}}\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a: b\nfeeds: [a]\n", "line 2: feeds: holds no keys"),
        ("# words\n\nfeeds: words\n", "line 3: feeds: holds no keys"),
        ("- feeds\n", "line 1: it holds no keys"),
        ("feeds: {\n", "it is no YAML"),
        ("a: b\nc: &x {b: c}\nfeeds: *x\n", "line 3: feeds: is an alias of what stands in line 2"),
        ("{feeds: , a: b}\n", "line 1: feeds: holds nothing"),
    ],
)
def test_what_entries_can_not_be_set_into_is_refused_with_its_line(text: str, why: str) -> None:
    with pytest.raises(CantInsert, match=f"^{why}$"):
        with_entries(text, "feeds", [NEW])


BLANKS = st.sampled_from(["", "\n", "   \n", "# a\tcomment\t\n", "  # b: z\n", "      # deep\n"])
ENTRY = st.sampled_from(
    [
        "{key}: https://{key}.example/",
        "{key}:   'https://{key}.example/'   # why",
        '{key}: {{title: Ти\u0301тул — “x”, url: "https://{key}.example/#a"}}',
        "{key}:\n    url: https://{key}.example/\n    # inside\n    title: |\n      T\n",
        "{key}: {{url: x,\n\n     every: 6h}}",
        "{key}: &{key} {{url: x}}",
        '"{key}": "a\\\n    b"',
    ]
)


@settings(deadline=None)
@given(
    entries=st.lists(ENTRY, max_size=4),
    blanks=st.lists(BLANKS, min_size=6, max_size=6),
    around=st.sampled_from([("", ""), ("a: 1\n", ""), ("", "z:\n  - 1\n"), ("a: |\n  text\n\n", "z: {b: c}")]),
    newline=st.sampled_from(["\n", "\r\n"]),
    mark=st.sampled_from(["", "\ufeff"]),
    last_break=st.booleans(),
)
def test_whatever_a_file_looks_like_only_the_entry_comes_to_it(
    entries: list[str], blanks: list[str], around: tuple[str, str], newline: str, mark: str, last_break: bool
) -> None:
    parts = [around[0], blanks[4], "feeds:\n"]
    for number, entry in enumerate(entries):
        parts += [blanks[number], f"  {entry.format(key=f'k{number}')}\n"]
    text = "".join([*parts, blanks[5], around[1]])
    text = mark + (text if last_break else text.rstrip("\n")).replace("\n", newline)
    after = with_entries(text, "feeds", [NEW])
    expected, found = said(values(text)), said(values(after))
    assert is_kept(text, after)
    assert found == expected | {"feeds": (expected["feeds"] or {}) | {"globe": "https://globe.example/rss"}}
