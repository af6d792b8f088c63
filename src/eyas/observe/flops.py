"""Floating-point operations of training, and the rate at which this machine can do them.

With P the entries of a matrix that a token is multiplied with, a product costs 2 P, and so does
each gradient in its backward:

    a frozen matrix               2 P forward + 2 P for the gradient of its input  = 4 P
    a trained one, an adapter's   2 P more for its own gradient                    = 6 P
    the head                      the same, but for trained tokens alone
    wkv, in each layer            3 F: forward, and a backward of twice that

F counts the recurrence over a state [N, N] in each head: 9 C N for RWKV-7 (decay 1, S a 2,
(S a) b^T 2, v k^T 2, S r 2), 5 C N for RWKV-5 and 6 (decay 1, v k^T 2, S r 2).

This is the work that a step cannot do without: MFU, model FLOPs utilization, is this work in a
second over the machine's rate. Elementwise work is left out, and so is what is done twice:
activations computed again, PiSSA's start, weights dequantized.
"""

import time
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from eyas.models import Model
from eyas.quant import QuantizedLinear
from eyas.training.events import Step

_RECURRENCE = {"x052": 5, "x060": 5, "x070": 9}  # F / (C N)
_SMALLEST, _LARGEST = 256, 4096
_NO_MATRICES = ("r_k", "time_faaaa", "time_decay", "time_state")
_QUEUED = 8


@dataclass(frozen=True)
class Utilization:
    """What the speed of a run is measured against."""

    token_flops: float
    trained_token_flops: float  # besides
    peak_flops: float  # in a second, of all devices together

    def of(self, step: Step) -> float:
        """MFU of a step, from 0 to 1."""
        work = self.token_flops * step.tokens + self.trained_token_flops * step.trained_tokens
        return work / max(step.seconds, 1e-9) / self.peak_flops


def utilization_of(model: Model, peak_flops: float) -> Utilization:
    """The work of training a model that has its adapter attached, on a machine of that rate."""
    blocks = sum(_flops(module) for module in model.blocks.modules())
    shape = model.shape
    recurrence = _RECURRENCE[shape.version] * shape.width * shape.head_size * shape.num_layers
    head = sum(_flops(module) for module in model.head.modules())
    return Utilization(blocks + 3 * recurrence, head, peak_flops)


def product_rate(dtype: torch.dtype, device: torch.device, seconds: float = 0.3) -> float:
    """The rate of the fastest product of square matrices, in FLOP/s; takes about `seconds`."""
    # On a GPU several at a time, which it has queued.
    count = 1 if device.type == "cpu" else _QUEUED
    size, fastest, left = _SMALLEST, 0.0, seconds
    factors = _factors(size, dtype, device)
    _seconds(*factors, 1)  # the first one starts threads
    while left > 0:
        took = _seconds(*factors, count)
        fastest = max(fastest, 2 * size**3 * count / took)
        left -= took
        if took * 2**3 < left and size < _LARGEST:
            size *= 2  # what disturbs a product counts less in a larger one
            factors = _factors(size, dtype, device)
    return fastest


def _flops(module: nn.Module) -> float:
    """Of the matrices that are this module's own, for one token, forward and backward."""
    if isinstance(module, QuantizedLinear):
        return 4.0 * module.in_features * module.out_features
    matrices = (p for n, p in module.named_parameters(recurse=False) if _is_matrix(n, p))
    return sum(((6.0 if p.requires_grad else 4.0) * p.numel() for p in matrices), 0.0)


def _is_matrix(name: str, parameter: Tensor) -> bool:
    """Whether tokens are multiplied with it: not so what is a number a channel, or the state."""
    return sum(size > 1 for size in parameter.shape) > 1 and name not in _NO_MATRICES


def _factors(size: int, dtype: torch.dtype, device: torch.device) -> tuple[Tensor, Tensor]:
    # Of numbers that are spread out: products of zeros can be faster.
    matrix = torch.linspace(-1, 1, size * size, dtype=torch.float32, device=device)
    matrix = matrix.view(size, size).to(dtype)
    return matrix, matrix.mT.contiguous()


def _seconds(left: Tensor, right: Tensor, count: int) -> float:
    """Of so many products."""
    _finish(left.device)
    started = time.perf_counter()
    for _ in range(count):
        left @ right
    _finish(left.device)
    return time.perf_counter() - started


def _finish(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
