"""What can be seen of data files from outside, before any record of them is read."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from eyas.data.lint import BOM, CRLF, Kind
from eyas.data.reading import ReadConfig
from eyas.data.reading.compression import DamagedError, opened
from eyas.data.reading.folders import files_of
from eyas.data.reading.kinds import DataFile, kind_of_name, kind_of_type

_CHUNK = 1 << 20
_OF_LINES = ("jsonl", "txt")


def data_files_at(source: Path, config: ReadConfig) -> list[DataFile]:
    """The data files at a path; none where it is no path or of a kind that is unknown.

    Raises UserError for a folder without data.
    """
    if source.is_dir():
        return files_of(source, config.data_type)
    kind = kind_of_type(config.data_type) or kind_of_name(source)
    return [DataFile(source, kind, source.name)] if kind and source.is_file() else []


def outward_findings(file: DataFile) -> Iterator[tuple[Kind, int]]:
    """A byte order mark and line ends of Windows, with how many there are.

    The reader takes both for what they are; other programs may not. In tables and in UTF-16 they
    belong there.
    """
    if file.kind not in _OF_LINES:
        return
    try:
        with opened(file.path) as content:
            chunk = content.read(_CHUNK)
            if chunk.startswith(codecs.BOM_UTF8):
                yield BOM, 1
            windows = 0
            while chunk:
                windows += chunk.count(b"\r\n")
                last, chunk = chunk[-1:], content.read(_CHUNK)
                windows += last == b"\r" and chunk.startswith(b"\n")
    except (OSError, DamagedError):
        return  # the reader tells of that
    if windows:
        yield CRLF, windows
