"""The methods on the embedded model, each at the best of its learning rates.

    python benchmarks/methods.py [--runs DIR] [--steps 80] [--rows 8] [--seeds 0 1 2]
                                 [--only NAME ...] [--processes 2] [--out FILE.json]

The demo's `json` task at its rank and number of steps, with fewer rows a step. Each method is tried
with the first seed at three learning rates a factor of three apart; while the best of them is the
highest or the lowest, the next one beyond is tried, three times at most. The best is then trained
with the other seeds too.

The loss is that of the validation items, by which the rate was chosen, after the last step; exact
match is on the test items, of the first seed. Each process trains with one thread. What is done
under --runs is not made again, and what was cut off goes on.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import torch
from report import Row, save, show

from eyas.adapters import AnyMethod, Bat, Full, LoftQ, LoRA, MiSS, OLoRA, PiSSA, State
from eyas.data import BatchConfig
from eyas.demo.play import BASE, RANK, STEPS
from eyas.demo.score import exact_match
from eyas.demo.tasks import load_task
from eyas.quant import FrozenConfig
from eyas.run import open_model
from eyas.settings import Run
from eyas.sweep import Outcome, Result, Trial, at_edge, attempt, best, draw_rates, ranked, trials
from eyas.training.loop import LoopConfig
from eyas.training.optim import OptimConfig

TASK = load_task("json")
FACTOR, BEYOND = 3.0, 3
WARMUP = 15 / 80  # share of the steps, the demo's
Quant = Literal["none", "int8", "nf4"]
QUANTS: tuple[Quant, ...] = ("int8", "nf4")
PANELS: dict[Quant, str] = {"none": "float32 base", "int8": "int8 base", "nf4": "nf4 base"}


@dataclass(frozen=True)
class Contender:
    """A way to train, and the learning rate that is tried first."""

    name: str
    method: AnyMethod
    rate: float
    quant: Quant = "none"


PLAIN = [
    Contender("pissa", PiSSA(RANK), 4e-3),
    Contender("lora", LoRA(RANK), 1.2e-2),
    Contender("rslora", LoRA(RANK, rslora=True), 4e-3),
    Contender("olora", OLoRA(RANK), 4e-3),
    Contender("miss", MiSS(RANK), 1.2e-2),
    Contender("bat", Bat(RANK), 4e-3),
    Contender("state", State(), 1.0),
    Contender("full", Full(), 3e-3),
]
QUANTIZED = [
    contender
    for quant in QUANTS
    for contender in (
        Contender(f"pissa-{quant}", PiSSA(RANK), 4e-3, quant),
        Contender(f"lora-{quant}", LoRA(RANK), 1.2e-2, quant),
        Contender(f"loftq-{quant}", LoftQ(RANK), 1.2e-2, quant),
    )
]
CONTENDERS = PLAIN + QUANTIZED


@dataclass(frozen=True)
class Options:
    """What all runs share."""

    runs: Path
    steps: int
    rows: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Compared:
    """All runs of a contender; `chosen` holds those at its best rate, with every seed."""

    contender: Contender
    outcomes: list[Outcome]
    chosen: Result | None
    exact: float | None


def settings(contender: Contender, options: Options) -> Run:
    """What all runs of a contender share."""
    warmup = round(WARMUP * options.steps)
    return Run(
        BASE,
        TASK.train,
        method=contender.method,
        validation=TASK.valid,
        precision="fp32",
        frozen=FrozenConfig(quant=contender.quant),
        batch=BatchConfig(ctx=256, micro_batch=options.rows, dataload="pad"),
        optim=OptimConfig(schedule="cosine", warmup_steps=warmup),
        loop=LoopConfig(steps=options.steps, validate_every=options.steps, save_every=20, keep=1),
    )


def best_rate(contender: Contender, options: Options) -> tuple[list[Outcome], Result | None]:
    """All runs: the rates with the first seed, the best of them with the others; and that one."""
    run, first, others = settings(contender, options), options.seeds[:1], options.seeds[1:]

    def made(rates: Sequence[float], seeds: Sequence[int]) -> list[Outcome]:
        found = trials(contender.name, run, rates, seeds, options.runs) if seeds else []
        return [make(trial) for trial in found]

    outcomes = made([rounded(contender.rate * f) for f in (1 / FACTOR, 1, FACTOR)], first)
    for _ in range(BEYOND):
        winner = best(ranked(outcomes))
        edge = winner and at_edge(winner, ranked(outcomes))
        if not (winner and edge):
            break
        factor = FACTOR if edge == "highest" else 1 / FACTOR
        outcomes += made([rounded(winner.rate * factor)], first)
    winner = best(ranked(outcomes))
    if not winner:
        return outcomes, None
    outcomes += made([winner.rate], others)
    return outcomes, next(r for r in ranked(outcomes) if r.rate == winner.rate)


def compare(contender: Contender, options: Options) -> Compared:
    outcomes, chosen = best_rate(contender, options)
    if not chosen:
        return Compared(contender, outcomes, None, None)
    model, _, _ = open_model(chosen.outcomes[0].trial.out)
    return Compared(contender, outcomes, chosen, exact_match(model, TASK.test))


def make(trial: Trial) -> Outcome:
    """The run, made if it is not there; ends the process where it was stopped."""
    *events, came = attempt(trial)
    assert isinstance(came, Outcome)
    if events:
        loss = "-" if came.held_out is None else f"{came.held_out:.4f}"
        print(f"{trial.out.name}: {came.state} {came.reason}  held-out loss {loss}", flush=True)
    if came.state == "cut off":
        sys.exit("stopped; the same command goes on from here")
    return came


def rounded(rate: float) -> float:
    return float(f"{rate:.2g}")


def table_row(compared: Compared) -> Row:
    trial, chosen = compared.outcomes[0].trial, compared.chosen
    return {
        "method": compared.contender.name,
        "trained": f"{trial.parameters:,}",
        "lr": chosen.rate if chosen else None,
        "held-out loss": str(chosen.held_out) if chosen else "failed",
        "training loss": str(chosen.training) if chosen else "failed",
        "exact_match": None if compared.exact is None else f"{compared.exact:.1%}",
    }


def json_row(compared: Compared) -> Row:
    contender, trial, chosen = compared.contender, compared.outcomes[0].trial, compared.chosen
    first = compared.outcomes[0].trial.seed
    tried = {o.trial.rate: o.held_out for o in compared.outcomes if o.trial.seed == first}
    return {
        "name": contender.name,
        "method": contender.method.name,
        "base": contender.quant,
        "trained_parameters": trial.parameters,
        "lr": chosen.rate if chosen else None,
        "held_out": {o.trial.seed: o.held_out for o in chosen.outcomes} if chosen else None,
        "training": {o.trial.seed: o.training for o in chosen.outcomes} if chosen else None,
        "exact_match": compared.exact,
        "held_out_by_lr": dict(sorted(tried.items())),
    }


def make_all(contenders: list[Contender], options: Options, count: int) -> None:
    """Makes all runs in so many processes; they leave run directories and nothing else."""
    context = get_context("spawn")
    shares = (contenders[i::count] for i in range(count))
    workers = [context.Process(target=make_share, args=(share, options)) for share in shares]
    for worker in workers:
        worker.start()
    try:
        for worker in workers:
            worker.join()
    finally:
        for worker in workers:
            worker.kill()  # where we are stopped; a run goes on from its last checkpoint
    if any(worker.exitcode for worker in workers):
        sys.exit("a process ended before its time; the same command goes on")


def make_share(contenders: list[Contender], options: Options) -> None:
    torch.set_num_threads(1)
    for contender in contenders:
        best_rate(contender, options)


def mean_loss(compared: Compared) -> float:
    spread = compared.chosen.held_out if compared.chosen else None
    return spread.mean if spread else float("inf")


def report(all_compared: list[Compared], options: Options, out: Path) -> None:
    """The table, the JSON file and the picture beside it."""
    ordered = sorted(all_compared, key=mean_loss)
    show(f"{options.steps} steps of {options.rows} rows", [table_row(c) for c in ordered])
    about = {"steps": options.steps, "rows": options.rows, "rank": RANK, "seeds": options.seeds}
    save(out, 1, task=TASK.name, **about, methods=[json_row(c) for c in ordered])
    panels = {
        title: ranked([o for c in ordered if c.contender.quant == quant for o in c.outcomes])
        for quant, title in PANELS.items()
    }
    drawn = {title: results for title, results in panels.items() if best(results)}
    if drawn:
        draw_rates(drawn, out.with_suffix(".png"))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--runs", type=Path, default=Path("runs/methods"))
    parser.add_argument("--steps", type=int, default=STEPS[TASK.name])
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=[c.name for c in CONTENDERS], metavar="NAME")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results/methods.json")
    given = parser.parse_args()
    torch.set_num_threads(1)
    options = Options(given.runs, given.steps, given.rows, tuple(given.seeds))
    chosen = [c for c in CONTENDERS if not given.only or c.name in given.only]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped; the same command goes on"))
    make_all(chosen, options, given.processes)
    compared = [compare(contender, options) for contender in chosen]  # reads what is there
    report(compared, options, given.out)


if __name__ == "__main__":
    main()
