"""`--load_model ""`: a model from nothing, as RWKV-LM begins."""

import json
from pathlib import Path

import pytest
import torch
from shell_words import planned, quick

from eyas.models import read_tensors, shape_of
from eyas.rwkv_peft.new_model import new_shape

NEW = {
    "load_model": "", "peft": "none", "n_layer": 2, "n_embd": 64, "head_size_a": 16,
    "epoch_count": 1,
}  # fmt: skip


def sizes(version: str, width: int, **more: int) -> tuple[int, dict[str, int]]:
    words = ["--n_layer", "12", "--n_embd", str(width), "--my_testing", version]
    words += [word for name, value in more.items() for word in (f"--{name}", str(value))]
    shape = new_shape(planned("--load_model", "", *words).given, 65536)
    assert (shape.num_layers, shape.width, shape.num_heads) == (12, width, width // 64)
    return shape.ffn_width, shape.ranks


def test_the_sizes_of_rwkv_peft() -> None:
    # By its model files at 5b8aac9; RWKV-7's are those of the released 0.1B and 1.5B.
    assert sizes("x052", 768) == (2688, {})
    assert sizes("x060", 2048) == (7168, {"mix": 32, "decay": 64})
    assert sizes("x060", 4096)[1] == {"mix": 64, "decay": 128}
    assert sizes("x070", 768) == (3072, {"w": 64, "a": 64, "v": 32, "g": 128})
    assert sizes("x070", 1024)[1] == {"w": 64, "a": 64, "v": 32, "g": 128}
    assert sizes("x070", 2048)[1] == {"w": 96, "a": 96, "v": 64, "g": 256}
    assert sizes("x060", 768, dim_ffn=3072)[0] == 3072


@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_characters_of_a_text(version: str, done) -> None:
    text = "春眠不觉晓，处处闻啼鸟。\n" * 30
    Path("t.txt").write_bytes(text.encode("utf-16-le"))
    words = quick(**NEW, my_testing=version, data_file="t.txt", data_type="utf-16le", vocab_size=0)
    done(*words, "--dataload", "get", "--ctx_len", "32")
    vocabulary = json.loads(Path("out/vocab.json").read_bytes().decode("utf-16-le"))
    assert sorted(vocabulary.values()) == sorted({*text, "\0"})
    model = read_tensors("out/rwkv-0.pth")
    shape = shape_of(model, "out/rwkv-0.pth")
    assert (shape.version, shape.num_layers, shape.width) == (version, 2, 64)
    assert (shape.num_heads, shape.vocab_size) == (4, len(vocabulary))
    start = read_tensors("out/rwkv-init.pth")
    assert any(not torch.equal(tensor, model[name]) for name, tensor in start.items())


def test_it_goes_on_with_the_model_it_made(done) -> None:
    words = quick(**NEW, my_testing="x060", vocab_size=256, precision="bf16")
    done(*words)
    start = torch.load("out/rwkv-init.pth")
    assert {tensor.dtype for tensor in start.values()} == {torch.bfloat16}
    done(*words, "--epoch_count", "2")
    again = torch.load("out/rwkv-init.pth")
    assert all(torch.equal(tensor, again[name]) for name, tensor in start.items())
    assert Path("out/rwkv-1.pth").exists()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"peft": "pissa"}, "--peft pissa needs a base model; give one, or train a new model"),
        ({"my_testing": "x040"}, "--my_testing x040: there are x052, x060 and x070"),
        ({"n_embd": 60}, "its width is a multiple of --head_size_a 16"),
        ({"vocab_size": 0}, "tokens do not tell their vocabulary; say 65536 for World"),
    ],
)
def test_what_makes_no_model(changed: dict[str, object], said: str, refused) -> None:
    words = quick(**{**NEW, "my_testing": "x060", "vocab_size": 256, **changed})
    assert said in refused(*words)
    assert not Path("out").exists()


def test_what_is_missing_for_a_new_model(refused) -> None:
    line = refused(*quick(load_model="", peft="none"))
    assert "for a new model say --n_layer and --n_embd and --my_testing too" in line
