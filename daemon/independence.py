"""Independence: how many sources a story really has.

One source are all reports of a feed, all feeds of one publisher (by the host that their links lead to), all copies of
one text, and all that credit the same agency at their start or end, the agency's own feed among them. What an outlet
took from another without saying so, and told in its own words, still counts as its own: the number is rather too high.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from daemon.copies import Groups, Runs, copies
from daemon.links import host_of, safe_link

_AGENCIES = {
    "Reuters": "Reuters|REUTERS|Рейтер|Рейтерс|路透社",
    "AFP": "AFP|Agence France-Presse|АФП|法新社",
    "AP": "AP|Associated Press|美联社",
    "dpa": "dpa|DPA",
    "EFE": "EFE",
    "ANSA": "ANSA",
    "Bloomberg": "Bloomberg|彭博社",
    "Xinhua": "Xinhua|Синьхуа|新华社",
    "TASS": "TASS|ТАСС|塔斯社",
    "RIA": "RIA|RIA Novosti|РИА|РИА Новости|РИА «Новости»|俄新社",
    "Interfax-Ukraine": "Interfax-Ukraine|Интерфакс-Украина|ИНТЕРФАКС-УКРАИНА|Інтерфакс-Україна|ІНТЕРФАКС-УКРАЇНА",
    "Interfax": "Interfax|INTERFAX|Интерфакс|ИНТЕРФАКС|Інтерфакс|国际文传电讯社",
    "Ukrinform": "Ukrinform|Укринформ|Укрінформ",
    "UNIAN": "UNIAN|УНИАН|УНІАН",
}
_OWN_SITES = {
    "afp.com": "AFP",
    "ansa.it": "ANSA",
    "apnews.com": "AP",
    "bloomberg.com": "Bloomberg",
    "dpa.com": "dpa",
    "efe.com": "EFE",
    "interfax.com": "Interfax",
    "interfax.com.ua": "Interfax-Ukraine",
    "interfax.ru": "Interfax",
    "news.cn": "Xinhua",
    "reuters.com": "Reuters",
    "ria.ru": "RIA",
    "tass.com": "TASS",
    "tass.ru": "TASS",
    "ukrinform.net": "Ukrinform",
    "ukrinform.ru": "Ukrinform",
    "ukrinform.ua": "Ukrinform",
    "unian.info": "UNIAN",
    "unian.net": "UNIAN",
    "unian.ua": "UNIAN",
    "xinhuanet.com": "Xinhua",
}
# The longer of two names is tried first.
_NAME = rf"({'|'.join(sorted('|'.join(_AGENCIES.values()).split('|'), key=len, reverse=True))})"
_BRACKETED = rf"[(/\[（【]{_NAME}[)/\]）】]"
_OPENINGS = (
    re.compile(rf".{{0,60}}?{_BRACKETED}", re.DOTALL),  # KYIV, 3 Nov (Reuters) - …; МОСКВА, 3 ноября. /ТАСС/. …
    re.compile(rf".{{0,40}}?\b{_NAME}\s?[-–—]+\s", re.DOTALL),  # Киев. 3 ноября. ИНТЕРФАКС - …
    re.compile(rf"{_NAME}\s?[:：]"),
    re.compile(rf"[（(【]?据?{_NAME}.{{0,15}}?[电报讯]"),  # 路透社北京3月19日电 …; 据新华社报道 …
)
_SAYS = r"told|with|By|via|[Rr]eports?|сообща\w+|сообщил\w?|переда\w+|пишет|повідомля\w+|повідоми\w+|пише"
_CLOSINGS = (
    re.compile(rf"{_BRACKETED}[\s.]*\Z"),  # … (AFP)
    re.compile(rf"(?:\s[-–—|]\s?|\b(?:{_SAYS})\s){_NAME}[\s.»”\"]*\Z"),  # … — Reuters; … сообщает ТАСС.
)
_OPENING_CHARACTERS, _CLOSING_CHARACTERS = 120, 60
_OF_A_PICTURE = re.compile(r"photo|image|picture|фото|图片|照片", re.IGNORECASE)

# Where everybody publishes, the host tells no publisher; a name below one of the second kind does.
_AGGREGATORS = ("feedproxy.google.com", "feeds.feedburner.com", "msn.com", "news.google.com", "news.yahoo.com")
_NETWORKS = (
    "facebook.com",
    "medium.com",
    "reddit.com",
    "t.me",
    "twitter.com",
    "vk.com",
    "x.com",
    "youtu.be",
    "youtube.com",
)
_SHARED_HOSTS = frozenset((*_AGGREGATORS, *_NETWORKS))
_SHARED_DOMAINS = frozenset(("blogspot.com", "github.io", "livejournal.com", "substack.com", "wordpress.com"))
# As in com.ua, co.uk, gov.in: not a name that somebody registered.
_SECOND_LEVEL = frozenset(("ac", "co", "com", "edu", "go", "gob", "gov", "gouv", "ne", "net", "or", "org"))


@dataclass(frozen=True)
class Telling:
    """A report as far as its source goes."""

    feed: str
    link: str | None
    title: str
    summary: str
    runs: Runs


def count_sources(tellings: Sequence[Telling]) -> int:
    """How many independent sources tell this, by all that can be seen in the reports themselves."""
    sources = Groups(len(tellings))
    first: dict[tuple[str, str], int] = {}
    for at, telling in enumerate(tellings):
        for mark in _marks(telling):
            sources.unite(at, first.setdefault(mark, at))
    for later, earlier in copies([telling.runs for telling in tellings]):
        sources.unite(later, earlier)
    return len(list(sources))


def _marks(telling: Telling) -> Iterator[tuple[str, str]]:
    """What two reports of one source have in common."""
    yield "feed", telling.feed
    publisher = publisher_of(telling.link)
    if publisher:
        yield "publisher", publisher
    agency = _OWN_SITES.get(publisher) or agency_of(telling.title, telling.summary)
    if agency:
        yield "agency", agency


def publisher_of(link: str | None) -> str:
    """The name that somebody registered, out of a link's host; empty where that tells no publisher."""
    host = host_of(safe_link(link, "")).lower().removeprefix("www.").rstrip(".")
    if host in _SHARED_HOSTS:
        return ""
    labels = host.split(".")
    if labels[-1].isdigit() or ":" in host:
        return host
    below = ".".join(labels[-2:])
    deep = below in _SHARED_DOMAINS or (len(labels[-1]) == 2 and len(labels) > 2 and labels[-2] in _SECOND_LEVEL)
    return ".".join(labels[-3:]) if deep else below


def agency_of(title: str, summary: str) -> str | None:
    """The agency that a report credits at its start or end."""
    for text in (summary, title):
        opening, closing = text.lstrip()[:_OPENING_CHARACTERS], text.rstrip()[-_CLOSING_CHARACTERS:]
        tried = [pattern.match(opening) for pattern in _OPENINGS]
        if not _OF_A_PICTURE.search(closing):
            tried += [pattern.search(closing) for pattern in _CLOSINGS]
        for found in filter(None, tried):
            return next(agency for agency, names in _AGENCIES.items() if found[1] in names.split("|"))
    return None
