"""Logarithms of probabilities, as clients are told them: of the model itself, before penalties,
bias, temperature and top-p."""

import codecs
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.serving.jobs import TokenSaid

Bytes = Callable[[int], bytes]  # of a token


@dataclass(frozen=True)
class Scored:
    """How likely a token was, and which ones were the likeliest in its place."""

    token: int
    logprob: float | None  # None: nothing stands before it
    likeliest: tuple[tuple[int, float], ...] = ()

    def said(self, offset: int, token_bytes: Bytes) -> TokenSaid:
        likeliest = tuple((token_bytes(other), value) for other, value in self.likeliest)
        return TokenSaid(token_bytes(self.token), self.logprob, likeliest, offset)


def scored(logits: Float[Tensor, "V"], token: int, top: int) -> Scored:
    logprobs = torch.log_softmax(logits.float(), dim=-1)
    values, tokens = logprobs.topk(min(top, len(logprobs)))
    likeliest = tuple(zip(tokens.tolist(), values.tolist(), strict=True))
    return Scored(token, float(logprobs[token]), likeliest)


def said_of_prompt(scores: Sequence[Scored], token_bytes: Bytes) -> tuple[TokenSaid, ...]:
    """A prompt's tokens; each begins behind the whole characters of those before."""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    said, offset = [], 0
    for score in scores:
        said.append(score.said(offset, token_bytes))
        offset += len(decoder.decode(said[-1].data))
    return tuple(said)
