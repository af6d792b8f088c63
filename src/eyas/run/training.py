"""Doing a run: the loop with everything around it."""

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from eyas.adapters import (
    Adapter,
    describe,
    save_adapter,
)
from eyas.config import write_toml
from eyas.data import (
    Share,
    one_pass,
)
from eyas.data.ahead import made_ahead
from eyas.data.batches import batches
from eyas.errors import UserError
from eyas.generation.sampling import Sampling
from eyas.generation.stream import generate
from eyas.observe.facts import hardware, versions
from eyas.observe.flops import Utilization
from eyas.observe.metrics import METRICS, Sink, held_out_losses
from eyas.observe.watching import watching
from eyas.resume import check_unchanged
from eyas.run.directory import checkpoint_at
from eyas.run.prepared import Prepared, prepare
from eyas.settings import SETTINGS, Run, flat, run_to_mapping
from eyas.training.checkpoint import (
    best_checkpoint,
    checkpoint_path,
    locked,
    save_checkpoint,
    states_to_save,
)
from eyas.training.deepspeed import spread_by_deepspeed
from eyas.training.engine import Engine, spread
from eyas.training.events import Event, Finished, Sampled, Step
from eyas.training.interrupt import Asked, interruptible
from eyas.training.loop import Around, Progress
from eyas.training.loop import train as train_on
from eyas.training.optim import Optimizer

_SAMPLED, _TURN_ENDS = 100, ("\n\nUser:",)


def train(run: Run | Prepared) -> Iterator[Event]:
    """Trains and yields what happens; goes on where the run directory's last checkpoint is.

    Ctrl-C and SIGTERM end it after the step in hand, with a checkpoint; a second one at once.
    Raises UserError where another process has trained there since the run was prepared.
    """
    prepared = run if isinstance(run, Prepared) else prepare(run)
    with _alone(prepared), interruptible() as asked:
        yield from _events(prepared, asked)


@contextmanager
def _alone(prepared: Prepared) -> Iterator[None]:
    """No other process trains in the run's directory meanwhile."""
    if not prepared.ranks.first:
        yield
        return
    with locked(prepared.out):
        check_unchanged(prepared.out, prepared.checkpoint)
        yield


def _events(prepared: Prepared, asked: Callable[[], Asked]) -> Iterator[Event]:
    run, ranks, checkpoint = prepared.run, prepared.ranks, prepared.checkpoint
    if ranks.first:
        write_toml(run_to_mapping(run), prepared.out / SETTINGS)
    utilization = prepared.utilization  # told by the weights, before they are spread
    engine, optimizer = _engine(prepared)
    progress = checkpoint.progress if checkpoint else Progress()
    if checkpoint:
        checkpoint.restore(optimizer, ranks.rank)
    elif run.adapter and run.keep_optimizer:
        _take_optimizer(run.adapter, optimizer)
    share, held_out = Share(ranks.rank, ranks.world), prepared.held_out
    data = batches(prepared.corpus, run.batch, run.seed, progress.cursor, share)
    metrics_path = prepared.out / METRICS
    around = Around(
        lambda reached: _save(prepared, engine, optimizer, reached),
        (lambda: one_pass(held_out, run.batch, share)) if held_out else None,
        asked,
        _samples(prepared) if run.prompts else None,
        owed=progress.step not in held_out_losses(metrics_path, progress.step),
    )
    with _watched(prepared, utilization, progress.step) as sink:
        for event in train_on(engine, optimizer, made_ahead(data), run.loop, progress, around):
            sink(event)
            if isinstance(event, Finished) and event.reason != "interrupted":
                _finish(prepared, engine, event.step)
            yield event


def _samples(prepared: Prepared) -> Callable[[int], Iterator[Sampled]] | None:
    """What the model makes of the run's prompts, always with the same seed.

    The first rank alone can do it where it holds the whole model.
    """
    run, model, tokenizer = prepared.run, prepared.model, prepared.tokenizer
    if run.engine.sharded and (prepared.ranks.world > 1 or run.engine.engine == "deepspeed"):
        return None

    def samples(step: int) -> Iterator[Sampled]:
        if not prepared.ranks.first:
            return
        model.eval()
        for prompt in run.prompts:
            pieces = generate(model, tokenizer, prompt, Sampling(), _SAMPLED, _TURN_ENDS, run.seed)
            yield Sampled(step, prompt, "".join(pieces))
        model.train()

    return samples


def _engine(prepared: Prepared) -> tuple[Engine, Optimizer]:
    run = prepared.run
    loop = run.loop
    if run.engine.engine == "deepspeed":
        return spread_by_deepspeed(
            prepared.model,
            run.engine,
            run.optim,
            prepared.ranks,
            loop.logit_l2,
            loop.recompute,
            loop.chunked,
        )
    engine = spread(
        prepared.model, run.engine, prepared.ranks, loop.logit_l2, loop.recompute, loop.chunked
    )
    half = run.precision == "fp16"
    return engine, Optimizer(prepared.model, run.optim, engine.shares_optimizer, half)


def _save(prepared: Prepared, engine: Engine, optimizer: Optimizer, reached: Progress) -> Path:
    """Writes a checkpoint, on the first rank, from what all ranks hold."""
    assert prepared.run.loop.keep
    made = _adapter(prepared, engine, reached.step)
    states = states_to_save(optimizer, prepared.ranks)
    path = checkpoint_path(prepared.out, reached.step)
    if prepared.ranks.first:
        keep = prepared.run.loop.keep
        save_checkpoint(prepared.out, reached, prepared.data, made, states, keep)
    prepared.ranks.wait()
    return path


def _finish(prepared: Prepared, engine: Engine, step: int) -> None:
    """Writes the result: what was trained last, or where patience ended it, what was best."""
    made = _adapter(prepared, engine, step)
    if not prepared.ranks.first:
        return
    best = best_checkpoint(prepared.out) if prepared.run.loop.patience else None
    save_adapter(best.adapter() if best else made, prepared.out / "adapter.safetensors")


def _adapter(prepared: Prepared, engine: Engine, step: int) -> Adapter:
    run, base, codes = prepared.run, prepared.base, prepared.codes
    made = describe(prepared.model, run.method, base, run.seed, step, run.frozen, codes)
    return dataclasses.replace(made, tensors=engine.whole(made.tensors))


@contextmanager
def _watched(prepared: Prepared, utilization: Utilization | None, step: int) -> Iterator[Sink]:
    """All that writes down what happens, on the first rank; `step` is where the run goes on."""
    if not prepared.ranks.first:
        yield lambda _: None
        return
    device = prepared.model.ln_out.weight.device
    facts = {
        "Data": prepared.data_facts(),
        "Hardware": hardware(device),
        "Versions": versions(),
    }
    settings = flat(run_to_mapping(prepared.run))
    with watching(prepared.out, prepared.run.watch, settings, facts, step, utilization) as sink:
        yield sink


def timed_step(prepared: Prepared) -> Step:
    """One step of the run on its first batches, for an estimate; the model is changed by it."""
    run = prepared.run
    once = dataclasses.replace(run.loop, steps=1, save_every=2, validate_every=2)
    engine, optimizer = _engine(prepared)
    data = batches(prepared.corpus, run.batch, run.seed)
    around = Around(lambda _: prepared.out)
    events = train_on(engine, optimizer, data, once, Progress(), around)
    return next(event for event in events if isinstance(event, Step))


def _take_optimizer(adapter: Path, optimizer: Optimizer) -> None:
    if not adapter.is_dir():
        raise UserError(
            f"{adapter}: an adapter file has no optimizer beside it; give the run or the "
            "checkpoint's folder, or leave --keep-optimizer out"
        )
    checkpoint_at(adapter).restore_optimizer(optimizer)
