"""A small run: model and data in one folder, 20 steps of PiSSA."""

import json
from pathlib import Path

from weights import write_model

from eyas.adapters import PiSSA
from eyas.data import BatchConfig
from eyas.observe.watching import WatchConfig
from eyas.settings import Run
from eyas.training.loop import LoopConfig
from eyas.training.optim import OptimConfig

METHOD = PiSSA(rank=4)
OPTIM = OptimConfig(lr=1e-3, schedule="cosine", warmup_steps=3)


def data_file(folder: Path, documents: int = 30, name: str = "data.jsonl") -> Path:
    path = folder / name
    texts = [f"document {i}: " + "ab" * (i % 40) for i in range(documents)]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


def a_run(folder: Path, out: str, method=METHOD, optim=OPTIM, **loop) -> Run:
    model = folder / "m.pth"
    if not model.exists():
        write_model(model)
    data = folder / "data.jsonl"
    if not data.exists():
        data_file(folder)
    settings = LoopConfig(**{"steps": 20, "save_every": 5, **loop})
    batch = BatchConfig(ctx=32, micro_batch=4)
    watch = WatchConfig(report=False, mfu=False)
    return Run(
        model, (data,), folder / out, method, batch=batch, optim=optim, loop=settings, watch=watch
    )
