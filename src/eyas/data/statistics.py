"""What a corpus is in numbers, beside those of its `Summary`."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64, Integer

from eyas.data.binidx import TokenDocuments
from eyas.data.corpus import Corpus
from eyas.data.pieces import Long, pair_counts

_CHUNK = 1 << 22  # tokens


@dataclass(frozen=True)
class Loss:
    """What a way to treat long documents costs: how many of them lose something, and targets."""

    documents: int
    targets: int


def losses(offsets: Int64[np.ndarray, "bounds"], ctx: int) -> dict[Long, Loss]:
    """What each way loses, of documents with more than `ctx` pairs of input and target."""
    pairs = pair_counts(offsets)
    long = pairs[pairs > ctx]
    return {
        "split": Loss(0, 0),
        "truncate": Loss(len(long), int((long - ctx).sum())),
        "drop": Loss(len(long), int(long.sum())),
    }


def trained_targets(corpus: Corpus) -> Int64[np.ndarray, "documents"]:
    """How many targets of each document are trained; its first token never is one."""
    offsets = corpus.offsets
    counts = np.empty(len(corpus), np.int64)
    begin = 0
    while begin < len(corpus):  # a sum over bool makes wide numbers of all of them first
        behind = int(np.searchsorted(offsets, offsets[begin] + _CHUNK, side="right")) - 1
        end = max(behind, begin + 1)
        marks = corpus.trained[offsets[begin] : offsets[end]]
        starts = offsets[begin:end] - offsets[begin]
        counts[begin:end] = np.add.reduceat(marks, starts, dtype=np.int32) - marks[starts]
        begin = end
    return counts


def largest_token(data: TokenDocuments) -> int:
    """The largest token of data that may be larger than memory."""
    ends = range(0, len(data.tokens), _CHUNK)
    return max((int(data.tokens[at : at + _CHUNK].max()) for at in ends), default=0)


def document_hashes(corpus: Corpus) -> Int64[np.ndarray, "documents"]:
    """Eight bytes for each document, equal for equal tokens whatever type holds them.

    A token 0 at the end does not count: some token files have none. Two of ten million different
    documents have the same hash with a probability of 3e-6. Only good within this process.
    """
    bounds = corpus.offsets.tolist()
    tokens = (corpus.tokens[bounds[i] : bounds[i + 1]] for i in range(len(corpus)))
    return np.fromiter(map(_hash, tokens), np.int64, len(corpus))


def repeated(
    hashes: Int64[np.ndarray, "documents"],
) -> tuple[Int64[np.ndarray, "copies"], Int64[np.ndarray, "copies"]]:
    """The documents that are exact copies of an earlier one, in order, and that one for each."""
    order = np.argsort(hashes, kind="stable")
    begins = np.ones(len(order), bool)
    begins[1:] = hashes[order][1:] != hashes[order][:-1]
    originals = order[np.maximum.accumulate(np.where(begins, np.arange(len(order)), 0))]
    copies, originals = order[~begins], originals[~begins]
    by_copy = np.argsort(copies)
    return copies[by_copy], originals[by_copy]


def _hash(tokens: Integer[np.ndarray, "T"]) -> int:
    if len(tokens) and tokens[-1] == 0:
        tokens = tokens[:-1]
    return hash(tokens.astype("<i4").tobytes())
