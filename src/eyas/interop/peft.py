"""The adapter folders of HF peft: adapter_config.json beside adapter_model.safetensors.

    base_model.model.PATH.lora_A.weight [r, in], .lora_B.weight [out, r]      LORA
    base_model.model.PATH.miss_block (before that: .bone_block)               MISS, BONE
        init_weights true, false [r, out] · "bat" [out / r, r, r] · "mini" [r, s], repeated
    base_model.model.PATH.weight                                              modules_to_save

LORA's change is scaled by lora_alpha / r, or / sqrt(r) with use_rslora, with other r and alpha
for the paths in rank_pattern and alpha_pattern. Where `init_lora_weights` changed the base (PiSSA,
OLoRA, CorDA, LoftQ, LoRA-GA), the factors fit the changed base only: they are of use with those
that training started from, which peft's guide has its users save as a folder of their own.
Source: peft 0.21.2, tuners/lora, tuners/miss, utils/save_and_load.py.
"""

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from eyas.adapters import Adapter, LoRA, method_named
from eyas.errors import UserError
from eyas.interop.base import Base, adapter_over
from eyas.interop.lora import difference
from eyas.interop.parts import Layer, Parts, parts_of, rank_of, scaled, with_start
from eyas.models import read_tensors

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
NAMES = {f"{name}.weight": name for name in ("lora_A", "lora_B")}
_BLOCKS = {"miss_block": "miss_D", "bone_block": "miss_D"}
PREFIX = "base_model.model."
_WRAPPER = re.compile(r"^(model\.)+(?=blocks\.|emb\.|head\.|ln_out\.)")
# What makes a LoRA more than a scaled product.
_MORE = (
    *("use_dora", "lora_bias", "use_qalora", "use_bdlora", "kasa_config", "monteclora_config"),
    *("arrow_config", "alora_invocation_tokens", "layer_replication", "target_parameters"),
    "trainable_token_indices",
)
_CHANGED_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def read(folder: Path, base: Base, start: Path | None = None) -> Adapter:
    """Reads a folder. start: a folder with the factors that training started from.

    Raises UserError where it holds what is no adapter of eyas, or does not fit the base.
    """
    config = read_config(folder)
    kind = config["peft_type"]
    if kind == "LORA":
        return _read_lora(folder, config, base, start)
    if kind not in ("MISS", "BONE"):
        raise UserError(
            f"{folder}: is peft's {kind}, and eyas reads LORA, MISS and BONE; merge it with peft "
            "(merge_and_unload)"
        )
    if start:
        raise UserError(f"{folder}: --init is for PiSSA and its kin, not for {kind}; leave it out")
    mode, parts = config.get("init_weights", True), parts_of(read_folder(folder), _BLOCKS)
    name, settings = "miss", dict[str, object](rank=parts.rank())
    if mode == "bat":
        parts = parts.each(lambda _, layer: {"bat_D": layer["miss_D"]})
        name, settings = "bat", {"rank": parts.rank(), "blocks": "out"}
    elif mode == "mini":
        parts = parts.each(lambda path, layer: _repeated(path, layer, base))
    return adapter_over(base, method_named(name, settings, str(folder)), parts, folder)


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json. Raises UserError where it is none."""
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); copy the folder again") from error
    if not isinstance(config, dict) or "peft_type" not in config:
        raise UserError(f"{path}: is not peft's, as it names no peft_type; copy the folder again")
    return config


def changed_base(config: Mapping[str, Any]) -> bool:
    """Whether the adapter fits a base that its initialization changed."""
    return str(config.get("init_lora_weights", True)).lower().startswith(_CHANGED_BASE)


def read_folder(folder: Path) -> Mapping[str, torch.Tensor]:
    """The tensors by the model's own paths."""
    found = [folder / WEIGHTS, folder / "adapter_model.bin"]
    weights = next((path for path in found if path.exists()), None)
    if weights is None:
        raise UserError(f"{folder}: has no {WEIGHTS} beside {CONFIG}; copy the folder again")
    tensors = read_tensors(weights)
    return {_bare(name): tensor for name, tensor in tensors.items()}


def _read_lora(folder: Path, config: Mapping[str, Any], base: Base, start: Path | None) -> Adapter:
    initial = str(config.get("init_lora_weights", True)).lower()
    changed = changed_base(config)
    if changed and not start:
        raise UserError(
            f"{folder}: started by {initial}, which changed the base, so that it is of use only "
            "with what it started from; give the folder that was saved before training with "
            "--init, or merge in peft with the base that was trained over"
        )
    parts = _lora_parts(folder, config)
    settings: dict[str, object] = {"rank": parts.rank()}
    if start:
        parts = with_start(_scaled(parts, config, 1.0), _start_parts(start), start)
        if changed and not initial.startswith(("pissa", "olora")):
            parts = parts.each(lambda _, layer: difference(layer))
            return adapter_over(base, LoRA(rank=parts.rank()), parts, folder)
        name = "olora" if initial == "olora" else "pissa"
        return adapter_over(base, method_named(name, settings, str(folder)), parts, folder)
    settings |= {
        "rank": config.get("r", 8),
        "alpha": config.get("lora_alpha", 8),
        "rslora": config.get("use_rslora", False),
        "dropout": config.get("lora_dropout", 0.0),
    }
    method = method_named("lora", settings, str(folder))
    assert isinstance(method, LoRA)
    return adapter_over(base, method, _scaled(parts, config, method.scale), folder)


def _lora_parts(folder: Path, config: Mapping[str, Any]) -> Parts:
    if more := [name for name in _MORE if config.get(name)]:
        raise UserError(
            f"{folder}: has {', '.join(more)}, which is more than a LoRA; merge it with peft "
            "(merge_and_unload)"
        )
    return parts_of(read_folder(folder), NAMES)


def _start_parts(folder: Path) -> Parts:
    """The factors that training started from, scaled."""
    config = read_config(folder)
    if config["peft_type"] != "LORA":
        raise UserError(f"{folder}: is peft's {config['peft_type']}; --init is a folder of LORA")
    parts = _scaled(_lora_parts(folder, config), config, 1.0)
    return parts.each(lambda _, layer: {f"{name}0": tensor for name, tensor in layer.items()})


def _scaled(parts: Parts, config: Mapping[str, Any], common: float) -> Parts:
    """The layers with what their scale exceeds the common one by."""
    alphas, root = config.get("alpha_pattern") or {}, bool(config.get("use_rslora"))

    def one(path: str, layer: Layer) -> Layer:
        rank = max(rank_of(layer), 1)
        fitting = (a for key, a in alphas.items() if re.match(rf"(.*\.)?({_bare(key)})$", path))
        alpha = next(fitting, config.get("lora_alpha", 8))
        return scaled(layer, alpha / (math.sqrt(rank) if root else rank) / common)

    return parts.each(one)


def _bare(name: str) -> str:
    """The name without what wraps the model."""
    return _WRAPPER.sub("", name.removeprefix(PREFIX))


def _repeated(path: str, layer: Layer, base: Base) -> Layer:
    """MiSS with the columns that "mini" shares; as it is where they do not fit."""
    D, rows = layer["miss_D"], len(base.linears.get(path, ()))
    times = rows // max(D.shape[-1], 1)
    return {"miss_D": D.repeat(1, times) if times * D.shape[-1] == rows else D}
