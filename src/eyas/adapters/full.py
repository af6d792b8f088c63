"""Full training: every tensor of the base, no adapter."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from eyas.adapters.base import free
from eyas.errors import UserError
from eyas.models import Model


@dataclass(frozen=True)
class Full:
    """All weights, as float32 masters."""

    name: ClassVar[str] = "full"
    learning_rate: ClassVar[float] = 1e-5

    def attach(self, model: Model) -> None:
        free(model, lambda _: True)

    def restore(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        if tensors:
            raise UserError(f"the weights hold {next(iter(tensors))}, which {model.shape} has not")
