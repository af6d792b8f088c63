"""PiSSA (Meng et al. 2024, arXiv 2404.02948): train a weight's principal part.

    W = U S V^T        B0 = U_r sqrt(S_r)        A0 = sqrt(S_r) V_r^T
    y = (W - B0 A0) x + B A x                    with B, A starting from B0, A0

The residual W - B0 A0 is not stored here: y = W x + (B A - B0 A0) x is the same function with
W left as it is, exact at the start whatever type W is stored in (see `lora`). Where the base is
quantized it is the residual that is (QPiSSA, see `residual`). Two decompositions with different
seeds differ, so A0 and B0 belong to the adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.adapters.base import Frozen
from eyas.adapters.lora import LowRankLinear, check_rank, layer_with_start, starting_at
from eyas.adapters.residual import Factors, alternate
from eyas.adapters.svd import principal_part
from eyas.config import check_at_least_1
from eyas.quant import Quantizer


@dataclass(frozen=True)
class PiSSA:
    """Principal singular values and vectors adaptation."""

    rank: Annotated[int, "rank of the factors"] = 32
    svd_niter: Annotated[
        int | None, "iterations of torch.svd_lowrank; default: block Lanczos, closer at equal time"
    ] = None
    quant_iterations: Annotated[int, "rounds that fit factors and quantized base together"] = 5

    name: ClassVar[str] = "pissa"
    learning_rate: ClassVar[float] = 2e-5

    def __post_init__(self) -> None:
        check_at_least_1(self, "rank", "quant_iterations")
        if self.svd_niter is not None and self.svd_niter < 0:
            raise ValueError(f"svd_niter = {self.svd_niter} must not be negative")

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,
        quantizer: Quantizer | None = None,
    ) -> dict[str, Tensor]:
        """A0, B0 of the weight's principal part, or fitted to a quantized base (`alternate`)."""
        check_rank(self.rank, *weight.shape)

        def principal(matrix: Tensor) -> Factors:
            return principal_factors(matrix, self.rank, self.svd_niter, generator)

        first = principal(weight)
        if quantizer is None:
            return starting_at(first)
        return starting_at(*alternate(weight, quantizer, self.quant_iterations, principal, first))

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> LowRankLinear:
        return layer_with_start(base, tensors)


def principal_factors(
    weight: Float[Tensor, "O I"], rank: int, niter: int | None, generator: torch.Generator
) -> Factors:
    """A0, B0: the principal part of that rank, its singular values shared between both."""
    U, S, V = principal_part(weight, rank, niter, generator)
    root = S.sqrt()
    return (V * root).mT.contiguous(), (U * root).contiguous()
