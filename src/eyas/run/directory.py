"""What lies in a run directory: its newest adapter, its model, and merging the two."""

from pathlib import Path

import torch

from eyas.adapters import (
    Adapter,
    load_adapter,
)
from eyas.errors import UserError
from eyas.hub import local_model, wanted
from eyas.merging import Merged, load_adapted, merge
from eyas.models import Model, load
from eyas.settings import SETTINGS, Run, read_run
from eyas.training.checkpoint import (
    Checkpoint,
    best_checkpoint,
    newest_checkpoint,
    read_checkpoint,
)


def adapter_at(path: Path) -> Adapter:
    """The adapter of a run (its newest checkpoint's, finished or not), a checkpoint or a file."""
    if not path.exists():
        raise UserError(f"{path}: no such file or folder; give a run's --out, or an adapter file")
    if not path.is_dir():
        return load_adapter(path)
    return checkpoint_at(path).adapter()


def checkpoint_at(path: Path) -> Checkpoint:
    """The checkpoint in this folder, or of the run that it is the newest one.

    Of a run that is ended by patience it is the best one: what is behind that is not wanted.
    """
    if not (path / SETTINGS).exists():
        return read_checkpoint(path)
    checkpoint = newest_checkpoint(path)
    if checkpoint is None:
        raise UserError(f"{path}: this run has no checkpoint yet; let it train on")
    if read_run(path).loop.patience and checkpoint.progress.best_step:
        return best_checkpoint(path) or checkpoint
    return checkpoint


def run_at(path: Path) -> Run:
    """The settings of a run, or of the one that a checkpoint lies in.

    Raises UserError where this is neither.
    """
    if not (path / SETTINGS).exists():
        home = path.resolve().parent.parent
        path = home if (home / SETTINGS).exists() else path
    return read_run(path)


def base_at(base: Path, trained: Path) -> Path:
    """The file of the model that `trained` was trained over, downloaded where that is its name."""
    if not base.exists() and not wanted(base.as_posix()):
        raise UserError(
            f"{trained}: the model that it was trained over, {base}, is not there; say with --base "
            "where it is now"
        )
    return local_model(base)


def steps_done(path: Path) -> tuple[int, int] | None:
    """How many steps of how many an unfinished run has behind it; None for anything else.

    A run that patience or a budget has ended is finished: its result is there.
    """
    if not (path / SETTINGS).exists():
        return None
    step, result = checkpoint_at(path).progress.step, path / "adapter.safetensors"
    if result.exists() and load_adapter(result).step == step:
        return None
    return step, read_run(path).loop.steps or 0


def merge_run(
    run: Path,
    out: Path | None = None,
    dtype: torch.dtype | None = None,
    base: Path | None = None,
    overwrite: bool = False,
) -> Merged:
    """Merges a run directory, or an adapter file with its base; see `eyas.merging`.

    By default the file goes beside the adapter and is named after the base.
    """
    if not run.exists():
        raise UserError(f"{run}: no such file or folder; give a run's --out, or an adapter file")
    if base is None:
        if not run.is_dir():
            raise UserError(
                f"{run}: an adapter file alone does not know where its base is; add --base"
            )
        base = run_at(run).model
    base = base_at(base, run)
    adapter = adapter_at(run)
    out = out or (run if run.is_dir() else run.parent) / f"{base.stem}-merged.pth"
    if out.resolve() == base.resolve():
        raise UserError(f"{out}: this is the base model itself; name another --out")
    if out.exists() and not overwrite:
        raise UserError(f"{out}: exists already; add --overwrite, or name another --out")
    return merge(base, adapter, out, dtype)


def open_model(path: Path, base: Path | None = None) -> tuple[Model, Path, str | None]:
    """A model file, or a run's base with its newest adapter; the base's path; its tokenizer.

    Both may be names of released models; in the place of a run a checkpoint's folder may stand.
    base: where that is now, if it was moved.
    """
    path = local_model(path)
    if not path.is_dir():
        if base:
            raise UserError(f"{path}: is a model itself; --base goes with a run")
        return load(path), path, None
    run = run_at(path)
    base = base_at(base or run.model, path)
    return load_adapted(base, adapter_at(path)), base, run.tokenizer
