"""`eyas train` as it is typed: options that count, runs that were moved, ends before the end."""

import os
import shlex
import signal
from pathlib import Path

import pytest

from eyas.config import write_toml
from eyas.run import read_run
from eyas.training.checkpoint import newest_checkpoint

QUICK = ("--rank", "2", "--ctx", "32", "--micro-batch", "4")
TRAIN = ("train", "m.pth", "d.jsonl", *QUICK)


def done(eyas, *arguments: str) -> str:
    code, out, err = eyas(*arguments)
    assert (code, err) == (0, "")
    return out


def test_epochs_that_are_typed_count_over_the_steps_of_a_file(eyas) -> None:
    done(eyas, *TRAIN, "--steps", "2", "--out", "r")
    done(eyas, "train", "r/run.toml", "--epochs", "2", "--out", "s")
    assert read_run(Path("s")).loop.steps == 6
    write_toml({"model": "m.pth", "data": "d.jsonl", "loop": {"epochs": 2.0}}, Path("my.toml"))
    done(eyas, "train", "my.toml", *QUICK, "--steps", "1", "--out", "t")
    assert read_run(Path("t")).loop.steps == 1


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (("--steps", "2", "--epochs", "5"), "loop.steps and epochs exclude one another"),
        (("--lr-final", "1e-5"), "add a --schedule that falls"),
        (("--seed", "-1"), "seed = -1"),
        (("--seed", "9" * 23), "seed = 9"),
        (("--beta1", "2"), "beta1 = 2.0"),
        (("--epsilon", "-1"), "epsilon = -1.0"),
        (("--ctx", "1" + "0" * 20), "ctx must be at most"),
        (("--epochs", "1e308"), "epochs = 1e+308"),
    ],
)
def test_options_without_sense_are_one_line(eyas, typed: tuple[str, ...], said: str) -> None:
    code, _, err = eyas(*TRAIN, *typed, "--out", "r")
    assert code == 2
    assert err.count("\n") == 1
    assert said in err
    assert not Path("r").exists()


def test_the_settings_of_a_run_that_was_moved_go_on_where_they_lie(eyas) -> None:
    done(eyas, *TRAIN, "--steps", "2", "--out", "r")
    Path("r").rename("moved run")
    out = done(eyas, "train", "moved run/run.toml", "--steps", "3")
    assert "resuming after step 2" in out
    assert not Path("r").exists()
    assert newest_checkpoint(Path("moved run")).progress.step == 3
    next_command = out.splitlines()[-1].removeprefix("Next: ")
    assert shlex.split(next_command) == ["eyas", "merge", str(Path("moved run").resolve())]


def test_home_in_a_path(eyas, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(folder))
    done(eyas, "train", "~/m.pth", "d.jsonl", *QUICK, "--steps", "1", "--out=~/r")
    assert read_run(folder / "r").model == folder / "m.pth"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_is_no_success_and_its_merge_says_so(
    eyas, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from eyas.training import loop

    real = loop.learning_rate

    def interrupted(step: int, *rest: object) -> float:
        if step == 1:
            os.kill(os.getpid(), number)
        return real(step, *rest)

    monkeypatch.setattr(loop, "learning_rate", interrupted)
    command = (*TRAIN, "--steps", "4", "--validation-share", "0.2", "--out", "r")
    code, out, _ = eyas(*command)
    assert code == 128 + number
    assert "The same command goes on from here." in out
    assert "of an unfinished run: step 2 of 4" in done(eyas, "merge", "r", "--dtype", "fp32")
    resumed = done(eyas, *command)
    assert "step 2: held-out loss" in resumed
    assert "unfinished" not in done(eyas, "merge", "r", "--overwrite", "--dtype", "fp32")


def test_the_lowest_held_out_loss_is_that_of_the_whole_run(eyas) -> None:
    command = (*TRAIN, "--lr", "0", "--validation-share", "0.2", "--validate-every", "1")
    assert "the lowest so far" in done(eyas, *command, "--steps", "1", "--out", "r")
    assert "the lowest so far" not in done(eyas, *command, "--steps", "2", "--out", "r")
