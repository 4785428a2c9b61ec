"""`make score`: labelled news against the terms of a feeds.yaml, with every count worked out by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import score as scoring
from benchmarks.score import Score, judge, labelled_claims, macro, main, read_labels, score, table

FEEDS = """\
feeds: {gazette: "https://gazette.example/rss"}
claims:
  ferry-line: {terms: [ferry resume]}
  harbour-toll: {terms: [harbour toll]}
  sea-cable: {terms: [cable break]}
"""
SEED = """\
title: Boats
author: An Author
publisher: A Publisher
date: 2025-03-19
claims:
  ferry-line: {statement: The ferry runs again., made: 2025-03-19, kind: fact}
  harbour-toll: {statement: The toll falls., made: 2025-03-19, kind: fact}
  sea-cable: {statement: The cable holds., made: 2025-03-19, kind: fact}
"""


def labelled(id: str, title: str, *claims: str, **fields: Any) -> dict[str, Any]:
    return {"id": id, "lang": "en", "title": title, "summary": "", "claims": list(claims or ("none",))} | fields


ITEMS = (
    labelled("A1", "The ferry resumed its run", "ferry-line"),
    labelled("A2", "Ferries to resume in May", "ferry-line", contested=["harbour-toll"]),
    labelled("A3", "A boat crosses the strait again", "ferry-line"),
    labelled("A4", "The ferry museum resumes its tours"),
    labelled("A5", "The harbour toll is read aloud", contested=["harbour-toll"]),
    labelled("A6", "Masters pay less at the quay", "harbour-toll", lang="ru"),
    labelled("A7", "A line under the sea was cut", "sea-cable", lang="de", summary="Nobody said how it broke."),
)


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "seeds" / "boats.yaml").write_text(SEED, encoding="utf-8")
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    labels = tmp_path / "labels.jsonl"
    labels.write_text("".join(json.dumps(one) + "\n" for one in ITEMS), encoding="utf-8")
    return tmp_path / "feeds.yaml", labels


def test_each_claim_has_its_true_its_false_and_its_missed(files: tuple[Path, Path]) -> None:
    config, labels = files
    judged = judge(config, read_labels(labels))
    assert labelled_claims(judged) == ["ferry-line", "harbour-toll", "sea-cable"]
    assert score(judged, "ferry-line") == Score(true=2, false=1, missed=1)


def test_where_readers_differed_neither_a_match_nor_a_miss_counts(files: tuple[Path, Path]) -> None:
    config, labels = files
    judged = judge(config, read_labels(labels))
    assert "harbour-toll" in next(one for one in judged if one.item.id == "A5").found
    assert score(judged, "harbour-toll") == Score(true=0, false=0, missed=1)


def test_a_claim_that_is_never_found_pulls_the_mean_down_and_one_that_is_nowhere_does_not_count() -> None:
    silent, absent, half = Score(0, 0, 3), Score(0, 0, 0), Score(1, 1, 1)
    assert (silent.precision, silent.recall) == (0, 0)
    assert (absent.precision, absent.recall) == (None, None)
    assert macro([silent, absent, half]) == (0.25, 0.25)
    assert macro([absent]) == (None, None)


def test_the_table_has_a_block_for_each_language_and_their_sums(files: tuple[Path, Path]) -> None:
    config, labels = files
    lines = list(table(judge(config, read_labels(labels))))
    heads = [line.strip().partition("\n")[0] for line in lines if line.startswith("\n")]
    assert heads == [
        "en: 5 items",
        "ru: 1 items",
        "uk: 0 items",
        "en+ru+uk: 6 items",
        "others: 1 items",
        "all: 7 items",
    ]
    assert lines[-1].split() == ["macro", "0.22", "0.22"]
    assert lines[-4].split() == ["ferry-line", "3", "3", "2", "1", "0.67", "(2/3)", "0.67", "(2/3)"]


def test_what_is_wrong_is_listed_with_the_terms_that_fired(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, labels = files
    assert main(["--labels", str(labels), "--config", str(config), "--wrong"]) == 0
    shown = capsys.readouterr().out
    assert (
        "ferry-line  false  A4  en  The ferry museum resumes its tours\n    ferry resume  →  ferry … resumes" in shown
    )
    assert "ferry-line  missed  A3  en  A boat crosses the strait again" in shown
    assert "A1" not in shown
    assert "A5" not in shown


def test_without_the_shared_labels_it_says_so_and_is_no_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SHARED_LABELS", tmp_path / "dev.jsonl")
    assert main([]) == 0
    assert "LABELS=FILE" in capsys.readouterr().out


def test_a_labels_file_that_is_missing_or_can_not_be_read_is_a_failure_with_its_place(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    config, labels = files
    assert main(["--labels", str(labels.with_name("none.jsonl")), "--config", str(config)]) == 1
    labels.write_text('{"id": "A1", "lang": "en"}\n', encoding="utf-8")
    assert main(["--labels", str(labels), "--config", str(config)]) == 1
    assert "labels.jsonl:1: " in capsys.readouterr().err
