"""The forms of the words in terms: asked of a child process once, and remembered.

The child holds the dictionaries of three languages for the seconds that it needs (`daemon.lexicon_child`), so that
the process that watches never holds them. A reload asks for new words only, and starts nothing where there are none.
Where there are many, children look them up while more are gathered.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from types import TracebackType

from pydantic import TypeAdapter

from daemon.children import command_of, environment
from daemon.errors import ClaimwatchError
from daemon.lexicon_child import Answer
from daemon.words import Forms, is_cyrillic

MOST_REMEMBERED = 500_000
TIMEOUT_SECONDS = 60
"""50,000 words take 1 s. It stays below the two minutes after which systemd takes a silent watch for a hung one."""
_ENOUGH_FOR_TWO = 4_000
"""Words from which on two children are faster than one."""
_AT_ONCE = 1_000
"""Words that are sent together from then on."""
_ANSWER = TypeAdapter(Answer)
_AGAIN = "Look whether this machine has memory and processes left, and reinstall claimwatch if it has."


class Lexicon:
    """Remembers the forms of every word that it was asked for, the latest 500,000. Safe in any thread."""

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        timeout_seconds: float = TIMEOUT_SECONDS,
        most_remembered: int = MOST_REMEMBERED,
    ) -> None:
        self._command = command or command_of("lexicon_child")
        self._timeout_seconds = timeout_seconds
        self._most_remembered = most_remembered
        self._remembered: dict[str, Forms] = {}
        self._turn = threading.Lock()

    def forms_of(self, words: Iterable[str]) -> Mapping[str, Forms]:
        """The forms of each of `words`, which are single and folded. Many are looked up while more of them come.

        Raises ClaimwatchError where the dictionaries can't be asked.
        """
        asked: dict[str, None] = {}
        with self._turn:
            self._remembered.update(self._look_up(self._new(words, asked)))
            found = {word: self._remembered[word] for word in asked}
            # A dict keeps the order in which things came, so its first are the oldest.
            for word in list(islice(self._remembered, max(0, len(self._remembered) - self._most_remembered))):
                del self._remembered[word]
            return found

    def _new(self, words: Iterable[str], asked: dict[str, None]) -> Iterator[str]:
        for word in words:
            if word not in asked:
                asked[word] = None
                if word not in self._remembered:
                    yield word

    def _look_up(self, words: Iterator[str]) -> Mapping[str, Forms]:
        batch = list(islice(words, _ENOUGH_FOR_TWO))
        are_many = len(batch) == _ENOUGH_FOR_TWO
        with ExitStack() as running:
            # By script, so that no dictionary is read twice.
            children: dict[bool, _Child] = {}
            while batch:
                shares: dict[bool, list[str]] = {False: [], True: []}
                for word in sorted(batch):
                    shares[are_many and is_cyrillic(word)].append(word)
                for is_slavic, share in shares.items():
                    if share:
                        if is_slavic not in children:
                            children[is_slavic] = running.enter_context(_Child(self._command))
                        children[is_slavic].ask(share)
                    elif is_slavic in children:
                        children[is_slavic].push()
                batch = list(islice(words, _AT_ONCE))
            return self._answers([child for _, child in sorted(children.items())])

    def _answers(self, children: Sequence[_Child]) -> Mapping[str, Forms]:
        found: dict[str, Forms] = {}
        with ThreadPoolExecutor(2) as threads:
            try:
                # One answer after the other is read, that of the slower child at last: what that needs for a moment is
                # as much as what is kept.
                for child, answer in zip(children, threads.map(self._answer, children), strict=True):
                    found |= _forms(child.words, answer)
            except BaseException:
                for child in children:
                    child.kill()  # else its thread would wait for it
                raise
        return found

    def _answer(self, child: _Child) -> bytes:
        try:
            return child.answer(self._timeout_seconds)
        except subprocess.TimeoutExpired as error:
            raise _failure(f"nothing in {self._timeout_seconds:g} s") from error
        except subprocess.CalledProcessError as error:
            raise _failure(_last_words(error)) from error


class _Child:
    """A child that looks words up while more of them come. Used as a context, it ends with that."""

    def __init__(self, command: Sequence[str]) -> None:
        self.words: list[str] = []
        """All that it was asked, in this order."""
        self._unsent = b""
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, by our own interpreter
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Ctrl-C in a terminal goes to its whole process group.
                start_new_session=True,
                env=environment(),
            )
        except OSError as error:
            raise _failure(f"they can't be started: {error.strerror}") from error
        assert self._process.stdin
        self._asking = self._process.stdin.fileno()
        # Whoever asks has more to do than to wait until a busy child reads on.
        os.set_blocking(self._asking, False)

    def ask(self, words: Sequence[str]) -> None:
        """Asks for these words, too; returns at once."""
        self.words += words
        self._unsent += json.dumps(words, ensure_ascii=False).encode() + b"\n"
        self.push()

    def push(self) -> None:
        """Sends what it has room for of what is not sent yet."""
        try:
            self._unsent = self._unsent[os.write(self._asking, self._unsent) :]
        except BlockingIOError:
            pass  # its pipe is full: the next words or the wait for the answer bring it these
        except BrokenPipeError:
            self._unsent = b""  # it has ended, and its answer tells how

    def answer(self, timeout_seconds: float) -> bytes:
        """What it says in the end; nothing can be asked any more."""
        said, complained = self._process.communicate(self._unsent, timeout_seconds)
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, self._process.args, said, complained)
        return said

    def kill(self) -> None:
        """Ends it, whatever it does."""
        self._process.kill()

    def __enter__(self) -> _Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        with self._process:
            pass  # its pipes are closed, and it is waited for


_LEXICON = Lexicon()


def forms_of(words: Iterable[str]) -> Mapping[str, Forms]:
    """The forms of each of `words`, which are single and folded; what was asked before in this process is known.

    Raises ClaimwatchError where the dictionaries can't be asked.
    """
    return _LEXICON.forms_of(words)


def _forms(words: Sequence[str], answered: bytes) -> Mapping[str, Forms]:
    try:
        answer = _ANSWER.validate_json(answered)
        lists = [tuple(forms.split("\n")) for forms in answer.lists]
        by_stem, guesses = set(answer.by_stem), set(answer.guessed)
        shared: dict[tuple[int, bool, bool], Forms] = {}
        found = {}
        for place, (word, at) in enumerate(zip(words, answer.list_of, strict=True)):
            key = at, place in by_stem, place in guesses
            forms = shared.get(key)
            if forms is None:
                forms = shared[key] = Forms(lists[at], *key[1:])
            found[word] = forms
        return found
    except (ValueError, LookupError) as error:
        raise ClaimwatchError("the dictionaries' answer is none", hint="Please report it.") from error


def _failure(why: str) -> ClaimwatchError:
    return ClaimwatchError(f"the dictionaries of word forms give no answer ({why})", hint=_AGAIN)


def _last_words(error: subprocess.CalledProcessError) -> str:
    said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
    ended = f"signal {-error.returncode}" if error.returncode < 0 else f"exit code {error.returncode}"
    return f"{ended}: {said[-1][:300]}" if said else ended
