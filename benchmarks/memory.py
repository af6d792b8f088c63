"""The memory that a run is said to need, beside what it takes.

python benchmarks/memory.py [--short] [--fit] [--out FILE.json] [--threads N]

Random models of released shapes, each configuration in a process of its own, the peak of four
steps. `predicted over measured` should lie within a tenth of 1. --short: the first five.
--fit: then also finds the numbers of `training/memory.py` for a CPU that are nearest to what was
measured, to be put there when the models or the machine's memory have changed. The last rows are
held out: they are measured and compared, and not fitted to.
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
from eyas.training.memory import Machine, Plan

V7 = {"w": 64, "a": 64, "v": 32, "g": 128}
SHAPES = {
    "v7 0.1B": Shape("x070", 12, 768, 12, 3072, 65536, V7),
    "v7 0.4B": Shape("x070", 24, 1024, 16, 4096, 65536, V7),
    "v6 0.1B": Shape("x060", 12, 768, 12, 2688, 65536, {"mix": 32, "decay": 64}),
    "v5 0.1B": Shape("x052", 12, 768, 12, 2688, 65536),
    "v7 small": Shape("x070", 6, 256, 4, 1024, 256, {"w": 32, "a": 32, "v": 16, "g": 32}),
}
Case = tuple[str, dict[str, object]]
FITTED: list[Case] = [
    ("v7 0.1B", {}),
    ("v7 0.1B", {"batch": {"ctx": 1024}, "loop": {"recompute": True}}),
    ("v7 0.1B", {"batch": {"ctx": 256, "micro_batch": 4}}),
    ("v7 0.1B", {"frozen": {"quant": "nf4", "quant_head": True}}),
    ("v7 0.1B", {"batch": {"ctx": 4096}, "loop": {"chunk": 512}}),
    ("v7 0.1B", {"method": {"name": "full"}}),
    ("v7 0.4B", {"frozen": {"quant": "int8"}, "loop": {"recompute": True}}),
    ("v6 0.1B", {}),
    ("v6 0.1B", {"loop": {"recompute": True}, "method": {"name": "lora", "rank": 64}}),
    ("v5 0.1B", {"batch": {"ctx": 512, "micro_batch": 2}}),
    ("v5 0.1B", {"method": {"name": "state"}}),
    ("v7 small", {"batch": {"ctx": 4096, "micro_batch": 2}, "loop": {"recompute": True}}),
]
HELD_OUT: list[Case] = [
    ("v7 0.1B", {"batch": {"ctx": 1024}}),
    ("v7 0.1B", {"precision": "bf16"}),
    ("v7 0.1B", {"method": {"name": "miss"}, "batch": {"ctx": 768}}),
    ("v6 0.1B", {"frozen": {"quant": "int8"}, "batch": {"ctx": 1024}}),
    ("v7 0.4B", {"loop": {"recompute": True}}),
    ("v7 small", {"batch": {"ctx": 2048}}),
    ("v7 small", {"batch": {"ctx": 3072}, "loop": {"recompute": True}}),
    ("v7 small", {"batch": {"ctx": 1024, "micro_batch": 4}, "method": {"name": "lora"}}),
]
CASES = FITTED + HELD_OUT


def measured(folder: Path, number: int) -> dict[str, object]:
    """Trains a few steps in this process."""
    shape, settings = CASES[number]
    model = folder / f"{shape}.pth"
    if not model.exists():
        weights = create(SHAPES[shape], 0).state_dict()
        torch.save({name: tensor.bfloat16() for name, tensor in weights.items()}, model)
        return {}
    loop = {"steps": 4, "save_every": 9, "validate_every": 9, **settings.get("loop", {})}  # type: ignore[dict-item]
    values = {
        "model": str(model),
        "data": str(folder / "data.txt"),
        "out": str(folder / f"run{number}"),
        **settings,
        "loop": loop,
        "watch": {"mfu": False, "report": False},
    }
    prepared = prepare(run_from_mapping(values, "benchmark"))
    parts = prepared.plan.parts()
    taken = [event for event in train(prepared) if isinstance(event, Step)]
    predicted, peak = sum(parts.values()) / 2**20, taken[-1].peak_bytes / 2**20
    return {
        "predicted MiB": predicted,
        "measured MiB": peak,
        "predicted over measured": predicted / peak,
    }


def in_processes(folder: Path, cases: list[Case], threads: int) -> Iterator[dict[str, object]]:
    (folder / "data.txt").write_text("the quick brown fox jumps over the lazy dog. " * 4000)
    for number, (shape, settings) in enumerate(cases):
        for _ in range(1 if (folder / f"{shape}.pth").exists() else 2):  # the first makes the model
            done = subprocess.run(
                [sys.executable, __file__, "--one", str(folder), str(number)],
                env={**os.environ, "OMP_NUM_THREADS": str(threads)},
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
        found = json.loads(done.stdout.splitlines()[-1])
        typed = (v.items() if isinstance(v, dict) else [(k, v)] for k, v in settings.items())
        what = ", ".join(f"{k} {v}" for part in typed for k, v in part)
        held_out = number >= len(FITTED)
        yield {"model": shape, "settings": what or "pissa, ctx 512", "held out": held_out, **found}


def fitted(rows: list[dict[str, object]]) -> tuple[float, Machine]:
    """The worst ratio, either way, of the machine for which it is smallest."""
    rows = rows[: len(FITTED)]
    plans = [plan_of(number) for number in range(len(rows))]
    measured = [float(str(row["measured MiB"])) * 2**20 for row in rows]

    def worst(machine: Machine) -> float:
        ratios = (sum(p.parts(machine).values()) / m for p, m in zip(plans, measured, strict=True))
        return max(max(ratio, 1 / ratio) for ratio in ratios)

    machines = (
        Machine(process * 2**20, apart / 20, block / 4)
        for process in range(340, 660, 20)
        for apart in range(20, 40)
        for block in range(17)
    )
    return min(((worst(machine), machine) for machine in machines), key=lambda found: found[0])


def plan_of(number: int) -> Plan:
    """What `measured` predicts by, without a run."""
    shape, settings = CASES[number]
    run = run_from_mapping({"model": "m", "data": "d", **settings}, "benchmark")
    return Plan(
        SHAPES[shape],
        torch.bfloat16,
        torch.float32,
        run.method,
        frozen=run.frozen,
        batch=run.batch,
        loop=run.loop,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--short", action="store_true")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(Path(given.one[0]), int(given.one[1]))))
        return
    with tempfile.TemporaryDirectory() as folder:
        rows = list(in_processes(Path(folder), CASES[: 5 if given.short else None], given.threads))
    show("Peak memory of a run", rows)
    out = given.out or Path(__file__).parent / "results" / "memory.json"
    save(out, given.threads, rows=rows)
    if given.fit:
        ratio, machine = fitted(rows)
        print(f"within {ratio - 1:.1%} with {machine}")


if __name__ == "__main__":
    main()
