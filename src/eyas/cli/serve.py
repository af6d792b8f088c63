"""`eyas serve`: an OpenAI-compatible server over a model, its adapters and its states."""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import torch

from eyas.cli.options import add_options
from eyas.config import fields_of, from_mapping
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.quant import FrozenConfig
from eyas.serving.address import AddressConfig, listen, url_of
from eyas.serving.limits import CapacityConfig, LimitsConfig

_NEEDED = ("prometheus_client", "pydantic", "starlette", "uvicorn")

_PATH = click.Path(path_type=Path)


@click.command(short_help="Serve a model over HTTP as OpenAI's API.")
@click.argument("model", metavar="MODEL|RUN", type=_PATH)
@click.option(
    "--adapter",
    "adapters",
    metavar="NAME=RUN|FILE",
    multiple=True,
    help="serve this adapter over the same base as the model NAME; may be repeated",
)
@click.option(
    "--state",
    "states",
    metavar="NAME=RUN|FILE",
    multiple=True,
    help="serve the base with this initial state as the model NAME; may be repeated",
)
@click.option("--name", help="the model's name for clients [default: that of its file or folder]")
@click.option("--api-key", help="secret that clients must send; others see it in the process list")
@click.option("--api-key-file", type=_PATH, help="file that holds the secret, and nothing else")
@click.option(
    "--allow-origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="let pages of this origin use the server from a browser (CORS); may be repeated",
)
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file")
@click.option("--template", type=_PATH, help="a Jinja chat template [default: the run's, or G1's]")
@click.option("--base", type=_PATH, help="base model of RUN [default: the one trained over]")
@click.option(
    "--storage",
    type=click.Choice(["file", "fp32", "bf16", "fp16"]),
    default="file",
    show_default=True,
    help="type of the base's weights in memory; file: as in the model",
)
@click.option(
    "--quant",
    type=click.Choice(["none", "int8", "nf4"]),
    default="none",
    show_default=True,
    help="quantizes the base's linears",
)
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, or cuda:N")
@click.option(
    "--threads",
    type=click.IntRange(1),
    help="processor threads that compute [default: all but one, which answers the clients]",
)
@add_options(AddressConfig, CapacityConfig, LimitsConfig, Sampling)
def serve(
    model: Path,
    adapters: tuple[str, ...],
    states: tuple[str, ...],
    name: str | None,
    api_key: str | None,
    api_key_file: Path | None,
    origins: tuple[str, ...],
    tokenizer: str | None,
    template: Path | None,
    base: Path | None,
    storage: Any,
    quant: Any,
    device: str,
    threads: int | None,
    typed: dict[str, Any],
) -> None:
    """Serve MODEL (.pth, .safetensors) or RUN (its newest checkpoint, beside its base).

    Sampling options hold where a request has none of its own. docs/serve.md has the rest.
    """
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise UserError(f"eyas serve needs {', '.join(missing)}; say: pip install 'eyas[serve]'")
    from eyas.serving.served import Sources, open_served
    from eyas.serving.server import server

    sources = Sources(
        model,
        base,
        name,
        tuple(_named(given, "--adapter") for given in adapters),
        tuple(_named(given, "--state") for given in states),
        tokenizer,
        template,
        FrozenConfig(storage, quant),
        _device(device),
    )
    address, capacity, limits, sampling = (
        _settings(cls, typed) for cls in (AddressConfig, CapacityConfig, LimitsConfig, Sampling)
    )
    access = _access(_key(api_key, api_key_file), origins)
    torch.set_num_threads(threads or max(1, torch.get_num_threads() - 1))
    with listen(address, access.api_key) as listening:
        served = open_served(sources)
        shape = next(iter(served.values())).forward.model.shape
        click.echo(f"{', '.join(served)} ({shape}) at {url_of(listening)}; Ctrl-C stops it")
        running = server(served, address, access, capacity, limits, sampling)
        running.run(sockets=[listening])
    if running.failed:
        sys.exit(1)  # the traceback is there; what watches over the server begins it again


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise UserError(f"--device {name}: is none of this machine; take cpu or cuda") from error
    return device


def _settings(cls: type[Any], typed: dict[str, Any]) -> Any:
    names = {field.name for field in fields_of(cls)}
    own = {name: value for name, value in typed.items() if name in names}
    return from_mapping(cls, own, "the command line")


def _named(given: str, option: str) -> tuple[str, Path]:
    name, equals, path = given.partition("=")
    if not (name and equals and path):
        raise UserError(f"{option} {given}: write NAME=FILE, the name that clients ask for first")
    return name, Path(path).expanduser()


def _access(key: str | None, origins: tuple[str, ...]) -> Any:
    from eyas.serving.guard import Access

    try:
        return Access(key, origins)
    except ValueError as error:
        raise UserError(str(error)) from error


def _key(given: str | None, file: Path | None) -> str | None:
    """The secret. Raises UserError where it is empty, given twice or cannot be sent."""
    if given is not None and file is not None:
        raise UserError("--api-key and --api-key-file exclude one another; give the file")
    if file is not None:
        try:
            given = file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file}: cannot be read as a text; check the path") from error
    if given is None:
        return None
    if not given or not given.isascii() or not given.isprintable() or " " in given:
        raise UserError(f"{file or '--api-key'}: the key must be ASCII characters without blanks")
    return given
