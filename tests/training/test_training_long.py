"""A row in chunks has the gradient of the whole row."""

from pathlib import Path

import pytest
import torch
from tolerance import EXACT, assert_close
from torch import Tensor
from weights import write_model

from eyas.adapters import PiSSA, State, attach
from eyas.data import Batch
from eyas.models import Model, load
from eyas.training import long
from eyas.training.engine import Engine, EngineConfig, spread
from eyas.training.long import ChunkedRows
from eyas.training.loss import IGNORED
from eyas.training.ranks import Ranks

METHOD, LENGTH = PiSSA(rank=4), 75


def model_of(folder: Path, version: str, dtype: torch.dtype, method=METHOD) -> Model:
    path = folder / f"{version}.pth"
    model = load(write_model(path, version, dtype), dtype=dtype)
    attach(model, method, train_parts=("time", "ln", "head"))
    return model.to(dtype)


def batch_of(packed: bool) -> Batch:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(1, 256, (2, LENGTH + 1), generator=generator)
    targets = tokens[:, 1:].clone()
    targets[0, 30:50] = IGNORED
    targets[1, -5:] = IGNORED
    starts = torch.rand(2, LENGTH, generator=generator) < 0.06
    return Batch(tokens[:, :-1], targets, starts if packed else None, 2 * LENGTH, (("a",), ("b",)))


def gradients(model: Model, batch: Batch, chunked: ChunkedRows | None) -> dict[str, Tensor]:
    model.zero_grad(set_to_none=True)
    engine = spread(model, EngineConfig(), Ranks(), logit_l2=1e-4, chunked=chunked)
    loss = engine.backward(batch, 0.5)
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return {**found, "loss": torch.tensor(loss, dtype=model.dtype)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_the_gradient_is_that_of_the_whole_row(tmp_path, version, packed, dtype):
    model, batch = model_of(tmp_path, version, dtype), batch_of(packed)
    whole = gradients(model, batch, None)
    for chunk in (1, 16, 40, 200) if dtype == torch.float64 else (16,):
        parts = gradients(model, batch, ChunkedRows(chunk))
        assert parts.keys() == whole.keys()
        for name, expected in whole.items():
            if dtype == torch.float64:
                assert_close(parts[name], expected)
            else:  # sums of other partial sums: close as a whole, not in every small element
                rtol, _ = EXACT[dtype]
                assert (parts[name] - expected).norm() <= rtol * expected.norm()


def test_of_many_states_only_some_are_kept(tmp_path, monkeypatch):
    model, batch = model_of(tmp_path, "x070", torch.float64), batch_of(True)
    whole = gradients(model, batch, None)
    monkeypatch.setattr(long, "_KEPT_BYTES", 0)
    for chunk in (5, 8, 40):
        for name, part in gradients(model, batch, ChunkedRows(chunk)).items():
            assert_close(part, whole[name])


def test_the_initial_state_has_its_gradient_too(tmp_path):
    model, batch = model_of(tmp_path, "x060", torch.float64, State()), batch_of(True)
    whole = gradients(model, batch, None)
    assert any("time_state" in name for name in whole)
    for name, part in gradients(model, batch, ChunkedRows(16)).items():
        assert_close(part, whole[name])


def test_a_detached_state_cuts_the_gradient(tmp_path):
    model, batch = model_of(tmp_path, "x070", torch.float64), batch_of(False)
    whole, cut = (gradients(model, batch, ChunkedRows(16, d)) for d in (False, True))
    assert_close(cut["loss"], whole["loss"])
    name = "blocks.0.att.key.lora_A"
    assert not torch.allclose(cut[name], whole[name], rtol=1e-3)


def test_the_loss_alone(tmp_path):
    model, batch = model_of(tmp_path, "x070", torch.float64), batch_of(True)
    engines = [spread(model, EngineConfig(), Ranks(), chunked=c) for c in (None, ChunkedRows(16))]
    values = [torch.tensor(engine.value(batch), dtype=torch.float64) for engine in engines]
    assert_close(values[1], values[0])
    assert isinstance(engines[0], Engine)
