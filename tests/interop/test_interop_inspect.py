"""Every kind of file is named for what it is, with the command that it is good for."""

import json
import struct
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from weights import SHAPES, random_weights, write_model

from eyas.adapters import LoRA, PiSSA
from eyas.data import binidx
from eyas.errors import UserError
from eyas.interop.inspect import inspect


def said(path):
    return "\n".join(inspect(path).lines())


@pytest.mark.parametrize("version", SHAPES)
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_model(version, suffix, tmp_path):
    weights = random_weights(SHAPES[version])
    path = tmp_path / f"m.{suffix}"
    (save_file if suffix == "safetensors" else torch.save)(weights, path)
    text = said(path)
    assert text.startswith(f"an RWKV model: {SHAPES[version]}\n")
    assert "2 layers of width 64, 4 heads of 16" in text
    count = sum(t.numel() for t in weights.values())
    assert f"{len(weights)} tensors, {count:,} numbers, float32" in text
    assert text.splitlines()[-1].startswith(f"Next: eyas train {path} DATA.jsonl")
    assert "time_state" not in text


def test_a_model_with_a_state_and_two_types(tmp_path):
    weights = random_weights(SHAPES["x070"])
    states = {f"blocks.{i}.att.time_state": torch.zeros(4, 16, 16) for i in range(2)}
    half = {name: tensor.bfloat16() for name, tensor in weights.items()}
    torch.save({**half, **states}, tmp_path / "m.pth")
    text = said(tmp_path / "m.pth")
    assert "every layer holds an initial state" in text
    assert "bfloat16 and float32" in text
    assert "ranks of the low-rank matrices: w 8, a 12, g 16, v 4" in text


def test_a_model_of_another_version(tmp_path):
    old = {"emb.weight": torch.zeros(4, 4), "blocks.0.att.time_mix_k": torch.zeros(1, 1, 4),
           "blocks.0.att.time_first": torch.zeros(4)}  # fmt: skip
    torch.save(old, tmp_path / "m.pth")
    assert said(tmp_path / "m.pth").startswith("a model: this is an RWKV-4 model")


def test_an_adapter_of_eyas(own_adapter, tmp_path):
    base = write_model(tmp_path / "m.pth")
    _, adapter = own_adapter(base, PiSSA(rank=4), "nf4", ("ln",))
    path = tmp_path / "own.safetensors"
    text = said(path)
    assert text.startswith("an adapter of eyas: pissa (rank 4, quant_iterations 5)\n")
    for fact in (
        "12 linears: blocks.0.att.key",
        "tensors whole: ",
        "quant nf4",
        "step 120, seed 3",
    ):
        assert fact in text
    assert f"base x070 L2 C64 H4x16 F256 V256, fingerprint {adapter.base[:16]}" in text
    assert f"Next: eyas merge {path} --base MODEL" in text


PAIR = {"lora_A": (4, 64), "lora_B": (64, 4)}


@pytest.mark.parametrize(
    ("tensors", "kind", "command"),
    [
        (PAIR, "an adapter of RWKV-PEFT: LoRA or PiSSA, rank 4", "--init init_pissa.pth (PiSSA)"),
        ({"bone": (4, 64)}, "an adapter of RWKV-PEFT: MiSS (Bone, DiSHA), rank 4", "--base MODEL"),
        ({"disha": (8, 8, 8)}, "an adapter of RWKV-PEFT: Bat, rank 8", "--base MODEL"),
        (
            {f"init_{name}": size for name, size in PAIR.items()},
            "what a PiSSA run of RWKV-PEFT started from: rank 4",
            "eyas convert rwkv-N.pth adapter.safetensors --base MODEL --init ",
        ),
    ],
)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_files_of_rwkv_peft(tensors, kind, command, prefix, tmp_path):
    path = tmp_path / "rwkv-0.pth"
    layers = {f"{prefix}blocks.0.att.key.{n}": torch.zeros(size) for n, size in tensors.items()}
    torch.save({**layers, f"{prefix}blocks.0.ln1.weight": torch.zeros(64)}, path)
    text = said(path)
    assert text.startswith(f"{kind}\n")
    assert command in text.splitlines()[-1]
    assert "1 linears: blocks.0.att.key" in text


def test_a_start_that_lies_beside_is_named(tmp_path):
    pair = {f"blocks.0.att.key.{name}": torch.zeros(size) for name, size in PAIR.items()}
    torch.save(pair, tmp_path / "rwkv-0.pth")
    (tmp_path / "init_pissa.pth").touch()
    assert said(tmp_path / "rwkv-0.pth").endswith(f"--init {tmp_path / 'init_pissa.pth'}")


def test_a_state(tmp_path):
    states = {f"blocks.{i}.att.time_state": torch.zeros(4, 16, 16) for i in range(3)}
    torch.save(states, tmp_path / "s.pth")
    text = said(tmp_path / "s.pth")
    assert text.startswith("a tuned state: 3 layers of [4, 16, 16]\n")
    assert "RWKV Runner" in text


def test_a_folder_of_peft(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from peft import LoraConfig, get_peft_model
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        linear = torch.nn.Sequential(torch.nn.Linear(8, 8, bias=False))
        config = LoraConfig(r=2, target_modules=["0"], init_lora_weights="pissa")
        get_peft_model(linear, config).save_pretrained(tmp_path / "hf")
    text = said(tmp_path / "hf")
    assert text.startswith("an adapter of HF peft: LORA (r 2, lora_alpha 8,")
    assert "2 tensors, 32 numbers" in text
    assert text.endswith("--base MODEL --init FOLDER")
    assert "HF peft" in said(tmp_path / "hf" / "adapter_model.safetensors")


def test_a_binidx_pair(tmp_path):
    binidx.write(tmp_path / "d", [[5, 6, 7], [8], [9] * 11], np.uint16)
    for name in ("d", "d.bin", "d.idx"):
        text = said(tmp_path / name)
        assert "tokens in a binidx pair (uint16)" in text
        assert "3 documents, 15 tokens" in text
        assert "longest 11 tokens, mean 5" in text
        assert text.endswith(f"eyas train MODEL {tmp_path / 'd'} --dry-run")


def gguf_text(text):
    return struct.pack("<Q", len(text)) + text.encode()


def gguf_file(path, version=3):
    """Header as ggml's docs/gguf.md has it; values of several types, then a vocabulary."""
    values = [
        ("general.architecture", struct.pack("<I", 8) + gguf_text("rwkv7")),
        ("rwkv7.block_count", struct.pack("<II", 4, 12)),
        ("rwkv7.epsilon", struct.pack("<If", 6, 0.5)),
        ("general.flag", struct.pack("<I?", 7, True)),
        ("general.tags", struct.pack("<IIQ", 9, 8, 2) + gguf_text("a") + gguf_text("b")),
        ("general.file_type", struct.pack("<II", 4, 15)),
        ("tokenizer.ggml.tokens", struct.pack("<IIQ", 9, 8, 1 << 40)),
    ]
    head = b"GGUF" + struct.pack("<IQQ", version, 200, len(values))
    path.write_bytes(head + b"".join(gguf_text(key) + value for key, value in values))
    return path


def test_gguf(tmp_path):
    text = said(gguf_file(tmp_path / "m.gguf"))
    assert text.startswith("a GGUF model")
    assert "version 3, 200 tensors" in text
    for fact in ("architecture = rwkv7", "block_count = 12", "epsilon = 0.5", "file_type = 15"):
        assert fact in text
    assert "tokenizer" not in text
    assert "version 1, 0 tensors" in said(gguf_file(tmp_path / "old.gguf", version=1))


@pytest.mark.parametrize("length", [4, 12, 30, 60, 120, 170])
def test_gguf_cut_short(length, tmp_path):
    path = gguf_file(tmp_path / "m.gguf")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(UserError, match="damaged or cut short"):
        inspect(path)


@pytest.mark.parametrize(
    ("name", "content", "kind", "then"),
    [
        ("m.pth", b"", "an empty file", "download"),
        ("m.pth", b"\n<!DOCTYPE html><html>", "an HTML page", "the file, not its page"),
        (
            "m.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 123\n",
            "a Git LFS pointer, not the file itself\n  the file has 123 bytes",
            "git lfs pull",
        ),
        ("d.jsonl", b'{"text": "a"}\n', "training data, a record a line", "eyas train MODEL"),
        ("d.jsonl", b"nothing\n", "training data, a record a line", "eyas train MODEL"),
        ("d.txt", b"<b>once</b>", "training data, one document", "eyas train MODEL"),
        ("run.toml", b'model = "m.pth"', "settings", "eyas train"),
        ("d.csv", b"text\na\n", "training data, a table of text", "eyas train MODEL"),
        ("d.txt.gz", b"\x1f\x8bcut", "training data, one document, compressed", "eyas train"),
        ("x.npy", b"\x93NUMPY", "training data, tokens in a NumPy array", "eyas train MODEL"),
        ("x.xyz", b"\x93NUMPY", "a file of no kind that eyas knows", ".pth and .safetensors"),
        ("config.json", b"{}", "a file of no kind that eyas knows", ".pth and .safetensors"),
    ],
)
def test_other_files(name, content, kind, then, tmp_path):
    (tmp_path / name).write_bytes(content)
    text = said(tmp_path / name)
    assert text.startswith(kind)
    assert then in text.splitlines()[-1]


def test_keys_of_the_first_record(tmp_path):
    record = {"messages": [{"role": "user", "content": "a"}], "id": 3}
    (tmp_path / "d.jsonl").write_text(json.dumps(record) + "\n")
    assert "keys of the first record: messages, id" in said(tmp_path / "d.jsonl")
    (tmp_path / "d.jsonl").write_text(json.dumps({"text": "a" * 9000}) + "\n")
    assert "keys of the first record" not in said(tmp_path / "d.jsonl")


def test_other_tensors(tmp_path):
    save_file({"a": torch.zeros(3), "b": torch.zeros(2, 2).half()}, tmp_path / "t.safetensors")
    text = said(tmp_path / "t.safetensors")
    assert text.startswith("tensors that are no model and no adapter")
    assert "2 tensors, 7 numbers, float16 and float32, 20 bytes" in text


def test_folders(tmp_path):
    assert "it is empty" in said(tmp_path)
    (tmp_path / "notes.md").touch()
    assert "1 files: notes.md" in said(tmp_path)
    (tmp_path / "a.txt").touch()
    assert said(tmp_path).startswith("a folder with 1 .txt files")


def test_settings_alone_are_a_run_that_has_not_begun(tmp_path):
    (tmp_path / "run.toml").write_text('model = "m.pth"\ndata = "d.jsonl"')
    text = said(tmp_path)
    assert "model m.pth (not there any more)" in text
    assert "not done: step 0\n" in text
    assert "newest checkpoint: none yet" in text
    assert text.endswith(f"Next: eyas train {tmp_path / 'run.toml'} goes on with it")


def test_damaged_files_are_refused(own_adapter, tmp_path):
    base = write_model(tmp_path / "m.pth")
    base.write_bytes(base.read_bytes()[:-3000])
    with pytest.raises(UserError, match=r"m\.pth: .*damaged or cut short"):
        inspect(base)
    own_adapter(write_model(tmp_path / "n.pth"), LoRA(rank=4))
    content = (tmp_path / "own.safetensors").read_bytes()
    (tmp_path / "own.safetensors").write_bytes(content[:-10])
    with pytest.raises(UserError, match="damaged or cut short"):
        inspect(tmp_path / "own.safetensors")
    (tmp_path / "d.idx").write_bytes(b"MMIDIDX\0\0")
    with pytest.raises(UserError, match=r"d\.bin: no such file"):
        inspect(tmp_path / "d.idx")


def test_a_missing_file_and_what_may_be_meant(tmp_path):
    (tmp_path / "model.pth").touch()
    with pytest.raises(UserError, match=r"modle\.pth: no such file.*did you mean 'model\.pth'"):
        inspect(tmp_path / "modle.pth")
    with pytest.raises(UserError, match="check the path"):
        inspect(tmp_path / "nowhere" / "x")
