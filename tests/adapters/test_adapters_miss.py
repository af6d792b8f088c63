"""MiSS against its definition and against HF peft."""

import warnings

import pytest
import torch
from tolerance import assert_close
from torch import nn

from eyas.adapters import MiSS
from eyas.models import Linear
from eyas.quant import Int8, QuantizedLinear

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from peft import MissConfig, get_peft_model

SHAPES = pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(24, 16, 4), (24, 18, 4), (12, 16, 7), (16, 12, 12), (6, 5, 1)]
)


def miss_layer(rows, columns, rank, dtype=torch.float64):
    torch.manual_seed(0)
    base = Linear(columns, rows)
    base.weight = nn.Parameter(torch.randn(rows, columns, dtype=dtype), requires_grad=False)
    master = torch.promote_types(dtype, torch.float32)
    return MiSS(rank=rank).layer(base, {"miss_D": torch.randn(rank, rows, dtype=master)})


def repeated(D, columns):
    """delta[o, i] = D[i mod r, o], entry by entry."""
    return torch.stack([D[i % len(D)] for i in range(columns)], dim=1)


@SHAPES
def test_delta_is_the_shared_matrix_repeated(rows, columns, rank):
    layer = miss_layer(rows, columns, rank)
    assert torch.equal(layer.delta(), repeated(layer.miss_D.detach(), columns))


@SHAPES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_change_and_gradients_are_those_of_the_dense_weight(rows, columns, rank, dtype):
    layer = miss_layer(rows, columns, rank, dtype)
    x, weights = (torch.randn(2, 3, n, dtype=dtype) for n in (columns, rows))
    x.requires_grad_()
    wide_x, D = x.detach().double().requires_grad_(), layer.miss_D.detach().double()
    D.requires_grad_()
    wide = wide_x @ (layer.base.weight.double() + repeated(D, columns)).mT
    out = layer(x)
    assert_close(layer.change(x).detach(), wide_x.detach() @ layer.delta().double().mT)
    assert_close(out.detach(), wide.detach())
    (wide * weights).sum().backward()
    (out * weights).sum().backward()
    assert layer.miss_D.grad.dtype == layer.miss_D.dtype
    assert_close(x.grad, wide_x.grad, "gradient")
    assert_close(layer.miss_D.grad.to(dtype), D.grad, "gradient")


@SHAPES
def test_over_a_quantized_base(rows, columns, rank):
    torch.manual_seed(0)
    base = QuantizedLinear.of(torch.randn(rows, columns), Int8())
    layer = MiSS(rank=rank).layer(base, {"miss_D": torch.randn(rank, rows)})
    x = torch.randn(7, columns)
    assert_close(layer(x).detach(), x @ (base.dense_weight() + layer.delta()).mT)


@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
def test_starts_at_the_base_bit_for_bit(stored, computed):
    base = miss_layer(24, 18, 4, stored).base
    weight = base.dense_weight().float()
    tensors = MiSS(rank=4).start(weight, torch.Generator())
    assert {name: (t.shape, t.dtype) for name, t in tensors.items()} == {
        "miss_D": ((4, 24), torch.float32)
    }
    x = torch.randn(5, 18, dtype=computed)
    assert torch.equal(MiSS(rank=4).layer(base, tensors)(x), base(x))


def test_keeps_no_copy_of_the_input_for_the_backward():
    layer = miss_layer(24, 18, 4, torch.float32)
    x, kept = torch.randn(50, 18, requires_grad=True), []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        layer.change(x)
    assert kept
    assert max(tensor.numel() for tensor in kept) <= 50 * 4


def test_a_rank_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"^rank = 0 "):
        MiSS(rank=0)
    with pytest.raises(ValueError, match=r"rank 17 .*\[24, 16\].*--rank 16 or less"):
        MiSS(rank=17).start(torch.zeros(24, 16), torch.Generator())


@pytest.mark.parametrize("columns", [16, 18])
def test_trains_as_peft_does(columns):
    ours = miss_layer(24, columns, 4)
    weight, start = ours.base.weight.detach(), ours.miss_D.detach().clone()
    theirs = peft_layer(weight, start)
    D = theirs.miss_block["default"]
    optimizers = [torch.optim.AdamW([p], lr=1e-2, weight_decay=0.0) for p in (ours.miss_D, D)]
    for _ in range(20):
        x, y = (torch.randn(32, n, dtype=torch.float64) for n in (columns, 24))
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            (layer(x) - y).square().mean().backward()
            optimizer.step()
    assert not torch.equal(D, start)
    assert_close(ours.miss_D.detach(), D.detach())
    merged = theirs.get_delta_weight_miss("default", weight.clone())  # the sum, whatever its name
    assert_close(weight + ours.delta(), merged.detach())


def peft_layer(weight, D):
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone())
    config = MissConfig(r=len(D), target_modules=["0"], init_weights=True)
    layer = get_peft_model(nn.Sequential(linear), config).base_model.model[0].double()
    with torch.no_grad():
        layer.miss_block["default"].copy_(D)
    return layer
