"""The World tokenizers: greedy longest match over the bytes of the text.

A vocabulary file has one token a line: id, a Python string or bytes literal, its length in bytes.
Token 0 is in no file: it ends a document.
"""

import ast
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Int32

from eyas import native
from eyas.data.longest import LongestMatch, Rust
from eyas.errors import UserError

WORLD_VOCAB_SIZE = 65536

_LINE = re.compile(r"""(\d{1,7}) (b?(?:'.*'|".*")) (\d{1,9})""")
_FORM = "a line is: id, the token as a Python literal, its length in bytes"


@runtime_checkable
class Matcher(Protocol):
    """Takes, again and again, the longest token that the rest of the data begins with."""

    def encode(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """Raises native.NoTokenError at the first byte that no token begins with."""


class World:
    """The vocabulary of the released models. It has a token for every byte."""

    name = "world"
    vocab_size = WORLD_VOCAB_SIZE

    def __init__(self, matcher: Matcher | None = None) -> None:
        """By default the fastest matcher there is."""
        self._matcher = matcher or standard_matcher()

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self.encode_bytes(text.encode()).tolist()
        return ids

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        return self._matcher.encode(data)

    def token_bytes(self, token: int) -> bytes:
        return standard_table().get(token, b"")

    def __reduce__(self) -> tuple[type["World"], tuple[()]]:
        return World, ()  # a process that it is sent to has the table too


class WorldFile:
    """Any other World-format vocabulary (trimmed, extended); `source` names it in errors."""

    name = "world-file"

    def __init__(
        self, table: Mapping[int, bytes], source: str, matcher: Matcher | None = None
    ) -> None:
        """By default the fastest matcher there is."""
        self.vocab_size = max(table) + 1
        self._source = source
        self._bytes = dict(table)
        self._matcher = matcher or fastest_matcher(table)

    def encode(self, text: str) -> list[int]:
        """Raises UserError at the first byte that no token begins with."""
        ids: list[int] = self.encode_bytes(text.encode()).tolist()
        return ids

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """Raises UserError at the first byte that no token begins with."""
        try:
            return self._matcher.encode(data)
        except native.NoTokenError as error:
            at = error.position
            near = data[at : at + 12].decode(errors="replace")
            raise UserError(
                f"{self._source} has no token for the byte 0x{data[at]:02x} (at {near!r}); "
                "remove such characters or give the vocabulary that the model was trained with"
            ) from error

    def token_bytes(self, token: int) -> bytes:
        return self._bytes.get(token, b"")


def fastest_matcher(table: Mapping[int, bytes]) -> Matcher:
    """The compiled trie, or plain Python where that is missing."""
    return native.Trie(table) if native.library() else LongestMatch(table)


@cache
def standard_matcher() -> Matcher:
    """For the released vocabulary: the compiled trie, or `pyrwkv_tokenizer` where it is missing."""
    table = standard_table()
    return native.Trie(table) if native.library() else Rust(LongestMatch(table))


def open_world(path: Path) -> World | WorldFile:
    """The tokenizer of a World-format vocabulary file; the standard one where the tokens agree."""
    table = read_table(path)
    return World() if table == standard_table() else WorldFile(table, path.name)


@cache
def standard_table() -> dict[int, bytes]:
    """id -> bytes of the released vocabulary, from the file that the library ships."""
    source = files("pyrwkv_tokenizer") / "rwkv_vocab_v20230424.txt"
    return _parse(source.read_text(encoding="utf-8"), source.name)


def read_table(path: Path) -> dict[int, bytes]:
    """id -> bytes of a World-format vocabulary file. Raises UserError with the line at fault."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8; give a World vocabulary (.txt)") from error
    table = _parse(text, str(path))
    if not table:
        raise UserError(f"{path}: holds no token; {_FORM}")
    return table


def _parse(text: str, where: str) -> dict[int, bytes]:
    table: dict[int, bytes] = {}
    # Not splitlines: tokens may hold other line separators, such as U+2028, as they are.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            token, piece = _parse_line(line)
        except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
            raise UserError(f"{where}:{number}: is not a vocabulary line; {_FORM}") from error
        if token in table:
            raise UserError(f"{where}:{number}: token {token} is there twice; remove one")
        table[token] = piece
    _check_unique(table, where)
    return table


def _parse_line(line: str) -> tuple[int, bytes]:
    """Raises ValueError or whatever `ast.literal_eval` raises where it is no vocabulary line."""
    match = _LINE.fullmatch(line)
    if match is None:
        raise ValueError("not three fields")
    value = _literal(match[2])
    piece = value if isinstance(value, bytes) else str(value).encode()
    if not piece or len(piece) != int(match[3]):
        raise ValueError("wrong length")
    if int(match[1]) == 0:
        raise ValueError("0 ends a document")
    return int(match[1]), piece


def _literal(source: str) -> object:
    inner = source[1:-1]
    if source[0] != "b" and source[0] not in inner and "\\" not in inner and inner.isprintable():
        return inner  # nearly all of them, in a third of the time
    return ast.literal_eval(source)


def _check_unique(table: Mapping[int, bytes], where: str) -> None:
    first: dict[bytes, int] = {}
    for token, piece in table.items():
        other = first.setdefault(piece, token)
        if other != token:
            raise UserError(f"{where}: tokens {other} and {token} are both {piece!r}; remove one")
