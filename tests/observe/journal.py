"""LevelDB's log format, in which wandb and SwanLab keep a run: blocks of 32 KiB of chunks.

Source: leveldb's doc/log_format.md. Both put 7 bytes of their own before the first chunk.
"""

import struct
from collections.abc import Iterator
from pathlib import Path

_BLOCK, _HEADER = 32768, 7
_FULL, _LAST = 1, 4


def payloads(path: Path) -> Iterator[bytes]:
    """The records of a file; their checksums are not looked at."""
    data, position, record = path.read_bytes(), _HEADER, b""
    while position + _HEADER <= len(data):
        left = _BLOCK - position % _BLOCK
        if left < _HEADER:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += _HEADER
        record += data[position : position + length]
        position += length
        if kind in (_FULL, _LAST):
            yield record
            record = b""
