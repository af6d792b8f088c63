"""LoRA (Hu et al. 2021): W + (alpha / r) B A.

A [r, in] starts from a Kaiming-uniform draw, B [out, r] from zeros, so that nothing is changed at
the start.

`LowRankLinear` is the layer of every method that trains a pair of factors. Methods that start
elsewhere (`adapters.pissa`) keep their start, A0 and B0, and change the weight by

    delta = B A - B0 A0 = (B - B0) A + B0 (A - A0)

The second form is exactly zero at the start and has no cancellation later; it is also a LoRA of
rank 2r on the unchanged base: [B - B0 | B0] [A ; A - A0].
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.adapters.base import AdaptedLinear, attach_layers, restore_layers
from eyas.models import Linear, Model


class LowRankLinear(AdaptedLinear):
    """A linear changed by two factors, from where they started."""

    lora_A0: Tensor | None
    lora_B0: Tensor | None

    def __init__(
        self,
        base: Linear,
        A: Float[Tensor, "R I"],
        B: Float[Tensor, "O R"],
        start: tuple[Float[Tensor, "R I"], Float[Tensor, "O R"]] | None = None,
        scale: float = 1.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(base)
        self.lora_A, self.lora_B = nn.Parameter(A.clone()), nn.Parameter(B.clone())
        A0, B0 = start or (None, None)
        self.register_buffer("lora_A0", A0)
        self.register_buffer("lora_B0", B0)
        self.scale, self.dropout = scale, dropout

    def delta(self) -> Float[Tensor, "O I"]:
        up, down = (factor.detach() for factor in self._factors())
        return self.scale * (up @ down)

    def change(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        up, down = self._factors()
        inner = F.linear(F.dropout(x, self.dropout, self.training), down.to(x.dtype))
        out = F.linear(inner, up.to(x.dtype))
        return out if self.scale == 1 else self.scale * out

    def _factors(self) -> tuple[Float[Tensor, "O S"], Float[Tensor, "S I"]]:
        """up, down with delta = up down: of rank r, or 2r where the start is not zero."""
        A, B = self.lora_A, self.lora_B
        if self.lora_A0 is None or self.lora_B0 is None:
            return B, A
        return torch.cat((B - self.lora_B0, self.lora_B0), 1), torch.cat((A, A - self.lora_A0))


@dataclass(frozen=True)
class LoRA:
    """Low-rank adaptation."""

    rank: Annotated[int, "rank of the factors"] = 32
    alpha: Annotated[float | None, "the change is scaled by alpha / rank; default: the rank"] = None
    dropout: Annotated[float, "share of the layer's input dropped while training, 0 to 1"] = 0.0

    name: ClassVar[str] = "lora"
    learning_rate: ClassVar[float] = 5e-5

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank = {self.rank} must be at least 1")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout = {self.dropout} must be at least 0 and below 1")

    def attach(self, model: Model, generator: torch.Generator) -> None:
        attach_layers(model, self, generator)

    def restore(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        restore_layers(model, self, tensors)

    def start(self, weight: Float[Tensor, "O I"], generator: torch.Generator) -> dict[str, Tensor]:
        rows, columns = weight.shape
        check_rank(self.rank, rows, columns)
        A = torch.empty(self.rank, columns)
        nn.init.kaiming_uniform_(A, a=math.sqrt(5), generator=generator)
        return {"lora_A": A, "lora_B": torch.zeros(rows, self.rank)}

    def layer(self, base: Linear, tensors: Mapping[str, Tensor]) -> LowRankLinear:
        scale = 1.0 if self.alpha is None else self.alpha / self.rank
        A, B = tensors["lora_A"], tensors["lora_B"]
        return LowRankLinear(base, A, B, scale=scale, dropout=self.dropout)


def check_rank(rank: int, rows: int, columns: int) -> None:
    """Raises ValueError where a matrix [rows, columns] has no factors of that rank."""
    if rank > min(rows, columns):
        raise ValueError(
            f"rank {rank} is larger than the matrix [{rows}, {columns}] allows; "
            f"take --rank {min(rows, columns)} or less"
        )
