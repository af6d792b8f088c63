"""The outline of an adapted model has the tensors of the real one, by name, size and type."""

import pytest
import torch
from methods import SMALL, combined, ids
from weights import SHAPES, write_model

from eyas.adapters import LoftQ, LoRA, attach
from eyas.adapters.outline import outlined
from eyas.errors import UserError
from eyas.models import load
from eyas.quant import FrozenConfig

CASES = combined(SMALL)
PARTS = ("time", "ln")


def tensors_of(model):
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: (tuple(t.shape), t.dtype, t.requires_grad) for name, t in named}


@pytest.mark.parametrize(("method", "quant"), CASES, ids=ids(CASES))
@pytest.mark.parametrize("version", SHAPES)
def test_it_is_what_attach_makes(tmp_path, version, method, quant):
    frozen = FrozenConfig(quant=quant, quant_head=method.name != "full")
    model = load(write_model(tmp_path / "m.pth", version, torch.bfloat16))
    attach(model, method, train_parts=PARTS, frozen=frozen)
    outline = outlined(SHAPES[version], torch.bfloat16, method, PARTS, (), frozen)
    found, expected = tensors_of(outline), tensors_of(model)
    assert found.keys() == expected.keys()
    for name, (size, *rest) in expected.items():
        assert found[name][1:] == tuple(rest), name
        if "maxima" in name or "scales" in name or "codes" in name:  # of blocks of blocks, rounded
            assert abs(found[name][0][0] - size[0]) <= 2, name
        else:
            assert found[name][0] == size, name


def test_chosen_linears(tmp_path):
    model = load(write_model(tmp_path / "m.pth", "x070", torch.bfloat16))
    attach(model, LoRA(rank=4), targets=("att.key",))
    outline = outlined(SHAPES["x070"], torch.bfloat16, LoRA(rank=4), (), ("att.key",))
    assert tensors_of(outline) == tensors_of(model)


@pytest.mark.parametrize(
    ("method", "told"), [(LoRA(rank=100), "rank 100"), (LoftQ(rank=4), "--quant nf4")]
)
def test_what_does_not_fit_is_told(method, told):
    with pytest.raises(UserError, match=f"cannot adapt blocks.*{told}"):
        outlined(SHAPES["x070"], torch.bfloat16, method)
