"""`eyas models`: the released models that go by a short name, and what this machine can do."""

import os
from pathlib import Path

import click
import psutil
from rich.console import Console
from rich.table import Table

from eyas.hub import Released, models_folder, released

_SPARE = 1.1
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's, in WSL, AMD's


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
        table.add_row(
            model.name,
            model.parameters,
            _size(model.size),
            str(model.ctx),
            _fits(model, free) + _here(folder / model.repo / model.file, model.size),
            f"{model.repo}/{model.file}",
        )
    Console(width=None if Console().is_terminal else 160, highlight=False).print(table)
    click.echo(f"\nThis machine has {what}. Models are kept in {folder}.")


def _memory() -> tuple[int, str]:
    """Bytes that are free where a model would train, and that in words."""
    if os.name == "nt" or any(Path(driver).exists() for driver in _DRIVERS):
        import torch  # takes seconds, and tells nothing where no GPU has a driver

        if torch.cuda.is_available():
            free, _ = torch.cuda.mem_get_info()
            return free, f"{_size(free)} free on {torch.cuda.get_device_name()}"
    free = psutil.virtual_memory().available
    return free, f"{_size(free)} of memory free"


def _fits(model: Released, free: int) -> str:
    if model.trains_in * _SPARE < free:
        return "trains"
    return "runs" if model.size * _SPARE < free else "does not fit"


def _here(path: Path, size: int) -> str:
    if not path.exists():
        return ""
    return " (downloaded)" if path.stat().st_size == size else " (damaged: eyas pull says more)"


def _size(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
