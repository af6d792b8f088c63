"""Greedy longest match over bytes where the compiled trie is not to be had."""

from collections.abc import Iterable, Mapping

import numpy as np
from jaxtyping import Int32

from eyas.native import NoTokenError


class LongestMatch:
    """The tokens of any vocabulary, in plain Python: a few MB/s."""

    def __init__(self, table: Mapping[int, bytes]) -> None:
        self._ids = {piece: token for token, piece in table.items()}
        self._lengths = _lengths_by_start(self._ids)

    def encode(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """As `native.Trie.encode`."""
        tokens, position = [], 0
        while position < len(data):
            length, token = self._longest(data, position)
            tokens.append(token)
            position += length
        return np.array(tokens, np.int32)

    def _longest(self, data: bytes, position: int) -> tuple[int, int]:
        for length in self._lengths.get(data[position : position + 2], (1,)):
            # At the end of the data this is shorter than `length`, and the longest there is.
            piece = data[position : position + length]
            token = self._ids.get(piece)
            if token is not None:
                return len(piece), token
        raise NoTokenError(position)


class Rust:
    """The released vocabulary, by the library `pyrwkv_tokenizer`: about 30 MB/s.

    It takes text only, and drops or panics on what is none; so bytes that are no UTF-8 go to
    `otherwise`. Of the library only the encoder is used: its decoder panics on ids from 65530 and
    on cut characters.
    """

    def __init__(self, otherwise: LongestMatch) -> None:
        from pyrwkv_tokenizer import RWKVTokenizer

        self._library = RWKVTokenizer()
        self._otherwise = otherwise

    def encode(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """As `native.Trie.encode`."""
        try:
            text = data.decode()
        except UnicodeDecodeError:
            return self._otherwise.encode(data)
        return np.array(self._library.encode(text), np.int32)


def _lengths_by_start(pieces: Iterable[bytes]) -> dict[bytes, tuple[int, ...]]:
    """For the first two bytes of a piece: the lengths to try, longest first, down to one byte."""
    lengths: dict[bytes, set[int]] = {}
    for piece in pieces:
        if len(piece) > 1:
            lengths.setdefault(piece[:2], {1}).add(len(piece))
    return {start: tuple(sorted(some, reverse=True)) for start, some in lengths.items()}
