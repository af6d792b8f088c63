"""What a run's memory is said to be follows from what the real model holds and keeps."""

from dataclasses import replace

import pytest
import torch
from methods import SMALL, combined, ids
from torch.autograd.graph import saved_tensors_hooks
from weights import SHAPES, write_model

from eyas.adapters import Full, LoRA, PiSSA, adapter_tensors, attach
from eyas.data import BatchConfig
from eyas.models import create, load
from eyas.quant import FrozenConfig
from eyas.training.activations import kept_by_block
from eyas.training.fitting import advice
from eyas.training.loop import LoopConfig
from eyas.training.memory import Plan

CASES = combined(SMALL)
LARGE = replace(SHAPES["x070"], num_layers=12, width=512, num_heads=8, ffn_width=2048)
PLAN = Plan(LARGE, torch.float32, torch.float32, PiSSA(rank=8), batch=BatchConfig(512, 4))


@pytest.mark.parametrize(("method", "quant"), CASES, ids=ids(CASES))
def test_what_is_held(tmp_path, method, quant):
    frozen = FrozenConfig(quant=quant)
    model = load(write_model(tmp_path / "m.pth", "x070", torch.bfloat16))
    attach(model, method, frozen=frozen)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    plan = Plan(SHAPES["x070"], torch.bfloat16, torch.float32, method, frozen=frozen)
    parts = plan.parts()
    weights = sum(p.nbytes for p in model.parameters() if not p.requires_grad)
    assert parts["weights"] == pytest.approx(weights, rel=1e-3)
    assert parts["adapter"] == sum(t.nbytes for t in adapter_tensors(model).values())
    assert (parts["gradients"], parts["optimizer"]) == (4 * trained, 8 * trained)


@pytest.mark.parametrize("version", SHAPES)
def test_what_a_block_keeps_is_known_of_other_widths(version):
    """Counted here on the model itself: the difference that one more block makes."""
    shape = replace(SHAPES[version], num_layers=3, width=192, num_heads=12, ffn_width=320)
    model = create(shape, 0)
    attach(model, LoRA(rank=4))

    def kept(length):
        storages = {}
        own = {t.untyped_storage().data_ptr() for t in model.parameters()}

        def pack(tensor):
            storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        with saved_tensors_hooks(pack, lambda t: t):
            hidden = model.hidden(torch.zeros(1, length, dtype=torch.int64))
        del hidden
        return sum(t.untyped_storage().nbytes() for p, t in storages.items() if p not in own)

    three = kept(256) - kept(128)
    model.blocks = model.blocks[:2]
    expected = three - (kept(256) - kept(128))
    found = kept_by_block(shape, torch.float32, LoRA(rank=4)).bytes_of(shape, 128)
    assert found == pytest.approx(expected, rel=1e-6)


def test_settings_change_what_they_should():
    whole, total = PLAN.parts(), PLAN.total()
    assert PLAN.changed(ctx=256).parts()["activations"] < whole["activations"]
    assert PLAN.changed(micro_batch=8).total() > total
    assert PLAN.changed(recompute=True).total() < total
    chunked = PLAN.changed(ctx=4096, chunk=512)
    assert chunked.parts()["activations"] == whole["activations"]
    heads = LARGE.head_size
    state = 4 * 12 * (512 * heads + 2 * 512) * 4  # rows, layers, numbers, bytes
    assert chunked.parts()["states"] == 8 * state
    quantized = PLAN.changed(quant="nf4").parts()
    assert quantized["weights"] < 0.3 * whole["weights"]
    short = replace(PLAN, longest=100)
    assert short.parts()["activations"] < whole["activations"] / 5


def test_advice_is_empty_where_it_fits():
    assert advice(PLAN, PLAN.total()) == []


def test_advice_names_each_change_that_helps():
    found = advice(PLAN, PLAN.total() - 2**20)
    typed = [change.typed[0] for change in found]
    assert typed[:2] == ["--micro-batch 1 --accumulate 4", "--recompute"]
    assert {"--storage bf16", "--quant nf4", "--ctx 256"} <= set(typed)
    assert all(change.needed < PLAN.total() for change in found)
    assert found[0].needed == PLAN.changed(micro_batch=1).total()
    assert "fits" in found[0].line(PLAN.total())


def test_advice_takes_changes_together_where_none_is_enough():
    best = min(change.needed for change in advice(PLAN, PLAN.total() - 1))
    found = advice(PLAN, best - 2**20)
    assert len(found[-1].typed) > 1
    assert found[-1].needed < best
    assert found[-1].needed == found[-1].plan.total()


def test_all_that_can_be_done_is_told_where_it_is_too_little():
    found = advice(replace(PLAN, method=Full()), 2**20)
    assert found[-1].line(2**20).endswith("does not fit")


def test_the_type_of_the_head_counts():
    shape, batch = replace(LARGE, vocab_size=65536), BatchConfig(128)
    wide = replace(PLAN, shape=shape, batch=batch, loop=LoopConfig(recompute=True))
    same = replace(wide, stored=torch.float32).parts()["workspace"]
    assert replace(wide, stored=torch.bfloat16).parts()["workspace"] == same + 65536 * 512 * 4
