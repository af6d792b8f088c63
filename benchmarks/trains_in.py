"""What training each released model takes, written into src/eyas/hub/models.toml.

    python benchmarks/trains_in.py

The peak of a step of PiSSA at rank 32 and 512 tokens on a CPU, as `eyas.training.memory` predicts
it. To be run again when that predicts otherwise, or a model is added.
"""

import re
from pathlib import Path

import torch

from eyas.adapters import PiSSA
from eyas.hub import Released, released
from eyas.models import Shape
from eyas.training.memory import Plan

CATALOGUE = Path(__file__).parents[1] / "src" / "eyas" / "hub" / "models.toml"
RANKS = {
    "x052": {},
    "x060": {"mix": 32, "decay": 64},
    "x070": {"w": 64, "a": 64, "v": 32, "g": 128},
}  # about: they matter little for the memory


def trains_in(model: Released) -> int:
    """Bytes at the peak, in hundreds of millions; the weights are the file's."""
    ffn_width = 4 * model.width if model.version == "x070" else model.width * 7 // 2
    heads = model.width // 64
    ranks = RANKS[model.version]
    shape = Shape(model.version, model.layers, model.width, heads, ffn_width, 65536, ranks)
    parts = Plan(shape, torch.bfloat16, torch.float32, PiSSA()).parts()
    return round(sum((parts | {"weights": model.size}).values()), -8)


def main() -> None:
    text = CATALOGUE.read_text()
    for model in released():
        found = trains_in(model)
        print(f"{model.name:18} {found / 1e9:5.1f} GB, was {model.trains_in / 1e9:5.1f}")
        entry = re.compile(rf'(sha256 = "{model.sha256}"\ntrains_in = )\d+')
        text = entry.sub(rf"\g<1>{found}", text)
    CATALOGUE.write_text(text)


if __name__ == "__main__":
    main()
