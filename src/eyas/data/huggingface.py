"""Tokenizers in Hugging Face's `tokenizer.json` form, through the `tokenizers` library."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int32

from eyas.errors import UserError


class HuggingFace:
    """A `tokenizer.json`. Token 0 ends a document, as in the 20B vocabulary of RWKV-4.

    What the file says about special tokens around a text, about truncation and about padding is
    left out: documents are encoded whole and as they are.
    """

    name = "hf"

    def __init__(self, path: Path) -> None:
        from tokenizers import Tokenizer

        form = _read_form(path)
        # A post-processor would add tokens and cut the blanks from the offsets.
        form.update(post_processor=None, truncation=None, padding=None)
        try:
            self._library = Tokenizer.from_str(json.dumps(form))
        except Exception as error:  # the library raises nothing narrower
            raise UserError(
                f"{path}: is not a tokenizer.json ({_one_line(error)}); give another --tokenizer"
            ) from error
        self._bytes = _byte_table(form, self._library.get_vocab(with_added_tokens=True))
        self.vocab_size = max(self._bytes, default=0) + 1

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
        return ids

    def encode_bytes(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """Raises UserError where the bytes are not UTF-8: the library takes text only."""
        try:
            return np.array(self.encode(data.decode()), np.int32)
        except UnicodeDecodeError as error:
            raise UserError(
                f"the tokenizer takes UTF-8 only, and there is the byte 0x{data[error.start]:02x}; "
                "remove such bytes"
            ) from error

    def encode_with_offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens, and for each the characters [start, end) of `text` that it stands for.

        The pieces of such a tokenizer need not tile the text: a normalizer may change it. A token
        that is a part of a character has the whole character's offsets.
        """
        encoding = self._library.encode(text, add_special_tokens=False)
        return encoding.ids, encoding.offsets

    def token_bytes(self, token: int) -> bytes:
        return self._bytes.get(token, b"") if token else b""


def _read_form(path: Path) -> dict[str, Any]:
    try:
        form = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: is not JSON; give a tokenizer.json") from error
    if not isinstance(form, dict):
        raise UserError(f"{path}: is not a tokenizer.json; give another --tokenizer")
    return form


def _byte_table(form: Mapping[str, Any], vocabulary: Mapping[str, int]) -> dict[int, bytes]:
    """id -> bytes. Tokens added on top of the model stand for their own text."""
    added = {entry["content"] for entry in form.get("added_tokens") or []}
    byte_level = _mentions(form.get("decoder"), "ByteLevel") or _mentions(
        form.get("pre_tokenizer"), "ByteLevel"
    )
    alphabet = _byte_alphabet()

    def to_bytes(piece: str) -> bytes:
        if piece in added:
            return piece.encode()
        if byte_level and all(char in alphabet for char in piece):
            return bytes(alphabet[char] for char in piece)
        return _plain_piece(piece)

    return {token: to_bytes(piece) for piece, token in vocabulary.items()}


def _plain_piece(piece: str) -> bytes:
    """A piece as SentencePiece writes it: U+2581 is a blank, <0x0A> one byte."""
    if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
        try:
            return bytes([int(piece[3:5], 16)])
        except ValueError:
            return piece.encode()
    return piece.replace("\u2581", " ").encode()


def _mentions(part: object, kind: str) -> bool:
    """Whether a component of the file is of this type, alone or anywhere in a sequence."""
    if isinstance(part, Mapping):
        return part.get("type") == kind or any(_mentions(inner, kind) for inner in part.values())
    return isinstance(part, list) and any(_mentions(inner, kind) for inner in part)


def _byte_alphabet() -> dict[str, int]:
    """The printable character that byte-level BPE writes for each byte, inverted.

    Printable Latin-1 characters stand for themselves; the other bytes, in order, for the
    characters from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others: Iterator[int] = iter(range(0x100, 0x200))
    return {chr(byte if byte in printable else next(others)): byte for byte in range(256)}


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
