"""Which claims new rules ask to be matched again, and what becomes of the matches on one item: no log, no clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.events import ClaimMatched, Event, Evidence, ItemRevised, ItemSeen, MatchLapsed, MatchReviewed, Recorded
from daemon.rematching import MatchMade, StoredItem, after_rematching, claims_to_rematch
from daemon.rules import Rules, TermRule
from tests.support import NOW, claim, compiled, rules

TRUCE = claim("truce")
RULES = rules(TRUCE, claim("grain"), words={"deal": ("agreement",), "crops": ("wheat",)})


def asked(before: Rules | None, after: Rules, *left: str) -> tuple[str, ...]:
    return claims_to_rematch(before, left, after)


# ── which claims ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_rules_ask_for_nothing_and_the_same_ones_neither() -> None:
    assert asked(None, RULES) == ()
    assert asked(RULES, RULES) == ()


def test_a_claim_is_asked_for_when_it_is_new_or_watched_again() -> None:
    resting = replace(RULES, claims=(TRUCE, replace(RULES.claims[1], enabled=False)))
    assert asked(rules(TRUCE, words=RULES.words), RULES) == ("grain",)
    assert asked(resting, RULES) == ("grain",)
    assert asked(RULES, resting) == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"text": "truce talks"},
        {"stance": "supports"},
        {"within_words": 3},
        {"across": True},
        {"feeds": ("gazette",)},
    ],
    ids=str,
)
def test_a_claim_is_asked_for_when_a_term_differs(changes: dict[str, Any]) -> None:
    changed = replace(TRUCE, terms=(replace(TRUCE.terms[0], **changes),))
    assert asked(RULES, replace(RULES, claims=(changed, RULES.claims[1]))) == ("truce",)


def test_a_claim_is_asked_for_when_what_it_never_means_differs() -> None:
    changed = replace(TRUCE, never=(TermRule("Gaza"),))
    assert asked(RULES, replace(RULES, claims=(changed, RULES.claims[1]))) == ("truce",)


def test_all_claims_are_asked_for_when_words_may_stand_further_apart() -> None:
    assert asked(RULES, replace(RULES, within_words=20)) == ("truce", "grain")


@pytest.mark.parametrize("term", ["a deal", "DEAL", "(grain OR deal) AND sea", "a crop-deal"])
@pytest.mark.parametrize("words", [{"deal": ("agreement", "pact")}, {}], ids=["grows", "goes"])
def test_a_claim_is_asked_for_when_a_word_list_that_a_term_names_differs(
    term: str, words: Mapping[str, tuple[str, ...]]
) -> None:
    before = rules(TRUCE, claim("bargain", term), words={"deal": ("agreement",)})
    assert asked(before, replace(before, words=words)) == ("bargain",)


def test_a_word_list_counts_that_is_named_in_one_that_is_named() -> None:
    before = rules(claim("bargain", "a deal"), words={"deal": ("pact",), "pact": ("treaty",)})
    assert asked(before, replace(before, words=dict(before.words) | {"pact": ("accord",)})) == ("bargain",)


def test_what_was_left_to_do_is_still_to_do_where_the_claim_is_watched() -> None:
    assert asked(RULES, RULES, "grain") == ("grain",)
    assert asked(RULES, rules(TRUCE, words=RULES.words), "grain") == ()


# ── what changes ─────────────────────────────────────────────────────────────────────────────────────────────────

MATCHER = compiled(rules(TRUCE))


def day(number: int) -> datetime:
    return NOW + timedelta(days=number)


def texts(*titles: str) -> list[Recorded]:
    """The events of an item with these texts, one a day."""
    fields: dict[str, Any] = dict.fromkeys(("guid", "link", "author", "published", "lang"))
    fields |= {"feed": "gazette", "summary": "", "content": "", "fingerprint": ""}
    found: list[Event] = [ItemSeen(key="guid", title=titles[0], **fields)]
    found += [ItemRevised(title=title, **fields) for title in titles[1:]]
    return [Recorded(at, "item/1", at, day(at), event) for at, event in enumerate(found, start=1)]


def evidence(start: int = 0, term: str = "truce") -> tuple[Evidence, ...]:
    return (Evidence(term, "mentions", "title", ((start, start + 5),), ("Truce",)),)


def made(position: int, version: int = 1, **fields: Any) -> MatchMade:
    """A match that stands as the rules make it, unless told otherwise."""
    defaults: dict[str, Any] = {"evidence": evidence(), "current": True, "lapsed_at": None}
    return MatchMade(position, "truce", version, **(defaults | fields))


def becomes(titles: Sequence[str], *matches: MatchMade) -> list[tuple[Any, ...]]:
    """What the events say, in short: of matches and reviews the version, of reviews the match as well."""
    short: list[tuple[Any, ...]] = []
    for new in after_rematching(StoredItem("1", texts(*titles), matches), {"truce"}, MATCHER):
        assert new.stream == "claim/truce"
        match new.event:
            case ClaimMatched(retroactive=True) as event:
                short.append(("matched", event.item_version))
            case MatchReviewed(evidence=()) as event:
                short.append(("dropped", event.match))
            case MatchReviewed() as event:
                short.append(("reviewed", event.match, event.item_version))
            case MatchLapsed() as event:
                short.append(("lapsed", event.item_version, event.changed_at))
    return short


@pytest.mark.parametrize(
    ("titles", "matches", "expected"),
    [
        (["Rain"], [], []),
        (["Truce"], [], [("matched", 1)]),
        (["Truce"], [made(9)], []),
        (["Truce", "Truce, still"], [made(9)], []),
        (["Truce", "Rain"], [], [("matched", 1), ("lapsed", 2, day(2))]),
        (["Truce", "Rain", "Truce!"], [], [("matched", 1), ("lapsed", 2, day(2)), ("matched", 3)]),
        (["Rain"], [made(9)], [("dropped", 9)]),
        (["Rain"], [made(9, current=False)], []),
        (["Truce"], [made(9, current=False)], [("reviewed", 9, 1)]),
        (["Truce"], [made(9, evidence=evidence(term="peace"))], [("reviewed", 9, 1)]),
        (["Truce", "Truce, still"], [made(9, 2)], [("reviewed", 9, 1)]),
        (["Truce", "Rain"], [made(9)], [("reviewed", 9, 1), ("lapsed", 2, day(2))]),
        (["Truce", "Rain"], [made(9, lapsed_at=day(2))], []),
        (["Truce", "Truce, still"], [made(9, lapsed_at=day(2))], [("reviewed", 9, 1)]),
        # What stands is what stood, though the text is another; the match before it is new.
        (["Truce", "Rain", "Truce!"], [made(9)], [("matched", 1), ("lapsed", 2, day(2)), ("reviewed", 9, 3)]),
        (["Truce", "Rain", "Truce!"], [made(8, lapsed_at=day(2)), made(9, 3)], []),
        # Two matches that are one now: the one that stands is it.
        (["Truce", "Truce!"], [made(8, lapsed_at=day(2)), made(9, 2)], [("dropped", 8), ("reviewed", 9, 1)]),
    ],
)
def test_what_an_item_s_texts_and_matches_become(
    titles: list[str], matches: list[MatchMade], expected: list[tuple[Any, ...]]
) -> None:
    assert becomes(titles, *matches) == expected


def test_claims_that_nobody_asks_for_are_left_alone() -> None:
    stored = StoredItem("1", texts("Truce"), [made(9, evidence=())])
    assert after_rematching(stored, {"grain"}, MATCHER) == []
