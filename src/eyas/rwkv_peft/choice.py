"""Which method `--peft` and its JSON choose, over which linears, and what trains beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from eyas.adapters import Part
from eyas.config import did_you_mean
from eyas.errors import UserError
from eyas.rwkv_peft.flags import Given

_METHODS = {
    "none": "full",
    "sft": "full",
    "full": "full",
    "lora": "lora",
    "pissa": "pissa",
    "bone": "miss",
    "disha": "miss",
    "miss": "miss",
    "bat": "bat",
    "state": "state",
}
_CONFIGS = {"lora": "lora_config", "pissa": "pissa_config"}
_CONFIGS |= dict.fromkeys(("miss", "bat"), "bone_config")
_FAMILIES = ("lora_", "pissa_", "bone_")
_RANK = {"lora": 8, "pissa": 8, "miss": 64, "bat": 64}
_MODES = {"bone": "miss", "mode": "miss", "": "miss", "bat": "bat"}
_PARTS: tuple[str, ...] = get_args(Part)
_HALVES = ("att", "ffn")


@dataclass(frozen=True)
class Choice:
    """What is trained, and the files that it goes on from."""

    method: Mapping[str, object]  # as in run.toml
    targets: tuple[str, ...] = ()
    train_parts: tuple[str, ...] = ()
    load: Path | None = None
    start: Path | None = None  # init_pissa.pth
    lines: tuple[str, ...] = field(default=())


def choice_of(given: Given) -> Choice:
    """Raises UserError where the flags contradict one another or name what is not there."""
    name = _method(given)
    if name in ("full", "state"):
        return Choice({"name": name}, lines=_needless(given, name))
    config, lines = _config(given, name)
    if name in ("miss", "bat"):
        mode = str(config.pop("mode", "bone" if name == "miss" else "bat"))
        if mode not in _MODES:
            raise UserError(f"--bone_config: mode {mode!r} is not bone or bat")
        name = _MODES[mode]
    load, start = (_path(config.pop(key, "")) for key in ("load", "init"))
    if load is None and start is not None:
        raise UserError("--pissa_config: pissa_init goes with pissa_load; give both or none")
    if name == "pissa" and load is not None and start is None:
        raise UserError(
            f"--pissa_config: pissa_load {load} needs the pissa_init of its run, init_pissa.pth"
        )
    halves, parts = _parts_of(str(config.pop("parts", "")), given)
    targets = () if load else halves  # those of the file
    return Choice(_method_settings(name, config), targets, parts, load, start, lines)


def _method(given: Given) -> str:
    peft, kind = given["peft"].lower(), given["train_type"]
    if peft not in _METHODS:
        raise UserError(
            f"--peft {given['peft']}: there are {', '.join(_METHODS)}{did_you_mean(peft, _METHODS)}"
        )
    if kind not in ("none", "", "state", "infctx"):
        raise UserError(f"--train_type {kind}: there are state, infctx and none")
    if kind != "state" and not given["state_tune"]:
        return _METHODS[peft]
    if _METHODS[peft] not in ("full", "state"):
        raise UserError(
            f"state tuning and --peft {peft} exclude one another; leave one of them out"
        )
    return "state"


def _needless(given: Given, name: str) -> tuple[str, ...]:
    """Lines on what such a method has no use for."""
    what = "all weights train" if name == "full" else "state tuning trains the states alone"
    flags = ("train_parts", "lora_config", "pissa_config", "bone_config", "peft_config")
    return tuple(f"--{flag}: no effect ({what})" for flag in flags if flag in given)


def _config(given: Given, name: str) -> tuple[dict[str, object], tuple[str, ...]]:
    """The settings under their plain names, and lines on those of other methods."""
    own = _CONFIGS[name]
    typed = [flag for flag in (own, "peft_config") if flag in given]
    others = sorted({*_CONFIGS.values()} - {own})
    strange = [flag for flag in others if flag in given]
    if strange and not typed:
        raise UserError(f"--{strange[0]} is not for --peft {given['peft']}, which takes --{own}")
    found = {_plain(key): value for flag in typed for key, value in given[flag].items()}
    return found, tuple(f"--{flag}: no effect (--peft {given['peft']})" for flag in strange)


def _plain(key: str) -> str:
    return next((key.removeprefix(f) for f in _FAMILIES if key.startswith(f)), key)


def _path(value: object) -> Path | None:
    return Path(str(value)).expanduser() if value else None


def _method_settings(name: str, config: Mapping[str, object]) -> dict[str, object]:
    settings: dict[str, object] = {"name": name, "rank": config.get("r", _RANK[name])}
    if name == "lora":
        settings |= {"alpha": config.get("alpha", 32), "dropout": config.get("dropout", 0.01)}
    if name == "pissa" and "svd_niter" in config:
        settings["svd_niter"] = config["svd_niter"]
    return settings


def _parts_of(named: str, given: Given) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Targets and train_parts, by `--train_parts` and by what older configs name `lora_parts`."""
    words = tuple(named.replace(",", " ").split())
    typed = tuple(given["train_parts"])
    if strange := [w for w in words if w not in (*_HALVES, *_PARTS)]:
        raise UserError(
            f"lora_parts: no part {strange[0]!r}; there are {', '.join((*_HALVES, *_PARTS))}"
        )
    if strange := [word for word in typed if word not in _PARTS]:
        raise UserError(
            f"--train_parts: no part {strange[0]!r}{did_you_mean(strange[0], _PARTS)}; "
            f"there are {', '.join(_PARTS)}"
        )
    halves = tuple(word for word in _HALVES if word in words)
    parts = tuple(part for part in _PARTS if part in (*typed, *words))
    return (() if len(halves) == len(_HALVES) else halves), parts
