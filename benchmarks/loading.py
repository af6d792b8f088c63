"""What memory starting a run takes, beside what the model itself takes afterwards.

python benchmarks/loading.py [--model "v7 0.4B"] [--out FILE.json]

A random model of a released shape, bf16 in a .pth, kept as it is in the file, in fp32, int8 and
nf4; everything up to the first step, data and adapter (LoRA, whose start costs nothing) included.
Each in a process of its own. What counts is the process's own memory (anonymous; Linux): the
file's pages are mapped, and the system takes them back where they are wanted for something else.
The peak should not exceed what stays by more than the largest tensor, in float32.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models import SHAPES, write_random
from report import Row, save, show

from eyas.run import prepare
from eyas.settings import run_from_mapping

KINDS: dict[str, dict[str, object]] = {
    "file": {},
    "fp32": {"storage": "fp32"},
    "int8": {"quant": "int8"},
    "nf4": {"quant": "nf4"},
}
SAMPLE_SECONDS = 0.002


def own_bytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.split("RssAnon:")[1].split()[0]) * 1024


@contextmanager
def highest() -> Iterator[list[int]]:
    """A list that holds the most that the process had at any time in the block."""
    found, ended = [own_bytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(SAMPLE_SECONDS):
            found[0] = max(found[0], own_bytes())

    thread = threading.Thread(target=watch)
    thread.start()
    yield found
    ended.set()
    thread.join()


def measured(folder: Path, kind: str) -> Row:
    values = {
        "model": str(folder / "model.pth"),
        "data": str(folder / "data.txt"),
        "out": str(folder / "run"),
        "method": {"name": "lora", "rank": 8},
        "frozen": KINDS[kind],
        "loop": {"steps": 1},
    }
    before, started = own_bytes(), time.perf_counter()
    with highest() as peak:
        prepared = prepare(run_from_mapping(values, "benchmark"))
    seconds, after = time.perf_counter() - started, own_bytes()
    mapped = kind == "file"
    held = sum(p.nbytes for p in prepared.model.parameters() if p.requires_grad or not mapped)
    largest = max(p.numel() for p in prepared.model.parameters()) * 4
    return {
        "kept as": kind,
        "seconds": seconds,
        "held MiB": held / 2**20,
        "stays MiB": (after - before) / 2**20,
        "peak MiB": (peak[0] - before) / 2**20,
        "beyond held, largest tensors": (peak[0] - before - held) / largest,
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", choices=SHAPES, default="v7 0.4B")
    default = Path(__file__).parent / "results" / "loading.json"
    parser.add_argument("--out", type=Path, default=default)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measured(Path(given.one[0]), given.one[1])))
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random(folder / "model.pth", SHAPES[given.model])
        (folder / "data.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
        rows = []
        for kind in KINDS:
            command = [sys.executable, __file__, "--one", name, kind]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    show(f"Starting a run, {given.model}", rows)
    save(given.out, 2, model=given.model, rows=rows)


if __name__ == "__main__":
    main()
