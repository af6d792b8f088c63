"""Quantized frozen linears: a weight kept as codes and scales, dense only while it is used."""

from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.quant.bitsandbytes import fastest
from eyas.quant.frozen import FrozenConfig, cast_frozen, place, quantize_frozen
from eyas.quant.int8 import Int8
from eyas.quant.linear import QuantizedLinear, Quantizer, codes_hash
from eyas.quant.nf4 import FP4, NF4

QUANTIZERS: tuple[type[Int8] | type[NF4], ...] = (Int8, NF4, FP4)


def quantizer_named(name: str) -> Quantizer:
    """The quantizer of that name; `4bit` is RWKV-PEFT's name for fp4.

    Raises UserError where there is none.
    """
    by_name = {cls.name: cls for cls in QUANTIZERS} | {"4bit": FP4}
    if name not in by_name:
        raise UserError(
            f"no quantizer '{name}'{did_you_mean(name, by_name)}; there are {', '.join(by_name)}"
        )
    return by_name[name]()


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
    "quantizer_named",
]
