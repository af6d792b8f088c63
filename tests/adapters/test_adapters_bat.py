"""Bat in both conventions, against its definition, tile by tile, and against HF peft."""

import warnings

import pytest
import torch
from tolerance import assert_close
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

from eyas.adapters import Bat
from eyas.models import Linear
from eyas.quant import Int8, QuantizedLinear

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from peft import MissConfig, get_peft_model

CONVENTIONS = pytest.mark.parametrize("blocks", ["in", "out"])
SHAPES = pytest.mark.parametrize(
    ("rows", "columns", "rank"), [(24, 16, 4), (16, 24, 8), (12, 12, 3), (5, 3, 1), (6, 6, 6)]
)


def bat_layer(rows, columns, rank, blocks, base=None, dtype=torch.float64):
    torch.manual_seed(0)
    if base is None:
        base = Linear(columns, rows)
        base.weight = nn.Parameter(torch.randn(rows, columns, dtype=dtype), requires_grad=False)
    count = (columns if blocks == "in" else rows) // rank
    D = torch.randn(count, rank, rank, dtype=torch.promote_types(dtype, torch.float32)) / 4
    return Bat(rank=rank, blocks=blocks).layer(base, {"bat_D": D})


def changed(weight, D, blocks):
    """W'_ab = W_ab + W_ab D_x + D_x, by loops."""
    rank, rows = D.shape[-1], []
    for a in range(weight.shape[0] // rank):
        row = []
        for b in range(weight.shape[1] // rank):
            tile = weight[a * rank : (a + 1) * rank, b * rank : (b + 1) * rank]
            own = D[b if blocks == "in" else a]
            row.append(tile + tile @ own + own)
        rows.append(torch.cat(row, dim=1))
    return torch.cat(rows)


@CONVENTIONS
@SHAPES
def test_delta_is_the_change_of_every_tile(rows, columns, rank, blocks):
    layer = bat_layer(rows, columns, rank, blocks)
    weight = layer.base.weight.detach()
    assert_close(weight + layer.delta(), changed(weight, layer.bat_D.detach(), blocks))


def test_the_conventions_differ_where_the_shapes_do_not():
    by_input, by_output = (bat_layer(12, 12, 3, blocks) for blocks in ("in", "out"))
    assert torch.equal(by_input.bat_D, by_output.bat_D)
    assert (by_input.delta() - by_output.delta()).norm() > 0.1 * by_input.delta().norm()


@CONVENTIONS
@SHAPES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_change_and_gradients_are_those_of_the_dense_weight(rows, columns, rank, blocks, dtype):
    layer = bat_layer(rows, columns, rank, blocks, dtype=dtype)
    x, weights = (torch.randn(2, 3, n, dtype=dtype) for n in (columns, rows))
    x.requires_grad_()
    wide_x, D = x.detach().double().requires_grad_(), layer.bat_D.detach().double()
    D.requires_grad_()
    wide = wide_x @ changed(layer.base.weight.double(), D, blocks).mT
    out = layer(x)
    if dtype in (torch.float64, torch.float32):
        assert_close(layer.change(x).detach(), x.detach() @ layer.delta().mT)
        assert_close(out.detach(), layer.base(x).detach() + layer.change(x).detach())
    assert_close(out.detach(), wide.detach())
    (wide * weights).sum().backward()
    (out * weights).sum().backward()
    assert layer.bat_D.grad.dtype == layer.bat_D.dtype
    assert_close(x.grad, wide_x.grad, "gradient")
    assert_close(layer.bat_D.grad.to(dtype), D.grad, "gradient")


@CONVENTIONS
@SHAPES
def test_over_a_quantized_base(rows, columns, rank, blocks):
    torch.manual_seed(0)
    base = QuantizedLinear.of(torch.randn(rows, columns), Int8())
    layer = bat_layer(rows, columns, rank, blocks, base, torch.float32)
    x = torch.randn(7, columns)
    merged = changed(base.dense_weight().double(), layer.bat_D.detach().double(), blocks)
    assert_close(base.dense_weight() + layer.delta(), merged)
    assert_close(layer(x).detach(), x.double() @ merged.mT)


@CONVENTIONS
@pytest.mark.parametrize("stored", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
def test_starts_at_the_base_bit_for_bit(blocks, stored, computed):
    base, method = bat_layer(24, 16, 4, blocks, dtype=stored).base, Bat(rank=4, blocks=blocks)
    tensors = method.start(base.dense_weight().float(), torch.Generator())
    assert {name: (t.shape, t.dtype) for name, t in tensors.items()} == {
        "bat_D": ((4 if blocks == "in" else 6, 4, 4), torch.float32)
    }
    x = torch.randn(40, 16, dtype=computed)  # as in training: few rows are a product of their own
    assert torch.equal(method.layer(base, tensors)(x), base(x))


class _Watch(TorchDispatchMode):
    """Remembers the memory of every result of at least so many numbers."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers, self.seen = numbers, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor) and out.numel() >= self.numbers:
            self.seen.append(StorageWeakRef(out.untyped_storage()))
        return out


@CONVENTIONS
@pytest.mark.parametrize("quantized", [False, True])
@pytest.mark.parametrize("computed", [torch.float32, torch.bfloat16])
def test_no_dense_weight_is_kept_for_the_backward(blocks, quantized, computed):
    weight = torch.randn(64, 32)
    base = Linear(32, 64)
    base.weight = nn.Parameter(weight.bfloat16(), requires_grad=False)
    base = QuantizedLinear.of(weight, Int8()) if quantized else base
    layer = bat_layer(64, 32, 8, blocks, base, torch.float32)
    own = {StorageWeakRef(p.untyped_storage()).cdata for p in base.parameters()}
    x, kept = torch.randn(3, 32, dtype=computed, requires_grad=True), []
    with (
        _Watch(weight.numel()) as watch,
        torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t),
    ):
        out = layer(x)
    assert watch.seen  # a dense weight was there, and is no more
    assert all(ref.expired() or ref.cdata in own for ref in watch.seen)
    large = [t for t in kept if t.numel() >= weight.numel()]
    assert all(StorageWeakRef(t.untyped_storage()).cdata in own for t in large)
    out.sum().backward()
    assert x.grad is not None
    assert layer.bat_D.grad.any()


def test_a_rank_that_does_not_fit_is_named():
    with pytest.raises(ValueError, match=r"^rank = 0 "):
        Bat(rank=0)
    with pytest.raises(ValueError, match=r"rank 48 .*\[640, 2240\].*--rank 40 or 64$"):
        Bat(rank=48).start(torch.zeros(640, 2240), torch.Generator())
    with pytest.raises(ValueError, match=r"rank 65 .*\[64, 224\].*--rank 32$"):
        Bat(rank=65).start(torch.zeros(64, 224), torch.Generator())


def train(layers, parameters, rows, columns):
    """20 steps of AdamW on the same data."""
    optimizers = [torch.optim.AdamW([p], lr=1e-2, weight_decay=0.0) for p in parameters]
    for _ in range(20):
        x, y = (torch.randn(32, n, dtype=torch.float64) for n in (columns, rows))
        for layer, optimizer in zip(layers, optimizers, strict=True):
            optimizer.zero_grad()
            (layer(x) - y).square().mean().backward()
            optimizer.step()


def test_the_output_convention_trains_as_peft_does():
    ours = bat_layer(24, 16, 4, "out")
    weight, start = ours.base.weight.detach(), ours.bat_D.detach().clone()
    theirs = peft_layer(weight, start)
    D = theirs.miss_block["default"]
    train((ours, theirs), (ours.bat_D, D), 24, 16)
    assert not torch.equal(D, start)
    assert_close(ours.bat_D.detach(), D.detach())
    assert_close(ours.delta(), theirs.get_delta_weight("default", weight).detach())


class _Tiles(nn.Module):
    """The input convention as published: the dense weight, changed tile by tile."""

    def __init__(self, weight, D):
        super().__init__()
        self.weight, self.D = weight, nn.Parameter(D.clone())

    def forward(self, x):
        return x @ changed(self.weight, self.D, "in").mT


def test_the_input_convention_trains_as_published():
    ours = bat_layer(24, 16, 4, "in")
    weight, start = ours.base.weight.detach(), ours.bat_D.detach().clone()
    theirs = _Tiles(weight, start)
    train((ours, theirs), (ours.bat_D, theirs.D), 24, 16)
    assert not torch.equal(theirs.D, start)
    assert_close(ours.bat_D.detach(), theirs.D.detach())


def peft_layer(weight, D):
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False)
    linear.weight = nn.Parameter(weight.clone())
    config = MissConfig(r=D.shape[-1], target_modules=["0"], init_weights="bat")
    layer = get_peft_model(nn.Sequential(linear), config).base_model.model[0].double()
    with torch.no_grad():
        layer.miss_block["default"].copy_(D)
    return layer
