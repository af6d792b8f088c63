"""LoRA (Hu et al. 2021, arXiv 2106.09685): W + scale B A.

A [r, in] starts from a Kaiming-uniform draw, B [out, r] from zeros, so that nothing is changed at
the start. The scale is alpha / r, or alpha / sqrt(r) with `rslora` (Kalajdzievski 2023, arXiv
2312.03732).

`LowRankLinear` is the layer of every method that trains a pair of factors. Methods that start
elsewhere (`pissa`, `olora`) keep their start, A0 and B0, and change the weight by

    delta = B A - B0 A0 = (B - B0) A + B0 (A - A0)

The second form is exactly zero at the start and has no cancellation later; it is also a LoRA of
rank 2r on the unchanged base: [B - B0 | B0] [A ; A - A0]. Over a quantized base the start is not
subtracted by the layer: it was taken from the weight before it was quantized (`residual`).
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from eyas.adapters.base import AdaptedLinear, Frozen
from eyas.adapters.residual import Factors
from eyas.config import check_at_least_1
from eyas.models.products import product_type
from eyas.quant import Quantizer


class LowRankLinear(AdaptedLinear):
    """A linear changed by two factors, from where they started."""

    lora_A0: Tensor | None
    lora_B0: Tensor | None
    residual_A: Tensor | None
    residual_B: Tensor | None

    def __init__(
        self,
        base: Frozen,
        factors: Factors,
        start: Factors | None = None,
        made_with: Factors | None = None,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        """start: A0, B0, where not B0 = 0. made_with: what was taken from a quantized base."""
        super().__init__(base)
        # Contiguous, as a file gives them back: another layout sums in another order.
        self.lora_A, self.lora_B = (
            nn.Parameter(factor.clone(memory_format=torch.contiguous_format)) for factor in factors
        )
        for name, pair in (("lora_{}0", start), ("residual_{}", made_with)):
            for letter, factor in zip("AB", pair or (None, None), strict=True):
                kept = None if factor is None else factor.contiguous()
                self.register_buffer(name.format(letter), kept)
        self.scale, self.dropout = scale, dropout

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "LowRankLinear":
        """Over a quantized base no step reads where the factors started: it stays on the CPU."""
        stays = self.unread()
        self._buffers.update(dict.fromkeys(stays))
        super()._apply(fn, recurse)
        self._buffers.update(
            {k: b if b is None or b.is_meta else b.cpu() for k, b in stays.items()}
        )
        return self

    def unread(self) -> dict[str, Tensor | None]:
        """The tensors that no step reads, which wait in main memory."""
        return dict(self._buffers) if self.residual_A is not None else {}

    def delta(self) -> Float[Tensor, "O I"]:
        up, down = (factor.detach() for factor in self._factors())
        return self.scale * (up @ down)

    def moved(self) -> Float[Tensor, "O I"]:
        up, down = (factor.detach() for factor in self.difference())
        return self.scale * (up @ down)

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """base(x) + change(x), added by the product that gives the change."""
        out: Tensor = self.base(x)
        rows = F.dropout(x, self.dropout, self.training).flatten(0, -2)
        start = (None, None) if self.residual_A is not None else (self.lora_A0, self.lora_B0)
        factors = self.lora_A, self.lora_B, *start
        both: Tensor = _Added.apply(out.flatten(0, -2), rows, self.scale, product_type(x), *factors)
        return both.view_as(out)

    def change(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        up, down = self._factors()
        x = F.dropout(x, self.dropout, self.training)
        return self.scale * F.linear(F.linear(x, down.to(x.dtype)), up.to(x.dtype))

    def difference(self) -> tuple[Float[Tensor, "O S"], Float[Tensor, "S I"]]:
        """up, down: a LoRA of what training changed; of rank r, or 2r where the start is not 0."""
        A, B = self.lora_A, self.lora_B
        if self.lora_A0 is None or self.lora_B0 is None:
            return B, A
        A0, B0 = self.lora_A0.to(A), self.lora_B0.to(B)
        return torch.cat((B - B0, B0), 1), torch.cat((A, A - A0))

    def _factors(self) -> tuple[Float[Tensor, "O S"], Float[Tensor, "S I"]]:
        """up, down with delta = scale up down."""
        absorbed = self.residual_A is not None
        return (self.lora_B, self.lora_A) if absorbed else self.difference()


class _Added(torch.autograd.Function):
    """base + scale x (B A - B0 A0)^T, for base [T, O] and x [T, I].

    The two terms that the change is (see above) are one product there and one back, of rank 2r;
    but of the gradients of A and B each is one of rank r:

        dB = scale dy^T (x A^T)        dA = scale (dy B)^T x
    """

    @staticmethod
    def forward(
        ctx: Any,
        base: Tensor,
        x: Tensor,
        scale: float,
        dtype: torch.dtype,
        A: Tensor,
        B: Tensor,
        A0: Tensor | None,
        B0: Tensor | None,
    ) -> Tensor:
        factors = A, B
        if A0 is not None and B0 is not None:
            factors = torch.cat((A, A - A0.to(A))), torch.cat((B - B0.to(B), B0.to(B)), 1)
        down, up = (factor.to(dtype) for factor in factors)
        x_ = x.to(dtype)
        inner = x_ @ down.mT
        ctx.save_for_backward(x_, inner[:, : len(A)].contiguous(), down, up)
        ctx.scale, ctx.types = scale, (x.dtype, A.dtype)
        if dtype == base.dtype:
            return torch.addmm(base, inner, up.mT, alpha=scale)
        return torch.add(base, inner @ up.mT, alpha=scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, inner, down, up = ctx.saved_tensors
        dtype, of_factors = ctx.types
        rank = inner.shape[1]
        scaled = grad.to(x.dtype) if ctx.scale == 1 else (grad * ctx.scale).to(x.dtype)
        ahead = scaled @ up
        d_x = (ahead @ down).to(dtype) if ctx.needs_input_grad[1] else None
        of_B = ahead if ahead.shape[1] == rank else ahead[:, :rank] + ahead[:, rank:]
        d_A, d_B = of_B.mT @ x, scaled.mT @ inner
        return grad, d_x, None, None, d_A.to(of_factors), d_B.to(of_factors), None, None


@dataclass(frozen=True)
class LoRA:
    """Low-rank adaptation."""

    rank: Annotated[int, "rank of the factors"] = 32
    alpha: Annotated[float | None, "the change is scaled by alpha / rank; default: the rank"] = None
    dropout: Annotated[float, "share of the layer's input dropped while training, 0 to 1"] = 0.0
    rslora: Annotated[bool, "scale by alpha / sqrt(rank) instead"] = False

    name: ClassVar[str] = "lora"
    learning_rate: ClassVar[float] = 5e-5

    def __post_init__(self) -> None:
        check_at_least_1(self, "rank")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout} must be at least 0 and below 1")
        if self.alpha is not None and not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha = {self.alpha} must be a finite number above 0")

    @property
    def scale(self) -> float:
        if self.alpha is None and not self.rslora:
            return 1.0
        alpha = self.rank if self.alpha is None else self.alpha
        return alpha / (math.sqrt(self.rank) if self.rslora else self.rank)

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,
        quantizer: Quantizer | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        rows, columns = weight.shape
        check_rank(self.rank, rows, columns)
        A = torch.empty(self.rank, columns)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=generator)
        return {"lora_A": A, "lora_B": torch.zeros(rows, self.rank)}

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> LowRankLinear:
        factors = tensors["lora_A"], tensors["lora_B"]
        return LowRankLinear(base, factors, scale=self.scale, dropout=self.dropout)


def starting_at(start: Factors, made_with: Factors | None = None) -> dict[str, Tensor]:
    """The tensors of a layer whose factors start at A0, B0; see `LowRankLinear`."""
    (A0, B0), tensors = start, {}
    if made_with:
        tensors = {"residual_A": made_with[0], "residual_B": made_with[1]}
    return {"lora_A": A0, "lora_B": B0, "lora_A0": A0, "lora_B0": B0, **tensors}


def layer_with_start(base: Frozen, tensors: Mapping[str, Tensor]) -> LowRankLinear:
    """The layer of the tensors that `starting_at` gave."""
    made_with = None
    if "residual_A" in tensors:
        made_with = tensors["residual_A"], tensors["residual_B"]
    factors = tensors["lora_A"], tensors["lora_B"]
    return LowRankLinear(base, factors, (tensors["lora_A0"], tensors["lora_B0"]), made_with)


def check_rank(rank: int, rows: int, columns: int) -> None:
    """Raises ValueError where a matrix [rows, columns] has no factors of that rank."""
    if rank > min(rows, columns):
        raise ValueError(
            f"rank {rank} is larger than the matrix [{rows}, {columns}] allows; "
            f"take --rank {min(rows, columns)} or less"
        )
