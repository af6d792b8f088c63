"""The elementwise kernels of the library, on tensors."""

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from eyas.native.loading import library
from eyas.native.operators import best_target

MOST_MIXES = 8

# The structures of `pointwise.h`, which says what each field is. Plain names are whole numbers,
# those with "=" numbers of the call's type, "*" a tensor and "[]" several.
_FIELDS = {
    "mix": (
        *("batch", "length", "width", "count"),
        *("*x", "*last", "[]mix", "[]offset", "*starts", "[]out", "[]d_out", "*d_x", "*d_last"),
        *("[]d_offset", "*d_mix"),
    ),
    "goose": (
        *("tokens", "heads", "size"),
        *("*w", "*a", "*k", "*mix", "*v", "*first", "*w0", "*a0", "*v0", "*k_k", "*k_a"),
        *("*log_decay", "*key", "*value", "*removal", "*replacement"),
        *("*d_log_decay", "*d_key", "*d_value", "*d_removal", "*d_replacement"),
        *("*d_w", "*d_a", "*d_k", "*d_mix", "*d_v", "*d_first", "*d_parameters"),
    ),
    "gated": (
        *("tokens", "heads", "size", "silu", "=eps"),
        *("*y", "*gate", "*weight", "*bias", "*r", "*k", "*v", "*r_k", "*out"),
        *("*d_out", "*d_y", "*d_gate", "*d_r", "*d_k", "*d_v", "*d_parameters"),
    ),
    "softmax": ("rows", "size", "gradient", "=l2", "*logits", "*targets", "*loss"),
    "squared": ("count", "*x", "*out", "*d_out", "*d_x"),
}


def _structure(fields: Sequence[str], number: Any) -> type[ctypes.Structure]:
    kinds = {"=": number, "*": ctypes.c_void_p, "[": ctypes.c_void_p * MOST_MIXES}
    typed = [(name.lstrip("=*[]"), kinds.get(name[0], ctypes.c_int64)) for name in fields]
    return type("Call", (ctypes.Structure,), {"_fields_": typed})


_STRUCTURES = {
    (name, wide): _structure(fields, ctypes.c_double if wide else ctypes.c_float)
    for name, fields in _FIELDS.items()
    for wide in (False, True)
}


def usable(*tensors: Tensor) -> bool:
    """Whether there are kernels for these: all on a CPU, and float32 or float64."""
    types = {x.dtype for x in tensors}
    on_cpu = all(x.device.type == "cpu" for x in tensors)
    return on_cpu and types in ({torch.float32}, {torch.float64}) and library() is not None


def wanted(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
    """The gradients of a function's arguments, without those of arguments that need none."""
    return tuple(
        grad if needed else None for grad, needed in zip(grads, ctx.needs_input_grad, strict=True)
    )


def pieces(tokens: int) -> int:
    """In how many parts the gradients of parameters are summed."""
    compiled = library()
    assert compiled is not None
    compiled.eyas_pointwise_piece.restype = ctypes.c_int64
    return -(-tokens // int(compiled.eyas_pointwise_piece()))


def call(
    name: str,
    dtype: torch.dtype,
    numbers: Mapping[str, int | float],
    tensors: Mapping[str, Tensor | Sequence[Tensor | None] | None],
    backward: bool = False,
) -> None:
    """Computes a kernel of `pointwise.h`, or its gradients.

    tensors: by the names there, of that type, contiguous and of the shapes that the header gives,
    which is the caller's promise.
    """
    compiled = library()
    assert compiled is not None
    wide = dtype == torch.float64
    arguments = _STRUCTURES[name, wide](
        **numbers, **{field: _pointers(given) for field, given in tensors.items()}
    )
    run = getattr(compiled, f"eyas_{name}")
    run.restype = None
    flags = ctypes.c_bool(wide), ctypes.c_bool(backward)
    threads = ctypes.c_int64(torch.get_num_threads())
    run(ctypes.byref(arguments), *flags, ctypes.c_int64(best_target()), threads)


def _pointers(given: Tensor | Sequence[Tensor | None] | None) -> Any:
    if given is None or isinstance(given, Tensor):
        return _pointer(given)
    return (ctypes.c_void_p * MOST_MIXES)(*map(_pointer, given))


def _pointer(tensor: Tensor | None) -> int | None:
    if tensor is None:
        return None
    assert tensor.is_contiguous()
    return tensor.data_ptr()
