"""MiSS (Kang and Yin 2024, arXiv 2409.15371), first published as Bone, later as DiSHA.

    y = W x + D^T (x_1 + x_2 + ...)        x_b: the consecutive pieces of x, r long, 0 beyond x
    delta[o, i] = D[i mod r, o]

The pieces share one matrix D [r, out], which starts from zeros: half of LoRA's parameters at
equal rank where a matrix is square.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.adapters.base import AdaptedLinear, Frozen
from eyas.adapters.lora import check_rank
from eyas.config import check_at_least_1
from eyas.quant import Quantizer


class MissLinear(AdaptedLinear):
    """A linear changed by one matrix that all pieces of the input share."""

    def __init__(self, base: Frozen, D: Float[Tensor, "R O"]) -> None:
        super().__init__(base)
        self.miss_D = nn.Parameter(D.clone())

    def delta(self) -> Float[Tensor, "O I"]:
        D = self.miss_D.detach()
        return D[torch.arange(self.base.in_features, device=D.device) % len(D)].mT

    def change(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        D = self.miss_D.to(x.dtype)
        beyond = x.shape[-1] % len(D)  # the last piece is that long, if not 0
        whole = x[..., : x.shape[-1] - beyond].unflatten(-1, (-1, len(D)))
        inner = whole.sum(-2)
        if beyond:
            inner = inner + F.pad(x[..., -beyond:], (0, len(D) - beyond))
        out: Tensor = inner @ D
        return out


@dataclass(frozen=True)
class MiSS:
    """Matrix shard sharing."""

    rank: Annotated[int, "of miss and bat"] = 64

    name: ClassVar[str] = "miss"
    learning_rate: ClassVar[float] = 2e-5

    def __post_init__(self) -> None:
        check_at_least_1(self, "rank")

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,  # noqa: ARG002
        quantizer: Quantizer | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        check_rank(self.rank, *weight.shape)
        return {"miss_D": weight.new_zeros(self.rank, len(weight))}

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> MissLinear:
        return MissLinear(base, tensors["miss_D"])
