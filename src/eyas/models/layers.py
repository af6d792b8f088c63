"""Layers that every version shares: linear and norms."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.models.products import product_type
from eyas.native import matvec


class Linear(nn.Module):
    """y = x W^T without bias; the weight [out, in] may be stored narrower than x is computed.

    A frozen weight is cast when it is used and cast again in the backward, so that no copy of it
    in the computing type outlives the product.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__()
        self.in_features, self.out_features = in_features, out_features
        self.weight = nn.Parameter(torch.empty(out_features, in_features))

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        if (stored := self._for_few(x)) is not None:
            return matvec.product(x, stored, self.out_features)
        if self.weight.requires_grad:
            return F.linear(x, self.weight.to(x.dtype)).to(x.dtype)
        if self.weight.dtype == x.dtype == product_type(x):
            return F.linear(x, self.weight)
        out: Tensor = _FrozenLinear.apply(x, self.weight, product_type(x))
        return out

    def dense_weight(self) -> Float[Tensor, "O I"]:
        """The weight as this layer uses it."""
        return self.weight.detach()

    def _for_few(self, x: Tensor) -> matvec.Stored | None:
        """The weight for the compiled product of few vectors, if x is for that."""
        if self.weight.requires_grad and torch.is_grad_enabled():
            return None
        narrow = self.weight.dtype != torch.float32
        rows = matvec.MAX_ROWS if narrow else matvec.MAX_ROWS_FLOAT32
        return matvec.plain(self.weight) if matvec.fits(x, self.in_features, rows) else None


class _FrozenLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, dtype: torch.dtype) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.dtype = dtype
        return F.linear(x.to(dtype), weight.to(dtype)).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (weight,) = ctx.saved_tensors
        return (grad.to(ctx.dtype) @ weight.to(ctx.dtype)).to(grad.dtype), None, None


class LayerNorm(nn.Module):
    """LayerNorm over the last dimension C, computed in x's type."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Float[Tensor, "... C"]) -> Float[Tensor, "... C"]:
        return F.layer_norm(x, self.weight.shape, self.weight.to(x.dtype), self.bias.to(x.dtype))


class GroupNorm(nn.Module):
    """The scale and offset of `gated_norm`, which computes it: [C] each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))


def vector(width: int) -> nn.Parameter:
    """A parameter for each channel, [1, 1, C] as the checkpoints have it."""
    return nn.Parameter(torch.empty(1, 1, width))


def split_heads(x: Float[Tensor, "B T C"], num_heads: int) -> Float[Tensor, "B T H N"]:
    """The channels of each head, one after the other in C."""
    heads: Tensor = x.unflatten(-1, (num_heads, -1))
    return heads
