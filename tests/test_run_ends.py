"""How a run ends before its last step, and what is kept then."""

import dataclasses
import math
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import a_run, data_file

from eyas.adapters import load_adapter
from eyas.data import BatchConfig, ReadConfig, binidx
from eyas.errors import UserError
from eyas.run import adapter_at, prepare, read_run, train
from eyas.run.told import data_lines
from eyas.settings import Run, run_from_mapping
from eyas.training.checkpoint import best_checkpoint
from eyas.training.events import Event, Finished, Sampled, Saved, Step, Validated
from eyas.training.optim import OptimConfig


def judged(folder: Path, lr: float = 1e-3, **changes: object) -> Run:
    run = a_run(folder, "out", optim=OptimConfig(lr=lr), steps=60, save_every=100)
    loop = dataclasses.replace(run.loop, **changes)
    return dataclasses.replace(run, validation_share=0.3, loop=loop)


def of_kind(events: list[Event], kind: type[Event]) -> list[Event]:
    return [event for event in events if isinstance(event, kind)]


def test_patience_ends_a_run_whose_held_out_loss_rises(tmp_path: Path) -> None:
    run = judged(tmp_path, lr=1e-2, validate_every=2, patience=2, keep=1)
    other = tmp_path / "other.jsonl"  # the better a model knows the one, the worse the other
    other.write_text('{"text": "QRSTUVWXYZ QRSTUVWXYZ"}\n')
    run = dataclasses.replace(run, validation=other, validation_share=0.0)
    events = list(train(run))
    losses = {event.step: event.loss for event in of_kind(events, Validated)}
    best = min(losses, key=losses.__getitem__)
    last = events[-1]
    assert isinstance(last, Finished)
    assert (last.reason, last.step) == ("no better", best + 2 * 2)
    kept = best_checkpoint(run.out)
    assert kept is not None
    assert (kept.progress.step, kept.progress.best) == (best, losses[best])
    assert load_adapter(run.out / "adapter.safetensors").step == best
    assert adapter_at(run.out).step == best
    again = list(train(run))
    assert [type(event) for event in again] == [Finished]


def test_patience_needs_held_out_data() -> None:
    with pytest.raises(UserError, match=r"patience needs held-out losses"):
        run_from_mapping({"model": "m", "data": "d", "loop": {"patience": 2}}, "x")


def test_the_best_checkpoint_is_never_removed(tmp_path: Path) -> None:
    events = list(train(judged(tmp_path, lr=0.3, validate_every=5, keep=1)))
    losses = {event.step: event.loss for event in of_kind(events, Validated)}
    best = min(losses, key=losses.__getitem__)
    names = sorted(path.name for path in (tmp_path / "out" / "checkpoints").iterdir())
    assert names == sorted({f"{best:08d}", f"{60:08d}"})


def test_a_budget_of_tokens(tmp_path: Path) -> None:
    run = judged(tmp_path, max_tokens=300)
    events = list(train(run))
    tokens = [event.tokens for event in of_kind(events, Step)]
    assert sum(tokens[:-1]) < 300 <= sum(tokens)
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.reason == "tokens done"
    assert isinstance(events[-2], Saved)
    assert isinstance(events[-3], Validated)
    more = dataclasses.replace(run, loop=dataclasses.replace(run.loop, max_tokens=600))
    further = [event.tokens for event in train(more) if isinstance(event, Step)]
    assert sum(tokens + further[:-1]) < 600 <= sum(tokens + further)


def test_a_budget_of_time(tmp_path: Path) -> None:
    events = list(train(judged(tmp_path, max_minutes=1e-9)))
    assert [event.step for event in of_kind(events, Step)] == [1]
    last = events[-1]
    assert isinstance(last, Finished)
    assert last.reason == "time is up"
    assert (tmp_path / "out" / "adapter.safetensors").exists()


def test_a_signal_saves_and_the_run_goes_on(tmp_path: Path) -> None:
    run = a_run(tmp_path, "out", steps=6, save_every=100)
    events = []
    for event in train(run):
        events.append(event)
        if isinstance(event, Step) and event.step == 3:
            os.kill(os.getpid(), signal.SIGUSR1)
    assert [event.step for event in of_kind(events, Saved)] == [3, 6]
    assert [event.step for event in of_kind(events, Step)] == [1, 2, 3, 4, 5, 6]


def test_samples_are_the_model_as_it_is_then(tmp_path: Path) -> None:
    run = a_run(tmp_path, "out", steps=4)
    loop = dataclasses.replace(run.loop, sample_every=2)
    run = dataclasses.replace(run, prompts=("document", "ab"), loop=loop)
    plain = dataclasses.replace(a_run(tmp_path, "plain", steps=4))
    events = list(train(run))
    samples = of_kind(events, Sampled)
    assert [(s.step, s.prompt) for s in samples] == [
        (2, "document"),
        (2, "ab"),
        (4, "document"),
        (4, "ab"),
    ]
    assert any(a.text != b.text for a, b in zip(samples[:2], samples[2:], strict=True))
    losses = [[e.loss for e in some if isinstance(e, Step)] for some in (events, train(plain))]
    assert losses[0] == losses[1]


def test_half_precision_scales_its_loss(tmp_path: Path) -> None:
    run = a_run(tmp_path, "out", optim=OptimConfig(lr=1e-3), steps=3)
    losses = {}
    for precision in ("fp32", "fp16", "bf16"):
        out = tmp_path / precision
        one = dataclasses.replace(run, precision=precision, out=out)  # type: ignore[arg-type]
        losses[precision] = [event.loss for event in train(one) if isinstance(event, Step)]
    for half in ("fp16", "bf16"):
        errors = torch.tensor(losses[half]) - torch.tensor(losses["fp32"])
        assert errors.norm() / torch.tensor(losses["fp32"]).norm() < 8e-3


def test_several_files_are_mixed(tmp_path: Path) -> None:
    run = a_run(tmp_path, "out", steps=2)
    other = data_file(tmp_path, 12, "other.jsonl")
    mixed = dataclasses.replace(run, data=(*run.data, other), weights=(1.0, 0.5))
    prepared = prepare(mixed)
    assert len(prepared.corpus) == 42
    assert prepared.corpus.weights is not None
    assert prepared.corpus.weights.tolist() == [1.0] * 30 + [0.5] * 12
    assert prepared.corpus.places[30] == "other.jsonl:1"
    assert len(list(train(mixed))) > 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"data": ["a", "b"], "weights": [1.0]}, "weights: 1 for 2 data files; give one for each"),
        ({"data": "a", "weights": [0.0]}, "weights: 0.0 must be above 0"),
        ({"data": []}, "data names no file"),
        ({"data": "a", "weights": [2.0], "batch": {"dataload": "get"}}, "weights: windows"),
        ({"data": "a", "loop": {"sample_every": 3}}, "sample_every needs prompts"),
        ({"data": "a", "loop": {"max_minutes": math.inf}}, "loop.max_minutes = inf"),
    ],
    ids=str,
)
def test_settings_that_have_no_sense(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError) as caught:
        run_from_mapping({"model": "m.pth", **values}, "settings")
    assert str(caught.value).startswith(f"settings: {said}")


def test_packed_rows_are_the_default_and_train_every_token(tmp_path: Path) -> None:
    run = dataclasses.replace(a_run(tmp_path, "out"), batch=BatchConfig(ctx=64, micro_batch=1))
    run = dataclasses.replace(run, loop=dataclasses.replace(run.loop, steps=None, epochs=2.0))
    prepared = prepare(run)
    events = list(train(prepared))
    pairs = int((prepared.corpus.offsets[1:] - prepared.corpus.offsets[:-1] - 1).sum())
    assert sum(event.tokens for event in of_kind(events, Step)) == 2 * pairs
    assert prepared.steps < 2 * len(prepared.corpus)


def test_nothing_to_train_is_told_before_anything_is_written(tmp_path: Path) -> None:
    run = dataclasses.replace(a_run(tmp_path, "out"), reading=ReadConfig(mask="answers"))
    with pytest.raises(UserError, match="nothing is trained"):
        prepare(run)
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    name = os.fsdecode(b"bad\xff.jsonl")
    with pytest.raises(UserError, match=r"bad\?\.jsonl: the name is not UTF-8; rename it"):
        run_from_mapping({"model": "m.pth", "data": str(tmp_path / name)}, "settings")


def test_a_pair_with_brackets_in_its_name_is_stored_absolutely(tmp_path: Path) -> None:
    binidx.write(tmp_path / "br[1]", [[5, 6, 7, 0]] * 9, np.uint16)
    run = dataclasses.replace(a_run(tmp_path, "out", steps=1), data=(tmp_path / "br[1]",))
    list(train(run))
    assert read_run(run.out).data == (tmp_path / "br[1]",)


def test_windows_are_not_told_as_pieces(tmp_path: Path) -> None:
    run = a_run(tmp_path, "out")
    windows = BatchConfig(ctx=8, dataload="get")
    told = " ".join(data_lines(prepare(dataclasses.replace(run, batch=windows))))
    assert "windows of 8 tokens" in told
    assert "pieces" not in told
