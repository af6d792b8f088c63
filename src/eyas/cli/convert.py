"""`eyas convert`: an adapter in the form that another program reads, or from there."""

from pathlib import Path

import click
import torch

from eyas.interop.convert import FORMS, Converted, Form, convert
from eyas.interop.parts import OWN, parts_of

_TYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
_PATH = click.Path(path_type=Path)


@click.command("convert", short_help="Write an adapter in another program's form.")
@click.argument("source", metavar="IN", type=_PATH)
@click.argument("out", metavar="OUT", type=_PATH)
@click.option("--to", "form", type=click.Choice(FORMS), help="form of OUT [default: by its name]")
@click.option("--base", type=_PATH, help="the model that a foreign adapter was trained over")
@click.option(
    "--init",
    "start",
    type=_PATH,
    help="what a foreign PiSSA started from: init_pissa.pth, a folder",
)
@click.option(
    "--alpha",
    type=click.FloatRange(0, min_open=True),
    help="lora_alpha of the run of a LoRA of RWKV-PEFT, whose files do not hold it",
)
@click.option("--as-lora", "lora", is_flag=True, help="PiSSA, MiSS, … as the LoRA that they equal")
@click.option("--dtype", type=click.Choice(list(_TYPES)), help="of foreign files [default: fp32]")
@click.option("--overwrite", is_flag=True, help="replace OUT if it exists")
def command(
    source: Path,
    out: Path,
    form: Form | None,
    base: Path | None,
    start: Path | None,
    alpha: float | None,
    lora: bool,
    dtype: str | None,
    overwrite: bool,
) -> None:
    """Convert the adapter IN and write it to OUT.

    IN is a run or an adapter file of eyas, a rwkv-N.pth or state file of RWKV-PEFT, or a folder
    of HF peft. OUT is NAME.safetensors for eyas, NAME.pth for RWKV-PEFT, or a folder for peft.
    A foreign adapter is merged by way of this: convert it to NAME.safetensors, then
    `eyas merge NAME.safetensors --base MODEL`.
    """
    kind = _TYPES[dtype] if dtype else None
    done = convert(source, out, form, base, start, alpha, lora, kind, overwrite)
    for line in _lines(done, base):
        click.echo(line)


def _lines(done: Converted, base: Path | None) -> list[str]:
    parts = parts_of(done.adapter.tensors, OWN)
    over = f", rank {parts.rank()}, {len(parts.layers)} linears" if parts.layers else ""
    whole = f", {len(parts.whole)} whole tensors" if parts.whole else ""
    files = " and ".join(map(str, done.paths))
    lines = [f"{files}: {done.adapter.method.name}{over}{whole} ({done.adapter.shape})"]
    lines += [f"note: {note}" for note in done.notes]
    if done.form == "eyas":
        lines.append(f"Next: eyas merge {done.paths[0]} --base {base or 'MODEL'}")
    return lines
