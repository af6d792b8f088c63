"""A document as text runs, trained or not, to be shown in color."""

import codecs
from collections.abc import Iterator

import numpy as np

from eyas.data.corpus import Corpus
from eyas.data.tokenizer import Tokenizer

_CHUNK = 1 << 24


def colored(
    corpus: Corpus, index: int, tokenizer: Tokenizer, limit: int = 1000
) -> list[tuple[str, bool]]:
    """Document `index` as runs of text with whether they are trained.

    At most `limit` (≥ 1) characters; where there are more, a last run says how many.
    A character whose bytes lie in several tokens goes with the last of them; bytes that are no
    UTF-8 become U+FFFD. The token that ends the document has no text.
    """
    runs: list[tuple[str, bool]] = []
    length = 0
    for text, trained in _decoded(corpus, index, tokenizer):
        if runs and runs[-1][1] == trained:
            runs[-1] = (runs[-1][0] + text, trained)
        else:
            runs.append((text, trained))
        length += len(text)
        if length > limit:
            left = max(_characters(corpus, index, tokenizer) - limit, 1)
            return [*_cut(runs, limit), (f"… and {left:,} characters more", False)]
    return runs


def _characters(corpus: Corpus, index: int, tokenizer: Tokenizer) -> int:
    """The number of characters of a document, which may be too long to be decoded for that."""
    begin, end = corpus.offsets[index : index + 2].tolist()
    chunks = (corpus.tokens[at : min(at + _CHUNK, end)] for at in range(begin, end, _CHUNK))
    return sum(
        times * _beginnings(tokenizer.token_bytes(token))
        for chunk in chunks
        for token, times in enumerate(np.bincount(chunk).tolist())
        if times
    )


def _beginnings(data: bytes) -> int:
    """The bytes that begin a character: all but 10xxxxxx."""
    return sum(byte & 0xC0 != 0x80 for byte in data)


def _decoded(corpus: Corpus, index: int, tokenizer: Tokenizer) -> Iterator[tuple[str, bool]]:
    """What each token adds to the text; nothing for one that ends within a character."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    trained = False
    for at in range(corpus.offsets[index], corpus.offsets[index + 1]):
        data = tokenizer.token_bytes(int(corpus.tokens[at]))
        if data:
            trained = bool(corpus.trained[at])
            text = decoder.decode(data)
            if text:
                yield text, trained
    rest = decoder.decode(b"", final=True)
    if rest:
        yield rest, trained


def _cut(runs: list[tuple[str, bool]], room: int) -> list[tuple[str, bool]]:
    kept = []
    for text, trained in runs:
        if room:
            kept.append((text[:room], trained))
            room -= len(kept[-1][0])
    return kept
