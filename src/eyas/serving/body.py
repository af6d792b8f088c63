"""Reading a request's body: JSON, of limited size, in limited time."""

import anyio
from starlette.requests import Request

from eyas.serving.errors import ApiError
from eyas.serving.limits import LimitsConfig


async def read_body(request: Request, limits: LimitsConfig) -> bytes:
    """The whole body. Raises ApiError for another type than JSON, and beyond the limits."""
    kind = request.headers.get("content-type", "")
    if kind.partition(";")[0].strip().lower() != "application/json":
        # A page in a browser may send anything else to a server on this machine unasked.
        raise ApiError(415, "send JSON, with the header Content-Type: application/json")
    try:
        with anyio.fail_after(limits.body_seconds):
            return await _whole(request, limits.max_body_kib * 1024)
    except TimeoutError:
        raise ApiError(
            408,
            f"the request did not arrive within {limits.body_seconds:g} seconds; send it again",
            headers={"Connection": "close"},
        ) from None


async def _whole(request: Request, most: int) -> bytes:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > most:
        raise _too_large(most)
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > most:
            raise _too_large(most)
    return bytes(body)


def _too_large(most: int) -> ApiError:
    return ApiError(
        413, f"the request is larger than {most:,} bytes, this server's limit (--max-body-kib)"
    )
