"""A document as tokens, each marked as trained or not.

The whole text is encoded at once, as it will be when the model is used, and the spans are laid
over the tokens afterwards: a token is trained if any part of it lies in a trained span. So a
token that straddles the border of prompt and answer is trained.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Bool, Int32, Int64

from eyas.data.huggingface import HuggingFace
from eyas.data.spans import Span
from eyas.data.tokenizer import Tokenizer
from eyas.errors import UserError


def byte_widths(tokenizer: Tokenizer) -> Int64[np.ndarray, "V"]:
    """The number of bytes of each token."""
    sizes = (len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size))
    return np.fromiter(sizes, np.int64, tokenizer.vocab_size)


def mark(
    spans: Sequence[Span], tokenizer: Tokenizer, widths: Int64[np.ndarray, "V"]
) -> tuple[Int32[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
    """The tokens of a document and its end (token 0), and whether each is trained.

    `widths` are the tokenizer's byte widths; they are used where the spans differ. Raises
    UserError where the text cannot be encoded, or holds what the vocabulary reads as the end of
    a document.
    """
    ids, flags = _marked(spans, tokenizer, widths)
    if not ids[:-1].all() and not tokenizer.token_bytes(0):
        raise UserError(
            f"the text holds what the tokenizer {tokenizer.name!r} reads as token 0, which ends "
            "a document (NUL or <|endoftext|>); remove it"
        )
    return ids, flags


def _marked(
    spans: Sequence[Span], tokenizer: Tokenizer, widths: Int64[np.ndarray, "V"]
) -> tuple[Int32[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
    text = "".join(span.text for span in spans)
    if len({span.trained for span in spans}) == 1:
        ids = _with_end(tokenizer.encode_bytes(text.encode()))
        return ids, np.full(len(ids), spans[0].trained)
    if isinstance(tokenizer, HuggingFace):
        # Pieces that may differ from the text: the library says which characters they stand for.
        tokens, offsets = tokenizer.encode_with_offsets(text)
        starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
        lengths = [len(span.text) for span in spans]
        return _with_end(np.array(tokens, np.int32)), _overlaps(spans, starts, ends, lengths)
    pieces = [span.text.encode() for span in spans]
    ids = tokenizer.encode_bytes(b"".join(pieces))
    ends = np.cumsum(widths[ids])
    return _with_end(ids), _overlaps(spans, ends - widths[ids], ends, map(len, pieces))


def _with_end(ids: Int32[np.ndarray, "T"]) -> Int32[np.ndarray, "T+1"]:
    return np.concatenate([ids, np.zeros(1, np.int32)])


def _overlaps(
    spans: Sequence[Span],
    starts: Int64[np.ndarray, "T"],
    ends: Int64[np.ndarray, "T"],
    lengths: Iterable[int],
) -> Bool[np.ndarray, "T+1"]:
    """Whether token [starts, ends) overlaps a trained span; both rise, in the unit of `lengths`.

    The last of the flags is that of the token that ends the document.
    """
    flags = np.zeros(len(starts) + 1, bool)
    flags[-1] = spans[-1].trained
    begin = 0
    for span, length in zip(spans, lengths, strict=True):
        if span.trained:
            first = np.searchsorted(ends, begin, side="right")
            last = np.searchsorted(starts, begin + length, side="left")
            flags[first:last] = True
        begin += length
    return flags
