"""The adapter file: safetensors with all tensors of the adapter and what they are for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eyas.adapters.base import Method
from eyas.config import to_mapping
from eyas.errors import UserError
from eyas.files import atomic_path

_FORMAT = "eyas-adapter-1"


@dataclass(frozen=True)
class Adapter:
    """An adapter as it lies in a file."""

    method: str
    settings: dict[str, object]  # of the method, as the user wrote them
    base: str  # fingerprint of the model it was trained over
    shape: str  # that model's version and dimensions, for people
    seed: int
    step: int
    tensors: Mapping[str, Tensor]


def describe(
    method: Method, base: str, shape: str, seed: int, step: int, tensors: Mapping[str, Tensor]
) -> Adapter:
    return Adapter(method.name, to_mapping(method), base, shape, seed, step, tensors)


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Writes an adapter file, atomically."""
    metadata = {
        "format": _FORMAT,
        "method": adapter.method,
        "settings": json.dumps(adapter.settings),
        "base": adapter.base,
        "shape": adapter.shape,
        "seed": str(adapter.seed),
        "step": str(adapter.step),
    }
    tensors = {name: tensor.contiguous().cpu() for name, tensor in adapter.tensors.items()}
    needed = sum(tensor.nbytes for tensor in tensors.values())
    with atomic_path(path, needed) as temporary:
        save_file(tensors, temporary, metadata)


def load_adapter(path: Path) -> Adapter:
    """Reads an adapter file. Raises UserError where it is none."""
    if not path.exists():
        raise UserError(f"{path}: no such file; give an adapter.safetensors or a run's folder")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != _FORMAT:
                raise UserError(f"{path}: not an adapter file of eyas (no format {_FORMAT})")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(f"{path}: damaged or cut short ({error}); copy it again") from error
    return Adapter(
        metadata["method"],
        json.loads(metadata["settings"]),
        metadata["base"],
        metadata["shape"],
        int(metadata["seed"]),
        int(metadata["step"]),
        tensors,
    )
