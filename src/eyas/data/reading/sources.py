"""Documents from whatever was named: a file, a folder, a data set of the hub."""

import os
from collections.abc import Iterator
from pathlib import Path

from eyas.config import did_you_mean
from eyas.data.binidx import is_binidx
from eyas.data.reading.config import ReadConfig
from eyas.data.reading.data_files import Reader
from eyas.data.reading.document import Bad, Document
from eyas.data.reading.dummy import dummy_sums
from eyas.data.reading.fields import SHAPES
from eyas.data.reading.folders import files_of
from eyas.data.reading.hub import hub_rows, is_hub_name
from eyas.data.reading.kinds import (
    ACCEPTED,
    DataFile,
    encoding_of_type,
    kind_of_name,
    kind_of_type,
    unknown_kind,
)
from eyas.data.reading.mistakes import EmptyError, Mistakes, RecordError
from eyas.data.reading.record import Item
from eyas.data.reading.rendering import Rendering
from eyas.errors import UserError


def scan(source: Path | str, config: ReadConfig) -> Iterator[Document | Bad]:
    """The documents of a source in order, and in its place each record that cannot be used.

    Raises UserError, before anything is read, where the source as a whole cannot be.
    """
    rendering = Rendering(config)
    return _rendered(_items(source, config, rendering), rendering)


def read_documents(
    source: Path | str, config: ReadConfig, keep_empty: bool = False
) -> Iterator[Document]:
    """The documents of a source, in order.

    keep_empty: blank texts are documents without spans, not bad records.

    Raises UserError: as `scan`, and for bad records. After the first of these no more documents
    come; the error, which tells of all, follows once the rest is checked. No documents at all are
    an error too.
    """
    return _good(source, scan(source, config), keep_empty)


def is_tokens(source: Path | str, config: ReadConfig) -> bool:
    """Whether a source holds tokens and no text: a numpy array, rows of uint16, a binidx pair."""
    if config.data_type != "auto":
        return config.data_type in ("numpy", "uint16", "binidx")
    path = Path(source)
    return not path.is_dir() and (path.suffix.lower() == ".npy" or is_binidx(path))


def _rendered(items: Iterator[Item], rendering: Rendering) -> Iterator[Document | Bad]:
    for item in items:
        if isinstance(item, Bad):
            yield item
            continue
        place, record = item
        try:
            yield Document(rendering.spans(record), place)
        except RecordError as error:
            yield Bad(place, str(error), isinstance(error, EmptyError))


def _good(
    source: Path | str, read: Iterator[Document | Bad], keep_empty: bool
) -> Iterator[Document]:
    mistakes = Mistakes(source)
    found = False
    for each in read:
        if isinstance(each, Bad) and each.empty and keep_empty:
            each = Document((), each.place)
        if isinstance(each, Bad):
            mistakes.add(each)
            continue
        found = True
        if not mistakes.count:
            yield each
    if mistakes.count:
        raise mistakes.error()
    if not found:
        raise UserError(f"{source}: holds no documents; each record must be {SHAPES}")


def _items(source: Path | str, config: ReadConfig, rendering: Rendering) -> Iterator[Item]:
    if config.data_type == "dummy":
        return dummy_sums()
    encoding = config.encoding or encoding_of_type(config.data_type)
    reader = Reader(encoding, rendering.columns, rendering.is_field)
    path = Path(source)
    if os.path.isdir(path):
        return _folder(path, config, reader)
    if os.path.lexists(path):
        return _file(path, config, reader)
    if is_hub_name(source):
        return hub_rows(path.as_posix(), rendering.columns)
    near = did_you_mean(path.name, os.listdir(path.parent)) if os.path.isdir(path.parent) else ""
    raise UserError(f"{path}: no such file or folder; data is {ACCEPTED}{near}")


def _file(path: Path, config: ReadConfig, reader: Reader) -> Iterator[Item]:
    kind = kind_of_type(config.data_type) or kind_of_name(path)
    if kind is None:
        raise UserError(f"{path}: {unknown_kind(path)}")
    file = DataFile(path, kind, path.name)
    if problem := reader.problem(file):
        raise UserError(f"{path}: {problem}")
    return reader.items(file)


def _folder(folder: Path, config: ReadConfig, reader: Reader) -> Iterator[Item]:
    files = files_of(folder, config.data_type)
    return (item for file in files for item in reader.items(file))
