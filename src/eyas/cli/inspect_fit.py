"""`eyas inspect MODEL --fit 24GB`: which ways of training a model fit into that memory."""

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import click
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from eyas.adapters import Full, LoRA, Method, MiSS, PiSSA, State
from eyas.data import BatchConfig
from eyas.errors import UserError
from eyas.models import read_tensors, shape_of
from eyas.training.fitting import advice_lines, gib
from eyas.training.machine import free_bytes
from eyas.training.memory import Plan

_METHODS: tuple[Method, ...] = (PiSSA(), LoRA(), MiSS(), State(), Full())
_QUANTS = ("none", "int8", "nf4")
_CTX = 1024
_MOST = {"micro_batch": 64, "ctx": 2**17}
_HEADINGS = {
    "weights": "weights",
    "adapter": "adapter",
    "gradients": "gradients",
    "optimizer": "optimizer",
    "activations": "activat.",
    "logits": "logits",
    "workspace": "workspace",
}
_UNITS = {"": 30, "G": 30, "M": 20, "T": 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([GMT]?)(?:i?B)?", re.IGNORECASE)
_DEVICES = {"cuda": torch.bfloat16, "cpu": torch.float32}
_TITLES = {
    "cuda": "On a GPU, bf16 (arithmetic: no GPU has confirmed it)",
    "cpu": "On the CPU, fp32 (within 17 % of what eleven runs took)",
}


def show_fit(path: Path, size: str, typed: Mapping[str, object]) -> None:
    """Prints a table for GPU and CPU, each with what to change where the default does not fit.

    size: as `24GB`, or `auto` for what is free here. Raises UserError for no model, or no size.
    """
    if others := sorted(typed.keys() - {"ctx", "micro_batch"}):
        raise UserError(f"--fit goes with --ctx and --micro-batch; leave {others[0]} out")
    limits = dict.fromkeys(_DEVICES, _bytes_of(size)) if size != "auto" else _free()
    tensors = read_tensors(path)
    sizes: Counter[torch.dtype] = Counter()
    for tensor in tensors.values():
        sizes[tensor.dtype] += tensor.nbytes
    batch = BatchConfig(**{"ctx": _CTX, **typed})  # type: ignore[arg-type]
    shape, stored = shape_of(tensors, path), sizes.most_common(1)[0][0]
    click.echo(f"{path}: {shape}; ctx {batch.ctx}, micro batch {batch.micro_batch}")
    for device, limit in limits.items():
        kind = _DEVICES[device]
        plans = [Plan(shape, stored, kind, m, batch=batch, device=device) for m in _METHODS]
        _show(plans, limit)


def _free() -> dict[str, int]:
    """What is free on this machine's devices."""
    cpu, gpu = torch.device("cpu"), torch.device("cuda", 0)
    found = {"cuda": free_bytes(gpu)} if torch.cuda.is_available() else {}
    return {**found, "cpu": free_bytes(cpu)}


def _bytes_of(size: str) -> int:
    match = _SIZE.fullmatch(size.strip())
    if not match or not float(match[1]):
        raise UserError(f"--fit {size}: is no amount of memory; write 24GB, 16000MB, or auto")
    unit: int = 2 ** _UNITS[match[2].upper()]  # GB of a GPU are GiB
    return round(float(match[1]) * unit)


def _show(plans: list[Plan], limit: int) -> None:
    """The table of one device, for each method and quantization."""
    table = Table(
        title=f"{_TITLES[plans[0].device]}; GiB, of {gib(limit)}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=0,
    )
    for name in ("method", "quant", *_HEADINGS.values(), "peak", "recompute", "rows", "ctx"):
        table.add_column(name, justify="left" if name in ("method", "quant") else "right")
    for start in plans:
        try:
            start.total()  # what does not depend on the quantization is known from here on
        except UserError as error:
            click.echo(f"left out: {error}")
            continue
        for quant in _QUANTS[:1] if start.method.name == "full" else _QUANTS:
            plan = start.changed(quant=quant)
            taken, less = plan.parts(), plan.changed(recompute=True)
            numbers = [f"{taken[name] / 2**30:.2f}" for name in _HEADINGS]
            peaks = [_marked(one.total(), limit) for one in (plan, less)]
            most = [_most(less, name, limit) for name in ("micro_batch", "ctx")]
            table.add_row(plan.method.name, quant, *numbers, *peaks, *most)
    Console().print(table)
    first = plans[0]
    if lines := advice_lines(first, limit):
        click.echo(f"{first.method.name} as it is needs {gib(first.total())}; what to change:")
        for line in lines:
            click.echo(f"  {line}")


def _marked(size: int, limit: int) -> str:
    color, mark = ("green", "") if size <= limit else ("red", "!")
    return f"[{color}]{size / 2**30:.1f}{mark}[/]"


def _most(plan: Plan, setting: str, limit: int) -> str:
    """The largest value of a setting that fits, of the powers of two."""
    value, most = 0, _MOST[setting]
    while value < most and plan.changed(**{setting: max(1, 2 * value)}).total() <= limit:
        value = max(1, 2 * value)
    return f"{value // 1024}k" if value >= 1024 else str(value or "-")
