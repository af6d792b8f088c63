"""`eyas prepare`: text becomes a file of tokens, once, for many runs."""

import os
import shlex
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from math import isqrt
from pathlib import Path
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from eyas.cli.options import add_options
from eyas.config import fields_of, from_mapping
from eyas.data.binidx import is_binidx
from eyas.data.binidx_write import Written, mask_at, pair_at
from eyas.data.pairs import PairConfig, checked_out, source_batches, write_pair
from eyas.data.reading import ReadConfig, is_tokens
from eyas.data.reading.compression import SUFFIXES
from eyas.data.token_batch import TokenBatch
from eyas.data.tokenizer import Tokenizer, tokenizer_for, tokenizer_of_tokens
from eyas.data.workers import available_cores
from eyas.data.world import WORLD_VOCAB_SIZE, World

T = TypeVar("T")

_PATH = click.Path(path_type=Path)


@click.command("prepare", short_help="Turn data into a file of tokens, for many runs.")
@click.argument("sources", nargs=-1, required=True, metavar="IN...", type=_PATH)
@click.argument("out", metavar="OUT", type=_PATH)
@click.option(
    "--tokenizer",
    metavar="NAME|FILE",
    help="world, bytes, world-bytes, or a vocabulary file [default: world]",
)
@click.option("--model", type=_PATH, help="take the tokenizer of this model")
@click.option("--no-mask", is_flag=True, help="do not keep what is trained: all of it will be")
@click.option(
    "--processes", type=click.IntRange(1), help="that encode; 1: this one [default: one a core]"
)
@click.option(
    "--ctx", type=click.IntRange(1), help="also say what RWKV-LM has to be told at this context"
)
@click.option("--overwrite", is_flag=True, help="replace OUT if it exists")
@add_options(PairConfig, ReadConfig)
def command(
    sources: tuple[Path, ...],
    out: Path,
    tokenizer: str | None,
    model: Path | None,
    no_mask: bool,
    processes: int | None,
    ctx: int | None,
    overwrite: bool,
    typed: dict[str, Any],
) -> None:
    """Write the documents of every IN, one after the other, as the binidx pair OUT.

    OUT.bin and OUT.idx hold the tokens, a token 0 after each document; where not everything is
    trained, OUT.mask.bin and OUT.mask.idx say what is. IN is anything that `eyas train` takes,
    binidx pairs too. RWKV-LM and RWKV-PEFT read the same pairs, without the mask.
    """
    started = time.monotonic()
    config, reading = _config(PairConfig, typed), _config(ReadConfig, typed)
    checked_out(out, sources, overwrite)
    chosen, vocab_size = _tokenizer(tokenizer, model, sources, reading)
    read = _Read()
    batches = source_batches(sources, chosen, vocab_size, reading, processes or available_cores())
    with closing(batches), closing(_watched(batches, sources, read)) as watched:
        written = write_pair(out, watched, vocab_size, config, not no_mask)
    for line in _lines(out, written, read, time.monotonic() - started):
        click.echo(line)
    if ctx:
        click.echo(_for_rwkv_lm(written.tokens, ctx))
    named = str(pair_at(out)[0]).removesuffix(".bin")
    click.echo(f"Next: {shlex.join(['eyas', 'train', str(model or 'MODEL'), named])}")


def magic_prime(tokens: int, ctx: int) -> int | None:
    """What RWKV-LM draws its samples with, of which there are tokens // ctx.

    The largest prime of the form 3 n + 2 below that; None where there is none.
    """
    for number in range(tokens // ctx - 1, 1, -1):
        if number % 3 == 2 and all(number % factor for factor in range(2, isqrt(number) + 1)):
            return number
    return None


def _config(cls: type[T], typed: Mapping[str, object]) -> T:
    names = {field.name for field in fields_of(cls)}
    given = {name: value for name, value in typed.items() if name in names}
    return from_mapping(cls, given, "the command line")


def _tokenizer(
    named: str | None, model: Path | None, sources: Sequence[Path], reading: ReadConfig
) -> tuple[Tokenizer, int]:
    """The tokenizer, and how many tokens there may be."""
    if model is None:
        tokenizer = tokenizer_for(WORLD_VOCAB_SIZE, None, named or World.name)
        return tokenizer, tokenizer.vocab_size
    from eyas.hub import local_model
    from eyas.models import read_tensors, shape_of

    model = local_model(model)
    vocab_size = shape_of(read_tensors(model), model).vocab_size
    only_tokens = all(is_tokens(source, reading) for source in sources)
    known = tokenizer_of_tokens if only_tokens else tokenizer_for
    return known(vocab_size, model, named), vocab_size


@dataclass
class _Read:
    """What was read so far."""

    bytes: int = 0
    empty: int = 0


def _watched(
    batches: Iterable[TokenBatch], sources: Sequence[Path], read: _Read
) -> Generator[TokenBatch, None, None]:
    """The same batches, with a bar on the terminal, where there is one."""
    terminal = Console(stderr=True)
    columns = BarColumn(bar_width=None), DownloadColumn(), TransferSpeedColumn()
    hidden = not terminal.is_terminal or terminal.is_dumb_terminal
    with Progress(
        *columns, TimeRemainingColumn(), console=terminal, disable=hidden, transient=True
    ) as bar:
        task = bar.add_task("", total=None)
        for batch in batches:
            if not read.bytes and not hidden:
                bar.update(task, total=_expected(sources, batch))
            read.bytes += batch.source_bytes
            read.empty += batch.empty
            bar.update(task, completed=read.bytes)
            yield batch


def _expected(sources: Sequence[Path], first: TokenBatch) -> int | None:
    """How many bytes there will be, judged by the first ones; None where that is not known.

    A text file holds more than its texts: so much more as up to the line that the batch ends with.
    """
    files = [pair_at(source)[0] if is_binidx(source) else source for source in sources]
    if not first.places or not all(map(os.path.isfile, files)):
        return None
    size = sum(file.stat().st_size for file in files)
    place, _, line = first.places[-1].rpartition(":")
    if place != files[0].name or not line.isdecimal():
        return size if all(map(is_binidx, sources)) else None
    if files[0].suffix in SUFFIXES:
        return None
    with files[0].open("rb") as file:
        read = sum(map(len, islice(file, int(line))))
    return size * first.source_bytes // read


def _lines(out: Path, written: Written, read: _Read, seconds: float) -> Iterator[str]:
    files = [*pair_at(out), *(mask_at(out) if written.masked else ())]
    yield f"{', '.join(map(str, files))} ({written.bytes / 2**20:,.1f} MiB)"
    share = written.trained / max(written.tokens, 1)
    yield f"{written.documents:,} documents, {written.tokens:,} tokens, {share:.1%} trained"
    if written.trained < written.tokens and not written.masked:
        yield "without a mask (--no-mask) all of it will be trained"
    if read.empty:
        yield f"{read.empty:,} documents without text were left out"
    yield f"{seconds:.1f} s, {read.bytes / 1e6 / seconds:,.1f} MB/s"


def _for_rwkv_lm(tokens: int, ctx: int) -> str:
    prime = magic_prime(tokens, ctx)
    if prime is None:
        return f"RWKV-LM: too few tokens for a context of {ctx}; it needs three times as many"
    return f"RWKV-LM: --my_exit_tokens {tokens} --magic_prime {prime} --ctx_len {ctx}"


def _named(out: Path) -> Path:
    return pair_at(out)[0].with_suffix("")
