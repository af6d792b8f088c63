"""The adapter files of RWKV-PEFT: flat dicts in a .pth, without a word about what they are.

    rwkv-N.pth        blocks.i.att.key.lora_A [r, in], .lora_B [out, r]     LoRA and PiSSA alike
                      blocks.i.att.key.disha (before that: .bone)           [r, out]: Bone, MiSS
                                                                            [in / r, r, r]: Bat
                      beside them every tensor of `train_parts`, whole
    init_pissa.pth    model.blocks.i.att.key.init_lora_A, .init_lora_B      what PiSSA started from
    state             blocks.i.att.time_state [H, value, key]               of every layer

Keys have a prefix `model.` in some versions. LoRA's alpha is in no file: the program is told it
again when it merges. Its own files are bf16, init_pissa.pth float32; it reads any type.
Source: the program's trainer.py, rwkvLinear.py and merge/ of 2025-06.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import torch
from torch import Tensor

from eyas.adapters import (
    Adapter,
    AnyMethod,
    Bat,
    LoftQ,
    LoRA,
    MiSS,
    OLoRA,
    PiSSA,
    State,
    method_named,
)
from eyas.errors import UserError
from eyas.export.pth import Entry, write_pth
from eyas.files import atomic_path
from eyas.interop.base import Base, adapter_over
from eyas.interop.kinds import SHARDED, kind_of
from eyas.interop.parts import OWN, Parts, parts_of, rank_of, scaled, with_start
from eyas.models import read_tensors

START = "init_pissa.pth"
_PAIR = {"lora_A": "lora_A", "lora_B": "lora_B"}
_START = {"init_lora_A": "lora_A0", "init_lora_B": "lora_B0"}
_Method = tuple[str, dict[str, object]]


def read(path: Path, base: Base, start: Path | None = None, alpha: float | None = None) -> Adapter:
    """Reads rwkv-N.pth or a state file.

    start: the run's init_pissa.pth, which makes it PiSSA. alpha: what makes it a LoRA.
    Raises UserError where the file is another one, or does not fit the base.
    """
    tensors = read_tensors(path)
    kind = kind_of(tensors)
    if kind != "lora" and (start or alpha is not None):
        given = "--init" if start else "--alpha"
        raise UserError(f"{path}: holds no lora_A and lora_B, which {given} is for; leave it out")
    if kind == "state":
        return adapter_over(base, State(), Parts({}, tensors), path)
    if kind == "lora":
        (name, settings), parts = _low_rank(path, parts_of(tensors, _PAIR), start, alpha)
    elif kind in ("bone", "bat"):
        parts = parts_of(tensors, dict.fromkeys(SHARDED, "bat_D" if kind == "bat" else "miss_D"))
        _check_form(path, base, parts)
        name, settings = kind.replace("bone", "miss"), {"rank": parts.rank()}
    else:
        _refuse(path, kind)
    return adapter_over(base, method_named(name, settings, str(path)), parts, path)


def files(adapter: Adapter, path: Path) -> list[Path]:
    """What `write` writes."""
    starts = isinstance(adapter.method, (PiSSA, OLoRA, LoftQ))
    return [path, path.with_name(START)] if starts else [path]


def write(adapter: Adapter, path: Path, dtype: torch.dtype) -> list[str]:
    """Writes rwkv-N.pth, with init_pissa.pth beside it where there is a start; what to know of it.

    Raises UserError where the format has no place for the adapter.
    """
    method, parts = adapter.method, parts_of(adapter.tensors, OWN)
    if isinstance(method, State):
        if strange := next((n for n in parts.whole if not n.endswith(".time_state")), None):
            raise UserError(
                f"a state file holds states and nothing else, and this adapter has {strange} too; "
                "`eyas merge` writes a model with both"
            )
        write_pth(path, _entries(parts.whole, dtype))
        return []
    if isinstance(method, Bat) and method.blocks == "out":
        raise UserError(
            "bat with blocks = out has no form in RWKV-PEFT, whose blocks go along the input; "
            "`eyas merge` writes a model with it, or give a folder as OUT (peft has that form)"
        )
    if isinstance(method, (MiSS, Bat)):
        sharded = parts.each(lambda _, layer: {SHARDED[-1]: next(iter(layer.values()))})
        write_pth(path, _entries(sharded.tensors(), dtype))
        return _tiles_note(method, dtype)
    if isinstance(method, LoRA):
        alpha, parts = _whole_alpha(method, parts)
        write_pth(path, _entries(parts.tensors(), dtype))
        return [f"the file does not hold alpha: merge there with --type lora --lora_alpha {alpha}"]
    if isinstance(method, (PiSSA, OLoRA, LoftQ)):
        return _write_with_start(adapter, parts, path, dtype)
    raise UserError(f"{method.name} trains whole weights; `eyas merge` writes them as a model")


def _low_rank(
    path: Path, parts: Parts, start: Path | None, alpha: float | None
) -> tuple[_Method, Parts]:
    settings: dict[str, object] = {"rank": parts.rank()}
    if start and alpha is None:
        return (PiSSA.name, settings), _started(parts, start)
    if start or alpha is None:
        beside = path.with_name(START)
        lies = f" ({beside} lies there)" if beside.exists() else ""
        raise UserError(
            f"{path}: may be LoRA or PiSSA, and the file does not say which: for PiSSA give "
            f"--init {START} of its run{lies}, for LoRA give --alpha, the lora_alpha of its run; "
            "one of them"
        )
    return (LoRA.name, {**settings, "alpha": alpha}), parts


def _started(parts: Parts, start: Path) -> Parts:
    tensors = read_tensors(start)
    if kind_of(tensors) != "start":
        raise UserError(f"{start}: holds no init_lora_A and init_lora_B; --init is {START}")
    return with_start(parts, parts_of(tensors, _START), start)


def _check_form(path: Path, base: Base, parts: Parts) -> None:
    """Raises UserError for what Bone looked like before it had its present form."""
    for name, layer in parts.layers.items():
        (tensor,) = layer.values()
        if name not in base.linears:
            continue
        rows, columns = base.linears[name].shape
        size, rank = list(tensor.shape), tensor.shape[-1]
        if (tensor.dim() == 2 and size[0] == rows != size[1]) or (
            tensor.dim() == 3 and size[0] * rank == rows != columns
        ):
            raise UserError(
                f"{path}: {name} is {size}, Bone as it was before September 2024, with blocks "
                "along the output; merge it with the RWKV-PEFT of that time"
            )


def _refuse(path: Path, kind: str) -> NoReturn:
    wrong = {
        "model": "is a model and no adapter; it needs no conversion",
        "start": "is what a PiSSA run started from; give its rwkv-N.pth, and this with --init",
        "peft": "is of a folder of HF peft; give the folder, with its adapter_config.json",
    }
    raise UserError(f"{path}: {wrong.get(kind, 'is no adapter; `eyas inspect` says what it is')}")


def _whole_alpha(method: LoRA, parts: Parts) -> tuple[int, Parts]:
    """lora_alpha, and B scaled by what it leaves: RWKV-PEFT takes whole numbers, and one rank."""
    ranks = {rank_of(layer) for layer in parts.layers.values()}
    if len(ranks) > 1:
        raise UserError(
            f"the layers have the ranks {', '.join(map(str, sorted(ranks)))}, and RWKV-PEFT knows "
            "one; `eyas merge` writes a model with the adapter"
        )
    alpha = method.scale * parts.rank()
    if alpha.is_integer():
        return int(alpha), parts
    return parts.rank(), parts.each(lambda _, layer: scaled(layer, method.scale))


def _write_with_start(adapter: Adapter, parts: Parts, path: Path, dtype: torch.dtype) -> list[str]:
    if adapter.quantized():
        raise UserError(
            f"{adapter.method.name} over a base quantized to {adapter.frozen.quant} has no form in "
            "RWKV-PEFT; --as-lora gives its change of the dense base, `eyas merge` a model"
        )
    starts = {
        f"model.{layer}.{end}": tensors[own]
        for layer, tensors in parts.layers.items()
        for end, own in _START.items()
    }
    trained = parts.each(lambda _, layer: {name: layer[name] for name in _PAIR})
    with atomic_path(path) as new, atomic_path(path.with_name(START)) as new_start:
        write_pth(new, _entries(trained.tensors(), dtype))
        write_pth(new_start, _entries(starts, torch.float32))
    notes = [f"{path.with_name(START)} belongs to it: the factors that training started from"]
    if dtype != torch.float32:
        notes.append(
            "rounded, the factors lose much of what training changed in them; fp32 keeps it"
        )
    return notes


def _tiles_note(method: AnyMethod, dtype: torch.dtype) -> list[str]:
    if isinstance(method, Bat) and dtype == torch.float32:
        return [
            "RWKV-PEFT multiplies it with weights of its own type: for a bf16 model --dtype bf16"
        ]
    return []


def _entries(tensors: Mapping[str, Tensor], dtype: torch.dtype) -> list[Entry]:
    return [
        Entry(name, tuple(tensor.shape), dtype, lambda tensor=tensor: tensor.to(dtype))
        for name, tensor in tensors.items()
    ]
