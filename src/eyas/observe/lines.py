"""Appending to a text file that other programs read meanwhile."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path

from eyas.files import naming


@contextmanager
def appending(path: Path) -> Iterator[Callable[[str], None]]:
    """A function that appends a text to the file: seen at once, and whole or not at all.

    Where the disk is full it raises OSError and leaves the file as it was, so that what comes
    later can still be appended. What UTF-8 does not have (lone surrogates) is escaped.
    """
    # Unbuffered: what could not be written is not tried again behind our back.
    with open(path, "ab", buffering=0) as file:
        yield lambda text: _append(file, path, as_bytes(text))


def as_bytes(text: str) -> bytes:
    """The text in UTF-8; lone surrogates come out as JSON escapes them."""
    return text.encode("utf-8", "backslashreplace")


def _append(file: FileIO, path: Path, content: bytes) -> None:
    end = file.seek(0, os.SEEK_END)
    with naming(path):
        try:
            while content:
                content = content[file.write(content) :]
        except OSError:
            file.truncate(end)
            raise
