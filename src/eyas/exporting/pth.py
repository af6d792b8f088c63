"""Writes a PyTorch checkpoint (.pth) tensor by tensor, so that a model never has to fit in memory.

A .pth is a zip archive: `data.pkl` holds the dict with a reference in place of every storage,
and `data/0`, `data/1`, ... hold the storages. The pickle needs only names, shapes and dtypes, so
it is written first, and each tensor is computed when its turn comes, written and let go.
"""

import io
import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any
from zipfile import ZipFile, ZipInfo

import torch
from torch import Tensor
from torch._utils import _rebuild_tensor_v2  # what every .pth names as the maker of its tensors

from eyas.files import atomic_path

_ALIGNMENT = 64  # of the storages in the file, as torch.save has it, for mmap
_LOCAL_HEADER = 30  # bytes before the name
_ZIP64_EXTRA = 20  # bytes that zipfile adds to the header of a large record
_LARGE = 2**30  # well below where zipfile would choose zip64 itself
_OVERHEAD = 512  # bytes of one record besides its content, at most

_STORAGES = {
    torch.float64: torch.DoubleStorage,
    torch.float32: torch.FloatStorage,
    torch.float16: torch.HalfStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.int64: torch.LongStorage,
    torch.int32: torch.IntStorage,
    torch.int16: torch.ShortStorage,
    torch.int8: torch.CharStorage,
    torch.uint8: torch.ByteStorage,
    torch.bool: torch.BoolStorage,
}


@dataclass(frozen=True)
class Entry:
    """A tensor to be written; `tensor` computes it when its turn comes, on any device."""

    name: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    tensor: Callable[[], Tensor]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * self.dtype.itemsize


def write_pth(
    path: Path, entries: Iterable[Entry], check: Callable[[Path], None] = lambda _: None
) -> None:
    """Writes the dict of all entries, in their order, as `torch.save` would, atomically.

    One tensor is in memory at a time. Equal tensors give equal files. check: is called with the
    written file before it takes its place; what it raises keeps what was there before. Raises
    UserError where the disk is too small, and ValueError where a tensor is not of the shape and
    dtype announced.
    """
    everything = list(entries)
    contents = _pickled(everything)
    needed = sum(e.nbytes for e in everything) + len(contents) + _OVERHEAD * (len(everything) + 4)
    with atomic_path(path, needed) as temporary:
        with open(temporary, "wb") as file, ZipFile(file, "w") as archive:
            _write_record(file, archive, "data.pkl", contents)
            _write_record(file, archive, "byteorder", sys.byteorder.encode())
            for number, entry in enumerate(everything):
                _write_record(file, archive, f"data/{number}", bytes_of(entry))
            # No `.format_version`: it tells torch that offsets may be computed instead of read,
            # and that holds only for the headers that torch's own writer makes.
            _write_record(file, archive, "version", b"3\n")
        check(temporary)


@dataclass(frozen=True)
class _Stored:
    """Stands for the storage of an entry in the pickle."""

    key: str
    entry: Entry


@dataclass(frozen=True)
class _Standin:
    """Stands for the tensor of an entry in the pickle."""

    stored: _Stored


class _Pickler(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if not isinstance(value, _Stored):
            return None
        kind, length = _STORAGES[value.entry.dtype], prod(value.entry.shape)
        return ("storage", kind, value.key, "cpu", length)

    def reducer_override(self, value: Any) -> Any:
        if not isinstance(value, _Standin):
            return NotImplemented
        shape = tuple(value.stored.entry.shape)  # may be a torch.Size, which pickles differently
        no_hooks: OrderedDict[str, object] = OrderedDict()
        return _rebuild_tensor_v2, (value.stored, 0, shape, _strides(shape), False, no_hooks)


def _pickled(entries: list[Entry]) -> bytes:
    standins = {
        entry.name: _Standin(_Stored(str(number), entry)) for number, entry in enumerate(entries)
    }
    if len(standins) < len(entries):
        raise ValueError("two entries have the same name")
    buffer = io.BytesIO()
    _Pickler(buffer, protocol=2).dump(standins)
    return buffer.getvalue()


def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return torch.empty(shape, device="meta").stride()


def bytes_of(entry: Entry) -> memoryview:
    """Computes it: its elements as they lie in a file.

    Raises ValueError where it is not of the shape and dtype announced.
    """
    tensor = entry.tensor().detach()
    if tuple(tensor.shape) != entry.shape or tensor.dtype != entry.dtype:
        raise ValueError(
            f"{entry.name}: announced as {entry.shape} {entry.dtype}, "
            f"computed as {tuple(tensor.shape)} {tensor.dtype}"
        )
    return tensor.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _write_record(
    file: IO[bytes], archive: ZipFile, name: str, content: bytes | memoryview
) -> None:
    info = ZipInfo(f"archive/{name}")  # torch's name for it, too, where it does not know the file's
    info.file_size = len(content)
    large = len(content) > _LARGE
    start = file.tell() + _LOCAL_HEADER + len(info.filename) + (_ZIP64_EXTRA if large else 0)
    info.extra = _padding(start)
    with archive.open(info, "w", force_zip64=large) as record:
        record.write(content)
    info.extra = b""  # the padding is of no use in the directory at the end


def _padding(start: int) -> bytes:
    """A zip extra field (id, length, filling) that moves `start` to an aligned place."""
    length = -(start + 4) % _ALIGNMENT
    return b"FB" + length.to_bytes(2, "little") + b"Z" * length
