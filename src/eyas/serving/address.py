"""Where the server listens: on this machine alone, unless there is a key."""

import ipaddress
import os
import socket
from dataclasses import dataclass
from typing import Annotated

from eyas.errors import UserError

_BACKLOG = 256  # connections that wait to be taken


@dataclass(frozen=True)
class AddressConfig:
    """Where the server listens."""

    host: Annotated[str, "address to listen on; one beyond this machine needs --api-key"] = (
        "127.0.0.1"
    )
    port: Annotated[int, "port to listen on; 0: a free one"] = 8000
    grace_seconds: Annotated[int, "time that answers have to end when the server is stopped"] = 30

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise ValueError(f"port = {self.port} must be from 0 to 65535")
        if self.grace_seconds < 0:
            raise ValueError(f"grace_seconds = {self.grace_seconds} must be 0 or more")


def listen(address: AddressConfig, api_key: str | None) -> socket.socket:
    """A socket that listens: clients that come before the server runs wait for it.

    Raises UserError where the address cannot be had, or needs a key.
    """
    if api_key is None and not is_loopback(address.host):
        raise UserError(
            f"--host {address.host}: others could use the model; add --api-key-file FILE with a "
            "secret in it, or leave --host out"
        )
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
        family, kind, protocol, _, place = found[0]
        listening = socket.socket(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise UserError(f"--host {address.host}: is no address of this machine") from error
    if os.name == "posix":  # elsewhere it would let two servers have one port
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind(place)
        # Two servers that are still loading could bind the same port, and find out later.
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        raise UserError(
            f"{address.host}:{address.port}: cannot listen there ({error.strerror}); take another "
            "--port or --host"
        ) from error
    return listening


def url_of(listening: socket.socket) -> str:
    """Where clients find the API."""
    host, port = listening.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/v1"


def is_loopback(host: str) -> bool:
    """Whether a name or an address means this machine and nobody else can use it."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
