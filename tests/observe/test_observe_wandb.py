"""What wandb itself wrote of a run, offline and without an account."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from journal import payloads

from eyas.observe.wandb import open_wandb
from eyas.training.events import Sampled, Step, Validated

SETTINGS = {"method.name": "pissa", "method.rank": 32, "data": "数据.jsonl"}


@pytest.fixture
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Reads the records of all runs in a folder. wandb's service is gone after the test."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no key, no cache
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC", "WANDB_DIR", "WANDB_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")  # it would look for the network
    wandb = pytest.importorskip("wandb", minversion="0.31", reason="needs eyas[wandb]")
    from wandb.proto.wandb_internal_pb2 import Record

    def read(folder: Path) -> list[Any]:
        wandb.teardown()  # waits until its service has written everything
        paths = sorted(folder.glob("wandb/offline-run-*/*.wandb"))
        return [Record.FromString(payload) for path in paths for payload in payloads(path)]

    yield read
    wandb.teardown()


def step(number: int, loss: float) -> Step:
    return Step(number, loss, 2e-5, 0.5, 1000, 40, 0.5, 3 * 2**30)


def history(records: list[Any]) -> list[dict[str, Any]]:
    lines = [record.history.item for record in records if record.HasField("history")]
    return [
        {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in line}
        for line in lines
    ]


def test_a_run_offline(tmp_path: Path, records: Any) -> None:
    folder = tmp_path / "a run"
    folder.mkdir()
    with open_wandb("birds", folder, SETTINGS) as sink:
        sink(step(1, 2.5))
        sink(Validated(1, 2.25, 100))
        sink(Sampled(1, "<b>", "你好"))
    written = records(folder)
    (run,) = (record.run for record in written if record.HasField("run"))
    assert (run.project, run.display_name) == ("birds", "a run")
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config["method"] == {"name": "pissa", "rank": 32}
    assert config["data"] == "数据.jsonl"
    lines = history(written)
    assert lines[0]["loss"] == 2.5
    assert lines[0]["tokens_per_second"] == 2000
    assert lines[0]["step"] == 1
    assert lines[1]["held_out_loss"] == 2.25
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/**/*.json")
    assert json.loads(table.read_text("utf-8"))["data"] == [[1, "<b>", "你好"]]
    assert lines[2]["sample/1.nrows"] == 1
    ends = [record.exit.exit_code for record in written if record.HasField("exit")]
    assert ends == [0]
    assert sys.modules["wandb"].run is None


def test_going_on_and_failing(tmp_path: Path, records: Any) -> None:
    with open_wandb("birds", tmp_path, SETTINGS) as sink:
        sink(step(1, 2.5))
    opened = open_wandb("birds", tmp_path, {}, resume_step=1)
    opened.__enter__()(step(2, 2.0))
    error = KeyboardInterrupt()
    assert not opened.__exit__(KeyboardInterrupt, error, None)
    written = records(tmp_path)
    names = [record.run.run_id for record in written if record.HasField("run")]
    assert names[0] == names[1]
    assert [line["step"] for line in history(written)] == [1, 2]
    assert [record.exit.exit_code for record in written if record.HasField("exit")] == [0, 1]


def test_offline_where_wandb_cannot_be_reached(
    tmp_path: Path, records: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    begin = wandb.init

    def init(mode: str | None, **options: Any) -> Any:
        if mode is None:
            raise wandb.errors.CommError("no such host")
        return begin(mode=mode, **options)

    monkeypatch.setattr(wandb, "login", lambda **_: True)
    monkeypatch.setattr(wandb, "init", init)
    said: list[str] = []
    with open_wandb("birds", tmp_path, SETTINGS, say=said.append) as sink:
        sink(step(1, 2.5))
    assert said == ["wandb: no such host; it goes on offline"]
    assert [line["loss"] for line in history(records(tmp_path))] == [2.5]


def test_without_the_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eyas.observe.optional.find_spec", lambda _: None)
    said = r"wandb is not installed; say: pip install 'eyas\[wandb\]'"
    with pytest.raises(ModuleNotFoundError, match=said), open_wandb("birds", tmp_path, {}):
        pass
