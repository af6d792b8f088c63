"""Damaged, foreign and hostile files: each is refused in one line that names the file."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from weights import SHAPES, random_weights, write_model

from eyas.adapters import PiSSA, adapter_tensors, attach
from eyas.errors import UserError
from eyas.models import load

VERSIONS = pytest.mark.parametrize("version", SHAPES)


def refused(path: Path) -> str:
    """What the user is told: one line, with the place in it."""
    with pytest.raises(UserError) as caught:
        load(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    return message


def saved(path: Path, content: object, **options: bool) -> Path:
    torch.save(content, path, **options)
    return path


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def assert_same_model(path: Path, weights: dict[str, Tensor]) -> None:
    found = load(path).state_dict()
    assert found.keys() == weights.keys()
    assert all(torch.equal(found[name], weights[name]) for name in weights)


@pytest.mark.parametrize("name", ["m.pth", "m.safetensors"])
def test_random_bytes(tmp_path: Path, name: str) -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(300):
        noise = torch.randint(256, (200,), generator=generator, dtype=torch.uint8)
        refused(written(tmp_path / name, noise.numpy().tobytes()))


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_cut_short(tmp_path: Path, kind: str) -> None:
    weights = random_weights(SHAPES["x070"])
    path = tmp_path / ("m.safetensors" if kind == "safetensors" else "m.pth")
    if kind == "safetensors":
        save_file(weights, path)
    else:
        saved(path, weights, _use_new_zipfile_serialization=kind == "zip")
    content = path.read_bytes()
    for share in (0.001, 0.01, 0.1, 0.5, 0.9, 0.9999):
        message = refused(written(path, content[: int(share * len(content))]))
        assert "download it again" in message or "not a PyTorch checkpoint" in message


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("kind", ["zip", "legacy", "plain"])
def test_code_in_a_file_is_not_run(tmp_path: Path, kind: str) -> None:
    content = {**random_weights(SHAPES["x070"]), "x": Malicious(tmp_path / "harm")}
    if kind == "plain":
        path = written(tmp_path / "m.pth", pickle.dumps(Malicious(tmp_path / "harm")))
    else:
        path = saved(tmp_path / "m.pth", content, _use_new_zipfile_serialization=kind == "zip")
    message = refused(path)
    assert "not a PyTorch checkpoint" in message
    assert ("Python code" in message) == (kind != "plain")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("content", [[1, 2], torch.zeros(3), "text"], ids=["list", "tensor", "str"])
def test_a_pickle_of_something_else(tmp_path: Path, content: object) -> None:
    assert f"holds a {type(content).__name__}" in refused(saved(tmp_path / "m.pth", content))


def test_tensors_of_something_else(tmp_path: Path) -> None:
    other = {"encoder.weight": torch.zeros(2, 2), "step": 3}
    assert "encoder.weight" in refused(saved(tmp_path / "m.pth", other))
    assert "no tensors" in refused(saved(tmp_path / "m.pth", {}))


@VERSIONS
@pytest.mark.parametrize("parts", [(), ("time", "ln", "emb", "head")], ids=["alone", "with_parts"])
def test_an_adapter_given_as_a_model(tmp_path: Path, version: str, parts: tuple[str, ...]) -> None:
    model = load(write_model(tmp_path / "m.pth", version))
    attach(model, PiSSA(rank=2), train_parts=parts)
    path = tmp_path / "adapter.safetensors"
    save_file({k: v.contiguous() for k, v in adapter_tensors(model).items()}, path)
    assert "this is an adapter" in refused(path)


def test_an_adapter_of_peft_given_as_a_model(tmp_path: Path) -> None:
    name = "base_model.model.blocks.0.att.key.lora_A.weight"
    assert "this is an adapter" in refused(saved(tmp_path / "a.pth", {name: torch.zeros(2, 4)}))


# Some keys of each version as its released files have them.
_OLD = {
    "emb.weight": (16, 8),
    "blocks.0.att.time_mix_k": (1, 1, 8),
    "blocks.0.att.key.weight": (8, 8),
    "blocks.0.ffn.key.weight": (32, 8),
}
FOREIGN = {
    "RWKV-4": _OLD | {"blocks.0.att.time_decay": (8,), "blocks.0.att.time_first": (8,)},
    "RWKV-5.0": _OLD
    | {
        "blocks.0.att.time_decay": (2,),
        "blocks.0.att.time_first": (2,),
        "blocks.0.att.ln_x.weight": (8,),
    },
    "RWKV-5.1": _OLD
    | {
        "blocks.0.att.time_decay": (2, 1),
        "blocks.0.att.time_faaaa": (2, 1),
        "blocks.0.att.time_mix_g": (1, 1, 8),
        "blocks.0.att.ln_x.weight": (8,),
        "blocks.0.att.gate.weight": (8, 8),
    },
    "RWKV-7a": {"blocks.0.att.r_k": (2, 4), "blocks.0.ffn.s_emb.weight": (16, 32)},
    "RWKV-7b": {"blocks.0.att.r_k": (2, 4), "blocks.0.qkv.qq.weight": (8, 8)},
    "RWKV-8": {"blocks.0.att.r_k": (2, 4), "blocks.0.rosa.q.weight": (8, 8)},
}


@pytest.mark.parametrize("name", FOREIGN)
def test_other_versions_are_refused_by_name(tmp_path: Path, name: str) -> None:
    tensors = {key: torch.zeros(size) for key, size in FOREIGN[name].items()}
    assert name in refused(saved(tmp_path / "m.pth", tensors))


@VERSIONS
@pytest.mark.parametrize("missing", ["emb.weight", "blocks.0.ffn.key.weight"])
def test_a_tensor_that_gives_a_dimension_is_missing(
    tmp_path: Path, version: str, missing: str
) -> None:
    weights = random_weights(SHAPES[version])
    del weights[missing]
    assert missing in refused(saved(tmp_path / "m.pth", weights))


@VERSIONS
def test_heads_that_do_not_divide_the_width(tmp_path: Path, version: str) -> None:
    weights = random_weights(SHAPES[version])
    for name in weights:
        if name.endswith(("time_faaaa", "r_k")):
            weights[name] = torch.zeros(3, 16)
    refused(saved(tmp_path / "m.pth", weights))


@torch.no_grad()
def test_layer_0_with_and_without_its_unused_value_mix(tmp_path: Path) -> None:
    weights = random_weights(SHAPES["x070"])
    assert "blocks.0.att.v0" not in weights
    unused = {
        "blocks.0.att.v0": torch.randn(1, 1, 64),
        "blocks.0.att.v1": torch.randn(64, 6),
        "blocks.0.att.v2": torch.randn(6, 64),
    }
    without = saved(tmp_path / "without.pth", weights)
    with_them = saved(tmp_path / "with.pth", weights | unused)
    assert_same_model(without, weights)
    kept = load(with_them).state_dict()
    assert all(torch.equal(kept[name], tensor) for name, tensor in unused.items())
    tokens = torch.arange(20)[None]
    assert torch.equal(load(without)(tokens)[0], load(with_them)(tokens)[0])
