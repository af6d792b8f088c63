"""Work done in other processes: results in order, and never more in flight than they can use.

Not `multiprocessing`: its ways to start a process either copy one that has threads, or run the
caller's script once more. A worker here is a fresh interpreter on two pipes. It ends with its
input, so that none outlives this process, however that one dies.
"""

import os
import pickle
import queue
import subprocess
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Generic, NoReturn, TypeVar

from eyas.errors import UserError

T = TypeVar("T")
R = TypeVar("R")

_IN_FLIGHT = 2  # items for each worker: one in work, one that waits for it
_MAIN = (  # Ctrl-C reaches the whole group; what happens then is decided in the parent
    "import signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = {path!r}; "
    "from eyas.data.workers import serve; serve()"
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")


def available_cores() -> int:
    """The cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux has it
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def in_order(
    function: Callable[[T], R], items: Iterable[T], processes: int
) -> Generator[R, None, None]:
    """`function` of each item, computed in at most so many processes besides this one.

    Function, items and results are pickled; the items are taken as there is room for them. What
    the iterator of items raises is raised once the results before it are handed out. The processes
    end with the iterator; close it where it is not used up.
    Raises UserError where a worker dies; what goes wrong in one is told on standard error.
    """
    workers: list[_Worker[T, R]] = []
    idle: queue.SimpleQueue[_Worker[T, R]] = queue.SimpleQueue()

    def compute(item: T) -> R:
        worker = idle.get()
        try:
            return worker.compute(item)
        finally:
            idle.put(worker)

    def submit(item: T) -> "Future[R]":
        if len(workers) < processes:
            workers.append(_Worker(function))
            idle.put(workers[-1])
        return threads.submit(compute, item)

    threads = ThreadPoolExecutor(processes)
    try:
        yield from _results(items, submit, _IN_FLIGHT * processes)
    finally:
        for worker in workers:
            worker.end()
        threads.shutdown(cancel_futures=True)


def _results(items: Iterable[T], submit: Callable[[T], "Future[R]"], at_once: int) -> Iterator[R]:
    flying: deque[Future[R]] = deque()
    source = iter(items)
    failure: Exception | None = None
    more = True
    while more or flying:
        while more and len(flying) < at_once:
            try:
                flying.append(submit(next(source)))
            except StopIteration:
                more = False
            except Exception as error:  # noqa: BLE001  raised below, in its place
                more, failure = False, error
        if flying:
            yield flying.popleft().result()
    if failure is not None:
        raise failure


class _Worker(Generic[T, R]):
    """One process, which computes one item at a time."""

    def __init__(self, function: Callable[[T], R]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _MAIN.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | dict.fromkeys(_THREADS, "1"),
        )
        self._function: Callable[[T], R] | None = function

    def compute(self, item: T) -> R:
        try:
            if self._function is not None:
                self._send(self._function)
                self._function = None
            self._send(item)
            assert self._process.stdout is not None
            result: R = pickle.load(self._process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise self._death() from error
        return result

    def end(self) -> None:
        """Ends the process, whatever it is doing, and a `compute` of another thread with it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError, ValueError):
                pipe.close()

    def _send(self, what: object) -> None:
        assert self._process.stdin is not None
        pickle.dump(what, self._process.stdin, pickle.HIGHEST_PROTOCOL)
        self._process.stdin.flush()

    def _death(self) -> Exception:
        code = self._process.wait()
        if code < 0:
            return UserError(
                f"a process that encodes was killed (signal {-code}), perhaps for want of memory; "
                "free some, or use fewer --processes"
            )
        return RuntimeError("a process that encodes failed; what went wrong stands above")


def serve() -> None:
    """The worker's side: a function, then items, from standard input; results to standard output.

    Ends with the input, at once, also in the middle of an item.
    """
    received: queue.SimpleQueue[Any] = queue.SimpleQueue()
    results = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # for what libraries may print

    def receive() -> None:
        with suppress(EOFError, pickle.UnpicklingError):  # the end, perhaps in mid-sentence
            while True:
                received.put(pickle.load(sys.stdin.buffer))

    def compute() -> None:
        function = received.get()
        with suppress(BrokenPipeError):
            while True:
                pickle.dump(function(received.get()), results, pickle.HIGHEST_PROTOCOL)
                results.flush()

    threading.Thread(target=_exit_with, args=(compute,)).start()
    _exit_with(receive)


def _exit_with(work: Callable[[], None]) -> NoReturn:
    """Ends the process when this ends, whatever another thread is doing."""
    try:
        work()
    except BaseException:  # noqa: BLE001  whatever it is, it is told here or nowhere
        traceback.print_exc()
        os._exit(1)
    os._exit(0)
