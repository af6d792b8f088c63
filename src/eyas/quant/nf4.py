"""NF4 and FP4 (QLoRA, Dettmers et al. 2023, arXiv 2305.14314): 4 bits a value, blocks of 64.

    scale = max |w|    w = scale * values[code]    code: of the value nearest to w / scale

NF4's values are quantiles of the normal distribution, 8 of the upper half and 7 of the lower,
between probability 1/2 and `_OFFSET` in equal steps, and 0; scaled to end at -1 and 1. FP4's are
a sign, two bits of exponent and one of mantissa, in units of 1/12.

Bytes are those of bitsandbytes on the CPU (the layout is its: two codes a byte, the first one in
the high bits): w / scale is w * (1 / scale), but a division in a last, short block; of two values
equally near the lower is taken; FP4's zero is code 0, and 8 for what is rounded down to it.
The scales are quantized in turn (`double`).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from statistics import NormalDist
from typing import Annotated, ClassVar, TypeAlias

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from eyas.native import matvec
from eyas.quant import double
from eyas.quant.blocks import BLOCK, blocks_of, check_finite, count_blocks, first, scaled
from eyas.quant.double import compress, expand
from eyas.quant.nearest import nearest

# unpack(codes, scales, name, shape, dtype): the weight, a float32 product rounded to dtype
Unpack: TypeAlias = Callable[[Tensor, Tensor, str, tuple[int, int], torch.dtype], Tensor]

_OFFSET = 0.9677083
_SMALLEST_SCALE = 1e-38


def _normal_quantiles() -> tuple[float, ...]:
    start = torch.tensor(_OFFSET).double()

    def half(count: int) -> list[float]:
        steps = torch.arange(count, dtype=torch.float64) * (0.5 - start) / count
        return [NormalDist().inv_cdf(point) for point in (start + steps).float().tolist()]

    values = torch.tensor([*(-value for value in half(7)), 0.0, *reversed(half(8))])
    return tuple((values / values[-1]).tolist())


_EIGHT = [twelfths / 12 for twelfths in (0, 0.0625, 8, 12, 4, 6, 2, 3)]
VALUES = {"nf4": _normal_quantiles(), "fp4": (*_EIGHT, 0.0, *(-value for value in _EIGHT[1:]))}


def look_up(
    codes: UInt8[Tensor, " P"],
    scales: Float32[Tensor, " G"],
    name: str,
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> Float[Tensor, "O I"]:
    """Dequantizes by a table that holds for each byte its two values, taken as one of 64 bits."""
    table = _pairs(name, codes.device)

    def decode(part: Tensor, out: Tensor) -> Tensor:
        pairs = out.view(torch.int64).view(-1)
        return torch.index_select(table, 0, part.reshape(-1).int(), out=pairs)

    return scaled(codes, BLOCK // 2, scales, decode, shape, dtype)


@cache
def _pairs(name: str, device: torch.device) -> Tensor:
    """The two values of each byte, kept: a table that is sent to a GPU makes the CPU wait."""
    with torch.inference_mode(False):
        values = torch.tensor(VALUES[name], device=device)
        both = torch.stack((values.repeat_interleave(16), values.repeat(16)), 1)
        return both.view(torch.int64).view(-1)


@dataclass(frozen=True)
class NF4:
    """4-bit quantiles of the normal distribution: relative error 9.4 %."""

    double: Annotated[bool, "quantizes the scales too: 0.516 bytes a parameter, or 0.562"] = True
    unpack: Annotated[Unpack, "see quant.bitsandbytes"] = field(
        default=look_up, compare=False, repr=False
    )

    name: ClassVar[str] = "nf4"

    def quantize(self, weight: Float[Tensor, "O I"]) -> dict[str, Tensor]:
        codes, scales = _pack(weight, VALUES[self.name])
        if not self.double:
            return {"codes": codes, "scales": scales}
        scale_codes, maxima, offset = compress(scales)
        return {"codes": codes, "scales": scale_codes, "maxima": maxima, "offset": offset}

    def dequantize(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "O I"]:
        scales = tensors["scales"]
        if self.double:
            scales = expand(scales, tensors["maxima"], tensors["offset"])
        return self.unpack(tensors["codes"], scales, self.name, shape, dtype)

    def stored(self, tensors: Mapping[str, Tensor]) -> matvec.Stored | None:
        codes, scales = tensors["codes"], tensors["scales"]
        values = _on_cpu(VALUES[self.name])
        if not self.double:
            return matvec.four_bits(codes, scales, values)
        own = codes, scales, tensors["maxima"], tensors["offset"]
        return matvec.four_bits_double(*own, values, _on_cpu(double.VALUES))


@dataclass(frozen=True)
class FP4(NF4):
    """NF4's sibling, 4-bit floating point numbers: relative error 12.6 %."""

    name: ClassVar[str] = "fp4"


@cache
def _on_cpu(values: tuple[float, ...]) -> Tensor:
    with torch.inference_mode(False):
        return torch.tensor(values)


def _pack(
    weight: Float[Tensor, "O I"], values: tuple[float, ...]
) -> tuple[UInt8[Tensor, " P"], Float32[Tensor, " G"]]:
    count, device = count_blocks(weight), weight.device
    codes = torch.empty(count, BLOCK // 2, dtype=torch.uint8, device=device)
    scales = torch.empty(count, device=device)
    nearest_code = nearest(values, device)
    for part, block in blocks_of(weight):
        largest = block.abs().amax(1)
        check_finite(largest)
        if part.stop * BLOCK > weight.numel():
            largest.clamp_(min=_SMALLEST_SCALE)
            unit = block / largest[:, None]
        else:
            unit = block * (1 / largest.clamp(min=_SMALLEST_SCALE))[:, None]
        pair = nearest_code(unit.view(-1)).view(torch.int16)  # the first in the low bits
        codes[part] = (pair << 4 | pair >> 8).to(torch.uint8).view(-1, BLOCK // 2)
        scales[part] = largest
    return first(codes, (weight.numel() + 1) // 2), scales
