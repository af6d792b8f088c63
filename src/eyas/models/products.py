"""By which library PyTorch multiplies float32 matrices on a CPU.

On AMD's processors with AVX-512 oneDNN does it 10 to 40 % faster than MKL (benchmarks/products.py).
PyTorch asks it where float32 products may be rounded to bfloat16, which oneDNN does not do on
these: it has no faster way there than float32 itself.
"""

import functools
import sys
from pathlib import Path

import torch

_EXACT = 1e-5  # relative; rounding to bfloat16 costs 3e-3


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
