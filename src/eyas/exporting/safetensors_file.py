"""Writes a safetensors file tensor by tensor, so that a model never has to fit in memory.

    u64 length of the header; JSON: name -> {dtype, shape, data_offsets [begin, end]}; the bytes

The header is filled up with blanks to a multiple of 8 bytes. Its `__metadata__` says "pt", without
which transformers takes no file. Source: the format's own description (safetensors, README).
"""

import json
from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path

import torch

from eyas.exporting.pth import Entry, bytes_of
from eyas.files import atomic_path

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
}
_ALIGNMENT = 8


def write_safetensors(path: Path, entries: Iterable[Entry]) -> None:
    """Writes the tensors in the order given, atomically; one is in memory at a time.

    Raises UserError where the disk is too small, and ValueError where a tensor is not of the
    shape and dtype announced.
    """
    everything = list(entries)
    header = _header(everything)
    needed = len(header) + sum(entry.nbytes for entry in everything)
    with atomic_path(path, needed) as temporary, open(temporary, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for entry in everything:
            file.write(bytes_of(entry))


def _header(entries: list[Entry]) -> bytes:
    ends = list(accumulate((entry.nbytes for entry in entries), initial=0))
    described: dict[str, object] = {"__metadata__": {"format": "pt"}}
    for entry, begin, end in zip(entries, ends, ends[1:], strict=False):
        described[entry.name] = {
            "dtype": _NAMES[entry.dtype],
            "shape": entry.shape,
            "data_offsets": [begin, end],
        }
    text = json.dumps(described, separators=(",", ":")).encode()
    return text + b" " * (-len(text) % _ALIGNMENT)
