"""What a file is: by its name, by its first bytes where the name is not enough."""

import json
from pathlib import Path
from typing import Literal, NamedTuple

from eyas.data.reading.compression import SUFFIXES
from eyas.data.reading.config import DataType

Kind = Literal["jsonl", "json", "csv", "parquet", "arrow", "txt"]

HEAD = 1 << 16  # bytes: what is looked at of a file's beginning

_KINDS: dict[str, Kind] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".txt": "txt",
}
_TYPES: dict[DataType, Kind] = {
    "jsonl": "jsonl",
    "json": "json",
    "csv": "csv",
    "parquet": "parquet",
    "txt": "txt",
    "utf-8": "txt",
    "utf-16le": "txt",
}
_ENCODINGS: dict[DataType, str] = {"utf-8": "utf-8", "utf-16le": "utf-16-le"}
_OTHERS = (
    (b"PK\x03\x04", "a ZIP archive (or an office document); unpack it, or save it as .csv"),
    (b"\x80\x02", "a Python pickle, which can run any code; write it as .jsonl"),
    (b"\x80\x04", "a Python pickle, which can run any code; write it as .jsonl"),
    (b"%PDF-", "a PDF; extract its text"),
    (b"7z\xbc\xaf", "a 7z archive; unpack it"),
    (b"Rar!\x1a\x07", "a RAR archive; unpack it"),
    (b"BZh91AY&SY", "compressed with bzip2; unpack it, or compress it with gzip or zstd"),
    (b"\xfd7zXZ", "compressed with xz; unpack it, or compress it with gzip or zstd"),
    (b"SQLite format 3\0", "a SQLite database; export the table as .csv"),
    (b"\x93NUMPY", "a numpy array; name it .npy, or give --data-type numpy"),
    (b"MMIDIDX\0", "the index of a binidx pair; name the pair by its path without suffix"),
    (b"GGUF\x03\0", "a model, not data; name the model first and the data behind it"),
)
_LFS = b"version https://git-lfs"
_PAGE = (b"<!doctype html", b"<html")
_ONE_SIDED = 10
_FEW_NULS, _NUL_SHARE = 8, 0.01
_ADVICE = {
    ".npz": "save the one array in it with numpy.save, as .npy",
    ".xlsx": "save it as .csv",
    ".xls": "save it as .csv",
    ".arrow": "name the folder it lies in",
    ".zip": "unpack it",
    ".tar": "unpack it",
    ".pkl": "write it as .jsonl",
    ".pickle": "write it as .jsonl",
}
ACCEPTED = (
    ".jsonl, .json, .csv, .tsv, .parquet or .txt (also .gz or .zst), a folder of these, "
    "OWNER/NAME on the Hugging Face hub, .npy, or a binidx pair (.bin and .idx)"
)


class DataFile(NamedTuple):
    """A file, what it is, and its name in places."""

    path: Path
    kind: Kind
    place: str


def bare_name(path: Path) -> str:
    """The name in lower case, without what says how it is compressed."""
    name = path.name.lower()
    return next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name)


def kind_of_name(path: Path) -> Kind | None:
    return _KINDS.get(Path(bare_name(path)).suffix)


def unknown_kind(path: Path) -> str:
    """What is wrong with a file whose name does not say what it is."""
    suffix = Path(bare_name(path)).suffix
    advice = _ADVICE.get(suffix, f"data is {ACCEPTED}; or say what it is with --data-type")
    return f"unknown kind of data {suffix!r}; {advice}"


def kind_of_type(data_type: DataType) -> Kind | None:
    """The kind that `--data-type` says all files are; None where it leaves that open."""
    return _TYPES.get(data_type)


def encoding_of_type(data_type: DataType) -> str | None:
    return _ENCODINGS.get(data_type)


def problem_of_head(head: bytes, kind: Kind, encoding: str | None) -> str:
    """Why a file that begins so cannot be of that kind; "" where it can.

    `encoding`: what was given or is marked; None for text that should be UTF-8.
    """
    if head.startswith(_LFS):
        return "is a Git LFS pointer, not the data; get them with git lfs pull"
    if kind in ("parquet", "arrow"):
        return ""  # their reader knows best
    if head.startswith(b"PAR1"):
        return "is a parquet file; name it .parquet, or give --data-type parquet"
    for magic, what in _OTHERS:
        if head.startswith(magic):
            return f"is {what}"
    if kind != "txt" and head.lstrip().lower().startswith(_PAGE):
        return "is an HTML page, not data; download the file itself"
    if encoding is not None or head.count(0) <= max(_FEW_NULS, _NUL_SHARE * len(head)):
        return ""
    if wide := _wide_encoding(head):
        return f"is {wide} without a byte order mark; give --encoding {wide}"
    return "is not text; name a file of text, or say what it is with --data-type"


def _wide_encoding(head: bytes) -> str:
    """Which UTF-16 it is: every other byte of most of its characters is 0; "" where it is none."""
    even, odd = head[::2].count(0), head[1::2].count(0)
    if min(even, odd) * _ONE_SIDED > max(even, odd):
        return ""
    return "utf-16-le" if odd > even else "utf-16-be"


def is_json_lines(head: str, named: Kind) -> bool:
    """Whether JSON that begins so is a record a line, in a file named .jsonl or .json."""
    line, ended, rest = head.lstrip().partition("\n")
    if line.startswith("[") or line.rstrip() == "{":
        return False
    try:
        end = json.JSONDecoder().raw_decode(line)[1]
    except (ValueError, RecursionError):
        return named == "jsonl"
    behind = line[end:].lstrip()
    return not behind.startswith("{") and (named == "jsonl" or bool(ended and rest.strip()))
