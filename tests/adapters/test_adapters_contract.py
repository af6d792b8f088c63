"""Every method over every base and version; a new method is tested by being in METHODS."""

import pytest
import torch
from methods import LAYERED, SMALL, TOKENS, attached, combined, dense_start, disturb, ids, name_of
from safetensors import safe_open
from safetensors.torch import save_file
from tolerance import assert_close
from weights import SHAPES, write_model

from eyas.adapters import (
    LoftQ,
    LoRA,
    PiSSA,
    State,
    adapted_layers,
    adapter_tensors,
    attach,
    describe,
    load_adapter,
    part_of,
    restore_adapter,
    save_adapter,
)
from eyas.errors import UserError
from eyas.models import load
from eyas.quant import FrozenConfig, QuantizedLinear, codes_hash

EVERY_VERSION = pytest.mark.parametrize("version", SHAPES)
EVERYWHERE = pytest.mark.parametrize(("method", "quant"), combined(SMALL), ids=ids(combined(SMALL)))
LAYERS_EVERYWHERE = pytest.mark.parametrize(
    ("method", "quant"), combined(LAYERED), ids=ids(combined(LAYERED))
)


@pytest.mark.parametrize("method", [m for m in SMALL if not isinstance(m, LoftQ)], ids=name_of)
@EVERY_VERSION
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_attached_model_starts_as_the_base_bit_for_bit(method, version, dtype, tmp_path):
    path = write_model(tmp_path / "m.pth", version, dtype)
    model = attached(path, method, parts=("time", "ln", "emb", "head"))
    with torch.no_grad():
        assert torch.equal(model(TOKENS)[0], load(path)(TOKENS)[0])


@LAYERS_EVERYWHERE
@EVERY_VERSION
def test_over_a_quantized_base_it_starts_nearer_than_the_codes_alone(
    method, quant, version, tmp_path
):
    path = write_model(tmp_path / "m.pth", version)
    dense = load(path).state_dict()
    plain = FrozenConfig(quant=quant).quantizer()
    for key, layer in adapted_layers(attached(path, method, quant)).items():
        started = layer.base.dense_weight() + layer.delta()
        alone = dense[key]
        if plain:
            alone = QuantizedLinear.of(dense[key], plain).dense_weight()
        error, error_alone = ((weight - dense[key]).norm() for weight in (started, alone))
        if error > error_alone:  # then the same but for the order of sums
            assert_close(started, alone)


@LAYERS_EVERYWHERE
@EVERY_VERSION
def test_change_is_delta(method, quant, version, tmp_path):
    model = disturb(attached(write_model(tmp_path / "m.pth", version), method, quant))
    layers = adapted_layers(model)
    assert len(layers) == 2 * (6 if version == "x070" else 8)
    for layer in layers.values():
        x = torch.randn(3, layer.base.in_features)
        assert_close(layer.change(x).detach(), x @ layer.delta().mT)
        assert_close(layer(x).detach(), x @ (layer.base.dense_weight() + layer.delta()).mT)


@EVERYWHERE
@EVERY_VERSION
def test_saved_and_loaded_is_the_same_model(method, quant, version, tmp_path):
    path = write_model(tmp_path / "m.pth", version, torch.bfloat16)
    model = disturb(attached(path, method, quant, ("time", "ln"), seed=3))
    tensors = adapter_tensors(model)
    frozen = FrozenConfig(quant=quant)
    made = describe(model, method, "base", 3, 7, frozen, codes_hash(model))
    save_adapter(made, tmp_path / "a.safetensors")
    adapter = load_adapter(tmp_path / "a.safetensors")
    assert (adapter.method, adapter.frozen) == (method, frozen)
    assert (adapter.base, adapter.seed, adapter.step) == ("base", 3, 7)
    assert adapter.tensors.keys() == tensors.keys()
    assert all(torch.equal(adapter.tensors[name], tensors[name]) for name in tensors)
    again = load(path)
    restore_adapter(again, adapter)
    with torch.no_grad():
        assert torch.equal(model(TOKENS)[0], again(TOKENS)[0])
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert {n for n, p in again.named_parameters() if p.requires_grad} == trained


@EVERYWHERE
@pytest.mark.parametrize(
    ("version", "parts"),
    [*((version, ("time",)) for version in SHAPES), ("x060", ()), ("x070", ("ln", "emb", "head"))],
)
def test_only_what_was_asked_for_trains(method, quant, parts, version, tmp_path):
    path = write_model(tmp_path / "m.pth", version)
    own = set(dict(load(path).named_parameters()))
    model = attached(path, method, quant, parts)
    logits, _ = model(TOKENS)
    logits.square().mean().backward()
    whole = method.name == "full"
    for name, parameter in model.named_parameters():
        if name in own and not whole:
            assert parameter.requires_grad == (part_of(name) in parts), name
        unused = version == "x070" and name.startswith("blocks.0.att.v") and name[-1] in "012"
        assert (parameter.grad is not None) == parameter.requires_grad or unused, name
        assert not parameter.requires_grad or parameter.dtype == torch.float32
    assert any(p.requires_grad for n, p in model.named_parameters() if n not in own or whole)


def test_parts_are_those_of_the_tutorial():
    names = {
        "blocks.0.att.time_decay": "time",
        "blocks.1.ffn.time_maa_k": "time",
        "blocks.0.att.x_r": "time",
        "blocks.1.att.v0": "time",
        "blocks.0.att.v0": None,  # unused in layer 0
        "blocks.3.att.r_k": "time",
        "blocks.2.att.g2": "time",
        "blocks.0.att.time_state": None,
        "blocks.0.ln0.weight": "ln",
        "blocks.0.att.ln_x.bias": "ln",
        "ln_out.weight": "ln",
        "emb.weight": "emb",
        "head.weight": "head",
        "blocks.0.att.key.weight": None,
    }
    assert {name: part_of(name) for name in names} == names


@pytest.mark.parametrize(
    ("targets", "count"),
    [
        (("key",), 4),
        (("att.key",), 2),
        (("ffn",), 4),
        (("blocks.1.*",), 6),
        (("att", "key"), 10),
        (("att,key",), 10),
    ],
)
def test_targets_choose_the_linears(targets, count, tmp_path):
    model = load(write_model(tmp_path / "m.pth", "x070"))
    attach(model, PiSSA(rank=4), targets=targets)
    assert len(adapted_layers(model)) == count


def test_wrong_targets_are_named(tmp_path):
    path = write_model(tmp_path / "m.pth", "x070")
    with pytest.raises(UserError, match=r"no linear 'gate'.*att\.output.*receptance"):
        attach(load(path), LoRA(rank=4), targets=("gate",))
    with pytest.raises(UserError, match="leave --targets out"):
        attach(load(path), State(), targets=("key",))


@pytest.mark.parametrize("method", [m for m in LAYERED if hasattr(m, "rank")], ids=name_of)
def test_a_rank_that_does_not_fit_and_nan_are_named(method, tmp_path):
    path, quant = write_model(tmp_path / "m.pth"), dense_start(method)
    with pytest.raises(UserError, match=r"blocks\.0\.att\.receptance.*rank 65.*--rank"):
        attached(path, type(method)(rank=65), quant)
    weights = torch.load(path)
    weights["blocks.1.ffn.key.weight"][3, 5] = float("nan")
    torch.save(weights, path)
    with pytest.raises(UserError, match=r"blocks\.1\.ffn\.key\.weight.*NaN"):
        attached(path, method, quant)


def test_a_quantized_base_is_refused(tmp_path):
    model = attached(write_model(tmp_path / "m.pth"), State(), "nf4")
    with pytest.raises(UserError, match=r"quantized already.*attach first"):
        attach(model, PiSSA(rank=4))


def test_what_leaves_nothing_to_quantize_is_refused(tmp_path):
    path = write_model(tmp_path / "m.pth")
    with pytest.raises(UserError, match="every linear is trained"):
        attached(path, SMALL[[m.name for m in SMALL].index("full")], "nf4")
    with pytest.raises(UserError, match=r"loftq cannot adapt.*--quant"):
        attached(path, LoftQ(rank=4))
    with pytest.raises(UserError, match=r"--quant-head: the head is trained"):
        attach(
            load(path), LoRA(rank=4), train_parts=("head",), frozen=FrozenConfig(quant_head=True)
        )


def test_other_codes_than_those_trained_on_are_refused(tmp_path):
    path = write_model(tmp_path / "m.pth")
    model = attached(path, PiSSA(rank=4), "nf4")
    adapter = describe(model, PiSSA(rank=4), "b", 0, 1, FrozenConfig(quant="nf4"), "other")
    with pytest.raises(UserError, match="hash of the codes differs"):
        restore_adapter(load(path), adapter)


def test_a_quantized_head_gives_the_logits_of_its_codes(tmp_path):
    path = write_model(tmp_path / "m.pth")
    model = load(path)
    attach(model, LoRA(rank=4), frozen=FrozenConfig(quant_head=True))
    other = load(path)
    other.head.weight.data = model.head.dense_weight()
    with torch.no_grad():
        assert_close(model(TOKENS)[0], other(TOKENS)[0])


def test_pissa_starts_from_the_truncated_svd():
    g = torch.Generator().manual_seed(0)
    U, _ = torch.linalg.qr(torch.randn(300, 200, generator=g))
    V, _ = torch.linalg.qr(torch.randn(200, 200, generator=g))
    S = torch.arange(1, 201) ** -0.5
    weight = (U * S) @ V.mT
    tensors = PiSSA(rank=8).start(weight, g)
    residual = weight - tensors["lora_B0"] @ tensors["lora_A0"]
    assert residual.norm() <= 1.001 * S[8:].norm()  # Eckart-Young
    assert torch.equal(tensors["lora_A"], tensors["lora_A0"])


def test_lora_starts_as_published():
    tensors = LoRA(rank=8).start(torch.zeros(64, 100), torch.Generator().manual_seed(0))
    assert not tensors["lora_B"].any()
    # Kaiming-uniform with a = sqrt(5): the bound is sqrt(6 / (1 + 5)) / sqrt(in)
    assert 0.095 < tensors["lora_A"].abs().max() <= 0.1
    assert LoRA(rank=16, alpha=32.0).scale == 2.0
    assert LoRA(rank=16, alpha=32.0, rslora=True).scale == 8.0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, _: t.pop("blocks.0.att.key.lora_A"), r"blocks\.0\.att\.key do not fit"),
        (lambda t, _: t.update({"blocks.0.att.key.lora_A": torch.ones(4, 60)}), "do not fit"),
        (lambda t, _: t["blocks.1.ffn.key.lora_B"].fill_(torch.nan), r"lora_B holds NaN or inf"),
        (lambda _, m: m.pop("codes"), "description is damaged"),
        (lambda _, m: m.update(settings="{"), "description is damaged"),
        (lambda _, m: m.update(step="x"), "description is damaged"),
    ],
)
def test_damaged_adapter_files_are_named(change, words, tmp_path):
    base, path = write_model(tmp_path / "m.pth"), tmp_path / "a.safetensors"
    model = attached(base, LoRA(rank=4))
    save_adapter(describe(model, LoRA(rank=4), "base", 0, 1), path)
    with safe_open(path, "pt") as file:
        metadata, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    change(tensors, metadata)
    save_file(tensors, path, metadata)
    with pytest.raises(UserError, match=words):
        restore_adapter(load(base), load_adapter(path))
