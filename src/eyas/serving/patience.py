"""Clients that open a connection and then send a request's head, or read its answer, slowly or
never; and those that speak no HTTP.

uvicorn limits the time between two requests, and not those. A body has its own limit (`body`).
"""

import asyncio
import sys
from typing import ClassVar

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from eyas.serving.errors import ApiError

_JSON = [(b"content-type", b"application/json"), (b"connection", b"close")]


class Patient(H11Protocol):
    """uvicorn's protocol, where the head of a request must arrive within some seconds, and
    something of an answer must be taken within as many."""

    seconds: ClassVar[float]
    _head: asyncio.TimerHandle | None = None
    _reading: asyncio.TimerHandle | None = None
    _left = 0  # bytes of the answer that the client had not taken when it was last looked

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # So that `pause_writing` tells of every byte that is left.
        transport.set_write_buffer_limits(high=0)
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        self._forget_reading()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        self._forget_reading()
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP, in the format of the other errors; uvicorn handles h11's error."""
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()  # in the midst of an answer
            return
        error = sys.exc_info()[1] or msg
        body = bytes(ApiError(400, f"this is no HTTP request: {error}").response().body)
        length = [(b"content-length", str(len(body)).encode())]
        for event in (
            h11.Response(status_code=400, headers=[*_JSON, *length], reason=b"Bad Request"),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _watch_head(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget_head()
        elif self._head is None:
            self._head = self.loop.call_later(self.seconds, self._give_up)

    def _forget_head(self) -> None:
        if self._head is not None:
            self._head.cancel()
            self._head = None

    def _give_up(self) -> None:
        self._head = None
        if self.cycle is None or self.cycle.response_complete:
            self.transport.close()

    def _watch_reading(self) -> None:
        self._left = self.transport.get_write_buffer_size()
        self._reading = self.loop.call_later(self.seconds, self._look)

    def _forget_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _look(self) -> None:
        if self.transport.get_write_buffer_size() < self._left:
            self._watch_reading()
        else:
            self.transport.abort()


def patient(seconds: float) -> type[Patient]:
    """The protocol with that much patience: uvicorn makes one for each connection."""

    class Limited(Patient):
        pass

    Limited.seconds = seconds
    return Limited
