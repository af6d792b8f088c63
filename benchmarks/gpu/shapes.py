"""The shapes that are measured, and random models of them, made on the device."""

import torch
from torch import nn

from eyas.models import Model, Shape, empty_model
from eyas.wkv import Backend


def v7(layers: int, width: int, w: int, a: int, v: int, g: int) -> Shape:
    ranks = {"w": w, "a": a, "v": v, "g": g}
    return Shape("x070", layers, width, width // 64, 4 * width, 65536, ranks)


def v6(layers: int, width: int, mix: int, decay: int) -> Shape:
    ffn = int(width * 3.5) // 32 * 32
    return Shape("x060", layers, width, width // 64, ffn, 65536, {"mix": mix, "decay": decay})


SHAPES = {
    "v7 0.1B": v7(12, 768, 64, 64, 32, 128),
    "v7 0.4B": v7(24, 1024, 64, 64, 32, 128),
    "v7 1.5B": v7(24, 2048, 96, 96, 64, 256),
    "v7 2.9B": v7(32, 2560, 96, 96, 64, 320),
    "v7 7.2B": v7(32, 4096, 128, 128, 96, 480),
    "v6 1.6B": v6(24, 2048, 32, 64),
    "v6 3B": v6(32, 2560, 32, 64),
    "v6 7B": v6(32, 4096, 64, 128),
}


def small(shape: Shape) -> Shape:
    """The same version with next to no work, for a dry run."""
    ranks = dict.fromkeys(shape.ranks, 8)
    return Shape(shape.version, 2, 64, 4, 128, 256, ranks)


@torch.no_grad()
def random_model(shape: Shape, backend: Backend, device: torch.device, dtype: torch.dtype) -> Model:
    """Matrices of unit gain and decays as a trained model has them; nothing is made elsewhere."""
    generator = torch.Generator(device).manual_seed(0)
    model = empty_model(shape, backend).to(dtype).to_empty(device=device)
    for name, parameter in model.named_parameters():
        if ".ln" in name or name.startswith("ln_out"):
            parameter.fill_(1 if name.endswith("weight") else 0)
        elif name.endswith("time_decay"):
            parameter.uniform_(-6, -1, generator=generator)
        elif parameter.squeeze().dim() > 1:
            parameter.normal_(0, fan_in(parameter) ** -0.5, generator=generator)
        else:
            parameter.uniform_(0, 1, generator=generator)
    model.dtype = dtype
    return model.requires_grad_(False)


def fan_in(parameter: nn.Parameter) -> int:
    return parameter.shape[-1]
