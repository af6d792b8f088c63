"""Several sinks at once, each of which may fail."""

import json
from pathlib import Path
from typing import Any

import pytest

from eyas.config import from_mapping
from eyas.errors import UserError
from eyas.observe.flops import Utilization
from eyas.observe.metrics import read_metrics
from eyas.observe.watching import WatchConfig, watching
from eyas.training.events import Finished, Step

SETTINGS = {"method.rank": 32}
EVENTS = [
    *(Step(i, 2.0, 1e-4, 0.5, 100, 40, 0.5, 2**30) for i in (1, 2)),
    Finished(2, "steps done"),
]


def watch(folder: Path, said: list[str], config: WatchConfig, **more: Any) -> None:
    with watching(folder, config, SETTINGS, {"Data": {}}, say=said.append, **more) as sink:
        for event in EVENTS:
            sink(event)


def test_metrics_and_report_by_default(tmp_path: Path) -> None:
    said: list[str] = []
    watch(tmp_path, said, WatchConfig(), utilization=Utilization(1.0, 0.0, 800.0))
    assert said == []
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"metrics.jsonl", "loss.png", "report.html"}
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["mfu"] == 0.25
    report = (tmp_path / "report.html").read_text()
    assert "steps done" in report
    assert "200 tokens a second, MFU 25%" in report


def test_one_that_fails_leaves_the_others(tmp_path: Path) -> None:
    said: list[str] = []
    (tmp_path / "train_log.txt").mkdir()
    (tmp_path / "loss.png").mkdir()
    watch(tmp_path, said, WatchConfig(epoch_steps=2))
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3
    assert "steps done" in (tmp_path / "report.html").read_text()
    assert [line.split(" failed: ")[0] for line in said] == ["train_log.txt", "loss.png"]


def test_all_of_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[tuple[Any, ...]] = []

    def recorded(name: str) -> Any:
        from contextlib import nullcontext

        def opening(*given: Any) -> Any:
            opened.append((name, *given))
            return nullcontext(lambda event: opened.append((name, event)))

        return opening

    for name in ("tensorboard", "wandb", "swanlab"):
        monkeypatch.setattr(f"eyas.observe.watching.open_{name}", recorded(name))
    said: list[str] = []
    config = WatchConfig(tensorboard=True, wandb="birds", swanlab="鸟", report=False, epoch_steps=1)
    watch(tmp_path, said, config, resume_step=5)
    assert [given[:-1] for given in opened[:3]] == [
        ("tensorboard", tmp_path, SETTINGS, 5),
        ("wandb", "birds", tmp_path, SETTINGS, 5, None),
        ("swanlab", "鸟", tmp_path, SETTINGS, None),
    ]
    assert opened[3:6] == [(name, EVENTS[0]) for name in ("tensorboard", "wandb", "swanlab")]
    assert (tmp_path / "train_log.txt").read_text().startswith("NEW RUN")
    assert json.loads((tmp_path / "loss_data.jsonl").read_text().splitlines()[0])["kt_s"] == 0.2
    assert said == []


def test_missing_libraries_are_said_and_stop_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eyas.observe.optional.find_spec", lambda _: None)
    said: list[str] = []
    watch(tmp_path, said, WatchConfig(tensorboard=True, wandb="birds", swanlab="birds"))
    assert said == [
        f"{name} failed: {name.lower()} is not installed; say: pip install "
        f"'eyas[{name.lower()}]'; the run goes on"
        for name in ("TensorBoard", "wandb", "SwanLab")
    ]
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 3


def test_damaged_metrics_are_a_mistake_to_be_mended_first(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match=r"metrics.jsonl:1: .*remove that line"):
        watch(tmp_path, [], WatchConfig(), resume_step=1)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"epoch_steps": 0}, "epoch_steps = 0 must be at least 1"),
        ({"epoch_begin": -1}, "epoch_begin = -1 must not be negative"),
    ],
)
def test_impossible_settings(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        from_mapping(WatchConfig, values, "settings")
