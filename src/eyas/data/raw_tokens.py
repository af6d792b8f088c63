"""Token files without an index: a numpy array (.npy), and rows of uint16 laid end to end."""

from pathlib import Path

import numpy as np
from jaxtyping import Int64, Integer

from eyas.errors import UserError

_CHUNK = 1 << 24
_WIDTH = 2  # bytes of a uint16


def read_numpy(path: Path) -> tuple[Integer[np.ndarray, "tokens"], Int64[np.ndarray, "bounds"]]:
    """The tokens of a one-dimensional array, mapped from the file, and where documents begin.

    Token 0 ends a document, or several of them do. The last bound is the end.
    Raises UserError for what is no such array, or holds negative numbers; an array of Python
    objects, which could run any code, is not opened.
    """
    try:
        tokens = np.lib.format.open_memmap(path, mode="r")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except ValueError as error:
        said = " ".join(str(error).split())
        raise UserError(
            f"{path}: is no numpy array of numbers, or is cut short ({said}); write it with "
            "numpy.save(path, ids), ids being one-dimensional integers"
        ) from error
    _check(tokens, path)
    return tokens, _bounds(tokens, path)


def read_uint16(
    path: Path, row_length: int
) -> tuple[Integer[np.ndarray, "tokens"], Int64[np.ndarray, "bounds"]]:
    """The tokens of a file of little-endian rows, mapped from it, each row one document.

    `row_length`: tokens of a row, at least 1. Raises UserError where the file is not whole rows.
    """
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    if not size or size % (_WIDTH * row_length):
        raise UserError(
            f"{path}: has {size} bytes, not whole rows of {row_length} tokens of {_WIDTH} bytes; "
            "give the row length that it was written with"
        )
    tokens = np.memmap(path, "<u2", mode="r")
    return tokens, np.arange(0, len(tokens) + 1, row_length)


def _check(array: np.ndarray, path: Path) -> None:
    if array.dtype.kind not in "iu":
        raise UserError(
            f"{path}: holds {array.dtype}, not integers; write tokens with "
            "numpy.save(path, ids.astype(numpy.int32))"
        )
    if array.ndim != 1:
        shape = " × ".join(map(str, array.shape))
        raise UserError(
            f"{path}: is an array of {shape}, not one-dimensional; lay its rows end to end, each "
            "ended by token 0: numpy.save(path, array.reshape(-1))"
        )
    if not len(array):
        raise UserError(f"{path}: holds no tokens; make the data again")


def _bounds(tokens: np.ndarray, path: Path) -> Int64[np.ndarray, "bounds"]:
    """The places after a token 0, or the last of several, and the two ends."""
    bounds = [np.zeros(1, np.int64)]
    for begin in range(0, len(tokens), _CHUNK):
        chunk = tokens[begin : begin + _CHUNK + 1]
        if chunk.min() < 0:
            at = begin + int(np.argmax(chunk < 0))
            raise UserError(
                f"{path}: holds {tokens[at]} at index {at}; tokens are not negative, write it again"
            )
        bounds.append(begin + 1 + np.flatnonzero((chunk[:-1] == 0) & (chunk[1:] != 0)))
    return np.unique(np.append(np.concatenate(bounds), len(tokens)))
