"""What `attach` would make of a model of some shape, without any of its numbers.

The tensors of a method's layer over [O, I] follow from those it starts with over small weights:
every size of them is constant, or proportional to O or to I. So a model of any size is known,
on the meta device, in a fraction of a second.
"""

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from eyas.adapters.base import (
    LayerMethod,
    Method,
    Part,
    chosen_linears,
    free_parts,
)
from eyas.errors import UserError
from eyas.models import Model, Shape, empty_model
from eyas.quant import QUANTIZERS, FrozenConfig, Int8, QuantizedLinear, Quantizer

_PROBE = 128, 128  # values whose codes and scales come in whole blocks of blocks
_Sizes = dict[str, tuple[tuple[int, ...], torch.dtype]]


def outlined(
    shape: Shape,
    stored: torch.dtype,
    method: Method,
    train_parts: tuple[Part, ...] = (),
    targets: tuple[str, ...] = (),
    frozen: FrozenConfig = FrozenConfig(),
) -> Model:
    """The model as `attach` leaves it, on the meta device.

    stored: the type of the weights in the file. Raises UserError as `attach` does.
    """
    method = sketched(method)
    model = empty_model(shape).to(stored)
    model.requires_grad_(False)
    quantizer = QUANTIZERS.get(frozen.quant)
    if isinstance(method, LayerMethod):
        known: dict[tuple[int, int], _Sizes] = {}
        for path, base in chosen_linears(model, targets):
            size = base.out_features, base.in_features
            if size not in known:
                known[size] = _layer_sizes(method, path, size, quantizer)
            tensors = {name: _meta(*one) for name, one in known[size].items()}
            below = _quantized(size, quantizer) if quantizer else base
            model.set_submodule(path, method.layer(below, tensors))
    else:
        method.attach(model)
    free_parts(model, train_parts)
    _quantize_rest(model, frozen, quantizer)
    return model


def sketched(method: Method) -> Method:
    """The method with a start of the same shapes that is made in less time."""
    if not hasattr(method, "quant_iterations"):
        return method
    slow: Any = method
    quick: Method = dataclasses.replace(slow, quant_iterations=1)
    return quick


def _layer_sizes(
    method: LayerMethod, path: str, size: tuple[int, int], quantizer: Quantizer | None
) -> _Sizes:
    for side in _sides(math.gcd(*size)):
        try:
            probes = [
                method.start(torch.ones(*probe), torch.Generator().manual_seed(0), quantizer)
                for probe in ((side, side), (2 * side, side), (side, 2 * side))
            ]
        except ValueError:
            continue
        return {name: _scaled(name, probes, side, size) for name in probes[0]}
    try:  # no square of a common side may be large enough where the weight itself is
        whole = method.start(torch.ones(*size), torch.Generator().manual_seed(0), quantizer)
    except ValueError as error:
        raise UserError(f"{method.name} cannot adapt {path}: {error}") from error
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in whole.items()}


def _sides(common: int) -> Iterator[int]:
    """Of small square weights that a method may take where it takes the large one."""
    return (side for side in range(8, common + 1) if common % side == 0)


def _scaled(
    name: str, probes: list[dict[str, Tensor]], side: int, size: tuple[int, int]
) -> tuple[tuple[int, ...], torch.dtype]:
    """The tensor's size over a weight of that size, by its sizes over three small ones."""
    square, tall, wide = (probe[name].shape for probe in probes)
    factors = [length // side - 1 for length in size]
    grown = (
        s + (t - s) * factors[0] + (w - s) * factors[1]
        for s, t, w in zip(square, tall, wide, strict=True)
    )
    return tuple(grown), probes[0][name].dtype


def _quantized(size: tuple[int, int], quantizer: Quantizer) -> QuantizedLinear:
    rows, columns = _PROBE
    one, two = (quantizer.quantize(torch.ones(n * rows, columns)) for n in (1, 2))
    blocks = math.prod(size) / (rows * columns)

    def length(name: str) -> int:
        return math.ceil(len(one[name]) + (len(two[name]) - len(one[name])) * (blocks - 1))

    tensors = {name: _meta((length(name),), tensor.dtype) for name, tensor in one.items()}
    return QuantizedLinear(quantizer, size, tensors)


def _quantize_rest(model: Model, frozen: FrozenConfig, quantizer: Quantizer | None) -> None:
    for path, linear in model.linears() if quantizer else []:
        if quantizer and not linear.weight.requires_grad:
            size = linear.out_features, linear.in_features
            model.set_submodule(path, _quantized(size, quantizer))
    if frozen.quant_head and not model.head.weight.requires_grad:
        model.set_submodule("head", _quantized((model.vocab_size, model.shape.width), Int8()))


def _meta(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")
