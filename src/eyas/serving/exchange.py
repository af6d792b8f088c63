"""Jobs at the engine, seen from asyncio."""

import asyncio
from collections.abc import AsyncIterator

from eyas.serving.engine import Engine, QueueFullError, StoppedError
from eyas.serving.errors import ApiError
from eyas.serving.jobs import Ended, Event, Failed, Job, Ticket

_RETRY_SECONDS = 3


class Exchange:
    """Hands jobs in and gives their events; `close` takes back what is not done yet."""

    def __init__(self, engine: Engine, jobs: tuple[Job, ...]) -> None:
        """Raises ApiError (429, 503) where the engine takes no more."""
        self._engine, self._jobs = engine, jobs
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
        self._open = sum(len(job.seeds) for job in jobs)
        self._tickets: list[Ticket] = []
        try:
            for number, job in enumerate(jobs):
                self._tickets.append(engine.submit(job, self._sink(number)))
        except QueueFullError:
            self.close()
            raise ApiError(
                429,
                f"too many requests are waiting; try again in {_RETRY_SECONDS} seconds",
                code="queue_full",
                headers={"Retry-After": str(_RETRY_SECONDS)},
            ) from None
        except StoppedError:
            self.close()
            raise ApiError(503, "the server is stopping; try again later") from None

    async def events(self) -> AsyncIterator[tuple[int, Event]]:
        """The number of the job and what came of it, until all is done. Raises ApiError."""
        while self._open:
            number, event = await self._events.get()
            if isinstance(event, Failed):
                raise ApiError(500 if self._engine.is_running() else 503, event.problem)
            self._open -= isinstance(event, Ended)
            yield number, event

    def close(self) -> bool:
        """Whether something was still to come."""
        for ticket in self._tickets:
            self._engine.cancel(ticket)
        return bool(self._open)

    def _sink(self, number: int) -> "_Sink":
        return _Sink(self._loop, self._events, number)


class _Sink:
    """Takes a job's events in the engine's thread and lays them into the loop's."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        events: "asyncio.Queue[tuple[int, Event]]",
        number: int,
    ) -> None:
        self._loop, self._events, self._number = loop, events, number

    def __call__(self, event: Event) -> None:
        if self._loop.is_closed():  # the server was ended by force, and nobody listens
            return
        self._loop.call_soon_threadsafe(self._events.put_nowait, (self._number, event))
