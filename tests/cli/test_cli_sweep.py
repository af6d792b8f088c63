"""`eyas sweep` as it is typed: what it leaves, skips, survives and refuses."""

import json
import shlex
import signal
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from eyas.cli import sweep
from eyas.observe.metrics import read_metrics
from eyas.settings import read_run
from eyas.training.checkpoint import locked

QUICK = ("--rank", "2", "--ctx", "32", "--micro-batch", "4", "--steps", "2", "--out", "s")


def results() -> dict[str, object]:
    return json.loads(Path("s/sweep.json").read_text())


def states() -> list[str]:
    return [run["state"] for result in results()["results"] for run in result["runs"]]


def interrupt_second(monkeypatch: pytest.MonkeyPatch, interrupt: Callable[[], object]) -> None:
    """Calls `interrupt` when the second run shows its first step."""
    shown = sweep.console
    begun = []

    @contextmanager
    def console(steps, terminal):
        begun.append(steps)
        with shown(steps, terminal) as sink:

            def eat(event) -> None:
                if len(begun) == 2:
                    interrupt()
                sink(event)

            yield eat

    monkeypatch.setattr(sweep, "console", console)


def test_a_sweep_and_what_it_leaves(eyas) -> None:
    code, out, err = eyas(
        "sweep", "m.pth", "d.jsonl", "--methods", "pissa,bone", "--lr", "1e-4,1e-2", *QUICK
    )
    assert (code, err) == (0, "")
    assert "10% of the documents are held out" in out
    assert "Lowest: miss at 0.01" in out
    assert "the highest rate of miss: try higher ones" in out
    table = out[out.index("method") :].splitlines()
    losses = [float(line.split()[2]) for line in table[1:5]]
    assert losses == sorted(losses)
    assert losses[0] == round(results()["results"][0]["held_out"]["mean"], 4)
    assert out.rstrip().endswith(results()["command"])
    assert Path("s/sweep.png").stat().st_size > 1000
    assert read_run(Path("s/miss-lr0.01-seed0")).method.rank == 2


def test_the_command_that_it_ends_with_is_the_best_run(eyas) -> None:
    options = ["--rslora", "--no-layerwise-lr", "--train-parts", "time,ln", "--schedule", "linear"]
    options += ["--targets", "att.key", "--targets", "blocks.1.*", "--svd-niter", "2"]
    Path("m.pth").rename("my model.pth")
    command = ("sweep", "my model.pth", "d.jsonl", "--lr", "1e-2", "--seeds", "3", *QUICK, *options)
    code, _, err = eyas(*command, "--methods", "pissa,lora")
    assert (code, err) == (0, "")
    best = results()["results"][0]
    code, _, err = eyas(*shlex.split(results()["command"])[1:], "--out", "again", "--keep", "1")
    assert (code, err) == (0, "")
    swept, again = (
        read_run(path) for path in (Path("s", best["runs"][0]["folder"]), Path("again"))
    )
    assert replace(again, out=swept.out, watch=swept.watch) == swept
    lines = read_metrics(Path("again/metrics.jsonl"))
    held_out = [line["loss"] for line in lines if line["event"] == "validated"]
    assert best["held_out"]["mean"] == held_out[-1]


def test_the_same_command_makes_only_what_is_missing(eyas) -> None:
    command = ("sweep", "m.pth", "d.jsonl", "--methods", "lora", *QUICK)
    eyas(*command, "--lr", "1e-3")
    before = {path: path.stat().st_mtime_ns for path in Path("s").glob("*/metrics.jsonl")}
    assert len(before) == 1
    code, out, _ = eyas(*command, "--lr", "1e-3,1e-2")
    assert code == 0
    assert states() == ["done"] * 2
    assert out.count("step 2/2") == 1
    assert all(path.stat().st_mtime_ns == time for path, time in before.items())


def test_a_run_that_diverges_does_not_end_the_sweep(eyas) -> None:
    command = ("sweep", "m.pth", "d.jsonl", "--methods", "lora", *QUICK, "--lr")
    code, out, err = eyas(*command, "1e30,1e-3")
    assert (code, err) == (0, "")
    assert "failed: the loss is nan" in out
    assert "1 of 1 failed" in out
    assert states() == ["done", "failed"]
    assert " --lr 0.001 " in results()["command"]
    code, out, err = eyas(*command, "1e30")
    assert (code, err) == (1, "")
    assert "No run came to its end" in out


def test_stopped_it_ends_with_what_is_there(eyas, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ("sweep", "m.pth", "d.jsonl", "--methods", "lora", "--lr", "1e-3,2e-3,3e-3", *QUICK)
    in_a_step = partial(signal.raise_signal, signal.SIGTERM)
    elsewhere = partial(signal.default_int_handler, signal.SIGINT, None)
    for interrupt, said in ((elsewhere, 130), (in_a_step, 143)):
        with monkeypatch.context() as patch:
            interrupt_second(patch, interrupt)
            code, out, err = eyas(*command)
        assert (code, err) == (said, "")
        assert "Lowest: lora at 0.001" in out
        assert "The same command goes on from here." in out
        assert states() == ["done", "cut off", "not begun"]
    code, out, _ = eyas(*command)
    assert code == 0
    assert states() == ["done"] * 3


SWEEP = ("sweep", "m.pth", "d.jsonl", "--steps", "1")
MISTAKES = {
    "no model": (("sweep", "nowhere.pth", "d.jsonl"), "nowhere.pth: no such file"),
    "no data": (("sweep", "m.pth", "nowhere.jsonl"), "nowhere.jsonl"),
    "method": ((*SWEEP, "--methods", "lora,pisa"), "did you mean 'pissa'"),
    "no method": ((*SWEEP, "--methods", ","), "methods names none"),
    "rate": ((*SWEEP, "--lr", "1e-3,0"), "lr = 0.0"),
    "seed": ((*SWEEP, "--seeds", "-1"), "seeds: -1"),
    "rank of the second": ((*SWEEP, "--methods", "lora,bat", "--rank", "3"), "take --rank"),
    "option of no method": (
        (*SWEEP, "--methods", "pissa,miss", "--alpha", "3"),
        "--alpha: no option of pissa, miss",
    ),
    "nothing held out": ((*SWEEP, "--validation-share", "0"), "--validation-share above 0"),
    "two held out": (
        (*SWEEP, "--validation-share", "0.1", "--validation", "d.jsonl"),
        "exclude one another",
    ),
    "foreign folder": ((*SWEEP, "--out", "full"), "holds thesis.txt and is no sweep"),
    "out is a file": ((*SWEEP, "--out", "m.pth"), "m.pth: is a file"),
}


@pytest.mark.parametrize(("arguments", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(
    eyas, folder: Path, arguments: tuple[str, ...], said: str
) -> None:
    (folder / "full").mkdir()
    (folder / "full" / "thesis.txt").touch()
    before = sorted(folder.rglob("*"))
    code, _, err = eyas(*arguments)
    assert code == 2
    assert err.startswith("eyas: ")
    assert err.count("\n") == 1
    assert said in err
    assert sorted(folder.rglob("*")) == before


def test_a_sweep_in_the_same_folder_waits_its_turn(eyas) -> None:
    Path("s").mkdir()
    with locked(Path("s")):
        code, _, err = eyas(*SWEEP, "--out", "s", "--methods", "lora")
    assert code == 2
    assert "another process is training in this directory" in err
