"""The model that a foreign adapter is for, and whether it is: foreign files do not say.

Keys and shapes must fit. Factors tell more, as what PiSSA and OLoRA start from are the weight's
own: B0 A0 = Q Q^T W with orthonormal Q, so that

    share = <B A, W> / |B A|^2 = 1        cosine = <B A, W> / (|B A| |W|) = |B A| / |W|

A LoRA's product is nearly orthogonal to the weight (cosine 0.005: Hu et al. 2021, table 7).
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from eyas.adapters import Adapter, AnyMethod, Bat, LoRA, MiSS, OLoRA, PiSSA, State
from eyas.errors import UserError
from eyas.interop.parts import Parts, rank_of
from eyas.models import Shape, read_tensors, shape_of
from eyas.models.fingerprint import fingerprint

_LINEAR = re.compile(r"^(blocks\.\d+\.(att|ffn)\.\w+)\.weight$")
_SHOWN = 5
_SAMPLED = 3  # layers that are compared with the base
_SHARE, _COSINE = 0.5, 0.05  # how near to 1, and at least how large, the principal part's are


@dataclass(frozen=True)
class Base:
    """A base model's file."""

    path: Path
    tensors: Mapping[str, Tensor]
    shape: Shape

    @cached_property
    def linears(self) -> dict[str, Tensor]:
        """The weights that can be adapted, by the path of their linear."""
        found = ((_LINEAR.match(name), tensor) for name, tensor in self.tensors.items())
        return {match[1]: tensor for match, tensor in found if match and tensor.dim() == 2}

    @cached_property
    def fingerprint(self) -> str:
        return fingerprint(self.tensors)


def read_base(path: Path) -> Base:
    """Raises UserError where this is no model that eyas knows."""
    tensors = read_tensors(path)
    return Base(path, tensors, shape_of(tensors, path))


def adapter_over(base: Base, method: AnyMethod, parts: Parts, where: Path) -> Adapter:
    """The adapter made of a foreign file's tensors, as masters.

    Raises UserError that names what does not fit the base, and what no adapter holds.
    """
    mistakes = [*_wrong_tensors(base, method, parts), *_wrong_layers(base, method, parts)]
    if mistakes:
        more = f"; and {len(mistakes) - _SHOWN} more" if len(mistakes) > _SHOWN else ""
        raise UserError(
            f"{where}: does not fit {base.path} ({base.shape}): "
            f"{'; '.join(mistakes[:_SHOWN])}{more}; give the model that it was trained over"
        )
    tensors = parts.masters().tensors()
    if broken := next((n for n, t in tensors.items() if not torch.isfinite(t).all()), None):
        raise UserError(f"{where}: {broken} holds NaN or inf; take an earlier checkpoint")
    _check_start(base, method, parts, where)
    return Adapter(method, base.fingerprint, str(base.shape), 0, 0, tensors)


def _check_start(base: Base, method: AnyMethod, parts: Parts, where: Path) -> None:
    """Raises UserError where factors that started as a part of the weights did not, or reverse."""
    if isinstance(method, LoRA):
        share, cosine = _resemblance(base, parts, "lora_A", "lora_B")
        if abs(share - 1) < _SHARE and cosine > _COSINE:
            raise UserError(
                f"{where}: is PiSSA's and no LoRA, as its product is a part of the weights of "
                f"{base.path}; give what it started from with --init, and no --alpha"
            )
    elif isinstance(method, (PiSSA, OLoRA)):
        share, _ = _resemblance(base, parts, "lora_A0", "lora_B0")
        if abs(share - 1) > _SHARE:
            raise UserError(
                f"{where}: what it started from is no part of the weights of {base.path}; give "
                "the model that it was trained over, and the --init of its run"
            )


def _resemblance(base: Base, parts: Parts, down: str, up: str) -> tuple[float, float]:
    """share and cosine over some of the layers."""
    paths = sorted(parts.layers)
    inner = product = weights = 0.0
    for path in paths[:: max(1, len(paths) // _SAMPLED)][:_SAMPLED]:
        A, B = (parts.layers[path][name].double() for name in (down, up))
        W = base.linears[path].double()
        inner += ((W @ A.mT) * B).sum().item()
        product += ((A @ A.mT) * (B.mT @ B)).sum().item()
        weights += W.square().sum().item()
    tiny = torch.finfo(torch.float64).tiny
    return inner / max(product, tiny), inner / max(math.sqrt(product * weights), tiny)


def _wrong_layers(base: Base, method: AnyMethod, parts: Parts) -> Iterable[str]:
    for path, layer in parts.layers.items():
        if path not in base.linears:
            there = f"{path}.weight" in base.tensors
            yield f"{path} is no linear {'inside its blocks' if there else 'of it'}"
            continue
        rows, columns = base.linears[path].shape
        rank = rank_of(layer)
        if isinstance(method, Bat) and (not rank or rows % rank or columns % rank):
            yield f"tiles of side {rank} do not cut {path} [{rows}, {columns}] evenly"
            continue
        expected = _expected(method, rank, rows, columns)
        missing = [name for name in expected if name not in layer]
        yield from (f"{path} has no {name}" for name in missing)
        for name, size in expected.items() if not missing else ():
            if tuple(layer[name].shape) != size:
                yield (
                    f"{path} has {name} {list(layer[name].shape)} where a weight "
                    f"[{rows}, {columns}] has {list(size)}"
                )


def _expected(method: AnyMethod, rank: int, rows: int, columns: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the tensors of a layer of that rank over a weight [rows, columns]."""
    if isinstance(method, MiSS):
        return {"miss_D": (rank, rows)}
    if isinstance(method, Bat):
        count = (columns if method.blocks == "in" else rows) // rank
        return {"bat_D": (count, rank, rank)}
    pair: dict[str, tuple[int, ...]] = {"lora_A": (rank, columns), "lora_B": (rows, rank)}
    if isinstance(method, LoRA):
        return pair
    return {**pair, **{f"{name}0": shape for name, shape in pair.items()}}


def _wrong_tensors(base: Base, method: AnyMethod, parts: Parts) -> Iterable[str]:
    sizes = {name: tuple(tensor.shape) for name, tensor in base.tensors.items()}
    if isinstance(method, State):
        states = state_sizes(base.shape)
        yield from (f"{name} is missing" for name in states if name not in parts.whole)
        sizes |= states
    for name, tensor in parts.whole.items():
        if name not in sizes:
            yield f"{name} is no tensor of it"
        elif tuple(tensor.shape) != sizes[name]:
            yield f"{name} is {list(tensor.shape)} and not {list(sizes[name])}"


def state_sizes(shape: Shape) -> dict[str, tuple[int, ...]]:
    """The initial states of a model of that shape."""
    size = shape.num_heads, shape.head_size, shape.head_size
    return {f"blocks.{i}.att.time_state": size for i in range(shape.num_layers)}
