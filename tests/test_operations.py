"""docs/operations.md explains every notice and every state that an operator can meet."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

from daemon.decisions import KnownFeed
from daemon.notices import TroubleKind

CHECKOUT = Path(__file__).parents[1]
TEXT = (CHECKOUT / "docs" / "operations.md").read_text(encoding="utf-8")


def string_arguments(module: str, function: str, at: int | str) -> set[str]:
    """What a function is given as one of its arguments, wherever a module calls it with a plain string."""
    found = set()
    for node in ast.walk(ast.parse((CHECKOUT / "daemon" / f"{module}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function:
            given = (
                [word.value for word in node.keywords if word.arg == at]
                if isinstance(at, str)
                else node.args[at : at + 1]
            )
            found |= {one.value for one in given if isinstance(one, ast.Constant) and isinstance(one.value, str)}
    return found


@pytest.mark.parametrize("kind", get_args(TroubleKind))
def test_every_notice_is_explained(kind: str) -> None:
    assert re.search(rf"^\| \*{kind}\*", TEXT, re.MULTILINE)


@pytest.mark.parametrize("state", get_args(get_type_hints(KnownFeed)["state"]))
def test_every_state_of_a_feed_is_explained(state: str) -> None:
    assert re.search(rf"^\| \*{state}\* \|", TEXT, re.MULTILINE)


def test_every_reason_of_a_failure_is_explained() -> None:
    reasons = string_arguments("fetching", "Failed", 0) | string_arguments("service", "Failed", 0)
    assert {"tls", "too large"} <= reasons
    assert not [reason for reason in sorted(reasons) if f"*{reason}*" not in TEXT]


def test_every_state_of_a_delivery_is_explained() -> None:
    states = string_arguments("mailprojections", "_set_delivery", "state") | {"prepared"}
    assert {"accepted", "deferred"} <= states
    assert not [state for state in sorted(states) if f"*{state}*" not in TEXT]
