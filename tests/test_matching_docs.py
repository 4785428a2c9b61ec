"""The examples of docs/matching.md are true: every row of its tables is run as it stands there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from daemon.soundness import read_term
from tests.support import claim, compiled, rules

PAGE = (Path(__file__).parent.parent / "docs" / "matching.md").read_text(encoding="utf-8")
LISTS: dict[str, list[str]] = yaml.safe_load(re.findall(r"```yaml\n(words:.*?)```", PAGE, re.DOTALL)[0])["words"]


def rows(section: str) -> Iterator[tuple[str, str, str]]:
    """Term, what it meets and what it does not meet, of every row under a heading."""
    text = PAGE.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    for row in re.findall(r"^\| `(.*)` \| (.*) \| (.*) \|$", text, re.MULTILINE):
        term, meets, unmet = row
        yield term, meets, unmet


PLAIN = [*rows("The language"), *rows("Words in every language")]
WITH_LISTS = list(rows("Word lists"))


@pytest.mark.parametrize(("term", "meets", "unmet"), PLAIN)
def test_a_term_of_the_page_meets_what_the_page_says(term: str, meets: str, unmet: str) -> None:
    check(term, meets, unmet, {})


@pytest.mark.parametrize(("term", "meets", "unmet"), WITH_LISTS)
def test_a_term_with_the_lists_of_the_page_meets_what_the_page_says(term: str, meets: str, unmet: str) -> None:
    check(term, meets, unmet, LISTS)


def check(term: str, meets: str, unmet: str, lists: dict[str, list[str]]) -> None:
    read_term(term, 12, lists)
    matcher = compiled(rules(claim("c", term), words={name: tuple(lines) for name, lines in lists.items()}))
    assert matcher.match(title=meets, summary="")
    assert not matcher.match(title=unmet, summary="")


def test_the_page_has_examples_of_both_kinds() -> None:
    assert len(PLAIN) > 25
    assert len(WITH_LISTS) > 3
