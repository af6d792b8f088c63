"""Memory that is free inside the process, given back to the system (Linux with glibc).

glibc keeps what is freed for what comes next. But tensors are aligned, and of the room of a freed
one a little is soon taken by something small that lives longer: the next tensor of the same size
does not fit there any more, and the heap grows instead.
"""

import ctypes
import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path

import torch

_SMALL = 2 * 2**30
_GROWN = 2**27


def return_freed_memory(device: torch.device) -> None:
    """Gives what a model on the CPU freed back to the system.

    Without this a 0.1B model's second step needs a quarter more than the first. It costs time (15 %
    of a tiny model's step: all pages have to be got again), so a process that never took more than
    2 GiB is left alone.
    """
    trim = _malloc_trim() if device.type == "cpu" else None
    if trim and _peak() > _SMALL:
        trim(0)


def freeing(device: torch.device) -> Callable[[], None]:
    """A function that does so each time that the process has grown by 128 MiB."""
    trim = _malloc_trim() if device.type == "cpu" else None
    if trim is None:
        return lambda: None
    least = _resident()

    def give_back() -> None:
        nonlocal least
        if _resident() > least + _GROWN:
            trim(0)
            least = _resident()

    return give_back


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_bytes().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@functools.cache
def _malloc_trim() -> Callable[[int], int] | None:
    if not sys.platform.startswith("linux"):
        return None
    trim: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return trim
