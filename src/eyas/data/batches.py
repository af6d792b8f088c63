"""Batches of rows: shuffled and endless for training, in file order for validation.

A place in training is a value (`Cursor`): starting from a batch's cursor goes on exactly where an
uninterrupted run would, because the rows of each pass follow from the seed and its number only.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from eyas.data.corpus import Corpus
from eyas.data.mixing import times_seen
from eyas.data.pieces import Long, Pieces, cut, has_trained_target
from eyas.data.rows import Rows, alone, packed, shuffled, windows
from eyas.errors import UserError

UNTRAINED = -100

_WIDTH_STEP = 16
_MOST = 2**31 - 1


@dataclass(frozen=True)
class BatchConfig:
    """How documents become the rows of a batch.

    dataload: `pack` lays whole documents end to end in rows of the context, each from a fresh
    state; `pad` and `only` give each document a row, `only` one row a batch; `get` takes windows
    at places by chance from all documents as one stream.
    """

    ctx: Annotated[int, "context length in tokens"] = 512
    micro_batch: Annotated[int, "rows of one forward pass"] = 1
    dataload: Annotated[
        Literal["pack", "pad", "only", "get"],
        "documents end to end in each row, one a row, one a batch, or windows over all of them",
    ] = "pack"
    long: Annotated[Long, "documents longer than the context: all of it, its beginning, or not"] = (
        "split"
    )

    def __post_init__(self) -> None:
        for name, unit in (("ctx", "token"), ("micro_batch", "row")):
            value = getattr(self, name)
            if value < 1:
                raise ValueError(f"{name} must be at least 1 {unit}, not {value}")
            if value > _MOST:
                raise ValueError(f"{name} must be at most {_MOST} {unit}s, not {value}")
        if self.dataload == "only" and self.micro_batch > 1:
            raise ValueError(f"dataload only takes micro_batch 1, not {self.micro_batch}; try pad")
        if self.dataload == "get" and self.long != "split":
            raise ValueError(f"dataload get has no long documents; leave long = {self.long} out")


@dataclass(frozen=True)
class Cursor:
    """How far training has come: `position` rows of pass `epoch` are handed out, to all ranks."""

    epoch: int = 0
    position: int = 0


@dataclass(frozen=True)
class Share:
    """Which rows are this process's: each batch of all has `micro_batch` rows for each rank."""

    rank: int = 0
    world: int = 1


@dataclass(frozen=True)
class Batch:
    """Rows of documents, padded on the right with token 0.

    `targets` is UNTRAINED where nothing is trained, in the padding for instance.
    `starts`: where a further document begins in its row; None where none does.
    `pairs`: of input and target in all rows, without the padding.
    `places[row]`: of its documents, one for the first token and one for each start.
    """

    tokens: Int64[Tensor, "B T"]
    targets: Int64[Tensor, "B T"]
    starts: Bool[Tensor, "B T"] | None
    pairs: int
    places: tuple[tuple[str, ...], ...]


_BEGINNING, _ALL = Cursor(), Share()


def batches(
    corpus: Corpus,
    config: BatchConfig,
    seed: int,
    cursor: Cursor = _BEGINNING,
    share: Share = _ALL,
) -> Iterator[tuple[Batch, Cursor]]:
    """Endless batches of this rank's rows, each with the cursor behind it.

    Each pass goes through all documents in a new order. Its last batch may have fewer rows, and
    none for some rank (who gets one of padding), so that no batch mixes two passes; behind it the
    cursor is (epoch + 1, 0). The rows do not depend on the number of ranks.
    Raises UserError where nothing is trained, or where the cursor does not fit the data.
    """
    rows = _pass(corpus, config, seed, cursor.epoch)
    if cursor.position > len(rows):
        raise UserError(
            f"{corpus.places[0]}: the saved position is row {cursor.position} and the data has "
            f"{len(rows)}; resume with the data and ctx that the run began with"
        )
    return _endless(corpus, config, seed, cursor, share, rows)


def one_pass(corpus: Corpus, config: BatchConfig, share: Share = _ALL) -> Iterator[Batch]:
    """All documents once, rows in the order of the file. Raises UserError if nothing is trained."""
    rows = _laid(_pieces(corpus, config), config)
    every = config.micro_batch * share.world
    return (
        _batch(corpus, rows, _own(begin, len(rows), config, share), config)
        for begin in range(0, len(rows), every)
    )


def step_count(
    corpus: Corpus,
    config: BatchConfig,
    accumulate: int,
    seed: int = 0,
    epochs: float = 1.0,
    world: int = 1,
) -> int:
    """Optimizer steps of some passes, `accumulate` batches each, a pass's last step maybe fewer.

    At least one. Raises UserError where nothing is trained.
    """

    def steps(epoch: int) -> int:
        rows = len(_pass(corpus, config, seed, epoch))
        return -(-rows // (config.micro_batch * world * accumulate))

    whole = int(epochs)
    total = sum(map(steps, range(whole)))
    rest = epochs - whole
    return max(1, total + (round(rest * steps(whole)) if rest else 0))


def _endless(
    corpus: Corpus, config: BatchConfig, seed: int, cursor: Cursor, share: Share, rows: Rows
) -> Iterator[tuple[Batch, Cursor]]:
    epoch, position = cursor.epoch, cursor.position
    while True:
        while position < len(rows):
            own = _own(position, len(rows), config, share)
            position += config.micro_batch * share.world
            behind = Cursor(epoch, position) if position < len(rows) else Cursor(epoch + 1)
            yield _batch(corpus, rows, own, config), behind
        epoch, position = epoch + 1, 0
        rows = _pass(corpus, config, seed, epoch)


def _own(position: int, count: int, config: BatchConfig, share: Share) -> range:
    """This rank's rows of the batch of all that begins at `position`."""
    begin = position + share.rank * config.micro_batch
    return range(min(begin, count), min(begin + config.micro_batch, count))


def _pass(corpus: Corpus, config: BatchConfig, seed: int, epoch: int) -> Rows:
    """The rows of a pass, in the order in which they are trained."""
    chance = np.random.Generator(np.random.PCG64([seed, epoch]))
    if config.dataload == "get":
        return alone(_pieces(corpus, config, chance))
    pieces = _pieces(corpus, config)
    if corpus.weights is not None:
        _check_weights(corpus, corpus.weights[np.unique(pieces.documents)])
        often = times_seen(corpus.weights, seed, epoch)[pieces.documents]
        pieces = pieces.at(np.repeat(np.arange(len(pieces)), often))
    rows = _laid(pieces.at(chance.permutation(len(pieces))), config)
    return shuffled(rows, chance) if config.dataload == "pack" else rows


def _laid(pieces: Pieces, config: BatchConfig) -> Rows:
    return packed(pieces, config.ctx) if config.dataload == "pack" else alone(pieces)


def _pieces(
    corpus: Corpus, config: BatchConfig, chance: np.random.Generator | None = None
) -> Pieces:
    """The pieces or windows that have anything to train."""
    if config.dataload == "get":
        pieces = windows(corpus.offsets, config.ctx, chance)
        spans = zip((pieces.starts + 1).tolist(), pieces.lengths.tolist(), strict=True)
        some = np.array([corpus.trained[at : at + n].any() for at, n in spans], bool)
    else:
        pieces = cut(corpus.offsets, config.ctx, config.long)
        some = has_trained_target(pieces, corpus.trained)
    kept = pieces.at(some)
    if not len(kept):
        raise UserError(_nothing(corpus, config))
    return kept


def _nothing(corpus: Corpus, config: BatchConfig) -> str:
    long = {
        "split": "",
        "truncate": f", while only their first {config.ctx} tokens count (truncate)",
        "drop": f", while those of more than {config.ctx} tokens are left out (drop)",
    }[config.long]
    return (
        f"{corpus.places[0]}: nothing is trained in the {len(corpus)} documents from here on"
        f"{long}; answers follow 'Assistant:' at the start or after a blank line, or are messages "
        "of the role assistant, or stand between the two of mask_id; mask all trains everything"
    )


def _check_weights(corpus: Corpus, weights: Float[np.ndarray, "documents"]) -> None:
    """Raises UserError where many passes would have no document in them."""
    if (seen := weights.sum()) < 1:
        raise UserError(
            f"{corpus.places[0]}: a pass sees {seen:.2g} of the {len(weights)} documents from here "
            "on with these weights; give larger ones"
        )


def _batch(corpus: Corpus, rows: Rows, chosen: range, config: BatchConfig) -> Batch:
    count = max(len(chosen), 1)  # a rank that gets no row gets one of padding
    widths = [int(rows.pieces.lengths[members].sum()) for members in map(rows.members, chosen)]
    longest = max(widths, default=1)
    width = longest
    if config.dataload != "only":
        width = min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, config.ctx)
    tokens = np.zeros((count, width), np.int64)
    targets = np.full((count, width), UNTRAINED, np.int64)
    starts = np.zeros((count, width), bool)
    for row, which in enumerate(chosen):
        at = 0
        for piece in rows.members(which):
            begin, length = int(rows.pieces.starts[piece]), int(rows.pieces.lengths[piece])
            here = slice(at, at + length)
            found = corpus.tokens[begin : begin + length + 1].astype(np.int64)
            tokens[row, here] = found[:-1]
            trained = corpus.trained[begin + 1 : begin + length + 1]
            targets[row, here] = np.where(trained, found[1:], UNTRAINED)
            starts[row, at] = at > 0
            at += length
    return Batch(
        torch.from_numpy(tokens),
        torch.from_numpy(targets),
        torch.from_numpy(starts) if starts.any() else None,
        sum(widths),
        tuple(_places(corpus, rows, which) for which in chosen) or (("padding",),),
    )


def _places(corpus: Corpus, rows: Rows, row: int) -> tuple[str, ...]:
    documents = rows.pieces.documents[rows.bounds[row] : rows.bounds[row + 1]]
    return tuple(corpus.places[document] for document in documents.tolist())
