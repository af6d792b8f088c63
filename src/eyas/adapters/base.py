"""What every adapter has in common: attaching, the tensors that make it up, and taking it back.

An adapter is a change of a frozen linear: y = base(x) + change(x), change(x) = x delta^T. Its own
tensors are float32 masters. Besides the adapted linears a run may train whole tensors of the
base, chosen by `train_parts`; they belong to the adapter as they are.
"""

import re
from collections.abc import Callable, Mapping
from typing import ClassVar, Literal, Protocol, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.errors import UserError
from eyas.models import Linear, Model

Part = Literal["time", "ln", "emb", "head"]

_LAYER_NORM = re.compile(r"(^|\.)ln(0|1|2|_x|_out)\.")
_OWN_PARAMETER = re.compile(r"^blocks\.\d+\.(att|ffn)\.\w+$")
_UNUSED = re.compile(r"^blocks\.0\.att\.v[012]$")


@runtime_checkable
class Method(Protocol):
    """What the user writes: a frozen dataclass that says how a model is adapted."""

    name: ClassVar[str]
    learning_rate: ClassVar[float]  # a sensible peak value

    def attach(self, model: Model, generator: torch.Generator) -> None:
        """Puts what is trained into a frozen model."""
        ...

    def restore(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        """The same, from the tensors that a run saved, those of the base's own left out."""
        ...


@runtime_checkable
class LayerMethod(Protocol):
    """A method that is a layer over each linear inside the blocks."""

    name: ClassVar[str]

    def start(self, weight: Float[Tensor, "O I"], generator: torch.Generator) -> dict[str, Tensor]:
        """The tensors that the layer over this weight (float32) begins with.

        Raises ValueError where the weight's shape does not allow it.
        """
        ...

    def layer(self, base: Linear, tensors: Mapping[str, Tensor]) -> "AdaptedLinear":
        """The layer made of these tensors."""
        ...


class AdaptedLinear(nn.Module):
    """A frozen linear and a change of it."""

    def __init__(self, base: Linear) -> None:
        super().__init__()
        self.base = base

    def delta(self) -> Float[Tensor, "O I"]:
        """The change of the weight, float32."""
        raise NotImplementedError

    def change(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        """x delta^T, by a shorter way where there is one."""
        raise NotImplementedError

    def forward(self, x: Float[Tensor, "... I"]) -> Float[Tensor, "... O"]:
        out: Tensor = self.base(x)
        return out + self.change(x)

    def tensors(self) -> dict[str, Tensor]:
        """All that `LayerMethod.layer` needs to make this layer again."""
        own = [*self.named_parameters(recurse=False), *self.named_buffers(recurse=False)]
        return {name: tensor.detach() for name, tensor in own}


def attach(model: Model, method: Method, train_parts: tuple[Part, ...] = (), seed: int = 0) -> None:
    """Freezes the model, puts into it what the method trains, and frees `train_parts`."""
    model.requires_grad_(False)
    method.attach(model, torch.Generator().manual_seed(seed))
    free(model, lambda name: part_of(name) in train_parts)


def restore(model: Model, method: Method, tensors: Mapping[str, Tensor]) -> None:
    """Attaches an adapter as it was saved: `tensors` as `adapter_tensors` gave them."""
    model.requires_grad_(False)
    own = dict(model.named_parameters())
    whole = {name: tensor for name, tensor in tensors.items() if name in own}
    for name, tensor in whole.items():
        if own[name].shape != tensor.shape:
            raise UserError(
                f"the adapter's {name} is {list(tensor.shape)}, the model's "
                f"{list(own[name].shape)}: it was made for another model"
            )
        _set_trained(model, name, tensor)
    method.restore(model, {name: t for name, t in tensors.items() if name not in own})


def free(model: Model, chosen: Callable[[str], bool]) -> None:
    """Makes the chosen parameters of the base trainable, as float32 (or wider) masters."""
    for name, parameter in list(model.named_parameters()):
        if chosen(name) and not _UNUSED.match(name):
            _set_trained(model, name, parameter.detach())


def attach_layers(model: Model, method: LayerMethod, generator: torch.Generator) -> None:
    """Puts the method's layers over all linears inside the blocks.

    Embedding, head and low-rank matrices get none.
    """
    for name, base in _linears(model):
        weight = base.dense_weight().float()
        if not torch.isfinite(weight).all():
            raise UserError(f"{name}.weight of the base model holds NaN or inf; nothing to adapt")
        try:
            tensors = method.start(weight, generator)
        except ValueError as error:
            raise UserError(f"{method.name} cannot adapt {name}: {error}") from error
        _replace(model, name, method.layer(base, tensors))


def restore_layers(model: Model, method: LayerMethod, tensors: Mapping[str, Tensor]) -> None:
    """Puts layers over the linears that `tensors` (by layer and name) are for."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        path, _, name = key.rpartition(".")
        layers.setdefault(path, {})[name] = tensor
    known = dict(_linears(model))
    if strange := sorted(layers.keys() - known.keys()):
        raise UserError(
            f"the adapter is for {strange[0]}{' and others' if len(strange) > 1 else ''}, "
            f"which this model ({model.shape}) does not have"
        )
    for path, own in layers.items():
        _replace(model, path, method.layer(known[path], own))


def adapter_tensors(model: Model) -> dict[str, Tensor]:
    """The tensors that make up the adapter, by key: all that a run changes, and their start."""
    layers = {name: m for name, m in model.named_modules() if isinstance(m, AdaptedLinear)}
    found = {f"{name}.{k}": v for name, layer in layers.items() for k, v in layer.tensors().items()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name not in found:
            found[name] = parameter.detach()
    return found


def adapted_layers(model: Model) -> dict[str, AdaptedLinear]:
    """The adapted linears by the key of the weight that they change."""
    return {
        f"{name}.weight": module
        for name, module in model.named_modules()
        if isinstance(module, AdaptedLinear)
    }


def part_of(name: str) -> Part | None:
    """Which of the `train_parts` a tensor of the base belongs to.

    `time` is every parameter of time mix and channel mix that is neither a linear nor a norm.
    """
    if _LAYER_NORM.search(name):
        return "ln"
    if _OWN_PARAMETER.match(name) and not _UNUSED.match(name):
        return "time"
    return next((part for part in get_args(Part) if name == f"{part}.weight"), None)


def _linears(model: Model) -> list[tuple[str, Linear]]:
    modules = model.blocks.named_modules(prefix="blocks")
    return [(name, module) for name, module in modules if isinstance(module, Linear)]


def _replace(model: Model, path: str, layer: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, layer)


def _set_trained(model: Model, path: str, tensor: Tensor) -> None:
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, nn.Parameter(tensor.to(dtype, copy=True)))
