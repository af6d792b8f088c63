"""Each compiled chain gives what its plain form gives, in every set of instructions."""

import importlib
from collections.abc import Callable

import pytest
import torch
from tolerance import assert_close
from torch import Tensor

from eyas.fused import Bonus, ValueMix, gated_norm, goose_inputs, shifted_mix, squared_relu
from eyas.fused.softmax_loss import plain_, softmax_loss_
from eyas.native import library, operators

TARGETS = operators.targets() if library() else []
pytestmark = pytest.mark.skipif(not TARGETS, reason="no library")

SHAPES = [(2, 37, 3, 8), (1, 70, 1, 5), (1, 1, 2, 64), (3, 33, 2, 17)]  # B, T, H, N
Arguments = list[Tensor]


def plain_of(name: str) -> Callable:
    return importlib.import_module(f"eyas.fused.{name}").plain


def tokens_and_vectors(shape, tokens: int, vectors: int) -> Arguments:
    B, T, H, N = shape
    g = torch.Generator().manual_seed(sum(shape))
    sizes = [(B, T, H * N)] * tokens + [(H * N,)] * vectors
    return [torch.randn(size, generator=g, dtype=torch.float64) * 1.5 for size in sizes]


def mixing(fused: bool, offset: bool, packed: bool):
    def run(shape, *args: Tensor) -> tuple[Tensor, ...]:
        x, offsets, mixes = args[0], args[1:4] if offset else (), args[4:7]
        last = args[7].new_ones(shape[0], 1) * args[7]
        starts = torch.arange(shape[1]).expand(shape[:2]) % 4 == 1 if packed else None
        if fused:
            return shifted_mix(x, last, mixes, starts, offsets)[0]
        return plain_of("shifted_mix")(x, last, mixes, starts, offsets)

    return run


def goose(fused: bool, later: bool):
    def run(shape, w, a, k, v, mix, first, w0, a0, v0, k_k, k_a) -> tuple[Tensor, ...]:
        make = goose_inputs if fused else plain_of("goose_inputs")
        values = ValueMix(mix, first, v0) if later else None
        made = make(w, a, k, v, shape[2], w0, a0, k_k, k_a, values)
        return made.log_decay, made.key, made.value, made.removal, made.replacement

    return run


def gated(fused: bool, seven: bool):
    def run(shape, y, gate, r, k, v, weight, bias, r_k) -> tuple[Tensor, ...]:
        norm = gated_norm if fused else plain_of("gated_norm")
        own = Bonus(r, k, v, r_k) if seven else None
        return (norm(y, gate, shape[2], weight, bias, own, not seven),)

    return run


def squared(fused: bool):
    return lambda _, x: ((squared_relu if fused else plain_of("squared_relu"))(x),)


CHAINS = {
    "mix": (mixing, (False, False), 4, 4),
    "mix packed": (mixing, (False, True), 4, 4),
    "mix of its own": (mixing, (True, False), 4, 4),
    "mix of its own, packed": (mixing, (True, True), 4, 4),
    "goose, layer 0": (goose, (False,), 6, 5),
    "goose": (goose, (True,), 6, 5),
    "gated, silu": (gated, (False,), 5, 3),
    "gated, bonus": (gated, (True,), 5, 3),
    "squared": (squared, (), 1, 0),
}


def everything(run, shape, args: Arguments) -> list[Tensor]:
    """Outputs, and the gradients of a weighted sum of them."""
    outs = run(shape, *args)
    g = torch.Generator().manual_seed(1)
    weights = [torch.randn(x.shape, generator=g, dtype=torch.float64).to(x) for x in outs]
    loss = sum((x * w).sum() for x, w in zip(outs, weights, strict=True))
    return [*outs, *torch.autograd.grad(loss, args, allow_unused=True, materialize_grads=True)]


@pytest.fixture(params=range(len(TARGETS)), ids=TARGETS)
def target(request, monkeypatch) -> str:
    monkeypatch.setattr("eyas.native.pointwise.best_target", lambda: request.param)
    return TARGETS[request.param]


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", SHAPES)
def test_as_the_plain_form(chain, dtype, shape):
    make, how, tokens, vectors = CHAINS[chain]
    wide = [x.requires_grad_() for x in tokens_and_vectors(shape, tokens, vectors)]
    args = [x.detach().to(dtype).requires_grad_() for x in wide]
    found = everything(make(True, *how), shape, args)
    right = everything(make(False, *how), shape, wide)
    for actual, exact in zip(found, right, strict=True):
        assert actual.dtype == dtype
        assert_close(actual, exact, "gradient")


@pytest.mark.parametrize("chain", CHAINS)
def test_threads_change_no_bit(chain):
    make, how, tokens, vectors = CHAINS[chain]
    shape = (2, 300, 4, 64)
    args = [x.float().requires_grad_() for x in tokens_and_vectors(shape, tokens, vectors)]
    before = torch.get_num_threads()
    found = {}
    for threads in (1, 3):
        torch.set_num_threads(threads)
        found[threads] = everything(make(True, *how), shape, args)
    torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(found[1], found[3], strict=True))


def test_only_what_is_wanted_gets_a_gradient():
    shape = (1, 40, 2, 8)
    args = tokens_and_vectors(shape, 6, 5)
    args[2].requires_grad_()
    made = goose(True, True)(shape, *args)
    (grad,) = torch.autograd.grad(made[1].sum(), [args[2]])
    expected = goose(False, True)(shape, *args)
    assert_close(grad, torch.autograd.grad(expected[1].sum(), [args[2]])[0])


def test_a_vector_of_zeros_has_no_direction():
    shape = (1, 2, 1, 8)
    args = tokens_and_vectors(shape, 6, 5)
    args[2].zero_()
    args = [x.requires_grad_() for x in args]
    found = everything(goose(True, True), shape, args)
    assert all(x.isfinite().all() for x in found)


def test_not_a_number_is_passed_on():
    x = torch.tensor([1.0, float("nan"), -1.0])
    assert squared_relu(x).isnan().tolist() == [False, True, False]
    logits = torch.randn(2, 40)
    logits[1, 3] = float("nan")
    losses = softmax_loss_(logits, torch.tensor([1, 2]), 0.0, True)
    assert losses.isnan().tolist() == [False, True]


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("size", [1, 7, 16, 65, 1000])
@pytest.mark.parametrize("spread", [1.0, 40.0])
@pytest.mark.parametrize("gradient", [True, False])
def test_softmax(dtype, size, spread, gradient):
    g = torch.Generator().manual_seed(size)
    wide = torch.randn(9, size, generator=g, dtype=torch.float64) * spread
    targets = torch.randint(size, (9,), generator=g)
    logits = wide.to(dtype)
    wide = logits.double().clone()
    losses = softmax_loss_(logits, targets, 1e-3, gradient)
    assert_close(losses, torch.nn.functional.cross_entropy(wide, targets, reduction="none"))
    if gradient:
        leaf = wide.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(leaf, targets, reduction="sum")
        (loss + 5e-4 * (leaf.amax(1) ** 2).sum()).backward()
        assert_close(logits, leaf.grad, "gradient")
        plain_(wide, targets, 1e-3, True)
        assert_close(wide, leaf.grad, "gradient")
