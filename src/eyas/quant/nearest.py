"""The nearest of a few values, many numbers at a time.

Between two neighbors lies a bound, their middle. [-1, 1] is cut into cells so narrow that none
holds two bounds. What cell a number falls into says between which values it may lie, and one
comparison with the bound of that cell decides: the exact answer, as by a search, in a tenth of
the time. It does not matter how the cell is rounded, as bounds are put into cells by the same
arithmetic, which is monotonic.
"""

import functools
from collections.abc import Callable

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

_CELLS = 512  # in each half


@functools.cache
def nearest(
    values: tuple[float, ...], device: torch.device
) -> Callable[[Float32[Tensor, " N"]], UInt8[Tensor, " N"]]:
    """A function of numbers in [-1, 1] that gives the index of the value nearest to each.

    Of two that are equally near, it is that of the lower; of equal values, in their order.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    ascending = torch.tensor([values[i] for i in order])
    bounds = (ascending[1:] + ascending[:-1]) / 2
    cells = _cell(bounds)
    assert len(cells.unique()) == len(cells), "two bounds in one cell"
    bound_in = torch.full((2 * _CELLS + 1,), torch.inf).scatter(0, cells.long(), bounds)
    below = torch.bucketize(torch.arange(len(bound_in)), cells.long())
    index_of = torch.tensor([*order, order[-1]], dtype=torch.uint8)
    either = torch.stack((index_of[below], index_of[below + 1]), 1).view(-1).to(device)
    bound_in = bound_in.to(device)

    def index(x: Float32[Tensor, " N"]) -> UInt8[Tensor, " N"]:
        cell = _cell(x)
        above = x > bound_in.index_select(0, cell)
        return either.index_select(0, cell.mul_(2).add_(above))

    return index


def _cell(x: Tensor) -> Tensor:
    return ((x.clamp(-1, 1) + 1) * _CELLS).int()
