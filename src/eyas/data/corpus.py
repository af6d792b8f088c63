"""Tokenized documents laid end to end, each token marked as trained or not."""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Int64, Integer

from eyas.data import binidx
from eyas.data.documents import read_documents
from eyas.data.marking import byte_widths, tokenize
from eyas.data.pieces import cut, has_trained_target, pair_counts
from eyas.data.places import NumberedPlaces, chosen_places
from eyas.data.template import Mask
from eyas.data.tokenizer import Tokenizer
from eyas.errors import UserError

_CHUNK = 1 << 24


@dataclass(frozen=True)
class Corpus:
    """Documents as tokens: document i is tokens[offsets[i] : offsets[i + 1]].

    A document from text ends with token 0; one from binidx is as it was written.
    `trained[t]`: whether token t is trained where it is a target; a document's first never is one.
    `places[i]`: where document i comes from.
    """

    tokens: Integer[np.ndarray, "tokens"]
    trained: Bool[np.ndarray, "tokens"]
    offsets: Int64[np.ndarray, "bounds"]
    places: Sequence[str]

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Summary:
    """What a corpus holds, cut to a context length."""

    documents: int
    tokens: int
    trained_tokens: int  # targets that are trained: what one pass trains on
    too_long: int  # documents of more pairs than the context, which are cut
    too_short: int  # documents of one token, which have no pair
    pieces: int  # without the untrained ones: what one pass goes through
    untrained_pieces: int  # pieces without a trained target, which are left out


def is_tokens(path: Path) -> bool:
    """Whether data at `path` are tokens already, a binidx pair."""
    return not path.is_dir() and binidx.is_binidx(path)


def load_corpus(path: Path, tokenizer: Tokenizer, vocab_size: int, mask: Mask) -> Corpus:
    """Reads text data (see `documents`) or a binidx pair, which is trained whole.

    Raises UserError for bad data and for tokens outside the model's vocabulary.
    """
    if is_tokens(path):
        return _load_binidx(path, vocab_size, mask)
    return _load_text(path, tokenizer, vocab_size, mask)


def summarize(corpus: Corpus, ctx: int) -> Summary:
    """Counts a corpus as it will be trained with a context of `ctx` tokens."""
    pieces = cut(corpus.offsets, ctx)
    kept = int(has_trained_target(pieces, corpus.trained).sum())
    pairs = pair_counts(corpus.offsets)
    firsts = corpus.trained[corpus.offsets[:-1]]
    return Summary(
        documents=len(corpus),
        tokens=len(corpus.tokens),
        trained_tokens=int(np.count_nonzero(corpus.trained) - np.count_nonzero(firsts)),
        too_long=int((pairs > ctx).sum()),
        too_short=int((pairs == 0).sum()),
        pieces=kept,
        untrained_pieces=len(pieces) - kept,
    )


def select(corpus: Corpus, indices: Sequence[int] | np.ndarray) -> Corpus:
    """A copy of some documents, in the order of `indices`."""
    chosen = np.asarray(indices, np.int64)
    starts, lengths = corpus.offsets[chosen], np.diff(corpus.offsets)[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.empty(offsets[-1], corpus.tokens.dtype)
    trained = np.empty(offsets[-1], bool)
    for begin, end in _runs(starts, lengths):
        source = slice(starts[begin], starts[end - 1] + lengths[end - 1])
        target = slice(offsets[begin], offsets[end])
        tokens[target], trained[target] = corpus.tokens[source], corpus.trained[source]
    return Corpus(tokens, trained, offsets, chosen_places(corpus.places, chosen))


def split_share(corpus: Corpus, share: float, seed: int) -> tuple[Corpus, Corpus]:
    """Splits into training and held-out documents, both in file order.

    Held out are round(share · documents) by chance, at least one and not all; 0 < share < 1.
    Raises UserError where there is one document only, which cannot be split.
    """
    if not 0 < share < 1:
        raise ValueError(f"share must lie between 0 and 1, not at {share}")
    count = len(corpus)
    if count < 2:
        raise UserError(
            f"{corpus.places[0]}: one document alone cannot be split; "
            "name a file of validation data, or leave validation out"
        )
    held = min(max(round(share * count), 1), count - 1)
    order = np.random.Generator(np.random.PCG64(seed)).permutation(count)
    return select(corpus, np.sort(order[held:])), select(corpus, np.sort(order[:held]))


def _load_text(path: Path, tokenizer: Tokenizer, vocab_size: int, mask: Mask) -> Corpus:
    # These grow in place: beside them only one document at a time is in memory.
    tokens = array("H" if vocab_size <= 1 << 16 else "i")
    trained, offsets, places = bytearray(), array("q", [0]), []
    widths = byte_widths(tokenizer)
    for document in read_documents(path, mask):
        ids, flags = tokenize(document, tokenizer, widths)
        outside = ids[ids >= vocab_size]
        if len(outside):
            raise UserError(
                f"{document.place}: the tokenizer {tokenizer.name!r} gives token {outside[0]}, "
                f"outside the model's vocabulary of {vocab_size}; give the model's --tokenizer"
            )
        tokens.frombytes(ids.astype(tokens.typecode).tobytes())
        trained += flags.tobytes()
        offsets.append(len(tokens))
        places.append(document.place)
    return Corpus(
        np.frombuffer(tokens, tokens.typecode),
        np.frombuffer(trained, bool),
        np.frombuffer(offsets, np.int64),
        places,
    )


def _load_binidx(path: Path, vocab_size: int, mask: Mask) -> Corpus:
    if mask == "answers":
        raise UserError(
            f"{path}: binidx data has no text to find answers in and is trained whole; "
            "choose the mask all, or give the data as .jsonl"
        )
    data = binidx.read(path)
    name = path.name.removesuffix(".bin").removesuffix(".idx")
    places = NumberedPlaces(f"{name}.bin document", data.numbers)
    _check_vocabulary(data, vocab_size, places)
    tokens = data.tokens
    if tokens.dtype not in (np.uint16, np.int32):
        tokens = tokens.astype(np.uint16 if vocab_size <= 1 << 16 else np.int32)
    # One true byte seen as many: a mark for each token of a mapped file would fill the memory.
    trained = np.broadcast_to(np.True_, tokens.shape)
    return Corpus(tokens, trained, data.offsets, places)


def _check_vocabulary(data: binidx.TokenDocuments, vocab_size: int, places: Sequence[str]) -> None:
    for begin in range(0, len(data.tokens), _CHUNK):
        chunk = data.tokens[begin : begin + _CHUNK]
        outside = np.flatnonzero((chunk < 0) | (chunk >= vocab_size))
        if len(outside):
            at = begin + int(outside[0])
            document = int(np.searchsorted(data.offsets, at, side="right")) - 1
            raise UserError(
                f"{places[document]}: token {data.tokens[at]} is outside the model's vocabulary "
                f"of {vocab_size}; make the data with the model's tokenizer"
            )


def _runs(
    starts: Int64[np.ndarray, "n"], lengths: Int64[np.ndarray, "n"]
) -> Iterator[tuple[int, int]]:
    """Ranges of documents that lie one behind the other, so that they are copied in one go."""
    breaks = np.flatnonzero(starts[1:] != (starts + lengths)[:-1]) + 1
    return pairwise(sorted({0, *breaks.tolist(), len(starts)}))
