"""The language of watch-terms: what a line means, which part binds first, and what is said of a line that has none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.terms import And, In, Near, Not, Or, Phrase, Term, TermError, Word, parse_term, uncapitalised

A, B, C, D = map(Word, "abcd")


# ── what is written, and what it means ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("pause", Word("pause")),
        ("  pause  ", Word("pause")),
        ("energy strike pause", Near((Word("energy"), Word("strike"), Word("pause")))),
        ('"Black Sea"', Phrase((Word("Black"), Word("Sea")))),
        ('"Black Sea" group', Near((Phrase((Word("Black"), Word("Sea"))), Word("group")))),
        ('"pause"', Word("pause")),
        ("cease-fire", Or((Phrase((Word("cease"), Word("fire"))), Word("ceasefire")))),
        ("2-3", Phrase((Word("2"), Word("3")))),
        ('"a cease-fire"', Or((Phrase((A, Word("cease"), Word("fire"))), Phrase((A, Word("ceasefire")))))),
        ("停火", Phrase((Word("停"), Word("火")))),
        ("https://a.example/b", Phrase((Word("https"), Word("a"), Word("example"), Word("b")))),
        ("Russia's", Word("Russia's")),
        ("=Istanbul", Word("Istanbul", exact=True)),
        ('="Istanbul"', Word("Istanbul", exact=True, cased=True)),
        ('="Black Sea"', Phrase((Word("Black", exact=True, cased=True), Word("Sea", exact=True, cased=True)))),
        (
            "=cease-fire",
            Or((Phrase((Word("cease", exact=True), Word("fire", exact=True))), Word("ceasefire", exact=True))),
        ),
        ("halt*", Word("halt", prefix=True)),
        ('"prisoner exchange"~5', Near((Word("prisoner"), Word("exchange")), within_words=7)),
        ("title:hockey", In("title", Word("hockey"))),
        ("summary:halt*", In("summary", Word("halt", prefix=True))),
        ('content:"Black Sea"', In("content", Phrase((Word("Black"), Word("Sea"))))),
        ("content:(a b)", In("content", Near((A, B)))),
        ("title:(a OR b)", In("title", Or((A, B)))),
        ("title:(a -b)", In("title", And((A, Not(B))))),
        ("prisoner exchange -Gaza", And((Near((Word("prisoner"), Word("exchange"))), Not(Word("Gaza"))))),
        ('a -"Gaza Strip"', And((A, Not(Phrase((Word("Gaza"), Word("Strip"))))))),
        ("a -=Gaza", And((A, Not(Word("Gaza", exact=True))))),
        ("a -title:b", And((A, Not(In("title", B))))),
        ("a -(b c)", And((A, Not(Near((B, C)))))),
        ("a -b -c", And((A, Not(B), Not(C)))),
        ("-b a", And((A, Not(B)))),
        ("energy (strike OR attack)", Near((Word("energy"), Or((Word("strike"), Word("attack")))))),
        ("(((a)))", A),
        ("(a)(b)", Near((A, B))),
        ("a\tb", Near((A, B))),
        ("обмін полоненими", Near((Word("обмін"), Word("полоненими")))),
        ("=AND", Word("AND", exact=True)),
        ("a or b", Near((A, Word("or"), B))),
        ('"a OR b"', Phrase((A, Word("OR"), B))),
    ],
)
def test_a_term_means_what_a_person_would_mean(written: str, means: Term) -> None:
    assert parse_term(written) == means


@pytest.mark.parametrize(
    ("written", "means"),
    [
        ("NOT a b", And((B, Not(A)))),
        ("a NOT b c", And((Near((A, C)), Not(B)))),
        ("a b AND c", And((Near((A, B)), C))),
        ("a AND b c", And((A, Near((B, C))))),
        ("a b OR c d", Or((Near((A, B)), Near((C, D))))),
        ("a AND b OR c AND d", Or((And((A, B)), And((C, D))))),
        ("a OR b AND c OR d", Or((A, And((B, C)), D))),
        ("a OR b c AND d", Or((A, And((Near((B, C)), D))))),
        ("a AND NOT b", And((A, Not(B)))),
        ("a AND NOT b c", And((A, And((C, Not(B)))))),
        ("a -b OR c", Or((And((A, Not(B))), C))),
        ("(a OR b) AND c", And((Or((A, B)), C))),
        ("(a OR b) c", Near((Or((A, B)), C))),
        ("title:a AND b", And((In("title", A), B))),
        ("title:a -b", And((In("title", A), Not(B)))),
        ("a AND b AND c", And((A, B, C))),
        ("a (b c)", Near((A, Near((B, C))))),
    ],
)
def test_not_binds_before_near_before_and_before_or(written: str, means: Term) -> None:
    assert parse_term(written) == means


# ── every tree can be written, and reads back as itself ──────────────────────────────────────────────────────────

_names = st.sampled_from(["halt", "sea", "обмін", "group", "AND"])
_words = st.builds(Word, _names, exact=st.just(True)) | st.builds(
    Word, _names.filter(lambda name: name != "AND"), prefix=st.booleans()
)
_leaves = _words | st.builds(Phrase, st.lists(st.builds(Word, _names), min_size=2, max_size=3).map(tuple))


def _several(parts: st.SearchStrategy[Term]) -> st.SearchStrategy[tuple[Term, ...]]:
    return st.lists(parts, min_size=2, max_size=3).map(tuple)


_local: st.SearchStrategy[Term] = st.recursive(
    _leaves, lambda inner: st.builds(Near, _several(inner)) | st.builds(Or, _several(inner)), max_leaves=5
)
_fielded = _local | st.builds(In, st.sampled_from(["title", "summary", "content"]), _local)
_whole: st.SearchStrategy[Term] = st.recursive(
    _fielded,
    lambda inner: (
        st.builds(Or, _several(inner))
        | st.builds(And, _several(inner))
        | st.builds(lambda part, not_: And((part, Not(not_))), inner, inner)
    ),
    max_leaves=5,
)


def written(term: Term, inside: int = 0) -> str:
    """`term` with the fewest brackets: 0 to 3 is how strongly what is around it binds."""

    def joined(sign: str, parts: tuple[Term, ...], strength: int) -> str:
        line = sign.join(written(part, strength + 1) for part in parts)
        return f"({line})" if inside > strength else line

    match term:
        case Word(text, exact, _, prefix):
            return "=" * exact + text + "*" * prefix
        case Phrase(parts):
            return f'"{" ".join(word.text for word in parts)}"'
        case Or(parts):
            return joined(" OR ", parts, 0)
        case And(parts):
            return joined(" AND ", parts, 1)
        case Near(parts):
            return joined(" ", parts, 2)
        case Not(part):
            return f"NOT {written(part, 3)}"
        case In(field, part):
            return f"{field}:{written(part, 3)}"


@given(_whole)
def test_a_tree_written_with_the_fewest_brackets_reads_back_as_itself(tree: Term) -> None:
    assert parse_term(written(tree)) == tree


# ── what can't be read ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("written", "column", "said"),
    [
        ("", 1, "an empty term"),
        ("   ", 1, "an empty term"),
        ("(a", 1, "this ( is never closed"),
        ("a (b OR (c d)", 3, "this ( is never closed"),
        ("(", 2, "a word is missing here"),
        ("a)", 2, "this ) closes nothing"),
        ("(a) ) b", 5, "this ) closes nothing"),
        (")", 1, "a word is missing here"),
        ("()", 2, "a word is missing here"),
        ("a AND", 6, "a word is missing here"),
        ("a OR ", 6, "a word is missing here"),
        ("AND a", 1, "a word is missing here"),
        ("a OR OR b", 6, "a word is missing here"),
        ("a AND (b OR", 12, "a word is missing here"),
        ("a NOT OR b", 7, "a word is missing here"),
        ("title:)", 7, "a word is missing here"),
        ("a NOT", 3, "NOT must be followed by what may not be there"),
        ("a NOT NOT b", 3, "NOT must be followed by what may not be there"),
        ("a -(-b)", 3, "NOT must be followed by what may not be there"),
        ('a "b c', 3, "this quote is never closed"),
        ('="', 1, "this quote is never closed"),
        ('a ""', 3, "there is no word in ''"),
        ("a & b", 3, "there is no word in '&'"),
        ("a - b", 3, "there is no word in '-'"),
        ("a *", 3, "there is no word in ''"),
        ("=", 1, "there is no word in '='"),
        ("a ha*lt", 5, "'*' can't stand inside a word"),
        ("*halt", 1, "'*' can't stand inside a word"),
        ("halt**", 5, "'*' can't stand inside a word"),
        ("=ha*lt", 4, "'*' can't stand inside a word"),
        ("a halt~3", 7, "'~' can't stand inside a word"),
        ('"a b"~', 6, "'~' can't stand inside a word"),
        ("a titel:b", 3, "there is no field 'titel'"),
        ("Title:b", 1, "there is no field 'Title'"),
        ("title:-a", 1, "title: must be followed by words"),
        ("title:(-a)", 1, "title: must be followed by words"),
        ("title:summary:a", 1, "title: must be followed by words"),
        ("a title:b", 3, "a title: group can't be near something"),
        ("a (b AND c)", 3, "a group with AND or NOT can't be near something"),
        ("a b (c -d)", 5, "a group with AND or NOT can't be near something"),
        ("a (b OR title:c)", 3, "a group with AND or NOT can't be near something"),
        ("-a", 1, "a term of nothing but exclusions would match nearly everything"),
        ("a OR -b", 1, "a term of nothing but exclusions would match nearly everything"),
        ("-a AND -b", 1, "a term of nothing but exclusions would match nearly everything"),
        ("title:(-a -b)", 1, "a term of nothing but exclusions would match nearly everything"),
    ],
)
def test_a_term_that_can_not_be_read_is_told_with_its_column(written: str, column: int, said: str) -> None:
    with pytest.raises(TermError) as caught:
        parse_term(written)
    assert (caught.value.column, caught.value.message) == (column, said)


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("titel:a", "Fields are title, summary, content."),
        ("ha*lt", "A * may end a word: halt*"),
        ("halt~3", 'A ~ follows a phrase: "prisoner exchange"~5'),
        ("a (b AND c)", "Join the two with AND, or write the group without AND, NOT and fields."),
        ("-a", "Add a word that must be there."),
    ],
)
def test_an_unreadable_term_comes_with_what_to_write_instead(written: str, hint: str) -> None:
    with pytest.raises(TermError) as caught:
        parse_term(written)
    assert caught.value.hint == hint


@given(st.text(st.sampled_from("ab \"()=-*~:5'ORANDT") | st.characters(), max_size=25))
def test_any_line_is_either_a_term_or_a_term_error_inside_the_line(line: str) -> None:
    column = 1
    try:
        parse_term(line)
    except TermError as error:
        column = error.column
    assert 1 <= column <= len(line) + 1


def test_brackets_without_end_are_a_term_error_too() -> None:
    with pytest.raises(TermError):
        parse_term("(" * 2_000 + "a" + ")" * 2_000)


def test_a_field_without_its_words_is_refused_and_not_looked_for_as_a_word() -> None:
    with pytest.raises(TermError):
        parse_term("title: hockey")


def test_only_the_last_word_of_a_hyphenated_prefix_is_open_at_its_end() -> None:
    apart = Phrase((Word("Black"), Word("Sea", prefix=True)))
    assert parse_term("Black-Sea*") == Or((apart, Word("BlackSea", prefix=True)))


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("peace or talks", [("or", 7)]),
        ("(peace Or talks) and not gaza", [("Or", 8), ("and", 18), ("not", 22)]),
        ('"peace talks" or title:hockey', [("or", 15)]),
        ("peace AND not gaza", [("not", 11)]),
        ("“peace” or -gaza", [("or", 9)]),
        ("peace OR talks", []),
        ("peace =or talks", []),
        ('"peace or talks"', []),
        ("or* peace notes", []),
        ("peace -or talks", []),
        ("title:or peace", []),
        ("(or peace) (peace or)", []),
        ("or peace or", []),
        ("", []),
    ],
)
def test_an_operator_in_small_letters_between_words_is_found(written: str, found: list[tuple[str, int]]) -> None:
    assert list(uncapitalised(written)) == found
