"""Batches of pieces: shuffled and endless for training, in file order for validation.

A place in training is a value (`Cursor`): starting from a batch's cursor goes on exactly where an
uninterrupted run would, because the order of each pass follows from the seed and its number only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from eyas.data.corpus import Corpus
from eyas.data.pieces import Pieces, cut, has_trained_target
from eyas.errors import UserError

UNTRAINED = -100

_WIDTH_STEP = 16
_MOST = 2**31 - 1


@dataclass(frozen=True)
class BatchConfig:
    ctx: Annotated[int, "context length in tokens"] = 512
    micro_batch: Annotated[int, "rows of one forward pass"] = 1

    def __post_init__(self) -> None:
        for name, unit in (("ctx", "token"), ("micro_batch", "row")):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1 {unit}, not {value}")
            if value > _MOST:
                raise ValueError(f"{name} must be at most {_MOST} {unit}s, not {value}")


@dataclass(frozen=True)
class Cursor:
    """How far training has come: `position` pieces of pass `epoch` are handed out."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class Batch:
    """Rows of one piece each, padded on the right with token 0.

    `targets` is UNTRAINED where nothing is trained, in the padding for instance.
    `pairs`: of input and target in all rows, without the padding.
    `places[row]`: the document of a row.
    """

    tokens: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]
    pairs: int
    places: tuple[str, ...]


_BEGINNING = Cursor()


def batches(
    corpus: Corpus, config: BatchConfig, seed: int, cursor: Cursor = _BEGINNING
) -> Iterator[tuple[Batch, Cursor]]:
    """Endless batches, each with the cursor behind it.

    Each pass goes through all pieces in a new order. Its last batch may have fewer rows, so that
    no batch mixes two passes; behind it the cursor is (epoch + 1, 0).
    Raises UserError where nothing is trained, or where the cursor does not fit the data.
    """
    pieces = _trained_pieces(corpus, config.ctx)
    if cursor.position > len(pieces):
        raise UserError(
            f"{corpus.places[0]}: the saved position is piece {cursor.position} and the data has "
            f"{len(pieces)}; resume with the data and ctx that the run began with"
        )
    return _endless(corpus, config, seed, cursor, pieces)


def one_pass(corpus: Corpus, config: BatchConfig) -> Iterator[Batch]:
    """All pieces once, in file order. Raises UserError where nothing is trained."""
    pieces = _trained_pieces(corpus, config.ctx)
    order = np.arange(len(pieces))
    return (
        _batch(corpus, pieces, order[begin : begin + config.micro_batch], config.ctx)
        for begin in range(0, len(pieces), config.micro_batch)
    )


def steps_per_epoch(corpus: Corpus, config: BatchConfig, accumulate: int) -> int:
    """Optimizer steps of one pass, `accumulate` batches each, the last step maybe fewer.

    Raises UserError where nothing is trained.
    """
    batch_count = -(-len(_trained_pieces(corpus, config.ctx)) // config.micro_batch)
    return -(-batch_count // accumulate)


def _endless(
    corpus: Corpus, config: BatchConfig, seed: int, cursor: Cursor, pieces: Pieces
) -> Iterator[tuple[Batch, Cursor]]:
    epoch, position = cursor.epoch, cursor.position
    while True:
        order = np.random.Generator(np.random.PCG64([seed, epoch])).permutation(len(pieces))
        while position < len(pieces):
            rows = order[position : position + config.micro_batch]
            position += len(rows)
            behind = Cursor(epoch, position) if position < len(pieces) else Cursor(epoch + 1)
            yield _batch(corpus, pieces, rows, config.ctx), behind
        epoch, position = epoch + 1, 0


def _trained_pieces(corpus: Corpus, ctx: int) -> Pieces:
    pieces = cut(corpus.offsets, ctx)
    kept = pieces.where(has_trained_target(pieces, corpus.trained))
    if not len(kept):
        raise UserError(
            f"{corpus.places[0]}: nothing is trained in the {len(corpus)} documents from here on; "
            "answers follow 'Assistant:' at the start or after a blank line, or are messages of "
            "the role assistant; mask all trains everything"
        )
    return kept


def _batch(corpus: Corpus, pieces: Pieces, rows: Int64[np.ndarray, "B"], ctx: int) -> Batch:
    longest = int(pieces.lengths[rows].max())
    width = min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, ctx)
    tokens = np.zeros((len(rows), width), np.int64)
    targets = np.full((len(rows), width), UNTRAINED, np.int64)
    for row, piece in enumerate(rows):
        start, length = pieces.starts[piece], pieces.lengths[piece]
        piece_tokens = corpus.tokens[start : start + length + 1].astype(np.int64)
        tokens[row, :length] = piece_tokens[:-1]
        trained = corpus.trained[start + 1 : start + length + 1]
        targets[row, :length] = np.where(trained, piece_tokens[1:], UNTRAINED)
    places = tuple(corpus.places[int(document)] for document in pieces.documents[rows])
    return Batch(
        torch.from_numpy(tokens), torch.from_numpy(targets), int(pieces.lengths[rows].sum()), places
    )
