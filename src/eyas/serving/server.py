"""From what is served to a listening server."""

import asyncio
import socket
import time
from collections.abc import Mapping
from types import FrameType

import uvicorn

from eyas.generation.sampling import Sampling
from eyas.serving.address import AddressConfig
from eyas.serving.engine import Engine
from eyas.serving.guard import Access
from eyas.serving.http import Api, application
from eyas.serving.limits import CapacityConfig, LimitsConfig
from eyas.serving.metrics import Metrics
from eyas.serving.orders import Desk
from eyas.serving.patience import patient
from eyas.serving.served import Served

_LAST_SECONDS = 5  # for answers to leave, once no more is generated


class Server(uvicorn.Server):
    """uvicorn's, beside an engine.

    SIGINT and SIGTERM end it gracefully: answers go on for `grace` seconds. A second signal, or
    the end of that time, ends the generation; what is not complete is answered with an error. A
    third one leaves at once.
    """

    def __init__(self, config: uvicorn.Config, engine: Engine, grace: int) -> None:
        super().__init__(config)
        self.failed = False  # the engine ended by itself
        self._engine, self._grace = engine, grace
        self._signals = 0

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._signals += 1
        if self._signals == 2:
            self._engine.halt()
        else:
            super().handle_exit(sig, frame)

    async def on_tick(self, counter: int) -> bool:
        self.failed = not (self.should_exit or self._engine.is_running())
        return self.failed or await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end = asyncio.get_running_loop().call_later(self._grace, self._engine.halt)
        await super().shutdown(sockets)
        end.cancel()


def server(
    served: Mapping[str, Served],
    address: AddressConfig,
    access: Access,
    capacity: CapacityConfig,
    limits: LimitsConfig,
    sampling: Sampling,
) -> Server:
    """A server that `run(sockets=[listen(…)])` starts."""
    metrics = Metrics()
    engine = Engine(capacity, metrics)
    api = Api(Desk(served, sampling, limits, capacity), engine, metrics, int(time.time()))
    config = uvicorn.Config(
        application(api, access),
        http=patient(limits.body_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=address.grace_seconds + _LAST_SECONDS,
    )
    return Server(config, engine, address.grace_seconds)
