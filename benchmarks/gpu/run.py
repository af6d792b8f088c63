"""What eyas does on a GPU, in ten minutes, as JSON.

    python benchmarks/gpu/run.py [--minutes 10] [--parts NAME ...] [--out FILE.json] [--dry-run]

README.md beside this file says what the parts are. The file is written after every row: a run that
is cut short keeps what it has measured. --dry-run: next to no work, on a CPU too.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import generating
import kernels
import peer
import steps
import torch
from timing import Row, Setting, seconds, wait_for

from eyas import wkv
from eyas.files import write_bytes
from eyas.observe.facts import hardware, versions
from eyas.observe.flops import product_rate

# Each part, and its share of the time; what one leaves goes to those behind it.
PARTS: dict[str, tuple[Callable[[Setting], Iterator[Row]], float]] = {
    "operators": (kernels.measured, 1.0),
    "speed": (steps.speed, 3.0),
    "peer": (peer.measured, 1.5),
    "memory": (steps.memory, 2.0),
    "generating": (generating.measured, 0.7),
    "compiled": (steps.compiled, 1.0),
}


def compiling(device: torch.device, ends: float) -> Iterator[Row]:
    """The seconds in which Triton compiles and tunes the kernels for the first time.

    Each operator in a process of its own; what they find is kept on disk for all that follow.
    """
    started = time.monotonic()
    command = [sys.executable, __file__, "--compile", str(device)]
    running = {name: subprocess.Popen([*command, name]) for name in kernels.NAMES}
    for name, process in running.items():
        try:
            code = process.wait(max(1.0, ends - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            yield {"case": name, "skipped": "no time left; run it once more"}
            continue
        yield {"case": name, "seconds": time.monotonic() - started, "exit": code}


def compile_one(device: str, name: str) -> None:
    """Runs an operator once in each of its ways."""
    setting = Setting(torch.device(device), torch.bfloat16, False, 1.0, 0.0)
    args = kernels.inputs(name, (1, 1024, 32), setting)
    kernels.both_ways(getattr(wkv.fla, name), args)
    with torch.inference_mode():
        short = [x[:, :8] if x.shape[:2] == (1, 1024) else x for x in args]
        getattr(wkv.fla, name)(*short)
    wait_for(setting.device)


def peak_rate(device: torch.device, dtype: torch.dtype, dry: bool) -> float:
    """The fastest matrix product of this run, FLOP/s."""
    rate = product_rate(dtype, device, 0.05 if dry else 1.0)
    for size in () if dry or device.type == "cpu" else (8192, 16384):
        a, b = torch.randn(2, size, size, device=device).to(dtype)
        setting = Setting(device, dtype, False, 1.0, 0.0)
        rate = max(rate, 2 * size**3 / seconds(partial(torch.mm, a, b), setting))
    return rate


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--parts", nargs="+", choices=["compiling", *PARTS], default=None)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/gpu.json"))
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--compile", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.compile:
        compile_one(*given.compile)
        return
    if not (torch.cuda.is_available() or given.dry_run):
        parser.error("there is no GPU here; --dry-run goes without one")
    measure(given.minutes, given.parts or ["compiling", *PARTS], given.out, given.dry_run)


def measure(minutes: float, parts: list[str], out: Path, dry: bool) -> None:
    ends = time.monotonic() + 60 * minutes
    on_gpu = torch.cuda.is_available()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    dtype = torch.bfloat16 if on_gpu else torch.float32
    found: dict[str, object] = {
        "hardware": hardware(device),
        "versions": versions(),
        "dry_run": dry,
        "operators": "fla" if wkv.fastest(device) is wkv.fla else "no fla-core: chunked",
    }

    def keep(name: str, rows: Iterator[Row]) -> None:
        kept: list[Row] = []
        found[name] = kept
        for row in rows:
            kept.append(row)
            print(name, json.dumps(row), flush=True)
            out.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(out, (json.dumps(found, indent=1) + "\n").encode())

    if "compiling" in parts and wkv.fastest(device) is wkv.fla:
        keep("compiling", compiling(device, ends - 30 * minutes))
    rate = peak_rate(device, dtype, dry)
    found["matrix_products_tflops"] = rate / 1e12
    left = [name for name in PARTS if name in parts]
    while left:
        shares = [PARTS[name][1] for name in left]
        now = time.monotonic()
        its_end = now + max(0.0, ends - now) * shares[0] / sum(shares)
        name = left.pop(0)
        setting = Setting(device, dtype, dry, rate, its_end)
        keep(name, PARTS[name][0](setting))
    print(f"written to {out}")


if __name__ == "__main__":
    main()
