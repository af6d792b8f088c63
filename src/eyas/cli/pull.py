"""`eyas pull`: a released model, whole and checked."""

import os
from pathlib import Path

import click

from eyas.hub import models_folder, pull, wanted
from eyas.hub.names import check_path


@click.command("pull", short_help="Download a released model, and check it.")
@click.argument("name")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="put the file into this folder [default: where names are looked up: ~/.cache/eyas/models]",
)
def command(name: str, out: Path | None) -> None:
    """Download the model NAME: a short name (eyas models), or OWNER/REPO/FILE.

    From Hugging Face (HF_ENDPOINT names a mirror), or with modelscope: before the name from
    ModelScope. A download that was interrupted goes on where it was. Size and SHA-256 are checked,
    of a file that is there already too.
    """
    file = wanted(name)
    if file is None:
        check_path(name)
        raise click.UsageError(f"{name}: is a path; name a model (eyas models), or OWNER/REPO/FILE")
    target = out / Path(file.file).name if out else models_folder(os.environ) / file.place
    path = pull(file, target, check=True)
    click.echo(f"{path} ({path.stat().st_size:,} bytes, SHA-256 checked)")
