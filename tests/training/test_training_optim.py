"""Learning rates at the points that matter; who is moved by how much."""

import itertools
import math
from pathlib import Path

import pytest
import torch
from tolerance import assert_close
from weights import SHAPES, write_model

from eyas.adapters import Full, LoRA, attach
from eyas.models import Model, load
from eyas.training.optim import OptimConfig, Optimizer, learning_rate

VERSIONS = pytest.mark.parametrize("version", SHAPES)
PEAK, STEPS = 1e-3, 101


def rates(**settings: object) -> list[float]:
    config = OptimConfig(lr=PEAK, **settings)
    return [learning_rate(step, STEPS, config) for step in range(STEPS)]


@pytest.mark.parametrize(
    ("schedule", "at_half", "at_end"),
    [
        ("constant", PEAK, PEAK),
        ("linear", PEAK / 2, 0.0),
        ("cosine", PEAK / 2, 0.0),
        ("exponential", PEAK / 10, PEAK / 100),
        ("wsd", PEAK, PEAK / 100),
    ],
)
def test_schedules(schedule: str, at_half: float, at_end: float) -> None:
    course = rates(schedule=schedule)
    assert course[0] == pytest.approx(PEAK)
    assert course[50] == pytest.approx(at_half)
    assert course[-1] == pytest.approx(at_end, abs=1e-12)
    assert all(a >= b for a, b in itertools.pairwise(course))


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exponential", "wsd"])
def test_a_final_rate_is_reached_at_the_last_step(schedule: str) -> None:
    course = rates(schedule=schedule, lr_final=3e-4, warmup_steps=10)
    assert course[10] == pytest.approx(PEAK)
    assert course[-1] == pytest.approx(3e-4)


def test_warm_up() -> None:
    course = rates(warmup_steps=10)
    assert course[0] == pytest.approx(PEAK * 0.01)
    assert course[5] == pytest.approx(PEAK * 0.505)
    assert course[10] == pytest.approx(PEAK)


def test_wsd_falls_in_its_share_only() -> None:
    course = rates(schedule="wsd", decay_share=0.2)
    assert course[80] == pytest.approx(PEAK)
    assert course[90] == pytest.approx((PEAK + PEAK / 100) / 2)


def test_one_step_is_a_run_too() -> None:
    for schedule in ("constant", "linear", "cosine", "exponential", "wsd"):
        rate = learning_rate(0, 1, OptimConfig(lr=PEAK, schedule=schedule))
        assert rate == pytest.approx(PEAK)


@pytest.mark.parametrize(
    "settings",
    [{"lr": -1.0}, {"clip": math.nan}, {"decay_share": 0.0}, {"warmup_steps": -1}, {"beta1": 2.0}],
)
def test_values_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        OptimConfig(**settings)


def trained(folder: Path, version: str, method: LoRA | Full) -> Model:
    model = load(write_model(folder / "m.pth", version))
    attach(model, method)
    return model


def moved(model: Model, gradient: float, **settings: object) -> dict[str, torch.Tensor]:
    """How far each parameter goes in one step at rate 1e-3, its gradient the same everywhere."""
    before = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    optimizer = Optimizer(model, OptimConfig(lr=PEAK, clip=0.0, **settings))
    for parameter in optimizer.parameters:
        parameter.grad = torch.full_like(parameter, gradient)
    optimizer.step(PEAK)
    assert all(p.grad is None for p in optimizer.parameters)
    parameters = dict(model.named_parameters())
    return {name: parameters[name].detach() - start for name, start in before.items()}


@VERSIONS
def test_decay_at_twice_the_rate(tmp_path: Path, version: str) -> None:
    # AdamW's first step is the learning rate against the gradient's sign.
    doubled = []
    for name, way in moved(trained(tmp_path, version, Full()), 1.0).items():
        factor = round((-way.mean() / PEAK).item())
        assert_close(way, torch.full_like(way, -PEAK * factor))
        doubled += [name] if factor == 2 else []
    decay = "w0" if version == "x070" else "time_decay"
    assert doubled == [f"blocks.{i}.att.{decay}" for i in range(2)]


def test_the_same_rate_everywhere_where_that_is_asked_for(tmp_path: Path) -> None:
    for way in moved(trained(tmp_path, "x070", Full()), 1.0, layerwise_lr=False).values():
        assert_close(way, torch.full_like(way, -PEAK))


@VERSIONS
def test_weight_decay_touches_the_large_matrices_only(tmp_path: Path, version: str) -> None:
    model = trained(tmp_path, version, Full())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for name, way in moved(model, 0.0, weight_decay=0.5).items():
        large = name.endswith(".weight") and way.dim() == 2
        assert_close(way, -PEAK * 0.5 * before[name] if large else torch.zeros_like(way))


def test_weight_decay_leaves_factors_alone(tmp_path: Path) -> None:
    model = trained(tmp_path, "x070", LoRA(rank=2))
    assert not any(way.any() for way in moved(model, 0.0, weight_decay=0.5).values())


@VERSIONS
def test_muon_takes_the_matrices_of_the_blocks(tmp_path: Path, version: str) -> None:
    model = trained(tmp_path, version, Full())
    adamw, muon = Optimizer(model, OptimConfig(lr=PEAK, optimizer="muon")).optimizers
    names = {id(p): name for name, p in model.named_parameters()}
    taken, left = (
        {names[id(p)] for group in o.param_groups for p in group["params"]} for o in (muon, adamw)
    )
    assert not taken & left
    assert taken | left == {n for n, p in model.named_parameters() if p.requires_grad}
    assert {f"blocks.1.{n}.weight" for n in ("att.key", "att.output", "ffn.value")} <= taken
    # A vector for each head is no matrix, though it is stored in two dimensions.
    per_head = {n for n in left | taken if n.endswith(("r_k", "time_faaaa", "att.time_decay"))}
    assert per_head <= left
    assert {"emb.weight", "head.weight", "ln_out.weight"} <= left


def test_muon_alone_where_only_matrices_of_the_blocks_train(tmp_path: Path) -> None:
    model = trained(tmp_path, "x070", LoRA(rank=2))
    settings = {"optimizer": "muon", "muon_lr": 0.02}
    optimizer = Optimizer(model, OptimConfig(lr=PEAK, **settings))
    assert [type(o).__name__ for o in optimizer.optimizers] == ["Muon"]
    Optimizer(model, OptimConfig(lr=PEAK, **settings)).load(optimizer.state())
    assert all(way.any() for way in moved(model, 1.0, **settings).values())


def test_muon_has_its_own_rate(tmp_path: Path) -> None:
    # The update's singular values are near 1 times the rate, adjusted for the matrix' form.
    model = trained(tmp_path, "x070", Full())
    ways = moved(model, 1.0, optimizer="muon", muon_lr=0.02)
    largest = torch.linalg.svdvals(ways["blocks.0.att.key.weight"])[0].item()
    assert 0.5 * 0.02 < largest < 1.5 * 0.02


def test_clipping(tmp_path: Path) -> None:
    model = trained(tmp_path, "x070", LoRA(rank=2))
    optimizer = Optimizer(model, OptimConfig(lr=PEAK, clip=0.25))
    for parameter in optimizer.parameters:
        parameter.grad = torch.ones_like(parameter)
    count = sum(p.numel() for p in optimizer.parameters)
    assert optimizer.gradient_norm() == pytest.approx(count**0.5)
    clipped = sum(p.grad.double().square().sum().item() for p in optimizer.parameters) ** 0.5
    assert clipped == pytest.approx(0.25, rel=1e-5)
    assert optimizer.gradient_norm() == pytest.approx(0.25, rel=1e-5)
