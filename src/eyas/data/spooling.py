"""Tokens in files without a name, so that a large data set does not fill the memory.

The files lie where the caller says and are gone with the process that made them, however it ends.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Int64, Integer

from eyas.data.places import GrowingPlaces, NamedPlaces
from eyas.data.preparing import token_batches
from eyas.data.reading import Document
from eyas.data.token_batch import TokenBatch
from eyas.data.token_file import TokenFile
from eyas.data.tokenizer import Tokenizer
from eyas.files import temporary_files

_TOKENS = 1 << 20  # of a batch, about


@dataclass(frozen=True)
class Spooled:
    """Documents as tokens, as a corpus has them: i is tokens[offsets[i] : offsets[i + 1]].

    `empty` is the number of documents without text, which are left out.
    """

    tokens: Integer[np.ndarray, "tokens"]
    trained: Bool[np.ndarray, "tokens"]
    offsets: Int64[np.ndarray, "bounds"]
    places: NamedPlaces
    empty: int


def spooled(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    processes: int,
    vocab_size: int | None = None,
    folder: Path | None = None,
) -> Spooled:
    """The documents as tokens, memory-mapped from files in `folder`.

    By default they lie where the system keeps such files, which may be in memory.
    Errors as `preparing.token_batches`.
    """
    dtype = np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.int32)
    places, empty = GrowingPlaces(), 0
    batches = token_batches(documents, tokenizer, processes, vocab_size)
    with closing(batches), temporary_files(folder) as opened:
        file, flags = opened(), opened()
        spool = TokenFile(file, flags, dtype, "")
        for batch in batches:
            spool.add(batch)
            empty += batch.empty
            for place in batch.places:
                places.append(place)
        offsets = spool.bounds()
        mixed = spool.flags.mixed
        return Spooled(
            _mapped(file, dtype),
            _mapped(flags, np.dtype(bool)) if mixed else np.broadcast_to(np.True_, offsets[-1]),
            offsets,
            places.places(),
            empty,
        )


def repeated(
    batches: Iterable[TokenBatch],
    times: int,
    chance: np.random.Generator | None,
    dtype: np.dtype[Any],
    folder: Path,
) -> Generator[TokenBatch, None, None]:
    """All documents so many times over, each time in another order where `chance` is given.

    They wait in files in `folder`. Errors as `TokenFile`.
    """
    with temporary_files(folder) as opened:
        file, flags = opened(), opened()
        spool = TokenFile(file, flags, dtype, "the data")
        for batch in batches:
            spool.add(batch)
        for _ in range(times):
            count = len(spool.sizes)
            order = np.arange(count) if chance is None else chance.permutation(count)
            yield from _chosen(spool, order)


def _chosen(spool: TokenFile, order: Int64[np.ndarray, "n"]) -> Iterator[TokenBatch]:
    bounds = spool.bounds()
    starts, sizes = bounds[:-1][order], np.diff(bounds)[order]
    ends = np.cumsum(sizes)
    begin = 0
    while begin < len(order):
        most = ends[begin] - sizes[begin] + _TOKENS
        end = max(begin + 1, int(np.searchsorted(ends, most, side="right")))
        part = starts[begin:end], sizes[begin:end]
        tokens = _gathered(spool.file, spool.dtype, *part)
        mixed = spool.flags.mixed
        trained = _gathered(spool.flags.file, np.dtype(bool), *part) if mixed else None
        yield TokenBatch(tokens, part[1], trained)
        begin = end


def _gathered(
    file: IO[bytes],
    dtype: np.dtype[Any],
    starts: Int64[np.ndarray, "n"],
    sizes: Int64[np.ndarray, "n"],
) -> np.ndarray:
    # Read, not mapped: pages of a map that are touched here and there count as memory in use.
    data = bytearray()
    for start, size in zip(starts.tolist(), sizes.tolist(), strict=True):
        file.seek(start * dtype.itemsize)
        data += file.read(size * dtype.itemsize)
    return np.frombuffer(data, dtype)


def _mapped(file: IO[bytes], dtype: np.dtype[Any]) -> np.ndarray:
    file.flush()
    if not file.seek(0, 2):
        return np.empty(0, dtype)
    return np.memmap(file, dtype, mode="r")
