"""A binidx pair made of any data: text is encoded, tokens are taken over."""

import dataclasses
import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import numpy as np
from filelock import FileLock, Timeout

from eyas.config import check_at_least_1
from eyas.data import binidx
from eyas.data.binidx_write import Written, mask_at, pair_at, write_batches
from eyas.data.markers import with_marker_texts
from eyas.data.places import NamedPlaces, numbered
from eyas.data.preparing import token_batches
from eyas.data.reading import Document, ReadConfig, is_tokens, read_documents
from eyas.data.spooling import repeated
from eyas.data.token_batch import TokenBatch
from eyas.data.token_sources import name_of, read_tokens, trained_tokens
from eyas.data.tokenizer import Tokenizer
from eyas.errors import UserError
from eyas.files import remove_temporaries

_TOKENS = 1 << 20  # of a batch, about


@dataclass(frozen=True)
class PairConfig:
    """How the documents of a pair are stored."""

    dtype: Annotated[
        Literal["auto", "uint16", "int32"], "of the tokens; auto: uint16 where the vocabulary fits"
    ] = "auto"
    repeat: Annotated[int, "how many times over the documents are written"] = 1
    shuffle: Annotated[bool, "write them in another order each time"] = False
    seed: Annotated[int, "of the order"] = 0

    def __post_init__(self) -> None:
        check_at_least_1(self, "repeat")
        if self.seed < 0:
            raise ValueError(f"seed = {self.seed} must be at least 0")


def source_batches(
    sources: Sequence[Path],
    tokenizer: Tokenizer,
    vocab_size: int,
    reading: ReadConfig,
    processes: int,
) -> Generator[TokenBatch, None, None]:
    """The documents of text data and of data that are tokens already, in order, as tokens.

    Raises UserError for bad sources and documents, for tokens outside the vocabulary, and where
    there is no document at all.
    """
    some = False
    reading = with_marker_texts(reading, tokenizer)
    for run in _runs([_opened(source, tokenizer, vocab_size, reading) for source in sources]):
        if isinstance(run, _Tokens):
            batches = run.batches()
        else:
            documents = chain.from_iterable(run)
            batches = token_batches(documents, tokenizer, processes, vocab_size)
        with closing(batches):
            for batch in batches:
                some = some or len(batch.sizes) > 0
                yield batch
    if not some:
        raise UserError(f"{', '.join(map(str, sources))}: no document holds text; name other data")


def write_pair(
    out: Path,
    batches: Iterable[TokenBatch],
    vocab_size: int,
    config: PairConfig,
    with_mask: bool = True,
) -> Written:
    """Writes the pair OUT and, where not everything is trained, its mask.

    Raises UserError where another process is writing it, and as `binidx.write_batches`.
    """
    narrow = vocab_size <= 1 << 16 if config.dtype == "auto" else config.dtype == "uint16"
    dtype = np.uint16 if narrow else np.int32
    with _held(out), ExitStack() as stack:
        if config.repeat > 1 or config.shuffle:
            chance = np.random.Generator(np.random.PCG64(config.seed)) if config.shuffle else None
            again = repeated(batches, config.repeat, chance, np.dtype(dtype), _folder(out))
            batches = stack.enter_context(closing(again))
        return write_batches(out, batches, dtype, with_mask)


def checked_out(out: Path, sources: Iterable[Path], overwrite: bool) -> None:
    """Raises UserError where nothing may be written under that name."""
    if out.is_dir():
        raise UserError(f"{out}: is a folder; name the files in it, such as {out / 'NAME'}")
    if out.suffix not in (".bin", ".idx") and out.exists():
        raise UserError(
            f"{out}: is a file; the last name is that of the pair to write, without a suffix"
        )
    if not pair_at(out)[0].name.removesuffix(".bin").removesuffix(".mask"):
        raise UserError(f"{out}: is no name for a pair; give one, without a suffix")
    if pair_at(out)[0].name.endswith(".mask.bin"):
        raise UserError(f"{out}: .mask is for the masks of pairs; choose another name")
    files = [*pair_at(out), *mask_at(out)]
    own = {os.path.realpath(file) for file in files}
    for source in sources:
        read = pair_at(source) if binidx.is_binidx(source) else (source,)
        if own & {os.path.realpath(file) for file in read}:
            raise UserError(f"{out}: is what is read from; choose another name for what is written")
    there = [file.name for file in files if file.exists()]
    if there and not overwrite:
        raise UserError(
            f"{out}: exists already ({', '.join(there)}); add --overwrite, or choose another name"
        )
    if not _folder(out).is_dir():
        raise UserError(f"{out}: the folder {out.parent} does not exist; create it first")


@dataclass(frozen=True)
class _Tokens:
    """A source that needs no tokenizer."""

    data: binidx.TokenDocuments
    places: NamedPlaces

    def batches(self) -> Generator[TokenBatch, None, None]:
        """The documents; their tokens are, mostly, still in the file."""
        offsets, trained = self.data.offsets, self.data.trained
        begin = 0
        while begin < len(offsets) - 1:
            most = int(np.searchsorted(offsets, offsets[begin] + _TOKENS, side="right")) - 1
            end = max(begin + 1, most)
            part = slice(offsets[begin], offsets[end])
            tokens = self.data.tokens[part]
            yield TokenBatch(
                tokens,
                np.diff(offsets[begin : end + 1]),
                None if trained is None else trained[part],
                self.places[begin:end],
                tokens.nbytes,
            )
            binidx.release(self.data.tokens)
            if trained is not None:
                binidx.release(trained)
            begin = end


_Opened: TypeAlias = Iterator[Document] | _Tokens


def _opened(source: Path, tokenizer: Tokenizer, vocab_size: int, reading: ReadConfig) -> _Opened:
    if not is_tokens(source, reading):
        return read_documents(source, reading, keep_empty=True)
    data = read_tokens(source, reading)
    places = numbered(f"{name_of(source, reading)} document", data.numbers)
    remedy = "name the --tokenizer that they were made with, or their --model"
    binidx.check_vocabulary(data, vocab_size, places, remedy)
    data = dataclasses.replace(data, trained=trained_tokens(source, data, reading, tokenizer))
    return _Tokens(data, places)


def _runs(opened: Iterable[_Opened]) -> list[_Tokens | list[Iterator[Document]]]:
    """In the same order, text data that follow one another together: one start of processes."""
    runs: list[_Tokens | list[Iterator[Document]]] = []
    for source in opened:
        if isinstance(source, _Tokens):
            runs.append(source)
        elif runs and isinstance(runs[-1], list):
            runs[-1].append(source)
        else:
            runs.append([source])
    return runs


@contextmanager
def _held(out: Path) -> Iterator[None]:
    """Keeps every other process from writing the pair; ends with the process.

    What a killed one left half written is removed.
    """
    folder = _folder(out)
    bin_path, _ = pair_at(out)
    lock = FileLock(folder / f".{bin_path.stem}.lock")
    try:
        lock.acquire(blocking=False)
    except Timeout as error:
        raise UserError(
            f"{out}: another process is writing it; wait, or choose another name"
        ) from error
    try:
        for file in (*pair_at(out), *mask_at(out)):
            remove_temporaries(folder, file.name)
        yield
    finally:
        with suppress(OSError):  # Windows removes no file that is open
            Path(lock.lock_file).unlink()
        lock.release()


def _folder(out: Path) -> Path:
    return Path(os.path.realpath(pair_at(out)[0])).parent
