"""One forward for rows of several adapters over a base.

    y = x W^T + change_k(x)        in the rows of adapter k

A token of a few rows costs about what reading W costs: it is read once, whoever the rows belong to.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from eyas.adapters import AdaptedLinear
from eyas.generation.compiled import compiled
from eyas.models import Model, State

_Rows = dict[str, Tensor]  # the rows of each adapter


class Forward:
    """A model's forward, in which a row may have an adapter of its own."""

    def __init__(self, model: Model) -> None:
        self.model = model  # without adapters, wherever it is called directly
        self.alone = compiled(model)  # the same, where no row has an adapter
        self._adapters: set[str] = set()
        self._rows: _Rows = {}  # of the forward that is under way

    def add(self, name: str, adapted: Model) -> None:
        """An adapter: the layers of a model that shares all else with this one."""
        for path, layer in adapted.named_modules():
            if not isinstance(layer, AdaptedLinear):
                continue
            mixed = self.model.get_submodule(path)
            if not isinstance(mixed, _MixedLinear):
                mixed = _MixedLinear(mixed, self._rows)
                self.model.set_submodule(path, mixed)
            mixed.changes[name] = layer
        self._adapters.add(name)

    def hidden(
        self, tokens: Int[Tensor, "B T"], state: State, adapters: Sequence[str]
    ) -> tuple[Float[Tensor, "B T C"], State]:
        """As that of the model; adapters: the name of each row's, or any other for none."""
        present = self._adapters & set(adapters)
        if not present:
            return self.alone.hidden(tokens, state)
        for name in present:
            rows = [i for i, row in enumerate(adapters) if row == name]
            self._rows[name] = torch.tensor(rows, device=state[0].wkv.device)
        try:
            return self.model.hidden(tokens, state)
        finally:
            self._rows.clear()

    def logits(self, hidden: Float[Tensor, "B T C"]) -> Float[Tensor, "B T V"]:
        """float32, on the CPU."""
        out: Tensor = self.model.head(hidden)
        return out.float().cpu()


class _MixedLinear(nn.Module):
    """A frozen linear, and its changes by several adapters."""

    def __init__(self, base: nn.Module, rows: _Rows) -> None:
        super().__init__()
        self.base = base
        self.changes: dict[str, AdaptedLinear] = {}
        self._rows = rows

    def forward(self, x: Float[Tensor, "B T I"]) -> Float[Tensor, "B T O"]:
        out: Tensor = self.base(x)
        for name, rows in self._rows.items():
            if name in self.changes:
                layer = self.changes[name]
                if len(rows) == len(x):
                    return out + layer.change(x)
                out.index_add_(0, rows, layer.change(x[rows]))
        return out
