"""Log-likelihoods of token sequences, in memory that does not grow with their length or number.

    log p(t[i] | t[0] .. t[i-1]) = z[i-1][t[i]] - logsumexp(z[i-1])

Rows are read side by side in chunks, the state carried from one to the next, so that a document is
scored whole however long it is. Logits are made block by block.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64, Integer
from torch import Tensor

from eyas.config import check_at_least_1
from eyas.errors import UserError
from eyas.models import LayerState, Model, State
from eyas.training.loss import block_rows

Tokens = Integer[np.ndarray, "_"]


@dataclass(frozen=True)
class Bounds:
    """How much is in memory at a time."""

    rows: Annotated[int, "documents that are read side by side"] = 16
    chunk: Annotated[int, "tokens of each that are read at a time"] = 256

    def __post_init__(self) -> None:
        check_at_least_1(self, "rows", "chunk")


@dataclass(frozen=True)
class Scored:
    """A sequence of T tokens, from its second token on."""

    log_probs: Float[np.ndarray, "pairs"]  # nats
    likeliest: Bool[np.ndarray, "pairs"]  # whether greedy decoding takes this very token


DEFAULT = Bounds()


def score(
    model: Model, lengths: Int64[np.ndarray, "n"], row: Callable[[int], Tokens], bounds: Bounds
) -> Iterator[tuple[int, Scored]]:
    """Scores the sequences `row(i)` of `lengths[i]` tokens each; those of similar length together.

    Yields (i, what was found), the longest first. A sequence of fewer than two tokens has nothing
    to be predicted, and an empty result.
    """
    order = np.argsort(-lengths, kind="stable")
    for begin in range(0, len(order), bounds.rows):
        chosen = order[begin : begin + bounds.rows].tolist()
        yield from zip(chosen, _scored(model, [row(i) for i in chosen], bounds), strict=True)


def rows_of(state: State, rows: slice | Int64[Tensor, "n"]) -> State:
    """The states of some rows of a batch."""
    return tuple(LayerState(*(part[rows] for part in layer)) for layer in state)


def stacked(states: list[State]) -> State:
    """The states of several batches as one."""
    layers = zip(*states, strict=True)
    return tuple(
        LayerState(*(torch.cat(parts) for parts in zip(*layer, strict=True))) for layer in layers
    )


@torch.inference_mode()
def _scored(model: Model, rows: list[Tokens], bounds: Bounds) -> list[Scored]:
    """The rows, longest first."""
    pairs = [max(len(row) - 1, 0) for row in rows]
    padded = np.zeros((len(rows), max(pairs) + 1), np.int64)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
    tokens = torch.from_numpy(padded)
    log_probs = torch.zeros(len(rows), max(pairs))
    likeliest = torch.zeros(len(rows), max(pairs), dtype=torch.bool)
    state: State | None = None
    for begin in range(0, max(pairs), bounds.chunk):
        here = slice(begin, min(begin + bounds.chunk, max(pairs)))
        active = sum(count > begin for count in pairs)  # a prefix, as the longest come first
        state = state and rows_of(state, slice(active))
        hidden, state = model.hidden(tokens[:active, here], state)
        targets = tokens[:active, here.start + 1 : here.stop + 1]
        ends = torch.tensor(pairs[:active])[:, None]
        inside = torch.arange(here.start, here.stop) < ends
        found = _of_hidden(model, hidden[inside.to(hidden.device)], targets[inside])
        log_probs[:active, here][inside], likeliest[:active, here][inside] = found
    return [
        Scored(log_probs[i, :count].numpy(), likeliest[i, :count].numpy())
        for i, count in enumerate(pairs)
    ]


def _of_hidden(
    model: Model, hidden: Float[Tensor, "M C"], targets: Int64[Tensor, " M"]
) -> tuple[Float[Tensor, " M"], Bool[Tensor, " M"]]:
    """Log-probability of each target, and whether it is the likeliest; on the CPU.

    Raises UserError where the model computes what is no number.
    """
    size = block_rows(model.vocab_size * 4)
    log_probs, likeliest = [], []
    for part, wanted in zip(hidden.split(size), targets.split(size), strict=True):
        logits = model.head(part)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        wanted = wanted.to(logits.device)
        of_target = logits.gather(1, wanted[:, None])[:, 0]
        log_probs.append((of_target - logits.logsumexp(1)).float().cpu())
        likeliest.append((logits.argmax(1) == wanted).cpu())
    found = torch.cat(log_probs)
    if not found.isfinite().all():
        raise UserError("the model's logits are not finite; check its weights and precision")
    return found, torch.cat(likeliest)
