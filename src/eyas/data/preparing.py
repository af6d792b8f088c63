"""Documents become tokens, in several processes where there is much of them."""

import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Int32, Int64, Integer

from eyas.data.marking import byte_widths, mark
from eyas.data.reading import Document
from eyas.data.spans import Span
from eyas.data.token_batch import TokenBatch
from eyas.data.tokenizer import Tokenizer
from eyas.data.workers import in_order
from eyas.errors import UserError

_CHARACTERS = 1 << 20  # of a batch, about
_DOCUMENTS = 1 << 13  # of a batch, at most
_ALONE_SECONDS = 0.5  # about what it takes to start processes that have read the vocabulary
_SHOWN = 5

# What goes to another process, pickled: plain values take a fraction of the time of spans.
_Texts = list[tuple[tuple[str, bool], ...]]


def token_batches(
    documents: Iterable[Document],
    tokenizer: Tokenizer,
    processes: int,
    vocab_size: int | None = None,
    alone_seconds: float = _ALONE_SECONDS,
) -> Generator[TokenBatch, None, None]:
    """The documents as tokens, in order, a megabyte or so of them at a time.

    The first batches are made in this process; what takes longer than `alone_seconds` goes to so
    many others, unless `processes` is 1. Tokens are uint16 where the tokenizer's all are, else
    int32. Close the iterator where it is not used up: that ends the processes.
    vocab_size: of the model; tokens beyond it are refused.
    Raises UserError, at the end, for all documents that cannot be encoded.
    """
    encode = _Encode(tokenizer, vocab_size or tokenizer.vocab_size, byte_widths(tokenizer))
    read = _read(documents)
    refused = _Refused()
    started = time.monotonic()
    for batch in read:
        yield from refused.sifted(batch, encode(batch.texts))
        if processes > 1 and time.monotonic() - started >= alone_seconds:
            break
    waiting: deque[_Read] = deque()

    def texts() -> Iterator[_Texts]:
        for batch in read:
            waiting.append(batch)
            yield batch.texts

    with closing(in_order(encode, texts(), processes)) as results:
        for result in results:
            yield from refused.sifted(waiting.popleft(), result)
    refused.check()


@dataclass
class _Read:
    """Documents that wait for their tokens."""

    texts: _Texts = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    characters: int = 0
    empty: int = 0


def _read(documents: Iterable[Document]) -> Iterator[_Read]:
    batch = _Read()
    for document in documents:
        characters = sum(len(span.text) for span in document.spans)
        if not characters:
            batch.empty += 1
            continue
        batch.texts.append(tuple((span.text, span.trained) for span in document.spans))
        batch.places.append(document.place)
        batch.characters += characters
        if batch.characters >= _CHARACTERS or len(batch.texts) >= _DOCUMENTS:
            yield batch
            batch = _Read()
    if batch.texts or batch.empty:
        yield batch


@dataclass(frozen=True)
class _Encoded:
    tokens: Integer[np.ndarray, "tokens"]
    sizes: Int32[np.ndarray, "documents"]
    trained: Bool[np.ndarray, "tokens"] | None  # None: all
    source_bytes: int
    problems: list[tuple[int, str]]  # documents that cannot be encoded, and why


@dataclass(frozen=True)
class _Encode:
    tokenizer: Tokenizer
    vocab_size: int
    widths: Int64[np.ndarray, "V"]

    def __call__(self, texts: _Texts) -> _Encoded:
        ids, flags, problems = [], [], []
        for number, parts in enumerate(texts):
            try:
                marked = self._mark([Span(*part) for part in parts])
            except UserError as error:
                problems.append((number, str(error)))
                continue
            ids.append(marked[0])
            flags.append(marked[1])
        narrow = self.tokenizer.vocab_size <= 1 << 16
        trained = np.concatenate([np.empty(0, bool), *flags])
        return _Encoded(
            np.concatenate([np.empty(0, np.int32), *ids]).astype(np.uint16 if narrow else np.int32),
            np.array([len(each) for each in ids], np.int32),
            None if trained.all() else trained,
            sum(len(text.encode()) for parts in texts for text, _ in parts),
            problems,
        )

    def _mark(self, spans: Sequence[Span]) -> tuple[np.ndarray, np.ndarray]:
        ids, flags = mark(spans, self.tokenizer, self.widths)
        if self.vocab_size < self.tokenizer.vocab_size and ids.max() >= self.vocab_size:
            raise UserError(
                f"the tokenizer {self.tokenizer.name!r} gives token {ids.max()}, outside the "
                f"model's vocabulary of {self.vocab_size}; give the model's --tokenizer"
            )
        return ids, flags


@dataclass
class _Refused:
    """The documents that cannot be encoded: the first few of them, and how many there are."""

    shown: list[str] = field(default_factory=list)
    count: int = 0

    def sifted(self, read: _Read, encoded: _Encoded) -> Iterator[TokenBatch]:
        """The batch, as long as none was refused."""
        for number, problem in encoded.problems:
            self.count += 1
            if len(self.shown) < _SHOWN:
                self.shown.append(f"{read.places[number]}: {problem}")
        if not self.count:
            yield TokenBatch(
                encoded.tokens,
                encoded.sizes,
                encoded.trained,
                read.places,
                encoded.source_bytes,
                read.empty,
            )

    def check(self) -> None:
        if self.count:
            more = f"; and {self.count - _SHOWN} more" if self.count > _SHOWN else ""
            raise UserError("; ".join(self.shown) + more)
