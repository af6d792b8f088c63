"""Rows of any length in the memory of one chunk, with the exact gradient.

A row is cut into chunks that hand the state on. With s_i the state before chunk i,

    forward     s_{i+1} = f(s_i, chunk i)                       keeps the states alone
    backward    from the last chunk to the first: chunk i once more, then

        dL/dtheta += d loss_i / dtheta + (d s_{i+1} / dtheta)^T g_{i+1}
        g_i        = d loss_i / d s_i  + (d s_{i+1} / d s_i)^T g_{i+1}

which is the gradient of the whole row; leaving g out would cut it off at every chunk, as training
with detached states does. Where all states together would be large every k-th is kept, k about
the root of the number of chunks, and the others are made once more on the way back.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from eyas.data import Batch
from eyas.data.batches import UNTRAINED
from eyas.models import LayerState, State

_KEPT_BYTES = 2**29  # of states, beyond which only some are kept

# module(chunk, state) -> (summed loss, state after it); the state before the first is None
Module = Callable[[Batch, State | None], tuple[Tensor, State]]


@dataclass(frozen=True)
class ChunkedRows:
    """How a batch is gone through. detach: no gradient from one chunk to the one before it."""

    chunk: int
    detach: bool = False

    def backward(
        self,
        module: Module,
        batch: Batch,
        factor: float,
        meeting: Callable[[bool], AbstractContextManager[None]],
        state_bytes: int,
    ) -> float:
        """Adds `factor` times the gradient of the batch's loss; gives the loss.

        meeting: around the backward of each chunk, told whether it is the last one to come.
        state_bytes: of one state of this batch.
        """
        chunks = list(self.parts(batch))
        size = _segment_size(len(chunks) * state_bytes, len(chunks))
        kept = list(_states_before(module, chunks, None, every=size))
        total, upstream = 0.0, None
        while kept:
            segment = chunks[(len(kept) - 1) * size : len(kept) * size]
            states = list(_states_before(module, segment, kept.pop()))
            while states:
                state = _leaf(states.pop())
                with meeting(not (states or kept)):
                    loss, after = module(segment[len(states)], state)
                    _backward(loss * factor, after, upstream)
                    total += loss.item()
                del loss, after
                upstream = None if self.detach or state is None else _gradients(state)
        return total

    @torch.no_grad()
    def value(self, module: Module, batch: Batch) -> float:
        """The loss alone."""
        total, state = 0.0, None
        for chunk in self.parts(batch):
            loss, state = module(chunk, state)
            total += loss.item()
        return total

    def parts(self, batch: Batch) -> Iterator[Batch]:
        """The batch in chunks along its rows."""
        for begin in range(0, batch.tokens.shape[1], self.chunk):
            here = (slice(None), slice(begin, begin + self.chunk))
            starts = None if batch.starts is None else batch.starts[here]
            yield replace(
                batch, tokens=batch.tokens[here], targets=batch.targets[here], starts=starts
            )


@torch.no_grad()
def _states_before(
    module: Module, chunks: Sequence[Batch], state: State | None, every: int = 1
) -> Iterator[State | None]:
    """The state before each chunk, or each `every`-th; that before the first is given."""
    yield state
    room: list[Tensor] = []
    for number, chunk in enumerate(chunks[:-1], start=1):
        # Where nothing is trained the head computes nothing.
        untrained = replace(chunk, targets=torch.full_like(chunk.targets, UNTRAINED))
        _, state = module(untrained, state)
        if number % every == 0:
            # All in one place: among activations each would keep memory about it in pieces.
            count = (len(chunks) - 1) // every
            room = room or [t.new_empty(count, *t.shape) for t in _tensors(state)]
            state = _copied(state, [of_all[number // every - 1] for of_all in room])
            yield state


def _copied(state: State, places: Sequence[Tensor]) -> State:
    copies = iter([place.copy_(t) for place, t in zip(places, _tensors(state), strict=True)])
    return tuple(LayerState(*(next(copies) for _ in layer)) for layer in state)


def kept_bytes(count: int, state_bytes: int) -> int:
    """The most that the states of `count` chunks take at a time."""
    size = _segment_size(count * state_bytes, count)
    within = size if size > 1 else 0  # those of one segment, made once more
    return (-(-count // size) + within) * state_bytes


def _segment_size(all_bytes: int, count: int) -> int:
    """Every how many of `count` chunks a state is kept, where all would take so much."""
    return 1 if all_bytes <= _KEPT_BYTES else math.isqrt(count - 1) + 1


def _leaf(state: State | None) -> State | None:
    """The same state as the beginning of a graph."""
    if state is None:
        return None
    return tuple(LayerState(*(t.detach().requires_grad_() for t in layer)) for layer in state)


def _backward(loss: Tensor, after: State, upstream: list[Tensor] | None) -> None:
    if upstream is None:
        loss.backward()
        return
    pairs = [(t, g) for t, g in zip(_tensors(after), upstream, strict=True) if t.requires_grad]
    tensors, gradients = zip(*pairs, strict=True) if pairs else ((), ())
    torch.autograd.backward([loss, *tensors], [None, *gradients])


def _gradients(state: State) -> list[Tensor]:
    return [torch.zeros_like(t) if t.grad is None else t.grad for t in _tensors(state)]


def _tensors(state: State) -> list[Tensor]:
    return [tensor for layer in state for tensor in layer]
