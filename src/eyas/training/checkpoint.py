"""The run directory: what a run leaves on the disk, and going on from it.

    run.toml                      the whole resolved configuration
    metrics.jsonl                 a line for each event
    checkpoints/00000120/         adapter.safetensors, optimizer.pt, progress.json
    adapter.safetensors           the result, once the run is done

A checkpoint is written beside its place and renamed: it is there whole or not at all.
"""

import json
import math
import pickle
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout

from eyas.adapters import Adapter, load_adapter, save_adapter
from eyas.data import Cursor
from eyas.errors import UserError
from eyas.files import atomic_path, remove_temporaries
from eyas.training.loop import Progress
from eyas.training.optim import Optimizer
from eyas.training.ranks import Ranks

_FOLDER = "checkpoints"
_FILES = ("run.toml", "metrics.jsonl", "adapter.safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint on the disk."""

    path: Path
    progress: Progress
    data: str  # fingerprint of the data, trained and held out

    def adapter(self) -> Adapter:
        try:
            return load_adapter(self.path / "adapter.safetensors")
        except UserError as error:
            raise UserError(f"{error}; {_or_the_one_before(self.path)}") from error

    def restore(self, optimizer: Optimizer, rank: int = 0) -> None:
        """Puts back the optimizer's and the rank's random generators' states.

        A rank that was not there when this was saved keeps the generators that it has.
        """
        state = self.restore_optimizer(optimizer)
        if rank < len(state["random"]):
            torch.set_rng_state(state["random"][rank])
        if torch.cuda.is_available() and rank < len(state["random_cuda"]):
            torch.cuda.set_rng_state(state["random_cuda"][rank])

    def restore_optimizer(self, optimizer: Optimizer) -> dict[str, Any]:
        """Puts back the optimizer's state alone; all that was saved with it."""
        path = self.path / "optimizer.pt"
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            states = state["optimizer"]
        except (OSError, EOFError, RuntimeError, LookupError, pickle.UnpicklingError) as error:
            raise _damaged(path, error) from error
        try:
            optimizer.load(states)
            optimizer.scale = state["scale"]
        except ValueError as error:
            raise UserError(
                f"{path}: the optimizer of a run that trained other tensors ({error}); "
                "start with a new one"
            ) from error
        return state


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Keeps every other process from training in this directory; ends with the process.

    What a killed one left half written there is removed.
    """
    try:
        run.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(
            f"{run}: a file is in the way of this folder; choose another --out"
        ) from error
    lock = FileLock(run / ".lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(
            f"{run}: another process is training in this directory; wait for it, or choose "
            "another --out"
        ) from error
    try:
        for name in _FILES:  # not all: a merge may be writing its file there
            remove_temporaries(run, name)
        yield
    finally:
        lock.release()


def states_to_save(optimizer: Optimizer, ranks: Ranks) -> dict[str, Any]:
    """What a checkpoint has of optimizer and random generators; all ranks have to call it."""
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {
        "optimizer": optimizer.state(),
        "random": ranks.gathered(torch.get_rng_state()),
        "random_cuda": [] if cuda is None else ranks.gathered(cuda),
        "scale": optimizer.scale,
    }


def save_checkpoint(
    run: Path, progress: Progress, data: str, adapter: Adapter, states: dict[str, Any], keep: int
) -> Path:
    """Writes a checkpoint and removes all but the newest `keep` and the best one."""
    folder = run / _FOLDER
    folder.mkdir(exist_ok=True)
    remove_temporaries(folder)
    path = checkpoint_path(run, progress.step)
    if not path.exists():
        _write(path, progress, data, adapter, states)
    for old in _checkpoints(run)[:-keep]:
        if old != checkpoint_path(run, progress.best_step):
            shutil.rmtree(old)
    return path


def checkpoint_path(run: Path, step: int) -> Path:
    """Where the checkpoint of a step lies, or would lie."""
    return run / _FOLDER / f"{step:08d}"


def best_checkpoint(run: Path) -> Checkpoint | None:
    """That of the lowest held-out loss, if there is any."""
    newest = newest_checkpoint(run)
    if newest is None or not newest.progress.best_step:
        return None
    return read_checkpoint(checkpoint_path(run, newest.progress.best_step))


def newest_checkpoint(run: Path) -> Checkpoint | None:
    """The last checkpoint of a run, if there is any."""
    found = _checkpoints(run)
    return read_checkpoint(found[-1]) if found else None


def read_checkpoint(path: Path) -> Checkpoint:
    """The checkpoint in this folder. Raises UserError where there is none."""
    progress = path / "progress.json"
    if not progress.exists():
        raise UserError(f"{path}: neither a run nor a checkpoint (it has no {progress.name})")
    try:
        values = json.loads(progress.read_text())
        cursor = Cursor(int(values["epoch"]), int(values["position"]))
        best = math.inf if values["best"] is None else float(values["best"])
        counts = {name: int(values[name]) for name in ("step", "tokens", "best_step", "stale")}
        reached = Progress(cursor=cursor, best=best, **counts)
        return Checkpoint(path, reached, str(values["data"]))
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise _damaged(progress, error) from error


def _damaged(path: Path, error: Exception) -> UserError:
    """The error for a file of a checkpoint that cannot be read."""
    what = (str(error).splitlines() or [type(error).__name__])[0]
    return UserError(f"{path}: damaged or cut short ({what}); {_or_the_one_before(path.parent)}")


def _or_the_one_before(checkpoint: Path) -> str:
    return f"remove the folder {checkpoint} to go on from the checkpoint before it, if there is one"


def _checkpoints(run: Path) -> list[Path]:
    found = (path for path in (run / _FOLDER).glob("*") if path.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))


def _write(
    path: Path, progress: Progress, data: str, adapter: Adapter, states: dict[str, Any]
) -> None:
    values = {
        "step": progress.step,
        "epoch": progress.cursor.epoch,
        "position": progress.cursor.position,
        "tokens": progress.tokens,
        "best": progress.best if math.isfinite(progress.best) else None,  # JSON has no infinity
        "best_step": progress.best_step,
        "stale": progress.stale,
        "data": data,
    }
    with atomic_path(path) as temporary:
        temporary.mkdir()
        save_adapter(adapter, temporary / "adapter.safetensors")
        with (temporary / "optimizer.pt").open("wb") as file:  # given a path it hides a full disk
            torch.save(states, file)
        (temporary / "progress.json").write_text(json.dumps(values))
