"""Writing binidx pairs, and the pair of their mask; the format is told of in `binidx`."""

import os
import shutil
import struct
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from jaxtyping import Int32

from eyas.data.token_batch import TokenBatch, one_by_one
from eyas.data.token_file import TokenFile
from eyas.files import atomic_path

MAGIC = b"MMIDIDX\0\0"
HEADER = struct.Struct("<9sQBQQ")
CODES = {1: "u1", 2: "i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}

_MASK_CODE = 1
_COPIED_AT_ONCE = 1 << 20


@dataclass(frozen=True)
class Written:
    """What a pair holds. `masked`: whether its mask lies beside it."""

    documents: int
    tokens: int
    trained: int
    masked: bool
    bytes: int  # of all files


def pair_at(path: Path) -> tuple[Path, Path]:
    """The .bin and the .idx of a pair that is named by either of them, or without a suffix."""
    # Not with_suffix: a name such as "v1.2_text_document" has a dot and no suffix.
    stem = path.name.removesuffix(".bin").removesuffix(".idx")
    return path.with_name(f"{stem}.bin"), path.with_name(f"{stem}.idx")


def mask_at(path: Path) -> tuple[Path, Path]:
    """The files of the mask of a pair: of the same documents, 1 for each token that is trained."""
    stem = pair_at(path)[0].name.removesuffix(".bin")
    return path.with_name(f"{stem}.mask.bin"), path.with_name(f"{stem}.mask.idx")


def write(
    prefix: Path,
    documents: Iterable[Sequence[int] | np.ndarray],
    dtype: type[np.integer],
    trained: Iterable[Sequence[bool] | np.ndarray] | None = None,
) -> Written:
    """As `write_batches`, from single documents; empty documents are left out."""
    return write_batches(prefix, one_by_one(documents, trained), dtype)


def write_batches(
    prefix: Path, batches: Iterable[TokenBatch], dtype: type[np.integer], with_mask: bool = True
) -> Written:
    """Writes PREFIX.bin and PREFIX.idx, one item a document, and a mask where not all is trained.

    `dtype` is one of the format's: np.uint16 for vocabularies up to 65536, else np.int32.
    Nothing is changed before everything is complete. Then an old PREFIX.idx goes first and the
    new one comes last, so that no index ever lies beside tokens or a mask of other data.
    Raises UserError for tokens that do not fit the dtype and where the disk is full.
    """
    code = code_of(np.dtype(dtype))
    bin_path, idx_path = pair_at(prefix)
    mask_bin, mask_idx = mask_at(prefix)
    with ExitStack() as stack:
        new_idx = stack.enter_context(atomic_path(idx_path))
        new_bin = stack.enter_context(atomic_path(bin_path))
        flags = stack.enter_context(TemporaryFile(dir=new_bin.parent))
        with new_bin.open("wb") as file:
            tokens = TokenFile(file, flags, np.dtype(CODES[code]), str(prefix))
            for batch in batches:
                tokens.add(batch)
            _flush(file)
        sizes = np.array(tokens.sizes, np.int32)
        masked = with_mask and tokens.flags.mixed
        if masked:
            _write_index(stack.enter_context(atomic_path(mask_idx)), _MASK_CODE, sizes)
            _copy(flags, stack.enter_context(atomic_path(mask_bin)))
        _write_index(new_idx, code, sizes)
        for old in (idx_path, mask_idx, mask_bin):
            Path(os.path.realpath(old)).unlink(missing_ok=True)
    files = [bin_path, idx_path, *([mask_bin, mask_idx] if masked else [])]
    return Written(
        documents=len(sizes),
        tokens=int(sizes.sum(dtype=np.int64)),
        trained=tokens.flags.trained,
        masked=masked,
        bytes=sum(path.stat().st_size for path in files),
    )


def code_of(dtype: np.dtype[np.integer]) -> int:
    for code, name in CODES.items():
        if np.dtype(name) == dtype:
            return code
    raise ValueError(f"{dtype} is no dtype of binidx")


def _write_index(path: Path, code: int, sizes: Int32[np.ndarray, "items"]) -> None:
    pointers = np.zeros(len(sizes) + 1, "<i8")
    np.cumsum(sizes, out=pointers[1:])
    pointers *= np.dtype(CODES[code]).itemsize
    with path.open("wb") as file:
        file.write(HEADER.pack(MAGIC, 1, code, len(sizes), len(sizes) + 1))
        file.write(sizes.astype("<i4").tobytes())
        file.write(pointers[:-1].tobytes())
        file.write(np.arange(len(sizes) + 1).astype("<i8").tobytes())
        _flush(file)


def _copy(source: IO[bytes], target: Path) -> None:
    source.seek(0)
    with target.open("wb") as file:
        shutil.copyfileobj(source, file, _COPIED_AT_ONCE)
        _flush(file)


def _flush(file: IO[bytes]) -> None:
    """On to the disk now: once the first file is renamed nothing may fail any more."""
    file.flush()
    os.fsync(file.fileno())
