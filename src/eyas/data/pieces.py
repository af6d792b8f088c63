"""Cutting documents into pieces that fit the context.

A document of n tokens has n - 1 pairs of input and target. Piece k has the pairs k·ctx up to
(k+1)·ctx, the last piece what remains: no pair is lost. Each starts from a fresh state.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Bool, Int64

Long = Literal["split", "truncate", "drop"]


@dataclass(frozen=True)
class Pieces:
    """The input of piece i is tokens[starts[i] : starts[i] + lengths[i]], its target one later."""

    starts: Int64[np.ndarray, "pieces"]
    lengths: Int64[np.ndarray, "pieces"]
    documents: Int64[np.ndarray, "pieces"]

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, chosen: Bool[np.ndarray, "pieces"] | Int64[np.ndarray, "n"]) -> "Pieces":
        """Those that are marked, or those at some indices in that order."""
        return Pieces(self.starts[chosen], self.lengths[chosen], self.documents[chosen])


def pair_counts(offsets: Int64[np.ndarray, "bounds"]) -> Int64[np.ndarray, "documents"]:
    """Pairs of input and target of each document; none for a document of one token."""
    counts: np.ndarray = np.maximum(np.diff(offsets) - 1, 0)
    return counts


def cut(offsets: Int64[np.ndarray, "bounds"], ctx: int, long: Long = "split") -> Pieces:
    """All pieces of all documents, in file order.

    long: of a document that does not fit, all pieces are taken, or the first one, or none.
    """
    pairs = pair_counts(offsets)
    counts = -(-pairs // ctx)
    if long == "truncate":
        counts = np.minimum(counts, 1)
    elif long == "drop":
        counts[pairs > ctx] = 0
    documents = np.repeat(np.arange(len(pairs)), counts)
    # Counts up from 0 in each document.
    numbers = np.arange(len(documents)) - np.repeat(np.cumsum(counts) - counts, counts)
    return Pieces(
        offsets[documents] + numbers * ctx,
        np.minimum(pairs[documents] - numbers * ctx, ctx),
        documents,
    )


def has_trained_target(
    pieces: Pieces, trained: Bool[np.ndarray, "tokens"]
) -> Bool[np.ndarray, "pieces"]:
    """Whether any target of a piece is trained. The pieces are in file order."""
    if not len(pieces):
        return np.zeros(0, bool)
    first = pieces.starts + 1
    # Between two pieces of different documents lies a first token, which is no one's target:
    # reduce from each start to its own end, and drop what is reduced from there to the next start.
    bounds = np.stack([first, first + pieces.lengths], axis=1).ravel()
    return np.logical_or.reduceat(trained[: bounds[-1]], bounds[:-1])[::2]
