"""The adapter file: safetensors with all tensors of the adapter and what they are for.

With the base model it is all that resuming and merging need. The codes of a quantized base are
not in it: they are made again from the base, and their hash proves that they are the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from eyas.adapters.base import adapter_tensors, restore
from eyas.adapters.methods import AnyMethod, method_named
from eyas.config import from_mapping, to_mapping
from eyas.errors import UserError
from eyas.files import atomic_path
from eyas.models import Model
from eyas.quant import FrozenConfig, codes_hash

_FORMAT = "eyas-adapter-1"


@dataclass(frozen=True)
class Adapter:
    """An adapter as it lies in a file."""

    method: AnyMethod
    base: str  # fingerprint of the model it was trained over
    shape: str  # that model's version and dimensions, for people
    seed: int
    step: int
    tensors: Mapping[str, Tensor]
    frozen: FrozenConfig = field(default_factory=FrozenConfig)
    codes: str = ""  # hash of the quantized base

    def quantized(self) -> bool:
        return self.frozen.quant != "none" or self.frozen.quant_head


def describe(
    model: Model,
    method: AnyMethod,
    base: str,
    seed: int,
    step: int,
    frozen: FrozenConfig = FrozenConfig(),
    codes: str = "",
) -> Adapter:
    """The adapter of a model that is being trained; its tensors are the model's own."""
    return Adapter(
        method, base, str(model.shape), seed, step, adapter_tensors(model), frozen, codes
    )


def restore_adapter(model: Model, adapter: Adapter, device: torch.device | None = None) -> None:
    """Attaches an adapter to its base, just loaded, and quantizes that as it was in training.

    Raises UserError where the codes of the quantized base differ from those trained on.
    """
    restore(model, adapter.method, adapter.tensors, adapter.frozen, device)
    if adapter.quantized() and codes_hash(model) != adapter.codes:
        raise UserError(
            f"the base quantized to {adapter.frozen.quant} here is not the one this adapter was "
            "trained on (the hash of the codes differs); use it on the machine where it was "
            "trained, with the same version of eyas"
        )


def save_adapter(adapter: Adapter, path: Path) -> None:
    """Writes an adapter file, atomically."""
    metadata = {
        "format": _FORMAT,
        "version": version("eyas"),
        "method": adapter.method.name,
        "settings": json.dumps(to_mapping(adapter.method)),
        "base": adapter.base,
        "shape": adapter.shape,
        "frozen": json.dumps(to_mapping(adapter.frozen)),
        "codes": adapter.codes,
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
                raise UserError(
                    f"{path}: not an adapter file of eyas; `eyas inspect {path}` says what it is"
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise UserError(
            f"{path}: no adapter file of eyas, or damaged ({error}); `eyas inspect` says what it "
            "is, and `eyas convert` reads those of other tools"
        ) from error
    if strange := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise UserError(f"{path}: {strange[0]} holds NaN or inf; take an earlier checkpoint's")
    try:
        return Adapter(
            method_named(metadata["method"], json.loads(metadata["settings"]), str(path)),
            metadata["base"],
            metadata["shape"],
            int(metadata["seed"]),
            int(metadata["step"]),
            tensors,
            from_mapping(FrozenConfig, json.loads(metadata["frozen"]), str(path)),
            metadata["codes"],
        )
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path}: its description is damaged ({type(error).__name__}: {error}); copy it again"
        ) from error
