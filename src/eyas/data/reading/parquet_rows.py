"""Tables in columns: .parquet files, and the .arrow files that `Dataset.save_to_disk` writes."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from eyas.data.reading.document import Bad
from eyas.data.reading.mistakes import RecordError
from eyas.data.reading.record import Columns, Item

if TYPE_CHECKING:
    import pyarrow
    import pyarrow.parquet

_BATCH_BYTES = 4 << 20
_MOST_ROWS = 512
_BUFFER_BYTES = 1 << 20


def parquet_rows(path: Path, place: str, columns: Columns) -> Iterator[Item]:
    """The rows as records of the columns that are used; a part of a row group is in memory."""
    return _rows(_parquet_batches(path, columns), place, "parquet")


def arrow_rows(path: Path, place: str, columns: Columns) -> Iterator[Item]:
    """The rows as records of the columns that are used; the file is mapped."""
    return _rows(_arrow_batches(path, columns), place, "arrow")


def _parquet_batches(path: Path, columns: Columns) -> "Iterator[pyarrow.RecordBatch]":
    import pyarrow.parquet  # takes a while, and most data are text

    with pyarrow.parquet.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
        names = list(columns(file.schema_arrow.names))
        yield from file.iter_batches(_batch_rows(file.metadata), columns=names)


def _arrow_batches(path: Path, columns: Columns) -> "Iterator[pyarrow.RecordBatch]":
    import pyarrow
    import pyarrow.ipc

    with pyarrow.memory_map(str(path)) as file, pyarrow.ipc.open_stream(file) as table:
        names = list(columns(table.schema.names))
        for batch in table:
            chosen = batch.select(names)
            for start in range(0, len(batch), _MOST_ROWS):
                yield chosen.slice(start, _MOST_ROWS)


def _rows(batches: "Iterator[pyarrow.RecordBatch]", place: str, kind: str) -> Iterator[Item]:
    import pyarrow

    last = place
    values = (value for batch in batches for value in _values(batch))
    try:
        for number, value in enumerate(values, start=1):
            last = f"{place} row {number}"
            yield Bad(last, str(value)) if isinstance(value, RecordError) else (last, value)
    except RecordError as error:
        yield Bad(place, f"the table {error}")
    except (pyarrow.ArrowException, OSError) as error:
        said = " ".join(str(error).split())
        after = f", read up to {last}" if last != place else ""
        problem = f"is no {kind} file, or is damaged ({said}{after}); copy or download it again"
        yield Bad(place, problem)


def _batch_rows(metadata: "pyarrow.parquet.FileMetaData") -> int:
    groups = (metadata.row_group(group) for group in range(metadata.num_row_groups))
    size = sum(int(group.total_byte_size) for group in groups)
    fitting = _BATCH_BYTES * int(metadata.num_rows) // max(size, 1)
    return max(1, min(_MOST_ROWS, fitting))


def _values(batch: "pyarrow.RecordBatch") -> Iterator[object | RecordError]:
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:
        for row in range(len(batch)):
            yield _value(batch.slice(row, 1))


def _value(row: "pyarrow.RecordBatch") -> object | RecordError:
    try:
        value: object = row.to_pylist()[0]
        return value
    except UnicodeDecodeError as error:
        return RecordError(f"holds text that is not UTF-8 ({error.reason}); write the file again")
