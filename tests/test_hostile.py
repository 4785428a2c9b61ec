"""Hostile documents through the real command: none stops it, each has its verdict, and memory stays bounded.

`tests/golden/` holds the verdicts, which were looked through by hand; CLAIMWATCH_GOLDEN=yes writes them anew.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.hostile import Round, Served, Verdict, as_lines, bombs, corpus, poll
from tests.support import needs_shared

GOLDEN = Path(__file__).parent / "golden"
MOST_MEGABYTES = 400
"""Of all our processes together, while this goes on."""


@pytest.mark.long
def test_each_bomb_has_its_verdict_and_none_takes_the_machine(tmp_path: Path) -> None:
    assert_verdicts("bombs", bombs(), poll(bombs(), tmp_path))


@pytest.mark.long
@needs_shared
def test_each_hostile_document_of_the_corpus_has_its_verdict_and_none_takes_the_machine(tmp_path: Path) -> None:
    served = corpus()
    done = poll(served, tmp_path)
    assert_verdicts("corpus", served, done)
    # The second time, what was read appends nothing, and what was none is none.
    again = poll(served, tmp_path)
    assert {document for document, (_, items, _) in again.verdicts.items() if items != "0"} == set()
    assert _failures(again.verdicts) == _failures(done.verdicts)


def assert_verdicts(name: str, served: Mapping[str, Served], done: Round) -> None:
    assert set(done.verdicts) == set(served)
    golden = GOLDEN / f"hostile-{name}.tsv"
    if os.environ.get("CLAIMWATCH_GOLDEN"):
        golden.write_text(as_lines(done.verdicts), encoding="utf-8")
    assert as_lines(done.verdicts) == golden.read_text(encoding="utf-8")
    assert done.peak_megabytes <= MOST_MEGABYTES


def _failures(verdicts: Mapping[str, Verdict]) -> set[tuple[str, str]]:
    return {(document, reason) for document, (outcome, _, reason) in verdicts.items() if outcome == "failed"}
