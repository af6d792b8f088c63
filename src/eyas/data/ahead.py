"""Items made ahead in a thread, so that their user does not wait."""

import atexit
import queue
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")

_POLL_SECONDS = 0.1


def made_ahead(items: Iterable[T], count: int = 2) -> Iterator[T]:
    """The same items in the same order, up to `count` of them made before they are asked for.

    What is raised while they are made is raised here, in its place. Closing the iterator, letting
    it go, or the end of the process ends the thread, behind the item that it is making.
    """
    made: queue.Queue[tuple[T | None, BaseException | None]] = queue.Queue(count)
    ended = threading.Event()

    def put(item: T | None, error: BaseException | None) -> None:
        while not ended.is_set():
            try:
                made.put((item, error), timeout=_POLL_SECONDS)
            except queue.Full:
                continue
            return

    def make() -> None:
        try:
            for item in items:
                put(item, None)
                if ended.is_set():
                    return
            put(None, StopIteration())
        except BaseException as error:  # noqa: BLE001  handed over, whatever it is
            put(None, error)

    thread = threading.Thread(target=make, name="made ahead", daemon=True)

    def end() -> None:
        ended.set()
        thread.join()

    thread.start()
    # A thread that still computes while the interpreter is taken down would abort the process.
    atexit.register(end)
    try:
        while True:
            item, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            assert item is not None
            yield item
    finally:
        end()
        atexit.unregister(end)
