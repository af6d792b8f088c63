"""Random models of released shapes, written as a release is: bf16, `.pth`."""

from pathlib import Path

import torch

from eyas.exporting.pth import Entry, write_pth
from eyas.models import Shape, empty_model

_V7 = {"w": 64, "a": 64, "v": 32, "g": 128}
_V7_LARGE = {"w": 96, "a": 96, "v": 64, "g": 256}
SHAPES = {
    "v7 0.1B": Shape("x070", 12, 768, 12, 3072, 65536, _V7),
    "v7 0.4B": Shape("x070", 24, 1024, 16, 4096, 65536, _V7),
    "v7 1.5B": Shape("x070", 24, 2048, 32, 8192, 65536, _V7_LARGE),
}


def write_random(path: Path, shape: Shape) -> int:
    """Writes it tensor by tensor; gives the bytes of the largest one."""
    generator = torch.Generator().manual_seed(0)
    sizes = {name: tuple(t.shape) for name, t in empty_model(shape).state_dict().items()}

    def entry(name: str, size: tuple[int, ...]) -> Entry:
        def make() -> torch.Tensor:
            return torch.randn(size, generator=generator).mul_(size[-1] ** -0.5).bfloat16()

        return Entry(name, size, torch.bfloat16, make)

    entries = [entry(name, size) for name, size in sizes.items()]
    write_pth(path, entries)
    return max(entry.nbytes for entry in entries)
