"""Writing an adapter as a folder of HF peft; `peft` says what is in one."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from eyas.adapters import Adapter, Bat, LoRA, MiSS
from eyas.errors import UserError
from eyas.files import atomic_path, write_bytes
from eyas.interop.parts import OWN, Parts, parts_of, rank_of
from eyas.interop.peft import CONFIG, NAMES, PREFIX, WEIGHTS


def write(adapter: Adapter, folder: Path, dtype: torch.dtype) -> None:
    """Writes a folder, or the two files into one that is there.

    Raises UserError where the format has no place for the adapter.
    """
    parts = parts_of(adapter.tensors, OWN)
    config, names = _described(adapter, parts)
    if parts.whole:
        raise UserError(
            f"the adapter holds whole tensors beside its layers ({next(iter(parts.whole))}, …), "
            "which a peft folder has no place for; `eyas merge` writes a model with both"
        )
    tensors = {
        f"{PREFIX}{path}.{names[name]}": tensor.to(dtype).contiguous()
        for path, layer in parts.layers.items()
        for name, tensor in layer.items()
    }
    config |= {
        "target_modules": sorted(parts.layers),
        "bias": "none",
        "inference_mode": True,
        "task_type": None,
        "base_model_name_or_path": None,
    }

    def fill(home: Path) -> None:
        with atomic_path(home / WEIGHTS, sum(t.nbytes for t in tensors.values())) as new:
            save_file(tensors, new, {"format": "pt"})
            write_bytes(home / CONFIG, json.dumps(config, indent=2).encode())

    if folder.exists():
        fill(folder)
        return
    with atomic_path(folder) as home:
        home.mkdir()
        fill(home)


def _described(adapter: Adapter, parts: Parts) -> tuple[dict[str, Any], dict[str, str]]:
    """The settings, and what each tensor of a layer is called."""
    method, sharded = adapter.method, {"peft_type": "MISS", "mini_r": 1, "miss_dropout": 0.0}
    if isinstance(method, LoRA):
        return _lora_config(method, parts), {own: end for end, own in NAMES.items()}
    if isinstance(method, MiSS):
        config = {**sharded, "r": parts.rank(), "init_weights": True}
        return config, {"miss_D": "miss_block"}
    if isinstance(method, Bat) and method.blocks == "out":
        return {**sharded, "r": parts.rank(), "init_weights": "bat"}, {"bat_D": "miss_block"}
    why = (
        "bat with blocks = in, which peft's goes across" if isinstance(method, Bat) else method.name
    )
    raise UserError(f"peft has no form for {why}; `eyas merge` writes a model with the adapter")


def _lora_config(method: LoRA, parts: Parts) -> dict[str, Any]:
    rank, alpha = method.rank, float(method.rank if method.alpha is None else method.alpha)
    others = {path: r for path, layer in parts.layers.items() if (r := rank_of(layer)) != rank}
    power = 0.5 if method.rslora else 1.0
    return {
        "peft_type": "LORA",
        "r": rank,
        "lora_alpha": _plain(alpha),
        "use_rslora": method.rslora,
        "lora_dropout": method.dropout,
        "init_lora_weights": True,
        "fan_in_fan_out": False,
        "rank_pattern": others,
        "alpha_pattern": {path: _plain(alpha * (r / rank) ** power) for path, r in others.items()},
    }


def _plain(number: float) -> float | int:
    """A whole number as such: some readers take no other."""
    return int(number) if number.is_integer() else number
