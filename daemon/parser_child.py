"""The process that reads feed documents, and pages in search of feeds: it may be killed at any moment, and nothing is
lost with it.

One 5 MB document of nested tags costs feedparser 27 s and 1 GB, a 32 KB author 3 s, and both hold the interpreter
meanwhile; so documents are read here, under limits that the kernel keeps. `daemon.parsing` starts this process, and
says how the two talk. Nothing but documents comes in, nothing but JSON goes out.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
from dataclasses import asdict
from datetime import datetime
from typing import Any, BinaryIO

from daemon.items import Feed, NotAFeed, make_ready, parse, split
from daemon.pages import Page, read_page

REQUEST = struct.Struct(">?II")
"""Whether it is a page in which feeds are looked for; the lengths of the charset's name and of the body, which follow.
"""
ANSWER = struct.Struct(">I?")
"""The length of the JSON that follows, and whether it is the last: a child that has grown large makes room."""
OUT_OF_MEMORY = 77
"""The exit code of a process whose document needs more memory than it may have."""
_SWOLLEN_BYTES = 150_000_000


def main() -> None:
    """Reads documents from stdin and answers on stdout, until stdin ends. Arguments: bytes of memory, CPU seconds."""
    most_memory_bytes, cpu_seconds = int(sys.argv[1]), float(sys.argv[2])
    _keep_to_itself(most_memory_bytes)
    # Now, and not at the first document's expense.
    make_ready()
    documents, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    # What a library prints must not get between the answers.
    os.dup2(2, 1)
    _send(answers, b"", last=False)
    try:
        while head := documents.read(REQUEST.size):
            is_page, charset_length, length = REQUEST.unpack(head)
            charset = documents.read(charset_length).decode() or None
            body = documents.read(length)
            # Not RLIMIT_CPU: it counts whole seconds of the whole process. No handler: the signal ends the process.
            signal.setitimer(signal.ITIMER_PROF, cpu_seconds)
            answer = _answer(body, charset, is_page=is_page)
            signal.setitimer(signal.ITIMER_PROF, 0)
            swollen = _most_resident_bytes() > _SWOLLEN_BYTES
            _send(answers, answer, last=swollen)
            if swollen:
                return
    except MemoryError:
        os._exit(OUT_OF_MEMORY)


def _keep_to_itself(most_memory_bytes: int) -> None:
    """No more memory than this, no files written, no core dumps; signals are for the parent, which ends this one."""
    resource.setrlimit(resource.RLIMIT_AS, (most_memory_bytes, most_memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _most_resident_bytes() -> int:
    # Not ru_maxrss: a process inherits it from the one that started it, also across exec.
    with open("/proc/self/status", encoding="ascii") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))


def _answer(body: bytes, charset: str | None, *, is_page: bool) -> bytes:
    try:
        return _as_json(read_page(body, charset) if is_page else parse(split(body, charset)))
    except MemoryError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is: it is told, and the next document is read
        return json.dumps({"fault": f"{type(error).__name__}: {error}"}).encode()


def _as_json(read: Feed | NotAFeed | Page) -> bytes:
    message = {{Feed: "feed", NotAFeed: "not_a_feed", Page: "page"}[type(read)]: asdict(read)}
    return json.dumps(message, ensure_ascii=False, default=_moment).encode("utf-8", errors="replace")


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} can't be sent")


def _send(answers: BinaryIO, answer: bytes, *, last: bool) -> None:
    answers.write(ANSWER.pack(len(answer), last) + answer)
    answers.flush()


if __name__ == "__main__":
    main()
