"""A proof of a digest: one with a little of everything in it, to try templates on before they are needed. Pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from daemon.coverage import Coverage, FeedOutage, FeedTrouble, Span
from daemon.digests import compose
from daemon.events import Evidence
from daemon.pictures import DayCount
from daemon.rules import ClaimRule, DigestRule, FeedRule, Rules, TermRule
from daemon.tellable import MatchToTell, Revision, digest_id
from daemon.views import DigestView, More

_DUE = datetime(2025, 3, 19, 7, 30, tzinfo=UTC)
_DAY = timedelta(days=1)


def proofs() -> tuple[DigestView, ...]:
    """A digest that says all that one can say, one that left some of it out, and one that has nothing to tell."""
    full = _proof(_matches())
    claim = replace(full.claims[0], more=More(stories=2, items=3, edits=1))
    story = replace(claim.news[0], more=2)
    left_out = replace(
        full,
        claims=(replace(claim, news=(story,)),),
        brief=(claim,),
        more=More(claims=1, quiet=1, troubles=1, recovered=1, asleep=1, gaps=1, missed=1, fell_due=1),
        rest_in="log",
        resent=True,
    )
    return full, left_out, _proof(())


def _proof(matches: tuple[MatchToTell, ...]) -> DigestView:
    feeds = (FeedRule("gazette", "https://gazette.example/rss", 900, "The Gazette"), FeedRule("wire", "", 900))
    made = date(2025, 3, 1)
    claims = (
        ClaimRule(
            "moved", "A claim that moved.", "a-seed", "An article", made, "commitment", made, (TermRule("word"),)
        ),
        ClaimRule("quiet", "A quiet claim.", "a-seed", "An article", made, "prediction", _DUE.date()),
    )
    rule = DigestRule("daily", "30 7 * * *", "UTC", ("r-0",))
    trouble = FeedTrouble("gazette", "failing", _DUE - _DAY, "http 503", "Wait.")
    span, outage = Span(_DUE - _DAY, _DUE), FeedOutage("wire", _DUE - _DAY, _DUE)
    return compose(
        Rules(feeds=feeds, claims=claims, digests=(rule,)),
        rule,
        id=digest_id("daily", "r-0", _DUE),
        due=_DUE,
        missed=(_DUE - _DAY,) if matches else (),
        matches=matches,
        coverage=Coverage(_DUE - _DAY, _DUE, 2, 1, (trouble,), (span,), ("wire",), (outage,)),
        log_position=1,
        head="0" * 64,
        revisions=[Revision(matches[0], matches[0], replace(matches[0], title="Another title"), _DUE)]
        if matches
        else (),
        counts=[DayCount("moved", _DUE.date(), "supports", 2)] if matches else (),
    )


def _matches() -> tuple[MatchToTell, ...]:
    met = (Evidence("word", "supports", "title", ((2, 6),), ("word",)),)
    one = MatchToTell(
        1, "moved", "gazette", "A word", "A summary.", "", "https://gazette.example/1", _DUE, _DUE, met, lang="en"
    )
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"feed": "wire", "lapsed_at": _DUE},
        {"already_there": True, "published": None},
        {"retroactive": True},
    )
    return tuple(replace(one, position=at, **change) for at, change in enumerate(changes, 1))
