"""A checkpoint is there whole or not at all."""

import errno
import math
import os
from pathlib import Path
from typing import BinaryIO

import pytest
import torch
from weights import write_model

from eyas.adapters import PiSSA, attach, describe
from eyas.data import Cursor
from eyas.errors import UserError
from eyas.models import Model, load
from eyas.training import checkpoint
from eyas.training.checkpoint import (
    best_checkpoint,
    locked,
    newest_checkpoint,
    save_checkpoint,
    states_to_save,
)
from eyas.training.loop import Progress
from eyas.training.optim import OptimConfig, Optimizer
from eyas.training.ranks import Ranks

METHOD = PiSSA(rank=2)


@pytest.fixture
def model(tmp_path: Path) -> Model:
    loaded = load(write_model(tmp_path / "m.pth"))
    attach(loaded, METHOD)
    return loaded


def save(run: Path, model: Model, step: int, keep: int = 2, best: int = 0) -> Path:
    adapter = describe(model, METHOD, "base", 0, step)
    run.mkdir(exist_ok=True)
    states = states_to_save(Optimizer(model, OptimConfig(lr=1e-3)), Ranks())
    progress = Progress(step, Cursor(1, 7), 123, 1.5 if best else math.inf, best, 3)
    return save_checkpoint(run, progress, "data", adapter, states, keep)


def names(run: Path) -> list[str]:
    return sorted(os.listdir(run / "checkpoints"))


def test_the_newest_are_kept(tmp_path: Path, model: Model) -> None:
    run = tmp_path / "run"
    for step in (5, 10, 100):
        save(run, model, step)
    assert names(run) == ["00000010", "00000100"]
    newest = newest_checkpoint(run)
    assert newest is not None
    assert (newest.progress, newest.data) == (Progress(100, Cursor(1, 7), 123, stale=3), "data")
    assert newest.adapter().step == 100
    assert best_checkpoint(run) is None


def test_the_best_is_kept_too(tmp_path: Path, model: Model) -> None:
    run = tmp_path / "run"
    for step in (5, 10, 100, 110):
        save(run, model, step, keep=1, best=10 if step > 5 else 5)
    assert names(run) == ["00000010", "00000110"]
    best = best_checkpoint(run)
    assert best is not None
    assert best.progress == Progress(10, Cursor(1, 7), 123, 1.5, 10, 3)


def test_no_checkpoint_yet(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    (tmp_path / "checkpoints").mkdir()
    assert newest_checkpoint(tmp_path) is None


def test_disk_full_leaves_the_one_before(
    tmp_path: Path, model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    before = save(run, model, 5, keep=1)
    files = {path.name: path.read_bytes() for path in before.iterdir()}

    def full(state: object, file: BinaryIO) -> None:  # noqa: ARG001
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(checkpoint.torch, "save", full)
    with pytest.raises(UserError, match=r"00000010: the disk is full"):
        save(run, model, 10, keep=1)
    assert names(run) == ["00000005"]
    assert {path.name: path.read_bytes() for path in before.iterdir()} == files


def test_what_a_killed_process_left_is_ignored_and_removed(tmp_path: Path, model: Model) -> None:
    run = tmp_path / "run"
    save(run, model, 5)
    (run / "checkpoints" / ".00000010.abcd.tmp").mkdir()
    newest = newest_checkpoint(run)
    assert newest is not None
    assert newest.progress.step == 5
    save(run, model, 10)
    assert names(run) == ["00000005", "00000010"]


def test_random_numbers_go_on_where_they_were(tmp_path: Path, model: Model) -> None:
    run = tmp_path / "run"
    torch.manual_seed(3)
    save(run, model, 5)
    expected = torch.rand(4)
    newest = newest_checkpoint(run)
    assert newest is not None
    newest.restore(Optimizer(model, OptimConfig(lr=1e-3)))
    assert torch.equal(torch.rand(4), expected)


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with locked(tmp_path / "run"), pytest.raises(UserError, match="another process"):
        locked(tmp_path / "run").__enter__()
    with locked(tmp_path / "run"):
        pass
