"""From what is served to a listening server."""

import time
from collections.abc import Mapping

import uvicorn

from eyas.generation.sampling import Sampling
from eyas.serving.address import AddressConfig
from eyas.serving.engine import Engine
from eyas.serving.http import Api, application
from eyas.serving.limits import CapacityConfig, LimitsConfig
from eyas.serving.metrics import Metrics
from eyas.serving.orders import Desk
from eyas.serving.patience import patient
from eyas.serving.served import Served

_CONNECTIONS = 256  # beside those that generate or wait


def server(
    served: Mapping[str, Served],
    address: AddressConfig,
    api_key: str | None,
    engine: CapacityConfig,
    limits: LimitsConfig,
    sampling: Sampling,
) -> uvicorn.Server:
    """A server that `run(sockets=[listen(…)])` starts; SIGINT and SIGTERM end it gracefully."""
    metrics = Metrics()
    api = Api(
        Desk(served, sampling, limits, engine),
        Engine(engine, metrics),
        metrics,
        int(time.time()),
    )
    config = uvicorn.Config(
        application(api, api_key),
        http=patient(limits.body_seconds),
        ws="none",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        limit_concurrency=engine.max_rows + engine.max_queue + _CONNECTIONS,
        timeout_graceful_shutdown=address.grace_seconds,
    )
    return uvicorn.Server(config)
