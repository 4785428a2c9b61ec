"""What a digest leaves out where there is no room for all of it: the least important, and always told as left out.

Stories are ranked in rounds: the first one of each claim, the busiest claim first, then the second one of each. So what
is left out is what fewest sources tell and what is oldest, and no claim takes the room of all others. Pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from daemon.coverage import Coverage, Trouble
from daemon.views import ClaimView, DigestView, More, StoryView

T = TypeVar("T")
MOST_OTHERS = 8
"""Of a story's items besides the first, how many are shown where not all stories are."""
SHORTER_LISTS = (60, 20, 6, 0)
MOST_RANKED = 5_000
MOST_TRIED_WHOLE = 200
"""Of more stories it is found out first how many fit; all of them, only where all do."""
FIRST_LEAP = 8
MOST_GUESSES = 6
NEARLY = 200
"""What leaves less than this part of the room is as much as fits."""


def fitting(view: DigestView, size: Callable[[DigestView], int], most: int) -> DigestView:
    """The digest with as much in it as takes no more than `most` by its `size`; with as little as there can be, where
    nothing fits. Nearly `most` is enough: to fill in a digest of thousands once takes half a second."""
    whole = min(sum(len(list(_sections(claim))) for claim in view.claims), MOST_RANKED)
    if whole <= MOST_TRIED_WHOLE and size(view) <= most:
        return view
    for longest in (None, *SHORTER_LISTS):
        # Long lists may not take the room of all stories: those come first where they are short enough for one of each.
        least = min(whole, len(view.claims)) if longest else 0
        folded = fold(view, least, longest)
        if (taken := size(folded)) > most:
            continue
        return _most_stories(view, longest, (least, folded, taken), whole, size, most)
    return fold(view, 0, 0)


def _most_stories(
    view: DigestView,
    longest: int | None,
    least: tuple[int, DigestView, int],
    whole: int,
    size: Callable[[DigestView], int],
    most: int,
) -> DigestView:
    """The digest with as many stories as fit, of which some do that take so much; all of it, where all of it fits.

    They are found by going on as those before went, and by halving where that leads nowhere: they differ in length.
    """
    (fit, fitted, taken), too_many, leap, guesses = least, whole + 1, FIRST_LEAP, 0
    while too_many - fit > 1 and most - taken > most // NEARLY:
        tried = min(fit + leap, too_many - 1)
        if tried == whole > MOST_TRIED_WHOLE and longest is None and size(view) <= most:
            return view
        needed = size(folded := fold(view, tried, longest))
        each = max(1, needed - taken) / (tried - fit)
        if needed <= most:
            fit, fitted, taken = tried, folded, needed
        else:
            too_many = tried
        guesses += 1
        # A few stories tell little of thousands.
        guess = min(int((most - taken) / each), 8 * (fit + FIRST_LEAP))
        leap = max(1, guess if guesses < MOST_GUESSES else (too_many - fit) // 2)
    return fitted


def fold(view: DigestView, stories: int, longest: int | None) -> DigestView:
    """The digest with so many stories (and edits) in all, and no list longer than `longest`."""
    kept = [Counter[str]() for _ in view.claims]
    for at, section in _ranked(view, stories):
        kept[at][section] += 1
    claims = [_fold_claim(claim, counts) for claim, counts in zip(view.claims, kept, strict=True)]
    shown = [claim for claim, counts in zip(claims, kept, strict=True) if counts]
    brief = [claim for claim, counts in zip(claims, kept, strict=True) if not counts]
    return replace(
        view,
        claims=tuple(shown),
        brief=_first(brief, longest),
        quiet=_first(view.quiet, longest),
        missed=_first(view.missed, longest),
        troubles=tuple(_fold_trouble(one, longest) for one in _first(view.troubles, longest)),
        coverage=_fold_coverage(view.coverage, longest),
        fell_due=_first(view.fell_due, longest),
        more=More(
            claims=_left(brief, longest),
            quiet=_left(view.quiet, longest),
            missed=_left(view.missed, longest),
            troubles=_left(view.troubles, longest),
            recovered=_left(view.coverage.recovered, longest),
            asleep=_left(view.coverage.asleep, longest),
            gaps=_left(view.coverage.gaps, longest),
            fell_due=_left(view.fell_due, longest),
        ),
    )


def _sections(claim: ClaimView) -> Iterator[str]:
    """What a claim tells, one name of its section each, in order of importance: its first story, then what was changed
    of what its reader believes."""
    yield from ["news"] * len(claim.news[:1])
    yield from ["edits"] * len(claim.edits)
    yield from ["news"] * len(claim.news[1:])
    yield from ["already_there"] * len(claim.already_there)
    yield from ["retroactive"] * len(claim.retroactive)


def _ranked(view: DigestView, most: int) -> Iterator[tuple[int, str]]:
    """The first `most` of all that the claims tell, in rounds."""
    waiting = [(at, _sections(claim)) for at, claim in enumerate(view.claims)]
    while waiting and most > 0:
        still = []
        for at, sections in waiting:
            section = next(sections, None)
            if section is None:
                continue
            if most <= 0:
                return
            yield at, section
            most -= 1
            still.append((at, sections))
        waiting = still


def _fold_claim(claim: ClaimView, kept: Counter[str]) -> ClaimView:
    news, there, earlier = kept["news"], kept["already_there"], kept["retroactive"]
    left = (*claim.news[news:], *claim.already_there[there:], *claim.retroactive[earlier:])
    return replace(
        claim,
        news=tuple(map(_fold_story, claim.news[:news])),
        already_there=tuple(map(_fold_story, claim.already_there[:there])),
        retroactive=tuple(map(_fold_story, claim.retroactive[:earlier])),
        edits=claim.edits[: kept["edits"]],
        more=More(
            stories=len(left),
            items=sum(one.count for one in left),
            edits=len(claim.edits[kept["edits"] :]),
        ),
    )


def _fold_story(story: StoryView) -> StoryView:
    items = story.items[: 1 + MOST_OTHERS]
    return replace(story, items=items, more=story.count - len(items))


def _fold_trouble(trouble: Trouble, longest: int | None) -> Trouble:
    return replace(trouble, feeds=_first(trouble.feeds, longest), more=_left(trouble.feeds, longest))


def _fold_coverage(coverage: Coverage, longest: int | None) -> Coverage:
    return replace(
        coverage,
        recovered=_first(coverage.recovered, longest),
        asleep=_first(coverage.asleep, longest),
        gaps=_first(coverage.gaps, longest),
    )


def _first(these: list[T] | tuple[T, ...], most: int | None) -> tuple[T, ...]:
    return tuple(these[:most])


def _left(these: list[T] | tuple[T, ...], most: int | None) -> int:
    return 0 if most is None else max(0, len(these) - most)
