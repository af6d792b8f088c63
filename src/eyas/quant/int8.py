"""Linear int8: blocks of 64 values, each w = scale * code with code in -127..127.

    scale = max |w| / 127        code = round(w / scale)

The scale is rounded before the codes are taken, so that no value is off by more than half a
step. It is kept in float16 (1.031 bytes a parameter) unless one of the matrix falls outside the
range in which float16 has its full 11 bits, and then all are kept in float32 (1.062). A code
times a float16 scale is exact in float32.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from jaxtyping import Int8 as Bytes
from torch import Tensor

from eyas.native import matvec
from eyas.quant.blocks import BLOCK, blocks_of, check_finite, count_blocks, first, scaled

_LARGEST_CODE = 127
_HALF = torch.finfo(torch.float16)


@dataclass(frozen=True)
class Int8:
    """Linear int8 in blocks of 64: relative error 0.6 %."""

    name: ClassVar[str] = "int8"

    def quantize(self, weight: Float[Tensor, "O I"]) -> dict[str, Tensor]:
        maxima = torch.empty(count_blocks(weight), device=weight.device)
        for part, block in blocks_of(weight):
            maxima[part] = block.abs().amax(1)
        check_finite(maxima)
        # A tensor divided by a number is not the same on CPU and GPU; multiplied, it is.
        scales = _narrowest(maxima * (1 / _LARGEST_CODE))
        steps = torch.where(scales == 0, 1, scales.float())[:, None]
        codes = torch.empty(len(scales), BLOCK, dtype=torch.int8, device=weight.device)
        for part, block in blocks_of(weight):
            codes[part] = (block / steps[part]).round_().clamp_(-_LARGEST_CODE, _LARGEST_CODE)
        return {"codes": first(codes, weight.numel()), "scales": scales}

    def dequantize(
        self,
        tensors: Mapping[str, Tensor],
        shape: tuple[int, int],
        dtype: torch.dtype = torch.float32,
    ) -> Float[Tensor, "O I"]:
        codes, scales = tensors["codes"], tensors["scales"]
        if codes.is_cuda and len(codes) % BLOCK == 0:
            return _in_one_kernel(codes, scales, dtype).view(shape)
        return scaled(codes, BLOCK, scales, _decode, shape, dtype)

    def stored(self, tensors: Mapping[str, Tensor]) -> matvec.Stored | None:
        return matvec.int8(tensors["codes"], tensors["scales"])


def _in_one_kernel(
    codes: Bytes[Tensor, " P"], scales: Float[Tensor, " G"], dtype: torch.dtype
) -> Float[Tensor, "G 64"]:
    """The same float32 products, rounded as they are written: a GPU reads the codes once."""
    out = torch.empty(len(scales), BLOCK, dtype=dtype, device=codes.device)
    return torch.mul(codes.view(-1, BLOCK), scales.float()[:, None], out=out)


def _decode(codes: Tensor, out: Tensor) -> Tensor:
    return out.copy_(codes)


def _narrowest(scales: Float[Tensor, " G"]) -> Float[Tensor, " G"]:
    kept = (scales == 0) | ((scales >= _HALF.smallest_normal) & (scales <= _HALF.max))
    return scales.half() if kept.all() else scales
