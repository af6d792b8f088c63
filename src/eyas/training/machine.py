"""What the machine has in use."""

import ctypes
import functools
import sys
from collections.abc import Callable

import torch

_SMALL = 2 * 2**30


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has used so far, on the device that it trains on."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def return_freed_memory() -> None:
    """Gives what is freed back to the system, where the C library would keep it (glibc).

    Between the activations of two steps glibc's heap falls into pieces too small for the next:
    without this a 0.1B model's second step needs a quarter more than the first. It costs time (15 %
    of a tiny model's step), so a process that is small is left alone.
    """
    trim = _malloc_trim()
    if trim and peak_bytes(torch.device("cpu")) > _SMALL:
        trim(0)


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
