"""`eyas models`: the released models that go by a short name, and what this machine can do."""

import os

import click
import psutil
import torch
from rich.console import Console
from rich.table import Table

from eyas.adapters import PiSSA
from eyas.hub import Released, models_folder, released
from eyas.models import Shape
from eyas.training.memory import Plan

_HEAD_SIZE, _VOCAB = 64, 65536  # of every released model
_FFN = {"x052": 3.5, "x060": 3.5, "x070": 4}  # times the width
_RANKS = {
    "x052": {},
    "x060": {"mix": 32, "decay": 64},
    "x070": {"w": 64, "a": 64, "v": 32, "g": 128},
}  # about: they matter little for the memory
_SPARE = 1.1


@click.command("models", short_help="List released models, and which of them fit this machine.")
def command() -> None:
    """List the released models that go by a short name, and what this machine can do with them.

    "trains" is a step of PiSSA at rank 32 and a context of 512 tokens, by prediction; "runs" is one
    that can answer. Any other is OWNER/REPO/FILE.
    """
    free, what = _memory()
    folder = models_folder(os.environ)
    table = Table("name", "parameters", "size", "ctx", "here it", "file", box=None)
    for model in released():
        there = (folder / model.repo / model.file).exists()
        table.add_row(
            model.name,
            model.parameters,
            _size(model.size),
            str(model.ctx),
            _fits(model, free) + (" (downloaded)" if there else ""),
            f"{model.repo}/{model.file}",
        )
    Console(width=None if Console().is_terminal else 160, highlight=False).print(table)
    click.echo(f"\nThis machine has {what}. Models are kept in {folder}.")


def _memory() -> tuple[int, str]:
    """Bytes that are free where a model would train, and that in words."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return free, f"{_size(free)} free on {torch.cuda.get_device_name()}"
    free = psutil.virtual_memory().available
    return free, f"{_size(free)} of memory free"


def _fits(model: Released, free: int) -> str:
    if _training_bytes(model) * _SPARE < free:
        return "trains"
    return "runs" if model.size * _SPARE < free else "does not fit"


def _training_bytes(model: Released) -> int:
    """Memory at the peak of a step, predicted from the shape; the weights are the file's."""
    shape = Shape(
        model.version,
        model.layers,
        model.width,
        model.width // _HEAD_SIZE,
        int(_FFN[model.version] * model.width),
        _VOCAB,
        _RANKS[model.version],
    )
    parts = Plan(shape, torch.bfloat16, torch.float32, PiSSA()).parts()
    return sum((parts | {"weights": model.size}).values())


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
