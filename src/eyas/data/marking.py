"""A document as tokens, each marked as trained or not.

The whole text is encoded at once, as it will be when the model is used, and the spans are laid
over the tokens afterwards: a token is trained if any part of it lies in a trained span. So a
token that straddles the border of prompt and answer is trained.
"""

from collections.abc import Iterable

import numpy as np
from jaxtyping import Bool, Int64

from eyas.data.documents import Document
from eyas.data.huggingface import HuggingFace
from eyas.data.tokenizer import Tokenizer
from eyas.errors import UserError


def byte_widths(tokenizer: Tokenizer) -> Int64[np.ndarray, "V"]:
    """The number of bytes of each token."""
    sizes = (len(tokenizer.token_bytes(token)) for token in range(tokenizer.vocab_size))
    return np.fromiter(sizes, np.int64, tokenizer.vocab_size)


def tokenize(
    document: Document, tokenizer: Tokenizer, widths: Int64[np.ndarray, "V"]
) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
    """The tokens of a document and its end (token 0), and whether each is trained.

    `widths` are the tokenizer's byte widths. Raises UserError with the document's place where the
    text cannot be encoded, or holds what the vocabulary reads as the end of a document.
    """
    try:
        ids, flags = _marked(document, tokenizer, widths)
    except UserError as error:
        raise UserError(f"{document.place}: {error}") from error
    if not ids.all():
        raise UserError(
            f"{document.place}: the text holds what the tokenizer {tokenizer.name!r} reads as "
            "token 0, which ends a document (NUL or <|endoftext|>); remove it"
        )
    return np.append(ids, 0), np.append(flags, document.spans[-1].trained)


def _marked(
    document: Document, tokenizer: Tokenizer, widths: Int64[np.ndarray, "V"]
) -> tuple[Int64[np.ndarray, "T"], Bool[np.ndarray, "T"]]:
    text = "".join(span.text for span in document.spans)
    if len({span.trained for span in document.spans}) == 1:
        ids = np.array(tokenizer.encode(text), np.int64)
        return ids, np.full(len(ids), document.spans[0].trained)
    if isinstance(tokenizer, HuggingFace):
        # Pieces that may differ from the text: the library says which characters they stand for.
        tokens, offsets = tokenizer.encode_with_offsets(text)
        starts, ends = np.array(offsets, np.int64).reshape(-1, 2).T
        lengths = [len(span.text) for span in document.spans]
        return np.array(tokens, np.int64), _overlaps(document, starts, ends, lengths)
    ids = np.array(tokenizer.encode(text), np.int64)
    ends = np.cumsum(widths[ids])
    lengths = [len(span.text.encode()) for span in document.spans]
    return ids, _overlaps(document, ends - widths[ids], ends, lengths)


def _overlaps(
    document: Document,
    starts: Int64[np.ndarray, "T"],
    ends: Int64[np.ndarray, "T"],
    lengths: Iterable[int],
) -> Bool[np.ndarray, "T"]:
    """Whether token [starts, ends) overlaps a trained span; both rise, in the unit of `lengths`."""
    flags = np.zeros(len(starts), bool)
    begin = 0
    for span, length in zip(document.spans, lengths, strict=True):
        if span.trained:
            first = np.searchsorted(ends, begin, side="right")
            last = np.searchsorted(starts, begin + length, side="left")
            flags[first:last] = True
        begin += length
    return flags
