"""From the linears of RWKV-7's time mix to the arguments of its operator:

log_decay = -exp(-1/2) sigmoid(w0 + w)            a = sigmoid(a0 + a')
unit = k k_k, of length 1 in each head             key = k (1 + (a - 1) k_a)
removal = -unit                                    replacement = unit a
value = v + (first - v) sigmoid(v0 + mix)          in every layer but the first
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from eyas.native import pointwise

Channels = Float[Tensor, "B T C"]
_STRONGEST_DECAY = -math.exp(-0.5)
_PARAMETERS = ("w0", "a0", "v0", "k_k", "k_a")


@dataclass(frozen=True)
class GooseInputs:
    """The operator's arguments, each [B, T, C], the channels of each head one after the other."""

    log_decay: Channels
    key: Channels
    value: Channels
    removal: Channels
    replacement: Channels


@dataclass(frozen=True)
class ValueMix:
    """How much of layer 0's values a later layer takes: before the sigmoid, and its offset v0."""

    mix: Channels
    first: Channels
    v0: Tensor


def goose_inputs(
    w: Channels,
    a: Channels,
    k: Channels,
    v: Channels,
    num_heads: int,
    w0: Tensor,
    a0: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    values: ValueMix | None,
) -> GooseInputs:
    """See above; w, a, k, v are what the linears give. values: None in layer 0.

    The parameters have C numbers in any shape.
    """
    w0, a0, k_k, k_a = (p.to(k).flatten() for p in (w0, a0, k_k, k_a))
    if values is not None:
        values = ValueMix(values.mix, values.first, values.v0.to(k).flatten())
    mixing = (None, None, None) if values is None else (values.mix, values.first, values.v0)
    if not pointwise.usable(w, a, k, v, *(x for x in mixing if x is not None)):
        return plain(w, a, k, v, num_heads, w0, a0, k_k, k_a, values)
    log_decay, key, value, removal, replacement = _GooseInputs.apply(
        num_heads, w, a, k, v, w0, a0, k_k, k_a, *mixing
    )
    return GooseInputs(log_decay, key, v if value is None else value, removal, replacement)


def plain(
    w: Channels,
    a: Channels,
    k: Channels,
    v: Channels,
    num_heads: int,
    w0: Tensor,
    a0: Tensor,
    k_k: Tensor,
    k_a: Tensor,
    values: ValueMix | None,
) -> GooseInputs:
    """The same by PyTorch's own operations; all parameters are [C], in k's type."""
    exact = torch.promote_types(w.dtype, torch.float32)
    log_decay = _STRONGEST_DECAY * torch.sigmoid((w0 + w).to(exact))
    a = torch.sigmoid(a0 + a)
    unit = F.normalize((k * k_k).unflatten(-1, (num_heads, -1)), dim=-1).flatten(-2)
    if values is not None:
        v = v + (values.first - v) * torch.sigmoid(values.v0 + values.mix)
    return GooseInputs(log_decay, k * (1 + (a - 1) * k_a), v, -unit, unit * a)


class _GooseInputs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        num_heads: int,
        w: Tensor,
        a: Tensor,
        k: Tensor,
        v: Tensor,
        w0: Tensor,
        a0: Tensor,
        k_k: Tensor,
        k_a: Tensor,
        mix: Tensor | None,
        first: Tensor | None,
        v0: Tensor | None,
    ) -> tuple[Tensor | None, ...]:
        later = mix is not None
        given: dict[str, Tensor | None] = {"w": w, "a": a, "k": k, "w0": w0, "a0": a0}
        given |= {"k_k": k_k, "k_a": k_a, "mix": mix, "first": first, "v0": v0}
        given["v"] = v if later else None
        kept = {name: x.contiguous() for name, x in given.items() if x is not None}
        made = {name: torch.empty_like(kept["k"]) for name in _made(later)}
        ctx.sizes = _sizes(k, num_heads)
        pointwise.call("goose", k.dtype, ctx.sizes, {**kept, **made})
        ctx.names = list(kept)
        ctx.save_for_backward(*kept.values())
        names = ("log_decay", "key", "value", "removal", "replacement")
        return tuple(made.get(name) for name in names)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        kept = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        later = "mix" in kept
        k = kept["k"]
        order = ("log_decay", "key", "value", "removal", "replacement")
        given = {
            f"d_{n}": g.contiguous() for n, g in zip(order, grads, strict=True) if g is not None
        }
        names = ("d_w", "d_a", "d_k", *(("d_mix", "d_v", "d_first") if later else ()))
        made = {name: torch.empty_like(k) for name in names}
        if any(ctx.needs_input_grad[5:9]) or ctx.needs_input_grad[11]:
            parts = pointwise.pieces(ctx.sizes["tokens"])
            made["d_parameters"] = k.new_zeros(parts, len(_PARAMETERS), k.shape[-1])
        pointwise.call("goose", k.dtype, ctx.sizes, {**kept, **given, **made}, backward=True)
        if "d_parameters" in made:
            sums = made["d_parameters"].sum(0).unbind(0)
            made |= {f"d_{n}": g for n, g in zip(_PARAMETERS, sums, strict=True)}
        inputs = ("w", "a", "k", "v", "w0", "a0", "k_k", "k_a", "mix", "first", "v0")
        return pointwise.wanted(ctx, None, *(made.get(f"d_{name}") for name in inputs))


def _made(later: bool) -> list[str]:
    return ["log_decay", "key", "removal", "replacement", *(["value"] if later else [])]


def _sizes(x: Tensor, num_heads: int) -> dict[str, int]:
    width = x.shape[-1]
    return {"tokens": x.numel() // width, "heads": num_heads, "size": width // num_heads}
