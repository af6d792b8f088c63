"""`eyas inspect`: what a file is, what is in it, and what to do with it."""

from pathlib import Path
from typing import Any

import click

from eyas.cli.inspect_data import DataView, inspect_data, repair_data
from eyas.cli.options import add_options
from eyas.data import BatchConfig
from eyas.data.reading import ReadConfig
from eyas.errors import UserError
from eyas.hub import local_model, wanted
from eyas.interop.inspect import inspect, is_data

_PATH = click.Path(path_type=Path)


@click.command("inspect", short_help="Say what a file is and what it is good for.")
@click.argument("path", metavar="FILE", type=_PATH)
@click.option("--fix", type=_PATH, metavar="OUT", help="write a repaired copy of the data")
@click.option("--overwrite", is_flag=True, help="replace OUT and its reports if they exist")
@click.option(
    "--fit",
    metavar="24GB|auto",
    help="of a model: the memory that training takes, and what fits",
)
@add_options(DataView, BatchConfig, ReadConfig)
def command(
    path: Path, fix: Path | None, overwrite: bool, fit: str | None, typed: dict[str, Any]
) -> None:
    """Say what FILE is: a model, an adapter, a state, training data, a run, …

    Of training data: how much there is, how it fits the context, what is trained, what an epoch
    is, the first documents with what is trained of them, and what is probably wrong, with places.
    The options go with training data, but for --fit, which goes with a model, --ctx and
    --micro-batch: peaks by part, marked ! where they do not fit; with --recompute; the most rows,
    and the longest context, that fit with it; and what to change.

    \b
    --fix OUT never touches FILE. It writes OUT (of a .txt file .txt, else .jsonl), each change
    into OUT.report.txt, and what cannot be read even so into OUT.rejected.jsonl. In the copy:
      line ends of Windows (CRLF) are \\n
      byte order marks, NUL and halves of surrogate pairs are gone
      text in another encoding is UTF-8, mojibake is what was meant
      roles are written User:, Assistant:, System:, after a blank line
      blank lines inside a turn are line ends
      copies of documents, U+FFFD and turns without an answer are left: you decide
    """
    if wanted(path.as_posix()):
        path = local_model(path)
    _check(path)
    if fit:
        from eyas.cli.inspect_fit import show_fit

        show_fit(path, fit, typed)
    elif not typed.get("data_type") and not is_data(path):
        if typed or fix or overwrite:
            raise UserError(
                f"{path}: is {inspect(path).kind}; options go with training data only: leave them "
                "out, or say with --data-type which data it is"
            )
        for line in inspect(path).lines():
            click.echo(line)
    elif fix:
        repair_data(path, fix, typed, overwrite)
    else:
        inspect_data(path, typed)


def _check(path: Path) -> None:
    """Raises UserError for links that lead nowhere, and for pipes, which nothing may come from."""
    if not path.exists() and path.is_symlink():
        raise UserError(f"{path}: is a link to {path.readlink()}, which is not there; mend it")
    if path.exists() and not path.is_file() and not path.is_dir():
        raise UserError(
            f"{path}: is no regular file but a pipe or a device; write what it gives into a file"
        )
