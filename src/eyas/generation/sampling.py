"""Choosing the next token, as RWKV's own tools do it, so that people's settings keep their sense.

In this order, on logits l:

    penalties    l[i] -= presence + frequency · n[i]    for each token i generated so far
    top-p        p = softmax(l); keep the likeliest tokens whose sum reaches top_p, and ties
    top-k        keep the k likeliest
    temperature  draw from p^(1/temperature), normalized; 0 takes the likeliest

The order matters: the temperature acts after top-p, on what is left. n[i] is how often i was
generated, where each later token makes older ones count less, by the factor penalty_decay.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from jaxtyping import Float
from torch import Tensor

_FEW = (256, 4096)  # likeliest tokens that top-p looks at, before it sorts them all
_LARGEST = 1e30  # beyond it float32 knows no difference, or infinity alone


@dataclass(frozen=True)
class Sampling:
    """How the next token is drawn from the logits."""

    temperature: Annotated[float, "spread of the choice; 0 always takes the likeliest"] = 1.0
    top_p: Annotated[float, "share of the probability to choose from, 0 to 1; 1: all"] = 0.85
    top_k: Annotated[int, "likeliest tokens to choose from; 0: all"] = 0
    presence_penalty: Annotated[float, "taken off the logit of a token that occurred"] = 0.2
    frequency_penalty: Annotated[float, "taken off once more for each time it occurred"] = 0.2
    penalty_decay: Annotated[float, "what an occurrence still counts one token later"] = 0.996

    def __post_init__(self) -> None:
        if self.temperature != 0 and not 1 / _LARGEST <= self.temperature <= _LARGEST:
            raise ValueError(
                f"temperature = {self.temperature} must be 0 or from {1 / _LARGEST} to {_LARGEST}"
            )
        if not 0 <= self.top_p <= 1:
            raise ValueError(f"top_p = {self.top_p} must be from 0 to 1")
        if self.top_k < 0:
            raise ValueError(f"top_k = {self.top_k} must be 0 or more")
        for name in ("presence_penalty", "frequency_penalty"):
            if not abs(getattr(self, name)) <= _LARGEST:
                raise ValueError(f"{name} = {getattr(self, name)} must be at most {_LARGEST}")
        if not 0 <= self.penalty_decay <= 1:
            raise ValueError(f"penalty_decay = {self.penalty_decay} must be from 0 to 1")


GREEDY = Sampling(temperature=0.0, presence_penalty=0.0, frequency_penalty=0.0)


def sample(
    logits: Float[Tensor, "V"],
    sampling: Sampling,
    occurrence: Mapping[int, float],
    generator: torch.Generator,
) -> int:
    """Draws a token; `occurrence` is n of the equation above, `generator` one of the CPU."""
    scores = _penalized(logits.detach().float().cpu(), sampling, occurrence)
    if sampling.temperature == 0:
        return int(scores.argmax())
    return _drawn(chances(scores, sampling), generator)


def chances(scores: Float[Tensor, "V"], sampling: Sampling) -> Float[Tensor, "V"]:
    """Probability of every token, from logits with their penalties; the temperature is above 0."""
    kept = _top_k(_top_p(scores, sampling.top_p), sampling.top_k)
    # In the logarithm: small probabilities to a high power would be 0 in float32.
    return torch.softmax((kept - kept.max()) / sampling.temperature, dim=-1)


def _drawn(probabilities: Float[Tensor, "V"], generator: torch.Generator) -> int:
    """By the inverse of the distribution function, from one random number.

    `torch.multinomial` takes one for every token of the vocabulary, and most of a draw's time.
    """
    below = probabilities.cumsum(-1, dtype=torch.float64)
    number = torch.rand(1, generator=generator, dtype=torch.float64) * below[-1]
    return min(int(torch.searchsorted(below, number, right=True)), len(below) - 1)


def count(
    occurrence: Mapping[int, float], token: int, weight: float, decay: float
) -> dict[int, float]:
    """The occurrences after `token`: older ones decay, and its own grows by `weight`."""
    counted = {known: number * decay for known, number in occurrence.items()}
    counted[token] = counted.get(token, 0.0) + weight
    return counted


def _penalized(scores: Tensor, sampling: Sampling, occurrence: Mapping[int, float]) -> Tensor:
    if not occurrence:
        return scores
    tokens = torch.tensor(list(occurrence))
    numbers = torch.tensor(list(occurrence.values()))
    penalty = sampling.presence_penalty + sampling.frequency_penalty * numbers
    return scores.index_add(0, tokens, -penalty)


def _top_p(scores: Tensor, top_p: float) -> Tensor:
    if top_p == 1:
        return scores
    probabilities = torch.softmax(scores, dim=-1)
    # Nearly always a few tokens suffice, which are found in a fraction of the time of a sort.
    for size in (*(few for few in _FEW if few < len(scores)), len(scores)):
        likeliest = probabilities.topk(size)
        before = int((likeliest.values.cumsum(-1) < top_p).sum())
        if before < size:
            break
    last = likeliest.indices[min(before, len(scores) - 1)]
    return scores.masked_fill(scores < scores[last], -torch.inf)


def _top_k(scores: Tensor, top_k: int) -> Tensor:
    if not 0 < top_k < len(scores):
        return scores
    return scores.masked_fill(scores < scores.topk(top_k).values[-1], -torch.inf)
