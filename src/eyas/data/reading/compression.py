"""Files opened for reading, decompressed on the way: gzip and zstandard, known by their bytes."""

import gzip
import io
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIXES = (".gz", ".zst")

_GZIP, _ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_BUFFER = 1 << 18
_READ = 1 << 13  # compressed bytes at a time: what they become must fit in memory
_WINDOW = 1 << 31  # as zstd --long=31 makes them


class DamagedError(Exception):
    """What is wrong with a compressed file."""


@contextmanager
def opened(path: Path) -> Iterator[io.BufferedReader]:
    """The content of a file. Raises OSError, and DamagedError while it is read."""
    with path.open("rb") as file:
        head = file.peek(4)
        if head.startswith(_GZIP):
            stream: io.RawIOBase = _Decompressed(_gzip_reader(file))
        elif head.startswith(_ZSTD):
            stream = _Decompressed(_zstd_reader(file))
        else:
            yield file
            return
        with io.BufferedReader(stream, _BUFFER) as decompressed:
            yield decompressed


class _Decompressed(io.RawIOBase):
    """What `read` gives, bytes after bytes up to b"", as a stream."""

    mode = "rb"

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        if not self._rest:
            self._rest = memoryview(self._read())
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size


def _gzip_reader(file: io.BufferedReader) -> Callable[[], bytes]:
    unpacked = gzip.GzipFile(fileobj=file)

    def read() -> bytes:
        try:
            return unpacked.read(_BUFFER)
        except EOFError:
            raise DamagedError("the gzip file is cut off; copy or download it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise DamagedError(
                f"the gzip file is damaged ({error}); copy or download it again"
            ) from error

    return read


def _zstd_reader(file: io.BufferedReader) -> Callable[[], bytes]:
    # Imported here: few files are compressed so.
    import zstandard

    def frame() -> "zstandard.ZstdDecompressionObj":
        return zstandard.ZstdDecompressor(max_window_size=_WINDOW).decompressobj()

    def pieces() -> Iterator[bytes]:
        unpacker, begun = frame(), False
        while compressed := file.read(_READ):
            while compressed:
                if unpacker.eof:
                    unpacker = frame()
                begun = True
                yield unpacker.decompress(compressed)
                compressed = unpacker.unused_data if unpacker.eof else b""
        if begun and not unpacker.eof:
            raise DamagedError("the zstandard file is cut off; copy or download it again")

    unpacked = pieces()

    def read() -> bytes:
        try:
            return next(filter(None, unpacked), b"")
        except zstandard.ZstdError as error:
            raise DamagedError(
                f"the zstandard file is damaged ({error}); copy or download it again"
            ) from error

    return read
