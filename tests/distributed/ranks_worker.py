"""What one of two processes does in test_distributed: the same runs under every strategy."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

from runs import a_run

from eyas.adapters import PiSSA, State
from eyas.quant import FrozenConfig
from eyas.run import prepare, train
from eyas.settings import Run
from eyas.training.engine import EngineConfig, full
from eyas.training.events import Step, Validated
from eyas.training.ranks import Ranks, found_ranks, joined, leave

CASES = [
    ("ddp", "none"),
    ("ddp", "nf4"),
    ("deepspeed_stage_2", "none"),
    ("fsdp", "none"),
    ("fsdp", "int8"),
    ("fsdp", "nf4"),
    ("deepspeed_stage_2_offload", "none"),
]
STEPS, HALF = 8, 4


def case_run(
    folder: Path, strategy: str, quant: str, world: int, steps: int = STEPS, name: str = ""
) -> Run:
    """Four rows a step, of which each rank has its part."""
    out = name or f"{strategy}-{quant}-{world}"
    run = a_run(folder, out, PiSSA(rank=4), steps=steps, save_every=HALF)
    return replace(
        run,
        frozen=FrozenConfig(quant=quant),  # type: ignore[arg-type]
        validation_share=0.2,
        train_parts=("ln", "time"),
        batch=replace(run.batch, micro_batch=2),
        optim=replace(run.optim, schedule="constant"),
        loop=replace(run.loop, accumulate=2 // world),
        engine=EngineConfig(strategy=strategy, devices=world),  # type: ignore[arg-type]
    )


def state_run(folder: Path, strategy: str, world: int) -> Run:
    """State tuning on rows in chunks, of which some have documents that begin in their midst."""
    run = case_run(folder, strategy, "none", world, HALF, f"{strategy} state {world}")
    return replace(run, method=State(), train_parts=(), loop=replace(run.loop, chunk=16))


def trained(run: Run, ranks: Ranks) -> dict[str, object]:
    """Losses of a run and how much of the model this rank holds."""
    prepared = prepare(run, ranks)
    whole = sum(p.nbytes for p in prepared.model.parameters() if not p.requires_grad)
    events = list(train(prepared))
    parameters = list(prepared.model.parameters())
    assert all(full(p).shape.numel() >= p.numel() for p in parameters)
    held = sum(
        (p.to_local() if hasattr(p, "to_local") else p).nbytes
        for p in parameters
        if not p.requires_grad
    )
    return {
        "losses": [e.loss for e in events if isinstance(e, Step)],
        "norms": [e.gradient_norm for e in events if isinstance(e, Step)],
        "tokens": [e.trained_tokens for e in events if isinstance(e, Step)],
        "held_out": [e.loss for e in events if isinstance(e, Validated)],
        "share": held / whole,
    }


def main() -> None:
    folder = Path(sys.argv[1])
    ranks = found_ranks(os.environ)
    assert ranks is not None
    with joined(ranks, os.environ, "gloo"):
        found = {}
        for strategy, quant in CASES:
            run = case_run(folder, strategy, quant, ranks.world)
            found[f"{strategy} {quant}"] = trained(run, ranks)
        found["state"] = trained(state_run(folder, "fsdp", ranks.world), ranks)
        for strategy in ("ddp", "fsdp"):
            begun = case_run(folder, strategy, "none", 2, HALF, f"{strategy} two-one")
            found[f"{strategy} begun"] = trained(begun, ranks)
            rest = case_run(folder, strategy, "none", 2, STEPS, f"{strategy} one-two")
            found[f"{strategy} rest"] = trained(rest, ranks)
    (folder / f"rank{ranks.rank}.json").write_text(json.dumps(found))
    leave(0, os.environ)


if __name__ == "__main__":
    main()
