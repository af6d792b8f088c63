"""Before a run: its folder, in which other files of RWKV-PEFT may lie, and what it begins with."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from eyas.adapters import Adapter, LoRA, load_adapter, save_adapter
from eyas.config import write_toml
from eyas.errors import UserError
from eyas.interop import rwkv_peft
from eyas.interop.base import read_base
from eyas.interop.rwkv_peft import START
from eyas.resume import refuse_foreign
from eyas.rwkv_peft.files import file_name, number_of, over_quantized
from eyas.rwkv_peft.meaning import NEW_MODEL, STARTED_FROM, Plan, check_shape
from eyas.rwkv_peft.new_model import VOCABULARY, make_model
from eyas.settings import SETTINGS, run_to_mapping
from eyas.training.checkpoint import newest_checkpoint

_OURS = ("checkpoints", "adapter.safetensors", "metrics.jsonl")
_MADE = (SETTINGS, STARTED_FROM, NEW_MODEL, VOCABULARY)


@contextmanager
def entered(plan: Plan) -> Iterator[None]:
    """Makes proj_dir the run's, with what the run begins with in it.

    What was made is removed again where the block fails. Raises UserError where files of another
    run would be lost, and where the flags do not fit the model's file.
    """
    folder = plan.run.out
    assert folder is not None
    if not plan.new_model:
        base = read_base(plan.run.model)
        check_shape(plan.given, base.shape, base.path)
    if (folder / SETTINGS).exists():
        _begin(plan, folder)
        yield
        return
    _check_free(plan, folder)
    fresh = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    there = set(folder.iterdir())
    try:
        # A folder with files of RWKV-PEFT in it would be refused as no run's.
        write_toml(run_to_mapping(plan.run), folder / SETTINGS)
        _begin(plan, folder)
        yield
    except BaseException:
        _undo([folder / name for name in _MADE if folder / name not in there])
        if fresh:
            with suppress(OSError):
                folder.rmdir()
        raise


def _undo(made: list[Path]) -> None:
    for path in made:
        path.unlink(missing_ok=True)


def _check_free(plan: Plan, folder: Path) -> None:
    """Raises UserError where the run would write over what is not its own."""
    if not folder.exists():
        return
    if not folder.is_dir() or any((folder / name).exists() for name in _OURS):
        refuse_foreign(folder, SETTINGS, "run")
    names = [file_name(number) for number in plan.epochs.numbers_saved()]
    if plan.new_model:
        names.append(NEW_MODEL)
    lost = [folder / name for name in names if (folder / name).exists()]
    start, goes_on = folder / START, plan.choice.start
    kept = goes_on is not None and goes_on.resolve() == start.resolve()
    if plan.run.method.name == "pissa" and start.exists() and not kept:
        lost.append(start)
    if lost:
        highest = max((n for n in map(number_of, folder.iterdir()) if n is not None), default=0)
        raise UserError(
            f"{lost[-1]}: is there already, of another run, and would be lost; choose another "
            f"--proj_dir, or, to go on from it, --epoch_begin {highest + 1} and its *_load"
        )


def _begin(plan: Plan, folder: Path) -> None:
    if plan.new_model and not (folder / NEW_MODEL).exists():
        make_model(plan, folder)
    if plan.choice.load:
        _bring(_loaded(plan), folder)


def _bring(adapter: Adapter, folder: Path) -> None:
    """Writes what the run goes on from; one that has begun must have begun from the same."""
    path = folder / STARTED_FROM
    if newest_checkpoint(folder) is None or not path.exists():
        save_adapter(adapter, path)
        return
    there = load_adapter(path).tensors
    same = there.keys() == adapter.tensors.keys()
    if not same or any(not torch.equal(t, there[name]) for name, t in adapter.tensors.items()):
        raise UserError(
            f"{folder}: holds a run that went on from another file than this one; choose another "
            "--proj_dir"
        )


def _loaded(plan: Plan) -> Adapter:
    """The adapter in the files of RWKV-PEFT that `--*_config` names."""
    run, load = plan.run, plan.choice.load
    assert load is not None
    alpha = run.method.alpha if isinstance(run.method, LoRA) else None
    found = rwkv_peft.read(load, read_base(run.model), plan.choice.start, alpha)
    if found.method.name != run.method.name:
        raise UserError(
            f"{load}: is of the method {found.method.name}, and --peft {plan.given['peft']} is "
            f"{run.method.name}; take --peft {found.method.name}"
        )
    rank, wanted = (getattr(method, "rank", None) for method in (found.method, run.method))
    if rank != wanted:
        raise UserError(f"{load}: has rank {rank}, and the flags say {wanted}; write {rank}")
    return over_quantized(dataclasses.replace(found, method=run.method), run.frozen, run.model)
