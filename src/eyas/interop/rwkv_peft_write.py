"""Writing an adapter as files of RWKV-PEFT; `rwkv_peft` says what is in them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from eyas.adapters import Adapter, Bat, Full, LoftQ, LoRA, MiSS, OLoRA, PiSSA, State
from eyas.errors import UserError
from eyas.exporting.pth import Entry, write_pth
from eyas.files import atomic_path
from eyas.interop.kinds import SHARDED
from eyas.interop.parts import OWN, Parts, parts_of, rank_of, scaled
from eyas.interop.rwkv_peft import PAIR, START, STARTS


def files(adapter: Adapter, path: Path) -> list[Path]:
    """What `write` writes."""
    starts = isinstance(adapter.method, (PiSSA, OLoRA, LoftQ))
    return [path, path.with_name(START)] if starts else [path]


def write(adapter: Adapter, path: Path, dtype: torch.dtype) -> list[str]:
    """Writes rwkv-N.pth, with init_pissa.pth beside it where there is a start; what to know of it.

    Raises UserError where the format has no place for the adapter.
    """
    parts = parts_of(adapter.tensors, OWN)
    if refusal := _refusal(adapter, parts):
        raise UserError(f"{refusal}; `eyas merge` writes a model with the adapter")
    if isinstance(adapter.method, (PiSSA, OLoRA, LoftQ)):
        return _write_with_start(parts, path, dtype)
    notes = []
    if isinstance(adapter.method, LoRA):
        alpha, parts = _whole_alpha(adapter.method, parts)
        notes = [f"it does not hold alpha: RWKV-PEFT merges it with --lora_alpha {alpha}"]
    if isinstance(adapter.method, (MiSS, Bat)):
        parts = parts.each(lambda _, layer: {SHARDED[-1]: next(iter(layer.values()))})
    if isinstance(adapter.method, Bat) and dtype == torch.float32:
        notes = ["RWKV-PEFT multiplies it with weights of its own type: --dtype bf16 where it does"]
    write_pth(path, _entries(parts.tensors(), dtype))
    return notes


def _refusal(adapter: Adapter, parts: Parts) -> str:
    """Why the format has no place for the adapter, if it has none."""
    method, ranks = adapter.method, {rank_of(layer) for layer in parts.layers.values()}
    states = [name for name in parts.whole if not name.endswith(".time_state")]
    if isinstance(method, Full):
        return "full trains all weights, not an adapter"
    if isinstance(method, State) and states:
        return f"a state file holds states and nothing else, and this adapter has {states[0]} too"
    if isinstance(method, Bat) and method.blocks == "out":
        return "RWKV-PEFT cuts bat's blocks along the input, this adapter's go along the output"
    if isinstance(method, (PiSSA, OLoRA, LoftQ)) and adapter.frozen.quant != "none":
        return (
            f"RWKV-PEFT has no form for {method.name} over a base quantized to "
            f"{adapter.frozen.quant}; --as-lora gives its change of the dense base"
        )
    if len(ranks) > 1:
        return f"RWKV-PEFT knows one rank, the layers have {', '.join(map(str, sorted(ranks)))}"
    return ""


def _whole_alpha(method: LoRA, parts: Parts) -> tuple[int, Parts]:
    """lora_alpha, a whole number as RWKV-PEFT reads it, and the layers scaled by what it leaves."""
    alpha = method.scale * parts.rank()
    if alpha.is_integer():
        return int(alpha), parts
    return parts.rank(), parts.each(lambda _, layer: scaled(layer, method.scale))


def _write_with_start(parts: Parts, path: Path, dtype: torch.dtype) -> list[str]:
    starts = {
        f"model.{layer}.{end}": tensors[own]
        for layer, tensors in parts.layers.items()
        for end, own in STARTS.items()
    }
    trained = parts.each(lambda _, layer: {name: layer[name] for name in PAIR})
    with atomic_path(path) as new, atomic_path(path.with_name(START)) as new_start:
        write_pth(new, _entries(trained.tensors(), dtype))
        write_pth(new_start, _entries(starts, torch.float32))
    notes = [f"{path.with_name(START)} belongs to it: the factors that training started from"]
    if dtype != torch.float32:
        notes.append(
            "rounded, the factors lose much of what training changed in them; fp32 keeps it"
        )
    return notes


def _entries(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> list[Entry]:
    return [
        Entry(name, tuple(tensor.shape), dtype, lambda tensor=tensor: tensor.to(dtype))
        for name, tensor in tensors.items()
    ]
