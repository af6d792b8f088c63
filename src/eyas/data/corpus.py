"""Tokenized documents laid end to end, each token marked as trained or not."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
from jaxtyping import Bool, Float, Int64, Integer

from eyas.data.binidx import check_vocabulary
from eyas.data.markers import with_marker_texts
from eyas.data.pieces import Long, cut, has_trained_target, pair_counts
from eyas.data.places import GrowingPlaces, chosen_places, numbered
from eyas.data.reading import Document, ReadConfig, is_tokens, read_documents
from eyas.data.spooling import spooled
from eyas.data.token_sources import name_of, read_tokens, trained_tokens
from eyas.data.tokenizer import Tokenizer
from eyas.errors import UserError
from eyas.files import temporary_files

Watch: TypeAlias = Callable[[Iterable[Document]], Iterable[Document]]

_AS_IT_IS = ReadConfig()


@dataclass(frozen=True)
class Corpus:
    """Documents as tokens: document i is tokens[offsets[i] : offsets[i + 1]].

    A document from text ends with token 0; one from binidx is as it was written.
    `trained[t]`: whether token t is trained where it is a target; a document's first never is one.
    `places[i]`: where document i comes from. `weights[i]`: how often it is seen in a pass; once
    where there are none.
    """

    tokens: Integer[np.ndarray, "tokens"]
    trained: Bool[np.ndarray, "tokens"]
    offsets: Int64[np.ndarray, "bounds"]
    places: Sequence[str]
    weights: Float[np.ndarray, "documents"] | None = None

    def __len__(self) -> int:
        return len(self.places)


@dataclass(frozen=True)
class Summary:
    """What a corpus holds, cut to a context length."""

    documents: int
    tokens: int
    trained_tokens: int  # targets that are trained: what one pass trains on
    too_long: int  # documents of more pairs than the context
    lost_tokens: int  # targets of those that are left out
    too_short: int  # documents of one token, which have no pair
    pieces: int  # without the untrained ones: what one pass goes through
    untrained_pieces: int  # pieces without a trained target, which are left out


def load_corpus(
    sources: Sequence[Path],
    tokenizer: Tokenizer,
    vocab_size: int,
    reading: ReadConfig = _AS_IT_IS,
    weights: Sequence[float] = (),
    processes: int = 1,
    watch: Watch = iter,
) -> Corpus:
    """Reads data of every kind (see `reading`), one source behind the other.

    weights: for each source, how often its documents are seen in a pass. processes: that turn
    text into tokens, where there is much of it. watch: sees the documents of text on their way.
    Raises UserError for bad data and for tokens outside the model's vocabulary.
    """
    parts = [_load(source, tokenizer, vocab_size, reading, processes, watch) for source in sources]
    corpus = parts[0] if len(parts) == 1 else _joined(parts)
    if not weights:
        return corpus
    each = np.repeat(np.array(weights, np.float64), [len(part) for part in parts])
    return dataclasses.replace(corpus, weights=each)


def summarize(corpus: Corpus, ctx: int, long: Long = "split") -> Summary:
    """Counts a corpus as it will be trained with a context of `ctx` tokens."""
    pieces = cut(corpus.offsets, ctx, long)
    kept = int(has_trained_target(pieces, corpus.trained).sum())
    pairs = pair_counts(corpus.offsets)
    firsts = corpus.trained[corpus.offsets[:-1]]
    return Summary(
        documents=len(corpus),
        tokens=len(corpus.tokens),
        trained_tokens=int(np.count_nonzero(corpus.trained) - np.count_nonzero(firsts)),
        too_long=int((pairs > ctx).sum()),
        lost_tokens=int(pairs.sum() - pieces.lengths.sum()),
        too_short=int((pairs == 0).sum()),
        pieces=kept,
        untrained_pieces=len(pieces) - kept,
    )


def select(corpus: Corpus, indices: Sequence[int] | np.ndarray) -> Corpus:
    """Some documents, in the order of `indices`."""
    chosen = np.asarray(indices, np.int64)
    starts, lengths = corpus.offsets[chosen], np.diff(corpus.offsets)[chosen]
    parts = [
        slice(int(starts[begin]), int(starts[end - 1] + lengths[end - 1]))
        for begin, end in _runs(starts, lengths)
    ]
    tokens, trained = _written([(corpus, part) for part in parts], corpus.tokens.dtype)
    weights = None if corpus.weights is None else corpus.weights[chosen]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return Corpus(tokens, trained, offsets, chosen_places(corpus.places, chosen), weights)


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


def _load(
    source: Path,
    tokenizer: Tokenizer,
    vocab_size: int,
    reading: ReadConfig,
    processes: int,
    watch: Watch,
) -> Corpus:
    reading = with_marker_texts(reading, tokenizer)
    if is_tokens(source, reading):
        return _load_tokens(source, tokenizer, vocab_size, reading)
    found = spooled(watch(read_documents(source, reading)), tokenizer, processes, vocab_size)
    if not len(found.places):
        raise UserError(f"{source}: holds no text to train on; look at it with eyas inspect")
    return Corpus(found.tokens, found.trained, found.offsets, found.places)


def _load_tokens(
    source: Path, tokenizer: Tokenizer, vocab_size: int, reading: ReadConfig
) -> Corpus:
    data = read_tokens(source, reading)
    places = numbered(f"{name_of(source, reading)} document", data.numbers)
    check_vocabulary(data, vocab_size, places)
    tokens = data.tokens
    if tokens.dtype not in (np.uint16, np.int32):
        tokens = tokens.astype(np.uint16 if vocab_size <= 1 << 16 else np.int32)
    trained = trained_tokens(source, data, reading, tokenizer)
    if trained is None:
        # One true byte seen as many: a mark for each token of a mapped file would fill the memory.
        trained = np.broadcast_to(np.True_, tokens.shape)
    return Corpus(tokens, trained, data.offsets, places)


def _joined(parts: Sequence[Corpus]) -> Corpus:
    """Corpora one behind the other."""
    places, offsets, end = GrowingPlaces(), [np.zeros(1, np.int64)], 0
    used = [slice(int(part.offsets[0]), int(part.offsets[-1])) for part in parts]
    for part, where in zip(parts, used, strict=True):
        offsets.append(part.offsets[1:] - where.start + end)
        end += where.stop - where.start
        for place in part.places:
            places.append(place)
    dtype = np.result_type(*(part.tokens.dtype for part in parts))
    tokens, trained = _written(list(zip(parts, used, strict=True)), dtype)
    return Corpus(tokens, trained, np.concatenate(offsets), places.places())


def _written(
    parts: Sequence[tuple[Corpus, slice]], dtype: np.dtype[Any]
) -> tuple[Integer[np.ndarray, "tokens"], Bool[np.ndarray, "tokens"]]:
    """Tokens and marks of these parts, in files without a name: they may be larger than memory."""
    with temporary_files() as opened:
        tokens, trained = opened(), opened()
        for corpus, part in parts:
            corpus.tokens[part].astype(dtype).tofile(tokens)
            corpus.trained[part].tofile(trained)
        return _mapped(tokens, dtype), _mapped(trained, np.dtype(bool))


def _mapped(file: IO[bytes], dtype: np.dtype[Any]) -> np.ndarray:
    file.flush()
    return np.memmap(file, dtype, mode="r") if file.seek(0, 2) else np.empty(0, dtype)


def _runs(
    starts: Int64[np.ndarray, "n"], lengths: Int64[np.ndarray, "n"]
) -> Iterator[tuple[int, int]]:
    """Ranges of documents that lie one behind the other, so that they are copied in one go."""
    breaks = np.flatnonzero(starts[1:] != (starts + lengths)[:-1]) + 1
    return pairwise(sorted({0, *breaks.tolist(), len(starts)}))
