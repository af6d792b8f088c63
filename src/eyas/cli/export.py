"""`eyas export`: a model, or a run merged on the way, in the form that another program runs."""

from pathlib import Path

import click

from eyas.errors import UserError
from eyas.exporting.gguf import QUANTIZATIONS
from eyas.interop.export import FORMS, Form, export
from eyas.run import steps_done

_PATH = click.Path(path_type=Path)


@click.command("export", short_help="Write a model or a run for another program.")
@click.argument("source", metavar="MODEL|RUN", type=_PATH)
@click.option("--to", "form", required=True, type=click.Choice(FORMS), help="the format")
@click.option("--out", type=_PATH, help="file or folder to write [default: beside MODEL, in RUN]")
@click.option(
    "--dtype",
    help="fp32, fp16, bf16 [default: the base's]; of gguf also "
    f"{', '.join(QUANTIZATIONS[3:])} [default: f16]; st and lora are fp16",
)
@click.option("--base", type=_PATH, help="base model of RUN [default: the one trained over]")
@click.option("--tokenizer", help="world, bytes, world-bytes, or a vocabulary file (gguf, hf)")
@click.option("--overwrite", is_flag=True, help="replace what is there, if an export wrote it")
def command(
    source: Path,
    form: Form,
    out: Path | None,
    dtype: str | None,
    base: Path | None,
    tokenizer: str | None,
    overwrite: bool,
) -> None:
    """Export MODEL (.pth, .safetensors), or RUN merged with its base on the way.

    \b
    pth    RWKV Runner, the rwkv package, anything that reads official checkpoints
    st     Ai00 and what else runs on web-rwkv
    gguf   llama.cpp and what is built on it (RWKV-6, RWKV-7)
    hf     a folder for transformers: rwkv7-hf, flash-linear-attention (RWKV-7)
    state  of a tuned state alone: NAME.pth for RWKV Runner, NAME.state for Ai00,
           NAME.safetensors for eyas
    lora   of RUN alone, as Ai00 loads it beside the base: NAME.lora
    """
    progress = steps_done(source)
    try:
        exported = export(source, form, out, dtype, base, tokenizer, overwrite)
    except ArithmeticError as error:
        raise UserError(str(error)) from error
    if progress and progress[0] < progress[1]:
        click.echo(f"of an unfinished run: step {progress[0]:,} of {progress[1]:,}")
    click.echo(f"{exported.path} ({exported.nbytes / 2**20:,.1f} MiB)")
    for note in exported.notes:
        click.echo(note)
