"""Products of few vectors with a weight, y = x W^T, which read the weight once as it is stored.

Generating reads every weight for a token or a few: what it costs is the bytes that come from
memory. The sums are float32 and do not depend on the number of threads, nor on what other vectors
there are; `matvec.h` says how a weight may be stored.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from eyas.native.loading import library
from eyas.native.operators import best_target

MAX_ROWS, MAX_ROWS_FLOAT32 = 32, 16
"""With many vectors the sums cost more than reading: PyTorch's matrix products are for those, and
sooner for float32, where they need not widen the weight first."""

_PLAIN = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}
_INT8 = {torch.float16: 3, torch.float32: 4}
_FOUR_BITS, _FOUR_BITS_DOUBLE = 5, 6


@dataclass(frozen=True, eq=False, slots=True)
class Stored:
    """A weight as the kernels read it: contiguous tensors on the CPU."""

    storage: int  # its place in `eyas::Storage`
    weight: Shaped[Tensor, "..."]  # [out, in], or codes
    scales: Shaped[Tensor, " G"] | None = None  # of blocks of 64
    maxima: Float[Tensor, " M"] | None = None
    offset: Float[Tensor, "1"] | None = None
    values: Float[Tensor, "16"] | None = None
    levels: Float[Tensor, "256"] | None = None


def fits(x: Tensor, in_features: int, rows: int = MAX_ROWS) -> bool:
    """Whether x [..., in_features] is few vectors that the kernels take, and needs no gradient."""
    return (
        x.shape[-1] == in_features
        and x.numel() <= rows * in_features
        and x.dtype is torch.float32
        and x.is_cpu
        and type(x) is Tensor
        and not (x.requires_grad and torch.is_grad_enabled())
        and library() is not None
    )


def plain(weight: Tensor) -> Stored | None:
    """A weight of numbers, if its type is one that the kernels read."""
    storage = _PLAIN.get(weight.dtype)
    if storage is None or not weight.is_cpu or not weight.is_contiguous():
        return None
    return Stored(storage, weight)


def int8(codes: Tensor, scales: Tensor) -> Stored | None:
    """Codes in -127..127, each block of 64 with a scale in float16 or float32."""
    return Stored(_INT8[scales.dtype], codes, scales) if codes.is_cpu else None


def four_bits(codes: Tensor, scales: Tensor, values: Tensor) -> Stored | None:
    """Two codes of `values` a byte, the first in its high bits, each block of 64 with a scale."""
    return Stored(_FOUR_BITS, codes, scales, values=values) if codes.is_cpu else None


def four_bits_double(
    codes: Tensor, scales: Tensor, maxima: Tensor, offset: Tensor, values: Tensor, levels: Tensor
) -> Stored | None:
    """The same, a scale being `levels[code] * maxima[block / 256] + offset`."""
    if not codes.is_cpu:
        return None
    return Stored(_FOUR_BITS_DOUBLE, codes, scales, maxima, offset, values, levels)


def product(
    x: Float[Tensor, "... I"],
    weight: Stored,
    out_features: int,
    target: int | None = None,
    threads: int | None = None,
) -> Float[Tensor, "... O"]:
    """x W^T for vectors that `fits` takes.

    target: a number in `operators.targets()`, by default the best.
    threads: by default PyTorch's number.
    """
    in_features = x.shape[-1]
    x = x.contiguous()
    y = x.new_empty((*x.shape[:-1], out_features))
    done = _function()(
        weight.storage,
        best_target() if target is None else target,
        torch.get_num_threads() if threads is None else threads,
        *(x.numel() // in_features, in_features, out_features),
        *(x.data_ptr(), y.data_ptr(), weight.weight.data_ptr()),
        *(_pointer(tensor) for tensor in (weight.scales, weight.maxima, weight.offset)),
        *(_pointer(tensor) for tensor in (weight.values, weight.levels)),
    )
    if not done:
        raise MemoryError
    return y


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@cache
def _function() -> Callable[..., bool]:
    compiled = library()
    assert compiled is not None
    run = compiled.eyas_product
    run.argtypes = [ctypes.c_int64] * 6 + [ctypes.c_void_p] * 8
    run.restype = ctypes.c_bool
    found: Callable[..., bool] = run
    return found
