"""Sweeps: runs that are skipped, resumed and ranked, and results that are the runs' own."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from weights import write_model

from eyas.adapters import METHODS, LoRA, PiSSA
from eyas.data import BatchConfig
from eyas.errors import UserError
from eyas.observe.metrics import read_metrics
from eyas.observe.watching import WatchConfig
from eyas.run import train
from eyas.settings import Run
from eyas.sweep import (
    Outcome,
    SweepConfig,
    Trial,
    as_json,
    as_table,
    at_edge,
    attempt,
    best,
    default_rates,
    draw_rates,
    outcome,
    ranked,
    trials,
)
from eyas.training.checkpoint import locked
from eyas.training.events import Step, Validated
from eyas.training.loop import LoopConfig

PNG = b"\x89PNG"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """What the trials share: a small model, 12 documents."""
    rows = [{"text": f"document {i}: " + "ab" * i} for i in range(12)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Run(
        write_model(tmp_path / "m.pth"),
        (tmp_path / "d.jsonl",),
        method=PiSSA(rank=2),
        validation_share=0.25,
        batch=BatchConfig(ctx=32, micro_batch=3),
        loop=LoopConfig(steps=6, validate_every=3, save_every=3),
        watch=WatchConfig(report=False, mfu=False),
    )


def made(trial: Trial) -> Outcome:
    *_, came = attempt(trial)
    assert isinstance(came, Outcome)
    return came


def an_outcome(name: str, rate: float, seed: int, held_out: float | None) -> Outcome:
    """Of a run that was never made; failed where there is no loss."""
    settings = Run(Path("m"), (Path("d"),), method=LoRA(rank=4))
    trial = Trial(name, rate, seed, Path("x"), settings, 3, 1234, 2**20)
    if held_out is None:
        return Outcome(trial, "failed", "the loss is nan")
    return Outcome(trial, "done", "", held_out, held_out - 0.5, 2, held_out - 1, 6.0)


def test_a_trial_is_the_run_however_often_it_was_cut_off(run: Run, tmp_path: Path) -> None:
    (trial,) = trials("pissa", run, [1e-3], [0], tmp_path / "sweep")
    assert not trial.out.parent.exists()
    assert trial.out == tmp_path / "sweep" / "pissa-lr0.001-seed0"
    assert outcome(trial).state == "not begun"
    for event in attempt(trial):
        if isinstance(event, Step) and event.step == 5:
            break
    assert outcome(trial).state == "cut off"
    assert outcome(trial).held_out is None
    *again, came = attempt(trial)
    assert [event.step for event in again if isinstance(event, Step)] == [4, 5, 6]
    plain = list(train(replace(trial.run, out=tmp_path / "plain")))
    held_out = [event.loss for event in plain if isinstance(event, Validated)]
    losses = [event.loss for event in plain if isinstance(event, Step)]
    assert isinstance(came, Outcome)
    assert came.state == "done"
    assert came.held_out == held_out[-1]
    assert (came.best, came.best_step) == min(zip(held_out, (3, 6), strict=True))
    assert came.training == losses[-1]
    assert list(attempt(trial)) == [came]


def test_more_steps_go_on_with_what_was_done(run: Run, tmp_path: Path) -> None:
    (short,) = trials("pissa", replace(run, loop=LoopConfig(steps=2)), [1e-3], [0], tmp_path)
    made(short)
    (longer,) = trials("pissa", replace(run, loop=LoopConfig(steps=4)), [1e-3], [0], tmp_path)
    assert outcome(longer).state == "cut off"
    assert [e.step for e in attempt(longer) if isinstance(e, Step)] == [3, 4]
    assert outcome(longer).state == "done"


def test_a_loss_that_is_not_finite_is_a_failure(run: Run, tmp_path: Path) -> None:
    run = replace(run, loop=LoopConfig(steps=2))
    diverging, blind = trials("pissa", run, [1e30, 1e-3], [0], tmp_path)
    came = made(diverging)
    assert came.state == "failed"
    assert came.reason.startswith("the loss is nan")
    made(blind)
    path = blind.out / "metrics.jsonl"
    lines = [
        {**line, "loss": None} if line["event"] == "validated" else line
        for line in read_metrics(path)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    came = made(blind)
    assert (came.state, came.reason) == ("failed", "the held-out loss is not finite")


def test_a_run_in_the_hands_of_another_process_has_not_failed(run: Run, tmp_path: Path) -> None:
    (trial,) = trials("pissa", run, [1e-3], [0], tmp_path)
    with locked(trial.out), pytest.raises(UserError, match="another process"):
        made(trial)


def test_seeds_and_rates_are_the_only_difference(run: Run, tmp_path: Path) -> None:
    found = trials("pissa", run, [1e-3, 2e-5], [0, 7], tmp_path)
    assert {(t.rate, t.seed): (t.run.optim.lr, t.run.seed) for t in found} == {
        pair: pair for pair in [(1e-3, 0), (2e-5, 0), (1e-3, 7), (2e-5, 7)]
    }
    assert len({t.out for t in found}) == 4
    first, *others = (
        replace(t.run, seed=0, out=None, optim=replace(t.run.optim, lr=1.0)) for t in found
    )
    assert all(other == first for other in others)


def test_another_run_in_the_way_is_refused(run: Run, tmp_path: Path) -> None:
    run = replace(run, loop=LoopConfig(steps=1))
    (second,) = trials("pissa", run, [1e-3], [1], tmp_path)
    made(second)
    other = replace(run, method=PiSSA(rank=3))
    with pytest.raises(UserError, match=r"seed1: holds another run .*method\.rank is 2 there"):
        trials("pissa", other, [1e-3], [0, 1], tmp_path)
    keeping = replace(run, loop=LoopConfig(steps=1, keep=1))
    (kept,) = trials("pissa", keeping, [1e-3], [1], tmp_path)
    assert outcome(kept).state == "done"


def test_without_held_out_data_there_is_nothing_to_compare(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--validation-share above 0"):
        trials("pissa", replace(run, validation_share=0.0), [1e-3], [0], tmp_path)


def test_results_are_ranked_by_the_mean_over_the_seeds() -> None:
    losses = {
        ("a", 1.0): (2.0, 3.0, 4.0),
        ("a", 3.0): (2.5, 2.5, 2.6),
        ("b", 1.0): (1.0, 1.0, None),
        ("b", 3.0): (None, None, None),
    }
    given = [
        an_outcome(*key, seed, value)
        for key, row in losses.items()
        for seed, value in enumerate(row)
    ]
    results = ranked(given)
    assert [(r.name, r.rate) for r in results] == [("a", 3.0), ("a", 1.0), ("b", 1.0), ("b", 3.0)]
    assert best(results) is results[0]
    for result in results[:2]:
        values = losses[result.name, result.rate]
        assert result.held_out.mean == pytest.approx(np.mean(values))
        assert result.held_out.deviation == pytest.approx(np.std(values, ddof=1))
    assert [result.failed for result in results] == [0, 0, 1, 3]
    assert best(results[2:]) is None
    assert ranked(given[:1])[0].held_out.deviation is None


def test_a_best_rate_at_the_end_of_the_rates_is_told() -> None:
    def edge(*losses: float | None) -> str | None:
        results = ranked([an_outcome("a", 1.0 + i, 0, loss) for i, loss in enumerate(losses)])
        return at_edge(best(results), results)

    assert edge(1.0, 2.0, 3.0) == "lowest"
    assert edge(3.0, 2.0, 1.0) == "highest"
    assert edge(2.0, 1.0, 2.0) is None
    assert edge(2.0, 1.0, None) is None
    assert edge(1.0) is None
    given = [an_outcome("a", 1.0, 0, 1.0), an_outcome("a", 2.0, 0, 2.0)]
    waiting = Outcome(an_outcome("a", 0.5, 0, None).trial, "not begun")
    assert at_edge(best(ranked(given)), ranked([*given, waiting])) is None
    assert at_edge(best(ranked(given)), ranked(given)) == "lowest"


def test_table_json_and_picture(tmp_path: Path) -> None:
    results = ranked(
        [
            an_outcome("a", 1e-3, 0, 2.0),
            an_outcome("a", 1e-3, 1, 3.0),
            an_outcome("b", 2e-3, 0, None),
        ]
    )
    rows = list(zip(*(column.cells for column in as_table(results).columns), strict=True))
    assert rows[0] == (
        "a",
        "0.001",
        "2.5000 ± 0.7071",
        "2.0000",
        "1.5000",
        "1,234",
        "6.0",
        "1",
        "2",
    )
    assert rows[1] == ("b", "0.002", "-", "-", "-", "1,234", "-", "1", "1 of 1 failed")
    values = json.loads(json.dumps(as_json(results), allow_nan=False))
    assert values[0]["held_out"] == {"mean": 2.5, "deviation": math.sqrt(0.5)}
    assert [run["state"] for run in values[0]["runs"] + values[1]["runs"]] == ["done"] * 2 + [
        "failed"
    ]
    draw_rates({"over bf16": results, "over nothing": results[1:]}, tmp_path / "x.png")
    assert (tmp_path / "x.png").read_bytes().startswith(PNG)


@pytest.mark.parametrize("cls", METHODS)
def test_default_rates_are_around_the_methods_own(cls) -> None:
    low, own, high = default_rates(cls())
    assert own == cls.learning_rate
    assert (own / low, high / own) == pytest.approx((3, 3), rel=0.02)


@pytest.mark.parametrize(
    "values",
    [{"methods": ()}, {"seeds": ()}, {"lr": (1e-3, 0.0)}, {"lr": (math.inf,)}, {"seeds": (-1,)}],
)
def test_a_sweep_of_nothing_or_nonsense(values) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        SweepConfig(**values)
