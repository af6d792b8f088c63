"""A whole run: what the user asks for, what follows from weights, data and machine, and doing it.

This is the only place that knows all parts.

    run = Run(model=Path("base.pth"), data=(Path("data.jsonl"),), method=PiSSA(rank=32))
    for event in train(run):
        ...
"""

from eyas.run.directory import adapter_at, base_at, merge_run, open_model, run_at, steps_done
from eyas.run.prepared import Prepared, prepare
from eyas.run.training import timed_step, train
from eyas.settings import read_run

__all__ = [
    "Prepared",
    "adapter_at",
    "base_at",
    "merge_run",
    "open_model",
    "prepare",
    "read_run",
    "run_at",
    "steps_done",
    "timed_step",
    "train",
]
