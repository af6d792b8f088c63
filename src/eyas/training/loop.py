"""The training loop: an iterator of events.

One step is one move of the optimizer. Its gradient is the mean over all trained tokens of the
step, however they are spread over micro-batches: with n_i trained tokens in micro-batch i,

    loss = sum_i sum_t ce(i, t) / sum_i n_i

so that 8 rows at once and 8 times one row give the same step.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch

from eyas.data import Batch, Cursor
from eyas.models import Model
from eyas.training.events import Event, Finished, Saved, Step, Validated
from eyas.training.finite import check_weights, stopped_at
from eyas.training.loss import IGNORED, batch_loss
from eyas.training.machine import peak_bytes, return_freed_memory
from eyas.training.optim import Optimizer, learning_rate

_MOST_STEPS = 2**63 - 1  # TOML's largest number
_MOST_EPOCHS = 1e6


@dataclass(frozen=True)
class LoopConfig:
    """How long, in what portions, and what happens on the way."""

    steps: Annotated[int | None, "optimizer steps of the run; default: by epochs"] = None
    epochs: Annotated[
        float | None, "passes over the data, where steps are not given; default: 1"
    ] = None
    accumulate: Annotated[int, "micro-batches of one optimizer step"] = 1
    recompute: Annotated[
        bool, "keep only each block's input for the backward: less memory, more time"
    ] = False
    logit_l2: Annotated[float, "pulls the largest logit of each position to zero"] = 1e-4
    save_every: Annotated[int | None, "steps between checkpoints; default: ten in a run"] = None
    validate_every: Annotated[int | None, "steps between held-out losses; as save_every"] = None
    keep: Annotated[int, "checkpoints that are kept, the newest ones"] = 2

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "save_every", "validate_every", "keep"):
            value = getattr(self, name)
            if value is not None and not 0 < value <= _MOST_STEPS:
                raise ValueError(f"{name} = {value} must be above 0 and below 2^63")
        if self.epochs is not None and not 0 < self.epochs <= _MOST_EPOCHS:
            raise ValueError(f"epochs = {self.epochs} must be above 0 and at most a million")
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs exclude one another; give one")
        if not 0 <= self.logit_l2 < math.inf:
            raise ValueError(f"logit_l2 = {self.logit_l2} must be a number of at least 0")


@dataclass(frozen=True)
class Progress:
    """How far a run has come: with model, optimizer and random state all that resuming needs."""

    step: int = 0
    cursor: Cursor = field(default_factory=Cursor)


def train(
    model: Model,
    optimizer: Optimizer,
    data: Iterable[tuple[Batch, Cursor]],
    config: LoopConfig,
    progress: Progress,
    save: Callable[[Progress], Path],
    held_out: Callable[[], Iterable[Batch]] | None = None,
    stop: Callable[[], int] = lambda: 0,
    owed: bool = False,
) -> Iterator[Event]:
    """Trains from `progress` to `config.steps`, whose intervals are all given.

    data: batches from `progress.cursor` on. save: writes a checkpoint and says where.
    stop: asked after each step; once it gives the number of a signal, the run is saved and ends.
    owed: the part of the run before ended so, with the held-out loss of its last step to come.

    Raises:
        UserError: loss or gradient are not finite, or would not be after a step that is to be
            saved; what is saved already stays.
    """
    assert config.steps
    assert config.save_every
    saved = progress.step
    model.train()
    if owed and held_out and validation_due(progress.step, config):
        yield validate(model, held_out(), progress.step)
    for work, cursor in _grouped(data, config.accumulate):
        if progress.step >= config.steps:
            break
        event = _step(model, optimizer, work, config, progress.step, saved)
        progress = Progress(event.step, cursor)
        yield event
        stopping = stop()
        last = event.step == config.steps
        validating = held_out is not None and validation_due(event.step, config)
        if held_out and validating and not stopping:
            yield validate(model, held_out(), event.step)
        if last or stopping or event.step % config.save_every == 0:
            check_weights(model, work[-1], event.step, saved)
            yield Saved(event.step, save(progress))
            saved = event.step
        if stopping and (validating or not last):
            yield Finished(event.step, "interrupted", stopping)
            return
    yield Finished(progress.step, "steps done", stop())


def validation_due(step: int, config: LoopConfig) -> bool:
    """Whether the held-out loss is evaluated after this step."""
    assert config.validate_every
    return step > 0 and (step == config.steps or step % config.validate_every == 0)


@torch.no_grad()
def validate(model: Model, batches: Iterable[Batch], step: int) -> Validated:
    """The mean loss over the trained tokens of all batches."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        total += batch_loss(model, batch).item()
        count += _trained(batch)
    model.train()
    return Validated(step, total / max(count, 1), count)


def _step(
    model: Model,
    optimizer: Optimizer,
    work: list[Batch],
    config: LoopConfig,
    step: int,
    saved: int,
) -> Step:
    """The step behind `step`. saved: that of the newest checkpoint, for the error."""
    started = time.perf_counter()
    trained = sum(map(_trained, work))
    total = 0.0
    for batch in work:
        loss = batch_loss(model, batch, config.logit_l2, config.recompute)
        value = loss.item()
        if not math.isfinite(value):
            what = f"the loss is {value}"
            raise stopped_at(step + 1, what, model, [batch], config.logit_l2, saved)
        (loss / trained).backward()
        total += value
        del loss
        return_freed_memory()
    norm = optimizer.gradient_norm()
    if not math.isfinite(norm):
        what = f"the gradient's norm is {norm}"
        raise stopped_at(step + 1, what, model, work, config.logit_l2, saved)
    assert config.steps is not None
    rate = learning_rate(step, config.steps, optimizer.config)
    optimizer.step(rate)
    return Step(
        step=step + 1,
        loss=total / trained,
        learning_rate=rate,
        gradient_norm=norm,
        tokens=sum(batch.pairs for batch in work),
        trained_tokens=trained,
        seconds=time.perf_counter() - started,
        peak_bytes=peak_bytes(model.emb.weight.device),
    )


def _grouped(
    data: Iterable[tuple[Batch, Cursor]], accumulate: int
) -> Iterator[tuple[list[Batch], Cursor]]:
    """The batches of each step; the last step of a pass may have fewer."""
    work: list[Batch] = []
    for batch, cursor in data:
        work.append(batch)
        if len(work) == accumulate or cursor.position == 0:
            yield work, cursor
            work = []


def _trained(batch: Batch) -> int:
    return int((batch.targets != IGNORED).sum())
