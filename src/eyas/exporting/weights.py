"""A model as its tensors, each made when its turn comes: what every format is written from.

A large model so goes from the mapped file into another one with one tensor in memory at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from eyas.errors import UserError
from eyas.exporting.pth import Entry
from eyas.models import Model, Shape, read_tensors, shape_of
from eyas.models.checkpoint import check_tensors, empty_model

STATE = ".att.time_state"


@dataclass(frozen=True)
class Weight:
    """One tensor of a model."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    """Of the base's file."""
    exact: Callable[[], Tensor]
    """Makes it as it was stored, or in float32 where it was trained."""

    def rounded(self, dtype: torch.dtype, factor: float = 1.0) -> Tensor:
        """Times `factor` in another type, rounded once.

        Raises UserError where that type cannot hold it.
        """
        exact = self.exact().detach()
        exact = exact if factor == 1 else exact.to(torch.float64) * factor
        tensor = exact.to(dtype)
        if not _is_finite(exact):
            raise UserError(f"{self.name} holds NaN or inf; there is nothing to export")
        if not _is_finite(tensor):
            shown = str(dtype).removeprefix("torch.")
            raise UserError(
                f"{self.name} has values up to {exact.abs().max():.3g}, which {shown} cannot hold; "
                "take a format and --dtype of bf16 or fp32"
            )
        return tensor


@dataclass(frozen=True)
class Weights:
    """All tensors of a model by their official keys, in the order of its file."""

    shape: Shape
    by_name: Mapping[str, Weight]

    def __iter__(self) -> Iterator[Weight]:
        return iter(self.by_name.values())

    def __getitem__(self, name: str) -> Weight:
        return self.by_name[name]

    @cached_property
    def states(self) -> list[Weight]:
        """The initial states [H, value, key] of the layers, if the model has such."""
        return [weight for weight in self if weight.name.endswith(STATE)]

    def entries(self, dtype: torch.dtype | None = None) -> list[Entry]:
        """As they are written under their own names; `dtype`: of all, else the base's."""

        def entry(weight: Weight, dtype: torch.dtype) -> Entry:
            return Entry(weight.name, weight.shape, dtype, lambda: weight.rounded(dtype))

        return [entry(weight, dtype or weight.dtype) for weight in self]


def read_weights(path: Path) -> Weights:
    """The model in a file. Raises UserError where it is none, or incomplete."""
    tensors = read_tensors(path)
    shape = shape_of(tensors, path)
    check_tensors(_empty(shape, tensors), tensors, path)
    ordered = in_order(tensors, path)
    return Weights(shape, {name: stored(name, tensor) for name, tensor in ordered.items()})


def in_order(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """A model's tensors in the order of its file; of a .safetensors, in which models have them.

    safetensors sorts by name, and the order counts: rwkv.cpp joins RWKV-7's x_r x_w x_k x_v x_a
    x_g as they come. Source: rwkv.cpp, python/convert_pytorch_to_ggml.py.
    """
    if path.suffix.lower() != ".safetensors":
        return dict(tensors)
    own = _empty(shape_of(tensors, path), tensors).state_dict()
    places = {name: place for place, name in enumerate(own)}
    return {name: tensors[name] for name in sorted(tensors, key=lambda n: places.get(n, len(own)))}


def _empty(shape: Shape, tensors: Mapping[str, Tensor]) -> Model:
    """A model without values that holds what is among the tensors."""
    model = empty_model(shape)
    if any(name.endswith(STATE) for name in tensors):
        with torch.device("meta"):
            model.hold_initial_state()
    return model


def stored(name: str, tensor: Tensor) -> Weight:
    """A tensor that is there already."""
    return Weight(name, tuple(tensor.shape), tensor.dtype, lambda: tensor)


def _is_finite(tensor: Tensor) -> bool:
    """Without a temporary as large as the tensor, which `isfinite` has several of."""
    smallest, largest = torch.aminmax(tensor)
    return bool(torch.isfinite(smallest) & torch.isfinite(largest))
