"""What TensorBoard itself reads of a run."""

import time
from pathlib import Path
from typing import Any

import pytest

from eyas.observe.flops import Utilization
from eyas.observe.guarded import guarded
from eyas.observe.tensorboard import open_tensorboard
from eyas.training.events import Finished, Sampled, Step, Validated

SETTINGS = {"method.rank": 32, "data": "数据.jsonl"}


def step(number: int, loss: float) -> Step:
    return Step(number, loss, 2e-5, 0.5, 1000, 40, 0.5, 3 * 2**30)


def read(folder: Path) -> Any:
    module = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator", reason="needs eyas[tensorboard]"
    )
    found = module.EventAccumulator(str(folder / "tensorboard"))
    return found.Reload()


def curve(found: Any, name: str) -> list[tuple[int, float]]:
    return [(event.step, event.value) for event in found.Scalars(name)]


def text(found: Any, name: str) -> list[tuple[int, str]]:
    events = found.Tensors(f"{name}/text_summary")
    return [(event.step, event.tensor_proto.string_val[0].decode()) for event in events]


def test_curves_settings_and_samples(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs eyas[tensorboard]")
    utilization = Utilization(2.0, 0.0, peak_flops=8000.0)
    with open_tensorboard(tmp_path, SETTINGS, utilization=utilization) as sink:
        for event in (
            step(1, 2.5),
            step(2, 2.25),
            Validated(2, 2.0, 100),
            Sampled(2, "<b>\n", "你好"),
            Sampled(2, "other", " text"),
            Finished(2, "steps done"),
        ):
            sink(event)
    found = read(tmp_path)
    assert curve(found, "loss") == [(1, 2.5), (2, 2.25)]
    assert curve(found, "held_out_loss") == [(2, 2.0)]
    values = {name: curve(found, name)[0][1] for name in found.Tags()["scalars"]}
    assert values == pytest.approx(
        {
            "loss": 2.5,
            "held_out_loss": 2.0,
            "learning_rate": 2e-5,
            "gradient_norm": 0.5,
            "tokens_per_second": 2000.0,
            "trained_tokens_per_second": 80.0,
            "mfu": 0.5,
            "peak_gib": 3.0,
        }
    )
    assert text(found, "settings") == [(0, "    method.rank = 32\n    data = 数据.jsonl")]
    assert text(found, "sample/1") == [(2, "    <b>\n    你好")]
    assert text(found, "sample/2") == [(2, "    other text")]


def test_going_on_hides_what_lay_beyond(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="needs eyas[tensorboard]")
    with open_tensorboard(tmp_path, SETTINGS) as sink:
        for number in range(1, 6):
            sink(step(number, 2.0))
    with open_tensorboard(tmp_path, SETTINGS, resume_step=3) as sink:
        sink(step(4, 1.0))
    assert curve(read(tmp_path), "loss") == [(1, 2.0), (2, 2.0), (3, 2.0), (4, 1.0)]


def test_a_full_disk_is_said_in_one_line_and_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It is a thread of tensorboard's that finds it full."""
    writer = pytest.importorskip(
        "tensorboard.summary.writer.record_writer", reason="needs eyas[tensorboard]"
    ).RecordWriter

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with guarded(open_tensorboard(tmp_path, SETTINGS), "TensorBoard") as sink:
        sink(step(1, 2.5))
        monkeypatch.setattr(writer, "write", full)
        for number in range(2, 5):
            sink(step(number, 2.5))
            time.sleep(0.02)
    line = "TensorBoard failed: [Errno 28] No space left on device; the run goes on\n"
    assert capsys.readouterr() == ("", line)
