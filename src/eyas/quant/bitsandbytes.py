"""bitsandbytes' dequantization kernel for NF4 and FP4, where it is installed.

It forms the same product of the same float32 numbers and rounds it once, so that its bits are
those of the reference, `nf4.look_up`, but for bfloat16 numbers below 1e-38, which some processors
round to zero. `fastest` takes it only where that is so.
"""

import logging
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from eyas.quant.blocks import BLOCK
from eyas.quant.linear import Quantizer
from eyas.quant.nf4 import NF4, look_up

_TYPES = (torch.float32, torch.bfloat16, torch.float16)


def unpack(
    codes: UInt8[Tensor, " P"],
    scales: Float32[Tensor, " G"],
    name: str,
    shape: tuple[int, int],
    dtype: torch.dtype,
) -> Float[Tensor, "O I"]:
    """Dequantizes by bitsandbytes, which must have been imported, and by the reference what its
    kernels are not made for: other types, and on the CPU rows that end inside a block."""
    if dtype not in _TYPES or (codes.device.type == "cpu" and shape[1] % BLOCK):
        return look_up(codes, scales, name, shape, dtype)
    operator = torch.ops.bitsandbytes.dequantize_4bit
    weight: Tensor = operator(codes, scales, BLOCK, name, list(shape), dtype)
    return weight


def fastest(quantizer: Quantizer, device: torch.device) -> Quantizer:
    """The quantizer, with bitsandbytes' kernel where it has one whose bits agree on this device."""
    if not isinstance(quantizer, NF4) or find_spec("bitsandbytes") is None:
        return quantizer
    # At its import it warns of an optional package that is of no use here.
    logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
    import_module("bitsandbytes")  # makes its operators known to torch
    codes = torch.arange(256, device=device).repeat(16).to(torch.uint8)
    scales = torch.logspace(-6, 2, len(codes) * 2 // BLOCK, device=device)
    sample = codes, scales, quantizer.name, (len(scales), BLOCK)
    agrees = all(torch.equal(unpack(*sample, t), look_up(*sample, t)) for t in _TYPES)
    return replace(quantizer, unpack=unpack) if agrees else quantizer
