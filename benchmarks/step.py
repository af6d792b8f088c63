"""A PiSSA step beside the peer's and beside the limit: tokens/s, peak memory, share of GEMM peak.

python benchmarks/step.py [--short] [--rounds N] [--steps N] [--threads N] [--out FILE.json]

Random models, PiSSA of rank 32, batch 1, float32 arithmetic but in the row of bf16 products
(`--precision bf16`; sums and all else in float32). Every contender runs in a process of its own
(`step_contender.py`), whose peak memory counts; they take turns, and medians are over all steps but
each process's first. The peers:

- RWKV-7: `rwkv7-hf` with HF peft's `pissa_niter_4`, on the very same weights, which
  `eyas export --to hf` writes; in float32, which the ratios are to, and in bf16 by autocast.
- RWKV-6: no package trains it on a CPU; here it is the papers' loop in PyTorch with dense logits.

The limit is the product of two float32 matrices of 2048 x 2048 by the faster library, timed in
eyas's process before and after its steps. The share of it is what a step's matrix products would
take at that speed, over what the step takes; the operator and all elementwise work are not in it.

Targets, of the float32 base: 6 times the tokens/s at a fifth of the memory and 0.85 of the limit
at 0.1B; 25 times the tokens/s of the small model. --short: the small model only.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

import torch
from report import save, show

from eyas.models import Shape, create

PROGRAM = Path(__file__).with_name("step_contender.py")
SHAPES = {
    "x070 small": Shape("x070", 6, 256, 4, 1024, 256, {"w": 32, "a": 32, "v": 16, "g": 32}),
    "x070 0.1B": Shape("x070", 12, 768, 12, 3072, 65536, {"w": 64, "a": 64, "v": 32, "g": 128}),
    "x060 0.1B": Shape("x060", 12, 768, 12, 2688, 65536, {"mix": 32, "decay": 64}),
}
PEERS = {
    "x070": ["rwkv7-hf + peft", "rwkv7-hf + peft, bf16 autocast"],
    "x060": ["loop in PyTorch"],
}
OURS: dict[str, dict[str, dict[str, object]]] = {
    "eyas, fp32 base": {"frozen": {"storage": "fp32"}},
    "eyas, bf16 base": {"frozen": {"storage": "bf16"}},
    "eyas, bf16 base, bf16 products": {
        "frozen": {"storage": "bf16"},
        "run": {"precision": "bf16"},
    },
    "eyas, bf16 base, recompute": {"frozen": {"storage": "bf16"}, "loop": {"recompute": True}},
    "eyas, int8 base, recompute": {"frozen": {"quant": "int8"}, "loop": {"recompute": True}},
    "eyas, nf4 base, recompute": {"frozen": {"quant": "nf4"}, "loop": {"recompute": True}},
}


def contest(name: str, ctx: int, rounds: int, steps: int, threads: int) -> list[dict[str, object]]:
    shape = SHAPES[name]
    peers = PEERS[shape.version]
    few = max(1, steps // 4)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        weights = create(shape, 0).state_dict()
        torch.save(weights, folder / "model.pth")
        (folder / "data.txt").write_text("the quick brown fox jumps over the lazy dog. " * ctx)
        if shape.version == "x070":
            command = [sys.executable, "-m", "eyas", "export", folder / "model.pth", "--to", "hf"]
            subprocess.run([*command, "--dtype", "fp32", "--out", folder / "hf"], check=True)
        runs: dict[str, list[dict[str, float]]] = {}
        for _ in range(rounds):
            for who in (*peers, *OURS):
                count = few if who in peers else steps
                runs.setdefault(who, []).append(one(folder, who, ctx, count, threads))
    rows: list[dict[str, object]] = []
    for who, found in runs.items():
        seconds = median(s for run in found for s in run["seconds"])  # type: ignore[attr-defined]
        row: dict[str, object] = {"model": name, "contender": who, "seconds": seconds}
        row |= {"tokens/s": ctx / seconds, "peak MiB": max(run["peak_mib"] for run in found)}
        row["GEMM share"] = None
        if "flops" in found[0]:
            limit = median(run["gemm"] for run in found)
            row["GEMM share"] = found[0]["flops"] / seconds / limit
        rows.append(row)
    for row in rows:
        row["times the speed"] = rows[0]["seconds"] / row["seconds"]  # type: ignore[operator]
        row["part of the memory"] = row["peak MiB"] / rows[0]["peak MiB"]  # type: ignore[operator]
    return rows


def one(folder: Path, who: str, ctx: int, steps: int, threads: int) -> dict[str, float]:
    settings = json.dumps(OURS[who]) if who in OURS else who
    command = [sys.executable, str(PROGRAM), str(folder), settings, str(ctx), str(steps)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/step.json"))
    given = parser.parse_args()
    names = list(SHAPES)[:1] if given.short else list(SHAPES)
    rows = []
    for name in names:
        found = contest(name, given.ctx, given.rounds, given.steps, given.threads)
        show(f"{name}, ctx {given.ctx}", found)
        rows += found
    save(given.out, given.threads, ctx=given.ctx, rows=rows)


if __name__ == "__main__":
    main()
