"""The tensors of an adapter by the layer that they belong to, whatever file they come from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from eyas.errors import UserError

Layer = dict[str, Tensor]

_PAIRS = ("lora_A", "lora_B", "lora_A0", "lora_B0", "residual_A", "residual_B")
OWN = {name: name for name in (*_PAIRS, "miss_D", "bat_D")}
"""What eyas calls the tensors of a layer; `parts_of` takes such a mapping."""


@dataclass(frozen=True)
class Parts:
    """The layers by the path of their linear, and the tensors that replace the base's own."""

    layers: Mapping[str, Layer]
    whole: Mapping[str, Tensor]

    def tensors(self) -> dict[str, Tensor]:
        """All of them by their full names, as an adapter has them."""
        layers = self.layers.items()
        flat = {f"{path}.{name}": t for path, layer in layers for name, t in layer.items()}
        return {**flat, **self.whole}

    def each(self, change: Callable[[str, Layer], Layer]) -> "Parts":
        """The same with every layer changed."""
        return Parts({path: change(path, layer) for path, layer in self.layers.items()}, self.whole)

    def masters(self) -> "Parts":
        """The same in float32 at least, as what trains is kept."""
        return Parts(
            {
                path: {name: _master(tensor) for name, tensor in layer.items()}
                for path, layer in self.layers.items()
            },
            {name: _master(tensor) for name, tensor in self.whole.items()},
        )

    def rank(self) -> int:
        """That of the first layer; 0 where none has tensors of a known shape."""
        return next((rank for layer in self.layers.values() if (rank := rank_of(layer))), 0)


def parts_of(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> Parts:
    """names: what the file calls the tensors of a layer, as the end of a key, and what we do."""
    layers: dict[str, Layer] = {}
    whole: dict[str, Tensor] = {}
    for key, tensor in tensors.items():
        end = next((end for end in names if key.endswith(f".{end}")), None)
        if end is None:
            whole[key] = tensor
        else:
            layers.setdefault(key.removesuffix(f".{end}"), {})[names[end]] = tensor
    return Parts(layers, whole)


def with_start(parts: Parts, start: Parts, where: Path) -> Parts:
    """Layers with what they started from. Raises UserError where it is of other layers."""
    if strange := sorted(start.layers.keys() ^ parts.layers.keys()):
        raise UserError(
            f"{where}: is of another run, as {strange[0]} is in the adapter or in its start alone; "
            "give the start that was saved with this adapter"
        )
    return parts.each(lambda path, layer: {**layer, **start.layers[path]})


def scaled(layer: Layer, factor: float) -> Layer:
    """The layer with B and B0 times `factor`; the very same where that is 1."""
    if factor == 1:
        return layer
    return {n: t * factor if n.startswith("lora_B") else t for n, t in layer.items()}


def rank_of(layer: Layer) -> int:
    """The rank that the shapes of a layer's tensors tell; 0 where they do not."""
    for name, axis in (("lora_A", 0), ("miss_D", 0), ("bat_D", -1)):
        if name in layer and layer[name].dim():
            return layer[name].shape[axis]
    return 0


def _master(tensor: Tensor) -> Tensor:
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))
