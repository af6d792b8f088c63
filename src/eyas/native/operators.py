"""The WKV operators of the library, on pointers."""

import ctypes
from collections.abc import Mapping
from functools import cache

from eyas.native.loading import library

_SIZES = ("batch", "length", "heads", "size")
_TENSORS = (
    *("r", "decay", "k", "v", "a", "b", "bonus", "state", "starts", "fresh", "out", "last"),
    *("kept", "u", "d_out", "d_last", "d_r", "d_log_decay", "d_k", "d_v", "d_a", "d_b"),
    *("d_bonus", "d_state", "d_fresh"),
)


class _Call(ctypes.Structure):
    """`eyas::Call` of `wkv.h`, which says what each field is."""

    _fields_ = (
        *((name, ctypes.c_int64) for name in _SIZES),
        *((name, ctypes.c_void_p) for name in _TENSORS),
    )


def targets() -> list[str]:
    """The sets of instructions that this processor has kernels for, the best one last."""
    compiled = library()
    assert compiled is not None
    name = compiled.eyas_target
    name.restype = ctypes.c_char_p
    found: list[str] = []
    while known := name(ctypes.c_int64(len(found))):
        found.append(known.decode())
    return found


@cache
def best_target() -> int:
    """The number of the last one."""
    return len(targets()) - 1


def chunk() -> int:
    """How many tokens lie between two states that are kept for the backward."""
    compiled = library()
    assert compiled is not None
    compiled.eyas_wkv_chunk.restype = ctypes.c_int64
    tokens: int = compiled.eyas_wkv_chunk()
    return tokens


def call(
    sizes: tuple[int, int, int, int],
    pointers: Mapping[str, int],
    version: int,
    wide: bool,
    backward: bool,
    target: int,
    threads: int,
) -> None:
    """Computes `wkv6` or `wkv7`, or its gradients, in float32, or float64 where `wide`.

    sizes: B, T, H, N. pointers: addresses of contiguous tensors by the names of `wkv.h`. target: a
    number in `targets()`.
    """
    compiled = library()
    assert compiled is not None
    arguments = _Call(*sizes, **pointers)
    run = compiled.eyas_wkv
    run.restype = ctypes.c_bool
    numbers = (ctypes.c_int64(number) for number in (target, threads))
    flags = (ctypes.c_bool(flag) for flag in (wide, backward))
    if not run(ctypes.byref(arguments), ctypes.c_int64(version), *flags, *numbers):
        raise MemoryError
