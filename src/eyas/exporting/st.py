"""Files of web-rwkv, which Ai00 and RWKV Runner's WebGPU mode run: NAME.st.

A safetensors file, everything in float16, under names of its own:

    time_faaaa -> time_first        time_maa -> time_mix        the rest as in the .pth
    the low-rank matrices and time_state have their last two axes swapped

Source: web-rwkv 0.10, assets/scripts/convert_safetensors.py and src/runtime/loader.rs.
"""

from pathlib import Path

import torch

from eyas.errors import UserError
from eyas.exporting.pth import Entry
from eyas.exporting.safetensors_file import write_safetensors
from eyas.exporting.weights import Weight, Weights

_RENAMED = {"time_faaaa": "time_first", "time_maa": "time_mix"}
SWAPPED = frozenset(
    (
        *("time_maa_w1", "time_maa_w2", "time_decay_w1", "time_decay_w2", "time_state"),
        *("w1", "w2", "a1", "a2", "g1", "g2", "v1", "v2"),
    )
)
"""The ends of the names of what is swapped."""


def write(weights: Weights, path: Path) -> None:
    """Raises UserError where web-rwkv cannot read such a model, or float16 cannot hold it."""
    shape = weights.shape
    if shape.version == "x070" and shape.num_layers < 2:
        raise UserError(
            f"{path}: web-rwkv takes the size of RWKV-7's v1 from the second layer, and this model "
            "has one; take --to pth, gguf or hf"
        )
    write_safetensors(path, [entry(weight) for weight in weights])


def entry(weight: Weight) -> Entry:
    """The tensor as web-rwkv has it."""
    swap, shape = weight.name.rpartition(".")[2] in SWAPPED, weight.shape
    shape = (*shape[:-2], shape[-1], shape[-2]) if swap else shape

    def tensor() -> torch.Tensor:
        rounded = weight.rounded(torch.float16)
        return rounded.mT if swap else rounded

    return Entry(name_of(weight.name), shape, torch.float16, tensor)


def name_of(name: str) -> str:
    """The official key as web-rwkv has it."""
    for old, new in _RENAMED.items():
        name = name.replace(old, new)
    return name.lower()
