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

from pathlib import Path
from typing import NoReturn

from eyas.adapters import (
    Adapter,
    LoRA,
    PiSSA,
    State,
    method_named,
)
from eyas.errors import UserError
from eyas.interop.base import Base, adapter_over
from eyas.interop.kinds import SHARDED, kind_of
from eyas.interop.parts import Parts, parts_of, with_start
from eyas.models import read_tensors

START = "init_pissa.pth"
PAIR = {"lora_A": "lora_A", "lora_B": "lora_B"}
STARTS = {"init_lora_A": "lora_A0", "init_lora_B": "lora_B0"}
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
        (name, settings), parts = _low_rank(path, parts_of(tensors, PAIR), start, alpha)
    elif kind in ("bone", "bat"):
        parts = parts_of(tensors, dict.fromkeys(SHARDED, "bat_D" if kind == "bat" else "miss_D"))
        _check_form(path, base, parts)
        name, settings = kind.replace("bone", "miss"), {"rank": parts.rank()}
    else:
        _refuse(path, kind)
    return adapter_over(base, method_named(name, settings, str(path)), parts, path)


def _low_rank(
    path: Path, parts: Parts, start: Path | None, alpha: float | None
) -> tuple[_Method, Parts]:
    settings: dict[str, object] = {"rank": parts.rank()}
    if start and alpha is None:
        return (PiSSA.name, settings), _started(parts, start)
    if start or alpha is None:
        beside = path.with_name(START)
        lies = f" ({beside}, which lies beside it)" if beside.exists() else ""
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
    return with_start(parts, parts_of(tensors, STARTS), start)


def _check_form(path: Path, base: Base, parts: Parts) -> None:
    """Raises UserError for what Bone looked like before it had its present form."""
    for name, layer in parts.layers.items():
        (tensor,) = layer.values()
        if name not in base.linears or tensor.dim() < 2:
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
