"""Merging: base and adapter become one model file, which then proves that it is the trained model.

    W_merged = round(W + delta)        in float32 (or wider), rounded once, tensor by tensor

W is what the trained layer had below it: the base's weight, or dequantize(codes) of the very codes
that were trained on. Whole tensors that were trained replace the base's. Keys, their order and
types stay the base's; a trained initial state follows the tensors of its layer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from eyas.adapters import Adapter, adapted_layers, adapter_tensors, restore_adapter
from eyas.adapters.base import AdaptedLinear
from eyas.errors import UserError
from eyas.export.pth import Entry, write_pth
from eyas.models import Linear, Model, load, read_tensors
from eyas.models.fingerprint import fingerprint
from eyas.quant import QuantizedLinear

_PROOF_TOKENS = (2, 64)
_EXACT = 1e-4  # relative difference that the order of float32 sums explains
_MARGIN = 4


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    path: Path
    largest_difference: float
    """Of any logit, adapted against merged."""
    loss_difference: float
    """Of the mean cross-entropy of the same tokens."""
    relative_difference: float
    """RMS of the logits' differences over the RMS of the logits."""
    allowed: float
    """The most that rounding to the output type explains of `relative_difference`."""
    rounding_share: float
    """||merged - trained|| / ||trained - base|| over all changed weights; 0 where none changed."""


@dataclass
class _Rounding:
    error: float = 0.0
    change: float = 0.0

    def add(self, merged: Tensor, exact: Tensor, moved: Tensor) -> None:
        self.error += (merged.to(exact) - exact).square().sum().item()
        self.change += moved.square().sum().item()

    def share(self) -> float:
        return math.sqrt(self.error / self.change) if self.change else 0.0


@dataclass
class _Source:
    """The tensors of the merged model, made when they are asked for."""

    base: Mapping[str, Tensor]
    layers: Mapping[str, AdaptedLinear | QuantizedLinear]
    whole: Mapping[str, Tensor]
    rounding: _Rounding = field(default_factory=_Rounding)

    def make(self, name: str, dtype: torch.dtype) -> Tensor:
        """The merged tensor; one that did not change is the base's own, bit for bit."""
        exact, moved = self._exact(name)
        merged = exact.to(dtype)
        if moved is not None:
            self.rounding.add(merged, exact, moved)
        if not torch.isfinite(merged).all():
            raise UserError(f"{name} has values that {_name(dtype)} cannot hold; take --dtype fp32")
        return merged

    def _exact(self, name: str) -> tuple[Tensor, Tensor | None]:
        """The trained tensor, and what training changed in it, if anything."""
        base, layer = self.base.get(name), self.layers.get(name)
        if isinstance(layer, QuantizedLinear):
            return layer.dense_weight(), None
        if layer is not None:
            delta = layer.delta()
            if delta.any() or isinstance(layer.base, QuantizedLinear):
                return layer.base.dense_weight().to(delta) + delta, layer.moved()
        if name in self.whole:
            whole = self.whole[name]
            return whole, whole if base is None else whole - base.to(whole)
        assert base is not None
        return base, None


def merge(base: Path, adapter: Adapter, out: Path, dtype: torch.dtype | None = None) -> Merged:
    """Writes the merged model to `out` and compares its logits with the adapted model's.

    dtype: of all tensors; by default each keeps the base's.

    Raises:
        UserError: the adapter was made over another base, or `out` cannot be written.
        ArithmeticError: the merged model differs by more than the type explains; the file is
            removed.
    """
    tensors = read_tensors(base)
    if fingerprint(tensors) != adapter.base:
        raise UserError(
            f"{base}: not the model that this adapter was trained over ({adapter.shape}); "
            "give that one with --base"
        )
    adapted = load_adapted(base, adapter)
    own = adapter_tensors(adapted)
    whole = {n: t for n, t in own.items() if n in tensors or _is_new_state(n, t)}
    source = _Source(tensors, _changed_layers(adapted), whole)

    def entry(name: str) -> Entry:
        tensor = tensors[name] if name in tensors else whole[name]
        kind = dtype or (tensors[name] if name in tensors else tensors["ln_out.weight"]).dtype
        return Entry(name, tuple(tensor.shape), kind, lambda: source.make(name, kind))

    write_pth(out, [entry(name) for name in _in_order(tensors, whole)])
    merged = _proof(adapted, out, dtype, source.rounding.share())
    if not merged.relative_difference <= merged.allowed:
        out.unlink()
        raise ArithmeticError(
            f"the merged model's logits differ by {merged.relative_difference:.1e} (relative), "
            f"where the output type explains {merged.allowed:.1e}; nothing is left at {out}"
        )
    return merged


def load_adapted(base: Path, adapter: Adapter) -> Model:
    """The base with the adapter attached, ready to run."""
    model = load(base)
    restore_adapter(model, adapter)
    model.eval()
    return model


def _changed_layers(adapted: Model) -> dict[str, AdaptedLinear | QuantizedLinear]:
    """The linears that do not hold the base's weight as it is, by that weight's key."""
    below = {id(layer.base) for layer in adapted_layers(adapted).values()}
    quantized = {
        f"{name}.weight": module
        for name, module in adapted.named_modules()
        if isinstance(module, QuantizedLinear) and id(module) not in below
    }
    return {**adapted_layers(adapted), **quantized}


def _is_new_state(name: str, tensor: Tensor) -> bool:
    """Zeros are what every model begins with; they need no place in the file."""
    return name.endswith(".time_state") and bool(tensor.any())


def _in_order(base: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> list[str]:
    """The base's keys in its order, a new tensor behind the last one of its layer's time mix."""
    names = list(base)
    for name in whole:
        if name not in base:
            layer = name.rpartition(".")[0]
            last = max(i for i, other in enumerate(names) if other.startswith(f"{layer}."))
            names.insert(last + 1, name)
    return names


@torch.inference_mode()
def _proof(adapted: Model, path: Path, dtype: torch.dtype | None, rounding: float) -> Merged:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(adapted.vocab_size, _PROOF_TOKENS, generator=generator)
    merged = load(path)
    expected, _ = adapted(tokens)
    found, _ = merged(tokens)
    narrowest = max(torch.finfo(dtype or p.dtype).eps for p in merged.parameters())
    noisy = _with_noise(adapted, tokens, narrowest, generator)
    next_tokens = tokens[:, 1:].flatten()
    before, after = (
        F.cross_entropy(logits[:, :-1].flatten(0, 1), next_tokens) for logits in (expected, found)
    )
    return Merged(
        path=path,
        largest_difference=(found - expected).abs().max().item(),
        loss_difference=(after - before).item(),
        relative_difference=_relative(found, expected),
        allowed=max(_EXACT, _MARGIN * _relative(noisy, expected)),
        rounding_share=rounding,
    )


def _with_noise(model: Model, tokens: Tensor, eps: float, generator: torch.Generator) -> Tensor:
    """The logits where every linear's output has noise as large as rounding its weight makes.

    A rounded number is off by a fifth to a quarter of eps, in the mean. How much a model amplifies
    that depends on the model, so it is measured and not assumed.
    """

    def disturb(module: nn.Module, inputs: object, out: Tensor) -> Tensor:  # noqa: ARG001
        noise = torch.randn(out.shape, generator=generator)
        return out + eps / 4 * out.square().mean(-1, keepdim=True).sqrt() * noise

    kinds = (AdaptedLinear, Linear, QuantizedLinear)
    handles = [m.register_forward_hook(disturb) for m in model.modules() if isinstance(m, kinds)]
    logits, _ = model(tokens)
    for handle in handles:
        handle.remove()
    return cast(Tensor, logits)


def _relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
