"""What released models need of a GPU's memory, as eyas predicts it, beside the tutorial's table.

python benchmarks/memory_table.py [--out FILE.json]

GB (10^9 bytes) at ctx 1024, batch 1, activations recomputed, embedding on the CPU; over int8 and
nf4 the head as int8. `r 64, time, ln`: the settings that the tutorial's numbers fit; `r 32`: the
adapter alone. The tutorial's are of RWKV-6 with RWKV-PEFT, those of RWKV-7 (bf16) of RWKV-PEFT's
README. Predicted, not measured: no GPU has confirmed them.
"""

import argparse
from pathlib import Path

import torch
from report import Row, save, show

from eyas.adapters import Part, PiSSA
from eyas.data import BatchConfig
from eyas.models import Shape
from eyas.quant import FrozenConfig
from eyas.training.loop import LoopConfig
from eyas.training.memory import Plan

SMALL = {"w": 64, "a": 64, "v": 32, "g": 128}
MIDDLE = {"w": 96, "a": 96, "v": 64, "g": 256}
LARGE = {"w": 128, "a": 128, "v": 96, "g": 480}
V6 = {"mix": 32, "decay": 64}
SHAPES = {
    "v6 1.6B": Shape("x060", 24, 2048, 32, 7168, 65536, V6),
    "v6 3B": Shape("x060", 32, 2560, 40, 8960, 65536, V6),
    "v6 7B": Shape("x060", 32, 4096, 64, 14336, 65536, {"mix": 64, "decay": 128}),
    "v7 0.1B": Shape("x070", 12, 768, 12, 3072, 65536, SMALL),
    "v7 0.4B": Shape("x070", 24, 1024, 16, 4096, 65536, SMALL),
    "v7 1.5B": Shape("x070", 24, 2048, 32, 8192, 65536, MIDDLE),
    "v7 2.9B": Shape("x070", 32, 2560, 40, 10240, 65536, {"w": 96, "a": 96, "v": 64, "g": 320}),
    "v7 7.2B": Shape("x070", 32, 4096, 64, 16384, 65536, LARGE),
}
TUTORIAL = {
    "v6 1.6B": "7.3 / 5.9 / 5.4",
    "v6 3B": "11.8 / 9.4 / 8.1",
    "v6 7B": "23.7 / 17.3 / 14.9",
    "v7 0.1B": "2.6",
    "v7 0.4B": "3.4",
    "v7 1.5B": "5.6",
    "v7 2.9B": "8.8",
}
TRAINED: dict[str, tuple[int, tuple[Part, ...]]] = {
    "r 64, time, ln": (64, ("time", "ln")),
    "r 32": (32, ()),
}


def predicted(shape: Shape, rank: int, parts: tuple[Part, ...], quant: str) -> float:
    plan = Plan(
        shape,
        stored=torch.bfloat16,
        dtype=torch.bfloat16,
        method=PiSSA(rank=rank),
        train_parts=parts,
        frozen=FrozenConfig(quant=quant, quant_head=quant != "none", embedding_on_cpu=True),  # type: ignore[arg-type]
        batch=BatchConfig(ctx=1024, micro_batch=1),
        loop=LoopConfig(recompute=True),
        device="cuda",
    )
    return plan.total() / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/memory_table.json"))
    given = parser.parse_args()
    rows: list[Row] = []
    for name, shape in SHAPES.items():
        row = {"model": name, "RWKV-PEFT, bf16 / int8 / nf4": TUTORIAL.get(name, "")}
        for trained, (rank, parts) in TRAINED.items():
            found = [predicted(shape, rank, parts, quant) for quant in ("none", "int8", "nf4")]
            row[f"eyas, {trained}"] = " / ".join(f"{gb:.1f}" for gb in found)
        rows.append(row)
    show("Memory of a GPU, GB, predicted", rows)
    save(given.out, torch.get_num_threads(), rows=rows)


if __name__ == "__main__":
    main()
