"""What one process does in test_deepspeed: runs on DeepSpeed, alone or as one of two."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from ranks_worker import case_run

from eyas.run import prepare, train
from eyas.settings import Run
from eyas.training.events import Step, Validated
from eyas.training.ranks import Ranks, found_ranks, joined

STEPS, HALF = 4, 2
EXACT = [  # strategy, quantized base, clip
    ("deepspeed_stage_1", "none", 0.0),
    ("deepspeed_stage_2", "nf4", 0.0),
    ("deepspeed_stage_2_offload", "none", 0.0),
]
CLOSE = [
    ("deepspeed_stage_2", "none", 1.0),
    ("deepspeed_stage_3", "int8", 0.0),
    ("deepspeed_stage_3", "nf4", 0.0),
    ("deepspeed_stage_3_offload", "none", 1.0),
]
# Runs of two processes that go on elsewhere, and those of PyTorch's that go on with them.
BEGUN = ["deepspeed_stage_1", "deepspeed_stage_3"]


def named(strategy: str, quant: str, clip: float) -> str:
    return f"{strategy} {quant} {clip:g}"


def zero_run(
    folder: Path, strategy: str, quant: str, clip: float, world: int, steps: int, name: str = ""
) -> Run:
    run = case_run(folder, strategy, quant, world, steps, name or named(strategy, quant, clip))
    engine = replace(run.engine, engine="deepspeed")
    return replace(run, optim=replace(run.optim, clip=clip), engine=engine)


def trained(run: Run, ranks: Ranks) -> dict[str, object]:
    """Losses of a run, and how much of the frozen model this process holds afterwards."""
    prepared = prepare(run, ranks)
    whole = sum(p.nbytes for p in prepared.model.parameters() if not p.requires_grad)
    events = list(train(prepared))
    frozen = [p for p in prepared.model.parameters() if not p.requires_grad]
    parts = [p.ds_tensor for p in frozen if hasattr(p, "ds_tensor")]
    return {
        "losses": [e.loss for e in events if isinstance(e, Step)],
        "norms": [e.gradient_norm for e in events if isinstance(e, Step)],
        "held_out": [e.loss for e in events if isinstance(e, Validated)],
        "share": sum(tensor.nbytes for tensor in (*frozen, *parts)) / whole,
    }


def of_two(folder: Path, ranks: Ranks) -> dict[str, object]:
    found = {}
    for strategy, quant, clip in EXACT + CLOSE:
        run = zero_run(folder, strategy, quant, clip, 2, STEPS)
        found[named(strategy, quant, clip)] = trained(run, ranks)
    for strategy in BEGUN:
        trained(zero_run(folder, strategy, "none", 0.0, 2, HALF, f"{strategy} begun"), ranks)
        rest = zero_run(folder, strategy, "none", 0.0, 2, STEPS, f"torch to {strategy}")
        found[f"torch to {strategy}"] = trained(rest, ranks)
    return found


def alone(folder: Path) -> dict[str, object]:
    found = {}
    for strategy in BEGUN:
        name = f"{strategy} begun"
        found[name] = trained(zero_run(folder, strategy, "none", 0.0, 1, STEPS, name), Ranks())
    return found


def main() -> None:
    folder = Path(sys.argv[1])
    ranks = found_ranks(os.environ) or Ranks()
    with joined(ranks, os.environ, "gloo"):
        found = of_two(folder, ranks) if ranks.world == 2 else alone(folder)
    (folder / f"{ranks.rank} of {ranks.world}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
