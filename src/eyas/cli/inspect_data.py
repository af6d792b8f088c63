"""`eyas inspect DATA`: all that is known of training data, and their repair."""

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.progress import Progress, TextColumn, TimeElapsedColumn

from eyas.config import fields_of, from_mapping
from eyas.data import BatchConfig, Tokenizer, colored, tokenizer_for
from eyas.data.reading import Bad, Document, ReadConfig, is_tokens
from eyas.data.reading.kinds import kind_of_name
from eyas.data.repair import repair
from eyas.data.statistics import largest_token
from eyas.data.survey import Survey, survey
from eyas.data.token_sources import read_tokens
from eyas.data.tokenizer import tokenizer_of_tokens
from eyas.data.workers import available_cores
from eyas.data.world import WORLD_VOCAB_SIZE
from eyas.errors import UserError
from eyas.interop.data import describe_data
from eyas.observe.data_report import full_report
from eyas.observe.documents import print_documents
from eyas.observe.lengths import draw_lengths
from eyas.observe.summary import print_summary

T = TypeVar("T")

_EVERY = 1000  # records from one look at the bar to the next


@dataclass(frozen=True)
class DataView:
    """How data are looked at."""

    model: Annotated[Path | None, "count tokens as this model does"] = None
    tokenizer: Annotated[
        str | None, "world, bytes, world-bytes, or a vocabulary file [default: world]"
    ] = None
    validation: Annotated[Path | None, "held-out data, to be looked for in the data"] = None
    accumulate: Annotated[int, "micro-batches of one optimizer step"] = 1
    show: Annotated[int, "how many of the first documents are shown"] = 3
    png: Annotated[Path | None, "draw the lengths of the documents into this file"] = None
    processes: Annotated[
        int | None, "that encode, where there is much text [default: one a core]"
    ] = None

    def __post_init__(self) -> None:
        for name, least in (("accumulate", 1), ("show", 0), ("processes", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"{name} = {value} must be at least {least}")
        if self.png is not None and self.png.suffix.lower() != ".png":
            # Whatever is there is replaced: that must not be the data.
            raise ValueError(f"png = {self.png}: the picture's name must end with .png")


def inspect_data(path: Path, typed: Mapping[str, object]) -> None:
    """Prints everything. Raises UserError for data that cannot be read at all."""
    view, reading = _config(DataView, typed), _config(ReadConfig, typed)
    batch = _config(BatchConfig, typed)
    tokenizer = _tokenizer(path, view, reading)
    processes = view.processes or available_cores()
    if view.png and not view.png.parent.is_dir():
        raise UserError(f"{view.png}: the folder {view.png.parent} does not exist; create it first")
    held_out = None
    if view.validation:
        held_out = survey(view.validation, tokenizer, reading, processes, _watched)
    data = survey(path, tokenizer, reading, processes, _watched)
    report = describe_data(path) if reading.data_type == "auto" else None
    what = {"data": [str(path), *([report.kind, *report.facts] if report else [])]}
    sections = full_report(data, held_out, tokenizer.name, batch, view.accumulate)
    print_summary({**what, **sections})
    corpus = data.corpus
    if corpus is not None:
        shown = range(min(view.show, len(corpus)))
        print_documents([(corpus.places[i], colored(corpus, i, tokenizer)) for i in shown])
        if view.png:
            draw_lengths(np.diff(corpus.offsets), batch.ctx, view.png)
            click.echo(f"The lengths are drawn in {view.png}")
    for line in _next(path, data):
        click.echo(line)


def repair_data(path: Path, out: Path, typed: Mapping[str, object], overwrite: bool) -> None:
    """Writes the repaired copy and prints what was done."""
    reading = {field.name for field in fields_of(ReadConfig)}
    if others := [f"--{name.replace('_', '-')}" for name in typed if name not in reading]:
        raise UserError(f"--fix only repairs {path}; leave {', '.join(others)} out")
    done = repair(path, out, _config(ReadConfig, typed), overwrite)
    for line in done.account.lines():
        click.echo(line)
    click.echo(f"{done.out}, and each change in {done.report}")
    if done.rejected:
        click.echo(f"What was put aside is in {done.rejected}")
    click.echo(f"Next: {shlex.join(['eyas', 'inspect', str(out)])}")


def _config(cls: type[T], typed: Mapping[str, object]) -> T:
    names = {field.name for field in fields_of(cls)}
    given = {name: value for name, value in typed.items() if name in names}
    return from_mapping(cls, given, "the command line")


def _tokenizer(path: Path, view: DataView, reading: ReadConfig) -> Tokenizer:
    """The model's, or the one that is named, or else World."""
    size, model, named = WORLD_VOCAB_SIZE, view.model, view.tokenizer
    if model is not None:
        from eyas.hub import local_model
        from eyas.models import read_tensors, shape_of

        model = local_model(model)
        size = shape_of(read_tensors(model), model).vocab_size
    if not is_tokens(path, reading):
        return tokenizer_for(size, model, named)
    if model is None and named is None:
        size = max(size, largest_token(read_tokens(path, reading)) + 1)
    return tokenizer_of_tokens(size, model, named)


def _watched(records: Iterable[Document | Bad]) -> Iterator[Document | Bad]:
    """The same records, their number on the terminal, where there is one."""
    terminal = Console(stderr=True)
    hidden = not terminal.is_terminal or terminal.is_dumb_terminal
    columns = TextColumn("{task.completed:,} documents"), TimeElapsedColumn()
    with Progress(*columns, console=terminal, disable=hidden, transient=True) as progress:
        task = progress.add_task("", total=None)
        for number, record in enumerate(records, start=1):
            if number % _EVERY == 0:
                progress.update(task, completed=number)
            yield record


def _next(path: Path, data: Survey) -> Iterator[str]:
    mendable = sum(found.count for kind, found in data.linter.found.items() if kind.repair)
    if mendable:
        copy = path.with_name(f"{path.name.split('.')[0]}-repaired{_suffix(path)}")
        command = shlex.join(["eyas", "inspect", str(path), "--fix", str(copy)])
        yield f"{mendable:,} of the warnings are about what can be repaired: {command}"
    yield f"Next: {shlex.join(['eyas', 'train', 'MODEL', str(path), '--dry-run'])}"


def _suffix(path: Path) -> str:
    return ".txt" if kind_of_name(path) == "txt" else ".jsonl"
