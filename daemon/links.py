"""Addresses of the web as a reader may be shown them: what is safe to click, and where it leads."""

from __future__ import annotations

import re
import string
import unicodedata
from urllib.parse import quote, urljoin, urlsplit

import idna

# What a reader takes for a host: names joined by dots, the last one of letters. "3.5" and "e.g." are none.
_HOSTLIKE = re.compile(r"(?<![\w@.-])(?:[^\W_](?:[\w-]{0,62})\.)+[^\W\d_]{2,24}(?![\w-])")

_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
# Spaces, and what turns the direction of writing: in a plain text an address could be made to read as another one.
_UNSHOWN = re.compile("[\\s\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")


def safe_link(link: str | None, feed_url: str) -> str | None:
    """The absolute http(s) address, else None: feeds carry `javascript:` and worse."""
    if not link:
        return None
    try:
        absolute = urljoin(feed_url, link)
        parts = urlsplit(absolute)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            return None
    except ValueError:
        return None
    # A browser takes \ for /: what stands before it is the host there, and a part of the host here.
    if "\\" in parts.netloc:
        return None
    return _UNSHOWN.sub(lambda found: quote(found[0]), absolute)


def address_key(url: str) -> str:
    """What all spellings of one address have in common, http and https among them: what is fetched by either is the
    same. An address that is none is its own key."""
    try:
        parts = urlsplit(url.strip())
        host, port = ascii_host((parts.hostname or "").rstrip(".")).lower(), parts.port
    except (ValueError, UnicodeError):
        return url
    shown = f":{port}" if port not in (None, 80, 443) else ""
    query = f"?{_escapes_alike(parts.query)}" if parts.query else ""
    return f"//{host}{shown}{_escapes_alike(parts.path) or '/'}{query}"


def _escapes_alike(text: str) -> str:
    """Percent signs where they must be, and nowhere else (RFC 3986, 6.2.2)."""
    decoded = _ESCAPE.sub(lambda one: plain if (plain := chr(int(one[1], 16))) in _PLAIN else one[0].upper(), text)
    return quote(decoded, safe="%/:?#[]@!$&'()*+,;=~")


def host_of(link: str | None) -> str:
    """The host to show beside a link; one that is not ASCII is shown as the browser resolves it (xn--…)."""
    host = (urlsplit(link).hostname or "") if link else ""
    try:
        return ascii_host(host)
    except idna.IDNAError:
        return host.encode("ascii", "backslashreplace").decode()


def ascii_host(host: str) -> str:
    """A host's name as DNS and mail carry it (UTS 46). Raises idna.IDNAError, a UnicodeError, where it has none."""
    return host if host.isascii() else idna.encode(host, uts46=True).decode()


def names_another_host(text: str, host: str) -> bool:
    """Whether a text reads as if it led to another host than `host`: "mybank.example" over a link to elsewhere."""
    for found in _HOSTLIKE.findall(unicodedata.normalize("NFKC", text)):
        named = host_of(f"https://{found.casefold()}/").removeprefix("www.")
        if named != host.removeprefix("www.") and not host.endswith(f".{named}"):
            return True
    return False
