"""A document as text runs, trained or not, to be shown in color."""

import codecs
from collections.abc import Iterator

from eyas.data.corpus import Corpus
from eyas.data.tokenizer import Tokenizer

_ELLIPSIS = "…"


def colored(
    corpus: Corpus, index: int, tokenizer: Tokenizer, limit: int = 2000
) -> list[tuple[str, bool]]:
    """Document `index` as runs of text with whether they are trained.

    At most `limit` (≥ 2) characters; where there is more, the last of them is an ellipsis.
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
            return _shortened(runs, limit)
    return runs


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


def _shortened(runs: list[tuple[str, bool]], limit: int) -> list[tuple[str, bool]]:
    kept = []
    room = limit - 1
    for text, trained in runs:
        if room:
            kept.append((text[:room], trained))
            room -= len(kept[-1][0])
    last, trained = kept[-1]
    return [*kept[:-1], (last + _ELLIPSIS, trained)]
