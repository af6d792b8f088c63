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

import torch
from torch import Tensor

from eyas.adapters import AdaptedLinear, Adapter, adapter_tensors, restore_adapter
from eyas.errors import UserError
from eyas.exporting.pth import Entry, write_pth
from eyas.exporting.weights import Weight, Weights, in_order
from eyas.files import remove_temporaries
from eyas.merging.proof import Proof, changed_layers, check_layer, prove
from eyas.models import Model, load, read_tensors
from eyas.models.fingerprint import fingerprint
from eyas.quant import QuantizedLinear


@dataclass(frozen=True)
class Merged:
    """What came of a merge."""

    path: Path
    proof: Proof
    rounding_share: float
    """||merged - trained|| / ||trained - base|| over all changed weights; 0 where none changed."""

    def told(self) -> list[str]:
        """What the proof found, in words."""
        proof = self.proof
        lines = [
            "adapted against merged: largest difference of a logit "
            f"{proof.largest_difference:.2e}, relative {proof.relative_difference:.1e} "
            f"(rounding explains {proof.allowed:.1e}), "
            f"of the loss {proof.loss_difference:+.1e}"
        ]
        if self.rounding_share:
            lines.append(f"rounding is {self.rounding_share:.1%} of the change that was trained")
        if self.rounding_share > 0.5:
            lines[-1] += "; take fp16 or fp32 (eyas merge --dtype) to keep it"
        return lines


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
        if not torch.isfinite(exact).all():
            raise UserError(f"{name} holds NaN or inf in the base or the adapter; nothing to merge")
        if not torch.isfinite(merged).all():
            raise UserError(f"{name} has values that {_name(dtype)} cannot hold; take --dtype fp32")
        return merged

    def proven(self, name: str) -> Tensor:
        """The merged tensor as exact as it is known, once it is what the trained layer computes."""
        exact, _ = self._exact(name)
        if name in self.layers:
            check_layer(name, exact, self.layers[name])
        return exact.detach()

    def names(self) -> list[str]:
        """The base's keys in its order, a new tensor behind the last one of its layer's."""
        return _in_order(self.base, self.whole)

    def dtype(self, name: str) -> torch.dtype:
        """That of the base's tensor; of a new one, of the base's layer norms."""
        return self.base.get(name, self.base["ln_out.weight"]).dtype

    def size(self, name: str) -> tuple[int, ...]:
        return tuple((self.base if name in self.base else self.whole)[name].shape)

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
    """Writes the merged model to `out`, once it is proven to be the adapted model (`proof`).

    dtype: of all tensors; by default each keeps the base's.

    Raises:
        UserError: the adapter was made over another base, or `out` cannot be written.
        ArithmeticError: the merged model differs by more than the type explains; `out` is left
            as it was.
    """
    adapted, source = _merging(base, adapter)
    proofs: list[Proof] = []

    def entry(name: str) -> Entry:
        kind = dtype or source.dtype(name)
        return Entry(name, source.size(name), kind, lambda: source.make(name, kind))

    remove_temporaries(out.parent, out.name)
    write_pth(
        out,
        [entry(name) for name in source.names()],
        check=lambda written: proofs.append(prove(adapted, written, source.whole)),
    )
    return Merged(out, proofs[0], source.rounding.share())


def merged_weights(base: Path, adapter: Adapter) -> Weights:
    """The merged model, for any format: its tensors are made when they are asked for.

    Each is then compared with what the trained layer computes; what differs raises an
    ArithmeticError. Raises UserError where the adapter was made over another base.
    """
    adapted, source = _merging(base, adapter)

    def weight(name: str) -> Weight:
        return Weight(name, source.size(name), source.dtype(name), lambda: source.proven(name))

    return Weights(adapted.shape, {name: weight(name) for name in source.names()})


def _merging(base: Path, adapter: Adapter) -> tuple[Model, _Source]:
    adapted, tensors = _adapted(base, adapter)
    own = adapter_tensors(adapted)
    whole = {n: t for n, t in own.items() if n in tensors or _is_new_state(n, t)}
    return adapted, _Source(tensors, changed_layers(adapted), whole)


def load_adapted(base: Path, adapter: Adapter) -> Model:
    """The base with the adapter attached, ready to run. Raises UserError for another base."""
    return _adapted(base, adapter)[0]


def _adapted(base: Path, adapter: Adapter) -> tuple[Model, dict[str, Tensor]]:
    """The adapted model, and the base's own tensors."""
    tensors = read_tensors(base)
    if fingerprint(tensors) != adapter.base:
        raise UserError(
            f"{base}: not the model that this adapter was trained over ({adapter.shape}); "
            "give that one with --base"
        )
    model = load(base)
    restore_adapter(model, adapter)
    model.eval()
    return model, in_order(tensors, base)


def _is_new_state(name: str, tensor: Tensor) -> bool:
    """Zeros are what every model begins with; they need no place in the file."""
    return name.endswith(".time_state") and bool(tensor.any())


def _in_order(base: Mapping[str, Tensor], whole: Mapping[str, Tensor]) -> list[str]:
    names = list(base)
    for name in whole:
        if name not in base:
            layer = name.rpartition(".")[0]
            last = max(i for i, other in enumerate(names) if other.startswith(f"{layer}."))
            names.insert(last + 1, name)
    return names


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


__all__ = ["Merged", "Proof", "load_adapted", "merge", "merged_weights"]
