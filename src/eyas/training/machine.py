"""What the machine has in use."""

import sys
from pathlib import Path

import torch
from torch import Tensor


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


def free_bytes(device: torch.device) -> int:
    """What this process may have there in all: what is free, and what it has already."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    import psutil

    own = int(psutil.Process().memory_info().rss)
    return min([int(psutil.virtual_memory().available) + own, *_group_limits()])


def _group_limits() -> list[int]:
    """Of the control group that this process is in, as containers and batch systems set them."""
    root, own = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
    lines = own.read_text().splitlines() if own.exists() else []
    places = [root / line.split("::", 1)[1].lstrip("/") for line in lines if "::" in line]
    files = [place / "memory.max" for place in (root, *places)]
    texts = [file.read_text().strip() for file in files if file.exists()]
    return [int(text) for text in texts if text.isdigit()]


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor there, copied while a GPU is at work: its queue is not waited for."""
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
