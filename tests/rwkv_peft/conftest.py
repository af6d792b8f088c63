"""What these tests share: a folder with models and data, and the command line in this process."""

import dataclasses
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from weights import write_model

from eyas.rwkv_peft import training
from eyas.rwkv_peft.program import main

TEXTS = [f"User: {i} and {i}?\n\nAssistant: number {i}, and {'ab' * i}" for i in range(10)]


def write_binidx(path: Path, documents: list[bytes]) -> None:
    """A binidx pair of bytes, each document ended by token 0 (Megatron's format, by hand)."""
    rows = [np.frombuffer(document + b"\0", np.uint8).astype(np.uint16) for document in documents]
    sizes = np.array([len(row) for row in rows], np.int32)
    pointers = (np.cumsum(sizes) - sizes).astype(np.int64) * 2
    head = struct.pack("<9sQBQQ", b"MMIDIDX\0\0", 1, 8, len(rows), len(rows) + 1)
    order = np.arange(len(rows) + 1, dtype=np.int64)
    path.with_suffix(".idx").write_bytes(
        head + sizes.tobytes() + pointers.tobytes() + order.tobytes()
    )
    path.with_suffix(".bin").write_bytes(b"".join(row.tobytes() for row in rows))


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each version, the data `d` (binidx) and `d.jsonl`."""
    folder = tmp_path_factory.mktemp("shelf")
    for version in ("x052", "x060", "x070"):
        write_model(folder / f"{version}.pth", version, torch.bfloat16)
    write_binidx(folder / "d", [text.encode() for text in TEXTS])
    rows = (json.dumps({"text": text}) for text in TEXTS)
    (folder / "d.jsonl").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture
def folder(shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, from which the shelf's files can be named."""
    for path in shelf.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def program(
    folder: Path,  # noqa: ARG001
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., tuple[int, str, str]]:
    """`train` or `merge` with flags: exit code, standard output and error; draws no report."""
    real = training.plan_of

    def plain(*given):
        plan = real(*given)
        watch = dataclasses.replace(plan.run.watch, report=False, mfu=False)
        return dataclasses.replace(plan, run=dataclasses.replace(plan.run, watch=watch))

    monkeypatch.setattr(training, "plan_of", plain)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(words)
        return (code, *capsys.readouterr())

    return run


@pytest.fixture
def done(program):
    """The standard output of a command that succeeds."""

    def run(*words: str) -> str:
        code, out, err = program(*words)
        assert (code, err) == (0, ""), err
        return out

    return run


@pytest.fixture
def refused(program):
    """The one line of a command that the user has to mend."""

    def run(*words: str) -> str:
        code, _, err = program(*words)
        assert code == 2
        assert err.count("\n") == 1
        return err

    return run
