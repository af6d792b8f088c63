"""Where the tokens of a row lie in chunks, so that every document begins with one.

With t the token, b(t) the beginning of its document and C the chunk, the tokens in front of t are
filled up at each beginning t' to a multiple of C:

    position(t) = t + sum over beginnings 0 < t' <= t of (b(t' - 1) - t') mod C

Of the chunks that may be, the one whose places cost least is taken: a small one leaves few places
empty behind short documents, a large one costs less a place.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

_COSTS = ((32, 1.0), (16, 1.1), (8, 1.4), (4, 2.2))
"""The chunks, and what a place costs in them, forward and backward, beside one in chunks of 32.

Measured on one CPU thread, RWKV-7 and RWKV-6: 0.9 and 1.0, 1.2 and 1.3, 1.6 and 2.0, and 3 to 5
in chunks of 2. Rounded up, because smaller chunks are more steps one after the other, which a GPU
(not measured) should mind more.
"""


@dataclass(frozen=True)
class Layout:
    """`positions` of a row's tokens in `length` places; None where no place between is empty.

    `begins[i]`: the rows in which chunk i begins a document; None where in none.
    """

    chunk: int
    tokens: int
    length: int
    positions: Int64[Tensor, "B T"] | None
    begins: list[Bool[Tensor, " B"] | None]

    def spread(self, x: Float[Tensor, "B T H N"]) -> Float[Tensor, "B L H N"]:
        """The tokens in their places, zeros in all others."""
        batch, tokens, *rest = x.shape
        if self.positions is None:
            return F.pad(x, (0, 0, 0, 0, 0, self.length - tokens))
        places = x.new_zeros(batch * self.length, *rest)
        return places.index_copy(0, self._flat(), x.flatten(0, 1)).view(batch, -1, *rest)

    def collected(self, x: Float[Tensor, "B L H N"]) -> Float[Tensor, "B T H N"]:
        """The tokens back in their row."""
        if self.positions is None:
            return x[:, : self.tokens]
        return x.flatten(0, 1).index_select(0, self._flat()).view(len(x), -1, *x.shape[2:])

    def _flat(self) -> Int64[Tensor, " M"]:
        assert self.positions is not None
        rows = torch.arange(len(self.positions), device=self.positions.device)
        return (self.positions + rows[:, None] * self.length).flatten()


def lay_out(like: Float[Tensor, "B T H N"], starts: Bool[Tensor, "B T"] | None) -> Layout:
    """The layout of rows as long as these, in which documents begin at `starts`."""
    tokens = like.shape[1]
    largest = min(_COSTS[0][0], 1 << (tokens - 1).bit_length())
    if starts is None:
        count = -(-tokens // largest)
        return Layout(largest, tokens, count * largest, None, [None] * count)
    starts = starts.to(like.device)
    index = torch.arange(tokens, device=like.device).expand_as(starts)
    ended = _ended(starts, index)
    chunk, places = _best_chunk(ended, largest)
    positions = index + (-ended % chunk).cumsum(1)
    count = -(-places // chunk)
    begins = torch.zeros(len(starts), count, dtype=torch.bool, device=like.device)
    rows, at = starts.nonzero(as_tuple=True)
    begins[rows, positions[rows, at] // chunk] = True
    some = begins.any(0).tolist()
    columns = [
        column if any_ else None for column, any_ in zip(begins.unbind(1), some, strict=True)
    ]
    filled = positions if places > tokens else None
    return Layout(chunk, tokens, count * chunk, filled, columns)


def _ended(starts: Bool[Tensor, "B T"], index: Int64[Tensor, "B T"]) -> Int64[Tensor, "B T"]:
    """For each token that begins a document, the length of the one before it; 0 for others."""
    beginning = torch.where(starts, index, 0).cummax(1).values
    ended = torch.zeros_like(index)
    ended[:, 1:] = torch.where(starts[:, 1:], index[:, 1:] - beginning[:, :-1], 0)
    return ended


def _best_chunk(ended: Int64[Tensor, "B T"], largest: int) -> tuple[int, int]:
    """The chunk that costs least, at most the largest, and the longest row's places with it."""
    costs = [(chunk, cost) for chunk, cost in _COSTS if chunk <= largest] or [(largest, 1.0)]
    # All of them at once: a device is waited for once.
    filled = torch.stack([(-ended % chunk).sum(1).amax() for chunk, _ in costs]).tolist()
    places = [ended.shape[1] + fill for fill in filled]
    _, chunk, count = min(
        (-(-place // chunk) * chunk * cost, chunk, place)
        for (chunk, cost), place in zip(costs, places, strict=True)
    )
    return chunk, count
