"""What a person sees of terms in a terminal: what they find, what an edit changes, why and why not. Decides nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text
from rich.tree import Tree

from daemon.console import err, out
from daemon.counting import counted
from daemon.events import ClaimMatched, Evidence
from daemon.excerpts import Piece, excerpt, marked
from daemon.explaining import Branch
from daemon.inquiries import Denial, Explanation, Listened
from daemon.rules import TermRule
from daemon.terms import TermError
from daemon.trials import ClaimDifference, Comparison, Found, StoredItem, Trial, bars

BAR_COLUMNS = 40
MOST_FEEDS = 15
STEP = 250
"""Items between two looks at the bar: drawing it for each would cost more than looking at the item."""


def looking(items: Iterable[StoredItem], total: int | None) -> Iterator[StoredItem]:
    """Passes items on, with a bar on a terminal."""
    columns = (TextColumn("looking at items"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bar:
        task = bar.add_task("items", total=total)
        for count, item in enumerate(items, start=1):
            if count % STEP == 0:
                bar.update(task, completed=count)
            yield item


def say_unreadable(term: str, error: TermError) -> None:
    """A term that can't be read: why, where, and what to write instead."""
    term = _printable(term)
    caret = " " * cell_len(term[: error.column - 1])
    err.print(f"claimwatch: this term can't be read: {error.message}", markup=False)
    err.print(f"    {term}\n    {caret}^ {error.hint}".rstrip(), markup=False)


# ── try ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def trial_screen(term: str, claim: str | None, trial: Trial) -> None:
    """What a term finds: sums, days, feeds, and the newest."""
    head = f": {trial.found:,} of {counted_large(trial.looked_at, 'item')}"
    out.print(Text.assemble((_printable(term), "bold"), head))
    if trial.without_text:
        out.print(f"  {counted(trial.without_text, 'item')} without a text could not be looked at")
    if claim:
        out.print(f"  {trial.new:,} new; {trial.already:,} met already by the other terms of {claim}", markup=False)
    if trial.taken_away.count:
        out.print(f"  {counted_large(trial.taken_away.count, 'more', 'more')} met, but taken away by never: of {claim}")
        for found in trial.taken_away:
            never = "; ".join(dict.fromkeys(one.term for one in found.evidence))
            out.print(Text.assemble("    ", _printable(_title(found.item)), (f"  ({never})", "dim")))
    if not trial.found:
        return
    out.print("\n[bold]per day[/] (UTC, as published or else first seen)")
    _bars(bars(trial.days))
    out.print("\n[bold]per feed[/]")
    feeds = trial.feeds.most_common()
    rest = Counter(dict(feeds[MOST_FEEDS:]))
    more = [(f"{len(rest)} other feeds", rest.total())] if rest else []
    _bars([(feed or "no feed", count) for feed, count in feeds[:MOST_FEEDS]] + more)
    newest = list(trial.newest)
    out.print(f"\n[bold]the newest{f' {len(newest)}' if len(newest) < trial.found else ''}[/]")
    for found in newest:
        _found_lines(found, tells_new=claim is not None)


def _bars(rows: Sequence[tuple[str, int]]) -> None:
    widest = max((cell_len(name) for name, _ in rows), default=0)
    most = max((count for _, count in rows), default=1) or 1
    for name, count in rows:
        bar = "█" * -(-count * BAR_COLUMNS // most)
        label = _printable(name) + " " * (widest - cell_len(name))
        out.print(Text.assemble(f"  {label}  ", (bar, "cyan"), f"{' ' if bar else ''}{count:,}"))


def _found_lines(found: Found, *, tells_new: bool) -> None:
    item = found.item
    news = ("" if not tells_new else "  new" if found.is_new else "  met already", "green" if found.is_new else "dim")
    out.print(Text.assemble((f"  {_day(item.when)}  {_printable(item.feed)}", "bold"), news))
    _text_lines(item, found.evidence, "    ")
    if item.link:
        out.print(Text(f"    {_printable(item.link)}", "dim"))


def _text_lines(item: StoredItem, evidence: Sequence[Evidence], margin: str) -> None:
    """The title, and an excerpt where there is one, with the words marked."""
    spans = {field: _spans(evidence, field) for field in ("title", "summary", "content")}
    out.print(_marked(margin, marked(item.title, 0, len(item.title), spans["title"])))
    field = "content" if spans["content"] and not spans["summary"] else "summary"
    if (text := getattr(item, field)) and text != item.title:
        out.print(_marked(margin, excerpt(text, spans[field])))


def _spans(evidence: Iterable[Evidence], field: str) -> list[tuple[int, int]]:
    return sorted({span for one in evidence if one.field == field for span in one.spans})


def _marked(margin: str, pieces: Iterable[Piece]) -> Text:
    """Marked words in colour on a terminal, between asterisks elsewhere, as in a digest's text."""
    text = Text(margin)
    for piece in pieces:
        words = _printable(piece.text)
        if piece.marked and not out.is_terminal:
            words = f"*{words}*"
        text.append(words, "bold yellow" if piece.marked else None)
    return text


# ── diff ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def comparison_screen(comparison: Comparison) -> None:
    """What an edit changes, claim by claim."""
    if not comparison.claims:
        out.print("Nothing would change: no claim's terms differ from the live rules.")
        return
    quiet = [one for one in comparison.claims if not one.added.count and not one.removed.count]
    for one in comparison.claims:
        if one not in quiet:
            _difference_lines(one)
    for one in quiet:
        out.print(Text.assemble((one.claim, "bold"), "  +0 −0", (f"  {one.change}", "dim")))
    items = counted_large(comparison.looked_at, "stored item")
    if comparison.without_text:
        items += f" ({comparison.without_text:,} more have no text)"
    if not comparison.changes_matches:
        out.print(f"No match would change: the rules differ, and all {items} meet the same claims.")
        return
    err.print(f"looked at {items}")
    if comparison.loses_evidence:
        err.print("[yellow]Earlier evidence would go[/]: some items would no longer bear on their claim.")


def _difference_lines(one: ClaimDifference) -> None:
    added, removed = (f"+{one.added.count:,}", "green"), (f"−{one.removed.count:,}", "red")
    out.print(Text.assemble((one.claim, "bold"), "  ", added, " ", removed, (f"  {one.change}", "dim")))
    for sign, colour, newest in (("+", "green", one.added), ("−", "red", one.removed)):
        shown = list(newest)
        for found in shown:
            feed = _printable(found.item.feed)
            where = (f"  {sign} {_day(found.item.when)}  {feed}  ", colour)
            out.print(Text.assemble(where, _printable(_title(found.item))))
        if rest := newest.count - len(shown):
            out.print(f"    and {rest:,} more (--all shows them)", style="dim")


# ── explain ──────────────────────────────────────────────────────────────────────────────────────────────────────


def explanation_screen(one: Explanation) -> None:
    """Why a match was made."""
    event: ClaimMatched = one.match.event
    state = (one.state, "green" if one.is_current else "yellow")
    out.print(Text.assemble((f"match {one.match.position}", "bold"), " of ", (event.claim, "bold"), ": ", state))
    if one.claim:
        out.print(Text(f"  {one.claim.statement}"))
        out.print(Text(f"  {one.claim.article}", "dim"))
    out.print("\n[bold]item[/]")
    _item_lines(one, event)
    for term in one.terms:
        out.print(Text.assemble("\n", ("term", "bold"), f"  {term.term.text}"))
        if options := _options(term.term):
            out.print(Text(f"  {options}", "dim"))
        out.print(_tree(term.tree))
    out.print(f"\n[bold]made[/] {_moment(one.match.at)}")
    under = f"  under the rules {event.rules[:16]}…" + (f" of {_moment(one.rules_at)}" if one.rules_at else "")
    out.print(f"{under}; {one.since}", markup=False)
    if event.retroactive:
        out.print("  by terms that were written when the item was here already", markup=False)


def _item_lines(one: Explanation, event: ClaimMatched) -> None:
    item = one.item
    if item is None or not item.has_text:
        words = "; ".join(" … ".join(evidence.surface) for evidence in event.evidence)
        out.print(Text(f"  (text taken out of the log; the words were: {words})"))
    else:
        _text_lines(item, event.evidence, "  ")
    published = f", published {_moment(item.published)}" if item and item.published else ""
    seen = f", first seen {_moment(item.first_seen)}" if item and item.first_seen else ""
    out.print(Text(f"  {event.feed}{published}{seen}"))
    if item and item.link:
        out.print(Text(f"  {item.link}"))
    changed = "; its text was changed since" if one.text_was_changed else ""
    out.print(Text(f"  {event.item}, version {event.item_version}{changed}", "dim"))


def _options(term: TermRule) -> str:
    said = [f"stance: {term.stance}"] if term.stance != "mentions" else []
    said += [f"within: {term.within_words}"] if term.within_words else []
    said += ["across: true"] if term.across else []
    said += [f"feeds: {', '.join(term.feeds)}"] if term.feeds else []
    return "; ".join([*said, *([f"note: {term.note}"] if term.note else [])])


def _tree(branch: Branch) -> Tree:
    tree = Tree(_branch(branch), guide_style="dim")
    _grow(tree, branch)
    return tree


def _grow(tree: Tree, branch: Branch) -> None:
    for part in branch.parts:
        _grow(tree.add(_branch(part)), part)


def _branch(branch: Branch) -> Text:
    text = Text(branch.says)
    for at, met in enumerate(branch.met):
        place = (f" {met.field} {met.start}–{met.end}", "dim")
        text.append("  ← " if at == 0 else ", ", "dim")
        text.append_text(Text.assemble((f"“{_printable(met.surface)}”", "bold yellow"), place))
    return text


def denial_screen(denial: Denial) -> None:
    """What each term of a claim makes of an item."""
    item = denial.item
    out.print(Text.assemble((_printable(_title(item)), "bold"), f"\n  {item.feed}  {_day(item.when)}  {item.id}"))
    met = [one for one in denial.verdicts if one.met]
    if not denial.claim.enabled:
        out.print(f"{denial.claim.id} rests: enabled: false stands in feeds.yaml", markup=False)
    elif not denial.verdicts:
        out.print(f"{denial.claim.id} has no terms in feeds.yaml", markup=False)
    says = "bears on" if met else "does not bear on"
    out.print(Text.assemble("\n", says, " ", (denial.claim.id, "bold")))
    for verdict in denial.verdicts:
        sign = ("+ ", "green") if verdict.met else ("− ", "red")
        out.print(Text.assemble("\n", sign, verdict.term.text))
        out.print(Text(f"    {'met: ' if verdict.met else ''}{_printable(verdict.reason)}"))
    if denial.match:
        out.print(f"\nThe log has match {denial.match} of the two: claimwatch explain {denial.match}")
    if not denial.rules_are_live:
        err.print("note: these are the terms of feeds.yaml, which are not live yet (claimwatch diff)")


# ── check ────────────────────────────────────────────────────────────────────────────────────────────────────────


def silence_notes(heard: Listened) -> Iterator[str]:
    """What `check` notes of terms that heard nothing, and of words that nothing has."""
    silence = heard.silence
    items = f"{counted_large(silence.looked_at, 'item')} of the last {counted(heard.days, 'day')} of the log"
    for one in silence.words:
        near = ", ".join(f"{word} ({count:,})" for word, count in one.near)
        yield f"{one.where}: {one.word!r} is in none of the {items}; a slip? There is {near}"
    if silence.terms:
        listed = "".join(f"\n    {place.claim}: {place.term.text}" for place in silence.terms)
        yield f"{counted(len(silence.terms), 'term')} met none of the {items}:{listed}"


def counted_large(count: int, one: str, many: str | None = None) -> str:
    """`1 item`, `61,801 items`."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def _title(item: StoredItem) -> str:
    return item.title or item.summary[:120] or "(no title)"


def _day(moment: datetime | None) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d}" if moment else "no date"


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone():%Y-%m-%d %H:%M %Z}"


def _printable(text: str) -> str:
    """A file's text may hold what moves a terminal's cursor; the log's never does."""
    return "".join(one if one.isprintable() else " " for one in text)
