"""How close and how fast PiSSA's initialization is, beside what else users have.

    python benchmarks/pissa_init.py [--ranks 32 128] [--repeats 3] [--threads 1] [--out FILE]

The optimum is the exact truncation (Eckart and Young). For the power laws it is known, because the
matrix is made from its singular values and random orthogonal factors; for the flat spectrum
(independent normal entries) it comes from the eigenvalues of W W^T. By it,

    residual excess = |W - W_r| / |W - optimum| - 1
    energy deficit  = 1 - (|W|^2 - |W - W_r|^2) / (|W|^2 - |W - optimum|^2)

and the worst of the repeats is shown, each with another seed, with the median time.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from report import alternating_seconds, save, show
from torch import Tensor, nn

from eyas.adapters.svd import principal_part

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from peft import LoraConfig, get_peft_model

SHAPES = [(2560, 2560), (2560, 8960), (4096, 14336)]
EXACT_UP_TO = 2560 * 2560  # entries
SPECTRA = {"i^-0.5": -0.5, "i^-1": -1.0, "flat": None}
PEER = "svd_lowrank, niter 4"
MODEL_7B = {(4096, 4096): 4 * 32, (4096, 16384): 2 * 32}  # RWKV-7, L32 C4096: matrices by shape

Truncation = Callable[[int], Tensor]  # seed -> W - W_r


@dataclass(frozen=True)
class Case:
    """A matrix and its squared singular values as far as they are known: the largest."""

    name: str
    weight: Tensor
    squares: Tensor

    def errors(self, residual: Tensor, rank: int) -> tuple[float, float]:
        whole, left = squared_norm(self.weight), squared_norm(residual)
        captured = self.squares[:rank].sum().item()
        least = whole - captured
        return (left / least) ** 0.5 - 1, (left - least) / captured


def squared_norm(matrix: Tensor) -> float:
    return float(torch.linalg.vector_norm(matrix, dtype=torch.float64)) ** 2


def cases(rows: int, columns: int) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    U, V = (
        torch.linalg.qr(torch.randn(n, rows, generator=generator))[0] for n in (rows, columns)
    )
    for name, power in SPECTRA.items():
        if power is not None:
            S = torch.arange(1, rows + 1, dtype=torch.float64) ** power
            yield Case(name, (U * S.float()) @ V.mT, S**2)
            continue
        weight = torch.randn(rows, columns, generator=generator)
        yield Case(name, weight, torch.linalg.eigvalsh(weight @ weight.mT).flip(0).double())


def methods(weight: Tensor, rank: int) -> dict[str, Truncation]:
    """From a seed to the factors' product taken from the weight, by every method."""

    def lowrank(niter: int) -> Callable[[int], tuple[Tensor, Tensor, Tensor]]:
        def run(seed: int) -> tuple[Tensor, Tensor, Tensor]:
            torch.manual_seed(seed)
            return torch.svd_lowrank(weight, q=rank, niter=niter)

        return run

    return {}
