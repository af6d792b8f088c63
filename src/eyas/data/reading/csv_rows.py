"""Tables as text with a header: .csv and .tsv."""

import csv
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from itertools import chain

from eyas.data.reading.document import Bad
from eyas.data.reading.encodings import Misfits
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.record import Columns, Item

_LONGEST_FIELD = 100 << 20  # characters
_DELIMITERS = ",\t;|"
_FAULTS = {
    "unexpected end of data": "a quotation mark that is never closed; close it, or double it",
    "expected after": "a quotation mark within a quoted field; double it",
    "field larger": "a field of more than 100 MB; a quotation mark may not be closed",
}


def csv_rows(
    text: TextIOWrapper, place: str, encoding: str, columns: Columns, delimiter: str | None
) -> Iterator[Item]:
    """The rows as records of the columns that are used; the place is the line where one begins.

    `text` is opened with newline="", so that line ends within quotes stay as they are.
    `delimiter`: None for the one of comma, tab, semicolon and bar that the header has most of.
    """
    # The library has this limit for the whole process only.
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_FIELD))
    first, misfits = text.readline(), Misfits(encoding)
    rows = csv.reader(chain([first], text), delimiter=delimiter or _delimiter(first), strict=True)
    try:
        header = next(filter(None, rows), [])
        misfits.check("".join(header))
        used = _used(header, columns) if header else {}
    except csv.Error as error:
        yield Bad(f"{place}:1", _problem(error))
        return
    except RecordError as error:
        problem = f"the header {error}; the first row has to name the columns"
        yield Bad(f"{place}:{rows.line_num}", problem)
        return
    line = rows.line_num + 1
    for row in _rows(rows):
        where, line = f"{place}:{line}", rows.line_num + 1
        try:
            if row:
                yield where, _record(row, used, len(header), misfits)
        except RecordError as error:
            yield Bad(where, str(error))


def _used(header: Sequence[str], columns: Columns) -> dict[str, int]:
    """The columns that are used, and where they stand."""
    twice = {name for name in header if header.count(name) > 1}
    names = columns(header)
    if ambiguous := twice.intersection(names):
        raise RecordError(f"has the column {min(ambiguous)!r} twice; rename one of them")
    return {name: header.index(name) for name in names}


def _rows(rows: Iterator[list[str]]) -> Iterator[list[str] | RecordError]:
    """The rows, and errors in place of those that cannot be read; the rest of its line is lost."""
    while True:
        try:
            yield next(rows)
        except StopIteration:
            return
        except csv.Error as error:
            yield RecordError(_problem(error))


def _record(
    row: list[str] | RecordError, used: dict[str, int], width: int, misfits: Misfits
) -> dict[str, str]:
    if isinstance(row, RecordError):
        raise row
    if len(row) != width:
        raise RecordError(
            f"has {len(row)} fields where the header has {width}; put quotation marks around a "
            "field that holds the delimiter or a line end"
        )
    record = {name: row[column] for name, column in used.items()}
    for value in record.values():
        misfits.check(value)
    return record


def _delimiter(header: str) -> str:
    return max(_DELIMITERS, key=header.count)


def _problem(error: csv.Error) -> str:
    said = str(error)
    return next((f"has {told}" for fault, told in _FAULTS.items() if fault in said), f"bad: {said}")
