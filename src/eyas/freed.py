"""Memory that is free inside the process: kept, or given back to the system (Linux with glibc).

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

_GROWN = 2**27
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
_NEVER, _LARGEST = -1, 2**30


def keeping(device: torch.device) -> Callable[[], None]:
    """From here on what is freed stays with the process, as a training step frees and takes the
    same again, and to get every page anew costs it time.

    Gives a function to call behind each step. Where that one has taken more than any before it
    gives back what is free, so that the next one begins with a heap in order.
    """
    mallopt = _of_glibc("mallopt")
    if mallopt is not None and device.type == "cpu":
        mallopt(_TRIM_THRESHOLD, _NEVER)
        mallopt(_MMAP_THRESHOLD, _LARGEST)
    return _trimming(device, _peak)


def freeing(device: torch.device) -> Callable[[], None]:
    """A function that gives back what is free each time that the process has grown by 128 MiB."""
    return _trimming(device, _resident)


def _trimming(device: torch.device, taken: Callable[[], int]) -> Callable[[], None]:
    """A function that does so where `taken` has grown by 128 MiB since it last did."""
    trim = _of_glibc("malloc_trim")
    if trim is None or device.type != "cpu":
        return lambda: None
    before = taken()

    def give_back() -> None:
        nonlocal before
        if taken() > before + _GROWN:
            trim(0)
            before = taken()

    return give_back


def _resident() -> int:
    """Bytes of this process in memory."""
    pages = Path("/proc/self/statm").read_bytes().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> int:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@functools.cache
def _of_glibc(name: str) -> Callable[..., int] | None:
    if not sys.platform.startswith("linux"):
        return None
    found: Callable[..., int] | None = getattr(ctypes.CDLL(None), name, None)
    return found
