"""The World tokenizers: greedy longest match over the bytes of the text.

A vocabulary file has one token a line: id, a Python string or bytes literal, its length in bytes.
Token 0 is in no file: it ends a document.
"""

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

from eyas.errors import UserError

WORLD_VOCAB_SIZE = 65536

_LINE = re.compile(r"""(\d{1,7}) (b?(?:'.*'|".*")) (\d{1,9})""")
_FORM = "a line is: id, the token as a Python literal, its length in bytes"


class World:
    """The vocabulary of the released models, encoded by the Rust library `pyrwkv_tokenizer`.

    Only its encoder is used: its decoder panics on ids from 65530 and on cut characters.
    """

    name = "world"
    vocab_size = WORLD_VOCAB_SIZE

    def __init__(self) -> None:
        from pyrwkv_tokenizer import RWKVTokenizer

        self._library = RWKVTokenizer()

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._library.encode(text)
        return ids

    def token_bytes(self, token: int) -> bytes:
        return standard_table().get(token, b"")


class WorldFile:
    """Any other World-format vocabulary (trimmed, extended), encoded in pure Python.

    The library is no help here: it panics on ids with gaps and drops what it has no token for.
    """

    name = "world-file"

    def __init__(self, table: Mapping[int, bytes], source: str) -> None:
        self.vocab_size = max(table) + 1
        self._source = source
        self._bytes = dict(table)
        self._ids = {piece: token for token, piece in table.items()}
        self._lengths = _lengths_by_start(self._ids)

    def encode(self, text: str) -> list[int]:
        """Raises UserError at the first byte that no token begins with."""
        data = text.encode()
        tokens, position = [], 0
        while position < len(data):
            piece, token = self._longest(data, position)
            tokens.append(token)
            position += len(piece)
        return tokens

    def token_bytes(self, token: int) -> bytes:
        return self._bytes.get(token, b"")

    def _longest(self, data: bytes, position: int) -> tuple[bytes, int]:
        for length in self._lengths.get(data[position : position + 2], (1,)):
            # At the end of the data this is shorter than `length`, and the longest there is.
            piece = data[position : position + length]
            token = self._ids.get(piece)
            if token is not None:
                return piece, token
        near = data[position : position + 12].decode(errors="replace")
        raise UserError(
            f"{self._source} has no token for the byte 0x{data[position]:02x} (at {near!r}); "
            "remove such characters or give the vocabulary that the model was trained with"
        )


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
    value = ast.literal_eval(match[2])
    piece = value if isinstance(value, bytes) else str(value).encode()
    if not piece or len(piece) != int(match[3]):
        raise ValueError("wrong length")
    if int(match[1]) == 0:
        raise ValueError("0 ends a document")
    return int(match[1]), piece


def _check_unique(table: Mapping[int, bytes], where: str) -> None:
    first: dict[bytes, int] = {}
    for token, piece in table.items():
        other = first.setdefault(piece, token)
        if other != token:
            raise UserError(f"{where}: tokens {other} and {token} are both {piece!r}; remove one")


def _lengths_by_start(pieces: Iterable[bytes]) -> dict[bytes, tuple[int, ...]]:
    """For the first two bytes of a piece: the lengths to try, longest first, down to one byte."""
    lengths: dict[bytes, set[int]] = {}
    for piece in pieces:
        if len(piece) > 1:
            lengths.setdefault(piece[:2], {1}).add(len(piece))
    return {start: tuple(sorted(some, reverse=True)) for start, some in lengths.items()}
