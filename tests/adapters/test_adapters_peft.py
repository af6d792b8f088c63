"""PiSSA and LoRA against HF peft: the same start and data give the same training."""

import warnings

import pytest
import torch
from tolerance import assert_close
from torch import nn

from eyas.adapters import LoRA, PiSSA
from eyas.models import Linear

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from peft import LoraConfig, get_peft_model


@pytest.mark.parametrize("method", [PiSSA(rank=4), LoRA(rank=4, alpha=8.0)], ids=lambda m: m.name)
def test_trains_as_peft_does(method):
    torch.manual_seed(0)
    weight = torch.randn(24, 16, dtype=torch.float64)
    start = method.start(weight, torch.Generator().manual_seed(1))
    start = {name: tensor.double() for name, tensor in start.items()}
    base = Linear(16, 24)
    base.weight = nn.Parameter(weight.clone(), requires_grad=False)
    ours = method.layer(base, start)
    theirs = peft_layer(weight, method)
    lora_A, lora_B = theirs.lora_A["default"].weight, theirs.lora_B["default"].weight
    with torch.no_grad():
        lora_A.copy_(ours.lora_A)
        lora_B.copy_(ours.lora_B)
        if ours.lora_A0 is not None:  # peft holds the residual as its base
            theirs.base_layer.weight.copy_(weight - ours.lora_B0 @ ours.lora_A0)
    optimizers = [torch.optim.AdamW([a, b], lr=1e-2, weight_decay=0.0)
                  for a, b in ((ours.lora_A, ours.lora_B), (lora_A, lora_B))]  # fmt: skip
    for _ in range(20):
        x, y = (torch.randn(32, n, dtype=torch.float64) for n in (16, 24))
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (layer(x) - y).square().mean().backward()
            optimizer.step()
    merged = theirs.base_layer.weight + theirs.get_delta_weight("default")
    assert_close(weight + ours.delta(), merged.detach())


def peft_layer(weight, method):
    linear = nn.Linear(16, 24, bias=False)
    linear.weight = nn.Parameter(weight.clone())
    alpha = getattr(method, "alpha", None) or method.rank
    config = LoraConfig(r=method.rank, lora_alpha=alpha, target_modules=["0"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return get_peft_model(nn.Sequential(linear), config).base_model.model[0].double()
