"""The records of a data file of any kind."""

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import TextIOWrapper

from eyas.data.reading.compression import SUFFIXES, DamagedError, opened
from eyas.data.reading.csv_rows import csv_rows
from eyas.data.reading.document import Bad
from eyas.data.reading.encodings import encoding_of, text_of
from eyas.data.reading.json_lines import json_lines
from eyas.data.reading.json_records import json_records
from eyas.data.reading.kinds import HEAD, DataFile, bare_name, is_json_lines, problem_of_head
from eyas.data.reading.parquet_rows import arrow_rows, parquet_rows
from eyas.data.reading.record import Columns, Item
from eyas.data.reading.text_files import text_file


@dataclass(frozen=True)
class Reader:
    """Reads data files. `encoding`: of text, None for UTF-8 or what is marked.

    `is_field`: whether a name is one that records have.
    """

    encoding: str | None
    columns: Columns
    is_field: Callable[[str], bool]

    def problem(self, file: DataFile) -> str:
        """Why a file cannot be read at all; "" where it can."""
        try:
            if not stat.S_ISREG(os.stat(file.path).st_mode):
                return "is no regular file but a pipe or a device; write the data into a file"
            if file.kind == "parquet" and file.path.suffix.lower() in SUFFIXES:
                return "is compressed twice, parquet being so itself; unpack it"
            head = self._head(file)
        except OSError as error:
            return f"cannot be read ({error.strerror}); check the path"
        except DamagedError as error:
            return str(error)
        expected = None if encoding_of(head, self.encoding) == "utf-8" else "another"
        return problem_of_head(head, file.kind, expected)

    def items(self, file: DataFile) -> Iterator[Item]:
        """The records of a file; where the file itself is bad, that stands in their place."""
        if problem := self.problem(file):
            yield Bad(file.place, problem)
            return
        last = file.place
        try:
            for item in self._items(file):
                last = item.place if isinstance(item, Bad) else item[0]
                yield item
        except DamagedError as error:
            yield Bad(file.place, f"{error} (read up to {last})")
        except UnicodeDecodeError as error:
            problem = f"is not {error.encoding.upper()} ({error.reason}); copy or download it again"
            yield Bad(file.place, f"{problem} (read up to {last})")
        except OSError as error:
            yield Bad(file.place, f"cannot be read ({error.strerror}) after {last}; check the disk")

    def _items(self, file: DataFile) -> Iterator[Item]:
        if file.kind in ("parquet", "arrow"):
            rows = parquet_rows if file.kind == "parquet" else arrow_rows
            yield from rows(file.path, file.place, self.columns)
            return
        head = self._head(file)
        encoding = encoding_of(head, self.encoding)
        if file.kind in ("json", "jsonl") and not _is_lines(head, encoding, file):
            yield from json_records(
                lambda: _as_text(file, encoding), file.place, encoding, self.is_field
            )
            return
        if file.kind == "csv":
            delimiter = "\t" if bare_name(file.path).endswith(".tsv") else None
            with _as_text(file, encoding) as text:
                yield from csv_rows(text, file.place, encoding, self.columns, delimiter)
            return
        with opened(file.path) as content:
            read = json_lines if file.kind in ("json", "jsonl") else text_file
            yield from read(content, file.place, encoding)

    def _head(self, file: DataFile) -> bytes:
        with opened(file.path) as content:
            return content.read(HEAD)


def _is_lines(head: bytes, encoding: str, file: DataFile) -> bool:
    assert file.kind in ("json", "jsonl")
    return is_json_lines(head.decode(encoding, errors="replace"), file.kind)


@contextmanager
def _as_text(file: DataFile, encoding: str) -> Iterator[TextIOWrapper]:
    with opened(file.path) as content, text_of(content, encoding, newline="") as text:
        yield text
