"""The forms of the words in terms: asked of a child process once, and remembered.

The child holds the dictionaries of three languages for the seconds that it needs (`daemon.lexicon_child`), so that
the process that watches never holds them. A reload asks for new words only, and starts nothing where there are none.
"""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from pydantic import TypeAdapter

from daemon.children import command_of, environment
from daemon.errors import ClaimwatchError
from daemon.lexicon_child import Answer
from daemon.words import Forms, is_cyrillic

MOST_REMEMBERED = 500_000
TIMEOUT_SECONDS = 60
"""50,000 words take 3 s. It stays below the two minutes after which systemd takes a silent watch for a hung one."""
_ENOUGH_FOR_TWO = 4_000
"""Words from which on two children are faster than one."""
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
        """The forms of each of `words`, which are single and folded.

        Raises ClaimwatchError where the dictionaries can't be asked.
        """
        asked = set(words)
        with self._turn:
            if new := sorted(asked - self._remembered.keys()):
                self._remembered.update(self._look_up(new))
            found = {word: self._remembered[word] for word in asked}
            # A dict keeps the order in which things came, so its first are the oldest.
            for word in list(islice(self._remembered, max(0, len(self._remembered) - self._most_remembered))):
                del self._remembered[word]
            return found

    def _look_up(self, words: Sequence[str]) -> Mapping[str, Forms]:
        if len(words) < _ENOUGH_FOR_TWO:
            return _forms(words, self._answer(words))
        # By script, so that no dictionary is read twice.
        slavic = list(filter(is_cyrillic, words))
        shares = [share for share in (slavic, [word for word in words if not is_cyrillic(word)]) if share]
        found: dict[str, Forms] = {}
        with ThreadPoolExecutor(len(shares)) as threads:
            # One answer after the other is read: what that needs for a moment is as much as what is kept.
            for share, answer in zip(shares, threads.map(self._answer, shares), strict=True):
                found.update(_forms(share, answer))
        return found

    def _answer(self, words: Sequence[str]) -> bytes:
        try:
            child = subprocess.run(  # noqa: S603 - our own module, by our own interpreter
                self._command,
                input=json.dumps(words).encode(),
                capture_output=True,
                timeout=self._timeout_seconds,
                # Ctrl-C in a terminal goes to its whole process group.
                start_new_session=True,
                env=environment(),
                check=True,
            )
        except OSError as error:
            raise _failure(f"they can't be started: {error.strerror}") from error
        except subprocess.TimeoutExpired as error:
            raise _failure(f"nothing in {self._timeout_seconds:g} s") from error
        except subprocess.CalledProcessError as error:
            raise _failure(_last_words(error)) from error
        return child.stdout


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
            stemmed, guessed = place in by_stem, place in guesses
            found[word] = shared.setdefault((at, stemmed, guessed), Forms(lists[at], stemmed, guessed))
        return found
    except (ValueError, LookupError) as error:
        raise ClaimwatchError("the dictionaries' answer is none", hint="Please report it.") from error


def _failure(why: str) -> ClaimwatchError:
    return ClaimwatchError(f"the dictionaries of word forms give no answer ({why})", hint=_AGAIN)


def _last_words(error: subprocess.CalledProcessError) -> str:
    said = (error.stderr or b"").decode(errors="replace").strip().splitlines()
    ended = f"signal {-error.returncode}" if error.returncode < 0 else f"exit code {error.returncode}"
    return f"{ended}: {said[-1][:300]}" if said else ended
