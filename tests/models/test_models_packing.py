"""Packed documents give what each gives alone: hidden states, losses and all gradients."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import Tensor
from weights import write_model

from eyas.adapters import PiSSA, State, attach
from eyas.data import BatchConfig, Corpus, one_pass
from eyas.models import Model, load
from eyas.training.loss import batch_loss

METHOD = PiSSA(rank=4)
LENGTHS = [1, 2, 31, 40, 7, 1, 33, 12]


def a_model(folder: Path, version: str, dtype=torch.float64, method=METHOD) -> Model:
    model = load(write_model(folder / "m.pth", version, dtype), dtype=dtype)
    attach(model, method, train_parts=("time", "ln", "emb"))
    if isinstance(method, State):
        generator = torch.Generator().manual_seed(3)
        for block in model.layers():
            torch.nn.init.normal_(block.att.time_state, generator=generator)
    return model.to(dtype)


def a_row() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, 256, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(0))
    starts = torch.zeros(1, sum(LENGTHS), dtype=torch.bool)
    starts[0, list(itertools.accumulate(LENGTHS[:-1]))] = True
    return tokens, starts


@pytest.mark.parametrize("method", [PiSSA(rank=4), State()], ids=lambda m: m.name)
@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_hidden_states_and_the_last_state(tmp_path, version, method):
    model = a_model(tmp_path, version, method=method)
    tokens, starts = a_row()
    hidden, state = model.hidden(tokens, starts=starts)
    parts, last = [], None
    for part in tokens.split(LENGTHS, 1):
        alone, last = model.hidden(part)
        parts.append(alone)
    assert_close(hidden, torch.cat(parts, 1))
    for found, right in zip(state, last, strict=True):
        for actual, exact in zip(found, right, strict=True):
            assert_close(actual, exact)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("method", [PiSSA(rank=4), State()], ids=lambda m: m.name)
@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_packed_and_padded_batches_have_the_same_gradient(
    tmp_path, version, method, recompute, dtype
):
    model = a_model(tmp_path, version, dtype, method)
    lengths = np.array([5, 70, 3, 33, 20, 9, 41, 64, 2, 18])
    generator = np.random.Generator(np.random.PCG64(0))
    tokens = generator.integers(1, 256, lengths.sum()).astype(np.uint16)
    trained = generator.random(lengths.sum()) < 0.7
    places = [f"d:{number}" for number in range(len(lengths))]
    corpus = Corpus(tokens, trained, np.concatenate([[0], np.cumsum(lengths)]), places)
    found = {}
    for way in ("pack", "pad"):
        model.zero_grad(set_to_none=True)
        total = torch.zeros((), dtype=dtype)
        for batch in one_pass(corpus, BatchConfig(48, 2, dataload=way)):
            assert (batch.starts is not None) == (way == "pack")
            loss, _ = batch_loss(model, batch, 1e-4, recompute)
            loss.backward()
            total += loss.detach()
        grads = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        found[way] = {"loss": total, **grads}
    for name, exact in found["pad"].items():
        assert_close(found["pack"][name], exact)
