"""`eyas sweep`: methods and learning rates compared by short runs, one after another."""

import dataclasses
import json
import shlex
import signal
from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated, Any

import click
from rich.console import Console

from eyas.adapters import METHODS, AnyMethod, method_named
from eyas.cli.options import add_options
from eyas.config import fields_of, from_mapping
from eyas.data import BatchConfig, ReadConfig
from eyas.errors import UserError
from eyas.files import write_bytes
from eyas.observe.console import console
from eyas.quant import FrozenConfig
from eyas.resume import refuse_foreign
from eyas.settings import Run, merged, nested, run_from_mapping
from eyas.sweep import (
    Outcome,
    Result,
    SweepConfig,
    Trial,
    as_json,
    as_table,
    at_edge,
    attempt,
    best,
    default_rates,
    draw_rates,
    outcome,
    ranked,
    trials,
)
from eyas.training.checkpoint import locked
from eyas.training.engine import EngineConfig
from eyas.training.events import Finished, Step
from eyas.training.loop import LoopConfig
from eyas.training.optim import OptimConfig

_OWN = {f.name for f in fields_of(SweepConfig)}
_QUIET = {"loop": {"keep": 1}, "watch": {"report": False, "mfu": False}}
_RESULTS, _PICTURE = "sweep.json", "sweep.png"


@dataclass(frozen=True)
class _Asked:
    """A sweep as it was typed; `shared` are the options of `eyas train` that go to every run."""

    model: str
    data: tuple[str, ...]
    methods: list[type[AnyMethod]]
    config: SweepConfig
    shared: dict[str, Any]

    def options(self, method: type[AnyMethod]) -> dict[str, Any]:
        """The shared options that a run with this method has."""
        others = _options_of(*METHODS) - _options_of(method)
        return {name: value for name, value in self.shared.items() if name not in others}

    def command(self, result: Result) -> str:
        """The command line that trains as the runs of this result were trained."""
        trial = result.outcomes[0].trial
        words = ["eyas", "train", self.model, *self.data, "--method", trial.name]
        words += ["--lr", repr(trial.rate)]
        for name, value in self.options(type(trial.run.method)).items():
            words += _words(name, value)
        return shlex.join([*words, *(["--seed", str(trial.seed)] if trial.seed else [])])


def _without(cls: type[Any], *names: str) -> type[Any]:
    """A dataclass with these options left out: those that a sweep decides itself."""
    kept = [f for f in fields_of(cls) if f.name not in names]
    made = [(f.name, Annotated[f.type, f.help], dataclasses.field(default=f.default)) for f in kept]
    return make_dataclass(cls.__name__, made, frozen=True)


@click.command(short_help="Compare methods and learning rates by short runs.")
@click.argument("model")
@click.argument("data", nargs=-1, required=True)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="folder of the runs, sweep.json and sweep.png; default: runs/MODEL-DATA-sweep",
)
@add_options(
    SweepConfig,
    _without(Run, "model", "data", "out", "seed", "adapter", "keep_optimizer", "validation_share"),
    *METHODS,
    FrozenConfig,
    ReadConfig,
    BatchConfig,
    _without(OptimConfig, "lr"),
    LoopConfig,
    _without(EngineConfig, "devices", "num_nodes", "rendezvous", "strategy"),
)
def sweep(model: str, data: tuple[str, ...], out: Path | None, typed: dict[str, Any]) -> int:
    """Train MODEL on DATA with each method at each learning rate, and compare held-out losses.

    Each run is an ordinary run directory in --out. The same command again skips the runs that
    are done and goes on with the others; Ctrl-C ends it with what is there. An option of a
    method, such as --rank, goes to every method that has it. A run keeps one checkpoint, unless
    --keep says otherwise.

    In the table, sorted by held-out loss, that is the loss after the last step, lowest the
    lowest on the way, training the mean of the last tenth of the steps. MiB is an estimate: all
    runs share one process and its peak.
    """
    asked = _asked(model, data, typed)
    folder = out or Path("runs") / f"{Path(model).stem}-{Path(data[0]).stem}-sweep"
    folder = folder.expanduser()
    refuse_foreign(folder, _RESULTS, "sweep")
    found = _trials(asked, folder)
    terminal = Console(highlight=False)
    if share := asked.shared.get("validation_share"):
        _say(terminal, f"{share:.0%} of the documents are held out (--validation-share)")
    with locked(folder):
        outcomes, stop = _go_through(found, asked, folder, terminal)
        winner = _conclude(outcomes, asked, folder, terminal)
    if stop:
        _say(terminal, "The same command goes on from here.")
        return 128 + stop  # as shells have it
    return 0 if winner else 1


def _asked(model: str, data: tuple[str, ...], typed: dict[str, Any]) -> _Asked:
    plain = {name: str(v) if isinstance(v, Path) else v for name, v in typed.items()}
    shared = {name: value for name, value in plain.items() if name not in _OWN}
    own = {name: value for name, value in plain.items() if name in _OWN}
    if "methods" in own:
        own["methods"] = tuple(" ".join(own["methods"]).replace(",", " ").split())
    config = from_mapping(SweepConfig, own, "sweep")
    named = (type(method_named(name, {}, "--methods")) for name in config.methods)
    methods = list(dict.fromkeys(named))  # one may be named twice, bone is miss
    if strange := shared.keys() & (_options_of(*METHODS) - _options_of(*methods)):
        flags = ", ".join(map(_flag, sorted(strange)))
        raise UserError(f"{flags}: no option of {', '.join(config.methods)}; leave it out")
    if "validation" not in shared or "validation_share" in own:
        shared["validation_share"] = config.validation_share
    return _Asked(model, data, methods, config, shared)


def _trials(asked: _Asked, folder: Path) -> list[Trial]:
    """All runs, in the order in which they are to be made: seed by seed."""
    config, found = asked.config, []
    for method in asked.methods:
        named = {"model": asked.model, "data": asked.data, "method": method.name}
        values = merged(
            {"loop": {"keep": 1}, "watch": {"report": False, "mfu": False}},
            nested({**asked.options(method), **named}),
        )
        run = run_from_mapping(values, "settings")
        rates = config.lr or default_rates(run.method)
        found += trials(method.name, run, rates, config.seeds, folder)
    return sorted(found, key=lambda trial: config.seeds.index(trial.seed))


def _go_through(
    found: list[Trial], asked: _Asked, folder: Path, terminal: Console
) -> tuple[list[Outcome], int]:
    """Makes the runs that are not done; what came of each, and the signal that ended it, or 0."""
    outcomes, stop = [outcome(trial) for trial in found], 0
    _write(outcomes, asked, folder)
    for i, trial in enumerate(found):
        place = f"{i + 1}/{len(found)}  {trial.name}  lr {trial.rate!r}  seed {trial.seed}"
        _say(terminal, place)
        try:
            outcomes[i], stop = _run(trial, terminal)
        except KeyboardInterrupt:  # outside of the steps, in which the run itself ends in order
            outcomes[i], stop = outcome(trial), signal.SIGINT
        _say(terminal, "  " + _told(outcomes[i]))
        _write(outcomes, asked, folder)
        if stop:
            break
    return outcomes, stop


def _run(trial: Trial, terminal: Console) -> tuple[Outcome, int]:
    came, stop = outcome(trial), 0
    with console(trial.steps, terminal) as sink:
        for event in attempt(trial):
            if isinstance(event, Outcome):
                came = event
            elif isinstance(event, Finished):
                stop = event.signal
            elif isinstance(event, Step):  # the rest is told at the end
                sink(event)
    return came, stop


def _told(came: Outcome) -> str:
    if came.state != "done":
        return f"{came.state}: {came.reason}" if came.reason else came.state
    return f"held-out loss {came.held_out:.4f}, {came.seconds:,.1f} s"


def _write(outcomes: list[Outcome], asked: _Asked, folder: Path) -> None:
    results = ranked(outcomes)
    winner = best(results)
    values = {
        "model": asked.model,
        "data": asked.data,
        "options": asked.shared,
        "command": asked.command(winner) if winner else None,
        "results": as_json(results),
    }
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    write_bytes(folder / _RESULTS, text.encode())


def _conclude(
    outcomes: list[Outcome], asked: _Asked, folder: Path, terminal: Console
) -> Result | None:
    """Shows the table, draws the picture and tells the best command."""
    results = ranked(outcomes)
    winner = best(results)
    terminal.print(as_table(results))
    if winner is None:
        _say(terminal, f"No run came to its end; what there is: {folder / _RESULTS}")
        return None
    draw_rates({"": results}, folder / _PICTURE)
    _say(terminal, f"as a picture: {folder / _PICTURE}; all numbers: {folder / _RESULTS}")
    _tell_best(winner, results, terminal)
    _say(terminal, asked.command(winner))
    return winner


def _tell_best(winner: Result, results: list[Result], terminal: Console) -> None:
    _say(terminal, f"Lowest: {winner.name} at {winner.rate!r}, {winner.held_out}.")
    if edge := at_edge(winner, results):
        beyond = "higher" if edge == "highest" else "lower"
        _say(terminal, f"It is the {edge} rate of {winner.name}: try {beyond} ones with --lr.")
    if len(winner.outcomes) == 1:
        _say(terminal, "One seed does not tell chance from merit: see --seeds 0,1,2.")


def _say(terminal: Console, text: str) -> None:
    terminal.print(text, markup=False, soft_wrap=True)


def _options_of(*classes: type[Any]) -> set[str]:
    return {f.name for cls in classes for f in fields_of(cls)}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _words(name: str, value: Any) -> list[str]:
    """An option as it is typed."""
    if isinstance(value, bool):
        return [_flag(name) if value else _flag(f"no_{name}")]
    values = value if isinstance(value, tuple) else (value,)
    return [word for item in values for word in (_flag(name), str(item))]
