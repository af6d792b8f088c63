"""Initial values that the versions share, for training from nothing."""

import torch
from torch import Tensor

from eyas.models.model import Model


def initialize_frame(model: Model, generator: torch.Generator) -> None:
    """Embedding near zero, head at zero, norms at one."""
    uniform(model.emb.weight, 1e-4, generator)
    model.head.weight.zero_()
    for name, parameter in model.named_parameters():
        if ".ln" in name or name.startswith("ln_out"):
            parameter.fill_(1 if name.endswith("weight") else 0)


def uniform(parameter: Tensor, spread: float, generator: torch.Generator) -> None:
    """Values between -spread and spread."""
    parameter.uniform_(-spread, spread, generator=generator)


def fill(parameter: Tensor, values: Tensor) -> None:
    """The values, in the parameter's own layout."""
    parameter.copy_(values.view_as(parameter))
