"""Models and whole steps on a GPU are as on the CPU."""

import dataclasses

import pytest
import torch
from runs import a_run
from tolerance import LOGITS
from weights import SHAPES, write_model

import eyas
from eyas import wkv
from eyas.adapters import LoRA, PiSSA
from eyas.generation.graphs import TokenGraph, with_graph
from eyas.quant import FrozenConfig, place, quantize_frozen
from eyas.run import prepare, train
from eyas.settings import Run
from eyas.training.engine import EngineConfig
from eyas.training.events import Step

GPU = torch.device("cuda", 0)
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
needs_fla = pytest.mark.skipif(not wkv.fla.installed(), reason="needs fla-core and triton")
TOKENS = torch.arange(64)[None] % 256


def assert_alike(found: torch.Tensor, right: torch.Tensor) -> None:
    assert (found.cpu() - right).abs().max() / right.std() <= LOGITS


@pytest.fixture(params=SHAPES)
def path(request, tmp_path):
    return write_model(tmp_path / "m.pth", request.param)


@torch.inference_mode()
@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
def test_logits_of_whole_sequences(path, quant):
    model, moved = eyas.load(path), eyas.load(path, wkv.chunked)
    frozen = FrozenConfig(quant=quant, quant_head=quant != "none", embedding_on_cpu=True)
    quantize_frozen(model, frozen)
    quantize_frozen(moved, frozen, GPU)
    place(moved, frozen, GPU)
    assert_alike(moved(TOKENS)[0], model(TOKENS)[0])


@needs_fla
@torch.inference_mode()
def test_logits_by_fla_in_pieces(path):
    """Short ones go to its recurrent kernels, which are exact in float32."""
    model, moved = eyas.load(path), eyas.load(path, wkv.fla).to(GPU)
    state, found = None, []
    for part in TOKENS.split([30, 1, 31, 2], 1):
        logits, state = moved(part, state)
        found.append(logits)
    assert_alike(torch.cat(found, 1), model(TOKENS)[0])


@needs_fla
@torch.inference_mode()
@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
def test_single_tokens_by_a_graph(path, quant):
    model = eyas.load(path, wkv.fla).to(GPU)
    quantize_frozen(model, FrozenConfig(quant=quant), GPU)
    graph = with_graph(model)
    assert isinstance(graph, TokenGraph)
    state = same = None
    for token in TOKENS[:, :9].to(GPU).unbind(1):
        right, state = model(token[None], state)
        found, same = graph(token[None], same)
        assert_alike(found, right.cpu())


def losses(run: Run) -> list[Step]:
    return [event for event in train(prepare(run)) if isinstance(event, Step)]


@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
@pytest.mark.parametrize("lean", [False, True])
def test_training_steps(tmp_path, quant, lean):
    """lean: the embedding in main memory, the head quantized, activations made again."""
    # LoRA: another device's decomposition would be another start.
    run = a_run(tmp_path, "cpu", LoRA(rank=4), steps=4, recompute=lean)
    frozen = FrozenConfig(quant=quant, quant_head=lean, embedding_on_cpu=lean)
    run = dataclasses.replace(run, frozen=frozen, precision="fp32")
    run = dataclasses.replace(run, engine=EngineConfig(accelerator="cpu"))
    gpu = dataclasses.replace(run, out=tmp_path / "gpu", engine=EngineConfig())
    for found, right in zip(losses(gpu), losses(run), strict=True):
        assert found.loss == pytest.approx(right.loss, rel=LOGITS)
        assert found.gradient_norm == pytest.approx(right.gradient_norm, rel=LOGITS)


@pytest.mark.parametrize("quant", ["none", "int8", "nf4"])
def test_training_in_bf16_learns(tmp_path, quant):
    run = a_run(tmp_path, "bf16", PiSSA(rank=4), steps=20)
    run = dataclasses.replace(run, frozen=FrozenConfig(quant=quant), precision="bf16")
    prepared = prepare(run)
    assert prepared.model.layers()[0].att.backend is wkv.fastest(GPU)
    steps = [event for event in train(prepared) if isinstance(event, Step)]
    assert steps[-1].loss < steps[0].loss
    assert steps[-1].peak_bytes > 0
