"""Factors over a quantized base: what is taken from a weight before it is quantized.

    repeat T times:   Q = quantize(W - B_q A_q)        (A_q, B_q) from the pair before, in bf16
                      (A, B) = the principal part of W - dequantize(Q)

Started from W's own principal part this is QPiSSA (Meng et al. 2024, section 4, which ends before
the last decomposition; one more can only lessen the error, Eckart and Young 1936); started from
nothing it is LoftQ (Li et al. 2023, arXiv 2310.08659, algorithm 1). The model then trains

    y = dequantize(Q) x + B A x

The pair that the codes were made with is kept beside the adapter, so that base and adapter give
the very same codes again; as bf16, whose rounding the residual takes up. Its product is formed in
float64: what is rounded to float32 then is the same on every machine.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from eyas.quant import Quantizer

Factors = tuple[Float[Tensor, "R I"], Float[Tensor, "O R"]]
"""A, B of a product B A."""


def alternate(
    weight: Float[Tensor, "O I"],
    quantizer: Quantizer,
    iterations: int,
    principal: Callable[[Float[Tensor, "O I"]], Factors],
    first: Factors,
) -> tuple[Factors, Factors]:
    """The factors to start training from, and those that the codes were made with.

    iterations: quantizations; at least 1. first: the factors of the first residual.
    """
    factors = first
    for _ in range(iterations):
        made_with = stored(factors)
        codes = quantizer.quantize(residual(weight, *made_with))
        error = weight - quantizer.dequantize(codes, (weight.shape[0], weight.shape[1]))
        factors = principal(error)
    return factors, made_with


def stored(factors: Factors) -> Factors:
    """The factors as the adapter keeps them to make the codes again."""
    A, B = factors
    return A.to(torch.bfloat16), B.to(torch.bfloat16)


def residual(
    weight: Float[Tensor, "O I"], A: Float[Tensor, "R I"], B: Float[Tensor, "O R"]
) -> Float[Tensor, "O I"]:
    """W - B A, in the weight's type."""
    return (weight.double() - B.double() @ A.double()).to(weight.dtype)
