"""How pieces are laid into the rows of batches."""

from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64

from eyas.data.pieces import Pieces

_OPEN = 256  # rows that packing may still add to


@dataclass(frozen=True)
class Rows:
    """Row i is the pieces bounds[i] up to bounds[i + 1], laid end to end."""

    pieces: Pieces
    bounds: Int64[np.ndarray, "bounds"]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    def members(self, row: int) -> range:
        """The pieces of a row."""
        return range(int(self.bounds[row]), int(self.bounds[row + 1]))


def alone(pieces: Pieces) -> Rows:
    """Each piece is a row by itself."""
    return Rows(pieces, np.arange(len(pieces) + 1))


def packed(pieces: Pieces, ctx: int) -> Rows:
    """Rows of at most `ctx` pairs, in the order in which they are begun.

    Each piece goes into the fullest row that has room for it; behind a window of open rows the
    fullest is closed. So no row holds more than it can, and few hold much less.
    """
    rooms: list[tuple[int, int]] = []  # of the open rows: room, row; sorted
    row_of = np.empty(len(pieces), np.int64)
    count = 0
    for piece, length in enumerate(pieces.lengths.tolist()):
        at = bisect_left(rooms, (length, -1))
        if at < len(rooms):
            room, row = rooms.pop(at)
        else:
            room, row = ctx, count
            count += 1
        row_of[piece] = row
        if room > length:
            insort(rooms, (room - length, row))
            if len(rooms) > _OPEN:
                del rooms[0]
    order = np.argsort(row_of, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(np.bincount(row_of, minlength=count))])
    return Rows(pieces.at(order), bounds)


def shuffled(rows: Rows, chance: np.random.Generator) -> Rows:
    """The same rows in another order."""
    order = chance.permutation(len(rows))
    sizes = np.diff(rows.bounds)[order]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    # Piece j of new row i is piece j of old row order[i].
    moved = np.repeat(rows.bounds[order] - bounds[:-1], sizes) + np.arange(bounds[-1])
    return Rows(rows.pieces.at(moved), bounds)


def windows(
    offsets: Int64[np.ndarray, "bounds"], ctx: int, chance: np.random.Generator | None = None
) -> Pieces:
    """Windows of `ctx` pairs over the whole stream, as if it were one document.

    With chance as many as lie in it side by side, at places by chance; without it, side by side.
    """
    first, end = int(offsets[0]), int(offsets[-1])
    starts = np.arange(first, max(end - 1, first), ctx)
    if chance is not None and len(starts):
        starts = chance.integers(first, max(end - ctx, first + 1), len(starts))
    documents = np.searchsorted(offsets, starts, side="right") - 1
    return Pieces(starts, np.minimum(end - 1 - starts, ctx), documents)
