"""Whole training steps: tokens/s, MFU and peak memory."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice, repeat
from pathlib import Path
from statistics import median

import torch
from shapes import SHAPES, random_model, small
from timing import Row, Setting, each, fresh, peak_gb, wait_for

from eyas import wkv
from eyas.adapters import PiSSA, attach
from eyas.data import Batch, Cursor
from eyas.models import Model
from eyas.observe.flops import utilization_of
from eyas.quant import FrozenConfig, place
from eyas.training.engine import EngineConfig, spread
from eyas.training.events import Step
from eyas.training.loop import Around, LoopConfig, Progress, train
from eyas.training.optim import OptimConfig, Optimizer
from eyas.training.ranks import Ranks

QUANTS = ("none", "int8", "nf4")
NEVER = 10**9


@dataclass(frozen=True)
class Case:
    """A step: `rows` of `ctx` tokens."""

    model: str
    quant: str = "none"
    rows: int = 8
    ctx: int = 1024
    rank: int = 32
    parts: tuple[str, ...] = ()
    recompute: bool = False
    compiled: bool = False
    lean: bool = False  # embedding in main memory, head in int8 where the rest is quantized

    def __str__(self) -> str:
        words = [self.model, self.quant.replace("none", "bf16"), f"{self.rows}x{self.ctx}"]
        words += [f"r{self.rank}", *self.parts]
        words += [name for name in ("recompute", "compiled", "lean") if getattr(self, name)]
        return " ".join(words)


def trained_model(case: Case, setting: Setting) -> tuple[Model, float]:
    """A model with its adapter over its base, and the seconds that attaching took."""
    shape = small(SHAPES[case.model]) if setting.dry else SHAPES[case.model]
    model = random_model(shape, wkv.fastest(setting.device), setting.device, setting.dtype)
    frozen = FrozenConfig(
        quant=case.quant,  # type: ignore[arg-type]
        quant_head=case.lean and case.quant != "none",
        embedding_on_cpu=case.lean,
    )
    started = time.perf_counter()
    method = PiSSA(rank=min(case.rank, 8) if setting.dry else case.rank, quant_iterations=1)
    attach(model, method, train_parts=case.parts, frozen=frozen, device=setting.device)  # type: ignore[arg-type]
    wait_for(setting.device)
    taken = time.perf_counter() - started
    if case.lean:
        model.emb.to("cpu")
    place(model, frozen, setting.device)
    return model, taken


def batches_of(case: Case, vocab_size: int, dry: bool) -> Iterator[tuple[Batch, Cursor]]:
    """The same rows again and again, every token trained."""
    ctx, rows = (16, min(case.rows, 2)) if dry else (case.ctx, case.rows)
    tokens = torch.randint(1, vocab_size, (rows, ctx + 1), generator=torch.manual_seed(0))
    places = tuple(("random",) for _ in range(rows))
    batch = Batch(tokens[:, :-1].clone(), tokens[:, 1:].clone(), None, rows * ctx, places)
    return zip(repeat(batch), (Cursor(0, i + 1) for i in range(NEVER)), strict=False)


def measured_step(case: Case, setting: Setting, repeats: int = 5) -> Row:
    model, attaching = trained_model(case, setting)
    if case.compiled:
        # A layer's number is part of its module; each would be compiled by itself.
        torch._dynamo.config.allow_unspec_int_on_nn_module = True
        for block in model.layers():
            block.compile(backend="aot_eager" if setting.dry else "inductor")
    loop = LoopConfig(steps=NEVER, save_every=NEVER, validate_every=NEVER, recompute=case.recompute)
    engine = spread(model, EngineConfig(), Ranks(), loop.logit_l2, loop.recompute)
    optimizer = Optimizer(model, OptimConfig(lr=1e-5))
    around = Around(lambda _: Path())
    data = batches_of(case, model.vocab_size, setting.dry)
    events = train(engine, optimizer, data, loop, Progress(), around)
    fresh(setting.device)
    started = time.perf_counter()
    next(events)
    wait_for(setting.device)
    first = time.perf_counter() - started
    next(events)
    taken: list[Step] = list(islice(events, 2 if setting.dry else repeats))  # type: ignore[misc]
    middle = median(step.seconds for step in taken)
    step = replace(taken[-1], seconds=middle)
    return {
        "tokens_per_second": step.tokens / middle,
        "mfu": utilization_of(model, setting.peak_flops).of(step),
        "seconds": middle,
        "first_step_seconds": first,
        "attach_seconds": attaching,
        "peak_gb": peak_gb(setting.device),
        "loss": step.loss,
    }


def speed(setting: Setting) -> Iterator[Row]:
    """Tokens per second at 8192 tokens a step; checkpointing where it would not fit without."""
    large = ("v7 2.9B", "v7 7.2B")
    order = ("v7 1.5B", "v7 0.1B", "v7 0.4B", "v7 2.9B", "v7 7.2B")
    cases = [Case(m, recompute=m in large) for m in order]
    cases += [Case("v7 1.5B", rows=1, ctx=8192), Case("v7 7.2B", "nf4", recompute=True)]
    cases += [Case(m, q, recompute=m in large) for q in QUANTS[1:] for m in order]
    cases += [Case(m, recompute=m != "v6 1.6B") for m in ("v6 1.6B", "v6 3B", "v6 7B")]
    cases = list(dict.fromkeys(cases))
    chosen = cases[:1] + cases[-1:] if setting.dry else cases
    yield from each({str(c): partial(measured_step, c, setting) for c in chosen}, setting)


def compiled(setting: Setting) -> Iterator[Row]:
    """The same with torch.compile over each block."""
    models = ("v7 1.5B",) if setting.dry else ("v7 1.5B", "v7 0.1B")
    cases = [Case(model, compiled=True) for model in models]
    yield from each({str(c): partial(measured_step, c, setting) for c in cases}, setting)


# GB in bf16, int8, nf4: the tutorial's, and what was reckoned to be reachable at r 64 with time and
# ln, and at r 32 with adapters alone.
TABLE = {
    "v6 1.6B": ((7.3, 5.9, 5.4), (4.8, 3.5, 2.9), (3.9, 2.6, 2.0)),
    "v6 3B": ((11.8, 9.4, 8.1), (8.5, 5.8, 4.7), (7.0, 4.3, 3.1)),
    "v6 7B": ((23.7, 17.3, 14.9), (19.0, 12.4, 9.4), (15.8, 9.2, 6.2)),
    "v7 0.1B": ((2.6, None, None), (None,) * 3, (1.0, None, 0.8)),
    "v7 0.4B": ((3.4, None, None), (None,) * 3, (1.6, None, 1.1)),
    "v7 1.5B": ((5.6, None, None), (None,) * 3, (3.9, None, 2.1)),
    "v7 2.9B": ((8.8, None, None), (None,) * 3, (6.9, None, 3.3)),
    "v7 7.2B": ((None,) * 3, (None,) * 3, (None, None, 6.4)),
}


def memory_case(case: Case, setting: Setting) -> Row:
    tutorial, with_parts, alone = TABLE[case.model]
    column = QUANTS.index(case.quant)
    found = measured_step(case, setting, 1)
    return {
        "peak_gb": found["peak_gb"],
        "tutorial_gb": tutorial[column],
        "reachable_gb": (with_parts if case.parts else alone)[column],
        "tokens_per_second": found["tokens_per_second"],
    }


def memory(setting: Setting) -> Iterator[Row]:
    """Peaks as in the tutorial's table: ctx 1024, batch 1, checkpointing."""
    table = [(m, q) for m in reversed(TABLE) if m[:2] == "v6" for q in reversed(QUANTS)]
    parts = ("time", "ln")
    cases = [Case(m, q, 1, rank=64, parts=parts, recompute=True, lean=True) for m, q in table]
    cases += [Case(m, q, 1, recompute=True, lean=True) for m, q in table]
    newer = [(m, q) for m in reversed(TABLE) if m[:2] == "v7" for q in ("nf4", "none")]
    cases += [Case(m, q, 1, recompute=True, lean=True) for m, q in newer]
    chosen = cases[::9] if setting.dry else cases
    yield from each({str(c): partial(memory_case, c, setting) for c in chosen}, setting)
