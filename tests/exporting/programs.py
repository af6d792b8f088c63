"""The programs that exported models are for, as judges: each runs in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import torch

_HERE = Path(__file__).parent
_QUIET = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "XDG_RUNTIME_DIR": "/tmp"}


def answers_of(program: str, jobs: object, scratch: Path) -> list:
    """What a program beside this file makes of the jobs."""
    file = scratch / "jobs.pt"
    torch.save(jobs, file)
    done = subprocess.run(
        [sys.executable, str(_HERE / program), str(file)],
        env={**os.environ, **_QUIET},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return torch.load(file)
