"""The routes of the server.

POST /v1/chat/completions   POST /v1/completions   GET /v1/models   GET /v1/models/NAME
GET /health                 GET /metrics
"""

import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
from anyio.to_thread import run_sync
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from eyas.serving.answers import Answer, Json
from eyas.serving.body import read_body
from eyas.serving.engine import Engine
from eyas.serving.errors import ApiError
from eyas.serving.exchange import Exchange
from eyas.serving.guard import Access, Guard
from eyas.serving.metrics import Metrics
from eyas.serving.orders import Desk, Order

_GONE = 499  # nginx's, for a client that went away
_MORE = 256  # requests beside those that generate or wait


@dataclass(frozen=True)
class Api:
    """Answers requests with an engine."""

    desk: Desk
    engine: Engine
    metrics: Metrics
    begun: int  # time.time()

    async def chat(self, request: Request) -> Response:
        return await self._answer(request, self.desk.chat)

    async def completions(self, request: Request) -> Response:
        return await self._answer(request, self.desk.completion)

    async def models(self, _: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._model(n) for n in self.desk.served]})

    async def model(self, request: Request) -> Response:
        return JSONResponse(self._model(self.desk.model(request.path_params["name"]).name))

    async def health(self, _: Request) -> Response:
        running = self.engine.is_running()
        status = {"status": "ok" if running else "stopped"}
        return JSONResponse(status, 200 if running else 503)

    async def measured(self, _: Request) -> Response:
        text = generate_latest(self.metrics.registry)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    def _model(self, name: str) -> Json:
        served = self.desk.served[name]
        parent = served.base if served.base != name else None
        kind = {"id": name, "object": "model", "created": self.begun, "owned_by": "eyas"}
        return {**kind, "parent": parent}

    async def _answer(self, request: Request, order_of: Callable[[bytes], Order]) -> Response:
        body = await read_body(request, self.desk.limits)
        order = await run_sync(order_of, body)
        exchange = Exchange(self.engine, order.jobs)
        if order.stream:
            return _Stream(exchange, Answer(order), self.metrics)
        try:
            return await _whole(request, exchange, Answer(order))
        finally:
            if exchange.close():
                self.metrics.cancelled.inc()


class _Stream(StreamingResponse):
    """Server-sent events; a client that goes away takes its jobs with it."""

    media_type = "text/event-stream"

    def __init__(self, exchange: Exchange, answer: Answer, metrics: Metrics) -> None:
        unbuffered = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_chunks(exchange, answer), headers=unbuffered)
        self._exchange, self._metrics = exchange, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            if self._exchange.close():
                self._metrics.cancelled.inc()


async def _chunks(exchange: Exchange, answer: Answer) -> AsyncIterator[bytes]:
    for chunk in answer.opening():
        yield _event(chunk)
    try:
        async for job, event in exchange.events():
            yield _event(answer.chunk(job, event))
        for chunk in answer.closing():
            yield _event(chunk)
    except ApiError as error:
        yield _event(error.body())
    yield b"data: [DONE]\n\n"


def _event(content: Json) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode(errors="replace") + b"\n\n"


async def _whole(request: Request, exchange: Exchange, answer: Answer) -> Response:
    """The answer, unless the client goes away before."""
    failed: list[ApiError] = []
    done = False

    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await request.receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch)
        try:
            async for job, event in exchange.events():
                answer.add(job, event)
            done = True
        except ApiError as error:  # a task group would wrap it
            failed.append(error)
        group.cancel_scope.cancel()
    if failed:
        raise failed[0]
    return JSONResponse(answer.whole()) if done else Response(status_code=_GONE)


_CROWDED = ApiError(
    503,
    "too many requests at once; try again in a few seconds",
    code="overloaded",
    headers={"Retry-After": "3"},
)


class Counted:
    """Counts requests by path and status, times those that generate, and refuses too many."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Iterable[str], most: int) -> None:
        self._app, self._metrics, self._paths = app, metrics, frozenset(paths)
        self._now, self._most = 0, most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, begun = 500, time.monotonic()

        async def counting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        path = scope["path"] if scope["path"] in self._paths else "other"
        app = _CROWDED.response() if self._now >= self._most else self._app
        self._now += 1
        try:
            await app(scope, receive, counting)
        finally:
            self._now -= 1
            self._metrics.requests.labels(path, str(status)).inc()
            if scope["method"] == "POST" and status == 200:
                self._metrics.seconds.observe(time.monotonic() - begun)


def application(api: Api, access: Access) -> Starlette:
    """The server's ASGI application; the engine runs as long as it does."""

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        api.engine.start()
        yield
        await run_sync(api.engine.stop)

    routes = [
        Route("/v1/chat/completions", api.chat, methods=["POST"]),
        Route("/v1/completions", api.completions, methods=["POST"]),
        Route("/v1/models", api.models),
        Route("/v1/models/{name}", api.model),
        Route("/health", api.health),
        Route("/metrics", api.measured),
    ]
    paths = [route.path for route in routes]
    capacity = api.desk.capacity
    most = capacity.max_rows + capacity.max_queue + _MORE
    return Starlette(
        routes=routes,
        middleware=[
            # A browser asks before it sends a key, and shows pages no answer without these headers.
            Middleware(
                CORSMiddleware,
                allow_origins=access.origins,
                allow_methods=["GET", "POST"],
                allow_headers=["*"],
            ),
            Middleware(Counted, metrics=api.metrics, paths=paths, most=most),
            Middleware(Guard, api_key=access.api_key),
        ],
        exception_handlers={
            ApiError: _told,
            ClientDisconnect: _gone,
            HTTPException: _no_route,
            Exception: _fault,
        },
        lifespan=lifespan,
    )


async def _told(_: Request, error: Exception) -> Response:
    assert isinstance(error, ApiError)
    return error.response()


async def _gone(_: Request, error: Exception) -> Response:  # noqa: ARG001
    return Response(status_code=_GONE)


async def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = {404: "there is nothing at", 405: "another method is needed at"}
    problem = f"{what.get(error.status_code, error.detail)} {request.url.path[:200]!r}"
    headers: Any = error.headers
    return ApiError(
        error.status_code,
        f"{problem}; see /v1/chat/completions, /v1/completions and /v1/models",
        headers=headers,
    ).response()


async def _fault(_: Request, error: Exception) -> Response:  # noqa: ARG001
    """The traceback is in the log: Starlette raises the error again after this answer."""
    return ApiError(500, "the server made a mistake; its log says which").response()
