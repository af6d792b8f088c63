"""`eyas inspect`: what a file is, what is in it, and what to do with it."""

from pathlib import Path

import click

from eyas.interop.inspect import inspect


@click.command("inspect", short_help="Say what a file is and what it is good for.")
@click.argument("path", metavar="FILE", type=click.Path(path_type=Path))
def command(path: Path) -> None:
    """Say what FILE is: a model, an adapter, a state, training data, a run, …

    The last line is what to do with it.
    """
    for line in inspect(path).lines():
        click.echo(line)
