"""Perplexity and bits per byte of documents: over what is trained of them, and over everything.

    loss = - sum log p / tokens     perplexity = exp(loss)     bits per byte = - sum log2 p / bytes

Counted are the targets, as in training: all tokens of a document but its first, its end token
included, which stands for no byte. Each document is scored whole, from a fresh state.
"""

import math

import numpy as np
from jaxtyping import Int64

from eyas.data import Corpus, Tokenizer
from eyas.evaluation.likelihood import Bounds, score
from eyas.evaluation.measured import Measured, exponential, ratio
from eyas.models import Model


def text_measures(
    model: Model, corpus: Corpus, tokenizer: Tokenizer, bounds: Bounds
) -> dict[str, Measured]:
    """`loss`, `perplexity` and `bits_per_byte`, and `…_all` where not everything is trained."""
    lengths = np.diff(corpus.offsets)
    sizes = None if tokenizer.name == "ids" else byte_counts(tokenizer, model.vocab_size)
    nats, tokens, content = np.zeros((3, 2, len(corpus)))  # [trained, all] by document
    for i, scored in score(model, lengths, lambda i: _document(corpus, i), bounds):
        targets = slice(int(corpus.offsets[i]) + 1, int(corpus.offsets[i + 1]))
        trained = np.asarray(corpus.trained[targets])
        counted = sizes[corpus.tokens[targets]] if sizes is not None else np.zeros(len(trained))
        for kind, which in enumerate((trained, np.ones_like(trained))):
            nats[kind, i] = -scored.log_probs[which].sum(dtype=np.float64)
            tokens[kind, i] = which.sum()
            content[kind, i] = counted[which].sum()
    found: dict[str, Measured] = {}
    for kind, end in enumerate(("", "_all")):
        if tokens[kind].sum() and (kind == 0 or tokens[0].sum() != tokens[1].sum()):
            found |= _measures(nats[kind], tokens[kind], content[kind], end)
    return found


def byte_counts(tokenizer: Tokenizer, vocab_size: int) -> Int64[np.ndarray, "V"]:
    """How many bytes each token stands for."""
    return np.array([len(tokenizer.token_bytes(token)) for token in range(vocab_size)])


def _document(corpus: Corpus, i: int) -> np.ndarray:
    return corpus.tokens[int(corpus.offsets[i]) : int(corpus.offsets[i + 1])]


def _measures(
    nats: np.ndarray, tokens: np.ndarray, content: np.ndarray, end: str
) -> dict[str, Measured]:
    loss = ratio(nats, tokens)
    found = {f"loss{end}": loss, f"perplexity{end}": exponential(loss)}
    if content.sum():
        found[f"bits_per_byte{end}"] = ratio(nats / math.log(2), content)
    return found
