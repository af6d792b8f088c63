"""Token files in Megatron's indexed format ("binidx"): X.bin and X.idx, little-endian.

X.idx: 9 bytes `MMIDIDX\\0\\0`; u64 version 1; u8 dtype code; u64 n items; u64 d document marks;
       n int32 sizes in tokens; n int64 pointers in bytes; d int64 marks: the items at which
       documents begin, and n.
X.bin: the items' tokens, back to back.
"""

import os
import struct
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
from jaxtyping import Int, Int64, Integer

from eyas.errors import UserError
from eyas.files import atomic_path

_MAGIC = b"MMIDIDX\0\0"
_HEADER = struct.Struct("<9sQBQQ")
_CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
_FLOATS = (6, 7)


@dataclass(frozen=True)
class TokenDocuments:
    """The documents of a pair, end to end; empty ones are left out.

    `tokens` is mapped from the file where its items lie in order, as they do in practice.
    `numbers` are the documents' numbers in the file, from 1.
    """

    tokens: Integer[np.ndarray, "tokens"]
    offsets: Int64[np.ndarray, "bounds"]
    numbers: Int64[np.ndarray, "documents"]


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
    return not os.path.exists(path) and any(map(os.path.exists, _pair(path)))


def read(path: Path) -> TokenDocuments:
    """Reads a pair, given with either suffix or without one.

    Raises UserError where a file is missing or no such file, and where the two do not fit each
    other. The tokens themselves are not looked at.
    """
    bin_path, idx_path = _pair(path)
    for needed in (bin_path, idx_path):
        if not os.path.isfile(needed):
            raise UserError(f"{needed}: no such file; binidx data needs both .bin and .idx")
    index = _read_index(idx_path)
    _check_fit(index, bin_path, idx_path)
    bounds = np.concatenate([[0], np.cumsum(index.sizes, dtype=np.int64)])[index.marks]
    full = np.flatnonzero(np.diff(bounds))
    if not len(full):
        raise UserError(f"{idx_path}: holds no tokens; make the data again")
    offsets = np.concatenate([bounds[:1], bounds[1:][full]])
    return TokenDocuments(_tokens(index, bin_path), offsets, full + 1)


def write(
    prefix: Path, documents: Iterable[Sequence[int] | np.ndarray], dtype: type[np.integer]
) -> None:
    """Writes PREFIX.bin and PREFIX.idx, one item a document; empty documents are left out.

    `dtype` is one of the format's: np.uint16 for vocabularies up to 65536, else np.int32.
    Nothing is changed before both files are complete; X.bin is renamed into place first.
    Raises UserError for tokens that do not fit the dtype and where the disk is full.
    """
    code = _code_of(np.dtype(dtype))
    sizes = array("i")
    bin_path, idx_path = _pair(prefix)
    with atomic_path(idx_path) as new_idx, atomic_path(bin_path) as new_bin:
        with new_bin.open("wb") as file:
            for number, document in enumerate(documents, start=1):
                if len(document):
                    file.write(_packed(document, _CODES[code], f"{prefix}: document {number}"))
                    sizes.append(len(document))
        with new_idx.open("wb") as file:
            _write_index(file, code, np.frombuffer(sizes, np.int32) if sizes else np.empty(0, "i4"))


def _pair(path: Path) -> tuple[Path, Path]:
    # Not with_suffix: a name such as "v1.2_text_document" has a dot and no suffix.
    stem = path.name.removesuffix(".bin").removesuffix(".idx")
    return path.with_name(f"{stem}.bin"), path.with_name(f"{stem}.idx")


def _read_index(path: Path) -> _Index:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not data.startswith(_MAGIC) or len(data) < _HEADER.size:
        _refuse(path, "is not the index of a binidx pair, or is cut short")
    _, version, code, items, marks = _HEADER.unpack_from(data)
    if version != 1:
        _refuse(path, f"has version {version}; only version 1 can be read")
    if code not in _CODES:
        held = "floating-point numbers" if code in _FLOATS else "an unknown type"
        _refuse(path, f"holds {held} (dtype code {code}), not tokens")
    expected = _HEADER.size + 12 * items + 8 * marks
    if len(data) != expected:
        _refuse(path, f"has {len(data)} bytes where its header says {expected}")
    pointers = _HEADER.size + 4 * items
    return _Index(
        np.dtype(_CODES[code]),
        np.frombuffer(data, "<i4", items, _HEADER.size),
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


def _code_of(dtype: np.dtype[np.integer]) -> int:
    for code, name in _CODES.items():
        if np.dtype(name) == dtype:
            return code
    raise ValueError(f"{dtype} is no dtype of binidx")


def _packed(document: Sequence[int] | np.ndarray, dtype: str, where: str) -> bytes:
    tokens = np.asarray(document, np.int64)
    limits = np.iinfo(dtype)
    if tokens.min() < limits.min or tokens.max() > limits.max:
        outside = tokens.min() if tokens.min() < limits.min else tokens.max()
        raise UserError(f"{where}: token {outside} does not fit {limits.dtype}; use a wider dtype")
    return tokens.astype(dtype).tobytes()


def _write_index(file: BinaryIO, code: int, sizes: Int[np.ndarray, "items"]) -> None:
    lengths = sizes.astype(np.int64) * np.dtype(_CODES[code]).itemsize
    file.write(_HEADER.pack(_MAGIC, 1, code, len(sizes), len(sizes) + 1))
    file.write(sizes.astype("<i4").tobytes())
    file.write((np.cumsum(lengths) - lengths).astype("<i8").tobytes())
    file.write(np.arange(len(sizes) + 1).astype("<i8").tobytes())
