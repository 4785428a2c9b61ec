"""The small HTTP server beneath the metrics, asked by too many at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing
from socket import create_connection
from typing import Any

import pytest

from daemon.endpoint import MOST_AT_ONCE, Endpoint

ASKED = b"GET /healthz HTTP/1.0\r\n\r\n"


def _well(_environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    begun = Endpoint.at("127.0.0.1:0", _well)
    yield begun
    begun.end()


def heard(endpoint: Endpoint) -> bytes:
    with create_connection(("127.0.0.1", endpoint.server_port), timeout=10) as asking:
        asking.sendall(ASKED)
        answer = b""
        while more := asking.recv(1000):
            answer += more
    return answer.partition(b"\r\n")[0]


def test_who_asks_is_answered(endpoint: Endpoint) -> None:
    assert heard(endpoint) == b"HTTP/1.0 200 OK"


def test_where_no_thread_can_be_started_its_place_is_free_again(
    endpoint: Endpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    # More than there is room for: so the machine refuses each new thread.
    usual = threading.stack_size(1 << 46)
    try:
        assert [heard(endpoint) for _ in range(2 * MOST_AT_ONCE)] == [b""] * 2 * MOST_AT_ONCE
    finally:
        threading.stack_size(usual)
    assert "can't start new thread" in capsys.readouterr().err
    assert heard(endpoint) == b"HTTP/1.0 200 OK"


def test_many_who_say_nothing_take_few_threads_and_the_next_one_is_refused_until_one_is_gone(
    endpoint: Endpoint,
) -> None:
    before = threading.active_count()
    with ExitStack() as silent:
        for _ in range(3 * MOST_AT_ONCE):
            silent.enter_context(closing(create_connection(("127.0.0.1", endpoint.server_port), timeout=10)))
        # They are heard in order, so the last of them was, too, when this one is.
        with create_connection(("127.0.0.1", endpoint.server_port), timeout=10) as late:
            assert late.recv(1000).startswith(b"HTTP/1.0 503 ")
        assert threading.active_count() - before == MOST_AT_ONCE
    until = time.monotonic() + 10
    while heard(endpoint) != b"HTTP/1.0 200 OK":
        assert time.monotonic() < until
