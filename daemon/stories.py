"""Stories: which reports tell the same news, and from how many independent sources. An estimate, by words alone.

Two reports are as alike as the words of their titles, and a little of their summaries, are the same; words that few
reports of the batch have weigh most, so what a whole digest is about counts for little. The pair that is most alike
joins first, then stories go on joining while their reports are alike *on average*: where one link is enough, a chain
of small steps can make one story of a whole week. Copies of one text join whatever their headlines are.

Nothing is translated: stories of two languages meet only by names and figures that both spell alike.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import islice

from daemon.commonwords import COMMON
from daemon.copies import Groups, Runs, copies, runs
from daemon.independence import Telling, count_sources
from daemon.words import Token, chunks, fold, has_unspaced, is_unspaced, parts_of, tokenise, words_of

ALIKE = 0.08
"""How alike the reports of two stories are on average, from 0 to 1, for the two to be one, in a large batch."""
ALIKE_IN_A_SMALL_BATCH = 0.45
"""This by the root of the number of reports is asked for besides: among few, no word can be told to be rare."""
TITLE_SHARE = 0.85
"""How much of that is the titles' likeness; the rest is that of titles and summaries together."""
FADES = timedelta(hours=24)
"""After this long a likeness counts e times less: the same words on another day are mostly other news."""
STEM_LETTERS = 5
"""What is left of a word: *Zelensky* is *Zelenskyy*, удара is удары, without a dictionary."""
UNSPACED_PART = 0.6
"""What a likeness of two texts without spaces counts: the pairs of characters of a long name are no words each."""
_FAINT = 0.02
_FORGOTTEN = FADES * -math.log(_FAINT)
"""After this long the same words are less than faintly alike."""
_TITLE_CHARACTERS, _LEAD_CHARACTERS = 300, 500
_TITLE_WORDS, _LEAD_WORDS = 12, 40
_MOST_PAIRS, _FEWEST_PARTNERS = 150_000, 20
_TELLING_PART = 0.85


@dataclass(frozen=True)
class Report:
    """A match as far as a story goes: `match` is any number that no other report has, `when` is aware."""

    match: int
    feed: str
    title: str
    summary: str
    link: str | None
    when: datetime


@dataclass(frozen=True)
class Story:
    """Reports of the same news by their `match`, the earliest first, and how many independent sources they have."""

    reports: tuple[int, ...]
    sources: int


def stories(reports: Sequence[Report]) -> tuple[Story, ...]:
    """The stories of a batch, in the order of their earliest reports; every report is in exactly one."""
    ordered = sorted(reports, key=lambda report: (report.when, report.match))
    texts = _numbered(ordered)
    copied = list(_copied(ordered, texts))
    firsts = [group[0] for group in copied]
    links = _links([ordered[at] for at in firsts], [texts[at] for at in firsts])
    groups = sorted(
        sorted(at for each in joined for at in copied[each]) for joined in _joined(len(copied), dict(links))
    )
    return tuple(_story([ordered[at] for at in group], [texts[at] for at in group]) for group in groups)


def _story(reports: Sequence[Report], texts: Sequence[_Text]) -> Story:
    tellings = [
        Telling(report.feed, report.link, report.title, report.summary, text.runs)
        for report, text in zip(reports, texts, strict=True)
    ]
    return Story(tuple(report.match for report in reports), count_sources(tellings))


# ── what a report says ───────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class _Text:
    """The telling words of a report as numbers: those of its title, all of them, and their runs."""

    title: Mapping[int, float]
    whole: Mapping[int, float]
    runs: Runs
    unspaced: bool


def _numbered(reports: Sequence[Report]) -> list[_Text]:
    # Numbers, given in the order of the reports, and not the words themselves: sums over a set of strings come out
    # differently in the last digit from process to process.
    numbers: dict[str, int] = {}
    titles, wholes = [], []
    for report in reports:
        title, summary = (
            [numbers.setdefault(word, len(numbers)) for word in words]
            for words in (
                _telling_words(report.title[:_TITLE_CHARACTERS]),
                islice(_telling_words(report.summary[:_LEAD_CHARACTERS]), _LEAD_WORDS),
            )
        )
        titles.append(title or summary[:_TITLE_WORDS])
        wholes.append(title + summary)
    in_titles, in_wholes = _carriers(titles), _carriers(wholes)
    many = len(reports)
    return [
        _Text(
            _weighed(title, title, in_titles, many),
            _weighed(whole, title, in_wholes, many),
            runs(title, whole),
            unspaced=has_unspaced(report.title or report.summary[:_LEAD_CHARACTERS]),
        )
        for report, title, whole in zip(reports, titles, wholes, strict=True)
    ]


def _telling_words(text: str) -> Iterator[str]:
    """The words that tell something, cut to their beginnings; in scripts without spaces each two neighbours."""
    if not has_unspaced(text):
        for chunk in chunks(text):
            yield from _told_by(chunk)
        return
    before: Token | None = None
    for token in tokenise(text):
        if is_unspaced(token.form):
            if before and before.end == token.start:
                yield before.form + token.form
            before = token
        else:
            before = None
            if token.form not in COMMON:
                yield token.form[:STEM_LETTERS]


@lru_cache(maxsize=8_192)
def _told_by(chunk: str) -> tuple[str, ...]:
    forms = (fold(part) for word in words_of(chunk) for part in parts_of(word))
    return tuple(form[:STEM_LETTERS] for form in forms if form not in COMMON)


def _carriers(texts: Iterable[Sequence[int]]) -> Counter[int]:
    return Counter(word for text in texts for word in set(text))


def _weighed(words: Sequence[int], title: Sequence[int], carriers: Mapping[int, int], many: int) -> dict[int, float]:
    """Each word with its weight, so that the squares add up to 1. In the whole, a word of the title counts twice."""
    heavy = set(title)
    weights = {word: math.log(2 + many / carriers[word]) * (2 if word in heavy else 1) for word in words}
    length = math.sqrt(sum(weight * weight for weight in weights.values()))
    return {word: weight / length for word, weight in weights.items()}


# ── who is like whom ─────────────────────────────────────────────────────────────────────────────────────────────


def _copied(reports: Sequence[Report], texts: Sequence[_Text]) -> Groups:
    """The reports in groups of copies, mostly of one each; from here on the earliest stands for its group.

    A feed doesn't copy itself: what its reports share word for word may be a standing phrase.
    """
    groups = Groups(len(reports))
    for later, earlier in copies([text.runs for text in texts]):
        if reports[later].feed != reports[earlier].feed:
            groups.unite(later, earlier)
    return groups


def _links(reports: Sequence[Report], texts: Sequence[_Text]) -> Iterator[tuple[tuple[int, int], float]]:
    """Pairs (the later, the earlier) that are at all alike, and how much."""
    for later, earlier in _pairs(reports, texts):
        one, other = texts[later], texts[earlier]
        words = TITLE_SHARE * _likeness(one.title, other.title) + (1 - TITLE_SHARE) * _likeness(one.whole, other.whole)
        words *= UNSPACED_PART if one.unspaced and other.unspaced else 1.0
        alike = words * math.exp((reports[earlier].when - reports[later].when) / FADES)
        if alike >= _FAINT:
            yield (later, earlier), alike


def _likeness(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """The cosine of the angle between two weighed texts."""
    return sum(one[word] * other[word] for word in one.keys() & other.keys())


def _pairs(reports: Sequence[Report], texts: Sequence[_Text]) -> Iterator[tuple[int, int]]:
    """Pairs worth comparing: each report with earlier ones that share its rarer words, the latest of those first.

    The commonest words, which make up the last part of what a report says, bring nobody together; of reports that lie
    further apart than `_FORGOTTEN` not even the same words would; and in a batch of thousands each report is compared
    with some only: the cost stays bounded whatever comes in.
    """
    carriers = _carriers([list(text.whole) for text in texts])
    most_partners = max(_FEWEST_PARTNERS, _MOST_PAIRS // max(1, len(texts)))
    seen: defaultdict[int, list[int]] = defaultdict(list)
    recent = 0
    for later, text in enumerate(texts):
        while reports[later].when - reports[recent].when > _FORGOTTEN:
            recent += 1
        partners: dict[int, None] = {}
        said = 0.0
        for word in sorted(text.whole, key=lambda word: (carriers[word], word)):
            if said >= _TELLING_PART or len(partners) >= most_partners:
                break
            said += TITLE_SHARE * text.title.get(word, 0.0) ** 2 + (1 - TITLE_SHARE) * text.whole[word] ** 2
            for earlier in islice(reversed(seen[word]), most_partners + 1):
                if earlier < recent:
                    break
                partners[earlier] = None
        yield from ((later, earlier) for earlier in partners)
        for word in text.whole:
            seen[word].append(later)


# ── who joins whom ───────────────────────────────────────────────────────────────────────────────────────────────


def _joined(many: int, links: Mapping[tuple[int, int], float]) -> list[list[int]]:
    """The numbers 0 … `many` in groups: the two that are most alike on average join until no two are alike enough."""
    members = {at: [at] for at in range(many)}
    enough = ALIKE + ALIKE_IN_A_SMALL_BATCH / math.sqrt(max(1, many))
    sums: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for (one, other), alike in links.items():
        sums[one][other] = sums[other][one] = alike
    waiting = [(-alike, earlier, later) for (later, earlier), alike in links.items() if alike >= enough]
    heapq.heapify(waiting)
    new = many
    while waiting:
        _, one, other = heapq.heappop(waiting)
        if one not in members or other not in members:
            continue
        members[new] = members.pop(one) + members.pop(other)
        total = sums.pop(one)
        for neighbour, with_other in sums.pop(other).items():
            total[neighbour] = total.get(neighbour, 0.0) + with_other
        del total[one], total[other]
        for neighbour, alike in total.items():
            theirs = sums[neighbour]
            theirs.pop(one, None)
            theirs.pop(other, None)
            theirs[new] = alike
            mean = alike / (len(members[new]) * len(members[neighbour]))
            if mean >= enough:
                heapq.heappush(waiting, (-mean, neighbour, new))
        sums[new] = total
        new += 1
    return [sorted(group) for group in members.values()]
