"""What every adapter has in common: attaching, the tensors that make it up, and taking it back.

An adapter is a change of a frozen linear: y = base(x) + change(x), change(x) = x delta^T. Its own
tensors are float32 masters. Besides the adapted linears a run may train whole tensors of the
base, chosen by `train_parts`; they belong to the adapter as they are.

The order is one: dense weights -> attach -> quantize what stays frozen (see `attach`).
"""

import re
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from typing import ClassVar, Literal, Protocol, TypeAlias, get_args, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from eyas.adapters.residual import residual
from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.freed import freeing
from eyas.models import Linear, Model
from eyas.quant import FrozenConfig, QuantizedLinear, Quantizer, quantize_frozen

Part = Literal["time", "ln", "emb", "head"]
Frozen: TypeAlias = Linear | QuantizedLinear

_LAYER_NORM = re.compile(r"(^|\.)ln(0|1|2|_x|_out)\.")
_OWN_PARAMETER = re.compile(r"^blocks\.\d+\.(att|ffn)\.\w+$")
_UNUSED = re.compile(r"^blocks\.0\.att\.v[012]$")
_STATE = re.compile(r"\.time_state$")
_AT_ONCE = 2**22


@runtime_checkable
class ModelMethod(Protocol):
    """A method that trains tensors of the model itself. What the user writes is such a value."""

    name: ClassVar[str]
    learning_rate: ClassVar[float]  # a sensible peak value

    def attach(self, model: Model) -> None:
        """Puts what is trained into a frozen model."""
        ...

    def restore(self, model: Model, tensors: Mapping[str, Tensor]) -> None:
        """The same, from the tensors that a run saved, those of the base's own left out."""
        ...


@runtime_checkable
class LayerMethod(Protocol):
    """A method that is a layer over each chosen linear inside the blocks."""

    name: ClassVar[str]
    learning_rate: ClassVar[float]

    def start(
        self,
        weight: Float[Tensor, "O I"],
        generator: torch.Generator,
        quantizer: Quantizer | None = None,
    ) -> dict[str, Tensor]:
        """The tensors that the layer over this weight (float32) begins with.

        quantizer: of the frozen base below the layer. Where there is one, the tensors may hold
        `residual_A` [R, I] and `residual_B` [O, R]: what is quantized is then W - B A.

        Raises ValueError where the weight's shape does not allow it.
        """
        ...

    def layer(self, base: Frozen, tensors: Mapping[str, Tensor]) -> "AdaptedLinear":
        """The layer made of these tensors."""
        ...


Method: TypeAlias = ModelMethod | LayerMethod


class AdaptedLinear(nn.Module):
    """A frozen linear and a change of it."""

    def __init__(self, base: Frozen) -> None:
        super().__init__()
        self.base = base

    def delta(self) -> Float[Tensor, "O I"]:
        """The change of the base's weight, float32."""
        raise NotImplementedError

    def moved(self) -> Float[Tensor, "O I"]:
        """What training alone has changed, float32."""
        return self.delta()

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


def attach(
    model: Model,
    method: Method,
    *,
    train_parts: tuple[Part, ...] = (),
    targets: tuple[str, ...] = (),
    frozen: FrozenConfig = FrozenConfig(),
    seed: int = 0,
    device: torch.device | None = None,
) -> None:
    """Freezes a dense model, puts into it what the method trains, frees `train_parts`, and
    quantizes the rest as `frozen` says.

    targets: the linears that get a layer: `key`, `att.key`, `att`, or a pattern as
    `blocks.[0-3].*`; default: all inside the blocks. device: where decompositions are computed;
    the model itself is not moved.

    Raises UserError: a weight is not finite or its shape does not suit the method, a target
    names nothing, the model is quantized already, or nothing is left to quantize.
    """
    model.requires_grad_(False)
    _check_dense(model)
    _check_finite(model)
    if isinstance(method, LayerMethod):
        generator, quantizer = torch.Generator().manual_seed(seed), frozen.quantizer(device)
        give_back = freeing(torch.device("cpu"))
        for name, base in chosen_linears(model, targets):
            tensors = _start(method, name, base, generator, quantizer, device)
            model.set_submodule(name, _layer(method, base, tensors, quantizer, device))
            give_back()
    elif targets:
        raise UserError(f"{method.name} puts no layer over linears; leave --targets out")
    else:
        method.attach(model)
    free_parts(model, train_parts)
    quantize_frozen(model, frozen, device)


def restore(
    model: Model,
    method: Method,
    tensors: Mapping[str, Tensor],
    frozen: FrozenConfig = FrozenConfig(),
    device: torch.device | None = None,
) -> None:
    """Attaches an adapter as it was saved: `tensors` as `adapter_tensors` gave them."""
    model.requires_grad_(False)
    _check_dense(model)
    own = dict(model.named_parameters())
    whole = {name: tensor for name, tensor in tensors.items() if name in own}
    for name, tensor in whole.items():
        if own[name].shape != tensor.shape:
            raise UserError(
                f"the adapter's {name} is {list(tensor.shape)}, the model's "
                f"{list(own[name].shape)}: it was made for another model"
            )
        _set_trained(model, name, tensor)
    rest = {name: tensor for name, tensor in tensors.items() if name not in own}
    if isinstance(method, LayerMethod):
        known, quantizer = dict(model.linears()), frozen.quantizer(device)
        for path, layer_tensors in _by_layer(model, known, rest).items():
            _check_fits(method, path, known[path], layer_tensors)
            layer = _layer(method, known[path], layer_tensors, quantizer, device)
            model.set_submodule(path, layer)
    else:
        method.restore(model, rest)
    quantize_frozen(model, frozen, device)


def free_parts(model: Model, parts: tuple[Part, ...]) -> None:
    """Makes these `train_parts` of the base trainable."""
    free(model, lambda name: part_of(name) in parts)


def free(model: Model, chosen: Callable[[str], bool]) -> None:
    """Makes the chosen parameters of the base trainable, as float32 (or wider) masters."""
    for name, parameter in list(model.named_parameters()):
        if chosen(name) and not _UNUSED.match(name):
            _set_trained(model, name, parameter.detach(), copy=True)


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
    if _OWN_PARAMETER.match(name) and not (_UNUSED.match(name) or _STATE.search(name)):
        return "time"
    return next((part for part in get_args(Part) if name == f"{part}.weight"), None)


def _check_dense(model: Model) -> None:
    quantized = (n for n, m in model.named_modules() if isinstance(m, QuantizedLinear))
    if name := next(quantized, None):
        raise UserError(
            f"{name} of the model is quantized already, and a method needs the dense weights: "
            "load the model again, attach first, quantize then"
        )


def _check_finite(model: Model) -> None:
    for name, parameter in model.named_parameters():
        pieces = parameter.detach().flatten().split(_AT_ONCE)  # no second copy of a large tensor
        if not all(torch.isfinite(piece).all() for piece in pieces):
            raise UserError(
                f"{name} of the base model holds NaN or inf; take another copy of the model"
            )


def chosen_linears(model: Model, targets: tuple[str, ...]) -> list[tuple[str, Linear]]:
    """The linears that get a layer, by path; see `attach` for targets and errors."""
    linears = model.linears()
    targets = tuple(name for target in targets for name in target.replace(",", " ").split())
    short = {part for name, _ in linears for part in (*name.split(".")[2:], name.split(".", 2)[2])}
    for target in targets:
        if not any(_is_target(name, target) for name, _ in linears):
            raise UserError(
                f"targets: {model.shape.version} has no linear '{target}'"
                f"{did_you_mean(target, short)}; there are {', '.join(sorted(short))}"
            )
    return [(n, m) for n, m in linears if not targets or any(_is_target(n, t) for t in targets)]


def _is_target(name: str, target: str) -> bool:
    return f".{target}." in f".{name}." or fnmatchcase(name, target)


def _start(
    method: LayerMethod,
    name: str,
    base: Linear,
    generator: torch.Generator,
    quantizer: Quantizer | None,
    device: torch.device | None,
) -> dict[str, Tensor]:
    weight = base.dense_weight().to(device, torch.float32)
    try:
        return method.start(weight, generator, quantizer)
    except ValueError as error:
        raise UserError(f"{method.name} cannot adapt {name}: {error}") from error


def _layer(
    method: LayerMethod,
    base: Linear,
    tensors: Mapping[str, Tensor],
    quantizer: Quantizer | None,
    device: torch.device | None,
) -> AdaptedLinear:
    home = base.weight.device
    below: Frozen = base
    if quantizer:
        weight = base.dense_weight().to(device, torch.float32)
        if "residual_A" in tensors:
            pair = (tensors[f"residual_{letter}"].to(weight.device) for letter in "AB")
            weight = residual(weight, *pair)
        below = QuantizedLinear.of(weight, quantizer).to(home)
    return method.layer(below, {name: tensor.to(home) for name, tensor in tensors.items()})


def _check_fits(
    method: LayerMethod, path: str, base: Linear, tensors: Mapping[str, Tensor]
) -> None:
    """Raises UserError where the tensors make no layer over a linear of this size."""
    try:
        with torch.device("meta"):  # shapes alone: nothing is computed
            below = Linear(base.in_features, base.out_features)
            layer = method.layer(below, {name: t.to("meta") for name, t in tensors.items()})
            layer.change(torch.empty(1, base.in_features))
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"the adapter's tensors of {path} do not fit ({error}): the file is damaged, "
            "or was made with other settings or for another model"
        ) from error


def _by_layer(
    model: Model, known: Mapping[str, Linear], tensors: Mapping[str, Tensor]
) -> dict[str, dict[str, Tensor]]:
    """The tensors of each layer by their own names."""
    layers: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        path, _, name = key.rpartition(".")
        layers.setdefault(path, {})[name] = tensor
    if strange := sorted(layers.keys() - known.keys()):
        raise UserError(
            f"the adapter is for {strange[0]}{' and others' if len(strange) > 1 else ''}, "
            f"which this model ({model.shape}) does not have"
        )
    return layers


def _set_trained(model: Model, path: str, tensor: Tensor, copy: bool = False) -> None:
    dtype = torch.promote_types(tensor.dtype, torch.float32)
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, nn.Parameter(tensor.to(dtype, copy=copy)))
