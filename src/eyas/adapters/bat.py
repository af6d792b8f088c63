"""Bat, block affine transformation (Kang 2024, arXiv 2409.15371): tiles of W changed by r x r.

    W'_ab = W_ab + W_ab D_x + D_x        W_ab: the r x r tiles of W, a along out, b along in

Two conventions are in use, and for a square matrix the shapes do not tell which: x = b, one D for
each block of the input (RWKV-PEFT), and x = a, one for each block of the output (HF peft).
With x = b the weight itself need not be touched:

    z_b = D_b x_b        y_a = sum_b W_ab (x_b + z_b) + sum_b z_b

With x = a there is no such way. The change of the weight is computed when it is used, and again in
the backward, so that no dense copy outlives the product.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import gcd
from typing import Annotated, ClassVar, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from eyas.adapters.base import AdaptedLinear, Frozen
from eyas.config import check_at_least_1
from eyas.quant import Quantizer


class BatInLinear(AdaptedLinear):
    """A linear changed by a matrix for each block of the input."""

    def __init__(self, base: Frozen, D: Float[Tensor, "K R R"]) -> None:
        super().__init__(base)
        self.bat_D = nn.Parameter(D.clone())

    def delta(self) -> Float[Tensor, "O I"]:
        D = self.bat_D.detach()
        tiles = _tiles(self.base.dense_weight().to(D), D.shape[-1])
        changed = torch.einsum("aibj,bjk->aibk", tiles, D) + D.transpose(0, 1)
        return changed.flatten(2).flatten(0, 1)

    def change(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        z = self._turned(x)
        out: Tensor = self.base(z.flatten(-2))
        return _add_to_blocks(out, z.sum(-2))

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        z = self._turned(x)
        out: Tensor = self.base(x + z.flatten(-2))
        return _add_to_blocks(out, z.sum(-2))

    def _turned(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... K R"]:
        """z, by block."""
        D = self.bat_D.to(x.dtype)
        return torch.einsum("...bk,bjk->...bj", x.unflatten(-1, (-1, D.shape[-1])), D)


class BatOutLinear(AdaptedLinear):
    """A linear changed by a matrix for each block of the output."""

    def __init__(self, base: Frozen, D: Float[Tensor, "K R R"]) -> None:
        super().__init__(base)
        self.bat_D = nn.Parameter(D.clone())

    def delta(self) -> Float[Tensor, "O I"]:
        return self._delta(self.bat_D.detach())

    def change(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        out: Tensor = checkpoint(
            self._product, x, self.bat_D, use_reentrant=False, preserve_rng_state=False
        )
        return out

    def _product(
        self, x: Float[Tensor, "... I"], D: Float[Tensor, "K R R"]
    ) -> Float[Tensor, "... O"]:
        return F.linear(x, self._delta(D.to(x.dtype)))

    def _delta(self, D: Float[Tensor, "K R R"]) -> Float[Tensor, "O I"]:
        tiles = _tiles(self.base.dense_weight().to(D), D.shape[-1])
        changed = torch.einsum("aibj,ajk->aibk", tiles, D) + D[:, :, None]
        return changed.flatten(2).flatten(0, 1)


@dataclass(frozen=True)
class Bat:
    """Block affine transformation."""

    rank: Annotated[int, "of miss and bat"] = 64
    blocks: Annotated[
        Literal["in", "out"], "one matrix for each block of the input (RWKV-PEFT) or output (peft)"
    ] = "in"

    name: ClassVar[str] = "bat"
    learning_rate: ClassVar[float] = 2e-5

    def __post_init__(self) -> None:
        check_at_least_1(self, "rank")

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,  # noqa: ARG002
        quantizer: Quantizer | None = None,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        rows, columns = weight.shape
        _check_divides(self.rank, rows, columns)
        count = (columns if self.blocks == "in" else rows) // self.rank
        return {"bat_D": weight.new_zeros(count, self.rank, self.rank)}

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> BatInLinear | BatOutLinear:
        cls = BatInLinear if self.blocks == "in" else BatOutLinear
        return cls(base, tensors["bat_D"])


def _tiles(weight: Float[Tensor, "O I"], rank: int) -> Float[Tensor, "A R B R"]:
    """The weight as [a, row, b, column]: tile (a, b) is [a, :, b, :]."""
    tiles: Tensor = weight.unflatten(1, (-1, rank)).unflatten(0, (-1, rank))
    return tiles


def _add_to_blocks(y: Float[Tensor, "... O"], piece: Float[Tensor, "... R"]) -> Tensor:
    """The piece added to each of the consecutive pieces of y."""
    blocks: Tensor = y.unflatten(-1, (-1, piece.shape[-1])) + piece[..., None, :]
    return blocks.flatten(-2)


def _check_divides(rank: int, rows: int, columns: int) -> None:
    """Raises ValueError where a matrix [rows, columns] cannot be cut in tiles of that side."""
    common = gcd(rows, columns)
    if common % rank:
        fitting = [size for size in range(1, common + 1) if common % size == 0]
        near = [max(size for size in fitting if size < rank)]
        near += [size for size in fitting if size > rank][:1]
        raise ValueError(
            f"rank {rank} does not divide both sizes of the matrix [{rows}, {columns}]; "
            f"take --rank {' or '.join(map(str, near))}"
        )
