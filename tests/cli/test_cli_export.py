"""`eyas export` as it is typed."""

import shutil
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader
from safetensors.torch import load_file, save_file
from weights import write_model

from eyas.adapters import load_adapter
from eyas.models import read_tensors
from eyas.run import adapter_at

SETTINGS = ("--ctx", "32", "--micro-batch", "4", "--steps", "2", "--lr", "1e-3", "--rank", "2")


def train(eyas, *more: str) -> None:
    settings = ("--ctx", "32", "--micro-batch", "4", "--steps", "2", "--lr", "1e-3", "--out", "r")
    code, _, err = eyas("train", "m.pth", "d.jsonl", *settings, *more)
    assert (code, err) == (0, "")


def merged(eyas) -> dict[str, torch.Tensor]:
    code, _, err = eyas("merge", "r", "--dtype", "fp32", "--out", "merged.pth", "--overwrite")
    assert (code, err) == (0, "")
    return read_tensors(Path("merged.pth"))


def export(eyas, *arguments: str) -> str:
    code, out, err = eyas("export", *arguments)
    assert (code, err) == (0, "")
    return out


def test_a_run_in_every_format(eyas, folder: Path) -> None:
    quick = ("--quant-iterations", "1")
    train(eyas, "--rank", "4", "--quant", "nf4", "--train-parts", "ln", *quick)
    expected = merged(eyas)
    assert "adapted against merged" in export(eyas, "r", "--to", "pth", "--dtype", "fp32")
    out = export(eyas, "r", "--to", "st")
    assert out.startswith(str(Path("r/m-merged.st (")))
    assert "web-rwkv-py 0.2.3 does not know it" in out
    export(eyas, "r", "--to", "gguf", "--dtype", "fp32", "--out", "x.gguf")
    export(eyas, "r", "--to", "hf", "--dtype", "bf16")
    pth = read_tensors(folder / "r" / "m-merged-fp32.pth")
    half = load_file(folder / "r" / "m-merged.st")
    plain = {t.name: torch.tensor(t.data) for t in GGUFReader(folder / "x.gguf").tensors}
    for name, tensor in expected.items():
        assert torch.equal(pth[name], tensor)
        if name.endswith("key.weight"):
            assert torch.equal(half[name], tensor.half())
    key = "blocks.1.ffn.key.weight"
    assert torch.equal(plain["blk.1.channel_mix_key.weight"], expected[key])
    brain = load_file(folder / "r" / "m-merged-hf-bf16" / "model.safetensors")
    assert torch.equal(brain["model.layers.1.ffn.key.weight"], expected[key].bfloat16())
    assert (folder / "r" / "m-merged-hf-bf16" / "rwkv_vocab_v20230424.txt").exists()


@pytest.mark.parametrize(
    "method",
    [
        ("lora", "--rank", "4", "--alpha", "6", "--rslora"),
        ("pissa", "--rank", "3"),
        ("miss", "--rank", "4", "--train-parts", "ln,time"),
    ],
    ids=lambda method: method[0],
)
def test_a_lora_for_ai00(eyas, method: tuple[str, ...]) -> None:
    train(eyas, "--method", *method)
    expected, base = merged(eyas), read_tensors(Path("m.pth"))
    out = export(eyas, "r", "--to", "lora")
    alpha = float(out.splitlines()[1].rpartition("alpha = ")[2])
    found = {name: tensor.float() for name, tensor in load_file("r/m.lora").items()}
    pairs = {name.removesuffix(".lora.0") for name in found if name.endswith(".lora.0")}
    assert len(pairs) == 12
    for name in pairs:  # as web-rwkv adds it
        x, y = found[f"{name}.lora.0"], found[f"{name}.lora.1"]
        change = expected[f"{name}.weight"] - base[f"{name}.weight"]
        off = alpha / x.shape[1] * y @ x.mT - change
        assert off.norm() <= 2e-3 * change.norm()


def test_a_state_for_each_program(eyas, folder: Path) -> None:
    train(eyas, "--method", "state")
    own = adapter_at(folder / "r").tensors
    export(eyas, "r", "--to", "state")
    out = export(eyas, "r", "--to", "state", "--out", "s.state")
    assert "[[state]]" in out
    export(eyas, "r", "--to", "state", "--out", "s.safetensors")
    runner, ai00 = torch.load(folder / "r" / "m-state.pth"), load_file("s.state")
    assert runner.keys() == ai00.keys() == own.keys()
    for name, tensor in own.items():
        assert torch.equal(runner[name], tensor)
        assert torch.equal(ai00[name], tensor.half().mT)
    assert load_adapter(Path("s.safetensors")).tensors.keys() == own.keys()
    merged(eyas)
    export(eyas, "merged.pth", "--to", "state", "--out", "again.pth")
    export(eyas, "again.pth", "--to", "state", "--out", "again.state")
    assert torch.equal(load_file("again.state")[name], ai00[name])
    code, _, err = eyas("export", "r", "--to", "gguf")
    assert code == 2
    assert "GGUF has no place for the initial state" in err


def test_a_base_that_is_not_at_hand(eyas, folder: Path) -> None:
    train(eyas, "--method", "lora", "--rank", "2")
    (folder / "m.pth").rename(folder / "moved.pth")
    code, _, err = eyas("export", "r", "--to", "st")
    assert code == 2
    assert "m.pth, is not there; say with --base where it is now" in err
    export(eyas, "r", "--to", "st", "--base", "moved.pth")
    write_model(folder / "other.pth", seed=1)
    for form in ("st", "lora"):
        code, _, err = eyas(
            "export", "r", "--to", form, "--base", "other.pth", "--out", f"o.{form}"
        )
        assert code == 2
        assert "other.pth: not the model that" in err
    shutil.copy("r/adapter.safetensors", "a.safetensors")
    code, _, err = eyas("export", "a.safetensors", "--to", "st")
    assert "does not know where its base is; add --base" in err
    export(eyas, "a.safetensors", "--to", "st", "--base", "moved.pth")
    assert (folder / "moved-merged.st").read_bytes() == Path("r/moved-merged.st").read_bytes()


def test_adapters_of_other_programs_are_to_be_converted(eyas) -> None:
    train(eyas, "--method", "lora", "--rank", "2")
    for name in ("foreign.pth", "peft-folder"):
        assert eyas("convert", "r", name)[0] == 0
        code, _, err = eyas("export", name, "--to", "st")
        assert code == 2
        assert f"eyas convert {name} a.safetensors --base MODEL makes one" in err
    assert (
        eyas("convert", "foreign.pth", "a.safetensors", "--base", "m.pth", "--alpha", "2")[0] == 0
    )
    export(eyas, "a.safetensors", "--to", "st", "--base", "m.pth")


def test_a_state_needs_no_base(eyas, folder: Path) -> None:
    train(eyas, "--method", "state", "--train-parts", "ln")
    (folder / "m.pth").unlink()
    out = export(eyas, "r", "--to", "state")
    assert "and all else that was trained beside the state; --to pth and" in out
    for out, dtype in (("s.state", "fp32"), ("s.safetensors", "bf16")):
        code, _, err = eyas("export", "r", "--to", "state", "--out", out, "--dtype", dtype)
        assert (code, f"--dtype {dtype}: " in err) == (2, True)


def test_a_model_and_what_is_there_already(eyas, folder: Path) -> None:
    out = export(eyas, "m.pth", "--to", "gguf", "--dtype", "Q8_0")
    assert out.startswith("m-q8_0.gguf (")
    assert "heads of 16 wrong on CPUs with AVX-512" in out
    export(eyas, "m.pth", "--to", "pth", "--dtype", "bf16")
    assert {t.dtype for t in read_tensors(folder / "m-bf16.pth").values()} == {torch.bfloat16}
    code, _, err = eyas("export", "m.pth", "--to", "gguf", "--dtype", "q8_0")
    assert (code, err.count("\n")) == (2, 1)
    assert "m-q8_0.gguf: exists already; add --overwrite" in err
    export(eyas, "m.pth", "--to", "gguf", "--dtype", "q8_0", "--overwrite")
    assert export(eyas, "m.pth", "--to", "hf").startswith("m-hf (")
    code, _, err = eyas("export", "m.pth", "--to", "hf")
    assert (code, "m-hf: exists already; add --overwrite" in err) == (2, True)
    index = folder / "m-hf" / "model.safetensors"
    index.write_bytes(b"old")
    export(eyas, "m.pth", "--to", "hf", "--overwrite")
    assert len(load_file(index)) > 40
    (folder / "m-hf" / "notes.txt").write_text("mine")
    code, _, err = eyas("export", "m.pth", "--to", "hf", "--overwrite")
    assert "m-hf: holds notes.txt, which no export writes; remove it" in err
    assert (folder / "m-hf" / "notes.txt").exists()
    (folder / "file").touch()
    code, _, err = eyas("export", "m.pth", "--to", "hf", "--out", "file", "--overwrite")
    assert "file: is a file, and --to hf writes a folder" in err
    assert not list(folder.glob(".*"))


def test_from_python(eyas) -> None:
    import eyas as package

    train(eyas, "--method", "lora", "--rank", "2")
    exported = package.export("r", "gguf", dtype="q8_0")
    assert exported.path == Path("r/m-merged-q8_0.gguf")
    assert exported.nbytes == exported.path.stat().st_size
    assert "AVX-512" in exported.notes[0]
    with pytest.raises(package.UserError, match="exists already"):
        package.export("r", "gguf", dtype="q8_0")


def test_a_base_whose_file_is_sorted(folder: Path, eyas) -> None:
    # rwkv.cpp joins x_r x_w x_k x_v x_a x_g as they come; safetensors sorts them.
    save_file(torch.load("m.pth"), folder / "s.safetensors")
    mixes = [f"blocks.1.att.x_{letter}" for letter in "rwkvag"]
    export(eyas, "s.safetensors", "--to", "pth")
    assert [name for name in torch.load("s.pth") if name in mixes] == mixes
    assert eyas("train", "s.safetensors", "d.jsonl", *SETTINGS, "--out", "s")[0] == 0
    assert eyas("merge", "s")[0] == 0
    merged = torch.load("s/s-merged.pth")
    assert [name for name in merged if name in mixes] == mixes


MISTAKES = {
    "nothing": (("nowhere.pth", "--to", "st"), "nowhere.pth: no such file"),
    "no model": (("d.jsonl", "--to", "st"), "d.jsonl: this is not a PyTorch checkpoint"),
    "no format": (("m.pth", "--to", "onnx"), "'onnx' is not one of"),
    "no such type": (("m.pth", "--to", "pth", "--dtype", "q8_0"), "quantized files are --to gguf"),
    "unknown quantization": (("m.pth", "--to", "gguf", "--dtype", "q9"), "--dtype q9: is none of"),
    "st in bf16": (("m.pth", "--to", "st", "--dtype", "bf16"), "web-rwkv reads float16 alone"),
    "wrong end": (("m.pth", "--to", "st", "--out", "x.pth"), "x.pth: --to st writes NAME.st"),
    "itself": (("m.pth", "--to", "pth", "--out", "m.pth", "--overwrite"), "is to be exported"),
    "no folder": (("m.pth", "--to", "st", "--out", "no/x.st"), "the folder no does not exist"),
    "base of a model": (("m.pth", "--to", "st", "--base", "m.pth"), "--base goes with a run"),
    "lora of a model": (("m.pth", "--to", "lora"), "exports what a run has trained"),
    "state of a model": (("m.pth", "--to", "state"), "m-state.pth: holds the state of every layer"),
    "own state": (
        ("m.pth", "--to", "state", "--out", "s.safetensors"),
        "eyas convert m.pth s.safetensors --base MODEL",
    ),
    "no tokenizer in it": (
        ("m.pth", "--to", "st", "--tokenizer", "world"),
        "--tokenizer: a file of --to st holds none",
    ),
    "no run": ((".", "--to", "st"), "neither a run nor a checkpoint"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    eyas, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = sorted(folder.rglob("*"))
    code, _, err = eyas("export", *arguments)
    assert code == 2
    assert said in err
    assert sorted(folder.rglob("*")) == before


def test_a_disk_too_small(eyas, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    before = sorted(folder.rglob("*"))
    for form in ("pth", "st", "gguf", "hf"):
        code, _, err = eyas("export", "m.pth", "--to", form, "--dtype", "fp16")
        assert code == 2
        assert "bytes, and 1,000 are free there" in err
    assert sorted(folder.rglob("*")) == before
