"""What the machine has in use."""

import resource
import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """The most memory this process has used so far, on the device that it trains on."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
