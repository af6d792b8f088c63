"""The loss in blocks against PyTorch's on the full logits."""

import pytest
import torch
from tolerance import assert_close
from torch import Tensor
from torch.nn import functional as F

from eyas.training import loss
from eyas.training.loss import IGNORED, cross_entropy

CASES = pytest.mark.parametrize("l2", [0.0, 0.1], ids=["plain", "l2"])


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """hidden, head, targets; a third of the targets is ignored."""
    generator = torch.Generator().manual_seed(0)
    hidden = torch.randn(2, 13, 8, generator=generator).to(dtype).requires_grad_()
    weight = torch.randn(31, 8, generator=generator).to(dtype).requires_grad_()
    targets = torch.randint(31, (2, 13), generator=generator)
    targets[torch.rand(2, 13, generator=generator) < 1 / 3] = IGNORED
    return hidden, weight, targets


def on_full_logits(hidden: Tensor, weight: Tensor, targets: Tensor, l2: float) -> Tensor:
    """The reported loss, with the gradient of loss + l2 / 2 max(z)^2, by autograd in float64."""
    logits = hidden.double() @ weight.double().mT
    value = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    pull = l2 / 2 * logits.amax(-1)[targets != IGNORED].square().sum()
    return value + pull - pull.detach()


def compared(l2: float, dtype: torch.dtype) -> None:
    hidden, weight, targets = inputs(dtype)
    expected = on_full_logits(hidden, weight, targets, l2)
    by_hidden, by_weight = torch.autograd.grad(0.7 * expected, (hidden, weight))
    found = cross_entropy(hidden, weight, targets, l2)
    (0.7 * found).backward()
    assert_close(found.detach().to(dtype), expected.detach())
    assert_close(hidden.grad, by_hidden, "gradient")
    assert_close(weight.grad, by_weight, "gradient")
    assert not hidden.grad[targets == IGNORED].any()


@CASES
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_value_and_gradients(l2: float, dtype: torch.dtype) -> None:
    compared(l2, dtype)


@CASES
def test_many_blocks_of_rows(l2: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loss, "_BLOCK_BYTES", 3 * 31 * 8)
    assert loss.block_rows(31 * 8) == 3
    compared(l2, torch.float64)


def test_a_frozen_head_gets_no_gradient() -> None:
    hidden, weight, targets = inputs()
    (expected,) = torch.autograd.grad(on_full_logits(hidden, weight, targets, 0.1), hidden)
    weight.requires_grad_(False)
    cross_entropy(hidden, weight, targets, 0.1).backward()
    assert weight.grad is None
    assert_close(hidden.grad, expected, "gradient")


def test_nothing_trained_costs_nothing() -> None:
    hidden, weight, targets = inputs()
    value = cross_entropy(hidden, weight, torch.full_like(targets, IGNORED), 0.1)
    value.backward()
    assert value == 0
    assert not hidden.grad.any()
    assert not weight.grad.any()


def test_large_logits_do_not_overflow() -> None:
    hidden = torch.full((1, 1, 1), 200.0, requires_grad=True)
    weight = torch.tensor([[1.0], [0.0]])
    value = cross_entropy(hidden, weight, torch.tensor([[1]]))
    value.backward()
    assert_close(value.detach(), torch.tensor(200.0))
    assert_close(hidden.grad, torch.ones(1, 1, 1), "gradient")
