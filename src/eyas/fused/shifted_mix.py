"""Inputs mixed with those of the token before (token shift):

    out_i = x + (previous - x) (mix_i + offset_i)

with `last` before the first token, and zeros before one that begins another document.
"""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from eyas.native import pointwise

Inputs = Float[Tensor, "B T C"]


def shifted_mix(
    x: Inputs,
    last: Float[Tensor, "B C"],
    mixes: Sequence[Tensor],
    starts: Bool[Tensor, "B T"] | None = None,
    offsets: Sequence[Inputs] = (),
) -> tuple[tuple[Inputs, ...], Float[Tensor, "B C"]]:
    """One output for each of `mixes`, of any shape with C numbers, and the last input.

    offsets: none, or one for each mix. The last input is for what follows.
    """
    end = x[:, -1].clone()  # a view would keep all of x
    mixes = [mix.to(x).flatten() for mix in mixes]
    last = last.to(x)
    if len(mixes) > pointwise.MOST_MIXES or not pointwise.usable(x, *offsets):
        return plain(x, last, mixes, starts, offsets), end
    outs: tuple[Tensor, ...] = _ShiftedMix.apply(x, last, starts, len(mixes), *mixes, *offsets)
    return outs, end


def plain(
    x: Inputs,
    last: Float[Tensor, "B C"],
    mixes: Sequence[Float[Tensor, " C"]],
    starts: Bool[Tensor, "B T"] | None = None,
    offsets: Sequence[Inputs] = (),
) -> tuple[Inputs, ...]:
    """The outputs by PyTorch's own operations; `mixes` are [C] each, in x's type."""
    previous = torch.cat((last[:, None], x[:, :-1]), dim=1)
    if starts is not None:
        previous = previous.masked_fill(starts[..., None], 0)
    shifts = (
        [mix + offset for mix, offset in zip(mixes, offsets, strict=True)] if offsets else mixes
    )
    return tuple(torch.addcmul(x, previous - x, shift) for shift in shifts)


class _ShiftedMix(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        last: Tensor,
        starts: Tensor | None,
        count: int,
        *mixes_and_offsets: Tensor,
    ) -> tuple[Tensor, ...]:
        x, last = x.contiguous(), last.contiguous()
        mixes, offsets = mixes_and_offsets[:count], mixes_and_offsets[count:]
        offsets = tuple(offset.contiguous() for offset in offsets)
        starts = None if starts is None else starts.contiguous()
        outs = tuple(torch.empty_like(x) for _ in mixes)
        given = {"x": x, "last": last, "starts": starts, "mix": mixes, "offset": offsets}
        pointwise.call("mix", x.dtype, _sizes(x, count), {**given, "out": outs})
        wants_inputs = bool(offsets) or any(ctx.needs_input_grad[4:])
        ctx.count, ctx.shape = count, x.shape
        kept = (x, last) if wants_inputs else (None, None)
        ctx.save_for_backward(*kept, starts, *mixes, *offsets)
        ctx.set_materialize_grads(False)
        return outs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *d_outs: Tensor | None) -> tuple[Tensor | None, ...]:
        x, last, starts, *rest = ctx.saved_tensors
        count: int = ctx.count
        mixes, offsets = rest[:count], rest[count:]
        like = next((d for d in d_outs if d is not None), None)
        if like is None:
            return (None,) * (4 + len(rest))
        d_x = like.new_empty(ctx.shape)
        d_last = like.new_empty(ctx.shape[0], ctx.shape[2])
        d_offsets = [None if d is None else torch.empty_like(d_x) for d in d_outs if offsets]
        d_mix = None
        if any(ctx.needs_input_grad[4 : 4 + count]):
            parts = pointwise.pieces(ctx.shape[0] * ctx.shape[1])
            d_mix = like.new_zeros(parts, count, ctx.shape[2])
        pointwise.call(
            "mix",
            like.dtype,
            _sizes(d_x, count),
            {
                "x": d_x if x is None else x,  # which is then not read
                "last": d_last if last is None else last,
                "starts": starts,
                "mix": mixes,
                "offset": offsets,
                "d_out": [None if d is None else d.contiguous() for d in d_outs],
                "d_x": d_x,
                "d_last": d_last,
                "d_offset": d_offsets,
                "d_mix": d_mix,
            },
            backward=True,
        )
        d_mixes = (None,) * count if d_mix is None else d_mix.sum(0).unbind(0)
        return pointwise.wanted(ctx, d_x, d_last, None, None, *d_mixes, *d_offsets)


def _sizes(x: Tensor, count: int) -> dict[str, int]:
    batch, length, width = x.shape
    return {"batch": batch, "length": length, "width": width, "count": count}
