"""train.py: flags to a run, the run, and RWKV-PEFT's files of what it saves."""

import os
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import TypeVar

import torch

from eyas.adapters import describe, load_adapter
from eyas.observe.console import console
from eyas.run import Prepared, prepare
from eyas.run import train as start
from eyas.rwkv_peft.entering import entered
from eyas.rwkv_peft.files import file_name, write_numbered, write_start
from eyas.rwkv_peft.flags import Given
from eyas.rwkv_peft.meaning import Plan, plan_of
from eyas.rwkv_peft.showing import next_command, show
from eyas.training.engine import backend_for, share_threads
from eyas.training.events import Event, Finished, Saved
from eyas.training.ranks import Ranks, found_ranks, joined

T = TypeVar("T")


def train(given: Given, words: Sequence[str]) -> int:
    """The exit code. words: what was typed. Raises UserError for what the user can mend."""
    plan = plan_of(given, torch.cuda.is_available(), os.environ)
    config = plan.run.engine
    ranks = found_ranks(os.environ)
    if ranks is None and config.world > 1:
        from eyas.training.launch import launch

        return launch(config, ("-m", "eyas.rwkv_peft", "train", *words))
    ranks = ranks or Ranks()
    share_threads(config, ranks)
    with joined(ranks, os.environ, backend_for(config)):
        return _run(plan, ranks)


def _run(plan: Plan, ranks: Ranks) -> int:
    with ExitStack() as stack:
        entering = entered(plan) if ranks.first else nullcontext()
        ranks.all_or_none(lambda: stack.enter_context(entering))
        prepared = ranks.all_or_none(lambda: prepare(plan.run, ranks))
    _ = prepared.utilization  # is measured by all ranks together
    return _follow(plan, prepared) if ranks.first else _join_in(prepared)


def _follow(plan: Plan, prepared: Prepared) -> int:
    """Shows the run and writes its files."""
    show(plan, prepared)
    _write_what_is_due(plan, prepared)
    signal = 0
    with console(prepared.steps, utilization=prepared.utilization) as sink:
        for event in start(prepared):
            sink(event)
            if isinstance(event, Saved):
                _write_after(plan, prepared, event.step, event.path)
            signal = max(signal, _signal_of(event))
    if signal:
        print("The same command goes on from here.")
    elif command := next_command(plan, prepared):
        print(f"Next: {command}")
    return 128 + signal if signal else 0  # as shells have it


def _join_in(prepared: Prepared) -> int:
    """What the other processes do: train, and keep silent."""
    signal = 0
    for event in start(prepared):
        signal = max(signal, _signal_of(event))
    return 128 + signal if signal else 0


def _signal_of(event: Event) -> int:
    """The number of the signal that this event tells to have ended the run."""
    if isinstance(event, Finished) and event.reason == "interrupted":
        return event.signal
    return 0


def _write_what_is_due(plan: Plan, prepared: Prepared) -> None:
    """init_pissa.pth; and where the run was killed between a checkpoint and its file, the file."""
    run, checkpoint = prepared.run, prepared.checkpoint
    if checkpoint:
        _write_after(plan, prepared, checkpoint.progress.step, checkpoint.path)
    begun = describe(prepared.model, run.method, prepared.base, run.seed, 0)
    write_start(begun, prepared.out)


def _write_after(plan: Plan, prepared: Prepared, step: int, checkpoint: Path) -> None:
    number = plan.epochs.number_saved_after(step)
    if number is not None:
        adapter = load_adapter(checkpoint / "adapter.safetensors")
        path = prepared.out / file_name(number)
        write_numbered(adapter, prepared.run.model, path)
