"""The tensors of a GGUF file of RWKV-6 or RWKV-7: names, shapes and how each is made.

    time_mix_w1 …    the low-rank matrices with their last two axes swapped
    lerp_fused       [5 or 6, 1, 1, C]: the mixes of the time mix (w k v r g; r w k v a g), stacked
    the rest         as it is, axes of length 1 in front left out

Of RWKV-7 llama.cpp asks for v0, v1, v2 in the first layer too, which has no use for them: they
are copies of a0, a1, a2, as its own converter makes them. RWKV-6 is scaled by half every six
layers, in the matrices that write into the residual, so that float16 does not overflow.
Source: llama.cpp, conversion/rwkv.py, src/models/rwkv6.cpp and rwkv7.cpp.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import prod

import torch
from torch import Tensor

from eyas.exporting.weights import Weight, Weights

RESCALED_EVERY = 6  # layers, as released RWKV-6 models are run

LOW_RANK = re.compile(r"time_mix_([wavg][12]|decay_w[12])\.weight$")
"""What has its axes swapped."""

_BLOCK = re.compile(r"blocks\.(\d+)\.(.+)")
_PLACES = {
    "emb.weight": "token_embd.weight",
    "blocks.0.ln0.weight": "token_embd_norm.weight",
    "blocks.0.ln0.bias": "token_embd_norm.bias",
    "ln_out.weight": "output_norm.weight",
    "ln_out.bias": "output_norm.bias",
    "head.weight": "output.weight",
}
_PARTS = {
    "ln1": "attn_norm",
    "ln2": "attn_norm_2",
    "att.ln_x": "time_mix_ln",
    "att.time_faaaa": "time_mix_first",
    "att.time_decay": "time_mix_decay",
    "att.time_decay_w1": "time_mix_decay_w1",
    "att.time_decay_w2": "time_mix_decay_w2",
    "att.time_maa_x": "time_mix_lerp_x",
    "att.time_maa_w1": "time_mix_w1",
    "att.time_maa_w2": "time_mix_w2",
    "ffn.time_maa_k": "channel_mix_lerp_k",
    "ffn.time_maa_r": "channel_mix_lerp_r",
    "ffn.x_k": "channel_mix_lerp_k",
}
_FUSED = {
    "x060": tuple(f"att.time_maa_{letter}" for letter in "wkvrg"),
    "x070": tuple(f"att.x_{letter}" for letter in "rwkvag"),
}
_INTO_RESIDUAL = ("att.output.weight", "ffn.value.weight")


@dataclass(frozen=True)
class Part:
    """A tensor of the file; `make` computes it in float32."""

    name: str
    shape: tuple[int, ...]
    make: Callable[[], Tensor]


def parts(weights: Weights) -> Iterator[Part]:
    """All of them, in the model's order."""
    fused = _FUSED[weights.shape.version]
    for weight in weights:
        block, inner = _split(weight.name)
        if inner == fused[0]:
            mixes = [weights[f"blocks.{block}.{one}"] for one in fused]
            yield _stacked(f"blk.{block}.time_mix_lerp_fused.weight", mixes)
        if inner in fused or (block == "0" and inner in ("att.v0", "att.v1", "att.v2")):
            continue
        part = _part(weight, _halved(weights.shape.version, block, inner))
        yield part
        if block == "0" and inner in ("att.a0", "att.a1", "att.a2"):
            yield Part(part.name.replace("time_mix_a", "time_mix_v"), part.shape, part.make)


def _split(key: str) -> tuple[str, str]:
    """The number of the block, and the name inside it; both empty outside of blocks."""
    match = _BLOCK.fullmatch(key)
    return (match[1], match[2]) if match else ("", "")


def _halved(version: str, block: str, inner: str) -> int:
    """How many times llama.cpp has halved the residual where this matrix writes into it."""
    return int(block) // RESCALED_EVERY if version == "x060" and inner in _INTO_RESIDUAL else 0


def _name(key: str) -> str:
    if key in _PLACES:
        return _PLACES[key]
    block, inner = _split(key)
    part, _, end = inner.rpartition(".")
    if end not in ("weight", "bias"):
        part, end = inner, "weight"
    known = _PARTS.get(part) or part.replace("att.", "time_mix_").replace("ffn.", "channel_mix_")
    return f"blk.{block}.{known}.{end}"


def _part(weight: Weight, halved: int) -> Part:
    name, shape = _name(weight.name), weight.shape
    swapped = bool(LOW_RANK.search(name))
    if swapped:
        shape = (*shape[:-2], shape[-1], shape[-2])
    elif name.endswith("time_mix_r_k.weight"):
        shape = (prod(shape),)
    while len(shape) > 1 and shape[0] == 1 and not swapped:
        shape = shape[1:]

    def make() -> Tensor:
        tensor = weight.rounded(torch.float32)
        tensor = tensor.mT if swapped else tensor
        return (tensor / 2**halved if halved else tensor).reshape(shape).contiguous()

    return Part(name, shape, make)


def _stacked(name: str, mixes: list[Weight]) -> Part:
    shape = (len(mixes), 1, 1, prod(mixes[0].shape))

    def make() -> Tensor:
        return torch.stack([mix.rounded(torch.float32).flatten() for mix in mixes]).view(shape)

    return Part(name, shape, make)
