"""Sinks that cannot stop a run."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

from eyas.errors import UserError
from eyas.observe.metrics import Sink

T = TypeVar("T")
_LONGEST = 200  # characters of a reason


def to_stderr(text: str) -> None:
    """Prints a line on standard error, which a progress bar moves above itself."""
    print(text, file=sys.stderr)


@contextmanager
def guarded(
    opened: AbstractContextManager[Sink], name: str, say: Callable[[str], None] = to_stderr
) -> Iterator[Sink]:
    """The sink, made harmless: what it raises is said once, in one line, and the run goes on.

    It goes on getting events: a disk may have room again. Only a UserError at its opening comes
    out, as it is a mistake to be mended before the run.
    """
    guard = _Guard(name, say)
    sink = guard.tried(opened.__enter__, opening=True)
    if sink is None:
        yield lambda _: None
        return
    try:
        yield lambda event: guard.tried(lambda: sink(event))
    except BaseException as error:
        guard.close(opened, error)
        raise
    guard.close(opened, None)


@dataclass
class _Guard:
    name: str
    say: Callable[[str], None]
    said: bool = False

    def tried(self, action: Callable[[], T], opening: bool = False) -> T | None:
        """What the action gives; None where it failed."""
        try:
            return action()
        except Exception as error:
            if opening and isinstance(error, UserError):
                raise
            if not self.said:
                self.said = True
                self.say(f"{self.name} failed: {reason_of(error)}; the run goes on")
            return None

    def close(self, opened: AbstractContextManager[Sink], error: BaseException | None) -> None:
        """Closes the sink, which gets to know what ended the run, if anything did."""
        kind, trace = (type(error), error.__traceback__) if error else (None, None)
        self.tried(lambda: opened.__exit__(kind, error, trace))


def reason_of(error: Exception) -> str:
    """What an error says, in one line that is not too long."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
