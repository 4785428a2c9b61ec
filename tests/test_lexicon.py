"""Forms are asked of a child process once, and remembered; a child that gives no answer is told of."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import product
from pathlib import Path

import pytest

from daemon.children import command_of, environment
from daemon.errors import ClaimwatchError
from daemon.lexicon import Lexicon, forms_of
from tests.support import wait_until


def counted(folder: Path) -> tuple[Sequence[str], Path]:
    """A command that runs the child and leaves a line for each start, and the file where the lines are."""
    starts = folder / "starts"
    starts.touch()
    return ["sh", "-c", f'echo >> "{starts}"; exec "$@"', "sh", *command_of("lexicon_child")], starts


def lines_of(file: Path) -> int:
    return file.read_text().count("\n")


def test_the_forms_of_words_come_from_a_process_that_ends() -> None:
    found = forms_of(["struck", "обмін", "tregua", "停火"])
    assert found["struck"].forms == {"strike", "strikes", "striking", "struck", "stricken"}
    assert {"обмін", "обміну"} <= found["обмін"].forms
    assert "tregua" in found["tregua"].forms
    assert {word for word, forms in found.items() if forms.by_stem} == {"tregua"}
    assert found["停火"].forms == {"停火"}


def test_only_new_words_start_a_process(tmp_path: Path) -> None:
    command, starts = counted(tmp_path)
    asked = Lexicon(command)
    first = asked.forms_of(["truce", "pause"])
    assert asked.forms_of(["pause"])["pause"] is first["pause"]
    assert asked.forms_of([]) == {}
    assert lines_of(starts) == 1
    assert asked.forms_of(["pause", "swap"]).keys() == {"pause", "swap"}
    assert lines_of(starts) == 2


def test_two_threads_that_ask_the_same_words_at_once_start_one_process(tmp_path: Path) -> None:
    command, starts = counted(tmp_path)
    asked = Lexicon(command)
    threads = [threading.Thread(target=asked.forms_of, args=(["truce"],)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert lines_of(starts) == 1


@pytest.mark.parametrize(("alphabet", "processes"), [("abcdefghijklm", 1), ("abcdefабвгдежз", 2)])
def test_many_words_are_asked_of_a_process_for_each_script_and_all_are_answered(
    alphabet: str, processes: int, tmp_path: Path
) -> None:
    command, starts = counted(tmp_path)
    words = [*list(map("".join, product(alphabet, repeat=4)))[::5], "struck", "truce", "戦"]
    assert len(words) > 4_000
    found = Lexicon(command).forms_of(words)
    assert lines_of(starts) == processes
    assert found.keys() == set(words)
    assert all(word in forms.forms for word, forms in found.items())
    assert "strikes" in found["struck"].forms


def many_words(alphabet: str = "abcdefghijklm") -> list[str]:
    words = list(map("".join, product(alphabet, repeat=4)))
    assert len(words) > 20_000
    return words


def test_many_words_are_looked_up_while_more_are_gathered(tmp_path: Path) -> None:
    command, starts = counted(tmp_path)
    words = many_words()

    def gathered() -> Iterator[str]:
        yield from words[:-1]
        wait_until(lambda: lines_of(starts) == 1)
        yield words[-1]

    assert Lexicon(command).forms_of(gathered()).keys() == set(words)


def test_a_child_that_reads_late_gets_every_word(tmp_path: Path) -> None:
    """Its pipe holds a part of them; whoever asks does not wait."""
    command, starts = counted(tmp_path)
    words = many_words()
    late = Lexicon(["sh", "-c", 'while test ! -s "$0"; do sleep 0.01; done; exec "$@"', str(tmp_path / "go"), *command])

    def gathered() -> Iterator[str]:
        yield from words
        assert lines_of(starts) == 0
        (tmp_path / "go").write_text("go")

    assert all(word in forms.forms for word, forms in late.forms_of(gathered()).items())


def test_whoever_fails_to_gather_words_leaves_no_process(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    words = many_words()

    def gathered() -> Iterator[str]:
        yield from words
        wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"))
        raise ZeroDivisionError

    asked = Lexicon(["sh", "-c", f'echo $$ > "{pid}"; exec sleep 30'])
    with pytest.raises(ZeroDivisionError):
        asked.forms_of(gathered())
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()


def test_a_child_that_ends_while_it_is_asked_is_told_of(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    words = many_words()

    def gathered() -> Iterator[str]:
        yield from words[:10_000]
        wait_until(ended.exists)
        yield from words[10_000:]

    with pytest.raises(ClaimwatchError, match="exit code 3: no such dictionary"):
        Lexicon(["sh", "-c", f'echo no such dictionary >&2; touch "{ended}"; exit 3']).forms_of(gathered())


def test_what_was_asked_longest_ago_is_forgotten_first(tmp_path: Path) -> None:
    command, starts = counted(tmp_path)
    asked = Lexicon(command, most_remembered=2)
    assert asked.forms_of(["1", "2", "3"]).keys() == {"1", "2", "3"}
    asked.forms_of(["2", "3"])
    assert lines_of(starts) == 1
    asked.forms_of(["1"])
    assert lines_of(starts) == 2


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["sh", "-c", "echo 'no such dictionary' >&2; exit 3"], "exit code 3: no such dictionary"),
        (["sh", "-c", "kill -9 $$"], "signal 9"),
        (["/nowhere/python"], "can't be started: No such file or directory"),
        (["sleep", "30"], "nothing in 0.3 s"),
    ],
)
def test_a_child_that_gives_no_answer_is_told_of_with_what_to_do(command: list[str], told: str) -> None:
    with pytest.raises(ClaimwatchError, match="dictionaries") as raised:
        Lexicon(command, timeout_seconds=0.3).forms_of(["truce"])
    assert told in raised.value.message
    assert "reinstall claimwatch" in raised.value.hint


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "[]",
        '{"lists": []}',
        '{"lists": [], "list_of": [0], "by_stem": [], "guessed": []}',
        '{"lists": ["a"], "list_of": [], "by_stem": [], "guessed": []}',
    ],
)
def test_an_answer_that_is_none_is_not_taken_for_one(answer: str) -> None:
    with pytest.raises(ClaimwatchError, match="answer is none"):
        Lexicon(["echo", answer]).forms_of(["truce"])


def test_a_failure_is_not_remembered(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.touch()
    asked = Lexicon(["sh", "-c", f'test ! -e "{broken}" && exec "$@"', "sh", *command_of("lexicon_child")])
    with pytest.raises(ClaimwatchError):
        asked.forms_of(["truce"])
    broken.unlink()
    assert "truces" in asked.forms_of(["truce"])["truce"].forms


def test_the_process_that_asks_never_loads_a_dictionary() -> None:
    program = (
        "import sys; from daemon.lexicon import forms_of; forms_of(['struck', 'обмін', 'tregua']);"
        "print(sorted({'lemminflect', 'numpy', 'pymorphy3', 'Stemmer'} & sys.modules.keys()))"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", program], env=environment(), capture_output=True, check=True)
    assert ran.stdout == b"[]\n"


def test_a_child_whose_time_is_over_is_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    with pytest.raises(ClaimwatchError):
        Lexicon(["sh", "-c", f'echo $$ > "{pid}"; exec sleep 30'], timeout_seconds=1).forms_of(["truce"])
    assert not Path(f"/proc/{pid.read_text().strip()}").exists()
