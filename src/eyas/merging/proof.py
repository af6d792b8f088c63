"""The proof of a merge: the written file against the model that was trained.

Each adapted weight is compared with what the trained layer computes, its response to the unit
vectors, element by element: after one rounding no number may be further off than half a unit in
its last place. Then a batch goes through both models. How far logits may differ is measured, by
a model with noise of the size of the rounding: models amplify it differently.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.adapters import AdaptedLinear
from eyas.models import Linear, Model, load, read_tensors
from eyas.quant import QuantizedLinear

_TOKENS = (2, 64)
_MARGIN = 4
_FLOAT_SLACK = 4e-6  # of a matrix's largest value: float32 sums in another order
_LEAST_NOISE = 2.0**-20  # what float32 sums in another order are off by, relative


@dataclass(frozen=True)
class Proof:
    """What the comparison found; `allowed` is what rounding explains."""

    largest_difference: float
    """Of any logit, adapted against merged."""
    loss_difference: float
    """Of the mean cross-entropy of the same tokens."""
    relative_difference: float
    """RMS of the logits' differences over the RMS of the logits."""
    allowed: float
    """The most that rounding to the output type explains of `relative_difference`."""


@torch.inference_mode()
def prove(adapted: Model, path: Path, whole: Mapping[str, Tensor]) -> Proof:
    """Compares the written file with the adapted model.

    whole: tensors that were trained as they are. Raises ArithmeticError where the file differs
    by more than its types explain.
    """
    written = read_tensors(path)
    for name, layer in changed_layers(adapted).items():
        check_layer(name, written[name], layer)
    for name, tensor in whole.items():
        if not torch.equal(written[name], tensor.to(written[name].dtype)):
            raise ArithmeticError(f"{name} in the merged file is not the trained tensor")
    proof = _logits(adapted, load(path))
    if not proof.relative_difference <= proof.allowed:
        raise ArithmeticError(
            f"the merged model's logits differ by {proof.relative_difference:.1e} (relative), "
            f"where rounding explains {proof.allowed:.1e}"
        )
    return proof


def changed_layers(adapted: Model) -> dict[str, AdaptedLinear | QuantizedLinear]:
    """The layers that stand for another weight than the base's, by that weight's key."""
    found: dict[str, AdaptedLinear | QuantizedLinear] = {}
    for name, module in adapted.named_modules():
        inside = name.endswith(".base")
        if isinstance(module, (AdaptedLinear, QuantizedLinear)) and not inside:
            found[f"{name}.weight"] = module
    return found


@torch.inference_mode()
def check_layer(
    name: str, written: Float[Tensor, "O I"], layer: AdaptedLinear | QuantizedLinear
) -> None:
    """Raises ArithmeticError where the weight is not, within one rounding, the trained layer's."""
    base = layer.base if isinstance(layer, AdaptedLinear) else layer
    weight = base.dense_weight().float()
    size, rows = weight.shape[1], max(1, 2**22 // weight.shape[1])
    for start in range(0, size, rows):  # of the unit vectors: a strip of the weight's columns
        strip = slice(start, min(start + rows, size))
        expected = weight[:, strip]
        if isinstance(layer, AdaptedLinear):
            units = torch.zeros(strip.stop - start, size, device=weight.device)
            units.diagonal(start).fill_(1)
            expected = expected + layer.change(units).mT
        found = written[:, strip]
        off = (found.float() - expected).abs()
        slack = _FLOAT_SLACK * expected.abs().max()
        if bool((off <= slack).all()):
            continue
        if not bool((off <= 0.5 * _last_place(found) + slack).all()):
            raise ArithmeticError(
                f"{name} in the merged file is off by {off.max():.1e}, more than one rounding to "
                f"{found.dtype}".replace("torch.", "")
            )


def _last_place(numbers: Tensor) -> Tensor:
    """The distance to the next number of the same type, float32."""
    limits = torch.finfo(numbers.dtype)
    _, exponent = torch.frexp(numbers.float())
    unit = torch.ldexp(torch.full(numbers.shape, limits.eps), exponent - 1)
    return unit.clamp_min(limits.smallest_normal * limits.eps)


def _logits(adapted: Model, merged: Model) -> Proof:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(adapted.vocab_size, _TOKENS, generator=generator)
    expected, _ = adapted(tokens)
    found, _ = merged(tokens)
    eps = max(torch.finfo(p.dtype).eps for p in merged.parameters())
    noisy = _with_noise(adapted, tokens, max(eps / 4, _LEAST_NOISE), generator)
    next_tokens = tokens[:, 1:].flatten()
    before, after = (
        F.cross_entropy(logits[:, :-1].flatten(0, 1), next_tokens) for logits in (expected, found)
    )
    return Proof(
        largest_difference=(found - expected).abs().max().item(),
        loss_difference=(after - before).item(),
        relative_difference=_relative(found, expected),
        allowed=_MARGIN * _relative(noisy, expected),
    )


def _with_noise(model: Model, tokens: Tensor, size: float, generator: torch.Generator) -> Tensor:
    """The logits where every linear's output has noise of that relative size.

    Rounding leaves a number off by a fifth to a quarter of eps, in the mean.
    """

    def disturb(module: nn.Module, inputs: object, out: Tensor) -> Tensor:  # noqa: ARG001
        noise = torch.randn(out.shape, generator=generator)
        return out + size * out.square().mean(-1, keepdim=True).sqrt() * noise

    kinds = (AdaptedLinear, Linear, QuantizedLinear)
    handles = [m.register_forward_hook(disturb) for m in model.modules() if isinstance(m, kinds)]
    logits, _ = model(tokens)
    for handle in handles:
        handle.remove()
    return cast(Tensor, logits)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))
