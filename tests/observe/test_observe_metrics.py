"""metrics.jsonl: a line an event, at once, and each step once however often a run resumes."""

import json
import math
import time
from pathlib import Path

import pytest

from eyas.errors import UserError
from eyas.observe.flops import Utilization
from eyas.observe.metrics import held_out_losses, open_metrics, read_metrics
from eyas.training.events import Event, Finished, Sampled, Saved, Step, Validated


def step(number: int, loss: float = 2.5) -> Step:
    return Step(number, loss, 1e-4, 0.5, 100, 40, 0.25, 2**30)


def write(path: Path, events: list[Event], resume_step: int = 0) -> None:
    with open_metrics(path, resume_step) as sink:
        for event in events:
            sink(event)


def test_lines_hold_everything(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    saved = Saved(2, Path("跑/step-2"))
    write(path, [step(1), Validated(1, 2.25, 30), saved, Finished(2, "steps done")])
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert all(abs(line.pop("time") - time.time()) < 60 for line in lines)
    assert lines == [
        {
            "event": "step",
            "step": 1,
            "loss": 2.5,
            "learning_rate": 1e-4,
            "gradient_norm": 0.5,
            "tokens": 100,
            "trained_tokens": 40,
            "seconds": 0.25,
            "peak_bytes": 2**30,
            "tokens_per_second": 400.0,
            "trained_tokens_per_second": 160.0,
        },
        {"event": "validated", "step": 1, "loss": 2.25, "tokens": 30},
        {"event": "saved", "step": 2, "path": str(Path("跑/step-2"))},
        {"event": "finished", "step": 2, "reason": "steps done", "signal": 0},
    ]


def test_utilization_where_the_machine_is_known(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    # 100 tokens of 3 FLOPs and 40 trained ones of 5 more, in a quarter second: 2000 a second.
    with open_metrics(path, utilization=Utilization(3.0, 5.0, peak_flops=8000.0)) as sink:
        sink(step(1))
    assert read_metrics(path)[0]["mfu"] == 0.25


def test_samples_keep_their_text(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sample = Sampled(5, "User: 你好\n\nAssistant:", " <b>\x00\ud800\U0001f985</b>\n")
    write(path, [step(5), sample])
    write(path, [step(6)], resume_step=5)
    (line,) = (line for line in read_metrics(path) if line["event"] == "sampled")
    assert (line["step"], line["prompt"], line["text"]) == (5, sample.prompt, sample.text)


def test_a_full_disk_leaves_whole_lines(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    path = tmp_path / "metrics.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    with open_metrics(path) as sink:
        sink(step(1))
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 50, limits[1]))
            with pytest.raises(OSError, match=r"metrics\.jsonl"):
                sink(step(2))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        sink(step(3))
    assert [line["step"] for line in read_metrics(path)] == [1, 3]


def test_a_line_is_there_at_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with open_metrics(path) as sink:
        sink(step(1))
        assert len(read_metrics(path)) == 1
        sink(step(2))
        assert len(read_metrics(path)) == 2


def test_resuming_drops_what_lies_beyond(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [step(i) for i in range(1, 8)])
    write(path, [step(i, loss=9.0) for i in range(6, 10)], resume_step=5)
    assert [(line["step"], line["loss"]) for line in read_metrics(path)] == [
        *[(i, 2.5) for i in range(1, 6)],
        *[(i, 9.0) for i in range(6, 10)],
    ]


def test_a_run_is_finished_once(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1), Finished(1, "interrupted", 2)])
    for _ in range(2):
        write(path, [Finished(1, "steps done")], resume_step=1)
    assert [line["event"] for line in read_metrics(path)] == ["step", "finished"]


def test_held_out_losses_up_to_a_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1), Validated(1, 2.5, 9), Validated(2, math.nan, 9), Validated(3, 2.0, 9)])
    assert held_out_losses(path, 2) == {1: 2.5, 2: math.inf}
    assert held_out_losses(path, 0) == {}


def test_starting_anew_begins_the_file_anew(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("damaged\n")
    write(path, [Validated(0, 1.0, 1)])
    write(path, [Validated(0, 1.0, 1), step(1)])
    assert [line["step"] for line in read_metrics(path)] == [0, 1]


def test_a_line_cut_off_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1), step(2)])
    path.write_bytes(path.read_bytes()[:-20])
    assert [line["step"] for line in read_metrics(path)] == [1]
    write(path, [step(2)], resume_step=1)
    assert [line["step"] for line in read_metrics(path)] == [1, 2]


@pytest.mark.parametrize(
    "line", ["{", "[1]", '{"event": "step"}', '{"event": "step", "step": "1"}', "3"]
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1)])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(UserError, match=r"metrics\.jsonl:2: not a line of metrics"):
        read_metrics(path)


def test_no_file_no_lines(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "metrics.jsonl") == []


def test_what_is_not_finite_is_null(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write(path, [step(1, math.nan), step(2, math.inf)])
    assert [line["loss"] for line in read_metrics(path)] == [None, None]
