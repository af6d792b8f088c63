"""The benchmark for GPUs goes through without one, and keeps each row as it comes."""

import json
import runpy
import subprocess
import sys
import time
from pathlib import Path

import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.py"


def dry_run(out: Path, *options: str) -> dict[str, list[dict[str, object]]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--dry-run", "--out", str(out), *options],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


def test_every_part_measures_something(tmp_path):
    parts = ["operators", "speed", "memory", "generating"]  # compiling takes long
    found = dry_run(tmp_path / "gpu.json", "--parts", *parts)
    assert found["matrix_products_tflops"] > 0
    for part in parts:
        assert found[part]
        assert not any("error" in row or "skipped" in row for row in found[part]), found[part]


def test_rows_survive_what_goes_wrong_and_the_end_of_the_time():
    timing = runpy.run_path(str(SCRIPT.with_name("timing.py")))
    device, now = torch.device("cpu"), time.monotonic()

    def fails() -> dict[str, object]:
        raise RuntimeError("out of memory")

    cases = {"bad": fails, "good": lambda: {"seconds": 1.0}}
    in_time = timing["Setting"](device, torch.float32, True, 1.0, now + 60)
    assert list(timing["each"](cases, in_time)) == [
        {"case": "bad", "error": "RuntimeError: out of memory"},
        {"case": "good", "seconds": 1.0},
    ]
    late = timing["Setting"](device, torch.float32, True, 1.0, now - 1)
    assert all("skipped" in row for row in timing["each"](cases, late))
