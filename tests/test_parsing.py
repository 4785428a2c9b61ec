"""Feed documents are read in a process that can be killed, and nothing is lost with it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from daemon import parsing
from daemon.errors import ClaimwatchError
from daemon.items import Feed, NotAFeed, parse, split
from daemon.pages import FeedLink, Page
from daemon.parsing import Limits, Parser, Reading, Unreadable, open_parser
from tests.support import NOW, item, rss

SOUND = rss(item("Energy strike pause", summary="Тридцять днів — “pause”.", published=NOW, content="", lang=None))
SLOW = b"<rss version='2.0'><channel><item><author>" + b"a" * 200_000 + b"</author></item></channel></rss>"
R = TypeVar("R")


def with_parser(use: Callable[[Parser], Awaitable[R]], limits: Limits | None = None) -> R:
    async def opened() -> R:
        async with open_parser(limits) as parser:
            return await use(parser)

    return asyncio.run(opened())


def readings(*documents: bytes, limits: Limits | None = None) -> list[Reading]:
    """What a parser makes of these documents, one after another."""

    async def use(parser: Parser) -> list[Reading]:
        return [await parser.parse(document) for document in documents]

    return with_parser(use, limits)


def pid_of(parser: Parser) -> int:
    child = parser._child
    assert child is not None
    return child.pid


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def test_what_comes_back_is_what_the_document_says() -> None:
    (reading,) = readings(SOUND)
    assert reading == parse(split(SOUND))
    assert isinstance(reading, Feed)
    assert reading.items[0].published == NOW


def test_the_charset_of_the_answer_reaches_the_parser() -> None:
    body = "<rss version='2.0'><channel><item><title>Обмін</title></item></channel></rss>".encode("windows-1251")
    reading = with_parser(lambda parser: parser.parse(body, "windows-1251"))
    assert isinstance(reading, Feed)
    assert reading.items[0].title == "Обмін"


def test_a_page_is_no_feed() -> None:
    (reading,) = readings(b"<!DOCTYPE html><html></html>")
    assert isinstance(reading, NotAFeed)


def test_a_page_is_read_in_search_of_feeds_by_the_same_process() -> None:
    page = b"<html><title>T</title><link rel=alternate type=application/rss+xml href=/rss>"

    async def use(parser: Parser) -> tuple[object, Reading, bool]:
        links, before = await parser.links_to_feeds(page), pid_of(parser)
        return links, await parser.parse(SOUND), pid_of(parser) == before

    links, reading, alike = with_parser(use)
    assert links == Page("T", "", (FeedLink("/rss"),))
    assert isinstance(reading, Feed)
    assert alike


def test_a_page_that_needs_too_much_is_given_up_and_the_next_document_is_read() -> None:
    async def use(parser: Parser) -> tuple[object, Reading]:
        return await parser.links_to_feeds(b"<div>" * 900_000), await parser.parse(SOUND)

    links, reading = with_parser(use, Limits(cpu_seconds=0.3, memory_bytes=150_000_000))
    assert isinstance(links, Unreadable)
    assert isinstance(reading, Feed)


def test_an_empty_document_and_half_a_character_come_back() -> None:
    empty, half = readings(b"", rss(item("x")).replace(b"x", b"&#xD800;"))
    assert isinstance(empty, NotAFeed)
    assert isinstance(half, Feed)


def test_one_process_reads_many_documents() -> None:
    async def use(parser: Parser) -> set[int]:
        pids = set()
        for _ in range(5):
            await parser.parse(SOUND)
            pids.add(pid_of(parser))
        return pids

    assert len(with_parser(use)) == 1


def test_a_document_that_needs_too_much_processor_time_is_given_up_and_the_next_one_is_read() -> None:
    slow, sound = readings(SLOW, SOUND, limits=Limits(cpu_seconds=0.2))
    assert slow == Unreadable("reading it took more than 0.2 s of processor time", lasting=True)
    assert isinstance(sound, Feed)


def test_processor_time_is_counted_for_each_document_alone() -> None:
    async def use(parser: Parser) -> set[int]:
        pids = set()
        many = rss(*[item(f"Story {number}", summary="<p>word</p>" * 20) for number in range(150)])
        for _ in range(8):
            assert isinstance(await parser.parse(many), Feed)
            pids.add(pid_of(parser))
        return pids

    # All eight together take far more than the limit; each alone takes far less.
    assert len(with_parser(use, Limits(cpu_seconds=0.6))) == 1


def test_a_document_that_needs_too_much_memory_is_given_up_and_the_next_one_is_read() -> None:
    large, sound = readings(bytes(110_000_000), SOUND, limits=Limits(memory_bytes=150_000_000))
    assert large == Unreadable("reading it took more than 150 MB of memory", lasting=True)
    assert isinstance(sound, Feed)


def test_a_document_that_takes_too_long_by_the_clock_is_given_up() -> None:
    (slow,) = readings(SLOW, limits=Limits(cpu_seconds=60, wall_seconds=0.5))
    assert slow == Unreadable("reading it took more than 0.5 s")


def test_an_answer_too_large_to_be_held_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "MOST_ANSWER_BYTES", 1_000)
    large, small = readings(rss(item("x" * 2_000)), rss(item("x")))
    assert large == Unreadable("it holds more than 1,000 bytes of text", lasting=True)
    assert isinstance(small, Feed)


@pytest.mark.parametrize(
    ("answer", "detail"),
    [
        (b'{"fault": "KeyError: 1"}', "the parser fails on it (KeyError: 1); please report it"),
        (b"{}", "the parser fails on it (); please report it"),
        (b'{"feed": {"title": 1}}', "the parser's answer is none (Input should be a valid string); please report it"),
    ],
)
def test_an_answer_that_is_none_is_our_own_fault_and_the_document_is_tried_again(answer: bytes, detail: str) -> None:
    assert parsing._reading(answer) == Unreadable(detail)


def test_a_swollen_process_makes_room_for_a_fresh_one() -> None:
    big = rss(item("A long story", summary="word " * 1_500_000))

    async def use(parser: Parser) -> tuple[int, int]:
        await parser.parse(SOUND)
        before = pid_of(parser)
        assert isinstance(await parser.parse(big), Feed)
        assert isinstance(await parser.parse(SOUND), Feed)
        return before, pid_of(parser)

    before, after = with_parser(use)
    assert before != after
    assert not is_running(before)


def test_a_process_that_somebody_killed_costs_nothing() -> None:
    async def use(parser: Parser) -> Reading:
        await parser.parse(SOUND)
        os.kill(pid_of(parser), signal.SIGKILL)
        return await parser.parse(SOUND)

    assert isinstance(with_parser(use), Feed)


def test_a_process_killed_in_the_middle_of_a_document_reads_it_once_more() -> None:
    async def use(parser: Parser) -> Reading:
        await parser.parse(SOUND)
        reading = asyncio.create_task(parser.parse(SLOW))
        await asyncio.sleep(0.1)
        os.kill(pid_of(parser), signal.SIGSEGV)
        return await reading

    # The second reading is the one that ran into its limit.
    assert with_parser(use, Limits(cpu_seconds=0.3)) == Unreadable(
        "reading it took more than 0.3 s of processor time", lasting=True
    )


def test_a_document_that_crashes_the_process_twice_is_given_up() -> None:
    async def use(parser: Parser) -> Reading:
        await parser.parse(SOUND)
        reading = asyncio.create_task(parser.parse(SLOW))
        killed: set[int] = set()
        while not reading.done():
            await asyncio.sleep(0.05)
            if parser._child and parser._child.pid not in killed and _is_at_work(parser._child.pid):
                killed.add(parser._child.pid)
                os.kill(parser._child.pid, signal.SIGSEGV)
        assert len(killed) == 2
        return await reading

    assert with_parser(use, Limits(cpu_seconds=30, wall_seconds=30)) == Unreadable("the parser crashed on it, twice")


def _is_at_work(pid: int) -> bool:
    """The process runs, and waits for nothing."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] == "R"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_for_the_daemon_does_not_end_a_document_half_read(number: signal.Signals) -> None:
    async def use(parser: Parser) -> bool:
        await parser.parse(SOUND)
        pid = pid_of(parser)
        os.kill(pid, number)
        await parser.parse(SOUND)
        return pid_of(parser) == pid

    assert with_parser(use)


def test_an_idle_process_ends_and_a_later_document_is_read_by_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parsing, "IDLE_SECONDS", 0.05)

    async def use(parser: Parser) -> tuple[int, int]:
        await parser.parse(SOUND)
        first = pid_of(parser)
        deadline = time.monotonic() + 10
        while is_running(first) and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
        assert not is_running(first)
        assert isinstance(await parser.parse(SOUND), Feed)
        return first, pid_of(parser)

    first, second = with_parser(use)
    assert first != second


def test_documents_asked_for_at_once_are_read_in_turn() -> None:
    async def use(parser: Parser) -> list[Reading]:
        return await asyncio.gather(*(parser.parse(rss(item(f"Story {number}"))) for number in range(6)))

    titles = [reading.items[0].title for reading in with_parser(use) if isinstance(reading, Feed)]
    assert titles == [f"Story {number}" for number in range(6)]


def test_a_cancelled_reading_leaves_no_half_answer_to_the_next() -> None:
    async def use(parser: Parser) -> Reading:
        await parser.parse(SOUND)
        reading = asyncio.create_task(parser.parse(SLOW))
        await asyncio.sleep(0.05)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        return await parser.parse(SOUND)

    assert with_parser(use) == parse(split(SOUND))


def test_no_process_is_left_behind() -> None:
    async def use(parser: Parser) -> int:
        await parser.parse(SOUND)
        return pid_of(parser)

    assert not is_running(with_parser(use))


def test_the_process_ends_with_its_parent() -> None:
    script = (
        "import asyncio, os, sys\n"
        "from daemon.parsing import Parser\n"
        "async def main():\n"
        "    parser = Parser()\n"
        "    await parser.parse(b'<rss/>')\n"
        "    print(parser._child.pid, flush=True)\n"
        "    os._exit(9)\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 9, ended.stderr
    deadline = time.monotonic() + 10
    while is_running(int(ended.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not is_running(int(ended.stdout))


def test_the_process_inherits_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/claimwatch")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/notify")

    async def use(parser: Parser) -> bytes:
        await parser.parse(SOUND)
        return Path(f"/proc/{pid_of(parser)}/environ").read_bytes()

    environment = with_parser(use)
    assert b"PYTHONPATH=" in environment
    assert b"/run/" not in environment


def test_a_folder_named_daemon_where_the_user_stands_is_not_taken_for_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "daemon").mkdir()
    (tmp_path / "daemon" / "__init__.py").write_text("raise SystemExit('somebody else')", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    assert isinstance(readings(SOUND)[0], Feed)


@pytest.mark.parametrize("program", ["/nowhere/python", "/bin/false"])
def test_where_no_process_can_be_started_the_command_says_so(program: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", program)
    with pytest.raises(ClaimwatchError, match="the parser can't be started"):
        readings(SOUND)
