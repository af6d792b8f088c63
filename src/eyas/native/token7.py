"""RWKV-7 for one token of a few rows, on pointers: `token7.h` says what each field is."""

import ctypes
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from eyas.native.loading import library
from eyas.native.matvec import Stored

MAX_HEAD = 256
VECTORS = (
    *("ln0_weight", "ln0_bias", "ln1_weight", "ln1_bias", "ln2_weight", "ln2_bias"),
    *("ln_x_weight", "ln_x_bias", "x_r", "x_k", "x_v", "x_w", "x_a", "x_g"),
    *("w0", "a0", "v0", "k_k", "k_a", "r_k", "ffn_x_k"),
)
MATRICES = (
    *("receptance", "key", "value", "w1", "a1", "v1", "g1", "w2", "a2", "v2", "g2"),
    *("output", "ffn_key", "ffn_value"),
)


class Matrix(ctypes.Structure):
    """`eyas::Matrix`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("storage", "in", "out")),
        *((name, ctypes.c_void_p) for name in ("weight", "scales", "maxima", "offset")),
        *((name, ctypes.c_void_p) for name in ("values", "levels")),
    )


class Layer(ctypes.Structure):
    """`eyas::Layer7`."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in VECTORS),
        *((name, Matrix) for name in MATRICES),
    )


class Model(ctypes.Structure):
    """`eyas::Model7`."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in ("num_layers", "width", "num_heads", "ffn_width")),
        ("layers", ctypes.POINTER(Layer)),
        ("ln_out_weight", ctypes.c_void_p),
        ("ln_out_bias", ctypes.c_void_p),
    )


def matrix(stored: Stored, in_features: int, out_features: int) -> Matrix:
    """Points to the tensors of `stored`, which must outlive it."""
    tensors = (getattr(stored, name) for name, _ in Matrix._fields_[3:])
    pointers = (None if tensor is None else tensor.data_ptr() for tensor in tensors)
    return Matrix(stored.storage, in_features, out_features, *pointers)


def layer(vectors: Mapping[str, int], matrices: Mapping[str, Matrix]) -> Layer:
    """Of addresses by the names of VECTORS and MATRICES; the first layer has no `v`."""
    return Layer(**vectors, **matrices)


def read_token(
    model: Model,
    target: int,
    threads: int,
    rows: int,
    x: int,
    before: Sequence[int],
    after: Sequence[int],
    hidden: int,
) -> None:
    """Computes what the head reads, and the state after one token of each row.

    x, hidden: addresses of [rows, C] float32. before, after: those of the attention input, wkv and
    ffn input of layer after layer. target: a number in `operators.targets()`. Raises MemoryError.
    """
    pointers = ctypes.c_void_p * len(before)
    done = _function()(
        *(ctypes.byref(model), target, threads, rows),
        *(x, pointers(*before), pointers(*after), hidden),
    )
    if not done:
        raise MemoryError


@cache
def _function() -> Callable[..., bool]:
    compiled = library()
    assert compiled is not None
    run = compiled.eyas_token7
    run.argtypes = [ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p] * 4
    run.restype = ctypes.c_bool
    found: Callable[..., bool] = run
    return found
