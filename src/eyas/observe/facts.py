"""What a run was made with: the machine and the programs."""

import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch

_LIBRARIES = ("eyas", "torch", "numpy", "bitsandbytes", "fla-core", "deepspeed")


def hardware(device: torch.device) -> dict[str, object]:
    """Processor, memory, threads, and the device that the run computes on."""
    found: dict[str, object] = {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "memory": f"{_memory_bytes() / 2**30:.1f} GiB",
        "device": str(device),
    }
    if device.type == "cuda":
        gpu = torch.cuda.get_device_properties(device)
        found["GPU"] = f"{gpu.name}, {gpu.total_memory / 2**30:.1f} GiB"
    return found


def versions() -> dict[str, object]:
    """Python, the libraries that the numbers depend on, and the system."""
    found: dict[str, object] = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    if torch.version.cuda:
        found["CUDA"] = torch.version.cuda
    return {**found, "system": platform.platform()}


def _processor() -> str:
    if sys.platform == "linux":
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = (
                line.split(":", 1)[1].strip() for line in file if line.startswith("model name")
            )
            if name := next(names, ""):
                return name
    return platform.processor() or platform.machine()


def _memory_bytes() -> int:
    if sys.platform == "win32":
        import psutil

        return int(psutil.virtual_memory().total)
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
