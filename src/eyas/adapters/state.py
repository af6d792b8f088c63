"""State tuning: only the wkv state that every sequence begins with is trained.

    S[0] = time_state        [H, value, key] of each layer, zeros at the start of training

The key is RWKV-PEFT's, `blocks.i.att.time_state`; a model file may hold these tensors as well.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from eyas.errors import UserError
from eyas.models import Model


@dataclass(frozen=True)
class State:
    """The initial state, L x C x N parameters."""

    name: ClassVar[str] = "state"
    learning_rate: ClassVar[float] = 3e-3

    def attach(self, model: Model) -> None:
        model.hold_initial_state()
        for block in model.layers():
            start = block.att.time_state.detach()
            dtype = torch.promote_types(start.dtype, torch.float32)
            block.att.time_state = nn.Parameter(start.to(dtype, copy=True))

    def restore(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        """Raises UserError where the states are not those of this model, every layer's."""
        model.hold_initial_state()
        own = dict(model.named_parameters())
        expected = {
            name for name, p in own.items() if name.endswith(".time_state") and not p.requires_grad
        }
        if strange := sorted(tensors.keys() ^ expected):
            raise UserError(f"the states do not fit {model.shape}: see {strange[0]}")
        for name, tensor in tensors.items():
            if own[name].shape != tensor.shape:
                raise UserError(
                    f"{name} is {list(tensor.shape)}, the model's {list(own[name].shape)}"
                )
            model.get_submodule(name.rpartition(".")[0]).time_state = nn.Parameter(tensor.clone())
