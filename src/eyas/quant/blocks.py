"""A weight as blocks of 64 values that share one scale, taken along its rows.

The last block may be short. Both directions go over the weight a few blocks at a time, so that
neither needs a second copy of it in float32, and both use only operations whose results depend
neither on the number of threads nor on the device.
"""

from collections.abc import Callable, Iterator

import torch
from jaxtyping import Float, Shaped
from torch import Tensor
from torch.nn import functional as F

BLOCK = 64
_BLOCKS_AT_ONCE = {"cpu": 1 << 13}  # these fit a cache; elsewhere starting a kernel costs more
_BLOCKS_ELSEWHERE = 1 << 18


def count_blocks(weight: Float[Tensor, "O I"]) -> int:
    """How many blocks hold the weight."""
    return -(-weight.numel() // BLOCK)


def blocks_of(weight: Float[Tensor, "O I"]) -> Iterator[tuple[slice, Float[Tensor, "G 64"]]]:
    """Some blocks at a time: which they are, and their values in float32.

    A short block comes last and by itself, filled up with zeros.
    """
    flat, step = weight.detach().reshape(-1), _at_once(weight.device)
    whole = flat.numel() // BLOCK
    for start in range(0, whole, step):
        part = slice(start, min(start + step, whole))
        yield part, flat[part.start * BLOCK : part.stop * BLOCK].view(-1, BLOCK).float()
    last = flat[whole * BLOCK :]
    if len(last):
        yield slice(whole, whole + 1), F.pad(last.float(), (0, BLOCK - len(last)))[None]


def first(tensor: Shaped[Tensor, "..."], length: int) -> Shaped[Tensor, " {length}"]:
    """That many elements, row by row, in a storage of just that length."""
    flat = tensor.view(-1)
    return flat if len(flat) == length else flat[:length].clone()


def check_finite(maxima: Float[Tensor, " G"]) -> None:
    """Raises ValueError where a block's largest magnitude tells of NaN or inf in it."""
    if not torch.isfinite(maxima).all():
        raise ValueError("the weight holds NaN or inf and cannot be quantized")


def scaled(
    codes: Shaped[Tensor, " P"],
    codes_per_block: int,
    scales: Float[Tensor, " G"],
    decode: Callable[[Tensor, Tensor], object],
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> Float[Tensor, "O I"]:
    """Each code's value times the scale of its block: a float32 product, rounded once to dtype.

    decode(codes [g, codes_per_block], out [g, 64]): writes the float32 values of these codes.
    """
    rows, columns = shape
    if short := -len(codes) % codes_per_block:
        codes = F.pad(codes, (0, short))
    out = torch.empty(len(scales), BLOCK, dtype=dtype, device=codes.device)
    whole = out, codes.view(-1, codes_per_block), scales.float()[:, None]
    parts = (tensor.split(_at_once(codes.device)) for tensor in whole)
    for part, of_part, scale in zip(*parts, strict=True):
        work = part if dtype == torch.float32 else torch.empty_like(part, dtype=torch.float32)
        decode(of_part, work)
        work.mul_(scale)
        if work is not part:
            part.copy_(work)
    return out.view(-1)[: rows * columns].view(rows, columns)


def _at_once(device: torch.device) -> int:
    return _BLOCKS_AT_ONCE.get(device.type, _BLOCKS_ELSEWHERE)
