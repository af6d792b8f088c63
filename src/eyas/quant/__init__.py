"""Quantized frozen linears: a weight kept as codes and scales, dense only while it is used."""

from eyas.quant.bitsandbytes import fastest
from eyas.quant.frozen import QUANTIZERS, FrozenConfig, cast_frozen, place, quantize_frozen
from eyas.quant.int8 import Int8
from eyas.quant.linear import QuantizedLinear, Quantizer, codes_hash
from eyas.quant.nf4 import FP4, NF4

__all__ = [
    "FP4",
    "NF4",
    "QUANTIZERS",
    "FrozenConfig",
    "Int8",
    "QuantizedLinear",
    "Quantizer",
    "cast_frozen",
    "codes_hash",
    "fastest",
    "place",
    "quantize_frozen",
]
