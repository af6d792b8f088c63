"""How matrices are multiplied on a CPU: in which type, and by which library.

Processors with units for bfloat16 (AVX512-BF16, AMX) multiply it at twice the speed of float32 and
more, with sums in float32. `products_in` asks for that alone: what is between the products stays
as it is. It is PyTorch's autocast, so that the parts that are computed again follow it too.

On AMD's processors with AVX-512 oneDNN multiplies float32 faster than MKL at most sizes of a step
(benchmarks/products.py). PyTorch asks it where float32 products may be rounded to bfloat16, which
oneDNN does not do on these: it has no faster way there than float32 itself.
"""

import functools
import platform
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

_EXACT = 1e-5  # relative; rounding to bfloat16 costs 3e-3


def products_in(dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Matrices on a CPU are multiplied in that type meanwhile; None: in their own."""
    return nullcontext() if dtype is None else torch.autocast("cpu", dtype)


def product_type(x: Tensor) -> torch.dtype:
    """The type that x is multiplied in."""
    if x.device.type == "cpu" and x.dtype == torch.float32 and torch.is_autocast_enabled("cpu"):
        return torch.get_autocast_dtype("cpu")
    return x.dtype


def multiplies_bfloat16() -> bool:
    """Whether this processor has units for products of bfloat16 matrices."""
    if platform.machine().lower() in ("x86_64", "amd64"):
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


@functools.cache
def choose_library() -> None:
    """Takes the faster one for this process, where it is exact and there is no GPU.

    With a GPU the same setting of PyTorch would round the products there.
    """
    if torch.cuda.is_available() or not (_by_amd() and torch.cpu._is_avx512_supported()):
        return
    before = torch.get_float32_matmul_precision()
    x = torch.linspace(-1, 1, 96 * 256).view(96, 256).sin()
    exact = x.double() @ x.double().mT
    torch.set_float32_matmul_precision("medium")
    error = (x @ x.mT - exact).norm() / exact.norm()
    if error > _EXACT:
        torch.set_float32_matmul_precision(before)


def _by_amd() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
