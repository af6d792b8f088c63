"""The thread that computes: jobs come in from any thread, events go out through their sinks."""

import threading
import time
from collections import deque
from collections.abc import Callable

import torch

from eyas.serving.jobs import Event, Failed, Job, Ticket
from eyas.serving.limits import CapacityConfig
from eyas.serving.metrics import Metrics
from eyas.serving.prefixes import Prefixes
from eyas.serving.scheduler import Scheduler

_MIB = 2**20


class QueueFullError(Exception):
    """As many jobs wait as may."""


class StoppedError(Exception):
    """The engine takes no more jobs."""


class Engine:
    """Runs a scheduler in a thread of its own, from `start` to `stop`."""

    def __init__(self, config: CapacityConfig, metrics: Metrics) -> None:
        self._config, self._metrics = config, metrics
        self._scheduler = Scheduler(
            config.slice_tokens, Prefixes(config.prefix_mib * _MIB), metrics
        )
        self._waiting: deque[Ticket] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="eyas-engine", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def halt(self) -> None:
        """Ends what is in progress, which fails, and soon the thread; does not wait for that."""
        with self._wake:
            self._stopping = True
            self._wake.notify()

    def stop(self) -> None:
        """The same, and waits for the thread."""
        self.halt()
        self._thread.join()

    def is_running(self) -> bool:
        return self._thread.is_alive() and not self._stopping

    def submit(self, job: Job, sink: Callable[[Event], None]) -> Ticket:
        """Hands a job in. Raises QueueFullError or StoppedError."""
        ticket = Ticket(job, sink, begun=time.monotonic())
        with self._wake:
            if not self.is_running():
                raise StoppedError
            if len(self._waiting) >= self._config.max_queue:
                raise QueueFullError
            self._waiting.append(ticket)
            self._metrics.queue.set(len(self._waiting))
            self._wake.notify()
        return ticket

    def cancel(self, ticket: Ticket) -> None:
        """Gives the job's place to others; of it there may come a last few events."""
        with self._wake:
            ticket.cancelled = True
            if ticket in self._waiting:
                self._waiting.remove(ticket)
            self._metrics.queue.set(len(self._waiting))

    def _run(self) -> None:
        problem = "the server has failed; its log says why"
        try:
            with torch.inference_mode():
                while self._admit():
                    self._scheduler.step()
            problem = "the server is stopping"
        finally:
            with self._wake:
                self._stopping = True
                waiting = list(self._waiting)
                self._waiting.clear()
                self._metrics.queue.set(0)
            for ticket in waiting:
                ticket.sink(Failed(problem))
            self._scheduler.fail(problem)

    def _admit(self) -> bool:
        """Waits for work and gives places to those who wait, in their order; False at the end."""
        with self._wake:
            while not (self._stopping or self._waiting or self._scheduler.places()):
                self._wake.wait()
            free = self._config.max_rows - self._scheduler.places()
            while self._waiting and len(self._waiting[0].job.seeds) <= free:
                ticket = self._waiting.popleft()
                free -= len(ticket.job.seeds)
                self._scheduler.add(ticket)
            self._metrics.queue.set(len(self._waiting))
            return not self._stopping
