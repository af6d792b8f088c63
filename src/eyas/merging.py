"""Merging: base and adapter become one model file, which then proves that it is the trained model.

    W_merged = round(W + delta)        in float32 (or wider), rounded once, tensor by tensor

Whole tensors that were trained replace the base's. Keys, their order and types stay the base's.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from eyas.adapters import Adapter, adapted_layers, adapter_tensors, method_named, restore
from eyas.adapters.base import AdaptedLinear
from eyas.errors import UserError
from eyas.export.pth import Entry, write_pth
from eyas.models import Model, load, read_tensors
from eyas.models.fingerprint import fingerprint

_PROOF_TOKENS = (2, 64)


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    path: Path
    largest_difference: float
    """Of any logit, adapted against merged."""
    relative_difference: float
    """RMS of the logits' differences over the RMS of the logits."""
    allowed: float
    """The most that the output type explains of `relative_difference`."""
    rounding_share: float
    """||merged - trained|| / ||trained - base|| over all changed weights; 0 where none changed."""


@dataclass
class _Rounding:
    error: float = 0.0
    change: float = 0.0

    def add(self, merged: Tensor, exact: Tensor, base: Tensor) -> None:
        self.error += (merged.to(exact) - exact).square().sum().item()
        self.change += (exact - base.to(exact)).square().sum().item()

    def share(self) -> float:
        return math.sqrt(self.error / self.change) if self.change else 0.0


@dataclass
class _Source:
    """The tensors of the merged model, made when they are asked for."""

    base: Mapping[str, Tensor]
    layers: Mapping[str, AdaptedLinear]
    whole: Mapping[str, Tensor]
    rounding: _Rounding = field(default_factory=_Rounding)

    def make(self, name: str, dtype: torch.dtype) -> Tensor:
        """The merged tensor; one that did not change is the base's own, bit for bit."""
        base = self.base[name]
        if name in self.layers:
            delta = self.layers[name].delta()
            exact = base.to(delta) + delta if delta.any() else base
        else:
            exact = self.whole.get(name, base)
        merged = exact.to(dtype)
        if exact is not base:
            self.rounding.add(merged, exact, base)
        if not torch.isfinite(merged).all():
            raise UserError(f"{name} has values that {_name(dtype)} cannot hold; take --dtype fp32")
        return merged


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
    source = _Source(
        tensors, adapted_layers(adapted), {n: t for n, t in own.items() if n in tensors}
    )

    def entry(name: str, tensor: Tensor) -> Entry:
        kind = dtype or tensor.dtype
        return Entry(name, tuple(tensor.shape), kind, lambda: source.make(name, kind))

    write_pth(out, [entry(name, tensor) for name, tensor in tensors.items()])
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
    restore(model, method_named(adapter.method, adapter.settings, "the adapter"), adapter.tensors)
    model.eval()
    return model


@torch.inference_mode()
def _proof(adapted: Model, path: Path, dtype: torch.dtype | None, rounding: float) -> Merged:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(adapted.vocab_size, _PROOF_TOKENS, generator=generator)
    merged = load(path)
    expected, _ = adapted(tokens)
    found, _ = merged(tokens)
    difference = found - expected
    narrowest = max(torch.finfo(p.dtype).eps for p in merged.parameters())
    return Merged(
        path=path,
        largest_difference=difference.abs().max().item(),
        relative_difference=(difference.norm() / expected.norm().clamp_min(1e-30)).item(),
        allowed=max(1e-4, 16 * (torch.finfo(dtype).eps if dtype else narrowest)),
        rounding_share=rounding,
    )


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
