"""train_log.txt and loss_data.jsonl: the lines that RWKV-PEFT's trainer writes."""

import json
import math
import re
from datetime import datetime
from pathlib import Path

import pytest

from eyas.observe.rwkv_peft_logs import open_rwkv_peft_logs
from eyas.training.events import Event, Finished, Step, Validated

SETTINGS = {"model": "模型.pth", "lr_init": 2e-5, "text": "two\nlines"}


def step(number: int, loss: float, rate: float = 2e-5) -> Step:
    return Step(number, loss, rate, 0.5, 3000, 1000, 0.5, 2**30)


def write(folder: Path, events: list[Event], epoch_steps: int = 3, **more: int) -> None:
    with open_rwkv_peft_logs(folder, SETTINGS, epoch_steps, **more) as sink:
        for event in events:
            sink(event)


def epochs(folder: Path) -> list[list[str]]:
    """The fields of the epochs' lines, but for the date, which has to be one."""
    text = (folder / "train_log.txt").read_text(encoding="utf-8")
    lines = [line.split(" ") for line in text.splitlines() if re.match(r"\d", line)]
    for line in lines:
        datetime.strptime(" ".join(line[4:6]), "%Y-%m-%d %H:%M:%S.%f")
    return [[*line[:4], *line[6:]] for line in lines]


def test_the_files_of_a_run(tmp_path: Path) -> None:
    losses = [3.0, 2.5, 2.0, 1.5, 1.25, 1.0]
    steps = [step(i, loss, 2e-5 / i) for i, loss in enumerate(losses, 1)]
    write(tmp_path, [*steps, Validated(6, 9.0, 10), Finished(6, "steps done")], epoch_begin=4)
    head, settings, *lines = (tmp_path / "train_log.txt").read_text("utf-8").splitlines()
    assert re.fullmatch(r"NEW RUN \d{4}(-\d\d){5}", head)
    assert settings == str(SETTINGS)
    assert len(lines) == 2
    assert epochs(tmp_path) == [
        ["4", "2.500000", f"{math.exp(2.5):.4f}", "0.00000667", "0"],
        ["5", "1.250000", f"{math.exp(1.25):.4f}", "0.00000333", "1"],
    ]
    data = (tmp_path / "loss_data.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in data] == [
        {"loss": loss, "t_cost": 2.0, "kt_s": 6.0} for loss in losses
    ]
    assert list(json.loads(data[0])) == ["loss", "t_cost", "kt_s"]


def test_going_on_in_the_midst_of_an_epoch(tmp_path: Path) -> None:
    first = [step(i, float(i)) for i in range(1, 6)]
    write(tmp_path, [*first, Finished(5, "interrupted")])
    # From the checkpoint after step 4: the fifth is done again.
    write(tmp_path, [step(5, 2.0), step(6, 3.0), Finished(6, "steps done")], resume_step=4)
    text = (tmp_path / "train_log.txt").read_text("utf-8")
    assert text.count("NEW RUN") == 2
    assert [line[:2] for line in epochs(tmp_path)] == [["0", "2.000000"], ["1", "3.000000"]]
    data = (tmp_path / "loss_data.jsonl").read_text().splitlines()
    assert [json.loads(line)["loss"] for line in data] == [1.0, 2.0, 3.0, 4.0, 2.0, 3.0]


def test_a_new_run_appends_to_the_log_and_begins_the_data_anew(tmp_path: Path) -> None:
    for _ in range(2):
        write(tmp_path, [step(1, 2.0), step(2, 2.0), step(3, 2.0)])
    assert len(epochs(tmp_path)) == 2
    assert len((tmp_path / "loss_data.jsonl").read_text().splitlines()) == 3


def test_an_epoch_cut_short_has_its_line(tmp_path: Path) -> None:
    write(tmp_path, [step(i, 2.0) for i in range(1, 5)] + [Finished(4, "time is up")])
    assert [line[0] for line in epochs(tmp_path)] == ["0", "1"]


def test_nothing_trained_nothing_logged(tmp_path: Path) -> None:
    write(tmp_path, [Finished(3, "steps done")], resume_step=3)
    assert (tmp_path / "train_log.txt").read_text() == ""


def test_a_loss_beyond_all_bounds(tmp_path: Path) -> None:
    write(tmp_path, [step(1, 1e6)], epoch_steps=1)
    assert epochs(tmp_path)[0][1] == "1000000.000000"


@pytest.mark.parametrize("broken", [b'{"loss": 5.0, "t_cost"', b"null\n", b"\xff\n", b"{}\n"])
def test_a_damaged_line_does_no_harm(tmp_path: Path, broken: bytes) -> None:
    write(tmp_path, [step(1, 4.0)])
    with (tmp_path / "loss_data.jsonl").open("ab") as file:
        file.write(broken)
    write(tmp_path, [step(3, 2.0)], resume_step=2)
    assert epochs(tmp_path)[-1][1] == "3.000000"
