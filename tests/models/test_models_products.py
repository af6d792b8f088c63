"""Products in bfloat16, of a model whose activations stay float32."""

from pathlib import Path

import pytest
import torch
from methods import attached
from torch import Tensor
from weights import SHAPES, random_weights, write_model

from eyas.adapters import Full, LoRA, Method, MiSS, PiSSA
from eyas.data import Batch
from eyas.models import Model, load, products
from eyas.models.products import choose_library, product_type, products_in
from eyas.training.loss import batch_loss

TOKENS = torch.randint(1, 60, (2, 33), generator=torch.Generator().manual_seed(5))
BATCH = Batch(TOKENS[:, :-1], TOKENS[:, 1:], None, 32, ((), ()))


def gradients(model: Model, recompute: bool = False) -> dict[str, Tensor]:
    loss, _ = batch_loss(model, BATCH, 1e-4, recompute)
    model.zero_grad()
    loss.backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def apart(found: dict[str, Tensor], exact: dict[str, Tensor]) -> float:
    """The difference of two gradients, relative, over all tensors together."""
    assert found
    assert found.keys() == exact.keys()
    difference = sum((found[n] - exact[n]).double().square().sum() for n in exact)
    return float((difference / sum(g.double().square().sum() for g in exact.values())).sqrt())


def calm_model(path: Path, version: str) -> Path:
    """One that enlarges roundings less than random weights do: smaller low-rank products."""
    low_rank = ("_w2", ".w2", ".a2", ".v2")
    weights = random_weights(SHAPES[version])
    torch.save({n: 0.1 * t if n.endswith(low_rank) else t for n, t in weights.items()}, path)
    return path


@pytest.mark.parametrize("method", [PiSSA(rank=4), LoRA(rank=4), MiSS(rank=4), Full()])
@pytest.mark.parametrize("version", SHAPES)
def test_gradients_are_nearer_to_float32s_than_where_all_is_rounded(
    version: str, method: Method, tmp_path: Path
) -> None:
    model = attached(calm_model(tmp_path / "m.pth", version), method)
    exact = gradients(model)
    model.dtype = torch.bfloat16
    rounded = apart(gradients(model), exact)
    model.dtype, model.products = torch.float32, torch.bfloat16
    found = gradients(model)
    assert all(grad.dtype == torch.float32 for grad in found.values())
    assert 1e-5 < apart(found, exact) < min(0.15 if version == "x060" else 0.03, rounded)
    again = gradients(model, recompute=True)
    assert all(torch.equal(again[name], found[name]) for name in found)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
def test_over_a_base_in_fewer_bytes(quant: str, dtype: torch.dtype, tmp_path: Path) -> None:
    path = write_model(tmp_path / "m.pth", "x070", dtype)
    model = attached(path, PiSSA(rank=4), quant)
    exact = gradients(model)
    model.products = torch.bfloat16
    assert 1e-5 < apart(gradients(model), exact) < 0.03


def test_activations_and_state_stay_float32(tmp_path: Path) -> None:
    model = load(write_model(tmp_path / "m.pth", "x070"))
    model.products = torch.bfloat16
    hidden, state = model.hidden(BATCH.tokens)
    assert hidden.dtype == torch.float32
    for layer in state:
        assert {part.dtype for part in layer} == {torch.float32}


def test_products_have_their_type_inside_alone() -> None:
    x = torch.ones(2, 3)
    with products_in(torch.bfloat16):
        assert product_type(x) == torch.bfloat16
        assert product_type(x.double()) == torch.float64
        assert (x @ x.mT).dtype == torch.bfloat16
    with products_in(None):
        assert product_type(x) == torch.float32


def test_float32_products_are_exact_whichever_library_is_chosen(tmp_path: Path) -> None:
    load(write_model(tmp_path / "m.pth"))  # chooses it
    x, weight = torch.randn(512, 768), torch.randn(768, 768)
    exact = x.double() @ weight.double().mT
    assert (x @ weight.mT - exact).norm() / exact.norm() < 1e-6


def test_a_library_that_rounds_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(products, "_by_amd", lambda: True)
    monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch, "set_float32_matmul_precision", asked.append)
    found = {torch.float32: torch.full((96, 96), 1.001), torch.float64: torch.ones(96, 96)}
    monkeypatch.setattr(torch.Tensor, "__matmul__", lambda a, _: found[a.dtype])
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "highest")
    choose_library.__wrapped__()
    assert asked == ["medium", "highest"]
