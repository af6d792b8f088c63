"""Time and error of the operators beside the papers' loop, forward and backward.

    python benchmarks/operators.py [--lengths 128 512 4096] [--threads 1] [--repeats 5] [--out FILE]

H 12, N 64, B 1, float32. `native` is the compiled one, with each set of instructions beyond the
baseline's that this processor has; eyas uses the last. The error is the largest of all outputs and
gradients against the loop in float64, each relative to the largest value of its tensor. RWKV-6
comes with decays of exp(-2) a token and weaker, where `chunked` has a shorter way, and with any;
RWKV-7's are all weaker.
"""

import argparse
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from unittest.mock import patch

import torch
from report import Row, alternate, save, show
from torch import Tensor
from torch.nn.functional import normalize

from eyas import wkv
from eyas.native import operators

B, H, N = 1, 12, 64
BACKENDS = {"loop": wkv.reference, "chunked": wkv.chunked}
TARGETS = operators.targets()
OPERATORS = {"wkv7": "wkv7", "wkv6, weak decay": "wkv6", "wkv6, any decay": "wkv6"}

Tensors = list[Tensor]


def inputs(name: str, length: int) -> Tensors:
    """What the operator takes, in its order, float64."""
    g = torch.Generator().manual_seed(length)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    r, k, v, x, y, z = (normal(B, length, H, N) for _ in range(6))
    state = normal(B, H, N, N)
    if name == "wkv7":
        removal = normalize(y, dim=-1)
        log_decay = -math.exp(-0.5) * x.sigmoid()
        return [r, log_decay, k, v, -removal, removal * z.sigmoid(), state]
    log_decay = -(x - 2).exp()
    if name == "wkv6, weak decay":
        log_decay = log_decay.clamp_min(-2.0)
    return [r, log_decay, k, v, normal(H, N), state]


def run(operator: Callable[..., tuple[Tensor, Tensor]], args: Tensors, _: int = 0) -> Tensors:
    """Outputs, and gradients of their sum weighted by themselves."""
    leaves = [arg.detach().requires_grad_() for arg in args]
    found = operator(*leaves)
    loss = sum(out.square().sum() for out in found)
    return [out.detach() for out in found] + list(torch.autograd.grad(loss, leaves))


def run_native(target: int, name: str, args: Tensors, _: int = 0) -> Tensors:
    with patch.object(wkv.native, "_best_target", lambda: target):
        return run(getattr(wkv.native, name), args)


def error(found: Tensors, exact: Tensors) -> float:
    pairs = zip(found, exact, strict=True)
    return max(((a.double() - b).abs().max() / b.abs().max()).item() for a, b in pairs)


def compare(name: str, length: int, repeats: int, threads: int) -> Row:
    args = inputs(name, length)
    exact = run(getattr(wkv.reference, OPERATORS[name]), args)
    narrow = [arg.float() for arg in args]
    runs = {
        backend: partial(run, getattr(module, OPERATORS[name]), narrow)
        for backend, module in BACKENDS.items()
    }
    for target in range(min(1, len(TARGETS) - 1), len(TARGETS)):
        run_it = partial(run_native, target, OPERATORS[name], narrow)
        runs[f"native_{TARGETS[target]}"] = run_it
    alternate(runs, 1, threads)  # to warm up
    taken = alternate(runs, repeats, threads)
    row: dict[str, object] = {"operator": name, "length": length}
    row |= {f"{backend}_ms": round(1000 * timed.seconds, 1) for backend, timed in taken.items()}
    native = taken[f"native_{TARGETS[-1]}"].seconds
    row["chunked_over_native"] = round(taken["chunked"].seconds / native, 2)
    row["loop_over_native"] = round(taken["loop"].seconds / native, 2)
    for backend, timed in taken.items():
        row[f"{backend}_error"] = float(f"{error(timed.results[0], exact):.2g}")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 512, 4096])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/operators.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [
        compare(name, length, given.repeats, given.threads)
        for name in OPERATORS
        for length in given.lengths
    ]
    for part in ("_ms", "_over_native", "_error"):
        columns = [name for name in rows[0] if name.endswith(part)]
        table = [{name: row[name] for name in ("operator", "length", *columns)} for row in rows]
        show(f"Operators, forward and backward, {given.threads} thread(s)", table)
    save(given.out, given.threads, repeats=given.repeats, shape={"B": B, "H": H, "N": N}, rows=rows)


if __name__ == "__main__":
    main()
