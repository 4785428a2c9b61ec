"""Rules change, history stays: what a backfill leaves equals what a daemon with these rules from day one would have."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from email import message_from_bytes
from email.policy import SMTP
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from daemon import knowledge, queries
from daemon.assembly import rebuild_projections, verify
from daemon.backfill import SMALLEST_CHUNK, Backfill, Progress, catch_up, progress_in, waiting
from daemon.backtest import VirtualClock
from daemon.eventlog import EventLog, read
from daemon.events import BackfillFinished, ClaimMatched, DigestPrepared, MatchLapsed, MatchReviewed, Recorded
from daemon.intake import take_in
from daemon.items import Feed, Item
from daemon.outcomes import Changed
from daemon.preparing import prepare_due
from daemon.rematching import after_rematching
from daemon.rendering import unpack
from daemon.rules import ClaimRule, Rules, TermRule
from daemon.service import Watch, record_rules
from daemon.tables import BackfillRow, MatchRow, table_of
from tests.databases import AnyDatabase
from tests.support import NOW, claim, feed, item, post, rules

DAY = timedelta(days=1)
MATCH, BACKFILL = table_of(MatchRow), table_of(BackfillRow)
Row = tuple[Any, ...]


@dataclass
class World:
    """A log that lives through days of news; its rules may change in between."""

    log: EventLog
    watch: Watch

    @classmethod
    def over(cls, log: EventLog, first: Rules) -> World:
        world = cls(log, Watch.over(log, first, VirtualClock(NOW)))
        record_rules(world.watch)
        return world

    def on_day(self, day: float) -> None:
        assert isinstance(self.watch.clock, VirtualClock)
        self.watch.clock.move_to(NOW + day * DAY)

    def brings(self, *items: Item, of: str = "gazette") -> None:
        """A feed is polled and has these items."""
        # Each document has a hash of its own, or it would be yesterday's.
        outcome = Changed(b"", f"{self.watch.clock.now()} {items}", None, None, None)
        take_in(self.watch, feed(of), outcome, Feed("", items))

    def goes_by(self, changed: Rules) -> None:
        """The rules change; nothing stored is looked at yet."""
        self.watch = Watch.over(self.log, changed, self.watch.clock)
        record_rules(self.watch)

    def waits_for(self) -> Backfill:
        found = waiting(self.watch)
        assert found is not None
        return found

    def matches(self) -> list[Row]:
        """All that today's rules make, and where it stands; not when it was found, and under which rules."""
        return [row[1:] for row in self.stored() if row[0]]

    def stored(self) -> list[Row]:
        """Every match, those that are not current as well."""
        columns = ("current", "claim", "item", "item_version", "feed", "already_there", "evidence", "lapsed_at")
        with self.log.reading() as connection:
            rows = connection.execute(select(*(MATCH.c[column] for column in columns))).all()
        return sorted((tuple(row) for row in rows), key=repr)

    def events(self, *kinds: type) -> list[Recorded]:
        with self.log.reading() as connection:
            return list(read(connection, kinds=[kind.kind for kind in kinds]))  # type: ignore[attr-defined]

    def assert_nothing_is_left_to_find(self) -> None:
        """To go over all of it once more comes to nothing."""
        with self.log.reading() as connection:
            stored = knowledge.stored_items(connection, 0, 10_000)
        for one in stored.items:
            assert after_rematching(one, self.watch.matcher.claims, self.watch.matcher) == []


MEMORY = Path("/dev/shm")
"""Where it is there, stories are written to memory: a thousand commits are a thousand waits for a disk."""


@contextmanager
def world(first: Rules, like: Path | None = None) -> Iterator[World]:
    """A world over a log of its own, which holds what the log `like` does."""
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        file = Path(folder) / "claimwatch.sqlite3"
        if like:
            shutil.copy(like, file)
        with closing(EventLog(f"sqlite:///{file}")) as log:
            if not like:
                log.create()
            yield World.over(log, first)


def copied(one: World, folder: Path) -> Path:
    """The log of a world, in one file, to begin others with."""
    file = folder / "log.sqlite3"
    with closing(sqlite3.connect(str(one.log.database).removeprefix("sqlite:///"))) as raw:
        raw.execute("VACUUM INTO ?", (str(file),))
    return file


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a log that knows nothing yet."""
    folder = tmp_path_factory.mktemp("empty")
    with closing(EventLog(f"sqlite:///{folder / 'made.sqlite3'}")) as log:
        log.create()
        with closing(sqlite3.connect(folder / "made.sqlite3")) as raw:
            raw.execute("VACUUM INTO ?", (str(folder / "empty.sqlite3"),))
    return folder / "empty.sqlite3"


@pytest.fixture(scope="module")
def forty_days(empty: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file of a log that holds forty days by the rules that the world begins with."""
    with world(BEGIN, empty) as one:
        lives_through(one, FORTY_DAYS)
        yield copied(one, tmp_path_factory.mktemp("forty"))


# ── forty days ───────────────────────────────────────────────────────────────────────────────────────────────────

ENERGY = claim("energy-strike-pause")
SEA = claim("black-sea", '"Black Sea"')
BEGIN = rules(ENERGY, words={"strike": ("attack",), "pause": ("halt",)})

Documents = Sequence[tuple[float, str, tuple[Item, ...]]]
FORTY_DAYS: Documents = [
    # What is over a week old at a feed's first poll was already there.
    (0, "gazette", (item("Black Sea talks of old", published=NOW - 30 * DAY), item("Energy strike pause", guid="a"))),
    (1, "herald", (item("An attack on energy, then a halt", guid="a"), item("Black Sea grain", guid="b"))),
    # A revision that lapses one match and makes another; then back again, on a new text.
    (2, "gazette", (item("Black Sea talks instead", guid="a"),)),
    (3, "gazette", (item("Energy strike pause, a Black Sea pause", guid="a"),)),
    (4, "herald", (item("Nothing of it is true", guid="b"), item("A strike", guid="c", content="Black Sea"))),
    # A text that it had before is no revision.
    (5, "gazette", (item("Energy strike pause", guid="a"),)),
    # One guid for two titles: from here on, link and title are the key.
    (6, "herald", (item("Energy shelling ceases", guid="x"), item("A truce in the Black Sea", guid="x"))),
    (7, "herald", (item("Energy shelling ceases", guid="x", summary="Energy strike pause"),)),
    (9, "gazette", (item("Pause of the energy shelling", guid="d"), item("Power plant attack paused", guid="e"))),
    (20, "gazette", (item("Power plant attack goes on", guid="e"), item("A Black Sea ship", guid="f"))),
    (39, "gazette", (item("Black Sea ship, revised", guid="f"),)),
]
AFTERWARDS: Documents = [
    (51, "gazette", (item("No ship", guid="f"), item("Energy strike pause, on the Black Sea", guid="g"))),
    (52, "herald", (item("A halt of the attack on energy", guid="h"), item("Black Sea grain again", guid="i"))),
]


def with_terms(*terms: TermRule | str, **fields: Any) -> ClaimRule:
    made = tuple(TermRule(term) if isinstance(term, str) else term for term in terms)
    return replace(ENERGY, terms=made, **fields)


SHELLING = {"strike": ("attack", "shelling"), "pause": ("halt", "cease"), "energy": ("power plant",)}
CHANGES: dict[str, list[Rules]] = {
    "a claim is new": [replace(BEGIN, claims=(ENERGY, SEA))],
    "a term is new": [replace(BEGIN, claims=(with_terms("energy strike pause", '"Black Sea"'),))],
    "a term goes": [
        replace(BEGIN, claims=(with_terms("energy strike pause", "truce"),)),
        replace(BEGIN, claims=(with_terms("truce"),)),
    ],
    "a term takes a stance": [replace(BEGIN, claims=(with_terms(TermRule("energy strike pause", "supports")),))],
    "a term looks at the content": [replace(BEGIN, claims=(with_terms('content:"Black Sea"', "energy AND pause"),))],
    "a term keeps to one feed": [
        replace(BEGIN, claims=(with_terms(TermRule("energy strike pause", feeds=("herald",))),))
    ],
    "a word list grows": [replace(BEGIN, words=SHELLING)],
    "a word list goes": [replace(BEGIN, words={})],
    "words stand closer together": [replace(BEGIN, within_words=3)],
    "a claim says what it does not mean": [replace(BEGIN, claims=(with_terms("energy", never=(TermRule("halt"),)),))],
    "a claim rests and is watched again": [
        replace(BEGIN, claims=(replace(ENERGY, enabled=False),)),
        BEGIN,
    ],
    "a claim goes and comes again": [replace(BEGIN, claims=(SEA,)), replace(BEGIN, claims=(SEA, ENERGY))],
    "a claim rests": [replace(BEGIN, claims=(replace(ENERGY, enabled=False), SEA))],
    "the rules go back and forth": [replace(BEGIN, claims=(SEA,)), replace(BEGIN, words=SHELLING), BEGIN],
}


def lives_through(one: World, documents: Documents) -> None:
    for day, of, items in documents:
        one.on_day(day)
        one.brings(*items, of=of)


def from_day_one(final: Rules, documents: Documents = (*FORTY_DAYS, *AFTERWARDS)) -> list[Row]:
    """What there is after all of its days in a world whose rules never changed."""
    key = final.sha256, len(documents)
    if key not in _FROM_DAY_ONE:
        with world(final) as one:
            lives_through(one, documents)
            _FROM_DAY_ONE[key] = one.matches()
    return _FROM_DAY_ONE[key]


_FROM_DAY_ONE: dict[tuple[str, int], list[Row]] = {}


@pytest.mark.parametrize("change", CHANGES)
def test_rules_that_change_until_day_forty_come_to_the_same_as_from_day_one(change: str, forty_days: Path) -> None:
    documents = [*FORTY_DAYS]
    with world(BEGIN, forty_days) as one:
        for day, changed in enumerate(CHANGES[change], start=40):
            one.on_day(day)
            one.goes_by(changed)
            catch_up(one.watch)
            documents.append((day, "gazette", (item(f"Energy strike pause, Black Sea truce {day}", guid="z"),)))
            lives_through(one, documents[-1:])
        lives_through(one, AFTERWARDS)
        assert one.matches() == from_day_one(changed, [*documents, *AFTERWARDS])
        one.assert_nothing_is_left_to_find()
        with one.log.reading() as connection:
            counted = {row["id"]: row["matches"] for row in queries.claim_rows(connection)}
        assert counted == {one.id: 0 for one in changed.watched_claims} | Counter(row[0] for row in one.matches())


def test_it_is_the_same_in_every_database(database: AnyDatabase) -> None:
    final = replace(BEGIN, words=SHELLING, claims=(ENERGY, SEA))
    with closing(EventLog(database.url)) as log:
        log.create()
        one = World.over(log, BEGIN)
        lives_through(one, FORTY_DAYS)
        one.goes_by(final)
        while (step := advance(one, 1, items=4)) and not step.finished:
            pass
        lives_through(one, AFTERWARDS)
        before = one.stored()
        assert one.matches() == from_day_one(final)
        rebuild_projections(log)
        assert one.stored() == before
        verify(log)


# ── any story ────────────────────────────────────────────────────────────────────────────────────────────────────

WORDS = ("pause", "energy", "halt", "sea")
titles = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
items = st.builds(
    item,
    titles,
    guid=st.sampled_from(["1", "2", "3"]),
    link=st.just("https://news.example/"),
    summary=st.sampled_from(["", "", "a pause", "energy"]),
    published=st.sampled_from([None, NOW - 30 * DAY]),
)
terms = st.builds(
    TermRule,
    st.sampled_from(["pause", "energy", "energy pause", "sea -halt", "stop", "title:halt"]),
    stance=st.sampled_from(["mentions", "supports"]),
    feeds=st.sampled_from([(), (), ("gazette",)]),
)
claims = st.builds(
    lambda name, terms, enabled: replace(claim(name), terms=tuple(terms), enabled=enabled),
    st.sampled_from(["a", "b"]),
    st.lists(terms, min_size=1, max_size=2),
    st.sampled_from([True, True, False]),
)
rule_sets = st.builds(
    lambda claims, stop: rules(*claims, words={"stop": stop}),
    st.lists(claims, min_size=1, max_size=2, unique_by=lambda one: one.id),
    st.sampled_from([("halt",), ("pause", "sea")]),
)
steps = st.one_of(
    st.tuples(st.just("brings"), st.sampled_from(["gazette", "herald"]), st.lists(items, min_size=1, max_size=3)),
    st.tuples(st.just("goes by"), rule_sets),
    st.tuples(st.just("advances")),
    st.tuples(st.just("forgets")),
)


def live(one: World, story: Sequence[tuple[Any, ...]], *, changing: bool) -> None:
    """Lives through a story; without `changing`, by the rules that the world has."""
    for day, step in enumerate(story, start=1):
        one.on_day(day)
        match step:
            case ("brings", of, found):
                one.brings(*found, of=of)
            case ("goes by", changed) if changing:
                one.goes_by(changed)
            case ("advances",) if changing and (backfill := waiting(one.watch)):
                backfill.chunk_items = 1
                backfill.advance()
            case ("forgets",):
                forget(one)


def forget(one: World) -> None:
    """The cache of how far the backfill is gets lost."""
    with one.log.transaction(NOW) as transaction:
        transaction.connection.execute(delete(BACKFILL))


@pytest.mark.no_cover
def test_any_story_comes_to_what_its_last_rules_would_have_made(empty: Path) -> None:
    @settings(max_examples=15, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(steps, min_size=3, max_size=8), rule_sets, rule_sets)
    def holds(story: list[tuple[Any, ...]], first: Rules, last: Rules) -> None:
        with world(first, empty) as ours, world(last, empty) as theirs:
            live(ours, story, changing=True)
            ours.goes_by(last)
            catch_up(ours.watch)
            live(theirs, story, changing=False)
            assert ours.matches() == theirs.matches()
            ours.assert_nothing_is_left_to_find()

    holds()


# ── cut off ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def changed(forty_days: Path) -> Iterator[World]:
    """A world of forty days whose rules have just changed; its backfill has not begun."""
    with world(BEGIN, forty_days) as one:
        one.on_day(40)
        one.goes_by(replace(BEGIN, claims=(ENERGY, SEA), words=SHELLING))
        yield one


def advance(one: World, chunks: int, items: int = 1) -> Progress | None:
    """So many chunks of so many items, by a process that then ends."""
    backfill = one.waits_for()
    progress = None
    for _ in range(chunks):
        backfill.chunk_items = items
        progress = backfill.advance()
    return progress


def came_to(one: World) -> BackfillFinished:
    (finished,) = one.events(BackfillFinished)
    found: BackfillFinished = finished.event
    return found


@pytest.mark.parametrize("chunks", range(1, 10, 2))
def test_a_backfill_that_was_cut_off_goes_on_where_it_was(changed: World, chunks: int) -> None:
    step = advance(changed, chunks)
    assert step is not None
    assert (step.done, step.finished) == (chunks, None)
    looked_at: list[int] = []
    catch_up(changed.watch, lambda progress: looked_at.append(progress.done))
    assert looked_at[0] > chunks
    assert came_to(changed).items == looked_at[-1]
    lives_through(changed, AFTERWARDS)
    assert changed.matches() == from_day_one(changed.watch.rules)


def test_a_backfill_whose_cache_is_lost_begins_again_and_finds_the_same(changed: World) -> None:
    advance(changed, 5)
    found = len(changed.events(ClaimMatched))
    forget(changed)
    with changed.log.reading() as connection:
        assert progress_in(connection) == Progress(("energy-strike-pause", "black-sea"), 0, 10)
    advance(changed, 5)
    assert len(changed.events(ClaimMatched)) == found
    catch_up(changed.watch)
    retroactive = [one for one in changed.events(ClaimMatched) if one.event.retroactive]
    assert came_to(changed).matched == len(retroactive)
    lives_through(changed, AFTERWARDS)
    assert changed.matches() == from_day_one(changed.watch.rules)


def test_a_poll_in_the_middle_of_it_brings_what_it_brings(changed: World) -> None:
    for (day, of, found), chunks in zip(AFTERWARDS, (2, 4), strict=True):
        advance(changed, chunks)
        changed.on_day(day)
        changed.brings(*found, of=of)
    catch_up(changed.watch)
    assert changed.matches() == from_day_one(changed.watch.rules)
    changed.assert_nothing_is_left_to_find()


def test_rules_that_change_again_take_over_what_is_not_done(changed: World) -> None:
    advance(changed, 3)
    stopped = changed.waits_for()
    changed.goes_by(replace(changed.watch.rules, claims=(*changed.watch.rules.claims, claim("grain"))))
    assert stopped.advance() is None
    assert set(changed.waits_for().claims) == {"energy-strike-pause", "black-sea", "grain"}
    catch_up(changed.watch)
    lives_through(changed, AFTERWARDS)
    assert changed.matches() == from_day_one(changed.watch.rules)


def test_a_backfill_is_done_once(changed: World) -> None:
    assert catch_up(changed.watch) == came_to(changed)
    assert waiting(changed.watch) is None
    assert catch_up(changed.watch) is None
    with changed.log.reading() as connection:
        assert progress_in(connection) is None
        assert connection.execute(select(BACKFILL)).all() == []


def test_rules_that_are_not_those_of_the_log_start_no_backfill(changed: World) -> None:
    other = Watch.over(changed.log, BEGIN, changed.watch.clock)
    assert waiting(other) is None


def test_a_chunk_has_as_many_items_as_its_time_allows(changed: World) -> None:
    backfill = changed.waits_for()
    backfill.chunk_items = 1
    backfill.advance()
    assert backfill.chunk_items == SMALLEST_CHUNK


def test_an_item_whose_text_was_taken_out_is_left_as_it_is(changed: World) -> None:
    with changed.log.reading() as connection:
        first = knowledge.stored_items(connection, 0, 100).items[1]
    with changed.log.transaction(NOW) as transaction:
        transaction.redact(f"item/{first.id}", "a court's order", {"title": "", "summary": "", "content": ""})
    before = [row for row in changed.stored() if row[2] == first.id]
    catch_up(changed.watch)
    assert [row for row in changed.stored() if row[2] == first.id] == before
    assert came_to(changed).items == 10


# ── what is recorded ─────────────────────────────────────────────────────────────────────────────────────────────


def test_the_first_rules_of_a_log_ask_for_nothing(empty: Path) -> None:
    with world(BEGIN, empty) as one:
        assert catch_up(one.watch) is None
        assert one.events(BackfillFinished) == []


@pytest.mark.parametrize(
    "unlike",
    [
        replace(BEGIN, digests=()),
        replace(BEGIN, feeds=(feed("another"),)),
        replace(BEGIN, claims=(replace(ENERGY, statement="In other words."),)),
        replace(BEGIN, claims=(with_terms(TermRule("energy strike pause", note="Seen in March.")),)),
        replace(BEGIN, words=dict(BEGIN.words) | {"unused": ("word",)}),
    ],
    ids=["digests", "feeds", "a statement", "a note", "a word list that no term names"],
)
def test_what_no_match_depends_on_asks_for_nothing(unlike: Rules, empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.goes_by(unlike)
        assert waiting(one.watch) is None


def test_the_log_says_what_was_found_and_under_which_rules(changed: World) -> None:
    sha256 = changed.watch.rules.sha256
    catch_up(changed.watch)
    kinds = {ClaimMatched: 0, MatchReviewed: 0, MatchLapsed: 0}
    (rules_changed,) = [one for one in changed.events() if one.event.kind == "rules_changed" and one.event.rematch]
    for one in changed.events(*kinds):
        if one.position > rules_changed.position:
            kinds[type(one.event)] += 1
            assert getattr(one.event, "rules", sha256) == sha256
            assert getattr(one.event, "retroactive", True)
    assert all(kinds.values())
    done = came_to(changed)
    assert (done.rules, done.claims) == (sha256, ("energy-strike-pause", "black-sea"))
    assert (done.matched, done.changed + done.dropped) == (kinds[ClaimMatched], kinds[MatchReviewed])


def test_a_match_that_todays_rules_do_not_make_stays_as_it_was_made(empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("Energy strike pause"))
        before = one.stored()
        one.goes_by(replace(BEGIN, claims=(with_terms("truce"),)))
        catch_up(one.watch)
        assert one.stored() == [(False, *row[1:]) for row in before]
        assert came_to(one).dropped == 1
        with one.log.reading() as connection:
            assert queries.matches_since(connection, None, None) == []
            (kept,) = queries.matches_since(connection, None, None, dropped=True)
            assert queries.counts(connection)["matches"] == 0
        assert (kept.current, kept.evidence[0].term) == (False, "energy strike pause")


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────


def digests_until(one: World, day: float, folder: Path) -> list[DigestPrepared]:
    """What the daily digests up to a day say, those that are sent."""
    one.on_day(day)
    return [
        recorded.event
        for recorded in prepare_due(one.watch, post(folder))
        if isinstance(recorded.event, DigestPrepared)
    ]


def text_of(prepared: DigestPrepared) -> str:
    part = message_from_bytes(unpack(prepared.message), policy=SMTP).get_body(("plain",))
    assert part is not None
    return " ".join(str(part.get_content()).split())


def test_what_was_found_is_told_once_under_a_heading_of_its_own(tmp_path: Path, empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("Energy strike pause"), item("Black Sea talks"))
        (before,) = digests_until(one, 1, tmp_path)
        one.goes_by(replace(BEGIN, claims=(ENERGY, SEA)))
        catch_up(one.watch)
        one.brings(item("Black Sea grain"))
        (told,) = digests_until(one, 2, tmp_path)
        assert digests_until(one, 3, tmp_path) == []
    assert "what was already here" not in text_of(before)
    assert told.subject == "1 claim moved: black sea (1 + 1 earlier)"
    assert "2 items from 1 feed, 1 of them found in what was already here" in text_of(told)
    news, heading, found = text_of(told).partition("Found in what was already here, by new or changed terms:")
    assert heading
    assert ("*Black Sea* grain" in news, "*Black Sea* talks" in news) == (True, False)
    assert ("*Black Sea* grain" in found, "*Black Sea* talks" in found) == (False, True)
    assert "Energy strike pause" not in text_of(told).replace("*", "")


def test_a_digest_waits_for_no_backfill_and_the_next_one_tells_the_rest(tmp_path: Path, empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("Black Sea one"), item("Black Sea two"), item("Black Sea three"))
        one.goes_by(replace(BEGIN, claims=(ENERGY, SEA)))
        advance(one, 1)
        (first,) = digests_until(one, 1, tmp_path)
        catch_up(one.watch)
        (second,) = digests_until(one, 2, tmp_path)
        assert digests_until(one, 3, tmp_path) == []
        found = [recorded.position for recorded in one.events(ClaimMatched)]
    assert len(found) == 3
    assert (list(first.matches), list(second.matches)) == (found[:1], found[1:])


def test_a_match_that_was_told_is_not_told_again_by_other_words(tmp_path: Path, empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("A truce: energy strike pause", guid="1"))
        one.on_day(0.1)
        one.brings(item("A truce: energy strike pause, it holds", guid="1"))
        assert len(digests_until(one, 1, tmp_path)) == 1
        one.goes_by(replace(BEGIN, claims=(with_terms("truce", "holds"),)))
        catch_up(one.watch)
        assert came_to(one).changed == 1
        assert digests_until(one, 2, tmp_path) == []


def test_a_match_that_is_made_no_more_before_it_was_told_is_not_told(tmp_path: Path, empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("Energy strike pause"))
        one.goes_by(replace(BEGIN, claims=(with_terms("truce"),)))
        catch_up(one.watch)
        assert digests_until(one, 1, tmp_path) == []


def test_a_claim_that_rested_is_told_of_what_came_meanwhile_and_of_nothing_twice(tmp_path: Path, empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("Energy strike pause"))
        assert len(digests_until(one, 1, tmp_path)) == 1
        one.goes_by(replace(BEGIN, claims=(replace(ENERGY, enabled=False),)))
        assert one.matches() == []
        one.brings(item("Another energy strike pause"))
        one.goes_by(BEGIN)
        catch_up(one.watch)
        (told,) = digests_until(one, 2, tmp_path)
        assert len(told.matches) == 1
        assert "Another *energy strike pause*" in text_of(told)
        assert len(one.matches()) == 2


def test_evidence_of_a_reviewed_match_points_into_the_text_that_is_shown(empty: Path) -> None:
    with world(BEGIN, empty) as one:
        one.brings(item("A truce", guid="1"))
        one.on_day(0.1)
        one.brings(item("Energy strike pause, no truce", guid="1"))
        one.goes_by(replace(BEGIN, claims=(with_terms("truce"),)))
        catch_up(one.watch)
        with one.log.reading() as connection:
            (match,) = queries.matches_since(connection, None, None)
        assert (match.title, match.retroactive) == ("A truce", False)
        (evidence,) = match.evidence
        assert [match.title[start:end] for start, end in evidence.spans] == ["truce"]
        assert json.loads(one.stored()[0][6])[0]["term"] == "truce"
