"""Ctrl-C and SIGTERM ask for an end in order."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def interruptible() -> Iterator[Callable[[], int]]:
    """Gives a function that tells the number of the signal that came, or 0; a second one acts
    as usual.

    A signal that was ignored when we started, as Ctrl-C is for a job in the background of a
    script, stays so. In a thread that is not the main one nothing can be caught.
    """
    came: list[int] = []
    before = {}
    if threading.current_thread() is threading.main_thread():
        handlers = {number: signal.getsignal(number) for number in _SIGNALS}
        before = {n: h for n, h in handlers.items() if h not in (signal.SIG_IGN, None)}

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        came.append(number)
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield lambda: came[0] if came else 0
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
