"""The table below is the architecture's picture: a module imports only from lines below its own."""

import ast
from functools import cache
from pathlib import Path

import pytest

import daemon

LAYERS = """
__main__
cli
cli_run cli_watch cli_log cli_terms cli_digest cli_setup cli_demo cli_mail cli_feeds cli_health
cli_options scheduling completion starter demo console_terms console_status metrics
console_feeds health journal exposition endpoint
console assembly schemas
backtest
delivery telling sendtest
preparing backfill
cancelling discovery
service
intake
watch
parsing
parser_child
── shell: touches the world
drafting
feedsedit reloading
inquiries covering
hindsight
mailing knowledge queries troubles
recipients storeditems migrations relaying
comparison smtp
projections locks fetching settings
noticerows newfeeds
guard credentials mailprojections inflating
rows
tables feedsfile chain
complaints fields watchterms
yamledit
yamlfiles itemfiles
eventlog
schemaversion
databases lexicon sdnotify
children lexicon_child memory
── core: no network, disk, clock or randomness
shortfalls
explaining unheard
rematching rendering trials
templates
decisions folding proofs
matching digests notation
stories views
independence tellable
edits pictures
standings excerpts
soundness indexing
compiling
searching
readings
vocabulary glancing
terms pages opml
items
inflection
commonwords english slavic stems
words events
duetimes payloads pacing
coverage rules notices outcomes handovers
moments links copies headers counting
claims
errors
"""
# The one thing that the shell gives the core: nothing. What the core may use of the standard library is listed here.
CORE_MAY_NOT_IMPORT = {
    *("asyncio", "httpx", "os", "pathlib", "random", "secrets", "socket", "sqlalchemy", "sqlite3", "sqlmodel"),
    *("subprocess", "tempfile", "threading", "time", "urllib.request", "uuid"),
}
ONLY_IN = {
    "feedparser": {"items"},
    "httpx": {"fetching", "guard", "backtest"},
    "httpcore": {"guard"},
    "aiosmtplib": {"smtp"},
    "jinja2": {"templates", "rendering"},
    "apscheduler": {"scheduling"},
    "sqlmodel": {"eventlog", "schemaversion", "tables"},
    "sqlalchemy": {
        *("databases", "eventlog", "chain", "rows", "projections", "mailprojections", "comparison", "knowledge"),
        *("queries", "hindsight", "recipients", "troubles", "storeditems", "noticerows"),
        *("schemaversion", "migrations"),
    },
    "yaml": {"yamlfiles", "yamledit"},
    "typer": {
        "cli",
        "cli_options",
        "cli_watch",
        "cli_log",
        "cli_terms",
        "cli_digest",
        "cli_setup",
        "cli_demo",
        "cli_mail",
        "cli_feeds",
        "cli_health",
        "completion",
    },
    "prometheus_client": {"exposition"},
    "pymorphy3": {"slavic"},
    "Stemmer": {"stems"},
}

PACKAGE = Path(daemon.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")
RANK = {
    module: rank
    for rank, line in enumerate(reversed(LAYERS.strip().splitlines()))
    if not line.startswith("──")
    for module in line.split()
}
CORE = {module for module, rank in RANK.items() if rank < RANK["children"]}


@cache
def imports_of(module: str) -> set[str]:
    """The full names of all that a module imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            found |= {f"{base}.{alias.name}" for alias in node.names} | {base}
    return found


def our_imports_of(module: str) -> set[str]:
    names = {name.removeprefix("daemon.").split(".")[0] for name in imports_of(module) if name.startswith("daemon.")}
    return names & set(MODULES)


def test_the_picture_names_every_module() -> None:
    assert sorted(RANK) == MODULES


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_from_lower_lines(module: str) -> None:
    upwards = {other for other in our_imports_of(module) if RANK[other] >= RANK[module]}
    assert not upwards, f"{module} imports {sorted(upwards)}, which do not stand below it"


@pytest.mark.parametrize("module", sorted(CORE))
def test_the_core_touches_nothing_outside(module: str) -> None:
    assert not imports_of(module) & CORE_MAY_NOT_IMPORT


@pytest.mark.parametrize("library", sorted(ONLY_IN))
def test_a_library_that_may_be_replaced_is_known_in_few_places(library: str) -> None:
    users = {module for module in MODULES if any(name.split(".")[0] == library for name in imports_of(module))}
    assert users == ONLY_IN[library]


@pytest.mark.parametrize("module", MODULES)
def test_a_module_holds_one_idea(module: str) -> None:
    lines = (PACKAGE / f"{module}.py").read_text(encoding="utf-8").count("\n")
    assert lines <= 450, f"{module} has {lines} lines: does it hold two ideas?"
