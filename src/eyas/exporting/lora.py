"""A LoRA as Ai00 loads it beside a model (`[[lora]]` in its Config.toml): a safetensors file.

    blocks.i.att.key.lora.0 [in, R]    blocks.i.att.key.lora.1 [out, R]     float16

    W <- W + (alpha / R) lora.1 lora.0^T

alpha is set in Config.toml: here it is always R. The program's kernel takes four columns at a
time, so that R is filled up with zeros to a multiple of four. Vectors of the model's own replace
the base's; of the low-rank matrices their change is added.
Source: web-rwkv 0.10, src/runtime/loader.rs (lora_matrices, lora_vectors) and blend_lora.wgsl.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from eyas.errors import UserError
from eyas.exporting.safetensors_file import write_safetensors
from eyas.exporting.st import SWAPPED, entry
from eyas.exporting.weights import stored

_COLUMNS = 4
_TAKEN_AS_THEY_ARE = ("emb.weight", "head.weight")


def write(
    layers: Mapping[str, tuple[Tensor, Tensor]],
    whole: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    path: Path,
) -> int:
    """Writes it; the alpha that Config.toml has to say.

    layers: A [r, in] and B [out, r] by the path of the linear, with the change B A.
    whole: tensors that take the place of the base's. base: the base's tensors, those in `whole`
    at least. Raises UserError where the format has no place for one.
    """
    refused = [name for name in whole if name in _TAKEN_AS_THEY_ARE or _is_state(name)]
    if refused:
        raise UserError(
            f"{path}: Ai00 takes {', '.join(refused[:3])} from the model's file alone; --to st "
            "writes a model with what was trained"
        )
    rank = max((len(A) for A, _ in layers.values()), default=0)
    rank += -rank % _COLUMNS
    tensors = {name: _of_a_whole(name, tensor, base) for name, tensor in whole.items()}
    for name, (A, B) in layers.items():
        missing = rank - len(A)
        tensors[f"{name}.lora.0"] = F.pad(A, (0, 0, 0, missing)).mT
        tensors[f"{name}.lora.1"] = F.pad(B, (0, missing))
    write_safetensors(path, [entry(stored(name, tensor)) for name, tensor in tensors.items()])
    return rank


def _of_a_whole(name: str, tensor: Tensor, base: Mapping[str, Tensor]) -> Tensor:
    """What replaces the base's tensor, or is added to it where that is a matrix."""
    end = name.rpartition(".")[2]
    added = end in SWAPPED or end == "r_k"
    return tensor - base[name].to(torch.float32) if added else tensor


def _is_state(name: str) -> bool:
    return name.endswith(".time_state")
