"""Every method over every version; a new method is tested by being in METHODS."""

import pytest
import torch
from tolerance import assert_close
from weights import SHAPES, write_model

from eyas.adapters import (
    METHODS,
    Full,
    LoRA,
    PiSSA,
    adapted_layers,
    adapter_tensors,
    attach,
    describe,
    load_adapter,
    part_of,
    restore,
    save_adapter,
)
from eyas.adapters.pissa import principal_part
from eyas.errors import UserError
from eyas.models import load

LOW_RANK = [PiSSA, LoRA]
ALL = pytest.mark.parametrize("cls", METHODS, ids=lambda c: c.name)
EVERY_VERSION = pytest.mark.parametrize("version", SHAPES)
TOKENS = torch.arange(40)[None] % 256


def of_rank_4(cls):
    return cls() if cls is Full else cls(rank=4)


def disturb(model):
    """Moves everything that trains, as training would."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.02 * torch.randn_like(parameter)


@ALL
@EVERY_VERSION
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_attached_model_starts_as_the_base_bit_for_bit(cls, version, dtype, tmp_path):
    path = write_model(tmp_path / "m.pth", version, dtype)
    model = load(path)
    attach(model, of_rank_4(cls), ("time", "ln", "emb", "head"))
    with torch.no_grad():
        assert torch.equal(model(TOKENS)[0], load(path)(TOKENS)[0])


@pytest.mark.parametrize("cls", LOW_RANK, ids=lambda c: c.name)
@EVERY_VERSION
def test_change_is_delta(cls, version, tmp_path):
    model = load(write_model(tmp_path / "m.pth", version))
    attach(model, of_rank_4(cls))
    disturb(model)
    layers = adapted_layers(model)
    assert len(layers) == 2 * (6 if version == "x070" else 8)
    for layer in layers.values():
        x = torch.randn(3, layer.base.in_features)
        assert_close(layer.change(x).detach(), x @ layer.delta().mT)
        assert_close(layer(x).detach(), x @ (layer.base.dense_weight() + layer.delta()).mT)


@ALL
@EVERY_VERSION
def test_saved_and_loaded_is_the_same_model(cls, version, tmp_path):
    path, method = write_model(tmp_path / "m.pth", version, torch.bfloat16), of_rank_4(cls)
    model = load(path)
    attach(model, method, ("time", "ln"), seed=3)
    disturb(model)
    tensors = adapter_tensors(model)
    save_adapter(describe(method, "base", "shape", 3, 7, tensors), tmp_path / "a.safetensors")
    adapter = load_adapter(tmp_path / "a.safetensors")
    assert (adapter.method, adapter.base, adapter.seed, adapter.step) == (cls.name, "base", 3, 7)
    assert adapter.tensors.keys() == tensors.keys()
    assert all(torch.equal(adapter.tensors[name], tensors[name]) for name in tensors)
    again = load(path)
    restore(again, method, adapter.tensors)
    with torch.no_grad():
        assert torch.equal(model.eval()(TOKENS)[0], again(TOKENS)[0])
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, p in again.named_parameters() if p.requires_grad} == trained


@pytest.mark.parametrize("cls", LOW_RANK, ids=lambda c: c.name)
@pytest.mark.parametrize("parts", [(), ("time",), ("ln",), ("emb", "head"), ("time", "ln")])
@EVERY_VERSION
def test_only_what_was_asked_for_trains(cls, parts, version, tmp_path):
    model = load(write_model(tmp_path / "m.pth", version))
    attach(model, of_rank_4(cls), parts)
    logits, _ = model(TOKENS)
    logits.square().mean().backward()
    for name, parameter in model.named_parameters():
        own = name.endswith(("lora_A", "lora_B"))
        assert parameter.requires_grad == (own or part_of(name) in parts), name
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert not parameter.requires_grad or parameter.dtype == torch.float32


def test_parts_are_those_of_the_tutorial():
    names = {
        "blocks.0.att.time_decay": "time",
        "blocks.1.ffn.time_maa_k": "time",
        "blocks.0.att.x_r": "time",
        "blocks.1.att.v0": "time",
        "blocks.0.att.v0": None,  # unused in layer 0
        "blocks.3.att.r_k": "time",
        "blocks.2.att.g2": "time",
        "blocks.0.ln0.weight": "ln",
        "blocks.0.att.ln_x.bias": "ln",
        "ln_out.weight": "ln",
        "emb.weight": "emb",
        "head.weight": "head",
        "blocks.0.att.key.weight": None,
    }
    assert {name: part_of(name) for name in names} == names


@pytest.mark.parametrize("cls", LOW_RANK, ids=lambda c: c.name)
def test_a_rank_that_does_not_fit_and_nan_are_named(cls, tmp_path):
    path = write_model(tmp_path / "m.pth")
    with pytest.raises(UserError, match=r"blocks\.0\.att\.receptance.*rank 65.*--rank 64"):
        attach(load(path), cls(rank=65))
    weights = torch.load(path)
    weights["blocks.1.ffn.key.weight"][3, 5] = float("nan")
    torch.save(weights, path)
    with pytest.raises(UserError, match=r"blocks\.1\.ffn\.key\.weight.*NaN"):
        attach(load(path), cls(rank=4))


@pytest.mark.parametrize("shape", [(300, 200), (200, 300), (300, 300), (40, 30)])
def test_pissa_starts_from_the_truncated_svd(shape):
    g = torch.Generator().manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(shape[0], min(shape), generator=g))
    V, _ = torch.linalg.qr(torch.randn(shape[1], min(shape), generator=g))
    S = torch.arange(1, min(shape) + 1) ** -0.5
    weight = (U * S) @ V.mT
    tensors = PiSSA(rank=8).start(weight, g)
    residual = weight - tensors["lora_B0"] @ tensors["lora_A0"]
    optimum = S[8:].norm()  # Eckart-Young
    assert residual.norm() <= 1.001 * optimum
    assert torch.equal(tensors["lora_A"], tensors["lora_A0"])


@pytest.mark.parametrize("niter", [None, 4])
def test_the_decomposition_follows_from_the_seed(niter):
    weight = torch.randn(200, 200, generator=torch.Generator().manual_seed(1))
    before = torch.get_rng_state()
    first, second = (
        principal_part(weight, 4, niter, torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(before, torch.get_rng_state())


def test_lora_starts_as_published():
    tensors = LoRA(rank=8).start(torch.zeros(64, 100), torch.Generator().manual_seed(0))
    assert not tensors["lora_B"].any()
    # Kaiming-uniform with a = sqrt(5): the bound is sqrt(6 / (1 + 5)) / sqrt(in)
    assert 0.095 < tensors["lora_A"].abs().max() <= 0.1
