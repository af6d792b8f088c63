"""Every backend against a float64 loop written from the papers' equations."""

import pytest
import torch
from tolerance import assert_close
from torch import Tensor

from eyas import wkv
from eyas.native import library

BACKENDS = [wkv.reference, wkv.chunked, *([wkv.native] if library() else [])]
OPERATORS = ["wkv6", "wkv7"]


def loop(name: str, args: list[Tensor]) -> tuple[Tensor, Tensor]:
    """One head at a time, one token at a time, with outer products."""
    r, w, k, v = args[:4]
    out = torch.zeros_like(r)
    final = torch.zeros_like(args[-1])
    for i in range(r.shape[0]):
        for h in range(r.shape[2]):
            S = args[-1][i, h]
            for t in range(r.shape[1]):
                decay = torch.diag(torch.exp(w[i, t, h]))
                write = torch.outer(v[i, t, h], k[i, t, h])
                if name == "wkv6":
                    bonus = torch.outer(v[i, t, h], args[4][h] * k[i, t, h])
                    out[i, t, h] = (S + bonus) @ r[i, t, h]
                    S = S @ decay + write
                else:
                    a, b = args[4][i, t, h], args[5][i, t, h]
                    S = S @ (decay + torch.outer(a, b)) + write
                    out[i, t, h] = S @ r[i, t, h]
            final[i, h] = S
    return out, final


def inputs(name: str, length: int, decay: str, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    g = torch.Generator().manual_seed(length)
    shape = (2, length, 3, 8)
    r, k, v = (torch.randn(shape, generator=g, dtype=torch.float64) for _ in range(3))
    uniform = torch.rand(shape, generator=g, dtype=torch.float64)
    log_decay = {"weak": -0.6 * uniform, "mixed": -20 * uniform**4, "strong": -20 * uniform}[decay]
    state = torch.randn(2, 3, 8, 8, generator=g, dtype=torch.float64)
    removal = torch.nn.functional.normalize(
        torch.randn(shape, generator=g, dtype=torch.float64), dim=-1
    )
    rate = torch.rand(shape, generator=g, dtype=torch.float64)
    own = [torch.randn(3, 8, generator=g, dtype=torch.float64)]
    if name == "wkv7":
        own = [-removal, removal * rate]
    return [x.to(dtype).requires_grad_() for x in (r, log_decay, k, v, *own, state)]


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("decay", ["weak", "mixed", "strong"])
@pytest.mark.parametrize("length", [1, 15, 63, 64, 100])
def test_equals_the_papers_loop_forward_and_backward(backend, name, decay, length):
    args = inputs(name, length, decay)
    found = getattr(backend, name)(*args)
    expected = loop(name, [x.detach() for x in args])
    for actual, right in zip(found, expected, strict=True):
        assert_close(actual, right)
    if length > 64:
        return  # the loop's own backward takes seconds there
    # In-place writes into `out` are differentiable: the same loop gives the gradients.
    right = loop(name, args)
    weights = [torch.randn_like(x) for x in right]
    losses = [sum((x * w).sum() for x, w in zip(xs, weights, strict=True)) for xs in (found, right)]
    for actual, exact in zip(*(torch.autograd.grad(x, args) for x in losses), strict=True):
        assert_close(actual, exact, "gradient")


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_narrow_types_stay_close(backend, name, dtype):
    args = [x.detach() for x in inputs(name, 64, "mixed", dtype)]
    args[-1] = args[-1].float()
    out, state = getattr(backend, name)(*args)
    exact, exact_state = getattr(wkv.reference, name)(*[x.double() for x in args])
    assert out.dtype == dtype
    assert_close(out, exact)
    assert_close(state, exact_state)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("cut", [1, 31, 50])
def test_cut_sequences_carry_the_state(backend, name, cut):
    args = [x.detach() for x in inputs(name, 70, "mixed")]
    whole, end = getattr(backend, name)(*args)
    # the bonus [H, N] belongs to no token
    first, second = ([x[:, s] if x.dim() == 4 and x.shape[1] == 70 else x for x in args[:-1]]
                     for s in (slice(0, cut), slice(cut, None)))  # fmt: skip
    start, between = getattr(backend, name)(*first, args[-1])
    rest, state = getattr(backend, name)(*second, between)
    assert_close(torch.cat((start, rest), 1), whole)
    assert_close(state, end)


@pytest.mark.parametrize("backend", BACKENDS[1:], ids=lambda b: b.__name__)
@pytest.mark.parametrize("name", OPERATORS)
def test_extreme_decay_gives_no_nan(backend, name):
    args = inputs(name, 64, "weak", torch.float32)
    args[1] = torch.full_like(args[1], -1000.0).requires_grad_()
    out, state = getattr(backend, name)(*args)
    grads = torch.autograd.grad(out.sum() + state.sum(), args)
    assert all(torch.isfinite(x).all() for x in (out, state, *grads))
