"""The compiled operators, for every set of instructions that this processor has."""

import pytest
import torch
from test_wkv_operators import OPERATORS, inputs
from tolerance import assert_close
from torch import Tensor

from eyas import wkv
from eyas.native import library, operators

TARGETS = operators.targets() if library() else []
pytestmark = pytest.mark.skipif(not TARGETS, reason="no library")


def shaped(name: str, shape: tuple[int, int, int, int], dtype=torch.float64) -> list[Tensor]:
    """As `inputs`, of any B, T, H, N."""
    g = torch.Generator().manual_seed(sum(shape))
    batch, _, heads, size = shape

    def normal(*of: int) -> Tensor:
        return torch.randn(*of, generator=g, dtype=torch.float64)

    r, k, v, removal, rate = (normal(*shape) for _ in range(5))
    log_decay = -20 * torch.rand(shape, generator=g, dtype=torch.float64) ** 4
    removal = torch.nn.functional.normalize(removal, dim=-1)
    own = [normal(heads, size)] if name == "wkv6" else [-removal, removal * rate.sigmoid()]
    state = normal(batch, heads, size, size)
    return [x.to(dtype).requires_grad_() for x in (r, log_decay, k, v, *own, state)]


def packing(shape: tuple[int, int, int, int], dtype=torch.float64) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(0)
    fresh = torch.randn(shape[2], shape[3], shape[3], generator=g, dtype=torch.float64)
    return torch.rand(shape[:2], generator=g) < 0.15, fresh.to(dtype).requires_grad_()


def everything(backend, name: str, args: list[Tensor], starts: Tensor, fresh: Tensor):
    """Outputs, and the gradients of a weighted sum of them."""
    found = getattr(backend, name)(*args, starts, fresh)
    g = torch.Generator().manual_seed(9)
    weights = [torch.randn(x.shape, generator=g, dtype=torch.float64).to(x) for x in found]
    loss = sum((x * w).sum() for x, w in zip(found, weights, strict=True))
    return [*found, *torch.autograd.grad(loss, [*args, fresh], materialize_grads=True)]


@pytest.fixture(params=range(len(TARGETS)), ids=TARGETS)
def target(request, monkeypatch) -> str:
    monkeypatch.setattr(operators, "best_target", lambda: request.param)
    return TARGETS[request.param]


@pytest.mark.usefixtures("target")
@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("shape", [(1, 40, 2, 64), (2, 33, 1, 5), (1, 17, 1, 33), (2, 3, 2, 16)])
def test_any_size_with_any_instructions(name, dtype, shape):
    args, (starts, fresh) = shaped(name, shape, dtype), packing(shape, dtype)
    wide = [x.detach().double().requires_grad_() for x in (*args, fresh)]
    found = everything(wkv.native, name, args, starts, fresh)
    right = everything(wkv.reference, name, wide[:-1], starts, wide[-1])
    for actual, exact in zip(found, right, strict=True):
        assert actual.dtype == dtype
        assert_close(actual, exact, "gradient")


@pytest.mark.parametrize("name", OPERATORS)
def test_gradients_against_differences(name):
    shape = (1, 18, 1, 3)
    args, (starts, fresh) = shaped(name, shape), packing(shape)
    starts[0, 5], starts[0, 16] = True, True
    operator = getattr(wkv.native, name)
    assert torch.autograd.gradcheck(lambda *x: operator(*x[:-1], starts, x[-1]), [*args, fresh])


@pytest.mark.parametrize("name", OPERATORS)
def test_threads_change_no_bit(name):
    shape = (3, 50, 5, 64)  # enough work for several
    args, (starts, fresh) = shaped(name, shape, torch.float32), packing(shape, torch.float32)
    found = {}
    for threads in (1, 2, 7):
        torch.set_num_threads(threads)
        found[threads] = everything(wkv.native, name, args, starts, fresh)
        torch.set_num_threads(1)
    for several in (found[2], found[7]):
        for x, one in zip(several, found[1], strict=True):
            assert torch.equal(x, one)


@pytest.mark.parametrize("name", OPERATORS)
def test_no_gradient_asked_for_gives_the_same_bits(name):
    args = shaped(name, (1, 40, 2, 16), torch.float32)
    out, state = getattr(wkv.native, name)(*args)
    with torch.no_grad():
        plain = getattr(wkv.native, name)(*args)
    assert out.requires_grad
    assert torch.equal(out, plain[0])
    assert torch.equal(state, plain[1])


@pytest.mark.parametrize("name", OPERATORS)
def test_only_the_state_may_matter(name):
    args = shaped(name, (1, 20, 2, 8))
    _, found = getattr(wkv.native, name)(*args)
    _, right = getattr(wkv.reference, name)(*args)
    grads = [torch.autograd.grad(x.sum(), args, materialize_grads=True) for x in (found, right)]
    for actual, exact in zip(*grads, strict=True):
        assert_close(actual, exact, "gradient")


@pytest.mark.parametrize("name", OPERATORS)
def test_views_and_expanded_tensors(name):
    args = [x.detach() for x in shaped(name, (2, 20, 2, 8))]
    odd = [x.transpose(-1, -2).contiguous().transpose(-1, -2) for x in args]
    odd[1] = args[1][:, :1].expand_as(args[1])
    found, right = (getattr(b, name)(*odd) for b in (wkv.native, wkv.reference))
    for actual, exact in zip(found, right, strict=True):
        assert_close(actual, exact)


@pytest.mark.parametrize("name", OPERATORS)
def test_no_tokens_leave_the_state(name):
    args = shaped(name, (2, 0, 2, 8))
    out, state = getattr(wkv.native, name)(*args)
    assert out.shape == args[0].shape
    assert torch.equal(state, args[-1])
    (grad,) = torch.autograd.grad(state.sum(), args[-1])
    assert torch.equal(grad, torch.ones_like(grad))


def test_states_of_narrow_types_go_to_chunked():
    args = [x.detach().to(torch.bfloat16) for x in inputs("wkv6", 20, "weak")]
    found, right = (backend.wkv6(*args) for backend in (wkv.native, wkv.chunked))
    assert torch.equal(found[0], right[0])
    assert found[1].dtype == torch.bfloat16


def test_wrong_shapes_are_no_reads_of_other_memory():
    args = [x.detach() for x in shaped("wkv6", (1, 20, 2, 8))]
    with pytest.raises((AssertionError, TypeError)):  # TypeError where shapes are checked
        wkv.native.wkv6(args[0], args[1], args[2][:, :10], *args[3:])
    run = wkv.native._run
    with pytest.raises(AssertionError, match="k is"):
        run(6, {"r": args[0], "k": args[2][:, :10].contiguous()}, backward=False)
    with pytest.raises(AssertionError, match="k"):
        run(6, {"r": args[0], "k": args[2].float()}, backward=False)
