"""Merging and exporting beside copying the file.

python benchmarks/merging.py [--model "v7 1.5B"] [--rounds N] [--folder PATH] [--out FILE.json]

A random model of a released shape in bf16 and a LoRA run of it, rank 32 in every linear, whose
factors are random. Each program takes its turn with `cp` of the base on the same disk and ends
with `sync`: time as whole processes by the clock, at most twice that of `cp`. Memory is the most
that the process itself had (anonymous; Linux), which should be at most three of the largest tensor
beyond what Python and PyTorch take when they are imported.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from loading import highest, own_bytes
from models import SHAPES, write_random
from report import Row, save, show
from safetensors.torch import load_file, save_file

from eyas.cli import group
from eyas.run import prepare, train
from eyas.settings import run_from_mapping

KINDS = {
    "merge": ["merge", "RUN", "--out", "OUT.pth"],
    "export pth": ["export", "BASE", "--to", "pth", "--out", "OUT.pth"],
    "export st": ["export", "BASE", "--to", "st", "--out", "OUT.st"],
    "export gguf f16": ["export", "BASE", "--to", "gguf", "--dtype", "fp16", "--out", "OUT.gguf"],
}


def a_run(folder: Path) -> None:
    """One step of training, then random factors: all of a model changes."""
    values = {
        "model": str(folder / "base.pth"),
        "data": str(folder / "data.txt"),
        "out": str(folder / "run"),
        "method": {"name": "lora", "rank": 32},
        "batch": {"ctx": 16},
        "loop": {"steps": 1},
        "watch": {"mfu": False, "report": False},
    }
    for _ in train(prepare(run_from_mapping(values, "benchmark"))):
        pass
    for path in folder.glob("run/**/adapter.safetensors"):
        tensors = {name: torch.randn_like(t) * 0.01 for name, t in load_file(path).items()}
        about = json.loads(
            path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")]
        )
        save_file(tensors, path, about["__metadata__"])


def one(arguments: list[str]) -> dict[str, float]:
    """Runs the command line in this process."""
    before, start = own_bytes(), time.perf_counter()
    with highest() as peak:
        group.main(arguments, standalone_mode=False)
    return {"own_mib": (peak[0] - before) / 2**20, "seconds": time.perf_counter() - start}


def timed(work: Callable[[], object]) -> float:
    subprocess.run(["sync"], check=True)
    start = time.perf_counter()
    work()
    subprocess.run(["sync"], check=True)
    return time.perf_counter() - start


def measured(folder: Path, rounds: int, largest: int) -> list[Row]:
    base, copy = folder / "base.pth", folder / "copy.pth"
    rows: list[Row] = []
    for kind, form in KINDS.items():
        places = {"RUN": str(folder / "run"), "BASE": str(base)}
        out = folder / form[-1]
        arguments = [places.get(part, part) for part in form[:-1]] + [str(out)]
        copied, taken, own = [], [], 0.0
        for _ in range(rounds):
            copied.append(timed(lambda: subprocess.run(["cp", base, copy], check=True)))
            command = [sys.executable, __file__, "--one", *arguments]
            found: list[bytes] = []
            taken.append(timed(lambda c=command, f=found: f.append(subprocess.check_output(c))))
            own = max(own, json.loads(found[0].splitlines()[-1])["own_mib"])
            copy.unlink()
            out.unlink()
        ratios = [mine / its for mine, its in zip(taken, copied, strict=True)]
        rows.append(
            {
                "program": kind,
                "cp, seconds": median(copied),
                "seconds": median(taken),
                "over cp": median(ratios),
                "own MiB": own,
                "largest tensors": own * 2**20 / largest,
            }
        )
    return rows


def main() -> None:
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(one(sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=SHAPES, default="v7 1.5B")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk that is used")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/merging.json"))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        folder = Path(name)
        largest = write_random(folder / "base.pth", SHAPES[given.model])
        (folder / "data.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
        a_run(folder)
        rows = measured(folder, given.rounds, largest)
        size = (folder / "base.pth").stat().st_size / 2**20
    show(f"{given.model}, {size:,.0f} MiB, largest tensor {largest / 2**20:,.0f} MiB", rows)
    save(given.out, torch.get_num_threads(), model=given.model, size_mib=size, rows=rows)


if __name__ == "__main__":
    main()
