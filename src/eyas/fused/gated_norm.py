"""From the operator's result y to what the output linear reads:

    out = (GroupNorm(y) + bonus) f(gate)        bonus = (sum over the head of r k r_k) v

GroupNorm is over each head by itself; f is silu in RWKV-5 and 6, which have no bonus here, and
nothing in RWKV-7.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from eyas.native import pointwise

Channels = Float[Tensor, "B T C"]
EPS = 64e-5
_PARAMETERS = ("weight", "bias", "r_k")


@dataclass(frozen=True)
class Bonus:
    """What a token adds of its own: r, k, v as the operator has them, and r_k with C numbers."""

    r: Channels
    k: Channels
    v: Channels
    r_k: Tensor


def gated_norm(
    y: Channels,
    gate: Channels,
    num_heads: int,
    weight: Float[Tensor, " C"],
    bias: Float[Tensor, " C"],
    bonus: Bonus | None = None,
    silu: bool = False,
) -> Channels:
    """See above. eps is 64e-5 in every version: RWKV-5 writes GroupNorm(y / 8) with eps 1e-5,
    which is the same function: (y / 8) / sqrt(var / 64 + 1e-5) = y / sqrt(var + 64e-5).
    """
    weight, bias = weight.to(y), bias.to(y)
    if bonus is not None:
        bonus = Bonus(bonus.r, bonus.k, bonus.v, bonus.r_k.to(y).flatten())
    own = (None,) * 4 if bonus is None else (bonus.r, bonus.k, bonus.v, bonus.r_k)
    if not pointwise.usable(y, gate, *(x for x in own if x is not None)):
        return plain(y, gate, num_heads, weight, bias, bonus, silu)
    out: Tensor = _GatedNorm.apply(num_heads, silu, y, gate, weight, bias, *own)
    return out


def plain(
    y: Channels,
    gate: Channels,
    num_heads: int,
    weight: Float[Tensor, " C"],
    bias: Float[Tensor, " C"],
    bonus: Bonus | None = None,
    silu: bool = False,
) -> Channels:
    """The same by PyTorch's own operations; all parameters are [C], in y's type."""
    out = F.group_norm(y.flatten(0, 1), num_heads, weight, bias, EPS).view_as(y)
    if bonus is not None:
        heads = (num_heads, -1)
        of_head = (bonus.r * bonus.k * bonus.r_k).unflatten(-1, heads).sum(-1, keepdim=True)
        out = out + (of_head * bonus.v.unflatten(-1, heads)).flatten(-2)
    return out * (F.silu(gate) if silu else gate)


class _GatedNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        num_heads: int,
        silu: bool,
        y: Tensor,
        gate: Tensor,
        weight: Tensor,
        bias: Tensor,
        r: Tensor | None,
        k: Tensor | None,
        v: Tensor | None,
        r_k: Tensor | None,
    ) -> Tensor:
        given = {"y": y, "gate": gate, "weight": weight, "bias": bias}
        given |= {n: x for n, x in (("r", r), ("k", k), ("v", v), ("r_k", r_k)) if x is not None}
        kept = {name: x.contiguous() for name, x in given.items()}
        width = y.shape[-1]
        ctx.numbers = {
            "tokens": y.numel() // width,
            "heads": num_heads,
            "size": width // num_heads,
            "silu": int(silu),
            "eps": EPS,
        }
        out = torch.empty_like(kept["y"])
        pointwise.call("gated", y.dtype, ctx.numbers, {**kept, "out": out})
        ctx.names = list(kept)
        ctx.save_for_backward(*kept.values())
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> tuple[Tensor | None, ...]:
        kept = dict(zip(ctx.names, ctx.saved_tensors, strict=True))
        y = kept["y"]
        names = ("d_y", "d_gate", *(("d_r", "d_k", "d_v") if "r" in kept else ()))
        made = {name: torch.empty_like(y) for name in names}
        if any(ctx.needs_input_grad[4:6]) or ctx.needs_input_grad[9]:
            parts = pointwise.pieces(ctx.numbers["tokens"])
            made["d_parameters"] = y.new_zeros(parts, len(_PARAMETERS), y.shape[-1])
        given = {**kept, "d_out": d_out.contiguous()}
        pointwise.call("gated", y.dtype, ctx.numbers, {**given, **made}, backward=True)
        if "d_parameters" in made:
            sums = made["d_parameters"].sum(0).unbind(0)
            made |= {f"d_{n}": g for n, g in zip(_PARAMETERS, sums, strict=True)}
        order = ("y", "gate", "weight", "bias", "r", "k", "v", "r_k")
        return pointwise.wanted(ctx, None, None, *(made.get(f"d_{name}") for name in order))
