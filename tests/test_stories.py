"""Stories: made-up news in four languages. How well real news is told apart is measured by benchmarks/stories.py."""

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.independence import agency_of, publisher_of
from daemon.stories import Report, Story, stories

MORNING = datetime(2025, 3, 19, 6, 0, tzinfo=UTC)

# What else a day brings, so that a batch has common words and rare ones.
OTHER_NEWS = (
    "Parliament in Kyiv passes the budget after a night of quarrels",
    "Moscow court fines a bookshop for its window display",
    "Farmers block the border crossing with Poland over grain prices",
    "Grid operator warns of evening cuts as frost returns to the east",
    "Central bank in Moscow leaves its rate where it was",
    "Rescuers look for miners below ground near Pavlohrad",
    "Ministers in Brussels quarrel over frozen assets of Russia",
    "Orchestra from Lviv opens its tour of Japan",
)


def report(match: int, title: str, summary: str = "", *, feed: str = "", hours: float = 0.0, link: str = "") -> Report:
    """A report in a feed of its own at six in the morning, unless told otherwise."""
    feed = feed or f"feed-{match}"
    where = link or f"https://{feed}.example/{match}"
    return Report(match, feed, title, summary, where, MORNING + timedelta(hours=hours))


def with_other_news(*reports: Report) -> list[Report]:
    return [*reports, *(report(1_000 + number, title, hours=number) for number, title in enumerate(OTHER_NEWS))]


def story_of(match: int, told: Sequence[Story]) -> Story:
    return next(story for story in told if match in story.reports)


# ── the same news ────────────────────────────────────────────────────────────────────────────────────────────────

SAME_NEWS = {
    "English": (
        "Ukraine and Russia agree to spare power stations for thirty days",
        "Moscow, Kyiv agree: no strikes on power stations for 30 days",
    ),
    "Russian": (
        "Россия и Украина договорились не обстреливать электростанции тридцать дней",
        "Договорённость России и Украины: электростанции не будут обстреливать месяц",
    ),
    "Ukrainian": (
        "Україна і Росія домовилися не обстрілювати електростанції тридцять днів",
        "Домовленість України та Росії: місяць без обстрілів електростанцій",
    ),
    "Chinese": ("俄乌同意三十天内不袭击发电站", "俄罗斯、乌克兰同意三十天内停止袭击发电站"),
}


@pytest.mark.parametrize("language", SAME_NEWS)
def test_two_feeds_with_the_same_news_in_their_own_words_are_one_story_of_two_sources(language: str) -> None:
    first, second = SAME_NEWS[language]
    told = stories(with_other_news(report(1, second, hours=2), report(2, first)))
    assert story_of(1, told) == Story((2, 1), 2)


def test_other_news_of_the_day_stay_stories_of_their_own() -> None:
    assert stories(with_other_news()) == tuple(Story((1_000 + number,), 1) for number in range(len(OTHER_NEWS)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Zelensky meets Macron in Paris to talk about fighter jets", "Zelensky names a new envoy for Black Sea trade"),
        ("Путин принял в Кремле министра иностранных дел Турции", "Путин подписал указ о призыве резервистов"),
        ("Зеленський зустрівся з Макроном у Парижі", "Зеленський звільнив голову митниці"),
        ("泽连斯基在巴黎会见马克龙", "泽连斯基任命新任国防部长"),
    ],
)
def test_two_events_that_share_names_stay_apart(one: str, other: str) -> None:
    told = stories(with_other_news(report(1, one), report(2, other, hours=1)))
    assert story_of(1, told) == Story((1,), 1)
    assert story_of(2, told) == Story((2,), 1)


def test_an_updated_headline_of_the_same_feed_joins_and_is_no_second_source() -> None:
    first = report(1, "Blast in Odesa port: three hurt, grain store on fire", feed="gazette")
    later = report(2, "Blast in Odesa port: five hurt, grain store burnt down", feed="gazette", hours=3)
    assert story_of(1, stories(with_other_news(first, later))) == Story((1, 2), 1)


def test_the_same_words_a_week_later_are_other_news() -> None:
    title = "Envoys of Russia and Ukraine meet in Istanbul to talk about prisoners"
    later = "Envoys from Russia, Ukraine in Istanbul again for talks on prisoners"
    told = stories(with_other_news(report(1, title), report(2, later, hours=2), report(3, later, hours=200, feed="x")))
    assert {1, 2} <= set(story_of(1, told).reports)
    apart = stories(with_other_news(report(1, title), report(2, later, hours=200)))
    assert story_of(1, apart) == Story((1,), 1)


def test_a_chain_of_small_steps_does_not_make_one_story_of_all() -> None:
    chain = [report(at, " ".join(str(number) for number in range(100 + at, 104 + at))) for at in range(40)]
    told = stories(chain)
    assert 1 < max(len(story.reports) for story in told) < 10


def test_reports_in_two_languages_meet_by_figures_and_names_spelt_alike() -> None:
    one = report(1, "Gripen 39C crashes near Rzeszow")
    other = report(2, "Gripen 39C: катастрофа, Rzeszow", hours=1)
    assert story_of(1, stories(with_other_news(one, other))).reports == (1, 2)


# ── sources ──────────────────────────────────────────────────────────────────────────────────────────────────────

WIRE = (
    "Negotiators left the hotel in Riyadh after twelve hours without a joint statement, and aides on both sides said "
    "that ships in the Black Sea would be spoken of again next week."
)


def test_copies_of_one_wire_are_one_story_and_one_source_whatever_their_headlines_are() -> None:
    copies = [
        report(1, "No statement after Riyadh talks", WIRE),
        report(2, "Twelve hours, no paper: how the delegations parted", f"{WIRE} More follows.", hours=1),
        report(3, "Black Sea shipping put off", WIRE[:110], hours=2),
    ]
    assert story_of(1, stories(with_other_news(*copies))) == Story((1, 2, 3), 1)


def test_a_report_in_words_of_its_own_beside_two_copies_is_the_second_source() -> None:
    reports = [
        report(1, "No joint statement after twelve hours of talks in Riyadh", WIRE),
        report(2, "Talks in Riyadh end without joint statement", WIRE, hours=1),
        report(3, "Riyadh talks end after twelve hours without a statement", "Our correspondent waited.", hours=2),
    ]
    assert story_of(1, stories(with_other_news(*reports))) == Story((1, 2, 3), 2)


def test_two_that_credit_the_same_agency_are_one_source() -> None:
    first = report(1, "Odesa port hit by drones in the night", "ODESA, March 19 (Reuters) - Drones hit the port.")
    second = report(2, "Drones hit port of Odesa in the night", "A pier burnt, an official told Reuters.", hours=1)
    assert story_of(1, stories(with_other_news(first, second))) == Story((1, 2), 1)
    alone = report(2, "Drones hit port of Odesa in the night", "A pier burnt, an official told us.", hours=1)
    assert story_of(1, stories(with_other_news(first, alone))) == Story((1, 2), 2)


def test_two_feeds_of_one_publisher_are_one_source() -> None:
    first = report(1, "Odesa port hit by drones in the night", link="https://www.daily.example.co.uk/world/1")
    second = report(2, "Drones hit port of Odesa in the night", link="https://amp.daily.example.co.uk/2", hours=1)
    assert story_of(1, stories(with_other_news(first, second))).sources == 1
    elsewhere = report(2, "Drones hit port of Odesa in the night", link="https://weekly.co.uk/2", hours=1)
    assert story_of(1, stories(with_other_news(first, elsewhere))).sources == 2


@pytest.mark.parametrize(
    ("title", "summary", "agency"),
    [
        ("", "KYIV, 3 Nov (Reuters) - The ministry said", "Reuters"),
        ("", "МОСКВА, 3 ноября. /ТАСС/. Министерство сообщило", "TASS"),
        ("", "Киев. 3 ноября. ИНТЕРФАКС-УКРАИНА - Рада", "Interfax-Ukraine"),
        ("", "Про це повідомляє Укрінформ.", "Ukrinform"),
        ("", "路透社北京3月19日电 外交部", "Reuters"),
        ("", "The ministry gave no date. (AFP)", "AFP"),
        ("AP: ministry gives no date", "", "AP"),
        ("Ministry gives no date - Reuters", "", "Reuters"),
        ("Reuters moves to a new house", "The agency has been in the old one since 1941.", None),
        ("Los afiliados a las AFP", "", None),
        ("Missiles over the sea", "Photo: AP", None),
        ("", "", None),
    ],
)
def test_an_agency_is_taken_from_where_it_is_credited_and_not_from_any_mention(
    title: str, summary: str, agency: str | None
) -> None:
    assert agency_of(title, summary) == agency


@pytest.mark.parametrize(
    ("link", "publisher"),
    [
        ("https://feeds.daily.example/rss/1", "daily.example"),
        ("https://www.daily.com.ua/1", "daily.com.ua"),
        ("https://eng.daily.com.ua/1", "daily.com.ua"),
        ("https://one.substack.com/p/1", "one.substack.com"),
        ("https://news.google.com/rss/articles/1", ""),
        ("https://192.0.2.7/1", "192.0.2.7"),
        ("/news/1", ""),
        ("http://[broken", ""),
        (None, ""),
    ],
)
def test_a_publisher_is_the_name_that_was_registered(link: str | None, publisher: str) -> None:
    assert publisher_of(link) == publisher


def test_the_agencys_own_feed_is_the_same_source_as_who_credits_it() -> None:
    own = report(1, "Odesa port hit by drones in the night", link="https://www.reuters.com/1")
    other = report(2, "Drones hit port of Odesa in the night", "ODESA (Reuters) - Drones came.", hours=1)
    assert story_of(1, stories(with_other_news(own, other))) == Story((1, 2), 1)


# ── whatever comes ───────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_makes_no_story_and_empty_titles_are_stories_of_their_own() -> None:
    assert stories([]) == ()
    assert stories([report(1, "", ""), report(2, "", "", hours=1), report(3, "…!", "", hours=2)]) == (
        Story((1,), 1),
        Story((2,), 1),
        Story((3,), 1),
    )


def test_a_report_without_a_title_is_known_by_the_start_of_its_summary() -> None:
    told = stories(with_other_news(report(1, "", SAME_NEWS["English"][0]), report(2, SAME_NEWS["English"][1], hours=1)))
    assert story_of(1, told).reports == (1, 2)


WORDS = (
    "Kyiv",
    "Moscow",
    "talks",
    "удар",
    "пауза",
    "перемир’я",
    "обмін",
    "polonium",
    "停火",
    "协议",
    "30",
    "",
    "\u202e",
    "🔴",
)
TEXTS = st.lists(st.sampled_from(WORDS) | st.text(max_size=6), max_size=9).map(" ".join)
REPORTS = st.lists(
    st.builds(
        Report,
        match=st.integers(),
        feed=st.sampled_from(("gazette", "courier", "herald")),
        title=TEXTS,
        summary=TEXTS,
        link=st.sampled_from((None, "https://gazette.example/1", "http://[", "javascript:alert(1)"))
        | st.text(max_size=9),
        when=st.integers(0, 90).map(lambda hours: MORNING + timedelta(hours=hours)),
    ),
    max_size=12,
    unique_by=lambda one: one.match,
)


@given(REPORTS)
@settings(max_examples=40)
def test_every_report_is_in_exactly_one_story_and_the_earliest_comes_first(reports: list[Report]) -> None:
    told = stories(reports)
    times = {one.match: (one.when, one.match) for one in reports}
    assert sorted(match for story in told for match in story.reports) == sorted(times)
    for story in told:
        assert list(story.reports) == sorted(story.reports, key=times.__getitem__)
        assert 1 <= story.sources <= len({one.feed for one in reports if one.match in story.reports})
    assert [story.reports[0] for story in told] == sorted((s.reports[0] for s in told), key=times.__getitem__)


@given(REPORTS.flatmap(lambda reports: st.tuples(st.just(reports), st.permutations(reports))))
@settings(max_examples=40)
def test_the_order_in_which_reports_are_given_changes_nothing(given_twice: tuple[list[Report], list[Report]]) -> None:
    one, other = given_twice
    assert stories(one) == stories(other)


def test_another_process_with_other_hashes_of_strings_finds_the_same() -> None:
    program = (
        "from tests.test_stories import SAME_NEWS, report, with_other_news; from daemon.stories import stories;"
        "titles = [title for both in SAME_NEWS.values() for title in both];"
        "print(stories(with_other_news(*(report(n, t, t[::2], hours=n) for n, t in enumerate(titles)))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1
    assert "Story" in found.pop()


HOSTILE: dict[str, Callable[[int], tuple[str, str]]] = {
    "one text five hundred times": lambda at: ("Talks in Riyadh end without a statement by either side", WIRE),
    "one long word": lambda at: ("я" * 2_000, "w" * 200_000),
    "long texts of the same words": lambda at: (
        "peace " * 300,
        " ".join(f"w{at * each % 97}" for each in range(2_000)),
    ),
    "nothing but marks": lambda at: ("\u0301" * 2_000, "-" * 200_000),
    "Chinese without a stop": lambda at: ("停火" * 900, "能源" * 90_000),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_texts_cost_little_more_than_others(kind: str) -> None:
    reports = [report(at, *HOSTILE[kind](at), feed=f"feed-{at % 40}") for at in range(200)]
    started = time.process_time()
    told = stories(reports)
    assert time.process_time() - started < 5
    assert sum(len(story.reports) for story in told) == 200


def test_thousands_of_reports_cost_in_proportion_and_not_by_the_square() -> None:
    def seconds(many: int) -> float:
        reports = [
            report(at, f"{OTHER_NEWS[at % 8]} {at % 50} {at * 7 % 301}", feed=f"f{at % 30}", hours=at / 60)
            for at in range(many)
        ]
        started = time.process_time()
        stories(reports)
        return time.process_time() - started

    seconds(50)
    assert seconds(2_400) < 16 * seconds(600) + 1
