"""LoftQ (Li et al. 2023, arXiv 2310.08659): a LoRA that makes good what quantization lost.

    Q = quantize(W - B A)  and  (A, B) = the principal part of W - dequantize(Q)    in turn

as QPiSSA, but starting from A = B = 0: the base keeps its principal part, and the factors start
from the error of the codes (see `residual`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.adapters.base import Frozen
from eyas.adapters.lora import LowRankLinear, check_rank, layer_with_start, starting_at
from eyas.adapters.pissa import principal_factors
from eyas.adapters.residual import Factors, alternate
from eyas.config import check_at_least_1
from eyas.quant import Quantizer


@dataclass(frozen=True)
class LoftQ:
    """LoRA-fine-tuning-aware quantization."""

    rank: Annotated[int, "rank of the factors"] = 32
    quant_iterations: Annotated[int, "rounds that fit factors and quantized base together"] = 5

    name: ClassVar[str] = "loftq"
    learning_rate: ClassVar[float] = 5e-5

    def __post_init__(self) -> None:
        check_at_least_1(self, "rank", "quant_iterations")

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,
        quantizer: Quantizer | None = None,
    ) -> dict[str, Tensor]:
        """A0, B0 of the quantization's error. Raises ValueError without a quantizer."""
        rows, columns = weight.shape
        check_rank(self.rank, rows, columns)
        if quantizer is None:
            raise ValueError("it fits a quantized base; add --quant nf4, or take another method")

        def principal(matrix: Tensor) -> Factors:
            return principal_factors(matrix, self.rank, None, generator)

        nothing = weight.new_zeros(self.rank, columns), weight.new_zeros(rows, self.rank)
        return starting_at(*alternate(weight, quantizer, self.quant_iterations, principal, nothing))

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> LowRankLinear:
        return layer_with_start(base, tensors)
