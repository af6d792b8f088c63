"""What training data are, by name and first bytes. The whole of them: `eyas.data.survey`."""

import json
from pathlib import Path

import numpy as np

from eyas.data.binidx import is_binidx
from eyas.data.binidx import read as read_binidx
from eyas.data.reading import ReadConfig
from eyas.data.reading.compression import SUFFIXES, DamagedError, opened
from eyas.data.reading.folders import files_of
from eyas.data.reading.hub import is_hub_name
from eyas.data.reading.kinds import kind_of_name
from eyas.errors import UserError
from eyas.interop.report import Report, amount, some

_HEAD = 4096
_KINDS = {
    "jsonl": "a record a line",
    "json": "records in JSON",
    "csv": "a table of text",
    "parquet": "a table in parquet",
    "arrow": "a saved data set",
    "txt": "one document",
}
# What models say about themselves.
_ABOUT = ("config.json", "tokenizer.json", "index.json", "vocab.json", "map.json")


def describe_data(path: Path) -> Report | None:
    """None where these are no training data. Raises UserError where they are damaged."""
    if path.is_dir():
        return _folder(path)
    if is_binidx(path):
        return _binidx(path)
    if not path.exists():
        return _report("a data set of the Hugging Face hub", path) if is_hub_name(path) else None
    size = amount(path.stat().st_size)
    if path.suffix.lower() == ".npy":
        return _report("tokens in a NumPy array", path, size)
    kind = kind_of_name(path)
    if kind is None or path.name.endswith(_ABOUT):
        return None
    packed = f", compressed as {path.suffix}" if path.suffix in SUFFIXES else ""
    keys = _keys(path) if kind == "jsonl" else []
    return _report(f"{_KINDS[kind]}{packed}", path, size, *keys)


def _report(kind: str, path: Path, *facts: str) -> Report:
    return Report(f"training data, {kind}", facts, f"eyas train MODEL {path} --dry-run")


def _folder(path: Path) -> Report | None:
    try:
        files = files_of(path, ReadConfig().data_type)
    except UserError:
        if any(inner.suffix == ".txt" for inner in path.iterdir()):
            raise  # texts beside records: one has to choose
        return None
    if all(file.place.endswith(_ABOUT) for file in files):
        return None
    kinds = {file.kind for file in files}
    names = some((file.place for file in files), 5)
    if kinds == {"txt"}:
        shown = f"{len(files)} .txt files, each one document of training data"
    else:
        shown = f"{len(files)} files of training data ({', '.join(sorted(kinds))})"
    return Report(f"a folder with {shown}", (names,), f"eyas train MODEL {path} --dry-run")


def _binidx(path: Path) -> Report:
    found = read_binidx(path)
    lengths = np.diff(found.offsets)
    prefix = path.with_suffix("") if path.suffix in (".bin", ".idx") else path
    return _report(
        f"tokens in a binidx pair ({found.tokens.dtype})",
        prefix,
        f"{len(lengths):,} documents, {int(lengths.sum()):,} tokens",
        f"longest {int(lengths.max()):,} tokens, mean {lengths.mean():,.0f}",
        *(["with a mask of what is trained"] if found.trained is not None else []),
    )


def _keys(path: Path) -> list[str]:
    """The keys of the first record, where it is short enough to be seen."""
    try:
        with opened(path) as file:
            head = file.read(_HEAD)
    except DamagedError as error:
        raise UserError(f"{path}: {error}") from error
    line, ended, _ = head.removeprefix(b"\xef\xbb\xbf").partition(b"\n")
    try:
        record = json.loads(line)
    except ValueError:
        return ["its first line is no JSON"] if ended else []
    return [f"keys of the first record: {some(record, 8)}"] if isinstance(record, dict) else []
