"""`eyas merge`: base and adapter become one file."""

from pathlib import Path

import click
import torch

from eyas.errors import UserError
from eyas.run import merge_run, steps_done

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@click.command(short_help="Write base and adapter as one model file.")
@click.argument("run", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="file to write [default: RUN/MODEL-merged.pth]"
)
@click.option(
    "--dtype", type=click.Choice(list(_TYPES)), help="of all weights [default: the base's]"
)
@click.option(
    "--base", type=click.Path(path_type=Path), help="base model [default: the one trained over]"
)
@click.option("--overwrite", is_flag=True, help="replace the file if it exists")
def merge(
    run: Path, out: Path | None, dtype: str | None, base: Path | None, overwrite: bool
) -> None:
    """Merge RUN (a run directory, or an adapter.safetensors with --base) into one .pth.

    The file is then loaded, and its logits are compared with the adapted model's.
    """
    progress = steps_done(run)
    try:
        merged = merge_run(run, out, _TYPES[dtype] if dtype else None, base, overwrite)
    except ArithmeticError as error:
        raise UserError(str(error)) from error
    if progress and progress[0] < progress[1]:
        click.echo(f"of an unfinished run: step {progress[0]:,} of {progress[1]:,}")
    click.echo(f"{merged.path} ({merged.path.stat().st_size / 2**20:,.1f} MiB)")
    for line in merged.told():
        click.echo(line)
