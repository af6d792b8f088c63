"""Folders of HF peft, judged by peft itself: it loads what we write, we read what it writes."""

import json
import warnings

import pytest
import torch
from methods import TOKENS
from safetensors.torch import load_file, save_file
from tolerance import LOGITS, assert_close
from torch import nn
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
from eyas.interop import peft_write
from eyas.interop.convert import convert
from eyas.merging import merge
from eyas.models import Linear, load, read_tensors
from eyas.quant import FrozenConfig

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from peft import LoraConfig, MissConfig, PeftModel, get_peft_model

pytestmark = pytest.mark.filterwarnings("ignore")  # peft's own
TARGETS = ["receptance", "key", "value", "output"]  # as newer RWKV-PEFT has it


@pytest.fixture
def base(tmp_path):
    return write_model(tmp_path / "base.pth")


def twin(path):
    """The model with torch's linears, which peft knows how to adapt."""
    model = load(path)
    for name, module in list(model.blocks.named_modules(prefix="blocks")):
        if isinstance(module, Linear):
            linear = nn.Linear(module.in_features, module.out_features, bias=False)
            linear.weight = nn.Parameter(module.weight.detach().clone())
            parent, _, last = name.rpartition(".")
            setattr(model.get_submodule(parent), last, linear)
    return model


@pytest.mark.parametrize(
    ("method", "lora"),
    [
        (PiSSA(rank=4), False),
        (OLoRA(rank=4), False),
        (LoRA(rank=4, alpha=6.0), False),
        (LoRA(rank=4, alpha=6.0, rslora=True), False),
        (LoRA(rank=4), True),
        (MiSS(rank=5), False),
        (MiSS(rank=5), True),
        (Bat(rank=8, blocks="out"), False),
    ],
    ids=lambda value: getattr(value, "name", value),
)
@torch.no_grad()
def test_peft_gives_our_logits(adapted_weights, own_adapter, base, method, lora, tmp_path):
    model, _ = own_adapter(base, method)
    convert(tmp_path / "own.safetensors", tmp_path / "hf", base=base, lora=lora)
    theirs = PeftModel.from_pretrained(twin(base), tmp_path / "hf").eval()
    expected, found = model(TOKENS)[0], theirs(TOKENS)[0]
    assert (found - expected).abs().max() / expected.std() <= LOGITS
    assert (found - load(base)(TOKENS)[0]).abs().max() / expected.std() > 100 * LOGITS
    plain = lora or not isinstance(method, (MiSS, Bat))
    kind = json.loads((tmp_path / "hf" / "adapter_config.json").read_text())["peft_type"]
    assert kind == ("LORA" if plain else "MISS")
    assert_merged(theirs, adapted_weights(base, "own.safetensors"))


def assert_merged(theirs, ours):
    """peft's merged weights are ours."""
    merged = theirs.merge_and_unload().state_dict()
    assert merged.keys() == ours.keys()
    for name, weight in ours.items():
        assert_close(weight, merged[name])


def trained(model, scale=0.3):
    """Moves everything that trains, as training would."""
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += scale * torch.randn_like(parameter)
    return model


LORA = {"r": 4, "lora_alpha": 6, "target_modules": TARGETS}
MISS = {"r": 8, "target_modules": ["att.key", "ffn.key", "ffn.value"]}
CONFIGS = {
    "alpha": LoraConfig(**LORA),
    "rslora": LoraConfig(**LORA, use_rslora=True),
    "dropout": LoraConfig(**LORA, lora_dropout=0.1),
    "gaussian": LoraConfig(**LORA, init_lora_weights="gaussian"),
    "patterns": LoraConfig(
        **LORA,
        rank_pattern={"att.key": 2, r"blocks\.1\.ffn\.value": 8},
        alpha_pattern={"key": 3, "blocks.0.att.output": 1},
    ),
    "patterns-rslora": LoraConfig(**LORA, use_rslora=True, rank_pattern={"att.key": 2}),
    "modules": LoraConfig(**LORA, modules_to_save=["ln_out", "head", "att.ln_x"]),
    "bias": LoraConfig(**LORA, bias="all"),
    "miss": MissConfig(**MISS),
    "miss-5": MissConfig(**{**MISS, "r": 5}, init_weights=False),
    "bat": MissConfig(**MISS, init_weights="bat"),
    "mini": MissConfig(**MISS, mini_r=16, init_weights="mini"),
}


def saved(folder, base, config, scale=0.3):
    model = trained(get_peft_model(twin(base), config), scale)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize(
    ("name", "version"),
    [*((name, "x070") for name in CONFIGS), *((name, "x060") for name in ("alpha", "miss", "bat"))],
)
def test_what_peft_saved_merges_to_its_weights(adapted_weights, name, version, tmp_path):
    base = write_model(tmp_path / "base.pth", version)
    theirs = saved(tmp_path / "hf", base, CONFIGS[name])
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base)
    assert_merged(theirs, adapted_weights(base, "a.safetensors"))


@pytest.mark.parametrize("kind", ["pissa", "pissa_niter_4", "olora"])
@pytest.mark.parametrize("converted", [False, True])
def test_peft_pissa(adapted_weights, base, kind, converted, tmp_path):
    config = {**LORA, "init_lora_weights": kind}
    theirs = get_peft_model(twin(base), LoraConfig(**config))
    theirs.peft_config["default"].init_lora_weights = True  # as peft's guide has it
    theirs.save_pretrained(tmp_path / "start")
    theirs.peft_config["default"].init_lora_weights = kind
    trained(theirs, 0.02)
    given = {} if converted else {"start": tmp_path / "start"}
    how = {"path_initial_model_for_weight_conversion": str(tmp_path / "start")} if converted else {}
    theirs.save_pretrained(tmp_path / "hf", **how)
    if converted:  # that changes the model's own settings
        theirs.peft_config["default"].r = 4
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base, **given)
    name = load_adapter(tmp_path / "a.safetensors").method.name
    assert name == ("lora" if converted else kind.split("_")[0])
    assert_merged(theirs, adapted_weights(base, "a.safetensors"))


def test_the_start_of_other_kinds_gives_a_lora(adapted_weights, base, tmp_path):
    """Where the start is no part of the weights, as with LoRA-GA's: the form is all the same."""
    theirs, start = (get_peft_model(twin(base), LoraConfig(**LORA)) for _ in range(2))
    trained(start).save_pretrained(tmp_path / "start")
    theirs.load_state_dict(start.state_dict())
    weights = {n: t.clone() for n, t in read_tensors(base).items()}
    trained(theirs, 0.02).save_pretrained(tmp_path / "hf")
    change_config(tmp_path / "hf", init_lora_weights="lora_ga")
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base, start=tmp_path / "start")
    assert load_adapter(tmp_path / "a.safetensors").method == LoRA(rank=8)
    ours = adapted_weights(base, "a.safetensors")
    before, after = (m.merge_and_unload().state_dict() for m in (start, theirs))
    for name, weight in weights.items():
        assert_close(ours[name], weight + after[name] - before[name])


def change_config(folder, **settings):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))


def rename(folder, change):
    path = folder / "adapter_model.safetensors"
    save_file({change(name): t for name, t in load_file(path).items()}, path)


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: rename(folder, lambda n: n.replace("model.blocks", "model.model.blocks")),
        lambda folder: rename(folder, lambda n: n.removeprefix("base_model.model.")),
        lambda folder: (
            torch.save(
                load_file(folder / "adapter_model.safetensors"), folder / "adapter_model.bin"
            )
            or (folder / "adapter_model.safetensors").unlink()
        ),
    ],
    ids=["wrapped", "bare", "bin"],
)
def test_other_spellings(base, change, tmp_path):
    saved(tmp_path / "hf", base, CONFIGS["alpha"])
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base)
    change(tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "b.safetensors", base=base)
    assert_same(load_adapter(tmp_path / "a.safetensors"), load_adapter(tmp_path / "b.safetensors"))


@pytest.mark.parametrize("mode", ["miss", "bat"])
def test_bone_is_what_miss_was_called(base, mode, tmp_path):
    saved(tmp_path / "hf", base, CONFIGS[mode])
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base)
    change_config(tmp_path / "hf", peft_type="BONE")
    rename(tmp_path / "hf", lambda name: name.replace("miss_block", "bone_block"))
    convert(tmp_path / "hf", tmp_path / "b.safetensors", base=base)
    assert_same(load_adapter(tmp_path / "a.safetensors"), load_adapter(tmp_path / "b.safetensors"))


def assert_same(one, other):
    assert (one.method, one.base, one.shape) == (other.method, other.base, other.shape)
    assert one.tensors.keys() == other.tensors.keys()
    assert all(torch.equal(one.tensors[name], other.tensors[name]) for name in one.tensors)


@pytest.mark.parametrize(
    "method",
    [
        LoRA(rank=4, alpha=6.0, dropout=0.1, rslora=True),
        MiSS(rank=5),
        Bat(rank=8, blocks="out"),
    ],
    ids=lambda method: method.name,
)
def test_there_and_back_keeps_every_bit(own_adapter, base, method, tmp_path):
    _, own = own_adapter(base, method)
    convert(tmp_path / "own.safetensors", tmp_path / "hf")
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base)
    again = load_adapter(tmp_path / "a.safetensors")
    assert_same(own, again)


def test_layers_of_different_ranks_come_back(adapted_weights, base, tmp_path):
    saved(tmp_path / "hf", base, CONFIGS["patterns"])
    convert(tmp_path / "hf", tmp_path / "a.safetensors", base=base)
    convert(tmp_path / "a.safetensors", tmp_path / "again")
    theirs = PeftModel.from_pretrained(twin(base), tmp_path / "again")
    assert_merged(theirs, adapted_weights(base, "a.safetensors"))
    with pytest.raises(UserError, match=r"knows one rank, the layers have 2, 4, 8; .*eyas merge"):
        convert(tmp_path / "a.safetensors", tmp_path / "rwkv-0.pth")


@pytest.mark.parametrize("method", [PiSSA(rank=4), LoftQ(rank=4)], ids=lambda m: m.name)
def test_over_a_quantized_base_the_change_goes_over_the_start(own_adapter, base, method, tmp_path):
    model, own = own_adapter(base, method, "nf4")
    done = convert(tmp_path / "own.safetensors", tmp_path / "a.safetensors", lora=True)
    assert "quantized to nf4" in done.notes[0]
    made = load_adapter(tmp_path / "a.safetensors")
    assert (made.method, made.frozen, made.base) == (LoRA(rank=8), FrozenConfig(), own.base)
    for name in ("blocks.0.att.key", "blocks.1.ffn.value"):
        A, B, A0, B0 = (own.tensors[f"{name}.lora_{end}"] for end in ("A", "B", "A0", "B0"))
        layer = model.get_submodule(name)
        trained_weight = layer.base.dense_weight() + layer.delta()
        change = made.tensors[f"{name}.lora_B"] @ made.tensors[f"{name}.lora_A"]
        assert_close(change, B.double() @ A.double() - B0.double() @ A0.double())
        assert_close(layer.base.dense_weight() + B0 @ A0 + change, trained_weight)


@pytest.mark.parametrize("version", ["x052", "x060", "x070"])
def test_as_lora_is_the_same_model(own_adapter, version, tmp_path):
    base = write_model(tmp_path / "base.pth", version)
    model, _ = own_adapter(base, PiSSA(rank=4), parts=("time", "ln"))
    convert(tmp_path / "own.safetensors", tmp_path / "a.safetensors", lora=True)
    merge(base, load_adapter(tmp_path / "a.safetensors"), tmp_path / "out.pth")
    merged = load(tmp_path / "out.pth")
    model.dtype = merged.dtype = torch.float64  # so that the weights alone are compared
    with torch.no_grad():
        expected, found = model(TOKENS)[0], merged(TOKENS)[0]
    assert (found - expected).abs().max() / expected.std() <= LOGITS / 10


@pytest.mark.parametrize(
    ("method", "parts", "given", "said"),
    [
        (Bat(rank=8), (), {}, "blocks = in.*eyas merge"),
        (State(), (), {}, "no form for state.*eyas merge"),
        (LoRA(rank=4), ("ln",), {}, "whole tensors.*eyas merge"),
        (Bat(rank=8), (), {"lora": True}, "bat is no LoRA.*eyas merge"),
        (MiSS(rank=4), (), {"lora": True}, "add --base"),
    ],
)
def test_what_the_format_has_no_place_for(own_adapter, base, method, parts, given, said, tmp_path):
    own_adapter(base, method, parts=parts)
    refused(tmp_path, tmp_path / "own.safetensors", tmp_path / "hf", said, **given)


def refused(folder, source, out, said, **given):
    before = sorted(folder.rglob("*"))
    with pytest.raises(UserError, match=said) as caught:
        convert(source, out, **given)
    assert "\n" not in str(caught.value)
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"peft_type": "VERA"}, "is peft's VERA, and eyas reads LORA, MISS and BONE"),
        ({"use_dora": True, "lora_bias": True}, "has use_dora, lora_bias, which is more"),
        ({"init_lora_weights": "pissa_niter_16"}, "started by pissa_niter_16.*--init"),
        ({"init_lora_weights": "loftq"}, "started by loftq.*--init"),
        ({"r": "four"}, r"method lora: rank = 'four' must be a whole number"),
    ],
)
def test_settings_that_are_not_read(base, settings, said, tmp_path):
    saved(tmp_path / "hf", base, CONFIGS["alpha"])
    change_config(tmp_path / "hf", **settings)
    refused(tmp_path, tmp_path / "hf", tmp_path / "a.safetensors", said, base=base)


def test_raw_pissa_that_says_it_is_lora(base, tmp_path):
    config = LoraConfig(**{**LORA, "lora_alpha": 4}, init_lora_weights="pissa")
    saved(tmp_path / "hf", base, config, 0.02)
    refused(tmp_path, tmp_path / "hf", tmp_path / "a.safetensors", "--init", base=base)
    change_config(tmp_path / "hf", init_lora_weights=True)
    refused(tmp_path, tmp_path / "hf", tmp_path / "a.safetensors", "is PiSSA's", base=base)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda n: n.replace("blocks.0.att", "layers.0.attn"),
            r"layers\.0\.attn\.key is no linear",
        ),
        (lambda n: n.replace("blocks.0.att.key", "head"), "head is no linear inside its blocks"),
        (lambda n: n.replace("key.lora_A", "key.lora_magnitude_vector"), "lora_magnitude_vector"),
    ],
)
def test_keys_that_do_not_belong(base, change, said, tmp_path):
    saved(tmp_path / "hf", base, CONFIGS["alpha"])
    rename(tmp_path / "hf", change)
    refused(tmp_path, tmp_path / "hf", tmp_path / "a.safetensors", said, base=base)


def test_damaged_folders(base, tmp_path):
    saved(tmp_path / "hf", base, CONFIGS["alpha"])
    to = tmp_path / "a.safetensors"
    weights = tmp_path / "hf" / "adapter_model.safetensors"
    refused(tmp_path, weights, to, "is of a folder of HF peft; give the folder", base=base)
    weights.write_bytes(weights.read_bytes()[:-10])
    refused(tmp_path, tmp_path / "hf", to, "damaged or cut short", base=base)
    weights.unlink()
    refused(tmp_path, tmp_path / "hf", to, "has no adapter_model.safetensors", base=base)
    (tmp_path / "hf" / "adapter_config.json").write_text("{")
    refused(tmp_path, tmp_path / "hf", to, r"adapter_config\.json: cannot be read", base=base)


def test_a_folder_is_overwritten_only_when_asked(own_adapter, base, tmp_path):
    own_adapter(base, PiSSA(rank=4))
    source, out = tmp_path / "own.safetensors", tmp_path / "hf"
    convert(source, out)
    (out / "README.md").write_text("mine")
    before = (out / "adapter_model.safetensors").read_bytes()
    refused(tmp_path, source, out, "exists already; add --overwrite")
    convert(source, out, overwrite=True, dtype=torch.bfloat16)
    assert len((out / "adapter_model.safetensors").read_bytes()) < len(before)
    assert (out / "README.md").read_text() == "mine"
    (tmp_path / "other").mkdir()
    refused(tmp_path, source, tmp_path / "other", "no folder of HF peft", overwrite=True)
    refused(tmp_path, source, tmp_path / "a.safetensor", "does not say what to write")
    refused(tmp_path, source, source, "is what is to be converted", overwrite=True)


def test_a_whole_folder_or_none(own_adapter, base, monkeypatch, tmp_path):
    own_adapter(base, PiSSA(rank=4))
    before = sorted(tmp_path.iterdir())

    def stop(path, content):
        raise KeyboardInterrupt(path, content)

    monkeypatch.setattr(peft_write, "write_bytes", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "own.safetensors", tmp_path / "hf")
    assert sorted(tmp_path.iterdir()) == before
