"""The training loop: an iterator of events.

One step is one move of the optimizer. Its gradient is the mean over all trained tokens of the
step, however they are spread over micro-batches: with n_i trained tokens in micro-batch i,

    loss = sum_i sum_t ce(i, t) / sum_i n_i

so that 8 rows at once and 8 times one row give the same step.
"""

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import torch

from eyas.data import Batch, Cursor
from eyas.freed import keeping
from eyas.training.engine import Engine
from eyas.training.events import Event, Finished, Sampled, Saved, Step, Validated
from eyas.training.finite import check_weights, stopped_at
from eyas.training.interrupt import Asked
from eyas.training.long import ChunkedRows
from eyas.training.loss import IGNORED
from eyas.training.machine import peak_bytes
from eyas.training.optim import Optimizer, learning_rate

_MOST_STEPS = 2**63 - 1  # TOML's largest number
_MOST_EPOCHS = 1e6
_LEAST_SCALE = 2.0**-14
_COUNTS = (
    "steps",
    "accumulate",
    "save_every",
    "validate_every",
    "keep",
    "patience",
    "max_tokens",
    "sample_every",
    "chunk",
)


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
    keep: Annotated[
        int, "checkpoints that are kept, the newest ones; that of the lowest held-out loss always"
    ] = 2
    patience: Annotated[
        int | None, "ends the run after so many held-out losses that are no new lowest"
    ] = None
    max_minutes: Annotated[float | None, "ends the run, or this part of it, after that time"] = None
    max_tokens: Annotated[int | None, "ends the run once it has read so many tokens"] = None
    chunk: Annotated[
        int | None, "tokens of a row in memory at a time, for very long contexts; stays exact"
    ] = None
    detach_state: Annotated[
        bool, "with chunk: cuts the gradient between chunks, as other tools do, for comparison"
    ] = False
    sample_every: Annotated[int | None, "steps between samples; default: as held-out losses"] = None

    @property
    def chunked(self) -> ChunkedRows | None:
        return ChunkedRows(self.chunk, self.detach_state) if self.chunk else None

    def __post_init__(self) -> None:
        for name in _COUNTS:
            value = getattr(self, name)
            if value is not None and not 0 < value <= _MOST_STEPS:
                raise ValueError(f"{name} = {value} must be above 0 and below 2^63")
        if self.epochs is not None and not 0 < self.epochs <= _MOST_EPOCHS:
            raise ValueError(f"epochs = {self.epochs} must be above 0 and at most a million")
        if self.max_minutes is not None and not 0 < self.max_minutes < math.inf:
            raise ValueError(f"max_minutes = {self.max_minutes} must be a number above 0")
        if self.detach_state and not self.chunk:
            raise ValueError("detach_state goes with chunk; add one, or leave it out")
        if self.steps is not None and self.epochs is not None:
            raise ValueError("steps and epochs exclude one another; give one")
        if not 0 <= self.logit_l2 < math.inf:
            raise ValueError(f"logit_l2 = {self.logit_l2} must be a number of at least 0")


@dataclass(frozen=True)
class Progress:
    """How far a run has come: with model, optimizer and random state all that resuming needs."""

    step: int = 0
    cursor: Cursor = field(default_factory=Cursor)
    tokens: int = 0
    best: float = math.inf  # the lowest held-out loss so far, and after which step it was
    best_step: int = 0
    stale: int = 0  # held-out losses since


@dataclass(frozen=True)
class Around:
    """What the loop asks of what is around it.

    save: writes a checkpoint and says where. asked: after each step, what a signal has asked for.
    samples: what the model writes now. owed: the part of the run before was interrupted with the
    held-out loss of its last step to come.
    """

    save: Callable[[Progress], Path]
    held_out: Callable[[], Iterable[Batch]] | None = None
    asked: Callable[[], Asked] = Asked
    samples: Callable[[int], Iterable[Sampled]] | None = None
    owed: bool = False


def train(
    engine: Engine,
    optimizer: Optimizer,
    data: Iterable[tuple[Batch, Cursor]],
    config: LoopConfig,
    progress: Progress,
    around: Around,
) -> Iterator[Event]:
    """Trains from `progress` to `config.steps`, whose intervals are all given.

    data: this rank's batches from `progress.cursor` on. All ranks have the same events.

    Raises:
        UserError: loss or gradient are not finite, or would not be after a step that is to be
            saved; what is saved already stays.
    """
    assert config.save_every
    saved, began = progress.step, time.monotonic()
    behind_step = keeping(engine.model.ln_out.weight.device)
    engine.model.train()
    if around.owed and around.held_out and validation_due(progress.step, config):
        validated = validate(engine, around.held_out(), progress.step)
        progress = _judged(progress, validated)
        yield validated
    ending = _ending(progress, config, 0.0)
    if ending:
        yield Finished(progress.step, ending)
        return
    for work, cursor in _grouped(data, config.accumulate):
        event = _step(engine, optimizer, work, config, progress.step, saved)
        behind_step()
        tokens = progress.tokens + event.tokens
        progress = dataclasses.replace(progress, step=event.step, cursor=cursor, tokens=tokens)
        yield event
        asked = _agreed(engine, around.asked())
        minutes = engine.ranks.highest((time.monotonic() - began) / 60)
        ending = _ending(progress, config, minutes)
        due = bool(around.held_out) and (bool(ending) or validation_due(event.step, config))
        if around.held_out and due and not asked.signal:
            validated = validate(engine, around.held_out(), event.step)
            progress = _judged(progress, validated)
            yield validated
            ending = _ending(progress, config, minutes)
        if around.samples and not asked.signal and _sample_due(event.step, config):
            yield from around.samples(event.step)
        ordered = bool(ending or asked.signal) or asked.save
        if ordered or event.step % config.save_every == 0 or progress.best_step == event.step:
            check_weights(engine, work[-1], event.step, saved)
            yield Saved(event.step, around.save(progress))
            saved = event.step
        if asked.signal and (due or not ending):
            yield Finished(event.step, "interrupted", asked.signal)
            return
        if ending:
            yield Finished(event.step, ending, asked.signal)
            return


def validation_due(step: int, config: LoopConfig) -> bool:
    """Whether the held-out loss is evaluated after this step."""
    assert config.validate_every
    return step > 0 and (step == config.steps or step % config.validate_every == 0)


@torch.no_grad()
def validate(engine: Engine, batches: Iterable[Batch], step: int) -> Validated:
    """The mean loss over the trained tokens of all ranks' batches."""
    engine.model.eval()
    total, count = 0.0, 0
    for batch in batches:
        total += engine.value(batch)
        count += _trained(batch)
    engine.model.train()
    total, trained = engine.ranks.sums(total, count)
    return Validated(step, total / max(trained, 1), int(trained))


def _sample_due(step: int, config: LoopConfig) -> bool:
    every = config.sample_every or config.validate_every
    assert every
    return step == config.steps or step % every == 0


def _ending(progress: Progress, config: LoopConfig, minutes: float) -> str:
    """Why the run ends here, or ""."""
    assert config.steps
    if progress.step >= config.steps:
        return "steps done"
    if config.patience and progress.stale >= config.patience:
        return "no better"
    if config.max_tokens and progress.tokens >= config.max_tokens:
        return "tokens done"
    if config.max_minutes and minutes >= config.max_minutes:
        return "time is up"
    return ""


def _judged(progress: Progress, validated: Validated) -> Progress:
    if validated.loss < progress.best:
        return dataclasses.replace(progress, best=validated.loss, best_step=validated.step, stale=0)
    return dataclasses.replace(progress, stale=progress.stale + 1)


def _agreed(engine: Engine, asked: Asked) -> Asked:
    """What any rank was asked for is asked of all."""
    highest = engine.ranks.highest
    return Asked(int(highest(asked.signal)), bool(highest(asked.save)))


def _step(
    engine: Engine,
    optimizer: Optimizer,
    work: list[Batch],
    config: LoopConfig,
    step: int,
    saved: int,
) -> Step:
    """The step behind `step`. saved: that of the newest checkpoint, for the error."""
    started = time.perf_counter()
    counts = sum(map(_trained, work)), sum(batch.pairs for batch in work)
    trained, pairs = map(int, engine.ranks.sums(*counts))
    while True:
        loss = _backward(engine, work, trained, optimizer.scale)
        norm = optimizer.gradient_norm()
        if math.isfinite(loss) and math.isfinite(norm):
            break
        if not math.isfinite(loss) or not optimizer.scaled or optimizer.scale <= _LEAST_SCALE:
            what = (
                f"the gradient's norm is {norm}" if math.isfinite(loss) else f"the loss is {loss}"
            )
            raise stopped_at(step + 1, what, engine, work, saved)
        optimizer.lower_scale()
    assert config.steps is not None
    rate = learning_rate(step, config.steps, optimizer.config)
    optimizer.step(rate)
    return Step(
        step=step + 1,
        loss=loss,
        learning_rate=rate,
        gradient_norm=norm,
        tokens=pairs,
        trained_tokens=trained,
        seconds=time.perf_counter() - started,
        peak_bytes=peak_bytes(engine.model.ln_out.weight.device),
    )


def _backward(engine: Engine, work: list[Batch], trained: int, scale: float) -> float:
    """The mean loss of the step; leaves `scale` times its gradient in the parameters."""
    total = 0.0
    # Gradients are averaged over the ranks, and are to be summed.
    factor = engine.ranks.world * scale / max(trained, 1)
    for number, batch in enumerate(work, start=1):
        total += engine.backward(batch, factor, last=number == len(work))
    return engine.ranks.sums(total)[0] / max(trained, 1)


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
