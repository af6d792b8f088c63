"""`eyas convert` and `eyas inspect` as they are typed."""

import json
from pathlib import Path

import pytest
import torch

from eyas.adapters import load_adapter
from eyas.models import read_tensors
from eyas.run import adapter_at


def train(eyas, *more: str) -> None:
    settings = ("--ctx", "32", "--micro-batch", "4", "--steps", "2", "--lr", "1e-3", "--out", "r")
    code, _, err = eyas("train", "m.pth", "d.jsonl", *settings, *more)
    assert (code, err) == (0, "")


def merged_weights(eyas, *arguments: str) -> dict[str, torch.Tensor]:
    code, _, err = eyas("merge", *arguments, "--out", "out.pth", "--overwrite")
    assert (code, err) == (0, "")
    return {name: tensor.clone() for name, tensor in read_tensors(Path("out.pth")).items()}


@pytest.mark.parametrize(
    ("method", "back"),
    [
        (("pissa", "--rank", "4"), ("--init", "init_pissa.pth")),
        (("lora", "--rank", "4", "--alpha", "8"), ("--alpha", "8")),
        (("state",), ()),
    ],
    ids=lambda value: value[0] if value and value[0].isalpha() else "",
)
def test_a_run_to_rwkv_peft_and_back_to_a_merged_model(
    eyas, method: tuple[str, ...], back: tuple[str, ...]
) -> None:
    train(eyas, "--method", *method)
    expected = merged_weights(eyas, "r")
    code, out, err = eyas("convert", "r", "rwkv-0.pth")
    assert (code, err) == (0, "")
    assert out.startswith(f"rwkv-0.pth{' and init_pissa.pth' if '--init' in back else ''}: ")
    assert method[0] in out
    code, out, err = eyas("convert", "rwkv-0.pth", "a.safetensors", "--base", "m.pth", *back)
    assert (code, err) == (0, "")
    assert out.endswith("Next: eyas merge a.safetensors --base m.pth\n")
    found = merged_weights(eyas, "a.safetensors", "--base", "m.pth")
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_run_to_peft_and_as_a_lora(eyas, folder: Path) -> None:
    train(eyas, "--method", "miss", "--rank", "4")
    assert eyas("convert", "r", "hf", "--as-lora")[0] == 0  # the run knows its base
    assert json.loads((folder / "hf" / "adapter_config.json").read_text())["peft_type"] == "LORA"
    assert eyas("convert", "r", "newest.safetensors")[0] == 0
    newest, own = load_adapter(folder / "newest.safetensors"), adapter_at(folder / "r")
    assert newest.step == own.step == 2
    assert all(torch.equal(newest.tensors[name], own.tensors[name]) for name in own.tensors)


def test_a_note_on_a_quantized_base(eyas) -> None:
    train(eyas, "--method", "lora", "--rank", "4", "--quant", "nf4", "--quant-head")
    code, out, _ = eyas("convert", "r", "hf")
    assert code == 0
    assert "note: trained over a base quantized to nf4 and int8 (its head): over" in out


def test_inspect_a_run_its_checkpoint_and_its_adapter(eyas) -> None:
    train(eyas, "--method", "pissa", "--rank", "4", "--train-parts", "ln")
    code, out, err = eyas("inspect", "r")
    assert (code, err) == (0, "")
    assert out.startswith("a run of eyas: pissa (rank 4, quant_iterations 5) + ln\n")
    assert "done: step 2 of 2" in out
    assert "d.jsonl" in out
    assert out.splitlines()[-1] == "Next: eyas merge r; eyas generate r --prompt TEXT"
    checkpoint = max(Path("r/checkpoints").iterdir())
    code, out, _ = eyas("inspect", str(checkpoint))
    assert code == 0
    assert out.startswith("a checkpoint of a run, after step 2\n  an adapter of eyas: pissa")
    Path("r/adapter.safetensors").unlink()
    code, out, _ = eyas("inspect", "r")
    assert "not done: step 2 of 2" in out
    assert out.splitlines()[-1].startswith("Next: eyas train r/run.toml goes on with it")


MISTAKES = {
    "convert nothing": (("convert", "nowhere", "a.safetensors"), "nowhere: no such file"),
    "convert a model": (("convert", "m.pth", "a.safetensors", "--base", "m.pth"), "is a model"),
    "convert data": (("convert", "d.jsonl", "a.safetensors", "--base", "m.pth"), "d.jsonl: this"),
    "no base": (("convert", "m.pth", "a.safetensors"), "give that one with --base"),
    "bad base": (("convert", "m.pth", "a.safetensors", "--base", "d.jsonl"), "d.jsonl: this"),
    "no name": (("convert", "m.pth", "a.gguf"), "a.gguf: the name does not say what to write"),
    "no run": (("convert", ".", "a.safetensors"), "neither a run nor a checkpoint"),
    "inspect nothing": (("inspect", "nowhere"), "nowhere: no such file or folder"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    eyas, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    before = sorted(folder.rglob("*"))
    code, _, err = eyas(*arguments)
    assert code == 2
    assert err.startswith("eyas: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(folder.rglob("*")) == before
