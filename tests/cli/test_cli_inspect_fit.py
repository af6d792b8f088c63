"""`eyas inspect MODEL --fit`, and what a run says that needs more memory than there is."""

import re

import pytest
import torch

from eyas.run import told

TRAIN = ("train", "m.pth", "d.jsonl", "--rank", "2", "--ctx", "32")


def test_what_fits(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    code, out, err = eyas("inspect", "m.pth", "--fit", "1MB", "--ctx", "64", "--micro-batch", "2")
    assert (code, err) == (0, "")
    for shown in ("x070 L2 C64", "ctx 64, micro batch 2", "On a GPU", "On the CPU", "activat."):
        assert shown in out
    assert out.count("pissa  nf4") == 2
    assert "--embedding-on-cpu" not in out
    assert "no setting changes that" in out
    code, out, _ = eyas("inspect", "m.pth", "--fit", "24GB")
    assert code == 0
    assert "!" not in out
    assert "what to change" not in out


def test_this_machine(eyas) -> None:
    code, out, err = eyas("inspect", "m.pth", "--fit", "auto")
    assert (code, err) == (0, "")
    assert "On the CPU" in out
    assert ("On a GPU" in out) == torch.cuda.is_available()


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("m.pth", "--fit", "much"), "--fit much: is no amount of memory"),
        (("m.pth", "--fit", "0"), "--fit 0: is no amount of memory"),
        (("m.pth", "--fit", "1GB", "--data-type", "jsonl"), "leave data_type out"),
        (("d.jsonl", "--fit", "1GB"), "d.jsonl: this is not a PyTorch checkpoint"),
    ],
)
def test_what_makes_no_sense_is_one_line(eyas, typed: tuple[str, ...], said: str) -> None:
    code, _, err = eyas("inspect", *typed)
    assert code == 2
    assert err.count("\n") == 1
    assert said in err


@pytest.mark.parametrize("more", [("--dry-run",), ("--steps", "1", "--out", "r")])
@pytest.mark.parametrize(
    ("micro_batch", "said"),
    [
        (32, r"--micro-batch 1 --accumulate 32: 0\.\d GiB, does not fit"),
        (1, "no setting changes that: it takes more memory, or a smaller model"),
    ],
)
def test_too_little_memory_is_told_with_what_to_change(
    eyas, monkeypatch: pytest.MonkeyPatch, micro_batch: int, said: str, more: tuple[str, ...]
) -> None:
    monkeypatch.setattr(told, "free_bytes", lambda device: 2**28)  # noqa: ARG005
    code, out, _ = eyas(*TRAIN, "--micro-batch", str(micro_batch), *more)
    assert code == 0
    assert "0.2 GiB are free here: this will probably run out of memory" in out
    assert re.search(said, " ".join(out.split()))
