"""`eyas train`: two paths start a run; the same command again goes on with it."""

import math
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import click

from eyas import native
from eyas.adapters import METHODS
from eyas.cli.options import add_options
from eyas.config import read_toml, to_mapping
from eyas.data import BatchConfig, ReadConfig, colored
from eyas.errors import UserError
from eyas.hub import local_model
from eyas.observe.console import console
from eyas.observe.documents import print_documents
from eyas.observe.metrics import held_out_losses
from eyas.observe.summary import print_summary
from eyas.observe.watching import WatchConfig
from eyas.quant import FrozenConfig
from eyas.run import Prepared, adapter_at, prepare, timed_step
from eyas.run import train as start
from eyas.run.told import data_lines, memory_lines, trained_lines
from eyas.settings import (
    SETTINGS,
    Run,
    flat,
    merged,
    nested,
    run_from_mapping,
    run_to_mapping,
)
from eyas.training.engine import EngineConfig, backend_for, share_threads
from eyas.training.events import Finished, Step
from eyas.training.interrupt import await_saves
from eyas.training.loop import LoopConfig
from eyas.training.optim import OptimConfig
from eyas.training.ranks import Ranks, found_ranks, joined


@click.command(short_help="Fine-tune a model on a data file.")
@click.argument("what", nargs=-1, required=True, metavar="MODEL DATA... | run.toml")
@click.option(
    "--method",
    metavar="|".join(cls.name for cls in METHODS),
    help="how the model is adapted [default: pissa]",
)
@click.option("--dry-run", is_flag=True, help="show what would be done, time one step, and stop")
@add_options(
    Run,
    *METHODS,
    FrozenConfig,
    ReadConfig,
    BatchConfig,
    OptimConfig,
    LoopConfig,
    EngineConfig,
    WatchConfig,
)
def train(what: tuple[str, ...], method: str | None, dry_run: bool, typed: dict[str, Any]) -> int:
    """Fine-tune MODEL (.pth or .safetensors, or a name: eyas models) on DATA.

    DATA is jsonl, json, csv, parquet, txt (each also .gz or .zst), a folder of these, a binidx
    pair, or a Hugging Face data set; several are mixed. Version and shape are read from the
    model. The same command again resumes the run. Every option can also stand in a TOML file
    (each run writes its own: run.toml); options typed here win.

    Ctrl-C or SIGTERM saves and ends the run, with exit code 130 or 143.
    """
    await_saves()
    run = _run(what, method, typed)
    ranks = found_ranks(os.environ)
    if ranks is None and run.engine.world > 1:
        from eyas.training.launch import launch

        local_model(run.model)  # is downloaded by one process
        return launch(run.engine, ("-m", "eyas", *sys.argv[1:]))
    ranks = ranks or Ranks()
    share_threads(run.engine, ranks)
    with joined(ranks, os.environ, backend_for(run.engine)):
        prepared = ranks.all_or_none(lambda: prepare(run, ranks))
        return _dry_run(prepared) if dry_run else _train(prepared)


def _dry_run(prepared: Prepared) -> int:
    if prepared.ranks.first:
        _show(prepared, everything=True)
    step = timed_step(prepared)
    if prepared.ranks.first:
        _estimate(prepared, step)
    return 0


def _train(prepared: Prepared) -> int:
    first, signal = prepared.ranks.first, 0
    if first:
        _show(prepared, everything=False)
    lowest, used = _lowest_before(prepared), prepared.utilization
    shown = console(prepared.steps, lowest=lowest, utilization=used) if first else nullcontext()
    with shown as sink:
        for event in start(prepared):
            if sink:
                sink(event)
            if isinstance(event, Finished) and event.reason == "interrupted":
                signal = event.signal
    if first:
        out = shlex.quote(str(prepared.out))
        click.echo("The same command goes on from here." if signal else f"Next: eyas merge {out}")
    return 128 + signal if signal else 0  # as shells have it


def _run(what: tuple[str, ...], method: str | None, typed: dict[str, Any]) -> Run:
    values: dict[str, object] = {}
    if what[0].endswith(".toml"):
        file = Path(what[0]).expanduser()
        values = read_toml(file)
        if file.name == SETTINGS and (file.parent / "checkpoints").is_dir():
            values["out"] = str(file.parent)  # a run's own, which may have been moved
        what = what[1:]
    named: dict[str, object] = {"model": what[0]} if what else {}
    if what[1:]:
        named["data"] = what[1:]
    if method:
        typed = {**typed, "method": method}
    values = merged(values, nested({**_plain(typed), **named}))
    if given := values.get("adapter"):
        adapter = adapter_at(Path(str(given)).expanduser())
        values = merged(
            {
                "method": {"name": adapter.method.name, **to_mapping(adapter.method)},
                "frozen": to_mapping(adapter.frozen),
            },
            values,
        )
    for name in ("model", "data"):
        if name not in values:
            raise UserError(f"no {name} given; say: eyas train MODEL DATA")
    return run_from_mapping(values, "settings")


def _plain(typed: dict[str, Any]) -> dict[str, object]:
    return {name: str(v) if isinstance(v, Path) else v for name, v in typed.items()}


def _show(prepared: Prepared, everything: bool) -> None:
    """Prints what the run is about to do, all its settings included where they are asked for."""
    sections = {
        "model": [f"{prepared.run.model.name}: {prepared.model.shape}"],
        "data": data_lines(prepared),
        "trained": trained_lines(prepared),
        "memory": memory_lines(prepared),
        "run": _run_lines(prepared),
    }
    if everything:
        settings = flat(run_to_mapping(prepared.run))
        sections["settings"] = [f"{name} = {value}" for name, value in settings.items()]
    print_summary(sections)
    corpus = prepared.corpus
    print_documents([(corpus.places[0], colored(corpus, 0, prepared.tokenizer))])


def _run_lines(prepared: Prepared) -> list[str]:
    run, checkpoint = prepared.run, prepared.checkpoint
    lines = [
        f"{prepared.steps:,} steps of {run.batch.micro_batch} x {run.loop.accumulate} rows, "
        f"ctx {run.batch.ctx}, lr {run.optim.lr:g} ({run.optim.schedule})",
        str(prepared.out),
    ]
    if missing := native.missing():
        lines.append(missing)
    if prepared.ranks.world > 1:
        lines.append(f"{prepared.ranks.world} processes; {run.engine.what()}")
    if checkpoint:
        lines.append(f"resuming after step {checkpoint.progress.step:,}")
    return lines


def _estimate(prepared: Prepared, step: Step) -> None:
    seconds = step.seconds * prepared.steps
    click.echo(
        f"one step took {step.seconds:.2f} s ({step.tokens / step.seconds:,.0f} tokens/s) and "
        f"{step.peak_bytes / 2**20:,.0f} MiB; {prepared.steps:,} steps take about "
        f"{_duration(seconds)}. Nothing was written."
    )


def _duration(seconds: float) -> str:
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} seconds"


def _lowest_before(prepared: Prepared) -> float:
    """The lowest held-out loss of the run so far."""
    if prepared.checkpoint is None:
        return math.inf
    step = prepared.checkpoint.progress.step
    return min(held_out_losses(prepared.out / "metrics.jsonl", step).values(), default=math.inf)
