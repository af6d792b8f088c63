"""State files against the `rwkv` package, and what is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from peer import rwkv_logits
from safetensors.torch import save_file
from tolerance import LOGITS
from torch import Tensor
from weights import SHAPES, random_weights, write_model

from eyas.adapters import LoRA, State, describe, save_adapter
from eyas.chat.state_file import begin_with, read_state
from eyas.errors import UserError
from eyas.models import Model, load

TOKENS = torch.arange(60, 90).tolist()

# Layer i's state is state[3 i + 1] there: [H, value, key] in RWKV-7.
_RWKV7 = """
import sys, torch
from rwkv.model import RWKV
path, out = sys.argv[1:]
model = RWKV(model=path + "/m", strategy="cpu fp32")
state = model.generate_zero_state()
for name, tensor in torch.load(path + "/state.pth").items():
    state[3 * int(name.split(".")[1]) + 1] = tensor.float()
torch.save(model.forward(eval(out), state, full_output=True)[0], path + "/logits.pt")
"""


def states(version: str) -> dict[str, Tensor]:
    shape, generator = SHAPES[version], torch.Generator().manual_seed(5)
    size = (shape.num_heads, shape.head_size, shape.head_size)
    return {
        f"blocks.{i}.att.time_state": torch.randn(size, generator=generator)
        for i in range(shape.num_layers)
    }


@torch.no_grad()
def logits(model: Model) -> Tensor:
    return model(torch.tensor([TOKENS]))[0][0]


def begun(version: str, folder: Path, file: Path) -> Model:
    model = load(write_model(folder / "m.pth", version))
    begin_with(model, read_state(file)[0], file)
    return model


def test_rwkv_5_and_6_begin_as_in_the_rwkv_package(tmp_path: Path) -> None:
    # The package takes a time_state that lies in the model's file.
    paths = {version: tmp_path / f"{version}.pth" for version in ("x052", "x060")}
    for version, path in paths.items():
        torch.save(random_weights(SHAPES[version]) | states(version), path)
    theirs = rwkv_logits(list(paths.values()), TOKENS, "x060", tmp_path)
    for version, (whole, _) in zip(paths, theirs, strict=True):
        torch.save(states(version), tmp_path / "state.pth")
        ours = logits(begun(version, tmp_path, tmp_path / "state.pth"))
        assert (ours - whole).abs().max() / whole.std() <= LOGITS


def test_rwkv_7_begins_as_in_the_rwkv_package(tmp_path: Path) -> None:
    torch.save(states("x070"), tmp_path / "state.pth")
    ours = logits(begun("x070", tmp_path, tmp_path / "state.pth"))
    switches = {"RWKV_JIT_ON": "0", "RWKV_V7_ON": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _RWKV7, str(tmp_path), str(TOKENS)]
    done = subprocess.run(command, env={**os.environ, **switches}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = torch.load(tmp_path / "logits.pt").float()
    assert (ours - theirs).abs().max() / theirs.std() <= LOGITS
    assert (ours - logits(load(tmp_path / "m.pth"))).abs().max() / theirs.std() > 0.1


def test_other_forms_hold_the_same_state(tmp_path: Path) -> None:
    given = states("x070")
    torch.save(given, tmp_path / "s.pth")
    expected = logits(begun("x070", tmp_path, tmp_path / "s.pth"))
    swapped = {name: tensor.transpose(1, 2).contiguous() for name, tensor in given.items()}
    for name in ("s.st", "s.state"):
        save_file(swapped, tmp_path / name)
        assert torch.equal(logits(begun("x070", tmp_path, tmp_path / name)), expected)

    trained = load(tmp_path / "m.pth")
    State().attach(trained)
    for name, tensor in given.items():
        trained.get_parameter(name).data.copy_(tensor)
    save_adapter(describe(trained, State(), "base", 0, 1), tmp_path / "adapter.safetensors")
    assert read_state(tmp_path / "adapter.safetensors")[1] == "base"
    own = logits(begun("x070", tmp_path, tmp_path / "adapter.safetensors"))
    assert torch.equal(own, expected)


def test_what_is_no_state(tmp_path: Path) -> None:
    model = write_model(tmp_path / "m.pth")
    with pytest.raises(UserError, match=r"m.pth: no state file \(it holds emb.weight\)"):
        read_state(model)
    (tmp_path / "s.st").write_bytes(b"x")
    with pytest.raises(UserError, match="cannot be read as a state file"):
        read_state(tmp_path / "s.st")
    save_adapter(describe(load(model), LoRA(rank=2), "base", 0, 1), tmp_path / "a.safetensors")
    with pytest.raises(UserError, match="an adapter of the method lora"):
        read_state(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("blocks.1.att.time_state"), "blocks.1.att.time_state is missing"),
        (lambda s: s.update({"blocks.9.att.time_state": torch.zeros(4, 16, 16)}), "blocks.9"),
        (
            lambda s: s.update({"blocks.0.att.time_state": torch.zeros(2, 32, 32)}),
            r"is \[2, 32, 32\] and not \[4, 16, 16\]",
        ),
        (lambda s: s["blocks.0.att.time_state"].fill_(torch.nan), "holds what is no number"),
    ],
)
def test_states_that_do_not_fit(change, said: str, tmp_path: Path) -> None:
    model, given = load(write_model(tmp_path / "m.pth")), states("x070")
    change(given)
    with pytest.raises(UserError, match=said):
        begin_with(model, given, tmp_path / "s.pth")
    assert not hasattr(model.layers()[0].att, "time_state")
