"""The compiled forward for single tokens against the model's own and the `rwkv` package's."""

import pytest
import torch
from peer import rwkv_logits
from tolerance import LOGITS
from torch import Tensor
from weights import MORE_SHAPES, SHAPES, random_weights

import eyas
from eyas.adapters import LoRA, attach
from eyas.generation.compiled import CompiledTokens, compiled
from eyas.models import Model, create
from eyas.native import library, operators
from eyas.quant import FrozenConfig, cast_frozen, quantize_frozen

pytestmark = pytest.mark.skipif(library() is None, reason="no library")

SEVENS = [shape for shape in MORE_SHAPES if shape.version == "x070"]
KEPT = {
    "fp32": FrozenConfig(),
    "bf16": FrozenConfig(storage="bf16"),
    "int8": FrozenConfig(quant="int8", quant_head=True),
    "nf4": FrozenConfig(storage="fp16", quant="nf4"),
}


def model_of(shape, kept: str = "fp32") -> Model:
    model = create(shape, 0)
    model.load_state_dict(random_weights(shape))
    model.requires_grad_(False)
    cast_frozen(model, KEPT[kept])
    quantize_frozen(model, KEPT[kept])
    return model


def one_by_one(model, tokens: Tensor, state=None) -> tuple[Tensor, object]:
    logits = []
    for token in tokens.split(1, dim=1):
        of_token, state = model(token, state)
        logits.append(of_token)
    return torch.cat(logits, 1), state


def assert_same(got: Tensor, expected: Tensor) -> None:
    assert (got - expected).abs().max() / expected.std() <= LOGITS


@pytest.mark.parametrize("kept", KEPT)
@pytest.mark.parametrize("shape", SEVENS, ids=str)
@torch.no_grad()
def test_it_is_the_models_own_forward(shape, kept):
    model = model_of(shape, kept)
    fast = compiled(model)
    assert isinstance(fast, CompiledTokens)
    for rows in (1, 3):
        tokens = torch.randint(256, (rows, 20))
        expected, state_after = model(tokens)
        _, state = fast(tokens[:, :5])  # read by the model itself
        got, state = one_by_one(fast, tokens[:, 5:], state)
        assert_same(got, expected[:, 5:])
        for mine, theirs in zip(state, state_after, strict=True):
            for part, other in zip(mine, theirs, strict=True):
                assert_same(part, other)


def test_logits_equal_the_rwkv_packages(tmp_path):
    paths = [tmp_path / f"{i}.pth" for i in range(len(SEVENS))]
    for path, shape in zip(paths, SEVENS, strict=True):
        torch.save(random_weights(shape), path)
    tokens = torch.randint(256, (40,)).tolist()
    results = rwkv_logits(paths, tokens, "x070", tmp_path)
    for path, (_, singly) in zip(paths, results, strict=True):
        got, _ = one_by_one(compiled(eyas.load(path)), torch.tensor([tokens]))
        assert_same(got[0], singly)


@pytest.mark.parametrize("target", range(len(operators.targets())) if library() else ())
def test_any_instructions_and_threads(target, monkeypatch):
    model, tokens = model_of(SHAPES["x070"]), torch.randint(256, (2, 10))
    expected, _ = one_by_one(compiled(model), tokens)
    monkeypatch.setattr(operators, "best_target", lambda: target)
    got, _ = one_by_one(compiled(model), tokens)
    assert_same(got, expected)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert torch.equal(one_by_one(compiled(model), tokens)[0], got)


def test_states_are_values():
    fast, tokens = compiled(model_of(SHAPES["x070"])), torch.tensor([[1]])
    first, state = fast(tokens)
    kept = [tensor.clone() for layer in state for tensor in layer]
    again = [fast(torch.tensor([[token]]), state)[0] for token in (7, 8, 7)]
    assert torch.equal(again[0], again[2])
    assert all(map(torch.equal, kept, (tensor for layer in state for tensor in layer)))
    assert torch.equal(fast(tokens)[0], first)


def test_a_held_state_begins_a_sequence():
    model = model_of(SHAPES["x070"])
    model.hold_initial_state()
    for block in model.layers():
        block.att.time_state.normal_()
    tokens = torch.tensor([[1]])
    assert_same(compiled(model)(tokens)[0], model(tokens)[0])


def test_what_the_library_cannot_read_stays_a_model(monkeypatch):
    six = model_of(SHAPES["x060"])
    assert compiled(six) is six
    adapted = model_of(SHAPES["x070"])
    attach(adapted, LoRA())
    assert compiled(adapted) is adapted
    wide = model_of(SHAPES["x070"])
    wide.dtype = torch.float64
    assert compiled(wide) is wide
    seven = model_of(SHAPES["x070"])
    monkeypatch.setattr("eyas.generation.compiled.library", lambda: None)
    assert compiled(seven) is seven
