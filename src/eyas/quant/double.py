"""Double quantization: the scales of blocks, quantized in turn (QLoRA, Dettmers et al. 2023, 2).

    offset = mean(scales)      scales - offset = maxima * values[codes]      blocks of 256

with the 256 values of bitsandbytes' signed dynamic type: decades 1e-6..1, where each decade has
twice as many values as the one below, the middles of equal pieces of 0.1..1 times the decade.

The bytes are those of bitsandbytes 0.50 on the CPU, which takes the value nearest to the input
rounded to a grid of 2^16 points. Two things there depend on the machine and do not here: the sum
in the mean, which is exact here (bitsandbytes' float32 sum may end one unit in the last place
beside it), and the values of the table, which are those of processors with fused multiply-add.
"""

import math
from functools import cache

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor
from torch.nn import functional as F

from eyas.quant.blocks import first

_BLOCK = 256
_DECADES = 7
_GRID = 65535


def compress(
    scales: Float32[Tensor, " G"],
) -> tuple[UInt8[Tensor, " G"], Float32[Tensor, " M"], Float32[Tensor, "1"]]:
    """Codes of the scales, the largest magnitude of each 256, and the offset.

    They are few, and computed on the CPU wherever they come from.
    """
    device, scales = scales.device, scales.cpu()
    offset = torch.tensor([math.fsum(scales.tolist()) / len(scales)])
    rest = F.pad(scales - offset, (0, -len(scales) % _BLOCK)).view(-1, _BLOCK)
    maxima = rest.abs().amax(1)
    inverse = torch.where(maxima == 0, 0, 1 / maxima)[:, None]
    point = ((rest * inverse).clamp(-1, 1) + 1) * 0.5 * _GRID + 0.5
    on_grid = point.floor().double() * (2 / _GRID) - 1
    values = torch.tensor(VALUES, dtype=torch.float64)
    codes = torch.bucketize(on_grid, (values[1:] + values[:-1]) / 2)
    codes.masked_fill_(maxima[:, None] == 0, 0)
    codes = first(codes.to(torch.uint8), len(scales))
    return codes.to(device), maxima.to(device), offset.to(device)


def expand(
    codes: UInt8[Tensor, " G"], maxima: Float32[Tensor, " M"], offset: Float32[Tensor, "1"]
) -> Float32[Tensor, " G"]:
    """The scales that `compress` made into these."""
    blocks = F.pad(
        _table(codes.device).index_select(0, codes.int()), (0, -len(codes) % _BLOCK)
    ).view(-1, _BLOCK)
    return (blocks * maxima[:, None]).view(-1)[: len(codes)] + offset


@cache
def _table(device: torch.device) -> Float32[Tensor, "256"]:
    """The values there, kept: what is sent to a GPU each time makes the CPU wait."""
    with torch.inference_mode(False):
        return torch.tensor(VALUES, device=device)


def _dynamic_values() -> tuple[float, ...]:
    """Those of the dynamic type, ascending."""
    low, span = torch.tensor([0.1, 0.9]).double().tolist()
    positive = []
    for decade in range(_DECADES):
        pieces = 2**decade
        i = torch.arange(pieces + 1, dtype=torch.float64)
        # Exact in float64, from the nearer end, and rounded once.
        from_above = 1 - span * (pieces - i) / pieces
        edges = torch.where(2 * i < pieces + 1, low + span * i / pieces, from_above).float()
        positive.append((edges[1:] + edges[:-1]) / 2 * 10.0 ** (decade - _DECADES + 1))
    values = torch.cat(positive)
    return (*(-values.flip(0)).tolist(), 0.0, *values.tolist(), 1.0)


VALUES = _dynamic_values()
