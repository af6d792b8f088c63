"""Whole runs: the same steps however they are cut up, and nothing lost."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from methods import SMALL, combined, name_of, over
from runs import METHOD, OPTIM, a_run, data_file
from tolerance import assert_close
from weights import write_model

from eyas.adapters import Full, LoRA, PiSSA, State
from eyas.data import BatchConfig, ReadConfig
from eyas.errors import UserError
from eyas.observe.metrics import read_metrics
from eyas.quant import FrozenConfig
from eyas.run import merge_run, prepare, read_run, train
from eyas.settings import Run, run_from_mapping, run_to_mapping
from eyas.training.checkpoint import newest_checkpoint
from eyas.training.events import Finished, Step, Validated
from eyas.training.optim import OptimConfig

METHODS = [
    (METHOD, OPTIM),
    (LoRA(rank=4, dropout=0.1), OptimConfig(lr=1e-3)),
    (Full(), OptimConfig(lr=1e-3, optimizer="muon", schedule="wsd")),
]
OTHER_METHODS = [method for method in SMALL if method.name not in ("pissa", "lora", "full")]
QUANTIZED = [(method, quant) for method, quant in combined(SMALL) if quant != "none"]


def result(run: Run) -> dict[str, torch.Tensor]:
    checkpoint = newest_checkpoint(run.out)
    return {**checkpoint.adapter().tensors, **_optimizer_tensors(checkpoint.path)}


def _optimizer_tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    states = torch.load(checkpoint / "optimizer.pt")["optimizer"]
    return {f"{of}.{name}": value for of, slots in states.items() for name, value in slots.items()}


def assert_same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("method", "optim"), METHODS, ids=lambda x: getattr(x, "name", ""))
def test_a_run_that_was_cut_is_the_same_run_bit_for_bit(method, optim, tmp_path):
    whole, cut = (a_run(tmp_path, name, method, optim) for name in ("whole", "cut"))
    losses = [e.loss for e in train(whole) if isinstance(e, Step)]
    for event in train(cut):  # an abandoned iterator is a process that died at step 12
        if isinstance(event, Step) and event.step == 12:
            break
    again = [e for e in train(cut) if isinstance(e, Step)]
    assert [e.step for e in again] == list(range(11, 21))
    assert [e.loss for e in again] == losses[10:]
    assert_same(result(cut), result(whole))
    lines = read_metrics(cut.out / "metrics.jsonl")
    assert [line["step"] for line in lines if line["event"] == "step"] == list(range(1, 21))
    assert (cut.out / "adapter.safetensors").exists()


@pytest.mark.parametrize(
    ("method", "quant"),
    [*((m, "none") for m in OTHER_METHODS if over(m, "none")), *QUANTIZED],
    ids=lambda x: x if isinstance(x, str) else name_of(x),
)
def test_every_method_over_every_base_goes_on_bit_for_bit(method, quant, tmp_path):
    frozen = FrozenConfig(quant=quant, quant_head=quant != "none")
    whole, cut = (
        dataclasses.replace(
            a_run(tmp_path, name, method, OptimConfig(lr=1e-3), steps=4, save_every=2),
            frozen=frozen,
        )
        for name in ("whole", "cut")
    )
    list(train(whole))
    next(event for event in train(cut) if isinstance(event, Step) and event.step == 3)
    list(train(cut))
    assert_same(result(cut), result(whole))
    merged = merge_run(cut.out)
    assert merged.proof.relative_difference <= merged.proof.allowed


def test_narrow_storage_leaves_what_trains_as_it_was(tmp_path):
    """Over a float32 base, an untrained merge is the base, whatever the rest is stored in."""
    run = a_run(tmp_path, "out", optim=OptimConfig(lr=0.0), steps=2)
    run = dataclasses.replace(run, frozen=FrozenConfig(storage="bf16"), train_parts=("ln", "head"))
    assert {p.dtype for p in prepare(run).model.parameters()} == {torch.float32, torch.bfloat16}
    list(train(run))
    merged = torch.load(merge_run(run.out).path)
    base = torch.load(run.model)
    assert all(torch.equal(merged[name], base[name]) for name in base)


def test_a_new_run_goes_on_from_an_adapter(tmp_path):
    first = a_run(tmp_path, "first", steps=6)
    list(train(first))

    def second(name, adapter=first.out, **changes):
        run = dataclasses.replace(a_run(tmp_path, name, steps=2), adapter=adapter, **changes)
        return [e.loss for e in train(run) if isinstance(e, Step)], result(run)

    losses, fresh = second("fresh")
    from_nothing = next(iter(train(a_run(tmp_path, "from nothing", steps=1))))
    assert losses[0] < from_nothing.loss
    from_file, same = second("file", adapter=first.out / "adapter.safetensors")
    assert from_file == losses
    assert_same(fresh, same)
    _, kept = second("kept", keep_optimizer=True)
    steps = {name: value for name, value in kept.items() if name.endswith(".step")}
    assert steps
    assert all(value == 8 for value in steps.values())


@pytest.mark.parametrize("method", [Full(), State(), PiSSA(rank=4)], ids=name_of)
def test_a_base_with_nan_is_refused_before_anything_is_written(method, tmp_path):
    run = a_run(tmp_path, "out", method)
    weights = torch.load(run.model)
    weights["blocks.1.ln1.weight"][3] = torch.nan
    torch.save(weights, run.model)
    with pytest.raises(UserError, match=r"blocks\.1\.ln1\.weight of the base model holds NaN"):
        list(train(run))
    assert not run.out.exists()


def test_an_adapter_of_another_kind_is_refused(tmp_path):
    first = a_run(tmp_path, "first", steps=1)
    list(train(first))
    for change, words in (
        ({"method": LoRA(rank=4)}, r"method\.name is pissa there and lora here"),
        ({"frozen": FrozenConfig(quant="nf4")}, r"frozen\.quant is none there and nf4 here"),
        ({"model": write_model(tmp_path / "other.pth", seed=5)}, "another base model"),
        ({"adapter": tmp_path / "none"}, "no such file"),
        ({"targets": ("key",)}, "leave --targets out"),
        (
            {"adapter": first.out / "adapter.safetensors", "keep_optimizer": True},
            "no optimizer beside it",
        ),
    ):
        run = dataclasses.replace(a_run(tmp_path, "second", steps=1), adapter=first.out)
        with pytest.raises(UserError, match=words):
            list(train(dataclasses.replace(run, **change)))


def test_eight_rows_are_eight_times_one_row(tmp_path):
    def first_step(name, micro_batch, accumulate):
        run = a_run(tmp_path, name, steps=1, accumulate=accumulate)
        batch = BatchConfig(ctx=32, micro_batch=micro_batch)
        return next(iter(train(dataclasses.replace(run, batch=batch))))

    one, many = first_step("a", 8, 1), first_step("b", 1, 8)
    assert one.trained_tokens == many.trained_tokens
    for name in ("loss", "gradient_norm"):
        assert_close(*(torch.tensor(getattr(step, name)) for step in (one, many)))


def test_recomputed_activations_change_nothing(tmp_path):
    plain = list(train(a_run(tmp_path, "a", steps=3)))
    leaner = list(train(a_run(tmp_path, "b", steps=3, recompute=True)))
    assert [e.loss for e in plain if isinstance(e, Step)] == [
        e.loss for e in leaner if isinstance(e, Step)
    ]


def test_it_learns_and_reports_what_it_was_asked_to(tmp_path):
    run = a_run(tmp_path, "out", steps=40, validate_every=20)
    events = list(train(dataclasses.replace(run, validation_share=0.2)))
    losses = [e.loss for e in events if isinstance(e, Step)]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert [e.step for e in events if isinstance(e, Validated)] == [20, 40]
    assert events[-1] == Finished(40, "steps done")
    assert len(list((run.out / "checkpoints").iterdir())) == run.loop.keep


def test_the_settings_file_is_the_run(tmp_path):
    run = a_run(tmp_path, "out", steps=1)
    list(train(run))
    resolved = read_run(run.out)
    assert resolved.loop.steps == 1
    assert run_from_mapping(run_to_mapping(resolved), "x") == resolved


def diverging(folder: Path, out: str, **loop) -> Run:
    return a_run(folder, out, optim=OptimConfig(lr=1e9), **loop)


def test_weights_that_a_step_ruined_are_not_saved(tmp_path):
    run = diverging(tmp_path, "out", save_every=1)
    with pytest.raises(UserError, match=r"after step 1, which ruined .*nothing is saved yet"):
        list(train(run))
    assert newest_checkpoint(run.out) is None
    # What it says can be done.
    lower = dataclasses.replace(run, optim=OptimConfig(lr=1e-4))
    assert [e.step for e in train(lower) if isinstance(e, Step)] == list(range(1, 21))


def test_the_last_weights_are_looked_at_too(tmp_path):
    run = diverging(tmp_path, "out", steps=1)
    with pytest.raises(UserError, match="after step 1"):
        list(train(run))
    assert not (run.out / "adapter.safetensors").exists()


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tmp_path):
    run = a_run(tmp_path, "out", save_every=2)
    said = r"is nan at step 4 everywhere \(.*data\.jsonl:\d+.*step 2 is kept.*another --out"
    prepared = prepare(run)
    steps = train(prepared)
    next(event for event in steps if isinstance(event, Step) and event.step == 3)
    trained = next(p for p in prepared.model.parameters() if p.requires_grad)
    trained.data.view(-1)[0] = float("nan")
    with pytest.raises(UserError, match=said):
        list(steps)
    assert newest_checkpoint(run.out).progress.step == 2


@pytest.mark.parametrize("dataload", ["pack", "pad"])
def test_the_document_at_fault_is_named(tmp_path, dataload):
    prepared = prepare(a_run(tmp_path, "out", steps=1, accumulate=2))
    tokens, start = prepared.corpus.tokens.copy(), prepared.corpus.offsets[17]
    rare = tokens.max() + 1
    tokens[start + 2] = rare
    prepared.model.emb.weight.data[int(rare)] = float("nan")
    corpus = dataclasses.replace(prepared.corpus, tokens=tokens)
    settings = dataclasses.replace(prepared.run, batch=BatchConfig(dataload=dataload))
    run = dataclasses.replace(prepared, run=settings, corpus=corpus)
    one_step = dataclasses.replace(prepared.run.loop, accumulate=30)
    with pytest.raises(UserError, match=r"step 1 \(data\.jsonl:18\); nothing .*this document$"):
        list(train(dataclasses.replace(run, run=dataclasses.replace(run.run, loop=one_step))))


def test_held_out_data_with_nothing_to_train_is_refused_at_once(tmp_path):
    valid = data_file(tmp_path, 2, "valid.jsonl")
    (tmp_path / "data.jsonl").write_text('{"text": "User: a\\n\\nAssistant: b"}\n')
    run = dataclasses.replace(a_run(tmp_path, "out"), validation=valid)
    run = dataclasses.replace(run, reading=ReadConfig(mask="answers"))
    with pytest.raises(UserError, match=r"valid\.jsonl:1.*nothing is trained"):
        prepare(run)


@pytest.mark.parametrize("stopped_at", [4, 6])
def test_a_held_out_loss_that_a_stop_left_out_comes_with_the_resume(tmp_path, stopped_at):
    def the_run(name):
        run = a_run(tmp_path, name, steps=6, validate_every=2, save_every=6)
        return dataclasses.replace(run, validation_share=0.2)

    whole, cut = the_run("whole"), the_run("cut")
    expected = [e for e in train(whole) if isinstance(e, Validated)]
    seen = []
    for event in train(cut):
        seen.append(event)
        if isinstance(event, Step) and event.step == stopped_at:
            os.kill(os.getpid(), signal.SIGTERM)
    assert seen[-1] == Finished(stopped_at, "interrupted", signal.SIGTERM)
    seen += train(cut)
    assert [e for e in seen if isinstance(e, Validated)] == expected
    again = list(train(cut))  # of a finished run
    assert again == [Finished(6, "steps done")]
    lines = read_metrics(cut.out / "metrics.jsonl")
    assert [line["step"] for line in lines if line["event"] == "validated"] == [2, 4, 6]
    assert [line["reason"] for line in lines if line["event"] == "finished"] == ["steps done"]
    assert_same(result(cut), result(whole))


def _command(folder: Path, out: str) -> list[str]:
    a_run(folder, out)  # makes model and data
    program = "from eyas.cli import main; raise SystemExit(main())"
    options = "--rank 4 --lr 1e-3 --steps 80 --save-every 5 --ctx 32 --micro-batch 4 --out"
    paths = [str(folder / "m.pth"), str(folder / "data.jsonl")]
    return [sys.executable, "-c", program, "train", *paths, *options.split(), str(folder / out)]


def _until_checkpoint(process: subprocess.Popen, out: Path, step: int) -> None:
    for _ in range(600):
        found = newest_checkpoint(out) if out.exists() else None
        if found and found.progress.step >= step:
            return
        assert process.poll() is None
        time.sleep(0.05)
    raise AssertionError("no checkpoint in 30 s")


def test_killed_and_started_again_is_the_same_run(tmp_path):
    threads = {**os.environ, "OMP_NUM_THREADS": "1"}
    whole, killed = _command(tmp_path, "whole"), _command(tmp_path, "killed")
    subprocess.run(whole, check=True, capture_output=True, env=threads)
    process = subprocess.Popen(killed, stdout=subprocess.DEVNULL, env=threads)
    _until_checkpoint(process, tmp_path / "killed", 20)
    process.kill()
    process.wait()
    done = subprocess.run(killed, check=True, capture_output=True, text=True, env=threads)
    assert "resuming after step" in done.stdout
    runs = (a_run(tmp_path, name) for name in ("killed", "whole"))
    assert_same(*map(result, runs))


def test_sigterm_saves_and_says_how_to_go_on(tmp_path):
    command = _command(tmp_path, "out")
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=one_thread)
    _until_checkpoint(process, tmp_path / "out", 5)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=30)
    assert process.returncode == 143
    assert "The same command goes on from here" in said
    last = newest_checkpoint(tmp_path / "out").progress.step
    lines = read_metrics(tmp_path / "out" / "metrics.jsonl")
    assert last == max(line["step"] for line in lines if line["event"] == "step")
