"""The demo through its verb, on a few items; the embedded model; its directory."""

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from peer import rwkv_logits
from tolerance import LOGITS
from torch import Tensor
from torch.nn.functional import one_hot

import eyas.cli.demo
import eyas.demo.play
from eyas.cli import main
from eyas.demo.play import BASE
from eyas.demo.score import exact_match
from eyas.demo.tasks import TASK_NAMES, Task, load_task
from eyas.models import load
from eyas.training.checkpoint import locked
from eyas.training.events import Event, Finished, Step

ITEMS = 6


def few(path: Path, folder: Path, count: int = ITEMS) -> Path:
    """The first lines of a task's file, in a file of the same name."""
    folder.mkdir(exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
    (folder / path.name).write_text("".join(lines), encoding="utf-8")
    return folder / path.name


def small(name: str, folder: Path) -> Task:
    task = load_task(name)
    paths = {part: getattr(task, part) for part in ("train", "valid", "test", "unseen")}
    return dataclasses.replace(
        task, **{part: few(path, folder) for part, path in paths.items() if path}
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run the demo in, with little data."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(eyas.cli.demo, "_SHOWN", 1)
    monkeypatch.setattr(eyas.cli.demo, "load_task", lambda name: small(name, tmp_path / "data"))
    return tmp_path


@pytest.fixture
def demo(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):  # noqa: ARG001
    """Runs `eyas demo --steps 2`: exit code, standard output, standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["eyas", "demo", "--steps", "2", *arguments])
        code = main()
        return (code, *capsys.readouterr())

    return run


@torch.no_grad()
def test_the_embedded_model_in_the_rwkv_package(tmp_path: Path) -> None:
    tokens = [byte + 1 for byte in b"User: Ada, 63, New Haven.\n\nAssistant:"]
    ((whole, singly),) = rwkv_logits([BASE], tokens, "x070", tmp_path)
    ours, _ = load(BASE)(torch.tensor([tokens]))
    for theirs in (whole, singly):
        assert (ours[0] - theirs).abs().max() / theirs.std() <= LOGITS


def test_exact_match_asks_for_every_token_of_the_answer_and_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(BASE)
    wrong = torch.tensor([byte + 1 for byte in b"BZ"])

    def forward(tokens: Tensor) -> tuple[Tensor, None]:
        """Foresees what comes, but for B, Z and the end after a ~."""
        following = tokens.roll(-1, dims=1)
        following[:, -1] = 0
        following[torch.isin(following, wrong) | (tokens == ord("~") + 1)] = 7
        return one_hot(following, 257), None

    monkeypatch.setattr(model, "forward", forward)
    answers = {"Bob?": "yes", "the zoo?": "Zoo", "ever?": "no ~", "never?": "a ~ b", "Abe?": "AB"}
    turns = [
        [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        for q, a in answers.items()
    ]
    path = tmp_path / "items.jsonl"
    path.write_text("".join(json.dumps({"messages": turn}) + "\n" for turn in turns))
    assert exact_match(model, path) == 1 / 5


@pytest.mark.parametrize("task", TASK_NAMES)
def test_every_task_runs_to_its_merge(demo, folder: Path, task: str) -> None:
    code, out, err = demo("--task", task)
    assert (code, err) == (0, "")
    made = folder / "eyas-demo" / f"{task}-pissa"
    assert (made / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert load(made / "base-merged.pth").shape == load(BASE).shape
    for shown in ("nats a token", "exact match on 6 test items", "adapted against merged"):
        assert shown in out
    for rule in load_task(task).rules:
        assert rule.name[:20] in out


def test_another_method_beside_it(demo, folder: Path) -> None:
    code, out, err = demo("--compare", "lora")
    assert (code, err) == (0, "")
    assert {path.name for path in (folder / "eyas-demo").iterdir()} == {"json-pissa", "json-lora"}
    assert "loss, lora" in out
    assert "The same settings for both" in out


def test_it_begins_anew_but_never_over_a_running_one_or_what_is_not_its_own(
    demo, folder: Path
) -> None:
    made = folder / "eyas-demo" / "json-pissa"
    made.mkdir(parents=True)
    (made / ".lock").touch()  # of one that ended before it began
    (made / ".run.toml.0123abcd.tmp").touch()
    assert demo()[0] == 0

    def refused(said: str) -> None:
        before = sorted(made.rglob("*"))
        code, _, err = demo()
        assert (code, said in err) == (2, True)
        assert sorted(made.rglob("*")) == before

    with locked(made):
        refused("another process is training in this directory")
    settings = (made / "run.toml").read_text()
    (made / "run.toml").write_text(settings.replace("json.train.jsonl", "mine.jsonl"))
    refused("is no run of the demo")
    (made / "run.toml").rename(made / "thesis.txt")
    refused("is no run of the demo")
    (made / "thesis.txt").rename(made / "run.toml")
    (made / "run.toml").write_text(settings)
    assert demo()[0] == 0


def test_an_interrupt_ends_it_at_once(demo, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_prepared: object) -> Iterator[Event]:
        yield Step(1, 2.0, 1e-3, 1.0, 10, 5, 0.1, 0)
        monkeypatch.setattr(eyas.demo.play, "exact_match", pytest.fail)
        yield Finished(1, "interrupted")

    monkeypatch.setattr(eyas.demo.play, "train", interrupted)
    code, out, _ = demo("--compare", "lora")
    assert code == 130
    assert out.endswith("interrupted; the same command begins the demo anew\n")
    assert not (folder / "eyas-demo" / "json-lora").exists()
