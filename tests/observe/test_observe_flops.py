"""The work of a step against PyTorch's own counter of matrix products, and the machine's rate."""

import time
from types import SimpleNamespace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from weights import SHAPES

from eyas.adapters import LoRA, MiSS, attach
from eyas.models import Model, create
from eyas.observe.flops import Utilization, product_rate, utilization_of
from eyas.quant import FrozenConfig
from eyas.training.events import Step
from eyas.training.loss import IGNORED, cross_entropy

ROWS, LENGTH = 2, 24
# An operator without matrix products, through which every gradient goes.
SUMS = SimpleNamespace(
    wkv6=lambda r, w, k, v, bonus, state, *_: (r + w + k + v + bonus, state),
    wkv7=lambda r, w, k, v, a, b, state, *_: (r + w + k + v + a + b, state),
)


def counted(model: Model, trained: int) -> int:
    """Of a forward and backward with so many trained targets."""
    tokens = torch.arange(ROWS * LENGTH).view(ROWS, LENGTH)
    targets = torch.full_like(tokens, IGNORED)
    targets.view(-1)[:trained] = 1
    head = model.head
    with FlopCounterMode(display=False) as counter:
        hidden, _ = model.hidden(tokens)
        weight = head.dense_weight() if hasattr(head, "quantizer") else head.weight
        cross_entropy(hidden, weight, targets).backward()
    return counter.get_total_flops()


def recurrence(model: Model) -> float:
    """3 F of all layers."""
    shape = model.shape
    each = {"x052": 5, "x060": 5, "x070": 9}[shape.version] * shape.width * shape.head_size
    return 3.0 * each * shape.num_layers


@pytest.mark.parametrize("version", SHAPES)
@pytest.mark.parametrize("trained", [1, 30])
def test_full_training(version: str, trained: int) -> None:
    model = create(SHAPES[version], 0, SUMS)
    assert utilization_of(model, 1.0).trained_token_flops == 6 * model.head.weight.numel()
    model.head.requires_grad_(False)  # its gradient is an addmm_, which the counter leaves out
    found = utilization_of(model, 1.0)
    work = (found.token_flops - recurrence(model)) * ROWS * LENGTH
    assert work + found.trained_token_flops * trained == counted(model, trained)


@pytest.mark.parametrize("version", SHAPES)
@pytest.mark.parametrize("method", [LoRA(rank=8), MiSS(rank=16)], ids=["lora", "miss"])
@pytest.mark.parametrize("quant", ["none", "int8"])
def test_adapters_over_a_frozen_base(version: str, method: LoRA | MiSS, quant: str) -> None:
    model = create(SHAPES[version], 0, SUMS)
    frozen = FrozenConfig(quant=quant, quant_head=quant != "none")
    attach(model, method, frozen=frozen)
    # Without this no gradient would go into the first layer's linears, as into all others.
    model.emb.weight.requires_grad_(True)
    found = utilization_of(model, 1.0)
    work = (found.token_flops - recurrence(model)) * ROWS * LENGTH
    assert work + found.trained_token_flops * 30 == counted(model, 30)


def test_utilization_of_a_step() -> None:
    # 100 tokens of 6 and 50 trained ones of 4 FLOPs more, in half a second: 1600 FLOP/s.
    step = Step(1, 2.0, 1e-4, 0.5, 100, 50, 0.5, 2**30)
    assert Utilization(6.0, 4.0, 6400.0).of(step) == pytest.approx(0.25)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rate_of_this_machine(dtype: torch.dtype) -> None:
    started = time.perf_counter()
    rate = product_rate(dtype, torch.device("cpu"), seconds=0.05)
    assert time.perf_counter() - started < 3  # twenty times what it takes in a quiet minute
    assert 1e7 < rate < 1e14
