"""The `rwkv` package as a judge: its logits, computed in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

_PROGRAM = Path(__file__).parent / "models" / "rwkv_logits.py"


def rwkv_logits(
    paths: list[Path], tokens: list[int], version: str, scratch: Path
) -> list[tuple[Tensor, Tensor]]:
    """For each model: logits [T, V] of the whole sequence, and of it token by token."""
    jobs = scratch / "jobs.pt"
    torch.save([(str(path.with_suffix("")), tokens) for path in paths], jobs)
    switches = {"RWKV_JIT_ON": "0", "RWKV_V7_ON": "1" if version == "x070" else "0"}
    switches["OMP_NUM_THREADS"] = "1"  # small models: six times as fast
    command = [sys.executable, str(_PROGRAM), str(jobs)]
    done = subprocess.run(command, env={**os.environ, **switches}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    results: list[tuple[Tensor, Tensor]] = torch.load(jobs)
    return results
