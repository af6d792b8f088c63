"""Exact match: the share of questions whose whole answer the model gives.

An answer is right if the likeliest token is the right one at each of its tokens, the end of the
document included, given the tokens before: the same as greedy decoding, in one forward pass.
"""

from pathlib import Path

import torch

from eyas.data import BatchConfig, ReadConfig, load_corpus, one_pass, tokenizer_for
from eyas.data.batches import UNTRAINED
from eyas.models import Model

_ROWS = 50


@torch.inference_mode()
def exact_match(model: Model, path: Path) -> float:
    """The share, 0 to 1, over a task's file of questions and answers."""
    tokenizer = tokenizer_for(model.vocab_size, None, None)
    reading = ReadConfig(mask="answers")
    corpus = load_corpus([path], tokenizer, model.vocab_size, reading)
    longest = int((corpus.offsets[1:] - corpus.offsets[:-1]).max())
    training = model.training
    model.eval()
    right = total = 0
    for batch in one_pass(corpus, BatchConfig(ctx=longest, micro_batch=_ROWS, dataload="pad")):
        logits, _ = model(batch.tokens)
        asked = batch.targets != UNTRAINED
        right += int(((logits.argmax(-1).cpu() == batch.targets) | ~asked).all(1).sum())
        total += len(asked)
    model.train(training)
    return right / total
