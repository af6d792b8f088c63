"""The header of a GGUF file, as far as it tells what the model is.

    "GGUF"; u32 version; u64 tensors; u64 n; n times: key, u32 type, value
    text: u64 length, bytes        array: u32 type, u64 length, values

Source: ggml, docs/gguf.md (version 3, of which 2 is the same where numbers are little-endian).
"""

import struct
from pathlib import Path
from typing import BinaryIO

from eyas.errors import UserError
from eyas.interop.report import Report, amount

MAGIC = b"GGUF"
_NUMBERS = dict(enumerate("BbHhIif?")) | {10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9
_LONGEST = 1 << 20  # bytes of a text that is still believed
_VOCABULARY = "tokenizer."  # long, and behind all that is said here


def describe(path: Path) -> Report:
    """Raises UserError where the header is cut short or no such header."""
    try:
        with path.open("rb") as file:
            version, tensors, values = _header(file)
    except (struct.error, UnicodeDecodeError, KeyError, OverflowError, MemoryError) as error:
        raise UserError(f"{path}: the GGUF file is damaged or cut short; copy it again") from error
    named = [f"{key} = {value}" for key, value in values.items()]
    return Report(
        "a GGUF model, for llama.cpp and what is built on it",
        (f"version {version}, {tensors:,} tensors, {amount(path.stat().st_size)}", *named),
        "llama-cli -m FILE, or RWKV Runner; eyas trains and merges the .pth it was made of",
    )


def _header(file: BinaryIO) -> tuple[int, int, dict[str, object]]:
    """Version, number of tensors, and the values in front of the vocabulary."""
    _, version = struct.unpack("<4sI", file.read(8))
    if version not in (2, 3):
        return version, 0, {}
    tensors, count = struct.unpack("<QQ", file.read(16))
    values: dict[str, object] = {}
    for _ in range(count):
        key = _text(file)
        if key.startswith(_VOCABULARY):
            break
        value = _value(file, *struct.unpack("<I", file.read(4)))
        if not isinstance(value, list):
            values[key] = value
    return version, tensors, values


def _value(file: BinaryIO, kind: int) -> object:
    if kind == _TEXT:
        return _text(file)
    if kind == _ARRAY:
        item, length = struct.unpack("<IQ", file.read(12))
        return [_value(file, item) for _ in range(length)]
    number = f"<{_NUMBERS[kind]}"
    return struct.unpack(number, file.read(struct.calcsize(number)))[0]


def _text(file: BinaryIO) -> str:
    (length,) = struct.unpack("<Q", file.read(8))
    if length > _LONGEST:
        raise OverflowError(length)
    return file.read(length).decode()
