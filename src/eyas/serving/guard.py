"""Who may ask: the key, and without one the programs of this machine alone."""

import hashlib
import hmac
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from eyas.serving.address import is_loopback
from eyas.serving.errors import ApiError

_OPEN = "/health"


@dataclass(frozen=True)
class Access:
    """Who may use a server: with what key, and pages of what other origins in a browser."""

    api_key: str | None = None
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for origin in self.origins:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (scheme not in ("http", "https") or not host or "/" in host):
                raise ValueError(
                    f"allow_origin = {origin} must be an origin, as https://example.org:8080"
                )
        if "*" in self.origins and self.api_key is None:
            raise ValueError("allow_origin = * lets every page use the model: it needs an API key")


class Guard:
    """Refuses, before a body is read, what has not the key.

    Without a key the server listens on a loopback address. A page in a browser can still reach it
    under a name of its own that leads there; the header Host shows that name.
    """

    def __init__(self, app: ASGIApp, api_key: str | None) -> None:
        self._app = app
        self._key = None if api_key is None else _digest(api_key.encode())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._check(scope["path"], Headers(scope=scope))
            except ApiError as error:
                await error.response()(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _check(self, path: str, headers: Headers) -> None:
        if self._key is None:
            if not is_loopback(_name_of(headers.get("host", ""))):
                raise ApiError(
                    403,
                    "without --api-key only programs of this machine may ask, by 127.0.0.1 or "
                    "localhost",
                )
            return
        scheme, _, key = headers.get("authorization", "").partition(" ")
        # Of equal length whatever is sent, and compared in equal time.
        right = hmac.compare_digest(_digest(key.strip().encode("latin-1")), self._key)
        if path != _OPEN and not (right and scheme.lower() == "bearer"):
            raise ApiError(
                401,
                "the API key is missing or wrong; send it as Authorization: Bearer KEY",
                code="invalid_api_key",
                headers={"WWW-Authenticate": "Bearer"},
            )


def _name_of(host: str) -> str:
    """The header Host without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
