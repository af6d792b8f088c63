"""PiSSA (Meng et al. 2024, arXiv 2404.02948): train a weight's principal part.

    W = U S V^T        B0 = U_r sqrt(S_r)        A0 = sqrt(S_r) V_r^T
    y = (W - B0 A0) x + B A x                    with B, A starting from B0, A0

The residual W - B0 A0 is not stored here: y = W x + (B A - B0 A0) x is the same function with
W left as it is, exact at the start whatever type W is stored in (see `adapters.lora`). Two
decompositions with different seeds differ, so A0 and B0 belong to the adapter.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.adapters.base import attach_layers, restore_layers
from eyas.adapters.lora import LowRankLinear, check_rank
from eyas.models import Linear, Model

_OVERSAMPLE, _KRYLOV_STEPS = 8, 3


@dataclass(frozen=True)
class PiSSA:
    """Principal singular values and vectors adaptation."""

    rank: Annotated[int, "rank of the trained principal part"] = 32
    svd_niter: Annotated[
        int | None, "iterations of torch.svd_lowrank; default: block Krylov, closer at equal time"
    ] = None

    name: ClassVar[str] = "pissa"
    learning_rate: ClassVar[float] = 2e-5

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank = {self.rank} must be at least 1")
        if self.svd_niter is not None and self.svd_niter < 0:
            raise ValueError(f"svd_niter = {self.svd_niter} must not be negative")

    def attach(self, model: Model, generator: torch.Generator) -> None:
        attach_layers(model, self, generator)

    def restore(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        restore_layers(model, self, tensors)

    def start(self, weight: Float[Tensor, "O I"], generator: torch.Generator) -> dict[str, Tensor]:
        check_rank(self.rank, *weight.shape)
        U, S, V = principal_part(weight, self.rank, self.svd_niter, generator)
        root = S.sqrt()
        A0, B0 = (V * root).mT.contiguous(), (U * root).contiguous()
        return {"lora_A": A0, "lora_B": B0, "lora_A0": A0, "lora_B0": B0}

    def layer(self, base: Linear, tensors: Mapping[str, Tensor]) -> LowRankLinear:
        start = tensors["lora_A0"], tensors["lora_B0"]
        return LowRankLinear(base, tensors["lora_A"], tensors["lora_B"], start)


def principal_part(
    weight: Float[Tensor, "O I"], rank: int, niter: int | None, generator: torch.Generator
) -> tuple[Float[Tensor, "O R"], Float[Tensor, " R"], Float[Tensor, "I R"]]:
    """U, S, V of the largest singular values, descending, in the weight's own type.

    niter: iterations of `torch.svd_lowrank` (Halko et al. 2009), or None for a randomized block
    Krylov space (Musco and Musco 2015, algorithm 2), exact where that space fills the matrix.
    """
    if niter is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(torch.randint(2**31, (), generator=generator).item())
            return torch.svd_lowrank(weight, q=rank, niter=niter)
    rows, columns = weight.shape
    if rows > columns:
        V, S, U = principal_part(weight.mT, rank, None, generator)
        return U, S, V
    block = min(rank + _OVERSAMPLE, rows)
    if block * (_KRYLOV_STEPS + 1) >= rows:
        U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
        return U[:, :rank], S[:rank], Vh[:rank].mT
    basis = [_orthonormal(weight @ torch.randn(columns, block, generator=generator).to(weight))]
    for _ in range(_KRYLOV_STEPS):
        basis.append(_orthonormal(weight @ (weight.mT @ basis[-1])))
    Q = _orthonormal(torch.cat(basis, dim=1))
    inner, S, Vh = torch.linalg.svd(Q.mT @ weight, full_matrices=False)
    return Q @ inner[:, :rank], S[:rank], Vh[:rank].mT


def _orthonormal(matrix: Tensor) -> Tensor:
    basis: Tensor = torch.linalg.qr(matrix)[0]
    return basis
