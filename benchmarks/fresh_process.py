"""What compiling takes in a process that has done nothing else: `python -m benchmarks.fresh_process TERMS ITEMS NEWS`.

TERMS holds a term a line, ITEMS a JSON list of [title, summary], NEWS one of texts that rare words are learnt from.
Prints a JSON object with the fields of `Fresh`.
Memory is read from /proc, so this is for Linux.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

from benchmarks.ours import compiled
from benchmarks.term_sets import CorpusItem, MadeTerm, rules_of_lines
from daemon.matching import Matcher

_SAMPLED_EVERY_SECONDS = 0.01
_LONGEST_PASS_US = 5e6


@dataclass(frozen=True)
class Fresh:
    """Seconds of compiling; bytes by which the process grew, and by which it and its children together stood higher at
    most (pages that they share count twice); microseconds an item in the first pass over the items and in the
    second; bytes by which the process stands higher after both."""

    compile_seconds: float
    grown_bytes: int
    peak_bytes: int
    cold_us: float
    warm_us: float
    used_bytes: int


def in_a_fresh_process(
    terms: Sequence[MadeTerm], items: Sequence[CorpusItem], news: Sequence[str], folder: Path
) -> Fresh:
    """Compiles `terms` in a new process and matches `items` there twice."""
    files = terms_file, items_file, news_file = folder / "terms", folder / "items", folder / "news"
    terms_file.write_text("\n".join(term.line for term in terms), encoding="utf-8")
    items_file.write_text(json.dumps([(item.title, item.summary) for item in items]), encoding="utf-8")
    news_file.write_text(json.dumps(list(news)), encoding="utf-8")
    command = [sys.executable, "-m", "benchmarks.fresh_process", *map(str, files)]
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=Path(__file__).parents[1]).stdout
    return Fresh(**json.loads(printed))


def measured(lines: Sequence[str], items: Sequence[tuple[str, str]], news: Sequence[str]) -> Fresh:
    rules = rules_of_lines(lines)
    gc.collect()
    before = _resident(os.getpid())
    with _highest() as highest:
        began = time.perf_counter()
        matcher = compiled(rules, news)
        seconds = time.perf_counter() - began
    gc.collect()
    grown = _resident(os.getpid()) - before
    first_pass = _times_us(matcher, items)
    second_pass = _times_us(matcher, items[: len(first_pass)])
    used = _resident(os.getpid()) - before
    return Fresh(seconds, grown, max(highest) - before, mean(first_pass), mean(second_pass), used)


def _times_us(matcher: Matcher, items: Sequence[tuple[str, str]]) -> list[float]:
    """Microseconds of each item, until the pass has taken long enough."""
    times: list[float] = []
    spent = 0.0
    for title, summary in items:
        began = time.process_time()
        matcher.match(title=title, summary=summary)
        times.append((time.process_time() - began) * 1e6)
        if (spent := spent + times[-1]) > _LONGEST_PASS_US:
            break
    return times


@contextmanager
def _highest() -> Iterator[list[int]]:
    """What this process and its children hold together, looked at all the while."""
    samples = [0]
    done = threading.Event()

    def look() -> None:
        while not done.wait(_SAMPLED_EVERY_SECONDS):
            samples.append(sum(map(_resident, _with_descendants(os.getpid()))))

    # Forget the highest mark so far, which was building the rules: writing 5 does that (proc(5)).
    Path("/proc/self/clear_refs").write_text("5")
    looking = threading.Thread(target=look)
    looking.start()
    try:
        yield samples
    finally:
        done.set()
        looking.join()
        samples.append(_status_bytes(os.getpid(), "VmHWM"))


def _with_descendants(process: int) -> Iterator[int]:
    yield process
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        for child in _read(children).split():
            yield from _with_descendants(int(child))


def _resident(process: int) -> int:
    return _status_bytes(process, "VmRSS")


def _status_bytes(process: int, name: str) -> int:
    lines = _read(Path(f"/proc/{process}/status")).splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:")), 0)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # a child that has just ended holds nothing


def main() -> None:
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    items, news = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[2:])
    print(json.dumps(asdict(measured(lines, items, news))))


if __name__ == "__main__":
    main()
