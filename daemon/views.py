"""What a template can say: a digest as values that are ready to be shown. Times are in the digest's zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from zoneinfo import ZoneInfo

from daemon.coverage import Coverage, Trouble
from daemon.edits import Edit
from daemon.excerpts import Piece
from daemon.pictures import Picture
from daemon.rules import Stance


@dataclass(frozen=True)
class TermView:
    """A term that fired, and which side it stands for."""

    text: str
    stance: Stance


@dataclass(frozen=True)
class ItemView:
    """One item under one claim. `link` is an http(s) address or None, `host` where it leads.

    `deceives` says that the title names another host than that one; `source_deceives` that the feed's name does.
    `lang` is the language that the feed says it is in, where that is a well-formed tag.
    """

    match: int
    title: tuple[Piece, ...]
    excerpt: tuple[Piece, ...]
    link: str | None
    host: str
    deceives: bool
    source_deceives: bool
    feed: str
    when: datetime
    when_is: Literal["published", "first seen"]
    terms: tuple[TermView, ...]
    stance: Stance
    lapsed_at: datetime | None
    lang: str | None

    @property
    def by_stance(self) -> tuple[tuple[Stance, tuple[str, ...]], ...]:
        """Its terms, those of one side together."""
        found: dict[Stance, list[str]] = {}
        for term in self.terms:
            found.setdefault(term.stance, []).append(term.text)
        return tuple((stance, tuple(texts)) for stance, texts in found.items())


@dataclass(frozen=True)
class StoryView:
    """Items that tell the same news, the earliest first: an estimate, as is the number of independent `sources`.

    `more` of its items found no room.
    """

    items: tuple[ItemView, ...]
    sources: int
    more: int = 0

    @property
    def lead(self) -> ItemView:
        return self.items[0]

    @property
    def others(self) -> tuple[ItemView, ...]:
        return self.items[1:]

    @property
    def count(self) -> int:
        return len(self.items) + self.more


@dataclass(frozen=True)
class EditView:
    """A matched item that its publisher changed where it was matched. `lapsed`: it no longer bears on the claim."""

    item: ItemView
    at: datetime
    edits: tuple[Edit, ...]
    lapsed: bool


@dataclass(frozen=True)
class More:
    """What found no room: how many of each."""

    stories: int = 0
    items: int = 0
    edits: int = 0
    claims: int = 0
    quiet: int = 0
    troubles: int = 0
    recovered: int = 0
    asleep: int = 0
    gaps: int = 0
    missed: int = 0
    fell_due: int = 0


@dataclass(frozen=True)
class ClaimView:
    """A claim with what came in for it: new stories, those that were already there at the feed's first poll, those that
    a new or changed term found in what was already here, and what was changed of what was told before.

    The counts are of all, also of what found no room.
    """

    id: str
    statement: str
    article: str
    made: date
    due: date | None
    standing: str
    overdue: bool
    fell_due: bool
    news: tuple[StoryView, ...]
    already_there: tuple[StoryView, ...]
    retroactive: tuple[StoryView, ...]
    edits: tuple[EditView, ...]
    picture: Picture
    came_in: int
    earlier: int
    stories: int
    feeds: int
    sides: str
    edited: int
    more: More = More()

    @property
    def count(self) -> int:
        """Its items: those that a feed brought since the last digest, new or not, and those found in what was here."""
        return self.came_in + self.earlier

    @property
    def moved(self) -> bool:
        return bool(self.count or self.edited)


@dataclass(frozen=True)
class DigestView:
    """All that a template can say.

    `claims` are those that moved, the busiest first; `brief` those of them that found no room for more than a line;
    `quiet` the others. `rest_in` says where that stands which found no room: in the text part, or in the log alone.
    `still_watching`: it has nothing to tell and is sent to say that the watch goes on; `notes` are lines about the
    digest itself.
    """

    name: str
    id: str
    due: datetime
    missed: tuple[datetime, ...]
    claims: tuple[ClaimView, ...]
    brief: tuple[ClaimView, ...]
    quiet: tuple[ClaimView, ...]
    fell_due: tuple[ClaimView, ...]
    coverage: Coverage
    troubles: tuple[Trouble, ...]
    resting: int
    zone: ZoneInfo
    log_position: int
    head: str
    matches: tuple[int, ...]
    items: int
    stories: int
    retroactive: int
    edited: int
    moved: int
    watched: int
    resent: bool = False
    still_watching: bool = False
    notes: tuple[str, ...] = ()
    more: More = More()
    rest_in: Literal["text", "log"] = "text"

    @property
    def empty(self) -> bool:
        """Nothing came in, nothing told was changed, no claim fell due."""
        return not (self.matches or self.edited or self.fell_due)
