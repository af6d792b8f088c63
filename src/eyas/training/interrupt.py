"""Ctrl-C and SIGTERM ask for an end in order, SIGUSR1 for a checkpoint."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

_ENDING = (signal.SIGINT, signal.SIGTERM)
_SAVING = tuple(getattr(signal, name) for name in ("SIGUSR1",) if hasattr(signal, name))


@dataclass(frozen=True)
class Asked:
    """What a signal has asked for: the number of one that ends the run, or 0; a checkpoint now."""

    signal: int = 0
    save: bool = False


def await_saves() -> None:
    """From here on SIGUSR1 ends the process no more, though nothing can be saved yet."""
    for number in _SAVING:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, lambda *_: None)


@contextmanager
def interruptible() -> Iterator[Callable[[], Asked]]:
    """Gives a function that tells what was asked for; a second signal to end acts as usual.

    A request to save is told once. A signal that was ignored when we started, as Ctrl-C is for a
    job in the background of a script, stays so. In a thread that is not the main one nothing can
    be caught.
    """
    came: list[int] = []
    to_save: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in (*_ENDING, *_SAVING)}
        before = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}

    def end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        came.append(number)
        signal.signal(number, before[signal.Signals(number)])

    def save(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        to_save.append(number)

    def asked() -> Asked:
        told = Asked(came[0] if came else 0, bool(to_save))
        to_save.clear()
        return told

    for number in before:
        signal.signal(number, save if number in _SAVING else end)
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
