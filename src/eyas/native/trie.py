"""Greedy longest match over bytes with a compiled trie."""

import ctypes
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from jaxtyping import Int32

from eyas.native.loading import library


class NoTokenError(Exception):
    """No token begins with the byte at `position`."""

    def __init__(self, position: int) -> None:
        super().__init__(position)
        self.position = position


class Trie:
    """The tokens of a vocabulary, id -> bytes, none of them empty and no two equal.

    `library` must be there. May be used by several threads at once, and pickled.
    """

    def __init__(self, table: Mapping[int, bytes]) -> None:
        compiled = library()
        assert compiled is not None
        assert table
        ends = np.cumsum([len(piece) for piece in table.values()], dtype=np.int64)
        tokens = np.fromiter(table, np.int32, len(table))
        pieces = b"".join(table.values())
        make = compiled.eyas_trie_new
        make.restype = ctypes.c_void_p
        self._table = table
        self._handle = ctypes.c_void_p(
            make(pieces, _pointer(ends), _pointer(tokens), ctypes.c_int64(len(table)))
        )
        if not self._handle:
            raise MemoryError
        self._encode = compiled.eyas_trie_encode
        self._encode.restype = ctypes.c_int64
        weakref.finalize(self, compiled.eyas_trie_free, self._handle)

    def encode(self, data: bytes) -> Int32[np.ndarray, "T"]:
        """The tokens of `data`; raises NoTokenError where no token begins with a byte."""
        tokens = np.empty(len(data), np.int32)
        read = ctypes.c_int64()
        count = self._encode(
            self._handle, data, ctypes.c_int64(len(data)), _pointer(tokens), ctypes.byref(read)
        )
        if read.value < len(data):
            raise NoTokenError(read.value)
        tokens.resize(count, refcheck=False)  # in place: what was not written was never in memory
        return tokens

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return Trie, (self._table,)


def _pointer(array: np.ndarray) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
