"""How a digest looks: golden messages of four days, pages that a strict parser takes, colours that can be told apart.

`tests/golden/` holds the messages, which were looked through by eye; CLAIMWATCH_GOLDEN=yes writes them anew. What takes
a browser and linters runs under `make test-look`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import html5lib
import pytest

from daemon.rendering import HTML_BYTES, Rendered, render
from daemon.settings import load_templates, shipped
from tests.days import DAYS

GOLDEN = Path(__file__).parent / "golden"
TOOLS = Path(os.environ.get("CLAIMWATCH_LOOK_TOOLS", ""))
TEMPLATES = load_templates(shipped("alerts"))[0]
SCHEMES = ("light", "dark")
in_a_browser = pytest.mark.look


@pytest.fixture(scope="module", params=DAYS)
def day(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def both(day: str) -> Rendered:
    return render(DAYS[day](), TEMPLATES)


def test_a_digest_looks_as_it_did(day: str, both: Rendered) -> None:
    parts = {"txt": f"Subject: {both.subject}\n\n{both.text}", "html": both.html}
    for ending, part in parts.items():
        golden = GOLDEN / f"digest-{day}.{ending}"
        if os.environ.get("CLAIMWATCH_GOLDEN"):
            golden.write_text(part, encoding="utf-8")
        assert part == golden.read_text(encoding="utf-8")


def test_a_strict_parser_takes_the_page(both: Rendered) -> None:
    html5lib.HTMLParser(strict=True).parse(both.html)


def test_a_page_stays_below_what_mail_programs_clip(both: Rendered) -> None:
    assert len(both.html.encode()) <= HTML_BYTES


def test_headings_come_in_order(both: Rendered) -> None:
    levels = [int(level) for level in re.findall(r"<h(\d)", both.html)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_no_line_of_the_text_is_wider_than_78_columns_but_a_link(both: Rendered) -> None:
    wide = [line for line in both.text.splitlines() if len(line) > 78 and "https://" not in line]
    assert wide == []


# ── colours ──────────────────────────────────────────────────────────────────────────────────────────────────────


def dark_colours(page: str) -> dict[str, dict[str, str]]:
    """What the <style> of a page says for dark mail programs, by class."""
    (block,) = re.findall(r"prefers-color-scheme: dark\) \{(.*?)\n\}", page, re.DOTALL)
    rules: dict[str, dict[str, str]] = {}
    for names, body in re.findall(r"([.\w, -]+?) \{(.*?)\}", block):
        for name in names.split(","):
            rules.setdefault(name.strip().lstrip("."), {}).update(declarations(body.replace("!important", "")))
    return rules


def declarations(style: str) -> dict[str, str]:
    pairs = (one.partition(":") for one in style.split(";") if ":" in one)
    return {name.strip(): value.strip() for name, _, value in pairs}


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    digits = digits if len(digits) == 6 else "".join(one * 2 for one in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """As WCAG 2 has it."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def coloured(
    element: Any, ink: str, paper: str, dark: Mapping[str, Mapping[str, str]]
) -> Iterator[tuple[str, str, str]]:
    """Every text of a page with its colour and the one behind it."""
    style = declarations(element.get("style", ""))
    for name in element.get("class", "").split():
        style |= dark.get(name, {})
    ink, paper = style.get("color", ink), style.get("background", paper)
    if (element.text or "").strip():
        yield element.text.strip(), ink, paper
    for child in element:
        yield from coloured(child, ink, paper, dark)
        if (child.tail or "").strip():
            yield child.tail.strip(), ink, paper


@pytest.mark.parametrize("scheme", SCHEMES)
def test_every_text_stands_out_from_what_is_behind_it(both: Rendered, scheme: str) -> None:
    body = html5lib.parse(both.html, namespaceHTMLElements=False).find("body")
    found = list(coloured(body, "#000000", "#ffffff", dark_colours(both.html) if scheme == "dark" else {}))
    assert len(found) > 20
    assert {one for one in found if contrast(one[1], one[2]) < 4.5} == set()


@pytest.mark.parametrize("paper", ["#ffffff", "#202225"])
def test_bars_stand_out_from_what_is_behind_them(paper: str) -> None:
    colours = set(re.findall(r'bgcolor="(#\w+)"', render(DAYS["heavy"](), TEMPLATES).html))
    assert len(colours) == 3
    assert all(contrast(colour, paper) >= 3 for colour in colours)


# ── in a browser, and by linters ─────────────────────────────────────────────────────────────────────────────────


def run(*command: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, **more)


def browsed(page: str, scheme: str, width: int, script: str) -> Any:
    """What a script finds out about a page in Chromium: it leaves JSON in `document.title`."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "page.html").write_text(page, encoding="utf-8")
        (folder / "axe.js").write_bytes((TOOLS / "axe-core" / "axe.min.js").read_bytes())
        # A window is never narrower than 500 pixels, a frame may be.
        (folder / "frame.html").write_text(
            "<!DOCTYPE html><title>none</title>"
            f"<iframe id=f src=page.html style='border:0;width:{width}px;height:900px'></iframe>"
            f"<script>onload = async () => {{ const page = document.getElementById('f').contentWindow;"
            f"{script} }}</script>",
            encoding="utf-8",
        )
        browser = ["chromium", "--headless", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
        if os.geteuid() == 0:
            browser.append("--no-sandbox")
        browser += [f"--user-data-dir={folder / 'profile'}", "--allow-file-access-from-files"]
        browser += [f"--blink-settings=preferredColorScheme={0 if scheme == 'dark' else 1}"]
        browser += ["--hide-scrollbars", "--virtual-time-budget=60000", "--window-size=800,900", "--dump-dom"]
        done = run(*browser, f"file://{folder / 'frame.html'}")
    (title,) = re.findall(r"<title>(.*?)</title>", done.stdout, re.DOTALL) or [done.stderr]
    return json.loads(title.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))


AXE = """
const dark = page.matchMedia('(prefers-color-scheme: dark)').matches;
const WCAG = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa'];
const tool = page.document.createElement('script');
tool.src = 'axe.js';
tool.onload = async () => {
  const found = await page.axe.run(page.document, {iframes: false, runOnly: WCAG});
  document.title = JSON.stringify({dark, checked: found.passes.map(one => one.id), wrong: found.violations.map(
    one => [one.id, one.nodes.length, one.nodes[0].failureSummary, one.nodes[0].html.slice(0, 200)])});
};
page.document.head.append(tool);
"""
WIDTH = "document.title = JSON.stringify(page.document.documentElement.scrollWidth);"


@in_a_browser
@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_nothing_wrong(both: Rendered, scheme: str) -> None:
    found = browsed(both.html, scheme, 640, AXE)
    assert found["dark"] == (scheme == "dark")
    assert "color-contrast" in found["checked"]
    assert found["wrong"] == []


@in_a_browser
@pytest.mark.parametrize("width", [320, 640])
def test_nothing_is_wider_than_the_window(both: Rendered, width: int) -> None:
    assert browsed(both.html, "light", width, WIDTH) == width


@in_a_browser
def test_an_html_linter_finds_nothing_wrong(both: Rendered, tmp_path: Path) -> None:
    # Mail has its styles inline and presentational attributes, because mail programs leave nothing else in force; old
    # ones know role="presentation" alone, and take <article> away with what is in it.
    allowed = ("no-inline-style", "no-deprecated-attr", "attribute-boolean-style", "long-title", "prefer-tbody")
    conventions = ("presentation-role-style", "prefer-native-element")
    rules = {"extends": ["html-validate:recommended"], "rules": dict.fromkeys((*allowed, *conventions), "off")}
    (tmp_path / ".htmlvalidate.json").write_text(json.dumps({"root": True} | rules), encoding="utf-8")
    linter = str(TOOLS / ".bin" / "html-validate")
    done = run(linter, "--stdin", "--formatter", "stylish", cwd=tmp_path, input=both.html)
    assert done.returncode == 0, done.stdout[:3_000]


DO_I_USE = """
import { doIUseEmail } from '@jsx-email/doiuse-email';
import { readFileSync } from 'node:fs';
const found = doIUseEmail(readFileSync(process.argv[2], 'utf8'), { emailClients: process.argv.slice(3) });
console.log(JSON.stringify(found));
"""
# Gmail's mobile apps and Outlook read no media queries or rgb; they get the light colours, which stand inline.
# Where overflow-wrap is not known, word-wrap and word-break stand beside it; without a <body> the colours stay default.
KNOWN = {
    f"`overflow-wrap` is not supported by `{one}`"
    for one in ("gmail.desktop-webmail", "apple-mail.macos", "apple-mail.ios")
}
KNOWN |= {"`<body> element` is not supported by `outlook.macos`"}
CLIENTS = ("gmail.desktop-webmail", "apple-mail.macos", "apple-mail.ios", "outlook.macos")


@in_a_browser
def test_mail_programs_know_what_the_page_uses(both: Rendered, tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(TOOLS)
    (tmp_path / "check.mjs").write_text(DO_I_USE, encoding="utf-8")
    (tmp_path / "page.html").write_text(both.html, encoding="utf-8")
    done = run("node", "check.mjs", "page.html", *CLIENTS, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[:2_000]
    assert set(json.loads(done.stdout).get("errors", [])) <= KNOWN
