"""Writing documents as tokens, one behind the other, without holding them in memory."""

from array import array
from typing import IO, Any

import numpy as np
from jaxtyping import Bool, Int, Integer

from eyas.data.token_batch import TokenBatch
from eyas.errors import UserError

_CHUNK = 1 << 20  # tokens


class TokenFile:
    """Tokens go to one open file, in the type `dtype`, and whether they are trained to another.

    `name` stands before what is wrong with a document.
    """

    def __init__(self, file: IO[bytes], flags: IO[bytes], dtype: np.dtype[Any], name: str) -> None:
        self.file = file
        self.flags = Flags(flags)
        self.dtype = dtype
        self.sizes = array("i")
        self._name = name

    def add(self, batch: TokenBatch) -> None:
        """Raises UserError for a token that does not fit the type."""
        count = len(batch.tokens)
        for begin in range(0, count, _CHUNK):
            chunk = batch.tokens[begin : begin + _CHUNK]
            if not np.can_cast(chunk.dtype, self.dtype):
                self._check(chunk, begin, batch.sizes)
            self.file.write(chunk.astype(self.dtype, copy=False).tobytes())
            flags = None if batch.trained is None else batch.trained[begin : begin + _CHUNK]
            self.flags.add(flags, len(chunk))
        self.sizes.frombytes(batch.sizes.astype(np.int32).tobytes())

    def bounds(self) -> Int[np.ndarray, "bounds"]:
        """Where the documents begin, in tokens, and the end."""
        bounds = np.zeros(len(self.sizes) + 1, np.int64)
        np.cumsum(np.array(self.sizes, np.int32), out=bounds[1:])
        return bounds

    def _check(
        self, chunk: Integer[np.ndarray, "n"], begin: int, sizes: Int[np.ndarray, "documents"]
    ) -> None:
        limits = np.iinfo(self.dtype)
        outside = np.flatnonzero((chunk < limits.min) | (chunk > limits.max))
        if len(outside):
            before = np.searchsorted(np.cumsum(sizes), begin + outside[0], side="right")
            raise UserError(
                f"{self._name}: document {len(self.sizes) + before + 1}: token "
                f"{chunk[outside[0]]} does not fit {limits.dtype}; use a wider dtype"
            )


class Flags:
    """A byte for each token, 1 where it is trained; nothing is written as long as all are."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.trained = 0
        self.mixed = False
        self._count = 0

    def add(self, trained: Bool[np.ndarray, "tokens"] | None, count: int) -> None:
        """The flags of `count` more tokens; None: all of them trained."""
        if trained is not None and trained.all():
            trained = None
        if trained is not None and not self.mixed:
            self.mixed = True
            self._ones(self._count)
        if trained is not None:
            self.file.write(trained.tobytes())
        elif self.mixed:
            self._ones(count)
        self._count += count
        self.trained += count if trained is None else int(np.count_nonzero(trained))

    def _ones(self, count: int) -> None:
        for begin in range(0, count, _CHUNK):
            self.file.write(b"\1" * min(_CHUNK, count - begin))
