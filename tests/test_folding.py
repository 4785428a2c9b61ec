"""What finds no room: the least important, counted where it stands, until page and text are small enough."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.coverage import Coverage, FeedOutage, FeedTrouble, Span
from daemon.folding import MOST_OTHERS, fitting, fold
from daemon.rendering import HTML_BYTES, Rendered, render, template_faults, to_message
from daemon.views import DigestView
from tests.days import heavy, quiet
from tests.support import NOW, claim, rules
from tests.test_digests import TEMPLATES, match, view_of


def shown(view: DigestView) -> dict[str, int]:
    """How many stories and edits each claim shows."""
    return {
        one.id: len(one.news) + len(one.already_there) + len(one.retroactive) + len(one.edits) for one in view.claims
    }


def headline(claim_at: int, story: int) -> str:
    """A title of one made-up word, so that no two stories share any: Qaaaa, Qbaaa …"""
    number = claim_at * 10_000 + story
    return "Q" + "".join(chr(ord("a") + number // 26**place % 26) for place in range(4))


def busy(*stories: int, others: int = 0, **fields: Any) -> DigestView:
    """A digest of claims with so many stories each, each story told by one feed and `others`."""
    claims = [claim(f"claim-{at}") for at in range(len(stories))]
    matches = [
        match(headline(at, story), at * 100_000 + story * 100 + copy, claim=one.id, feed=f"feed-{copy}", **fields)
        for at, (one, count) in enumerate(zip(claims, stories, strict=True))
        for story in range(count)
        for copy in range(1 + others)
    ]
    return view_of(*matches, rule_set=rules(*claims))


def test_stories_are_left_out_in_rounds_so_that_each_claim_keeps_its_first() -> None:
    view = busy(5, 3, 1)
    assert shown(fold(view, 3, None)) == {"claim-0": 1, "claim-1": 1, "claim-2": 1}
    assert shown(fold(view, 5, None)) == {"claim-0": 2, "claim-1": 2, "claim-2": 1}
    assert shown(fold(view, 8, None)) == {"claim-0": 4, "claim-1": 3, "claim-2": 1}


def test_a_claim_without_room_for_a_story_keeps_its_line() -> None:
    folded = fold(busy(2, 2, 1), 1, None)
    assert [one.id for one in folded.claims] == ["claim-0"]
    assert [one.id for one in folded.brief] == ["claim-1", "claim-2"]
    assert (folded.moved, folded.items) == (3, 5)


def test_what_is_told_by_fewest_and_is_oldest_is_left_out_first() -> None:
    hours = [timedelta(hours=at) for at in range(9)]
    view = view_of(
        match("grain ship", 1, published=NOW - hours[8]),
        match("prisoner list", 2, published=NOW - hours[1]),
        match("ceasefire talk starts", 3, published=NOW - hours[6]),
        match("ceasefire talk opens", 4, feed="courier", link="https://courier.example/1", published=NOW - hours[5]),
    )
    left = [fold(view, count, None).claims[0].news for count in (1, 2, 3)]
    assert [[one.lead.title[0].text for one in news] for news in left] == [
        ["ceasefire talk starts"],
        ["ceasefire talk starts", "prisoner list"],
        ["ceasefire talk starts", "prisoner list", "grain ship"],
    ]


def test_what_is_left_out_is_counted() -> None:
    more = fold(busy(5, others=1), 2, None).claims[0].more
    assert (more.stories, more.items) == (3, 6)
    (story,) = fold(busy(1, others=20), 1, None).claims[0].news
    assert (len(story.others), story.more, story.count) == (MOST_OTHERS, 20 - MOST_OTHERS, 21)


def test_what_fits_is_left_as_it_is() -> None:
    view = busy(5, 3)
    assert fitting(view, lambda _: 7, 7) is view


@pytest.mark.parametrize("room", [0, 1, 2, 3, 17, 60, 139])
def test_as_much_is_shown_as_fits(room: int) -> None:
    fitted = fitting(busy(90, 50), lambda view: sum(shown(view).values()), room)
    assert sum(shown(fitted).values()) == room


def test_how_many_of_hundreds_fit_is_found_in_few_fillings() -> None:
    view = busy(900)
    tried: list[int] = []

    def size(folded: DigestView) -> int:
        tried.append(sum(shown(folded).values()))
        # The first stories are longer than the others, as they are.
        return sum(1_000 - 900 * (at > 40) for at in range(tried[-1]))

    (fitted,) = shown(fitting(view, size, 90_000)).values()
    assert 89_500 < 41_000 + (fitted - 41) * 100 <= 90_000
    assert len(tried) <= 10
    assert fitting(view, size, 1_000_000) is view


def page(view: DigestView) -> str:
    return render(view, TEMPLATES).html


def told_and_left(html: str) -> int:
    """The stories on a page and those that it says are left out."""
    left = sum(int(count.replace(",", "")) for count in re.findall(r"And ([\d,]+) more stor", html))
    return html.count('class="link" href="https://gazette.example/1"') + left


def test_a_page_with_a_thousand_stories_stays_small_and_counts_the_rest() -> None:
    html = page(busy(700, 200, 100))
    assert HTML_BYTES * 9 // 10 < len(html.encode()) <= HTML_BYTES
    assert told_and_left(html) == 1_000
    assert "in the text part of this mail, and under claimwatch digest show daily/" in html


def test_what_finds_no_room_in_the_page_stands_in_the_text() -> None:
    both = render(busy(300), TEMPLATES)
    assert all(f"* {headline(0, at)}\n" in both.text for at in range(300))


@pytest.mark.parametrize("letters", ["a", "щ", "停"])
def test_a_text_that_a_server_could_refuse_is_folded_too(letters: str) -> None:
    view = busy(120, summary=f"{letters * 30} " * 9)
    both = render(view, TEMPLATES, text_bytes=20_000)
    sent = to_message(
        replace(both, html=""), sender="a@example.org", name="daily", message_id="<1@example.org>", now=NOW
    )
    assert 15_000 < len(sent) < 21_000
    assert re.search(
        r"\.\.\. and [\d,]+ more stories \([\d,]+ items\): claimwatch matches --claim\s+claim-0", both.text
    )
    assert "under claimwatch matches" in both.html


def test_hundreds_of_claims_that_moved_and_hundreds_of_quiet_ones_fit_on_a_page() -> None:
    claims = [claim(f"claim-{at}", statement=f"The statement of claim {at}. " * 5) for at in range(600)]
    matches = [match(position=at + 1, claim=one.id) for at, one in enumerate(claims[:300])]
    html = page(view_of(*matches, rule_set=rules(*claims)))
    assert len(html.encode()) <= HTML_BYTES
    lines = html.count("1 item <span")
    assert lines + int(re.findall(r"and ([\d,]+) more claims, in the text", html)[0].replace(",", "")) == 300
    assert len(re.findall(r"<h2", html)) > 20


def test_two_thousand_feeds_in_trouble_fit_on_a_page() -> None:
    troubles = tuple(FeedTrouble(f"feed-{at}", "failing", NOW, f"reason {at % 600}", "Wait.") for at in range(2_000))
    outages = tuple(FeedOutage(f"feed-{at}", NOW, NOW) for at in range(500))
    spans = (Span(NOW, NOW),) * 500
    coverage = Coverage(NOW, NOW, 2_000, 0, troubles, spans, tuple(f"feed-{at}" for at in range(1_000)), outages)
    both = render(view_of(match(), coverage=coverage, missed=[NOW] * 400), TEMPLATES)
    assert len(both.html.encode()) <= HTML_BYTES
    assert "more troubles: claimwatch status" in both.html
    assert "feed-599" in both.text


def test_folding_comes_out_the_same_each_time() -> None:
    assert page(heavy()) == page(heavy())


# ── templates of the user's own ──────────────────────────────────────────────────────────────────────────────────


def by_own(view: DigestView, **own: str) -> Rendered:
    changed = {name.replace("_", "."): text for name, text in own.items()}
    return render(view, TEMPLATES | changed, TEMPLATES)


def test_a_template_that_fails_is_replaced_alone_and_named_with_its_line() -> None:
    both = by_own(view_of(match()), digest_txt="Mine\n\n{{ digest.nothing }}\n", subject_txt="Mine: {{ digest.name }}")
    assert both.subject == "Mine: daily"
    assert (both.text, both.html) == (render(view_of(match()), TEMPLATES).text, page(view_of(match())))
    (fault,) = both.faults
    assert (fault.template, fault.line) == ("digest.txt", 3)
    assert str(fault).startswith("alerts/digest.txt, line 3: ")
    assert "nothing" in fault.message


@pytest.mark.parametrize(
    "slip", ["\n{% if %}", "\n{{ digest.due | nonsense }}", "\n{% for x in digest %}", "\n{{ 1 / 0 }}"]
)
def test_any_slip_falls_back_to_the_shipped_template(slip: str) -> None:
    both = by_own(view_of(match()), digest_html=slip)
    assert both.html == page(view_of(match()))
    assert [(fault.template, fault.line) for fault in both.faults] == [("digest.html", 2)]


def test_a_user_s_template_gets_what_fits_into_it() -> None:
    own = "{% for claim in digest.claims %}{% for story in claim.news %}{{ 'x' * 5000 }}{% endfor %}{% endfor %}"
    both = by_own(busy(100), digest_html=own)
    assert both.faults == ()
    assert len(both.html) == 100_000


def test_a_template_that_can_not_be_kept_small_is_replaced() -> None:
    both = by_own(busy(3), digest_html="{{ 'x' * 100001 }}")
    assert both.html == page(busy(3))
    assert [str(fault) for fault in both.faults] == [
        "alerts/digest.html: it makes more than 100,000 bytes, however little it is given"
    ]


def test_templates_are_tried_on_digests_of_every_sort() -> None:
    assert template_faults(TEMPLATES, TEMPLATES) == ()
    assert template_faults(TEMPLATES | {"subject.txt": "Mine: {{ digest.name }}"}, TEMPLATES) == ()
    slip = "{% for claim in digest.brief %}\n{{ claim.nothing }}{% endfor %}"
    assert [(one.template, one.line) for one in template_faults(TEMPLATES | {"digest.txt": slip}, TEMPLATES)] == [
        ("digest.txt", 2)
    ]


def test_a_quiet_day_says_what_was_covered_in_the_subject_too() -> None:
    assert render(quiet(), TEMPLATES).subject == "Nothing new, 8 of 8 feeds read (daily)"
