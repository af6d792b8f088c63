"""The merged file is the trained model, for every method, version and output type."""

import pytest
import torch
from methods import SMALL, attached, combined, disturb, ids, name_of
from peer import rwkv_logits
from tolerance import LOGITS, assert_close
from weights import SHAPES, write_model

from eyas.adapters import LoftQ, LoRA, PiSSA, State, adapted_layers, attach, describe
from eyas.adapters.lora import LowRankLinear
from eyas.errors import UserError
from eyas.merging import merge
from eyas.models import load, read_tensors
from eyas.models.fingerprint import fingerprint
from eyas.quant import FrozenConfig, cast_frozen, codes_hash

TOKENS = torch.arange(60)[None] % 256
DENSE = [method for method in SMALL if not isinstance(method, LoftQ)]
EVERYWHERE = pytest.mark.parametrize(("method", "quant"), combined(SMALL), ids=ids(combined(SMALL)))


def adapted(path, method, quant="none", parts=("time", "ln", "emb", "head"), change=0.02):
    """A model with an adapter that has moved by `change`, and the adapter."""
    model = disturb(attached(path, method, quant, parts), change)
    base = fingerprint(read_tensors(path))
    frozen = FrozenConfig(quant=quant)
    return model, describe(model, method, base, 0, 1, frozen, codes_hash(model))


@EVERYWHERE
@pytest.mark.parametrize("version", SHAPES)
@torch.no_grad()
def test_merged_is_adapted(method, quant, version, tmp_path):
    narrower = {"x060": [None], "x070": [torch.float16]}.get(version, [])
    for dtype in (torch.float32, *narrower):
        check_merge(method, quant, version, dtype, tmp_path)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@torch.no_grad()
def test_every_type_that_can_be_asked_for(dtype, tmp_path):
    check_merge(PiSSA(rank=4), "none", "x060", dtype, tmp_path)


def check_merge(method, quant, version, dtype, tmp_path):
    path = write_model(tmp_path / "m.pth", version, torch.bfloat16)
    model, adapter = adapted(path, method, quant)
    result = merge(path, adapter, tmp_path / "out.pth", dtype)
    assert result.proof.relative_difference <= result.proof.allowed
    assert (result.rounding_share == 0) == (dtype == torch.float32)
    written, base = torch.load(tmp_path / "out.pth", weights_only=True), read_tensors(path)
    assert [name for name in written if not name.endswith(".time_state")] == list(base)
    assert all(t.dtype == (dtype or torch.bfloat16) for t in written.values())
    if dtype == torch.float32:
        expected = model(TOKENS)[0]
        difference = load(tmp_path / "out.pth")(TOKENS)[0] - expected
        assert difference.abs().max() / expected.std() <= LOGITS
    for key, layer in adapted_layers(model).items():
        exact = layer.base.dense_weight().float() + layer.delta()
        assert torch.equal(written[key], exact.to(written[key].dtype))  # rounded once


@pytest.mark.parametrize("method", DENSE, ids=name_of)
@pytest.mark.parametrize(
    ("version", "dtype"),
    [
        ("x052", torch.float16),
        ("x060", torch.bfloat16),
        ("x070", torch.bfloat16),
        ("x070", torch.float32),
    ],
)
def test_an_untrained_adapter_merges_to_the_base_bit_for_bit(method, version, dtype, tmp_path):
    path = write_model(tmp_path / "m.pth", version, dtype)
    weights = torch.load(path)
    weights["blocks.0.att.key.weight"][0, :4] = -0.0
    torch.save(weights, path)
    _, adapter = adapted(path, method, change=0.0)
    merge(path, adapter, tmp_path / "out.pth")
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    assert list(written) == list(weights)
    for name, tensor in weights.items():
        assert torch.equal(written[name].view(torch.uint8), tensor.view(torch.uint8)), name


@pytest.mark.parametrize("version", SHAPES)
@torch.no_grad()
def test_a_trained_state_goes_into_the_file_and_on_from_there(version, tmp_path):
    path = write_model(tmp_path / "m.pth", version)
    model, adapter = adapted(path, State(), parts=(), change=0.3)
    merge(path, adapter, tmp_path / "out.pth")
    names = list(torch.load(tmp_path / "out.pth", weights_only=True))
    place = names.index("blocks.0.att.time_state")
    assert names[place - 1].startswith("blocks.0.att.")
    assert names[place + 1].startswith("blocks.0.ffn.")
    again, adapter = adapted(tmp_path / "out.pth", State(), parts=(), change=0.3)
    for name, parameter in model.named_parameters():
        if name.endswith(".time_state"):  # moved by the same draws once more
            assert_close(again.get_parameter(name), 2 * parameter)
    merge(tmp_path / "out.pth", adapter, tmp_path / "again.pth")
    assert list(torch.load(tmp_path / "again.pth", weights_only=True)) == names


@pytest.mark.parametrize("version", ["x052", "x060"])  # the package ignores it in RWKV-7
@torch.no_grad()
def test_the_rwkv_package_starts_from_the_merged_state(version, tmp_path):
    path = write_model(tmp_path / "m.pth", version)
    model, adapter = adapted(path, State(), parts=(), change=0.3)
    merge(path, adapter, tmp_path / "out.pth")
    tokens = TOKENS[0, :8].tolist()
    (whole, _), = rwkv_logits([tmp_path / "out.pth"], tokens, version, tmp_path)  # fmt: skip
    ours = model(TOKENS[:, :8])[0][0]
    assert (ours - whole).abs().max() / whole.std() <= LOGITS
    assert (load(path)(TOKENS[:, :8])[0][0] - whole).abs().max() / whole.std() > 100 * LOGITS


@pytest.mark.parametrize("version", SHAPES)
@torch.no_grad()
def test_the_rwkv_package_runs_the_merged_file(version, tmp_path):
    path = write_model(tmp_path / "m.pth", version, torch.bfloat16)
    model, adapter = adapted(path, PiSSA(rank=4))
    merge(path, adapter, tmp_path / "out.pth", torch.float32)
    tokens = TOKENS[0].tolist()
    (whole, _), = rwkv_logits([tmp_path / "out.pth"], tokens, version, tmp_path)  # fmt: skip
    ours = model(TOKENS)[0][0]
    assert (ours - whole).abs().max() / whole.std() <= LOGITS


def test_another_base_is_refused_and_nothing_is_written(tmp_path):
    path, other = write_model(tmp_path / "m.pth"), write_model(tmp_path / "other.pth", seed=1)
    _, adapter = adapted(path, PiSSA(rank=4))
    with pytest.raises(UserError, match="not the model that this adapter was trained over"):
        merge(other, adapter, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_values_that_fp16_cannot_hold_are_refused(tmp_path):
    path = write_model(tmp_path / "m.pth")
    weights = torch.load(path)
    weights["blocks.0.ffn.key.weight"][0, 0] = 1e6
    torch.save(weights, path)
    _, adapter = adapted(path, PiSSA(rank=4))
    with pytest.raises(UserError, match=r"blocks\.0\.ffn\.key\.weight .*--dtype fp32"):
        merge(path, adapter, tmp_path / "out.pth", torch.float16)
    assert not list(tmp_path.glob("*out*"))


def test_a_wrong_merge_is_found_and_what_was_there_stays(tmp_path, monkeypatch):
    """Even where the change is smaller than what rounding does to the logits."""
    path, out = write_model(tmp_path / "m.pth", dtype=torch.bfloat16), tmp_path / "out.pth"
    _, adapter = adapted(path, LoRA(rank=4), parts=(), change=0.02)
    out.write_bytes(b"before")
    wrong = [
        lambda layer: torch.zeros_like(layer.base.dense_weight(), dtype=torch.float32),
        lambda layer: -(layer.lora_B @ layer.lora_A).detach(),
        lambda layer: 1.5 * (layer.lora_B @ layer.lora_A).detach(),
    ]
    for delta in wrong:
        monkeypatch.setattr(LowRankLinear, "delta", delta)
        with pytest.raises(
            ArithmeticError, match=r"att\.receptance\.weight.*more than one rounding"
        ):
            merge(path, adapter, out)
        assert out.read_bytes() == b"before"
        assert sorted(tmp_path.iterdir()) == [path, out]


def test_storage_rounds_only_what_is_frozen(tmp_path):
    path = write_model(tmp_path / "m.pth", dtype=torch.float32)
    model = load(path)
    attach(model, PiSSA(rank=4), train_parts=("ln",), frozen=FrozenConfig(quant="int8"))
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    cast_frozen(model, FrozenConfig(storage="bf16"))
    for name, parameter in model.named_parameters():
        kept = parameter.requires_grad or ".base." in name
        expected = before[name] if kept else before[name].bfloat16()
        assert torch.equal(parameter, expected), name


def test_left_overs_of_a_killed_merge_are_removed(tmp_path):
    path = write_model(tmp_path / "m.pth")
    _, adapter = adapted(path, LoRA(rank=4))
    (tmp_path / ".out.pth.1234.tmp").write_bytes(b"half")
    merge(path, adapter, tmp_path / "out.pth")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.pth", "out.pth"]
