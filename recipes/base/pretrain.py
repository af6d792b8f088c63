"""Pretrains the embedded base from nothing, in two phases.

    python recipes/base/pretrain.py DATA OUT.pth [--log pretrain.jsonl]

DATA is the folder that `corpus.py` wrote. Takes about half an hour on two cores.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from eyas.adapters import Full, attach
from eyas.data import BatchConfig, ReadConfig, load_corpus, tokenizer_for
from eyas.data.batches import batches
from eyas.models import Model, Shape, create
from eyas.training.engine import EngineConfig, spread
from eyas.training.events import Step
from eyas.training.loop import Around, LoopConfig, Progress, train
from eyas.training.optim import OptimConfig, Optimizer
from eyas.training.ranks import Ranks

SHAPE = Shape("x070", 6, 128, 2, 512, 257, {"w": 16, "a": 16, "v": 16, "g": 32})
NEVER = 10**9
COPYING = OptimConfig(lr=3e-3, muon_lr=0.006, optimizer="muon", warmup_steps=10)
LANGUAGE = OptimConfig(
    lr=3e-3, lr_final=9e-5, muon_lr=0.02, optimizer="muon", schedule="wsd", decay_share=0.4
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--log", type=Path, default=Path("pretrain.jsonl"))
    given = parser.parse_args()
    torch.manual_seed(0)
    model = create(SHAPE, seed=1)
    attach(model, Full())
    with given.log.open("w", encoding="utf-8") as log:
        for phase, ctx, steps, optim in (
            ("phase0", 128, 200, COPYING),
            ("phase1", 256, 1100, LANGUAGE),
        ):
            for event in pretrain(model, given.data / f"{phase}.jsonl", ctx, steps, optim):
                line = {"phase": phase, "step": event.step, "loss": event.loss}
                log.write(json.dumps(line) + "\n")
    torch.save({name: t.bfloat16() for name, t in model.state_dict().items()}, given.out)


def pretrain(model: Model, data: Path, ctx: int, steps: int, optim: OptimConfig) -> Iterator[Step]:
    tokenizer = tokenizer_for(model.vocab_size, None, None)
    corpus = load_corpus([data], tokenizer, 257, ReadConfig(mask="all"))
    source = batches(corpus, BatchConfig(ctx=ctx, micro_batch=32, dataload="pad"), seed=0)
    loop = LoopConfig(steps=steps, save_every=NEVER, validate_every=NEVER)
    engine = spread(model, EngineConfig(), Ranks(), loop.logit_l2)
    around = Around(lambda _: data)
    events = train(engine, Optimizer(model, optim), source, loop, Progress(), around)
    return (event for event in events if isinstance(event, Step))


if __name__ == "__main__":
    main()
