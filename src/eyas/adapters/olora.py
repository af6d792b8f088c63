"""OLoRA (Büyükakyüz 2024, arXiv 2406.01775): LoRA from an orthonormal start.

    W = Q R        B0 = Q[:, :r]        A0 = R[:r]
    y = (W - B0 A0) x + B A x

As PiSSA with another choice of A0 and B0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.adapters.base import Frozen
from eyas.adapters.lora import LowRankLinear, check_rank, layer_with_start, starting_at
from eyas.adapters.residual import stored
from eyas.config import check_at_least_1
from eyas.quant import Quantizer


@dataclass(frozen=True)
class OLoRA:
    """Orthonormal low-rank adaptation."""

    rank: Annotated[int, "rank of the factors"] = 32

    name: ClassVar[str] = "olora"
    learning_rate: ClassVar[float] = 2e-5

    def __post_init__(self) -> None:
        check_at_least_1(self, "rank")

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,  # noqa: ARG002
        quantizer: Quantizer | None = None,
    ) -> dict[str, Tensor]:
        """A0, B0 of the QR decomposition; over a quantized base those that were subtracted."""
        check_rank(self.rank, *weight.shape)
        # The first r columns of Q are those of the first r columns of W alone.
        B0: Tensor = torch.linalg.qr(weight[:, : self.rank])[0]
        A0 = B0.mT @ weight
        if quantizer is None:
            return starting_at((A0, B0))
        made_with = stored((A0, B0))
        return starting_at((made_with[0].to(weight), made_with[1].to(weight)), made_with)

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> LowRankLinear:
        return layer_with_start(base, tensors)
