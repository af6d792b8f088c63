"""The channel mix's relu(x)^2. Its root is relu(x), so that the result alone is kept."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from eyas.native import pointwise


def squared_relu(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """relu(x)^2, of any shape."""
    if not pointwise.usable(x):
        return plain(x)
    out: Tensor = _SquaredReLU.apply(x)
    return out


def plain(x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """The same by PyTorch's own operations."""
    return torch.relu(x) ** 2


class _SquaredReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        out = torch.empty_like(x)
        pointwise.call("squared", x.dtype, {"count": x.numel()}, {"x": x, "out": out})
        ctx.save_for_backward(out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, d_out: Tensor) -> Tensor:
        (out,) = ctx.saved_tensors
        d_x = torch.empty_like(out)
        tensors = {"out": out, "d_out": d_out.contiguous(), "d_x": d_x}
        pointwise.call("squared", out.dtype, {"count": out.numel()}, tensors, backward=True)
        return d_x
