"""What an operator is told of the watch itself, and when: once, again every week, and when it is over. Never a flood.

    troubles that stand + what was told before + now ─next_notice→ what one mail tells ─composed→ how it says that

A trouble is told when it has stood for its patience. What is due goes into one mail, an hour after the last one at the
soonest and six a day at most. A trouble that comes and goes counts as standing until it has been away for a while, the
longer the more often it came back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from daemon.moments import Moment

TroubleKind = Literal[
    "offline",
    "work failing",
    "rules refused",
    "delivery failing",
    "recipient rests",
    "template failed",
    "feed gone",
    "feed failing",
    "gaps",
]
Stage = Literal["first", "passed", "again", "over"]
"""`passed`: it was over before it could be told, because the mail was away as well."""
Key: TypeAlias = tuple[str, str]

REMIND_AFTER = timedelta(days=7)
REMIND_TOO_AFTER = timedelta(days=1)
"""Once one trouble is due again, all that were told longer ago than this come with it: one mail a week, not seven."""
BETWEEN_NOTICES = timedelta(hours=1)
MOST_A_DAY = 6
DAY = timedelta(days=1)

OFFLINE_AFTER = timedelta(hours=2)
OFFLINE_SPREAD = timedelta(hours=2)
"""Feeds that begin to fail within this time are thought to have one cause: most are asked once an hour or oftener."""
OFFLINE_FEWEST = 3
PATIENCE: Mapping[TroubleKind, timedelta] = {
    "delivery failing": timedelta(hours=1),
    "rules refused": timedelta(minutes=10),
    "work failing": timedelta(minutes=10),
}
"""How long a trouble must stand before it is told. Feeds have a time that the user sets; what is not named, none."""

SETTLED_AFTER = timedelta(hours=1)
LONGEST_SETTLING = timedelta(days=1)

MOST_NAMES = 40
MOST_GROUPS = 30


@dataclass(frozen=True)
class Operator:
    """Who is told of troubles, and how long a feed must fail before it is one."""

    addresses: tuple[str, ...]
    feed_failing_after: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class Trouble:
    """Something that an operator would want to hear of: about which feed, digest or recipient, since when, and why.

    `covered` says that another trouble tells it: it still stands, and is not told itself.
    """

    kind: TroubleKind
    about: str
    since: datetime
    reason: str
    hint: str
    covered: bool = False

    @property
    def key(self) -> Key:
        return self.kind, self.about


@dataclass(frozen=True)
class Look:
    """How the watch does at a moment: the troubles there are, and since when those are over that are known to be."""

    troubles: tuple[Trouble, ...] = ()
    over: Mapping[Key, datetime] = field(default_factory=dict)

    def joined(self, other: Look) -> Look:
        return Look(self.troubles + other.troubles, {**self.over, **other.over})

    def begun(self, trouble: Trouble) -> Look:
        """With this trouble, since it first was there, for the reason that it has now."""
        since = next((one.since for one in self.troubles if one.key == trouble.key), trouble.since)
        others = tuple(one for one in self.troubles if one.key != trouble.key)
        over = {key: moment for key, moment in self.over.items() if key != trouble.key}
        return Look((*others, replace(trouble, since=since)), over)

    def ended(self, key: Key, now: datetime) -> Look:
        """Without a trouble, which is over since now."""
        return Look(tuple(one for one in self.troubles if one.key != key), {**self.over, key: now})


@dataclass(frozen=True)
class Told:
    """A trouble as a notice tells it. `until` is when it ended, where it did and that is known."""

    kind: TroubleKind
    about: str
    stage: Stage
    since: Moment
    until: Moment | None = None


@dataclass(frozen=True)
class Mentioned:
    """What one recipient was told of a trouble last.

    `untold`: a notice of it could not be handed over yet. `incidents` counts how often it came back within a week.
    """

    kind: TroubleKind
    about: str
    state: Literal["untold", "standing", "over"]
    since: datetime
    told_at: datetime | None
    incidents: int = 1

    @property
    def key(self) -> Key:
        return self.kind, self.about


def with_offline(failing: Sequence[Trouble], feeds: int) -> tuple[Trouble, ...]:
    """These failing feeds; where most of all feeds began to fail at once, covered by one trouble that says so."""
    ordered = sorted(failing, key=lambda trouble: trouble.since)
    needed = most_of(feeds)
    for first, last in zip(ordered, ordered[needed - 1 :], strict=False):
        if last.since - first.since <= OFFLINE_SPREAD:
            break
    else:
        return tuple(failing)
    together = [trouble for trouble in ordered if trouble.since >= first.since]
    reason, count = Counter(trouble.reason for trouble in together).most_common(1)[0]
    says = f"{len(together)} of {feeds} feeds fail since then, {count} of them with: {reason}"
    hint = "Look at this machine's network, its name resolution, and the proxy in feeds.yaml, if there is one."
    offline = Trouble("offline", "", first.since, says, hint)
    return offline, *(replace(trouble, covered=trouble.since >= first.since) for trouble in failing)


def most_of(feeds: int) -> int:
    """How many feeds must fail at once before the fault is looked for at home."""
    return max(OFFLINE_FEWEST, feeds // 2 + 1)


def online_since(failing: int, feeds: int, recoveries: Iterable[datetime]) -> datetime | None:
    """When the last of most feeds ceased to fail, by the times at which those that are well recovered."""
    latest = sorted(recoveries, reverse=True)
    at = most_of(feeds) - failing - 1
    return latest[at] if 0 <= at < len(latest) else None


# ── when ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def next_notice(
    look: Look, mentioned: Collection[Mentioned], sent: Iterable[datetime], operator: Operator, now: datetime
) -> tuple[Told, ...]:
    """What the notice to one recipient tells that is due now; nothing where none is.

    `mentioned` is what this recipient was told, `sent` when a notice last went to them.
    """
    lately = [moment for moment in sent if timedelta(0) <= now - moment < DAY]
    if len(lately) >= MOST_A_DAY or any(now - moment < BETWEEN_NOTICES for moment in lately):
        return ()
    present = {trouble.key: trouble for trouble in look.troubles}
    before = {one.key: one for one in mentioned if one.state != "over"}
    due = [*_first(present, before, operator, now), *_ended(look, present, before, now)]
    standing = [
        (one.told_at, trouble)
        for key, one in before.items()
        if one.state == "standing" and one.told_at and (trouble := present.get(key)) and not trouble.covered
    ]
    if any(now - told_at >= REMIND_AFTER for told_at, _ in standing):
        due += [
            Told(trouble.kind, trouble.about, "again", before[trouble.key].since)
            for told_at, trouble in standing
            if now - told_at >= REMIND_TOO_AFTER
        ]
    return tuple(sorted(due, key=lambda told: (_STAGES.index(told.stage), _KINDS.index(told.kind), told.about)))


def _first(
    present: Mapping[Key, Trouble], before: Mapping[Key, Mentioned], operator: Operator, now: datetime
) -> Iterable[Told]:
    for key, trouble in present.items():
        known = before.get(key)
        if trouble.covered or (known and known.state == "standing"):
            continue
        if now - trouble.since >= patience(trouble.kind, operator):
            yield Told(trouble.kind, trouble.about, "first", trouble.since)


def _ended(
    look: Look, present: Mapping[Key, Trouble], before: Mapping[Key, Mentioned], now: datetime
) -> Iterable[Told]:
    for key, known in before.items():
        if key in present:
            continue
        until = look.over.get(key)
        if known.state == "untold":
            yield Told(known.kind, known.about, "passed", known.since, until)
        elif until is None or now - until >= settling(known.incidents):
            yield Told(known.kind, known.about, "over", known.since, until)


def patience(kind: TroubleKind, operator: Operator) -> timedelta:
    """How long a trouble must stand before it is told."""
    if kind == "feed failing":
        return operator.feed_failing_after
    if kind == "offline":
        return min(OFFLINE_AFTER, operator.feed_failing_after)
    return PATIENCE.get(kind, timedelta(0))


def settling(incidents: int) -> timedelta:
    """How long a trouble must have been away before it is told to be over: 1, 4, 16, 24 hours as it comes back."""
    times: int = 4 ** min(incidents - 1, 5)
    return min(SETTLED_AFTER * times, LONGEST_SETTLING)


# ── how ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_STAGES: tuple[Stage, ...] = ("first", "passed", "again", "over")
_SAYS: Mapping[TroubleKind, tuple[str, str]] = {
    "offline": ("outage of most feeds at once: the watch itself seems to be offline",) * 2,
    "work failing": ("part of the watch that keeps failing", "parts of the watch that keep failing"),
    "rules refused": ("edit of feeds.yaml refused: the rules before it stay in force",) * 2,
    "delivery failing": ("recipient whom no mail reaches", "recipients whom no mail reaches"),
    "recipient rests": ("recipient who gets no mail any more", "recipients who get no mail any more"),
    "template failed": ("digest whose template fails", "digests whose templates fail"),
    "feed gone": ("feed that is gone for good", "feeds that are gone for good"),
    "feed failing": ("feed that can't be read", "feeds that can't be read"),
    "gaps": ("feed that is asked too seldom", "feeds that are asked too seldom"),
}
_KINDS: tuple[TroubleKind, ...] = tuple(_SAYS)


@dataclass(frozen=True)
class Group:
    """Troubles of one kind with one reason: fifty feeds behind a server that is down are one line."""

    kind: TroubleKind
    says: str
    names: tuple[str, ...]
    more: int
    since: datetime
    until: datetime | None
    reason: str
    hint: str


@dataclass(frozen=True)
class NoticeView:
    """What a notice says: to the templates, `notice`. `others` stand as well and were told before; `left` are groups
    that this notice has no room for."""

    now: datetime
    summary: str
    first: tuple[Group, ...]
    passed: tuple[Group, ...]
    again: tuple[Group, ...]
    over: tuple[Group, ...]
    others: int
    left: int
    template_error: str = ""


def compose_notice(
    told: Sequence[Told], look: Look, mentioned: Iterable[Mentioned], now: datetime, names: Mapping[Key, str]
) -> NoticeView:
    """The notice that tells this. `names` are better names for what troubles are about, where there are some."""
    groups = _groups(told, look, names)
    first, passed, again, over = (tuple(groups[stage][:MOST_GROUPS]) for stage in _STAGES)
    here = {(one.kind, one.about) for one in told}
    standing = {one.key for one in mentioned if one.state == "standing"} & {one.key for one in look.troubles}
    return NoticeView(
        now=now,
        summary=_summary(told),
        first=first,
        passed=passed,
        again=again,
        over=over,
        others=len(standing - here),
        left=sum(max(0, len(some) - MOST_GROUPS) for some in groups.values()),
    )


def _groups(told: Sequence[Told], look: Look, names: Mapping[Key, str]) -> dict[Stage, list[Group]]:
    troubles = {trouble.key: trouble for trouble in look.troubles}
    alike: dict[tuple[Stage, TroubleKind, str, str], list[Told]] = {}
    for one in told:
        trouble = troubles.get((one.kind, one.about))
        why = (trouble.reason, trouble.hint) if trouble else ("", "")
        alike.setdefault((one.stage, one.kind, *why), []).append(one)
    groups: dict[Stage, list[Group]] = {stage: [] for stage in _STAGES}
    for (stage, kind, reason, hint), some in alike.items():
        group = Group(
            kind=kind,
            says=_counted(kind, len(some)),
            names=tuple(names.get((one.kind, one.about), one.about) for one in some if one.about)[:MOST_NAMES],
            more=max(0, len(some) - MOST_NAMES),
            since=min(one.since for one in some),
            until=max((one.until for one in some if one.until), default=None),
            reason=reason,
            hint=hint,
        )
        groups[stage].append(group)
    return groups


def _counted(kind: TroubleKind, count: int) -> str:
    says = _SAYS[kind][count != 1]
    return says if _SAYS[kind][0] == _SAYS[kind][1] else f"{count} {says}"


def _summary(told: Sequence[Told]) -> str:
    """One line: what is new first, then what stands, then what is over."""

    def of(*stages: Stage) -> str:
        kinds = Counter(one.kind for one in told if one.stage in stages)
        return ", ".join(_counted(kind, count) for kind, count in kinds.items())

    parts = ((of("first"), ""), (of("again"), "still: "), (of("passed", "over"), "over: "))
    return "; ".join(f"{label}{text}" for text, label in parts if text)
