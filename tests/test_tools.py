"""The tools around a term: tried before it is live, held against the live rules, explained when it fired or did not."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

from daemon.backfill import catch_up
from daemon.backtest import VirtualClock
from daemon.cli import app
from daemon.errors import ClaimwatchError
from daemon.eventlog import EventLog
from daemon.explaining import Branch, Met, tree_of
from daemon.inquiries import known_word
from daemon.notation import written
from daemon.outcomes import Changed
from daemon.projections import project
from daemon.rules import Rules, TermRule
from daemon.service import Watch, record_rules
from daemon.settings import load
from daemon.shortfalls import why_not
from daemon.storeditems import count_items, item_text, items_named, stored_items
from daemon.terms import And, In, Near, Not, Or, Phrase, Term, Word, parse_term
from daemon.trials import StoredItem, bars, changed_claims, matches_of
from daemon.unheard import listen, script_of, unheard_words
from tests.databases import AnyDatabase
from tests.support import NOW, claim, compiled, event_log, feed, item, move_on, rss, rules, take_in

FEEDS = """\
feeds:
  gazette: https://gazette.example/rss
  herald: https://herald.example/rss
claims:
  prisoner-exchange:
    terms: |
      prisoner exchange
      captives AND freed
    never: |
      Gaza
  energy-strike-pause:
    terms: [energy pause]
words:
  pause: [halt, moratorium]
"""


def news(title: str, summary: str = "", content: str = "", day: int | None = None) -> dict[str, Any]:
    """An item of a JSON feed, published on a day of March 2025, or without a date."""
    slug = title.lower().replace(" ", "-")
    dated = {"date_published": f"2025-03-{day:02}T08:00:00Z"} if day else {}
    texts = {"title": title, "summary": summary, "content_text": content}
    return {"id": slug, "url": f"https://news.example/{slug}", **texts, **dated}


GAZETTE = (
    news("Prisoner exchange agreed", "Both sides say so.", day=17),
    news("Prisoners swapped at dawn", "The captives were freed.", day=18),
    news("Gaza prisoner exchange stalls", day=18),
    news(
        "Power plants fall silent", "An energy moratorium begins.", content="A prisoner spoke of an exchange.", day=19
    ),
)
HERALD = (
    news("A swap of prisoners is near", day=19),
    news("Harbour [bold]opens[/]", "Rain is expected."),
)


@dataclass(frozen=True)
class Desk:
    """A folder with feeds.yaml and a log, and claimwatch at work on them."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "feeds.yaml"

    def run(self, command: str, *arguments: str, **options: Any) -> Result:
        """The command, whatever it ends with."""
        words = [*command.split(), *arguments, "--config", str(self.config), "--state", str(self.folder / "state")]
        return CliRunner().invoke(app, words, **options)

    def ok(self, command: str, *arguments: str, **options: Any) -> str:
        """What the command prints, which must end well."""
        done = self.run(command, *arguments, **options)
        assert done.exit_code == 0, done.output + repr(done.exception)
        return done.stdout

    def objects(self, command: str, *arguments: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ok(command, *arguments, "--json").splitlines()]

    def matches(self) -> dict[str, int]:
        """The match of each title."""
        return {one["title"]: one["match"] for one in self.objects("matches")}

    def edited(self, folder: Path, *changes: tuple[str, str]) -> str:
        """A copy of feeds.yaml with something else in it."""
        text = self.config.read_text(encoding="utf-8")
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        (folder / "edited.yaml").write_text(text, encoding="utf-8")
        return str(folder / "edited.yaml")


def read_in(log: EventLog, config: Path, feed: str, items: Sequence[dict[str, Any]], at: datetime) -> None:
    """A feed's document as a poll takes it in, under the rules of a feeds.yaml."""
    watch = Watch.over(log, load(config, config.parent / "state").rules, VirtualClock(at))
    record_rules(watch)
    document = {"version": "https://jsonfeed.org/version/1.1", "title": feed, "items": list(items)}
    rule = next(one for one in watch.rules.feeds if one.id == feed)
    take_in(watch, rule, Changed(json.dumps(document).encode(), str(at), None, None, None))
    catch_up(watch)


def made(folder: Path) -> Desk:
    (folder / "state").mkdir()
    (folder / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    desk = Desk(folder)
    with event_log(folder / "state") as log:
        read_in(log, desk.config, "gazette", GAZETTE, NOW)
        read_in(log, desk.config, "herald", HERALD, NOW + timedelta(hours=1))
    return desk


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """Six items of two feeds, for tests that only read."""
    return made(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def own_desk(tmp_path: Path) -> Desk:
    """The same, for a test that writes."""
    return made(tmp_path)


def unboxed(error: str) -> str:
    return " ".join(error.replace("│", " ").split())


# ── a term, written ──────────────────────────────────────────────────────────────────────────────────────────────

_NAMES = st.sampled_from(["halt", "Sea", "обмін", "U.S.", "п'ять", "停", "AND", "or", "NOT"])
_PLAIN = st.builds(Word, _NAMES)
_EXACT = st.builds(Word, _NAMES, exact=st.just(True))
_CASED = st.builds(Word, _NAMES, exact=st.just(True), cased=st.just(True))
_BEGINNINGS = st.builds(Word, _NAMES, exact=st.booleans(), prefix=st.just(True)).filter(
    lambda word: word.exact or word.text not in ("AND", "NOT")
)


def _row(words: st.SearchStrategy[Word]) -> st.SearchStrategy[tuple[Word, ...]]:
    return st.lists(words, min_size=2, max_size=3).map(tuple)


_PHRASES = st.builds(Phrase, _row(_PLAIN) | _row(_CASED))
_SLOPPY = st.builds(
    lambda words, slop: Near(words, within_words=len(words) + slop), _row(_PLAIN) | _row(_CASED), st.integers(0, 9)
)
_HYPHENATED = st.sampled_from(["cease-fire", "=cease-fire", '="Cease-Fire"', "cease-fi*", "нац-рада"]).map(parse_term)
_LEAVES: st.SearchStrategy[Term] = _PLAIN | _EXACT | _CASED | _BEGINNINGS | _PHRASES | _SLOPPY | _HYPHENATED


def _several(parts: st.SearchStrategy[Term]) -> st.SearchStrategy[tuple[Term, ...]]:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


_LOCAL: st.SearchStrategy[Term] = st.recursive(
    _LEAVES, lambda inner: st.builds(Near, _several(inner)) | st.builds(Or, _several(inner)), max_leaves=6
)
_TERMS: st.SearchStrategy[Term] = st.recursive(
    _LOCAL | st.builds(In, st.sampled_from(["title", "summary", "content"]), _LOCAL),
    lambda inner: (
        st.builds(Or, _several(inner))
        | st.builds(And, _several(inner))
        | st.builds(lambda part, excluded: And((part, Not(excluded))), inner, inner)
    ),
    max_leaves=6,
)


@settings(max_examples=60)
@given(_TERMS)
def test_a_term_that_is_written_reads_back_as_itself(tree: Term) -> None:
    assert parse_term(written(tree)) == tree


@pytest.mark.parametrize(
    "line",
    [
        "cease-fi*",
        "=cease-fire",
        '="Black Sea"',
        '"a b"~5',
        '"pause"~3',
        "(a OR b) c AND NOT d",
        "a (b c)",
        "title:(a b)",
    ],
)
def test_what_a_person_writes_survives_being_read_and_written(line: str) -> None:
    assert parse_term(written(parse_term(line))) == parse_term(line)


# ── try ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_term_is_tried_on_every_stored_item(desk: Desk) -> None:
    (tried,) = desk.objects("try", "prisoner (exchange OR swap)")
    assert (tried["items"], tried["found"], tried["without_text"]) == (6, 4, 0)
    assert tried["days"] == {"2025-03-17": 1, "2025-03-18": 2, "2025-03-19": 1}
    assert tried["feeds"] == {"gazette": 3, "herald": 1}
    assert (tried["new"], tried["already"], tried["taken_away"]) == (None, None, 0)
    newest = tried["newest"][0]
    assert (newest["title"], newest["feed"]) == ("A swap of prisoners is near", "herald")
    assert newest["evidence"][0]["surface"] == ["swap", "prisoners"]


def test_a_term_is_tried_beside_the_other_terms_of_its_claim(desk: Desk) -> None:
    (tried,) = desk.objects("try", "prisoner swap", "--claim", "prisoner-exchange")
    assert (tried["found"], tried["new"], tried["already"]) == (2, 1, 1)
    assert {one["title"]: one["new"] for one in tried["newest"]} == {
        "A swap of prisoners is near": True,
        "Prisoners swapped at dawn": False,
    }


def test_a_term_that_the_claim_has_is_not_held_against_itself(desk: Desk) -> None:
    (tried,) = desk.objects("try", "prisoner exchange", "--claim", "prisoner-exchange")
    assert (tried["found"], tried["new"]) == (1, 1)


def test_what_a_claim_never_means_is_taken_away_and_told(desk: Desk) -> None:
    screen = desk.ok("try", "prisoner exchange", "--claim", "prisoner-exchange")
    assert "prisoner exchange: 1 of 6 items\n" in screen
    assert "  1 more met, but taken away by never: of prisoner-exchange\n" in screen
    assert "    Gaza prisoner exchange stalls  (Gaza)\n" in screen


def test_word_lists_work_in_a_term_that_is_tried(desk: Desk) -> None:
    (tried,) = desk.objects("try", "energy pause")
    assert [one["evidence"][0]["surface"] for one in tried["newest"]] == [["energy", "moratorium"]]


def test_a_term_may_look_into_the_content(desk: Desk) -> None:
    assert desk.objects("try", "content:(prisoner exchange)")[0]["found"] == 1


def test_a_term_is_tried_from_a_day_on(desk: Desk) -> None:
    (tried,) = desk.objects("try", "prisoner", "--since", "2025-03-19")
    assert (tried["items"], tried["found"]) == (3, 1), "the item without a date counts by when it was first seen"


def test_the_words_are_marked_and_days_are_bars(desk: Desk) -> None:
    screen = desk.ok("try", "prisoner swap")
    assert "    A *swap* of *prisoners* is near\n" in screen
    assert f"  2025-03-18  {'█' * 40} 1\n" in screen
    assert "  herald   █" in screen
    assert "    Harbour [bold]opens[/]\n" in desk.ok("try", "harbour").replace("*Harbour*", "Harbour")


def test_a_term_that_finds_nothing_says_of_how_many(desk: Desk) -> None:
    assert desk.ok("try", "hockey") == "hockey: 0 of 6 items\n"


@pytest.mark.parametrize(
    ("term", "said"),
    [
        ('"Black Sea', '    "Black Sea\n    ^ Close the phrase with ".\n'),
        ("обмін (полонені", "    обмін (полонені\n          ^ Close it with ).\n"),
        ("北京 (a", "    北京 (a\n         ^ Close it with ).\n"),
    ],
)
def test_a_term_that_cannot_be_read_is_told_with_a_caret(desk: Desk, term: str, said: str) -> None:
    done = desk.run("try", term)
    assert (done.exit_code, done.stdout) == (2, "")
    assert said in done.stderr


def test_a_term_that_would_match_nearly_everything_is_refused_here_too(desk: Desk) -> None:
    done = desk.run("try", "the")
    assert (done.exit_code, done.stdout) == (2, "")
    assert "'the' is in nearly every text\n    the\n    ^ " in done.stderr


def test_a_small_or_is_noted(desk: Desk) -> None:
    assert "note: 'or' is looked for as a word here; write OR" in desk.run("try", "prisoner or captive").stderr


def test_a_claim_that_there_is_not_is_refused_with_the_nearest(desk: Desk) -> None:
    done = desk.run("try", "hockey", "--claim", "prisoner-exchang")
    assert done.exit_code == 2
    assert "feeds.yaml has no claim prisoner-exchang. Did you mean 'prisoner-exchange'?" in unboxed(done.stderr)


def lines(*items: dict[str, Any]) -> str:
    return "".join(json.dumps(one) + "\n" for one in items)


def test_a_file_of_items_needs_no_log(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    items = lines(
        {"id": 7, "feed": "gazette", "title": "Energy halt", "published": "2025-03-18T10:00:00Z"},
        {"title": "Energy halt \x1b[2J", "source": "Herald"},
        {"title": "Rain", "published": "yesterday"},
    )
    (tried,) = (
        json.loads(line)
        for line in Desk(tmp_path).ok("try", "energy pause", "--file", "-", "--json", input=items).splitlines()
    )
    assert (tried["items"], tried["found"], tried["days"]) == (3, 2, {"2025-03-18": 1, "None": 1})
    assert [one["item"] for one in tried["newest"]] == ["7", "line 2"]
    assert not (tmp_path / "state").exists()
    assert "\x1b" not in Desk(tmp_path).ok("try", "energy pause", "--file", "-", input=items)


def test_a_line_that_holds_no_item_is_named(tmp_path: Path) -> None:
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    done = Desk(tmp_path).run("try", "rain", "--file", "-", input='[1]\n{"title": "Rain"}\n')
    assert done.exit_code == 1
    assert ":1: no JSON object" in done.stderr
    assert "rain: 1 of 1 item\n" in done.stdout


@pytest.mark.parametrize(
    ("last", "rows", "first"),
    [
        (date(2025, 3, 31), 31, "2025-03-01"),
        (date(2025, 4, 30), 10, "week of 2025-02-24"),
        (date(2026, 3, 1), 13, "2025-03"),
        (date(2045, 3, 1), 21, "2025"),
    ],
)
def test_days_too_many_for_a_screen_are_weeks_or_months_or_years(last: date, rows: int, first: str) -> None:
    drawn = bars(Counter({date(2025, 3, 1): 2, last: 1, None: 4}))
    assert (len(drawn), drawn[0], drawn[-1]) == (rows + 1, (first, 2), ("no date", 4))


# ── the stored items, on both databases ──────────────────────────────────────────────────────────────────────────────


def test_stored_items_have_their_present_text_in_every_database(database: AnyDatabase) -> None:
    log = EventLog(database.url)
    log.create()
    try:
        watch = Watch.over(log, rules(feed()), VirtualClock(NOW))
        old = item("Обмін полоненими", published=NOW - timedelta(days=9))
        take_in(watch, feed(), Changed(rss(old, item("Rain")), "1", None, None, None))
        move_on(watch, timedelta(hours=1))
        revised = replace(old, summary="Обмін відбувся.")
        take_in(watch, feed(), Changed(rss(revised, item("Sun")), "2", None, None, None))
        with log.reading() as connection:
            stored = {one.title: one for one in stored_items(connection)}
            assert sorted(stored) == ["Rain", "Sun", "Обмін полоненими"]
            assert stored["Обмін полоненими"].summary == "Обмін відбувся."
            assert count_items(connection, since=NOW - timedelta(days=1)) == 2
            newest_first = [one.title for one in stored_items(connection, first_seen_since=NOW)]
            assert newest_first[0] == "Sun"
            assert count_items(connection, first_seen_since=NOW + timedelta(minutes=1)) == 1
            assert [one.title for one in items_named(connection, "ОБМІН  полон")] == ["Обмін полоненими"]
            first = item_text(connection, stored["Обмін полоненими"].id, 1)
            assert first is not None
            assert first.summary == ""
            assert item_text(connection, "none") is None
    finally:
        log.close()


# ── diff ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_edit_changes_nothing_and_that_is_said(desk: Desk) -> None:
    assert desk.ok("diff") == "Nothing would change: no claim's terms differ from the live rules.\n"


def test_an_edit_that_adds_is_told_with_titles(desk: Desk, tmp_path: Path) -> None:
    edited = desk.edited(tmp_path, ("prisoner exchange\n", "prisoner (exchange OR swap)\n"))
    screen = desk.ok("diff", edited)
    assert screen == (
        "prisoner-exchange  +1 −0  terms: 1 new, 1 gone\n  + 2025-03-19  herald  A swap of prisoners is near\n"
    )


def test_an_edit_that_loses_evidence_ends_with_1(desk: Desk, tmp_path: Path) -> None:
    done = desk.run("diff", desk.edited(tmp_path, ("captives AND freed", "captives AND fled")))
    assert done.exit_code == 1
    assert "prisoner-exchange  +0 −1" in done.stdout
    assert "  − 2025-03-18  gazette  Prisoners swapped at dawn\n" in done.stdout
    assert "Earlier evidence would go" in done.stderr


def test_a_claim_that_is_watched_no_more_loses_all_of_its_evidence(desk: Desk, tmp_path: Path) -> None:
    rest = "    terms: [energy pause]"
    done = desk.run("diff", desk.edited(tmp_path, (rest, f"{rest}\n    enabled: false")), "--json")
    assert done.exit_code == 1
    (changed,) = map(json.loads, done.stdout.splitlines())
    assert (changed["claim"], changed["change"], changed["removed"]) == ("energy-strike-pause", "watched no more", 1)


def test_an_edited_word_list_counts_for_the_claims_that_use_it(desk: Desk, tmp_path: Path) -> None:
    done = desk.run("diff", desk.edited(tmp_path, ("halt, moratorium", "halt")), "--json")
    (changed,) = map(json.loads, done.stdout.splitlines())
    assert (changed["claim"], changed["change"], changed["removed"]) == ("energy-strike-pause", "word list pause", 1)
    assert done.exit_code == 1


def test_rules_that_differ_and_match_alike_are_told_as_such(desk: Desk, tmp_path: Path) -> None:
    edited = desk.edited(tmp_path, ("prisoner exchange\n", "prisoner exchange\n      hockey puck\n"))
    assert "No match would change: the rules differ, and all 6 stored items" in desk.ok("diff", edited)


def test_few_titles_are_shown_and_all_on_demand(desk: Desk, tmp_path: Path) -> None:
    edited = desk.edited(tmp_path, ("[energy pause]", '[energy pause, "prisoner OR rain OR prisoners OR swap"]'))
    assert desk.ok("diff", edited).count("\n  + ") == 3
    assert "    and 2 more (--all shows them)\n" in desk.ok("diff", edited)
    assert desk.ok("diff", edited, "--all").count("\n  + ") == 5


def test_a_log_without_rules_has_nothing_to_compare_with(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    with event_log(tmp_path / "state"):
        pass
    error = Desk(tmp_path).run("diff").exception
    assert isinstance(error, ClaimwatchError)
    assert error.message == "the log holds no rules yet"


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        (rules(claim("a", "x")), rules(claim("a", "x"), claim("b", "y")), {"b": "not watched as yet"}),
        (rules(claim("a", "x")), rules(claim("a", "x"), words={"y": ("z",)}), {}),
        (rules(claim("a", "x y"), words={"y": ("z",)}), rules(claim("a", "x y")), {"a": "word list y"}),
        (
            rules(claim("a", "x y"), words={"y": ("z",), "z": ("q",)}),
            rules(claim("a", "x y"), words={"y": ("z",), "z": ()}),
            {"a": "word list y"},
        ),
        (rules(claim("a", "x")), rules(claim("a", "x"), within_words=5), {"a": "within: 12 → 5"}),
        (rules(claim("a", "x")), rules(claim("a", "x", never=(TermRule("y"),))), {"a": "never: changed"}),
        (rules(claim("a", "x", "y")), rules(claim("a", "y", "z", "x")), {"a": "terms: 1 new"}),
    ],
)
def test_only_claims_whose_rules_differ_are_compared(before: Rules, after: Rules, changed: dict[str, str]) -> None:
    assert changed_claims(before, after) == changed


# ── explain ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_match_is_explained_with_its_tree(desk: Desk) -> None:
    screen = desk.ok("explain", str(desk.matches()["Power plants fall silent"]))
    assert "of energy-strike-pause: current\n" in screen
    assert "    An *energy moratorium* begins.\n".strip() in screen
    assert (
        "near each other: within 12 words, in one field\n"
        "├── energy  ← “energy” summary 3–9\n"
        "└── pause (a word list of 2)  ← “moratorium” summary 10–20\n"
    ) in screen
    assert "they are the live ones\n" in screen


def test_a_match_is_explained_as_an_object(desk: Desk) -> None:
    (told,) = desk.objects("explain", str(desk.matches()["Prisoner exchange agreed"]))
    assert (told["claim"], told["state"], told["rules_are_live"]) == ("prisoner-exchange", "current", True)
    assert (told["item_version"], told["text_was_changed"]) == (1, False)
    (term,) = told["terms"]
    assert term["term"]["text"] == "prisoner exchange"
    leaves = {part["says"]: part["met"] for part in term["tree"]["parts"]}
    assert leaves["exchange"] == [{"field": "title", "start": 9, "end": 17, "surface": "exchange"}]


def test_what_is_no_match_is_told(desk: Desk) -> None:
    for position, said in (("1", "event 1 is rules_changed, no match"), ("999", "the log has no event 999")):
        error = desk.run("explain", position).exception
        assert isinstance(error, ClaimwatchError)
        assert error.message == said
    assert "'first' is no match" in unboxed(desk.run("explain", "first").stderr)


def test_a_text_that_was_changed_since_is_explained_as_it_was(own_desk: Desk) -> None:
    match = own_desk.matches()["Prisoner exchange agreed"]
    revised = dict(GAZETTE[0], summary="One side says so.")
    with event_log(own_desk.folder / "state") as log:
        read_in(log, own_desk.config, "gazette", [revised, *GAZETTE[1:]], NOW + timedelta(days=1))
    screen = own_desk.ok("explain", str(match))
    assert "Both sides say so." in screen
    assert "version 1; its text was changed since\n" in screen
    assert f"match {match} of prisoner-exchange: current\n" in screen


def test_a_match_that_lapsed_is_told_as_such(own_desk: Desk) -> None:
    match = own_desk.matches()["Prisoner exchange agreed"]
    revised = dict(GAZETTE[0], title="Talks agreed")
    with event_log(own_desk.folder / "state") as log:
        read_in(log, own_desk.config, "gazette", [revised, *GAZETTE[1:]], NOW + timedelta(days=1))
    (told,) = own_desk.objects("explain", str(match))
    assert (told["state"], told["current"]) == ("lapsed on 2025-03-20 12:00 UTC", False)
    assert told["title"] == "Prisoner exchange agreed"


def test_a_match_of_rules_that_hold_no_more_is_told_as_such(own_desk: Desk) -> None:
    match = own_desk.matches()["Prisoner exchange agreed"]
    own_desk.config.write_text(FEEDS.replace("prisoner exchange\n", "prisoner parade\n"), encoding="utf-8")
    with event_log(own_desk.folder / "state") as log:
        read_in(log, own_desk.config, "herald", HERALD, NOW + timedelta(days=1))
    screen = own_desk.ok("explain", str(match))
    assert "not one that today's rules would make" in screen
    assert "not live any more: the claim has other terms\n" in screen
    assert "├── prisoner  ← “Prisoner” title 0–8\n" in screen


def redact(log: EventLog, item: str) -> None:
    blank = {"title": "", "summary": "", "content": "", "author": None}
    with log.transaction(NOW + timedelta(days=1)) as transaction:
        recorded = transaction.redact(f"item/{item}", "a court's order", blank)
        project(transaction.connection, recorded)


def test_a_redacted_item_is_explained_by_the_words_that_the_match_kept(own_desk: Desk) -> None:
    match = own_desk.matches()["Prisoner exchange agreed"]
    item = own_desk.objects("explain", str(match))[0]["item"]
    with event_log(own_desk.folder / "state") as log:
        redact(log, item)
    screen = own_desk.ok("explain", str(match))
    assert "(text taken out of the log; the words were: Prisoner … exchange)" in screen
    assert "└── exchange  ← “exchange” title 9–17\n" in screen
    assert "as it was made: the item's text was taken out" in screen
    (tried,) = own_desk.objects("try", "prisoner")
    assert (tried["items"], tried["without_text"], tried["found"]) == (5, 1, 3)
    error = own_desk.run("explain", "--why-not", item, "prisoner-exchange").exception
    assert isinstance(error, ClaimwatchError)
    assert "was taken out of the log" in error.message


# ── why not ──────────────────────────────────────────────────────────────────────────────────────────────────────


def reason(term: str | TermRule, texts: dict[str, str], never: str = "", words: Sequence[str] = ()) -> str:
    """Why an item of the gazette does not bear on a claim of one term; `words` are the list `pause`."""
    rule = TermRule(term) if isinstance(term, str) else term
    watched = replace(claim("a"), terms=(rule,), never=(TermRule(never),) if never else ())
    item = StoredItem("1", "gazette", texts.get("title", ""), texts.get("summary", ""), texts.get("content", ""))
    lists = {"pause": tuple(words)} if words else {}
    (verdict,) = why_not(item, watched, rules(watched, words=lists), compiled)
    return f"met: {verdict.reason}" if verdict.met else verdict.reason


ONE_FIELD = "near is meant within one field (across: true lets a term reach from the title into the summary)"
BOTH_IN_THE_TITLE = "(prisoner is there (title: prisoner), exchange is there (title: exchange))"
FAR = "The prisoner " + "very " * 29 + "exchange"


@pytest.mark.parametrize(
    ("term", "texts", "said"),
    [
        ("prisoner", {"title": "Prisoners"}, "met: title: Prisoners"),
        ("prisoner", {"title": "Rain"}, "prisoner is nowhere in the item"),
        ("prisoner", {"title": "Prisonre"}, "prisoner is nowhere in the item (there is “Prisonre”)"),
        (
            "prisoner exchange",
            {"title": "A prisoner"},
            "prisoner is there (title: prisoner); exchange is nowhere in the item",
        ),
        (
            "prisoner exchange",
            {"title": FAR},
            "both are there, but spread over 31 words of the title; within 12 is asked " + BOTH_IN_THE_TITLE,
        ),
        (
            '"prisoner exchange"~1',
            {"title": "prisoner a b c exchange"},
            "both are there, but spread over 5 words of the title; within 3 is asked " + BOTH_IN_THE_TITLE,
        ),
        (
            "prisoner exchange",
            {"title": "Prisoner", "summary": "Exchange"},
            "prisoner is there (title: Prisoner), exchange is there (summary: Exchange): " + ONE_FIELD,
        ),
        (
            "prisoner",
            {"title": "Rain", "content": "A prisoner"},
            "prisoner is in the content alone (content: prisoner); to look there, write content:prisoner",
        ),
        (
            "title:prisoner",
            {"title": "Rain", "summary": "A prisoner"},
            "prisoner is in the summary alone (summary: prisoner), and is asked in the title",
        ),
        ("=prisoner", {"title": "Prisoners"}, "=prisoner is nowhere in the item (there is “Prisoners”)"),
        ('="US"', {"title": "for us"}, '="US" is there in another form alone: “us”'),
        ('"Black Sea"', {"title": "Sea"}, '"Black Sea" is nowhere in the item: Black is nowhere in the item'),
        ('"Black Sea"', {"title": "Sea, black"}, 'the words of "Black Sea" are there, but not one after another'),
        (
            "rain AND NOT wind",
            {"title": "Rain, wind"},
            "rain is there (title: Rain); wind is there (title: wind) and may not be",
        ),
        ("rain OR snow", {"title": "Sun"}, "none of rain, snow is there"),
        (
            "rain OR (snow AND hail)",
            {"title": "Snow"},
            "none of rain, (snow AND hail) is met; nearest: snow is there (title: Snow); hail is nowhere in the item",
        ),
        (
            "(rain OR snow) wind",
            {"title": "Snow"},
            "(rain OR snow) is there (title: Snow); wind is nowhere in the item",
        ),
        (
            "content:(rain wind)",
            {"title": "Rain, wind"},
            "rain is in the title alone (title: Rain), and is asked in the content",
        ),
    ],
)
def test_the_first_condition_that_failed_is_told(term: str, texts: dict[str, str], said: str) -> None:
    assert reason(term, texts) == said


def test_a_word_list_of_which_nothing_is_there_is_told() -> None:
    said = "neither pause nor one of the 2 words and phrases of its list is there"
    assert reason("pause", {"title": "Rain"}, words=["halt", "cease fire"]) == said


def test_what_a_claim_never_means_is_told_where_the_term_is_met() -> None:
    said = "met (title: prisoner), but never: Gaza is there (summary: Gaza)"
    assert reason("prisoner", {"title": "A prisoner", "summary": "In Gaza"}, never="Gaza") == said
    assert (
        reason("prisoner", {"title": "Rain", "summary": "In Gaza"}, never="Gaza") == "prisoner is nowhere in the item"
    )


def test_nearness_is_measured_as_the_term_asks_for_it() -> None:
    far = {"title": "Prisoner", "summary": "A long way to the exchange"}
    assert reason(TermRule("prisoner exchange", across=True), far).startswith("met: ")
    said = reason(TermRule("prisoner exchange", across=True, within_words=3), far)
    assert said.startswith("both are there, but spread over 7 words of the title and summary; within 3 is asked")
    said = reason(TermRule("俄乌 停火", within_words=4), {"title": "俄乌和平谈判后停火"})
    assert said.startswith("both are there, but spread over 5 words of the title; within 4 is asked")


def test_the_shortest_of_many_stretches_is_told() -> None:
    text = "prisoner " + "far " * 40 + "exchange " + "far " * 20 + "prisoner " + "far " * 60 + "exchange"
    said = reason("content:(prisoner exchange)", {"title": "Rain", "content": text})
    assert said.startswith("both are there, but spread over 22 words of the content; within 12 is asked")
    long = "prisoner " + "far " * 6_000 + "exchange"
    said = reason("content:(prisoner exchange)", {"title": "Rain", "content": long})
    assert said.startswith("both are there, but spread over more than 5,000 words of the content")


def test_a_word_with_a_hyphen_is_one_word_to_its_reader() -> None:
    assert reason("cease-fire", {"title": "Fire"}) == "cease-fire is nowhere in the item"
    assert reason("cease-fire talks", {"title": "Ceasefire"}) == (
        "cease-fire is there (title: Ceasefire); talks is nowhere in the item"
    )


def test_a_term_that_looks_at_other_feeds_says_so() -> None:
    term = TermRule("prisoner", feeds=("herald", "observer"))
    assert reason(term, {"title": "Prisoner"}) == "looks only at feeds herald, observer; this item is of gazette"


def test_why_not_is_asked_by_a_part_of_the_title(desk: Desk) -> None:
    screen = desk.ok("explain", "--why-not", "swap of", "prisoner-exchange")
    assert "does not bear on prisoner-exchange\n" in screen
    assert "− prisoner exchange\n    prisoner is there (title: prisoners); exchange is nowhere in the item\n" in screen
    assert "− captives AND freed\n    captives is nowhere in the item\n" in screen


def test_why_not_is_asked_by_a_link_or_an_id(desk: Desk) -> None:
    (told,) = desk.objects("explain", "--why-not", "https://news.example/power-plants-fall-silent", "prisoner-exchange")
    assert "write content:prisoner" in told["terms"][0]["reason"]
    (again,) = desk.objects("explain", "--why-not", told["item"], "prisoner-exchange")
    assert again == told


def test_an_item_that_does_bear_on_the_claim_is_told_with_its_match(desk: Desk) -> None:
    match = desk.matches()["Prisoner exchange agreed"]
    screen = desk.ok("explain", "--why-not", "exchange agreed", "prisoner-exchange")
    assert "bears on prisoner-exchange\n\n+ prisoner exchange\n    met: title: Prisoner … exchange\n" in screen
    assert f"claimwatch explain {match}\n" in screen


def test_terms_that_are_not_live_yet_are_told(own_desk: Desk) -> None:
    own_desk.config.write_text(FEEDS.replace("prisoner exchange", "prisoner swap"), encoding="utf-8")
    done = own_desk.run("explain", "--why-not", "exchange agreed", "prisoner-exchange")
    assert "which are not live yet (claimwatch diff)" in done.stderr


def test_an_item_whose_name_says_too_little_is_not_guessed(desk: Desk) -> None:
    error = desk.run("explain", "--why-not", "prisoner", "prisoner-exchange").exception
    assert isinstance(error, ClaimwatchError)
    assert error.message == "4 items may be meant by 'prisoner'"
    assert "Gaza prisoner exchange stalls" in error.hint
    error = desk.run("explain", "--why-not", "hockey", "prisoner-exchange").exception
    assert isinstance(error, ClaimwatchError)
    assert error.message == "no item is called 'hockey'"


_WORDS_OF_TEXTS = ("halt", "Sea", "обмін", "U.S.", "п'ять", "and", "停", "ceasefire", "cease-fire", "rain")
_TEXTS = st.lists(st.sampled_from(_WORDS_OF_TEXTS), max_size=7).map(" ".join)


@settings(max_examples=20, deadline=None)
@given(_TERMS, _TEXTS, _TEXTS, st.booleans())
def test_any_term_is_explained_as_the_matcher_has_it(tree: Term, title: str, content: str, across: bool) -> None:
    rule = TermRule(written(tree), across=across, within_words=3)
    watched = replace(claim("a"), terms=(rule,))
    under = rules(watched, words={"halt": ("sea", "cease fire")})
    text = StoredItem("1", "gazette", title, "Halt", content)
    found = matches_of(compiled(under), text)
    (verdict,) = why_not(text, watched, under, compiled)
    assert verdict.met == bool(found)
    assert verdict.met or verdict.reason
    for match in found:
        drawn = tree_of(rule, under, text, match.evidence, compiled)
        placed = {(met.field, at) for met in _all_met(drawn) for at in range(met.start, met.end)}
        assert {(one.field, start) for one in match.evidence for start, _ in one.spans} <= placed


def _all_met(branch: Branch) -> Iterator[Met]:
    yield from branch.met
    for part in branch.parts:
        yield from _all_met(part)


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────


def aged(desk: Desk, config: str = FEEDS, days: int = 30) -> Result:
    """What `check` says when some news more came in after so many days."""
    with event_log(desk.folder / "state") as log:
        read_in(log, desk.config, "herald", [news("Moratoriums"), *HERALD], NOW + timedelta(days=days))
    desk.config.write_text(config, encoding="utf-8")
    return desk.run("check")


def test_terms_that_heard_nothing_are_noted_with_how_much_was_looked_at(own_desk: Desk) -> None:
    done = aged(own_desk, FEEDS.replace("captives AND freed", "hockey puck"))
    assert done.exit_code == 0
    said = "note: 1 term met none of the 7 items of the last 30 days of the log:\n    prisoner-exchange: hockey puck\n"
    assert said in done.stderr
    assert own_desk.objects("check")[0]["silent_terms"] == [{"claim": "prisoner-exchange", "term": "hockey puck"}]
    assert "met none" not in own_desk.run("check", "--no-log").stderr


def test_a_word_that_is_likely_a_slip_is_noted_with_the_words_near_it(own_desk: Desk) -> None:
    done = aged(own_desk, FEEDS.replace("prisoner exchange", "prisnoer exchange").replace("moratorium", "moratroium"))
    log = "7 items of the last 30 days of the log"
    assert (
        f"note: prisoner-exchange: 'prisnoer' is in none of the {log}; a slip? There is prisoner (3)\n" in done.stderr
    )
    # A list may hold words of any language, and no dictionary here tells a German word from a slip.
    assert "moratroium" not in done.stderr


@pytest.mark.parametrize(("line", "near"), [("перемерие", ("перемирие",)), ("перемир’я", ()), ("moratroium", ())])
def test_of_a_word_list_only_words_are_judged_that_a_dictionary_would_list(line: str, near: tuple[str, ...]) -> None:
    watched = rules(claim("c", "pause"), words={"pause": (line,)})
    heard = Counter({"перемирие": 3, "moratorium": 2})
    found = unheard_words(watched, heard, compiled, known_word)
    assert [tuple(word for word, _ in one.near) for one in found] == ([near] if near else [])


def test_a_young_log_says_nothing_of_its_terms(own_desk: Desk) -> None:
    assert "met none" not in aged(own_desk, FEEDS.replace("captives AND freed", "hockey puck"), days=1).stderr


def test_a_log_that_cannot_be_read_does_not_fail_a_check(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "claimwatch.sqlite3").write_bytes(b"no database" * 100)
    (tmp_path / "feeds.yaml").write_text(FEEDS, encoding="utf-8")
    done = Desk(tmp_path).run("check")
    assert done.exit_code == 0
    assert "note: the log can't be looked at: " in done.stderr


def test_what_the_first_items_lack_is_looked_for_in_the_rest() -> None:
    watched = rules(claim("a", "rain", "snwo", "hockey", "sunn"))
    items = [StoredItem(str(at), "f", title, "") for at, title in enumerate(("Sun and snow", "Rain", "Snwo"))]
    heard = listen(watched, items, compiled, lambda _word: False, words_of_items=1)
    assert heard.looked_at == 3
    assert [place.term.text for place in heard.terms] == ["hockey", "sunn"]
    assert [(one.word, one.near) for one in heard.words] == [("sunn", (("sun", 1),))]


@pytest.mark.parametrize(
    ("word", "script"),
    [("rain", "LATIN"), ("дощ", "CYRILLIC"), ("п'ять", "CYRILLIC"), ("дoщ", None), ("北京", None), ("g7", None)],
)
def test_only_words_of_one_script_with_capitals_are_judged(word: str, script: str | None) -> None:
    assert script_of(word) == script
