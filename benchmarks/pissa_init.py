"""How close and how fast PiSSA's initialization is, beside what else users have.

    python benchmarks/pissa_init.py [--ranks 32 128] [--repeats 3] [--threads 1] [--out FILE]

The optimum is the exact truncation (Eckart and Young). For the power laws it is known, because the
matrix is made from its singular values and random orthogonal factors; for the flat spectrum
(independent normal entries) it comes from the eigenvalues of W W^T. By it,

    excess  = |W - W_r| / |W - optimum| - 1              (of the residual)
    deficit = 1 - (|W|^2 - |W - W_r|^2) / (|W|^2 - |W - optimum|^2)       (of the captured energy)

The worst of the repeats is shown, each with its own seed, and the median time. HF peft also forms
the residual in its time. Exact decompositions are run once, at the first rank.
"""

import argparse
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from report import Row, alternate, save, show
from torch import Tensor, nn

from eyas.adapters.svd import principal_part

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from peft import LoraConfig, get_peft_model

SHAPES = [(2560, 2560), (2560, 8960), (4096, 14336)]
EXACT = 2560 * 2560  # entries up to which the exact decomposition is run
POWERS = {"i^-0.5": -0.5, "i^-1": -1.0}
PEER = "svd_lowrank, niter 4"
MODEL_7B = {(4096, 4096): 4 * 32, (4096, 16384): 2 * 32}  # RWKV-7 L32 C4096: count by shape

Factors = tuple[Tensor, Tensor]  # [O, R], [R, I]
Method = Callable[[int], Factors]  # by seed


@dataclass(frozen=True)
class Case:
    """A matrix and its squared singular values."""

    spectrum: str
    weight: Tensor
    squares: Tensor

    def errors(self, factors: Factors) -> tuple[float, float]:
        """Excess and deficit."""
        rank = factors[0].shape[1]
        captured = self.squares[:rank].sum().item()
        least = squared_norm(self.weight) - captured
        left = squared_norm(self.weight - factors[0] @ factors[1])
        return (left / least) ** 0.5 - 1, (left - least) / captured


def squared_norm(matrix: Tensor) -> float:
    return torch.linalg.vector_norm(matrix, dtype=torch.float64).item() ** 2


def cases(rows: int, columns: int) -> Iterator[Case]:
    generator = torch.Generator().manual_seed(0)
    normal = [torch.randn(n, rows, generator=generator) for n in (rows, columns)]
    U, V = (torch.linalg.qr(draws)[0] for draws in normal)
    for name, power in POWERS.items():
        S = torch.arange(1, rows + 1, dtype=torch.float64) ** power
        yield Case(name, (U * S.float()) @ V.mT, S**2)
    weight = torch.randn(rows, columns, generator=generator)
    yield Case("flat", weight, torch.linalg.eigvalsh(weight @ weight.mT).flip(0).double())


def quick(weight: Tensor, rank: int) -> dict[str, Method]:
    return {
        PEER: lambda seed: lowrank(weight, rank, 4, seed),
        "HF peft, pissa_niter_4": lambda seed: peft(weight, rank, seed),
        "eyas": lambda seed: eyas(weight, rank, seed),
    }


def slow(weight: Tensor, rank: int, with_exact: bool) -> dict[str, Method]:
    known: dict[str, Method] = {
        "svd_lowrank, niter 16": lambda seed: lowrank(weight, rank, 16, seed)
    }
    return known | ({"exact SVD": lambda _: exact(weight, rank)} if with_exact else {})


def lowrank(weight: Tensor, rank: int, niter: int, seed: int) -> Factors:
    torch.manual_seed(seed)
    U, S, V = torch.svd_lowrank(weight, q=rank, niter=niter)
    return U * S, V.mT


def exact(weight: Tensor, rank: int) -> Factors:
    U, S, Vh = torch.linalg.svd(weight, full_matrices=False)
    return U[:, :rank] * S[:rank], Vh[:rank]


def peft(weight: Tensor, rank: int, seed: int) -> Factors:
    torch.manual_seed(seed)
    linear = nn.Linear(*weight.shape[::-1], bias=False, device="meta")
    linear.weight = nn.Parameter(weight, requires_grad=False)
    config = LoraConfig(
        r=rank, lora_alpha=rank, target_modules=["0"], init_lora_weights="pissa_niter_4"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer = get_peft_model(nn.Sequential(linear), config).base_model.model[0]
    return layer.lora_B["default"].weight.detach(), layer.lora_A["default"].weight.detach()


def eyas(weight: Tensor, rank: int, seed: int) -> Factors:
    U, S, V = principal_part(weight, rank, None, torch.Generator().manual_seed(seed))
    return U * S, V.mT


def compare(case: Case, rank: int, repeats: int, threads: int, with_exact: bool) -> list[Row]:
    taken = alternate(quick(case.weight, rank), repeats, threads)
    taken |= alternate(slow(case.weight, rank, with_exact), 1, threads)
    rows: list[Row] = []
    for name, timed in taken.items():
        excess, deficit = map(max, zip(*(case.errors(r) for r in timed.results), strict=True))
        rows.append(
            {
                "spectrum": case.spectrum,
                "rank": rank,
                "method": name,
                "excess_percent": round(100 * excess, 4),
                "deficit": float(f"{deficit:.2g}"),
                "seconds": round(timed.seconds, 4),
                "times_niter_4": round(timed.seconds / taken[PEER].seconds, 2),
            }
        )
    return rows


def table(shape: tuple[int, int], ranks: list[int], repeats: int, threads: int) -> list[Row]:
    rows = [
        row
        for case in cases(*shape)
        for rank in ranks
        for row in compare(
            case, rank, repeats, threads, case.weight.numel() <= EXACT and rank == ranks[0]
        )
    ]
    show(f"PiSSA initialization of {shape[0]} x {shape[1]}", rows)
    return rows


def whole_model(ranks: list[int], repeats: int, threads: int, exact_seconds: float) -> list[Row]:
    """Seconds for all matrices of a 7B model: of one of each shape, times their number."""
    totals: dict[tuple[int, str], float] = {}
    for shape, count in MODEL_7B.items():
        weight = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
        for rank in ranks:
            for name, timed in alternate(quick(weight, rank), repeats, threads).items():
                totals[rank, name] = totals.get((rank, name), 0.0) + count * timed.seconds
        scale = shape[0] ** 2 * shape[1] / EXACT**1.5
        for rank in ranks:
            name = "exact SVD, scaled by rows^2 x columns"
            totals[rank, name] = totals.get((rank, name), 0.0) + count * scale * exact_seconds
    return [
        {"rank": rank, "method": name, "seconds": round(seconds, 1)}
        for (rank, name), seconds in sorted(totals.items(), key=lambda item: item[0][0])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ranks", type=int, nargs="+", default=[32, 128])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/pissa_init.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    tables = {
        f"{m}x{n}": table((m, n), given.ranks, given.repeats, given.threads) for m, n in SHAPES
    }
    exact_seconds = min(
        float(str(row["seconds"]))
        for rows in tables.values()
        for row in rows
        if row["method"] == "exact SVD"
    )
    total = whole_model(given.ranks, given.repeats, given.threads, exact_seconds)
    show("All matrices of a 7B RWKV-7, seconds", total)
    save(given.out, given.threads, repeats=given.repeats, matrices=tables, model_7b=total)


if __name__ == "__main__":
    main()
