"""Whose a run directory is: the same run wherever it lies, never another one's."""

import dataclasses
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from runs import a_run, data_file
from weights import write_model

from eyas.data import Corpus, ReadConfig
from eyas.errors import UserError
from eyas.observe.metrics import read_metrics
from eyas.resume import data_fingerprint
from eyas.run import prepare, read_run, train
from eyas.settings import Run
from eyas.training import checkpoint
from eyas.training.checkpoint import locked, newest_checkpoint
from eyas.training.events import Step
from eyas.training.optim import OptimConfig

CONSTANT = OptimConfig(lr=1e-3)


def steps(run: Run) -> list[int]:
    return [event.step for event in train(run) if isinstance(event, Step)]


def finished(folder: Path, **changes) -> Run:
    run = replace(a_run(folder, "out", optim=CONSTANT, steps=2), **changes)
    list(train(run))
    return run


def test_another_run_a_foreign_folder_and_a_lock_are_refused(tmp_path):
    run = finished(tmp_path)
    with pytest.raises(UserError, match=r"holds another run \(.*optim\.lr is 0\.001 there"):
        prepare(replace(run, optim=OptimConfig(lr=5e-4)))
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match=r"thesis\.txt"):
        prepare(a_run(tmp_path, "foreign"))
    third = a_run(tmp_path, "third")
    with locked(third.out), pytest.raises(UserError, match="another process"):
        list(train(third))


def test_a_directory_without_a_checkpoint_may_become_another_run(tmp_path):
    run = a_run(tmp_path, "out", steps=2)
    next(iter(train(run)))  # dies before the first checkpoint
    assert read_run(run.out).optim.lr == 1e-3
    other = replace(run, optim=OptimConfig(lr=5e-4))
    assert steps(other) == [1, 2]
    assert read_run(run.out).optim.lr == 5e-4
    shutil.rmtree(run.out / "checkpoints")  # to save space; the result is still there
    with pytest.raises(UserError, match="holds another run"):
        prepare(run)


@pytest.mark.parametrize("held_out", [False, True])
def test_changed_data_is_refused(tmp_path, held_out):
    valid = data_file(tmp_path, 3, "valid.jsonl")
    run = finished(tmp_path, validation=valid)
    data_file(tmp_path, 4, "valid.jsonl") if held_out else data_file(tmp_path, 31)
    with pytest.raises(UserError, match="data, or what is held out, has changed"):
        prepare(run)


def test_another_reading_of_the_data_is_named(tmp_path):
    rows = [{"messages": [{"role": r, "content": "hm"} for r in ("user", "assistant")]}] * 4
    (tmp_path / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = finished(tmp_path)
    assert steps(replace(run, reading=ReadConfig(mask="answers"))) == []  # what auto came to
    with pytest.raises(UserError, match=r"reading.mask is answers there and all here"):
        prepare(replace(run, reading=ReadConfig(mask="all")))


def test_a_changed_base_is_refused(tmp_path):
    run = finished(tmp_path)
    write_model(tmp_path / "m.pth", seed=5)
    with pytest.raises(UserError, match="base model has changed"):
        prepare(run)


def test_a_moved_run_goes_on_and_so_do_moved_model_and_data(tmp_path):
    run = finished(tmp_path, validation=data_file(tmp_path, 3, "valid.jsonl"))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("out", "m.pth", "data.jsonl", "valid.jsonl"):
        (tmp_path / name).rename(elsewhere / name)
    places = {
        f.name: elsewhere / getattr(run, f.name).name
        for f in dataclasses.fields(run)
        if isinstance(getattr(run, f.name), Path)
    }
    assert len(places) == 3
    moved = replace(run, data=(elsewhere / "data.jsonl",), **places)
    assert prepare(moved).checkpoint.progress.step == 2
    assert steps(moved) == []
    assert read_run(elsewhere / "out").model == elsewhere / "m.pth"


def test_a_tokenizer_by_its_file_and_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "tk").mkdir()
    lines = "".join(f"{i + 1} {bytes([i])!r} 1\n" for i in range(256))
    (tmp_path / "tk" / "vocab.txt").write_text(lines)
    monkeypatch.chdir(tmp_path)
    run = finished(tmp_path, tokenizer="tk/vocab.txt")
    assert read_run(run.out).tokenizer == str(tmp_path / "tk" / "vocab.txt")
    named = replace(run, tokenizer="world-bytes", out=tmp_path / "named")
    assert prepare(named).run.tokenizer == "world-bytes"
    assert steps(replace(named, out=run.out)) == []  # the same tokens: the same run


def test_what_is_left_to_weights_and_machine_stands_in_the_settings(tmp_path):
    run = replace(a_run(tmp_path, "out", steps=None, epochs=2.0), precision="auto")
    prepared = prepare(run)
    assert prepared.run.precision in ("fp32", "bf16")
    assert prepared.run.tokenizer == prepared.tokenizer.name
    assert (prepared.run.loop.steps, prepared.run.loop.epochs) == (prepared.steps, None)
    assert prepare(prepared.run).run == prepared.run


def test_a_run_with_a_constant_rate_can_be_made_longer(tmp_path):
    run = finished(tmp_path)
    longer = replace(run, loop=replace(run.loop, steps=4))
    assert steps(longer) == [3, 4]
    ends = [m for m in read_metrics(run.out / "metrics.jsonl") if m["event"] == "finished"]
    assert [line["step"] for line in ends] == [4]
    with pytest.raises(UserError, match=r"loop\.steps is 4 there and 2 here"):
        prepare(run)
    falling = replace(a_run(tmp_path, "falling", steps=2))
    list(train(falling))
    with pytest.raises(UserError, match="learning rates follow from the number of steps"):
        prepare(replace(falling, loop=longer.loop))


def test_trained_in_by_another_process_since_it_was_prepared(tmp_path):
    first, second = (prepare(a_run(tmp_path, "out", steps=2)) for _ in range(2))
    list(train(first))
    with pytest.raises(UserError, match="trained in meanwhile; run the same again"):
        list(train(second))
    assert newest_checkpoint(first.out).progress.step == 2


def test_what_a_killed_run_left_half_written_is_removed(tmp_path):
    run = finished(tmp_path)
    for name in (".run.toml.12345678.tmp", ".adapter.safetensors.12345678.tmp"):
        (run.out / name).touch()
    merging = run.out / ".m-merged.pth.12345678.tmp"
    merging.touch()
    list(train(run))
    assert list(run.out.glob(".*.tmp")) == [merging]


@pytest.mark.parametrize("name", ["optimizer.pt", "progress.json", "adapter.safetensors"])
@pytest.mark.parametrize("left", [0, 10, 0.5])
def test_a_damaged_checkpoint_is_named_and_the_one_before_can_be_taken(tmp_path, name, left):
    run = a_run(tmp_path, "out", optim=CONSTANT, steps=4, save_every=2)
    list(train(run))
    newest = run.out / "checkpoints" / "00000004"
    whole = (newest / name).read_bytes()
    (newest / name).write_bytes(whole[: int(left * len(whole)) if left < 1 else left])
    with pytest.raises(UserError, match=rf"{name}: .*remove the folder .*{newest.name} "):
        list(train(run))
    shutil.rmtree(newest)
    assert steps(run) == [3, 4]


def test_the_fingerprint_needs_no_copy_and_sees_every_part(monkeypatch):
    def corpus(tokens=(1, 2, 3, 0, 5), trained=True, offsets=(0, 4, 5), dtype=np.uint16):
        flags = np.broadcast_to(np.bool_(trained), len(tokens))
        return Corpus(np.array(tokens, dtype), flags, np.array(offsets), ["a", "b"])

    whole = data_fingerprint(corpus())
    assert data_fingerprint(corpus(dtype=np.int32)) == whole
    others = [
        data_fingerprint(corpus(tokens=(1, 2, 3, 0, 6))),
        data_fingerprint(corpus(trained=False)),
        data_fingerprint(corpus(offsets=(0, 3, 5))),
        data_fingerprint(corpus(), corpus()),
    ]
    assert len({whole, *others}) == 5
    monkeypatch.setattr("eyas.resume._CHUNK", 2)
    assert data_fingerprint(corpus()) == whole


def test_checkpoints_are_ordered_by_number(tmp_path):
    for name in ("99999999", "100000000", "notes"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert [p.name for p in checkpoint._checkpoints(tmp_path)] == ["99999999", "100000000"]
