"""The verbs as they are typed, and what a user reads who typed them wrong."""

import io
import json
import os
import sys
from pathlib import Path

import pytest
import torch
from weights import write_model

from eyas.cli import main
from eyas.config import write_toml
from eyas.models import load
from eyas.run import read_run
from eyas.training.checkpoint import newest_checkpoint

QUICK = ("--rank", "2", "--ctx", "32", "--micro-batch", "4")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with m.pth and d.jsonl, to work in."""
    monkeypatch.chdir(tmp_path)
    write_model(tmp_path / "m.pth")
    rows = [{"text": f"User: {i}\n\nAssistant: number {i}"} for i in range(12)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


@pytest.fixture
def eyas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Runs a command line: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["eyas", *arguments])
        code = main()
        return (code, *capsys.readouterr())

    return run


def train_quickly(eyas, *more: str) -> str:
    code, out, err = eyas("train", "m.pth", "d.jsonl", *QUICK, "--steps", "2", "--out", "r", *more)
    assert (code, err) == (0, "")
    return out


def test_train_merge_generate(eyas, folder: Path) -> None:
    out = train_quickly(eyas)
    assert "x070 L2 C64" in out
    assert "12 documents" in out
    assert f"Next: eyas merge {folder / 'r'}" in " ".join(out.split())
    assert newest_checkpoint(folder / "r").progress.step == 2

    code, out, err = eyas("merge", "r", "--dtype", "fp16")
    assert (code, err) == (0, "")
    assert "largest difference" in out
    assert {p.dtype for p in load(Path("r/m-merged.pth")).parameters()} == {torch.float16}

    for model in ("m.pth", "r", "r/m-merged.pth"):
        code, out, err = eyas("generate", model, "--prompt", "a", "--max-tokens", "3")
        assert (code, err) == (0, "")
        assert out.endswith("\n")


def test_the_same_command_goes_on(eyas) -> None:
    train_quickly(eyas)
    assert "resuming after step 2" in train_quickly(eyas)


def test_dry_run_writes_nothing(eyas, folder: Path) -> None:
    before = sorted(os.listdir(folder))
    code, out, _ = eyas("train", "m.pth", "d.jsonl", *QUICK, "--dry-run")
    assert code == 0
    assert "Nothing was written" in out
    assert "one step took" in out
    for shown in ("optim.lr = 2e-05", "method.rank = 2", "loop.steps = 3", "MiB at the peak"):
        assert shown in out
    assert sorted(os.listdir(folder)) == before


@pytest.mark.parametrize("able", [True, False])
def test_bf16_on_a_cpu_says_where_it_makes_no_difference(eyas, able, monkeypatch) -> None:
    monkeypatch.setattr("eyas.run.prepared.multiplies_bfloat16", lambda: able)
    typed = ("--precision", "bf16", "--accelerator", "cpu", "--dry-run")
    code, out, _ = eyas("train", "m.pth", "d.jsonl", *QUICK, *typed)
    assert code == 0
    assert ("this processor has no units for it" in out) == (not able)


def test_a_settings_file_with_options_over_it(eyas) -> None:
    settings = {
        "model": "m.pth",
        "data": "d.jsonl",
        "out": "r",
        "method": {"name": "lora", "rank": 3, "alpha": 6.0},
        "loop": {"steps": 7},
        "batch": {"ctx": 32},
    }
    write_toml(settings, Path("run.toml"))
    code, _, err = eyas("train", "run.toml", "--steps", "1", "--rank", "2")
    assert (code, err) == (0, "")
    run = read_run(Path("r"))
    assert (run.loop.steps, run.batch.ctx) == (1, 32)
    assert (run.method.name, run.method.rank, run.method.alpha) == ("lora", 2, 6.0)
    # What the run wrote is a settings file too.
    code, out, _ = eyas("train", "r/run.toml")
    assert code == 0
    assert "resuming after step 1" in out


def test_another_method_does_not_inherit_settings(eyas) -> None:
    lora = {"name": "lora", "rank": 3, "alpha": 6.0}
    write_toml({"model": "m.pth", "data": "d.jsonl", "out": "r", "method": lora}, Path("run.toml"))
    code, _, err = eyas("train", "run.toml", "--method", "pissa", "--steps", "1", "--rank", "2")
    assert (code, err) == (0, "")
    assert read_run(Path("r")).method.name == "pissa"


ASK = ("generate", "m.pth", "--prompt", "你")
TRAIN = ("train", "m.pth", "d.jsonl", "--steps", "1")
MISTAKES = {
    "no model": (("train", "nowhere.pth", "d.jsonl"), "nowhere.pth: no such file"),
    "no data": (("train", "m.pth", "nowhere.jsonl"), "nowhere.jsonl"),
    "data left out": (("train", "m.pth"), "no data given"),
    "too much": (("train", "m.pth", "d.jsonl", "e.jsonl"), "e.jsonl"),
    "model is data": (("train", "d.jsonl", "m.pth"), "d.jsonl: this is not a PyTorch checkpoint"),
    "model is a page": (("train", "page.pth", "d.jsonl"), "page.pth: this is an HTML page"),
    "empty data": (("train", "m.pth", "empty.jsonl"), "empty.jsonl"),
    "bad line": (("train", "m.pth", "bad.jsonl"), "bad.jsonl:2"),
    "not UTF-8": (("train", "m.pth", "latin.txt"), "latin.txt"),
    "rank": ((*TRAIN, "--rank", "65"), "take --rank 64 or less"),
    "rank 0": ((*TRAIN, "--rank", "0"), "rank = 0"),
    "rate": ((*TRAIN, "--lr", "-1"), "lr = -1.0"),
    "setting of another method": ((*TRAIN, "--alpha", "3"), "alpha"),
    "no toml": (("train", "nowhere.toml"), "nowhere.toml"),
    "broken toml": (("train", "broken.toml"), "broken.toml"),
    "unknown key": (("train", "unknown.toml"), "did you mean 'loop'"),
    "foreign folder": ((*TRAIN, "--out", "full"), "holds thesis.txt"),
    "out is a file": ((*TRAIN, "--out", "m.pth"), "m.pth"),
    "tokenizer": ((*TRAIN, "--tokenizer", "wrld"), "did you mean 'world'"),
    "merge nowhere": (("merge", "nowhere"), "nowhere: no such"),
    "merge no run": (("merge", "full"), "full: not a run directory"),
    "merge a model": (("merge", "m.pth", "--base", "m.pth"), "m.pth"),
    "merge without base": (("merge", "d.jsonl"), "--base"),
    "generate nowhere": (("generate", "nowhere", "--prompt", "a"), "nowhere: no such file"),
    "generate no run": (("generate", "full", "--prompt", "a"), "full: not a run directory"),
    "temperature inf": ((*ASK, "--temperature", "inf"), "temperature = inf must be 0 or from"),
    "penalty": ((*ASK, "--frequency-penalty", "inf"), "frequency_penalty = inf"),
    "prompt is no text": (("generate", "m.pth", "--prompt", "\udcff"), "the prompt is not UTF-8"),
    "prompt file is no text": (
        ("generate", "m.pth", "--prompt-file", "latin.txt"),
        "latin.txt: is",
    ),
    "no prompt file": (("generate", "m.pth", "--prompt-file", "no.txt"), "no.txt: cannot be read"),
    "no question": (("generate", "m.pth", "--chat", " "), "the question is empty"),
    "tokenizer of another": ((*ASK, "--tokenizer", "world"), "outside the model's vocabulary of"),
    "temperature": (("generate", "m.pth", "--prompt", "a", "--temperature", "-1"), "temperature"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    eyas, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    (folder / "empty.jsonl").touch()
    (folder / "bad.jsonl").write_text('{"text": "a"}\n{"text": \n')
    (folder / "latin.txt").write_bytes("Übung".encode("latin-1"))
    (folder / "page.pth").write_text("<html>")
    (folder / "broken.toml").write_text("a = = 1")
    (folder / "unknown.toml").write_text('model = "m.pth"\ndata = "d.jsonl"\n[lop]\nsteps = 1')
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").touch()
    before = sorted(path for path in folder.rglob("*") if path.name != ".lock")
    code, _, err = eyas(*arguments)
    assert code == 2
    assert err.startswith("eyas: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(path for path in folder.rglob("*") if path.name != ".lock") == before


def test_a_run_directory_of_another_run(eyas) -> None:
    train_quickly(eyas)
    code, _, err = eyas(*TRAIN, *QUICK, "--out", "r", "--lr", "1e-3")
    assert code == 2
    assert "optim.lr is 2e-05 there and 0.001 here" in err


def test_merge_does_not_overwrite(eyas, folder: Path) -> None:
    train_quickly(eyas)
    (folder / "out.pth").write_bytes(b"mine")
    code, _, err = eyas("merge", "r", "--out", "out.pth")
    assert code == 2
    assert "--overwrite" in err
    assert (folder / "out.pth").read_bytes() == b"mine"
    code, _, err = eyas("merge", "r", "--out", "m.pth", "--overwrite")
    assert code == 2
    assert "the base model itself" in err
    code, _, _ = eyas("merge", "r", "--out", "out.pth", "--overwrite")
    assert code == 0
    load(folder / "out.pth")


def test_merge_an_adapter_file_with_its_base(eyas, folder: Path) -> None:
    train_quickly(eyas)
    code, _, err = eyas("merge", "r/adapter.safetensors", "--base", "m.pth", "--out", "out.pth")
    assert (code, err) == (0, "")
    write_model(folder / "other.pth", seed=1)
    code, _, err = eyas("merge", "r/adapter.safetensors", "--base", "other.pth", "--out", "o.pth")
    assert code == 2
    assert "not the model that this adapter was trained over" in err
    assert not (folder / "o.pth").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("train", "m.pth", "d.jsonl", "--rnak", "3"), "--rank"),
        (("train", "m.pth", "d.jsonl", "--method", "pisa"), "pissa"),
        (("train", "m.pth", "d.jsonl", "--steps", "many"), "many"),
        (("trian", "m.pth", "d.jsonl"), "did you mean 'train'"),
        (("generate", "m.pth"), "--prompt"),
        (("generate", "m.pth", "--prompt", "a", "--chat", "b"), "give one of"),
        ((*ASK, "--seed", "99999999999999999999"), "18446744073709551615"),
    ],
)
def test_wrong_usage_says_what_is_right(eyas, arguments: tuple[str, ...], said: str) -> None:
    code, out, err = eyas(*arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_what_a_prompt_may_be(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(
        "eyas.cli.generate.stream", lambda _model, _tokens, text, *_: seen.append(text) or ["ok"]
    )
    Path("p.txt").write_bytes(b"\xef\xbb\xbfa\r\nb\n\n")

    def said(*arguments: str) -> str:
        assert eyas("generate", "m.pth", *arguments) == (0, "ok\n", "")
        return seen[-1]

    assert said("--prompt", "a\n") == "a\n"
    assert said("--prompt", "") == ""
    assert said("--prompt-file", "p.txt") == "a\nb\n"
    assert said("--chat", "a\n\nUser: b") == "User: a\nUser: b\n\nAssistant:"
    for given, text in ((b"x\n", "x"), ("你".encode(), "你"), (b"", "")):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given), "ascii"))
        assert said("--prompt", "-") == text
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a\xff"), "ascii"))
    code, _, err = eyas("generate", "m.pth", "--prompt", "-")
    assert (code, err.startswith("eyas: standard input: is not UTF-8 at byte 1;")) == (2, True)
