"""Time on a device, and rows that survive what goes wrong in one of them."""

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from statistics import median

import torch

Row = Mapping[str, object]


@dataclass(frozen=True)
class Setting:
    """What a part is told. `ends`: when it must be done, as `time.monotonic` counts."""

    device: torch.device
    dtype: torch.dtype
    dry: bool
    peak_flops: float
    ends: float

    @property
    def late(self) -> bool:
        return time.monotonic() > self.ends


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def seconds(run: Callable[[], object], setting: Setting, repeats: int = 10) -> float:
    """The median of some runs behind two that warm up."""
    taken = []
    for _ in range(2 + (1 if setting.dry else repeats)):
        wait_for(setting.device)
        started = time.perf_counter()
        run()
        wait_for(setting.device)
        taken.append(time.perf_counter() - started)
    return median(taken[2:])


def peak_gb(device: torch.device) -> float | None:
    """The most memory since `fresh`, in units of 10^9 bytes."""
    return torch.cuda.max_memory_allocated(device) / 1e9 if device.type == "cuda" else None


def fresh(device: torch.device) -> None:
    """Lets go of all that is unused, and counts the peak from here on."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def each(cases: Mapping[str, Callable[[], Row]], setting: Setting) -> Iterator[dict[str, object]]:
    """A row a case: what it measured, or what went wrong; or that there was no time left."""
    for name, case in cases.items():
        if setting.late:
            yield {"case": name, "skipped": "no time left"}
            continue
        fresh(setting.device)
        try:
            yield {"case": name, **case()}
        except Exception as error:  # noqa: BLE001  the other cases are still to be measured
            yield {"case": name, "error": f"{type(error).__name__}: {error}"[:300]}
