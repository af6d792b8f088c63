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
from torch import Tensor

from eyas.data import Batch, Cursor
from eyas.errors import UserError
from eyas.models import Linear, Model
from eyas.training.events import Event, Finished, Saved, Step, Validated
from eyas.training.loss import IGNORED, cross_entropy
from eyas.training.machine import peak_bytes, return_freed_memory
from eyas.training.optim import Optimizer, learning_rate


@dataclass(frozen=True)
class LoopConfig:
    """How long, in what portions, and what happens on the way."""

    steps: Annotated[int | None, "optimizer steps of the run; default: by epochs"] = None
    epochs: Annotated[float, "passes over the data, where steps are not given"] = 1.0
    accumulate: Annotated[int, "micro-batches of one optimizer step"] = 1
    recompute: Annotated[
        bool, "keep only each block's input for the backward: less memory, more time"
    ] = False
    logit_l2: Annotated[float, "pulls the largest logit of each position to zero"] = 1e-4
    save_every: Annotated[int | None, "steps between checkpoints; default: ten in a run"] = None
    validate_every: Annotated[int | None, "steps between held-out losses; as save_every"] = None
    keep: Annotated[int, "checkpoints that are kept, the newest ones"] = 2

    def __post_init__(self) -> None:
        for name in ("steps", "epochs", "accumulate", "save_every", "validate_every", "keep"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ValueError(f"{name} = {value} must be above 0")
        if not (self.logit_l2 >= 0 and math.isfinite(self.logit_l2)):
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
    stop: Callable[[], bool] = lambda: False,
) -> Iterator[Event]:
    """Trains from `progress` to `config.steps`, whose intervals are all given.

    data: batches from `progress.cursor` on. save: writes a checkpoint and says where.
    stop: asked after each step; once it says yes, the run is saved and ends.

    Raises:
        UserError: loss or gradient are not finite; the parameters are as before that step.
    """
    assert config.steps
    assert config.save_every
    assert config.validate_every
    model.train()
    for work, cursor in _grouped(data, config.accumulate):
        if progress.step >= config.steps:
            break
        event = _step(model, optimizer, work, config, progress.step)
        progress = Progress(event.step, cursor)
        yield event
        stopping = stop()
        last = event.step == config.steps
        if held_out and (last or event.step % config.validate_every == 0) and not stopping:
            yield validate(model, held_out(), event.step)
        if last or stopping or event.step % config.save_every == 0:
            yield Saved(event.step, save(progress))
        if stopping and not last:
            yield Finished(event.step, "interrupted")
            return
    yield Finished(progress.step, "steps done")


@torch.no_grad()
def validate(model: Model, batches: Iterable[Batch], step: int) -> Validated:
    """The mean loss over the trained tokens of all batches."""
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        hidden, _ = model.hidden(batch.tokens)
        total += cross_entropy(hidden, _head(model), batch.targets).item()
        count += _trained(batch)
    model.train()
    return Validated(step, total / max(count, 1), count)


def _step(
    model: Model, optimizer: Optimizer, work: list[Batch], config: LoopConfig, step: int
) -> Step:
    started = time.perf_counter()
    trained = sum(map(_trained, work))
    total = 0.0
    for batch in work:
        hidden, _ = model.hidden(batch.tokens, recompute_activations=config.recompute)
        return_freed_memory()
        loss = cross_entropy(hidden, _head(model), batch.targets, config.logit_l2)
        (loss / trained).backward()
        total += loss.item()
        del hidden, loss
        return_freed_memory()
    norm = optimizer.gradient_norm()
    if not (math.isfinite(total) and math.isfinite(norm)):
        raise UserError(_not_finite(total, norm, step + 1, work))
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


def _head(model: Model) -> Tensor:
    """The head's weight: the parameter, or what a quantized head stands for."""
    head = model.head
    return head.weight if isinstance(head, Linear) else head.dense_weight()


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


def _not_finite(loss: float, norm: float, step: int, work: list[Batch]) -> str:
    what = f"the loss is {loss}" if not math.isfinite(loss) else f"the gradient's norm is {norm}"
    places = [place for batch in work for place in batch.places]
    shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
    return (
        f"{what} at step {step} ({shown}); the last checkpoint is kept: "
        "try a lower --lr, or look at these documents"
    )
