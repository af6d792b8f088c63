"""Random models in the official format, small, with no tensor left at a trivial value."""

from pathlib import Path

import torch
from torch import Tensor

from eyas.models import Shape, create

SHAPES = {
    "x052": Shape("x052", 2, 64, 4, 224, 256),
    "x060": Shape("x060", 2, 64, 4, 224, 256, {"mix": 8, "decay": 16}),
    "x070": Shape("x070", 2, 64, 4, 256, 256, {"w": 8, "a": 12, "v": 4, "g": 16}),
}
_MIX, _RANKS = {"mix": 8, "decay": 16}, {"w": 8, "a": 12, "v": 4, "g": 16}
MORE_SHAPES = [
    *SHAPES.values(),
    Shape("x052", 2, 128, 4, 448, 256),
    Shape("x052", 2, 128, 2, 448, 65536),
    Shape("x060", 2, 128, 4, 448, 256, _MIX),
    Shape("x060", 2, 128, 2, 448, 65536, _MIX),
    Shape("x070", 3, 64, 2, 200, 256, _RANKS),
    Shape("x070", 2, 128, 2, 512, 65536, {**_RANKS, "unused v": 6}),
]


def random_weights(shape: Shape, seed: int = 0) -> dict[str, Tensor]:
    """Matrices of unit gain; everything else near its initial value, but not at it."""
    generator = torch.Generator().manual_seed(seed)

    def noisy(name: str, tensor: Tensor) -> Tensor:
        noise = torch.randn(tensor.shape, generator=generator)
        if name.endswith("weight") and tensor.dim() == 2:
            return noise / tensor.shape[1] ** 0.5
        return tensor.detach() + 0.3 * noise

    weights = create(shape, seed).state_dict()
    return {name: noisy(name, tensor) for name, tensor in weights.items()}


def write_model(
    path: Path, version: str = "x070", dtype: torch.dtype = torch.float32, seed: int = 0
) -> Path:
    weights = random_weights(SHAPES[version], seed)
    torch.save({name: tensor.to(dtype) for name, tensor in weights.items()}, path)
    return path
