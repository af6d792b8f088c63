"""Settings: what has no sense is refused before anything is done; what is typed counts."""

from pathlib import Path

import jaxtyping
import pytest

from eyas.errors import UserError
from eyas.settings import Run, merged, run_from_mapping, run_to_mapping

BASE = {"model": "m.pth", "data": "d.jsonl"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"seed": -1}, "seed = -1"),
        ({"seed": 10**23}, "seed = 1"),
        ({"optim": {"beta1": 2.0}}, "optim.beta1 = 2.0"),
        ({"optim": {"beta2": -0.1}}, "optim.beta2 = -0.1"),
        ({"optim": {"epsilon": -1.0}}, "optim.epsilon = -1.0"),
        ({"optim": {"epsilon": 0.0}}, "optim.epsilon = 0.0"),
        ({"optim": {"lr": float("inf")}}, "optim.lr = inf"),
        ({"optim": {"warmup_steps": 10**400}}, "optim.warmup_steps = 1"),
        ({"optim": {"lr_final": 1e-5}}, "optim.lr_final is never reached"),
        ({"batch": {"ctx": 10**20}}, "batch.ctx must be at most"),
        ({"batch": {"micro_batch": 10**20}}, "batch.micro_batch must be at most"),
        ({"batch": {"ctx": 0}}, "batch.ctx must be at least 1 token"),
        ({"loop": {"epochs": 1e308}}, "loop.epochs = 1e+308"),
        ({"loop": {"epochs": float("inf")}}, "loop.epochs = inf"),
        ({"loop": {"steps": 10**400}}, "loop.steps = 1"),
        ({"loop": {"keep": 0}}, "loop.keep = 0"),
        ({"loop": {"logit_l2": float("inf")}}, "loop.logit_l2 = inf"),
        ({"loop": {"steps": 2, "epochs": 5.0}}, "loop.steps and epochs exclude one another"),
    ],
    ids=str,
)
def test_values_that_have_no_sense(values, said):
    with pytest.raises(UserError) as caught:
        run_from_mapping({**BASE, **values}, "settings")
    assert str(caught.value).startswith(f"settings: {said}")


@pytest.mark.parametrize(
    ("below", "above", "left"),
    [
        ({"loop": {"steps": 7}}, {"loop": {"epochs": 3.0}}, {"loop": {"epochs": 3.0}}),
        ({"loop": {"epochs": 3.0}}, {"loop": {"steps": 7}}, {"loop": {"steps": 7}}),
        ({"validation": "v"}, {"validation_share": 0.1}, {"validation_share": 0.1}),
        ({"loop": {"steps": 7}}, {"loop": {"keep": 3}}, {"loop": {"steps": 7, "keep": 3}}),
    ],
)
def test_of_two_that_say_the_same_the_one_above_counts(below, above, left):
    assert merged(below, above) == left


def test_paths_may_be_text_and_begin_at_home(monkeypatch):
    monkeypatch.setenv("HOME", "/home/kes")
    monkeypatch.setenv("USERPROFILE", "/home/kes")
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the types say Path
    run = Run("m.pth", "~/d.jsonl", out="~/r")
    assert (run.model, run.data) == (Path("m.pth"), (Path("/home/kes/d.jsonl"),))
    assert run.out == Path("/home/kes/r")
    assert run_from_mapping({**BASE, "validation": "~/v"}, "x").validation == Path("/home/kes/v")
    assert run_from_mapping(run_to_mapping(run), "x") == run
