"""What SwanLab itself wrote of a run, offline and without an account."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journal import payloads

from eyas.observe.swanlab import open_swanlab
from eyas.training.events import Sampled, Step, Validated

SETTINGS = {"method.rank": 32, "data": "数据.jsonl"}


@pytest.fixture
def no_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No account, and what SwanLab hangs into the process is taken out again."""
    pytest.importorskip("swanlab", minversion="0.10", reason="needs eyas[swanlab]")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("SWANLAB_API_KEY", "SWANLAB_MODE"):
        monkeypatch.delenv(name, raising=False)
    before = signal.getsignal(signal.SIGINT), sys.excepthook
    yield
    assert (signal.getsignal(signal.SIGINT), sys.excepthook) == before


def records(folder: Path) -> list[Any]:
    from swanlab.proto.swanlab.record.v1.record_pb2 import Record

    (path,) = folder.glob("swanlog/run-*/*.swanlab")
    return [Record.FromString(payload) for payload in payloads(path)]


@pytest.mark.usefixtures("no_key")
def test_a_run_offline(tmp_path: Path) -> None:
    folder = tmp_path / "a-run"
    folder.mkdir()
    handler = signal.getsignal(signal.SIGINT)
    with open_swanlab("birds", folder, SETTINGS) as sink:
        assert signal.getsignal(signal.SIGINT) == handler
        sink(Step(3, 2.5, 2e-5, 0.5, 1000, 40, 0.5, 3 * 2**30))
        sink(Validated(3, 2.25, 100))
        sink(Sampled(3, "<b>", "你好"))
    written = records(folder)
    (run,) = (record.start for record in written if record.HasField("start"))
    assert (run.project, run.name) == ("birds", "a-run")
    numbers = [record.scalar for record in written if record.HasField("scalar")]
    assert {(number.key, number.step): number.value.number for number in numbers} == {
        ("loss", 3): 2.5,
        ("learning_rate", 3): 2e-5,
        ("gradient_norm", 3): 0.5,
        ("tokens_per_second", 3): 2000,
        ("trained_tokens_per_second", 3): 80,
        ("peak_gib", 3): 3,
        ("held_out_loss", 3): 2.25,
    }
    (text,) = folder.glob("swanlog/run-*/media/text/*.txt")
    assert text.read_text("utf-8") == "<b>你好"
    (config,) = folder.glob("swanlog/run-*/files/config.yaml")
    assert "method.rank" in config.read_text("utf-8")


@pytest.mark.usefixtures("no_key")
def test_the_end_by_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), open_swanlab("birds", tmp_path, SETTINGS):
        raise RuntimeError("lost")
    (end,) = (record.finish for record in records(tmp_path) if record.HasField("finish"))
    assert end.error == "RuntimeError('lost')"


@pytest.mark.usefixtures("no_key")
def test_offline_where_swanlab_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import swanlab

    begin = swanlab.init

    def init(mode: str, **options: Any) -> Any:
        if mode == "online":
            raise RuntimeError("no such host")
        return begin(mode=mode, **options)

    monkeypatch.setenv("SWANLAB_API_KEY", "a key")
    monkeypatch.setattr(swanlab, "init", init)
    said: list[str] = []
    with open_swanlab("birds", tmp_path, SETTINGS, say=said.append) as sink:
        sink(Validated(1, 2.5, 100))
    assert said == ["SwanLab: no such host; it goes on offline"]
    assert [r.scalar.value.number for r in records(tmp_path) if r.HasField("scalar")] == [2.5]
