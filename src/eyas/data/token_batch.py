"""Some documents as tokens: what goes from the tokenizer, or a file of tokens, to the disk."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer


@dataclass(frozen=True)
class TokenBatch:
    """Documents end to end; the first is tokens[: sizes[0]].

    `trained`: whether each token is; all of them are where that is None. `places` may be left out.
    `source_bytes` is the size of what they were made from (text as UTF-8, tokens as in their file),
    `empty` the number of documents without text that were left out.
    """

    tokens: Integer[np.ndarray, "tokens"]
    sizes: Int[np.ndarray, "documents"]
    trained: Bool[np.ndarray, "tokens"] | None = None
    places: Sequence[str] = ()
    source_bytes: int = 0
    empty: int = 0


def one_by_one(
    documents: Iterable[Sequence[int] | np.ndarray],
    trained: Iterable[Sequence[bool] | np.ndarray] | None = None,
) -> Iterator[TokenBatch]:
    """A batch for each document, in the order given; empty documents are left out."""
    flags = iter(trained) if trained is not None else None
    for document in documents:
        tokens = np.asarray(document, np.int64)
        of_document = np.asarray(next(flags), bool) if flags else None
        if len(tokens):
            yield TokenBatch(tokens, np.array([len(tokens)]), of_document)
