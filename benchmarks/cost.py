"""What each method costs over each base: trained parameters, memory and time of a step.

python benchmarks/cost.py [--steps N] [--ctx N] [--out FILE.json] [--threads N]

A random model of RWKV-7's 0.1B shape, batch 1. Each pair runs in a process of its own, whose peak
memory counts; time is that of the fastest step (others may share the machine), beside LoRA's over
the plain base in the same run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from report import save, show

from eyas.models import Shape, create
from eyas.run import prepare, train
from eyas.settings import run_from_mapping
from eyas.training.events import Step

SHAPE = Shape("x070", 12, 768, 12, 3072, 65536, {"w": 64, "a": 64, "v": 32, "g": 128})
PAIRS = [
    *(("none", name) for name in ("lora", "pissa", "olora", "miss", "bat", "state", "full")),
    *(("int8", name) for name in ("lora", "pissa", "miss")),
    *(("nf4", name) for name in ("lora", "pissa", "loftq", "miss", "state")),
]


def measured(folder: Path, quant: str, method: str, ctx: int, steps: int) -> dict[str, float]:
    """Trains a few steps in this process."""
    values = {
        "model": str(folder / "model.pth"),
        "data": str(folder / "data.txt"),
        "out": str(folder / f"{method}-{quant}"),
        "method": {"name": method},
        "frozen": {"quant": quant},
        "batch": {"ctx": ctx, "micro_batch": 1},
        "loop": {"steps": steps, "save_every": steps},
    }
    prepared = prepare(run_from_mapping(values, "benchmark"))
    taken = [event for event in train(prepared) if isinstance(event, Step)]
    trained = sum(p.numel() for p in prepared.model.parameters() if p.requires_grad)
    return {
        "trained": trained,
        "seconds": min(step.seconds for step in taken[1:]),
        "peak_mib": taken[-1].peak_bytes / 2**20,
        "adapter_mib": (prepared.out / "adapter.safetensors").stat().st_size / 2**20,
    }


def in_processes(folder: Path, ctx: int, steps: int, threads: int) -> Iterator[dict[str, object]]:
    torch.save({k: t.bfloat16() for k, t in create(SHAPE, 0).state_dict().items()},
               folder / "model.pth")  # fmt: skip
    (folder / "data.txt").write_text("the quick brown fox jumps over the lazy dog. " * ctx * 4)
    for quant, method in PAIRS:
        command = [sys.executable, __file__, "--one", str(folder), quant, method]
        limits = ["--ctx", str(ctx), "--steps", str(steps)]
        done = subprocess.run(
            command + limits,
            check=True,
            stdout=subprocess.PIPE,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
        )
        yield {"method": method, "base": quant, **json.loads(done.stdout)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--one", nargs=3, metavar=("FOLDER", "QUANT", "METHOD"))
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--ctx", type=int, default=512)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/cost.json"))
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    given = parser.parse_args()
    if given.one:
        folder, quant, method = given.one
        print(json.dumps(measured(Path(folder), quant, method, given.ctx, given.steps)))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = list(in_processes(Path(folder), given.ctx, given.steps, given.threads))
    for row in rows:
        row["time_over_lora"] = row["seconds"] / rows[0]["seconds"]
    show(f"RWKV-7 0.1B, ctx {given.ctx}", rows)
    save(given.out, given.threads, ctx=given.ctx, rows=rows)


if __name__ == "__main__":
    main()
