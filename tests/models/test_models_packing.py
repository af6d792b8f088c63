"""Packed documents give what each gives alone: hidden states, losses and all gradients."""

from itertools import accumulate, chain
from pathlib import Path

import numpy as np
import pytest
import torch
from tolerance import assert_close
from torch import Tensor
from weights import write_model

from eyas import wkv
from eyas.adapters import PiSSA, attach
from eyas.adapters import State as StateTuning
from eyas.data import BatchConfig, Corpus, one_pass
from eyas.fused import shifted_mix
from eyas.models import Model, State, load
from eyas.native import library
from eyas.training.loss import batch_loss
from eyas.wkv import Backend

BACKENDS = [wkv.chunked, *([wkv.native] if library() else [])]
METHOD = PiSSA(rank=4)
LENGTHS = [1, 2, 31, 40, 7, 1, 33, 12]


def a_model(
    folder: Path, version: str, dtype=torch.float64, method=METHOD, backend: Backend | None = None
) -> Model:
    model = load(write_model(folder / "m.pth", version, dtype), backend, dtype)
    attach(model, method, train_parts=("time", "ln", "emb"))
    if isinstance(method, StateTuning):
        generator = torch.Generator().manual_seed(3)
        for block in model.layers():
            torch.nn.init.normal_(block.att.time_state, generator=generator)
    return model.to(dtype)


def a_row() -> tuple[Tensor, Tensor]:
    tokens = torch.randint(1, 256, (1, sum(LENGTHS)), generator=torch.Generator().manual_seed(0))
    starts = torch.zeros(1, sum(LENGTHS), dtype=torch.bool)
    starts[0, list(accumulate(LENGTHS[:-1]))] = True
    return tokens, starts


def one_by_one(model: Model, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
    """Each document alone; the first of them continues from the state."""
    parts = []
    for part in tokens.split(LENGTHS, 1):
        alone, last = model.hidden(part, state)
        parts.append(alone)
        state = None
    return torch.cat(parts, 1), last


def assert_same(found: tuple[Tensor, State], right: tuple[Tensor, State]) -> None:
    assert_close(found[0], right[0])
    for actual, exact in zip(chain(*found[1]), chain(*right[1]), strict=True):
        assert_close(actual, exact)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("method", [PiSSA(rank=4), StateTuning()], ids=lambda m: m.name)
@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_hidden_states_and_the_last_state(tmp_path, version, method, backend):
    model = a_model(tmp_path, version, method=method, backend=backend)
    exact = a_model(tmp_path, version, method=method, backend=wkv.reference)
    tokens, starts = a_row()
    assert_same(model.hidden(tokens, starts=starts), one_by_one(exact, tokens))


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda b: b.__name__)
@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_a_given_state_is_the_first_documents(tmp_path, version, backend):
    model = a_model(tmp_path, version, method=StateTuning(), backend=backend)
    exact = a_model(tmp_path, version, method=StateTuning(), backend=wkv.reference)
    tokens, starts = a_row()
    _, state = exact.hidden(torch.arange(1, 12)[None])
    assert_same(model.hidden(tokens, state, starts=starts), one_by_one(exact, tokens, state))
    starts[0, 0] = True
    assert_same(model.hidden(tokens, state, starts=starts), one_by_one(exact, tokens))


@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_logits_and_hidden_states_in_bf16(tmp_path, version):
    model = a_model(tmp_path, version, torch.bfloat16)
    tokens, starts = a_row()
    assert_same(model.hidden(tokens, starts=starts), one_by_one(model, tokens))
    logits, _ = model(tokens, starts=starts)
    assert torch.equal(logits, model.head(model.hidden(tokens, starts=starts)[0]))


def test_the_token_shift_is_cut():
    x = torch.arange(1.0, 9).view(2, 4, 1)
    starts = torch.tensor([[False, False, True, False], [True, False, False, True]])
    only_shifted = torch.ones(1)
    (shifted,), last = shifted_mix(x, torch.tensor([[10.0], [20.0]]), [only_shifted], starts)
    assert shifted[..., 0].tolist() == [[10, 1, 0, 3], [0, 5, 6, 0]]
    assert last.tolist() == [[4], [8]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("method", [PiSSA(rank=4), StateTuning()], ids=lambda m: m.name)
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
