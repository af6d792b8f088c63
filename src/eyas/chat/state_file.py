"""State files: what a model begins every conversation with, in the place of a prompt.

    blocks.i.att.time_state      [H, value, key] of every layer

In a .pth as RWKV-PEFT writes it and RWKV Runner loads it; in a .st or .state as Ai00 loads it, with
the last two axes swapped; or in eyas's own adapter file of the method `state`.
"""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from eyas.adapters import Adapter, load_adapter
from eyas.errors import UserError
from eyas.models import Model, read_tensors

_NAME = re.compile(r"blocks\.\d+\.att\.time_state")


def read_state(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The states in a file, and of eyas's own the fingerprint of the base that they belong to.

    Raises UserError for a file that holds something else, or cannot be read.
    """
    if path.suffix.lower() == ".safetensors":
        return state_of(load_adapter(path), path)
    swapped = path.suffix.lower() in (".st", ".state")
    tensors = _safetensors(path) if swapped else read_tensors(path)
    if not tensors or not all(map(_NAME.fullmatch, tensors)):
        other = next((name for name in tensors if not _NAME.fullmatch(name)), "nothing")
        raise UserError(
            f"{path}: no state file (it holds {other}); one holds blocks.0.att.time_state, and "
            "so on for every layer, and nothing else"
        )
    if swapped:
        tensors = {name: tensor.transpose(-2, -1) for name, tensor in tensors.items()}
    return tensors, None


def state_of(adapter: Adapter, path: Path) -> tuple[dict[str, Tensor], str | None]:
    """The states of an adapter of the method `state`. Raises UserError for another method's."""
    if adapter.method.name != "state":
        raise UserError(
            f"{path}: an adapter of the method {adapter.method.name}, which is no state; chat with "
            "its run instead"
        )
    return dict(adapter.tensors), adapter.base


def begin_with(model: Model, states: Mapping[str, Tensor], path: Path) -> None:
    """Makes these the initial states of the model. Raises UserError where they do not fit it."""
    s = model.shape
    size = (s.num_heads, s.head_size, s.head_size)
    expected = [f"blocks.{i}.att.time_state" for i in range(s.num_layers)]
    wrong = [f"{name} is missing" for name in expected if name not in states]
    wrong += [f"{name} is of a layer that it has not" for name in states if name not in expected]
    for name in expected:
        state = states.get(name)
        if state is not None and tuple(state.shape) != size:
            wrong.append(f"{name} is {list(state.shape)} and not {list(size)}")
        elif state is not None and not (state.is_floating_point() and state.isfinite().all()):
            wrong.append(f"{name} holds what is no number")
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"{path}: does not fit {s}: {wrong[0]}{more}; take a state of this model")
    model.hold_initial_state()
    for block, name in zip(model.layers(), expected, strict=True):
        state = states[name].to(block.att.time_state.device, torch.float32, copy=True)
        block.att.time_state = nn.Parameter(state, requires_grad=False)


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{path}: cannot be read as a state file ({error}); check the path, or copy it again"
        ) from error
