"""What a publisher changed where it was matched, and what is no such change."""

from __future__ import annotations

import time
from dataclasses import dataclass

import pytest

from daemon.edits import Edit, edits
from daemon.events import Evidence


@dataclass(frozen=True)
class Story:
    title: str = ""
    summary: str = ""
    content: str = ""


def met(text: str, *words: str, field: str = "summary") -> Evidence:
    spans = tuple((text.index(word), text.index(word) + len(word)) for word in words)
    return Evidence("a term", "mentions", field, spans, words)  # type: ignore[arg-type]


def told(one: Edit) -> tuple[str, str]:
    """Both sides, what differs between angles."""
    before, after = (
        "".join(f"<{piece.text}>" if piece.marked else piece.text for piece in side) for side in (one.before, one.after)
    )
    return before, after


TEXT = "The ferry sails on Friday. Tickets cost nine crowns. The council voted."


def test_evidence_with_fewer_words_than_places_tells_what_it_has() -> None:
    one = Evidence("a term", "mentions", "summary", ((4, 9), (19, 25)), ("ferry",))
    after = Story(summary="The ferry sails on Sunday. Tickets cost nine crowns. The council voted.")
    assert [told(edit)[1] for edit in edits([one], Story(summary=TEXT), after)] == ["The ferry sails on <Sunday>. …"]


def between(before: str, after: str, *words: str) -> list[tuple[str, str]]:
    return [told(one) for one in edits([met(before, *words)], Story(summary=before), Story(summary=after))]


def test_a_changed_sentence_is_told_before_and_after() -> None:
    after = TEXT.replace("sails on Friday", "does not sail before May")
    assert between(TEXT, after, "ferry", "sails") == [
        ("The ferry <sails> <on> <Friday>. …".replace("> <", " "), "The ferry <does not sail before May>. …")
    ]


@pytest.mark.parametrize(
    "after",
    [
        TEXT,
        TEXT.replace("nine", "ten"),
        TEXT + " Nobody objected.",
        "New: " + TEXT,
        TEXT.upper(),
        TEXT.replace(". ", ".\n"),
        TEXT.replace("Friday.", "Friday!"),
        "Tickets cost nine crowns. The council voted. The ferry sails on Friday.",
    ],
)
def test_a_change_elsewhere_is_no_edit(after: str) -> None:
    assert between(TEXT, after, "ferry", "sails") == []


def test_a_sentence_that_is_gone_has_nothing_after_it() -> None:
    assert between(TEXT, "Tickets cost nine crowns.", "ferry", "sails") == [
        ("The <ferry> <sails> on Friday. …".replace("> <", " "), "")
    ]


def test_a_word_put_in_is_marked_after_only() -> None:
    after = TEXT.replace("sails on", "hardly sails on")
    assert between(TEXT, after, "ferry") == [("The ferry sails on Friday. …", "The ferry <hardly> sails on Friday. …")]


def test_in_a_text_that_was_not_matched_the_words_are_looked_for() -> None:
    evidence = met("The ferry sails.", "ferry")
    before, after = Story(summary="Today: the Ferry sails."), Story(summary="Today: the Ferry rests.")
    assert [told(one) for one in edits([evidence], before, after)] == [
        ("Today: the Ferry <sails>.", "Today: the Ferry <rests>.")
    ]


def test_each_field_is_looked_at_and_a_copy_told_once() -> None:
    old, new = "The ferry sails", "The ferry rests"
    evidence = [met(old, "ferry", field=field) for field in ("title", "summary", "content")]
    changed = edits(evidence, Story(old, old, "The ferry sails. Soon."), Story(new, new, "The ferry rests. Soon."))
    assert [told(one)[0] for one in changed] == ["The ferry <sails>", "The ferry <sails>. …"]


def test_a_long_text_without_an_end_is_compared_in_no_time() -> None:
    before = "ferry " + "one two three four five " * 8_000
    begun = time.perf_counter()
    (one,) = edits(
        [met(before, "ferry")], Story(content=before, summary=before), Story(summary="ferries " + before[6:])
    )
    assert sum(len(piece.text) for piece in one.before) < 400
    assert time.perf_counter() - begun < 3
