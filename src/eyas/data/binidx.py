"""Token files in Megatron's indexed format ("binidx"): X.bin and X.idx, little-endian.

X.idx: 9 bytes `MMIDIDX\\0\\0`; u64 version 1; u8 dtype code; u64 n items; u64 d document marks;
       n int32 sizes in tokens; n int64 pointers in bytes; d int64 marks: the items at which
       documents begin, and n.
X.bin: the items' tokens, back to back.

Beside them may lie the mask, X.mask.bin and X.mask.idx, a pair of its own: the same items, a
uint8 for each token, 1 where the token is trained and 0 where it is only read.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Bool, Int, Int64, Integer

from eyas.data.binidx_write import CODES, HEADER, MAGIC, mask_at, pair_at
from eyas.data.binidx_write import write as write
from eyas.errors import UserError

_FLOATS = (6, 7)
_CHUNK = 1 << 24


@dataclass(frozen=True)
class TokenDocuments:
    """The documents of a pair, end to end; empty ones are left out.

    `tokens` is mapped from the file where its items lie in order, as they do in practice.
    `numbers` are the documents' numbers in the file, from 1. `trained`, from the mask, is whether
    each token is trained; all of them are where that is None.
    """

    tokens: Integer[np.ndarray, "tokens"]
    offsets: Int64[np.ndarray, "bounds"]
    numbers: Int64[np.ndarray, "documents"]
    trained: Bool[np.ndarray, "tokens"] | None = None


@dataclass(frozen=True)
class _Index:
    dtype: np.dtype[np.signedinteger | np.unsignedinteger]
    sizes: Int[np.ndarray, "items"]
    pointers: Int[np.ndarray, "items"]
    marks: Int64[np.ndarray, "marks"]


def is_binidx(path: Path) -> bool:
    """Whether `path` names a pair: by either of its files, or by what they have in common."""
    if path.suffix in (".bin", ".idx"):
        return True
    return not os.path.exists(path) and any(map(os.path.exists, pair_at(path)))


def read(path: Path) -> TokenDocuments:
    """Reads a pair, given with either suffix or without one, and the mask that lies beside it.

    Raises UserError where a file is missing or no such file, and where they do not fit each
    other. The tokens themselves are not looked at: see `check_vocabulary`.
    """
    files = pair_at(path)
    index = _checked_index(*files, "binidx data needs both .bin and .idx")
    bounds = np.concatenate([[0], np.cumsum(index.sizes, dtype=np.int64)])[index.marks]
    full = np.flatnonzero(np.diff(bounds))
    if not len(full):
        raise UserError(f"{files[1]}: holds no tokens; make the data again")
    offsets = np.concatenate([bounds[:1], bounds[1:][full]])
    trained = _mask(path, index) if any(map(os.path.exists, mask_at(path))) else None
    return TokenDocuments(_tokens(index, files[0]), offsets, full + 1, trained)


def check_vocabulary(
    data: TokenDocuments,
    vocab_size: int,
    places: Sequence[str],
    remedy: str = "make the data with the model's tokenizer",
) -> None:
    """Raises UserError, with the document's place, for the first token outside a vocabulary."""
    for begin in range(0, len(data.tokens), _CHUNK):
        chunk = data.tokens[begin : begin + _CHUNK]
        outside = np.flatnonzero((chunk < 0) | (chunk >= vocab_size))
        if len(outside):
            at = begin + int(outside[0])
            document = int(np.searchsorted(data.offsets, at, side="right")) - 1
            raise UserError(
                f"{places[document]}: token {data.tokens[at]} is outside the model's vocabulary "
                f"of {vocab_size}; {remedy}"
            )
        release(data.tokens)


def release(array: np.ndarray) -> None:
    """Lets go of the pages of a mapped file that were read: they count as memory in use."""
    base: object = array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
        base.madvise(mmap.MADV_DONTNEED)


def _mask(path: Path, index: _Index) -> Bool[np.ndarray, "tokens"]:
    files = mask_at(path)
    mask = _checked_index(*files, "a mask needs both files; copy it too, or remove the other one")
    if mask.dtype != np.uint8:
        _refuse(files[1], f"holds {mask.dtype}, where a mask holds uint8")
    if not (np.array_equal(mask.sizes, index.sizes) and np.array_equal(mask.marks, index.marks)):
        _refuse(files[1], f"is the mask of other data: its documents are not those of {path.name}")
    flags = _tokens(mask, files[0])
    for begin in range(0, len(flags), _CHUNK):
        if flags[begin : begin + _CHUNK].max() > 1:
            _refuse(files[0], "holds other values than 0 and 1")
        release(flags)
    return flags.view(bool)


def _checked_index(bin_path: Path, idx_path: Path, needed: str) -> _Index:
    for file in (bin_path, idx_path):
        if not os.path.isfile(file):
            raise UserError(f"{file}: no such file; {needed}")
    index = _read_index(idx_path)
    _check_fit(index, bin_path, idx_path)
    return index


def _read_index(path: Path) -> _Index:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not data.startswith(MAGIC) or len(data) < HEADER.size:
        _refuse(path, "is not the index of a binidx pair, or is cut short")
    _, version, code, items, marks = HEADER.unpack_from(data)
    if version != 1:
        _refuse(path, f"has version {version}; only version 1 can be read")
    if code not in CODES:
        held = "floating-point numbers" if code in _FLOATS else "an unknown type"
        _refuse(path, f"holds {held} (dtype code {code}), not tokens")
    expected = HEADER.size + 12 * items + 8 * marks
    if len(data) != expected:
        _refuse(path, f"has {len(data)} bytes where its header says {expected}")
    pointers = HEADER.size + 4 * items
    return _Index(
        np.dtype(CODES[code]),
        np.frombuffer(data, "<i4", items, HEADER.size),
        np.frombuffer(data, "<i8", items, pointers),
        _checked_marks(np.frombuffer(data, "<i8", marks, pointers + 8 * items), items, path),
    )


def _checked_marks(
    marks: Int64[np.ndarray, "marks"], items: int, path: Path
) -> Int64[np.ndarray, "bounds"]:
    """The items at which documents begin, and the end. Without marks each item is a document."""
    if len(marks) == 0 or (len(marks) == 1 and marks[0] == 0):
        return np.arange(items + 1)
    if marks[0] != 0 or marks[-1] != items or (np.diff(marks) < 0).any():
        _refuse(path, f"has document marks that do not run from 0 up to its {items} items")
    return marks


def _check_fit(index: _Index, bin_path: Path, idx_path: Path) -> None:
    width = index.dtype.itemsize
    size = bin_path.stat().st_size
    if (index.sizes < 0).any() or (index.pointers < 0).any():
        _refuse(idx_path, "has negative sizes or pointers")
    total = int(index.sizes.sum(dtype=np.int64)) * width
    if total != size:
        _refuse(bin_path, f"has {size} bytes where {idx_path.name} says {total}")
    ends = np.minimum(index.pointers, size) + index.sizes.astype(np.int64) * width
    if (index.pointers > size).any() or (ends > size).any() or (index.pointers % width).any():
        _refuse(idx_path, f"has pointers that do not fit {bin_path.name}")


def _tokens(index: _Index, bin_path: Path) -> np.ndarray:
    mapped = np.memmap(bin_path, index.dtype, mode="r")
    starts = index.pointers // index.dtype.itemsize
    if np.array_equal(starts, np.cumsum(index.sizes, dtype=np.int64) - index.sizes):
        return mapped
    pieces = zip(starts.tolist(), index.sizes.tolist(), strict=True)
    return np.concatenate([mapped[start : start + size] for start, size in pieces])


def _refuse(path: Path, problem: str) -> NoReturn:
    raise UserError(f"{path}: {problem}; copy both files again or make the data again")
