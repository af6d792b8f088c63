"""The merged file is the trained model, for every method, version and output type."""

import pytest
import torch
from peer import rwkv_logits
from tolerance import LOGITS
from weights import SHAPES, write_model

from eyas.adapters import METHODS, Full, adapter_tensors, attach, describe
from eyas.errors import UserError
from eyas.merging import merge
from eyas.models import load, read_tensors
from eyas.models.fingerprint import fingerprint

ALL = pytest.mark.parametrize("cls", METHODS, ids=lambda c: c.name)
TOKENS = torch.arange(60)[None] % 256


def adapted(path, cls, parts=("time", "ln", "emb", "head"), change=0.02):
    """A model with an adapter that has moved by `change`, and the adapter."""
    model, method = load(path), cls() if cls is Full else cls(rank=4)
    attach(model, method, parts)
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad and change:
            parameter.data += change * torch.randn_like(parameter)
    base = fingerprint(read_tensors(path))
    return model.eval(), describe(method, base, "x", 0, 1, adapter_tensors(model))


@ALL
@pytest.mark.parametrize("version", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, None], ids=str)
@torch.no_grad()
def test_merged_is_adapted(cls, version, dtype, tmp_path):
    path = write_model(tmp_path / "m.pth", version, torch.bfloat16)
    model, adapter = adapted(path, cls)
    result = merge(path, adapter, tmp_path / "out.pth", dtype)
    assert result.relative_difference <= result.allowed
    written, base = torch.load(tmp_path / "out.pth", weights_only=True), read_tensors(path)
    assert list(written) == list(base)
    assert all(t.dtype == (dtype or torch.bfloat16) for t in written.values())
    if dtype == torch.float32:
        expected = model(TOKENS)[0]
        difference = load(tmp_path / "out.pth")(TOKENS)[0] - expected
        assert difference.abs().max() / expected.std() <= LOGITS
    for name, layer in ((n, m) for n, m in model.named_modules() if hasattr(m, "delta")):
        key = f"{name}.weight"
        exact = base[key].float() + layer.delta()
        assert torch.equal(written[key], exact.to(written[key].dtype))  # rounded once


@ALL
@pytest.mark.parametrize("version", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_an_untrained_adapter_merges_to_the_base_bit_for_bit(cls, version, dtype, tmp_path):
    path = write_model(tmp_path / "m.pth", version, dtype)
    weights = torch.load(path)
    weights["blocks.0.att.key.weight"][0, :4] = -0.0
    torch.save(weights, path)
    _, adapter = adapted(path, cls, change=0.0)
    merge(path, adapter, tmp_path / "out.pth")
    written = torch.load(tmp_path / "out.pth", weights_only=True)
    for name, tensor in weights.items():
        assert torch.equal(written[name].view(torch.uint8), tensor.view(torch.uint8)), name


@pytest.mark.parametrize("version", SHAPES)
@torch.no_grad()
def test_the_rwkv_package_runs_the_merged_file(version, tmp_path):
    path = write_model(tmp_path / "m.pth", version, torch.bfloat16)
    model, adapter = adapted(path, METHODS[0])
    merge(path, adapter, tmp_path / "out.pth", torch.float32)
    tokens = TOKENS[0].tolist()
    (whole, _), = rwkv_logits([tmp_path / "out.pth"], tokens, version, tmp_path)  # fmt: skip
    ours = model(TOKENS)[0][0]
    assert (ours - whole).abs().max() / whole.std() <= LOGITS


def test_another_base_is_refused_and_nothing_is_written(tmp_path):
    path, other = write_model(tmp_path / "m.pth"), write_model(tmp_path / "other.pth", seed=1)
    _, adapter = adapted(path, METHODS[0])
    with pytest.raises(UserError, match="not the model that this adapter was trained over"):
        merge(other, adapter, tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


def test_values_that_fp16_cannot_hold_are_refused(tmp_path):
    path = write_model(tmp_path / "m.pth")
    weights = torch.load(path)
    weights["blocks.0.ffn.key.weight"][0, 0] = 1e6
    torch.save(weights, path)
    _, adapter = adapted(path, METHODS[0])
    with pytest.raises(UserError, match=r"blocks\.0\.ffn\.key\.weight .*--dtype fp32"):
        merge(path, adapter, tmp_path / "out.pth", torch.float16)
    assert not list(tmp_path.glob("*out*"))
