"""Products of matrices as a training step makes them: by type and library.

python benchmarks/products.py [--threads N] [--repeats N] [--out FILE.json]

MKL is what PyTorch takes for float32 by itself, oneDNN what eyas chooses on AMD's processors
(`eyas.models.products`), bfloat16 what `--precision bf16` multiplies in. 512 tokens of a 0.1B
model; y = x W^T going forward, dx = dy W coming back. The error is that of y, relative.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import torch
from report import Row, alternate, save, show
from torch import Tensor
from torch.nn import functional as F

TOKENS = 512
LINEARS = {
    "key of the time mix": (768, 768),
    "key of the channel mix": (3072, 768),
    "value of the channel mix": (768, 3072),
    "rank 64": (64, 768),
    "head": (65536, 768),
}


def with_float32_as(precision: str, product: Callable[[], Tensor]) -> Callable[[int], Tensor]:
    def run(_: int) -> Tensor:
        torch.set_float32_matmul_precision(precision)
        found = product()
        torch.set_float32_matmul_precision("highest")
        return found

    return run


def measured(name: str, repeats: int, threads: int) -> list[Row]:
    rows, columns = LINEARS[name]
    g = torch.Generator().manual_seed(0)
    x, dy = (torch.randn(TOKENS, n, generator=g) for n in (columns, rows))
    weight = torch.randn(rows, columns, generator=g) / columns**0.5
    x16, dy16, weight16 = (t.bfloat16() for t in (x, dy, weight))
    few = slice(0, 64)
    exact = x[few].double() @ weight.double().mT
    ways = {
        "float32, MKL": ("highest", x, dy, weight),
        "float32, oneDNN": ("medium", x, dy, weight),
        "bfloat16": ("highest", x16, dy16, weight16),
    }
    found: list[dict[str, object]] = []
    for way, (precision, x_, dy_, weight_) in ways.items():
        runs = {
            "y": with_float32_as(precision, lambda a=x_, w=weight_: F.linear(a, w)),
            "dx": with_float32_as(precision, lambda a=dy_, w=weight_: a @ w),
        }
        for run in runs.values():
            run(0)
        timed = alternate(runs, repeats, threads)
        error = (timed["y"].results[0][few].double() - exact).norm() / exact.norm()
        row: dict[str, object] = {"product": name, "way": way, "error": error.item()}
        for form, result in timed.items():
            row[f"{form} Gflop/s"] = 2e-9 * TOKENS * rows * columns / result.seconds
        found.append(row)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/products.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [row for name in LINEARS for row in measured(name, given.repeats, given.threads)]
    show("products of matrices", rows)
    save(given.out, given.threads, rows=rows)


if __name__ == "__main__":
    main()
