"""Outcomes over the seeds, and which is best."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Literal

from eyas.sweep.trials import Outcome


@dataclass(frozen=True)
class Spread:
    """Mean and, of two values or more, their standard deviation (divided by n - 1)."""

    mean: float
    deviation: float | None

    def __str__(self) -> str:
        return f"{self.mean:.4f}" + ("" if self.deviation is None else f" ± {self.deviation:.4f}")


@dataclass(frozen=True)
class Result:
    """What came of one way to train at one learning rate; the losses are over the runs done."""

    name: str
    rate: float
    outcomes: tuple[Outcome, ...]
    """One for each seed."""
    held_out: Spread | None
    """Held-out loss after the last step, by which results are ranked."""
    best: Spread | None
    """The lowest held-out loss of each run."""
    training: Spread | None
    seconds: float | None
    """Mean of a run's steps."""

    @property
    def done(self) -> int:
        """Runs that are done."""
        return sum(outcome.state == "done" for outcome in self.outcomes)

    @property
    def failed(self) -> int:
        return sum(outcome.state == "failed" for outcome in self.outcomes)


def ranked(outcomes: Sequence[Outcome]) -> list[Result]:
    """By held-out loss, the lowest first; below them what failed with some seed or is not done."""
    groups: dict[tuple[str, float], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.trial.name, outcome.trial.rate), []).append(outcome)
    results = [_result(name, rate, group) for (name, rate), group in groups.items()]
    return sorted(results, key=_rank)


def best(results: Sequence[Result]) -> Result | None:
    """The lowest held-out loss without a failure, if there is any."""
    first = min(results, key=_rank, default=None)
    return first if first and first.held_out and not first.failed else None


def at_edge(result: Result, results: Sequence[Result]) -> Literal["lowest", "highest"] | None:
    """Whether this rate is the end of the rates of its kind, so that a better one may lie beyond.

    A rate beside one that failed is not: beyond it training breaks down. Nor is any, while some
    are not done.
    """
    own = [other for other in results if other.name == result.name]
    rates = [other.rate for other in own]
    waiting = any(other.done + other.failed < len(other.outcomes) for other in own)
    if waiting or len(rates) < 2 or min(rates) < result.rate < max(rates):
        return None
    return "highest" if result.rate == max(rates) else "lowest"


def _result(name: str, rate: float, outcomes: list[Outcome]) -> Result:
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    return Result(
        name=name,
        rate=rate,
        outcomes=tuple(outcomes),
        held_out=_spread([o.held_out for o in done]),
        best=_spread([o.best for o in done]),
        training=_spread([o.training for o in done]),
        seconds=mean(o.seconds for o in done) if done else None,
    )


def _spread(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    if not known:
        return None
    return Spread(mean(known), stdev(known) if len(known) > 1 else None)


def _rank(result: Result) -> tuple[bool, bool, float]:
    nothing = result.held_out is None
    return nothing, result.failed > 0, result.held_out.mean if result.held_out else result.rate
