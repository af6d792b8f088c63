"""Where the tokens of a row lie in chunks, so that every document begins with one.

With t the token, b(t) the beginning of its document and C the chunk, the tokens in front of t are
filled up at each beginning t' to a multiple of C:

    position(t) = t + sum over beginnings 0 < t' <= t of (b(t' - 1) - t') mod C
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

_CHUNK = 32


@dataclass(frozen=True)
class Layout:
    """`positions` of a row's tokens in `length` places; None where there is one document a row.

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
    chunk = min(_CHUNK, 1 << (tokens - 1).bit_length())
    if starts is None:
        count = -(-tokens // chunk)
        return Layout(chunk, tokens, count * chunk, None, [None] * count)
    starts = starts.to(like.device)
    index = torch.arange(tokens, device=like.device).expand_as(starts)
    beginning = torch.where(starts, index, 0).cummax(1).values
    filled = torch.zeros_like(index)
    filled[:, 1:] = torch.where(starts[:, 1:], (beginning[:, :-1] - index[:, 1:]) % chunk, 0)
    positions = index + filled.cumsum(1)
    count = int(positions[:, -1].max()) // chunk + 1
    begins = torch.zeros(len(starts), count, dtype=torch.bool, device=like.device)
    rows, at = starts.nonzero(as_tuple=True)
    begins[rows, positions[rows, at] // chunk] = True
    some = begins.any(0).tolist()
    columns = [
        column if any_ else None for column, any_ in zip(begins.unbind(1), some, strict=True)
    ]
    return Layout(chunk, tokens, count * chunk, positions, columns)
