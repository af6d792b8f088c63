"""Files as RWKV-PEFT writes them, made here by hand, merge to the weights of its formulas."""

import numpy as np
import pytest
import torch
from tolerance import assert_close
from weights import write_model

from eyas.adapters import (
    Bat,
    LoftQ,
    LoRA,
    MiSS,
    OLoRA,
    PiSSA,
    State,
    load_adapter,
)
from eyas.errors import UserError
from eyas.exporting.pth import write_pth
from eyas.interop import rwkv_peft_write
from eyas.interop.convert import convert
from eyas.merging import merge
from eyas.models import read_tensors

PREFIXES = pytest.mark.parametrize("prefix", ["", "model."])


@pytest.fixture
def base(tmp_path):
    return write_model(tmp_path / "base.pth", dtype=torch.bfloat16)


def linears(path):
    """The weights that have an adapter, in float64."""
    found = read_tensors(path).items()
    return {
        name.removesuffix(".weight"): tensor.double().numpy()
        for name, tensor in found
        if name.startswith("blocks") and name.endswith(".weight") and tensor.dim() == 2
    }


def draw(*shape, size=0.1):
    """Numbers that bf16 can hold."""
    return (size * torch.randn(shape)).bfloat16()


def write(path, tensors, prefix):
    torch.save({prefix + name: tensor for name, tensor in tensors.items()}, path)
    return path


def merged(folder, source, base, **given):
    """The weights after `eyas convert` and `eyas merge`."""
    convert(source, folder / "a.safetensors", base=base, **given)
    merge(base, load_adapter(folder / "a.safetensors"), folder / "out.pth", torch.float32)
    return read_tensors(folder / "out.pth")


def assert_weights(found, expected):
    for name, weight in expected.items():
        assert_close(found[f"{name}.weight"], torch.from_numpy(weight))


def numbers(tensor):
    return tensor.double().numpy()


@PREFIXES
def test_lora(base, prefix, tmp_path):
    torch.manual_seed(0)
    weights = linears(base)
    tensors = {
        f"{name}.{end}": draw(*shape)
        for name, (rows, columns) in ((n, w.shape) for n, w in weights.items())
        for end, shape in (("lora_A", (4, columns)), ("lora_B", (rows, 4)))
    }
    norm = {"blocks.1.ln1.weight": draw(64), "blocks.0.att.x_r": draw(1, 1, 64)}
    source = write(tmp_path / "rwkv-3.pth", {**tensors, **norm}, prefix)
    found = merged(tmp_path, source, base, alpha=6.0)
    assert_weights(
        found,
        {
            n: w + 6 / 4 * numbers(tensors[f"{n}.lora_B"]) @ numbers(tensors[f"{n}.lora_A"])
            for n, w in weights.items()
        },
    )
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in norm.items())


def pissa_files(folder, base, prefix="", size=0.02):
    """rwkv-0.pth and init_pissa.pth, and the weights that they stand for."""
    torch.manual_seed(0)
    start, trained, expected = {}, {}, {}
    for name, weight in linears(base).items():
        U, S, V = np.linalg.svd(weight)
        pair = (S[:4, None] ** 0.5 * V[:4], U[:, :4] * S[:4] ** 0.5)
        A0, B0 = (torch.from_numpy(factor).float() for factor in pair)
        A, B = ((t + size * torch.randn(t.shape)).bfloat16() for t in (A0, B0))
        start |= {f"{name}.init_lora_A": A0, f"{name}.init_lora_B": B0}
        trained |= {f"{name}.lora_A": A, f"{name}.lora_B": B}
        expected[name] = weight - numbers(B0) @ numbers(A0) + numbers(B) @ numbers(A)
    write(folder / "init_pissa.pth", start, prefix)
    return write(folder / "rwkv-0.pth", trained, prefix), folder / "init_pissa.pth", expected


@PREFIXES
def test_pissa(base, prefix, tmp_path):
    source, start, expected = pissa_files(tmp_path, base, prefix)
    assert_weights(merged(tmp_path, source, base, start=start), expected)
    assert load_adapter(tmp_path / "a.safetensors").method == PiSSA(rank=4)


@PREFIXES
@pytest.mark.parametrize("end", ["bone", "disha"])
@pytest.mark.parametrize("rank", [4, 5])  # 5 leaves a shorter piece at the end
def test_bone(base, prefix, end, rank, tmp_path):
    torch.manual_seed(0)
    weights = linears(base)
    tensors = {f"{name}.{end}": draw(rank, len(w)) for name, w in weights.items()}
    source = write(tmp_path / "rwkv-0.pth", tensors, prefix)
    expected = {}
    for name, weight in weights.items():
        D, changed = numbers(tensors[f"{name}.{end}"]), weight.copy()
        for first in range(0, weight.shape[1], rank):
            piece = changed[:, first : first + rank]
            piece += D[: piece.shape[1]].T
        expected[name] = changed
    assert_weights(merged(tmp_path, source, base), expected)


@PREFIXES
@pytest.mark.parametrize("end", ["bone", "disha"])
def test_bat(base, prefix, end, tmp_path):
    torch.manual_seed(0)
    weights = linears(base)
    tensors = {f"{n}.{end}": draw(w.shape[1] // 8, 8, 8) for n, w in weights.items()}
    source = write(tmp_path / "rwkv-0.pth", tensors, prefix)
    expected = {}
    for name, weight in weights.items():
        tiles = weight.reshape(len(weight) // 8, 8, -1, 8).transpose(0, 2, 1, 3)
        D = numbers(tensors[f"{name}.{end}"])
        tiles = tiles + tiles @ D + D  # [a, b, r, r] with [b, r, r]: by the input
        expected[name] = tiles.transpose(0, 2, 1, 3).reshape(weight.shape)
    assert_weights(merged(tmp_path, source, base), expected)
    assert load_adapter(tmp_path / "a.safetensors").method == Bat(rank=8, blocks="in")


@PREFIXES
def test_state(base, prefix, tmp_path):
    states = {f"blocks.{i}.att.time_state": draw(4, 16, 16) for i in range(2)}
    found = merged(tmp_path, write(tmp_path / "rwkv-0.pth", states, prefix), base)
    assert all(torch.equal(found[name], tensor.float()) for name, tensor in states.items())


@pytest.mark.parametrize(
    ("method", "back"),
    [
        (PiSSA(rank=4), {"start": "init_pissa.pth"}),
        (LoRA(rank=4, alpha=6.0), {"alpha": 6.0}),
        (LoRA(rank=4), {"alpha": 4.0}),
        (MiSS(rank=5), {}),
        (Bat(rank=8), {}),
        (State(), {}),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_there_and_back_keeps_every_bit(own_adapter, base, method, back, tmp_path):
    parts = () if method == State() else ("time", "ln")
    _, own = own_adapter(base, method, parts=parts)
    done = convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth")
    assert list(done.paths) == sorted(set(tmp_path.glob("*.pth")) - {base}, reverse=True)
    if "alpha" in back:
        assert f"--lora_alpha {back['alpha']:.0f}" in done.notes[0]
    if "start" in back:
        back = {"start": tmp_path / back["start"]}
    convert(tmp_path / "rwkv-0.pth", tmp_path / "again.safetensors", base=base, **back)
    again = load_adapter(tmp_path / "again.safetensors")
    assert getattr(again.method, "scale", 1) == getattr(method, "scale", 1)
    assert (again.base, again.shape, type(again.method)) == (own.base, own.shape, type(method))
    assert again.tensors.keys() == own.tensors.keys()
    assert all(torch.equal(again.tensors[name], own.tensors[name]) for name in own.tensors)


@pytest.mark.parametrize("method", [PiSSA(rank=4), OLoRA(rank=4)], ids=lambda m: m.name)
def test_its_merge_of_our_files_gives_our_weights(own_adapter, base, method, tmp_path):
    _, adapter = own_adapter(base, method)
    convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth")
    theirs, start = (torch.load(tmp_path / name) for name in ("rwkv-0.pth", "init_pissa.pth"))
    merge(base, adapter, tmp_path / "out.pth", torch.float32)
    found = read_tensors(tmp_path / "out.pth")
    expected = {}
    for name, weight in linears(base).items():  # as its merge.py has it
        A, B = (numbers(theirs[f"{name}.lora_{x}"]) for x in "AB")
        A0, B0 = (numbers(start[f"model.{name}.init_lora_{x}"]) for x in "AB")
        expected[name] = weight - B0 @ A0 + B @ A
    assert_weights(found, expected)


def test_a_scale_that_is_no_whole_alpha_goes_into_the_factors(own_adapter, base, tmp_path):
    _, adapter = own_adapter(base, LoRA(rank=8, alpha=6.0, rslora=True))
    done = convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth")
    assert "--lora_alpha 8" in done.notes[0]
    merge(base, adapter, tmp_path / "out.pth", torch.float32)
    found = merged(tmp_path, tmp_path / "rwkv-0.pth", base, alpha=8.0)
    assert_weights(found, {n: numbers(read_tensors(tmp_path / "out.pth")[f"{n}.weight"])
                           for n in linears(base)})  # fmt: skip


def test_bf16_where_it_is_asked_for(own_adapter, base, tmp_path):
    _, own = own_adapter(base, PiSSA(rank=4))
    done = convert(tmp_path / "own.safetensors", tmp_path / "r.pth", dtype=torch.bfloat16)
    assert "fp32 keeps it" in done.notes[-1]
    assert all(
        torch.equal(tensor, own.tensors[name].bfloat16())
        for name, tensor in torch.load(tmp_path / "r.pth").items()
    )
    start = torch.load(tmp_path / "init_pissa.pth")
    assert {tensor.dtype for tensor in start.values()} == {torch.float32}


@pytest.mark.parametrize(
    ("method", "quant", "parts", "said"),
    [
        (Bat(rank=8, blocks="out"), "none", (), "along the input"),
        (PiSSA(rank=4), "nf4", (), "--as-lora"),
        (LoftQ(rank=4), "nf4", (), "--as-lora"),
        (State(), "none", ("ln",), "a state file holds states and nothing else"),
    ],
)
def test_what_the_format_has_no_place_for(own_adapter, base, method, quant, parts, said, tmp_path):
    own_adapter(base, method, quant, parts)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError, match=f"{said}.*eyas merge"):
        convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth")
    assert sorted(tmp_path.iterdir()) == before


def refused(folder, source, base, said, **given):
    before = sorted(folder.iterdir())
    with pytest.raises(UserError, match=said) as caught:
        convert(source, folder / "a.safetensors", base=base, **given)
    assert "\n" not in str(caught.value)
    assert sorted(folder.iterdir()) == before


def test_pissa_or_lora_has_to_be_said(base, tmp_path):
    source, start, _ = pissa_files(tmp_path, base)
    refused(tmp_path, source, base, r"--init init_pissa\.pth of its run \(.*beside it\).*--alpha")
    refused(tmp_path, source, base, "one of them", start=start, alpha=4.0)
    refused(tmp_path, source, base, "is PiSSA's and no LoRA", alpha=4.0)
    refused(tmp_path, source, base, "no such file", start=tmp_path / "nowhere.pth")
    refused(tmp_path, source, base, "--init is init_pissa.pth", start=source)
    refused(tmp_path, start, base, "give its rwkv-N.pth")


def test_another_base_is_noticed(base, tmp_path):
    source, start, _ = pissa_files(tmp_path, base)
    other = write_model(tmp_path / "other.pth", seed=1)
    refused(tmp_path, source, other, "no part of the weights of .*other.pth", start=start)
    six = write_model(tmp_path / "six.pth", "x060")
    refused(tmp_path, source, six, r"does not fit .*six.pth \(x060.*lora_A \[4, 256\]", start=start)


def test_a_start_of_another_run_is_noticed(base, tmp_path):
    source, start, _ = pissa_files(tmp_path, base)
    tensors = torch.load(start)
    fewer = {name: tensor for name, tensor in tensors.items() if "ffn.key" not in name}
    write(start, fewer, "")
    refused(tmp_path, source, base, r"another run, as blocks\.0\.ffn\.key", start=start)
    write(start, {n: t[:3] if n.endswith("A") else t[:, :3] for n, t in tensors.items()}, "")
    refused(tmp_path, source, base, r"lora_A0 \[3, 64\] where a weight", start=start)


def test_all_that_does_not_fit_is_named(base, tmp_path):
    tensors = {
        "blocks.0.att.key.disha": draw(4, 64),
        "blocks.0.att.value.disha": draw(4, 65),
        "blocks.7.att.key.disha": draw(4, 64),
        "blocks.0.att.lerp": draw(64),
        "blocks.0.att.x_r": draw(64),
    }
    source = write(tmp_path / "rwkv-0.pth", tensors, "")
    for said in (
        r"att\.value has miss_D \[4, 65\] where a weight \[64, 64\] has \[4, 64\]",
        r"blocks\.7\.att\.key is no linear of it",
        r"blocks\.0\.att\.lerp is no tensor of it",
        r"blocks\.0\.att\.x_r is \[64\] and not \[1, 1, 64\]",
    ):
        refused(tmp_path, source, base, said)
    broken = {"blocks.0.ln1.bias": torch.full((64,), torch.nan)}
    write(source, {"blocks.0.att.key.disha": draw(4, 64), **broken}, "")
    refused(tmp_path, source, base, r"blocks\.0\.ln1\.bias holds NaN")


@pytest.mark.parametrize("shape", [(256, 4), (64, 4, 4)])
def test_bone_of_the_first_months_is_refused(base, shape, tmp_path):
    source = write(tmp_path / "rwkv-0.pth", {"blocks.0.ffn.key.bone": draw(*shape)}, "")
    refused(tmp_path, source, base, "before September 2024")


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"blocks.0.att.key.bone": draw(5, 5, 5)}, "tiles of side 5 do not cut"),
        ({"blocks.0.att.key.lora_A": draw(4, 64)}, "may be LoRA or PiSSA"),
        ({"blocks.0.att.time_state": draw(4, 16, 16)}, r"blocks\.1\.att\.time_state is missing"),
        ({"blocks.0.ln1.weight": draw(64)}, "is no adapter"),
        ({"emb.weight": draw(4, 4)}, "is a model and no adapter"),
        ({"base_model.model.blocks.0.att.key.lora_A.weight": draw(4, 64)}, "give the folder"),
    ],
)
def test_other_files_are_refused(base, tensors, said, tmp_path):
    refused(tmp_path, write(tmp_path / "x.pth", tensors, ""), base, said)


def test_half_a_pair_is_refused(base, tmp_path):
    source = write(tmp_path / "x.pth", {"blocks.0.att.key.lora_A": draw(4, 64)}, "")
    refused(tmp_path, source, base, r"blocks\.0\.att\.key has no lora_B", alpha=4.0)


def test_cut_short(base, tmp_path):
    source, start, _ = pissa_files(tmp_path, base)
    source.write_bytes(source.read_bytes()[:-5000])
    refused(tmp_path, source, base, "damaged or cut short", start=start)


def test_options_that_do_not_belong(own_adapter, base, tmp_path):
    source = write(tmp_path / "rwkv-0.pth", {"blocks.0.att.key.bone": draw(4, 64)}, "")
    refused(tmp_path, source, base, "--alpha is for; leave it out", alpha=4.0)
    refused(tmp_path, source, None, "give that one with --base")
    refused(tmp_path, source, base, "leave --dtype out", dtype=torch.bfloat16)
    own_adapter(base, PiSSA(rank=4))
    refused(tmp_path, tmp_path / "own.safetensors", base, "says itself what it is", alpha=4.0)
    other = write_model(tmp_path / "other.pth", seed=1)
    refused(tmp_path, tmp_path / "own.safetensors", other, "other.pth: not the model")


def test_nothing_is_overwritten_unasked(own_adapter, base, tmp_path):
    own_adapter(base, PiSSA(rank=4))
    for name in ("rwkv-0.pth", "init_pissa.pth"):
        (tmp_path / name).write_bytes(b"mine")
        with pytest.raises(UserError, match=rf"{name}: exists already; add --overwrite"):
            convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth")
        assert (tmp_path / name).read_bytes() == b"mine"
        (tmp_path / "rwkv-0.pth").unlink(missing_ok=True)
    convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth", overwrite=True)
    assert len(torch.load(tmp_path / "init_pissa.pth")) == 24


def test_both_files_or_none(own_adapter, base, monkeypatch, tmp_path):
    own_adapter(base, PiSSA(rank=4))
    before = sorted(tmp_path.iterdir())

    def stop(path, entries):
        if any("init_lora" in entry.name for entry in entries):
            raise KeyboardInterrupt
        write_pth(path, entries)

    monkeypatch.setattr(rwkv_peft_write, "write_pth", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "own.safetensors", tmp_path / "rwkv-0.pth")
    assert sorted(tmp_path.iterdir()) == before
