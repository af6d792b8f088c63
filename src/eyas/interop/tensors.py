"""What a file of tensors is and what can be done with it; no tensor is read for that."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from eyas.adapters import Adapter, described
from eyas.config import to_mapping
from eyas.errors import UserError
from eyas.interop.kinds import SHARDED, Kind, kind_of
from eyas.interop.parts import OWN, Parts, parts_of
from eyas.interop.report import Report, contents, some
from eyas.interop.rwkv_peft import PAIR, START, STARTS
from eyas.models import shape_of
from eyas.quant import FrozenConfig

_BONE = dict.fromkeys(SHARDED, "miss_D")
_BAT = dict.fromkeys(SHARDED, "bat_D")


def describe(path: Path, tensors: Mapping[str, Tensor]) -> Report:
    """What a file is that says nothing about itself."""
    kind = kind_of(tensors)
    if kind == "model":
        return _model(path, tensors)
    if kind == "state":
        return _state(path, tensors)
    if kind == "start":
        return _start(path, tensors)
    if kind in ("lora", "bone", "bat"):
        return _rwkv_peft(path, tensors, kind)
    if kind == "peft":
        return Report(
            "the tensors of an adapter of HF peft",
            (contents(tensors), some(tensors)),
            f"eyas inspect {path.parent}, the folder with its adapter_config.json",
        )
    return Report(
        "tensors that are no model and no adapter of RWKV",
        (contents(tensors), some(tensors)),
        "nothing in eyas reads it",
    )


def describe_adapter(path: Path, adapter: Adapter) -> Report:
    """An adapter of eyas, which says what it is."""
    frozen = ", ".join(f"{name} {value}" for name, value in to_mapping(adapter.frozen).items())
    parts = parts_of(adapter.tensors, OWN)
    return Report(
        f"an adapter of eyas: {described(adapter.method)}",
        (
            *_layer_facts(parts),
            contents(adapter.tensors),
            f"base {adapter.shape}, fingerprint {adapter.base[:16]}",
            *([f"over a base kept as {frozen}"] if adapter.frozen != FrozenConfig() else []),
            f"step {adapter.step:,}, seed {adapter.seed}",
        ),
        f"eyas merge {path} --base MODEL; eyas convert {path} OUT for another program",
    )


def _model(path: Path, tensors: Mapping[str, Tensor]) -> Report:
    try:
        shape = shape_of(tensors, path)
    except UserError as error:
        why, _, what = str(error).removeprefix(f"{path}: ").partition("; ")
        return Report(f"a model: {why}", (contents(tensors), some(tensors)), what)
    ranks = ", ".join(f"{name} {rank}" for name, rank in shape.ranks.items())
    states = any(name.endswith(".time_state") for name in tensors)
    return Report(
        f"an RWKV model: {shape}",
        (
            f"{shape.num_layers} layers of width {shape.width}, {shape.num_heads} heads of "
            f"{shape.head_size}, ffn {shape.ffn_width}, vocabulary {shape.vocab_size:,}",
            *([f"ranks of the low-rank matrices: {ranks}"] if ranks else []),
            contents(tensors),
            *(["every layer holds an initial state (time_state)"] if states else []),
        ),
        f"eyas train {path} DATA.jsonl; eyas generate {path} --prompt TEXT",
    )


def _state(path: Path, tensors: Mapping[str, Tensor]) -> Report:
    sizes = sorted({str(list(tensor.shape)) for tensor in tensors.values()})
    return Report(
        f"a tuned state: {len(tensors)} layers of {' and '.join(sizes)}",
        (contents(tensors),),
        f"eyas convert {path} state.safetensors --base MODEL; or load it in RWKV Runner as it is",
    )


def _start(path: Path, tensors: Mapping[str, Tensor]) -> Report:
    parts = parts_of(tensors, STARTS)
    rank = next((len(layer["lora_A0"]) for layer in parts.layers.values() if "lora_A0" in layer), 0)
    return Report(
        f"what a PiSSA run of RWKV-PEFT started from: rank {rank}",
        (f"{len(parts.layers)} linears: {some(parts.layers)}", contents(tensors)),
        f"eyas convert rwkv-N.pth adapter.safetensors --base MODEL --init {path}",
    )


def _rwkv_peft(path: Path, tensors: Mapping[str, Tensor], kind: Kind) -> Report:
    name = {"lora": "LoRA or PiSSA", "bone": "MiSS (Bone, DiSHA)", "bat": "Bat"}[kind]
    parts = parts_of(tensors, {"lora": PAIR, "bone": _BONE, "bat": _BAT}[kind])
    command = f"eyas convert {path} adapter.safetensors --base MODEL"
    if kind == "lora":
        start = path.with_name(START)
        command += (
            f" --init {start}" if start.exists() else f" and --init {START} (PiSSA) or --alpha X"
        )
    return Report(
        f"an adapter of RWKV-PEFT: {name}, rank {parts.rank()}",
        (*_layer_facts(parts), contents(tensors)),
        command,
    )


def _layer_facts(parts: Parts) -> list[str]:
    facts = []
    if parts.layers:
        facts.append(f"{len(parts.layers)} linears: {some(parts.layers)}")
    if parts.layers and parts.whole:
        facts.append(f"{len(parts.whole)} tensors whole: {some(parts.whole)}")
    return facts
