"""`eyas train --devices 2` on this machine: started, stopped and killed as a user would."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import data_file
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from weights import write_model

from eyas.training.launch import _told


def start(folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "eyas", "train", "m.pth", "data.jsonl", "--devices", "2"]
    settings = ["--out", "run", "--rank", "4", "--ctx", "32", "--lr", "1e-3", *more]
    return subprocess.Popen(
        [*command, *settings],
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_model(tmp_path / "m.pth")
    data_file(tmp_path)
    return tmp_path


def steps_of(folder: Path) -> int:
    path = folder / "run" / "metrics.jsonl"
    return path.read_text().count('"event": "step"') if path.exists() else 0


def checkpoints_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "run" / "checkpoints").glob("0*"))


def wait_for_steps(run: subprocess.Popen[str], folder: Path, count: int) -> None:
    wait_for(run, lambda: steps_of(folder) >= count)


def wait_for(run: subprocess.Popen[str], what: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not what():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def workers_of(run: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()
    found = []
    for child in children:
        command = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
        if b"eyas" in command and b"train" in command:
            found.append(int(child))
    return found


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_one_of_two_is_killed_and_the_run_goes_on(folder: Path) -> None:
    run = start(folder, "--steps", "100000", "--save-every", "4")
    wait_for_steps(run, folder, 9)
    os.kill(workers_of(run)[1], signal.SIGKILL)
    output, errors = run.communicate(timeout=60)
    assert run.returncode == 128 + signal.SIGKILL
    assert "process 1 was ended by SIGKILL" in errors
    assert "Traceback" not in output + errors
    again = start(folder, "--steps", "100000", "--save-every", "100000")
    wait_for_steps(again, folder, steps_of(folder) + 1)
    before = checkpoints_of(folder)
    again.send_signal(signal.SIGUSR1)
    wait_for(again, lambda: checkpoints_of(folder) != before)
    again.send_signal(signal.SIGTERM)
    output, errors = again.communicate(timeout=60)
    assert again.returncode == 128 + signal.SIGTERM
    assert "resuming after step" in output
    assert "Traceback" not in errors
    assert "death signal" not in errors
    assert "The same command goes on from here." in output
    newest = sorted((folder / "run" / "checkpoints").iterdir())[-1]
    assert json.loads((newest / "progress.json").read_text())["step"] == steps_of(folder)


def test_what_is_wrong_is_told_once(folder: Path) -> None:
    (folder / "data.jsonl").write_text('{"text": 3}\n')
    run = start(folder)
    output, errors = run.communicate(timeout=60)
    assert (run.returncode, output) == (2, "")
    assert errors.count("data.jsonl:1") == len(errors.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("codes", "code", "said"),
    [
        ([-15, 1], 1, ""),  # a fault of ours: its traceback is there, SIGTERM was the launcher's
        ([1, -15], 1, ""),
        ([2, -9], 137, "process 1 was ended by SIGKILL (no memory left, perhaps), and"),
        ([-11, -15], 139, "process 0 was ended by SIGSEGV, and"),
        ([-15, -15], 143, "process 0 was ended by SIGTERM, and"),
    ],
)
def test_whose_end_is_told(
    codes: list[int], code: int, said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    nothing = str(tmp_path / "error.json")
    failures = {
        rank: ProcessFailure(local_rank=rank, pid=rank, exitcode=each, error_file=nothing)
        for rank, each in enumerate(codes)
    }
    assert _told(ChildFailedError("eyas", failures)) == code
    errors = capsys.readouterr().err
    assert (said in errors) if said else not errors
