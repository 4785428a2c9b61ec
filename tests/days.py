"""Four days of made-up news, as digests: a heavy one, a quiet one, one with an overdue claim, one with feeds down.

The places are those of `claimwatch demo`. What feeds do to a page stands in the heavy day: headlines from right
to left, words without end, a headline that names another site, markup.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from daemon.coverage import Coverage, FeedOutage, FeedTrouble, Span
from daemon.digests import compose
from daemon.events import Evidence, ItemRevised
from daemon.pictures import DayCount
from daemon.rules import ClaimRule, FeedRule, Rules, Stance, TermRule, one_stance
from daemon.tellable import MatchToTell, Revision, digest_id
from daemon.views import DigestView
from tests.support import RECIPIENT, digest

DUE = datetime(2025, 3, 20, 5, 30, tzinfo=UTC)
TODAY = date(2025, 3, 20)
ARTICLE = "A made-up author, “What Was Agreed on Brenn”, The Strait Review, 2025-03-02"

FEEDS = (
    FeedRule("tarnel-courier", "https://courier.example/rss", 900, "The Tarnel Courier"),
    FeedRule("strait-wire", "https://wire.example/feed", 900, "Strait Wire"),
    FeedRule("protoka", "https://protoka.example/rss", 900, "Протока"),
    FeedRule("merel", "https://merel.example/rss", 900, "Мерельский листок"),
    FeedRule("halvik-radio", "https://radio.halvik.example/rss", 900, "Halvik Radio"),
    FeedRule("al-madiq", "https://almadiq.example/rss", 900, "صحيفة المضيق"),
    FeedRule("kanal", "https://kanal.example/rss", 900, "海峡日报"),
    FeedRule("harbour-log", "https://log.example/atom", 900, "harbourlog.example"),
    FeedRule("old-gazette", "https://gazette.example/rss", 900, "The Old Gazette", enabled=False),
)


def _claim(id: str, statement: str, due: date | None = None, *terms: str) -> ClaimRule:
    made = date(2025, 3, 1)
    return ClaimRule(id, statement, "brenn", ARTICLE, made, "commitment", due, tuple(map(TermRule, terms)))


CLAIMS = (
    _claim(
        "ferry-line", "Ardolia promised that the ferries between Halvik and Port Merel sail again.", date(2025, 3, 31)
    ),
    _claim("crew-exchange", "Ardolia and Kestria agreed to exchange the fishing crews that they hold."),
    _claim("harbour-toll", "Kestria will ask no toll in its harbours before the summer.", date(2025, 6, 1)),
    _claim("sea-cable", "The cable under the strait is to be mended by both sides together.", date(2025, 4, 2)),
    _claim("survey-group", "A group of both navies will survey the minefields off Brenn.", date(2025, 3, 23)),
    _claim("air-link", "Nobody will fly between the two capitals again this year.", date(2025, 12, 31)),
    _claim("fishing-quota", "The fishing quotas were to be shared anew within a fortnight.", date(2025, 3, 15)),
)
RULES = Rules(feeds=FEEDS, claims=CLAIMS)
ALL_WELL = Coverage(DUE - timedelta(days=1), DUE, 8, 8, (), (), ())


def found(text: str, field: str, *words: str, term: str = "", stance: Stance = "mentions") -> Evidence:
    """What a term met: each of these words, where it stands first."""
    spans = tuple(sorted((text.index(word), text.index(word) + len(word)) for word in words))
    surface = tuple(text[start:end] for start, end in spans)
    return Evidence(term or " ".join(words), stance, field, spans, surface)  # type: ignore[arg-type]


def _told(
    position: int,
    claim: str,
    feed: str,
    title: str,
    *words: str,
    hours: float = 3,
    summary: str = "",
    term: str = "",
    stance: Stance = "mentions",
    **more: object,
) -> MatchToTell:
    where = summary if summary and not all(word in title for word in words) else title
    evidence = (found(where, "summary" if where is summary else "title", *words, term=term, stance=stance),)
    when = DUE - timedelta(hours=hours)
    link = f"https://{next(one.url for one in FEEDS if one.id == feed).split('/')[2]}/2025/{position}"
    fields = {"link": link, "published": when, "first_seen": when, "evidence": evidence, "content": ""} | more
    return MatchToTell(position=position, claim=claim, feed=feed, title=title, summary=summary, **fields)  # type: ignore[arg-type]


def _counts(**totals: int) -> list[DayCount]:
    """What came in before the matches that are told, by chance but always the same; a keyword is a claim's id and about
    how much it got."""
    chance = random.Random(20250320)
    sides: tuple[Stance, ...] = ("supports", "contradicts", "mentions")
    return [
        DayCount(name.replace("_", "-"), TODAY - timedelta(days=back), side, chance.randint(1, 1 + total // 12))
        for name, total in totals.items()
        for back in range(2, 30)
        for side in sides
        if chance.random() < total / 150
    ]


def _view(
    *matches: MatchToTell,
    coverage: Coverage = ALL_WELL,
    revisions: tuple[Revision, ...] = (),
    counts: list[DayCount] | None = None,
    missed: tuple[datetime, ...] = (),
    rules: Rules = RULES,
) -> DigestView:
    rule = digest(timezone="Europe/Kyiv")
    zone = ZoneInfo(rule.timezone)
    told = [
        DayCount(one.claim, one.when.astimezone(zone).date(), one_stance(one.evidence), 1)
        for one in matches
        if one.lapsed_at is None
    ]
    return compose(
        rules,
        rule,
        id=digest_id("daily", RECIPIENT, DUE),
        due=DUE,
        missed=missed,
        matches=matches,
        coverage=coverage,
        log_position=4711,
        head="0123456789abcdef" * 4,
        revisions=revisions,
        counts=[*(counts or []), *told],
    )


def _revision(match: MatchToTell, before: str, after: str, hours: float) -> Revision:
    def text(summary: str) -> ItemRevised:
        same = (match.feed, None, match.link, match.title)
        return ItemRevised(*same, summary, "", None, match.published, None, "f" * 64)

    return Revision(match, text(before), text(after), DUE - timedelta(hours=hours))


# ── a heavy day ──────────────────────────────────────────────────────────────────────────────────────────────────

_WHO = (
    "A harbour pilot",
    "The port office",
    "The coastguard",
    "A captain from Brenn",
    "The ministry of the sea",
    "A union",
)
_SAYS = ("says", "doubts that", "expects that", "denies that", "confirms that", "asks whether")
_WHAT = {
    "ferry-line": ("the ferry to Port Merel resumes", "both ferries resume with the spring timetable", "ferry"),
    "crew-exchange": ("the crews are exchanged at sea", "an exchange of crews is near", "crews"),
    "harbour-toll": ("the harbour toll is put off", "no toll is asked in the harbour", "toll"),
    "survey-group": ("the survey group sails on Monday", "the group gets two survey ships", "survey"),
}
_WHERE = ("in Halvik", "at Port Merel", "off Brenn", "on the north quay", "before the council", "on the radio")
_WHEN = ("by Friday", "before Easter", "within days", "after the storm", "once the fog lifts", "at dawn")
_ASIDES = (
    "Two vessels are ready and a third is in dock.",
    "Nobody at the quay would give a date.",
    "The talks went on for a third night.",
    "It is the second such word within a week.",
)


def _name(chance: random.Random) -> str:
    return "".join(chance.choice("bdfgklmnprstv") + chance.choice("aeiou") for _ in range(3)).capitalize()


def heavy() -> DigestView:
    """Two hundred matches: stories that many feeds tell, some that one feed tells, and what feeds do to a page."""
    chance = random.Random(1)
    matches: list[MatchToTell] = []
    claims = (
        "ferry-line",
        "ferry-line",
        "ferry-line",
        "crew-exchange",
        "crew-exchange",
        "harbour-toll",
        "survey-group",
    )
    latin = ("tarnel-courier", "strait-wire", "halvik-radio", "harbour-log")
    while len(matches) < 188:
        claim = chance.choice(claims)
        first, second, word = _WHAT[claim]
        says = chance.choice(_SAYS)
        what = chance.choice((first, second))
        # Names that no other story has, as news has them: by its standing phrases alone, all would be one story.
        town, person, ship = (_name(chance) for _ in range(3))
        who, where, when = chance.choice(_WHO), chance.choice(_WHERE), chance.choice(_WHEN)
        stance: Stance = {"denies that": "contradicts", "doubts that": "contradicts", "confirms that": "supports"}.get(
            says, "mentions"
        )  # type: ignore[assignment]
        met = word if word in what else what.split()[1]
        hours = chance.uniform(0.5, 23)
        tellings = (
            f"{who} of {town} {says} {what} {where}, {person} present",
            f"{person} on the {ship} at {town}: {what} {when}",
            f"{town} hears {person}: {what}, {ship} waits",
            f"“{ship}” of {town}, {person}: {what} {where} {when}",
        )
        several = chance.choice((1, 1, 1, 2, 4))
        for feed, title in zip(chance.sample(latin, several), chance.sample(tellings, several), strict=True):
            asides = " ".join(chance.sample(_ASIDES, 2))
            hours = max(0.1, hours - chance.uniform(0, 0.5))
            matches.append(
                _told(
                    len(matches) + 1,
                    claim,
                    feed,
                    title,
                    met,
                    hours=hours,
                    summary=asides,
                    stance=stance,
                    term=f"{met}*",
                )
            )
    matches = matches[:188]

    def add(claim: str, feed: str, title: str, *words: str, **fields: object) -> MatchToTell:
        matches.append(_told(len(matches) + 1, claim, feed, title, *words, **fields))  # type: ignore[arg-type]
        return matches[-1]

    add(
        "ferry-line",
        "protoka",
        "Поромну лінію з Порт-Мерелем відновлюють у п’ятницю",
        "Поромну",
        "відновлюють",
        lang="uk",
        stance="supports",
        term="пором* віднов*",
    )
    add(
        "ferry-line",
        "merel",
        "Паром пойдёт в пятницу: порт подтвердил дату",
        "Паром",
        lang="ru",
        stance="supports",
        hours=2,
    )
    add(
        "ferry-line",
        "al-madiq",
        "العبّارة إلى ميناء ميريل تعود يوم الجمعة \u202eمرة أخرى",
        "العبّارة",
        lang="ar",
        summary="قال مسؤول في الميناء إن السفينتين جاهزتان.",
        stance="supports",
    )
    add(
        "crew-exchange",
        "kanal",
        "布伦岛外海交换渔民二十二人回家",
        "交换",
        "渔民",
        lang="zh",
        summary="双方海岸警卫队清晨会面。船上医生说所有人都健康。",
    )
    add("harbour-toll", "harbour-log", "Log in at mybank.example to see the harbour toll", "toll", hours=5)
    add("harbour-toll", "strait-wire", "Hafengebührenverordnungsänderungsgesetzentwurf" * 3 + " and the toll", "toll")
    add(
        "harbour-toll",
        "halvik-radio",
        "<b>Toll</b> & “tariffs”: <script>alert(1)</script> read on air",
        "Toll",
        hours=7,
    )
    lapsed = add(
        "survey-group",
        "tarnel-courier",
        "Survey group to sail on Friday",
        "Survey",
        "sail",
        hours=9,
        summary="The survey group sails on Friday with two ships, the navy says.",
        lapsed_at=DUE - timedelta(hours=1),
    )
    for at in range(3):
        add(
            "crew-exchange",
            "halvik-radio",
            f"From the archive, part {at + 1}: crews were exchanged before",
            "crews",
            "exchanged",
            hours=24 * (40 + at),
            already_there=True,
        )
    add(
        "ferry-line",
        "strait-wire",
        "A ferry to Port Merel was ordered last week",
        "ferry",
        hours=24 * 8,
        retroactive=True,
    )
    told_before = _told(
        9, "ferry-line", "strait-wire", "Ferry: council votes", "Ferry", hours=30, term='ferry (resume OR "sail again")'
    )
    told_before = replace(
        told_before,
        evidence=(
            found("The ferry resumes on 21 March, the council said.", "summary", "ferry", "resumes", stance="supports"),
        ),
    )
    revisions = (
        _revision(
            told_before,
            "The ferry resumes on 21 March, the council said. Tickets cost nine crowns.",
            "The ferry does not resume before May, the council said. Tickets cost nine crowns.",
            4,
        ),
        replace(
            _revision(
                lapsed,
                "The survey group sails on Friday with two ships, the navy says.",
                "The navy says that two ships stay in port.",
                1,
            ),
            match=replace(lapsed, evidence=(found(lapsed.summary, "summary", "survey", "sails"),)),
        ),
    )
    counts = _counts(ferry_line=120, crew_exchange=60, harbour_toll=30, survey_group=20, air_link=6)
    trouble = FeedTrouble(
        "kanal", "failing", DUE - timedelta(hours=5), "http 503: Service Unavailable", "It is tried again."
    )
    coverage = replace(ALL_WELL, feeds_read=7, troubles=(trouble,))
    return _view(*matches, revisions=revisions, counts=counts, coverage=coverage)


# ── the other days ───────────────────────────────────────────────────────────────────────────────────────────────


def quiet() -> DigestView:
    """Nothing came in, and the watch was awake."""
    return _view(counts=_counts(ferry_line=12, crew_exchange=6))


def overdue() -> DigestView:
    """One claim is overdue and still moves, another fell due today."""
    return _view(
        _told(
            1,
            "fishing-quota",
            "tarnel-courier",
            "Quota talks end without a date",
            "Quota",
            hours=14,
            stance="contradicts",
            term="quota (end OR fail)",
            summary="The fortnight is over. The fishing quota stays as it was, both sides admit.",
        ),
        _told(
            2,
            "fishing-quota",
            "strait-wire",
            "Quota talks end without a date",
            "Quota",
            hours=13,
            stance="contradicts",
            term="quota (end OR fail)",
        ),
        _told(
            3,
            "sea-cable",
            "halvik-radio",
            "Divers reach the sea cable",
            "sea",
            "cable",
            hours=6,
            stance="supports",
            summary="Divers of both sides reached the cable at noon and found the break.",
        ),
        counts=_counts(fishing_quota=30, sea_cable=12),
        rules=replace(RULES, claims=tuple(replace(one, due=TODAY) if one.id == "sea-cable" else one for one in CLAIMS)),
    )


def four_down() -> DigestView:
    """Four of eight feeds can't be read, the watch was down for two hours, and two due times were missed."""
    hint = "The site turns programs away; ask its owner, or take another feed."
    coverage = Coverage(
        DUE - timedelta(days=3),
        DUE,
        8,
        4,
        (
            FeedTrouble("al-madiq", "failing", DUE - timedelta(days=2), "http 403: Forbidden", hint),
            FeedTrouble("kanal", "failing", DUE - timedelta(days=1), "http 403: Forbidden", hint),
            FeedTrouble(
                "merel",
                "failing",
                DUE - timedelta(hours=7),
                "timeout: no complete answer within 20 s",
                "It is tried again.",
            ),
            FeedTrouble(
                "protoka",
                "gone",
                DUE - timedelta(days=1),
                "https://protoka.example/rss answers 410",
                "Take it out of feeds.yaml, or give it its new address there.",
            ),
        ),
        (Span(DUE - timedelta(hours=30), DUE - timedelta(hours=28)),),
        ("strait-wire",),
        (FeedOutage("halvik-radio", DUE - timedelta(hours=20), DUE - timedelta(hours=18)),),
    )
    missed = (DUE - timedelta(days=2), DUE - timedelta(days=1))
    one = _told(
        1, "harbour-toll", "tarnel-courier", "Kestria puts off the harbour toll", "harbour", "toll", stance="supports"
    )
    return _view(one, coverage=coverage, missed=missed, counts=_counts(harbour_toll=20))


DAYS: dict[str, Callable[[], DigestView]] = {
    "heavy": heavy,
    "quiet": quiet,
    "overdue": overdue,
    "four-down": four_down,
}
