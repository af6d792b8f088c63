"""The runs of a sweep, each an ordinary run directory, so that it can be resumed and merged:

    folder/NAME-lrRATE-seedSEED

They follow one another in one process, which keeps the start of a run short. The peak of a
process's memory cannot be told apart by run, so that the memory given here is the estimate of
`training.memory`, not a measurement.
"""

import dataclasses
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import torch

from eyas.adapters import AnyMethod
from eyas.errors import UserError
from eyas.observe.metrics import read_metrics
from eyas.run import prepare, train
from eyas.settings import SETTINGS, Run, read_run
from eyas.training.checkpoint import locked
from eyas.training.events import Event


@dataclass(frozen=True)
class SweepConfig:
    """Which runs a sweep is made of."""

    methods: Annotated[tuple[str, ...], "methods to compare, separated by commas"] = (
        "pissa",
        "lora",
        "miss",
    )
    lr: Annotated[
        tuple[float, ...],
        "learning rates for every method; default: each method's own, a third and three times it",
    ] = ()
    seeds: Annotated[tuple[int, ...], "a run of each method and learning rate for each"] = (0,)
    validation_share: Annotated[
        float, "share of the documents held out, where no --validation is given"
    ] = 0.1

    def __post_init__(self) -> None:
        for name in ("methods", "seeds"):
            if not getattr(self, name):
                raise ValueError(f"{name} names none; give at least one")
        if wrong := [rate for rate in self.lr if not (rate > 0 and math.isfinite(rate))]:
            raise ValueError(f"lr = {wrong[0]} must be above 0")
        if wrong := [seed for seed in self.seeds if not 0 <= seed < 2**63]:
            raise ValueError(f"seeds: {wrong[0]} must be at least 0 and below 2^63")


@dataclass(frozen=True)
class Trial:
    """One run of a sweep, all its settings resolved."""

    name: str
    """Of the way to train: a method, perhaps over a quantized base."""
    rate: float
    seed: int
    out: Path
    run: Run
    steps: int
    parameters: int
    """That are trained."""
    estimated_bytes: int
    """At the peak of a step."""


@dataclass(frozen=True)
class Outcome:
    """What came of a trial, as its run directory tells it."""

    trial: Trial
    state: Literal["done", "failed", "cut off", "not begun"]
    reason: str = ""
    held_out: float | None = None
    """Held-out loss after the last step; only of a run that is done."""
    best: float | None = None
    """The lowest held-out loss on the way."""
    best_step: int | None = None
    training: float | None = None
    """Mean training loss over the last tenth of the steps."""
    seconds: float = 0.0
    """Of all steps, without validation and saving."""


def default_rates(method: AnyMethod) -> tuple[float, ...]:
    """The method's own learning rate between a third and three times it, to two digits."""
    return tuple(float(f"{method.learning_rate * factor:.2g}") for factor in (1 / 3, 1, 3))


def trials(
    name: str, run: Run, rates: Sequence[float], seeds: Sequence[int], folder: Path
) -> list[Trial]:
    """A trial for each rate and seed. Model and data are loaded once, and nothing is written.

    Raises UserError for anything wrong with the settings, or with a run directory that is there.
    """
    places = {(r, s): (folder / f"{name}-lr{r!r}-seed{s}").resolve() for s in seeds for r in rates}
    (rate, seed), out = next(iter(places.items()))
    prepared = prepare(_at(run, rate, seed, out))
    if prepared.held_out is None:
        raise UserError(
            "a sweep compares held-out losses: give --validation, or a --validation-share above 0"
        )
    trained, size = prepared.trained_parameters, prepared.plan.total()
    found = [
        Trial(name, r, s, out, _at(prepared.run, r, s, out), prepared.steps, trained, size)
        for (r, s), out in places.items()
    ]
    del prepared
    for trial in found:
        if trial.out.exists() and not _is_there(trial):
            prepare(trial.run)  # raises where it cannot become this run
    return found


def attempt(trial: Trial) -> Iterator[Event | Outcome]:
    """Trains, or goes on with it, unless it is done already; what came of it comes last.

    A run that breaks off (a loss that is not finite, no memory left) has failed. Asked again it
    goes on from its last checkpoint. Raises UserError where the run cannot begin.
    """
    reason = ""
    if outcome(trial).state not in ("done", "failed"):
        prepared = prepare(trial.run)
        with locked(trial.out):
            pass  # a run that another process has in hand has not failed
        try:
            yield from train(prepared)
        except (UserError, torch.OutOfMemoryError) as error:
            reason = str(error)
    came = outcome(trial)
    yield dataclasses.replace(came, state="failed", reason=reason) if reason else came


def outcome(trial: Trial) -> Outcome:
    """What the run directory tells of a trial."""
    lines = read_metrics(trial.out / "metrics.jsonl")
    if not lines:
        return Outcome(trial, "not begun")
    steps = [line for line in lines if line["event"] == "step"]
    losses = [step["loss"] for step in steps[-max(1, len(steps) // 10) :]]
    held_out = [(line["loss"], line["step"]) for line in lines if line["event"] == "validated"]
    lowest, at = min((pair for pair in held_out if pair[0] is not None), default=(None, None))
    came = Outcome(
        trial,
        "cut off",
        best=lowest,
        best_step=at,
        training=sum(losses) / len(losses) if losses else None,
        seconds=sum(step["seconds"] for step in steps),
    )
    ends = [line["step"] for line in lines if line.get("reason") == "steps done"]
    if trial.steps not in ends or not (trial.out / "adapter.safetensors").exists():
        return came
    if held_out[-1][0] is None:
        return dataclasses.replace(came, state="failed", reason="the held-out loss is not finite")
    return dataclasses.replace(came, state="done", held_out=held_out[-1][0])


def _at(run: Run, rate: float, seed: int, out: Path) -> Run:
    optim = dataclasses.replace(run.optim, lr=rate)
    return dataclasses.replace(run, optim=optim, seed=seed, out=out)


def _is_there(trial: Trial) -> bool:
    return (trial.out / SETTINGS).exists() and read_run(trial.out) == trial.run
