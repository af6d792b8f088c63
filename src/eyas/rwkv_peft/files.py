"""The files that RWKV-PEFT leaves in proj_dir: rwkv-N.pth and init_pissa.pth.

They hold float32, so that nothing of what was trained is lost before it is merged. Over a
quantized base, what PiSSA took from the weights before they were quantized is the start that its
merge subtracts, W' = quantize(W - B0 A0) + B A, and so is what init_pissa.pth holds.
"""

import dataclasses
import re
from pathlib import Path

import torch
from torch import Tensor

from eyas.adapters import Adapter, Full, PiSSA, restore
from eyas.errors import UserError
from eyas.exporting.pth import Entry, write_pth
from eyas.interop import rwkv_peft_write
from eyas.interop.parts import OWN, Layer, parts_of
from eyas.interop.rwkv_peft import START, STARTS
from eyas.models import load, read_tensors
from eyas.quant import FrozenConfig, codes_hash

_NAME = re.compile(r"rwkv-(\d+)\.pth")
_TAKEN = {"residual_A": "lora_A0", "residual_B": "lora_B0"}


def file_name(number: int) -> str:
    return f"rwkv-{number}.pth"


def number_of(path: Path) -> int | None:
    """N of a file with such a name."""
    found = _NAME.fullmatch(path.name)
    return int(found[1]) if found else None


def write_numbered(adapter: Adapter, base: Path, path: Path) -> None:
    """Writes rwkv-N.pth; of a run that trains all weights it is the model, typed as its base."""
    if isinstance(adapter.method, Full):
        _write_model(adapter, base, path)
    else:
        rwkv_peft_write.write(without_base(adapter), path, torch.float32)


def write_start(adapter: Adapter, folder: Path) -> None:
    """Writes init_pissa.pth where the method has a start."""
    if not isinstance(adapter.method, PiSSA):
        return
    layers = parts_of(without_base(adapter).tensors, OWN).layers
    tensors = {
        f"model.{path}.{end}": layer[own].float()
        for path, layer in layers.items()
        for end, own in STARTS.items()
    }
    write_pth(folder / START, [_entry(name, tensor) for name, tensor in tensors.items()])


def without_base(adapter: Adapter) -> Adapter:
    """The adapter as these files have it: they do not say what the base was quantized to."""
    start = {own: taken for taken, own in _TAKEN.items()}

    def plain(_: str, layer: Layer) -> Layer:
        kept = {name: tensor for name, tensor in layer.items() if name not in _TAKEN}
        return kept | {own: layer[taken] for own, taken in start.items() if taken in layer}

    tensors = parts_of(adapter.tensors, OWN).each(plain).tensors()
    return dataclasses.replace(adapter, tensors=tensors, frozen=FrozenConfig(), codes="")


def over_quantized(adapter: Adapter, frozen: FrozenConfig, base: Path, codes: str = "") -> Adapter:
    """An adapter from such files, over the base quantized as it was in training.

    codes: their hash, where it is known; else what they come to here.
    """
    if frozen.quant == "none":
        return adapter

    def taken(_: str, layer: Layer) -> Layer:
        return layer | {name: layer[own].clone() for name, own in _TAKEN.items() if own in layer}

    tensors = parts_of(adapter.tensors, OWN).each(taken).tensors()
    if not codes:
        model = load(base)
        restore(model, adapter.method, tensors, frozen)
        codes = codes_hash(model)
    return dataclasses.replace(adapter, tensors=tensors, frozen=frozen, codes=codes)


def _write_model(adapter: Adapter, base: Path, path: Path) -> None:
    def entry(name: str, tensor: Tensor) -> Entry:
        trained = adapter.tensors.get(name, tensor)
        return Entry(name, tuple(tensor.shape), tensor.dtype, lambda: _fitting(trained, tensor))

    write_pth(path, [entry(name, tensor) for name, tensor in read_tensors(base).items()])


def _fitting(trained: Tensor, kind: Tensor) -> Tensor:
    stored = trained.to(kind.dtype)
    if not torch.isfinite(stored).all():
        raise UserError(f"a trained weight is too large for {kind.dtype}; take a lower --lr_init")
    return stored


def _entry(name: str, tensor: Tensor) -> Entry:
    return Entry(name, tuple(tensor.shape), tensor.dtype, lambda: tensor)
