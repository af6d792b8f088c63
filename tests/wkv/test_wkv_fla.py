"""fla's kernels against the reference: on a GPU, and without one through Triton's interpreter.

The same tests run on both; `test_through_the_interpreter` starts pytest on this file once more.
bfloat16 is for the GPU alone, and float32 for the interpreter: a GPU multiplies it as TF32.
"""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from test_wkv_operators import OPERATORS
from test_wkv_packing import alone
from tolerance import assert_close
from torch import Tensor

from eyas import wkv
from eyas.wkv import fla, native

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
MISSING = not (find_spec("fla") and find_spec("triton"))
HAS_GPU = torch.cuda.is_available() and not INTERPRETED
DEVICE = "cuda" if HAS_GPU else "cpu"
TYPES = [torch.float16, torch.bfloat16] if HAS_GPU else [torch.float16, torch.float32]
H, N = (3, 64) if HAS_GPU else (2, 16)
LENGTHS = {torch.float32: 17, torch.float16: 70, torch.bfloat16: 150}  # more than a chunk

kernels = [
    pytest.mark.gpu,
    pytest.mark.skipif(MISSING, reason="needs fla-core and triton"),
    pytest.mark.skipif(not (HAS_GPU or INTERPRETED), reason="needs CUDA, or Triton's interpreter"),
]


def with_kernels(test):
    for mark in kernels:
        test = mark(test)
    return test


@pytest.fixture(autouse=True)
def _tf32_is_allowed(monkeypatch):
    """So that float32 does not go elsewhere."""
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "high")


def arguments(
    name: str, length: int, dtype: torch.dtype, strong: bool = False, rows: int = 1
) -> list[Tensor]:
    """In the operator's order; decay and state are float32."""
    g = torch.Generator().manual_seed(length)
    shape = (rows, length, H, N)

    def normal(*of: int) -> Tensor:
        return torch.randn(*of, generator=g)

    r, k, v, removal = (normal(*shape) for _ in range(4))
    share, rate = torch.rand(2, *shape, generator=g)
    log_decay = -20 * share**4 if strong else -0.606 * share
    removal = torch.nn.functional.normalize(removal, dim=-1)
    own = [normal(H, N)] if name == "wkv6" else [-removal, removal * rate]
    r, k, v, *own = (x.to(dtype) for x in (r, k / N**0.5, v, *own))
    args = (r, log_decay, k, v, *own, normal(rows, H, N, N))
    return [x.to(DEVICE).requires_grad_() for x in args]


def fresh_state() -> Tensor:
    g = torch.Generator().manual_seed(1)
    return torch.randn(H, N, N, generator=g).to(DEVICE).requires_grad_()


def assert_agree(found, right, leaves: list[Tensor], exact: list[Tensor]) -> None:
    """Outputs, states, and the gradients of a weighted sum of both."""
    for actual, expected in zip(found, right, strict=True):
        assert_near(actual, expected, leaves[0].dtype)
    g = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, generator=g).to(DEVICE) for x in found]
    sums = [
        sum((x * w.to(x)).sum() for x, w in zip(xs, weights, strict=True)) for xs in (found, right)
    ]
    grads = torch.autograd.grad(sums[0], leaves)
    for actual, expected in zip(grads, torch.autograd.grad(sums[1], exact), strict=True):
        assert_near(actual, expected, leaves[0].dtype, "gradient")


def assert_near(actual: Tensor, expected: Tensor, dtype: torch.dtype, kind="forward") -> None:
    """By the type that was multiplied in, which is narrower than the state's."""
    assert actual.shape == expected.shape
    assert_close(actual.to(dtype), expected, kind)


def wide(tensors: list[Tensor]) -> list[Tensor]:
    return [x.detach().double().requires_grad_() for x in tensors]


@with_kernels
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("long", [False, True])
def test_equals_the_reference_forward_and_backward(name, dtype, long):
    args = arguments(name, LENGTHS[dtype] if long else 1, dtype)
    exact = wide(args)
    found = getattr(fla, name)(*args)
    assert (found[0].dtype, found[1].dtype) == (dtype, torch.float32)
    assert_agree(found, getattr(wkv.reference, name)(*exact), args, exact)


@with_kernels
def test_any_decay():
    args = arguments("wkv6", 40, TYPES[0], strong=True)
    exact = wide(args)
    assert_agree(fla.wkv6(*args), wkv.reference.wkv6(*exact), args, exact)


@with_kernels
def test_extreme_decay_gives_no_nan():
    args = arguments("wkv6", 20, TYPES[0])
    args[1] = torch.full_like(args[1], -1000.0).requires_grad_()
    out, state = fla.wkv6(*args)
    grads = torch.autograd.grad(out.sum() + state.sum(), args)
    assert all(torch.isfinite(x).all() for x in (out, state, *grads))


@with_kernels
def test_a_decay_that_does_not_depend_on_time():
    """RWKV-5's, [H, N], expanded."""
    args = arguments("wkv6", 17, TYPES[-1])
    of_heads = args[1].detach()[0, 0].clone().requires_grad_()
    args[1] = of_heads
    exact = wide(args)
    shape = args[0].shape
    found, right = (
        operator(r, decay.expand(shape), *rest)
        for operator, (r, decay, *rest) in ((fla.wkv6, args), (wkv.reference.wkv6, exact))
    )
    assert_agree(found, right, args, exact)


@with_kernels
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize(("dtype", "fresh"), [(TYPES[0], False), (TYPES[1], True)], ids=str)
def test_packed_is_alone(name, dtype, fresh):
    args, start = arguments(name, 20, dtype, rows=2), fresh_state()
    starts = torch.zeros(2, 20, dtype=torch.bool, device=DEVICE)
    for row, token in ((0, 0), (0, 1), (1, 17)):
        starts[row, token] = True
    exact, exact_start = wide(args), start.detach().double().requires_grad_()
    found = getattr(fla, name)(*args, starts, start if fresh else None)
    right = alone(name, exact, starts, exact_start if fresh else torch.zeros_like(exact_start))
    extra = ([start], [exact_start]) if fresh else ([], [])
    assert_agree(found, right, [*args, *extra[0]], [*exact, *extra[1]])


@with_kernels
@pytest.mark.parametrize("name", OPERATORS)
def test_cut_sequences_carry_the_state(name):
    args = [x.detach() for x in arguments(name, 50, TYPES[-1])]
    whole, end = getattr(wkv.reference, name)(*[x.double() for x in args])
    outs, state = [], args[-1]
    for part in (slice(0, 40), slice(40, 41), slice(41, 50)):  # recurrent: the last two
        of_part = [x[:, part] if x.shape[:2] == (1, 50) else x for x in args[:-1]]
        out, state = getattr(fla, name)(*of_part, state)
        outs.append(out)
    assert_near(torch.cat(outs, 1), whole, TYPES[-1])
    assert_near(state, end, TYPES[-1])


@with_kernels
@pytest.mark.parametrize("name", OPERATORS)
def test_generating_is_exact_in_float32(name):
    args = [x.detach() for x in arguments(name, 5, torch.float32)]
    found = getattr(fla, name)(*args)
    for actual, exact in zip(found, getattr(wkv.reference, name)(*wide(args)), strict=True):
        assert_close(actual, exact)


@pytest.mark.skipif(INTERPRETED, reason="this is where it runs")
@pytest.mark.skipif(MISSING, reason="needs fla-core and triton")
def test_through_the_interpreter():
    # numpy, which interprets, warns of exponentials that are masked behind it
    options = ["-q", "-x", "-n0", "-p", "fla_interpreter", "-W", "ignore::RuntimeWarning"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", __file__]
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.parametrize("name", OPERATORS)
def test_what_suits_no_kernel_goes_to_the_compiled_operators(name):
    args = arguments(name, 20, torch.float32)
    args = [x.detach().cpu().double() for x in args]
    found, right = (getattr(backend, name)(*args) for backend in (fla, native))
    assert torch.equal(found[0], right[0])


def test_what_goes_where(monkeypatch):
    args = [x.detach() for x in arguments("wkv6", 40, torch.bfloat16)]
    r, state = args[0], args[-1]
    small, starts = r[..., :8], torch.zeros(1, 10, dtype=torch.bool)
    monkeypatch.setattr(fla, "_device_suits", lambda _: True)
    assert fla._kernels(r, None, state) == "chunked"
    assert fla._kernels(r[:, :10], None, state) == "recurrent"
    assert fla._kernels(r[:, :10], starts, state) == "chunked"
    assert fla._kernels(r[:, :10], None, state.requires_grad_()) == "chunked"
    assert fla._kernels(small, None, state) == "none"
    assert fla._kernels(r, None, state.double()) == "none"
    assert fla._kernels(r.float(), None, state) == "chunked"
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "highest")
    assert fla._kernels(r.float(), None, state) == "none"
    assert fla._kernels(r[:, :10].float(), None, state.detach()) == "recurrent"


def test_documents_are_found_where_they_begin():
    starts = torch.tensor([[0, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]], dtype=torch.bool)
    found = fla._documents(starts)
    assert found.bounds.tolist() == [0, 2, 4, 7, 8, 12]
    assert found.rows.tolist() == [0, 0, 1, 1, 2]
    assert found.afresh.tolist() == [False, True, True, True, False]
    assert found.last.tolist() == [1, 3, 4]
