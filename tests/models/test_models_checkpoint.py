"""What a model file may be, and what is said of one that is not."""

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from weights import SHAPES, random_weights, write_model

from eyas.errors import UserError
from eyas.models import Shape, load

TOKENS = torch.arange(9)[None]


@pytest.mark.parametrize("version", SHAPES)
def test_the_file_says_it_all(version, tmp_path):
    model = load(write_model(tmp_path / "m.pth", version))
    assert model.shape == SHAPES[version]
    assert not any(p.requires_grad for p in model.parameters())


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["model.", "_forward_module.", "module.model."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model"])
def test_wrappers_and_prefixes_are_seen_through(prefix, wrapper, tmp_path):
    weights = random_weights(SHAPES["x070"])
    content = {prefix + name: tensor for name, tensor in weights.items()}
    torch.save({wrapper: content} if wrapper else content, tmp_path / "m.pth")
    torch.save(weights, tmp_path / "plain.pth")
    found, expected = load(tmp_path / "m.pth"), load(tmp_path / "plain.pth")
    assert torch.equal(found(TOKENS)[0], expected(TOKENS)[0])


@torch.no_grad()
def test_safetensors_and_old_pickles_are_read(tmp_path):
    weights = random_weights(SHAPES["x060"])
    torch.save(weights, tmp_path / "m.pth")
    save_file(weights, tmp_path / "m.safetensors")
    torch.save(weights, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    expected = load(tmp_path / "m.pth")(TOKENS)[0]
    for name in ("m.safetensors", "old.pth"):
        assert torch.equal(load(tmp_path / name)(TOKENS)[0], expected)


@pytest.mark.parametrize("unused", [{}, {"unused v": 6}])
def test_unused_tensors_of_layer_0_may_be_there_or_not(unused, tmp_path):
    shape = SHAPES["x070"]
    shape = Shape(shape.version, 2, 64, 4, 256, 256, {**shape.ranks, **unused})
    torch.save(random_weights(shape), tmp_path / "m.pth")
    model = load(tmp_path / "m.pth")
    assert ("blocks.0.att.v1" in model.state_dict()) == bool(unused)


def broken(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("m.pth", b"", "empty"),
        ("m.pth", b"<!DOCTYPE html><html>not found", "HTML page"),
        ("m.pth", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        ("m.pth", bytes(range(256)) * 40, "not a PyTorch checkpoint"),
        ("m.pth", b"PK\x03\x04" + bytes(2000), "damaged or cut short"),
        ("m.safetensors", b"\x08" + bytes(100), "damaged or cut short"),
        ("m.safetensors", b"<html>", "HTML page"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named(name, content, said, tmp_path):
    with pytest.raises(UserError, match=rf"{name}: .*{said}"):
        load(broken(tmp_path / name, content))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_cut_file_is_named(share, tmp_path):
    content = write_model(tmp_path / "m.pth").read_bytes()
    with pytest.raises(UserError, match="cut short"):
        load(broken(tmp_path / "cut.pth", content[: int(len(content) * share)]))


def test_missing_and_folder(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        load(tmp_path / "none.pth")
    with pytest.raises(UserError, match="is a folder"):
        load(tmp_path)


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("pwned"),))


def test_code_in_a_pickle_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("m.pth").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(UserError, match="not a PyTorch checkpoint"):
        load("m.pth")
    assert not Path("pwned").exists()


def without(weights, *parts):
    return {n: t for n, t in weights.items() if not any(part in n for part in parts)}


def foreign_models():
    v5, v7 = random_weights(SHAPES["x052"]), random_weights(SHAPES["x070"])
    v4 = without(v5, "gate", "ln_x", "time_faaaa", "mix_g")
    v4 |= {"blocks.0.att.time_first": torch.zeros(64), "blocks.0.att.time_decay": torch.zeros(64)}
    v50 = without(v5, "gate", "mix_g") | {"blocks.0.att.time_decay": torch.zeros(4)}
    v51 = v5 | {"blocks.0.att.time_decay": torch.zeros(4)}
    return {
        "RWKV-4": v4,
        r"RWKV-5\.0": v50,
        r"RWKV-5\.1": v51,
        "RWKV-7a": v7 | {"blocks.0.ffn.s_emb.weight": torch.zeros(256, 64)},
        "RWKV-7b": v7 | {"blocks.0.qkv.weight": torch.zeros(64, 64)},
        "RWKV-8": v7 | {"blocks.0.rosa.weight": torch.zeros(64, 64)},
        "adapter": {"blocks.0.att.key.lora_A": torch.zeros(4, 64)},
        "state file": {"blocks.0.att.time_state": torch.zeros(4, 16, 16)},
        "no RWKV model": {"layers.0.weight": torch.zeros(4)},
        "no tensors": {},
    }


@pytest.mark.parametrize("said", foreign_models())
def test_models_that_are_not_supported_are_named(said, tmp_path):
    torch.save(foreign_models()[said], tmp_path / "m.pth")
    with pytest.raises(UserError, match=said):
        load(tmp_path / "m.pth")


def test_every_tensor_that_does_not_fit_is_named(tmp_path):
    weights = random_weights(SHAPES["x070"])
    del weights["ln_out.bias"], weights["blocks.1.att.k_k"]
    weights["blocks.1.att.extra"] = torch.zeros(3)
    weights["blocks.0.ffn.value.weight"] = torch.zeros(64, 3)
    torch.save(weights, tmp_path / "m.pth")
    with pytest.raises(UserError) as caught:
        load(tmp_path / "m.pth")
    for part in (
        "missing: blocks.1.att.k_k, ln_out.bias",
        "unexpected: blocks.1.att.extra",
        "blocks.0.ffn.value.weight is [64, 3] and not [64, 256]",
    ):
        assert part in str(caught.value)


def test_types_that_cannot_be_trained_or_merged_are_named(tmp_path):
    weights = random_weights(SHAPES["x070"])
    name = "blocks.0.ffn.key.weight"
    for dtype in (torch.float8_e4m3fn, torch.int8):
        torch.save(weights | {name: weights[name].to(dtype)}, tmp_path / "m.pth")
        said = rf"m\.pth: .*not float16, .*: {name} is {str(dtype)[6:]}$"
        with pytest.raises(UserError, match=said):
            load(tmp_path / "m.pth")


@pytest.mark.parametrize("number", ["99999999", "9" * 30, "9" * 5000, "3"])
def test_blocks_are_numbered_without_a_gap(number, tmp_path):
    weights = random_weights(SHAPES["x070"])
    torch.save(weights | {f"blocks.{number}.att.k_k": torch.zeros(64)}, tmp_path / "m.pth")
    said = f"has block {number} and no block 2;" if len(number) < 99 else "without a usable"
    with pytest.raises(UserError, match=said):
        load(tmp_path / "m.pth")


def test_safetensors_in_upper_case(tmp_path):
    save_file(random_weights(SHAPES["x070"]), tmp_path / "M.SAFETENSORS")
    assert load(tmp_path / "M.SAFETENSORS").shape == SHAPES["x070"]


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), OSError(5, "I/O")])
def test_files_that_may_not_be_read(name, error, tmp_path, monkeypatch):
    def refuse(_path, _mode):
        raise error

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UserError, match=rf"{name}: cannot be read \({error.strerror}\)"):
        load(tmp_path / name)


def test_a_name_that_is_too_long(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        load(tmp_path / ("x" * 5000))
