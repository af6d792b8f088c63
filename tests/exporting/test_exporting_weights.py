"""What is written from a model in each format, read back; and one tensor at a time."""

import gc
import os
import weakref
from pathlib import Path

import pytest
import torch
from gguf import GGUFReader, dequantize
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor
from weights import SHAPES, random_weights, write_model

from eyas.data import tokenizer_for
from eyas.data.characters import Characters
from eyas.data.world import World
from eyas.errors import UserError
from eyas.exporting import gguf, hf, lora, st, state
from eyas.exporting.pth import Entry
from eyas.exporting.safetensors_file import write_safetensors
from eyas.exporting.weights import Weight, Weights, read_weights, stored
from eyas.models import Shape

BYTES = tokenizer_for(256, None, "bytes")


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return read_weights(write_model(tmp_path / "m.pth"))


def only(weights: Weights, **changed: Tensor) -> Weights:
    """The same model with other tensors, given by their names with _ for dots."""
    by_name = {w.name.replace(".", "_"): w.name for w in weights}
    new = {by_name[key]: stored(by_name[key], tensor) for key, tensor in changed.items()}
    return Weights(weights.shape, {**weights.by_name, **new})


def with_states(weights: Weights) -> Weights:
    H, N = weights.shape.num_heads, weights.shape.head_size
    states = {
        f"blocks.{i}.att.time_state": torch.randn(
            H, N, N, generator=torch.Generator().manual_seed(i)
        )
        for i in range(weights.shape.num_layers)
    }
    more = {name: stored(name, tensor) for name, tensor in states.items()}
    return Weights(weights.shape, {**weights.by_name, **more})


def test_safetensors_reads_what_is_written(tmp_path: Path) -> None:
    kinds = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
    tensors = {f"t{i}": torch.randn(i % 3 + 1, i + 1).to(kinds[i % 4]) for i in range(40)}
    tensors |= {"none": torch.zeros(0, 3), "one": torch.ones(())}
    entries = [Entry(n, tuple(t.shape), t.dtype, lambda t=t: t) for n, t in tensors.items()]
    write_safetensors(tmp_path / "x.safetensors", entries)
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}
    length = int.from_bytes((tmp_path / "x.safetensors").read_bytes()[:8], "little")
    assert length % 8 == 0


@pytest.mark.parametrize("version", list(SHAPES))
def test_st_has_every_tensor_where_web_rwkv_looks_for_it(version: str, tmp_path: Path) -> None:
    base = write_model(tmp_path / "m.pth", version)
    st.write(with_states(read_weights(base)), tmp_path / "m.st")
    found, expected = load_file(tmp_path / "m.st"), torch.load(base)
    assert len(found) == len(expected) + 2
    assert {t.dtype for t in found.values()} == {torch.float16}
    att = "blocks.1.att"
    swapped = {
        "x052": {},
        "x060": {"time_mix_w1": "time_maa_w1", "time_mix_w2": "time_maa_w2"}
        | {name: name for name in ("time_decay_w1", "time_decay_w2")},
        "x070": {f"{letter}{n}": f"{letter}{n}" for letter in "wavg" for n in "12"},
    }[version]
    same = {
        "x052": {"time_first": "time_faaaa", "time_mix_k": "time_mix_k"},
        "x060": {"time_first": "time_faaaa", "time_mix_x": "time_maa_x"},
        "x070": {"r_k": "r_k", "x_r": "x_r", "w0": "w0"},
    }[version]
    for new, old in {**same, "key.weight": "key.weight"}.items():
        assert torch.equal(found[f"{att}.{new}"], expected[f"{att}.{old}"].half())
    for new, old in swapped.items():
        assert torch.equal(found[f"{att}.{new}"], expected[f"{att}.{old}"].half().mT)
    (first,) = (w for w in with_states(read_weights(base)).states if ".1." in w.name)
    assert torch.equal(found[f"{att}.time_state"], first.exact().half().mT)


def test_state_files(weights: Weights, tmp_path: Path) -> None:
    states = with_states(weights).states
    state.write(reversed(states), tmp_path / "s.pth")
    state.write(states, tmp_path / "s.state")
    plain, half = torch.load(tmp_path / "s.pth"), load_file(tmp_path / "s.state")
    assert list(plain) == [f"blocks.{i}.att.time_state" for i in range(2)]
    for weight in states:
        assert torch.equal(plain[weight.name], weight.exact())
        assert torch.equal(half[weight.name], weight.exact().half().mT)
    with pytest.raises(UserError, match=r"s\.pth: holds the state of every layer, and .* has 1"):
        state.write(states[1:], tmp_path / "s.pth")


def test_lora_file(tmp_path: Path) -> None:
    base = {"blocks.0.att.w1": torch.randn(8, 4), "blocks.0.ln1.weight": torch.ones(8)}
    trained = {"blocks.0.att.w1": torch.randn(8, 4), "blocks.0.ln1.weight": torch.randn(8)}
    A, B = torch.randn(3, 8), torch.randn(6, 3)
    alpha = lora.write({"blocks.0.att.key": (A, B)}, trained, base, tmp_path / "a.lora")
    found = {name: tensor.float() for name, tensor in load_file(tmp_path / "a.lora").items()}
    x, y = found["blocks.0.att.key.lora.0"], found["blocks.0.att.key.lora.1"]
    assert x.shape[1] % 4 == 0  # web-rwkv's kernel takes four at a time
    change = alpha / x.shape[1] * y @ x.mT  # its blend_lora
    torch.testing.assert_close(change, B @ A, rtol=1e-2, atol=1e-2)
    blended = base["blocks.0.att.w1"].mT + found["blocks.0.att.w1"]  # a matrix: added
    torch.testing.assert_close(blended, trained["blocks.0.att.w1"].mT, rtol=1e-2, atol=1e-2)
    assert torch.equal(found["blocks.0.ln1.weight"], trained["blocks.0.ln1.weight"].half().float())
    with pytest.raises(UserError, match=r"takes emb\.weight from the model's file alone"):
        lora.write({}, {"emb.weight": A}, {"emb.weight": A}, tmp_path / "a.lora")


@pytest.mark.parametrize("version", ["x060", "x070"])
def test_gguf_holds_the_weights(version: str, tmp_path: Path) -> None:
    base = write_model(tmp_path / "m.pth", version)
    expected, path = torch.load(base), tmp_path / "m.gguf"
    gguf.write(read_weights(base), path, BYTES, "q8_0")
    reader = GGUFReader(path)
    found = {t.name: torch.tensor(dequantize(t.data, t.tensor_type)) for t in reader.tensors}
    for block in range(2):
        for old, new in {"att.key": "time_mix_key", "ffn.value": "channel_mix_value"}.items():
            weight = expected[f"blocks.{block}.{old}.weight"]
            off = (found[f"blk.{block}.{new}.weight"] - weight).abs().max()
            assert 0 < off <= weight.abs().max() / 127
    mixes = "wkvrg" if version == "x060" else "rwkvag"
    prefix = "time_maa_" if version == "x060" else "x_"
    stacked = torch.stack([expected[f"blocks.1.att.{prefix}{m}"][0, 0] for m in mixes])
    assert torch.equal(found["blk.1.time_mix_lerp_fused.weight"][:, 0, 0], stacked)
    assert torch.equal(found["output_norm.bias"], expected["ln_out.bias"])
    fields = {name: field.contents() for name, field in reader.fields.items()}
    arch = fields["general.architecture"]
    assert arch == {"x060": "rwkv6", "x070": "rwkv7"}[version]
    assert fields[f"{arch}.wkv.head_size"] == 16
    assert fields["tokenizer.ggml.tokens"][65] == "A"
    assert len(fields["tokenizer.ggml.tokens"]) == 256
    if version == "x070":  # what llama.cpp asks for, and has no use for
        assert torch.equal(found["blk.0.time_mix_v1.weight"], found["blk.0.time_mix_a1.weight"])


def test_gguf_halves_the_late_layers_of_rwkv6(tmp_path: Path) -> None:
    shape = Shape("x060", 8, 64, 4, 224, 256, {"mix": 8, "decay": 16})
    torch.save(expected := random_weights(shape), tmp_path / "m.pth")
    gguf.write(read_weights(tmp_path / "m.pth"), tmp_path / "m.gguf", BYTES, "f32")
    tensors = {t.name: torch.tensor(t.data) for t in GGUFReader(tmp_path / "m.gguf").tensors}
    for block, factor in ((5, 1.0), (6, 0.5)):
        weight = expected[f"blocks.{block}.att.output.weight"]
        assert torch.equal(tensors[f"blk.{block}.time_mix_output.weight"], weight * factor)


def test_hf_in_shards(weights: Weights, tmp_path: Path) -> None:
    hf.write(weights, tmp_path / "one", BYTES, torch.bfloat16)
    hf.write(weights, tmp_path / "many", None, torch.bfloat16, shard_bytes=50_000)
    whole = load_file(tmp_path / "one" / "model.safetensors")
    shards = sorted((tmp_path / "many").glob("*.safetensors"))
    assert len(shards) > 1
    together = {name: t for shard in shards for name, t in load_file(shard).items()}
    assert together.keys() == whole.keys()
    assert all(torch.equal(together[name], tensor) for name, tensor in whole.items())
    assert not (tmp_path / "many" / "tokenizer_config.json").exists()


def all_formats(weights: Weights, folder: Path) -> None:
    st.write(weights, folder / "m.st")
    gguf.write(weights, folder / "m.gguf", BYTES, "q8_0")
    hf.write(weights, folder / "hf", BYTES, torch.bfloat16)


def test_one_matrix_is_alive_at_a_time(weights: Weights, tmp_path: Path) -> None:
    alive: weakref.WeakSet[Tensor] = weakref.WeakSet()
    most = 0

    def watched(weight: Weight) -> Weight:
        def exact() -> Tensor:
            nonlocal most
            tensor = weight.exact().clone()
            if tensor.numel() > 256:
                alive.add(tensor)
                most = max(most, len(alive))
            return tensor

        return Weight(weight.name, weight.shape, weight.dtype, exact)

    all_formats(Weights(weights.shape, {w.name: watched(w) for w in weights}), tmp_path)
    gc.collect()
    assert most == 1
    assert not alive


def test_what_float16_cannot_hold(weights: Weights, tmp_path: Path) -> None:
    wide = only(weights, head_weight=torch.full((256, 64), 1e6))
    for write in (
        lambda: st.write(wide, tmp_path / "m.st"),
        lambda: gguf.write(wide, tmp_path / "m.gguf", BYTES, "f16"),
        lambda: hf.write(wide, tmp_path / "hf", None, torch.float16),
    ):
        with pytest.raises(UserError, match=r"(head|output)\.weight has values .*float16 cannot"):
            write()
    broken = only(weights, head_weight=torch.full((256, 64), torch.nan))
    with pytest.raises(UserError, match=r"head\.weight holds NaN or inf"):
        st.write(broken, tmp_path / "m.st")
    assert os.listdir(tmp_path) == ["m.pth"]


def test_what_a_format_has_no_place_for(weights: Weights, tmp_path: Path) -> None:
    tuned, old = with_states(weights), read_weights(write_model(tmp_path / "o.pth", "x052"))
    characters = Characters.of(["abc"])
    refusals = {
        "GGUF has no place for the initial state": lambda: gguf.write(
            tuned, tmp_path / "m.gguf", BYTES
        ),
        "transformers has no place for the initial state": lambda: hf.write(
            tuned, tmp_path / "hf", BYTES
        ),
        "llama.cpp runs RWKV-6 and RWKV-7, and this model is x052": lambda: gguf.write(
            old, tmp_path / "m.gguf", BYTES
        ),
        "are for RWKV-7, and this model is x052": lambda: hf.write(old, tmp_path / "hf", BYTES),
        "--dtype q4_k_m: is none of f32": lambda: gguf.write(
            weights, tmp_path / "m.gguf", BYTES, "q4_k_m"
        ),
        "tokenizer is 'characters'": lambda: gguf.write(weights, tmp_path / "m.gguf", characters),
        "has the token 65529, and the model 256 rows": lambda: gguf.write(
            weights, tmp_path / "m.gguf", World()
        ),
    }
    for said, write in refusals.items():
        with pytest.raises(UserError) as told:
            write()
        assert said in str(told.value)
    assert sorted(os.listdir(tmp_path)) == ["m.pth", "o.pth"]
