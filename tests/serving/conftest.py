"""A server on a free port of this machine, in a thread of its own, over the embedded model."""

import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

import eyas
from eyas.generation.sampling import Sampling
from eyas.serving.address import AddressConfig, listen, url_of
from eyas.serving.guard import Access
from eyas.serving.limits import CapacityConfig, LimitsConfig
from eyas.serving.served import Served, Sources, open_served
from eyas.serving.server import Server, server

BASE = Path(eyas.__file__).parent / "demo" / "base.pth"
ENGINE, LIMITS, ANYBODY = CapacityConfig(), LimitsConfig(), Access()


@dataclass(frozen=True)
class Running:
    """A server that listens."""

    url: str
    port: int
    served: dict[str, Served]
    server: Server
    socket: socket.socket

    def client(self, key: str = "none", retries: int = 0) -> openai.OpenAI:
        return openai.OpenAI(base_url=self.url, api_key=key, max_retries=retries, timeout=60)


@contextmanager
def serving(
    served: dict[str, Served],
    engine: CapacityConfig = ENGINE,
    limits: LimitsConfig = LIMITS,
    access: Access = ANYBODY,
) -> Iterator[Running]:
    address = AddressConfig(port=0, grace_seconds=2)
    with listen(address, access.api_key) as listening:
        runs = server(served, address, access, engine, limits, Sampling())
        thread = threading.Thread(target=lambda: runs.run(sockets=[listening]))
        thread.start()
        try:
            _await(lambda: runs.started)
            yield Running(url_of(listening), listening.getsockname()[1], served, runs, listening)
        finally:
            runs.should_exit = True
            thread.join(30)
            assert not thread.is_alive()


def _await(what: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def await_() -> Callable[..., None]:
    """Waits until a condition holds."""
    return _await


@pytest.fixture
def faults() -> Iterator[list[str]]:
    """What a server logs as an error of its own."""
    told: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: told.append(record.getMessage() + str(record.exc_info))
    log = logging.getLogger("uvicorn.error")
    log.addHandler(handler)
    yield told
    log.removeHandler(handler)


@pytest.fixture(scope="session")
def served() -> dict[str, Served]:
    return open_served(Sources(BASE))


@pytest.fixture(scope="session")
def running(served: dict[str, Served]) -> Iterator[Running]:
    """One for all tests that need no settings of their own; they must leave it alive."""
    with serving(served) as run:
        yield run


@pytest.fixture(scope="session")
def start() -> Callable[..., object]:
    """Starts a server with other settings."""
    return serving
